# SPDX-License-Identifier: Apache-2.0
"""What all classes share: a real torch optimizer, whose step is one call of the library."""

from __future__ import annotations

import functools
import operator
import weakref
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, SupportsFloat, TypeVar, cast, overload

import torch
from torch import Tensor, nn
from torch.optim import optimizer as torch_optimizer

from .._checkpointing import Path
from .._names import did_you_mean
from .._plan import depends_on_depth
from .._rate_array import Explanation, Rates
from .._values import InitSignature
from ..errors import DTypeMismatch, InvalidArgument, LayerwiseError
from ..introspection import declaration_of, known_freeze_plans, known_policies
from ..policy import Policy
from ..reports import LoadReport
from ..rule import Rule
from . import _run_state
from ._backward import BackwardSteps
from ._distributed import is_spread, local_part
from ._engine import Engine
from ._flat import shown
from ._group_rules import RULE, GroupRule, drop_others, rule_of, write_out
from ._grouping import NativeLayer, arrange, require_places
from ._hyperparameters import check_defaults, require_number
from ._layers import NAME
from ._native_states import NativeOptimizer
from ._options import (
    FLAGS,
    LR_SCALE,
    NATIVE,
    Options,
    RuleOptions,
    check_flags,
    check_keys,
    check_lr_scale,
    check_options,
    plain,
    policy_of,
    refuse_for_spread,
    refuse_in_zero,
)
from ._parameters import (
    Group,
    Parameters,
    check,
    describe,
    for_torch,
    may_be_left_out,
    named_parameters,
    names_of,
)
from ._snapshots import TorchSnapshot
from ._state import Incoming, Views, match, take_in, unpickled
from .telemetry import flat

_needs_gradient = operator.attrgetter("requires_grad")

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether anybody wants to know of its steps: hooks or a profiler."""
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or torch_optimizer._global_optimizer_pre_hooks
        or torch_optimizer._global_optimizer_post_hooks
        or torch.autograd._profiler_enabled()  # type: ignore[attr-defined]
    )


class LayerwiseOptimizer(torch.optim.Optimizer):
    """A torch optimizer whose step is one call of the library.

    Use one of its classes, of which there is one for each rule.
    """

    _rule: ClassVar[type[Rule]]
    """The rule of the library."""

    _keys: ClassVar[tuple[str, ...]]
    """Its hyperparameters as groups call them, without "lr"."""

    _may_lack: ClassVar[frozenset[str]] = frozenset()
    """Those of them that a state dict of torch's class, or of version 0.1.0 of this one, does not have."""

    if not TYPE_CHECKING:
        __signature__ = InitSignature()

        def __new__(cls, *args, **keywords):
            """Refuse what lacks parameters, as a rule of `layerwise` does."""
            # Without any argument it is a copy that is made.
            if keywords and not args and "params" not in keywords:
                name = cls.__name__
                raise TypeError(
                    f"layerwise.torch.{name} is an optimizer and needs parameters: write {name}(model, ...). The rule "
                    f"by itself, for layerwise.Optimizer, is layerwise.{name}(...)"
                )
            return super().__new__(cls)

    def __init__(self, params: Parameters, defaults: dict[str, Any], options: Mapping[str, Any]) -> None:
        # Some rules have an option of others as a hyperparameter.
        known = [key for key in Options.__annotations__ | RuleOptions.__annotations__ if key not in defaults]
        for key in options:
            if key not in known:
                raise TypeError(
                    f"{type(self).__name__} has no argument {key!r}; {did_you_mean(key, (*defaults, *known))}"
                )
        defaults |= {key: plain(defaults[key]) for key in self._keys}
        check_flags(defaults, "")
        check_defaults(self._rule, self._keys, defaults)
        self._options: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
        module = params if isinstance(params, nn.Module) else self._options.pop("module", None)
        if module is not None and not isinstance(module, nn.Module):
            raise TypeError(f"module: expected a torch module, found {type(module).__name__}")
        self._options.pop("module", None)
        self._model_names: list[str] = []
        # The parameters are held, lest another object should get the identity of one that is gone.
        self._names: dict[int, tuple[str, Tensor]] = {}
        for name, param in named_parameters(module) if module is not None else ():
            self._model_names.append(name)
            self._names[id(param)] = name, param
        policy_of(self._options)
        check_options(self._options)
        self._inside = _Inside()
        self._inside.given = options
        super().__init__(for_torch(params), defaults)
        refuse_in_zero(self._options, self.param_groups)
        self._tell_grad_scaler()
        self._build()

    def _tell_grad_scaler(self) -> None:
        """With fused=True, GradScaler hands over its scale and what it found, in place of unscaling by itself.

        Lightning takes it as a reason not to clip, so that it is only done where it is asked for, as in torch.
        """
        if self.defaults.get("fused"):
            self._step_supports_amp_scaling = True

    def _name_of(self, param: Tensor) -> str | None:
        """The name that a parameter has in the module, or that `param_groups` has given it."""
        known = self._names.get(id(param))
        return known[0] if known else getattr(param, NAME, None)

    def _build(self) -> Engine:
        """Make the native optimizer of the groups."""
        layers = self._arrange()
        spread = any(is_spread(param) for group in self.param_groups for param in group["params"])
        if spread:
            refuse_for_spread(self._options)
        options = {key: self._options[key] for key in NATIVE if key in self._options}
        options["nonfinite"] = self._options.get("nonfinite", "propagate")
        options["policy"] = policy_of(self._options)
        bridge = Engine(
            self.param_groups,
            layers,
            self._rule,
            self._keys,
            self._options.get("master", False),
            self._options.get("process_group"),
            options,
            self._inside.left_out,
            self._options.get(LR_SCALE),
        )
        self._hook(bridge)
        self._inside.bridge, self._inside.views = bridge, Views(bridge)
        return bridge

    def _hook(self, bridge: Engine) -> None:
        """Hang hooks at the parameters of a bridge, in place of those that were there, if steps are in backward."""
        if self._inside.backward is not None:
            self._inside.backward.detach()
        if self._options.get("step_in_backward"):
            if declaration_of(self._rule.name)["steps_together"]:
                raise InvalidArgument(
                    f"{type(self).__name__} takes sums over all layers, and step_in_backward steps layers one by one"
                )
            part = next((layer.part_of for layer in bridge.layers if layer.part_of is not None), None)
            if part is not None and self._options.get("clip_layer_norm") is not None:
                raise InvalidArgument(
                    f'clip_layer_norm needs all gradients of a layer, and step_in_backward steps "{part}" in parts, '
                    "since it has parameters in several param groups: with weight_decay_exclude_1d=True, biases and "
                    "norms need no group of their own"
                )
            steps = operator.index(self._options.get("accumulation_steps", 1))
            self._inside.backward = BackwardSteps(bridge, _Begin(self), steps)

    def _arrange(self) -> list[NativeLayer]:
        """The layers of the groups, all parameters checked."""
        groups = self.param_groups
        names: dict[int, str] = {}
        left_out: dict[int, tuple[Tensor, str]] = {}
        for index, group in enumerate(groups):
            own = names_of(group)
            for position, param in enumerate(group["params"]):
                if may_be_left_out(local_part(param)):
                    left_out[id(param)] = param, describe(own, index, position)
                else:
                    check(local_part(param), describe(own, index, position))
                name = own[position] if own else self._name_of(param)
                if name is not None:
                    names[id(param)] = name
        known = set(self._model_names)
        all_names = [*self._model_names, *(name for name in names.values() if name not in known)]
        apply_lr_scale = self._options.get(LR_SCALE) == "apply"
        layers = arrange(groups, names, all_names, self._options.get("layers"), left_out, apply_lr_scale=apply_lr_scale)
        self._inside.leave_out(left_out)
        policy = policy_of(self._options)
        for recipe, declarations in ((policy, known_policies()), (self._options.get("freezing"), known_freeze_plans())):
            if depends_on_depth(recipe, declarations):
                require_places(recipe, layers)
        return layers

    def _rebuild(self) -> Engine:
        """Create a new native optimizer after the groups have got other parameters, and copy the state into it."""
        old, views, state = self._inside.bridge, self._inside.views, self._inside.state
        if old is None or views is None:
            return self._build()
        if views.seen:
            views.adopt(state)
        progress = _run_state.dump(old.native)
        carried = old.carry_over(self.param_groups)
        bridge = self._build()
        try:
            _run_state.apply(bridge.native, progress, known=True)
            bridge.take_over(old, carried)
        except BaseException:
            self._inside.bridge, self._inside.views = old, views
            raise
        entries = {index: state.pop(member.param, None) for index, member in enumerate(old.members)}
        for member in bridge.members:
            entry = entries.get(carried.get(id(member.param), -1))
            if entry is not None:
                state[member.param] = entry
        return bridge

    # ---- What torch's optimizers have

    if not TYPE_CHECKING:

        @property
        def param_groups(self):
            """The groups, where torch keeps them too."""
            groups = self.__dict__.get("param_groups")
            if groups is None:
                # A wrapper that imitates the class asks what it wraps.
                raise AttributeError("param_groups")
            return shown(self, groups)

        @param_groups.setter
        def param_groups(self, groups):
            self.__dict__["param_groups"] = groups

    @property
    def native(self) -> NativeOptimizer:
        """The native optimizer, up to date with the param groups, for what torch has no words for.

        What the groups say (hyperparameters, which parameters there are) goes to it at every step, not back.
        """
        bridge = self._ready()
        bridge.follow(self.param_groups)
        return bridge.native

    def _ready(self) -> Engine:
        """The bridge; a new one if the groups hold other parameters, or after unpickling."""
        bridge = self._inside.bridge
        if bridge is None:
            bridge = self._wake()
        elif not bridge.has(self.param_groups) and not bridge.rest(self.param_groups):
            bridge = self._rebuild()
        return bridge

    @property
    def state(self) -> defaultdict[Tensor, Any]:
        """What is kept for each parameter, in torch's words, in the library's memory.

        Reading it brings the step counts up to date; keep no part of it over a step, but read it again.
        """
        inside = self._inside
        if inside.views is not None:
            self._ready()
            if inside.views.seen:
                try:
                    inside.views.adopt(inside.state)
                except InvalidArgument:
                    # The next step says what is wrong with it; here it can be mended.
                    return inside.state
            inside.views.publish(inside.state)
        return inside.state

    @state.setter
    def state(self, state: defaultdict[Tensor, Any]) -> None:
        inside = self._inside
        if inside.views is not None:
            # What is not in the new one was taken out.
            inside.views.publish(inside.state)
        inside.state = state

    @overload
    def step(self, closure: None = None, *, loss: SupportsFloat | None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None, *, loss: SupportsFloat | None = None) -> float | None:
        """Step every parameter that has a gradient.

        Args:
            closure: Evaluates the model again and returns the loss; called first, with gradients enabled.
            loss: The loss, which MoMo needs where no closure returns it; other rules do not look at it.

        Returns:
            What the closure returned.
        """
        if self._inside.hooks_ran or not _is_watched(self):
            return self._step(closure, loss)
        if loss is not None:
            return _watched_step(self, closure, loss)
        return _watched_step(self) if closure is None else _watched_step(self, closure)

    # torch would wrap it, and make a record for profilers also where none is: tens of microseconds between two steps.
    step.hooked = True  # type: ignore[attr-defined]

    @staticmethod
    def profile_hook_step(func: Callable[_P, _R]) -> Callable[_P, _R]:
        """What torch does to the `step` of a subclass; a `step` of ours that it calls leaves the hooks to it."""

        @functools.wraps(func)
        def inner(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            inside = cast("LayerwiseOptimizer", args[0])._inside
            inside.hooks_ran = True
            try:
                return func(*args, **kwargs)
            finally:
                inside.hooks_ran = False

        return torch.optim.Optimizer.profile_hook_step(inner)

    def _step(self, closure: Callable[[], float] | None = None, loss: SupportsFloat | None = None) -> float | None:
        found_loss = None
        if closure is not None:
            with torch.enable_grad():
                found_loss = closure()
        scale = 1.0
        found: Tensor | None = getattr(self, "found_inf", None)
        if found is not None and self._inside.backward is None:
            if float(found) > 0:
                return found_loss
            given: Tensor | None = getattr(self, "grad_scale", None)
            if given is not None:
                scale = float(given)
        bridge, backward = self._ready(), self._inside.backward
        self._inside.check_left_out()
        if backward is not None:
            if found is not None:
                raise RuntimeError("GradScaler looks at all gradients, and step_in_backward has used them already")
            backward.finish()
            return found_loss
        self._take_in_changes()
        bridge.step(self.param_groups, scale, found_loss if loss is None else loss)
        return found_loss

    def measure_microbatch(self, gradient_scale: float = 1.0) -> None:
        """Measure the gradients of the micro-batches so far, for the policy `layerwise.GradientNoise`.

        Call it after each `backward()` of a step, the last one too, while the gradients add up in `.grad`, and then
        `step()`, which uses and forgets what was measured.

        Args:
            gradient_scale: Every gradient is divided by it, such as the scale of a GradScaler; the same at each call.

        Raises:
            InvalidArgument: The policy measures no micro-batches, or steps are taken in the backward pass.
        """
        bridge = self._ready()
        if self._inside.backward is not None:
            raise InvalidArgument("step_in_backward takes each gradient as it comes: there are no sums to measure")
        bridge.measure_microbatch(gradient_scale)

    def measure_spectra(self, delay: int = 0) -> None:
        """Compute the singular values of all weights, for `TempBalance` or `AlphaDecay`: see `layerwise.Optimizer`."""
        self._ready()
        self.native.measure_spectra(delay)

    def _take_in_changes(self) -> None:
        """Take over what was put into `state` since the last step."""
        inside = self._inside
        if inside.views is not None and inside.views.seen:
            inside.views.adopt(inside.state)

    def train(self) -> None:
        """Put the weights for training into the parameters, for rules whose weights for evaluation differ.

        The same where an `average` is kept.  An optimizer begins in training.  Otherwise nothing changes.
        """
        bridge = self._ready()
        self._take_in_changes()
        bridge.native.train()

    def eval(self) -> None:
        """Put the weights for evaluation into the parameters: those of `average`, or of a Schedule-Free rule.

        Until `train` is called a step is refused.  For rules whose weights are the same in both, nothing changes.
        """
        bridge = self._ready()
        self._take_in_changes()
        bridge.native.eval()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients; with `step_in_backward` also what was counted of a round that was not ended by `step`."""
        super().zero_grad(set_to_none)
        if self._inside.backward is not None:
            self._inside.backward.reset()

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; its parameters become layers of their own.

        Args:
            param_group: Parameters and the hyperparameters that differ from the defaults; "layer", "depth", "tower",
                "role" and "scale" say which layer they are; "rule", such as `layerwise.Lion(lr=1e-4)`, steps them in
                place of the optimizer's rule, with its own rate and hyperparameters, which are put into the group.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        if self._names and "param_names" not in param_group and not isinstance(param_group["params"], Tensor | set):
            params = param_group["params"] = list(param_group["params"])
            if params and all(id(param) in self._names for param in params):
                param_group["param_names"] = [self._names[id(param)][0] for param in params]
        index, common = len(self.param_groups), GroupRule(self._rule, self._keys)
        write_out(param_group, index)
        given = set(param_group)
        super().add_param_group(param_group)
        drop_others(param_group, given, common)
        param_group.setdefault(_run_state.KEY, "")
        try:
            check_flags(param_group, f" of param group {index}")
            own = rule_of(param_group, common)
            hyperparameters = {"lr", "maximize", *self._keys, *FLAGS}
            fixed = {key: value for key, value in self.defaults.items() if key not in hyperparameters}
            known: Iterable[str] = self.defaults
            if own is not common:
                fixed, known = {}, ("lr", "maximize", RULE, *own.keys)
            inside = self._inside
            check_keys(param_group, index, own.kind.__name__, known, fixed, inside.given, inside.warned)
            check_lr_scale(param_group, index, self._options.get(LR_SCALE))
            require_number(param_group["lr"], f"lr of param group {index}")
            if self._inside.bridge is not None:
                self._inside.bridge.hyperparameters.check(self.param_groups)
                self._add_layers(self._inside.bridge)
        except BaseException:
            self.param_groups.pop()
            raise

    def _add_layers(self, bridge: Engine) -> None:
        """Make layers of the last group; those that are there keep their place in the library where they can."""
        known = bridge.layers
        layers = self._arrange()
        if not bridge.has(self.param_groups[:-1]) or not all(map(_same_members, known, layers)):
            self._rebuild()
            return
        try:
            bridge.left_out = self._inside.left_out
            bridge.move(layers[: len(known)])
            bridge.add(self.param_groups, layers[len(known) :])
            self._hook(bridge)
        except BaseException:
            # Some layers may be in the library, which cannot let go of them.
            group = self.param_groups.pop()
            self._rebuild()
            self.param_groups.append(group)
            raise

    # ---- Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """The state as torch's own optimizers have it; their `load_state_dict` takes it, and this one theirs.

        Tensors are not copied, as in torch: they go on changing.  Types are kept exactly: moments of 16-bit parameters
        are float32.
        """
        self._note_progress()
        return super().state_dict()

    def _note_progress(self) -> None:
        bridge = self._ready()
        # The state to be shown is that of the types to which parameters may have been converted.
        bridge.follow_memory(self.param_groups)
        text = _run_state.dump(bridge.native)
        for group in self.param_groups:
            group[_run_state.KEY] = text

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict of this class or of torch's class of the same name.

        Parameters are matched by names where both sides have them, in whatever order; else by order.  Shapes are
        compared always.  Hyperparameters are those of the state dict; which layer a group is, is said here.

        Raises:
            InvalidArgument: It does not fit; the message lists all differences, and nothing was changed.
        """
        bridge = self._ready()
        bridge.follow_memory(self.param_groups)
        found: list[tuple[Incoming, object]] = []
        before = self.param_groups, self._inside.state, _run_state.dump(bridge.native)
        loaded = False

        def capture(_: torch.optim.Optimizer, given: dict[str, Any]) -> dict[str, Any]:
            """See the state before torch casts it to the type of its parameter."""
            incoming = match(bridge, self.param_groups, given)
            text = incoming.groups[0].get(_run_state.KEY)
            _run_state.check(bridge.native, text)
            found.append((incoming, text))
            return {"state": incoming.others, "param_groups": incoming.groups}

        def restore(_: torch.optim.Optimizer) -> None:
            nonlocal loaded
            # What may be refused in spite of all checks goes before what cannot be.
            bridge.follow_loaded(self.param_groups)
            incoming, text = found[0]
            says_step = _run_state.apply(bridge.native, text)
            take_in(bridge, incoming)
            if not says_step:
                bridge.native.seek(max(bridge.kept.counts(), default=0))
            if self._inside.views is not None:
                self._inside.views.forget()
            loaded = True

        # Hooks of the user's see what torch shows them: before, the state dict as it came; after, the state as loaded.
        hooks = (
            self.register_load_state_dict_pre_hook(capture),
            self.register_load_state_dict_post_hook(restore, prepend=True),
        )
        try:
            super().load_state_dict(state_dict)
        except BaseException:
            if not loaded:
                self._take_back(bridge, *before)
            raise
        finally:
            for hook in hooks:
                hook.remove()

    def _take_back(self, bridge: Engine, groups: list[Group], state: defaultdict[Tensor, Any], progress: str) -> None:
        """Undo what of a state dict was taken in before it was refused: groups, hyperparameters, progress."""
        if self.param_groups is groups and self._inside.state is state:
            return
        self.param_groups, self._inside.state = groups, state
        # What the groups held before may have been wrong too: the next step will say so.
        with suppress(LayerwiseError, TypeError):
            bridge.follow(groups)
        _run_state.apply(bridge.native, progress)

    def save(self, path: Path, *, parameters: bool = False, require_finite: bool = False) -> None:
        """Save everything that the next step depends on, as `layerwise.Optimizer.save` does: complete or not at all.

        Args:
            path: The file; one that is there is replaced.
            parameters: The parameters too.
            require_finite: Refuse to save a NaN or an infinity.
        """
        self._ready()
        self._take_in_changes()
        self.native.save(path, parameters=parameters, require_finite=require_finite)

    def load(
        self,
        path: Path,
        *,
        strict: bool = True,
        convert: bool = False,
        rename: Mapping[str, str] | None = None,
    ) -> LoadReport:
        """Load what `save` has written, as `layerwise.Optimizer.load` does, and put the rates into the groups.

        All other hyperparameters must be the same, with `strict`.

        Args:
            path: The file.
            strict: Refuse a checkpoint that differs in anything.
            convert: Take states of another floating-point type.
            rename: Layers that have another name here: from the name in the checkpoint to the name here.

        Returns:
            What was loaded, and what not.
        """
        native = self.native
        self._take_in_changes()
        report = native.load(path, strict=strict, convert=convert, rename=rename)
        default = self.defaults.get("lr")
        if isinstance(default, Tensor) and any(group["lr"] is default for group in self.param_groups):
            # The groups' tensor is written; the default of groups to come stays.
            self.defaults["lr"] = default.detach().clone()
        self._ready().follow_library(self.param_groups)
        return report

    # ---- Snapshots

    def snapshot(self) -> TorchSnapshot:
        """Copy everything that the results of later steps depend on, as `layerwise.Optimizer.snapshot` does.

        Parameters, all states and what the groups say; not the buffers of the model, such as the averages of a batch
        norm, and not what others keep in `state`.

        Returns:
            What `restore` puts back.
        """
        bridge = self._ready()
        bridge.follow(self.param_groups)
        self._take_in_changes()
        return TorchSnapshot(self, bridge)

    def restore(self, snapshot: TorchSnapshot) -> None:
        """Put everything back as it was when this optimizer made the snapshot, to go on with the same bits.

        A snapshot can be restored any number of times.  Keys that groups got since, such as a scheduler's, stay.  Read
        `state` again after it: what it gave out before is no longer kept.

        Raises:
            CheckpointMismatch: Another optimizer made the snapshot; or groups were added since, or parameters changed
                their types.  Nothing was changed.
        """
        if not isinstance(snapshot, TorchSnapshot):
            raise TypeError(f"snapshot: expected what snapshot() gave, found {type(snapshot).__name__}")
        bridge = self._ready()
        bridge.follow_memory(self.param_groups)
        snapshot._restore(self, bridge)

    def _set_policy(self, policy: Policy) -> None:
        """Set the policy, for native optimizers to come too."""
        self.native.policy = policy
        self._options.pop("layer_decay", None)
        self._options["policy"] = policy

    def __getstate__(self) -> dict[str, Any]:
        self._note_progress()
        kept = ("_options", "_model_names")
        names = [[self._name_of(param) for param in group["params"]] for group in self.param_groups]
        return super().__getstate__() | {key: self.__dict__[key] for key in kept} | {"_names": names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_names" not in state:
            # From load_state_dict, which has more to do when this is done.
            self._inside.state = state["state"]
            super().__setstate__({key: value for key, value in state.items() if key != "state"})
            return
        self._inside = _Inside()
        self._inside.state = state["state"]
        super().__setstate__({key: value for key, value in state.items() if key not in ("state", "_names")})
        self._names = {
            id(param): (name, param)
            for group, names in zip(self.param_groups, state["_names"], strict=True)
            for param, name in zip(group["params"], names, strict=True)
            if name is not None
        }
        self._tell_grad_scaler()

    def _wake(self) -> Engine:
        """Make the native optimizer after unpickling or copying, and give it the state that came along."""
        inside = self._inside
        bridge = self._build()
        try:
            incoming = Incoming([], unpickled(bridge, inside.state))
            says_step = _run_state.apply(bridge.native, self.param_groups[0].get(_run_state.KEY))
            take_in(bridge, incoming)
            if not says_step:
                bridge.native.seek(max(bridge.kept.counts(), default=0))
        except BaseException:
            # Without its state it must not go on: the next call tries again, and says the same.
            if inside.backward is not None:
                inside.backward.detach()
            inside.bridge = inside.views = inside.backward = None
            raise
        return bridge

    # ---- Seeing what happens

    def __repr__(self) -> str:
        groups = self.param_groups
        lines = [f"{type(self).__name__} ("]
        for index, group in enumerate(groups[:_MOST_GROUPS]):
            lines.append(f"Parameter Group {index}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key not in _NOT_SHOWN]
        if len(groups) > _MOST_GROUPS:
            lines.append(f"… {len(groups) - _MOST_GROUPS} more param groups")
        options = {key: value for key, value in self._options.items() if key != "layer_decay"}
        options["policy"] = policy_of(self._options)
        lines += [f"{key}: {value!r}" for key, value in sorted(options.items()) if value is not None]
        bridge = self._inside.bridge
        if bridge is not None:
            names = list(bridge.native.layers)
            ends = f" ({names[0]} … {names[-1]})" if len(names) > 1 else ""
            lines.append(f"layers: {len(names)}{ends}")
        return "\n".join([*lines, ")"])

    def _repr_html_(self) -> str | None:
        return self.native._repr_html_()

    def explain(self, step: int | None = None) -> Explanation:
        """A table with one row a layer: what it is and what the next step, or that at t = `step`, will give it."""
        return self.native.explain(step)

    def preview(self, steps: int, *, first: int | None = None, stride: int = 1) -> Rates:
        """The effective rates of the steps to come, by layer and step, as long as the groups keep their rates."""
        return self.native.preview(steps, first=first, stride=stride)

    def telemetry(self, prefix: str = "layerwise/", *, only: Collection[str] | None = None) -> dict[str, float]:
        """The numbers of every layer at the last step, ready for `wandb.log`.

        Args:
            prefix: The beginning of each key, before "layer/field".
            only: The fields of `layerwise.Telemetry` to return, ("effective_lr", "update_ratio") say.  Default: all.
        """
        if not self._options.get("telemetry"):
            raise InvalidArgument(
                f"telemetry is off: make the optimizer with {type(self).__name__}(..., telemetry=True)"
            )
        rows = self._ready().native.telemetry().items()
        return flat(((name, row._asdict()) for name, row in rows), prefix, only)


_watched_step = torch.optim.Optimizer.profile_hook_step(LayerwiseOptimizer._step)


_MOST_GROUPS = 4
"""A `repr` shows no more param groups."""

_NOT_SHOWN = {"params", "param_names", _run_state.KEY}
"""Entries of a param group that would fill pages."""


class _Inside:
    """What an optimizer is made of, in one object: wrappers that imitate the class share it with what they wrap."""

    def __init__(self) -> None:
        self.bridge: Engine | None = None
        self.views: Views | None = None
        self.backward: BackwardSteps | None = None
        self.hooks_ran = False
        self.warned: set[str] = set()
        self.given: Mapping[str, Any] = {}
        self.left_out: dict[int, tuple[Tensor, str]] = {}
        self._may_need_gradients: list[Tensor] = []
        self.state: defaultdict[Tensor, Any] = defaultdict(dict)

    def leave_out(self, params: dict[int, tuple[Tensor, str]]) -> None:
        """Note the frozen parameters that cannot be stepped, with what messages call them, by identity."""
        self.left_out = params
        # Integers never need a gradient.
        self._may_need_gradients = [
            param for param, _ in params.values() if param.is_floating_point() or param.is_complex()
        ]

    def check_left_out(self) -> None:
        """Refuse a step where a parameter that was left out needs a gradient by now."""
        if not any(map(_needs_gradient, self._may_need_gradients)):
            return
        for param, what in self.left_out.values():
            if param.requires_grad:
                try:
                    check(local_part(param), what)
                except (InvalidArgument, DTypeMismatch) as error:
                    raise type(error)(
                        f"{error}.  It was frozen when the optimizer was made, and so was left out; now it requires a "
                        "gradient"
                    ) from None
                raise InvalidArgument(
                    f"{what} could not be stepped when the optimizer was made and was left out, since it was frozen; "
                    "now it requires a gradient: make a new optimizer"
                )


class _Begin:
    """What happens before the first step of a round in backward, without keeping the optimizer alive."""

    def __init__(self, optimizer: LayerwiseOptimizer) -> None:
        self._optimizer = weakref.ref(optimizer)

    def __call__(self) -> list[Group]:
        optimizer = self._optimizer()
        if optimizer is None:
            return []
        optimizer._take_in_changes()
        return optimizer.param_groups


def _same_members(one: NativeLayer, other: NativeLayer) -> bool:
    """Whether two layers hold the same parameters under the same names."""
    return _identity(one) == _identity(other) and all(
        name == other_name and param is other_param
        for (name, param), (other_name, other_param) in zip(one.members, other.members, strict=True)
    )


def _identity(layer: NativeLayer) -> tuple[object, ...]:
    return layer.name, layer.group, layer.part_of, len(layer.members)
