# SPDX-License-Identifier: Apache-2.0
"""Norms of the layers that an optimizer of another library steps, by torch's own kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._resting import Resting

_ROWS = ("gradient_norm", "weight_norm", "update_norm", "nonfinite_count")


class Norms:
    """Hooks of an optimizer that take the norms of all layers at every n-th step.

    The norms stay on the device, and are copied to the host without waiting: who reads them waits for the copy alone.

    Args:
        layers: The parameters of each layer.
        every: At which steps; the first is one of them.
        resting: Which layers rest.
    """

    def __init__(self, layers: Sequence[Sequence[Tensor]], every: int, resting: Resting) -> None:
        self.every = every
        self._resting = resting
        self._count = 0
        self.watch(layers)

    def watch(self, layers: Sequence[Sequence[Tensor]]) -> None:
        """Take the norms of these layers from the next step on."""
        self._layers = layers
        # Quantized models keep frozen weights as integers.
        floats = [(index, param) for index, layer in enumerate(layers) for param in layer if param.is_floating_point()]
        self._owner, self._params = [index for index, _ in floats], [param for _, param in floats]
        self._before: list[Tensor] = []
        self._found: dict[torch.device, tuple[list[int], Tensor, Any]] = {}
        self._rates: list[Any] = []
        self._frozen = b""
        self.is_taken = False
        """Whether there are norms of a step."""

    def before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Keep the parameters as they are, at a step whose norms are taken."""
        if self._count % self.every == 0:
            with torch.no_grad():
                self._before = [param.detach().clone() for param in self._params]

    @torch.no_grad()
    def after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Take the norms."""
        self._count += 1
        if not self._before:
            return
        before, self._before = self._before, []
        rates = [group["lr"] for group in optimizer.param_groups]
        self._rates = [rate.detach().clone() if isinstance(rate, Tensor) else rate for rate in rates]
        self._frozen = self._resting.layers
        devices: dict[torch.device, list[int]] = {}
        for index, param in enumerate(self._params):
            devices.setdefault(param.device, []).append(index)
        self._found = {device: self._measure(indices, before) for device, indices in devices.items()}
        self.is_taken = True

    def _measure(self, indices: list[int], before: list[Tensor]) -> tuple[list[int], Tensor, Any]:
        params = [self._params[index].detach() for index in indices]
        olds = [before[index] for index in indices]
        stepped = [index for index, param in enumerate(params) if self._params[indices[index]].grad is not None]
        gradients = [_dense(self._params[indices[index]].grad) for index in stepped]
        # The norm of 16-bit numbers is summed in float32.
        rows = torch.zeros((len(_ROWS), len(indices)), dtype=torch.float64, device=params[0].device)
        if gradients:
            rows[0, stepped] = _norms(gradients)
            rows[3, stepped] = torch.stack([_whole((~torch.isfinite(one)).sum()) for one in gradients]).double()
        rows[1] = _norms(olds)
        rows[2] = _norms([*torch._foreach_sub(params, olds)])
        owners = [self._owner[index] for index in indices]
        known = sorted(set(owners))
        place = torch.tensor([known.index(owner) for owner in owners], device=rows.device)
        sums = torch.zeros((len(_ROWS), len(known)), dtype=torch.float64, device=rows.device)
        rows[:3].square_()
        sums.index_add_(1, place, rows)
        sums[:3].sqrt_()
        event = None
        if sums.device.type == "cuda":
            pinned = torch.empty(sums.shape, dtype=sums.dtype, pin_memory=True)
            sums, event = pinned.copy_(sums, non_blocking=True), torch.cuda.Event()
            event.record()
        return known, sums, event

    def rows(self, groups_of_layers: Sequence[Sequence[int]]) -> list[dict[str, float]]:
        """The norms and rates of each layer at the last step that took them."""
        result = [dict.fromkeys(_ROWS, 0.0) for _ in self._layers]
        for known, sums, event in self._found.values():
            if event is not None:
                event.synchronize()
            for layer, values in zip(known, sums.t().tolist(), strict=True):
                result[layer] = dict(zip(_ROWS, values, strict=True))
        for row, own, frozen in zip(result, groups_of_layers, self._frozen, strict=True):
            row["effective_lr"] = 0.0 if frozen or not own else float(self._rates[own[0]])
            weight = row["weight_norm"]
            row["update_ratio"] = row["update_norm"] / weight if weight else math.nan
        return result


def _dense(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient.to_dense() if gradient.is_sparse else gradient.detach()


def _norms(tensors: list[Tensor]) -> Tensor:
    wide = [one.float() if one.dtype.itemsize < 4 else one for one in tensors]
    return torch.stack([_whole(one) for one in torch._foreach_norm(wide)]).double()


def _whole(tensor: Tensor) -> Tensor:
    """The value of a tensor that may be spread over processes."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
