# SPDX-License-Identifier: Apache-2.0
"""Telemetry for the loggers that people use.  Nothing is written unless it is asked for."""

from __future__ import annotations

from typing import Protocol

from ._optimizer import LayerwiseOptimizer


class ScalarWriter(Protocol):
    """What writes numbers, such as `torch.utils.tensorboard.SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """Write one number."""


def write_tensorboard(writer: ScalarWriter, optimizer: LayerwiseOptimizer, step: int) -> None:
    """Write what happened to every layer at the last step.

    Args:
        writer: A SummaryWriter, or whatever has its `add_scalar`.
        optimizer: An optimizer made with `telemetry=True`.
        step: The step to write it at.
    """
    for name, value in optimizer.telemetry().items():
        writer.add_scalar(name, value, step)
