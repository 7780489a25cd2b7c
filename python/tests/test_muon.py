# SPDX-License-Identifier: Apache-2.0
"""Muon beside torch.optim.Muon, which works in bfloat16 and takes matrices only, and beside torch.optim.AdamW."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import layerwise as lw
import layerwise.torch as lwt

SHAPES = {"wide": (20, 70), "tall": (130, 30), "square": (64, 64), "row": (1, 9), "column": (9, 1)}

OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "plain": {"lr": 0.03, "momentum": 0.8, "nesterov": False, "weight_decay": 0.3},
    "matched": {
        "lr": 0.02,
        "adjust_lr_fn": "match_rms_adamw",
        "ns_coefficients": (3.0, -3.2, 1.2),
        "ns_steps": 3,
        "eps": 1e-3,
    },
}


@pytest.fixture
def in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's Muon rounds to bfloat16 by this method; without it, the same lines work in the type of the parameters."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)


def gradients(dtype: torch.dtype, steps: int) -> Iterator[dict[str, torch.Tensor]]:
    random = np.random.default_rng(3)
    for _ in range(steps):
        yield {name: torch.from_numpy(random.standard_normal(shape)).to(dtype) for name, shape in SHAPES.items()}


def parameters(dtype: torch.dtype) -> dict[str, torch.nn.Parameter]:
    random = np.random.default_rng(2)
    return {
        name: torch.nn.Parameter(torch.from_numpy(random.standard_normal(shape)).to(dtype))
        for name, shape in SHAPES.items()
    }


def distances(
    options: dict[str, Any], dtype: torch.dtype, steps: int, **own: Any
) -> dict[str, tuple[float, float, float]]:
    """By tensor, after some steps of both: how far they are apart, how far torch's moved, and its norm.

    Args:
        options: Of both.
        dtype: The parameters'.
        steps: How many.
        own: Options that torch does not have.
    """
    ours, theirs = parameters(dtype), parameters(dtype)
    start = {name: param.detach().clone() for name, param in theirs.items()}
    opt, twin = lwt.Muon(ours.items(), **options, **own), torch.optim.Muon(theirs.values(), **options)
    for found in gradients(dtype, steps):
        for name in SHAPES:
            ours[name].grad, theirs[name].grad = found[name].clone(), found[name].clone()
        opt.step()
        twin.step()
    with torch.no_grad():
        for name in SHAPES:
            buffers = opt.state[ours[name]]["momentum_buffer"], twin.state[theirs[name]]["momentum_buffer"]
            assert float((buffers[0] - buffers[1]).norm()) <= 30 * torch.finfo(dtype).eps * float(buffers[1].norm())
        return {
            name: (
                float((ours[name] - theirs[name]).norm()),
                float((theirs[name] - start[name]).norm()),
                float(theirs[name].norm()),
            )
            for name in SHAPES
        }


@pytest.mark.usefixtures("in_full_precision")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_equals_torch_in_full_precision(options: dict[str, Any], dtype: torch.dtype) -> None:
    """Five iterations multiply errors of small singular values by 3.4445**5 = 485; each step rounds the weight."""
    unit = torch.finfo(dtype).eps
    for name, (apart, moved, size) in distances(options, dtype, 30).items():
        assert moved > 1e-3
        assert apart <= 500 * unit * moved + 30 * unit * size, name


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_is_near_torch_in_bfloat16(options: dict[str, Any]) -> None:
    """bfloat16 has 8 bits: a direction of torch is about 2**-8 apart from ours; 30 steps were 0.006 apart at most."""
    for name, (apart, moved, _) in distances(options, torch.float32, 30).items():
        assert 1e-4 * moved < apart <= 0.02 * moved, name


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_equals_torch_in_bfloat16(options: dict[str, Any]) -> None:
    """Ours rounds where torch rounds; what is left are sums in another order, some of which round the other way."""
    full = distances(options, torch.float32, 30)
    for name, (apart, moved, _) in distances(options, torch.float32, 30, ns_precision="bfloat16").items():
        # A sum that rounds the other way changes a number by 2**-8 of itself: 30 steps were 0.0007 apart at most.
        assert apart <= 2**-9 * moved, name
        assert apart <= 0.5 * full[name][0], name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_directions_in_bfloat16(dtype: str) -> None:
    """Weights that begin at 0 are the negative directions after a step, and these have eight digits."""
    random = np.random.default_rng(4)
    weights = {str(shape): np.zeros(shape, dtype) for shape in [(5, 9), (40, 33), (1, 1), (3, 17), (300, 250)]}
    rule = lw.Muon(lr=1.0, weight_decay=0.0, adjust_lr_fn="none", ns_precision="bfloat16")
    with lw.Optimizer(rule) as opt:
        opt.add_layer("a", weights)
        opt.step({"a": {name: random.normal(size=weight.shape).astype(dtype) for name, weight in weights.items()}})
    for name, weight in weights.items():
        assert weight.any(), name
        single = weight.astype(np.float32)
        assert (single == weight).all(), name
        assert not (single.view(np.uint32) & 0xFFFF).any(), name


@pytest.mark.parametrize("of_layer", [False, True])
def test_precision_may_change_between_steps(of_layer: bool) -> None:
    """Memory for rounded matrices is there from the next step on."""
    gradient = np.random.default_rng(4).normal(size=(40, 33)).astype(np.float32)
    weight = np.zeros_like(gradient)
    with lw.Optimizer(lw.Muon(lr=1.0, weight_decay=0.0, adjust_lr_fn="none")) as opt:
        layer = opt.add_layer("a", weight, gradient)
        for precision in ("full", "bfloat16", "full"):
            (layer if of_layer else opt).set(ns_precision=precision)
            weight[:] = 0
            opt.step()
            assert bool((weight.view(np.uint32) & 0xFFFF).any()) == (precision == "full")


def test_other_tensors_are_stepped_by_adamw() -> None:
    values = np.random.default_rng(4).standard_normal(300)
    ours = values.copy()
    theirs = torch.nn.Parameter(torch.from_numpy(values.copy()))
    rule = lw.Muon(lr=0.02, weight_decay=0.3, adamw_lr_scale=0.5, adamw_betas=(0.8, 0.9), adamw_eps=1e-6)
    twin = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.3, betas=(0.8, 0.9), eps=1e-6)
    with lw.Optimizer(rule) as opt:
        opt.add_layer("layer", {"bias": ours})
        for gradient in np.random.default_rng(5).standard_normal((50, 300)):
            theirs.grad = torch.from_numpy(gradient.copy())
            twin.step()
            opt.step({"layer": {"bias": gradient}})
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-12, atol=1e-13)


def test_a_state_of_torch_is_loaded() -> None:
    ours, theirs = parameters(torch.float32), parameters(torch.float32)
    opt, twin = lwt.Muon(ours.items(), lr=0.02), torch.optim.Muon(theirs.values(), lr=0.03, momentum=0.7)
    for found in gradients(torch.float32, 2):
        for name in SHAPES:
            theirs[name].grad = found[name]
        twin.step()
    opt.load_state_dict(twin.state_dict())
    assert (opt.param_groups[0]["lr"], opt.param_groups[0]["momentum"]) == (0.03, 0.7)
    for name in SHAPES:
        buffers = opt.state[ours[name]]["momentum_buffer"], twin.state[theirs[name]]["momentum_buffer"]
        assert torch.equal(*buffers)


@pytest.mark.parametrize("shape", [(12, 30), (3, 5), (33, 7), (1, 1)])
def test_a_stack_of_matrices_is_stepped_as_its_matrices(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(6)
    values, gradient = random.standard_normal((4, *shape)), random.standard_normal((4, *shape))
    whole, parts = values.copy(), values.copy()
    with lw.Optimizer(lw.Muon(lr=0.1, axes="last")) as opt:
        opt.add_layer("stack", {"weight": whole})
        opt.step({"stack": {"weight": gradient}})
    with lw.Optimizer(lw.Muon(lr=0.1)) as opt:
        for index in range(4):
            opt.add_layer(str(index), {"weight": parts[index]})
        opt.step({str(index): {"weight": gradient[index]} for index in range(4)})
    np.testing.assert_array_equal(whole, parts)


def test_a_kernel_of_a_convolution_is_one_matrix() -> None:
    random = np.random.default_rng(7)
    values, gradient = random.standard_normal((16, 3, 5, 5)), random.standard_normal((16, 3, 5, 5))
    kernel, matrix = values.copy(), values.reshape(16, 75).copy()
    for array, grad in ((kernel, gradient), (matrix, gradient.reshape(16, 75))):
        with lw.Optimizer(lw.Muon(lr=0.1)) as opt:
            opt.add_layer("layer", {"weight": array})
            opt.step({"layer": {"weight": grad}})
    np.testing.assert_array_equal(kernel.reshape(16, 75), matrix)


STEPS = """
import numpy as np
import layerwise as lw
for dtype in (np.float32, np.float64):
    random = np.random.default_rng(1)
    with lw.Optimizer(lw.Muon(lr=0.02)) as opt:
        for index, shape in enumerate([(101, 211), (289, 31), (3, 7, 5), (40,), (1, 9)]):
            weight, gradient = (random.standard_normal(shape).astype(dtype) for _ in range(2))
            opt.add_layer(str(index), {"w": weight}, {"w": gradient})
            opt.step(layer=str(index))
            print(weight.tobytes().hex())
"""


@pytest.mark.spawns
def test_the_bits_do_not_depend_on_the_instruction_set() -> None:
    """The baseline copy of the kernels runs on every processor; the other is the best that this one has."""
    path = str(Path(lw.__file__).parent.parent)
    found = [
        subprocess.run(
            [sys.executable, "-c", STEPS],
            env=os.environ | {"PYTHONPATH": path} | chosen,
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        ).stdout
        for chosen in ({}, {"LAYERWISE_ISA": "baseline"})
    ]
    assert len(found[0]) > 100_000
    assert found[0] == found[1]
