# SPDX-License-Identifier: Apache-2.0
"""Saving and loading: everything that the next step depends on comes back, bit for bit."""

import ctypes
import mmap
import os
import signal
from collections.abc import Callable
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from support.recipes import LAYERS, PLANS, POLICIES, SCHEDULES, name_of, optimizer, weights
from support.scenario import BFLOAT16, RULES, TYPES, numbers, placed

import layerwise as lw
from layerwise import _binding

RULE = lw.AdamW(lr=0.05, weight_decay=0.1)
NAMES = ("a/b", "a%2Fb", "a%252Fb", "größe ①", "a b.c", "%")


def run(opt: lw.Optimizer, steps: int, *, reports: bool = False) -> None:
    """Some steps, with metrics of a loss that stops falling between them."""
    for _ in range(steps):
        opt.step()
        if reports:
            opt.report(max(1.0 - 0.1 * opt.next_step, 0.6))


def everything(opt: lw.Optimizer) -> bytes:
    """All that a checkpoint can hold: two optimizers of which this is the same are the same."""
    return opt.to_bytes(parameters=True)


def spoil(opt: lw.Optimizer) -> None:
    """Set other parameters, as in a program that has just started."""
    for layer in opt._layers:
        for tensor in layer.tensors:
            tensor.parameters.owner[...] = 7  # type: ignore[index]


@pytest.mark.parametrize(
    ("schedule", "policy", "plan"), [*zip_longest(SCHEDULES, POLICIES, [*PLANS, None, None, *PLANS])], ids=name_of
)
def test_goes_on_with_the_same_bits(
    tmp_path: Path, schedule: lw.Schedule, policy: lw.Policy | None, plan: lw.FreezePlan | None
) -> None:
    reports = isinstance(schedule, lw.ReduceOnPlateau)
    options: dict[str, Any] = {"policy": policy, "schedule": schedule, "freezing": plan}
    with optimizer(RULE, **options) as straight, optimizer(RULE, **options) as first:
        run(straight, 20, reports=reports)
        run(first, 11, reports=reports)
        first.save(tmp_path / "run.lw", parameters=True)
        with optimizer(RULE, **options) as second:
            spoil(second)
            second.load(tmp_path / "run.lw")
            assert everything(second) == everything(first)
            run(second, 9, reports=reports)
            assert everything(second) == everything(straight) != everything(first)
            assert second.explain() == straight.explain()


def of_type(rule: str, kind: str, *, offset: int) -> tuple[lw.Optimizer, dict[str, Any]]:
    """An optimizer of odd shapes in memory that begins `offset` elements past a page's start."""
    dtype, gradient_dtype, master = TYPES[kind]
    generator = np.random.default_rng(3)
    shapes = {"scalar": (), "empty": (0, 2), "odd": (37,), "matrix": (5, 33)}
    values = {name: placed(numbers(shape, dtype, generator), offset) for name, shape in shapes.items()}
    chosen, options = RULES[rule]
    opt = lw.Optimizer(chosen, **options)
    grads = {name: placed(numbers(value.shape, gradient_dtype, generator), offset) for name, value in values.items()}
    opt.add_layer("layer", values, grads, master=master)
    return opt, values


@pytest.mark.parametrize(("rule", "kind"), [*product(RULES, TYPES)])
def test_every_rule_and_type(rule: str, kind: str) -> None:
    first, _ = of_type(rule, kind, offset=0)
    second, values = of_type(rule, kind, offset=3)
    with first, second:
        run(first, 3)
        spoil(second)
        second.load_bytes(everything(first))
        assert everything(second) == everything(first)
        run(first, 3)
        run(second, 3)
        assert everything(second) == everything(first)
        assert values["odd"].tobytes() == first._layers[0].tensors[2].parameters.owner.tobytes()  # type: ignore[attr-defined]


def test_what_was_done_by_hand() -> None:
    with optimizer(RULE, freezing=lw.GradualUnfreezing(3)) as first, optimizer(RULE) as second:
        second.freezing = first.freezing
        for opt in (first, second):
            opt.layer("norm").schedule = lw.ReduceOnPlateau(patience=0)
        run(first, 2, reports=True)
        first.layer("head").freeze()
        first.layer("embed").unfreeze()
        first.lr = 0.02
        first.layer("block.0").set(lr=0.7)
        run(first, 2, reports=True)
        second.load_bytes(everything(first))
        assert second.lr == 0.02
        assert second.layer("block.0").get("lr") == 0.7
        assert second.layer("head").frozen and not second.layer("embed").frozen
        assert second.schedule_state(layer="norm") == first.schedule_state(layer="norm") != [1.0, 1.0, 0.0, 0.0]
        assert everything(second) == everything(first)
        for opt in (first, second):
            opt.layer("embed").follow_plan()
            run(opt, 3, reports=True)
        assert everything(second) == everything(first)


def test_in_the_middle_of_a_round_of_single_layers() -> None:
    # A schedule tells the two rounds apart: a layer that has stepped in this round begins the next.
    options: dict[str, Any] = {"schedule": lw.Linear(6)}
    with optimizer(RULE, **options) as first, optimizer(RULE, **options) as second:
        for name in (*LAYERS, "embed", "norm"):
            first.step(layer=name)
        second.load_bytes(everything(first))
        for opt in (first, second):
            assert opt.next_step == 2
            for name in ("head", "embed", "block.0"):
                opt.step(layer=name)
        assert everything(second) == everything(first)
        assert second.next_step == first.next_step


def test_steps_and_skipped_steps_are_counted_on() -> None:
    with optimizer(RULE, nonfinite="skip") as first, optimizer(RULE, nonfinite="skip") as second:
        run(first, 3)
        first.step({"head": {"bias": np.full(4, np.nan)}})
        second.load_bytes(first.to_bytes())
        summary = second.summary()
        assert (summary.steps, summary.skipped_steps, summary.next_step) == (3, 1, 3)


def test_threads_and_telemetry_are_free() -> None:
    with optimizer(RULE, threads=1) as first, optimizer(RULE, threads=2, telemetry=True) as second:
        run(first, 2)
        second.load_bytes(everything(first))
        assert (second.get("threads"), second.get("telemetry")) == (2.0, 1.0)
        run(first, 1)
        run(second, 1)
        assert weights(second) == weights(first)


def test_parameters_are_restored_in_place_or_left_alone() -> None:
    with optimizer(RULE) as first, optimizer(RULE) as second:
        run(first, 2)
        before = weights(second)
        objects = [tensor.parameters.owner for layer in second._layers for tensor in layer.tensors]
        report = second.load_bytes(first.to_bytes())
        assert weights(second) == before != weights(first)
        assert not any(key.endswith("/parameters") for key in report.loaded)
        report = second.load_bytes(first.to_bytes(parameters=True))
        assert [value.tobytes() for value in objects] == weights(first)  # type: ignore[attr-defined]
        assert sum(key.endswith("/parameters") for key in report.loaded) == len(objects)


def test_names_of_every_kind(tmp_path: Path) -> None:
    def make() -> lw.Optimizer:
        opt = lw.Optimizer(RULE)
        for number, name in enumerate(NAMES):
            opt.add_layer(
                name, {tensor: np.full(2, 1.0 + number) for tensor in NAMES}, dict.fromkeys(NAMES, np.ones(2))
            )
        return opt

    with make() as first, make() as second:
        run(first, 2)
        first.layer("a/b").set(frozen="yes")
        first.save(tmp_path / "größe ①", parameters=True)
        report = second.load(tmp_path / "größe ①")
        assert everything(second) == everything(first)
        assert len(set(report.loaded)) == len(NAMES) ** 2 * 4
        assert {"a%2Fb/a%252Fb/step", "a%252Fb/a%2Fb/exp_avg", "größe ①/%25/parameters"} <= set(report.loaded)
        assert second.layer("a/b").frozen and not second.layer("a%2Fb").frozen


def in_order(names: tuple[str, ...], policy: lw.Policy, **depths: int) -> tuple[lw.Optimizer, dict[str, Any]]:
    opt = lw.Optimizer(RULE, policy)
    values = {name: np.linspace(1, 2, 3) * len(name) for name in names}
    for name, value in values.items():
        opt.add_layer(name, value, np.sin(value), depth=depths.get(name))
    return opt, values


def test_the_order_of_registration_does_not_matter() -> None:
    first, expected = in_order(("a", "bb", "ccc"), lw.Uniform())
    second, values = in_order(("ccc", "a", "bb"), lw.Uniform())
    with first, second:
        run(first, 2)
        second.load_bytes(everything(first))
        run(first, 2)
        run(second, 2)
        for name, value in values.items():
            assert value.tobytes() == expected[name].tobytes()
            for state in ("step", "exp_avg", "exp_avg_sq"):
                assert second.layer(name).read_state(0, state) == first.layer(name).read_state(0, state)


def test_the_order_matters_where_depths_follow_from_it() -> None:
    policy = lw.LayerDecay(0.5)
    (first, _), (second, _) = in_order(("a", "bb"), policy), in_order(("bb", "a"), policy)
    with first, second:
        with pytest.raises(lw.CheckpointMismatch) as caught:
            second.load_bytes(first.to_bytes())
        assert [line.partition(":")[0] for line in caught.value.differences] == ["layers.a.depth", "layers.bb.depth"]
        second.layer("a").set(depth=0)
        second.layer("bb").set(depth=1)
        second.load_bytes(first.to_bytes())


def test_nothing_is_a_checkpoint_too() -> None:
    with lw.Optimizer(lw.SGD()) as first, lw.Optimizer(lw.SGD()) as second:
        first.step()
        assert second.load_bytes(first.to_bytes()) == lw.LoadReport()
        assert second.next_step == 1


# ---- Not finite


def test_what_is_not_finite_replaces_no_file(tmp_path: Path) -> None:
    path = tmp_path / "run.lw"
    with optimizer(RULE) as opt:
        run(opt, 1)
        opt.save(path, parameters=True, require_finite=True)
        before = path.read_bytes()
        bad = np.zeros((3, 4))
        bad[2, 1] = np.inf
        opt.layer("block.1").write_state("weight", "exp_avg_sq", bad)
        for attempt in (lambda: opt.save(path, require_finite=True), lambda: opt.to_bytes(require_finite=True)):
            with pytest.raises(lw.NonFiniteGradient, match=r'layer "block.1": tensor "weight": .*exp_avg_sq') as caught:
                attempt()
            assert (caught.value.layer, caught.value.tensor) == (2, 0)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["run.lw"]
        opt.save(path)
        with optimizer(RULE) as other:
            other.load(path)
            assert other.layer("block.1").read_state("weight", "exp_avg_sq")[9] == np.inf  # type: ignore[index]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_parameters_that_are_not_finite(kind: str, value: float) -> None:
    opt, values = of_type("sgd", kind, offset=1)
    with opt:
        values["matrix"][4, 32] = value
        opt.to_bytes(require_finite=True)
        opt.to_bytes(parameters=True)
        with pytest.raises(lw.NonFiniteGradient, match="layer/matrix/parameters"):
            opt.to_bytes(parameters=True, require_finite=True)
        # The largest finite numbers are not refused, though their squares are no numbers.
        largest = float(np.finfo(np.float64).max) if values["matrix"].itemsize == 8 else 1e4
        values["matrix"][...] = largest
        opt.to_bytes(parameters=True, require_finite=True)


# ---- Other readers and writers


def test_any_safetensors_reader_reads_it(tmp_path: Path) -> None:
    for kind in TYPES:
        opt, values = of_type("adam", kind, offset=0)
        with opt:
            run(opt, 2)
            opt.save(tmp_path / "run.lw", parameters=True)
            layer = opt.layer("layer")
            expected = {
                f"layer/{tensor}/{state}": bytes(layer.read_state(tensor, state))  # type: ignore[call-overload]
                for tensor, states in layer.states().items()
                for state in states
            } | {f"layer/{tensor}/parameters": value.tobytes() for tensor, value in values.items()}
            with safe_open(tmp_path / "run.lw", "pt") as file:
                found = {key: file.get_tensor(key) for key in file.keys()}
                assert file.metadata()["format"] == "layerwise.checkpoint"
            assert {
                key: value.view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
                for key, value in found.items()
            } == expected
            for tensor, value in values.items():
                assert found[f"layer/{tensor}/step"].shape == ()
                assert found[f"layer/{tensor}/step"].item() == 2
                assert found[f"layer/{tensor}/exp_avg"].shape == value.shape
                assert found[f"layer/{tensor}/parameters"].shape == value.shape
                expected_type = "bfloat16" if value.dtype == BFLOAT16 else value.dtype.name
                assert str(found[f"layer/{tensor}/parameters"].dtype) == f"torch.{expected_type}"


def test_what_others_wrote_is_no_checkpoint(tmp_path: Path) -> None:
    with optimizer(RULE) as opt:
        before = everything(opt)
        save_file({"head/bias/exp_avg": np.ones(4)}, tmp_path / "other.safetensors")
        with pytest.raises(lw.CorruptCheckpoint, match="not a checkpoint of Layerwise"):
            opt.load(tmp_path / "other.safetensors")
        for content in (b"", b"PK\x03\x04", bytes(100), b"\x80\x04" + bytes(1000), b"{}" * 50):
            (tmp_path / "other").write_bytes(content)
            with pytest.raises(lw.CorruptCheckpoint, match="other"):
                opt.load(tmp_path / "other", strict=False, convert=True)
            with pytest.raises(lw.CorruptCheckpoint):
                opt.load_bytes(content)
        assert everything(opt) == before


def test_damage_is_found_and_changes_nothing() -> None:
    with optimizer(RULE) as first, optimizer(RULE) as second:
        run(first, 2)
        good, before = everything(first), everything(second)
        for place in range(0, len(good), 97):
            bad = bytearray(good)
            bad[place] ^= 1 << place % 8
            with pytest.raises(lw.CorruptCheckpoint):
                second.load_bytes(bad, strict=False, convert=True)
        assert everything(second) == before
        second.load_bytes(good)
        assert everything(second) == good


# ---- Files and bytes


def test_the_file_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    with optimizer(RULE) as opt:
        run(opt, 1)
        opt.save(str(tmp_path / "a"))
        opt.save(tmp_path / "b", parameters=True)
        assert (tmp_path / "a").read_bytes() == opt.to_bytes()
        assert (tmp_path / "b").read_bytes() == opt.to_bytes(parameters=True) != opt.to_bytes()
        assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("lengths", [(50, 1), (1, 50), (1, 50, 99)], ids=["shorter", "longer", "longer twice"])
def test_a_checkpoint_that_changes_while_its_size_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, lengths: tuple[int, ...]
) -> None:
    export, ahead = _binding.lw_optimizer_export, [*lengths, lengths[-1]]

    def after_a_change(*arguments: Any) -> int:
        # As another thread would between two calls.
        if ahead:
            opt.policy = lw.Explicit(dict.fromkeys(map(str, range(ahead.pop(0))), 1.0), unused="ignore")
        return int(export(*arguments))

    with optimizer(RULE) as opt:
        monkeypatch.setattr(_binding, "lw_optimizer_export", after_a_change)
        found = opt.to_bytes()
        monkeypatch.undo()
        assert found == opt.to_bytes()


def test_bytes_in_any_buffer(tmp_path: Path) -> None:
    with optimizer(RULE) as first:
        run(first, 3)
        data = everything(first)
    (tmp_path / "run.lw").write_bytes(data)
    with open(tmp_path / "run.lw", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        padded = bytes(3) + data
        array = np.frombuffer(data, np.uint8)
        for buffer in (data, bytearray(data), memoryview(data), memoryview(padded)[3:], mapped, array):
            with optimizer(RULE) as second:
                second.load_bytes(buffer)
                assert everything(second) == data
    with optimizer(RULE) as second:
        with pytest.raises(lw.InvalidArgument, match="strided"):
            second.load_bytes(memoryview(padded)[::2])
        for nothing in (None, "text", 3, tmp_path):
            with pytest.raises(TypeError, match="expected the bytes of a checkpoint"):
                second.load_bytes(nothing)


def test_paths_that_are_none(tmp_path: Path) -> None:
    with optimizer(RULE) as opt:
        for method in (opt.save, opt.load):
            for nothing in (None, 3, ["a"]):
                with pytest.raises(TypeError):
                    method(nothing)  # type: ignore[arg-type]
            with pytest.raises(lw.InvalidArgument, match="NUL"):
                method(f"{tmp_path}/a\0b")
            with pytest.raises(lw.InvalidArgument, match="UTF-8"):
                method(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
            with pytest.raises(OSError, match="No such file or directory") as caught:
                method(tmp_path / "none" / "run.lw")
            assert isinstance(caught.value, lw.CheckpointIOError)
        with pytest.raises(lw.CheckpointIOError):
            opt.load(tmp_path)
        with pytest.raises(lw.CheckpointIOError):
            opt.save(tmp_path)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", [1, 0.0, None, "yes", np.bool_(True), np.array([True])], ids=repr)
def test_options_that_are_no_flags(tmp_path: Path, value: Any) -> None:
    with optimizer(RULE) as opt:
        opt.save(tmp_path / "run.lw")
        data = opt.to_bytes()
        attempts: list[Callable[[], object]] = [
            lambda: opt.save(tmp_path / "other.lw", parameters=value),
            lambda: opt.save(tmp_path / "other.lw", require_finite=value),
            lambda: opt.to_bytes(parameters=value),
            lambda: opt.load(tmp_path / "run.lw", strict=value),
            lambda: opt.load(tmp_path / "run.lw", convert=value),
            lambda: opt.load_bytes(data, strict=value),
            lambda: opt.state_dict(parameters=value),
        ]
        for attempt in attempts:
            with pytest.raises(TypeError, match="expected True or False"):
                attempt()
        assert os.listdir(tmp_path) == ["run.lw"]


def test_an_interrupted_save_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "run.lw"
    with lw.Optimizer(lw.AdamW()) as opt:
        opt.add_layer("a", np.ones(200_000), np.ones(200_000))
        opt.save(path)
        interrupted = 0
        old = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            for delay in range(1, 60):
                opt.step()
                try:
                    signal.setitimer(signal.ITIMER_REAL, delay * 2e-4)
                    opt.save(path)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    interrupted += 1
                found = lw.checkpoint.describe(path)["progress"]["next_step"]
                assert found in (opt.next_step, opt.next_step - 1)
                opt.save(path)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        assert interrupted
        assert os.listdir(tmp_path) == ["run.lw"]


# ---- When it cannot be done


def test_in_the_middle_of_a_step(tmp_path: Path) -> None:
    refused = []

    def reduce(sums: Any, count: int, context: Any) -> int:
        for attempt in attempts:
            try:
                attempt()
            except lw.BusyOptimizer:
                refused.append(attempt)
        return 0

    with optimizer(RULE, clip_global_norm=1.0) as opt:
        opt.save(tmp_path / "run.lw")
        data = opt.to_bytes()
        attempts: list[Callable[[], object]] = [
            lambda: opt.save(tmp_path / "run.lw"),
            lambda: opt.load(tmp_path / "run.lw"),
            opt.to_bytes,
            lambda: opt.load_bytes(data),
        ]
        step = _binding.lw_step(ctypes.sizeof(_binding.lw_step), 0, -1, 1.0)
        step.reduce = _binding.lw_reduce(reduce)
        _binding.call(_binding.lw_optimizer_step, opt._handle, step)
        assert len(refused) >= len(attempts)
        assert opt.next_step == 1
        assert (tmp_path / "run.lw").read_bytes() == data


def test_closed_or_without_memory(tmp_path: Path) -> None:
    with lw.Optimizer(RULE, dry_run=True) as opt:
        opt.add_layer("a", (3,))
        for attempt in (opt.to_bytes, lambda: opt.save(tmp_path / "a"), opt.state_dict):
            with pytest.raises(lw.InvalidArgument, match="dry_run"):
                attempt()
    data = optimizer(RULE).to_bytes()
    for attempt in (opt.to_bytes, opt.state_dict, lambda: opt.save(tmp_path / "a"), lambda: opt.load(tmp_path / "a")):
        with pytest.raises(lw.ClosedOptimizer):
            attempt()
    with pytest.raises(lw.ClosedOptimizer):
        opt.load_bytes(data)
    assert os.listdir(tmp_path) == []


def test_a_tensor_that_was_moved_is_not_touched(tmp_path: Path) -> None:
    weight = torch.ones(4)
    with lw.Optimizer(lw.SGD(lr=0.1, momentum=0.9)) as opt:
        layer = opt.add_layer("a", weight, torch.ones(4))
        opt.step()
        data = everything(opt)
        weight.data = torch.zeros(4)
        # What has nothing to do with parameters can be saved.
        opt.to_bytes()
        for attempt in (
            lambda: everything(opt),
            lambda: opt.save(tmp_path / "a", parameters=True),
            lambda: opt.load_bytes(data),
        ):
            with pytest.raises(lw.InvalidArgument, match=r'layer "a": .*moved'):
                attempt()
        layer.bind(weight, torch.ones(4))
        opt.load_bytes(data)
        assert weight.tolist() == [pytest.approx(0.9)] * 4
