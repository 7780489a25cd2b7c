# SPDX-License-Identifier: Apache-2.0
"""What somebody outside, such as a scheduler, makes of the groups, where it does not go with what was asked here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidArgument
from ..optimizer import Optimizer
from ._options import LR_SCALE
from ._parameters import Group
from ._warn import warn

_SCHEDULED = "initial_lr"
"""A key that every scheduler of torch and of timm puts into the groups."""


class Outside:
    """Looks at the groups at steps, until there is nothing more to find out.

    Args:
        keys: The rule's hyperparameters as groups call them, without "lr".
        groups: The groups.
        lr_scale: Who multiplies rates by the groups' "lr_scale"; None if nobody has said it.
    """

    def __init__(self, keys: Sequence[str], groups: Sequence[Group], lr_scale: str | None) -> None:
        self._keys = ("lr", *keys)
        self._lr_scale = lr_scale
        self._warned = False
        self.follow(groups)

    def follow(self, groups: Sequence[Group]) -> None:
        """There are other groups, or their values were loaded: what they say now was not moved by anybody outside."""
        self._last = self._rows(groups)
        self._scales_are_open = self._lr_scale is None and any(group.get(LR_SCALE, 1) != 1 for group in groups)

    def _rows(self, groups: Sequence[Group]) -> list[list[Any]]:
        return [[_plain(group.get(key)) for key in self._keys] for group in groups]

    def look(self, native: Optimizer, groups: Sequence[Group], moved: bool) -> None:
        """Look at the groups before a step.

        Args:
            native: The optimizer.
            groups: The groups.
            moved: Whether any hyperparameter may have changed since the last look.

        Raises:
            InvalidArgument: Nobody multiplies rates by the groups' "lr_scale".
        """
        if self._scales_are_open:
            self._judge_scales(groups)
        if moved and not self._warned and native._schedules:
            self._judge_schedules(native._schedules, native.rule.tuples, groups)

    def _judge_scales(self, groups: Sequence[Group]) -> None:
        pairs = [(float(group["lr"]), float(group.get(LR_SCALE, 1))) for group in groups]
        bases = [rate / scale for rate, scale in pairs if scale]
        is_applied = all(rate == 0 for rate, scale in pairs if not scale) and all(
            abs(base - bases[0]) <= 1e-6 * bases[0] for base in bases
        )
        if not is_applied or len({scale for _, scale in pairs}) == 1:
            index = next(index for index, (_, scale) in enumerate(pairs) if scale != 1)
            raise InvalidArgument(
                f'param group {index} has lr_scale {pairs[index][1]} and lr {pairs[index][0]}, and "lr" does not show '
                'that anybody multiplies it by that: say lr_scale="apply" for a rate of lr * lr_scale here, or '
                'lr_scale="scheduler" if a scheduler or the training loop puts lr * lr_scale into "lr"'
            )
        self._scales_are_open = False

    def _judge_schedules(
        self, schedules: Mapping[str, object], tuples: Mapping[str, tuple[str, ...]], groups: Sequence[Group]
    ) -> None:
        rows = self._rows(groups)
        last, self._last = self._last, rows
        if len(rows) != len(last) or not any(_SCHEDULED in group for group in groups):
            return
        for place, key in enumerate(self._keys):
            scheduled = [part for part in tuples.get(key, (key,)) if part in schedules]
            if scheduled and any(row[place] != old[place] for row, old in zip(rows, last, strict=True)):
                self._warned = True
                warn(
                    f'a scheduler outside moves "{key}" of the param groups, and schedule= moves {scheduled[0]} too: '
                    'the two multiply.  Leave one of them out (Transformers: lr_scheduler_type="constant")'
                )
                return


def _plain(value: Any) -> Any:
    return (
        tuple(map(_plain, value))
        if isinstance(value, tuple | list)
        else (float(value) if hasattr(value, "item") and value.numel() == 1 else value)
    )
