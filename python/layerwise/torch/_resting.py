# SPDX-License-Identifier: Apache-2.0
"""Layers that rest: their gradients are left out of a step, and come back after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Resting:
    """Hooks of an optimizer that leave out the gradients of some parameters during each step.

    A parameter whose gradient is None is passed over by every optimizer of torch: neither updated nor decayed, its
    moments and its step count stand still.  `requires_grad` is not touched, so that DDP and FSDP2 see no change.
    """

    def __init__(self) -> None:
        self.params: Sequence[Tensor] = ()
        """The parameters that rest."""
        self.layers = b""
        """For each layer 1 where it rests."""
        self._hidden: list[tuple[Tensor, Tensor]] = []

    def before_step(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Hide the gradients; those that a closure makes, once it has made them."""
        if self._hidden:
            # The last step raised an error, so that nothing ran after it.
            self.give_back()
        if not self.params:
            return None
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._hide()
            return None

        def evaluate() -> Any:
            # Some rules evaluate the closure several times in a step.
            self.give_back()
            loss = closure()
            self._hide()
            return loss

        if "closure" in kwargs:
            return args, {**kwargs, "closure": evaluate}
        return (args[0], evaluate, *args[2:]), kwargs

    def after_step(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Give the gradients back to whoever looks at them after the step."""
        self.give_back()

    def _hide(self) -> None:
        for param in self.params:
            if param.grad is not None:
                self._hidden.append((param, param.grad))
                param.grad = None

    def give_back(self) -> None:
        """Give hidden gradients back, except where there is a new one."""
        for param, gradient in self._hidden:
            if param.grad is None:
                param.grad = gradient
        self._hidden.clear()
