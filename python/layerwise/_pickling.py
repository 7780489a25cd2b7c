# SPDX-License-Identifier: Apache-2.0
"""Pickling and copying an optimizer: what it was made of, the objects that own its buffers, and its state.

The objects go along as what they are, so where a model is pickled or copied together with its optimizer, the new
optimizer steps the new model.  The state is a checkpoint, loaded strictly into the new optimizer: it would be
refused if anything had been lost on the way.
"""

from __future__ import annotations

import array
import copy
import ctypes
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._buffers import Buffer, Place
from ._buffers import _address as address_of
from ._values import dataclass
from .errors import InvalidArgument

if TYPE_CHECKING:
    from ._registry import LayerRecord
    from .optimizer import Optimizer

Carry = Callable[[object], object]
"""What makes of an object that owns memory what goes along; it raises where the object cannot."""

OWN = frozenset(
    (
        "_by_name _errors _finalizer _freezing _handle _layers _lock _memory _policy _process _rule _schedules _watches"
    ).split()
)
"""The attributes of an optimizer that a copy creates itself; it takes all others from the original."""

_PLACE = ("tower", "role")
_ARRAYS = (("numpy", "ndarray"), ("torch", "Tensor"))


@dataclass(frozen=True)
class Part:
    """Some of an object's memory: what a memoryview is, which itself can neither be pickled nor copied."""

    owner: object
    offset: int
    size: int
    format: str
    shape: tuple[int, ...]

    def view(self) -> memoryview:
        """The view of the object as it is now."""
        part: Any = memoryview(self.owner).cast("B")[self.offset : self.offset + self.size]  # type: ignore[arg-type]
        made: memoryview = part.cast(self.format) if len(self.shape) == 1 else part.cast(self.format, self.shape)
        return made


def capture(optimizer: Optimizer, carry: Carry) -> dict[str, Any]:
    """Everything of an optimizer that another one is made of."""
    with optimizer._registration:
        checkpoint = optimizer.to_bytes()
        identity = _identity(checkpoint)
        return {
            "rule": optimizer._rule,
            "policy": optimizer._policy,
            "schedules": optimizer._schedules,
            "freezing": optimizer._freezing,
            "settings": identity["hyperparameters"]
            | identity["settings"]
            | {key: optimizer.get(key) for key in ("threads", "telemetry", "empty_step")},
            "layers": [_layer(optimizer, record, identity["layers"], carry) for record in optimizer._layers],
            "checkpoint": checkpoint,
            "others": {key: value for key, value in vars(optimizer).items() if key not in OWN},
        }


def restore(optimizer: Optimizer, start: Callable[..., None], state: dict[str, Any]) -> None:
    """Make an optimizer of what was captured; `start` is its first initialisation."""
    start(optimizer, state["rule"])
    # Schedules may need what was changed after the rule was given, so this comes first.
    optimizer.set(**state["settings"])
    optimizer.policy = state["policy"]
    for key, schedule in state["schedules"].items():
        optimizer.set_schedule(schedule, key)
    optimizer.freezing = state["freezing"]
    for layer in state["layers"]:
        optimizer._register(
            layer["name"],
            _viewed(layer["parameters"]),
            _viewed(layer["gradients"]),
            layer["gradient_dtypes"],
            layer["master"],
            layer["settings"].items(),
            layer["whole_shapes"],
            layer["rule"],
        )
        # A part begins with the schedules of its whole.
        for key in [*optimizer._record(layer["name"]).schedules]:
            if key not in layer["schedules"]:
                optimizer.set_schedule(None, key, layer["name"])
        for key, schedule in layer["schedules"].items():
            optimizer.set_schedule(schedule, key, layer["name"])
    for layer in state["layers"]:
        # Where it follows from the order, it goes on doing so.
        if optimizer.layer(layer["name"]).depth != layer["depth"]:
            optimizer.layer(layer["name"]).set(depth=layer["depth"])
    if state["checkpoint"] is not None:
        optimizer.load_bytes(state["checkpoint"])
    vars(optimizer).update(state["others"])


def pickled(protocol: int) -> Carry:
    """Refuses what is known not to be picklable, while it can be said whose memory it is."""

    def carry(owner: object) -> object:
        if isinstance(owner, Part):
            carry(owner.owner)
        elif isinstance(owner, ctypes.Array):
            raise TypeError("the type of a ctypes array has no name by which pickle would find it")
        elif not isinstance(owner, _plain_types()):
            owner.__reduce_ex__(protocol)
        return owner

    return carry


def copied(memo: dict[int, Any]) -> Carry:
    """Copies, each object once."""
    return lambda owner: copy.deepcopy(owner, memo)


def _plain_types() -> tuple[type[Any], ...]:
    """What can be pickled; asking it how would make a copy of its memory."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in _ARRAYS)
    return (array.array, bytearray, *(kind for kind in found if kind is not None))


def _identity(checkpoint: bytes) -> dict[str, Any]:
    """What the library says of settings, those of each layer alone among them."""
    size = int.from_bytes(checkpoint[:8], "little")
    found: dict[str, Any] = json.loads(json.loads(checkpoint[8 : 8 + size])["__metadata__"]["identity"])
    return found


def _layer(optimizer: Optimizer, record: LayerRecord, identities: dict[str, Any], carry: Carry) -> dict[str, Any]:
    identity = identities[record.name]
    defaults = {"tower": "", "role": "depth", "start": 0}
    own = {key: value for key, value in identity["settings"].items() if defaults.get(key) != value}
    if record.part_of:
        # Its place follows from its whole.
        own = {key: value for key, value in own.items() if key not in _PLACE} | {"part_of": record.part_of}
    return {
        "name": record.name,
        "parameters": {
            tensor.name: _owner(tensor.parameters, tensor.parameters_place, carry) for tensor in record.tensors
        },
        "gradients": {
            tensor.name: None if tensor.gradient is None else _owner(tensor.gradient, tensor.gradient_place, carry)
            for tensor in record.tensors
        },
        "whole_shapes": record.whole_shapes,
        "gradient_dtypes": [tensor.gradient_dtype for tensor in record.tensors],
        "master": any(tensor["master"] for tensor in identity["tensors"].values()),
        "rule": record.rule,
        "settings": ({} if record.rule is None else {"rule": record.rule.name}) | own | identity["hyperparameters"],
        "schedules": record.schedules,
        "depth": optimizer.layer(record.name).depth,
    }


def _owner(buffer: Buffer, place: Place, carry: Carry) -> object:
    try:
        return carry(_whole(buffer))
    except Exception as error:
        message = place.refuse(InvalidArgument, f"cannot be pickled or copied: {error}")
        raise TypeError(str(message)) from error


def _whole(buffer: Buffer) -> object:
    """The object itself, or which part of it."""
    view = buffer.owner
    if not isinstance(view, memoryview):
        return view
    if view.obj is None:
        raise TypeError("nothing is known to own the memory")
    whole = memoryview(view.obj)
    start = address_of(whole)
    if (start, whole.format, whole.shape) == (buffer.address, view.format, view.shape):
        return view.obj
    part = Part(view.obj, buffer.address - start, view.nbytes, view.format, tuple(view.shape or ()))
    # Some views cannot be made this way, such as those of fields.
    if address_of(part.view()) != buffer.address:
        raise TypeError(f"it is a view of a {type(view.obj).__name__} that cannot be described")
    return part


def _viewed(owners: dict[str, object]) -> dict[str, object]:
    return {name: owner.view() if isinstance(owner, Part) else owner for name, owner in owners.items()}
