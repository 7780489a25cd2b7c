# SPDX-License-Identifier: Apache-2.0
"""The tables that `preview` and `explain` return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Explanation(str):
    """The table that `explain` returns: a string that notebooks show with its columns in line."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self)}</pre>"


class Rates:
    """Rates by layer and step.  `numpy.asarray(rates)` copies nothing.

    `rates["head"]` and `rates[3]` are the rates of one layer, `rates["head", 10]` and `rates[3, 10]` one of them.
    Columns are counted from the first step of the table.

    Attributes:
        layers: The names of the layers, in the order of the rows.
        steps: The steps of the columns.
        view: The numbers as a memoryview of format "d".
    """

    __slots__ = ("layers", "steps", "view")

    def __init__(self, layers: Sequence[str], steps: range, view: memoryview[float]) -> None:
        self.layers = tuple(layers)
        self.steps = steps
        self.view = view

    @property
    def shape(self) -> tuple[int, int]:
        """The number of layers, and of steps."""
        return len(self.layers), len(self.steps)

    def tolist(self) -> list[list[float]]:
        """The rates as lists: one for each layer."""
        if not self.steps:
            return [[] for _ in self.layers]
        rows: list[list[float]] = self.view.tolist()  # type: ignore[assignment]
        return rows

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[list[float]]:
        return iter(self.tolist())

    @overload
    def __getitem__(self, key: str | int) -> list[float]: ...

    @overload
    def __getitem__(self, key: tuple[str | int, int]) -> float: ...

    def __getitem__(self, key: str | int | tuple[str | int, int]) -> list[float] | float:
        if isinstance(key, tuple):
            layer, step = key
            return self[layer][step]
        row = self._row(key)
        return [self.view[row, column] for column in range(len(self.steps))]

    def _row(self, layer: str | int) -> int:
        if isinstance(layer, str):
            if layer not in self.layers:
                raise KeyError(f"no layer is called {layer!r}, expected one of {', '.join(self.layers[:8])}")
            return self.layers.index(layer)
        return range(len(self.layers))[layer]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rates):
            return NotImplemented
        return (self.layers, self.steps, self.tolist()) == (other.layers, other.steps, other.tolist())

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[np.float64]:
        import numpy as np

        array = np.asarray(self.view, dtype)
        return array.copy() if copy else array

    def __buffer__(self, flags: int) -> memoryview[float]:
        # From Python 3.12 on, memoryview(rates) and bytes(rates) work.
        return memoryview(self.view)

    def __repr__(self) -> str:
        most_steps, most_layers = 8, 40
        columns = list(range(len(self.steps)))
        if len(columns) > most_steps:
            columns = columns[: most_steps - 2] + columns[-2:]
        head = ["", *(str(self.steps[column]) for column in columns)]
        rows = [
            [name, *(f"{self.view[row, column]:.4g}" for column in columns)]
            for row, name in enumerate(self.layers[:most_layers])
        ]
        if len(self.steps) > most_steps:
            for line in (head, *rows):
                line.insert(most_steps - 1, "…")
        widths = [max(len(line[index]) for line in (head, *rows)) for index in range(len(head))]
        text = [
            "  ".join(cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in enumerate(pairs))
            for pairs in (zip(line, widths, strict=True) for line in (head, *rows))
        ]
        more = len(self.layers) - most_layers
        title = f"rates of {len(self.layers)} layers at {len(self.steps)} steps"
        return "\n".join([title, *(line.rstrip() for line in text), *([f"… {more} more layers"] if more > 0 else [])])

    def _repr_html_(self) -> str:
        from . import _html

        stride = max(-(-len(self.steps) // 160), 1)
        rows = [row[::stride] for row in self.tolist()]
        columns = sorted({0, len(self.steps) // 4, len(self.steps) // 2, 3 * len(self.steps) // 4, len(self.steps) - 1})
        columns = [column for column in columns if 0 <= column < len(self.steps)]
        cells: list[Sequence[Any]] = [
            (name, *(row[column] for column in columns)) for name, row in zip(self.layers, self.tolist(), strict=True)
        ]
        head = ("layer", *(f"step {self.steps[column]}" for column in columns))
        return f"<div>{_html.lines(rows, self.layers)}{_html.table(head, cells)}</div>"
