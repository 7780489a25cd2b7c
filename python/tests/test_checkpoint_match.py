# SPDX-License-Identifier: Apache-2.0
"""What fits and what does not: strict loads, lists of differences, other names, other element types."""

import copy
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.recipes import LAYERS, optimizer, weights
from support.scenario import BFLOAT16

import layerwise as lw
from layerwise import _safetensors, introspection

RULE = lw.AdamW(lr=0.05, weight_decay=0.1)
STATES = ("step", "exp_avg", "exp_avg_sq")


def saved(rule: lw.Rule = RULE, **options: Any) -> bytes:
    """A checkpoint with parameters after some steps."""
    with optimizer(rule, **options) as opt:
        opt.step()
        opt.step()
        return opt.to_bytes(parameters=True)


def one(values: dict[str, Any], rule: lw.Rule = RULE, **options: Any) -> lw.Optimizer:
    """An optimizer of layers of one tensor, with gradients."""
    opt = lw.Optimizer(rule)
    for name, value in values.items():
        opt.add_layer(name, value, np.linspace(-1, 1, value.size).reshape(value.shape).astype(value.dtype), **options)
    return opt


def read(opt: lw.Optimizer, layer: str, state: str, dtype: Any = np.float64) -> "np.ndarray[Any, Any]":
    values = opt.layer(layer).read_state(0, state)
    return np.asarray(values, dtype)


# ---- Strict


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"rule": lw.Adam(lr=0.05, weight_decay=0.1)}, 'rule: "adamw" in the checkpoint, "adam" here'),
        ({"rule": lw.AdamW(lr=0.05)}, "hyperparameters.weight_decay: 0.1 in the checkpoint, 0.01 here"),
        ({"rule": lw.AdamW(lr=0.05, weight_decay=0.1, betas=(0.8, 0.999))}, "hyperparameters.beta1: 0.9 in the"),
        ({"clip_value": 2.0}, "settings.clip_value: inf in the checkpoint, 2"),
        ({"nonfinite": "skip"}, 'settings.nonfinite: "raise" in the checkpoint, "skip" here'),
        ({"maximize": True}, "settings.maximize: 0"),
        ({"decay_follows": "base_lr"}, 'settings.decay_follows: "layer_lr" in the checkpoint, "base_lr" here'),
        ({"policy": lw.LayerDecay(0.5)}, 'policy.name: "uniform" in the checkpoint, "layer_decay" here'),
        ({"schedule": lw.Cosine(10)}, "schedules.lr: not in the checkpoint"),
        (
            {"freezing": lw.GradualUnfreezing(3)},
            "freezing: none in the checkpoint, {",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_difference_is_refused(change: dict[str, Any], difference: str) -> None:
    with optimizer(**{"rule": RULE} | change) as opt:
        before = opt.to_bytes(parameters=True)
        with pytest.raises(lw.CheckpointMismatch) as caught:
            opt.load_bytes(saved())
        assert any(line.startswith(difference) for line in caught.value.differences), caught.value.differences
        assert str(caught.value).startswith("the checkpoint is of another optimizer: ")
        assert opt.to_bytes(parameters=True) == before


def test_the_rate_and_what_does_not_matter_may_differ() -> None:
    with optimizer(lw.AdamW(lr=0.7, weight_decay=0.1), threads=1, telemetry=True) as opt:
        report = opt.load_bytes(saved())
        assert opt.lr == 0.05
        assert report.problems == ()
        assert len(report.loaded) == len(LAYERS) * 2 * 4


def test_the_list_of_differences_is_complete() -> None:
    with optimizer(RULE, policy=lw.LayerDecay(0.5), schedule={"beta1": lw.Constant()}, clip_value=1.0) as first:
        first.layer("head").set(weight_decay=0.0, scale=2.0)
        first.layer("norm").schedule = lw.Linear(5)
        data = first.to_bytes()
    with lw.Optimizer(RULE, lw.LayerDecay(0.25), schedule=lw.Cosine(9)) as opt:
        for name in ("embed", "block.0", "extra", "norm"):
            shape = (3, 5) if name == "norm" else (3, 4)
            dtype = np.float32 if name == "embed" else np.float64
            opt.add_layer(
                name, {"weight": np.ones(shape, dtype), "bias": np.ones(4)}, role="norm" if name == "norm" else "depth"
            )
        opt.layer("block.0").set(eps=1e-6)
        with pytest.raises(lw.CheckpointMismatch) as caught:
            opt.load_bytes(data)
    places = [line.partition(": ")[0] for line in caught.value.differences]
    assert len(places) == len(set(places))
    tensors = ("weight", "bias")
    assert set(places) == {
        "policy.settings.decay",
        "schedules.beta1",
        "schedules.lr",
        "settings.clip_value",
        "layers.block.0.hyperparameters.eps",
        "layers.block.1",
        "layers.head",
        "layers.extra",
        "layers.norm.schedules.lr",
        "layers.norm.tensors.weight.shape",
        "layers.embed.tensors.weight.dtype",
        "layers.embed.tensors.weight.gradient_dtype",
        *(f"embed/weight/{state}" for state in STATES[1:]),
        *(f"norm/weight/{state}" for state in STATES[1:]),
        *(
            f"{layer}/{tensor}/{state}"
            for layer in ("block.1", "head", "extra")
            for tensor in tensors
            for state in STATES
        ),
    }
    message = str(caught.value)
    assert message.count(";") >= 2 and message.endswith("more")
    told = message.removeprefix("the checkpoint is of another optimizer: ").split("; ")[:-1]
    assert told == list(caught.value.differences[: len(told)])
    assert int(message.rpartition("and ")[2].split()[0]) == len(places) - len(told)


# ---- Not strict


def test_what_matches_is_loaded_and_the_rest_left_alone() -> None:
    with optimizer(RULE) as first:
        first.step()
        data = first.to_bytes(parameters=True)
        expected = dict(zip(((layer, t) for layer in LAYERS for t in ("weight", "bias")), weights(first), strict=True))
    values = {
        "embed": {"weight": np.ones((3, 4)), "bias": np.ones(5)},
        "head": {"weight": np.ones((3, 4), np.float32), "bias": np.ones(4)},
        "new": {"weight": np.ones(2)},
    }
    with lw.Optimizer(lw.AdamW(lr=0.3), lw.LayerDecay(0.5)) as opt:
        for name, tensors in values.items():
            opt.add_layer(name, tensors)
        opt.layer("new").write_state(0, "exp_avg", np.full(2, 5.0))
        with pytest.raises(lw.CheckpointMismatch):
            opt.load_bytes(data)
        report = opt.load_bytes(data, strict=False)
        assert set(report.loaded) == {
            *(f"embed/weight/{state}" for state in (*STATES, "parameters")),
            *(f"head/bias/{state}" for state in (*STATES, "parameters")),
        }
        # A step count does not come without its moments.
        assert opt.layer("embed").read_state("bias", "step")[0] == 0
        assert set(report.missing) == {
            f"{tensor}/{state}"
            for tensor in ("new/weight", "embed/bias", "head/weight")
            for state in (*STATES, "parameters")
        }
        assert set(report.absent) == {f"new/weight/{state}" for state in (*STATES, "parameters")}
        assert set(report.unexpected) == {
            f"{layer}/{tensor}/{state}"
            for layer in ("block.0", "block.1", "norm")
            for tensor in ("weight", "bias")
            for state in (*STATES, "parameters")
        }
        assert "embed/bias/exp_avg: shape [4] in the checkpoint, [5] here" in report.differences
        assert "head/weight/exp_avg: float64 in the checkpoint, float32 here" in report.differences
        assert "embed/bias/step: in the checkpoint, but not loaded without exp_avg" in report.differences
        assert not any(line.startswith("embed/bias/") and "not in the" in line for line in report.problems)
        assert set(report.problems) >= {*report.differences, "new/weight/step: not in the checkpoint"}
        assert values["embed"]["weight"].tobytes() == expected["embed", "weight"]
        assert values["head"]["bias"].tobytes() == expected["head", "bias"]
        assert (values["embed"]["bias"] == 1).all() and (values["head"]["weight"] == 1).all()
        assert list(read(opt, "new", "exp_avg")) == [5.0, 5.0]
        # Settings stay, progress comes.
        assert opt.get("weight_decay") == 0.01 and opt.policy == lw.LayerDecay(0.5)
        assert (opt.lr, opt.next_step) == (0.05, 1)


def test_a_head_with_a_class_more_begins_anew() -> None:
    """Its first update is the rate, as that of any first step of Adam."""

    def model(classes: int) -> tuple[lw.Optimizer, "np.ndarray[Any, Any]"]:
        opt, head = lw.Optimizer(lw.AdamW(lr=1e-3, weight_decay=0.0)), np.ones((classes, 2))
        opt.add_layer("embed", np.ones((2, 3)), np.ones((2, 3)))
        opt.add_layer("head", head, np.ones((classes, 2)))
        return opt, head

    first, _ = model(3)
    for _ in range(1000):
        first.step()
    second, head = model(4)
    report = second.load_bytes(first.to_bytes(), strict=False)
    assert set(report.missing) == {f"head/weight/{state}" for state in STATES}
    assert report.absent == ()
    assert [second.layer(name).info.steps for name in ("embed", "head")] == [1000, 0]
    second.step()
    np.testing.assert_allclose(1 - head, 1e-3, rtol=1e-6)


def test_a_report_of_a_load_that_fits() -> None:
    with optimizer(RULE) as opt:
        report = opt.load_bytes(saved(), strict=False)
        assert (report.missing, report.unexpected, report.differences) == ((), (), ())
        with pytest.raises(AttributeError):
            report.loaded = ()  # type: ignore[misc]


# ---- Other names


def test_layers_with_other_names() -> None:
    values = {name: np.linspace(0, size, 5) for size, name in enumerate(("a/b", "c", "d"), 1)}
    with one(values) as first:
        first.step()
        first.layer("c").freeze()
        first.step()
        data = first.to_bytes(parameters=True)
        other = {name: np.zeros(5) for name in ("c", "a/b", "x%")}
        with one(other) as second:
            with pytest.raises(lw.CheckpointMismatch):
                second.load_bytes(data)
            # Two change places, and a third is called otherwise.
            report = second.load_bytes(data, rename={"a/b": "c", "c": "a/b", "d": "x%"})
            for before, after in (("a/b", "c"), ("c", "a/b"), ("d", "x%")):
                assert other[after].tobytes() == values[before].tobytes()
                assert bytes(second.layer(after).read_state(0, "exp_avg")) == bytes(
                    first.layer(before).read_state(0, "exp_avg")
                )  # type: ignore[call-overload]
            assert [second.layer(name).frozen for name in ("a/b", "c", "x%")] == [True, False, False]
            assert "x%25/weight/step" in report.loaded


@pytest.mark.parametrize(
    ("rename", "error", "message"),
    [
        ({"none": "a"}, lw.UnknownName, 'no layer of the checkpoint is called "none"'),
        ({"a": "none"}, lw.UnknownName, 'no layer here is called "none"'),
        ({"a": "b"}, lw.DuplicateName, 'two layers of the checkpoint would be called "b"'),
        ({"a": "c", "b": "c"}, lw.DuplicateName, 'two layers of the checkpoint would be called "c"'),
        ([("a", "b")], TypeError, "expected a mapping"),
        ("ab", TypeError, "expected a mapping"),
        ({"a": None}, TypeError, "a name must be text"),
        ({1: "a"}, TypeError, "a name must be text"),
        ({"a\0": "a"}, lw.InvalidArgument, "NUL"),
    ],
    ids=repr,
)
def test_names_that_cannot_be(rename: Any, error: type[Exception], message: str) -> None:
    values = {name: np.ones(3) for name in ("a", "b", "c")}
    with one({"a": np.ones(3), "b": np.ones(3)}) as first, one(values) as second:
        first.step()
        before = second.to_bytes(parameters=True)
        for strict in (True, False):
            with pytest.raises(error, match=message):
                second.load_bytes(first.to_bytes(parameters=True), rename=rename, strict=strict)
        assert second.to_bytes(parameters=True) == before


# ---- Other types


def test_no_other_type_unless_it_is_asked_for() -> None:
    with one({"a": np.ones(3)}) as first, one({"a": np.ones(3, np.float32)}) as second:
        with pytest.raises(lw.CheckpointMismatch) as caught:
            second.load_bytes(first.to_bytes(parameters=True))
        assert "a/weight/exp_avg: float64 in the checkpoint, float32 here" in caught.value.differences
        second.load_bytes(first.to_bytes(parameters=True), convert=True)


@pytest.mark.parametrize(("old", "new"), [(np.float64, np.float32), (np.float32, np.float64)])
def test_another_type_is_rounded_to_nearest(old: Any, new: Any) -> None:
    start = np.random.default_rng(5).normal(size=999).astype(old)
    start[:6] = [0.0, -0.0, np.inf, np.nan, 1e-42, -3e38]
    with one({"a": start.copy()}) as first, one({"a": np.ones(999, new)}) as second:
        first.layer("a").write_state(0, "exp_avg", start)
        first.layer("a").write_state(0, "exp_avg_sq", start[::-1].copy())
        first.layer("a").write_state(0, "step", np.array(77))
        second.load_bytes(first.to_bytes(parameters=True), convert=True)
        with np.errstate(over="ignore"):
            expected = start.astype(new)
        np.testing.assert_array_equal(read(second, "a", "exp_avg", new), expected)
        np.testing.assert_array_equal(read(second, "a", "exp_avg_sq", new), expected[::-1])
        found = np.asarray(second.layer("a")._record.tensors[0].parameters.owner)
        assert np.signbit(found[1]) and found.dtype == new
        np.testing.assert_array_equal(found, expected)
        assert list(read(second, "a", "step")) == [77]


def test_from_sixteen_bits_with_a_master_copy_and_back() -> None:
    start = np.random.default_rng(6).normal(size=50).astype(BFLOAT16)
    with one({"a": start.copy()}, master=True) as half, one({"a": np.zeros(50, np.float32)}) as full:
        for _ in range(5):
            half.step()
        full.load_bytes(half.to_bytes(parameters=True), convert=True)
        # The master copy is what the parameters were rounded from.
        master = read(half, "a", "master", np.float32)
        found = np.asarray(full.layer("a")._record.tensors[0].parameters.owner)
        np.testing.assert_array_equal(found, master)
        np.testing.assert_array_equal(read(full, "a", "exp_avg"), read(half, "a", "exp_avg"))
        with one({"a": np.zeros(50, BFLOAT16)}, master=True) as again:
            again.load_bytes(full.to_bytes(parameters=True), convert=True)
            np.testing.assert_array_equal(read(again, "a", "master", np.float32), master)
            rounded = np.asarray(again.layer("a")._record.tensors[0].parameters.owner)
            np.testing.assert_array_equal(rounded, master.astype(BFLOAT16))
            assert (rounded != start).any()


def test_a_shape_is_never_converted() -> None:
    with one({"a": np.ones((2, 3))}) as first, one({"a": np.ones((3, 2), np.float32)}) as second:
        with pytest.raises(lw.CheckpointMismatch, match="shape"):
            second.load_bytes(first.to_bytes(), convert=True)


# ---- Names by their bytes

TWINS = ("caf\u00e9", "cafe\u0301", "K", "\u212a", "w\u0600", "\u0301x")
"""Names that are canonically equivalent, two by two, and names of which a sign goes together with a slash beside it."""


def test_canonically_equal_names_are_two() -> None:
    values = {name: np.full(2, float(index)) for index, name in enumerate(TWINS)}
    with one(values) as opt:
        assert [opt.layer(name).name for name in TWINS] == list(TWINS)
        for name in TWINS[:4]:
            opt.step({name: np.ones(2)})
        with pytest.raises(lw.DuplicateName):
            opt.add_layer("cafe\u0301", np.ones(1))
    with lw.Optimizer(RULE) as opt:
        opt.add_layer("caf\u00e9", np.ones(1))
        for call in (lambda: opt.layer("cafe\u0301"), lambda: opt.step({"cafe\u0301": np.ones(1)})):
            with pytest.raises(lw.UnknownName):
                call()
        opt.add_layer("cafe\u0301", {"\u212b": np.ones(1), "\u00c5": np.ones(1), "A\u030a": np.ones(1)})
        assert list(opt.layer("cafe\u0301").states()) == ["\u212b", "\u00c5", "A\u030a"]


@pytest.mark.parametrize("strict", [True, False])
def test_parameters_come_whatever_their_names_end_in(strict: bool) -> None:
    def model(value: float) -> tuple[lw.Optimizer, dict[str, "np.ndarray[Any, Any]"]]:
        opt, tensors = lw.Optimizer(RULE), {name: np.full(2, float(value + i)) for i, name in enumerate(TWINS)}
        opt.add_layer("a\u0600", tensors)
        return opt, tensors

    first, saved_values = model(10)
    for name in TWINS:
        second, tensors = lw.Optimizer(RULE), np.zeros(2)
        second.add_layer("a", {name: tensors})
        third = lw.Optimizer(RULE)
        third.add_layer("a", {name: np.ones(2)})
        report = second.load_bytes(third.to_bytes(parameters=True), strict=strict)
        assert (report.problems, list(tensors)) == ((), [1, 1])
    second, values = model(0)
    report = second.load_bytes(first.to_bytes(parameters=True), strict=strict)
    assert report.problems == ()
    assert {name: list(value) for name, value in values.items()} == {k: list(v) for k, v in saved_values.items()}


# ---- What is in force


@pytest.mark.parametrize("order", [("variant", "weight_decay"), ("weight_decay", "variant")])
def test_a_variant_and_what_overrides_it(order: tuple[str, str], tmp_path: Path) -> None:
    given = {"variant": "timm", "weight_decay": 0.1}
    rule = lw.LAMB(lr=0.1)
    with one({"a": np.ones(3)}, rule, **{key: given[key] for key in order}) as opt:
        decay = 0.1 if order[0] == "variant" else 0.01
        assert opt.layer("a").get("weight_decay") == decay
        opt.step()
        for twin in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
            assert (twin.layer("a").get("weight_decay"), twin.layer("a").get("adapt")) == (decay, "decayed")
        opt.save(tmp_path / "run")
        own = lw.checkpoint.describe(tmp_path / "run")["identity"]["layers"]["a"]["hyperparameters"]
        assert own == {"adapt": "decayed", "bias_correction": "moments", "decay": "update", "weight_decay": decay}
        with one({"a": np.ones(3)}, rule, **{key: given[key] for key in reversed(order)}) as other:
            with pytest.raises(lw.CheckpointMismatch, match=r"layers\.a\.hyperparameters\.weight_decay"):
                other.load(tmp_path / "run")
        with pytest.raises(lw.InvalidArgument, match="one by one"):
            opt.layer("a").unset("variant")


# ---- What goes by depth


def test_every_policy_and_plan_declares_whether_it_goes_by_depth() -> None:
    found = {it["name"]: it["depends_on_depth"] for it in (*introspection.policies(), *introspection.freeze_plans())}
    assert set(found.values()) == {"always", "never", "parts"}
    assert [name for name, value in found.items() if value == "parts"] == ["for_tower", "combine"]
    assert [name for name, value in found.items() if value == "never"] == [
        "uniform", "explicit", "exclude", "mup", "blockwise", "lora_plus", "relative_gradient_norm", "update_ratio",
        "larc", "tvlars", "hypergradient", "sign_agreement", "ldog_scale", "gradient_noise", "freeze_at", "grades",
    ]  # fmt: skip
    assert not any("depends_on_depth" in it for it in introspection.schedules())


@pytest.mark.parametrize(
    ("options", "by_depth"),
    [
        ({"policy": lw.MuP({"*": (2, 2)})}, False),
        ({"freezing": lw.FreezeAt(freeze={"a": 3})}, False),
        ({"policy": lw.ForTower("t", lw.Explicit({"a": 1.0, "b": 2.0}))}, False),
        ({"policy": lw.Combine(lw.MuP({"*": (2, 2)}), lw.Exclude())}, False),
        ({"policy": lw.ForTower("t", lw.LayerDecay(0.5))}, True),
        ({"policy": lw.Combine(lw.Exclude(), lw.ForTower("t", lw.ULMFiT()))}, True),
        ({"freezing": lw.GradualUnfreezing(3)}, True),
    ],
    ids=str,
)
def test_order_matters_where_something_goes_by_depth(options: dict[str, Any], by_depth: bool) -> None:
    def model(names: str) -> lw.Optimizer:
        opt = lw.Optimizer(RULE, **options)
        for name in names:
            opt.add_layer(name, np.ones((2, 2)), tower="t")
        return opt

    data = model("ab").to_bytes()
    if by_depth:
        with pytest.raises(lw.CheckpointMismatch, match=r"layers\.a\.depth"):
            model("ba").load_bytes(data)
    else:
        assert model("ba").load_bytes(data).problems == ()


# ---- What is no checkpoint


def test_a_file_of_torch_save(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "run.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    with one({"a": np.ones(3)}) as opt:
        with pytest.raises(lw.CorruptCheckpoint, match=r"run\.pt: not a safetensors file, .* zip .* torch\.load"):
            opt.load(tmp_path / "run.pt")
    with pytest.raises(lw.InvalidArgument, match=r"run\.pt: not a safetensors file but a zip archive"):
        _safetensors.read(tmp_path / "run.pt")
