# SPDX-License-Identifier: Apache-2.0
"""What the groups say of rates and other hyperparameters, handed to the library where it has changed."""

from __future__ import annotations

import array
import ctypes
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, SupportsFloat

from torch import Tensor

from .. import _binding as lw
from .. import _settings
from ..errors import InvalidArgument, LayerwiseError, OutOfRange
from ..optimizer import Optimizer
from ..rule import Rule
from ._group_rules import RULE, GroupRule, rule_of, values_in_force
from ._grouping import NativeLayer
from ._parameters import Group

_rate_of = itemgetter("lr")

_REFUSALS = (LayerwiseError, TypeError, ValueError, RuntimeError)
"""What values that are no numbers raise, among them tensors of several elements."""
_SCOPE = "trust_ratio_scope"

Values = tuple[Any, ...]
"""A group's hyperparameters without its rate, and at the end whether it ascends."""


class Hyperparameters:
    """The hyperparameters of some groups, as the library has them.

    Args:
        rule: The rule's class.
        keys: Its hyperparameters as groups call them, without "lr".
        groups: The groups.
    """

    def __init__(self, rule: type[Rule], keys: Sequence[str], groups: Sequence[Group]) -> None:
        self._common = GroupRule(rule, tuple(keys))
        self._rules: list[GroupRule] | None = None
        self._names: list[str | None] = []
        self._size = -1
        self._rows: list[Values] | None = None
        self._values: list[Values] | None = None
        self._rates: array.array[float] = array.array("d")
        self._own_rates = False
        self._layers: Sequence[NativeLayer] = ()
        self.moved = False
        """Whether the last look at the groups found anything changed."""
        self.note_rules(groups)
        values = self._read(groups)
        # Layers get values of their own only where the groups do not agree.
        self._own_values = self._differ(values)
        self._own_directions = _directions_differ(values)

    def note_rules(self, groups: Sequence[Group]) -> None:
        """Note which groups have a rule of their own, if any has."""
        self._names = [group.get(RULE) for group in groups]
        has_own = any(name is not None for name in self._names)
        self._rules = [rule_of(group, self._common) for group in groups] if has_own else None
        self._own_rates = self._own_rates or has_own

    def _rule_of(self, index: int) -> GroupRule:
        """The rule of a group by its index."""
        return self._common if self._rules is None else self._rules[index]

    def _differ(self, values: Sequence[Values]) -> bool:
        """Whether layers need values of their own."""
        return self._rules is not None or any(other != values[0] for other in values)

    def rule(self, groups: Sequence[Group]) -> Rule:
        """The optimizer's rule with the hyperparameters of the first group that has no rule of its own."""
        for index, group in enumerate(groups):
            if self._rule_of(index) is self._common:
                return self._common.make(read_rates([group])[0], self._read(groups)[index])
        kind: Callable[[], Rule] = self._common.kind
        return kind()

    def for_layer(self, groups: Sequence[Group], layer: NativeLayer) -> dict[str, Any]:
        """The settings of a layer that is added, after `note_rules`."""
        if not self._own_values and self._rules is None:
            return {}
        index = layer.group
        group, own = groups[index], self._rule_of(index)
        values = own.values(group)
        if own is self._common:
            return self._for_layer(index, values)
        return {"rule": own.make(read_rates([group])[0], values)} | self._direction(values)

    def _for_layer(self, index: int, values: Values) -> dict[str, Any]:
        return self._rule_of(index).named(values) | self._direction(values)

    def _direction(self, values: Values) -> dict[str, Any]:
        # Checkpoints compare what layers have of their own, so a layer has its own direction only where it must.
        return {"maximize": values[-1]} if self._own_directions else {}

    def _read(self, groups: Sequence[Group]) -> list[Values]:
        try:
            hyper = [rule_of(group, self._common).values(group) for group in groups]
        except KeyError as error:
            raise _missing(groups, error) from None
        for index, values in enumerate(hyper):
            if not isinstance(values[-1], bool | int):
                raise TypeError(f"maximize of param group {index} must be True or False, found {values[-1]!r}")
        return hyper

    def follow(self, native: Optimizer, groups: Sequence[Group], layers: Sequence[NativeLayer]) -> bool:
        """Hand over what has changed; returns whether anything but rates has."""
        size = sum(map(len, groups))
        if size != self._size or self._rules is not None:
            if [group.get(RULE) for group in groups] != self._names:
                raise InvalidArgument('the "rule" of a param group stays as it was when the group was added')
            self._size = size
        # This is on the way of every step: lists of tuples are made and compared in C.
        try:
            if self._rules is None:
                rows = list(map(self._common.row, groups))
            else:
                rows = [rule.row(group) for rule, group in zip(self._rules, groups, strict=True)]
        except KeyError as error:
            raise _missing(groups, error) from None
        try:
            self.moved = rows != self._rows
        except RuntimeError:
            # A tensor of several elements does not compare.
            read_rates(groups)
            raise
        if not self.moved:
            return False
        values = [row[1:] for row in rows]
        changed = values != self._values
        if changed:
            self._follow_values(native, self._read(groups), layers)
        rates = read_rates(groups)
        if rates != self._rates:
            self._follow_rates(native, rates, layers)
        # A tensor may get another value in place, so it is never taken to be what it was.
        self._rows = None if any(isinstance(value, Tensor) for row in rows for value in row) else rows
        return changed

    def follow_layers(self, native: Optimizer, groups: Sequence[Group], layers: Sequence[NativeLayer]) -> None:
        """Hand over everything: there are other layers than before."""
        self._layers = layers
        self.note_rules(groups)
        values = self._read(groups)
        refused = self._shared_ratios(values)
        if refused:
            raise InvalidArgument(refused)
        if self._own_values or self._differ(values):
            self._own_values = True
            self._follow_values(native, values, layers)
        self._follow_rates(native, read_rates(groups), layers)

    def _follow_values(self, native: Optimizer, values: list[Values], layers: Sequence[NativeLayer]) -> None:
        refused = self._shared_ratios(values)
        if refused:
            raise InvalidArgument(refused)
        if self._own_values or self._differ(values):
            self._own_directions = self._own_directions or _directions_differ(values)
            self._give_to_layers(native, values, layers)
        else:
            native.set(maximize=values[0][-1], **self._common.named(values[0]))
        tensors = any(isinstance(value, Tensor) for group in values for value in group)
        self._values = None if tensors else values

    def _give_to_layers(self, native: Optimizer, values: list[Values], layers: Sequence[NativeLayer]) -> None:
        """Give every layer all hyperparameters of its group: then no two of them can disagree on the way."""
        indices: list[int] = []
        pairs: list[_settings.Pair] = []
        for index, layer in enumerate(layers):
            group = layer.group
            own = _settings.expand(self._for_layer(group, values[group]), self._rule_of(group).kind)
            indices.extend([index] * len(own))
            pairs.extend(own)
        if pairs:
            settings, count = _settings.pack(pairs)
            lw.call(
                lw.lw_optimizer_set_layers,
                native._handle,
                lw.array_type(ctypes.c_int64, count)(*indices),
                settings,
                count,
            )
        if not self._own_directions:
            native.set(maximize=values[0][-1])
        self._own_values = True

    def _shared_ratios(self, values: Sequence[Values]) -> str | None:
        """What is wrong with one trust ratio for a layer, where its parts have hyperparameters of their own."""
        for layer in self._layers:
            own = self._rule_of(layer.group)
            if layer.part_of is None or _SCOPE not in own.keys:
                continue
            if own.named(values[layer.group])[_SCOPE] == "layer":
                return (
                    f'trust_ratio_scope="layer" needs all parameters of a layer in one param group, and '
                    f'"{layer.part_of}" has some in group {layer.group} and some in another: with '
                    "weight_decay_exclude_1d=True, biases and norms need no group of their own"
                )
        return None

    def _follow_rates(self, native: Optimizer, rates: array.array[float], layers: Sequence[NativeLayer]) -> None:
        for index, rate in enumerate(rates):
            # NaN means something else to the library.
            if not 0 <= rate < math.inf:
                raise OutOfRange(f"lr of param group {index} must be in [0, inf), found {rate}")
        if not self._own_rates and all(rate == rates[0] for rate in rates):
            native.lr = rates[0]
        else:
            self._own_rates = True
            own = array.array("d", [rates[layer.group] for layer in layers])
            lw.call(lw.lw_optimizer_set_rates, native._handle, lw.pointer(own), len(own))
        self._rates = rates

    def read_back(self, native: Optimizer, groups: Sequence[Group], layers: Sequence[NativeLayer]) -> None:
        """Write the rates into the groups that the library has loaded; all else was compared, and is the same."""
        rates: dict[int, float] = {}
        for index, layer in enumerate(layers):
            rate = ctypes.c_double()
            lw.call(lw.lw_layer_get, native._handle, index, b"lr", ctypes.byref(rate))
            rates[layer.group] = rate.value
        _put_rates(groups, rates)
        # Layers may have got rates of their own, which that of the optimizer would not replace.
        self._own_rates, self._rates, self._rows = True, array.array("d"), None

    @property
    def at_rest(self) -> bool:
        """Whether all rates are 0."""
        return not any(self._rates)

    def check(self, groups: Sequence[Group]) -> None:
        """Refuse values of the groups that the rule refuses.

        Raises:
            LayerwiseError, TypeError: The first that is refused.
        """
        for _, error in self._refused(groups):
            raise error

    def differences(self, groups: Sequence[Group]) -> list[str]:
        """What of the groups' values the rule refuses."""
        return [str(error) if index is None else f"group {index}: {error}" for index, error in self._refused(groups)]

    def _refused(self, groups: Sequence[Group]) -> Iterator[tuple[int | None, Exception]]:
        """The errors of the values that are refused, each with the index of its group if one alone is to blame."""
        try:
            found, rates = self._read(groups), read_rates(groups)
        except _REFUSALS as error:
            yield None, error
            return
        shared = self._shared_ratios(found)
        if shared:
            yield None, InvalidArgument(shared)
        for index, (values, rate) in enumerate(zip(found, rates, strict=True)):
            plain = not any(isinstance(value, Tensor) for value in (*values, *found[index - 1]))
            if index and plain and (values, rate) == (found[index - 1], rates[index - 1]):
                continue
            try:
                own = rule_of(groups[index], self._common)
                kind: Callable[..., Rule] = own.kind
                with Optimizer(kind(lr=rate), dry_run=True) as probe:
                    # In the same call as `_follow_values`, so that nothing passes here that is refused there.
                    probe.set(maximize=values[-1], **own.named(values))
            except _REFUSALS as error:
                yield index, error


def _put_rates(groups: Sequence[Group], rates: Mapping[int, float]) -> None:
    """Write rates into groups, by the index of the group.

    A tensor is written in place, so that whoever holds it goes on steering the rate.  Groups that share a tensor and
    get different rates get tensors of their own: one tensor cannot hold both.
    """
    wanted: dict[int, set[float]] = {}
    for index, group in enumerate(groups):
        wanted.setdefault(id(group["lr"]), set()).add(rates.get(index, float(group["lr"])))
    for index, rate in rates.items():
        old = groups[index]["lr"]
        if not isinstance(old, Tensor):
            groups[index]["lr"] = rate
        elif len(wanted[id(old)]) > 1:
            groups[index]["lr"] = old.detach().clone().fill_(rate)
        else:
            old.detach().fill_(rate)


def read_rates(groups: Sequence[Group]) -> array.array[float]:
    """The rate of every group, which may be a tensor."""
    try:
        return array.array("d", map(_rate_of, groups))
    except KeyError as error:
        raise _missing(groups, error) from None
    except (TypeError, ValueError, RuntimeError):
        for index, group in enumerate(groups):
            require_number(group["lr"], f"lr of param group {index}")
        raise


def require_number(value: object, what: str) -> None:
    """Refuse what is no number and no tensor of one element.

    Raises:
        InvalidArgument: It is a tensor of another number of elements.
        TypeError: It is neither; texts that look like numbers, as from a YAML file, among them.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise InvalidArgument(
                f"{what} must be a number or a tensor of one element, found a tensor of shape {tuple(value.shape)}"
            )
        if value.is_complex():
            raise TypeError(f"{what} must be a real number, found {value!r}")
    elif not (isinstance(value, SupportsFloat) or hasattr(value, "__index__")):
        text = isinstance(value, str) and _settings.is_number(value)
        advice = f", which is text: write {what}={value}, or float({value!r})" if text else ""
        raise TypeError(f"{what} must be a number, found {value!r}{advice}")


def check_defaults(rule: type[Rule], keys: Sequence[str], defaults: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that the rule refuses, before anything is said of parameters, as torch does."""
    make: Callable[..., Rule] = rule
    require_number(defaults["lr"], "lr")
    Optimizer(make(lr=float(defaults["lr"]), **{key: defaults[key] for key in keys}), dry_run=True).close()


def in_force(
    kind: type[Rule], lr: float | Tensor | None, given: dict[str, Any], usual: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The values that a rule takes for its hyperparameters, which variants set: groups say what holds, not why.

    Args:
        kind: The rule's class.
        lr: The rate; None is the library's.
        given: Hyperparameters with the variant; those that are None are the variant's or the library's.
        usual: Defaults of torch's signature: with a variant, a hyperparameter with its default is the variant's, and
            without one it stays as it was given.
    """
    chosen = given
    if usual and given["variant"] is not None:
        chosen = {key: None if key in usual and value == usual[key] else value for key, value in given.items()}
    make: Callable[..., Rule] = kind
    if lr is not None:
        require_number(lr, "lr")
    rule = make(lr=None if lr is None else float(lr), **chosen)
    found = values_in_force(rule, [key for key in given if key != "variant"])
    if usual and given["variant"] is None:
        found |= {key: given[key] for key in usual}
    return found | ({"lr": lr} if isinstance(lr, Tensor) else {})


def _directions_differ(values: Sequence[Values]) -> bool:
    return any(other[-1] != values[0][-1] for other in values)


def _missing(groups: Sequence[Group], error: KeyError) -> InvalidArgument:
    index = next(index for index, group in enumerate(groups) if error.args[0] not in group)
    return InvalidArgument(f"param group {index} has no {error}")
