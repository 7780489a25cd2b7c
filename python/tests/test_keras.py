# SPDX-License-Identifier: Apache-2.0
"""`layerwise.keras` beside one plain Keras optimizer for each layer, with the same rates, bit for bit; fit, save, load.

Keras takes its backend when it is imported: the tests run with JAX here, and once more with torch in a process of their
own.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras  # type: ignore[import-untyped]

import layerwise as lw
import layerwise.keras as lwk

BACKEND = keras.backend.backend()
WEIGHT_DECAY, STEPS = 0.1, 12
LR = float(np.float32(0.01))
"""As Keras keeps it, in float32."""
LAYERS = ("embed", "block_0", "block_1", "head")
BEGIN = {"head": 0, "block_1": 3, "block_0": 6, "embed": 9}

KINDS: dict[str, Any] = {
    "AdamW": lambda rate: keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY),
    "Adam": lambda rate: keras.optimizers.Adam(rate, amsgrad=True),
    "SGD": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY),
    "RMSprop": lambda rate: keras.optimizers.RMSprop(rate, momentum=0.5),
    "Nadam": lambda rate: keras.optimizers.Nadam(rate),
    "Adamax": lambda rate: keras.optimizers.Adamax(rate),
    "Adagrad": lambda rate: keras.optimizers.Adagrad(rate),
    "Adadelta": lambda rate: keras.optimizers.Adadelta(rate),
    "Adafactor": lambda rate: keras.optimizers.Adafactor(rate, relative_step=False),
    "Ftrl": lambda rate: keras.optimizers.Ftrl(rate),
    "Lion": lambda rate: keras.optimizers.Lion(rate, weight_decay=WEIGHT_DECAY),
    "Lamb": lambda rate: keras.optimizers.Lamb(rate),
}


def model() -> Any:
    keras.utils.set_random_seed(3)
    made = keras.Sequential(
        [keras.Input((6,)), *(keras.layers.Dense(5, activation="tanh", name=name) for name in LAYERS)]
    )
    for variable in made.trainable_variables:
        variable.assign(variable + 0.1)
    return made


def gradients(made: Any) -> list[list[Any]]:
    random = np.random.default_rng(4)
    return [
        [keras.ops.convert_to_tensor(random.normal(size=v.shape).astype("float32")) for v in made.trainable_variables]
        for _ in range(STEPS)
    ]


def layer_of(variable: Any) -> str:
    (name,) = (name for name in LAYERS if name in variable.path)
    return name


def factors(**options: Any) -> np.ndarray[Any, Any]:
    """Layer x step, from a dry run of the library."""
    plan = lw.Optimizer(lw.AdamW(lr=LR), dry_run=True, **options)
    for name in LAYERS:
        plan.add_layer(name, {"kernel": (5, 5), "bias": (5,)})
    return np.asarray(plan.preview(STEPS), np.float64) / LR


def alone(kind: str, policy: lw.Policy | None, schedule: lw.Schedule | None, freezes: bool) -> list[Any]:
    """One optimizer for each layer, whose rate is written before each step, and which waits until its layer thaws."""
    made = model()
    table = factors(policy=policy, schedule=schedule).astype(np.float32)
    optimizers = {name: KINDS[kind](LR) for name in LAYERS}
    members = {name: [i for i, v in enumerate(made.trainable_variables) if layer_of(v) == name] for name in LAYERS}
    for step, grads in enumerate(gradients(made)):
        for layer, name in enumerate(LAYERS):
            if freezes and step < BEGIN[name]:
                continue
            optimizers[name].learning_rate = np.float32(LR) * table[layer, step]
            variables = [made.trainable_variables[i] for i in members[name]]
            optimizers[name].apply([grads[i] for i in members[name]], variables)
    return [keras.ops.convert_to_numpy(variable) for variable in made.trainable_variables]


def driven(kind: str, **options: Any) -> list[Any]:
    made = model()
    optimizer = lwk.layer_rates(KINDS[kind](LR), made, steps=STEPS, **options)
    optimizer.build(made.trainable_variables)
    for grads in gradients(made):
        optimizer.apply(grads)
    return [keras.ops.convert_to_numpy(variable) for variable in made.trainable_variables]


def assert_same(found: list[Any], expected: list[Any]) -> None:
    assert [float(np.max(np.abs(one - other))) for one, other in zip(found, expected, strict=True)] == [0.0] * 8


SCHEDULE = lw.Cosine(12, min_lr=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_an_optimizer_for_each_layer(kind: str) -> None:
    """A mean over all variables would tell layers apart, but no rule here takes one."""
    expected = alone(kind, lw.LayerDecay(0.6), SCHEDULE, freezes=False)
    assert_same(driven(kind, policy=lw.LayerDecay(0.6), schedule=SCHEDULE), expected)
    start = [keras.ops.convert_to_numpy(variable) for variable in model().trainable_variables]
    assert all(not np.array_equal(one, other) for one, other in zip(expected, start, strict=True))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Nadam"])
def test_frozen_layers_rest_with_their_state(kind: str) -> None:
    expected = alone(kind, None, None, freezes=True)
    assert_same(driven(kind, freezing=lw.GradualUnfreezing(3)), expected)


def test_nadam_shares_its_product_among_layers() -> None:
    """Keras keeps one product of momenta for all variables, which goes on while a layer rests."""
    found = driven("Nadam", freezing=lw.GradualUnfreezing(100))
    start = [keras.ops.convert_to_numpy(variable) for variable in model().trainable_variables]
    assert [np.array_equal(one, other) for one, other in zip(found, start, strict=True)] == [True] * 6 + [False] * 2
    alone_ = alone("Nadam", None, None, freezes=False)
    assert np.array_equal(found[6], alone_[6]) and np.array_equal(found[7], alone_[7])


def test_decay_is_kept_from_vectors() -> None:
    """Gradients of 0 leave only the decay."""
    made = model()
    optimizer = lwk.layer_rates(KINDS["AdamW"](LR), made, policy=lw.Combine(lw.LayerDecay(0.5), lw.Exclude()))
    before = [keras.ops.convert_to_numpy(variable) for variable in made.trainable_variables]
    optimizer.apply([keras.ops.zeros(v.shape) for v in made.trainable_variables], made.trainable_variables)
    for variable, old in zip(made.trainable_variables, before, strict=True):
        scale = 0.5 ** (3 - LAYERS.index(layer_of(variable))) if len(variable.shape) == 2 else 0
        new = keras.ops.convert_to_numpy(variable)
        # The difference of float32 numbers below 1 that were rounded once.
        assert np.allclose(old - new, LR * scale * WEIGHT_DECAY * old, rtol=0, atol=6e-8)
        assert np.array_equal(old, new) == (scale == 0)


def test_decay_that_follows_the_base() -> None:
    made = model()
    optimizer = lwk.layer_rates(KINDS["AdamW"](LR), made, policy=lw.LayerDecay(0.5), decay_follows="base_lr")
    before = [keras.ops.convert_to_numpy(variable) for variable in made.trainable_variables]
    optimizer.apply([keras.ops.zeros(v.shape) for v in made.trainable_variables], made.trainable_variables)
    for variable, old in zip(made.trainable_variables, before, strict=True):
        assert np.allclose(old - keras.ops.convert_to_numpy(variable), LR * WEIGHT_DECAY * old, rtol=0, atol=6e-8)


def data() -> tuple[Any, Any]:
    random = np.random.default_rng(5)
    inputs = random.normal(size=(64, 6)).astype("float32")
    return inputs, np.tanh(inputs[:, :5])


OPTIONS: dict[str, Any] = {
    "policy": lw.LayerDecay(0.6),
    "schedule": SCHEDULE,
    "freezing": lw.GradualUnfreezing(3),
    "steps": STEPS,
}


@pytest.mark.parametrize("kind", ["AdamW", "SGD", "Nadam", "Lion"])
def test_fit_save_and_load(kind: str, tmp_path: Path) -> None:
    made = model()
    optimizer = KINDS[kind](LR)
    assert lwk.layer_rates(optimizer, made, **OPTIONS) is optimizer
    made.compile(optimizer, "mse")
    start = [keras.ops.convert_to_numpy(variable) for variable in made.trainable_variables]
    made.fit(*data(), batch_size=16, epochs=1, verbose=0, shuffle=False)
    now = [keras.ops.convert_to_numpy(variable) for variable in made.trainable_variables]
    # Four steps: the head from the first, the last block from the third on.
    assert [np.array_equal(one, other) for one, other in zip(now, start, strict=True)] == [True] * 4 + [False] * 4
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer._iterations.value) == 4
    assert loaded.optimizer.layer_plan.explain(4) == optimizer.layer_plan.explain(4)
    for each in (made, loaded):
        each.fit(*data(), batch_size=16, epochs=2, verbose=0, shuffle=False)
    for one, other in zip(made.trainable_variables, loaded.trainable_variables, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))


def test_goes_on_from_a_state_that_is_there() -> None:
    made = model()
    optimizer = KINDS["SGD"](LR)
    steps = gradients(made)
    optimizer.apply(steps[0], made.trainable_variables)
    lwk.layer_rates(optimizer, made, **OPTIONS)
    before = [keras.ops.convert_to_numpy(variable) for variable in made.trainable_variables]
    optimizer.apply(steps[1], made.trainable_variables)
    after = [keras.ops.convert_to_numpy(variable) for variable in made.trainable_variables]
    assert int(optimizer._iterations.value) == 2
    assert [np.array_equal(one, other) for one, other in zip(before, after, strict=True)] == [True] * 6 + [False] * 2


def test_gradients_may_be_accumulated() -> None:
    """The table counts steps and not batches."""
    made = model()
    inner = keras.optimizers.SGD(LR, gradient_accumulation_steps=2)
    optimizer = lwk.layer_rates(inner, made, schedule=lw.MultiStep([1], 0.5), steps=4)
    optimizer.build(made.trainable_variables)
    ones = [keras.ops.ones(variable.shape) for variable in made.trainable_variables]
    seen = []
    for _ in range(4):
        before = float(made.trainable_variables[1][0])
        optimizer.apply(ones)
        seen.append(before - float(made.trainable_variables[1][0]))
    assert seen == pytest.approx([0, LR, 0, LR / 2], rel=1e-4, abs=1e-9)


def test_callbacks_move_the_base() -> None:
    made = model()
    optimizer = lwk.layer_rates(keras.optimizers.SGD(LR), made, policy=lw.LayerDecay(0.5))
    made.compile(optimizer, "mse")
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: LR / 2**epoch)
    made.fit(*data(), epochs=2, callbacks=[halve], verbose=0)
    assert float(optimizer.learning_rate) == pytest.approx(LR / 2)


INVALID = lw.errors.InvalidArgument


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda made: lwk.layer_rates("adam", made), TypeError, "expected one of keras.optimizers, found str"),
        (
            lambda made: lwk.layer_rates(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), made),
            INVALID,
            "give layer_rates its inner_optimizer",
        ),
        (
            lambda made: lwk.layer_rates(lwk.layer_rates(keras.optimizers.SGD(), made), made),
            INVALID,
            "has rates by layer already",
        ),
        (
            lambda made: lwk.layer_rates(keras.optimizers.SGD(), keras.Sequential([keras.layers.Dense(2)])),
            INVALID,
            "no trainable variables: build it first",
        ),
        (
            lambda made: lwk.layer_rates(keras.optimizers.SGD(), made, schedule=lw.Cosine(9)),
            INVALID,
            "steps: expected how many steps",
        ),
        (lambda made: lwk.layer_rates(keras.optimizers.SGD(), made, schedule=3), TypeError, "schedule: expected one"),
        (lambda made: lwk.layer_rates(keras.optimizers.SGD(), made, policy=3), TypeError, "expected a policy"),
        (
            lambda made: lwk.layer_rates(keras.optimizers.SGD(), made, steps=0),
            lw.errors.OutOfRange,
            "steps must be at least 1",
        ),
    ],
)
def test_refuses(make: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make(model())


def test_refuses_other_variables() -> None:
    optimizer = lwk.layer_rates(keras.optimizers.SGD(), model(), policy=lw.LayerDecay(0.5))
    other = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, name="tail")])
    with pytest.raises(INVALID, match=r'rates for other variables: "tail.kernel" is not among them'):
        optimizer.build(other.trainable_variables)
    assert not optimizer.built


@pytest.mark.spawns
@pytest.mark.skipif(BACKEND != "jax", reason="runs in the process of the first backend")
def test_with_the_other_backend() -> None:
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0 and "1 skipped" in run.stdout, run.stdout[-5000:]
