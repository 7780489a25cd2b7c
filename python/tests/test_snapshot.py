# SPDX-License-Identifier: Apache-2.0
"""A restored snapshot puts back every bit, whatever was done since, and the run goes on as if nothing had been done."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.rules import TABLE
from support.rules import rule as rule_of
from support.scenario import TYPES, numbers
from torch import nn

import layerwise as lw
import layerwise.torch as lt

Array = np.ndarray[Any, Any]
SHAPES = {"body": {"weight": (33, 31), "bias": (31,)}, "norm": {"weight": (1,), "empty": (0, 2)}, "head": {"w": (7, 5)}}


def optimizer(rule: lw.Rule, kind: str = "float32", **options: Any) -> tuple[lw.Optimizer, list[Array]]:
    dtype, gradient_dtype, master = TYPES[kind]
    draw = np.random.default_rng(3)
    opt = lw.Optimizer(rule, **options)
    gradients = []
    for name, shapes in SHAPES.items():
        params = {tensor: numbers(shape, dtype, draw) for tensor, shape in shapes.items()}
        grads = {tensor: numbers(shape, gradient_dtype, draw) for tensor, shape in shapes.items()}
        # Muon takes whole matrices only.
        whole = {"w": (14, 5)} if name == "head" and not isinstance(rule, lw.Muon) else None
        opt.add_layer(name, params, grads, master=master, whole_shapes=whole)
        gradients += grads.values()
    return opt, gradients


def disturb(opt: lw.Optimizer) -> None:
    """Change what can be changed."""
    opt.train()
    for layer in opt.layers.values():
        layer.unfreeze()
        layer.set(scale=3.0, depth=7)
    opt.policy = lw.RelativeGradientNorm()
    opt.freezing = None
    opt.schedule = lw.Constant(0.5)
    opt.set_schedule(lw.ReduceOnPlateau(), layer="head")
    opt.set(lr=0.125, clip_value=0.25)
    opt.step()
    opt.report(1.0)
    opt.step()
    opt.layer("body").freeze()
    opt.layer("norm").reset()
    opt.step()
    opt.seek(100)


def saved(opt: lw.Optimizer) -> bytes:
    return opt.to_bytes(parameters=True)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", TABLE)
def test_every_rule_and_kind(name: str, kind: str) -> None:
    rule = rule_of(name, TABLE[name].options)
    options: dict[str, Any] = {
        "policy": lw.LayerDecay(0.75),
        "schedule": lw.Warmup(3, lw.Cosine(20)),
        "freezing": lw.GradualUnfreezing(2),
        "clip_global_norm": 2.0,
    }
    opt, gradients = optimizer(rule, kind, **options)
    straight, others = optimizer(rule, kind, **options)
    for each in (opt, straight):
        for _ in range(3):
            each.step()
    before, snapshot = saved(opt), opt.snapshot()
    for _ in range(2):
        for gradient in gradients:
            gradient[...] = 0.5
        disturb(opt)
        assert saved(opt) != before
        opt.restore(snapshot)
        assert saved(opt) == before
        assert opt.explain() == straight.explain()
        assert bytes(opt.preview(9)) == bytes(straight.preview(9))
    for gradient, other in zip(gradients, others, strict=True):
        gradient[...] = other
    for each in (opt, straight):
        each.step()
        each.step()
    assert saved(opt) == saved(straight) != before


def test_policy_schedules_and_plan_are_the_objects_again() -> None:
    policy, schedule, plan = lw.LayerDecay(0.75), lw.Cosine(20), lw.GradualUnfreezing(2)
    opt, _ = optimizer(lw.SGD(lr=0.1, momentum=0.9), policy=policy, schedule=schedule, freezing=plan)
    own = lw.Constant(0.5)
    opt.layer("head").schedule = own
    snapshot = opt.snapshot()
    disturb(opt)
    opt.set_schedule(lw.Constant(0.25), "momentum")
    opt.restore(snapshot)
    assert opt.policy is policy and opt.schedule is schedule and opt.freezing is plan
    assert opt.layer("head").schedule is own
    assert opt._schedules == {"lr": schedule}
    # The snapshot is not changed by what comes after.
    opt.layer("head").schedule = None
    opt.restore(snapshot)
    assert opt.layer("head").schedule is own


@pytest.mark.parametrize("policy", [lw.RelativeGradientNorm(), lw.Combine(lw.LayerDecay(0.5), lw.UpdateRatio(1e-3))])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_measurements(policy: lw.Policy, steps: int) -> None:
    opt, _ = optimizer(lw.AdamW(lr=0.01), policy=policy)
    straight, _ = optimizer(lw.AdamW(lr=0.01), policy=policy)
    for _ in range(steps):
        opt.step()
        straight.step()
    snapshot = opt.snapshot()
    disturb(opt)
    opt.restore(snapshot)
    for _ in range(3):
        opt.step()
        straight.step()
    assert saved(opt) == saved(straight)


@pytest.mark.parametrize("evaluates", [False, True])
def test_weights_for_evaluation(evaluates: bool) -> None:
    rule = lw.ScheduleFreeAdamW(lr=0.01)
    (opt, _), (straight, _) = optimizer(rule, "bfloat16, master copy"), optimizer(rule, "bfloat16, master copy")
    for each in (opt, straight):
        each.step()
        each.step()
        if evaluates:
            each.eval()
    before, snapshot = saved(opt), opt.snapshot()
    disturb(opt)
    if not evaluates:
        opt.eval()
    opt.restore(snapshot)
    assert opt.mode == ("evaluation" if evaluates else "training")
    assert saved(opt) == before
    for each in (opt, straight):
        each.train()
        each.step()
    assert saved(opt) == saved(straight)


def test_frozen_layers_and_settings_of_layers() -> None:
    opt, _ = optimizer(lw.AdamW(lr=0.01))
    opt.layer("body").freeze()
    opt.layer("head").set(lr=0.5, weight_decay=0.25, scale=2.0)
    opt.step()
    snapshot, rows = opt.snapshot(), opt.explain_rows()
    disturb(opt)
    opt.layer("head").unset("weight_decay")
    opt.restore(snapshot)
    assert opt.explain_rows() == rows
    assert opt.layer("body").frozen and opt.layer("head").get("weight_decay") == 0.25


def test_states_that_came_since_begin_again() -> None:
    opt, _ = optimizer(lw.SGD(lr=0.1))
    opt.step()
    snapshot = opt.snapshot()
    results = []
    for _ in range(2):
        opt.set(momentum=0.9)
        opt.step()
        opt.step()
        results.append(saved(opt))
        opt.restore(snapshot)
        assert opt.get("momentum") == 0
    assert results[0] == results[1]


def test_what_no_result_depends_on_stays() -> None:
    opt, _ = optimizer(lw.SGD(lr=0.1), threads=2)
    snapshot = opt.snapshot()
    opt.set(threads=1, telemetry=True, empty_step="allow")
    opt.restore(snapshot)
    assert (opt.get("threads"), opt.get("telemetry"), opt.get("empty_step")) == (1.0, 1.0, "allow")


def test_layers_stepped_one_by_one() -> None:
    (opt, _), (straight, _) = optimizer(lw.AdamW(), schedule=lw.Cosine(9)), optimizer(lw.AdamW(), schedule=lw.Cosine(9))
    for each in (opt, straight):
        each.step()
        each.step(layer="head")
    snapshot = opt.snapshot()
    opt.step(layer="body")
    opt.step()
    opt.restore(snapshot)
    for each in (opt, straight):
        each.step(layer="body")
        each.step(layer="head")
        each.step()
    assert saved(opt) == saved(straight)


def test_parameters_go_where_they_lie_now() -> None:
    opt, _ = optimizer(lw.AdamW(lr=0.01))
    opt.step()
    before, snapshot = saved(opt), opt.snapshot()
    moved = np.zeros((7, 5), np.float32)
    opt.layer("head").bind({"w": moved}, {"w": np.ones((7, 5), np.float32)})
    assert saved(opt) != before
    opt.restore(snapshot)
    assert saved(opt) == before and moved.any()


def test_large_tensors_are_shared_by_threads() -> None:
    draw = np.random.default_rng(0)
    weights = {f"w{index}": draw.standard_normal((1 << 20) + index).astype(np.float32) for index in range(5)}
    opt = lw.Optimizer(lw.AdamW(lr=0.1), threads=4)
    opt.add_layer("layer", weights, {name: np.ones_like(value) for name, value in weights.items()})
    opt.step()
    before, snapshot = saved(opt), opt.snapshot()
    opt.step()
    for value in weights.values():
        value[...] = 7
    opt.restore(snapshot)
    assert saved(opt) == before
    assert snapshot.nbytes >= 3 * sum(value.nbytes for value in weights.values())


def test_refusals_change_nothing() -> None:
    (opt, _), (other, _) = optimizer(lw.AdamW(lr=0.01)), optimizer(lw.AdamW(lr=0.01))
    snapshot = opt.snapshot()
    for each in (opt, other):
        each.step()
    before = saved(other)
    with pytest.raises(lw.CheckpointMismatch, match="another optimizer"):
        other.restore(snapshot)
    with pytest.raises(TypeError, match="expected what snapshot"):
        other.restore(before)  # type: ignore[arg-type]
    assert saved(other) == before
    with pytest.raises(lw.CheckpointMismatch, match="another optimizer"):
        copy.deepcopy(opt).restore(snapshot)
    opt.add_layer("more", np.ones(3, np.float32), np.ones(3, np.float32))
    before = saved(opt)
    with pytest.raises(lw.CheckpointMismatch, match="the snapshot has 3 layers, the optimizer 4"):
        opt.restore(snapshot)
    assert saved(opt) == before
    assert repr(snapshot) == f"<layerwise.Snapshot: {snapshot.nbytes} bytes>"
    snapshot.close()
    snapshot.close()
    assert repr(snapshot) == "<layerwise.Snapshot: closed>"
    with pytest.raises(lw.ClosedOptimizer, match="the snapshot was destroyed"):
        opt.restore(snapshot)
    kept = opt.snapshot()
    opt.close()
    with pytest.raises(lw.ClosedOptimizer, match="the optimizer was destroyed"):
        opt.restore(kept)
    with pytest.raises(lw.ClosedOptimizer):
        opt.snapshot()
    assert kept.nbytes > 0
    for fails in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="save a checkpoint"):
            fails(kept)


def test_a_dry_run_has_nothing_to_copy() -> None:
    opt = lw.Optimizer(lw.SGD(), dry_run=True)
    opt.add_layer("layer", (3,))
    with pytest.raises(lw.InvalidArgument, match="dry_run"):
        opt.snapshot()


def test_a_tensor_that_was_resized_is_refused() -> None:
    weight = torch.ones(5)
    opt = lw.Optimizer(lw.SGD())
    opt.add_layer("layer", weight, torch.ones(5))
    snapshot = opt.snapshot()
    weight.data = torch.zeros(5)
    for call in (opt.snapshot, lambda: opt.restore(snapshot)):
        with pytest.raises(lw.InvalidArgument, match="moved or resized"):
            call()


# ---- torch


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))


def train(model: nn.Module, opt: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        draw = torch.Generator().manual_seed(step)
        opt.zero_grad()
        model(torch.randn(8, 6, generator=draw)).square().mean().backward()
        opt.step()


def bits(model: nn.Module, opt: lt.LayerwiseOptimizer) -> bytes:
    return opt.native.to_bytes(parameters=True)


MAKE: dict[str, Callable[..., lt.LayerwiseOptimizer]] = {
    "AdamW": lambda model: lt.AdamW(model, lr=0.01, layer_decay=0.5),
    "groups": lambda model: lt.SGD(
        [{"params": model[0].parameters(), "lr": torch.tensor(0.1)}, {"params": model[2:].parameters()}],
        lr=0.02,
        momentum=0.9,
        module=model,
    ),
    "rules": lambda model: lt.AdamW(
        [{"params": model[0].parameters(), "rule": lw.Lion(lr=1e-3)}, {"params": model[2:].parameters()}], module=model
    ),
    "measured": lambda model: lt.AdamW(model, lr=0.01, policy=lw.RelativeGradientNorm()),
    "schedule-free": lambda model: lt.ScheduleFreeAdamW(model, lr=0.01),
    "in backward": lambda model: lt.AdamW(model, lr=0.01, step_in_backward=True),
    "prodigy": lambda model: lt.Prodigy(model, lr=1.0),
}


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("name", MAKE)
def test_torch_goes_on_with_the_same_bits(name: str, steps: int, looks: bool) -> None:
    model, other = network(), network()
    opt, straight = MAKE[name](model), MAKE[name](other)
    for each, own in ((opt, model), (straight, other)):
        train(own, each, steps)
    before, snapshot = bits(model, opt), opt.snapshot()
    state = copy.deepcopy(opt.state_dict())
    for _ in range(2):
        for group in opt.param_groups:
            group["lr"] = float(group["lr"]) * 3
        opt.param_groups[0]["weight_decay"] = 0.5
        train(model, opt, 3, first=50)
        if looks:
            assert opt.state
        opt.native.policy = lw.LayerDecay(0.25)
        train(model, opt, 1, first=60)
        assert bits(model, opt) != before
        opt.restore(snapshot)
        assert bits(model, opt) == before
        assert len(opt.state) == len(straight.state)
        found = opt.state_dict()
        assert [group["lr"] for group in found["param_groups"]] == [group["lr"] for group in state["param_groups"]]
        assert found["param_groups"] == state["param_groups"]
        assert found["state"].keys() == state["state"].keys()
    for each, own in ((opt, model), (straight, other)):
        train(own, each, 3, first=steps)
    assert bits(model, opt) == bits(other, straight)


def test_a_tensor_for_a_rate_steers_on() -> None:
    model = network()
    rate = torch.tensor(0.5)
    opt = lt.SGD(model.parameters(), lr=rate)
    snapshot = opt.snapshot()
    rate.fill_(0.25)
    train(model, opt, 1)
    opt.restore(snapshot)
    assert opt.param_groups[0]["lr"] is rate and float(rate) == 0.5


def test_a_scheduler_goes_on() -> None:
    model = network()
    opt = lt.SGD(model.parameters(), lr=0.5)
    snapshot = opt.snapshot()
    scheduler = torch.optim.lr_scheduler.StepLR(opt, 1, 0.5)
    train(model, opt, 1)
    scheduler.step()
    opt.restore(snapshot)
    assert opt.param_groups[0]["lr"] == 0.5 and opt.param_groups[0]["initial_lr"] == 0.5
    scheduler.step()


def test_parameters_with_gaps() -> None:
    weight = nn.Parameter(torch.randn(6, 8)[:, ::2])
    opt = lt.AdamW([weight], lr=0.1)
    weight.grad = torch.ones_like(weight)
    opt.step()
    snapshot, before = opt.snapshot(), weight.detach().clone()
    opt.step()
    opt.restore(snapshot)
    assert torch.equal(weight.detach(), before)


def test_autograd_refuses_what_was_restored_under_it() -> None:
    weight = nn.Parameter(torch.ones(3))
    opt = lt.SGD([weight], lr=0.1)
    snapshot = opt.snapshot()
    loss = weight.square().sum()
    opt.restore(snapshot)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_torch_refusals() -> None:
    model = network()
    opt, other = lt.AdamW(model[0].parameters()), lt.AdamW(network().parameters())
    snapshot = opt.snapshot()
    with pytest.raises(lw.CheckpointMismatch, match="another optimizer"):
        other.restore(snapshot)
    with pytest.raises(TypeError, match="expected what snapshot"):
        opt.restore(opt.native.snapshot())  # type: ignore[arg-type]
    opt.add_param_group({"params": list(model[2].parameters())})
    with pytest.raises(lw.CheckpointMismatch, match="1 param groups, the optimizer 2"):
        opt.restore(snapshot)
    with pytest.raises(TypeError, match="save a checkpoint"):
        pickle.dumps(snapshot)
    assert repr(snapshot).startswith("<layerwise.torch snapshot: ")
    assert snapshot.nbytes > 0
    snapshot.close()
