# SPDX-License-Identifier: Apache-2.0
"""Any calls in any order, against a model.

The model remembers what was asked for: layers, settings, policy, schedules, who is frozen when, how many steps.  Each
step is computed again in float64 from what the tensors hold (support/model.py).  After every call, whatever it was, all
parameters, gradients and states must hold the bits that the last step or write left in them.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import seed, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support import model
from support.layers import ClockModel, LayerModel, TensorModel, numbers, scales
from support.material import Array, norm

import layerwise as lw

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
}
DTYPES["bfloat16"] = BFLOAT16
SHAPES = [(), (0,), (1,), (3,), (2, 3), (0, 2), (17,), (5, 1, 4), (530,)]
RULES: dict[str, tuple[type[lw.Rule], model.Reference, dict[str, Any]]] = {
    "sgd": (lw.SGD, model.sgd, {"lr": 0.1, "momentum": 0.0, "dampening": 0.2, "weight_decay": 0.01}),
    "nesterov": (lw.SGD, model.sgd, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0}),
    "adam": (lw.Adam, model.adam, {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1, "amsgrad": True}),
    "adamw": (lw.AdamW, model.adamw, {"lr": 0.02, "betas": (0.9, 0.999), "weight_decay": 0.05}),
    "lars": (lw.LARS, model.lars, {"lr": 1.0, "momentum": 0.5, "weight_decay": 0.02, "trust_coefficient": 0.01}),
    "lamb": (lw.LAMB, model.lamb, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
}
POLICIES = strategies.one_of(
    strategies.just(lw.Uniform()),
    strategies.builds(
        lw.LayerDecay,
        strategies.sampled_from([0.5, 0.9, 1.0]),
        min_scale=strategies.sampled_from([0.0, 0.3]),
        direction=strategies.sampled_from(["input", "output"]),
    ),
    strategies.builds(lw.GeometricRange, strategies.sampled_from([0.1, 0.5])),
)
SCHEDULES = strategies.sampled_from(
    [None, lw.Linear(30), lw.Warmup(4, lw.Exponential(0.8)), lw.StepDecay(3, 0.5), lw.Constant(0.0)]
)
RATES = strategies.sampled_from([0.001, 0.03, 0.2, 0.0])
SEEDS = strategies.integers(0, 2**16)
SCALES = strategies.sampled_from([1.0, 1.0, 4.0, 0.3])
COUNTS = strategies.integers(1, 4)


class Machine(RuleBasedStateMachine):
    """The calls."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @initialize(
        nonfinite=strategies.sampled_from(["raise", "skip", "propagate"]),
        clipping=strategies.sampled_from(
            [{}, {"clip_global_norm": 2.0}, {"clip_layer_norm": 1.5}, {"clip_value": 0.5, "clip_global_norm": 1.0}]
        ),
        maximize=strategies.booleans(),
        telemetry=strategies.booleans(),
        threads=strategies.sampled_from([None, 1, 2]),
        policy=POLICIES,
        data=strategies.data(),
        number=SEEDS,
    )
    def create(
        self,
        data: strategies.DataObject,
        number: int,
        nonfinite: Any,
        clipping: dict[str, float],
        maximize: bool,
        telemetry: bool,
        threads: int | None,
        policy: lw.Policy,
    ) -> None:
        rule, self.reference, self.values = RULES[self.name]
        self.values = dict(self.values)
        self.nonfinite, self.clipping, self.maximize, self.telemetry = nonfinite, clipping, maximize, telemetry
        self.policy = policy
        self.opt = lw.Optimizer(
            rule(**self.values),
            policy,
            nonfinite=nonfinite,
            maximize=maximize,
            telemetry=telemetry,
            threads=threads,
            # A step may meet layers that have no gradients.
            empty_step="allow",
            **clipping,
        )
        self.layers: dict[str, LayerModel] = {}
        self.steps = self.skipped = 0
        self.clock = ClockModel()
        self.schedule: lw.Schedule | None = None
        self.plan: lw.FreezeAt | None = None
        self.bits: dict[Any, bytes] = {}
        for index in range(2):
            self.add_layer(data, number + 100 * index, True, False)
        self.step(data, number, given=True, one=False, scale=1.0)

    def teardown(self) -> None:
        self.opt.close()

    # ---- What is compared

    def tensors(self) -> Iterator[tuple[str, str, LayerModel, TensorModel]]:
        for name, layer in self.layers.items():
            for key, tensor in layer.tensors.items():
                yield name, key, layer, tensor

    def read(self, name: str, key: str, state: str) -> Array:
        """A state, as an array of the tensor's shape."""
        tensor = self.layers[name].tensors[key]
        if state == "step":
            return np.asarray(self.opt.layer(name).read_state(key, state))
        out = np.empty(tensor.parameters.shape, np.float64 if tensor.parameters.dtype == np.float64 else np.float32)
        self.opt.layer(name).read_state(key, state, out)
        return out

    def present_bits(self) -> dict[Any, bytes]:
        """Everything that has bits."""
        bits: dict[Any, bytes] = {}
        for name, layer in self.layers.items():
            states = self.opt.layer(name).states()
            for key, tensor in layer.tensors.items():
                bits[name, key, "parameters"] = tensor.parameters.tobytes()
                if tensor.gradient is not None:
                    bits[name, key, "gradient"] = tensor.gradient.tobytes()
                for state in states[key]:
                    bits[name, key, state] = self.read(name, key, state).tobytes()
        return bits

    def accept(self) -> None:
        """Take the present bits as those that must stay."""
        self.bits = self.present_bits()

    def value(self, layer: LayerModel, key: str) -> Any:
        return layer.own.get(key, self.values[key])

    def frozen(self, name: str, step: int) -> bool:
        """Whether a layer is left out of a step."""
        by_hand = self.layers[name].frozen
        if by_hand is not None:
            return by_hand
        thaws, freezes = (self.plan.unfreeze or {}, self.plan.freeze or {}) if self.plan else ({}, {})
        return step < thaws.get(name, 0) or step >= freezes.get(name, math.inf)

    @invariant()
    def only_steps_and_writes_change_bits(self) -> None:
        if not self.opt.closed:
            assert self.present_bits() == self.bits

    @invariant()
    def reports_agree(self) -> None:
        if self.opt.closed:
            return
        summary = self.opt.summary()
        step = self.clock.next()
        assert (summary.steps, summary.skipped_steps, summary.next_step) == (self.steps, self.skipped, step)
        assert list(self.opt.layers) == list(self.layers)
        scale = scales(self.policy, self.layers)
        for name, layer in self.layers.items():
            info = self.opt.layer(name).info
            frozen = self.frozen(name, step)
            rate = self.value(layer, "lr") * scale[name] * layer.factor(self.schedule, step)
            assert info.frozen == frozen
            assert info.frozen_by == (None if not frozen else "plan" if layer.frozen is None else "layer")
            assert info.scale == pytest.approx(scale[name], rel=1e-12)
            assert info.effective_lr == pytest.approx(0.0 if frozen else rate, rel=1e-12)
            assert self.opt.preview(1)[self.opt.layer(name).index, 0] == info.effective_lr
            assert info.weight_decay == self.value(layer, "weight_decay")
            assert info.steps == max(tensor.steps for tensor in layer.tensors.values())
            assert info.parameter_count == sum(tensor.parameters.size for tensor in layer.tensors.values())
            states = self.opt.layer(name).states()
            for key, tensor in layer.tensors.items():
                assert list(self.read(name, key, "step")) == [tensor.steps]
                assert ("master" in states[key]) == tensor.has_master
        assert all(name in self.opt.explain() for name in self.layers)

    # ---- Layers

    @precondition(lambda self: not self.opt.closed and len(self.layers) < 5)
    @rule(data=strategies.data(), number=SEEDS, bound=strategies.booleans(), master=strategies.booleans())
    def add_another_layer(self, data: strategies.DataObject, number: int, bound: bool, master: bool) -> None:
        self.add_layer(data, number, bound, master)

    def add_layer(self, data: strategies.DataObject, number: int, bound: bool, master: bool) -> None:
        layer = LayerModel({}, scale=data.draw(strategies.sampled_from([None, None, 0.0, 2.5])))
        layer.depth = data.draw(strategies.sampled_from([None, None, 0, 3]))
        if data.draw(strategies.booleans()):
            layer.own = {"weight_decay": data.draw(RATES)}
        for index in range(data.draw(strategies.integers(1, 3))):
            dtype = DTYPES[data.draw(strategies.sampled_from(sorted(DTYPES)))]
            shape = data.draw(strategies.sampled_from(SHAPES))
            gradient_dtype = data.draw(strategies.sampled_from([dtype, np.dtype(np.float32)])) if bound else dtype
            tensor = TensorModel(numbers(shape, dtype, number + index), gradient_dtype, master)
            if bound and data.draw(strategies.booleans()):
                tensor.gradient = numbers(shape, gradient_dtype, number + 10 + index)
            else:
                tensor.gradient_dtype = dtype
            layer.tensors[f"t{index}"] = tensor
        name = f"layer.{len(self.layers)}"
        places: dict[str, Any] = {
            key: value for key, value in {"depth": layer.depth, "scale": layer.scale}.items() if value is not None
        }
        added = self.opt.add_layer(
            name,
            {key: tensor.parameters for key, tensor in layer.tensors.items()},
            {key: tensor.gradient for key, tensor in layer.tensors.items()},
            master=master,
            **places,
            **layer.own,
        )
        assert added.index == len(self.layers)
        self.layers[name] = layer
        self.accept()

    def draw_layer(self, data: strategies.DataObject) -> str:
        return str(data.draw(strategies.sampled_from(sorted(self.layers))))

    @precondition(lambda self: not self.opt.closed and self.layers)
    @rule(data=strategies.data(), frozen=strategies.sampled_from([True, False, None]))
    def freeze(self, data: strategies.DataObject, frozen: bool | None) -> None:
        name = self.draw_layer(data)
        layer = self.opt.layer(name)
        {True: layer.freeze, False: layer.unfreeze, None: layer.follow_plan}[frozen]()
        self.layers[name].frozen = frozen

    @precondition(lambda self: not self.opt.closed and self.layers)
    @rule(data=strategies.data(), thaw=strategies.integers(1, 30), freeze=strategies.integers(31, 60))
    def set_plan(self, data: strategies.DataObject, thaw: int, freeze: int) -> None:
        thaws, freezes = {self.draw_layer(data): thaw}, {self.draw_layer(data): freeze}
        plan = data.draw(strategies.sampled_from([None, lw.FreezeAt(thaws), lw.FreezeAt(thaws, freezes)]))
        self.opt.freezing = self.plan = plan

    @precondition(lambda self: not self.opt.closed and self.layers)
    @rule(data=strategies.data())
    def reset(self, data: strategies.DataObject) -> None:
        """Forget a layer's state."""
        name = self.draw_layer(data)
        self.opt.layer(name).reset()
        for key, tensor in self.layers[name].tensors.items():
            tensor.steps = 0
            for state in self.opt.layer(name).states()[key]:
                expected = tensor.parameters.astype(np.float32) if state == "master" else 0
                assert (self.read(name, key, state) == expected).all()
        self.accept()

    @precondition(lambda self: not self.opt.closed and self.layers)
    @rule(data=strategies.data())
    def rebind(self, data: strategies.DataObject) -> None:
        """Move a layer to other memory."""
        name = self.draw_layer(data)
        layer = self.layers[name]
        for tensor in layer.tensors.values():
            tensor.parameters = tensor.parameters.copy()
        gradients = {key: tensor.gradient for key, tensor in layer.tensors.items()}
        self.opt.layer(name).bind({key: tensor.parameters for key, tensor in layer.tensors.items()}, gradients)

    # ---- Settings

    @precondition(lambda self: not self.opt.closed)
    @rule(rate=RATES, decay=RATES)
    def set_all(self, rate: float, decay: float) -> None:
        self.opt.lr = rate
        self.opt.set(weight_decay=decay)
        self.values |= {"lr": rate, "weight_decay": decay}

    @precondition(lambda self: not self.opt.closed and self.values.get("nesterov") is None)
    @rule(low=strategies.sampled_from([0.0, 0.3, 0.9]))
    def set_momentum(self, low: float) -> None:
        """SGD's may be switched on and off; a velocity exists from the first time on."""
        change = {"momentum": low} if "momentum" in self.values else {"betas": (low, 0.97)}
        self.opt.set(**change)
        self.values |= change
        self.accept_new_states()

    def accept_new_states(self) -> None:
        """A setting may add a state, which is zero; it changes none."""
        present = self.present_bits()
        for key in present.keys() - self.bits.keys():
            assert key[2] == "momentum_buffer"
            assert not any(present[key])
            self.bits[key] = present[key]

    @precondition(lambda self: not self.opt.closed and self.layers)
    @rule(data=strategies.data(), rate=RATES, key=strategies.sampled_from(["lr", "weight_decay", "scale", "depth"]))
    def set_layer(self, data: strategies.DataObject, rate: float, key: str) -> None:
        name = self.draw_layer(data)
        layer = self.layers[name]
        self.opt.layer(name).set(**{key: 2 if key == "depth" else rate})
        if key == "depth":
            layer.depth = 2
        elif key == "scale":
            layer.scale = rate
        else:
            layer.own[key] = rate

    @precondition(lambda self: not self.opt.closed and self.layers)
    @rule(data=strategies.data(), key=strategies.sampled_from(["lr", "weight_decay", "scale", "depth"]))
    def unset_layer(self, data: strategies.DataObject, key: str) -> None:
        name = self.draw_layer(data)
        layer = self.layers[name]
        self.opt.layer(name).unset(key)
        layer.own.pop(key, None)
        if key in ("scale", "depth"):
            setattr(layer, key, None)

    @precondition(lambda self: not self.opt.closed)
    @rule(policy=POLICIES)
    def set_policy(self, policy: lw.Policy) -> None:
        self.opt.policy = self.policy = policy

    @precondition(lambda self: not self.opt.closed)
    @rule(schedule=SCHEDULES)
    def set_schedule(self, schedule: lw.Schedule | None) -> None:
        self.opt.schedule = self.schedule = schedule

    @precondition(lambda self: not self.opt.closed and self.layers)
    @rule(data=strategies.data(), schedule=SCHEDULES, start=strategies.integers(0, 20))
    def set_schedule_of_a_layer(self, data: strategies.DataObject, schedule: lw.Schedule | None, start: int) -> None:
        name = self.draw_layer(data)
        self.opt.layer(name).schedule = self.layers[name].schedule = schedule
        self.opt.layer(name).set(start=start)
        self.layers[name].start = start

    @precondition(lambda self: not self.opt.closed)
    @rule(step=strategies.integers(0, 40))
    def seek(self, step: int) -> None:
        self.opt.seek(step)
        self.clock.seek(step)
        for layer in self.layers.values():
            layer.last_step = -1

    @precondition(lambda self: not self.opt.closed and self.layers)
    @rule(data=strategies.data(), rest=strategies.sampled_from([0.0, 0.5]))
    def set_explicit_policy(self, data: strategies.DataObject, rest: float) -> None:
        self.opt.policy = self.policy = lw.Explicit({self.draw_layer(data): 1.5, "*": rest})

    # ---- Steps

    def given(self, data: strategies.DataObject, number: int) -> dict[str, dict[str, Array | None]]:
        """Gradients for most tensors."""
        missing = data.draw(strategies.sets(strategies.integers(0, 6), max_size=3))
        found: dict[str, dict[str, Array | None]] = {name: {} for name in self.layers}
        for index, (name, key, _, tensor) in enumerate(self.tensors()):
            gradient = numbers(tensor.parameters.shape, tensor.gradient_dtype, number + index)
            found[name][key] = None if index in missing else gradient
        return found

    def bound(self, number: int) -> dict[str, dict[str, Array | None]]:
        """The bound gradients, with new numbers in them."""
        found: dict[str, dict[str, Array | None]] = {name: {} for name in self.layers}
        for index, (name, key, _, tensor) in enumerate(self.tensors()):
            if tensor.gradient is not None:
                tensor.gradient[...] = numbers(tensor.gradient.shape, tensor.gradient_dtype, number + index)
            found[name][key] = tensor.gradient
        self.accept()
        return found

    @precondition(lambda self: not self.opt.closed)
    @rule(data=strategies.data(), number=SEEDS, scale=SCALES, count=COUNTS)
    def step_with_bound_gradients(self, data: strategies.DataObject, number: int, scale: float, count: int) -> None:
        for index in range(count):
            self.step(data, number + 100 * index, given=False, one=False, scale=scale)

    @precondition(lambda self: not self.opt.closed)
    @rule(data=strategies.data(), number=SEEDS, scale=SCALES, count=COUNTS)
    def step_with_given_gradients(self, data: strategies.DataObject, number: int, scale: float, count: int) -> None:
        for index in range(count):
            self.step(data, number + 100 * index, given=True, one=False, scale=scale)

    @precondition(lambda self: not self.opt.closed)
    @rule(data=strategies.data(), number=SEEDS, scale=SCALES, given=strategies.booleans())
    def step_one_layer(self, data: strategies.DataObject, number: int, scale: float, given: bool) -> None:
        self.step(data, number, given=given, one=True, scale=scale)

    def step(self, data: strategies.DataObject, number: int, *, given: bool, one: bool, scale: float) -> None:
        gradients = self.given(data, number) if given else self.bound(number)
        only = self.draw_layer(data) if one and self.layers else None
        step = self.clock.next(self.layers[only] if only else None)
        active = {
            (name, key): gradients[name][key]
            for name, key, _, _ in self.tensors()
            if gradients[name][key] is not None and not self.frozen(name, step) and only in (None, name)
        }
        expected, factor = self.predict(active, scale, step)
        self.opt.step(gradients if given else None, layer=only, gradient_scale=scale)
        self.count(step, only)
        if self.nonfinite != "propagate" or self.clipping:
            assert self.opt.summary().clip_factor == pytest.approx(factor, rel=1e-6)
            total = math.hypot(*(norm(g) for g in active.values())) / scale
            assert self.opt.summary().gradient_norm == pytest.approx(total, rel=1e-6)
        # A norm that float32 tensors have a part in is as exact as they are.
        types = {self.layers[name].tensors[key].parameters.dtype for name, key in active}
        for (name, key), (numbers_before, outcome) in expected.items():
            tensor = self.layers[name].tensors[key]
            tensor.steps += 1
            exact = tensor.parameters.dtype == np.float64 and (not self.clipping or len(types) == 1)
            self.compare(name, key, outcome, numbers_before.weights, np.finfo(np.float64 if exact else np.float32))
        if self.telemetry:
            self.compare_telemetry(active, expected, scale)
        # The bits of all others stayed.
        after = self.present_bits()
        assert {place: bits for place, bits in after.items() if place[:2] not in active} == {
            place: bits for place, bits in self.bits.items() if place[:2] not in active
        }
        self.bits = after

    def count(self, step: int, only: str | None = None) -> None:
        """A step was taken at t = `step`."""
        self.steps += 1
        self.clock = ClockModel(step, touched=True)
        for name, layer in self.layers.items():
            if only in (None, name):
                layer.last_step = step

    def predict(
        self, active: dict[tuple[str, str], Array | None], scale: float, step: int
    ) -> tuple[dict[tuple[str, str], tuple[model.Numbers, model.Outcome]], float]:
        """What the step reads and should write, and the factor of the global clipping."""
        names = list(dict.fromkeys(name for name, _ in active))
        places = [[place for place in active if place[0] == name] for name in names]
        gradients, factor = model.conditioned(
            [[np.asarray(active[place], np.float64) for place in group] for group in places],
            gradient_scale=scale,
            maximize=self.maximize,
            **self.clipping,
        )
        rate = scales(self.policy, self.layers)
        found = {}
        for group, own in zip(places, gradients, strict=True):
            for (name, key), gradient in zip(group, own, strict=True):
                layer = self.layers[name]
                tensor = layer.tensors[key]
                states = {
                    state: self.read(name, key, state).astype(np.float64)
                    for state in self.opt.layer(name).states()[key]
                    if state != "step"
                }
                weights = tensor.parameters.astype(np.float64)
                if tensor.has_master:
                    # A parameter that is not the image of its master copy, as another buffer's may be, is begun from.
                    master = states.pop("master")
                    image = master.astype(tensor.parameters.dtype)
                    weights = np.where(image.view(np.uint16) == tensor.parameters.view(np.uint16), master, weights)
                values = {key: self.value(layer, key) for key in self.values}
                values["lr"] *= rate[name] * layer.factor(self.schedule, step)
                before = model.Numbers(weights, gradient, states, tensor.steps + 1)
                found[name, key] = before, self.reference(before, **values)
        return found, factor

    def compare(self, name: str, key: str, outcome: model.Outcome, before: Array, lane: np.finfo[Any]) -> None:
        """A step's result is as far from the model's as four roundings of each term make it."""
        tensor = self.layers[name].tensors[key]
        states = dict(outcome.states) | ({"master": outcome.weights} if tensor.has_master else {})
        for state, expected in states.items():
            bound = 4 * lane.eps * outcome.sizes["weights" if state == "master" else state] + lane.tiny
            assert (np.abs(self.read(name, key, state) - expected) <= bound).all(), (name, key, state)
        bound = 4 * lane.eps * outcome.sizes["weights"] + lane.tiny
        if tensor.parameters.itemsize == 2:
            storage = ml_dtypes.finfo(tensor.parameters.dtype)  # type: ignore[no-untyped-call]
            bound = bound + float(storage.eps) * np.maximum(np.abs(before), np.abs(outcome.weights))
            bound = bound + float(storage.smallest_subnormal)
        assert (np.abs(tensor.parameters.astype(np.float64) - outcome.weights) <= bound).all(), (name, key)

    def moved(self, name: str, key: str, numbers: model.Numbers, outcome: model.Outcome) -> float:
        """The norm of what moved: of stored parameters where they have 16 bits and no master copy."""
        tensor = self.layers[name].tensors[key]
        is_rounded = tensor.parameters.itemsize == 2 and not tensor.has_master
        after = tensor.parameters.astype(np.float64) if is_rounded else outcome.weights
        return norm(after - numbers.weights)

    def compare_telemetry(
        self,
        active: dict[tuple[str, str], Array | None],
        expected: dict[tuple[str, str], tuple[model.Numbers, model.Outcome]],
        scale: float,
    ) -> None:
        """The norms of each layer that was stepped."""
        for name in {name for name, _ in active}:
            reported = self.opt.layer(name).telemetry
            own = [expected[place] for place in active if place[0] == name]
            total = math.hypot(*(norm(active[place]) for place in active if place[0] == name)) / scale
            before = math.hypot(*(norm(numbers.weights) for numbers, _ in own))
            update = math.hypot(
                *(self.moved(name, key, *expected[name, key]) for owner, key in active if owner == name)
            )
            rounding = math.hypot(*(norm(outcome.sizes["weights"]) for _, outcome in own)) * 1e-6
            assert reported.gradient_norm == pytest.approx(total, rel=1e-6)
            assert reported.weight_norm == pytest.approx(before, rel=1e-6)
            assert reported.update_norm == pytest.approx(update, rel=1e-6, abs=rounding)
            assert reported.update_ratio == pytest.approx(
                reported.update_norm / before if before else math.nan, rel=1e-6, nan_ok=True
            )
            assert reported.nonfinite_count == 0

    @precondition(lambda self: not self.opt.closed and any(t.parameters.size for _, _, _, t in self.tensors()))
    @rule(
        data=strategies.data(),
        number=SEEDS,
        bad=strategies.sampled_from([math.nan, math.inf, -math.inf]),
        element=strategies.integers(0, 1000),
    )
    def step_with_a_bad_gradient(self, data: strategies.DataObject, number: int, bad: float, element: int) -> None:
        gradients = self.given(data, number)
        places = [(name, key) for name, key, _, tensor in self.tensors() if tensor.parameters.size]
        name, key = data.draw(strategies.sampled_from(places))
        tensor = self.layers[name].tensors[key]
        element %= tensor.parameters.size
        gradient = numbers(tensor.parameters.shape, tensor.gradient_dtype, number)
        gradient.flat[element] = bad
        gradients[name][key] = gradient
        if self.frozen(name, self.clock.next()):
            # Its gradients are not read, so this is a step without any.
            self.opt.step({name: {key: gradient}})
            self.count(self.clock.next())
            return
        if self.nonfinite == "raise":
            with pytest.raises(lw.NonFiniteGradient, match=name.replace(".", r"\.")) as caught:
                self.opt.step(gradients)
            position = list(self.layers).index(name), list(self.layers[name].tensors).index(key), element
            assert (caught.value.layer, caught.value.tensor, caught.value.element) == position
        elif self.nonfinite == "skip":
            self.opt.step(gradients)
            self.skipped += 1
        else:
            self.opt.step(gradients)
            self.count(self.clock.next())
            clamped = math.isinf(bad) and "clip_value" in self.clipping
            assert np.isfinite(tensor.parameters.astype(np.float64).flat[element]) == clamped
            self.restore()
            return
        assert self.opt.layer(name).telemetry.nonfinite_count == 1

    def restore(self) -> None:
        """Put everything back as it was before a step, through the states' interface."""
        for name, key, _, tensor in self.tensors():
            saved = np.frombuffer(self.bits[name, key, "parameters"], tensor.parameters.dtype)
            tensor.parameters[...] = saved.reshape(tensor.parameters.shape)
            for state in self.opt.layer(name).states()[key]:
                self.opt.layer(name).write_state(key, state, self.bits[name, key, state])

    # ---- States

    @precondition(lambda self: not self.opt.closed and any(t.steps for _, _, _, t in self.tensors()))
    @rule(data=strategies.data(), number=SEEDS, steps=strategies.integers(1, 10**6))
    def write_states(self, data: strategies.DataObject, number: int, steps: int) -> None:
        """Any moments and any count may be put in place of a tensor's."""
        places = [(name, key) for name, key, _, tensor in self.tensors() if tensor.steps]
        name, key = data.draw(strategies.sampled_from(places))
        layer, tensor = self.opt.layer(name), self.layers[name].tensors[key]
        for state, info in layer.states()[key].items():
            if state == "step":
                layer.write_state(key, state, np.array([steps]))
            elif state != "master":
                values = numbers((info.count,), np.dtype(info.dtype), number)
                layer.write_state(key, state, 0.1 + np.abs(values) if state.endswith("sq") else values)
        tensor.steps = steps
        self.accept()

    # ---- What is refused

    @precondition(lambda self: not self.opt.closed)
    @rule(data=strategies.data())
    def refused(self, data: strategies.DataObject) -> None:
        """Calls that must fail; the invariants see that they changed nothing."""
        opt = self.opt
        calls: list[Callable[[], object]] = [
            lambda: opt.set(lr=-1.0),
            lambda: opt.set(lr=0.5, weight_decay=math.nan),
            lambda: opt.set(lr=0.5, nothing=1.0),
            lambda: opt.step(gradient_scale=0.0),
            lambda: opt.step({"nobody": np.ones(3)}),
            lambda: opt.step(layer="nobody"),
            lambda: opt.layer("nobody"),
            lambda: opt.add_layer("", np.ones(3)),
            lambda: opt.add_layer("integers", np.ones(3, np.int64)),
            lambda: opt.add_layer("strided", np.ones(6)[::2]),
            lambda: opt.add_layer("twice", np.ones(3), lr=-1.0),
            lambda: setattr(opt, "policy", lw.LayerDecay(-1.0)),
            lambda: setattr(opt, "schedule", lw.Warmup(3, lw.Linear(0))),
            lambda: setattr(opt, "freezing", lw.GradualUnfreezing(0)),
            lambda: opt.add_layer("scheduled", np.ones(3), schedule=lw.Linear(0)),
            lambda: opt.seek(-1),
            lambda: opt.report(1.0),
            lambda: opt.preview(3, stride=0),
        ]
        if self.layers:
            name = self.draw_layer(data)
            key, tensor = next(iter(self.layers[name].tensors.items()))
            wrong = np.ones((*tensor.parameters.shape, 2), tensor.parameters.dtype)
            calls += [
                lambda: opt.add_layer(name, np.ones(3)),
                lambda: opt.step({name: {key: wrong}}),
                lambda: opt.step({name: {"nothing": wrong}}),
                lambda: opt.layer(name).bind({key: wrong}),
                lambda: opt.layer(name).set(lr=0.7, scale=-1.0),
                lambda: opt.layer(name).write_state(key, "step", np.array([-1])),
                lambda: opt.layer(name).write_state(key, "nothing", np.array([1])),
                lambda: opt.layer(name).read_state(key, "step", bytearray(3)),
            ]
            if tensor.parameters.size:
                calls += [
                    lambda: opt.add_layer("overlap", tensor.parameters),
                    lambda: opt.step({name: {key: tensor.parameters}}),
                ]
        with pytest.raises(lw.LayerwiseError):
            data.draw(strategies.sampled_from(calls))()

    @precondition(lambda self: not self.opt.closed and self.layers)
    @rule(stranger=strategies.booleans())
    def step_with_a_policy_that_does_not_fit(self, stranger: bool) -> None:
        """It can be set, because layers may follow, but no step is taken with it."""
        self.opt.policy = lw.Explicit({"nobody": 1.0, "*": 1.0} if stranger else {})
        for call in (self.opt.step, self.opt.explain, lambda: self.opt.layer(0).info):
            with pytest.raises(lw.LayerwiseError, match=r"nobody|layer\.0"):
                call()
        self.opt.policy = self.policy

    # ---- The end

    @precondition(lambda self: not self.opt.closed and len(self.layers) > 3)
    @rule()
    def close(self) -> None:
        layer = self.opt.layer(0)
        before = {(name, key): tensor.parameters.tobytes() for name, key, _, tensor in self.tensors()}
        self.opt.close()
        for call in (self.opt.step, self.opt.explain, self.opt.summary, layer.freeze, lambda: self.opt.lr):
            with pytest.raises(lw.ClosedOptimizer):
                call()
        assert before == {(name, key): tensor.parameters.tobytes() for name, key, _, tensor in self.tensors()}

    @precondition(lambda self: self.opt.closed)
    @rule(data=strategies.data(), number=SEEDS)
    def reopen(self, data: strategies.DataObject, number: int) -> None:
        self.create(data, number, self.nonfinite, self.clipping, self.maximize, self.telemetry, None, lw.Uniform())


@pytest.mark.parametrize("name", RULES)
def test_any_calls_in_any_order(name: str) -> None:
    """The same calls at every run, others for each rule."""
    machine = seed(sorted(RULES).index(name))(lambda: Machine(name))
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]
        settings=settings(database=None, deadline=None, max_examples=30, stateful_step_count=40),
    )
