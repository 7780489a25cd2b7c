# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses that take a twentieth of the time to define.

Rules, policies, schedules and freezing plans are some eighty classes.  The standard decorator compiles six functions
for each, which took half of the time of ``import layerwise``.  This one shares five of them among all classes and
compiles ``__init__`` when a class is first used.  `dataclasses.fields`, `replace`, `asdict`, matching, pickling,
comparison, hashes and signatures are those of ``dataclass(frozen=True)``.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen, init=True, repr=True, kw_only=False):
        """As `dataclasses.dataclass`, for frozen classes only."""
        if not frozen:
            raise TypeError("frozen must be True")

        def decorate(cls):
            cls = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
            own = vars(cls)
            functions = _SHARED if repr else {key: value for key, value in _SHARED.items() if key != "__repr__"}
            for name, function in functions.items():
                if own.get(name) is None:
                    setattr(cls, name, function)
            if init and "__init__" not in own:
                cls.__init__ = _first_init
                cls.__signature__ = _Signature()
            return cls

        return decorate


def _first_init(self: Any, /, *args: Any, **keywords: Any) -> None:
    _compile_init(type(self))
    self.__init__(*args, **keywords)


def _compile_init(cls: type) -> None:
    """Give the class that a class inherits ``__init__`` from the ``__init__`` of a dataclass, if it has none yet."""
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if vars(owner)["__init__"] is not _first_init:
        return
    fields = dataclasses.fields(owner)
    defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}

    def parameters(*, kw_only: bool) -> list[str]:
        names = [field.name for field in fields if field.kw_only == kw_only]
        return [f"{name}=defaults[{name!r}]" if name in defaults else name for name in names]

    by_keyword = parameters(kw_only=True)
    signature = ", ".join(["self", *parameters(kw_only=False), *(["*", *by_keyword] if by_keyword else [])])
    body = [f"store(self, {field.name!r}, {field.name})" for field in fields]
    if hasattr(owner, "__post_init__"):
        body.append("self.__post_init__()")
    names: dict[str, Any] = {"defaults": defaults, "store": object.__setattr__}
    exec("\n    ".join([f"def __init__({signature}):", *body, "pass"]), names)
    init = names["__init__"]
    init.__qualname__, init.__module__ = f"{owner.__qualname__}.__init__", owner.__module__
    init.__annotations__ = {field.name: field.type for field in fields} | {"return": None}
    owner.__init__ = init  # type: ignore[misc]


class _Signature:
    """The signature of a class, for `inspect`."""

    def __get__(self, instance: object, cls: type) -> inspect.Signature:
        _compile_init(cls)
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])


def _compared(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, field.name) for field in dataclasses.fields(self) if field.compare)


def _eq(self: Any, other: object) -> bool:
    return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _is_fixed(self: Any, name: str) -> bool:
    return "__dataclass_fields__" in vars(type(self)) or name in self.__dataclass_fields__


def _setattr(self: Any, name: str, value: object) -> None:
    if _is_fixed(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def _delattr(self: Any, name: str) -> None:
    if _is_fixed(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
    object.__delattr__(self, name)


_SHARED = {"__eq__": _eq, "__hash__": _hash, "__repr__": _repr, "__setattr__": _setattr, "__delattr__": _delattr}
