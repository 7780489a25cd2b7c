# SPDX-License-Identifier: Apache-2.0
"""The classes step as torch's of the same name: through groups and schedulers, gradients of autograd, whole states.

Cases, shapes and tolerances are those of test_parity_torch.py, which compares the library without these classes and
says where each tolerance comes from: 1e-12 (float64) and 2e-6 (float32) of the distance moved, in float32 also of the
weight.  A moment is compared with the largest gradient, or its square.
"""

import copy
import inspect
import math
from typing import Any

import pytest
import torch
from support.material import SHAPES, distance, gradients, norm, weights
from support.pairs import in_pairs
from support.rules import TABLE, peer, state_count
from test_parity_torch import (
    CASES,
    DIRECTIONS,
    DTYPES,
    GROUPS,
    HALF_CASES,
    HALVES,
    TOLERANCE,
    assert_equal,
    factors,
    own_values,
    stream,
)
from torch.optim.lr_scheduler import LambdaLR

import layerwise as lw
import layerwise.torch as lwt

STEPS = 50
"""What 200 steps add up to is compared without these classes."""

Parameters = dict[str, torch.nn.Parameter]
IN_TORCH = [name for name in TABLE if hasattr(torch.optim, name)]
"""The classes that torch has too."""


def parameters(dtype: torch.dtype) -> Parameters:
    return {key: torch.nn.Parameter(torch.from_numpy(value).to(dtype)) for key, value in weights(SHAPES).items()}


def groups(params: Parameters, options: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"params": [params[key] for key in keys], **own} for keys, own in zip(GROUPS, own_values(options), strict=True)
    ]


class Twins:
    """One of our optimizers and torch's, on memory of their own, with a scheduler each."""

    def __init__(
        self, name: str, options: dict[str, Any], dtype: torch.dtype, twin_dtype: torch.dtype | None = None, **ours: Any
    ) -> None:
        self.ours, self.theirs = parameters(dtype), parameters(dtype)
        if twin_dtype is not None:
            self.theirs = {key: torch.nn.Parameter(value.detach().to(twin_dtype)) for key, value in self.theirs.items()}
        self.start = {key: value.detach().clone() for key, value in self.theirs.items()}
        self.opt = getattr(lwt, name)(groups(self.ours, options), **options, **ours)
        maximize = {"maximize": True} if ours.get("maximize") else {}
        self.twin = peer(name)(groups(self.theirs, options), foreach=False, **options, **maximize)
        factor = list(factors(STEPS + 1))
        self.schedulers = [LambdaLR(opt, lambda step: factor[step]) for opt in (self.opt, self.twin)]
        self.largest = dict.fromkeys(SHAPES, 0.0)
        self.what, self.steps, self.counts = f"{name}({options})", 0, TABLE[name].counts
        self.skips_empty = TABLE[name].skips_empty

    def step(self, found: dict[str, torch.Tensor | None]) -> None:
        for key, gradient in found.items():
            for param in (self.ours[key], self.theirs[key]):
                param.grad = None if gradient is None else gradient.to(param.dtype, copy=True)
            self.largest[key] = max(self.largest[key], 0.0 if gradient is None else norm(gradient.double()))
        self.opt.step()
        self.twin.step()
        self.steps += 1
        for scheduler in self.schedulers:
            scheduler.step()

    def assert_equal_weights(self) -> None:
        for key in SHAPES:
            assert_equal(self.ours[key], self.theirs[key], self.start[key], f"{self.what}, {key}, step {self.steps}")

    def assert_equal_states(self) -> int:
        """Compare every state that torch keeps, and return how many there were."""
        compared = 0
        for key in SHAPES:
            ours, theirs = self.opt.state[self.ours[key]], self.twin.state[self.theirs[key]]
            assert set(theirs) - set(ours) == set()
            if 0 in SHAPES[key] and self.skips_empty:
                continue
            for name, expected in theirs.items():
                found = ours[name]
                assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
                if name == "step":
                    # A peer that does not count only passes on what it was given.
                    assert found == expected or not self.counts
                    continue
                size = max(self.largest[key] ** (2 if "sq" in name else 1), norm(expected))
                assert distance(found, expected) <= TOLERANCE[expected.dtype] * size, f"{self.what}, {name} of {key}"
                compared += 1
        return compared


@pytest.mark.parametrize(("case", "direction", "kind"), in_pairs(CASES, DIRECTIONS, [*DTYPES][::-1]))
def test_every_option(case: str, direction: str, kind: str) -> None:
    """All options away from their defaults, three groups, a scheduler, and gradients that are missing now and then.

    Where test_parity_torch.py takes float64, this takes float32, and the other way round.
    """
    (name, options), maximize, dtype = CASES[case], DIRECTIONS[direction], DTYPES[kind]
    twins = Twins(name, options, dtype, maximize=maximize)
    for gradient in stream(dtype, STEPS):
        twins.step(gradient)
    twins.assert_equal_weights()
    assert twins.assert_equal_states() == state_count(name, options, SHAPES)


@pytest.mark.parametrize("direction", ["torch to ours", "ours to torch"])
@pytest.mark.parametrize(("name", "options"), CASES.values(), ids=CASES)
def test_change_in_mid_run(name: str, options: dict[str, Any], direction: str) -> None:
    """A state dict of one, loaded into a new optimizer of the other half way, goes on as if nothing had happened."""
    dtype = torch.float64
    twins = Twins(name, options, dtype)
    for step, gradient in enumerate(stream(dtype, STEPS)):
        if step == STEPS // 2:
            if direction == "torch to ours":
                loaded = getattr(lwt, name)(groups(twins.ours, {}))
                loaded.load_state_dict(copy.deepcopy(twins.twin.state_dict()))
                give_weights(twins.theirs, twins.ours)
                twins.schedulers[0].optimizer = twins.opt = loaded
            else:
                loaded = peer(name)(groups(twins.theirs, {}), foreach=False)
                loaded.load_state_dict(copy.deepcopy(twins.opt.state_dict()))
                give_weights(twins.ours, twins.theirs)
                twins.schedulers[1].optimizer = twins.twin = loaded
        twins.step(gradient)
    twins.assert_equal_weights()
    assert twins.assert_equal_states() == state_count(name, options, SHAPES)


def give_weights(source: Parameters, target: Parameters) -> None:
    with torch.no_grad():
        for key, value in source.items():
            target[key].copy_(value)


@pytest.mark.parametrize("dtype", HALVES, ids=["bfloat16", "float16"])
@pytest.mark.parametrize(("name", "options"), HALF_CASES.values(), ids=HALF_CASES)
def test_16_bits_with_master_copies(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    """The master is torch's float32 run; the parameters are the master, rounded to nearest even, in every bit."""
    twins = Twins(name, options, dtype, torch.float32, master=True)
    for gradient in stream(dtype, STEPS):
        twins.step(gradient)
    for key in SHAPES:
        master = twins.opt.state[twins.ours[key]]["master"]
        assert_equal(master, twins.theirs[key], twins.start[key])
        assert torch.equal(twins.ours[key], master.to(dtype)), key


@pytest.mark.parametrize("dtype", HALVES, ids=["bfloat16", "float16"])
@pytest.mark.parametrize(("name", "options"), HALF_CASES.values(), ids=HALF_CASES)
def test_16_bits_step_by_step(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    """Without a master: torch's float32 step from the same weights, rounded; few elements lie near a middle."""
    twins = Twins(name, options, dtype, torch.float32)
    elements = different = changed = 0
    for gradient in stream(dtype, STEPS):
        before = {key: value.detach().clone() for key, value in twins.ours.items()}
        give_weights(twins.ours, twins.theirs)
        twins.step(gradient)
        for key, param in twins.theirs.items():
            ours, theirs = twins.ours[key].float(), param.detach().to(dtype).float()
            # Where a step nearly cancels a weight, a last bit of float32 is many last bits of the small result.
            spacing = torch.finfo(dtype).eps * torch.maximum(theirs.abs(), before[key].float().abs())
            assert ((ours - theirs).abs() <= spacing).all(), key
            elements += ours.numel()
            different += int((ours != theirs).sum())
            changed += int((twins.ours[key] != before[key]).sum())
    assert changed > elements / 20, "too little moved to say anything"
    assert different <= elements / 1000
    for key in SHAPES:
        for state, value in twins.opt.state[twins.ours[key]].items():
            assert value.dtype is torch.float32, state


TRUST_RATIOS: dict[str, tuple[str, dict[str, Any]]] = {
    "lars": ("LARS", {"lr": 0.3, "weight_decay": 0.01}),
    "lars, timm": ("LARS", {"lr": 0.3, "weight_decay": 0.01, "variant": "timm", "momentum": 0.7, "trust_clip": True}),
    "lamb": ("LAMB", {"lr": 0.02, "weight_decay": 0.03, "betas": (0.8, 0.97), "eps": 1e-5}),
    "lamb, apex": ("LAMB", {"lr": 0.02, "variant": "apex", "ratio_max": 3.0, "grad_averaging": False}),
}


@pytest.mark.parametrize(("name", "options"), TRUST_RATIOS.values(), ids=TRUST_RATIOS)
def test_trust_ratios_are_those_of_the_library(name: str, options: dict[str, Any]) -> None:
    """In every bit; test_parity_trust_ratio.py compares the library with other implementations."""
    ours, theirs = parameters(torch.float32), parameters(torch.float32)
    opt = getattr(lwt, name)(ours.items(), **options)
    native = lw.Optimizer(getattr(lw, name)(**options), nonfinite="propagate")
    native.add_layer("all", dict(theirs))
    for found in gradients(SHAPES, 20):
        fresh = {key: torch.from_numpy(value).float() for key, value in found.items()}
        for key, param in ours.items():
            param.grad = fresh[key].clone()
        opt.step()
        native.step({"all": fresh})
    for key in SHAPES:
        assert torch.equal(ours[key], theirs[key]), key
    assert not torch.equal(ours["matrix"], parameters(torch.float32)["matrix"])


@pytest.mark.parametrize("name", IN_TORCH)
def test_arguments_are_those_of_torch(name: str) -> None:
    """Same names, order, kinds and defaults; what is ours comes after, by keyword."""
    ours = inspect.signature(getattr(lwt, name)).parameters
    for theirs in inspect.signature(getattr(torch.optim, name)).parameters.values():
        assert (ours[theirs.name].kind, ours[theirs.name].default) == (theirs.kind, theirs.default), theirs.name
    positional = [key for key, value in ours.items() if value.kind is value.POSITIONAL_OR_KEYWORD]
    theirs_positional = [
        key
        for key, value in inspect.signature(getattr(torch.optim, name)).parameters.items()
        if value.kind is value.POSITIONAL_OR_KEYWORD
    ]
    assert positional == theirs_positional


@pytest.mark.parametrize("name", ["LARS", "LAMB"])
def test_arguments_are_those_of_the_rule(name: str) -> None:
    ours = inspect.signature(getattr(lwt, name)).parameters
    for theirs in inspect.signature(getattr(lw, name)).parameters.values():
        assert ours[theirs.name].default == theirs.default, theirs.name


@pytest.mark.parametrize("name", IN_TORCH)
def test_defaults_are_those_of_torch(name: str) -> None:
    param = torch.nn.Parameter(torch.ones(2, 2))
    ours, theirs = getattr(lwt, name)([param]).defaults, getattr(torch.optim, name)([param]).defaults
    assert {key: ours[key] for key in theirs} == theirs


def test_a_rate_that_is_a_tensor_is_read_at_every_step() -> None:
    """Also where it gets another value in place, which comparing objects would not see."""
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    start = {key: value.detach().clone() for key, value in ours.items()}
    rate, constant = torch.tensor(0.03), 0.03
    opt, twin = lwt.AdamW(ours.values(), lr=rate), torch.optim.AdamW(theirs.values(), lr=constant, foreach=False)
    assert opt.param_groups[0]["lr"] is rate
    for step, found in enumerate(gradients(SHAPES, 20)):
        rate.fill_(0.03 * math.cos(step / 20))
        twin.param_groups[0]["lr"] = float(rate)
        for params in (ours, theirs):
            for key, param in params.items():
                param.grad = torch.from_numpy(found[key].copy())
        opt.step()
        twin.step()
    for key in SHAPES:
        assert_equal(ours[key], theirs[key], start[key])
