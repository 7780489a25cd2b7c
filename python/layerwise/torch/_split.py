# SPDX-License-Identifier: Apache-2.0
"""Param groups split by layer, and merged where their values are equal at every step."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._driven import DrivenValues, rate_groups
from .._placement import KEYS
from .._plan import depends_on_depth
from ..errors import InvalidArgument, OutOfRange
from ..freezing import FreezePlan
from ..introspection import known_policies
from ..optimizer import Optimizer
from ..policy import Policy
from ..rule import SGD, Adam, AdamW, Rule
from ..schedule import Schedule
from ._grouping import NativeLayer, arrange, require_places
from ._hyperparameters import require_number
from ._layers import Layers
from ._options import policy_of
from ._parameters import Group, names_of

BASE = "_base_"
"""What the keys of a group begin with that hold its values without the layers' scales and without schedules."""

_APART = {"params", "param_names", "name", "lr", "initial_lr", "weight_decay", *KEYS}
"""Keys of groups that do not count where groups are compared: the plan compares them, or they are said by layer."""

_PAIR = {"beta1": 0, "beta2": 1}
"""Keys of the library that torch keeps in "betas"."""


class Plan:
    """A dry-run optimizer with the layers of an optimizer's groups.

    Args:
        layers: The layers.
        rule: The rule that has the hyperparameters which schedules may move; it takes no steps.
        bases: The values of each group by the library's keys, without scales and schedules.
        decay_follows: What multiplies decoupled decay.
        policy: What sets every layer's scale.
    """

    def __init__(
        self,
        layers: Sequence[NativeLayer],
        rule: Rule,
        bases: Sequence[Mapping[str, float]],
        decay_follows: Any,
        policy: Policy | None,
    ) -> None:
        self.layers = layers
        self.native = Optimizer(rule, policy, dry_run=True, decay_follows=decay_follows)
        values: dict[str, Any] = {"weight_decay": 0.0, **bases[0]}
        self.native.set(**values)
        for layer in layers:
            place, is_part = layer.place, layer.part_of is not None
            # A layer has a value of its own only where the groups do not agree, which keeps the plan small.
            own: dict[str, Any] = {
                key: value
                for key, value in bases[layer.group].items()
                if any(other.get(key) != value for other in bases)
            }
            role: Any = place.role
            self.native.add_layer(
                layer.name,
                {name: tuple(param.shape) for name, param in layer.members},
                # A part is where its whole is.
                depth=None if is_part else place.depth,
                tower=None if is_part else place.tower or None,
                role=None if is_part else role,
                scale=place.scale,
                part_of=layer.part_of,
                **own,
            )
        self.params = [param for layer in layers for _, param in layer.members]
        """The parameters, in the order of their tensors."""

    def schedule(self, schedules: Mapping[str, Schedule], freezing: FreezePlan | None) -> None:
        """Put schedules, by the library's keys, and a freezing plan in force."""
        for key, schedule in schedules.items():
            self.native.set_schedule(schedule, key)
        if freezing is not None:
            self.native.freezing = freezing


def rule_for(groups: Sequence[Group], decoupled: bool) -> Rule:
    """The rule that knows the hyperparameters of these groups."""
    if any("betas" in group for group in groups):
        return AdamW() if decoupled else Adam()
    return SGD(lr=0, decoupled_weight_decay=decoupled)


def base_values(
    group: Group, index: int, schedules: Mapping[str, Schedule], optimizer: torch.optim.Optimizer
) -> dict[str, float]:
    """The values of a group that a plan needs, by the library's keys, without scales and schedules.

    Raises:
        InvalidArgument: A schedule moves what the group does not have.
        OutOfRange: The rate is negative or not finite.
        TypeError: A value is no number.
    """
    values: dict[str, float] = {}
    rate: Any = group.get(BASE + "lr", group.get("initial_lr", group.get("lr")))
    require_number(rate, f"lr of param group {index}")
    values["lr"] = float(rate)
    if not 0 <= values["lr"] < math.inf:
        raise OutOfRange(f"lr of param group {index} must be in [0, inf), found {values['lr']}")
    if group.get("weight_decay") is not None:
        require_number(group["weight_decay"], f"weight_decay of param group {index}")
        decay: Any = group.get(BASE + "weight_decay", group["weight_decay"])
        values["weight_decay"] = float(decay)
    for key in schedules:
        if key not in values:
            value: Any = group.get(BASE + key, _value(group, key))
            if value is None:
                known = {name for name, own in group.items() if isinstance(own, float) and not name.startswith("_")}
                raise InvalidArgument(
                    f'schedule: param group {index} of {type(optimizer).__name__} has no number "{key}", expected one '
                    f"of {', '.join(sorted(known - {'initial_lr'} | {'lr'}))}"
                )
            require_number(value, f"{key} of param group {index}")
            values[key] = float(value)
    return values


def _value(group: Group, key: str) -> Any:
    if key in _PAIR and "betas" in group:
        return group["betas"][_PAIR[key]]
    return group.get(key)


def put(group: Group, key: str, value: float) -> None:
    """Write a value by the library's key into a group, into the tensor where it is one."""
    if key in _PAIR and "betas" in group:
        betas, place = group["betas"], _PAIR[key]
        if isinstance(betas[place], Tensor):
            betas[place].detach().fill_(value)
        else:
            group["betas"] = type(betas)((*betas[:place], value, *betas[place + 1 :]))
    elif isinstance(group[key], Tensor):
        group[key].detach().fill_(value)
    else:
        group[key] = value


def split(groups: Sequence[Group], plan: Plan, bases: Sequence[Mapping[str, float]]) -> list[tuple[int, list[int]]]:
    """How the groups must be: parts of groups, merged where all values are equal at every step.

    Returns:
        For each new group the old one that it is made of, and its tensors by their place in the plan.
    """
    sets = rate_groups(plan.native)
    places = {id(param): place for place, param in enumerate(plan.params)}
    kinds = _kinds(groups, bases)
    done: set[int] = set()
    found: dict[tuple[int, int], tuple[int, list[int]]] = {}
    for index, group in enumerate(groups):
        for param in group["params"]:
            place = places.get(id(param))
            if place is not None and place not in done:
                done.add(place)
                found.setdefault((sets[place], kinds[index]), (index, []))[1].append(place)
    return list(found.values())


def is_split(groups: Sequence[Group], parts: Sequence[tuple[int, list[int]]], plan: Plan) -> bool:
    """Whether the groups are as they must be."""
    if len(parts) != len(groups):
        return False
    for position, (index, tensors) in enumerate(parts):
        params = groups[position]["params"]
        if index != position or len(params) != len(tensors):
            return False
        if any(param is not plan.params[tensor] for param, tensor in zip(params, tensors, strict=True)):
            return False
    return True


def groups_of_layers(plan: Plan, parts: Sequence[tuple[int, list[int]]]) -> list[list[int]]:
    """The indices of each layer's groups."""
    group_of = {tensor: position for position, (_, tensors) in enumerate(parts) for tensor in tensors}
    found: list[list[int]] = []
    place = 0
    for layer in plan.layers:
        own = {group_of[place + offset] for offset in range(len(layer.members)) if place + offset in group_of}
        found.append(sorted(own))
        place += len(layer.members)
    return found


def own_rates(groups: Sequence[Group]) -> None:
    """Give each group a tensor of its own where groups share one for their rate."""
    seen: set[int] = set()
    for group in groups:
        rate = group["lr"]
        if isinstance(rate, Tensor):
            if id(rate) in seen:
                group["lr"] = rate.detach().clone()
            seen.add(id(group["lr"]))


def merged(groups: Sequence[Group], bases: Sequence[Mapping[str, float]]) -> tuple[list[int], list[Group]]:
    """The groups with those in one that have the same values and do not say of which layer they are.

    Returns:
        For each merged group the first that it is made of, and the merged groups.
    """
    kinds = _kinds(groups, bases)
    firsts: list[int] = []
    found: list[Group] = []
    for index, group in enumerate(groups):
        place = {key: group.get(key) for key in KEYS}
        same = (
            position
            for position, first in enumerate(firsts)
            if kinds[first] == kinds[index]
            and bases[first] == bases[index]
            and place == {key: groups[first].get(key) for key in KEYS}
        )
        position = next(same, None)
        if position is None:
            firsts.append(index)
            found.append({**group, "params": list(group["params"])})
        else:
            found[position]["params"] += group["params"]
            found[position].pop("param_names", None)
    return firsts, found


def _kinds(groups: Sequence[Group], bases: Sequence[Mapping[str, float]]) -> list[int]:
    """For each group the first that has the same values, besides those that the plan compares."""
    # What schedules move is compared as it is without them.
    moved = {"betas" if key in _PAIR else key for own in bases for key in own}
    rows = [
        {
            key: value
            for key, value in group.items()
            if key not in _APART and key not in moved and not str(key).startswith(BASE)
        }
        for group in groups
    ]
    rests = [_unmoved(group, bases[index]) for index, group in enumerate(groups)]
    kinds: list[int] = []
    for index, row in enumerate(rows):
        alike = (
            other
            for other in range(index)
            if bases[other].keys() == bases[index].keys()
            and _same(rows[other], row)
            and _same(rests[other], rests[index])
        )
        kinds.append(next(alike, index))
    return kinds


def _unmoved(group: Group, base: Mapping[str, float]) -> list[Any]:
    """Those of the betas that no schedule moves."""
    betas = group.get("betas", ())
    moved = {place for key, place in _PAIR.items() if key in base}
    return [value for place, value in enumerate(betas) if place not in moved]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        both = isinstance(one, Tensor) and isinstance(other, Tensor)
        return one is other or (both and one.shape == other.shape and bool((one == other).all()))
    return type(one) is type(other) and bool(one == other)


def new_groups(groups: Sequence[Group], parts: Sequence[tuple[int, list[int]]], plan: Plan) -> list[Group]:
    """The groups of `split`, each with copies of the values of the group that it is made of."""
    names: dict[int, str] = {}
    for group in groups:
        own = names_of(group)
        if own is not None:
            # As they were given, with what wrappers put into them.
            names |= {id(param): name for param, name in zip(group["params"], group["param_names"], strict=True)}
    layer_of = [layer.name for layer in plan.layers for _ in layer.members]
    shares: dict[int, int] = {}
    for index, _ in parts:
        shares[index] = shares.get(index, 0) + 1
    made = []
    for index, tensors in parts:
        old = groups[index]
        params = [plan.params[tensor] for tensor in tensors]
        new: Group = {"params": params}
        for key, value in old.items():
            if key not in ("params", "param_names", *KEYS):
                new[key] = _own(value)
        if "param_names" in old:
            new["param_names"] = [names[id(param)] for param in params]
        if "name" in old and shares[index] > 1:
            # Loggers want a name of its own for each group.
            new["name"] = f"{old['name']} ({layer_of[tensors[0]]})"
        made.append(new)
    seen: set[object] = set()
    for group in made:
        name, count = group.get("name"), 2
        while name is not None and group["name"] in seen:
            group["name"], count = f"{name} ({count})", count + 1
        seen.add(group.get("name"))
    return made


def _own(value: Any) -> Any:
    """A value for one group alone: what two groups shared, one of them may change in place."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, list):
        return [_own(one) for one in value]
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(_own(one) for one in value)
    return copy.copy(value) if isinstance(value, dict) else value


def policy_groups(
    named: Mapping[str, Tensor],
    rules: Layers | None,
    policy: Policy | None,
    weight_decay_exclude_1d: bool,
    options: Mapping[str, Any],
) -> list[Group]:
    """Param groups with the values that a policy gives, merged where these are equal.

    Args:
        named: The parameters by name.
        rules: The user's own rules for layers, or a table of them.
        policy: What sets every layer's scale.
        weight_decay_exclude_1d: Keep decay away from tensors of rank 0 and 1.
        options: Hyperparameters of every group.
    """
    one = {"params": list(named.values()), **options}
    names = {id(param): name for name, param in named.items()}
    layers = arrange([one], names, list(named), rules)
    whole = policy_of({"policy": policy, "weight_decay_exclude_1d": weight_decay_exclude_1d})
    if depends_on_depth(policy, known_policies()):
        require_places(policy, layers)
    values = {"lr": options.get("lr", 1.0), "weight_decay": options.get("weight_decay", 1.0)}
    for key, value in values.items():
        require_number(value, key)
    plan = Plan(layers, AdamW(), [{key: float(value) for key, value in values.items()}], "layer_lr", whole)
    sets = rate_groups(plan.native)
    members: dict[int, list[int]] = {}
    for place, number in enumerate(sets):
        members.setdefault(number, []).append(place)
    firsts = [places[0] for places in members.values()]
    rates, _ = DrivenValues(plan.native, ["lr"], firsts).at(0)
    decays, _ = DrivenValues(plan.native, ["weight_decay"], firsts).at(0)
    groups: list[Group] = []
    for places, rate, decay in zip(members.values(), rates, decays, strict=True):
        group: Group = {"params": [plan.params[place] for place in places], **options}
        if "lr" in options:
            group[BASE + "lr"] = float(options["lr"])
            group["lr"] = options["lr"].detach().clone().fill_(rate) if isinstance(options["lr"], Tensor) else rate
        if "weight_decay" in options or decay == 0:
            group["weight_decay"] = decay
            if decay:
                group[BASE + "weight_decay"] = values["weight_decay"]
        elif decay != 1:
            raise InvalidArgument("the policy scales weight decay: give param_groups a weight_decay to scale")
        groups.append(group)
    return groups
