# SPDX-License-Identifier: Apache-2.0
"""Every policy and freezing plan that measures, for the case that compares what they cost with AdamW and telemetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import layerwise as lw

from .results import CaseResult
from .stream import THREE_MOMENTS, TWO_MOMENTS, TWO_MOMENTS_AND_COPY, TWO_MOMENTS_AND_SIGNS, Look, Traffic

TELEMETRY = "layerwise, telemetry"
TELEMETRY_AGAIN = "layerwise, telemetry, once more"
"""Takes the steps of `TELEMETRY`: by how much their times differ is what the case cannot tell apart."""
MOST = 1.05
"""What a step with such a policy should cost at most, beside one with telemetry."""


@dataclass(frozen=True)
class Watched:
    """The memory that a step moves beside AdamW's for what a policy goes by.

    Attributes:
        loop: How tables call the plain loop that moves as much.
        traffic: What that moves.
        look: What it reads before.
    """

    loop: str
    traffic: Traffic
    look: Look | None = None

    @property
    def bytes_per_parameter(self) -> int:
        """Reads and writes together."""
        return self.traffic.bytes_per_parameter + (0 if self.look is None else 4)


NORMS = Watched("loop, AdamW", TWO_MOMENTS)
CHANGES = Watched("loop, AdamW and a last change", THREE_MOMENTS)
SIGNS = Watched("loop, AdamW and signs", TWO_MOMENTS_AND_SIGNS)
STARTS = Watched("loop, AdamW and first weights", TWO_MOMENTS_AND_COPY)
MICROBATCHES = Watched("loop, AdamW after a look at gradients", TWO_MOMENTS, Look(weights=False))

WATCHED = (NORMS, CHANGES, SIGNS, STARTS, MICROBATCHES)
_BY_STATE = {"last_change": CHANGES, "last_signs": SIGNS, "start_weights": STARTS}

POLICIES: dict[str, lw.Policy] = {
    "RelativeGradientNorm()": lw.RelativeGradientNorm(),
    "UpdateRatio()": lw.UpdateRatio(),
    "LARC()": lw.LARC(),
    "TVLARS(0.001)": lw.TVLARS(0.001),
    "AutoLR()": lw.AutoLR(),
    "TempBalance()": lw.TempBalance(),
    "AlphaDecay()": lw.AlphaDecay(),
    "GradientNoise(), one micro-batch": lw.GradientNoise(),
    "SignAgreement()": lw.SignAgreement(),
    "LDoGScale()": lw.LDoGScale(),
    "Hypergradient()": lw.Hypergradient(),
}
"""By the name that tables have."""

PLANS: dict[str, lw.FreezePlan] = {
    'AutoFreeze(norm="l2")': lw.AutoFreeze(10**6),
    'AutoFreeze(norm="l1")': lw.AutoFreeze(10**6, norm="l1"),
    'GradES(norm="rms")': lw.GradES(1e-30, 10**6),
    'GradES(norm="l1")': lw.GradES(1e-30, 10**6, norm="l1"),
}
"""Freezing plans that measure, and freeze nothing here."""


def watched(policy: lw.Policy) -> Watched:
    """What a policy goes by, from the states that tensors get for it."""
    if isinstance(policy, lw.GradientNoise):
        return MICROBATCHES
    with lw.Optimizer(lw.AdamW(), policy) as optimizer:
        optimizer.add_layer("layer", np.zeros(1, np.float32))
        states = optimizer.layer("layer").states()["weight"]
    return next((own for state, own in _BY_STATE.items() if state in states), NORMS)


def markdown(result: CaseResult) -> str:
    """The table of docs/benchmarks.md, of the case `measured_policies`."""
    milliseconds = 1e3 * result.rows[TELEMETRY].seconds.median
    control = _times(result, TELEMETRY_AGAIN, TELEMETRY)
    lines = [
        f"| policy | bytes an element | of AdamW with telemetry, {milliseconds:.1f} ms | plain loop, of AdamW's |",
        "|---|---|---|---|",
        f"| none: telemetry once more | {NORMS.bytes_per_parameter} | {control} | 1 |",
    ]
    for name in (*POLICIES, *PLANS):
        own = watched(POLICIES[name]) if name in POLICIES else NORMS
        limit = "1" if own is NORMS else _times(result, own.loop, NORMS.loop)
        code = f"`{name.replace('(), ', '()`, ')}" + ("" if ", " in name else "`")
        lines.append(f"| {code} | {own.bytes_per_parameter} | {_times(result, name, TELEMETRY)} | {limit} |")
    return "\n".join(lines)


def _times(result: CaseResult, name: str, base: str) -> str:
    """How many times as long it takes, with the 95 % interval."""
    ratio = result.ratio(name, base)
    return f"{ratio.median:.2f} ({ratio.low:.2f} … {ratio.high:.2f})"
