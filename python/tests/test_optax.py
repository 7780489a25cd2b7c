# SPDX-License-Identifier: Apache-2.0
"""`layerwise.optax` beside optax's own multi_transform with the same rates, bit for bit, and where JAX may take it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]
import pytest

import layerwise as lw
import layerwise.optax as lwo

LR, STEPS = 0.01, 16
NAMES = ("embed", "blocks.0", "blocks.1", "head")
SCALES = {"embed": 0.6**3, "blocks.0": 0.6**2, "blocks.1": 0.6, "head": 1.0}


@pytest.fixture(autouse=True, params=[False, True], ids=["x32", "x64"])
def wide(request: pytest.FixtureRequest) -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param)
    yield
    jax.config.update("jax_enable_x64", before)


in_float32 = pytest.mark.parametrize("wide", [False], ids=["x32"], indirect=True)
"""For tests in which the types of numbers play no part."""


def params() -> dict[str, Any]:
    keys = iter(jax.random.split(jax.random.key(0), 8))

    def dense() -> dict[str, Any]:
        kernel = jax.random.normal(next(keys), (4, 4)) * 0.3
        return {"kernel": kernel, "bias": jnp.full((4,), 0.1, kernel.dtype)}

    return {"embed": dense(), "blocks": [{"mlp": dense()}, {"mlp": dense()}], "head": dense()}


def loss(values: dict[str, Any], inputs: Any) -> Any:
    inputs = inputs @ values["embed"]["kernel"] + values["embed"]["bias"]
    for block in values["blocks"]:
        inputs = inputs + jnp.tanh(inputs @ block["mlp"]["kernel"] + block["mlp"]["bias"])
    return jnp.mean((inputs @ values["head"]["kernel"] + values["head"]["bias"]) ** 2)


slope = jax.jit(jax.grad(loss))
"""The gradient of the loss, the same bits for all that are compared; to trace it at each step took most of the time."""


def labels(values: dict[str, Any]) -> dict[str, Any]:
    """Each leaf's layer."""
    return {
        "embed": dict.fromkeys(values["embed"], "embed"),
        "blocks": [{"mlp": dict.fromkeys(block["mlp"], f"blocks.{i}")} for i, block in enumerate(values["blocks"])],
        "head": dict.fromkeys(values["head"], "head"),
    }


def all_inputs(steps: int) -> list[Any]:
    return [jax.random.normal(jax.random.key(number), (5, 4)) for number in range(steps)]


def train(transformation: Any, steps: int = STEPS, jit: bool = True) -> list[Any]:
    values = params()
    state = transformation.init(values)

    def step(values: Any, state: Any, inputs: Any) -> Any:
        updates, state = transformation.update(slope(values, inputs), state, values)
        return optax.apply_updates(values, updates), state

    run = jax.jit(step) if jit else step
    found = []
    for inputs in all_inputs(steps):
        values, state = run(values, state, inputs)
        found.append(values)
    return found


def assert_same(found: Any, expected: Any) -> None:
    for one, other in zip(jax.tree_util.tree_leaves(found), jax.tree_util.tree_leaves(expected), strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other), np.max(np.abs(one - other))


RULES = {
    "adamw": lambda rate: optax.adamw(rate, weight_decay=0.1),
    "sgd": lambda rate: optax.sgd(rate, momentum=0.9),
    "lion": lambda rate: optax.lion(rate, weight_decay=0.1),
}
SCHEDULES: dict[str, lw.Schedule | None] = {
    "none": None,
    "warmup, cosine": lw.Warmup(3, lw.Cosine(10, min_lr=1e-3)),
    "absolute floor": lw.Linear(12, min_lr=1e-3, floor="absolute"),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("rule", RULES)
def test_equals_multi_transform(rule: str, schedule: str) -> None:
    """With the base rate here, the rule at 1: optax multiplies by its rate, this by 1 and by ours."""
    plan = lwo.plan(params(), learning_rate=LR, policy=lw.LayerDecay(0.6), schedule=SCHEDULES[schedule])
    rates = np.asarray(plan.native.preview(STEPS))

    def rate_of(layer: int) -> Any:
        table = jnp.asarray(rates[layer])
        return lambda count: table[count]

    theirs = optax.multi_transform(
        {name: RULES[rule](rate_of(layer)) for layer, name in enumerate(NAMES)}, labels(params())
    )
    ours = lwo.optimizer(
        RULES[rule](1.0),
        params(),
        learning_rate=LR,
        policy=lw.LayerDecay(0.6),
        schedule=SCHEDULES[schedule],
        steps=STEPS,
    )
    chained = optax.chain(
        RULES[rule](1.0),
        lwo.scale_by_layer(params(), lw.LayerDecay(0.6), SCHEDULES[schedule], learning_rate=LR, steps=STEPS),
    )
    expected = train(theirs, jit=False)
    assert_same(train(ours, jit=False), expected)
    assert_same(train(chained, jit=False), expected)
    assert not np.array_equal(expected[0]["head"]["kernel"], expected[-1]["head"]["kernel"])


def test_factors_on_top_of_the_rules_own_rate() -> None:
    """`scale_by_layer` equals a chain with a plain factor, layer by layer."""
    theirs = optax.multi_transform(
        {name: optax.chain(optax.adamw(LR), optax.scale(scale)) for name, scale in SCALES.items()}, labels(params())
    )
    ours = optax.chain(optax.adamw(LR), lwo.scale_by_layer(params(), lw.LayerDecay(0.6)))
    found = [row["scale"] for row in lwo.plan(params(), policy=lw.LayerDecay(0.6)).native.explain_rows()]
    assert found == pytest.approx(list(SCALES.values()), rel=1e-15)
    if jax.config.jax_enable_x64:
        # A scale that was counted by hand may differ in the last place.
        assert np.allclose(train(ours)[-1]["embed"]["kernel"], train(theirs)[-1]["embed"]["kernel"], rtol=1e-12)
    else:
        assert_same(train(ours, jit=False), train(theirs, jit=False))


def test_frozen_leaves_rest_with_their_state() -> None:
    """As if each layer's rule began when it thaws: optax's own rules, one a layer, held back by hand."""
    begin = {"head": 0, "blocks.1": 4, "blocks.0": 8, "embed": 12}
    inner = optax.adamw(LR, weight_decay=0.1)
    ours = lwo.optimizer(inner, params(), freezing=lw.GradualUnfreezing(4), steps=STEPS)
    held = {}
    for name, start in begin.items():

        def init(values: Any) -> Any:
            return jnp.zeros([], jnp.int32), inner.init(values)

        def update(updates: Any, state: Any, values: Any, start: int = start) -> Any:
            count, own = state
            if int(count) < start:
                return jax.tree_util.tree_map(jnp.zeros_like, updates), (count + 1, own)
            updates, own = inner.update(updates, own, values)
            return updates, (count + 1, own)

        held[name] = optax.GradientTransformation(init, update)
    expected = train(optax.multi_transform(held, labels(params())), jit=False)
    found = train(ours, jit=False)
    assert_same(found, expected)
    start = params()
    assert all(np.array_equal(found[11]["embed"][key], start["embed"][key]) for key in ("kernel", "bias"))
    assert not np.array_equal(found[12]["embed"]["kernel"], start["embed"]["kernel"])


def everything() -> Any:
    return lwo.optimizer(
        optax.adamw(LR, weight_decay=0.1),
        params(),
        policy=lw.LayerDecay(0.6),
        schedule=lw.Warmup(2, lw.Cosine(14)),
        freezing=lw.GradualUnfreezing(3),
        steps=STEPS,
    )


def test_under_jit() -> None:
    """Compiled code fuses multiplications and additions: a few of the last places."""
    eager, jitted = train(everything(), jit=False), train(everything())
    tolerance = 1e-12 if jax.config.jax_enable_x64 else 2e-5
    for one, other in zip(jax.tree_util.tree_leaves(eager), jax.tree_util.tree_leaves(jitted), strict=True):
        assert np.allclose(one, other, rtol=tolerance, atol=tolerance)


@in_float32
def test_compiles_once_and_calls_nothing_on_the_host() -> None:
    transformation = everything()
    traces = []

    def step(values: Any, state: Any) -> Any:
        traces.append(1)
        updates, state = transformation.update(values, state, values)
        return optax.apply_updates(values, updates), state

    run = jax.jit(step)
    values, state = params(), transformation.init(params())
    for _ in range(8):
        values, state = run(values, state)
    assert len(traces) == 1
    text = jax.jit(step).lower(values, state).as_text()
    assert "callback" not in text and "custom_call" not in text


def test_under_vmap_and_grad() -> None:
    """Three models at once are as each alone; the gradient of a step by its input is there."""
    transformation = everything()
    many = jax.tree_util.tree_map(lambda leaf: jnp.stack([leaf, 2 * leaf, 3 * leaf]), params())

    def step(values: Any, inputs: Any) -> Any:
        updates, _ = transformation.update(slope(values, inputs), transformation.init(values)._replace(count=7), values)
        return optax.apply_updates(values, updates)

    inputs = jax.random.normal(jax.random.key(1), (5, 4))
    found, step = jax.jit(jax.vmap(step, (0, None)))(many, inputs), jax.jit(step)
    for index in range(3):
        alone = step(jax.tree_util.tree_map(lambda leaf, index=index: leaf[index], many), inputs)
        for one, other in zip(jax.tree_util.tree_leaves(found), jax.tree_util.tree_leaves(alone), strict=True):
            assert np.allclose(one[index], other, rtol=1e-4, atol=1e-6)
    by_input = jax.grad(lambda factor: loss(step(params(), factor * inputs), inputs))(1.0)
    assert np.isfinite(by_input) and by_input != 0


@in_float32
def test_with_sharded_arrays() -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    transformation = everything()
    values = jax.device_put(params(), sharding)
    updates, state = jax.jit(transformation.update)(values, transformation.init(values), values)
    assert updates["head"]["kernel"].sharding.is_equivalent_to(sharding, 2)
    assert int(state.count) == 1


ON_TWO_DEVICES = """
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import layerwise as lw, layerwise.optax as lo

assert len(jax.devices()) == 2
spread = NamedSharding(Mesh(np.array(jax.devices()), ("d",)), PartitionSpec("d"))
start = {name: jnp.ones((8, 4)) for name in ("embed", "block.0", "head")}

def train(place):
    params = jax.tree.map(place, start)
    tx = lo.optimizer(optax.adamw(1e-2), params, policy=lw.LayerDecay(0.5), schedule=lw.Cosine(20), steps=20)
    state = tx.init(params)

    @jax.jit
    def step(params, state, t):
        updates, state = tx.update(jax.tree.map(lambda x: jnp.sin(3 * x + t), params), state, params)
        return optax.apply_updates(params, updates), state

    for t in range(5):
        params, state = step(params, state, t)
    return params

one, two = train(lambda x: x), train(lambda x: jax.device_put(x, spread))
assert all(value.sharding.is_equivalent_to(spread, 2) for value in two.values())
assert all(np.array_equal(one[name], two[name]) for name in one)
assert len({float(value[0, 0]) for value in one.values()}) == 3
"""


@pytest.mark.spawns
@pytest.mark.parametrize("wide", [False], ids=["in its own process"], indirect=True)
def test_spread_over_two_devices() -> None:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES], env=os.environ | flags, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


@in_float32
def test_after_the_table_its_last_row_holds() -> None:
    transformation = lwo.scale_by_layer(params(), schedule=lw.Linear(10, min_factor=0.25), steps=6)
    state = transformation.init(params())
    ones = jax.tree_util.tree_map(jnp.ones_like, params())
    seen = []
    for _ in range(9):
        updates, state = transformation.update(ones, state)
        seen.append(float(updates["head"]["bias"][0]))
    assert seen[:6] == pytest.approx(list(lw.Linear(10, min_factor=0.25).evaluate(6)))
    assert seen[6:] == [seen[5]] * 3


def test_types_of_leaves_stay() -> None:
    values = jax.tree_util.tree_map(lambda leaf: leaf.astype(jnp.bfloat16), params())
    transformation = everything()
    updates, _ = transformation.update(values, transformation.init(values), values)
    assert {leaf.dtype for leaf in jax.tree_util.tree_leaves(updates)} == {jnp.dtype(jnp.bfloat16)}


@in_float32
def test_inside_of_masked_and_beside_extra_arguments() -> None:
    transformation = optax.masked(
        lwo.scale_by_layer(params(), lw.LayerDecay(0.5)), {"embed": True, "blocks": False, "head": True}
    )
    ones = jax.tree_util.tree_map(jnp.ones_like, params())
    updates, _ = transformation.update(ones, transformation.init(params()))
    assert float(updates["embed"]["bias"][0]) == 0.125 and float(updates["blocks"][0]["mlp"]["bias"][0]) == 1
    line = lwo.optimizer(optax.chain(optax.sgd(1.0), optax.contrib.reduce_on_plateau(factor=0.5, patience=1)), params())
    updates, _ = line.update(ones, line.init(params()), params(), value=1.0)
    assert float(updates["head"]["bias"][0]) == -1


# ---- Names


@in_float32
def test_names_of_linen() -> None:
    """Variables of Linen are nested dictionaries, with "params" around the parameters."""
    values = {"params": {f"Dense_{i}": {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)} for i in range(3)}}
    assert lwo.names_of(values) == [f"Dense_{i}.{name}" for i in range(3) for name in ("bias", "kernel")]
    assert _scales(values) == [0.25, 0.5, 1.0]


@in_float32
def test_names_of_haiku() -> None:
    haiku = pytest.importorskip("haiku")
    values = haiku.transform(lambda inputs: haiku.nets.MLP([4, 4, 4])(inputs)).init(jax.random.key(0), jnp.ones((1, 4)))
    assert set(lwo.names_of(values)) == {f"mlp.linear_{i}.{name}" for i in range(3) for name in ("w", "b")}
    assert _scales(values) == [0.25, 0.5, 1.0]


@in_float32
def test_names_of_equinox() -> None:
    equinox = pytest.importorskip("equinox")
    model = equinox.nn.MLP(4, 4, 4, 2, key=jax.random.key(0))
    values = equinox.filter(model, equinox.is_inexact_array)
    assert lwo.names_of(values) == [f"layers.{i}.{name}" for i in range(3) for name in ("weight", "bias")]
    assert _scales(values) == [0.25, 0.5, 1.0]
    transformation = lwo.scale_by_layer(values, lw.LayerDecay(0.5))
    updates, _ = transformation.update(values, transformation.init(values))
    assert np.array_equal(updates.layers[0].weight, 0.25 * values.layers[0].weight)


@in_float32
def test_names_of_flax_itself() -> None:
    """Flax brings many packages and is not among what the tests need."""
    linen, nnx = pytest.importorskip("flax.linen"), pytest.importorskip("flax.nnx")
    values = linen.Dense(4).init(jax.random.key(0), jnp.ones((1, 4)))
    assert lwo.names_of(values) == ["bias", "kernel"]

    class Stack(nnx.Module):  # type: ignore[misc,name-defined]
        def __init__(self, rngs: Any) -> None:
            self.embed = nnx.Linear(4, 4, rngs=rngs)
            self.blocks = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(2)])

    state = nnx.state(Stack(nnx.Rngs(0)), nnx.Param)
    assert sorted(lwo.names_of(state)) == sorted(
        f"{layer}.{name}" for layer in ("blocks.0", "blocks.1", "embed") for name in ("bias", "kernel")
    )
    assert _scales(state) == [0.25, 0.5, 1.0]


def _scales(values: Any) -> list[float]:
    return [row["scale"] for row in lwo.plan(values, policy=lw.LayerDecay(0.5)).native.explain_rows()]


@in_float32
def test_names_may_be_given() -> None:
    names = lwo.names_of(params())
    transformation = lwo.scale_by_layer(names, lw.LayerDecay(0.5), layers={"embed.*": 9})
    ones = jax.tree_util.tree_map(jnp.ones_like, params())
    updates, _ = transformation.update(ones, transformation.init(params()))
    assert float(updates["embed"]["bias"][0]) == 1 and float(updates["head"]["bias"][0]) == 0.5**6


# ---- What is refused

INVALID = lw.errors.InvalidArgument


@in_float32
@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: lwo.scale_by_layer({}), INVALID, "expected at least one parameter"),
        (lambda: lwo.scale_by_layer(params(), schedule=lw.Cosine(9)), INVALID, "steps: expected how many steps"),
        (
            lambda: lwo.optimizer(optax.sgd(1.0), params(), freezing=lw.GradualUnfreezing(2)),
            INVALID,
            "steps: expected how many steps",
        ),
        (lambda: lwo.scale_by_layer(params(), steps=0), lw.errors.OutOfRange, "steps must be at least 1"),
        (lambda: lwo.scale_by_layer(params(), 0.5), TypeError, "policy: expected one such as LayerDecay"),
        (lambda: lwo.scale_by_layer(params(), schedule=0.5, steps=2), TypeError, "schedule: expected one such as"),
        (lambda: lwo.scale_by_layer(params(), lw.Exclude()), INVALID, r'weight decay of "embed.bias".*mask='),
        (
            lambda: lwo.scale_by_layer(params(), layers={"nothing*": 1}),
            lw.errors.UnknownName,
            'no parameter matches "nothing',
        ),
    ],
)
def test_refuses(make: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


@in_float32
def test_refuses_other_parameters() -> None:
    transformation = lwo.scale_by_layer(params())
    with pytest.raises(
        INVALID, match=r'a leaf "tail.bias", which is not among the parameters.*first of those is "blocks'
    ):
        transformation.init({"tail": {"bias": jnp.ones(2)}})
