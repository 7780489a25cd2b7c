# SPDX-License-Identifier: Apache-2.0
"""The layers of a model whose forward pass was watched."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from .._placement import UNUSED, Placement, by_name
from ._watching import Example, watch
from ._watching_flow import Flow
from ._watching_tree import Part, Stack, stacks, start, tree

PRE, POST = "before", "after"


@dataclass(eq=False)
class _Tower:
    """Stacks of blocks that continue each other."""

    stacks: list[Stack]
    name: str = ""
    blocks: list[Part] = field(default_factory=list)
    numbers: list[int | None] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    """The label of each block."""
    mask: int = 0
    """A bit for each label."""


@dataclass(frozen=True)
class _Place:
    """Where something outside of the blocks belongs.

    Attributes:
        tower: The number of its tower.
        kind: Before the blocks, after them, or with one.
        block: With which of the blocks it goes; where it is between two, the second of them.
        is_between: Whether it is between two blocks, and which of them it goes with is open.
        reason: Why.
        guess: Whether the flow of data leaves it open.
    """

    tower: int
    kind: str
    block: int = 0
    is_between: bool = False
    reason: str = ""
    guess: bool = False


def by_watching(model: nn.Module, names: Sequence[str], example: Example) -> dict[str, Placement]:
    """The placement of every parameter, as a forward pass shows it.

    Args:
        model: The module.
        names: The names of its parameters, without what wrappers add.
        example: What the model is called with.
    """
    named = list(model.named_parameters())
    flow = Flow(watch(model, [param for _, param in named], example), len(named))
    root = tree([name for name, _ in named], [param.numel() for _, param in named], dict(model.named_modules()))
    return _Layers(root, names, flow).placed()


class _Layers:
    """Places every parameter: blocks first, then what is around them, then what was not used."""

    def __init__(self, root: Part, names: Sequence[str], flow: Flow) -> None:
        self._root, self._names, self._flow = root, names, flow
        self._told = by_name(names, None)
        self._found: dict[int, Placement] = {}

    def placed(self) -> dict[str, Placement]:
        found = stacks(self._root, self._flow)
        if found:
            self._place_stacks(found)
        else:
            self._place_modules()
        self._place_unused()
        return {name: self._found[index] for index, name in enumerate(self._names)}

    # ---- Towers

    def _place_stacks(self, found: list[Stack]) -> None:
        """Place what is in blocks, and what is around them."""
        found = _without_interleaved(found, self._flow)
        blocks = [block for stack in found for block in stack.blocks]
        inside = {id(block) for block in blocks}
        holders = _holders(self._root, inside)
        outside = [owner for owner in _outside(self._root, inside, holders) if start(owner, self._flow) is not None]
        labels = [-1] * len(self._names)
        for label, part in enumerate([*blocks, *outside]):
            for param in part.params:
                labels[param] = label
        of = {param for block in blocks for param in block.params}
        self._above, self._above_param = self._flow.upstream(labels, len(blocks) + len(outside), of)
        self._count = len(blocks) + len(outside)
        self._label = {id(part): label for label, part in enumerate([*blocks, *outside])}
        self._outside = outside
        # For each label those that are downstream of it.
        self._towers = self._joined(found)
        places = {id(owner): self._place(owner) for owner in outside}
        self._follow_lists(outside, places)
        units = _units(self._root, holders, outside, places)
        self._make(units)

    def _joined(self, found: list[Stack]) -> list[_Tower]:
        """The towers: a stack that gets all its data from another one, at its beginning, continues that one."""
        towers: list[_Tower] = []
        for stack in found:
            labels = [self._label[id(block)] for block in stack.blocks]
            tower = next((tower for tower in reversed(towers) if self._continues(tower, towers, stack, labels)), None)
            if tower is None:
                tower = _Tower([])
                towers.append(tower)
            tower.stacks.append(stack)
            tower.blocks += stack.blocks
            tower.numbers += stack.numbers
            tower.labels += labels
            tower.mask |= sum(1 << label for label in labels)
        for tower, name in zip(towers, _tower_names(towers), strict=True):
            tower.name = name
        return towers

    def _continues(self, tower: _Tower, towers: Sequence[_Tower], stack: Stack, labels: Sequence[int]) -> bool:
        above = self._above
        if not above[labels[0]] >> tower.labels[-1] & 1:
            return False
        mine = sum(1 << label for label in labels)
        all_above = 0
        for label in labels:
            all_above |= above[label]
        above_tower = 0
        for label in tower.labels:
            above_tower |= above[label]
        for other in towers:
            if other is not tower and all_above & other.mask and not above_tower & other.mask:
                # It joins two towers.
                return False
        inputs, one_each = self._flow.inputs, (1 << self._flow.inputs) - 1
        if all_above >> self._count + inputs & ~(above_tower >> self._count) & one_each:
            # Parameters read a tensor of the example for it that the other one does not get.
            return False
        for owner in self._outside:
            label = self._label[id(owner)]
            if (
                all_above >> label & 1
                and not above_tower >> label & 1
                and not above[label] & (tower.mask | mine)
                and not all(self._flow.alone[param] for param in owner.params)
            ):
                # It has a stem of its own.
                return False
        if any(stack.parent is other.parent for other in tower.stacks):
            return True
        # A block of a decoder reads what the encoder made beside what the block before it made.
        return not any(
            self._above_param.get(param, 0) & tower.mask and not self._above_param.get(param, 0) & mine
            for block in stack.blocks[1:]
            for param in block.params
        )

    # ---- Around the blocks

    def _place(self, owner: Part) -> _Place:
        """Where something outside of the blocks belongs, by what is upstream and downstream of it."""
        label = self._label[id(owner)]
        up = self._above[label]
        bit = 1 << label
        down = [
            [index for index, block in enumerate(tower.labels) if self._above[block] & bit] for tower in self._towers
        ]
        over = [[index for index, block in enumerate(tower.labels) if up >> block & 1] for tower in self._towers]
        if self._is_token(owner) and any(down):
            # It reads nothing, wherever it enters.
            over = [[] for _ in self._towers]
        candidates = [number for number in range(len(self._towers)) if over[number]]
        if candidates:
            # Of towers that lead to it, the one that no other of them is downstream of.
            last = [
                number
                for number in candidates
                if not any(
                    other != number and self._leads(number, other) and not self._leads(other, number)
                    for other in candidates
                )
            ]
            number = last[-1]
            tower = self._towers[number]
            highest = over[number][-1]
            if down[number]:
                if highest in down[number]:
                    return _Place(number, "with", highest, reason="runs in it")
                later = [index for index in down[number] if index > highest]
                if later:
                    return _Place(number, "with", later[0], is_between=True)
                return _Place(number, "with", highest, reason="runs with it")
            if owner.is_norm and highest < len(tower.blocks) - 1:
                return _Place(number, "with", highest, reason="norms what it makes")
            return _Place(number, POST)
        candidates = [number for number in range(len(self._towers)) if down[number]]
        if candidates:
            first = [
                number
                for number in candidates
                if not any(
                    other != number and self._leads(other, number) and not self._leads(number, other)
                    for other in candidates
                )
            ]
            number = first[0]
            enters = down[number][0]
            beside = self._towers[number].blocks[0].line()
            if enters and owner.parent is not None and not any(part is owner.parent for part in beside):
                return _Place(number, "with", enters, reason="enters there")
            return _Place(number, PRE)
        return _Place(len(self._towers) - 1, POST, guess=True)

    def _follow_lists(self, outside: Sequence[Part], places: dict[int, _Place]) -> None:
        """What follows the last block goes with it if it is in a list of which all others go with a block each."""
        entries: dict[tuple[int, str], dict[str, list[Part]]] = {}
        for owner in outside:
            entry = next((part for part in owner.line() if part.number is not None), None)
            if entry is not None and not owner.is_norm:
                entries.setdefault((id(entry.parent), entry.base), {}).setdefault(entry.path, []).append(owner)
        for entry_owners in entries.values():
            last = [owners for owners in entry_owners.values() if all(places[id(one)].kind == POST for one in owners)]
            others = [owners for owners in entry_owners.values() if owners not in last]
            if len(last) == 1 and others and all(places[id(one)].kind == "with" for own in others for one in own):
                for owner in last[0]:
                    tower = places[id(owner)].tower
                    places[id(owner)] = _Place(tower, "with", len(self._towers[tower].blocks) - 1)

    def _is_token(self, owner: Part) -> bool:
        """Whether it is an input of the model: a parameter or a table that is read without data, and no weight."""
        is_table = owner.module is None or isinstance(owner.module, nn.Embedding)
        return is_table and all(self._flow.alone[param] for param in owner.params)

    def _leads(self, one: int, other: int) -> bool:
        """Whether a block of one tower is upstream of a block of the other."""
        mask = self._towers[one].mask
        return any(self._above[label] & mask for label in self._towers[other].labels)

    def _make(self, units: Sequence[tuple[Part, _Place, list[Part]]]) -> None:
        """Make the layers of all towers."""
        rows: list[_Row] = []
        for number, tower in enumerate(self._towers):
            own = [(unit, place, owners) for unit, place, owners in units if place.tower == number]
            sizes = [block.size for block in tower.blocks]
            large = statistics.median(sizes) / 2
            before = [entry for entry in own if entry[1].kind == PRE]
            after = [entry for entry in own if entry[1].kind == POST]
            joined: dict[int, list[Part]] = {}
            apart: dict[int, list[Part]] = {}
            for unit, place, owners in own:
                if place.kind != "with":
                    continue
                if place.is_between and len(unit.owners) > 2 and unit.size >= large and len(owners) == len(unit.owners):
                    apart.setdefault(place.block, []).append(unit)
                    continue
                block = place.block
                if place.is_between and block and self._goes_before(unit, tower, block):
                    block -= 1
                joined.setdefault(block, []).extend(owners)
            rows += self._rows(tower, before, after, joined, apart)
        _name(rows, self._towers)
        for row in rows:
            for param in row.params:
                self._found[param] = row.placement()

    def _goes_before(self, unit: Part, tower: _Tower, block: int) -> bool:
        """Whether what is between two blocks goes with the first: it stands beside it, has its number, or norms it."""
        before, after = (
            sum(one is other for one, other in zip(unit.line(), tower.blocks[index].line(), strict=False))
            for index in (block - 1, block)
        )
        if before != after:
            return before > after
        if unit.number is not None:
            is_before, is_after = (unit.number == tower.numbers[index] for index in (block - 1, block))
            if is_before != is_after:
                return is_before
        return unit.is_norm

    def _rows(
        self,
        tower: _Tower,
        before: Sequence[tuple[Part, _Place, list[Part]]],
        after: Sequence[tuple[Part, _Place, list[Part]]],
        joined: Mapping[int, Sequence[Part]],
        apart: Mapping[int, Sequence[Part]],
    ) -> list[_Row]:
        rows: list[_Row] = []
        if before:
            stem = [owner for _, _, owners in before for owner in owners]
            rows.append(_Row(tower, 0, "stem", stem, "leads into the blocks"))
        depth = 0
        for index, block in enumerate(tower.blocks):
            for unit in sorted(apart.get(index, ()), key=lambda unit: start(unit, self._flow) or (0, 0)):
                depth += 1
                rows.append(_Row(tower, depth, "block", [unit], "between two blocks, and as large as one", unit.path))
            depth += 1
            extra = list(joined.get(index, ()))
            path = next(stack.path for stack in tower.stacks if any(one is block for one in stack.blocks))
            reason = f"block {depth - 1} of {path}"
            if extra:
                reason += f"; with {_common(extra) or extra[0].path}"
            rows.append(_Row(tower, depth, "block", [block, *extra], reason, block.path))
        norms, heads = self._norms_and_heads(after)
        if norms:
            depth += 1
            rows.append(_Row(tower, depth, "norm", norms, "follows the blocks, and something follows it"))
        if heads:
            depth += 1
            sure = [owner for unit, place, owners in after for owner in owners if not place.guess]
            rows.append(_Row(tower, depth, "head", [one for one in heads if one in sure], "follows the blocks"))
            rows.append(
                _Row(
                    tower,
                    depth,
                    "head",
                    [one for one in heads if one not in sure],
                    "no block is upstream or downstream of it",
                    guess=True,
                )
            )
        return [row for row in rows if row.parts]

    def _norms_and_heads(self, after: Sequence[tuple[Part, _Place, list[Part]]]) -> tuple[list[Part], list[Part]]:
        """Of what follows the blocks, what comes before the heads."""
        labels = {id(unit): [self._label[id(owner)] for owner in owners] for unit, _, owners in after}
        all_after = sum(1 << label for own in labels.values() for label in own)
        norms: set[int] = set()
        for unit, _, owners in after:
            own = sum(1 << label for label in labels[id(unit)])
            is_first = not any(self._above[label] & all_after & ~own for label in labels[id(unit)])
            told = {self._told[self._names[param]] for owner in owners for param in owner.params}
            says_norm = all(one.role == "norm" and not one.guess for one in told)
            if (unit.is_norm and is_first) or says_norm:
                norms.add(id(unit))
        # What leads into a norm comes before it.
        above_norms = 0
        for unit, _, _ in after:
            if id(unit) in norms:
                for label in labels[id(unit)]:
                    above_norms |= self._above[label]
        norms |= {id(unit) for unit, _, _ in after if any(above_norms >> label & 1 for label in labels[id(unit)])}
        return (
            [owner for unit, _, owners in after if id(unit) in norms for owner in owners],
            [owner for unit, _, owners in after if id(unit) not in norms for owner in owners],
        )

    # ---- Without blocks

    def _place_modules(self) -> None:
        """Place the modules of a model that repeats none, in the order of execution."""
        groups = self._independent()
        rows: list[_Row] = []
        towers = [_Tower([]) for _ in groups]
        for tower, (holder, units) in zip(towers, groups, strict=True):
            tower.name = holder.path if holder is not None and len(groups) > 1 else ""
            for depth, unit in enumerate(units):
                role = "head" if depth == len(units) - 1 and depth else "stem" if depth == 0 else "block"
                rows.append(_Row(tower, depth, role, [unit], "in the order of execution", unit.path))
        _name(rows, towers)
        for row in rows:
            for param in row.params:
                self._found[param] = row.placement()

    def _independent(self) -> list[tuple[Part | None, list[Part]]]:
        """The modules in order, by towers: modules of which none is upstream of another, and that hold several each."""
        flow = self._flow
        top = self._root
        while len(top.children) == 1 and next(iter(top.children.values())).module is not None:
            top = next(iter(top.children.values()))
        units = sorted(
            (unit for unit in self._spread(top, top) if start(unit, flow) is not None),
            key=lambda unit: start(unit, flow) or (0, 0),
        )
        labels = [-1] * len(self._names)
        for label, unit in enumerate(units):
            for param in unit.params:
                labels[param] = label
        above, _ = flow.upstream(labels, len(units))
        members: dict[int, list[int]] = {}
        holders: dict[int, Part] = {}
        for label, unit in enumerate(units):
            line = unit.line()
            child = line[line.index(top) + 1] if len(line) > line.index(top) + 1 else unit
            members.setdefault(id(child), []).append(label)
            holders[id(child)] = child
        masks = {key: sum(1 << label for label in own) for key, own in members.items()}
        over = {key: _union(above[label] for label in own) for key, own in members.items()}
        several = [key for key, own in members.items() if len(own) > 1]
        roots = [
            key
            for key in several
            if any(not over[key] & masks[other] and not over[other] & masks[key] for other in several if other != key)
        ]
        if len(roots) < 2:
            return [(None, units)]
        towers: list[tuple[Part | None, list[Part]]] = [(holders[key], []) for key in roots]
        for key, own in members.items():
            home = roots.index(key) if key in roots else None
            if home is None:
                leading = [index for index, root in enumerate(roots) if over[key] & masks[root]]
                led = [index for index, root in enumerate(roots) if over[root] & masks[key]]
                home = leading[-1] if leading else led[0] if led else len(roots) - 1
            towers[home][1].extend(units[label] for label in own)
        for _, own_units in towers:
            own_units.sort(key=lambda unit: start(unit, flow) or (0, 0))
        return towers

    def _spread(self, part: Part, top: Part) -> list[Part]:
        """The modules that make a layer each: of a list, and of a module that holds most of the model, those inside."""
        own = [child for child in part.children.values() if child.module is None]
        if part.module is None or (len(own) == len(part.children) and not part.is_list):
            return [part]
        if part is top or part.is_list or 2 * len(part.owners) > len(top.owners):
            return [
                *own,
                *(unit for child in part.children.values() if child.module for unit in self._spread(child, top)),
            ]
        return [part]

    # ---- What was not used

    def _place_unused(self) -> None:
        """Place what no operation read: with the block that it is in, or as its name says."""
        open_params = [index for index in range(len(self._names)) if index not in self._found]
        if not open_params:
            return
        by_told: dict[Placement, list[int]] = {}
        for index in self._found:
            by_told.setdefault(self._told[self._names[index]], []).append(index)
        towers: dict[str, int] = {}
        for placement in self._found.values():
            towers[placement.tower] = max(towers.get(placement.tower, 0), placement.depth or 0)
        layers: dict[tuple[str, int], Placement] = {(one.tower, one.depth or 0): one for one in self._found.values()}
        blocks = [told for told in (self._told[self._names[index]] for index in open_params) if told.role == "block"]
        unused = {told.tower for told in blocks} - {told.tower for told in by_told if told.role == "block"}
        for index in open_params:
            told = self._told[self._names[index]]
            if told.tower in unused:
                # No block of the tower is used.
                reason = f"{UNUSED}; {told.reason}"
                self._found[index] = replace(told, layer=f"{told.layer} (not used)", reason=reason, guess=True)
                continue
            mates = by_told.get(told)
            if mates:
                seen: dict[tuple[str, int], int] = {}
                for mate in mates:
                    key = self._found[mate].tower, self._found[mate].depth or 0
                    seen[key] = seen.get(key, 0) + 1
                near = layers[max(seen, key=seen.__getitem__)]
            else:
                tower = told.tower if told.tower in towers else max(towers, key=towers.__getitem__, default="")
                top = towers.get(tower, -1)
                depth = {"stem": 0, "norm": top, "head": top}.get(told.role or "", min(told.depth or 0, max(top, 0)))
                near = layers.get((tower, depth)) or replace(told, tower=tower, depth=max(depth, 0))
            self._found[index] = replace(
                near,
                layer=f"{told.layer} (not used)",
                role=told.role,
                reason=f"{UNUSED}; {told.reason}",
                guess=True,
            )


# ---- Rows


@dataclass(eq=False)
class _Row:
    """A layer."""

    tower: _Tower
    depth: int
    role: str
    parts: list[Part]
    reason: str
    name: str = ""
    guess: bool = False

    @property
    def params(self) -> list[int]:
        return [param for part in self.parts for param in part.params]

    def placement(self) -> Placement:
        return Placement(self.name, self.depth, self.tower.name, self.role, None, self.reason, self.guess)


def _name(rows: Sequence[_Row], towers: Sequence[_Tower]) -> None:
    """Name layers that are no blocks by the path that all of their parts have, unless blocks have it too."""
    holders = {id(part) for tower in towers for block in tower.blocks for part in block.line()}
    taken: set[str] = set()
    for row in rows:
        if not row.name:
            line = _shared(row.parts)
            path = line[-1].path if line and id(line[-1]) not in holders else ""
            row.name = path or (f"{row.tower.name}.{row.role}" if row.tower.name else row.role)
        name, copy = row.name or "model", 2
        while name in taken:
            name, copy = f"{row.name} ({copy})", copy + 1
        row.name = name
        taken.add(name)


def _shared(parts: Sequence[Part]) -> list[Part]:
    """The parts that all of some stand in."""
    line = parts[0].line()
    for part in parts[1:]:
        other = part.line()
        count = sum(one is two for one, two in zip(line, other, strict=False))
        line = line[:count]
    return line


def _common(parts: Sequence[Part]) -> str:
    line = _shared(parts)
    return line[-1].path if line else ""


def _tower_names(towers: Sequence[_Tower]) -> list[str]:
    """What the path of each tower has beyond what all have, as far as needed to tell them apart."""
    if len(towers) < 2:
        return [""] * len(towers)
    paths = [tower.stacks[0].path.split(".") for tower in towers]
    common = 0
    while all(len(path) > common + 1 for path in paths) and len({path[common] for path in paths}) == 1:
        common += 1
    names = []
    for index, path in enumerate(paths):
        length = common + 1
        others = [other for place, other in enumerate(paths) if place != index]
        while length < len(path) and any(other[:length] == path[:length] for other in others):
            length += 1
        names.append(".".join(path[common:length]))
    taken: set[str] = set()
    for index, name in enumerate(names):
        unique, copy = name, 2
        while unique in taken:
            unique, copy = f"{name} ({copy})", copy + 1
        names[index] = unique
        taken.add(unique)
    return names


# ---- Parts


def _union(masks: Iterable[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found


def _holders(root: Part, inside: set[int]) -> set[int]:
    """The blocks, and what they stand in."""
    holders: set[int] = set()

    def look(part: Part) -> bool:
        held = id(part) in inside or any([look(child) for child in part.children.values()])
        if held:
            holders.add(id(part))
        return held

    look(root)
    return holders


def _outside(part: Part, inside: set[int], holders: set[int]) -> list[Part]:
    """What holds parameters and is in no block."""
    if id(part) in inside:
        return []
    if id(part) not in holders:
        return part.owners
    return [owner for child in part.children.values() for owner in _outside(child, inside, holders)]


def _units(
    root: Part, holders: set[int], outside: Sequence[Part], places: Mapping[int, _Place]
) -> list[tuple[Part, _Place, list[Part]]]:
    """What is around the blocks, in modules as large as have one place."""
    used: dict[int, list[Part]] = {}
    for owner in outside:
        for part in owner.line():
            used.setdefault(id(part), []).append(owner)
    units: list[tuple[Part, _Place, list[Part]]] = []

    def collect(part: Part) -> None:
        owners = used.get(id(part), [])
        if not owners:
            return
        if id(part) not in holders:
            found = {places[id(owner)] for owner in owners}
            if len(found) == 1:
                units.append((part, found.pop(), owners))
                return
            if any(part is owner for owner in owners):
                units.append((part, places[id(part)], [part]))
                return
        for child in part.children.values():
            collect(child)

    collect(root)
    return units


def _without_interleaved(found: Sequence[Stack], flow: Flow) -> list[Stack]:
    """Of stacks in one module that run by turns the largest one; the others are beside its blocks."""
    kept: list[Stack] = []
    sizes = {id(stack): sum(block.size for block in stack.blocks) for stack in found}
    spans = {
        id(stack): (start(stack.blocks[0], flow) or (0, 0), start(stack.blocks[-1], flow) or (0, 0)) for stack in found
    }
    for stack in sorted(found, key=lambda stack: -sizes[id(stack)]):
        low, high = spans[id(stack)]
        is_beside = any(
            other.parent is stack.parent and low < spans[id(other)][1] and high > spans[id(other)][0] for other in kept
        )
        if not is_beside:
            kept.append(stack)
    return sorted(kept, key=lambda stack: start(stack.blocks[0], flow) or (0, 0))
