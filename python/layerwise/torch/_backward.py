# SPDX-License-Identifier: Apache-2.0
"""Steps in backward: each layer is stepped as soon as its gradients are complete, which frees them early."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from ..errors import InvalidArgument
from ._engine import Engine
from ._parameters import Group


class BackwardSteps:
    """Hooks at the parameters of a bridge.

    A round is what lies between two calls of `optimizer.step()`: `accumulation_steps` backwards.

    Args:
        bridge: The native optimizer.
        begin: Called before the first layer of a round is stepped; returns the param groups.
        accumulation_steps: How many backwards add up to a gradient.
    """

    def __init__(self, bridge: Engine, begin: Any, accumulation_steps: int) -> None:
        _refuse_processes()
        self._bridge = bridge
        self._begin = begin
        self._accumulation_steps = accumulation_steps
        self._layers: list[list[int]] = [[] for _ in bridge.layers]
        for index, member in enumerate(bridge.members):
            self._layers[member.layer].append(index)
        self._handles: dict[int, Any] = {}
        self.attach()
        self.reset()

    def attach(self) -> None:
        """Hang hooks at parameters that take gradients by now."""
        hook = weakref.WeakMethod(self._arrived)
        for index, member in enumerate(self._bridge.members):
            if index not in self._handles and member.param.requires_grad:
                self._handles[index] = member.param.register_post_accumulate_grad_hook(partial(_call, hook, index))

    def detach(self) -> None:
        """Take all hooks away."""
        for handle in self._handles.values():
            handle.remove()
        self._handles.clear()

    def reset(self) -> None:
        """Begin a round."""
        self._begun = False
        self._counts = [0] * len(self._bridge.members)
        self._stepped = [False] * len(self._layers)
        self._waiting = [
            sum(self._bridge.members[index].param.requires_grad for index in indices) for indices in self._layers
        ]

    def _arrived(self, index: int) -> None:
        """A gradient is there; step its layer if it was the last."""
        layer = self._bridge.members[index].layer
        if self._stepped[layer]:
            raise RuntimeError(
                f'layer "{self._bridge.layers[layer].name}" got a gradient after it was stepped: call step() after '
                f"every {_times(self._accumulation_steps)}, or say accumulation_steps=.  If several "
                "calls of torch.utils.checkpoint use the layer, give them use_reentrant=False: a reentrant one runs a "
                "backward of its own, after which the gradient of a shared parameter looks complete"
            )
        self._counts[index] += 1
        if self._counts[index] == self._accumulation_steps:
            self._waiting[layer] -= 1
            if not self._waiting[layer]:
                self._step(layer)

    def _step(self, layer: int) -> None:
        groups: Sequence[Group] = [] if self._begun else self._begin()
        if groups:
            _refuse_processes()
            self._bridge.follow_memory(groups)
            self._bridge.begin_step(groups)
            self._begun = True
        self._bridge.step_layer(layer, self._layers[layer])
        self._stepped[layer] = True
        for index in self._layers[layer]:
            self._bridge.members[index].param.grad = None

    def finish(self) -> None:
        """End a round: step layers some of whose parameters had no gradient, or too few of them."""
        for layer, indices in enumerate(self._layers):
            if not self._stepped[layer] and any(
                self._bridge.members[index].param.grad is not None for index in indices
            ):
                self._step(layer)
        if any(self._stepped):
            # All of them shared this t; whichever comes first in the next round is at the next.
            self._bridge.native.seek(self._bridge.native.next_step)
        self.attach()
        self.reset()


def _refuse_processes() -> None:
    """DistributedDataParallel adds gradients up over processes after these hooks have run, and says nothing."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        raise InvalidArgument(
            "step_in_backward sees gradients before they are added up over processes, and torch.distributed has "
            f"{dist.get_world_size()} of them: step after backward"
        )


def _call(hook: weakref.WeakMethod[Any], index: int, _: Tensor) -> None:
    """A hook that does not keep the optimizer alive."""
    method = hook()
    if method is not None:
        method(index)


def _times(count: int) -> str:
    return "backward" if count == 1 else f"{count} backwards"
