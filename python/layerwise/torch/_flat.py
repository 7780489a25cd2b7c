# SPDX-License-Identifier: Apache-2.0
"""Flat state dicts of torch.distributed.checkpoint, from optimizers whose groups have fewer keys.

For a flat state dict, `set_optimizer_state_dict` asks for each key of the receiver's groups, and raises a KeyError for
one that is missing.  The groups here have keys that torch's optimizers do not have: names, which layer a group is, the
progress of schedules.  While it puts a flat state dict together again, it is shown groups without those of them that
the state dict lacks; loading then leaves them as they are here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any

from ._parameters import Group

_MODULE = "torch.distributed.checkpoint.state_dict"
_PREFIX = "param_groups."
_NOT_OF_TORCH = {"decoupled_weight_decay", "cautious", "corrected_weight_decay"}
"""Hyperparameters that torch's classes of the same rules do not have, or not all of them."""
_MOST_FRAMES = 4
"""How many callers may lie between: wrappers pass `param_groups` on."""


def shown(optimizer: Any, groups: list[Group]) -> list[Group]:
    """The groups of an optimizer as its caller is to see them."""
    module = sys.modules.get(_MODULE)
    if module is None:
        return groups
    unflatten: CodeType | None = getattr(getattr(module, "_unflatten_optim_state_dict", None), "__code__", None)
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_MOST_FRAMES):
        if frame is None:
            break
        if frame.f_code is unflatten:
            return _without_missing(groups, frame.f_locals.get("state_dict"), optimizer._keys)
        frame = frame.f_back
    return groups


def _without_missing(groups: list[Group], state_dict: Any, hyperparameters: Sequence[str]) -> list[Group]:
    """Groups without keys that a flat state dict lacks; hyperparameters of torch's it must have."""
    if not isinstance(state_dict, dict):
        return groups
    present = {str(key).rpartition(".")[2] for key in state_dict if str(key).startswith(_PREFIX)}
    present |= {"params", "lr", "maximize", *hyperparameters} - _NOT_OF_TORCH
    return [{key: value for key, value in group.items() if key in present} for group in groups]
