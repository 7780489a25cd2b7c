# SPDX-License-Identifier: Apache-2.0
"""What messages say of a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name that is nearly the same, if there is one."""
    import difflib

    found = difflib.get_close_matches(str(name), list(known), 1, 0.7)
    return found[0] if found else None


def hint(name: object, known: Iterable[str]) -> str:
    """The nearest known name as an addition in brackets, as the library writes it; nothing where none is near."""
    near = nearest(name, known)
    return f' (did you mean "{near}"?)' if near else ""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The question whether the nearest of the known names was meant; where none is near, all of them."""
    names = list(known)
    near = nearest(name, names)
    return f"did you mean {near}?" if near else f"expected one of {', '.join(names)}"
