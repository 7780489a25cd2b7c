# SPDX-License-Identifier: Apache-2.0
"""The optimizer."""

from __future__ import annotations

import copy
import copyreg
import ctypes
import functools
import json
import math
import operator
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, Literal, NoReturn, SupportsFloat, SupportsIndex

from . import _binding as lw
from . import _pickling, _settings, _spec, averaging
from ._buffers import Buffer, Memory, describe
from ._checkpointing import Saved
from ._rate_array import Explanation, Rates
from ._registry import LayerRecord, Watch, address, pack, record
from ._values import InitSignature, refuse_unknown
from .averaging import Average, Lookahead
from .errors import (
    BusyOptimizer,
    ClosedOptimizer,
    DuplicateName,
    InvalidArgument,
    LayerwiseError,
    NotFound,
    UnknownName,
)
from .freezing import FreezePlan
from .layer import Layer, Layers
from .policy import Policy, Uniform
from .reports import Summary, Telemetry, report, telemetry_reports, telemetry_rows
from .rule import Rule
from .schedule import Schedule
from .snapshot import Snapshot

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._keywords import ExplainedLayer, LayerKeywords, OptimizerSettings

_lw_optimizer_step = lw.lw_optimizer_step


class _Error:
    """An error struct for the fast path, with the reference to it that a call takes."""

    __slots__ = ("reference", "struct")

    def __init__(self) -> None:
        self.struct = lw.new_error()
        self.reference = ctypes.byref(self.struct)


class Optimizer(Saved):
    """Steps the parameters of its layers in place, each layer with a rate of its own.

        effective rate of a layer = lr * scale of the layer * factor of the schedule

    Buffers: NumPy arrays (also of ml_dtypes.bfloat16), torch CPU tensors, array.array, writable memoryviews, ctypes
    arrays, and whatever else has the buffer protocol or DLPack on the CPU, of float64, float32, float16 or bfloat16.
    They are never copied; what cannot be used where it lies is refused.  The optimizer holds each registered object, so
    its memory is not freed, and an array.array or bytearray refuses to resize.  A torch tensor's address and shape are
    compared at every step with those that were registered.  What cannot be known, and must not be done:
    `numpy.ndarray.resize(refcheck=False)`, `ctypes.resize`, and writing from another thread during a step.

    Threads: the interpreter is released during a step.  A call from a second thread into the same optimizer raises
    BusyOptimizer at once and disturbs nothing.  Different optimizers are independent.

    Processes: after `os.fork()` the child goes on with its copy; an optimizer that was inside a call of another thread
    raises ForkedOptimizer and can only be closed.

    Copies: `pickle` and `copy.deepcopy` make an optimizer that goes on with the same bits, and take along the objects
    that own its buffers.  Do it to model and optimizer together, as in `copy.deepcopy((model, optimizer))`: then they
    go on sharing memory, as far as both hold the same objects.  What an object alone can say of its memory goes along,
    so DLPack capsules and mmaps are refused, and ctypes arrays can be copied but not pickled.  `copy.copy` is refused:
    two optimizers would step the same memory.

    Args:
        rule: The update rule with its hyperparameters, such as `AdamW(lr=3e-4)`.
        policy: What sets every layer's scale.  Default Uniform().
        schedule: How the rate moves in time, such as `Warmup(100, Cosine(900))`; or a mapping from hyperparameter to
            schedule, such as `{"lr": OneCycle(1000), "momentum": OneCycleMomentum(1000)}`.
        freezing: When each layer trains, such as `GradualUnfreezing(100)`.
        nonfinite: At a NaN or infinite gradient, "raise" refuses the whole step and names the element, "skip" leaves
            everything as it was and counts the step as skipped, "propagate" does not look.
        empty_step: At a step in which no layer that trains has a gradient, "raise" refuses it, so that neither the
            count nor the schedules go on; "allow" takes it: nothing is trained, and both go on.
        threads: The most threads that a step may use, 1 to 1024; None for as many as the process's affinity and its
            cgroup's quota grant.  OMP_NUM_THREADS and the settings of other libraries are not read.
        clip_global_norm: Scale all gradients by min(1, limit / (norm + 1e-6)), > 0; None for off.
        clip_layer_norm: The same for each layer's own norm.
        clip_value: Clamp every gradient element to [-limit, limit], before the norms, > 0; None for off.
        clip_unit_ratio: Scale the gradients of each unit by min(1, limit * max(norm(w), clip_unit_eps) / norm(g)), > 0,
            after the other clips; None for off.  A unit is what the first axis of a tensor counts, such as a neuron or
            a filter; a tensor of rank 0 or 1 is one unit.
        clip_unit_eps: The least norm that the weights of a unit are taken to have, > 0.
        centralize_gradients: Take the mean of each unit from its gradients, in tensors of rank 2 and more, after all
            clips.
        gradient_noise: Add normal noise to gradients, whose variance after t steps is
            gradient_noise / (1 + t) ** gradient_noise_decay; 0 for none.  It follows from the seed, the names of layer
            and tensor, the step and the place alone.  Where a tensor is spread over processes, each needs a seed of its
            own.
        gradient_noise_decay: See gradient_noise, >= 0.
        gradient_noise_seed: See gradient_noise, from 0 to 2147483647.
        average: An average of the weights to keep, which `eval` puts into the parameters: `EMA(0.999)`,
            `PolyakAverage()` or `PolynomialAverage()`; None for none.
        lookahead: Slow weights that the weights return to every k steps: `Lookahead(k=5, alpha=0.5)`; None for none.
        maximize: Ascend instead of descend.
        telemetry: Keep norms for each layer at each step.
        decay_follows: What multiplies decoupled decay: "layer_lr", the layer's effective rate; "base_lr", the rate of a
            layer with scale 1; "independent", the schedule's factor alone.
        dry_run: Layers have no memory: a shape is enough for a buffer, nothing can be stepped, and all that would
            happen can be seen with `explain` and `preview`.
        memory: "caller" keeps moments, master copies and all that a step works with in memory that `set_memory` gives,
            after the last layer was added; a step then allocates nothing and starts no thread.
    """

    if not TYPE_CHECKING:
        __signature__ = InitSignature()

        def __new__(cls, *args, **keywords):
            """Refuse unknown keywords, and say what may have been meant."""
            refuse_unknown(cls, keywords)
            return object.__new__(cls)

    def __init__(
        self,
        rule: Rule,
        policy: Policy | None = None,
        *,
        schedule: Schedule | Mapping[str, Schedule] | None = None,
        freezing: FreezePlan | None = None,
        nonfinite: Literal["raise", "skip", "propagate"] = "raise",
        empty_step: Literal["raise", "allow"] = "raise",
        threads: int | None = None,
        clip_global_norm: float | None = None,
        clip_layer_norm: float | None = None,
        clip_value: float | None = None,
        clip_unit_ratio: float | None = None,
        clip_unit_eps: float = 1e-3,
        centralize_gradients: bool = False,
        gradient_noise: float = 0.0,
        gradient_noise_decay: float = 0.55,
        gradient_noise_seed: int = 0,
        average: Average | None = None,
        lookahead: Lookahead | None = None,
        maximize: bool = False,
        telemetry: bool = False,
        decay_follows: Literal["layer_lr", "base_lr", "independent"] = "layer_lr",
        dry_run: bool = False,
        memory: Literal["library", "caller"] = "library",
    ) -> None:
        if not isinstance(rule, Rule):
            raise TypeError(_no_rule(rule))
        options = {
            "nonfinite": nonfinite,
            "empty_step": empty_step,
            "threads": threads,
            "clip_global_norm": clip_global_norm,
            "clip_layer_norm": clip_layer_norm,
            "clip_value": clip_value,
            "clip_unit_ratio": clip_unit_ratio,
            "clip_unit_eps": clip_unit_eps,
            "centralize_gradients": centralize_gradients,
            "gradient_noise": gradient_noise,
            "gradient_noise_decay": gradient_noise_decay,
            "gradient_noise_seed": gradient_noise_seed,
            "average": average,
            "lookahead": lookahead,
            "maximize": maximize,
            "telemetry": telemetry,
            "decay_follows": decay_follows,
            "dry_run": dry_run,
            "memory": memory,
        }
        given = averaging.expand({key: value for key, value in options.items() if value is not None})
        self._rule = rule
        self._policy: Policy = _uniform()
        self._schedules: dict[str, Schedule] = {}
        self._freezing: FreezePlan | None = None
        self._layers: list[LayerRecord] = []
        self._lock, self._process = threading.RLock(), os.getpid()
        self._errors: list[_Error] = [_Error()]
        self._by_name: dict[str, LayerRecord] = {}
        self._watches: tuple[Watch, Watch] | None = None
        self._memory: object = None
        self._handle = lw.Handle()
        settings = [*_settings.expand(rule.settings(), rule), *given.items()]
        _settings.call(
            settings,
            lw.lw_optimizer_create,
            ctypes.byref(self._handle),
            lw.name(rule.name),
            *_settings.pack(settings),
        )
        self._finalizer = weakref.finalize(self, _destroy, self._handle)
        if policy is not None:
            self.policy = policy
        if schedule is not None:
            for key, value in (schedule if isinstance(schedule, Mapping) else {"lr": schedule}).items():
                self.set_schedule(value, key)
        if freezing is not None:
            self.freezing = freezing

    # ---- Life

    def close(self) -> None:
        """Free the state and let go of the buffers.  Closing twice is harmless; any other call then raises.

        Raises:
            BusyOptimizer: Another thread is inside the optimizer; it stays open.
        """
        if not self._finalizer.alive:
            return
        with self._registration:
            # An interrupt may have cut off an earlier try after this call.
            with suppress(ClosedOptimizer):
                lw.call(lw.lw_optimizer_destroy, self._handle)
            self._finalizer.detach()
            for layer in self._layers:
                layer.release()
            self._layers, self._by_name, self._watches, self._memory = [], {}, None, None

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return not self._finalizer.alive

    def __enter__(self) -> Optimizer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        carry = _pickling.pickled(operator.index(protocol))
        return copyreg.__newobj__, (type(self),), _pickling.capture(self, carry)  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        _pickling.restore(self, Optimizer.__init__, state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Optimizer:
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        state = _pickling.capture(self, _pickling.copied(memo))
        # What is left has no part in the memory that is stepped.
        layers = state.pop("layers")
        made.__setstate__(copy.deepcopy(state, memo) | {"layers": layers})
        return made

    def __copy__(self) -> NoReturn:
        raise TypeError(
            "a shallow copy would step the same memory as this optimizer, each undoing the work of the other: "
            "copy.deepcopy copies the buffers too"
        )

    def __repr__(self) -> str:
        if self.closed:
            return f"<layerwise.Optimizer {self._rule!r}: closed>"
        count = len(self._layers)
        return f"<layerwise.Optimizer {self._rule!r}, {self._policy!r}: {count} layer{'' if count == 1 else 's'}>"

    def _repr_html_(self) -> str | None:
        from . import _html

        return None if self.closed else _html.of_explanation(json.loads(self.explain_json()))

    # ---- Layers

    def add_layer(
        self,
        name: str,
        params: object,
        grads: object = None,
        *,
        depth: int | None = None,
        scale: float | None = None,
        tower: str | None = None,
        role: Literal["depth", "stem", "block", "norm", "head"] | None = None,
        start: int | None = None,
        schedule: Schedule | None = None,
        master: bool = False,
        gradient_dtype: Literal["float64", "float32", "float16", "bfloat16"] | None = None,
        whole_shapes: Mapping[str, Sequence[int]] | None = None,
        part_of: str | None = None,
        rule: Rule | None = None,
        **overrides: Unpack[LayerKeywords],
    ) -> Layer:
        """Register a layer.

        Args:
            name: Unique in the optimizer.
            params: A buffer, which makes a layer of one tensor called "weight", or a mapping from tensor name to
                buffer.  With `dry_run`, a shape stands for a buffer: a tuple of numbers, or anything with a shape.
            grads: Gradients likewise, of the same type as the parameters or float32; tensors that are missing or None
                have none bound.  Gradients are read at each step, where they lie, and never written: `grad[...] = new`
                is seen, while `grad = new` gives the name to another array, which the optimizer does not see.
                Gradients that are new arrays at each step belong into `step({"name": new})`.
            depth: Position from the input; by default the order of registration in its tower.
            scale: This layer's rate multiplier, >= 0, in place of the policy's.
            tower: The stack it belongs to ("vision", "decoder"), each of which has depths of its own.
            role: "stem", "block", "norm" or "head"; by default "depth": the lowest depth of a tower is its stem, the
                highest its head.
            start: The step from which its schedules count; they stand at their first until then.
            schedule: A schedule of its own for its rate, in place of the optimizer's.
            master: Keep a float32 master copy of the float16 and bfloat16 tensors.  Parameters may be changed between
                steps: where one is not what the last step stored, the step begins from it and not from the copy.
            gradient_dtype: Type of the gradients, where they come with the step and differ from the parameters.
            whole_shapes: Where processes hold parts of tensors: by tensor, the whole's shape, which policies go by.
            part_of: The layer, added before, of which this is a part, for a layer whose tensors need different
                hyperparameters.  Policies and freezing plans see one layer: a part has the name, depth, tower and role
                of its whole, and `clip_layer_norm` limits the norm of all parts.  `scale`, `start`, `frozen` and
                schedules that are set for the whole are set for its parts too.
            rule: The rule that steps this layer in place of the optimizer's, with a learning rate of its own, such as
                `Lion(lr=1e-4)`.  Policy, schedules, freezing and clipping apply to it as to every layer.  It stays the
                layer's rule.  A rule that takes sums over all layers, such as Prodigy, can only be the optimizer's.
            **overrides: Hyperparameters of its rule for this layer alone, such as `weight_decay=0.0`; `maximize`; and
                `frozen`, which is "yes", "no" or "plan".

        Returns:
            The layer.
        """
        if gradient_dtype is not None and gradient_dtype not in lw.FLOATS:
            raise UnknownName(f"gradient_dtype must be one of {', '.join(lw.FLOATS)}, found {gradient_dtype!r}")
        places = {
            "depth": depth,
            "scale": scale,
            "tower": tower,
            "role": role,
            "start": start,
            "part_of": part_of,
        }
        given = {key: value for key, value in places.items() if value is not None}
        own: list[_settings.Pair] = []
        given_values: dict[str, object] = {**overrides}
        if rule is not None:
            if not isinstance(rule, Rule):
                raise TypeError(_no_rule(rule))
            own = [("rule", rule.name)]
            given_values = {**rule.settings(), **overrides}
        if schedule is not None:
            # It can be set only once the layer is there, so what is wrong with it must be known before.
            _require(schedule, Schedule, "schedule", "Cosine(1000)")
            schedule.evaluate(0)
        dtype = lw.FLOATS[gradient_dtype] if gradient_dtype else None
        layer = self._register(
            name,
            params,
            grads,
            dtype,
            master,
            own + _settings.expand(given | given_values, rule or self._rule),
            whole_shapes or {},
            rule,
        )
        view = Layer(self, layer)
        while schedule is not None and view.schedule is None:
            # Nothing is wrong with it, but another thread may be inside a step.
            try:
                view.schedule = schedule
            except BusyOptimizer:
                time.sleep(1e-4)
        return view

    def _register(
        self,
        name: str,
        params: object,
        grads: object,
        gradient_dtype: int | Sequence[int] | None,
        master: bool,
        settings: Iterable[_settings.Pair],
        whole_shapes: Mapping[str, Sequence[int]],
        rule: Rule | None = None,
    ) -> LayerRecord:
        """Register a layer; `gradient_dtype` is that of all tensors, or of each."""
        given = list(settings)
        packed = _settings.pack(given)
        with self._registration:
            one = gradient_dtype if isinstance(gradient_dtype, int) else None
            layer = record(name, len(self._layers), params, grads, one, shapes_only=self.get("dry_run") == 1.0)
            layer.whole_shapes = dict(whole_shapes)
            layer.rule = rule
            layer.part_of = str(dict(given).get("part_of", ""))
            whole = self._by_name.get(layer.part_of)
            if whole is not None:
                # As in the library, it begins with the schedules of its whole.
                layer.schedules = dict(whole.schedules)
            if isinstance(gradient_dtype, Sequence):
                for tensor, dtype in zip(layer.tensors, gradient_dtype, strict=True):
                    tensor.gradient_dtype = dtype
            tensors = pack(layer, master)
            try:
                self._layers.append(layer)
                self._watches = None
                place = self._handle, lw.name(name), tensors, len(tensors)
                _settings.call(given, lw.lw_optimizer_add_layer, *place, *packed, None)
                self._by_name[name] = layer
            except LayerwiseError:
                del self._layers[layer.index :]
                raise
            except BaseException:
                # An interrupt may land on either side of the call: the library knows on which it was.
                if self._layer_count() == layer.index:
                    del self._layers[layer.index :]
                else:
                    self._by_name[name] = layer
                raise
            return layer

    def layer(self, name: str | int) -> Layer:
        """The layer of this name, or of this index in the order of registration."""
        return Layer(self, self._record(name))

    @property
    def layers(self) -> Layers:
        """All layers by name, in the order of registration."""
        return Layers({layer.name: Layer(self, layer) for layer in self._layers})

    def _record(self, name: object) -> LayerRecord:
        if isinstance(name, Layer):
            if name._optimizer is not self:
                raise InvalidArgument(f'layer "{name.name}" belongs to another optimizer')
            return name._record
        if isinstance(name, str):
            found = self._by_name.get(name)
            if found is None:
                # The library refuses, and lists the names.
                lw.call(lw.lw_optimizer_find_layer, self._handle, lw.name(name), ctypes.c_int64())
                raise BusyOptimizer(f'another thread is adding the layer "{name}"')
            return found
        if not isinstance(name, int):
            raise TypeError(f"a layer is given by name or index, found {name!r}")
        count = self._layer_count()
        if not 0 <= name < count:
            raise NotFound(f"no layer has index {name}; there are {count}")
        return self._layers[name]

    def _layer_count(self) -> int:
        count = ctypes.c_int64()
        lw.call(lw.lw_optimizer_layer_count, self._handle, ctypes.byref(count))
        return count.value

    @property
    def _registration(self) -> AbstractContextManager[bool]:
        """A lock that keeps what Python remembers in step with the library while buffers come and go."""
        if self._process != os.getpid():
            # The thread that may have held the lock did not come along into this child.
            self._lock, self._process = threading.RLock(), os.getpid()
        return self._lock

    def _watch(self) -> tuple[Watch, Watch]:
        """Start to watch the parameters and the gradients after some were exchanged."""
        with self._registration:
            tensors = [tensor for layer in self._layers for tensor in (*layer.tensors, *layer.retiring)]
            self._watches = (
                Watch((tensor.parameters_place, tensor.parameters) for tensor in tensors),
                Watch((tensor.gradient_place, tensor.gradient) for tensor in tensors),
            )
            return self._watches

    # ---- Step

    def step(
        self,
        grads: Mapping[str | int | Layer, object] | None = None,
        layer: str | int | Layer | None = None,
        gradient_scale: float = 1.0,
        loss: SupportsFloat | None = None,
    ) -> None:
        """Take one step, in one native call.

        Args:
            grads: None for the bound gradients, as they are in their memory now; else a mapping from layer (name,
                index or Layer) to a buffer or to a mapping from tensor name to buffer.  A tensor that is missing
                or None is skipped: value, state and count stay as they are.
            layer: Step this layer only; what `grads` has for others is not used.
            gradient_scale: Every gradient is divided by it (loss scale, accumulated batches); finite, > 0.
            loss: The loss, which MoMo needs and other rules do not look at; over processes the mean.

        Raises:
            NonFiniteGradient: A gradient holds NaN or infinity, and `nonfinite` is "raise".  Nothing was changed.
            InvalidArgument: A torch tensor was moved or resized since it was registered; or no layer that trains has a
                gradient, and `empty_step` is "raise"; or a rule needs the loss, and none was given.
            UnknownName: `grads` names a layer or tensor that is not there.
            DuplicateName: `grads` has a layer twice, as by its name and by its index.
        """
        if loss is not None:
            self._say_loss(loss)
        parameters, gradients = self._watches or self._watch()
        if parameters.tensors:
            parameters.check()
        if grads is None and gradients.tensors:
            gradients.check()
        # An error struct belongs to one call at a time: a second thread, or a signal handler that steps, finds the
        # list empty and gets its own.
        try:
            error = self._errors.pop()
        except IndexError:
            error = _Error()
        if grads is None and layer is None and gradient_scale == 1.0:
            code = _lw_optimizer_step(self._handle, None, error.reference)
        else:
            code = self._step_with(_lw_optimizer_step, grads, layer, gradient_scale, error)
        if code:
            raise lw.failure(code, error.struct)
        self._errors.append(error)

    def _say_loss(self, loss: SupportsFloat) -> None:
        """Say the loss of the next step."""
        if not isinstance(loss, SupportsFloat):
            raise TypeError(f"loss: expected a number, found {type(loss).__name__}")
        # torch warns of a float of what requires a gradient.
        number = loss.item() if hasattr(loss, "item") else loss
        lw.call(lw.lw_optimizer_set_loss, self._handle, float(number))

    def measure_microbatch(
        self, grads: Mapping[str | int | Layer, object] | None = None, gradient_scale: float = 1.0
    ) -> None:
        """Measure the gradients of the micro-batches so far, for the policy `GradientNoise`.

        Call it after each micro-batch of a step, the last one too, while the gradients add up, and then `step`, which
        uses and forgets what was measured.  Nothing else changes, and no checkpoint has it.

        Args:
            grads: As for `step`: the sum of the gradients of all micro-batches so far.
            gradient_scale: As for `step`; the same at each call.

        Raises:
            InvalidArgument: The policy measures no micro-batches.
        """
        parameters, gradients = self._watches or self._watch()
        if parameters.tensors:
            parameters.check()
        if grads is None and gradients.tensors:
            gradients.check()
        error = _Error()
        code = self._step_with(lw.lw_optimizer_measure_microbatch, grads, None, gradient_scale, error)
        if code:
            raise lw.failure(code, error.struct)

    # ---- Memory of the caller's

    @property
    def memory_size(self) -> int:
        """The bytes of memory that an optimizer with `memory="caller"` needs, as its layers and settings are now.

        Raises:
            InvalidArgument: The memory is the library's.
        """
        size = ctypes.c_int64()
        lw.call(lw.lw_optimizer_get_memory_size, self._handle, ctypes.byref(size))
        return size.value

    def set_memory(self, memory: object) -> None:
        """Give an optimizer with `memory="caller"` its memory, after the last layer was added.

        Moments, master copies and all that a step works with lie there from now on, and a step allocates nothing and
        starts no thread in the library.  Other memory may be given later: what is kept moves there.

        Args:
            memory: A writable buffer of at least `memory_size` bytes, such as a bytearray, a `mmap.mmap` or a NumPy
                array, which the optimizer holds.  It needs no alignment.  Nothing else may write to it.

        Raises:
            BufferTooSmall: It has fewer bytes than are needed.  Nothing was changed.
            OverlappingBuffers: It shares bytes with parameters, gradients, or the memory that was given before.
        """
        buffer = describe(memory, Memory("", "", "memory"), writable=True)
        size = math.prod(buffer.shape) * lw.DTYPE_SIZES.get(buffer.dtype, 1)
        with self._registration:
            lw.call(lw.lw_optimizer_set_memory, self._handle, buffer.address, size, None)
            self._memory = buffer.owner

    def prepare(self) -> None:
        """Do now what the next step would do first after a change, so that it takes no longer than others.

        The policy is asked, its patterns are compared, and memory is allocated.  No result depends on it.
        """
        lw.call(lw.lw_optimizer_prepare, self._handle)

    def measure_spectra(self, delay: int = 0) -> None:
        """Compute the singular values of all weights, for `TempBalance` or `AlphaDecay`, which then sets its scales.

        An n by m matrix, n <= m, takes about 4 n**3 + 2 n**2 m operations: call it now and then, such as once an epoch.

        Args:
            delay: 0 computes within the call.  Else the weights are copied, a thread computes, and the result is in
                force from the step on that comes so many steps after the next, which waits for the thread if need be.
                So the thread's speed changes no result.  Checkpoints and snapshots wait for it, and have it.

        Raises:
            InvalidArgument: The policy goes by no singular values, or a measurement is under way.
            NonFiniteGradient: Weights, or their squares, are not finite.  With a delay such a layer has no new value.
        """
        lw.call(lw.lw_optimizer_measure_spectra, self._handle, lw.whole("delay", delay))

    def _step_with(
        self,
        function: Callable[..., int],
        grads: Mapping[Any, object] | None,
        layer: str | int | Layer | None,
        gradient_scale: float,
        error: _Error,
    ) -> int:
        one = None if layer is None else self._record(layer)
        step = lw.lw_step(ctypes.sizeof(lw.lw_step), 0, _index(one), gradient_scale)
        # The buffers are held here until the call is over.
        buffers = None if grads is None else self._given_gradients(grads, [one] if one else self._layers)
        if buffers is not None:
            step.gradients = lw.array_type(ctypes.c_void_p, len(buffers))(*map(address, buffers))
            step.gradient_count = len(buffers)
        return int(function(self._handle, step, error.reference))

    def _given_gradients(self, grads: Mapping[Any, object], layers: list[LayerRecord]) -> list[Buffer | None]:
        if not isinstance(grads, Mapping):
            raise TypeError(f"grads: expected a mapping from layer to buffer, found {type(grads).__name__}")
        given: dict[int, object] = {}
        for key, value in grads.items():
            # Names first, which most keys are.
            record = self._by_name.get(key) or self._record(key)
            if record.index in given:
                raise DuplicateName(f'layer "{record.name}": its gradients are given twice')
            given[record.index] = value
        return [buffer for layer in layers for buffer in layer.new_gradients(given.get(layer.index))]

    # ---- Settings

    @property
    def rule(self) -> Rule:
        """The rule as it was given.  `get` says what is in force now."""
        return self._rule

    @property
    def lr(self) -> float:
        """The base learning rate, which may be changed between steps."""
        value = ctypes.c_double()
        lw.call(lw.lw_optimizer_get, self._handle, b"lr", ctypes.byref(value))
        return value.value

    @lr.setter
    def lr(self, value: float) -> None:
        self.set(lr=value)

    @property
    def policy(self) -> Policy:
        """What sets every layer's scale; may be changed between steps."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        _require(policy, Policy, "policy", "LayerDecay(0.75)")
        lw.call(lw.lw_optimizer_set_policy, self._handle, *_spec.pack(policy))
        self._policy = policy

    @property
    def schedule(self) -> Schedule | None:
        """How the rate moves in time; may be changed between steps, and takes over at the t of the next."""
        return self._schedules.get("lr")

    @schedule.setter
    def schedule(self, schedule: Schedule | None) -> None:
        self.set_schedule(schedule)

    def set_schedule(self, schedule: Schedule | None, key: str = "lr", layer: str | int | Layer | None = None) -> None:
        """Set a schedule, or take it away.

        Args:
            schedule: The schedule, or None.
            key: The number of the rule that it moves: "lr", "momentum", "beta1", "weight_decay" ...
            layer: The layer whose own it is; None for all layers that have none of their own.
        """
        if schedule is not None:
            _require(schedule, Schedule, f"schedule of {key}", "Cosine(1000)")
        record = None if layer is None else self._record(layer)
        lw.call(lw.lw_optimizer_set_schedule, self._handle, _index(record), lw.name(key), *_spec.pack(schedule))
        changed = [self._schedules]
        if record is not None:
            changed = [layer.schedules for layer in self._layers if record.name in (layer.name, layer.part_of)]
        for schedules in changed:
            if schedule is None:
                schedules.pop(key, None)
            else:
                schedules[key] = schedule

    @property
    def freezing(self) -> FreezePlan | None:
        """When each layer trains; may be changed between steps."""
        return self._freezing

    @freezing.setter
    def freezing(self, freezing: FreezePlan | None) -> None:
        if freezing is not None:
            _require(freezing, FreezePlan, "freezing", "GradualUnfreezing(100)")
        lw.call(lw.lw_optimizer_set_freeze_plan, self._handle, *_spec.pack(freezing))
        self._freezing = freezing

    def report(self, metric: float) -> None:
        """Tell schedules that follow a metric (`ReduceOnPlateau`) the latest one, such as a validation loss."""
        lw.call(lw.lw_optimizer_report, self._handle, _settings.number("metric", metric))

    def schedule_state(self, key: str = "lr", layer: str | int | Layer | None = None) -> list[float]:
        """What reports have left behind in a schedule, to be saved with the parameters."""
        index = _index(None if layer is None else self._record(layer))
        return lw.numbers(lw.lw_optimizer_get_schedule_state, self._handle, index, lw.name(key))

    def set_schedule_state(
        self, state: Sequence[float], key: str = "lr", layer: str | int | Layer | None = None
    ) -> None:
        """Put it back into a schedule of the same kind."""
        index = _index(None if layer is None else self._record(layer))
        values = lw.array_of(state)
        lw.call(lw.lw_optimizer_set_schedule_state, self._handle, index, lw.name(key), lw.pointer(values), len(values))

    def measurements(self) -> list[float]:
        """The state of a policy or a freezing plan that measures layers, such as `RelativeGradientNorm` or `GradES`.

        Returns:
            For each layer, in order of registration, its average (NaN before the first value), the count of its values,
            its scale, and what else the policy keeps; then those of the plan, whose scale is 0 for a layer that it
            has frozen.  Empty with other policies and plans.
        """
        return lw.numbers(lw.lw_optimizer_get_measurements, self._handle)

    def set_measurements(self, state: Sequence[float]) -> None:
        """Put back the values of `measurements`."""
        values = lw.array_of(state)
        lw.call(lw.lw_optimizer_set_measurements, self._handle, lw.pointer(values), len(values))

    def restart_measurements(self) -> None:
        """Forget what policy and freezing plan have measured; states of tensors stay."""
        lw.call(lw.lw_optimizer_restart_measurements, self._handle)

    @property
    def next_step(self) -> int:
        """T of the next step of all layers: what schedules and freezing plans go by.  It counts from 0."""
        return self.summary().next_step

    def seek(self, step: int) -> None:
        """Make the next step of all layers the one at t = `step`, for a run that is resumed."""
        lw.call(lw.lw_optimizer_seek, self._handle, lw.whole("step", step))

    def train(self) -> None:
        """Put the weights for training into the parameters, for rules whose weights for evaluation differ.

        The same where an average of the weights is kept.  An optimizer begins in training.  Otherwise nothing changes.
        """
        lw.call(lw.lw_optimizer_set_mode, self._handle, lw.MODE_TRAINING)

    def eval(self) -> None:
        """Put the weights for evaluation into the parameters: those of `average`, or of a Schedule-Free rule.

        Until `train` is called a step is refused.  Each change rounds the parameters of a Schedule-Free rule once; with
        `average`, the weights for training come back bit by bit.  Checkpoints save the mode.
        """
        lw.call(lw.lw_optimizer_set_mode, self._handle, lw.MODE_EVALUATION)

    def assume_mode(self, mode: Literal["training", "evaluation"]) -> None:
        """Say which weights the parameters hold, for parameters that were loaded as they were saved; none changes."""
        number = {"training": lw.MODE_TRAINING, "evaluation": lw.MODE_EVALUATION}.get(mode, -1)
        lw.call(lw.lw_optimizer_assume_mode, self._handle, number)

    @property
    def mode(self) -> Literal["training", "evaluation"]:
        """What the parameters hold."""
        mode = ctypes.c_int32()
        lw.call(lw.lw_optimizer_get_mode, self._handle, ctypes.byref(mode))
        return "evaluation" if mode.value == lw.MODE_EVALUATION else "training"

    def set(self, **settings: Unpack[OptimizerSettings]) -> None:
        """Change hyperparameters or options from the next step on, all or none.

        The keys are those of the rule and of this class; infinity switches a clip off.  Layers with a value of their
        own keep it.
        """
        pairs = _settings.expand(averaging.expand(settings), self._rule)
        _settings.call(pairs, lw.lw_optimizer_set, self._handle, *_settings.pack(pairs))

    def get(self, key: str) -> float | str | tuple[float | str, ...] | Average | Lookahead | None:
        """The value in force: a number (flags are 0.0 or 1.0), a choice, a tuple for `betas`, or an object."""
        if key in averaging.KEYS:
            return averaging.found(key, self._get)
        return self._get(key)

    def _get(self, key: str) -> float | str | tuple[float | str, ...]:
        return _settings.get(
            lw.lw_optimizer_get, lw.lw_optimizer_get_choice, self._handle, key=key, tuples=self._rule.tuples
        )

    # ---- Snapshots

    def snapshot(self) -> Snapshot:
        """Copy everything that the results of later steps depend on, in memory.

        Parameters, moments, master copies, step counts, hyperparameters and options, the policy and what it has
        measured, schedules and what reports have left in them, freezing, counters.  The copy runs at the speed of
        memory, on several threads where it is large.

        Returns:
            What `restore` puts back.

        Raises:
            OutOfMemory: There is no memory for the copy.
        """
        self._check_parameters(True)
        with self._registration:
            return Snapshot(self)

    def restore(self, snapshot: Snapshot) -> None:
        """Put everything back as it was when this optimizer made the snapshot, to go on with the same bits.

        A snapshot can be restored any number of times.  Parameters are written where they lie now.  States that the
        rule did not have yet begin again.  `threads`, `telemetry` and `empty_step`, on which no result depends, stay as
        they are, and so do gradients.

        Raises:
            CheckpointMismatch: Another optimizer made the snapshot, or layers were added since.  Nothing was changed.
            ClosedOptimizer: The optimizer or the snapshot was closed.
        """
        if not isinstance(snapshot, Snapshot):
            raise TypeError(f"snapshot: expected what snapshot() gave, found {type(snapshot).__name__}")
        self._check_parameters(True)
        with self._registration:
            snapshot._restore(self)

    # ---- Reports

    def explain(self, step: int | None = None) -> Explanation:
        """A table with one row a layer: depth, tensors, scale and its source, schedule, rate, decay, state, norms.

        Args:
            step: The t to explain; None for the next.
        """
        return Explanation(lw.text(lw.lw_optimizer_explain, self._handle, _step(step)))

    def explain_rows(self, step: int | None = None) -> list[ExplainedLayer]:
        """The rows of `explain` as values: one mapping for each layer."""
        rows: list[ExplainedLayer] = json.loads(self.explain_json(step))["layers"]
        return rows

    def explain_json(self, step: int | None = None) -> str:
        """Explain as one line of JSON, with the values of the optimizer; numbers that are not finite are null."""
        return lw.text(lw.lw_optimizer_explain_json, self._handle, _step(step))

    def preview(self, steps: int, *, first: int | None = None, stride: int = 1) -> Rates:
        """The effective rates that steps will use, unless something is changed or a metric is reported.

        They are the very bits that the steps use, and 0 where a layer is frozen.

        Args:
            steps: How many steps to preview.
            first: The first of them; None for the next.
            stride: From one to the next, >= 1.

        Returns:
            Rates by layer and step: `numpy.asarray(opt.preview(1000))` copies nothing.
        """
        layers, count, every = self._layer_count(), lw.whole("steps", steps), lw.whole("stride", stride)
        rates = lw.doubles(layers * count)
        start = _step(first, "first")
        lw.call(lw.lw_optimizer_preview, self._handle, start, count, every, lw.pointer(rates), len(rates))
        if rates:
            view = memoryview(rates).cast("B").cast("d", (layers, count))
        else:
            # A cast makes no view without elements.
            view = memoryview(lw.array_type(lw.array_type(ctypes.c_double, count), layers)())
        begin = self.next_step if first is None else start
        return Rates([layer.name for layer in self._layers], range(begin, begin + count * every, every), view)

    def telemetry(self) -> dict[str, Telemetry]:
        """Every layer's last step by name, if the optimizer was made with `telemetry=True`."""
        layers = self._layers
        rows = telemetry_rows(len(layers))
        lw.call(lw.lw_optimizer_get_telemetry, self._handle, rows, len(rows))
        return {layer.name: row for layer, row in zip(layers, telemetry_reports(rows), strict=True)}

    def summary(self) -> Summary:
        """Steps taken and skipped, the norm and clipping of the last one, and t of the next."""
        row = lw.lw_summary(ctypes.sizeof(lw.lw_summary))
        lw.call(lw.lw_optimizer_get_summary, self._handle, ctypes.byref(row))
        return report(Summary, row)


@functools.cache
def _uniform() -> Policy:
    """The policy of an optimizer without one."""
    return Uniform()


def _no_rule(found: object) -> str:
    """What is said of something that is given as a rule and is none."""
    what = "rule: expected a rule such as layerwise.AdamW(lr=3e-4)"
    if isinstance(found, type):
        made = f": write {found.__name__}(...)" if issubclass(found, Rule) else ""
        return f"{what}, found the class {found.__module__}.{found.__qualname__}{made}"
    if isinstance(found, str):
        return f"{what}, found {found!r}: layerwise.rule_by_name({found!r}, lr=...) makes the rule of a name"
    kind = f"{type(found).__module__}.{type(found).__qualname__}"
    if hasattr(found, "param_groups"):
        return f"{what}, found {kind}, which is an optimizer itself: call its own step()"
    if hasattr(found, "named_parameters") or isinstance(found, Iterable):
        return f"{what}, found {kind}: the optimizers of layerwise.torch take a model or its parameters"
    return f"{what}, found {found!r}"


def _require(value: object, kind: type[_spec.Recipe], what: str, example: str) -> None:
    if isinstance(value, kind):
        return
    found = repr(value)
    if isinstance(value, type):
        made = f": write {value.__name__}(...)" if issubclass(value, kind) else ""
        found = f"the class {value.__module__}.{value.__qualname__}{made}"
    raise TypeError(f"{what}: expected one such as layerwise.{example}, found {found}")


def _index(record: LayerRecord | None) -> int:
    """The index of a layer, or what stands for all."""
    return -1 if record is None else record.index


def _step(step: int | None, what: str = "step") -> int:
    """A step, or what stands for the next."""
    return -1 if step is None else lw.whole(what, step)


def _destroy(handle: object) -> None:
    """Free an optimizer that was not closed.  There is nobody to tell of a failure, such as at exit."""
    with suppress(LayerwiseError):
        lw.call(lw.lw_optimizer_destroy, handle)
