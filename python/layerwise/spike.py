# SPDX-License-Identifier: Apache-2.0
"""A guard that steps back after a spike of the loss."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

from . import _binding as lw
from ._searching import Searched, is_spike
from .errors import InvalidArgument, LayerwiseError, OutOfRange
from .optimizer import Optimizer


class SpikeGuard:
    """Watches the loss, keeps a snapshot of a step at which it was well, and goes back to it after a spike.

    Tell it the loss before each step::

        guard = lw.SpikeGuard(opt, threshold="deviations", limit=6)
        for batch in batches:
            loss = compute_gradients(batch)
            if guard.check(loss):
                continue                    # this batch is left out, and everything is as at the last snapshot
            opt.step()

    Parameters, states, clocks and what policies have measured go back together; the buffers of a model, the position in
    the data and the state of random generators do not.

    Args:
        opt: An optimizer of `layerwise` or `layerwise.torch`.
        on_spike: "restore" goes back, "raise" raises, and "report" changes nothing: `check` returns True.
        threshold: "deviations": the loss is above the mean of the last `window` losses by more than `limit` of their
            standard deviations; "ratio": it is above `limit` times their median.  A loss that is NaN or infinite is
            always a spike.
        limit: See `threshold`.  Default 6 for "deviations", 3 for "ratio".
        window: The losses that are compared with, at least 2.
        every: Losses from one snapshot to the next.
        restores: How many times in succession the guard may go back to one snapshot before it raises: a spike that
            comes back every time is no accident.

    Raises:
        TypeError: The optimizer is none.
        OutOfRange: A number is out of its range.
    """

    def __init__(
        self,
        opt: Searched,
        *,
        on_spike: Literal["restore", "raise", "report"] = "restore",
        threshold: Literal["deviations", "ratio"] = "deviations",
        limit: float | None = None,
        window: int = 50,
        every: int = 100,
        restores: int = 3,
    ) -> None:
        native = opt if isinstance(opt, Optimizer) else getattr(opt, "native", None)
        if not isinstance(native, Optimizer) or not hasattr(opt, "snapshot"):
            kind = f"{type(opt).__module__}.{type(opt).__qualname__}"
            raise TypeError(f"opt: expected an optimizer of layerwise or layerwise.torch, found {kind}")
        if on_spike not in ("restore", "raise", "report"):
            raise InvalidArgument(f'on_spike must be "restore", "raise" or "report", found {on_spike!r}')
        for name, value, least in (("window", window, 2), ("every", every, 1), ("restores", restores, 1)):
            if lw.whole(name, value) < least:
                raise OutOfRange(f"{name} must be at least {least}, found {value}")
        self._opt = opt
        self._on_spike = on_spike
        self._threshold = threshold
        self._limit = float((3.0 if threshold == "ratio" else 6.0) if limit is None else limit)
        # The library refuses what it does not know before anything is copied.
        is_spike(self._threshold, self._limit, [], 0.0)
        self._losses: deque[float] = deque(maxlen=window)
        self._every, self._restores = every, restores
        self._good = opt.snapshot() if on_spike == "restore" else None
        self._good_losses: tuple[float, ...] = ()
        self._checked = self._restored = 0
        self._lowest_spike = math.inf
        self.spikes: list[float] = []
        """The losses that were spikes."""

    def check(self, loss: float) -> bool:
        """Judge the loss of the gradients that are about to be stepped.

        Args:
            loss: The loss.

        Returns:
            Whether it is a spike.  With "restore", everything is then as at the last snapshot: compute the next
            gradients.

        Raises:
            LossSpikeError: It is a spike, and `on_spike` is "raise", or the guard went back too often.
        """
        loss = float(loss)
        # As high as a spike before the next snapshot is a spike too: after a restore there may be no losses to compare.
        is_known = loss >= self._lowest_spike
        if not is_known and not is_spike(self._threshold, self._limit, self._losses, loss):
            self._losses.append(loss)
            self._checked += 1
            if self._good is not None and self._checked % self._every == 0:
                self._keep()
            return False
        self.spikes.append(loss)
        if math.isfinite(loss):
            self._lowest_spike = min(self._lowest_spike, loss)
        known = [known for known in self._losses if math.isfinite(known)]
        before = f"{sum(known) / len(known):.4g} in the mean of {len(known)} losses before" if known else "first"
        if self._on_spike == "raise":
            raise LossSpikeError(f"the loss is {loss:.4g}, and was {before}")
        if self._good is None:
            return True
        if self._restored == self._restores:
            raise LossSpikeError(
                f"the loss is {loss:.4g}, and was {before}: {self._restores} restores of one snapshot have not helped"
            )
        self._restored += 1
        self._opt.restore(self._good)
        self._losses.clear()
        self._losses.extend(self._good_losses)
        return True

    def _keep(self) -> None:
        # The new one first: without memory for it, the old one stays.
        new = self._opt.snapshot()
        if self._good is not None:
            self._good.close()
        self._good, self._good_losses, self._restored = new, tuple(self._losses), 0
        self._lowest_spike = math.inf

    def close(self) -> None:
        """Free the snapshot; the guard then judges no more.  Closing twice is harmless."""
        if self._good is not None:
            self._good.close()
            self._good = None
            self._on_spike = "report"


class LossSpikeError(LayerwiseError):
    """The loss rose beyond the threshold."""
