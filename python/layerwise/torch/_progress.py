# SPDX-License-Identifier: Apache-2.0
"""What a run has besides parameters, moments and hyperparameters, in a text that rides in every param group.

Where the clock stands, what reports have left in schedules, and which layers were frozen by hand: the format of torch's
state dicts has no place for it, but carries the keys of groups unseen, also through torch.distributed.checkpoint.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import InvalidArgument
from ..optimizer import Optimizer

KEY = "layerwise"
"""The key of the groups.  It is there from the start, since torch.distributed.checkpoint asks for all keys it sees."""


def dump(native: Optimizer) -> str:
    """The progress as text."""
    schedules = {key: state for key in native._schedules if (state := native.schedule_state(key))}
    own = {
        layer.name: found
        for layer in native._layers
        if (found := {key: state for key in layer.schedules if (state := native.schedule_state(key, layer.name))})
    }
    frozen = {name: choice for name, layer in native.layers.items() if (choice := layer.get("frozen")) != "plan"}
    progress = {"next_step": native.next_step, "schedules": schedules, "layer_schedules": own, "frozen": frozen}
    return json.dumps({key: value for key, value in progress.items() if value != {}})


def parse(native: Optimizer, text: object) -> dict[str, Any] | None:
    """The progress that a text tells of; None if there is none.

    Raises:
        InvalidArgument: It is none, or speaks of schedules or layers that are not here.
    """
    if not text:
        return None
    try:
        progress = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        progress = None
    if not isinstance(progress, dict) or not isinstance(progress.get("next_step"), int):
        raise InvalidArgument(f'the key "{KEY}" of a param group must be what a state dict had there, found {text!r}')
    missing = [key for key in progress.get("schedules", {}) if key not in native._schedules]
    if missing:
        raise InvalidArgument(f"the state dict has the state of a schedule of {missing[0]}, and here is none")
    layers = native.layers
    unknown = [name for key in ("frozen", "layer_schedules") for name in progress.get(key, {}) if name not in layers]
    if unknown:
        raise InvalidArgument(f'the state dict speaks of the layer "{unknown[0]}", and there is none of this name')
    return progress


def parse_known(native: Optimizer, text: str) -> dict[str, Any]:
    """The progress of an optimizer with other layers: what it says of layers that are here too."""
    progress: dict[str, Any] = json.loads(text)
    layers = native.layers
    for key in ("frozen", "layer_schedules"):
        progress[key] = {name: value for name, value in progress.get(key, {}).items() if name in layers}
    return progress


def apply(native: Optimizer, progress: dict[str, Any] | None, steps: int) -> None:
    """Put it back; without one, such as from torch's own optimizers, the clock goes on from the highest step count."""
    if progress is None:
        native.seek(steps)
        return
    native.seek(progress["next_step"])
    for key, state in progress.get("schedules", {}).items():
        native.set_schedule_state(state, key)
    for name, states in progress.get("layer_schedules", {}).items():
        for key, state in states.items():
            native.set_schedule_state(state, key, name)
    frozen = progress.get("frozen", {})
    for name, layer in native.layers.items():
        choice = frozen.get(name, "plan")
        if layer.get("frozen") != choice:
            layer.set(frozen=choice)
