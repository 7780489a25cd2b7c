# SPDX-License-Identifier: Apache-2.0
"""`optimizer.state`: torch's view of what the library keeps, and the way of a checkpoint into the library.

The tensors in `optimizer.state` lie in the library's memory, so reading and writing them costs nothing and cannot be
forgotten.  What can be forgotten is a tensor that somebody puts in the place of one of them, a step count that is
changed, and an entry that is deleted: once the state was looked at, the next step compares it with what was given out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .._placement import KEYS
from ..errors import InvalidArgument
from ._distributed import local_part
from ._engine import Engine
from ._group_rules import difference
from ._options import FLAGS
from ._parameter_slot import ParameterSlot
from ._parameters import Group, describe, names_of
from ._run_state import KEY

State: TypeAlias = dict[Any, Any]
"""What torch calls the state: a dictionary for each parameter."""


class Views:
    """The entries of `optimizer.state` for the parameters of a bridge."""

    def __init__(self, bridge: Engine) -> None:
        self._bridge = bridge
        self._given: dict[int, dict[str, Tensor]] = {}
        self._counts: dict[int, int] = {}
        self._shown: dict[int, float] = {}
        """The counts as float32 shows them, rounded beyond 2**24: what was not changed must not be taken over."""
        self._numbers: dict[int, dict[str, float]] = {}
        """The states of one number, as they were given out."""
        self._version = bridge.kept.version
        self.seen = False
        """Whether somebody may have changed an entry since the last step."""

    def publish(self, state: State) -> None:
        """Bring the entries up to date: those of parameters that had a step, with their counts."""
        bridge = self._bridge
        self._refresh(state)
        for index, (member, count) in enumerate(zip(bridge.members, bridge.kept.counts(), strict=True)):
            given = self._given.get(index)
            if given is None:
                if count or bridge.had_gradient(index):
                    self._give(state, index, member, count)
            elif self._counts[index] != count:
                self._note_count(index, given["step"].fill_(count), count)
                self._note_numbers(index, member, given)
        self.seen = True

    def _give(self, state: State, index: int, member: ParameterSlot, count: int) -> None:
        # A count of its own for each, since a checkpoint would keep all that share memory with it.
        given = {"step": torch.tensor(float(count), dtype=torch.float32, device="cpu")}
        self._note_count(index, given["step"], count)
        given |= {name: self._bridge.kept.shown(member, name) for name in self._bridge.kept.moments(member)}
        self._note_numbers(index, member, given)
        self._given[index] = given
        state[member.param].update(given)

    def _note_count(self, index: int, shown: Tensor, count: int) -> None:
        self._counts[index], self._shown[index] = count, shown.item()

    def _note_numbers(self, index: int, member: ParameterSlot, given: dict[str, Tensor]) -> None:
        self._numbers[index] = numbers = self._bridge.kept.numbers(member)
        for name, number in numbers.items():
            if name in given:
                given[name].fill_(number)
            else:
                given[name] = torch.tensor(number, dtype=torch.float64, device="cpu")

    def _refresh(self, state: State) -> None:
        """Create new views if the library's memory has other strides or more states than before."""
        if self._version == self._bridge.kept.version:
            return
        self._version = self._bridge.kept.version
        for index, count in list(self._counts.items()):
            self._give(state, index, self._bridge.members[index], count)

    def withdraw(self, state: State) -> None:
        """Take the entries that were given out back: those of before are given out when the state is read again."""
        for index, given in self._given.items():
            param = self._bridge.members[index].param
            entry = state.get(param, {})
            for key in given:
                entry.pop(key, None)
            if not entry:
                state.pop(param, None)
        self.forget()
        self.seen = False

    def forget(self) -> None:
        """Forget the entries that were given out, before they are created again."""
        self._given.clear()
        self._counts.clear()
        self._shown.clear()
        self._numbers.clear()

    def adopt(self, state: State) -> None:
        """Take over what was put into the entries; everything is checked before anything is changed."""
        changes: list[tuple[int, ParameterSlot, dict[str, Any] | None]] = []
        differences: list[str] = []
        for index, member in enumerate(self._bridge.members):
            entry, given = state.get(member.param), self._given.get(index)
            if not entry:
                if given is not None:
                    changes.append((index, member, None))
                continue
            found = self._changed(member, entry, given, self._shown.get(index), self._numbers.get(index, {}))
            if found:
                differences += self._bridge.kept.differences(member, found)
                changes.append((index, member, found))
        if differences:
            raise InvalidArgument("state: " + "; ".join(differences))
        for index, member, values in changes:
            # An entry that was deleted, or was not there before, is all there is; else only what was exchanged is new.
            self._bridge.kept.write(member, values or {}, whole=values is None or index not in self._given)
            self._given.pop(index, None)
        if changes and not any(state.get(member.param) for member in self._bridge.members):
            self._bridge.kept.restart_shared()
        self._bridge.forget_gradients(index for index, _, values in changes if values is None)
        counts = self._bridge.kept.counts()
        for index, member, values in changes:
            if values is not None:
                self._give(state, index, member, counts[index])
        self.seen = False
        if changes and not self._bridge.native.next_step:
            # A state was put in before the first step: the run goes on where that one stopped.
            self._bridge.native.seek(max(counts))

    def _changed(
        self,
        member: ParameterSlot,
        entry: Mapping[str, Any],
        given: dict[str, Tensor] | None,
        shown: float | None,
        numbers: Mapping[str, float],
    ) -> dict[str, Any]:
        """What of an entry is no longer as it was given out."""
        if given is None or shown is None:
            return self._bridge.kept.own(member, entry)
        found = {
            key: entry[key]
            for key, tensor in given.items()
            if key != "step" and key not in numbers and entry.get(key, tensor) is not tensor
        }
        found |= {key: entry[key] for key, number in numbers.items() if key in entry and float(entry[key]) != number}
        if "step" in entry and float(entry["step"]) != shown:
            found["step"] = entry["step"]
        return found


@dataclass
class Incoming:
    """A checkpoint, matched with the parameters here and checked."""

    groups: list[Group]
    states: dict[int, dict[str, Any]]
    """State of each member that has one, by its index."""
    others: dict[Any, Any] = field(default_factory=dict)
    """What is not the library's: keys of others in the entries of parameters, by the saved id, and whatever else."""


def match(bridge: Engine, groups: Sequence[Group], state_dict: Mapping[str, Any]) -> Incoming:
    """Match a state dict with the parameters: by names where both have them, else by order; and check it.

    Raises:
        InvalidArgument: It does not fit; the message lists all differences.
    """
    saved_groups: list[Group] = list(state_dict["param_groups"])
    saved_states: Mapping[Any, Any] = state_dict["state"]
    differences: list[str] = []
    ids = _match_groups(groups, saved_groups, differences)
    _refuse(differences)
    new_groups: list[Group] = []
    places: dict[int, tuple[Any, str]] = {}
    for index, (group, (saved_index, saved_ids)) in enumerate(zip(groups, ids, strict=True)):
        saved = saved_groups[saved_index]
        other_rule = difference(group, saved)
        if other_rule is not None:
            differences.append(f"group {index}: {other_rule}")
        new_groups.append(_merge(group, saved, saved_ids))
        names = names_of(group)
        for position, (param, saved_id) in enumerate(zip(group["params"], saved_ids, strict=True)):
            places.setdefault(id(param), (saved_id, describe(names, index, position)))
    _refuse(differences)
    used = {saved_id for saved_id, _ in places.values()}
    # Ids of parameters are numbers, or names as torch.distributed.checkpoint has them; other keys belong to others.
    kinds = (int, str) if any(isinstance(saved_id, str) for saved_id in used) else (int,)
    others = {key: value for key, value in saved_states.items() if key not in used and not isinstance(key, kinds)}
    incoming = Incoming(new_groups, {}, others)
    for index, member in enumerate(bridge.members):
        place = places.get(id(member.param))
        entry = saved_states.get(place[0]) if place else None
        if not isinstance(entry, Mapping):
            if entry is not None:
                differences.append(f'parameter "{member.name}": its state must be a dict, found {type(entry).__name__}')
            continue
        differences += bridge.kept.differences(member, entry, new_groups[member.group])
        own, foreign = bridge.kept.own(member, entry), bridge.kept.foreign(member, entry)
        if own:
            incoming.states[index] = own
        if foreign and place is not None:
            incoming.others[place[0]] = foreign
    differences += bridge.hyperparameters.differences(new_groups)
    _refuse(differences)
    return incoming


def _refuse(differences: list[str]) -> None:
    if differences:
        raise InvalidArgument("the state dict does not fit this optimizer: " + "; ".join(differences))


def _match_groups(
    groups: Sequence[Group], saved: Sequence[Group], differences: list[str]
) -> list[tuple[int, list[Any]]]:
    """For each group, the index of its counterpart, and the ids of its parameters in our order."""
    if len(groups) != len(saved):
        differences.append(
            f"loaded state dict has a different number of parameter groups: {len(saved)}, here are {len(groups)}"
        )
        return []
    own_names = [names_of(group) for group in groups]
    saved_names = [names_of(group) for group in saved]
    found: list[tuple[int, list[Any]]] = []
    if any(names is None for names in (*own_names, *saved_names)):
        for index, (group, other) in enumerate(zip(groups, saved, strict=True)):
            if len(group["params"]) != len(other["params"]):
                differences.append(
                    f"loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"group {index} has {len(other['params'])} parameters, here {len(group['params'])}"
                )
            found.append((index, list(other["params"])))
        return found
    by_names = {frozenset(names or ()): index for index, names in enumerate(saved_names)}
    for index, names in enumerate(own_names):
        here = frozenset(names or ())
        partner = index if here == frozenset(saved_names[index] or ()) else by_names.get(here, index)
        ids = dict(zip(saved_names[partner] or (), saved[partner]["params"], strict=True))
        missing = [name for name in names or () if name not in ids]
        surplus = [name for name in ids if name not in here]
        if missing:
            differences.append(f"group {index}: missing {_list(missing)}")
        if surplus:
            differences.append(f"group {index}: unexpected {_list(surplus)}")
        if not missing and len(ids) == len(set(names or ())):
            found.append((partner, [ids[name] for name in names or ()]))
    return found


def _list(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _merge(group: Group, saved: Group, ids: list[Any]) -> Group:
    """A saved group in the place of one here: its hyperparameters, and what this one is."""
    kept = {*KEYS, *FLAGS, "param_names"} & group.keys()
    merged = group | {KEY: ""} | {key: value for key, value in saved.items() if key not in kept}
    merged["params"] = ids
    return merged


def unpickled(bridge: Engine, state: State) -> dict[int, dict[str, Any]]:
    """The library's part of the entries of parameters that came along with a pickled or copied optimizer, checked.

    Raises:
        InvalidArgument: An entry does not fit its parameter.
    """
    states: dict[int, dict[str, Any]] = {}
    differences: list[str] = []
    for index, member in enumerate(bridge.members):
        own = bridge.kept.own(member, state.get(member.param, {}))
        if own:
            differences += bridge.kept.differences(member, own)
            states[index] = own
    if differences:
        raise InvalidArgument("state: " + "; ".join(differences))
    return states


def take_in(bridge: Engine, incoming: Incoming) -> None:
    """Put a checkpoint that was matched into the library.  Parameters without a state in it are reset.

    What parameters share starts with the run state, which comes first.
    """
    own = {
        bridge.kept.state(member, name).untyped_storage().data_ptr()
        for member in bridge.members
        for name in bridge.kept.moments(member)
    }
    for values in incoming.states.values():
        for key, value in values.items():
            # It may lie in the memory that is written, as that of another parameter.
            if isinstance(value, Tensor) and local_part(value).untyped_storage().data_ptr() in own:
                values[key] = value.clone()
    for index, member in enumerate(bridge.members):
        bridge.kept.write(member, incoming.states.get(index, {}), whole=True)
    bridge.reset_gradients(incoming.states)
