# SPDX-License-Identifier: Apache-2.0
"""Snapshots of torch optimizers: that of the native optimizer, and what the groups say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from torch import Tensor
from torch.autograd.graph import increment_version

from ..errors import CheckpointMismatch
from ._parameters import Group

if TYPE_CHECKING:
    from ._engine import Engine
    from ._optimizer import LayerwiseOptimizer

_MEMBERS = ("params", "param_names")
"""What of a group says which parameters it has."""


class TorchSnapshot:
    """What `snapshot` of an optimizer of `layerwise.torch` copies; its `restore` puts it back any number of times.

    The memory is freed with the object, or by `close`.
    """

    def __init__(self, optimizer: LayerwiseOptimizer, bridge: Engine) -> None:
        self._native = bridge.native.snapshot()
        self._groups = [
            {key: (value, _copied(value)) for key, value in group.items() if key not in _MEMBERS}
            for group in optimizer.param_groups
        ]
        self._options = dict(optimizer._options)
        # These are replaced, and never changed in place.
        self._followed = dict(vars(bridge.hyperparameters))
        self._had_gradient = [index for index in range(len(bridge.members)) if bridge.had_gradient(index)]

    def _restore(self, optimizer: LayerwiseOptimizer, bridge: Engine) -> None:
        groups = optimizer.param_groups
        if len(groups) != len(self._groups):
            raise CheckpointMismatch(f"the snapshot has {len(self._groups)} param groups, the optimizer {len(groups)}")
        bridge.native.restore(self._native)
        inside = optimizer._inside
        if inside.views is not None:
            inside.views.withdraw(inside.state)
        for group, saved in zip(groups, self._groups, strict=True):
            _put_back(group, saved)
        optimizer._options.clear()
        optimizer._options.update(self._options)
        vars(bridge.hyperparameters).update(self._followed)
        bridge.reset_gradients(self._had_gradient)
        bridge.follow_restored(groups)
        if inside.backward is not None:
            inside.backward.reset()
        # Autograd may have kept a parameter for a backward to come.
        increment_version(bridge.params)

    @property
    def nbytes(self) -> int:
        """The bytes that its copies of parameters and states take."""
        return self._native.nbytes

    def close(self) -> None:
        """Free the memory.  Closing twice is harmless; to restore it then raises ClosedOptimizer."""
        self._native.close()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a snapshot is of one optimizer in one process: save a checkpoint in its place")

    def __repr__(self) -> str:
        return repr(self._native).replace("Snapshot", "torch snapshot", 1)


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _put_back(group: Group, saved: dict[str, tuple[Any, Any]]) -> None:
    """Put the values of a group back; keys that came since, such as a scheduler's, stay."""
    for key, (value, copy) in saved.items():
        if isinstance(value, Tensor):
            # Whoever holds the tensor goes on steering by it.
            value.detach().copy_(copy)
        group[key] = value
