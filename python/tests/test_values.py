# SPDX-License-Identifier: Apache-2.0
"""Values behave as frozen dataclasses of the standard library do."""

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any, ClassVar

import pytest

from layerwise import _values


def family(dataclass: Callable[..., Any]) -> tuple[type[Any], ...]:
    """Three classes, made by one decorator or another."""

    @dataclass(frozen=True, kw_only=True)
    class Base:
        floor: float = 0.0

    @dataclass(frozen=True)
    class Middle(Base):
        steps: int
        _: KW_ONLY
        warmup: int = 0

    @dataclass(frozen=True)
    class Last(Middle):
        """A schedule."""

        name: ClassVar[str] = "last"
        power: float = 1.0
        names: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            object.__setattr__(self, "names", tuple(self.names))

    return Base, Middle, Last


OURS, THEIRS = family(_values.dataclass), family(dataclasses.dataclass)


@dataclasses.dataclass(frozen=True)
class Call:
    values: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()

    def of(self, cls: type[Any]) -> Any:
        try:
            return cls(*self.values, **dict(self.keywords))
        except TypeError as error:
            return str(error)


CALLS = [
    Call(),
    Call((1,)),
    Call((1, 2.0)),
    Call((1,), (("floor", 0.5), ("warmup", 3), ("power", 2.0), ("names", ["a", "b"]))),
    Call((1,), (("steps", 2),)),
    Call((1,), (("stepz", 2),)),
    Call((1, 2.0, (), 4)),
    Call((), (("warmup", 3),)),
]


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("call", CALLS)
def test_calls_are_those_of_the_standard_library(index: int, call: Call) -> None:
    ours, theirs = call.of(OURS[index]), call.of(THEIRS[index])
    if isinstance(theirs, str):
        assert ours == theirs
        return
    assert repr(ours) == repr(theirs)
    assert vars(ours) == vars(theirs) and list(vars(ours)) == list(vars(theirs))
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert hash(ours) == hash(theirs)


@pytest.mark.parametrize("index", range(3))
def test_classes_are_those_of_the_standard_library(index: int) -> None:
    ours, theirs = OURS[index], THEIRS[index]
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert inspect.signature(ours.__init__) == inspect.signature(theirs.__init__)
    assert [field.name for field in dataclasses.fields(ours)] == [field.name for field in dataclasses.fields(theirs)]
    assert ours.__match_args__ == theirs.__match_args__


def test_comparison() -> None:
    _, middle, last = OURS
    assert last(1) == last(1) != last(2) and last(1) != middle(1)
    assert {last(1): "one"}[last(1)] == "one"
    with pytest.raises(TypeError, match="unhashable"):
        hash(last(1, power={}))


def test_values_cannot_be_changed() -> None:
    value = OURS[2](1)
    for attempt in (
        lambda: setattr(value, "steps", 2),
        lambda: setattr(value, "other", 2),
        lambda: delattr(value, "steps"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot"):
            attempt()
    assert dataclasses.replace(value, steps=2) == OURS[2](2) and value == OURS[2](1)
    assert copy.copy(value) == copy.deepcopy(value) == value


@pytest.mark.spawns
def test_a_copy_is_compared_before_any_is_made() -> None:
    """Unpickling creates values without `__init__`, which may not be compiled yet."""
    import subprocess
    import sys

    import layerwise as lw

    value = lw.Warmup(5, lw.Cosine(20))
    path = str(lw.__file__).rpartition("/layerwise/")[0]
    code = f"""
import sys; sys.path.insert(0, {path!r})
import pickle
values = pickle.loads({pickle.dumps((value, value, copy.copy(value)))!r})
print(values[0] == values[2], hash(values[0]) == hash(values[2]), values[0])
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert output.strip() == f"True True {value}"


def test_only_frozen_classes() -> None:
    with pytest.raises(TypeError, match="frozen"):
        _values.dataclass(frozen=False)
