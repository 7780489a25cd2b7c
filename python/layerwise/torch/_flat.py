# SPDX-License-Identifier: Apache-2.0
"""Flat state dicts of torch.distributed.checkpoint, from optimizers whose groups have fewer keys.

For a flat state dict, `set_optimizer_state_dict` asks for each key of the receiver's groups, and raises a KeyError for
one that is missing.  The groups here have keys that torch's optimizers do not have: names, which layer a group is, the
progress of schedules.  While it puts a flat state dict together again, it is shown groups without those of them that
the state dict lacks; loading then leaves them as they are here.
"""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import Any

from ._parameters import Group

_MODULE = "torch.distributed.checkpoint.state_dict"
_PREFIX = "param_groups."
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
            needed = {"params", "lr", "maximize", *optimizer._keys} - optimizer._may_lack
            return _without_missing(groups, frame.f_locals.get("state_dict"), needed)
        frame = frame.f_back
    return groups


def _without_missing(groups: list[Group], state_dict: Any, needed: set[str]) -> list[Group]:
    """Groups without keys that a flat state dict lacks and that it need not have."""
    if not isinstance(state_dict, dict):
        return groups
    present = {str(key).rpartition(".")[2] for key in state_dict if str(key).startswith(_PREFIX)}
    return [{key: value for key, value in group.items() if key in present | needed} for group in groups]
