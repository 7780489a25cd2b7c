# SPDX-License-Identifier: Apache-2.0
"""What searches for rates and policies share: an optimizer that is trained for a while and put back."""

from __future__ import annotations

import array
import ctypes
import inspect
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from . import _binding as lw
from .errors import InvalidArgument, NonFiniteGradient
from .optimizer import Optimizer

Closure = Callable[..., Any]
"""Computes gradients and returns the loss; one that takes an argument gets the number of the batch to use."""


class Searched(Protocol):
    """An optimizer that a search trains: that of `layerwise`, or one of `layerwise.torch`."""

    def step(self) -> Any:
        """Step all layers."""

    def snapshot(self) -> Any:
        """Copy everything."""

    def restore(self, snapshot: Any) -> None:
        """Put everything back."""


class Subject:
    """An optimizer on its way through many short runs from one snapshot.

    Args:
        optimizer: The optimizer.
        closure: Computes gradients and returns the loss.
        restore_others: Puts back what else a run changes, such as the buffers of a model.
    """

    def __init__(
        self, optimizer: Searched, closure: Closure, restore_others: Callable[[], None] = lambda: None
    ) -> None:
        native = optimizer if isinstance(optimizer, Optimizer) else getattr(optimizer, "native", None)
        if not isinstance(native, Optimizer) or not hasattr(optimizer, "snapshot"):
            kind = f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"
            raise TypeError(f"opt: expected an optimizer of layerwise or layerwise.torch, found {kind}")
        self.optimizer, self.native = optimizer, native
        self._closure = numbered(closure, "closure")
        self._restore_others = restore_others
        if not native.layers:
            raise InvalidArgument("the optimizer has no layers to train")
        self.snapshot = optimizer.snapshot()

    def restore(self) -> None:
        """Put everything back."""
        self.optimizer.restore(self.snapshot)
        self._restore_others()

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Put everything back at the end, whatever happens, and free the snapshot."""
        try:
            yield
        finally:
            self.restore()
            self.snapshot.close()

    def loss(self, batch: int) -> float:
        """Compute gradients and the loss."""
        self._loss = float(self._closure(batch))
        return self._loss

    def step(self) -> bool:
        """Step, with the loss that was computed last; False where gradients are not finite."""
        try:
            self.native._say_loss(self._loss)
            self.optimizer.step()
        except NonFiniteGradient:
            return False
        return True

    def take_off_schedules(self) -> None:
        """Let every rate be that which is set."""
        self.native.set_schedule(None)
        for record in self.native._layers:
            if "lr" in record.schedules:
                self.native.set_schedule(None, layer=record.index)

    def set_rates(self, rates: Sequence[float]) -> None:
        """Give every layer a base rate, in order of registration."""
        own = array.array("d", rates)
        lw.call(lw.lw_optimizer_set_rates, self.native._handle, lw.pointer(own), len(own))


def numbered(closure: Closure, what: str) -> Callable[[int], Any]:
    """The closure as one that takes the number of a batch."""
    if not callable(closure):
        raise TypeError(f"{what}: expected a function, found {type(closure).__name__}")
    try:
        parameters = inspect.signature(closure).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment]
    takes_one = any(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
        for parameter in parameters
    )
    return closure if takes_one else lambda _: closure()


def rates_between(kind: str, lowest: float, highest: float, count: int) -> list[float]:
    """Rates that rise with a constant ratio."""
    room = lw.doubles(lw.whole("count", count))
    lw.call(lw.lw_search_rates, kind.encode(), lowest, highest, lw.pointer(room), len(room))
    return list(room)


def analyse(kind: str, rates: Sequence[float], losses: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Mean, spread and suggestions of a curve."""
    grid, flat = lw.array_of(rates), lw.array_of([loss for row in losses for loss in row])
    arguments = kind.encode(), lw.pointer(grid), len(grid), lw.pointer(flat), len(losses)
    found: dict[str, Any] = json.loads(lw.text(lw.lw_search_analyse, *arguments))
    return found


def has_diverged(losses: Sequence[float], steps: int) -> bool:
    """Whether a sweep need not go on."""
    seen, diverged = lw.array_of(losses), ctypes.c_int32()
    lw.call(lw.lw_search_has_diverged, lw.pointer(seen), len(seen), steps, ctypes.byref(diverged))
    return bool(diverged.value)


def is_spike(threshold: str, limit: float, losses: Sequence[float], loss: float) -> bool:
    """Whether a loss is a spike after others."""
    seen, spikes = lw.array_of(losses), ctypes.c_int32()
    lw.call(lw.lw_search_is_spike, threshold.encode(), limit, lw.pointer(seen), len(seen), loss, ctypes.byref(spikes))
    return bool(spikes.value)


def levelled(factors: Sequence[float | None]) -> list[float]:
    """Factors divided by their geometric mean; 1 where there is none."""
    given = lw.array_of([math.nan if factor is None else factor for factor in factors])
    room = lw.doubles(len(given))
    lw.call(lw.lw_search_scales, lw.pointer(given), len(given), lw.pointer(room))
    return list(room)


def judge(scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """How candidates stand."""
    flat = lw.array_of([score for row in scores for score in row])
    arguments = lw.pointer(flat), len(scores), len(scores[0])
    found: dict[str, Any] = json.loads(lw.text(lw.lw_search_judge, *arguments))
    return found


def numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    """Numbers of JSON, where null is none."""
    return tuple(math.nan if value is None else value for value in values)


def known(value: float) -> float | None:
    """A number for JSON."""
    return value if math.isfinite(value) else None


class Progress:
    """A bar of `rich`, or nothing.

    Args:
        shown: Whether to show it.
        total: How many calls of the closure there will be at most.
        title: What stands before it.
    """

    def __init__(self, shown: bool, total: int, title: str) -> None:
        self._bar: Any = None
        if shown:
            try:
                from rich.progress import Progress as Bar
            except ImportError as error:
                raise ImportError('progress=True draws with rich: pip install "layerwise[preview]"') from error
            self._bar = Bar(transient=True)
            self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int = 1) -> None:
        """So many calls are done, or will not be made."""
        if self._bar is not None:
            self._bar.advance(self._task, count)
