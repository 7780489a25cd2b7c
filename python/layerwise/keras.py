# SPDX-License-Identifier: Apache-2.0
"""A learning rate for every layer of a Keras 3 model, with any of its optimizers, on the JAX and torch backends.

Example:
    import keras
    import layerwise as lw
    import layerwise.keras

    optimizer = layerwise.keras.layer_rates(
        keras.optimizers.AdamW(3e-4), model, policy=lw.LayerDecay(0.75), schedule=lw.Cosine(1000), steps=1000
    )
    model.compile(optimizer, "mse")

Keras hands an optimizer the rate with each variable; here it is that of the variable's layer.  A saved model holds the
policy, schedule and plan with its optimizer; import this module before `keras.saving.load_model`.  Keras comes with the
extra: `pip install "layerwise[keras]"`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

try:
    import keras
    import numpy as np
    from keras import ops
except ImportError as error:
    raise ImportError('layerwise.keras needs Keras 3: pip install "layerwise[keras]"') from error

from ._cli_syntax import FreezePlanInWords, PolicyInWords, ScheduleInWords
from ._driven import DrivenValues, rate_groups
from ._placement import LayerRules
from ._plan import ModelPlan
from ._spec import Recipe
from .errors import InvalidArgument, OutOfRange
from .freezing import FreezePlan
from .optimizer import Optimizer
from .policy import Policy
from .rule import AdamW
from .schedule import Schedule

__all__ = ["layer_rates"]

_PACKAGE, _NAME = "layerwise", "LayerRates"
_BACKENDS = ("jax", "torch")


def layer_rates(
    optimizer: Any,
    model: Any,
    *,
    policy: Policy | None = None,
    schedule: Schedule | None = None,
    freezing: FreezePlan | None = None,
    layers: LayerRules | None = None,
    decay_follows: Literal["layer_lr", "base_lr", "independent"] = "layer_lr",
    steps: int | None = None,
) -> Any:
    """Give a Keras optimizer a rate, and a decay, for every layer of a model.

        rate of a variable = learning_rate of the optimizer * scale of its layer * factor of the schedule

    The optimizer is changed in place: its state, iterations and settings stay.  `learning_rate` is the base rate, which
    a callback or a schedule of Keras may move as before; the two multiply.  A frozen variable is neither updated nor
    decayed, and its moments stand still; bias corrections count the steps that it was trained.

    Args:
        optimizer: Any optimizer of `keras.optimizers`, or a class derived from one.
        model: The model, built, whose variables' paths tell the layers.
        policy: What sets every layer's scale, and which tensors do not decay.
        schedule: How the rate moves in time.
        freezing: When each layer trains.
        layers: The user's own rules for which variable belongs to which layer, as in `layerwise.torch.layers`; names
            are the paths of variables with dots, without the name of the model in front.
        decay_follows: What multiplies the decay: "layer_lr", the layer's rate; "base_lr", the rate of a layer of scale
            1; "independent", the schedule's factor alone.
        steps: How many steps the table of a schedule or freezing plan has; afterwards its last row holds.

    Returns:
        The optimizer.

    Raises:
        InvalidArgument: The backend is another one, the model is not built, the optimizer has rates by layer already,
            or a schedule or plan lacks `steps`.  The optimizer is as it was.
    """
    _require_backend()
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(f"optimizer: expected one of keras.optimizers, found {type(optimizer).__name__}")
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise InvalidArgument("LossScaleOptimizer steps the optimizer inside it: give layer_rates its inner_optimizer")
    if isinstance(optimizer, LayerRates):
        raise InvalidArgument(f"{type(optimizer).__name__} has rates by layer already")
    variables = list(model.trainable_variables)
    if not variables:
        raise InvalidArgument("the model has no trainable variables: build it first, as in model.build(input_shape)")
    names = _names_of(variables)
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InvalidArgument(f'two variables have the path "{repeated}", by which layers are told: name the layers')
    recipes = {
        "policy": None if policy is None else _in_words(policy),
        "schedule": None if schedule is None else _in_words(_require(schedule)),
        "freezing": None if freezing is None else _in_words(freezing),
    }
    options = {
        **recipes,
        "layers": _rules_in_words(layers),
        "decay_follows": decay_follows,
        "steps": steps,
        "base": _base_rate(optimizer),
        "shapes": {name: list(variable.shape) for name, variable in zip(names, variables, strict=True)},
    }
    return _drive(optimizer, _Rates(options))


def _require(schedule: object) -> Recipe:
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule: expected one such as Cosine(1000), found {schedule!r}")
    return schedule


def _require_backend() -> None:
    if keras.backend.backend() not in _BACKENDS:
        raise InvalidArgument(
            f"the backend of Keras must be one of {', '.join(_BACKENDS)}, found {keras.backend.backend()}: set "
            "KERAS_BACKEND before keras is imported"
        )


def _names_of(variables: Sequence[Any]) -> list[str]:
    """The paths of variables with dots, without the name of the model in front, which changes from load to load."""
    parts = [str(variable.path).split("/") for variable in variables]
    while all(len(one) > 2 for one in parts) and len({one[0] for one in parts}) == 1:
        parts = [one[1:] for one in parts]
    return [".".join(one) for one in parts]


def _base_rate(optimizer: Any) -> float:
    """The rate that floors of schedules refer to; 1 where a schedule of Keras moves it."""
    rate = optimizer._learning_rate
    value = float(ops.convert_to_numpy(rate)) if isinstance(rate, keras.Variable) else 1.0
    return value or 1.0


def _in_words(recipe: Recipe) -> dict[str, Any]:
    """A policy, schedule or plan as JSON takes it, by the library's names and keys."""
    if not isinstance(recipe, Recipe):
        raise TypeError(f"expected a policy, a schedule or a freezing plan, found {recipe!r}")
    words: dict[str, Any] = {"name": recipe.name}
    for key, value in recipe.settings().items():
        words[key] = value if isinstance(value, str | bool) else float(value)  # type: ignore[arg-type]
    if recipe.values():
        words["values"] = [float(value) for value in recipe.values()]
    if recipe.parts():
        words["parts"] = [_in_words(part) for part in recipe.parts()]
    return words


def _rules_in_words(rules: LayerRules | None) -> list[list[Any]] | None:
    """Rules for layers as a list of syntax, pattern and meaning."""
    if rules is None:
        return None
    if not isinstance(rules, Mapping):
        raise TypeError(f"layers: expected a mapping from pattern to depth or layer, found {type(rules).__name__}")
    return [
        ["regex", pattern.pattern, rule] if isinstance(pattern, re.Pattern) else ["glob", pattern, rule]
        for pattern, rule in rules.items()
    ]


class _Rates:
    """The rates of all variables at all steps, merged where they are equal, and what makes them again.

    Args:
        options: The arguments of `layer_rates` in words, with the shapes of variables by name.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        steps, base = options["steps"], options["base"]
        policy, schedule, freezing = options["policy"], options["schedule"], options["freezing"]
        if (schedule is not None or freezing is not None) and steps is None:
            raise InvalidArgument(
                "steps: expected how many steps the run has, since schedules and freezing plans become a table"
            )
        if steps is not None and steps < 1:
            raise OutOfRange(f"steps must be at least 1, found {steps}")
        rules = options["layers"]
        self.plan = ModelPlan(
            options["shapes"],
            AdamW(lr=base, weight_decay=1.0),
            rules=None
            if rules is None
            else {re.compile(pattern) if syntax == "regex" else pattern: rule for syntax, pattern, rule in rules},
            policy=None if policy is None else PolicyInWords(policy),
            schedule=None if schedule is None else ScheduleInWords(schedule),
            freezing=None if freezing is None else FreezePlanInWords(freezing),
            decay_follows=options["decay_follows"],
        )
        native, names = self.plan.native, self.plan.names
        sets = rate_groups(native)
        firsts = [sets.index(number) for number in range(max(sets) + 1)]
        self.steps = 1 if steps is None else steps
        values, marks = DrivenValues(native, ["lr", "weight_decay"], firsts).table(0, self.steps)
        table = np.array(values, np.float64).reshape(self.steps, len(firsts), 2)
        self.factors = (table[:, :, 0] / base).astype(np.float32)
        self.decays = (table[:, :, 0] * table[:, :, 1] / base).astype(np.float32)
        frozen = np.frombuffer(marks, np.uint8).reshape(self.steps, -1).astype(bool)
        patterns: dict[bytes, int] = {}
        of_layer = [patterns.setdefault(frozen[:, layer].tobytes(), len(patterns)) for layer in range(frozen.shape[1])]
        self.frozen = np.stack([frozen[:, of_layer.index(number)] for number in range(len(patterns))], axis=1)
        sets_of = [of_layer[layer] for layer in self.plan.layer_of]
        self._by_name = {name: place for name, *place in zip(names, sets, sets_of, strict=True)}
        self._by_variable: dict[int, tuple[Any, tuple[int, int]]] = {}

    @property
    def freezes(self) -> bool:
        """Whether anything rests at any step."""
        return bool(self.frozen.any())

    def bind(self, variables: Sequence[Any]) -> None:
        """Find the rates of the variables of a model, whose paths may begin otherwise than when it was saved.

        Raises:
            InvalidArgument: The variables are others than those that rates were made for.
        """
        shapes: dict[str, list[int]] = self.options["shapes"]
        names = _names_of(variables)
        if not all(name in shapes for name in names):
            given = list(shapes)
            alike = len(given) == len(names) and all(
                _tail(one) == _tail(other) and list(shapes[one]) == list(variable.shape)
                for one, other, variable in zip(given, names, variables, strict=True)
            )
            if not alike:
                strange = next(name for name in names if name not in shapes)
                raise InvalidArgument(
                    f'the optimizer was given rates for other variables: "{strange}" is not among them; the first of '
                    f'those is "{given[0]}"'
                )
            names = given
        for name, variable in zip(names, variables, strict=True):
            # The variable is held, lest another should get its identity.
            group, own = self._by_name[name]
            self._by_variable[id(variable)] = variable, (group, own)

    def find(self, variable: Any) -> tuple[int, int]:
        """The group of a variable, and the set of those that rest at the same steps."""
        return self._by_variable[id(variable)][1]


def _tail(name: str) -> str:
    """The names of layer and variable."""
    return ".".join(name.split(".")[-2:])


@keras.saving.register_keras_serializable(_PACKAGE, _NAME)
class LayerRates:
    """What `layer_rates` adds to the class of an optimizer."""

    _layerwise: _Rates
    _layerwise_base: type
    _layerwise_counts: list[Any]
    _layerwise_rate: Any = None
    _layerwise_iterations: Any = None

    @property
    def layer_plan(self) -> Optimizer:
        """The dry-run optimizer that computed the rates, with `explain`, `preview`, and for plots."""
        return self._layerwise.plan.native

    # ---- What Keras calls

    def build(self, variables: Sequence[Any]) -> None:
        """Create the optimizer's variables, and a count of steps for each set of variables that rests by itself."""
        optimizer: Any = self
        if optimizer.built:
            return
        self._layerwise.bind(variables)
        super().build(variables)  # type: ignore[misc]
        self._add_counts()

    def _add_counts(self) -> None:
        if not self._layerwise.freezes or self._layerwise_counts:
            return
        for number in range(self._layerwise.frozen.shape[1]):
            count = self.add_variable(  # type: ignore[attr-defined]
                shape=(), initializer="zeros", dtype="int32", name=f"layerwise_steps_{number}"
            )
            self._layerwise_counts.append(count)

    @property
    def iterations(self) -> Any:
        """The number of steps: of the variable that is being updated, where layers rest."""
        if self._layerwise_iterations is not None:
            return self._layerwise_iterations
        return super().iterations  # type: ignore[misc]

    def _get_current_learning_rate(self) -> Any:
        if self._layerwise_rate is not None:
            return self._layerwise_rate
        return super()._get_current_learning_rate()  # type: ignore[misc]

    def _layerwise_row(self, table: Any) -> Any:
        """The row of a table for the step under way."""
        optimizer: Any = self
        step = optimizer._iterations.value // (optimizer.gradient_accumulation_steps or 1)
        return ops.take(ops.convert_to_tensor(table), ops.minimum(step, len(table) - 1), axis=0)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        if self.weight_decay is None:  # type: ignore[attr-defined]
            return
        base = ops.cast(super()._get_current_learning_rate(), "float32")  # type: ignore[misc]
        decays, frozen = self._layerwise_row(self._layerwise.decays), self._layerwise_row(self._layerwise.frozen)
        for (group, own), members in _by_set(self._layerwise, variables):
            # A decay by 0 changes nothing.
            rate = base * decays[group] * ops.cast(ops.logical_not(frozen[own]), "float32")
            self._layerwise_rate = rate
            try:
                super()._apply_weight_decay([variables[index] for index in members])  # type: ignore[misc]
            finally:
                self._layerwise_rate = None

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        self._layerwise_rows = (
            self._layerwise_row(self._layerwise.factors),
            self._layerwise_row(self._layerwise.frozen),
        )
        self._layerwise_advance()
        try:
            super()._backend_update_step(grads, trainable_variables, learning_rate)  # type: ignore[misc]
        finally:
            del self._layerwise_rows

    def _layerwise_advance(self) -> None:
        """Count the step of each set that trains."""
        for number, count in enumerate(self._layerwise_counts):
            trains = ops.cast(ops.logical_not(self._layerwise_rows[1][number]), "int32")
            count.assign(count.value + trains)

    def _layerwise_update(self, own: int, update: Any) -> None:
        """Run the update of some variables of one set, with the iterations of the set, unless it rests."""
        if not self._layerwise_counts:
            update()
            return
        frozen = self._layerwise_rows[1][own]
        # The update adds 1 to what it takes for the number of steps before it.
        self._layerwise_iterations = self._layerwise_counts[own].value - 1
        try:
            if keras.backend.backend() == "torch":
                if not bool(frozen):
                    update()
                return
            optimizer: Any = self
            everything = [*optimizer._trainable_variables, *optimizer.variables]
            before = [variable.value for variable in everything]
            update()
            for variable, old in zip(everything, before, strict=True):
                new = variable.value
                if new is not old:
                    variable.assign(ops.where(frozen, old, new))
        finally:
            self._layerwise_iterations = None

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable with the rate of its layer."""
        group, own = self._layerwise.find(variable)
        rate = ops.cast(learning_rate, "float32") * self._layerwise_rows[0][group]
        step = super().update_step  # type: ignore[misc]
        self._layerwise_update(own, lambda: step(gradient, variable, rate))

    def _parallel_update_step(self, grads: Sequence[Any], variables: Sequence[Any], learning_rate: Any) -> None:
        """Update the variables of each group together, on the torch backend."""
        # Scalars of the optimizer, such as Nadam's product, move once a step and not once a group.
        optimizer: Any = self
        counts = set(map(id, self._layerwise_counts))
        scalars = [one for one in optimizer.variables if len(one.shape) == 0 and id(one) not in counts]
        before = [ops.copy(one.value) for one in scalars]
        step = super()._parallel_update_step  # type: ignore[misc]
        for (group, own), members in _by_set(self._layerwise, variables):
            for scalar, value in zip(scalars, before, strict=True):
                scalar.assign(value)
            rate = ops.cast(learning_rate, "float32") * self._layerwise_rows[0][group]
            self._layerwise_update(
                own,
                lambda members=members, rate=rate: step(
                    [grads[index] for index in members], [variables[index] for index in members], rate
                ),
            )

    # ---- Saving

    def get_config(self) -> dict[str, Any]:
        """The optimizer without rates by layer, and what these are made of."""
        plain = self._layerwise_base.from_config(super().get_config())  # type: ignore[misc,attr-defined]
        return {"optimizer": keras.optimizers.serialize(plain), "layers": self._layerwise.options}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The optimizer that `get_config` describes."""
        _require_backend()
        plain = keras.optimizers.deserialize(config["optimizer"], custom_objects=custom_objects)
        return _drive(plain, _Rates(dict(config["layers"])))


def _by_set(rates: _Rates, variables: Sequence[Any]) -> list[tuple[tuple[int, int], list[int]]]:
    """The places of variables that have the same rate and rest at the same steps."""
    found: dict[tuple[int, int], list[int]] = {}
    for index, variable in enumerate(variables):
        found.setdefault(rates.find(variable), []).append(index)
    return list(found.items())


_classes: dict[type, type] = {}


def _drive(optimizer: Any, rates: _Rates) -> Any:
    """Put the rates in force."""
    if optimizer.built:
        rates.bind(optimizer._trainable_variables)
    kind = type(optimizer)
    if kind not in _classes:
        # The class says by its name what it is made of; saved models know all by the one name of `LayerRates`.
        own: dict[str, Any] = {"__module__": __name__, "_layerwise_base": kind, "__doc__": LayerRates.__doc__}
        if not hasattr(kind, "_parallel_update_step"):
            own["_parallel_update_step"] = None
        made = type(f"LayerRates{kind.__name__}", (LayerRates, kind), own)
        _classes[kind] = keras.saving.register_keras_serializable(_PACKAGE, _NAME)(made)
    optimizer.__class__ = _classes[kind]
    optimizer._layerwise = rates
    optimizer._layerwise_counts = []
    if optimizer.built:
        optimizer._add_counts()
    return optimizer
