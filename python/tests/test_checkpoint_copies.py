# SPDX-License-Identifier: Apache-2.0
"""Copies of an optimizer and its state in a dict: pickled, copied, carried by torch, it goes on with the same bits."""

import array
import copy
import ctypes
import io
import json
import mmap
import pickle
import struct
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch
from support.recipes import PLANS, POLICIES, SCHEDULES, name_of, optimizer, weights

import layerwise as lw
from layerwise import _pickling

RULE = lw.AdamW(lr=0.05, weight_decay=0.1)
RULES = [
    lw.SGD(0.1),
    lw.SGD(0.1, momentum=0.9, nesterov=True),
    lw.Adam(0.1, amsgrad=True, betas=(0.8, 0.9)),
    RULE,
    *(lw.LARS(variant=variant) for variant in ("paper", "timm", "optax", "mae", "pytorch_optimizer")),  # type: ignore[arg-type]
    *(lw.LAMB(variant=variant) for variant in ("paper", "timm", "apex", "optax", "pytorch_optimizer")),  # type: ignore[arg-type]
]
DUPLICATES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {n}": lambda value, n=n: pickle.loads(pickle.dumps(value, n))
        for n in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}
both_ways = pytest.mark.parametrize("duplicate", [copy.deepcopy, DUPLICATES["pickle 4"]], ids=["deepcopy", "pickle"])


def everything(opt: lw.Optimizer) -> bytes:
    """All that a checkpoint can hold."""
    return opt.to_bytes(parameters=True)


def run(opt: lw.Optimizer, steps: int) -> None:
    for _ in range(steps):
        opt.step()
        if any(isinstance(schedule, lw.ReduceOnPlateau) for schedule in opt._schedules.values()):
            opt.report(1.0)


def assert_goes_on_alike(opt: lw.Optimizer, duplicate: Callable[[Any], Any]) -> None:
    made = duplicate(opt)
    assert type(made) is type(opt)
    assert everything(made) == everything(opt)
    assert bytes(made.preview(20)) == bytes(opt.preview(20))
    before = weights(opt)
    run(made, 5)
    assert weights(opt) == before
    run(opt, 5)
    assert everything(made) == everything(opt)
    assert repr(made) == repr(opt)


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_everything_that_was_set_is_carried(duplicate: Callable[[Any], Any]) -> None:
    schedules = {"lr": lw.ReduceOnPlateau(patience=0), "beta1": lw.Linear(50, min_lr=0.5, floor="absolute")}
    opt = optimizer(
        lw.LAMB(variant="timm", lr=0.1),
        policy=POLICIES[1],
        schedule=schedules,
        freezing=PLANS[0],
        clip_value=3.0,
        nonfinite="skip",
        threads=2,
        telemetry=True,
        maximize=True,
    )
    opt.set(eps=1e-5, clip_layer_norm=7.0)
    opt.lr = 0.02
    opt.layer("head").set(weight_decay=0.3, betas=(0.5, 0.6), depth=9, start=2, lr=0.04, scale=0.5)
    opt.layer("block.1").set(role="head", tower="other")
    opt.layer("norm").freeze()
    opt.layer("embed").schedule = lw.Cosine(30)
    opt.set_schedule(lw.ReduceOnPlateau(patience=1), "weight_decay", "head")
    run(opt, 3)
    opt.step(layer="head")
    assert_goes_on_alike(opt, duplicate)
    made = duplicate(opt)
    for key in ("eps", "betas", "clip_value", "clip_layer_norm", "nonfinite", "threads", "telemetry", "maximize"):
        assert made.get(key) == opt.get(key), key
    for key in ("weight_decay", "betas", "depth", "start", "lr", "scale", "role", "tower", "frozen"):
        for name in opt.layers:
            assert made.layer(name).get(key) == opt.layer(name).get(key), (key, name)
    assert (made.rule, made.policy, made.schedule, made.freezing) == (opt.rule, opt.policy, opt.schedule, opt.freezing)
    assert made.layer("embed").schedule == opt.layer("embed").schedule
    # Layers still follow the optimizer where they have no value of their own.
    for one in (made, opt):
        one.set(weight_decay=0.5)
        one.layer("head").unset("weight_decay")
        assert one.layer("head").get("weight_decay") == 0.5


@pytest.mark.parametrize("rule", RULES, ids=repr)
@both_ways
def test_every_rule_and_variant(rule: lw.Rule, duplicate: Callable[[Any], Any]) -> None:
    opt = optimizer(rule)
    variant = getattr(rule, "variant", None)
    if variant is not None:
        # Some of what a layer was given was overridden by a variant, and some of that again.
        opt.layer("head").set(weight_decay=0.5)
        opt.layer("head").set(variant="timm")
        opt.layer("norm").set(variant=variant)
        opt.layer("norm").set(weight_decay=0.25)
    run(opt, 2)
    assert_goes_on_alike(opt, duplicate)


@pytest.mark.parametrize("recipe", [*SCHEDULES, *POLICIES, *PLANS], ids=name_of)
def test_every_recipe(recipe: Any) -> None:
    kind = {lw.Schedule: "schedule", lw.Policy: "policy", lw.FreezePlan: "freezing"}
    opt = optimizer(RULE, **{next(key for base, key in kind.items() if isinstance(recipe, base)): recipe})
    run(opt, 3)
    assert_goes_on_alike(opt, copy.deepcopy)


@both_ways
def test_types_of_tensors(duplicate: Callable[[Any], Any]) -> None:
    opt = lw.Optimizer(lw.Adam(0.1))
    half = np.linspace(-1, 1, 9).astype(ml_dtypes.bfloat16)
    opt.add_layer("master", {"a": half, "b": np.ones(3, np.float16), "c": np.ones(2)}, master=True, gradient_dtype=None)
    opt.add_layer("plain", half.copy(), half.astype(np.float32))
    # A gradient that was bound once says which type the next must have.
    opt.layer("plain").bind(opt.layer("plain")._record.tensors[0].parameters.owner)
    opt.add_layer("scalar", {"x": np.ones(()), "y": np.ones((0, 3))}, {"x": np.ones(()), "y": np.ones((0, 3))})
    grads = {"master": {"a": half.copy(), "b": np.ones(3, np.float16)}, "plain": half.astype(np.float32)}
    opt.step(grads)
    made = duplicate(opt)
    for one in (opt, made):
        one.step(grads)
        with pytest.raises(lw.DTypeMismatch):
            one.step({"plain": half.copy()})
    assert everything(made) == everything(opt)
    assert "master" in made.layer("master").states()["a"] and "master" not in made.layer("plain").states()["weight"]


@both_ways
def test_parts_of_tensors(duplicate: Callable[[Any], Any]) -> None:
    opt = lw.Optimizer(RULE, lw.LayerDecay(0.5))
    opt.add_layer("a", np.ones((2, 3)), np.ones((2, 3)), whole_shapes={"weight": (8, 3)})
    opt.add_layer("b", np.ones(3), np.ones(3))
    run(opt, 2)
    assert_goes_on_alike(opt, duplicate)
    assert duplicate(opt).layer("a")._record.whole_shapes == opt.layer("a")._record.whole_shapes != {}


@both_ways
def test_a_state_that_was_needed_once(duplicate: Callable[[Any], Any]) -> None:
    opt = optimizer(lw.SGD(0.1, momentum=0.9))
    run(opt, 2)
    opt.set(momentum=0.0)
    run(opt, 1)
    assert "momentum_buffer" in opt.layer("head").states()["weight"]
    made = duplicate(opt)
    assert everything(made) == everything(opt)
    for one in (opt, made):
        one.set(momentum=0.5)
        run(one, 2)
    assert everything(made) == everything(opt)


@both_ways
def test_model_and_optimizer_go_on_sharing_memory(duplicate: Callable[[Any], Any]) -> None:
    weight, gradient = np.ones(3), np.ones(3)
    vector, raw = array.array("f", [1.0, 2.0]), bytearray(struct.pack("6f", *range(6)))
    opt = lw.Optimizer(lw.SGD(lr=1.0))
    opt.add_layer("numpy", weight, gradient)
    opt.add_layer("array", vector, array.array("f", [1.0, 1.0]))
    opt.add_layer("part", memoryview(raw).cast("f")[1:3], array.array("f", [10.0, 10.0]))
    opt.add_layer("matrix", memoryview(array.array("d", range(6))).cast("B").cast("d", (2, 3)))
    model, made = duplicate(({"a": weight, "g": gradient, "v": vector, "r": raw}, opt))
    model["g"][...] = 2
    made.step()
    assert model["a"].tolist() == [-1.0] * 3
    assert model["v"].tolist() == [0.0, 1.0]
    assert struct.unpack("6f", model["r"]) == (0.0, -9.0, -8.0, 3.0, 4.0, 5.0)
    assert weight.tolist() == [1.0] * 3 and vector.tolist() == [1.0, 2.0]
    assert made.layer("matrix")._record.tensors[0].parameters.shape == (2, 3)


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_a_torch_model(way: str) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    opt = lw.Optimizer(lw.AdamW(0.1))
    for name, module in net.named_children():
        opt.add_layer(name, dict(module.named_parameters()))

    def step(model: torch.nn.Module, one: lw.Optimizer) -> bytes:
        model.zero_grad()
        model(torch.linspace(-1, 1, 6).reshape(2, 3)).square().sum().backward()
        one.step({name: {k: p.grad for k, p in m.named_parameters()} for name, m in model.named_children()})
        return b"".join(p.detach().numpy().tobytes() for p in model.parameters())

    step(net, opt)
    if way == "torch.save":
        file = io.BytesIO()
        torch.save((net, opt), file)
        file.seek(0)
        other, made = torch.load(file, weights_only=False)
    else:
        other, made = DUPLICATES["deepcopy" if way == "deepcopy" else "pickle 5"]((net, opt))
    before = b"".join(p.detach().numpy().tobytes() for p in net.parameters())
    after = step(other, made)
    assert before == b"".join(p.detach().numpy().tobytes() for p in net.parameters()) != after
    assert step(net, opt) == after


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_a_layer_goes_with_its_optimizer(duplicate: Callable[[Any], Any]) -> None:
    opt = optimizer(RULE)
    layers, made = duplicate((list(opt.layers.values()), opt))
    assert layers == list(made.layers.values()) != list(opt.layers.values())
    assert copy.copy(opt.layer("head")) == opt.layer("head")


def test_a_shallow_copy_is_refused() -> None:
    opt = optimizer(RULE)
    with pytest.raises(TypeError, match="would step the same memory"):
        copy.copy(opt)


def unnamed() -> Any:
    return (ctypes.c_float * 3)(1, 2, 3)


class Capsule:
    """DLPack, and no other way to its memory."""

    def __init__(self) -> None:
        self.tensor = torch.ones(3)

    def __dlpack__(self, **options: Any) -> Any:
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.tensor.__dlpack_device__()


@pytest.mark.parametrize(
    ("make", "ways"),
    [
        (unnamed, ["pickle"]),
        (lambda: memoryview(mmap.mmap(-1, 4096)).cast("f"), ["pickle", "deepcopy"]),
        (Capsule, ["pickle", "deepcopy"]),
        (lambda: memoryview(unnamed())[1:], ["pickle", "deepcopy"]),
    ],
    ids=["ctypes array", "mmap", "DLPack", "part of a ctypes array"],
)
@pytest.mark.parametrize("role", ["parameters", "gradient"])
def test_memory_that_cannot_go_along(make: Callable[[], Any], ways: list[str], role: str) -> None:
    opt = lw.Optimizer(lw.SGD())
    opt.add_layer("first", np.ones(2))
    odd = make()
    count = 3 if isinstance(odd, Capsule) else len(odd)
    plain = np.ones(count, np.float32)
    tensors = ({"w": odd}, {"w": plain}) if role == "parameters" else ({"w": plain}, {"w": odd})
    opt.add_layer("second", *tensors)
    before = everything(opt)
    for way, duplicate in (("pickle", pickle.dumps), ("deepcopy", copy.deepcopy)):
        if way in ways:
            with pytest.raises(TypeError, match=f'layer "second": tensor "w": {role} cannot be pickled or copied: '):
                duplicate(opt)
        else:
            duplicate(opt)
    assert everything(opt) == before


def test_optimizers_that_cannot_be_copied() -> None:
    dry = lw.Optimizer(RULE, dry_run=True)
    closed = optimizer(RULE)
    closed.close()
    for opt, error in ((dry, lw.InvalidArgument), (closed, lw.ClosedOptimizer)):
        for duplicate in (pickle.dumps, copy.deepcopy):
            with pytest.raises(error):
                duplicate(opt)


class Named(lw.Optimizer):
    """An optimizer with something of its own, and other arguments."""

    def __init__(self, label: list[str]) -> None:
        super().__init__(RULE)
        self.label = label


@both_ways
def test_a_subclass_and_its_attributes(duplicate: Callable[[Any], Any]) -> None:
    label = ["a"]
    opt: Any = Named(label)
    opt.myself = opt
    opt.add_layer("a", np.ones(3), np.ones(3))
    opt.step()
    others, made = duplicate((label, opt))
    assert type(made) is Named and made.label is others is not label
    assert made.myself is made
    assert everything(made) == everything(opt)


def test_attributes_that_are_made_anew() -> None:
    # One that is missing from the list would be carried along, such as a lock, which cannot be.
    assert vars(lw.Optimizer(RULE)).keys() == _pickling.OWN


# ---- State dicts


def test_a_state_dict_carries_everything(tmp_path: Any) -> None:
    with optimizer(RULE, schedule=lw.Cosine(9)) as first:
        run(first, 3)
        state = first.state_dict(parameters=True)
        assert state == {"checkpoint": everything(first)}
        assert first.state_dict() == {"checkpoint": first.to_bytes()}
        torch.save({"optimizer": state}, tmp_path / "torch.pt")
        carried = [
            state,
            copy.deepcopy(state),
            pickle.loads(pickle.dumps(state)),
            torch.load(tmp_path / "torch.pt", weights_only=True)["optimizer"],
            {"checkpoint": np.frombuffer(state["checkpoint"], np.uint8)},
        ]
        for found in carried:
            with optimizer(RULE, schedule=lw.Cosine(9)) as second:
                report = second.load_state_dict(found)
                assert report.problems == () and report.loaded
                assert everything(second) == everything(first)
        arrays = safetensors.numpy.load(state["checkpoint"])
        assert arrays["head/bias/exp_avg"].tolist() == first.layer("head").read_state("bias", "exp_avg").tolist()  # type: ignore[attr-defined]


def test_a_state_dict_takes_the_options_of_a_load() -> None:
    with lw.Optimizer(RULE) as first, lw.Optimizer(RULE) as second:
        first.add_layer("old", np.linspace(0, 1, 4), np.ones(4))
        first.step()
        values = np.zeros(4, np.float32)
        second.add_layer("new", values)
        second.add_layer("more", np.ones(2))
        state = first.state_dict(parameters=True)
        for missing in ({"strict": True}, {"convert": False}):
            options: dict[str, Any] = {"strict": False, "convert": True, "rename": {"old": "new"}} | missing
            before = everything(second)
            if options["strict"]:
                with pytest.raises(lw.CheckpointMismatch):
                    second.load_state_dict(state, **options)
                assert everything(second) == before
            else:
                assert not any(key.endswith("/parameters") for key in second.load_state_dict(state, **options).loaded)
        second.load_state_dict(state, strict=False, convert=True, rename={"old": "new"})
        old = first.layer("old")._record.tensors[0].parameters.owner
        assert values.tolist() == np.asarray(old).astype(np.float32).tolist()


@pytest.mark.parametrize("state", [{}, {"state": {}, "param_groups": []}, {"checkpoint": b"", "more": 1}], ids=repr)
def test_state_dicts_of_others(state: dict[str, Any]) -> None:
    with optimizer(RULE) as opt, pytest.raises(lw.InvalidArgument, match="what state_dict"):
        opt.load_state_dict(state)


@pytest.mark.parametrize(
    "state", [None, b"", [("checkpoint", b"")], {"checkpoint": "text"}, {"checkpoint": None}], ids=repr
)
def test_no_state_dicts(state: Any) -> None:
    with optimizer(RULE) as opt, pytest.raises(TypeError):
        opt.load_state_dict(state)


def test_a_mismatch_can_be_pickled_with_its_list() -> None:
    with optimizer(RULE) as first, optimizer(lw.SGD()) as second:
        with pytest.raises(lw.CheckpointMismatch) as caught:
            second.load_state_dict(first.state_dict())
    found = pickle.loads(pickle.dumps(caught.value))
    assert found.differences == caught.value.differences and str(found) == str(caught.value)
    assert json.loads(json.dumps(found.differences)) == list(found.differences)
