# SPDX-License-Identifier: Apache-2.0
"""Averages of the weights, for evaluation, and Lookahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from . import _checks
from ._values import Value, dataclass
from .errors import OutOfRange

_Values: TypeAlias = Mapping[str, float | str]


@dataclass(frozen=True)
class Average(Value):
    """An average of the weights, which `Optimizer.eval` puts into the parameters; one of the classes below."""

    _kind = "none"

    def __post_init__(self) -> None:
        names = {f"average_{name}": name for name in self._arguments()}
        _checks.check_options(self._settings(), names)

    def _settings(self) -> dict[str, float | str]:
        """The settings of the library that stand for it."""
        own = {f"average_{name}": value for name, value in self._arguments().items()}
        return {"average": self._kind} | own


@dataclass(frozen=True)
class EMA(Average):
    """Exponential moving average: a ← decay·a + (1 - decay)·w after each step; the first weights are its start.

    Equals `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn`, timm's `ModelEmaV2` and, with warmup,
    diffusers' `EMAModel`; but it is kept in float32 for parameters of 16 bits, and it has no copies of buffers.

    Args:
        decay: What the average keeps of itself, in [0, 1).
        warmup: The decay is at most (1 + n) / (10 + n) after n weights, so that the first ones are soon forgotten.
        start: Steps before the average takes in weights.
        period: Steps from one time to the next.
    """

    decay: float = 0.999
    warmup: bool = False
    start: int = 0
    period: int = 1
    _kind = "ema"


@dataclass(frozen=True)
class PolynomialAverage(Average):
    """Polynomial-decay average: a ← (1 - c)·a + c·w, with c = (gamma + 1) / (gamma + t) at its t-th weights.

    Weights count the more the later they are.  Equals `PolynomialDecayAverager` of the authors of DoG, which need it.
    Source: Shamir and Zhang 2013, section 4.

    Args:
        gamma: How fast earlier weights are forgotten, at least 0, where all count alike.
        start: Steps before the average takes in weights.
        period: Steps from one time to the next.
    """

    gamma: float = 8.0
    start: int = 0
    period: int = 1
    _kind = "polynomial"


@dataclass(frozen=True)
class PolyakAverage(Average):
    """Mean of the weights after each step.

    This is Polyak-Ruppert averaging, and with a later start and a longer period stochastic weight averaging (SWA).
    Equals `torch.optim.swa_utils.AveragedModel`.  Sources: Polyak and Juditsky 1992; Izmailov et al. 2018.

    Args:
        start: Steps before the average takes in weights.
        period: Steps from one time to the next.
    """

    start: int = 0
    period: int = 1
    _kind = "polynomial"

    def _settings(self) -> dict[str, float | str]:
        return super()._settings() | {"average_gamma": 0.0}


@dataclass(frozen=True)
class Lookahead(Value):
    """Lookahead: every k steps, slow weights φ ← φ + alpha·(w - φ) replace the weights w of any rule.

    The states of the rule go on.  Equals timm's and pytorch_optimizer's Lookahead without `pullback_momentum`, and
    optax's `lookahead`.  Source: Zhang et al. 2019 (arXiv:1907.08610), algorithm 1.

    Args:
        k: Steps from one exchange to the next, at least 1.
        alpha: The share of the weights that the slow weights take, in (0, 1].
    """

    k: int = 5
    alpha: float = 0.5

    def __post_init__(self) -> None:
        # A period of 0 switches it off, which is None here.
        if self.k == 0:
            raise OutOfRange("k must be at least 1, found 0")
        _checks.check_options(self._settings(), {"lookahead_period": "k", "lookahead_rate": "alpha"})

    def _settings(self) -> dict[str, float | str]:
        """The settings of the library that stand for it."""
        return {"lookahead_period": self.k, "lookahead_rate": self.alpha}


KEYS = ("average", "lookahead")
"""Options that hold several settings of the library."""

_OFF: Mapping[str, _Values] = {"average": {"average": "none"}, "lookahead": {"lookahead_period": 0}}


def expand(settings: Mapping[str, object]) -> dict[str, object]:
    """The library's settings, with those that `average` and `lookahead` stand for; None is none."""
    expanded: dict[str, object] = {}
    for key, value in settings.items():
        kind = {"average": Average, "lookahead": Lookahead}.get(key)
        if kind is None or isinstance(value, str):
            expanded[key] = value
        elif value is None:
            expanded |= _OFF[key]
        elif isinstance(value, Average | Lookahead) and isinstance(value, kind):
            expanded |= value._settings()
        else:
            example = "EMA(0.999)" if key == "average" else "Lookahead()"
            raise TypeError(f"{key}: expected an object such as layerwise.{example}, found {value!r}")
    return expanded


def found(key: str, get: Callable[[str], object]) -> Average | Lookahead | None:
    """The value of one of `KEYS`, from the library's settings."""

    def number(name: str) -> float:
        value = get(name)
        return float(value) if isinstance(value, float | int) else 0.0

    if key == "lookahead":
        period = int(number("lookahead_period"))
        return Lookahead(period, number("lookahead_rate")) if period else None
    times = {"start": int(number("average_start")), "period": int(number("average_period"))}
    kind = get("average")
    if kind == "ema":
        return EMA(number("average_decay"), bool(number("average_warmup")), **times)
    if kind == "polynomial":
        gamma = number("average_gamma")
        return PolynomialAverage(gamma, **times) if gamma else PolyakAverage(**times)
    return None
