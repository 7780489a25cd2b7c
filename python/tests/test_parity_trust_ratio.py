# SPDX-License-Identifier: Apache-2.0
"""LARS and LAMB equal those of other libraries, and every option does what it says.

pytorch_optimizer and optax are run; timm, MAE and apex are written out in NumPy (support/trust_ratio.py).  All in
float64, where 50 steps of two programs that round at different places stay within 1e-12 of the distance moved.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]
import pytest
import pytorch_optimizer
import torch
from support import trust_ratio
from support.material import SHAPES, Array, distance, gradients, norm, weights

import layerwise as lw

STEPS = 50
TOLERANCE = 1e-12

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]


def assert_near(
    found: Mapping[str, Array], expected: Mapping[str, Any], start: Mapping[str, Array], tolerance: float = TOLERANCE
) -> None:
    for key, value in expected.items():
        moved = distance(value, start[key])
        assert moved > 0 or found[key].size == 0, f"{key}: nothing moved, so nothing was compared"
        assert distance(found[key], value) <= tolerance * moved, key


def ours(rule: lw.Rule, stream: list[dict[str, Array]], **settings: Any) -> dict[str, Array]:
    """The weights after our steps, each tensor a layer."""
    values = weights(SHAPES)
    with lw.Optimizer(rule, **settings) as opt:
        for key, value in values.items():
            opt.add_layer(key, value)
        for gradient in stream:
            opt.step(gradient)
    return values


def stream(steps: int = STEPS, zero: str | None = None) -> list[dict[str, Array]]:
    """Gradients, one of which may be all zero."""
    return [
        {key: np.zeros_like(value) if key == zero else value for key, value in found.items()}
        for found in gradients(SHAPES, steps)
    ]


# ---- pytorch_optimizer


def theirs_in_torch(name: str, options: dict[str, Any], stream: list[dict[str, Array]]) -> dict[str, Array]:
    """The weights after pytorch_optimizer's steps, a group for each tensor."""
    parameters = {key: torch.nn.Parameter(torch.from_numpy(value)) for key, value in weights(SHAPES).items()}
    twin = getattr(pytorch_optimizer, name)([{"params": [p]} for p in parameters.values()], foreach=False, **options)
    for gradient in stream:
        for key, parameter in parameters.items():
            parameter.grad = torch.from_numpy(gradient[key].copy())
        twin.step()
    return {key: parameter.detach().numpy() for key, parameter in parameters.items()}


PYTORCH_LARS: dict[str, dict[str, Any]] = {
    "no options": {"lr": 3.0},
    "decay": {"lr": 3.0, "weight_decay": 0.06},
    "no momentum": {"lr": 5.0, "momentum": 0.0, "weight_decay": 0.02},
    "nesterov": {"lr": 2.0, "momentum": 0.7, "nesterov": True, "weight_decay": 0.04, "trust_coefficient": 0.005},
    "maximize": {"lr": 2.0, "momentum": 0.8, "weight_decay": 0.04, "maximize": True},
}


@pytest.mark.parametrize("options", PYTORCH_LARS.values(), ids=PYTORCH_LARS)
def test_lars_of_pytorch_optimizer(options: dict[str, Any]) -> None:
    given = {key: value for key, value in options.items() if key != "maximize"}
    found = ours(lw.LARS(variant="pytorch_optimizer", **given), stream(), maximize=bool(options.get("maximize", False)))
    assert_near(found, theirs_in_torch("LARS", options, stream()), weights(SHAPES))


def test_lars_of_pytorch_optimizer_with_dampening() -> None:
    """Theirs damps the first step too, ours does not: so the dampening is switched on after it."""
    values, parameters = weights(SHAPES), {}
    for key, value in weights(SHAPES).items():
        parameters[key] = torch.nn.Parameter(torch.from_numpy(value))
    options: dict[str, Any] = {"lr": 2.0, "momentum": 0.8, "weight_decay": 0.04}
    twin = pytorch_optimizer.LARS([{"params": [p]} for p in parameters.values()], foreach=False, **options)
    with lw.Optimizer(lw.LARS(variant="pytorch_optimizer", **options)) as opt:
        for key, value in values.items():
            opt.add_layer(key, value)
        for gradient in stream():
            opt.step(gradient)
            for key, parameter in parameters.items():
                parameter.grad = torch.from_numpy(gradient[key].copy())
            twin.step()
            opt.set(dampening=0.4)
            for group in twin.param_groups:
                group["dampening"] = 0.4
    assert_near(values, {key: parameter.detach().numpy() for key, parameter in parameters.items()}, weights(SHAPES))


def test_lars_of_pytorch_optimizer_without_a_gradient() -> None:
    """A matrix whose gradient is all zero: what remains is the decay, and its ratio is trust_coefficient / decay."""
    options: dict[str, Any] = {"lr": 3.0, "weight_decay": 0.06}
    found = ours(lw.LARS(variant="pytorch_optimizer", **options), stream(zero="matrix"))
    assert_near(found, theirs_in_torch("LARS", options, stream(zero="matrix")), weights(SHAPES))


PYTORCH_LAMB: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no options": ({"lr": 0.01}, {}),
    "decay": ({"lr": 0.01, "betas": (0.8, 0.97), "weight_decay": 0.3}, {}),
    "decay inside": ({"lr": 0.01, "weight_decay": 0.3}, {"decay": ({"weight_decouple": False}, "update")}),
    "no averaging": ({"lr": 0.003, "weight_decay": 0.1, "grad_averaging": False}, {}),
    "large eps": ({"lr": 0.01, "eps": 0.01, "betas": (0.7, 0.9)}, {}),
    "ratio of one": ({"lr": 0.01, "weight_decay": 0.1}, {"ratio_min": ({"adam": True}, 1.0), "ratio_max": ({}, 1.0)}),
}


@pytest.mark.parametrize(("options", "renamed"), PYTORCH_LAMB.values(), ids=PYTORCH_LAMB)
def test_lamb_of_pytorch_optimizer(options: dict[str, Any], renamed: dict[str, Any]) -> None:
    """The odd tensor has a norm of 32, so theirs is clamped to 10."""
    own = {key: value for key, (_, value) in renamed.items()}
    other = {key: value for their, _ in renamed.values() for key, value in their.items()}
    found = ours(lw.LAMB(variant="pytorch_optimizer", **options, **own), stream())
    assert_near(found, theirs_in_torch("Lamb", options | other, stream()), weights(SHAPES))


def test_lamb_of_pytorch_optimizer_with_clipping() -> None:
    """Their global norm is a float32 number."""
    found = ours(lw.LAMB(lr=0.01, variant="pytorch_optimizer"), stream(), clip_global_norm=2.0)
    options: dict[str, Any] = {"lr": 0.01, "pre_norm": True, "max_grad_norm": 2.0}
    assert_near(found, theirs_in_torch("Lamb", options, stream()), weights(SHAPES), tolerance=1e-6)


# ---- optax


def theirs_in_optax(transformation: optax.GradientTransformation, stream: list[dict[str, Array]]) -> dict[str, Any]:
    parameters = {key: jnp.asarray(value) for key, value in weights(SHAPES).items()}
    state = transformation.init(parameters)

    @jax.jit
    def step(parameters: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
        updates, state = transformation.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state

    for gradient in stream:
        parameters, state = step(parameters, state, gradient)
    return {key: np.asarray(value) for key, value in parameters.items()}


OPTAX_LARS: dict[str, dict[str, Any]] = {
    "no options": {"lr": 3.0},
    "decay": {"lr": 3.0, "momentum": 0.6, "weight_decay": 0.07, "eps": 1e-3, "trust_coefficient": 0.004},
    "nesterov": {"lr": 2.0, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
}


@pytest.mark.parametrize("zero", [None, "matrix"], ids=["", "one gradient is zero"])
@pytest.mark.parametrize("options", OPTAX_LARS.values(), ids=OPTAX_LARS)
def test_lars_of_optax(options: dict[str, Any], zero: str | None) -> None:
    found = ours(lw.LARS(variant="optax", **({"weight_decay": 0.01} | options)), stream(zero=zero))
    given = {"weight_decay": 0.01} | {"learning_rate" if key == "lr" else key: options[key] for key in options}
    expected = theirs_in_optax(optax.lars(**given), stream(zero=zero))
    assert_near(found, expected, weights(SHAPES))


OPTAX_LAMB: dict[str, dict[str, Any]] = {
    "no options": {"lr": 0.01},
    "decay": {"lr": 0.01, "betas": (0.8, 0.97), "eps": 1e-3, "weight_decay": 0.2},
}


@pytest.mark.parametrize("options", OPTAX_LAMB.values(), ids=OPTAX_LAMB)
def test_lamb_of_optax(options: dict[str, Any]) -> None:
    b1, b2 = options.get("betas", (0.9, 0.999))
    given = {key: value for key, value in options.items() if key not in ("lr", "betas")}
    expected = theirs_in_optax(optax.lamb(options["lr"], b1=b1, b2=b2, **given), stream())
    assert_near(ours(lw.LAMB(variant="optax", **options), stream()), expected, weights(SHAPES))


# ---- timm, MAE and apex


def theirs_in_numpy(
    step: Callable[..., None], options: dict[str, Any], stream: list[dict[str, Array]]
) -> dict[str, Array]:
    values = weights(SHAPES)
    states: dict[str, trust_ratio.State] = {key: {} for key in values}
    for gradient in stream:
        for key, value in values.items():
            step(value, gradient[key], states[key], **options)
    return values


@pytest.mark.parametrize("zero", [None, "matrix"], ids=["", "one gradient is zero"])
@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.01},
        {"lr": 3.0, "weight_decay": 0.05},
        {"lr": 2.0, "weight_decay": 0.05, "momentum": 0.7, "dampening": 0.3, "trust_coefficient": 0.004},
        {"lr": 2.0, "weight_decay": 0.05, "momentum": 0.8, "nesterov": True, "eps": 1e-2},
        {"lr": 0.02, "weight_decay": 0.05, "momentum": 0.8, "trust_clip": True},
        {"lr": 1.5, "weight_decay": 0.05, "trust_clip": True, "trust_coefficient": 2.0},
    ],
    ids=str,
)
def test_lars_of_timm(options: dict[str, Any], zero: str | None) -> None:
    """Without decay timm's is plain SGD, so its rate is smaller here; its zero gradient then moves nothing."""
    if zero and "weight_decay" not in options:
        options = options | {"weight_decay": 0.01}
    found = ours(lw.LARS(variant="timm", **options), stream(zero=zero))
    assert_near(found, theirs_in_numpy(trust_ratio.timm_lars, options, stream(zero=zero)), weights(SHAPES))


def test_lars_of_timm_adapts_all_on_request() -> None:
    options: dict[str, Any] = {"lr": 3.0, "momentum": 0.7}
    found = ours(lw.LARS(variant="timm", adapt="all", **options), stream())
    expected = theirs_in_numpy(trust_ratio.timm_lars, options | {"always_adapt": True}, stream())
    assert_near(found, expected, weights(SHAPES))


@pytest.mark.parametrize("zero", [None, "matrix"], ids=["", "one gradient is zero"])
@pytest.mark.parametrize(
    "options",
    [
        {"lr": 2.0, "weight_decay": 0.01},
        {"lr": 2.0, "weight_decay": 0.05, "momentum": 0.6, "trust_coefficient": 0.02},
        {"lr": 2.0, "weight_decay": 0.05, "momentum": 0.0},
    ],
    ids=str,
)
def test_lars_of_mae(options: dict[str, Any], zero: str | None) -> None:
    found = ours(lw.LARS(variant="mae", **options), stream(zero=zero))
    assert_near(found, theirs_in_numpy(trust_ratio.mae_lars, options, stream(zero=zero)), weights(SHAPES))


@pytest.mark.parametrize(
    ("options", "own", "other"),
    [
        ({"lr": 0.01}, {}, {}),
        ({"lr": 0.01, "weight_decay": 0.0}, {}, {}),
        ({"lr": 0.01, "weight_decay": 0.0}, {"adapt": "all"}, {"always_adapt": True}),
        ({"lr": 0.02, "weight_decay": 0.3, "betas": (0.8, 0.95), "eps": 1e-3, "grad_averaging": False}, {}, {}),
        ({"lr": 0.01, "weight_decay": 0.2}, {"decay": "decoupled"}, {"decoupled_decay": True}),
        ({"lr": 0.01, "weight_decay": 0.2}, {"ratio_max": 1.0}, {"trust_clip": True}),
        ({"lr": 0.01, "weight_decay": 0.2}, {"bias_correction": "none"}, {"bias_correction": False}),
    ],
    ids=str,
)
def test_lamb_of_timm(options: dict[str, Any], own: dict[str, Any], other: dict[str, Any]) -> None:
    found = ours(lw.LAMB(variant="timm", **options, **own), stream())
    assert_near(found, theirs_in_numpy(trust_ratio.timm_lamb, options | other, stream()), weights(SHAPES))


@pytest.mark.parametrize(
    ("options", "own", "other"),
    [
        ({"lr": 0.01}, {}, {}),
        ({"lr": 0.01, "weight_decay": 0.0, "betas": (0.8, 0.95)}, {}, {}),
        ({"lr": 0.01, "weight_decay": 0.0}, {"adapt": "all"}, {"use_nvlamb": True}),
        ({"lr": 0.01, "weight_decay": 0.2, "eps": 1e-3}, {"decay": "gradient"}, {"adam_w_mode": False}),
        ({"lr": 0.01, "weight_decay": 0.2, "grad_averaging": False}, {}, {}),
        ({"lr": 0.01, "weight_decay": 0.2}, {"bias_correction": "none"}, {"bias_correction": False}),
    ],
    ids=str,
)
def test_lamb_of_apex(options: dict[str, Any], own: dict[str, Any], other: dict[str, Any]) -> None:
    found = ours(lw.LAMB(variant="apex", **options, **own), stream())
    assert_near(found, theirs_in_numpy(trust_ratio.apex_lamb, options | other, stream()), weights(SHAPES))


def test_lamb_of_apex_with_its_clipping() -> None:
    """apex divides by norm / max_grad_norm; clip_global_norm, like torch, adds 1e-6 to the norm of 50."""
    found = ours(lw.LAMB(lr=0.01, eps=0.1, variant="apex"), stream(), clip_global_norm=1.0)
    values = weights(SHAPES)
    states: dict[str, trust_ratio.State] = {key: {} for key in values}
    for gradient in stream():
        total = math.hypot(*map(norm, gradient.values()))
        assert total > 10
        for key, value in values.items():
            trust_ratio.apex_lamb(value, gradient[key], states[key], lr=0.01, eps=0.1, clipped_global_grad_norm=total)
    assert_near(found, values, weights(SHAPES), tolerance=1e-6)


# ---- Every option

LAYERS: dict[str, dict[str, tuple[int, ...]]] = {
    "matrix and bias": {"weight": (9, 5), "bias": (9,), "gain": ()},
    "without decay": {"weight": (4, 3, 2), "bias": (4,), "empty": (0, 3)},
    "vectors": {"scale": (19,), "shift": (19,)},
    "zero weights": {"weight": (3, 5), "bias": (2,)},
    "zero gradients": {"weight": (2, 3), "bias": (2,)},
}


def options_product(options: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def in_triples(options: dict[str, list[Any]], turn: int) -> list[dict[str, Any]]:
    """A quarter of the product of six options of two values, in which any three have all their eight combinations.

    `turn` says which quarter: callers with other options besides take turns.
    """
    names = [*options]
    assert [len(values) for values in options.values()] == [2] * 6
    chosen = []
    for a, b, c, d in itertools.product((0, 1), repeat=4):
        places = (a, b, c, d, (a + b + c + turn) % 2, (b + c + d + turn // 2) % 2)
        chosen.append({name: options[name][place] for name, place in zip(names, places, strict=True)})
    return chosen


def assert_options(rule: lw.Rule, reference: Callable[..., list[float]], options: dict[str, Any], steps: int) -> None:
    """Steps all layers with the rule and with the reference, and compares weights and reported ratios."""
    values, expected = ({name: weights(shapes, 5) for name, shapes in LAYERS.items()} for _ in range(2))
    for side in (values, expected):
        for value in side["zero weights"].values():
            value[...] = 0
    start = {name: {key: value.copy() for key, value in tensors.items()} for name, tensors in values.items()}
    states: dict[str, list[trust_ratio.State]] = {name: [{} for _ in shapes] for name, shapes in LAYERS.items()}
    streams = {name: gradients(shapes, steps, 6) for name, shapes in LAYERS.items()}
    with lw.Optimizer(rule, telemetry=True) as opt:
        for name, tensors in values.items():
            own: dict[str, Any] = {"weight_decay": 0.0} if name == "without decay" else {}
            opt.add_layer(name, tensors, **own)
        for _ in range(steps):
            found = {name: next(stream) for name, stream in streams.items()}
            for value in found["zero gradients"].values():
                value[...] = 0
            opt.step(found)
            for name, tensors in expected.items():
                own = options | ({"weight_decay": 0.0} if name == "without decay" else {})
                ratios = reference([*tensors.values()], [*found[name].values()], states[name], **own)
                reported = opt.layer(name).telemetry.trust_ratio
                assert reported == pytest.approx(float(np.mean(ratios)), rel=1e-10), (name, options)
    for name, tensors in values.items():
        for key, value in tensors.items():
            size = distance(expected[name][key], start[name][key]) or norm(start[name][key])
            assert distance(value, expected[name][key]) <= TOLERANCE * size, (name, key, options)


MOMENTA: list[dict[str, Any]] = [
    {"momentum": 0.0},
    {"momentum": 0.8, "dampening": 0.3},
    {"momentum": 0.7, "nesterov": True},
]


@pytest.mark.parametrize("momentum", MOMENTA, ids=str)
@pytest.mark.parametrize("scope", ["tensor", "layer"])
@pytest.mark.parametrize("adapt", ["all", "decayed", "matrices"])
def test_every_option_of_lars(adapt: str, scope: str, momentum: dict[str, Any]) -> None:
    common: dict[str, Any] = {
        "weight_decay": 0.07,
        "trust_coefficient": 0.01,
        "eps": 1e-3,
        "adapt": adapt,
        "trust_ratio_scope": scope,
    }
    turn = [*itertools.product(["all", "decayed", "matrices"], ["tensor", "layer"])].index((adapt, scope))
    for options in in_triples(
        {
            "norm": ["separate", "decayed"],
            "lr_position": ["inside", "outside"],
            "trust_clip": [False, True],
            "skip_zero_gradient": [False, True],
            "weight_decay_exclude_1d": [False, True],
            "lr": [0.01, 2.0],
        },
        turn + MOMENTA.index(momentum),
    ):
        given = common | momentum | options
        reference = {"norm_of" if key == "norm" else key: value for key, value in given.items()}
        assert_options(lw.LARS(**given), trust_ratio.lars, reference, steps=3)


@pytest.mark.parametrize("bias_correction", ["moments", "none", "step_size"])
@pytest.mark.parametrize("scope", ["tensor", "layer"])
@pytest.mark.parametrize("adapt", ["all", "decayed", "matrices"])
@pytest.mark.parametrize("decay", ["update", "decoupled", "gradient"])
def test_every_option_of_lamb(decay: str, adapt: str, scope: str, bias_correction: str) -> None:
    common: dict[str, Any] = {
        "lr": 0.05,
        "betas": (0.8, 0.95),
        "eps": 1e-4,
        "weight_decay": 0.3,
        "decay": decay,
        "adapt": adapt,
        "trust_ratio_scope": scope,
        "bias_correction": bias_correction,
    }
    turn = ["update", "decoupled", "gradient"].index(decay) + (scope == "layer")
    limits_of_ratio = (
        {},
        {"ratio_min": 0.6, "ratio_max": 1.2},
        {"weight_norm_max": 1.5},
        {"ratio_eps": True, "eps": 0.05},
    )
    others = options_product({"grad_averaging": [True, False], "weight_decay_exclude_1d": [False, True]})
    for (i, limits), (j, options) in itertools.product(enumerate(limits_of_ratio), enumerate(others)):
        # Half of the product: each of the limits meets both values of either option, and the other half in other cases.
        if (i + (j in (1, 2)) + turn) % 2:
            continue
        given = common | limits | options
        assert_options(lw.LAMB(**given), trust_ratio.lamb, given, steps=3)


def test_defaults_are_the_papers() -> None:
    """You et al. 2017, algorithm 1, and You et al. 2020, algorithm 2, with the identity for phi."""
    for lars in (lw.LARS(), lw.LARS(variant="paper")):
        assert_options(lars, trust_ratio.lars, {}, steps=5)
    for lamb in (lw.LAMB(), lw.LAMB(variant="paper")):
        assert_options(lamb, trust_ratio.lamb, {}, steps=5)


# ---- Size and type


@pytest.mark.parametrize("scope", ["tensor", "layer"])
@pytest.mark.parametrize("rule", ["LARS", "LAMB"])
def test_large_tensors(rule: str, scope: str) -> None:
    """Several tensors of several blocks, which threads measure and update in turns."""
    shapes = {"a": (300, 511), "b": (16384,), "c": (16385, 3), "d": (7,)}
    values, expected = weights(shapes, 3), weights(shapes, 3)
    states: list[trust_ratio.State] = [{} for _ in shapes]
    options: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.1, "trust_ratio_scope": scope}
    reference = trust_ratio.lars if rule == "LARS" else trust_ratio.lamb
    with lw.Optimizer(getattr(lw, rule)(**options), threads=3) as opt:
        opt.add_layer("all", values)
        for found in gradients(shapes, 3):
            opt.step({"all": found})
            reference(list(expected.values()), list(found.values()), states, **options)
    assert_near(values, expected, weights(shapes, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("rule", ["LARS", "LAMB"])
def test_types(rule: str, dtype: torch.dtype) -> None:
    """One step at a time from the same weights: to 2e-6 of the step in float32, and then rounded to the type."""
    options: dict[str, Any] = {"lr": 0.5 if rule == "LARS" else 0.05, "weight_decay": 0.1}
    options |= {"trust_coefficient": 0.1, "momentum": 0.0} if rule == "LARS" else {"betas": (0.5, 0.9)}
    reference = trust_ratio.lars if rule == "LARS" else trust_ratio.lamb
    values = {key: torch.from_numpy(value).to(dtype) for key, value in weights(SHAPES).items()}
    states: dict[str, list[trust_ratio.State]] = {key: [{}] for key in values}
    with lw.Optimizer(getattr(lw, rule)(**options)) as opt:
        for key, value in values.items():
            opt.add_layer(key, value)
        for found in gradients(SHAPES, 20):
            given = {key: torch.from_numpy(value).to(dtype) for key, value in found.items()}
            before = {key: value.double().numpy().copy() for key, value in values.items()}
            opt.step(given)
            for key, start in before.items():
                expected = start.copy()
                reference([expected], [given[key].double().numpy()], states[key], **options)
                rounding = torch.finfo(dtype).eps * np.maximum(np.abs(expected), np.abs(start))
                assert (np.abs(values[key].double().numpy() - expected) <= rounding + 2e-6 * norm(expected)).all(), key


@pytest.mark.parametrize("rule", ["LARS", "LAMB"])
def test_one_ratio_for_a_layer_of_several_types(rule: str) -> None:
    """The norms of all types are added up, so the step is as exact as float32 is, then rounded to each type."""
    options: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.1, "trust_ratio_scope": "layer"}
    options |= {"trust_coefficient": 1.0, "momentum": 0.0} if rule == "LARS" else {"betas": (0.5, 0.9)}
    types = {"matrix": torch.float64, "vector": torch.float32, "rank 4": torch.bfloat16, "odd": torch.float16}
    start = weights(SHAPES)
    values = {key: torch.from_numpy(start[key]).to(dtype) for key, dtype in types.items()}
    expected = [value.double().numpy().copy() for value in values.values()]
    given = {key: torch.from_numpy(stream(1)[0][key]).to(dtype) for key, dtype in types.items()}
    with lw.Optimizer(getattr(lw, rule)(**options), telemetry=True) as opt:
        opt.add_layer("all", values)
        opt.step({"all": given})
        ratio = opt.layer("all").telemetry.trust_ratio
    reference = trust_ratio.lars if rule == "LARS" else trust_ratio.lamb
    gradient = [value.double().numpy() for value in given.values()]
    assert ratio == pytest.approx(reference(expected, gradient, [{} for _ in types], **options)[0], rel=1e-6)
    for (key, value), wanted in zip(values.items(), expected, strict=True):
        spacing = (torch.finfo(value.dtype).eps if value.itemsize == 2 else 0.0) * np.abs(wanted)
        assert (np.abs(value.double().numpy() - wanted) <= spacing + 2e-6 * norm(wanted)).all(), key
