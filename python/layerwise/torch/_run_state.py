# SPDX-License-Identifier: Apache-2.0
"""What a run has besides parameters, moments and hyperparameters, in a text that rides in every param group.

The format of torch's state dicts has no place for it, but carries the keys of groups unseen, also through
torch.distributed.checkpoint.  The library writes the text and reads it, in the words of its checkpoints; here it is
passed on.
"""

from __future__ import annotations

import ctypes

from .. import _binding as lw
from ..errors import InvalidArgument
from ..optimizer import Optimizer

KEY = "layerwise"
"""The key of the groups.  It is there from the start, since torch.distributed.checkpoint asks for all keys it sees."""


def dump(native: Optimizer) -> str:
    """The run state as text; "{}" where no parameter was stepped and nothing is to be said.

    With more in its place, what torch.distributed.checkpoint reads of a file without this key would leave the clock at
    0.
    """
    return lw.text(lw.lw_optimizer_get_run_state, native._handle)


def check(native: Optimizer, text: object) -> None:
    """Refuse a text that `apply` would refuse.

    Raises:
        InvalidArgument: It is none, or speaks of schedules, layers or measurements that are not here.
    """
    _set(native, text, lw.RUN_STATE_CHECK, 0)


def apply(native: Optimizer, text: object, steps: int = 0, *, known: bool = False) -> bool:
    """Put it back, or change nothing.

    Args:
        native: The optimizer.
        text: What `dump` gave, here or in an earlier version; None or "" where a state dict has none, as torch's own.
        steps: Where the clock goes on if the text does not say it.
        known: Leave out what the text says of layers and schedules that are not here.

    Returns:
        Whether the text says where the clock stands.
    """
    return _set(native, text, lw.RUN_STATE_KNOWN if known else 0, steps)


def _set(native: Optimizer, text: object, flags: int, steps: int) -> bool:
    what = f'the key "{KEY}" of a param group must be what a state dict had there'
    # torch.distributed.checkpoint may have put something empty in its place.
    if text and not isinstance(text, str):
        raise InvalidArgument(f"{what}, found {text!r}")
    said = ctypes.c_int64()
    written = str(text or "").encode("utf-8", "surrogatepass")
    arguments = native._handle, written, len(written), flags, steps, ctypes.byref(said)
    try:
        lw.call(lw.lw_optimizer_set_run_state, *arguments)
    except InvalidArgument as error:
        raise InvalidArgument(f"{what}: {error}") from None
    return said.value >= 0
