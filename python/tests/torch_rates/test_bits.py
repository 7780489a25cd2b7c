# SPDX-License-Identifier: Apache-2.0
"""Driving torch's AdamW gives in every bit what groups made by hand give, one for each parameter, with the same values.

The values themselves are compared with those that the library shows and uses for its own steps.
"""

import itertools
import math
from typing import Any

import pytest
import torch
from support.recipes import FIXED_PLANS, MEASURING, POLICIES, SCHEDULES
from torch_optim.support.networks import assert_same, states_of, values_of

import layerwise as lw
import layerwise.torch as lwt
from layerwise.torch import LayerRates
from torch_rates.driving import LAYERS, by_hand, drive, groups_of, inputs, tower, values_by_name

STEPS = 24
LR, WEIGHT_DECAY = 0.01, 0.3

pytestmark = pytest.mark.usefixtures("one_thread")

# Each policy with each schedule and each plan would be 1,375 runs: each pair of two meets, in as many as there are
# policies times schedules, and the plans take turns.
CASES = [
    pytest.param(
        POLICIES[policy],
        None if schedule == len(SCHEDULES) else SCHEDULES[schedule],
        None
        if (policy + schedule) % (len(FIXED_PLANS) + 1) == 0
        else FIXED_PLANS[(policy + schedule) % (len(FIXED_PLANS) + 1) - 1],
        id=f"{policy}-{schedule}",
    )
    for policy, schedule in itertools.product(range(len(POLICIES)), range(0, len(SCHEDULES) + 1, 2))
    # A policy that measures is refused where another optimizer steps.
    if not isinstance(POLICIES[policy], MEASURING)
]


@pytest.mark.parametrize(("policy", "schedule", "plan"), CASES)
def test_equals_groups_made_by_hand(
    policy: lw.Policy, schedule: lw.Schedule | None, plan: lw.FreezePlan | None
) -> None:
    data, gains = inputs(STEPS), _only_multiplies(schedule)
    model = tower()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    rates = LayerRates(optimizer, model, layers=LAYERS, policy=policy, schedule=schedule, freezing=plan)
    rows = []
    for values in data:
        rows.append(values_by_name(model, rates))
        _check_values(rates, rows[-1], gains)
        drive(model, optimizer, rates, [values])
    twin = tower()
    other = torch.optim.AdamW(groups_of(twin), lr=LR, weight_decay=WEIGHT_DECAY)
    by_hand(twin, other, rows, data)
    assert_same(values_of(model), values_of(twin))
    assert_same(states_of(model, optimizer), states_of(twin, other))
    assert any(
        not torch.equal(found, start) for found, start in zip(model.parameters(), tower().parameters(), strict=True)
    )


def _check_values(rates: LayerRates, found: dict[str, dict[str, Any]], gains: bool) -> None:
    """The groups say what `explain` says of layers, and of tensors that the policy treats apart.

    A tensor's rate is base · (scale · own scale) · gain, here (base · scale · gain) · own scale: of six roundings, each
    of which is at most 1.1e-16, so much together.  A schedule with an absolute part does not scale it.
    """
    for row in rates.explain_rows():
        apart = {tensor["tensor"]: tensor for tensor in row["apart"]}
        for tensor in ("weight", "bias"):
            own = apart.get(tensor, {"scale": 1.0, "decay_scale": 1.0})
            values = found[f"{row['layer']}.{tensor}"]
            if not row["frozen"] and (gains or own["scale"] == 1):
                assert math.isclose(values["lr"], row["effective_lr"] * own["scale"], rel_tol=6.7e-16)
            assert math.isclose(values["weight_decay"], row["weight_decay"] * own["decay_scale"], rel_tol=6.7e-16)


def _only_multiplies(schedule: lw.Schedule | None) -> bool:
    return schedule is None or [2 * value for value in schedule.evaluate(STEPS)] == [*schedule.evaluate(STEPS, base=2)]


@pytest.mark.parametrize("follows", ["layer_lr", "base_lr", "independent"])
def test_equals_our_own_class(follows: str) -> None:
    """Within what a step of ours may differ from torch's: 4 ulp a step (docs/numerics.md), for 24 steps."""
    options = {
        "policy": lw.LayerDecay(0.6),
        "schedule": lw.Cosine(40, min_factor=0.2),
        "freezing": lw.GradualUnfreezing(3),
        "decay_follows": follows,
        "weight_decay_exclude_1d": True,
    }
    data = inputs(STEPS, torch.float64)
    model, twin = tower(torch.float64), tower(torch.float64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    rates = LayerRates(optimizer, model, layers=LAYERS, **options)  # type: ignore[arg-type]
    ours = lwt.AdamW(twin, layers=LAYERS, lr=LR, weight_decay=WEIGHT_DECAY, **options)  # type: ignore[arg-type]
    drive(model, optimizer, rates, data)
    for values in data:
        twin(values).square().mean().backward()
        ours.step()
        ours.zero_grad()
    start = tower(torch.float64)
    for found, expected, old in zip(model.parameters(), twin.parameters(), start.parameters(), strict=True):
        assert not torch.equal(expected, old)
        # Gradients of weights that differ in the last place differ too, by as much as the network amplifies.
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_decay_that_follows_the_base_is_the_same_for_all_layers() -> None:
    model = tower()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5, decay_follows="base_lr")
    for group in optimizer.param_groups:
        assert math.isclose(group["lr"] * group["weight_decay"], LR * WEIGHT_DECAY, rel_tol=1e-15)
    assert len({group["lr"] for group in optimizer.param_groups}) == 5


def test_decay_at_a_rate_of_zero_is_refused_by_the_layer() -> None:
    model = tower()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    before = [dict(group) for group in optimizer.param_groups]
    with pytest.raises(lw.errors.OutOfRange, match='layer "embed": decay_follows is base_lr'):
        LayerRates(optimizer, model, layers=LAYERS, policy=lw.Explicit({"embed": 0, "*": 1}), decay_follows="base_lr")
    assert [dict(group) for group in optimizer.param_groups] == before


@pytest.mark.parametrize(
    ("make", "key", "schedule", "value"),
    [
        (torch.optim.SGD, "momentum", lw.OneCycleMomentum(10, base_momentum=0.6, max_momentum=0.9), 0.9),
        (torch.optim.AdamW, "beta1", lw.OneCycleMomentum(10, base_momentum=0.6, max_momentum=0.9), 0.9),
        (torch.optim.AdamW, "weight_decay", lw.Linear(10, min_factor=0.5), 0.1),
        (torch.optim.RMSprop, "weight_decay", lw.Linear(10, min_factor=0.5), 0.1),
    ],
)
def test_moves_other_hyperparameters(make: type, key: str, schedule: lw.Schedule, value: float) -> None:
    given = {"betas": (value, 0.99)} if key == "beta1" else {key: value}
    model = tower()
    optimizer = make(model.parameters(), lr=LR, **given)
    rates = LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5, schedule={key: schedule})
    seen = []
    for values in inputs(8):
        seen.append(optimizer.param_groups[0]["betas"][0] if key == "beta1" else optimizer.param_groups[0][key])
        drive(model, optimizer, rates, [values])
    assert seen == list(schedule.evaluate(8, base=value))
    assert len(set(seen)) > 4
    assert [group["lr"] for group in optimizer.param_groups] == rates.base_lrs
