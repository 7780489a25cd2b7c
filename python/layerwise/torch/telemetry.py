# SPDX-License-Identifier: Apache-2.0
"""Telemetry for the loggers that people use.  Nothing is written unless it is asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from .._names import did_you_mean
from ..errors import UnknownName
from ..reports import Telemetry


class ScalarWriter(Protocol):
    """An object that writes numbers, such as `torch.utils.tensorboard.SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """Write one number."""


class HasTelemetry(Protocol):
    """An optimizer of `layerwise.torch`, or `LayerRates`."""

    def telemetry(self, prefix: str = "layerwise/", *, only: Collection[str] | None = None) -> dict[str, float]:
        """The numbers of every layer at its last step."""


def write_tensorboard(
    writer: ScalarWriter,
    optimizer: HasTelemetry,
    step: int,
    *,
    prefix: str = "layerwise/",
    only: Collection[str] | None = None,
) -> None:
    """Write the telemetry of every layer at the last step.

    Args:
        writer: A SummaryWriter, or any object with its `add_scalar`.
        optimizer: An optimizer or `LayerRates` made with `telemetry`.
        step: The step at which the numbers are shown.
        prefix: The beginning of each tag.
        only: The fields of `layerwise.Telemetry` to write, such as ("effective_lr", "update_ratio"), each of which is a
            chart for each layer.  Default: all.
    """
    for name, value in optimizer.telemetry(prefix, only=only).items():
        writer.add_scalar(name, value, step)


def fields_of(only: Collection[str] | None) -> tuple[str, ...]:
    """The fields of `Telemetry` that `only` names, in the order of the class.

    Raises:
        UnknownName: One of them is no field.
    """
    if only is None:
        return Telemetry._fields
    chosen = (only,) if isinstance(only, str) else tuple(only)
    for name in chosen:
        if name not in Telemetry._fields:
            raise UnknownName(f"telemetry: {name!r} is not measured; {did_you_mean(name, Telemetry._fields)}")
    return tuple(name for name in Telemetry._fields if name in chosen)


def flat(layers: Iterable[tuple[str, dict[str, float]]], prefix: str, only: Collection[str] | None) -> dict[str, float]:
    """Numbers by "prefix + layer/field", as loggers take them."""
    chosen = fields_of(only)
    return {f"{prefix}{layer}/{field}": float(row[field]) for layer, row in layers for field in chosen}
