# SPDX-License-Identifier: Apache-2.0
"""Rates by layer for any torch optimizer: the library computes them, the optimizer takes the steps."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from .._driven import DrivenValues
from .._plan import depends_on_depth
from .._rate_array import Explanation, Rates
from ..errors import InvalidArgument, OutOfRange
from ..freezing import FreezePlan
from ..introspection import known_freeze_plans, known_policies
from ..optimizer import Optimizer
from ..policy import Policy
from ..schedule import Schedule
from . import _peers, _run_state
from ._grouping import NativeLayer, arrange, require_places
from ._layers import NAME, Layers
from ._norms import Norms
from ._optimizer import LayerwiseOptimizer
from ._options import LR_SCALE, check_lr_scale, policy_of
from ._parameters import Group, named_parameters, names_of
from ._resting import Resting
from ._split import (
    BASE,
    Plan,
    base_values,
    groups_of_layers,
    is_split,
    merged,
    new_groups,
    own_rates,
    put,
    rule_for,
    split,
)
from ._warn import warn
from .telemetry import flat

if TYPE_CHECKING:
    from .._keywords import DrivenLayer

_DRIVEN = "_layerwise_rates"
"""The attribute of an optimizer that refers to what drives it."""

_DECAY = "weight_decay"

_rate_of = operator.itemgetter("lr")

_FIRST_STEPS = 16
"""How many steps are compared to see whether rates differ: a rate may be 0 at the first step of a warm-up."""


_TUPLES = {"betas": ("beta1", "beta2")}
"""The library's keys for what torch's optimizers keep together in one entry of a group."""


def _by_library_key(schedule: Schedule | Mapping[str, Schedule] | None) -> dict[str, Schedule]:
    """Schedules by the library's keys: one of "betas" moves both."""
    if schedule is None:
        return {}
    given = schedule if isinstance(schedule, Mapping) else {"lr": schedule}
    for key, one in given.items():
        if not isinstance(one, Schedule):
            raise TypeError(f"schedule of {key}: expected one such as Cosine(1000), found {one!r}")
    return {part: one for key, one in given.items() for part in _TUPLES.get(key, (key,))}


class LayerRates(LRScheduler):
    """A learning rate for every layer of any `torch.optim.Optimizer`, on any device.

    The rates, decays and frozen layers of each step are those that `layerwise.torch.AdamW` would use:

        rate of a param group = the optimizer's lr * scale of its layers * factor of the schedule

    The optimizer takes the steps.  Its param groups are split by layer, in place: state, hooks, `defaults` and the
    identity of the optimizer stay as they are.  Parameters whose values are equal at every step share one group, so
    that foreach and fused kernels keep their batches.

    `step`, after each step of the optimizer, moves to the rates of the next, as with any scheduler of torch.  This is
    one, for Transformers, Lightning, Accelerate and SequentialLR too.  A scheduler outside that is made after this one
    moves the rates in proportion, and then `schedule` must be left out.

    A frozen layer is left out of a step by its gradients, which are None during the step and come back after it: it is
    neither updated nor decayed, its moments and step counts stand still, and `requires_grad` is not touched.

    Args:
        optimizer: The optimizer.  Those that refuse unequal rates (Prodigy, D-Adaptation, L-BFGS, `relative_step`) are
            refused here.
        model: The module whose parameters it steps, which gives them names.  Needed where neither the param groups nor
            `param_groups` have named them.
        policy: What sets every layer's scale.  Default: the same rate for all.
        layer_decay: `policy=LayerDecay(layer_decay)`.
        schedule: How the rate moves in time; or a mapping from hyperparameter of the param groups ("lr", "momentum",
            "beta1", "betas", "weight_decay") to schedule.  None leaves the rate to whoever moves it outside.
        freezing: When each layer trains.
        layers: The user's own rules for which parameter belongs to which layer, or a table; see
            `layerwise.torch.layers`.
        weight_decay_exclude_1d: Keep weight decay away from tensors of rank 0 and 1.  Default False.
        decay_follows: What multiplies the decay of an optimizer that decouples it: "layer_lr", the layer's rate;
            "base_lr", the rate of a layer of scale 1; "independent", the schedule's factor alone.  Default "layer_lr".
        decoupled: Whether the optimizer multiplies its decay by the rate and applies it to the weights.  None: as its
            groups or the name of its class say.
        lr_scale: What the key "lr_scale" of param groups is, which timm puts there: "apply" takes it for the scale of
            the group's layers; "scheduler" leaves it to a scheduler outside.  None refuses groups that have it.
        telemetry: Take norms at every so many steps, > 0; 0 for never.  At such a step the parameters are copied.
        last_epoch: The step before the first, for a run that goes on; -1 for a new one.

    Raises:
        InvalidArgument: The optimizer cannot be driven, parameters have no names or no depth where these are needed, or
            arguments exclude each other.  The optimizer is as it was.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module | None = None,
        *,
        policy: Policy | None = None,
        layer_decay: float | None = None,
        schedule: Schedule | Mapping[str, Schedule] | None = None,
        freezing: FreezePlan | None = None,
        layers: Layers | None = None,
        weight_decay_exclude_1d: bool = False,
        decay_follows: Literal["layer_lr", "base_lr", "independent"] = "layer_lr",
        decoupled: bool | None = None,
        lr_scale: Literal["apply", "scheduler"] | None = None,
        telemetry: int = 0,
        last_epoch: int = -1,
    ) -> None:
        # The base class would take the present rates for those of all groups, and wrap the optimizer's step.
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer: expected a torch.optim.Optimizer, found {type(optimizer).__name__}")
        optimizer = _peers.unwrap(optimizer)
        if isinstance(optimizer, LayerwiseOptimizer):
            raise InvalidArgument(
                f"layerwise.torch.{type(optimizer).__name__} takes policy, schedule and freezing itself: "
                f"{type(optimizer).__name__}(model, policy=..., schedule=...)"
            )
        if model is not None and not isinstance(model, nn.Module):
            raise TypeError(f"model: expected a torch module, found {type(model).__name__}")
        if freezing is not None and not isinstance(freezing, FreezePlan):
            raise TypeError(f"freezing: expected one such as GradualUnfreezing(100), found {freezing!r}")
        driver = getattr(optimizer, _DRIVEN, None)
        if driver is not None and driver() is not None:
            raise InvalidArgument(
                f"{type(optimizer).__name__} has LayerRates already: call remove() of those before making others"
            )
        if operator.index(telemetry) < 0:
            raise OutOfRange(f"telemetry must be a number of steps, at least 0, found {telemetry}")
        if operator.index(last_epoch) < -1:
            raise OutOfRange(f"last_epoch must be at least -1, found {last_epoch}")
        _peers.refuse(optimizer)
        self.optimizer = optimizer
        self._options: dict[str, Any] = {
            "policy": policy,
            "layer_decay": layer_decay,
            "weight_decay_exclude_1d": weight_decay_exclude_1d,
        }
        policy_of(self._options)
        self._schedules = _by_library_key(schedule)
        self._freezing, self._rules, self._lr_scale = freezing, layers, lr_scale
        self._decay_follows: Any = decay_follows
        self._decoupled = decoupled
        self._model_names = [(name, param) for name, param in named_parameters(model)] if model is not None else []
        if freezing is not None or telemetry:
            _peers.require_hooks(optimizer)
        self._resting = Resting()
        self._norms: Norms | None = None
        self._warned: set[str] = set()
        self._hooks: list[Any] = []
        self.last_epoch = operator.index(last_epoch)
        self._step_count = 0
        self._count_before = len(optimizer.param_groups)
        self._build()
        self._hook()
        if telemetry:
            self._measure(telemetry)
        self._initial_step()

    # ---- Param groups

    def _build(self) -> None:
        """Plan the layers of the optimizer's groups, and split these.  Nothing is changed before all is checked."""
        groups = self.optimizer.param_groups
        self._check_groups(groups)
        bases = [base_values(group, index, self._schedules, self.optimizer) for index, group in enumerate(groups)]
        # Groups that differ in nothing make the layers together.
        alike, whole_groups = merged(groups, bases)
        layers = self._arrange(groups, whole_groups)
        decoupled = self._decoupled
        if decoupled is None:
            decoupled = _peers.decouples(groups, self.optimizer)
        if self._decay_follows != "layer_lr":
            _peers.refuse_fixed_decay(groups)
            if not decoupled:
                raise InvalidArgument(
                    f"decay_follows must be layer_lr where the decay is not decoupled, found {self._decay_follows} "
                    f"with {type(self.optimizer).__name__}: take an optimizer such as AdamW, or say decoupled=True if "
                    "this one multiplies its decay by the rate and applies it to the weights"
                )
        of_whole = [bases[index] for index in alike]
        plan = Plan(layers, rule_for(groups, decoupled), of_whole, self._decay_follows, policy_of(self._options))
        plan.schedule(self._schedules, self._freezing)
        self._apply(plan, bases)

    def _apply(self, plan: Plan, bases: Sequence[Mapping[str, float]]) -> None:
        """Split and merge the groups as a plan has it, and go by the plan from now on."""
        groups = self.optimizer.param_groups
        step = max(self.last_epoch, 0)
        has_decay = all(_DECAY in own for own in bases)
        parts = split(groups, plan, bases)
        firsts = [tensors[0] for _, tensors in parts]
        rates, _ = DrivenValues(plan.native, ["lr"], firsts).table(step, _FIRST_STEPS)
        rows = [rates[row * len(firsts) : (row + 1) * len(firsts)] for row in range(_FIRST_STEPS)]
        _peers.refuse_unequal(self.optimizer, rows, len(parts))
        unscheduled = DrivenValues(plan.native, ["unscheduled_lr"], firsts).at(step)[0]
        decays = DrivenValues(plan.native, [_DECAY], firsts).at(step)[0] if has_decay else None
        keys = self._keys(has_decay)
        values = DrivenValues(plan.native, keys, firsts)
        _, frozen = values.at(step)
        if any(frozen):
            _peers.require_hooks(self.optimizer)
        made = list(groups)
        if not is_split(groups, parts, plan):
            _peers.refuse_split(self.optimizer)
            made = new_groups(groups, parts, plan)
        # From here on nothing is refused.
        own_rates(made)
        for position, (group, (index, _)) in enumerate(zip(made, parts, strict=True)):
            group["initial_lr"] = unscheduled[position]
            for key, value in bases[index].items():
                group[BASE + key] = value
            if decays is not None:
                put(group, _DECAY, decays[position])
        # The list itself stays, since wrappers hold it.
        groups[:] = made
        self._plan, self._values, self._value_keys, self._group_count = plan, values, keys, len(made)
        self.base_lrs: list[float | Tensor] = [*unscheduled]
        self._firsts, self._groups_of_layers = firsts, groups_of_layers(plan, parts)
        self._rates: list[float] | None = None
        self._others: list[float] | None = None
        self._written: list[Any] = []
        self._versions: list[int] = []
        self._frozen = b""
        self._moves = "lr" in self._schedules or any("lr" in layer.schedules for layer in plan.native._layers)

    def _check_groups(self, groups: Sequence[Group]) -> None:
        for index, group in enumerate(groups):
            check_lr_scale(group, index, self._lr_scale)
            if group.get(LR_SCALE, 1) != 1 and self._lr_scale is None:
                raise InvalidArgument(
                    f'param group {index} has lr_scale {group[LR_SCALE]}: say lr_scale="apply" to take it for the '
                    'scale of its layers, or lr_scale="scheduler" if a scheduler outside multiplies the rate by it'
                )
        if self._lr_scale == "apply" and policy_of({**self._options, "weight_decay_exclude_1d": False}) is not None:
            raise InvalidArgument(
                'lr_scale="apply" takes the "lr_scale" of each group for the scale of its layers, in place of what a '
                "policy says: leave out layer_decay and policy"
            )

    def _arrange(self, groups: Sequence[Group], whole_groups: Sequence[Group]) -> list[NativeLayer]:
        """The layers of the groups, by the names of their parameters.

        Args:
            groups: The groups, which messages name.
            whole_groups: The groups of `merged`.
        """
        known = {id(param): name for name, param in self._model_names}
        names: dict[int, str] = {}
        for index, group in enumerate(groups):
            own = names_of(group)
            for position, param in enumerate(group["params"]):
                name = known.get(id(param)) or (own[position] if own else getattr(param, NAME, None))
                if name is not None:
                    names[id(param)] = name
                elif known and not any(key in group for key in ("layer", "depth")):
                    raise InvalidArgument(
                        f"parameter {position} of param group {index} is no parameter of the model: a wrapper such as "
                        "FSDP1 or DeepSpeed may have flattened them; make LayerRates with the model that the optimizer "
                        "was made for, or give the optimizer param_groups(model) before the wrapper"
                    )
        there = {name for name, _ in self._model_names}
        all_names = [*(name for name, _ in self._model_names)]
        all_names += [name for name in names.values() if name not in there]
        layers = arrange(whole_groups, names, all_names, self._rules, apply_lr_scale=self._lr_scale == "apply")
        policy = policy_of(self._options)
        for recipe, declarations in ((policy, known_policies()), (self._freezing, known_freeze_plans())):
            if depends_on_depth(recipe, declarations):
                require_places(recipe, layers)
        return layers

    def _keys(self, has_decay: bool) -> list[str]:
        """The values that may move, "lr" first."""
        keys = ["lr", *(key for key in self._schedules if key != "lr")]
        if has_decay and self._decay_follows != "layer_lr" and "weight_decay" not in keys:
            keys.append("weight_decay")
        return keys

    # ---- Hooks

    def _hook(self) -> None:
        optimizer = self.optimizer
        if _peers.runs_hooks(optimizer):
            self._hooks = [
                optimizer.register_step_pre_hook(self._resting.before_step),
                optimizer.register_step_post_hook(self._resting.after_step),
            ]
        setattr(optimizer, _DRIVEN, weakref.ref(self))

    def _measure(self, every: int) -> None:
        layers = [[param for _, param in layer.members] for layer in self._plan.layers]
        norms = self._norms = Norms(layers, every, self._resting)
        # While gradients are hidden: a layer that rests has no norm of its gradient.
        self._hooks[1].remove()
        self._hooks += [
            self.optimizer.register_step_pre_hook(norms.before_step),
            self.optimizer.register_step_post_hook(norms.after_step),
        ]
        self._hooks[1] = self.optimizer.register_step_post_hook(self._resting.after_step)

    def remove(self) -> None:
        """Let go of the optimizer: all layers train, at the optimizer's rate without scales and schedules.

        The groups stay split.
        """
        self._resting.give_back()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for group in self.optimizer.param_groups:
            for key in [key for key in group if str(key).startswith(BASE)]:
                put(group, key.removeprefix(BASE), group.pop(key))
            group["initial_lr"] = float(group["lr"])
        if hasattr(self.optimizer, _DRIVEN):
            delattr(self.optimizer, _DRIVEN)

    # ---- What torch's schedulers have

    def step(self, epoch: int | None = None) -> None:
        """Move to the values of the next step.  Call it after the optimizer's step.

        Args:
            epoch: The step to move to, from 0; None for the next.  Schedulers such as SequentialLR restart at 0.

        Raises:
            InvalidArgument: Param groups were added to the optimizer, or taken away.
        """
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        target = self.last_epoch + 1 if epoch is None else operator.index(epoch)
        groups = self.optimizer.param_groups
        if len(groups) != self._group_count:
            raise InvalidArgument(
                f"the optimizer has {len(groups)} param groups, and had {self._group_count} when LayerRates were made: "
                "call refresh() after groups were added or taken away"
            )
        values, frozen = self._values.at(target)
        everything = self._is_initial or epoch is not None
        untouched = not everything and not self._is_moved(groups)
        if not untouched and not everything:
            self._look_outside(groups)
        if frozen != self._frozen:
            self._freeze(frozen)
        self._write(groups, values, everything, untouched and not self._versions)
        self._plan.native.seek(target)
        self.last_epoch = target

    def _write(
        self, groups: Sequence[Group], values: list[float], everything: bool = False, plain: bool = False
    ) -> None:
        """Write the values that have changed into the groups; rates that nothing here moves are left to others.

        Args:
            groups: The groups.
            values: The values of each group by key.
            everything: Write all of them.
            plain: Whether the rates are known to be no tensors.
        """
        width = len(self._value_keys)
        rates = values if width == 1 else values[::width]
        everything = everything or self._rates is None
        if not everything and rates != self._rates:
            # A plan that anneals moves the rates too.
            self._moves = True
        if plain and self._moves:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate
            self._written = rates
        elif everything or self._moves:
            has_tensors = False
            for group, rate in zip(groups, rates, strict=True):
                old = group["lr"]
                # Whether something is a tensor takes longer to tell than all else here.
                if type(old) is not float and isinstance(old, Tensor):
                    old.detach().fill_(rate)
                    has_tensors = True
                else:
                    group["lr"] = rate
            self._note(groups, has_tensors)
        self._rates = rates
        if width == 1 or (not everything and values == self._others):
            return
        for column, key in enumerate(self._value_keys[1:], 1):
            for group, value in zip(groups, values[column::width], strict=True):
                put(group, key, value)
        self._others = values

    def _note(self, groups: Sequence[Group], has_tensors: bool = True) -> None:
        """Note the rates as they are, to see whether anybody else writes them."""
        self._written = list(map(_rate_of, groups))
        self._versions = [rate._version for rate in self._written if isinstance(rate, Tensor)] if has_tensors else []

    def _is_moved(self, groups: Sequence[Group]) -> bool:
        """Whether somebody else has written rates since they were written here."""
        rates = list(map(_rate_of, groups))
        if not self._versions:
            return rates != self._written
        if not all(map(operator.is_, rates, self._written)):
            return True
        return [rate._version for rate in rates if isinstance(rate, Tensor)] != self._versions

    def _look_outside(self, groups: Sequence[Group]) -> None:
        """Warn where somebody else has moved the rates that are moved here, or has made those of all layers equal."""
        if self._moves and "moved" not in self._warned:
            self._warned.add("moved")
            warn(
                'something else moves the "lr" of the param groups, and schedule= or the freezing plan moves it too: '
                "what is written outside is overwritten.  Leave out one of them (Transformers: "
                "Trainer(optimizers=(optimizer, rates)))"
            )
        elif not self._moves and not self._versions and "levelled" not in self._warned:
            self._note(groups, False)
            if len(set(self.base_lrs)) > 1 and len(set(self._written)) == 1 and self._written[0]:
                self._warned.add("levelled")
                warn(
                    f'something else has set the "lr" of all param groups to {self._written[0]:g}, and the rates by '
                    "layer are gone: a scheduler that takes rates, such as OneCycleLR, takes one for each group, "
                    '[group["initial_lr"] for group in optimizer.param_groups]'
                )

    def _freeze(self, frozen: bytes) -> None:
        if any(frozen) and not self._hooks:
            _peers.require_hooks(self.optimizer)
        self._frozen = frozen
        self._resting.give_back()
        self._resting.layers = frozen
        self._resting.params = [
            param
            for layer, marked in zip(self._plan.layers, frozen, strict=True)
            if marked
            for _, param in layer.members
        ]

    def get_lr(self) -> list[float | Tensor]:
        """The rates that `step` has computed last, one a group."""
        return [*(self._rates or ())]

    def get_last_lr(self) -> list[float | Tensor]:
        """The rates of the param groups as they are, copied."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return [rate.detach().clone() if isinstance(rate, Tensor) else rate for rate in rates]

    def state_dict(self) -> dict[str, Any]:
        """What a run must keep to go on at the very step: plain numbers and text."""
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "base_lrs": [float(base) for base in self.base_lrs],
            "bases": [group[BASE + "lr"] for group in self.optimizer.param_groups],
            "layerwise": _run_state.dump(self._plan.native),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where another LayerRates with the same layers stood.  The optimizer's own state is loaded apart.

        Args:
            state_dict: What `state_dict` returned.

        Raises:
            InvalidArgument: The state is of other layers, schedules or groups; nothing has changed.
        """
        missing = [
            key for key in ("last_epoch", "_step_count", "base_lrs", "bases", "layerwise") if key not in state_dict
        ]
        if missing:
            raise InvalidArgument(f"the state of LayerRates must have {missing[0]!r}, found {sorted(state_dict)}")
        if len(state_dict["base_lrs"]) != self._group_count:
            raise InvalidArgument(
                f"the state of LayerRates is of {len(state_dict['base_lrs'])} param groups, and here are "
                f"{self._group_count}: make LayerRates with the same model, policy, schedule and plan"
            )
        native = self._plan.native
        _run_state.check(native, state_dict["layerwise"])
        last_epoch = operator.index(state_dict["last_epoch"])
        groups = self.optimizer.param_groups
        _run_state.apply(native, state_dict["layerwise"], max(last_epoch, 0))
        for index, own in enumerate(self._groups_of_layers):
            base = state_dict["bases"][own[0]] if own else None
            if base is not None and base != native.layer(index).get("lr"):
                native.layer(index).set(lr=base)
        for group, base, scaled in zip(groups, state_dict["bases"], state_dict["base_lrs"], strict=True):
            group[BASE + "lr"], group["initial_lr"] = base, scaled
        self.base_lrs = [*state_dict["base_lrs"]]
        self.last_epoch, self._step_count = last_epoch, state_dict["_step_count"]
        values, frozen = self._values.at(max(last_epoch, 0))
        self._freeze(frozen)
        # Rates that nothing here moves come with the optimizer's own state.
        self._write(groups, values)
        self._note(groups)

    # ---- Looking, and changing by hand

    @property
    def native(self) -> Optimizer:
        """The dry-run optimizer that computes the values.

        Layers may be frozen, given another scale or a schedule there; `refresh` then puts it in force.
        """
        return self._plan.native

    def refresh(self) -> None:
        """Put in force what was changed in `native`, and take in param groups that were added to the optimizer."""
        groups, step = self.optimizer.param_groups, max(self.last_epoch, 0)
        known = {id(param) for param in self._plan.params}
        if {id(param) for group in groups for param in group["params"]} != known:
            progress = _run_state.dump(self.native)
            self._build()
            _run_state.apply(self.native, progress, step, known=True)
        else:
            bases = [base_values(group, index, self._schedules, self.optimizer) for index, group in enumerate(groups)]
            self._apply(self._plan, bases)
        values, frozen = self._values.at(step)
        self._freeze(frozen)
        self._write(self.optimizer.param_groups, values)
        if self._norms is not None:
            self._norms.watch([[param for _, param in layer.members] for layer in self._plan.layers])

    def report(self, metric: float) -> None:
        """Tell schedules that follow a metric (`ReduceOnPlateau`) the latest one, such as a validation loss."""
        self.native.report(metric)

    def active_parameters(self) -> Iterator[Tensor]:
        """The parameters that the next step trains: what a clip by the norm of what is trained takes."""
        resting = set(map(id, self._resting.params))
        return (param for param in self._plan.params if id(param) not in resting)

    def explain(self, step: int | None = None) -> Explanation:
        """A table with one row a layer (scale, schedule, rate, decay, state), and how many param groups they make.

        Args:
            step: The step to explain; None for the next.
        """
        count, layers = self._group_count, len(self._plan.layers)
        text = self.native.explain(self._at(step)).rstrip("\n")
        # The rule of the plan takes no steps.
        text = type(self.optimizer).__name__ + text[text.index(",") :]
        groups = f"{count} param group{'' if count == 1 else 's'}"
        return Explanation(f"{text}\n{layers} layers in {groups}, made of {self._count_before}\n")

    def explain_rows(self, step: int | None = None) -> list[DrivenLayer]:
        """The values of `explain`, one mapping a layer; "param_groups" are the indices of its groups."""
        rows = self.native.explain_rows(self._at(step))
        return [{**row, "param_groups": own} for row, own in zip(rows, self._groups_of_layers, strict=True)]

    def preview(self, steps: int, *, first: int | None = None, stride: int = 1) -> Rates:
        """The rates of the steps to come, by layer and step; 0 where a layer is frozen."""
        return self.native.preview(steps, first=self._at(first), stride=stride)

    def _at(self, step: int | None) -> int:
        return max(self.last_epoch, 0) if step is None else step

    def telemetry(self, prefix: str = "layerwise/", *, only: Collection[str] | None = None) -> dict[str, float]:
        """The numbers of every layer at the last step that was measured, ready for `wandb.log`.

        The keys are those of the optimizers of `layerwise.torch`.  Trust ratios, clip factors and lost updates, which
        only the optimizer itself knows, are NaN.

        Args:
            prefix: The beginning of each key, before "layer/field".
            only: The fields of `layerwise.Telemetry` to return, ("effective_lr", "update_ratio") say.  Default: all.

        Raises:
            InvalidArgument: Telemetry is off, or there was no step.
        """
        if self._norms is None:
            raise InvalidArgument("telemetry is off: make LayerRates(..., telemetry=100)")
        if not self._norms.is_taken:
            raise InvalidArgument("there is no telemetry before the first step")
        unknown = dict.fromkeys(("trust_ratio", "clip_factor", "lost_count"), float("nan"))
        rows = self._norms.rows(self._groups_of_layers)
        layers = zip(self._plan.layers, rows, strict=True)
        return flat(((layer.name, row | unknown) for layer, row in layers), prefix, only)

    def __repr__(self) -> str:
        return f"<layerwise.torch.LayerRates of {type(self.optimizer).__name__}: {self._group_count} param groups>"

    def _repr_html_(self) -> str | None:
        return self.native._repr_html_()

    # ---- Copies

    def __getstate__(self) -> dict[str, Any]:
        # A dry-run optimizer is made again from the groups, and an optimizer is copied without its hooks.
        left = ("_hooks", "_values", "_plan", "_norms", "_resting")
        scales = {row["layer"]: row["scale"] for row in self.explain_rows() if row["scale_from"] == "layer"}
        progress, every = _run_state.dump(self.native), self._norms.every if self._norms is not None else 0
        return {key: value for key, value in self.__dict__.items() if key not in left} | {
            "_copied": (progress, scales, every)
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        progress, scales, every = self.__dict__.pop("_copied")
        moves = self._moves
        self._hooks, self._norms, self._resting = [], None, Resting()
        self._build()
        for name, scale in scales.items():
            self.native.layer(name).set(scale=scale)
        _run_state.apply(self.native, progress)
        self._hook()
        if every:
            self._measure(every)
        self._moves = moves
        values, frozen = self._values.at(max(self.last_epoch, 0))
        self._freeze(frozen)
        self._rates, self._others = values[:: len(self._value_keys)], values
        self._note(self.optimizer.param_groups)
