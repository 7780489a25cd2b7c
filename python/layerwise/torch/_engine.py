# SPDX-License-Identifier: Apache-2.0
"""The bridge: one native optimizer for all parameters of all groups, and what a step hands to it.

Everything that a step needs is kept in lists in the library's order of tensors, and gone over natively: a loop over
parameters in Python would take longer than the step.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import chain, compress
from operator import attrgetter, is_, itemgetter
from typing import Any, SupportsFloat

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from .. import _binding as lw
from .. import _pickling
from ..errors import DTypeMismatch, InvalidArgument, OutOfRange, ShapeMismatch
from ..introspection import declaration_of
from ..optimizer import Optimizer, _Error
from ..rule import Rule
from . import _run_state
from ._distributed import Reduction, is_spread, local_part
from ._dlpack import Layout, Search
from ._group_rules import RULE, own_rules
from ._grouping import NativeLayer
from ._hyperparameters import Hyperparameters
from ._native_states import NativeOptimizer, NativeStates
from ._outside import Outside
from ._parameter_slot import ParameterSlot
from ._parameters import Group, check, check_disjoint, in_memory_order, is_dense, strides_of
from ._warn import warn

_parameters_of = itemgetter("params")
_gradient_of = attrgetter("grad")

_lw_optimizer_step = lw.lw_optimizer_step
_lw_optimizer_expect_step = lw.lw_optimizer_expect_step

_MOST_THREADS = 1024

_NOWHERE = ctypes.c_double()
"""Stands for the memory of a tensor without elements, to which torch gives no address."""


class _Call:
    """What one step passes to the library.  A second thread finds the list of them empty and makes its own."""

    __slots__ = ("addresses", "error", "step", "step_reference")

    def __init__(self, count: int) -> None:
        self.error = _Error()
        self.addresses = lw.array_type(ctypes.c_void_p, count)()
        self.step = lw.lw_step(ctypes.sizeof(lw.lw_step), 0, -1, 1.0)
        self.step.gradients = self.addresses
        self.step.gradient_count = count
        self.step_reference = ctypes.byref(self.step)


class Engine:
    """The native optimizer of some groups.

    Args:
        groups: The groups, which are read at every step.
        layers: Which layers they make.
        rule: The rule's class.
        keys: The rule's hyperparameters as groups call them, without "lr".
        master: Keep a float32 master copy of 16-bit parameters.
        process_group: Over which norms of parameters that are no DTensors are summed, or None.
        options: Arguments of the native optimizer.
        left_out: Identities of parameters that stay in their groups and have no place in the library.
        lr_scale: Who multiplies rates by the groups' "lr_scale".
    """

    def __init__(
        self,
        groups: Sequence[Group],
        layers: Sequence[NativeLayer],
        rule: type[Rule],
        keys: Sequence[str],
        master: bool,
        process_group: Any,
        options: Mapping[str, Any],
        left_out: Container[int],
        lr_scale: str | None,
    ) -> None:
        self.left_out = left_out
        self._master = master
        self._process_group = process_group
        self._groups = groups
        self._follows_torch = options.get("threads") is None
        self._threads = 0
        self._needs_norms = (
            any(options.get(key) for key in ("clip_global_norm", "clip_layer_norm", "telemetry"))
            or options.get("nonfinite") != "propagate"
            or any(declaration_of(name)["has_sums"] for name in {rule.name, *own_rules(groups)})
        )
        self._needs_loss: bool = declaration_of(rule.name)["needs_loss"]
        self._all_had_gradient = False
        self._had_gradient: set[int] = set()
        self._member_count = 0
        self.members: list[ParameterSlot] = []
        self.layers: list[NativeLayer] = []
        self.hyperparameters = Hyperparameters(rule, keys, groups)
        self._outside = Outside(keys, groups, lr_scale)
        # torch's optimizers do nothing in silence where there is no gradient, and training scripts rely on that.
        self.native = NativeOptimizer(
            self.hyperparameters.rule(groups), maximize=groups[0]["maximize"], empty_step="allow", **options
        )
        self._rule = rule
        self._may_warn = True
        self.kept = NativeStates(self.native, self.members)
        self.add(groups, layers)

    # ---- Layers

    def add(self, groups: Sequence[Group], layers: Sequence[NativeLayer]) -> None:
        """Add layers; all or none of each, in order."""
        new = [
            self._members_of(layer, len(self.layers) + position, groups[layer.group])
            for position, layer in enumerate(layers)
        ]
        _require_disjoint(self.members, [*chain.from_iterable(new)])
        self.hyperparameters.note_rules(groups)
        for layer, members in zip(layers, new, strict=True):
            place = layer.place
            role: Any = place.role
            gradient_dtype = _gradient_dtype([param for _, param in layer.members])
            is_part = layer.part_of is not None
            self.native.add_layer(
                layer.name,
                {member.tensor_name: in_memory_order(member.memory) for member in members},
                # A part is where its whole is.
                depth=None if is_part else place.depth,
                tower=None if is_part else place.tower or None,
                role=None if is_part else role,
                scale=place.scale,
                part_of=layer.part_of,
                master=self._master,
                gradient_dtype="float32" if gradient_dtype is torch.float32 else None,
                whole_shapes={name: param.shape for name, param in layer.members if is_spread(param)} or None,
                **self.hyperparameters.for_layer(groups, layer),
            )
            self.layers.append(layer)
            self.members.extend(members)
        self.hyperparameters.follow_layers(self.native, groups, self.layers)
        self._outside.follow(groups)
        # A policy that measures needs the norms of whole layers.
        self._needs_norms = self._needs_norms or bool(self.native.measurements())
        self._list(groups)

    def _members_of(self, layer: NativeLayer, index: int, group: Group) -> list[ParameterSlot]:
        """The parameters of a layer that has this index in the library."""
        declared = declaration_of(group.get(RULE, self._rule.name))
        stride = next((int(group[key]) for key in declared["state_strides"].values()), 1)
        # Whether the order of the elements in memory matters to the rule.
        return _members_of(layer, index, by_axes=declared["depends_on_axes"] or stride != 1, state_stride=stride)

    def _list(self, groups: Sequence[Group]) -> None:
        """Make the lists that a step compares with."""
        self.params = [member.param for member in self.members]
        self._spread = any(map(is_spread, self.params))
        # Whether the library needs norms may change; where it is known now, what cannot be is refused now.
        self._reduction = Reduction(self.params, self._process_group) if self._spread or self._process_group else None
        if self._reduction is not None and self._needs_norms:
            self._reduction.check()
        locals_ = self._local_params()
        self._flat = [*chain.from_iterable(map(_parameters_of, groups))]
        self._group_count = len(groups)
        self._group_ids = [[id(param) for param in group["params"]] for group in groups]
        self._layout = Layout(locals_, [member.gradient_dtype for member in self.members])
        self._note_copies()
        self._single = [index for index, param in enumerate(locals_) if param.numel() == 1]
        self._active: list[bool] | None = None
        if self._all_had_gradient:
            # It was said of those that were there before.
            self._had_gradient.update(range(self._member_count))
            self._all_had_gradient = False
        self._member_count = len(self.members)
        self._calls = [self._new_call()]

    def _new_call(self) -> tuple[_Call, Search]:
        call = _Call(len(self.members))
        return call, Search(self._layout, call.addresses)

    def _local_params(self) -> list[Tensor]:
        return list(map(local_part, self.params)) if self._spread else self.params

    def follow_library(self, groups: Sequence[Group]) -> None:
        """Bring the groups up to date with the library, which has loaded a checkpoint."""
        self.hyperparameters.read_back(self.native, groups, self.layers)
        self._outside.follow(groups)
        self.kept.forget_views()

    def follow_restored(self, groups: Sequence[Group]) -> None:
        """Note that library and groups are as they were at a snapshot."""
        self._groups = groups
        self._outside.follow(groups)
        self.kept.forget_views()

    def follow(self, groups: Sequence[Group]) -> None:
        """Bring the library up to date with the groups: hyperparameters, rates, parameters that moved."""
        self._follow_threads()
        self.follow_groups(groups)
        self._follow_memory()

    def follow_memory(self, groups: Sequence[Group]) -> None:
        """Bring the library up to date with parameters that moved or were converted."""
        self._groups = groups
        self._follow_memory()

    def _follow_threads(self) -> None:
        """Use as many threads as torch uses now, unless the user has said how many."""
        if self._follows_torch and self._threads != torch.get_num_threads():
            self._threads = torch.get_num_threads()
            self.native.set(threads=min(self._threads, _MOST_THREADS))

    def follow_loaded(self, groups: Sequence[Group]) -> None:
        """Bring the library up to date with groups that were loaded: no scheduler outside moved what has changed."""
        self.follow(groups)
        self._outside.follow(groups)

    def follow_groups(self, groups: Sequence[Group]) -> None:
        """Bring the library up to date with what the groups say; a step looks for itself whether parameters moved."""
        self._groups = groups
        if self.hyperparameters.follow(self.native, groups, self.layers):
            self.kept.forget_views()

    def begin_step(self, groups: Sequence[Group]) -> None:
        """What comes before the first layer of a step: follow the groups, and see whether they go with the options."""
        self._follow_threads()
        self.follow_groups(groups)
        # torch.distributed.checkpoint puts rates of 0 into the groups for one step; a rate of 0 tells nothing anyway.
        if not self.hyperparameters.at_rest:
            self._outside.look(self.native, groups, self.hyperparameters.moved)

    def has(self, groups: Sequence[Group]) -> bool:
        """Whether the groups hold the parameters that they held."""
        flat = [*chain.from_iterable(map(_parameters_of, groups))]
        return len(flat) == len(self._flat) and all(map(is_, flat, self._flat))

    def rest(self, groups: Sequence[Group]) -> bool:
        """Follow groups from which parameters were taken, or to which they came back; False if more has changed.

        Parameters that are in no group are not stepped, and keep their state.
        """
        known = {id(member.param): member.group for member in self.members}
        if len(groups) != self._group_count:
            return False
        for index, group in enumerate(groups):
            if any(known.get(id(param)) != index and id(param) not in self.left_out for param in group["params"]):
                return False
        self._flat = [*chain.from_iterable(map(_parameters_of, groups))]
        here = set(map(id, self._flat))
        active = [id(member.param) in here or not member.param.numel() for member in self.members]
        self._active = None if all(active) else active
        return True

    def move(self, layers: Sequence[NativeLayer]) -> None:
        """Give layers that are there other places: more of the model is known now."""
        for index, (old, new) in enumerate(zip(self.layers, layers, strict=True)):
            if new.place != old.place:
                layer, is_part = self.native.layer(index), new.part_of is not None
                keys = ("scale",) if is_part else ("depth", "scale")
                for key in keys:
                    # A whole's own scale has been set for its parts too.
                    if getattr(new.place, key) is None and (is_part or getattr(old.place, key) is not None):
                        layer.unset(key)
                given = {key: value for key in keys if (value := getattr(new.place, key)) is not None}
                if not is_part:
                    given |= {"role": new.place.role or "depth", "tower": new.place.tower}
                layer.set(**given)
                self.layers[index] = new

    def carry_over(self, groups: Sequence[Group]) -> dict[int, int]:
        """Which member of this bridge each parameter of the groups was: itself, or one in whose place it came.

        Raises:
            ShapeMismatch: A parameter that has state was replaced by one of another shape or type.
        """
        places = {}
        for index, member in enumerate(self.members):
            places[id(member.param)] = index
        present = {id(param) for group in groups for param in group["params"]}
        counts = self.kept.counts()
        carried: dict[int, int] = {}
        for number, (group, old_ids) in enumerate(zip(groups, self._group_ids, strict=False)):
            params = group["params"]
            for position, param in enumerate(params):
                if id(param) in places:
                    carried[id(param)] = places[id(param)]
                elif len(params) == len(old_ids) and old_ids[position] in places and old_ids[position] not in present:
                    index = places[old_ids[position]]
                    member = self.members[index]
                    if (param.shape, param.dtype) == (member.full_shape, member.param.dtype):
                        carried[id(param)] = index
                    elif counts[index]:
                        raise ShapeMismatch(
                            f"parameter {position} of group {number} has taken the place of one that has state, and "
                            f"has another shape or type: {tuple(param.shape)} of {param.dtype}, was "
                            f"{tuple(member.full_shape)} of {member.param.dtype}"
                        )
        for group in groups:
            carried |= {id(param): places[id(param)] for param in group["params"] if id(param) in places}
        return carried

    def take_over(self, old: Engine, carried: Mapping[int, int]) -> None:
        """Copy the states of members of another bridge."""
        counts = old.kept.counts()
        touched = []
        for index, member in enumerate(self.members):
            source = carried.get(id(member.param))
            if source is None:
                continue
            other = old.members[source]
            self.kept.write(member, old.kept.values(other) | {"step": counts[source]}, whole=True)
            if old.had_gradient(source):
                touched.append(index)
        self.reset_gradients(touched)

    # ---- Memory

    def _follow_memory(self) -> bool:
        """Bind parameters to where they lie now, keeping their state.  All are checked before the first is bound.

        Returns:
            Whether parameters were converted to another type, so that all lists are new.
        """
        moved = [
            (index, member)
            for index, (member, local) in enumerate(zip(self.members, self._local_params(), strict=True))
            if member.has_moved(local)
        ]
        for _, member in moved:
            what, local = f'parameter "{member.name}"', member.local
            check(local, what)
            if local.shape != member.shape:
                found = tuple(local.shape)
                raise ShapeMismatch(
                    f"{what} must keep its shape {tuple(member.shape)}, found {found}: make a new optimizer"
                )
        if any(member.local.dtype != member.dtype for _, member in moved):
            self._convert()
            return True
        if moved:
            _require_disjoint(self.members, [member for _, member in moved])
        of_layers: dict[int, list[ParameterSlot]] = {}
        for _, member in moved:
            of_layers.setdefault(member.layer, []).append(member)
        for index, members in of_layers.items():
            self._bind(index, members)
        for index, member in moved:
            self._layout.note(index, member.local)
        if moved:
            self._note_copies()
        return False

    def _bind(self, layer: int, members: Sequence[ParameterSlot]) -> None:
        """Bind parameters of one layer together: each call looks at all tensors of its layer."""
        bindings: dict[str, Tensor] = {}
        copies: list[Tensor | None] = []
        states: list[tuple[ParameterSlot, dict[str, Tensor]]] = []
        for member in members:
            copy = member.dense_copy()
            memory = member.local if copy is None else copy
            if strides_of(memory) != member.strides:
                # Moments lie in the order of the parameter's memory, which is another one now.
                states.append(
                    (member, {name: self.kept.state(member, name).clone() for name in self.kept.moments(member)})
                )
            copies.append(copy)
            bindings[member.tensor_name] = in_memory_order(memory)
        self.native.layer(layer).bind(bindings)
        for member, copy in zip(members, copies, strict=True):
            member.note_memory(copy)
        if states:
            self.kept.forget_views()
        for member, values in states:
            for name, value in values.items():
                self.kept.state(member, name).copy_(value)

    def _note_copies(self) -> None:
        """See to it that gradients of parameters with gaps are never taken to lie as usual, but as their copies do."""
        self._copied = [index for index, member in enumerate(self.members) if member.copy is not None]
        self.native.copied = [self.members[index] for index in self._copied]
        for index in self._copied:
            self._layout.tensors[index].data = None

    def _convert(self) -> None:
        """Make the native optimizer again for parameters of other types, with all that was set and all states.

        States are kept in the type that goes with the parameter: float64 for float64, float32 for all others.

        Raises:
            DTypeMismatch: That would round the state of a parameter that was stepped.
        """
        old, kept, counts = self.native, self.kept, self.kept.counts()
        converted = [
            self._members_of(layer, index, self._groups[layer.group]) for index, layer in enumerate(self.layers)
        ]
        members = list(chain.from_iterable(converted))
        for member, was, count in zip(members, self.members, counts, strict=True):
            if count and was.dtype is torch.float64 and member.dtype is not torch.float64:
                raise DTypeMismatch(
                    f'parameter "{member.name}" was converted from {was.dtype} to {member.dtype} after {count} steps, '
                    "which would round its state: make a new optimizer"
                )
        _require_disjoint([], members)
        captured = _pickling.capture(old, lambda owner: owner)
        for layer, parts in zip(captured["layers"], converted, strict=True):
            layer["parameters"] = {member.tensor_name: in_memory_order(member.memory) for member in parts}
            layer["gradients"] = {member.tensor_name: None for member in parts}
            layer["gradient_dtypes"] = [
                lw.FLOATS[str(member.gradient_dtype).removeprefix("torch.")] for member in parts
            ]
            layer["master"] = self._master
        checkpoint, captured["checkpoint"] = captured["checkpoint"], None
        native = NativeOptimizer.__new__(NativeOptimizer)
        _pickling.restore(native, Optimizer.__init__, captured)
        # Counters, the clock and what schedules have seen; the states follow, in their new types.
        native.load_bytes(checkpoint, strict=False, convert=True)
        _run_state.apply(native, _run_state.dump(old))
        self.hyperparameters.follow_layers(native, self._groups, self.layers)
        new = NativeStates(native, members)
        for member, was, count in zip(members, self.members, counts, strict=True):
            values = kept.values(was)
            if was.dtype is not member.dtype:
                # The parameter itself was converted, so a master copy starts from it.
                values.pop("master", None)
            new.write(member, values | {"step": count}, whole=True)
        new.version = kept.version + 1
        self.native, self.kept, self.members = native, new, members
        self._list(self._groups)
        self.rest(self._groups)

    def had_gradient(self, index: int) -> bool:
        """Whether a member was ever stepped here, even without effect because its layer was frozen."""
        return self._all_had_gradient or index in self._had_gradient

    def forget_gradients(self, indices: Iterable[int]) -> None:
        """Say that these never were."""
        self.reset_gradients({index for index in range(len(self.members)) if self.had_gradient(index)} - set(indices))

    def reset_gradients(self, indices: Iterable[int]) -> None:
        """Say so of these, and of no others."""
        self._all_had_gradient = False
        self._had_gradient = set(indices)

    # ---- Step

    def step(self, groups: Sequence[Group], scale: float, loss: SupportsFloat | None) -> None:
        """Step all parameters that have a gradient, in one native call."""
        if loss is not None and self._needs_loss:
            self.native._say_loss(loss)
        self._follow_threads()
        # The library's threads wake up while Python is busy.  What might be wrong, the step will say.
        _lw_optimizer_expect_step(self.native._handle, None)
        try:
            self.begin_step(groups)
        except OutOfRange:
            if any(param.grad is not None for param in self.params):
                raise
            # As in torch, hyperparameters are looked at for the sake of gradients, and there are none.
            return
        if self.hyperparameters.at_rest and self._only_makes_states():
            return
        while True:
            try:
                call, search = self._calls.pop()
            except IndexError:
                call, search = self._new_call()
            found = self._find_gradients(call, search)
            if found is not None:
                break
        held, all_have_one = found
        for index in self._copied:
            self.members[index].fill_copy()
        call.step.gradient_scale = scale
        if self._reduction is not None:
            call.step.reduce = self._reduction.callback
        self._run(call)
        del held
        for index in self._copied:
            if call.addresses[index]:
                self.members[index].read_copy()
        stepped = self.params
        if all_have_one:
            self._all_had_gradient = True
        else:
            stepped = list(compress(self.params, call.addresses))
            self._had_gradient.update(compress(range(len(self.params)), call.addresses))
            if not stepped and self._may_warn:
                self._warn_of_empty_step()
        self._calls.append((call, search))
        # Autograd may have kept a parameter for a backward to come, which must not go by the new value.
        increment_version(stepped)

    def measure_microbatch(self, scale: float) -> None:
        """Measure the gradients of the micro-batches so far, in one native call."""
        while True:
            call, search = self._new_call()
            found = self._find_gradients(call, search)
            if found is not None:
                break
        call.step.gradient_scale = scale
        if self._reduction is not None:
            call.step.reduce = self._reduction.callback
        self._run(call, lw.lw_optimizer_measure_microbatch)

    def _find_gradients(self, call: _Call, search: Search) -> tuple[list[Any], bool] | None:
        """Put the addresses of all gradients into a call.

        Returns:
            What must be held meanwhile, and whether every parameter has a gradient; None if parameters turned out to
            have been converted, which needs another call.
        """
        params, gradients = self.params, self._gradients()
        if self._spread:
            params = self._local_params()
        held: list[Any] = [gradients]
        for index in chain(search.unusual(params, gradients), self._negated(gradients)):
            member = self.members[index]
            if member.has_moved(params[index]) and self._follow_memory():
                return None
            usable = self._usable(member, gradients[index])
            call.addresses[index] = _address_of(usable)
            held.append(usable)
        return held, not search.absent_count and not any(usable is None for usable in held)

    def _gradients(self) -> list[Any]:
        """The gradient of every parameter in this process; None without, or where it is in no group any more."""
        gradients = list(map(_gradient_of, self.params))
        if self._spread:
            gradients = [None if gradient is None else local_part(gradient) for gradient in gradients]
        if self._active is not None:
            gradients = [gradient if active else None for gradient, active in zip(gradients, self._active, strict=True)]
        return gradients

    def _negated(self, gradients: Sequence[Any]) -> list[int]:
        """Whose gradients wait to be negated, which their memory does not show.

        torch puts negation off in views of imaginary parts.  The strides of those are even, so that they lie as a
        dense parameter only where both have one element; others never pass for usual.
        """
        return [index for index in self._single if gradients[index] is not None and gradients[index].is_neg()]

    def _run(self, call: _Call, function: Callable[..., int] = _lw_optimizer_step) -> None:
        code = function(self.native._handle, call.step_reference, call.error.reference)
        if code:
            if self._reduction is not None and self._reduction.error is not None:
                error, self._reduction.error = self._reduction.error, None
                raise error
            raise lw.failure(code, call.error.struct)

    def step_layer(self, layer: int, indices: Sequence[int]) -> None:
        """Step one layer, whose members have these indices, in one native call."""
        if any(self.members[index].has_moved(self.params[index]) for index in indices):
            self._follow_memory()
        members = [self.members[index] for index in indices]
        gradients = [
            self._usable(member, member.param.grad if self._active is None or self._active[index] else None)
            for index, member in zip(indices, members, strict=True)
        ]
        call = _Call(len(indices))
        call.addresses[:] = list(map(_address_of, gradients))
        call.step.layer = layer
        for member in members:
            member.fill_copy()
        self._run(call)
        for member in compress(members, call.addresses):
            member.read_copy()
        stepped = [member.param for member in compress(members, call.addresses)]
        self._had_gradient.update(compress(indices, call.addresses))
        increment_version(stepped)

    def _warn_of_empty_step(self) -> None:
        """Warn, once, that a step trained nothing; not where another process may have the gradients."""
        if self._reduction is not None or all(
            row["frozen"] for row in self.native.explain_rows(max(0, self.native.next_step - 1))
        ):
            return
        self._may_warn = False
        warn(
            "optimizer.step(): no parameter that trains has a gradient, so that nothing was trained; schedules and "
            "freezing plans of this optimizer count the step all the same. Is a backward() missing, or does "
            "zero_grad() come after it?"
        )

    def _only_makes_states(self) -> bool:
        """Whether a first step at a rate of 0 with gradients of 0 is asked for, which wants nothing but the states.

        torch.distributed.checkpoint does so before it loads.  Policies and schedules may set rates that do not go by
        that of the groups, and the step would count.
        """
        if self._all_had_gradient or self._had_gradient:
            return False
        gradients = {index: local_part(param.grad) for index, param in enumerate(self.params) if param.grad is not None}
        if any(gradient.is_sparse or gradient.any() for gradient in gradients.values()):
            return False
        self._had_gradient.update(gradients)
        return True

    def _usable(self, member: ParameterSlot, gradient: Tensor | None) -> Tensor | None:
        """The gradient, or a copy of it in the layout and type of what was registered."""
        if gradient is None:
            return None
        if (
            gradient.stride() == member.stride
            and gradient.dtype == member.gradient_dtype
            and gradient.shape == member.shape
            and not gradient.is_neg()
            and gradient.data_ptr()
        ):
            return gradient
        what = f'the gradient of parameter "{member.name}"'
        if gradient.layout is not torch.strided:
            raise InvalidArgument(f"{what} must be a dense tensor, found layout {gradient.layout}")
        if gradient.device.type != "cpu":
            raise InvalidArgument(f"{what} must be on the CPU, found device {gradient.device}")
        if gradient.shape != member.shape:
            raise ShapeMismatch(
                f"{what} must have the parameter's shape {tuple(member.shape)}, found {tuple(gradient.shape)}"
            )
        if gradient.numel() and not gradient.untyped_storage().nbytes():
            raise InvalidArgument(f"{what} has no memory: its storage was freed")
        if strides_of(gradient) == member.strides and gradient.dtype == member.gradient_dtype and not gradient.is_neg():
            return gradient
        copy = torch.empty_strided(member.shape, member.stride, dtype=member.gradient_dtype, device="cpu")
        return copy.copy_(gradient)


def _members_of(layer: NativeLayer, index: int, *, by_axes: bool, state_stride: int) -> list[ParameterSlot]:
    """The parameters of a layer that has this index in the library."""
    gradient_dtype = _gradient_dtype([param for _, param in layer.members])
    prefix = layer.name if layer.part_of is None else layer.place.layer
    return [
        ParameterSlot(
            param,
            name if name.startswith(prefix) else f"{prefix}.{name}",
            layer.group,
            index,
            position,
            name,
            gradient_dtype or param.dtype,
            by_axes=by_axes,
            state_stride=state_stride,
        )
        for position, (name, param) in enumerate(layer.members)
    ]


def _require_disjoint(known: Sequence[ParameterSlot], new: Sequence[ParameterSlot]) -> None:
    """Refuse parameters with gaps that share memory with others; what has no gaps, the library compares itself."""
    if any(member.copy is not None for member in known) or not all(is_dense(member.local) for member in new):
        members = {id(member): member for member in (*known, *new)}.values()
        check_disjoint([(f'parameter "{member.name}"', member.local) for member in members])


def _address_of(gradient: Tensor | None) -> int | None:
    """Where a gradient lies, as the library takes it: None skips the parameter."""
    # torch gives a tensor without elements no address.
    return None if gradient is None else gradient.data_ptr() or ctypes.addressof(_NOWHERE)


def _gradient_dtype(params: Sequence[Tensor]) -> torch.dtype | None:
    """float32, where 16-bit parameters have such gradients (`grad_dtype`); else None for the parameters' own."""
    wide = all(
        not is_spread(param)
        and param.is_leaf
        and param.dtype.itemsize == 2
        and getattr(param, "grad_dtype", None) is torch.float32
        for param in params
    )
    return torch.float32 if wide else None
