# SPDX-License-Identifier: Apache-2.0
"""The module tree of a model, and the stacks of repeated blocks in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from torch import nn

from ._watching_flow import Flow

_NUMBERED = re.compile(r"(.*?)[_-]?(\d+)")
_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


@dataclass(eq=False)
class Part:
    """A module that holds parameters, or a parameter, with what is inside.

    Attributes:
        path: Its name in the model.
        module: The module; None for a parameter.
        parent: What it stands in.
        children: Modules inside that hold parameters, and parameters of its own, by name, as they were registered.
        params: All parameters inside, by index.
        size: How many numbers these hold.
    """

    path: str
    module: nn.Module | None
    parent: Part | None
    children: dict[str, Part] = field(default_factory=dict)
    params: list[int] = field(default_factory=list)
    size: int = 0

    @property
    def is_list(self) -> bool:
        """Whether it only holds other modules, one after another."""
        return isinstance(self.module, _LISTS)

    @cached_property
    def owners(self) -> list[Part]:
        """The modules inside that have parameters of their own; of a list of parameters, these."""
        return list(self._owners())

    def _owners(self) -> Iterator[Part]:
        if self.module is None or (
            not self.is_list and self.children and all(child.module is None for child in self.children.values())
        ):
            yield self
            return
        own = [child for child in self.children.values() if child.module is None]
        yield from own
        for child in self.children.values():
            if child.module is not None:
                yield from child._owners()

    @property
    def is_composite(self) -> bool:
        """Whether it is more than one plain module, which has a weight and a bias."""
        return len(self.owners) > 1 or (len(self.params) > 2 and self.module is not None)

    @property
    def is_norm(self) -> bool:
        """Whether its class says that it normalises, or those of all that is in it do."""
        return all("norm" in type(owner.module).__name__.lower() for owner in self.owners)

    @cached_property
    def pattern(self) -> frozenset[str]:
        """The names of the parameters inside, with "#" for numbers."""
        return frozenset(self._patterns(""))

    def _patterns(self, before: str) -> Iterator[str]:
        if self.module is None:
            yield before
        for name, child in self.children.items():
            numbered = _NUMBERED.fullmatch(name)
            yield from child._patterns(f"{before}.{numbered[1]}#" if numbered else f"{before}.{name}")

    def is_alike(self, other: Part) -> bool:
        """Whether it repeats another one: the same class, or half of the parameters have the same names."""
        if type(self.module) is type(other.module) and not self.is_list:
            return True
        return 2 * len(self.pattern & other.pattern) >= len(self.pattern | other.pattern)

    def line(self) -> list[Part]:
        """The parts that it stands in, from the whole model down to itself."""
        found = [self]
        while found[-1].parent is not None:
            found.append(found[-1].parent)
        return found[::-1]

    @property
    def base(self) -> str:
        """Its name in what it stands in, without the number at the end."""
        name = self.path.rpartition(".")[2]
        numbered = _NUMBERED.fullmatch(name)
        return numbered[1] if numbered else name

    @cached_property
    def number(self) -> int | None:
        """The number at the end of its name."""
        numbered = _NUMBERED.fullmatch(self.path.rpartition(".")[2])
        return int(numbered[2]) if numbered else None


def tree(names: Sequence[str], sizes: Sequence[int], modules: Mapping[str, nn.Module]) -> Part:
    """The tree of a model's parameters."""
    root = Part("", modules.get(""), None)
    for index, name in enumerate(names):
        part = root
        part.params.append(index)
        part.size += sizes[index]
        pieces = name.split(".")
        for depth, piece in enumerate(pieces):
            child = part.children.get(piece)
            if child is None:
                path = f"{part.path}.{piece}" if part.path else piece
                module = modules.get(path) if depth < len(pieces) - 1 else None
                child = part.children[piece] = Part(path, module, part)
            part = child
            part.params.append(index)
            part.size += sizes[index]
    return root


@dataclass(eq=False)
class Stack:
    """Blocks that repeat each other and follow each other.

    Attributes:
        parent: What the list of blocks stands in.
        blocks: The blocks in the order of execution.
        numbers: For each block its number in the outermost list, and its name beside it.
        path: The name of the list, as far as all blocks have it.
    """

    parent: Part
    blocks: list[Part]
    numbers: list[int | None]
    path: str


@dataclass(eq=False)
class _Group:
    """Parts with one name but for a number, in the order of execution."""

    holder: Part
    base: str
    members: list[Part]
    is_alike: bool = True


def stacks(root: Part, flow: Flow) -> list[Stack]:
    """The outermost stacks of a model; stages whose blocks are a stack each are one stack.

    Lists whose members do not follow each other, such as experts, are none, and what is in them may be.
    """
    found = _large(_groups([root], flow, 2), root) or _groups([root], flow, 1)
    members = [member for group in found for member in group.members]
    inner = _by_member(found, _groups(members, flow, 2, in_line=True))
    made = []
    for group in found:
        blocks = _blocks(group, inner, flow)
        blocks.sort(key=lambda block: _start(block[0], flow))
        holder = group.holder
        # A plain list is a part of what it stands in.
        parent = holder.parent if holder.is_list and not group.base and holder.parent is not None else holder
        path = f"{holder.path}.{group.base}" if group.base and holder.path else holder.path or group.base
        made.append(Stack(parent, [block for block, _ in blocks], [number for _, number in blocks], path))
    return sorted(made, key=lambda stack: _start(stack.blocks[0], flow))


def start(part: Part, flow: Flow) -> tuple[int, int] | None:
    """Where the first of its parameters meets data; None if nothing reads them."""
    places = [flow.place[param] for param in part.params]
    return min((place for place in places if place is not None), default=None)


def _start(part: Part, flow: Flow) -> tuple[int, int]:
    return start(part, flow) or (0, 0)


def _groups(tops: Sequence[Part], flow: Flow, fewest: int, *, in_line: bool = False) -> list[_Group]:
    """The outermost groups of blocks inside of some parts.

    With `in_line` none inside of one of several branches, but also lists whose members follow each other and differ.
    """
    found: list[_Group] = []
    open_parts = list(tops)
    while open_parts:
        candidates: list[_Group] = []
        while open_parts:
            part = open_parts.pop()
            groups = _candidates(part, flow, fewest)
            candidates += groups
            closed = {id(member) for group in groups for member in group.members}
            open_parts += [child for child in part.children.values() if id(child) not in closed]
        taken, branches = _follow_each_other(candidates, flow, fewest, unlike=in_line)
        found += taken
        closed_groups = {id(group) for group in ([*taken, *branches] if in_line else taken)}
        open_parts = [member for group in candidates if id(group) not in closed_groups for member in group.members]
    return found


def _candidates(part: Part, flow: Flow, fewest: int) -> list[_Group]:
    by_base: dict[str, list[tuple[tuple[int, int], int, Part]]] = {}
    for order, (name, child) in enumerate(part.children.items()):
        numbered = _NUMBERED.fullmatch(name)
        if numbered and child.module is not None and child.is_composite:
            place = start(child, flow)
            if place is not None:
                by_base.setdefault(numbered[1], []).append((place, order, child))
    groups = [_Group(part, base, [child for _, _, child in sorted(entries)]) for base, entries in by_base.items()]
    if fewest == 1:
        return [group for group in groups if not group.base and all(len(one.owners) > 2 for one in group.members)]
    # Two of something in a block may have numbers in their names, as the feed-forward networks of a conformer.
    return [_trimmed(group) for group in groups if len(group.members) >= (3 if group.base else fewest)]


def _large(groups: list[_Group], root: Part) -> list[_Group]:
    """Of groups those with blocks of more than a module and its norm, or else the lists that hold most modules.

    A convolution and its norm are repeated in many places that are no stacks: in a stem, in the branches of a block.
    """
    large = _of_large_blocks(groups)
    lists = [group for group in groups if not group.base]
    held = sum(len(member.owners) for group in lists for member in group.members)
    return large or (lists if 2 * held > len(root.owners) else [])


def _of_large_blocks(groups: Sequence[_Group]) -> list[_Group]:
    return [group for group in groups if 2 * sum(len(one.owners) > 2 for one in group.members) > len(group.members)]


def _trimmed(group: _Group) -> _Group:
    """A group without the first and the last member where these repeat no other one: a stem and a head."""
    members = group.members
    if len(members) > 2 and not any(members[0].is_alike(other) for other in members[1:]):
        members = members[1:]
    if len(members) > 2 and not any(members[-1].is_alike(other) for other in members[:-1]):
        members = members[:-1]
    return _Group(group.holder, group.base, members)


def _follow_each_other(
    candidates: Sequence[_Group], flow: Flow, fewest: int, *, unlike: bool
) -> tuple[list[_Group], list[_Group]]:
    """Of some groups those whose members are alike, and each of which reads what the one before it made.

    And those whose members do not read each other's results.
    """
    labels = [-1] * len(flow.place)
    number: dict[int, int] = {}
    for group in candidates:
        for member in group.members:
            label = number[id(member)] = len(number)
            for param in member.params:
                labels[param] = label
    if not number:
        return [], []
    above, _ = flow.upstream(labels, len(number))
    taken, branches = [], []
    for group in candidates:
        pairs = list(zip(group.members, group.members[1:], strict=False))
        alike = sum(one.is_alike(other) for one, other in pairs)
        chained = sum(above[number[id(other)]] >> number[id(one)] & 1 for one, other in pairs)
        group.is_alike = 2 * alike >= len(pairs)
        if 3 * chained < 2 * len(pairs):
            branches.append(group)
        elif group.is_alike or (_may_differ(group, unlike) and _of_large_blocks([group])):
            taken.append(group)
    return taken, branches


def _may_differ(group: _Group, unlike: bool) -> bool:
    """Whether members that follow each other make a stack without being alike, as the stages of a small UNet.

    A `Sequential` may hold a backbone and its head, and a block of T5 has a list of its own parts.
    """
    if group.base or unlike:
        return unlike and not group.base
    is_inside = any(part.parent is not None and part.parent.is_list for part in group.holder.line())
    return isinstance(group.holder.module, nn.ModuleList) and not is_inside


def _by_member(groups: Sequence[_Group], inner: Sequence[_Group]) -> dict[int, list[_Group]]:
    """For each member of some groups the groups inside of it."""
    members = {id(member) for group in groups for member in group.members}
    found: dict[int, list[_Group]] = {}
    for group in inner:
        outer = next(part for part in reversed(group.holder.line()) if id(part) in members)
        found.setdefault(id(outer), []).append(group)
    return found


_MOST_OF_A_STAGE = 0.6
"""The share of a stage's numbers that its blocks hold.

Two blocks of Swin hold 0.75 of a stage; the three feed-forward networks in a block of MobileBERT, no blocks, 0.47.
"""


def _blocks(group: _Group, inner: Mapping[int, Sequence[_Group]], flow: Flow) -> list[tuple[Part, int | None]]:
    """The blocks of a group, each with the number of its stage or, where there are no stages, its own."""
    sizes: dict[tuple[str, str], int] = {}
    main: list[tuple[Part, _Group]] = []
    for member in group.members:
        groups = inner.get(id(member), ())
        groups = _of_large_blocks(groups) or groups
        if _by_turns(groups, flow):
            # What runs several lists by turns, as a UNet does on its way down, is one block.
            return [(member, member.number) for member in group.members]
        if groups:
            # A stage may have a list besides its blocks, such as what makes its input smaller.
            main.append((member, max(groups, key=lambda one: sum(part.size for part in one.members))))
    # Stages differ, whereas each block of T5 is a list of the same parts.
    are_different = len({tuple(type(one.module) for one in inside.members) for _, inside in main}) > 1
    for member, own in main:
        if own.is_alike or member.is_list or are_different:
            inside = own.holder.path.removeprefix(member.path), own.base
            held = sum(block.size for block in _labelled(member, *inside, flow))
            if held >= _MOST_OF_A_STAGE * member.size:
                sizes[inside] = sizes.get(inside, 0) + member.size
    blocks: list[tuple[Part, int | None]] = []
    label = max(sizes, key=sizes.__getitem__, default=None)
    if label is None or 2 * sizes[label] < sum(member.size for member in group.members):
        return [(member, member.number) for member in group.members]
    for member in group.members:
        blocks += [(block, member.number) for block in _labelled(member, *label, flow)] or [(member, member.number)]
    return blocks


def _by_turns(groups: Sequence[_Group], flow: Flow) -> bool:
    """Whether one of some groups begins before another one ends."""
    spans = sorted((_start(group.members[0], flow), _start(group.members[-1], flow)) for group in groups)
    return any(one[1] > other[0] for one, other in pairwise(spans))


def _labelled(stage: Part, path: str, base: str, flow: Flow) -> list[Part]:
    """The blocks of a stage under a path in it, which are called `base` and a number."""
    holder: Part | None = stage
    for piece in path.split(".")[1:]:
        holder = holder.children.get(piece) if holder is not None else None
    if holder is None:
        return []
    found = []
    for name, child in holder.children.items():
        numbered = _NUMBERED.fullmatch(name)
        if numbered and numbered[1] == base and child.is_composite and start(child, flow) is not None:
            found.append(child)
    return found
