# SPDX-License-Identifier: Apache-2.0
"""What a run has besides parameters, moments and hyperparameters, in a text that rides in every param group.

Where the clock stands, what reports have left in schedules, which layers were frozen by hand, and the mode: the format
of torch's state dicts has no place for it, but carries the keys of groups unseen, also through
torch.distributed.checkpoint.
"""

from __future__ import annotations

import json
import math
from typing import Any

from ..errors import InvalidArgument
from ..optimizer import Optimizer

KEY = "layerwise"
"""The key of the groups.  It is there from the start, since torch.distributed.checkpoint asks for all keys it sees."""


UNTOUCHED = "{}"
"""The progress of an optimizer that took no step: there is nothing to say, and a clock goes by the step counts.

With a text in its place, what torch.distributed.checkpoint reads of a file without this key would leave the clock at 0.
"""


def dump(native: Optimizer, *, untouched: bool = False) -> str:
    """The progress as text; `untouched` says that no parameter has a state."""
    schedules = {key: state for key in native._schedules if (state := native.schedule_state(key))}
    own = {
        layer.name: found
        for layer in native._layers
        if (found := {key: state for key in layer.schedules if (state := native.schedule_state(key, layer.name))})
    }
    frozen = {name: choice for name, layer in native.layers.items() if (choice := layer.get("frozen")) != "plan"}
    progress = {"next_step": native.next_step, "schedules": schedules, "layer_schedules": own, "frozen": frozen}
    said = {key: value for key, value in progress.items() if value != {}}
    if measured := _by_layer(native):
        said["measurements"] = measured
    if native.mode != "training":
        said["mode"] = native.mode
    return UNTOUCHED if untouched and said == {"next_step": 0} else json.dumps(said)


def _by_layer(native: Optimizer) -> dict[str, list[float | None]]:
    """What policy and freezing plan have measured of each layer; None for NaN."""
    rows = _rows(native)
    return {layer.name: row for layer, row in zip(native._layers, rows, strict=False) if any(_counts(row))}


def _rows(native: Optimizer) -> list[list[float | None]]:
    """What is measured of each layer, in order of registration."""
    values = [None if math.isnan(value) else value for value in native.measurements()]
    size = len(values) // max(1, len(native._layers))
    return [values[start : start + size] for start in range(0, len(values), size)] if size else []


def _counts(row: list[float | None]) -> list[float | None]:
    """What is 0 before anything was measured, of a policy and a freezing plan: counts, and what else they keep.

    Each begins with average, count and scale.  Those of a plan are the last five; a policy alone has at most seven.
    """
    split = len(row) - 5 if len(row) > 7 else len(row)
    return [value for part in (row[:split], row[split:]) for value in part[1:2] + part[3:]]


def parse(native: Optimizer, text: object) -> dict[str, Any] | None:
    """The progress that a text tells of; None if there is none.  Without "next_step" the clock goes by step counts.

    Raises:
        InvalidArgument: It is none, or speaks of schedules or layers that are not here.
    """
    if not text:
        return None
    try:
        progress = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        progress = None
    if not isinstance(progress, dict) or (progress and not _is_whole(progress)):
        raise InvalidArgument(f'the key "{KEY}" of a param group must be what a state dict had there, found {text!r}')
    missing = [key for key in progress.get("schedules", {}) if key not in native._schedules]
    if missing:
        raise InvalidArgument(f"the state dict has the state of a schedule of {missing[0]}, and here is none")
    layers = native.layers
    unknown = [
        name
        for key in ("frozen", "layer_schedules", "measurements")
        for name in progress.get(key, {})
        if name not in layers
    ]
    if unknown:
        raise InvalidArgument(f'the state dict speaks of the layer "{unknown[0]}", and there is none of this name')
    return progress


def _is_whole(progress: dict[str, Any]) -> bool:
    """Whether it has a step, and dictionaries for the rest; what is in them, the library judges."""
    step = progress.get("next_step")
    rest = [progress.get(key, {}) for key in ("schedules", "frozen", "measurements")]
    own = progress.get("layer_schedules", {})
    rest += [own, *(own.values() if isinstance(own, dict) else ())]
    if progress.get("mode", "training") not in ("training", "evaluation"):
        return False
    return type(step) is int and 0 <= step < 1 << 63 and all(isinstance(value, dict) for value in rest)


def parse_known(native: Optimizer, text: str) -> dict[str, Any]:
    """The progress of an optimizer with other layers: what it says of layers that are here too."""
    progress: dict[str, Any] = json.loads(text)
    layers = native.layers
    for key in ("frozen", "layer_schedules", "measurements"):
        progress[key] = {name: value for name, value in progress.get(key, {}).items() if name in layers}
    return progress


def apply(native: Optimizer, progress: dict[str, Any] | None, steps: int) -> None:
    """Put it back; where it does not say t, as from torch's own optimizers, the clock goes on from `steps`.

    Args:
        native: The optimizer.
        progress: What `parse` has made of the text.
        steps: The highest step count of all parameters.
    """
    # Parameters are loaded by their module, in the mode in which both were saved.
    native.assume_mode((progress or {}).get("mode", "training"))
    native.seek(steps if progress is None else progress.get("next_step", steps))
    _put_measurements(native, (progress or {}).get("measurements", {}))
    if progress is None:
        return
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


def _put_measurements(native: Optimizer, by_layer: dict[str, Any]) -> None:
    """Put measurements back; layers of which there are none begin to be measured."""
    if not native.measurements():
        return
    native.restart_measurements()
    rows = [by_layer.get(layer.name, row) for layer, row in zip(native._layers, _rows(native), strict=True)]
    native.set_measurements([math.nan if value is None else value for row in rows for value in row])
