# SPDX-License-Identifier: Apache-2.0
"""What the state machine remembers of the layers that it registered."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import layerwise as lw

from .material import Array


@dataclass
class TensorModel:
    """One tensor: the buffers that are registered, and how often it was stepped."""

    parameters: Array
    gradient_dtype: np.dtype[Any]
    master: bool
    gradient: Array | None = None
    steps: int = 0

    @property
    def has_master(self) -> bool:
        """A master copy is kept of 16-bit tensors only."""
        return self.master and self.parameters.itemsize == 2


@dataclass
class LayerModel:
    """One layer: its tensors and what it has of its own."""

    tensors: dict[str, TensorModel]
    own: dict[str, Any] = field(default_factory=dict)
    depth: int | None = None
    scale: float | None = None
    schedule: lw.Schedule | None = None
    start: int = 0
    frozen: bool | None = None
    """None is as the freezing plan says."""
    last_step: int = -1
    """t of its last step."""

    def factor(self, schedule: lw.Schedule | None, step: int) -> float:
        """What its schedule, or the optimizer's, makes of its rate at a step."""
        own = self.schedule or schedule
        return own.evaluate(1, first=max(0, step - self.start))[0] if own else 1.0


@dataclass
class ClockModel:
    """t: a step of all layers counts one, and so does a round of steps of single layers."""

    last: int = 0
    touched: bool = False

    def next(self, layer: LayerModel | None = None) -> int:
        """t of the next step of all layers, or of one."""
        if layer and self.touched and layer.last_step < self.last:
            return self.last
        return self.last + self.touched

    def seek(self, step: int) -> None:
        """The next step is at t = `step`."""
        self.last, self.touched = step, False


def numbers(shape: tuple[int, ...], dtype: np.dtype[Any], number: int) -> Array:
    """Normal numbers, the same for the same `number`."""
    return np.asarray(np.random.default_rng(number).normal(size=shape)).astype(dtype)


def scales(policy: lw.Policy, layers: dict[str, LayerModel]) -> dict[str, float]:
    """Every layer's scale."""
    depths = {
        name: position if layer.depth is None else layer.depth for position, (name, layer) in enumerate(layers.items())
    }
    top = max(depths.values(), default=0)

    def scale(name: str, depth: int) -> float:
        own = layers[name].scale
        if own is not None:
            return own
        match policy:
            case lw.LayerDecay():
                return max(policy.min_scale, policy.decay ** (top - depth if policy.direction == "input" else depth))
            case lw.GeometricRange():
                return policy.lowest * (policy.highest / policy.lowest) ** (depth / top) if top else policy.highest
            case lw.Explicit():
                return policy.scales.get(name, policy.scales["*"])
        return 1.0

    return {name: scale(name, depth) for name, depth in depths.items()}
