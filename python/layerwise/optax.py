# SPDX-License-Identifier: Apache-2.0
"""A learning rate for every layer of a JAX model, as a transformation of optax.

Example:
    import optax
    import layerwise as lw
    import layerwise.optax

    optimizer = layerwise.optax.optimizer(
        optax.adamw(3e-4), params, policy=lw.LayerDecay(0.75), schedule=lw.Warmup(100, lw.Cosine(900)), steps=1000
    )
    state = optimizer.init(params)

The values are computed when the transformation is made, by the library, and kept as a table in its state: a step calls
nothing on the host, under `jit`, `vmap`, `grad` and with sharded arrays.  optax comes with the extra:
`pip install "layerwise[optax]"`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

try:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
except ImportError as error:
    raise ImportError('layerwise.optax needs JAX and optax: pip install "layerwise[optax]"') from error

from ._driven import DrivenValues, rate_groups
from ._placement import LayerRules
from ._plan import ModelPlan
from .errors import InvalidArgument, OutOfRange
from .freezing import FreezePlan
from .policy import Policy
from .rule import AdamW
from .schedule import Schedule

__all__ = ["LayerOptimizerState", "ScaleByLayerState", "names_of", "optimizer", "plan", "scale_by_layer"]


class ScaleByLayerState(NamedTuple):
    """What `scale_by_layer` keeps.

    Attributes:
        count: The number of updates.
        rates: What each group of leaves is multiplied by, as step x group; after the last row, that row holds.
    """

    count: Any
    rates: Any


class LayerOptimizerState(NamedTuple):
    """What `optimizer` keeps.

    Attributes:
        count: The number of updates.
        rates: What each group of leaves is multiplied by, as step x group; after the last row, that row holds.
        frozen: Which sets of leaves rest, as step x set, likewise.
        inner: The state of the wrapped rule, one for each set of leaves that rests at the same steps.
    """

    count: Any
    rates: Any
    frozen: Any
    inner: tuple[Any, ...]


def names_of(params: Any) -> list[str]:
    """The names from which layers are detected, one for each leaf of a pytree, in the order of its leaves.

    The parts of a path are joined by dots.  What frameworks put around a name is left out: Linen's "params" in front,
    the "value" of NNX behind, Haiku's "~"; its "/" is a dot.
    """
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    parts = [[_text(key) for key in path] for path in paths]
    if parts and all(len(one) > 1 and one[0] == "params" for one in parts):
        parts = [one[1:] for one in parts]
    if parts and all(len(one) > 1 and one[-1] in ("value", "raw_value") for one in parts):
        parts = [one[:-1] for one in parts]
    names = [re.sub(r"\.+", ".", ".".join(one).replace("~", "").replace("/", ".")).strip(".") for one in parts]
    return [name or f"parameter {index}" for index, name in enumerate(names)]


def _text(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _shapes(params_or_names: Any) -> dict[str, tuple[int, ...]]:
    if (
        isinstance(params_or_names, Sequence)
        and params_or_names
        and all(isinstance(one, str) for one in params_or_names)
    ):
        return dict.fromkeys(params_or_names, ())
    leaves = jax.tree_util.tree_leaves(params_or_names)
    shapes = {name: tuple(np.shape(leaf)) for name, leaf in zip(names_of(params_or_names), leaves, strict=True)}
    if len(shapes) != len(leaves):
        raise InvalidArgument("params: two leaves have the same name, by which layers are told")
    return shapes


class _Table:
    """The rates of all leaves at all steps, merged where they are equal."""

    def __init__(
        self,
        params_or_names: Any,
        learning_rate: float,
        policy: Policy | None,
        schedule: Schedule | None,
        freezing: FreezePlan | None,
        layers: LayerRules | None,
        steps: int | None,
    ) -> None:
        if (schedule is not None or freezing is not None) and steps is None:
            raise InvalidArgument(
                "steps: expected how many steps the run has, since schedules and freezing plans become a table"
            )
        if steps is not None and steps < 1:
            raise OutOfRange(f"steps must be at least 1, found {steps}")
        shapes = _shapes(params_or_names)
        made = plan(
            params_or_names,
            learning_rate=learning_rate,
            policy=policy,
            schedule=schedule,
            freezing=freezing,
            layers=layers,
        )
        self.plan = made
        sets = rate_groups(made.native)
        firsts = [sets.index(number) for number in range(max(sets) + 1)]
        count = 1 if steps is None else steps
        values, marks = DrivenValues(made.native, ["lr"], firsts).table(0, count)
        decays, _ = DrivenValues(made.native, ["weight_decay"], range(len(made.names))).at(0)
        for name, decay in zip(made.names, decays, strict=True):
            if decay != 1:
                raise InvalidArgument(
                    f'the policy changes the weight decay of "{name}", which is inside the wrapped rule: leave '
                    "Exclude out and give the rule its mask, as in optax.adamw(..., mask=...)"
                )
        self.rates = np.array(values, np.float64).reshape(count, len(firsts))
        frozen = np.frombuffer(marks, np.uint8).reshape(count, -1).astype(bool)
        patterns: dict[bytes, int] = {}
        of_layer = [patterns.setdefault(frozen[:, layer].tobytes(), len(patterns)) for layer in range(frozen.shape[1])]
        self.frozen = np.stack([frozen[:, of_layer.index(number)] for number in range(len(patterns))], axis=1)
        places = {name: place for place, name in enumerate(made.names)}
        self.group_of = {name: sets[places[name]] for name in shapes}
        self.set_of = {name: of_layer[made.layer_of[places[name]]] for name in shapes}

    def groups(self, tree: Any) -> list[int]:
        """The group of each leaf."""
        return [self._look_up(self.group_of, name) for name in names_of(tree)]

    def sets(self, tree: Any) -> list[int]:
        """The set of each leaf whose members rest at the same steps."""
        return [self._look_up(self.set_of, name) for name in names_of(tree)]

    def _look_up(self, known: dict[str, int], name: str) -> int:
        if name not in known:
            raise InvalidArgument(
                f'updates have a leaf "{name}", which is not among the parameters that the transformation was '
                f'made for; the first of those is "{next(iter(known))}"'
            )
        return known[name]

    def scale(self, updates: Any, row: Any) -> Any:
        leaves, structure = jax.tree_util.tree_flatten(updates)
        scaled = [
            jnp.asarray(row[group], leaf.dtype) * leaf for leaf, group in zip(leaves, self.groups(updates), strict=True)
        ]
        return jax.tree_util.tree_unflatten(structure, scaled)


def plan(
    params_or_names: Any,
    *,
    learning_rate: float = 1.0,
    policy: Policy | None = None,
    schedule: Schedule | None = None,
    freezing: FreezePlan | None = None,
    layers: LayerRules | None = None,
) -> ModelPlan:
    """The plan of a model: `plan(...).native` is a dry-run optimizer with `explain`, `preview`, and for plots.

    Args:
        params_or_names: A pytree of arrays or shapes, or a list of names.
        learning_rate: The base rate.
        policy: What sets every layer's scale.
        schedule: How the rate moves in time.
        freezing: When each layer trains.
        layers: The user's own rules for which parameter belongs to which layer, as in `layerwise.torch.layers`.
    """
    if schedule is not None and not isinstance(schedule, Schedule):
        raise TypeError(f"schedule: expected one such as Cosine(1000), found {schedule!r}")
    rule = AdamW(lr=learning_rate, weight_decay=1.0)
    return ModelPlan(_shapes(params_or_names), rule, rules=layers, policy=policy, schedule=schedule, freezing=freezing)


def scale_by_layer(
    params_or_names: Any,
    policy: Policy | None = None,
    schedule: Schedule | None = None,
    *,
    learning_rate: float = 1.0,
    layers: LayerRules | None = None,
    steps: int | None = None,
) -> optax.GradientTransformation:
    """Multiply the updates of each leaf by the rate of its layer, to chain after any rule that is linear in its rate.

    With `learning_rate=1.0` the factors are scale x factor of the schedule, and the rule before has its own rate:
    `optax.chain(optax.adamw(3e-4), scale_by_layer(params, lw.LayerDecay(0.75)))`.  With the base rate here the rule has
    a rate of 1, which schedules with floors in units of a rate need.

    Args:
        params_or_names: The parameters: a pytree of arrays or shapes, or the names of its leaves.
        policy: What sets every layer's scale.
        schedule: How the rate moves in time.
        learning_rate: The base rate.  Default 1.0.
        layers: The user's own rules for which parameter belongs to which layer.
        steps: How many steps the table of a schedule has; afterwards its last row holds.

    Returns:
        The transformation.

    Raises:
        InvalidArgument: There are no parameters, a schedule lacks `steps`, or the policy changes weight decay.
    """
    table = _Table(params_or_names, learning_rate, policy, schedule, None, layers, steps)

    def init(params: Any) -> ScaleByLayerState:
        table.groups(params)
        return ScaleByLayerState(jnp.zeros([], jnp.int32), jnp.asarray(table.rates))

    def update(updates: Any, state: ScaleByLayerState, params: Any = None) -> tuple[Any, ScaleByLayerState]:
        row = _row(state.rates, state.count)
        return table.scale(updates, row), ScaleByLayerState(optax.safe_increment(state.count), state.rates)

    return optax.GradientTransformation(init, update)


def optimizer(
    inner: optax.GradientTransformation,
    params: Any,
    *,
    policy: Policy | None = None,
    schedule: Schedule | None = None,
    freezing: FreezePlan | None = None,
    learning_rate: float = 1.0,
    layers: LayerRules | None = None,
    steps: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Wrap a whole rule: its updates are multiplied by the rates of the layers, and layers rest as planned.

    A frozen leaf has no update and no decay, and its part of the rule's state stands still, counts included.  Leaves
    that rest at the same steps share a state of the rule, which sees them alone: what goes by all gradients, such as
    `optax.clip_by_global_norm`, is chained before.

    Args:
        inner: The rule, linear in its rate, such as `optax.adamw(3e-4)`.
        params: The parameters: a pytree of arrays or shapes.
        policy: What sets every layer's scale.
        schedule: How the rate moves in time.
        freezing: When each layer trains.
        learning_rate: The base rate.  Default 1.0: the rule has its own.
        layers: The user's own rules for which parameter belongs to which layer.
        steps: How many steps the table of a schedule or freezing plan has; afterwards its last row holds.

    Returns:
        The transformation, which hands extra arguments of `update` to the rule.

    Raises:
        InvalidArgument: There are no parameters, a schedule or plan lacks `steps`, or the policy changes weight decay.
    """
    table = _Table(params, learning_rate, policy, schedule, freezing, layers, steps)
    rule = optax.with_extra_args_support(inner)
    count = table.frozen.shape[1]

    def init(params: Any) -> LayerOptimizerState:
        table.groups(params)
        states = tuple(rule.init(_of_set(params, table.sets(params), number, count)) for number in range(count))
        return LayerOptimizerState(
            jnp.zeros([], jnp.int32), jnp.asarray(table.rates), jnp.asarray(table.frozen), states
        )

    def update(
        updates: Any, state: LayerOptimizerState, params: Any = None, **extra: Any
    ) -> tuple[Any, LayerOptimizerState]:
        sets = table.sets(updates)
        row, frozen = _row(state.rates, state.count), _row(state.frozen, state.count)
        leaves, structure = jax.tree_util.tree_flatten(updates)
        states = []
        for number in range(count):
            own = _of_set(updates, sets, number, count)
            of_params = None if params is None else _of_set(params, table.sets(params), number, count)
            new, after = rule.update(own, state.inner[number], of_params, **extra)
            states.append(_unless(frozen[number], after, state.inner[number]))
            made = iter(jax.tree_util.tree_leaves(new))
            leaves = [next(made) if own_set == number else leaf for leaf, own_set in zip(leaves, sets, strict=True)]
        result = jax.tree_util.tree_unflatten(structure, leaves)
        result = table.scale(result, row)
        kept = [
            jnp.where(frozen[own_set], jnp.zeros_like(leaf), leaf)
            for leaf, own_set in zip(jax.tree_util.tree_leaves(result), sets, strict=True)
        ]
        increased = optax.safe_increment(state.count)
        return (
            jax.tree_util.tree_unflatten(structure, kept),
            LayerOptimizerState(increased, state.rates, state.frozen, tuple(states)),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _row(table: Any, count: Any) -> Any:
    return table[jnp.minimum(count, table.shape[0] - 1)]


def _of_set(tree: Any, sets: Sequence[int], number: int, count: int) -> Any:
    """The tree with what is in other sets masked."""
    if count == 1:
        return tree
    leaves, structure = jax.tree_util.tree_flatten(tree)
    own = [leaf if one == number else optax.MaskedNode() for leaf, one in zip(leaves, sets, strict=True)]
    return jax.tree_util.tree_unflatten(structure, own)


def _unless(frozen: Any, new: Any, old: Any) -> Any:
    return jax.tree_util.tree_map(lambda after, before: jnp.where(frozen, before, after), new, old)
