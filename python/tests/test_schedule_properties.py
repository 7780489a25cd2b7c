# SPDX-License-Identifier: Apache-2.0
"""Whatever settings the library accepts, no rate is negative or not a number, and none is infinite but by overflow.

Settings are drawn from the library's own declarations: what is usual, or anything in the declared ranges.
"""

import math
import sys
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, reject, settings, strategies
from support.declarations import MISSING, concrete, fields
from support.recipes import optimizer

import layerwise as lw

Values = strategies.SearchStrategy[Any]

DECLARED = {entry["name"]: entry for entry in [*lw.schedules(), *lw.policies(), *lw.freeze_plans()]}
LARGEST = sys.float_info.max
STEPS = strategies.one_of(strategies.integers(0, 40), strategies.integers(0, 2**53))


def limits(text: str) -> tuple[float, float, bool, bool]:
    """Lower and upper limit of a declared range, and whether each is outside of it."""
    lower, upper = (float(part) for part in text.strip("[]()").split(", "))
    return lower, upper, text[0] == "(", text[-1] == ")"


def numbers(entry: dict[str, Any], kind: str) -> Values:
    """Numbers of a declared range."""
    lower, upper, excludes_lower, excludes_upper = limits(entry["range"])
    if kind == "int":
        largest = int(upper)
        return strategies.one_of(
            strategies.integers(int(lower), min(largest, 40)), strategies.integers(int(lower), largest)
        )
    anything = strategies.floats(
        lower if math.isfinite(lower) else -LARGEST,
        upper if math.isfinite(upper) else LARGEST,
        exclude_min=excludes_lower and math.isfinite(lower),
        exclude_max=excludes_upper and math.isfinite(upper),
    )
    usual = [x for x in (1e-5, 0.1, 0.5, 0.9, 1.0, 2.5) if lower < x < upper]
    return strategies.one_of(strategies.sampled_from(usual), anything)


@strategies.composite
def given_settings(draw: Any, cls: type[Any]) -> dict[str, Any]:
    """Some of the settings of a kind, and all that must be given."""
    found = {}
    for entry in DECLARED[cls.name]["settings"]:
        field = fields(cls)[entry["key"]]
        if field.default is not MISSING and draw(strategies.integers(0, 2)):
            continue
        if entry["kind"] == "number":
            found[entry["key"]] = draw(numbers(entry, str(field.type).removesuffix(" | None")))
        elif entry["kind"] == "flag":
            found[entry["key"]] = draw(strategies.booleans())
        elif entry["kind"] == "choice":
            found[entry["key"]] = draw(strategies.sampled_from(entry["choices"]))
    return found


FACTORS = strategies.one_of(strategies.sampled_from([0.0, 0.5, 1.0]), strategies.floats(0, LARGEST))
RISING = strategies.lists(STEPS, min_size=1, max_size=4, unique=True).map(sorted)
LEAVES = [
    cls
    for cls in concrete(lw.Schedule)
    if cls not in (lw.MultiStep, lw.Piecewise, lw.FactorTable, lw.Warmup, lw.Sequential, lw.Product)
]


def made(cls: type[Any], *arguments: Any, **options: Any) -> Any:
    """An instance; settings that are refused together are drawn again."""
    try:
        return cls(*arguments, **options)
    except lw.OutOfRange:
        reject()


def build(cls: type[Any], *arguments: Values) -> Values:
    """Instances of a class with these first arguments and any settings."""
    return strategies.builds(
        lambda values, options: made(cls, *values, **options), strategies.tuples(*arguments), given_settings(cls)
    )


LISTS = [
    build(lw.MultiStep, RISING),
    build(
        lw.Piecewise,
        RISING.flatmap(
            lambda steps: strategies.tuples(*[strategies.tuples(strategies.just(step), FACTORS) for step in steps])
        ),
    ),
    build(lw.FactorTable, strategies.lists(FACTORS, min_size=1, max_size=5)),
]


@strategies.composite
def warmups(draw: Any, parts: Values) -> lw.Schedule:
    then = draw(strategies.one_of(strategies.none(), parts))
    found: lw.Schedule = made(lw.Warmup, then=then, **draw(given_settings(lw.Warmup)))
    return found


@strategies.composite
def sequences(draw: Any, parts: Values) -> lw.Schedule:
    milestones = draw(strategies.lists(STEPS.map(lambda step: step + 1), min_size=1, max_size=3, unique=True))
    return lw.Sequential([draw(parts) for _ in range(len(milestones) + 1)], sorted(milestones))


def composed(parts: Values) -> Values:
    products = strategies.lists(parts, min_size=2, max_size=3).map(lambda schedules: lw.Product(*schedules))
    return strategies.one_of(warmups(parts), sequences(parts), products)


SCHEDULES = strategies.recursive(strategies.one_of(*map(build, LEAVES), *LISTS), composed, max_leaves=4)
BASES = strategies.one_of(strategies.sampled_from([0.0, 1e-3, 0.1, 1.0]), strategies.floats(0, 1e30))
MANY = settings(
    max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def has_large_numbers(schedule: lw.Schedule) -> bool:
    """Whether a rate may overflow: a factor or a floor far from 1 is meant."""
    values = [*schedule.settings().values(), *schedule.values()]
    return any(isinstance(x, float) and (x > 1e60 or 0 < x < 1e-60) for x in values) or any(
        has_large_numbers(part) for part in schedule.parts() if isinstance(part, lw.Schedule)
    )


def accepted(schedule: lw.Schedule) -> bool:
    """Whether the settings do not exclude each other."""
    try:
        schedule.evaluate(0)
    except lw.OutOfRange:
        return False
    return True


@MANY
@given(SCHEDULES, BASES, STEPS, strategies.integers(1, 2**40))
def test_no_rate_is_negative_or_infinite(schedule: lw.Schedule, base: float, first: int, stride: int) -> None:
    assume(accepted(schedule))
    for values in (
        schedule.evaluate(60, base=base),
        schedule.evaluate(40, base=base, first=first),
        schedule.evaluate(40, base=base, first=first, stride=stride),
    ):
        rates = np.asarray(values)
        assert not np.isnan(rates).any()
        assert (rates >= 0).all()
        assert np.isfinite(rates).all() or has_large_numbers(schedule)


@MANY
@given(
    SCHEDULES,
    strategies.one_of(*(build(cls) for cls in (lw.LayerDecay, lw.GeometricRange, lw.ULMFiT, lw.Exclude, lw.LoRAPlus))),
    strategies.one_of(*(build(cls) for cls in (lw.GradualUnfreezing, lw.ChainThaw, lw.FreezeOut, lw.LayerFreezing))),
    STEPS,
)
def test_what_is_told_beforehand_is_what_a_step_takes(
    schedule: lw.Schedule, policy: lw.Policy, plan: lw.FreezePlan, step: int
) -> None:
    with optimizer(telemetry=True) as opt:
        try:
            opt.policy, opt.schedule, opt.freezing = policy, schedule, plan
            opt.layer("norm").schedule = lw.Warmup(5, schedule)
            opt.explain()
        except (lw.OutOfRange, lw.UnknownName):
            assume(False)
        opt.seek(step)
        expected = np.asarray(opt.preview(3))
        assert not np.isnan(expected).any()
        assert (expected >= 0).all()
        for index in range(3 if step < 2**53 - 3 else 0):
            if not np.isfinite(expected[:, index]).all():
                break
            try:
                opt.step()
            except lw.OutOfRange as error:
                # A frozen layer's rate, or that of a tensor apart from its layer.
                assert "not finite" in str(error)
                break
            taken = [telemetry.effective_lr for telemetry in opt.telemetry().values()]
            assert taken == expected[:, index].tolist()
