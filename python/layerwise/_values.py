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
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from ._names import did_you_mean

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
                cls.__signature__ = InitSignature()
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


class InitSignature:
    """The signature of a class, for `inspect`: that of its ``__init__``, also where there is a ``__new__``."""

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


class Mapped(dict[Any, Any]):
    """A dictionary that is a field of a value: it has a hash and cannot be changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)

    def _refuse(self, *_: object, **__: object) -> Any:
        raise TypeError("this dictionary belongs to a value, which cannot be changed")

    if not TYPE_CHECKING:
        __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


_AnyValue = TypeVar("_AnyValue", bound="Value")


class Value:
    """What rules, policies, schedules and freezing plans share: none of them can be changed."""

    if not TYPE_CHECKING:
        __signature__ = InitSignature()

        def __new__(cls, *args, **keywords):
            if not keywords.keys() <= vars(cls).get("__dataclass_fields__", {}).keys():
                _compile_init(cls)
                refuse_unknown(cls, keywords)
            return object.__new__(cls)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments by name, as scikit-learn calls them.

        Args:
            deep: Also those of values inside this one: "then__total_steps", or "schedules__0__total_steps" in a list.
        """
        params = self._arguments()
        inner: dict[str, Any] = {}
        for name, argument in params.items():
            for path, value in _values_in(name, argument):
                inner[path] = value
                inner |= {f"{path}__{key}": one for key, one in value.get_params().items()}
        return inner | params if deep else params

    def set_params(self: _AnyValue, **params: Any) -> _AnyValue:
        """A copy with other arguments, by the names of `get_params`.  The value itself stays as it is.

        scikit-learn changes estimators in place, and drops what `set_params` of a parameter returns.  So an estimator
        that holds a rule cannot set "rule__lr", which is refused; it can set "rule" to `rule.set_params(lr=0.1)`.
        """
        if sys._getframe(1).f_globals.get("__name__") == "sklearn.base":
            raise TypeError(
                f"{type(self).__name__} is a value that cannot be changed in place: give the estimator another one, "
                f"such as {type(self).__name__}(...).set_params({', '.join(f'{key}=...' for key in params)})"
            )
        arguments = self._arguments()
        inner: dict[str, dict[str, Any]] = {}
        for key, value in params.items():
            name, is_inner, rest = key.partition("__")
            if name not in arguments:
                raise ValueError(f"{type(self).__name__} has no argument {name!r}; {did_you_mean(name, arguments)}")
            if is_inner:
                inner.setdefault(name, {})[rest] = value
            else:
                arguments[name] = value
        for name, changes in inner.items():
            arguments[name] = _changed(f"{name} of {type(self).__name__}", arguments[name], changes)
        return self._with(arguments)

    def _arguments(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def _with(self: _AnyValue, arguments: dict[str, Any]) -> _AnyValue:
        """Another one with these arguments."""
        return type(self)(**arguments)

    def __sklearn_clone__(self: _AnyValue) -> _AnyValue:
        # A copy of what cannot be changed is the thing itself.
        return self


def changed(value: Value, settings: dict[str, object]) -> dict[str, object]:
    """Of settings of a value, those that do not have the default of its class."""
    fields = getattr(value, "__dataclass_fields__", {})
    defaults = {key: fields[key].default for key in settings if key in fields}
    return {
        key: one for key, one in settings.items() if type(one) is not type(defaults.get(key)) or one != defaults[key]
    }


def refuse_unknown(cls: type[object], keywords: dict[str, Any]) -> None:
    """Refuse keywords that a class does not take, before Python does, which cannot say what was meant."""
    if not keywords:
        return
    known = inspect.signature(cls.__init__).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values()):
        return
    for key in keywords:
        if key not in known:
            raise TypeError(f"{cls.__name__} has no argument {key!r}; {did_you_mean(key, list(known)[1:])}")


def _values_in(name: str, argument: object) -> Iterator[tuple[str, Value]]:
    """An argument that is a value, or those in a list, each with its name."""
    if isinstance(argument, Value):
        yield name, argument
    elif isinstance(argument, tuple):
        for index, one in enumerate(argument):
            yield from _values_in(f"{name}__{index}", one)


def _changed(what: str, argument: object, changes: dict[str, Any]) -> object:
    """An argument, or one of a list, with other arguments of its own."""
    if isinstance(argument, Value):
        return argument.set_params(**changes)
    if not isinstance(argument, tuple):
        raise ValueError(f"{what} is {argument!r}, which has no arguments of its own")
    parts = list(argument)
    inner: dict[int, dict[str, Any]] = {}
    for key, value in changes.items():
        index, is_inner, rest = key.partition("__")
        if not index.isdecimal() or int(index) >= len(parts):
            raise ValueError(f"{what} has {len(parts)} parts, counted from 0, and none called {index!r}")
        if is_inner:
            inner.setdefault(int(index), {})[rest] = value
        else:
            parts[int(index)] = value
    for place, own in inner.items():
        parts[place] = _changed(f"part {place} of {what}", parts[place], own)
    return tuple(parts)


_SHARED = {"__eq__": _eq, "__hash__": _hash, "__repr__": _repr, "__setattr__": _setattr, "__delattr__": _delattr}
