# SPDX-License-Identifier: Apache-2.0
"""One step of every rule in float64, as plain loops over lists, for the self-test of `layerwise doctor`.

Written from the equations of `docs/rules.md` and not from the kernels.  There is at least one case for each kernel of
the library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Tensor:
    """The weights and gradients of one tensor, and what a rule keeps of it between steps."""

    weights: list[float]
    gradients: list[float] = field(default_factory=list)
    states: dict[str, list[float]] = field(default_factory=dict)
    scalars: dict[str, float] = field(default_factory=dict)
    step: int = 0
    """t, from 1."""

    def state(self, name: str) -> list[float]:
        """A state, which is zero at first."""
        return self.states.setdefault(name, [0.0] * len(self.weights))

    def move(self, name: str, decay: float, share: float, values: Sequence[float]) -> list[float]:
        """Replace a state by decay·s + share·value."""
        old = self.state(name)
        new = [decay * s + share * value for s, value in zip(old, values, strict=True)]
        self.states[name] = new
        return new


Step = Callable[[Tensor, dict[str, float]], list[float]]
"""Returns what is subtracted from every weight."""


@dataclass(frozen=True)
class Case:
    """A rule with settings, and its step in float64."""

    label: str
    kernel: str
    """The library's name of what computes it."""
    rule: str
    settings: dict[str, float | str]
    step: Step

    def change(self, tensor: Tensor) -> list[float]:
        """Advance the states and return δ."""
        tensor.step += 1
        return self.step(tensor, {key: value for key, value in self.settings.items() if not isinstance(value, str)})


def _norm(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in values))


def _velocity(t: Tensor, s: dict[str, float], values: list[float]) -> list[float]:
    """The velocity after the values of this step; dampening leaves the first step alone."""
    mu = s["momentum"]
    share = 1.0 if t.step == 1 else 1 - s.get("dampening", 0.0)
    new = t.move("momentum_buffer", mu, share, values)
    if s.get("nesterov"):
        return [value + mu * b for value, b in zip(values, new, strict=True)]
    return new


def _sgd(t: Tensor, s: dict[str, float]) -> list[float]:
    values = [g + s["weight_decay"] * w for g, w in zip(t.gradients, t.weights, strict=True)]
    moved = _velocity(t, s, values) if s.get("momentum") else values
    return [s["lr"] * b for b in moved]


def _lars(t: Tensor, s: dict[str, float]) -> list[float]:
    decay = s["weight_decay"]
    norm = _norm(t.weights)
    ratio = s["trust_coefficient"] * norm / (_norm(t.gradients) + decay * norm)
    values = [s["lr"] * ratio * (g + decay * w) for g, w in zip(t.gradients, t.weights, strict=True)]
    return _velocity(t, s, values) if s["momentum"] else values


def _moments(t: Tensor, s: dict[str, float], gradients: list[float]) -> tuple[list[float], list[float]]:
    b1, b2 = s["beta1"], s["beta2"]
    first = t.move("exp_avg", b1, 1 - b1, gradients)
    second = t.move("exp_avg_sq", b2, 1 - b2, [g * g for g in gradients])
    return first, second


def _direction(t: Tensor, s: dict[str, float], gradients: list[float]) -> list[float]:
    """m̂ / (√v̂ + ε)."""
    first, second = _moments(t, s, gradients)
    if s.get("amsgrad"):
        second = [max(old, new) for old, new in zip(t.state("max_exp_avg_sq"), second, strict=True)]
        t.states["max_exp_avg_sq"] = second
    c1, c2 = 1 - s["beta1"] ** t.step, 1 - s["beta2"] ** t.step
    return [m / c1 / (math.sqrt(v / c2) + s["eps"]) for m, v in zip(first, second, strict=True)]


def _adam(t: Tensor, s: dict[str, float]) -> list[float]:
    values = [g + s["weight_decay"] * w for g, w in zip(t.gradients, t.weights, strict=True)]
    return [s["lr"] * u for u in _direction(t, s, values)]


def _adamw(t: Tensor, s: dict[str, float]) -> list[float]:
    moved = _direction(t, s, t.gradients)
    return [s["lr"] * u + s["lr"] * s["weight_decay"] * w for u, w in zip(moved, t.weights, strict=True)]


def _lamb(t: Tensor, s: dict[str, float]) -> list[float]:
    moved = _direction(t, s, t.gradients)
    values = [u + s["weight_decay"] * w for u, w in zip(moved, t.weights, strict=True)]
    ratio = _norm(t.weights) / _norm(values)
    return [s["lr"] * ratio * value for value in values]


def _lion(t: Tensor, s: dict[str, float]) -> list[float]:
    b1, b2, old = s["beta1"], s["beta2"], t.state("exp_avg")
    sought = [b1 * m + (1 - b1) * g for m, g in zip(old, t.gradients, strict=True)]
    t.move("exp_avg", b2, 1 - b2, t.gradients)
    return [
        s["lr"] * (math.copysign(1, c) if c else 0.0) + s["lr"] * s["weight_decay"] * w
        for c, w in zip(sought, t.weights, strict=True)
    ]


def _nadam(t: Tensor, s: dict[str, float]) -> list[float]:
    def mu(step: int) -> float:
        return s["beta1"] * (1 - 0.5 * math.pow(0.96, step * s["momentum_decay"]))

    values = [g + s["weight_decay"] * w for g, w in zip(t.gradients, t.weights, strict=True)]
    first, second = _moments(t, s, values)
    product = t.scalars.get("mu_product", 1.0) * mu(t.step)
    t.scalars["mu_product"] = product
    share, next_share = (1 - mu(t.step)) / (1 - product), mu(t.step + 1) / (1 - product * mu(t.step + 1))
    correction = 1 - s["beta2"] ** t.step
    return [
        s["lr"] * (next_share * m + share * g) / (math.sqrt(v / correction) + s["eps"])
        for m, g, v in zip(first, values, second, strict=True)
    ]


def _rmsprop(t: Tensor, s: dict[str, float]) -> list[float]:
    alpha = s["alpha"]
    values = [g + s["weight_decay"] * w for g, w in zip(t.gradients, t.weights, strict=True)]
    square = t.move("square_avg", alpha, 1 - alpha, [g * g for g in values])
    if s.get("centered"):
        mean = t.move("grad_avg", alpha, 1 - alpha, values)
        square = [max(0.0, v - m * m) for v, m in zip(square, mean, strict=True)]
    moved = [g / (math.sqrt(v) + s["eps"]) for g, v in zip(values, square, strict=True)]
    if s.get("momentum"):
        moved = t.move("momentum_buffer", s["momentum"], 1.0, moved)
    return [s["lr"] * u for u in moved]


def _prodigy(t: Tensor, s: dict[str, float]) -> list[float]:
    b1, b2, b3, d0 = s["beta1"], s["beta2"], math.sqrt(s["beta2"]), s["d0"]
    if t.step == 1:
        t.states["p0"] = list(t.weights)
    d = t.scalars.setdefault("d", d0)
    step = d * s["lr"]
    away = math.fsum(g * (p - w) for g, p, w in zip(t.gradients, t.state("p0"), t.weights, strict=True))
    numerator = b3 * t.scalars.get("d_numerator", 0.0) + d / d0 * step * away
    first = t.move("exp_avg", b1, (1 - b1) * d, t.gradients)
    second = t.move("exp_avg_sq", b2, (1 - b2) * d * d, [g * g for g in t.gradients])
    travelled = t.move("s", b3, d / d0 * step, t.gradients)
    estimate = numerator / math.fsum(abs(value) for value in travelled)
    d_new = max(d, estimate) if d == d0 else d
    largest = max(t.scalars.get("d_max", d0), estimate)
    t.scalars |= {"d_numerator": numerator, "d_max": largest, "d": max(largest, d_new)}
    return [
        step * m / (math.sqrt(v) + d * s["eps"]) + step * s["weight_decay"] * w
        for m, v, w in zip(first, second, t.weights, strict=True)
    ]


def _schedule_free_adamw(t: Tensor, s: dict[str, float]) -> list[float]:
    if t.step == 1:
        t.states["z"] = list(t.weights)
    z, rate = t.state("z"), s["lr"]
    t.scalars["weight_sum"] = t.scalars.get("weight_sum", 0.0) + rate**2
    c = rate**2 / t.scalars["weight_sum"]
    second = t.move("exp_avg_sq", s["beta2"], 1 - s["beta2"], [g * g for g in t.gradients])
    correction = 1 - s["beta2"] ** t.step
    moved = [
        rate * g / (math.sqrt(v / correction) + s["eps"]) + rate * s["weight_decay"] * y
        for g, v, y in zip(t.gradients, second, t.weights, strict=True)
    ]
    t.states["z"] = [old - u for old, u in zip(z, moved, strict=True)]
    share = 1 - s["beta1"] * (1 - c)
    return [c * (y - old) + share * u for y, old, u in zip(t.weights, z, moved, strict=True)]


_MOMENTS: dict[str, float | str] = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-6}
_LARS: dict[str, float | str] = {"lr": 0.7, "weight_decay": 0.03, "trust_coefficient": 0.02}

CASES = (
    Case("sgd", "sgd", "sgd", {"lr": 0.03, "weight_decay": 0.07}, _sgd),
    Case(
        "sgd, momentum",
        "momentum",
        "sgd",
        {"lr": 0.03, "momentum": 0.9, "dampening": 0.0, "nesterov": 1.0, "weight_decay": 0.07},
        _sgd,
    ),
    Case("lars", "lars", "lars", _LARS | {"momentum": 0.0}, _lars),
    Case("lars, momentum", "larsMomentum", "lars", _LARS | {"momentum": 0.9}, _lars),
    Case("adam", "adam", "adam", _MOMENTS | {"lr": 0.03, "weight_decay": 0.07}, _adam),
    Case("adam, amsgrad", "amsgrad", "adam", _MOMENTS | {"lr": 0.03, "weight_decay": 0.07, "amsgrad": 1.0}, _adam),
    Case("adamw", "adam", "adamw", _MOMENTS | {"lr": 0.03, "weight_decay": 0.3}, _adamw),
    Case("lamb", "lamb", "lamb", _MOMENTS | {"lr": 0.03, "weight_decay": 0.07}, _lamb),
    Case("lion", "lion", "lion", {"lr": 0.03, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.3}, _lion),
    Case("nadam", "nadam", "nadam", _MOMENTS | {"lr": 0.03, "weight_decay": 0.07, "momentum_decay": 0.03}, _nadam),
    Case(
        "rmsprop",
        "rmsprop",
        "rmsprop",
        {"lr": 0.03, "alpha": 0.95, "eps": 1e-6, "weight_decay": 0.07, "momentum": 0.8, "centered": 1.0},
        _rmsprop,
    ),
    Case("prodigy", "prodigy", "prodigy", _MOMENTS | {"lr": 0.7, "weight_decay": 0.1, "d0": 0.01}, _prodigy),
    Case(
        "schedule_free_adamw",
        "scheduleFreeAdamW",
        "schedule_free_adamw",
        _MOMENTS | {"lr": 0.03, "weight_decay": 0.3},
        _schedule_free_adamw,
    ),
)
