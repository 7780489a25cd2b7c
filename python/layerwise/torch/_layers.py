# SPDX-License-Identifier: Apache-2.0
"""Which layer every parameter belongs to: from the user's rules, the groups' keys, or the parameters' names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

from .._placement import LayerRules, Placement, by_name, with_rules
from ..errors import InvalidArgument
from ..policy import Policy
from ._parameters import Group, clean, named_parameters
from ._watching import Example

NAME = "_layerwise_name"
"""The attribute of a parameter that has its name, where its group is made here."""


@dataclass(frozen=True)
class Row:
    """One layer, as `layers` shows it.

    Attributes:
        name: Name of the layer, which patterns of policies match.
        depth: Position from the input, in its tower.
        tower: The stack it belongs to; empty where there is one.
        role: "stem", "block", "norm" or "head".
        scale: Its own rate multiplier, or None for the policy's.
        parameters: Names of its parameters.
        count: How many numbers they hold.
        reason: Why it is where it is.
        guess: Whether names leave its place open, so that the order of registration decided; where the model was
            watched, whether the forward pass does.
    """

    name: str
    depth: int | None
    tower: str
    role: str | None
    scale: float | None
    parameters: tuple[str, ...]
    count: int
    reason: str
    guess: bool


class LayerTable(tuple[Row, ...]):
    """The layers of a model, in the order of towers and depths; printed, it is a table."""

    def __str__(self) -> str:
        head = ("layer", "depth", "tower", "role", "tensors", "parameters", "why")
        rows = [
            (
                row.name,
                "" if row.depth is None else str(row.depth),
                row.tower,
                row.role or "",
                str(len(row.parameters)),
                f"{row.count:,}",
                f"{row.reason}{' (a guess)' if row.guess else ''}",
            )
            for row in self
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        # A column that says nothing, such as tower where there is one, is left out.
        shown = [index for index in range(len(head)) if any(row[index] for row in rows)]
        right = {1, 4, 5}
        return "\n".join(
            "  ".join(
                line[index].rjust(widths[index]) if index in right else line[index].ljust(widths[index])
                for index in shown
            ).rstrip()
            for line in (head, *rows)
        )

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from .. import _html

        rows = [
            (
                row.name,
                row.depth,
                row.tower,
                row.role,
                len(row.parameters),
                row.count,
                f"{row.reason}{' (a guess)' * row.guess}",
            )
            for row in self
        ]
        return _html.table(("layer", "depth", "tower", "role", "tensors", "parameters", "why"), rows)


Layers: TypeAlias = LayerRules | LayerTable
"""What `layers=` takes: the user's own rules, or a table of `layers`, which says where every parameter is."""


def layers(
    model: nn.Module | Iterable[tuple[str, Tensor]],
    *,
    rules: LayerRules | None = None,
    example: Example | None = None,
) -> LayerTable:
    """The layers of a model as a table, before anything is created.

    Without an example the names of the parameters tell.  With one, the model runs forward once and is watched: which
    parameters it uses, in which order, and what it makes of what.  `layers=` of the optimizers takes the table: with
    `table = layers(model, example=batch)`, `AdamW(model, layers=table, layer_decay=0.8)`.

    Args:
        model: A module, or named parameters.
        rules: What goes before names and the example: a mapping from pattern to what the parameters that it matches
            are: a depth (`{"embed.*": 0}`), the name of a layer (`{"*.lora_*": "adapters"}`), or a mapping with any of
            "layer", "depth", "tower", "role" and "scale".  A text is compared with whole names of parameters in the
            syntax "glob" of policies: `*` any text, also with a dot, `?` any character, `[a-c]` one of these, `[!a-c]`
            none of these, a backslash before a character that stands for itself.  A compiled regular expression must
            match the whole name.  The first pattern that matches a parameter counts.
        example: What the model is called with: a tuple or list of arguments, a mapping of keyword arguments (such as
            a batch of a Transformers tokenizer), or the only argument.  Only what depends on no parameter is
            computed, where the model allows that; the model, its buffers, gradients and modes, and the state of
            random generators are afterwards as they were.

    Returns:
        One row a layer.

    Raises:
        UnknownName: A pattern matches no parameter, or a rule says something unknown.
        OutOfRange: A pattern cannot be read, such as one with a `[` without its `]`.
        InvalidArgument: There is an example, and the model is no module of Python's.
        Exception: What the model raises for the example.
    """
    named = _named(model)
    sizes = {name: param.numel() for name, param in named}
    names = [name for name, _ in named]
    if example is None:
        placed = by_name(names, rules)
    else:
        if not isinstance(model, nn.Module):
            raise InvalidArgument(f"example: only a module can be run, found {type(model).__name__}")
        from ._watching_places import by_watching

        # Refused before the model runs.
        by_name(names, rules)
        placed = with_rules(by_watching(model, names, example), rules)
    members: dict[Placement, list[str]] = {}
    for name, placement in placed.items():
        members.setdefault(placement, []).append(name)
    return LayerTable(
        Row(
            placement.layer,
            placement.depth,
            placement.tower,
            placement.role,
            placement.scale,
            tuple(names),
            sum(sizes[name] for name in names),
            placement.reason,
            placement.guess,
        )
        for placement, names in sorted(
            members.items(), key=lambda item: (item[0].tower, -1 if item[0].depth is None else item[0].depth)
        )
    )


def placements(names: Sequence[str], given: Layers | None) -> dict[str, Placement]:
    """The placement of every name, as `layers=` says, or else as the names tell.

    Raises:
        InvalidArgument: It is a table that lacks a name.
    """
    if not isinstance(given, LayerTable):
        return by_name(names, given)
    known = {
        name: Placement(row.name, row.depth, row.tower, row.role, row.scale, row.reason, row.guess)
        for row in given
        for name in row.parameters
    }
    missing = [name for name in names if name not in known]
    if missing:
        raise InvalidArgument(
            f'layers: the table has no parameter "{missing[0]}": make it of the model as it is trained'
        )
    return {name: known[name] for name in names}


def param_groups(
    model: nn.Module | Iterable[tuple[str, Tensor]],
    *,
    layers: Layers | None = None,
    policy: Policy | None = None,
    weight_decay_exclude_1d: bool = False,
    **options: Any,
) -> list[Group]:
    """Param groups by layer, for whatever goes by groups: any optimizer on any device, schedulers.

    Without a policy there is one group a layer, which says which layer it is, so the optimizer needs no names to know.
    With a policy or `weight_decay_exclude_1d`, parameters that get the same values share one group, whose "lr" is that
    of its layers where `lr` is given; where it is not, `LayerRates` with this policy sets it.

    Args:
        model: A module, or named parameters.
        layers: The user's own rules, as in `layers`, or its table.
        policy: What sets every layer's scale, for optimizers of other libraries.
        weight_decay_exclude_1d: Give tensors of rank 0 and 1 a weight decay of 0.
        **options: Hyperparameters for every group, such as `lr=3e-4` and `weight_decay=0.1`.

    Raises:
        InvalidArgument: One of them is an argument of the optimizer, such as `layer_decay`, without effect in a group.
    """
    # Options and splits are made of what is here.
    from ._options import refuse_options
    from ._split import policy_groups

    refuse_options(options)
    named = dict(_named(model))
    for name, param in named.items():
        # Wrappers split and sort the parameters of a group, so that a list of names in it would not do.
        setattr(param, NAME, name)
    if policy is not None or weight_decay_exclude_1d:
        return policy_groups(named, layers, policy, weight_decay_exclude_1d, options)
    groups: list[Group] = []
    for row in layers if isinstance(layers, LayerTable) else _rows(named.items(), rules=layers):
        place = {"layer": row.name, "depth": row.depth, "tower": row.tower, "role": row.role, "scale": row.scale}
        groups.append(
            {"params": [named[name] for name in row.parameters], **options}
            | {key: value for key, value in place.items() if value not in (None, "")}
        )
    return groups


_rows = layers
"""The function, where an argument has its name."""


def _named(model: nn.Module | Iterable[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
    if isinstance(model, nn.Module):
        return named_parameters(model)
    named = list(model)
    return list(zip(clean(name for name, _ in named), [param for _, param in named], strict=True))
