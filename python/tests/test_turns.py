# SPDX-License-Identifier: Apache-2.0
"""Freezing plans that take turns, or go by what steps measure."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import layerwise as lw
import layerwise.torch as lt

LAYERS = {"embed": "stem", "a": "block", "b": "block", "c": "block", "d": "block", "norm": "norm", "head": "head"}

_MASK = (1 << 64) - 1


def mixed(number: int) -> int:
    """SplitMix64's output function, from its paper."""
    z = (number + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def order(seed: int, draw: int, count: int) -> list[int]:
    """The blocks in the order of their random numbers."""
    key = mixed((seed + 0x9E3779B97F4A7C15) & _MASK)
    return sorted(range(count), key=lambda block: (mixed((mixed(key ^ draw) + block) & _MASK), block))


def network(plan: lw.FreezePlan, rule: lw.Rule | None = None, **settings: Any) -> tuple[lw.Optimizer, Any, Any]:
    """A stack of layers of 20 numbers, with gradients."""
    opt = lw.Optimizer(rule or lw.AdamW(lr=0.01), freezing=plan, **settings)
    params = {name: np.ones(20) for name in LAYERS}
    grads = {name: np.full(20, 0.1) for name in LAYERS}
    for name, role in LAYERS.items():
        opt.add_layer(name, params[name], grads[name], role=role)
    return opt, params, grads


def active(opt: lw.Optimizer, step: int) -> list[str]:
    """The layers that train at a step."""
    return [row["layer"] for row in opt.explain_rows(step) if not row["frozen"]]


ENDS = ["embed", "norm", "head"]
BLOCKS = ["a", "b", "c", "d"]


def test_lisa_draws_blocks() -> None:
    opt, *_ = network(lw.LISA(2, every=3, seed=7))
    seen = set()
    for step in range(60):
        drawn = order(7, step // 3, 4)[:2]
        expected = {BLOCKS[block] for block in drawn} | set(ENDS)
        assert set(active(opt, step)) == expected, step
        seen.add(frozenset(drawn))
    assert len(seen) == 6, "20 draws have each pair"
    assert active(opt, 5) != active(network(lw.LISA(2, every=3, seed=8))[0], 5)
    assert set(active(network(lw.LISA(9))[0], 0)) == set(LAYERS)


@pytest.mark.parametrize(
    ("plan", "turns"),
    [
        (lw.BAdam(2), [[name] for name in LAYERS]),
        (lw.BAdam(2, order="descending"), [[name] for name in reversed(LAYERS)]),
        (lw.HiFT(2, every=2), [["embed", "a"], ["b", "c"], ["d", "norm"], ["head"]]),
        (lw.HiFT(3, every=2, ends="train"), [["embed", "a", "b", "c", "norm", "head"], ["embed", "d", "norm", "head"]]),
        (lw.HiFT(1, every=2, ends="frozen"), [[name] for name in BLOCKS]),
    ],
)
def test_blocks_take_turns(plan: lw.FreezePlan, turns: list[list[str]]) -> None:
    opt, *_ = network(plan)
    for step in range(4 * len(turns) + 3):
        assert active(opt, step) == turns[step // 2 % len(turns)], step


def test_a_random_order_is_new_in_each_round() -> None:
    opt, *_ = network(lw.BAdam(1, order="random", seed=3))
    rounds = [[active(opt, 7 * number + turn)[0] for turn in range(7)] for number in range(5)]
    names = list(LAYERS)
    assert rounds == [[names[block] for block in order(3, number, 7)] for number in range(5)]
    assert all(sorted(one) == sorted(names) for one in rounds) and len({tuple(one) for one in rounds}) > 1


def test_the_table_says_when_a_turn_ends() -> None:
    opt, *_ = network(lw.BAdam(5))
    rows = {row["layer"]: row for row in opt.explain_rows(7)}
    assert [rows[name]["changes_at"] for name in ("embed", "a", "b", "head")] == [35, 10, 10, 30]
    assert "frozen until 35" in opt.explain(7)
    # Two draws in succession may have the same block: the next change is that of the draw without it.
    lisa, *_ = network(lw.LISA(2, every=3, seed=7))
    row = next(row for row in lisa.explain_rows(0) if row["layer"] == "a")
    changes = next(step for step in range(0, 300, 3) if ("a" in active(lisa, step)) == row["frozen"])
    assert row["changes_at"] == changes


def test_preview_and_steps_agree() -> None:
    opt, params, _ = network(lw.HiFT(2, every=2))
    rates = opt.preview(12)
    for step in range(12):
        before = {name: value.copy() for name, value in params.items()}
        opt.step()
        moved = [name for name in LAYERS if not np.array_equal(before[name], params[name])]
        assert moved == active(opt, step)
        assert [name for name in LAYERS if rates[name][step] > 0] == moved


@pytest.mark.parametrize("states", ["keep", "clear"])
def test_states_at_rest(states: Any) -> None:
    opt, params, _ = network(lw.HiFT(1, every=3, ends="frozen", states=states))
    for _ in range(4):
        opt.step()
    info = opt.explain_rows()[1]
    state = opt.layer("a").read_state(0, "exp_avg", np.empty(20))
    if states == "keep":
        assert info["steps"] == 3 and np.asarray(state).any()
        return
    assert info["steps"] == 0 and not np.asarray(state).any()
    # Its next turn is as that of an optimizer that begins with these weights.
    for _ in range(8):
        opt.step()
    fresh = params["a"].copy()
    other = lw.Optimizer(lw.AdamW(lr=0.01))
    other.add_layer("a", fresh, np.full(20, 0.1))
    for _ in range(3):
        opt.step()
        other.step()
    assert np.array_equal(params["a"], fresh)


@pytest.mark.parametrize(
    "plan", [lw.LISA(2, every=2, states="clear"), lw.BAdam(2, order="random"), lw.HiFT(1), lw.AutoFreeze(2)]
)
def test_resumes(plan: lw.FreezePlan) -> None:
    opt, *_ = network(plan)
    for _ in range(5):
        opt.step()
    loaded, *_ = network(plan)
    loaded.load_bytes(opt.to_bytes(parameters=True))
    snapshot = opt.snapshot()
    for each in (opt, loaded):
        for _ in range(6):
            each.step()
    after = opt.to_bytes(parameters=True)
    assert loaded.to_bytes(parameters=True) == after
    opt.restore(snapshot)
    for _ in range(6):
        opt.step()
    assert opt.to_bytes(parameters=True) == after


def resident() -> int:
    """The bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_memory_of_cleared_states_is_given_back() -> None:
    count = 1 << 22
    opt = lw.Optimizer(lw.AdamW(lr=0.01), freezing=lw.BAdam(1), threads=1)
    gradient = np.full(count, 0.1, np.float32)
    for name in ("a", "b", "c", "d"):
        opt.add_layer(name, np.ones(count, np.float32), gradient)
    opt.step()
    first = resident()
    for _ in range(7):
        opt.step()
    # Moments take 8 bytes for an element; those of three of four layers are at rest.
    assert resident() - first < count * 8 // 2
    opt.freezing = None
    opt.step()
    assert resident() - first > 2 * count * 8


# ---- By measurement


def measured(plan: lw.FreezePlan, gradient: Callable[[str, int], float], steps: int) -> tuple[lw.Optimizer, list[Any]]:
    """Layers with gradients of given sizes; which of them are frozen after each step."""
    opt, _, grads = network(plan, lw.SGD(lr=0.01))
    frozen = []
    for step in range(steps):
        for name in LAYERS:
            grads[name][...] = gradient(name, step)
        opt.step()
        frozen.append([row["layer"] for row in opt.explain_rows() if row["frozen"]])
    return opt, frozen


@pytest.mark.parametrize("measure", ["gradient", "update"])
def test_grades_freezes_what_hardly_changes(measure: Any) -> None:
    sizes = {name: 0.5**position for position, name in enumerate(LAYERS)}
    unit = 1.0 if measure == "gradient" else 0.01
    plan = lw.GradES(0.1 * unit, 20, start=0.2, measure=measure, average=0.5)
    opt, frozen = measured(plan, lambda name, step: sizes[name] * (1 if step < 8 else 0.5), 12)
    averages = {}
    expected: list[list[str]] = []
    gone: set[str] = set()
    for step in range(12):
        for name in LAYERS:
            if name in gone:
                continue
            value = sizes[name] * (1 if step < 8 else 0.5)
            averages[name] = value if step == 0 else 0.5 * averages[name] + 0.5 * value
        if step >= 4:
            gone |= {name for name in LAYERS if averages[name] < 0.1}
        expected.append([name for name in LAYERS if name in gone])
    assert frozen == expected and frozen[3] == [] and 0 < len(frozen[4]) < len(frozen[-1])
    assert "frozen for good" in opt.explain()
    assert opt.preview(3)["head"] == [0, 0, 0]
    # By hand a layer trains all the same, and a plan that is set again begins to measure.
    opt.layer("head").unfreeze()
    assert "head" in active(opt, opt.next_step)
    opt.layer("head").follow_plan()
    opt.freezing = plan
    assert active(opt, opt.next_step) == list(LAYERS)


def test_autofreeze_freezes_from_the_input() -> None:
    # The gradients of the first layers settle: the sum of an interval is that of the one before.
    change = dict(zip(LAYERS, [1.0, 0.99, 0.5, 0.98, 0.4, 0.3, 0.2], strict=True))
    _, frozen = measured(lw.AutoFreeze(3), lambda name, step: change[name] ** (step // 3), 12)
    eta = {name: 1 - value for name, value in change.items()}
    limit = float(np.quantile(list(eta.values()), 0.5))
    prefix = []
    for name in LAYERS:
        if eta[name] >= limit:
            break
        prefix.append(name)
    assert frozen[4] == [] and frozen[5] == prefix == ["embed", "a"]
    rest = {name: value for name, value in eta.items() if name not in prefix}
    limit = float(np.quantile(list(rest.values()), 0.5))
    for name in LAYERS:
        if name in prefix:
            continue
        if eta[name] >= limit:
            break
        prefix.append(name)
    assert frozen[8] == prefix and frozen[11][: len(prefix)] == prefix


def test_measured_plans_are_saved_and_refused_elsewhere() -> None:
    sizes = {name: 0.5**position for position, name in enumerate(LAYERS)}
    plan = lw.GradES(0.1, 20, start=0.0, measure="gradient")
    opt, frozen = measured(plan, lambda name, _: sizes[name], 2)
    state = opt.measurements()
    assert len(state) == 5 * len(LAYERS) and frozen[-1]
    assert [value == 0 for value in state[2::5]] == [name in frozen[-1] for name in LAYERS]
    both = lw.Optimizer(lw.SGD(lr=0.01), lw.LARC(), freezing=plan)
    both.add_layer("a", np.ones(3), np.ones(3))
    both.step()
    assert len(both.measurements()) == 8 and not math.isnan(both.measurements()[3])
    other = lw.Optimizer(lw.SGD(lr=0.01), lw.LARC(), freezing=plan)
    other.add_layer("a", np.ones(3), np.ones(3))
    other.set_measurements(both.measurements())
    assert other.measurements() == both.measurements()
    other.restart_measurements()
    assert other.measurements()[1::5] == [0, 0] or other.measurements()[1] == other.measurements()[4] == 0
    module = nn.Linear(2, 2)
    with pytest.raises(lw.InvalidArgument, match="grades measures gradients and weights"):
        lt.LayerRates(torch.optim.AdamW(module.parameters()), module, freezing=plan)
    with pytest.raises(lw.OutOfRange, match="threshold must be"):
        lw.Optimizer(lw.SGD(lr=0.01), freezing=lw.GradES(math.nan, 20))


def test_torch_resumes_a_measured_plan(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plan = lw.GradES(1e-3, 100, start=0.0)

    def build() -> tuple[nn.Module, torch.optim.Optimizer]:
        module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        return module, lt.SGD(module, lr=0.01, freezing=plan, policy=lw.RelativeGradientNorm())

    def train(module: nn.Module, opt: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            draw = torch.Generator().manual_seed(step)
            opt.zero_grad()
            module(torch.randn(6, 4, generator=draw)).square().mean().backward()
            opt.step()

    first, opt = build()
    train(first, opt, range(5))
    torch.save([first.state_dict(), opt.state_dict()], tmp_path / "run.pt")
    second, other = build()
    weights, state = torch.load(tmp_path / "run.pt", weights_only=True)
    second.load_state_dict(weights)
    other.load_state_dict(state)
    assert other.native.measurements() == opt.native.measurements()
    for module, each in ((first, opt), (second, other)):
        train(module, each, range(5, 9))
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
