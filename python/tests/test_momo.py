# SPDX-License-Identifier: Apache-2.0
"""MoMo and MoMoAdam: rules that need the loss of each step."""

from __future__ import annotations

import ctypes
import functools
import threading
from pathlib import Path
from typing import Any

import jax
import momo  # type: ignore[import-untyped]
import numpy as np
import optax  # type: ignore[import-untyped]
import pytest
import torch
from support.material import SHAPES, distance, gradients, weights
from support.rules import WITH_LOSS, rule

import layerwise as lw
import layerwise.torch as lwt

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]

STEPS = 200

Arrays = dict[str, np.ndarray[Any, Any]]

CASES: dict[str, tuple[str, dict[str, Any], Any, dict[str, Any]]] = {
    "momo": ("MoMo", {}, momo.Momo, {}),
    "momo, options": (
        "MoMo",
        {"lr": 0.2, "weight_decay": 0.3, "beta": 0.7, "lb": -1.5, "bias_correction": True},
        momo.Momo,
        {"lr": 0.2, "weight_decay": 0.3, "beta": 0.7, "lb": -1.5, "bias_correction": True},
    ),
    "momo, estimated bound": (
        "MoMo",
        {"lr": 0.2, "weight_decay": 0.3, "lb": -0.1, "use_fstar": True},
        momo.Momo,
        {"lr": 0.2, "weight_decay": 0.3, "lb": -0.1, "use_fstar": True},
    ),
    "momo-adam": ("MoMoAdam", {}, momo.MomoAdam, {}),
    "momo-adam, options": (
        "MoMoAdam",
        {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.3, "lb": -1.5},
        momo.MomoAdam,
        {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.3, "lb": -1.5},
    ),
    "momo-adam, estimated bound, decay as in AdamW": (
        "MoMoAdam",
        {"lr": 0.03, "weight_decay": 0.3, "lb": -0.1, "use_fstar": True, "divide": False},
        momo.MomoAdam,
        {"lr": 0.03, "weight_decay": 0.3, "lb": -0.1, "use_fstar": True, "divide": False},
    ),
}


def material() -> tuple[Arrays, list[Arrays]]:
    """The weights that have elements, and what disturbs their gradients at each step."""
    start = {key: value for key, value in weights(SHAPES).items() if value.size}
    return start, [{key: found[key] for key in start} for found in gradients(SHAPES, STEPS)]


def loss_of(params: Any, noise: Arrays) -> Any:
    """A loss whose gradient is 0.3·w and the noise."""
    return 1 + sum(0.15 * (value * value).sum() + (value * noise[key]).sum() for key, value in params.items())


def assert_close(ours: Arrays, theirs: Arrays, start: Arrays, tolerance: float) -> None:
    for key in ours:
        moved = distance(theirs[key], start[key])
        assert moved > 0
        error = distance(ours[key], theirs[key])
        assert error <= tolerance * moved, f"{key}: {error / moved:.2e} of the distance moved"


@pytest.mark.parametrize("as_closure", [False, True])
@pytest.mark.parametrize(("name", "options", "peer", "peer_options"), CASES.values(), ids=CASES)
def test_parity_with_momo_opt(
    name: str,
    options: dict[str, Any],
    peer: Any,
    peer_options: dict[str, Any],
    as_closure: bool,
    request: pytest.FixtureRequest,
) -> None:
    """momo-opt takes its sums of products apart and subtracts them, where rounding is 1e-16 of each; 1e-10 forgives it.

    It keeps one of them in torch's default type.
    """
    request.addfinalizer(functools.partial(torch.set_default_dtype, torch.get_default_dtype()))
    torch.set_default_dtype(torch.float64)
    start, noises = material()
    ours, theirs = (
        {key: torch.nn.Parameter(torch.from_numpy(value.copy())) for key, value in start.items()} for _ in "ab"
    )
    opt, twin = getattr(lwt, name)([*ours.items()], **options), peer([*theirs.values()], **peer_options)
    taus = set()
    for found in noises:
        noise: Any = {key: torch.from_numpy(value) for key, value in found.items()}
        for params, optimizer in ((ours, opt), (theirs, twin)):
            optimizer.zero_grad()
            loss = loss_of(params, noise)
            loss.backward()
            if as_closure:
                optimizer.step(lambda loss=loss: loss)
            else:
                optimizer.step(loss=loss)
        taus.add(float(opt.state_dict()["state"][0]["tau"]))
    assert len(taus) > 10, "the rate was never lowered"
    assert_close(
        *({key: value.detach().numpy() for key, value in each.items()} for each in (ours, theirs)), start, 1e-10
    )


OF_OPTAX: dict[str, tuple[lw.Rule, Any]] = {
    "momo": (lw.MoMo(lr=0.2, beta=0.7, lb=-1.5), optax.contrib.momo(0.2, 0.7, lower_bound=-1.5)),
    "momo, estimated bound": (
        lw.MoMo(lr=0.2, lb=-0.1, use_fstar=True),
        optax.contrib.momo(0.2, lower_bound=-0.1, adapt_lower_bound=True),
    ),
    "momo-adam": (
        lw.MoMoAdam(lr=0.03, betas=(0.8, 0.95), eps=1e-4, lb=-1.5),
        optax.contrib.momo_adam(0.03, 0.8, 0.95, 1e-4, lower_bound=-1.5),
    ),
    "polyak sgd": (lw.rule_by_name("polyak_sgd", lr=0.2, lb=0.5), optax.polyak_sgd(0.2, f_min=0.5, variant="sps+")),
}


@pytest.mark.parametrize(("chosen", "peer"), OF_OPTAX.values(), ids=OF_OPTAX)
def test_parity_with_optax(chosen: lw.Rule, peer: Any) -> None:
    start, noises = material()
    ours = {key: value.copy() for key, value in start.items()}
    theirs: Any = {key: jax.numpy.asarray(value) for key, value in start.items()}
    state = peer.init(theirs)
    level = {"xla_backend_optimization_level": 0}
    update = jax.jit(
        lambda found, old, params, loss: peer.update(found, old, params, value=loss), compiler_options=level
    )
    with lw.Optimizer(chosen) as opt:
        opt.add_layer("all", ours)
        for noise in noises:
            grads = {key: np.asarray(0.3 * ours[key] + noise[key]) for key in ours}
            opt.step({"all": grads}, loss=loss_of(ours, noise))
            found = {key: 0.3 * theirs[key] + noise[key] for key in theirs}
            changes, state = update(found, state, theirs, loss_of(theirs, noise))
            theirs = optax.apply_updates(theirs, changes)
    assert_close(ours, {key: np.asarray(value) for key, value in theirs.items()}, start, 1e-10)


# ---- What the table of rules stands for with other rules


def run(opt: lw.Optimizer, layers: dict[str, Arrays], steps: range) -> None:
    for step in steps:
        draw = np.random.default_rng(step)
        grads = {
            name: {key: value + draw.normal(size=value.shape).astype(value.dtype) for key, value in layer.items()}
            for name, layer in layers.items()
        }
        opt.step(grads, loss=5 / (step + 1))


def model(dtype: Any = np.float32) -> dict[str, Arrays]:
    draw = np.random.default_rng(7)
    return {
        name: {"weight": draw.normal(size=(60, 40)).astype(dtype), "bias": draw.normal(size=13).astype(dtype)}
        for name in ("body", "head")
    }


def made(name: str, layers: dict[str, Arrays], **options: Any) -> lw.Optimizer:
    opt = lw.Optimizer(rule(name, WITH_LOSS[name]), lw.LayerDecay(0.5), schedule=lw.Linear(50), **options)
    for layer, arrays in layers.items():
        opt.add_layer(layer, arrays)
    return opt


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", WITH_LOSS)
def test_same_bits_over_threads_and_through_a_checkpoint_at_every_step(name: str, dtype: Any, tmp_path: Path) -> None:
    whole, threaded = model(dtype), model(dtype)
    with made(name, whole) as opt, made(name, threaded, threads=3, telemetry=True) as other:
        for step in range(12):
            opt.save(tmp_path / "state")
            copied = {layer: {key: value.copy() for key, value in arrays.items()} for layer, arrays in whole.items()}
            with made(name, copied) as resumed:
                resumed.load(tmp_path / "state")
                for each, layers in ((opt, whole), (other, threaded), (resumed, copied)):
                    run(each, layers, range(step, step + 1))
            for layers in (threaded, copied):
                for layer, arrays in whole.items():
                    for key, value in arrays.items():
                        assert value.tobytes() == layers[layer][key].tobytes(), f"{step}, {layer}, {key}"
    assert all(np.isfinite(value).all() for arrays in whole.values() for value in arrays.values())


@pytest.mark.parametrize("name", WITH_LOSS)
def test_a_step_without_a_loss_is_refused_and_changes_nothing(name: str) -> None:
    layers = model()
    with made(name, layers) as opt:
        before = {layer: {key: value.copy() for key, value in arrays.items()} for layer, arrays in layers.items()}
        grads = {layer: {key: value.copy() for key, value in arrays.items()} for layer, arrays in layers.items()}
        with pytest.raises(lw.InvalidArgument, match=f"{name} needs the loss of each step, and none was given"):
            opt.step(grads)
        for loss in (float("nan"), float("inf")):
            with pytest.raises(lw.OutOfRange, match="loss must be finite"):
                opt.step(grads, loss=loss)
        assert opt.summary().steps == 0
        for layer, arrays in layers.items():
            for key, value in arrays.items():
                assert np.array_equal(value, before[layer][key])
        opt.step(grads, loss=np.float32(0.5))
        with pytest.raises(lw.InvalidArgument, match="needs the loss"):
            opt.step(grads)
        with pytest.raises(TypeError, match="loss: expected a number, found str"):
            opt.step(grads, loss="low")  # type: ignore[arg-type]


def test_other_rules_do_not_look_at_the_loss() -> None:
    layers = model()
    with lw.Optimizer(lw.AdamW()) as opt:
        opt.add_layer("body", layers["body"])
        opt.step({"body": model()["body"]}, loss=float("nan"))
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    lwt.AdamW([weight]).step(loss=float("nan"))
    lwt.AdamW([weight]).step(lambda: "no number")  # type: ignore[call-overload]


@pytest.mark.parametrize("name", WITH_LOSS)
def test_torch_without_a_loss(name: str) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    optimizer = getattr(lwt, name)([weight], lr=0.1)
    with pytest.raises(lw.InvalidArgument, match="needs the loss of each step"):
        optimizer.step()
    assert torch.equal(weight, torch.ones(3))
    optimizer.step(loss=torch.tensor(2.0))
    assert optimizer.step(lambda: torch.tensor(1.5)) == 1.5
    assert (weight < 1).all()
    other = getattr(lwt, name)([weight], lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    assert other.state_dict()["state"][0]["loss_avg"] == optimizer.state_dict()["state"][0]["loss_avg"] > 0


def test_sums_over_processes() -> None:
    """Two optimizers that hold half of each tensor, and add up their sums, are one optimizer."""
    for name in WITH_LOSS:
        layers = model(np.float64)
        halves = [
            {layer: {key: value[half::2].copy() for key, value in arrays.items()} for layer, arrays in layers.items()}
            for half in (0, 1)
        ]
        sums = collected(name, halves)
        with made(name, layers) as opt:
            run_on(opt, layers, range(4))
        for half in (0, 1):
            for layer, arrays in layers.items():
                for key, value in arrays.items():
                    np.testing.assert_allclose(halves[half][layer][key], value[half::2], rtol=1e-12, atol=1e-14)
        assert sums > 0


def run_on(opt: lw.Optimizer, layers: dict[str, Arrays], steps: range) -> None:
    for step in steps:
        opt.step({name: {k: 0.5 * v for k, v in layer.items()} for name, layer in layers.items()}, loss=5 / (step + 1))


def collected(name: str, halves: list[dict[str, Arrays]]) -> int:
    """Steps two optimizers in two threads, whose sums are added up; returns how often."""
    barrier, parts, calls = threading.Barrier(2), [np.zeros(0), np.zeros(0)], [0]

    def work(rank: int) -> None:
        def reduce(numbers: Any, count: int, _: Any) -> int:
            own = np.ctypeslib.as_array(numbers, (count,))
            parts[rank] = own.copy()
            barrier.wait(30)
            own[:] = parts[0] + parts[1]
            barrier.wait(30)
            calls[0] += 1
            return 0

        callback = lw._binding.lw_reduce(reduce)
        with made(name, halves[rank], threads=1) as opt:
            for step in range(4):
                grads = [value * 0.5 for layer in halves[rank].values() for value in layer.values()]
                call = lw._binding.lw_step(ctypes.sizeof(lw._binding.lw_step), 0, -1, 1.0)
                addresses = (ctypes.c_void_p * len(grads))(*(value.ctypes.data for value in grads))
                call.gradients, call.gradient_count, call.reduce = addresses, len(grads), callback
                lw._binding.call(lw._binding.lw_optimizer_set_loss, opt._handle, 5 / (step + 1))
                lw._binding.call(lw._binding.lw_optimizer_step, opt._handle, call)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return calls[0]
