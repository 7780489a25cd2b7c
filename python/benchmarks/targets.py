# SPDX-License-Identifier: Apache-2.0
"""The speed that the project promises, each promise as a ratio of times in one run, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from . import cases
from .policies import MOST, POLICIES, TELEMETRY
from .results import STREAM, STREAM_TWICE, CaseResult
from .rules import elementwise
from .timing import Estimate

LIMIT = "the limit"


class Verdict(Enum):
    """Whether a target was met, judged by the median alone."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Target:
    """A bound on a ratio of two contestants' times, or on one contestant's microseconds.

    Attributes:
        case: The case it is about.
        text: The ratio in words.
        subject: Whose time is above the fraction bar; LIMIT for the loop that the case compares the base with.
        base: Whose time is below; None for microseconds.
        at_least: The lower bound, if it is one.
        at_most: The upper bound, if it is one.
        per_byte: Compare times a byte of each one's own traffic.
    """

    case: str
    text: str
    subject: str
    base: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    per_byte: bool = False

    @property
    def bound(self) -> str:
        """The bound as text."""
        unit = "" if self.base else " µs"
        return f"≥ {self.at_least:g}{unit}" if self.at_least is not None else f"≤ {self.at_most:g}{unit}"

    def measured(self, results: Mapping[str, CaseResult]) -> Estimate | None:
        """What came out, or None if the case was left out or one of the two is absent."""
        result = results.get(self.case)
        if result is None:
            return None
        if self.subject == LIMIT:
            return result.of_limit(self.base) if self.base in result.limits else None
        if self.subject not in result.rows:
            return None
        if self.base is None:
            return result.rows[self.subject].seconds.scaled(1e6)
        if self.base not in result.rows:
            return None
        return result.ratio(self.subject, self.base, self.per_byte)

    def verdict(self, measured: Estimate | None) -> Verdict:
        """Whether ``measured`` keeps the bound."""
        if measured is None:
            return Verdict.NOT_MEASURED
        low = self.at_least is None or measured.median >= self.at_least
        high = self.at_most is None or measured.median <= self.at_most
        return Verdict.MET if low and high else Verdict.MISSED


def _large(case: str, rule: str) -> list[Target]:
    """What holds for both rules on large float32 tensors."""
    return [
        Target(case, f"{rule}: streaming loop / layerwise", STREAM, cases.PLAIN, at_least=0.95),
        Target(case, f"{rule}: torch fused / layerwise", cases.TORCH_FUSED, cases.PLAIN, at_least=1.0),
    ]


def _trust(case: str, ours: str, base: str, peer: str) -> list[Target]:
    """What holds for both rules with a trust ratio."""
    return [
        Target(case, f"{ours} / {base}", ours, base, at_most=1.45),
        Target(case, f"{peer} / {ours}", peer, ours, at_least=4.0),
    ]


_BF16 = "adamw_bfloat16"

TARGETS: list[Target] = [
    *_large("adamw_float32", "AdamW"),
    Target("adamw_float32", "AdamW: DeepSpeed / layerwise", cases.DEEPSPEED, cases.PLAIN, at_least=1.0),
    *_large("sgd_float32", "SGD with momentum"),
    Target("every_rate", "AdamW: a rate for every layer / one rate", cases.EVERY_RATE, cases.PLAIN, at_most=1.01),
    Target(
        "every_rate",
        "SGD with momentum: a rate for every layer / one rate",
        cases.SGD_EVERY_RATE,
        cases.SGD,
        at_most=1.01,
    ),
    Target(_BF16, "bf16 AdamW: streaming loop / layerwise", STREAM, cases.PLAIN, at_least=0.95),
    Target(_BF16, "bf16 AdamW: DeepSpeed / layerwise", cases.DEEPSPEED, cases.PLAIN, at_least=1.0),
    Target(
        _BF16,
        "bf16 AdamW, time a byte: torch fused (bf16 moments) / layerwise",
        cases.TORCH_FUSED_16_BIT,
        cases.PLAIN,
        at_least=1.0,
        per_byte=True,
    ),
    Target(
        _BF16,
        "bf16 AdamW, time a byte: DeepSpeed (bf16 moments) / layerwise",
        cases.DEEPSPEED_16_BIT,
        cases.PLAIN,
        at_least=1.0,
        per_byte=True,
    ),
    *(
        Target("every_rule", f"{name}: plain loop over the same arrays / layerwise", LIMIT, name, at_least=0.9)
        for name in elementwise()
    ),
    *(
        Target("measured_policies", f"AdamW with {name} / with telemetry", name, TELEMETRY, at_most=MOST)
        for name in POLICIES
    ),
    *_trust("lamb_float32", cases.LAMB, cases.ADAMW, cases.PEER_LAMB),
    *_trust("lars_float32", cases.LARS, cases.SGD, cases.PEER_LARS),
    Target(
        "guarded_adamw",
        "AdamW with clipping, finite check, telemetry / plain AdamW",
        cases.GUARDED,
        cases.PLAIN,
        at_most=1.2,
    ),
    Target(
        "lars_float32",
        "LARS: streaming loop that looks first / layerwise",
        STREAM_TWICE,
        cases.LARS,
        at_least=0.95,
    ),
    Target(
        "guarded_adamw",
        "guarded AdamW: streaming loop that looks first / layerwise",
        STREAM_TWICE,
        cases.GUARDED,
        at_least=0.95,
    ),
    Target("small_layers", "small layers: with a schedule / without", cases.SCHEDULED, cases.PLAIN, at_most=1.05),
    Target("small_layers", "small layers: DeepSpeed / layerwise", cases.DEEPSPEED, cases.PLAIN, at_least=10.0),
    Target("small_layers", "small layers: torch fused / layerwise", cases.TORCH_FUSED, cases.PLAIN, at_least=40.0),
    Target("one_tensor", "one tensor of 16 elements", cases.PLAIN, at_most=5.0),
    Target(
        "torch_small",
        "small tensors in torch: torch fused / layerwise",
        cases.TORCH_FUSED,
        cases.IN_TORCH,
        at_least=25.0,
    ),
    Target(
        "torch_small", "small tensors in torch: DeepSpeed / layerwise", cases.DEEPSPEED, cases.IN_TORCH, at_least=6.0
    ),
    Target("torch_minilm", "MiniLM in torch: torch fused / layerwise", cases.TORCH_FUSED, cases.IN_TORCH, at_least=1.0),
    Target(
        "torch_minilm",
        "MiniLM in torch, a group for each tensor: torch fused / layerwise",
        cases.TORCH_FUSED_GROUPS,
        cases.IN_TORCH_GROUPS,
        at_least=2.0,
    ),
    Target("layer_rates", "LayerRates.step, 200 layers", cases.LAYER_RATES, at_most=50),
    Target(
        "driven_minilm",
        "torch fused in torch: driven by layer, merged groups / one group",
        cases.DRIVEN_FUSED,
        cases.TORCH_FUSED,
        at_most=1.02,
    ),
    Target(
        "driven_minilm",
        "torch foreach in torch: driven by layer, merged groups / one group",
        cases.DRIVEN_FOREACH,
        cases.TORCH_FOREACH,
        at_most=1.02,
    ),
]
