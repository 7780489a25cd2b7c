# SPDX-License-Identifier: Apache-2.0
"""What the classes say of themselves, to be compared with what the library declares."""

import dataclasses
import inspect
import math
import re
import sys
from typing import Any, get_args

import layerwise as lw

MISSING = dataclasses.MISSING


def fields(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a dataclass by name."""
    return {field.name: field for field in dataclasses.fields(cls)}


def documented(cls: type[Any], keyword: str) -> str:
    """The paragraph of the docstring on one argument."""
    paragraph = re.search(
        rf"^    {keyword}: (.*?)(?=^    \w+: |\Z)", inspect.getdoc(cls) or "", re.DOTALL | re.MULTILINE
    )
    assert paragraph, f"{cls.__name__}.{keyword} is not documented"
    return " ".join(paragraph[1].split())


def documented_default(cls: type[Any], keyword: str) -> Any:
    """The default that the docstring tells; MISSING if it tells none."""
    text = re.search(r"Default (.+?)\.?$", documented(cls, keyword))
    return eval(text[1], {"inf": math.inf}) if text else MISSING


def documented_range(entry: dict[str, Any]) -> str:
    """A declared range, as docstrings write it: limits that are powers of two as such."""
    powers = {str(2**exponent): f"2**{exponent}" for exponent in (20, 31, 53)}
    return re.sub(r"\d+", lambda number: powers.get(number[0], number[0]), str(entry["range"]))


def choices(cls: type[Any], keyword: str) -> set[str]:
    """The choices that a field's type allows."""
    # typing.get_type_hints of Python 3.10 fails on KW_ONLY.
    owner = next(base for base in cls.__mro__ if keyword in vars(base).get("__annotations__", {}))
    hint = eval(vars(owner)["__annotations__"][keyword], vars(sys.modules[owner.__module__]))
    return {value for part in (hint, *get_args(hint)) for value in get_args(part) if isinstance(value, str)}


def concrete(base: type[Any]) -> list[type[Any]]:
    """The exported classes of one kind that name a kind of the library."""
    found = [value for value in map(vars(lw).get, lw.__all__) if isinstance(value, type)]
    return [cls for cls in found if issubclass(cls, base) and "name" in vars(cls)]
