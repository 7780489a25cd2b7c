# SPDX-License-Identifier: Apache-2.0
"""Rules equal torch.optim's (single-tensor implementation) or a twin in torch, every option away from its default.

Layers stand for torch's parameter groups.  Both sides get the same stream of gradients, with some missing, while the
base rate changes from step to step.  The error of a tensor, |ours - torch|, is compared with the distance that it
moved, |torch - start|, and that of a moment with the largest gradient.

- float64: 1e-12 of the distance.  Both sides round each operation to 1.1e-16 of the weight, at different places; 200
  steps make about 1e-15 of the weight, and the slowest case moves a tenth of it.
- float32: 2e-6 of the distance for what the two compute differently, and 2e-6 of the weight, because each step rounds
  the weight by up to 6e-8 of itself: 200 such roundings on both sides add up to 7e-7, three times that in bad cases.
- float16 and bfloat16: torch's own 16-bit states are not the reference, because moments here are float32.  With a
  master copy, the master is compared with torch in float32, and the parameters are the master rounded to nearest even,
  in every bit.  Without one, each single step is compared with torch's float32 step from the same 16-bit weights,
  rounded the same way: equal, but for the few elements that lie so near to the middle of two numbers that a last bit
  decides.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from support.material import SHAPES, distance, gradients, norm, weights
from support.pairs import in_pairs
from support.rules import PARITY, peer, state_count

import layerwise as lw

STEPS = 200
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}
ROUNDING = {torch.float64: 0.0, torch.float32: 2e-6}

CASES = PARITY
Gradients = dict[str, torch.Tensor | None]
GROUPS = (("scalar", "matrix", "empty"), ("vector", "rank 4"), ("one", "odd"))
"""Which tensors make a layer, or a parameter group."""


def own_values(options: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """What each group has of its own; the last one has a scale as well."""
    second: dict[str, Any] = {"lr": 0.011, "weight_decay": 0.13}
    if "betas" in options:
        second["betas"] = (0.65, 0.93)
    if "momentum" in options:
        second["momentum"] = 0.55
    return {}, second, {"weight_decay": 0.0}


SCALE = 0.25


def assert_equal(found: torch.Tensor, expected: torch.Tensor, start: torch.Tensor, what: str = "") -> None:
    """Two results of the same type agree, as measured by the distance moved."""
    dtype = expected.dtype
    moved = distance(expected.detach(), start.detach().to(dtype))
    assert moved > 0 or expected.numel() == 0, f"{what}: nothing moved, so nothing was compared"
    bound = TOLERANCE[dtype] * moved + ROUNDING[dtype] * norm(expected.detach())
    apart = distance(found.detach(), expected.detach())
    assert apart <= bound, f"{what}: {apart} apart, and {bound} are allowed"


class Pair:
    """The same layers in Layerwise and in torch, on memory of their own."""

    def __init__(
        self, name: str, options: dict[str, Any], dtype: torch.dtype, torch_dtype: torch.dtype, **settings: Any
    ) -> None:
        self.start = {key: torch.from_numpy(value.copy()).to(dtype) for key, value in weights(SHAPES).items()}
        self.ours = {key: value.clone() for key, value in self.start.items()}
        self.theirs = {key: torch.nn.Parameter(value.to(torch_dtype, copy=True)) for key, value in self.start.items()}
        own = own_values(options)
        master, gradient_dtype = settings.pop("master", False), settings.pop("gradient_dtype", None)
        self.opt = lw.Optimizer(getattr(lw, name)(**options), **settings)
        for index, tensors in enumerate(GROUPS):
            self.opt.add_layer(
                str(index),
                {key: self.ours[key] for key in tensors},
                scale=SCALE if index == 2 else None,
                master=master,
                gradient_dtype=gradient_dtype,
                **own[index],
            )
        torch_options = {"lr": 1e-3, "foreach": False, "maximize": settings.get("maximize", False)} | options
        self.twin: torch.optim.Optimizer = peer(name)(
            [
                {"params": [self.theirs[key] for key in tensors], **own}
                for tensors, own in zip(GROUPS, own, strict=True)
            ],
            **torch_options,
        )
        self.base = torch_options["lr"]
        self.largest = dict.fromkeys(SHAPES, 0.0)
        self.what, self.steps = f"{name}({options})", 0
        self.change_rates(1.0)

    def change_rates(self, factor: float) -> None:
        """What a schedule does between steps."""
        self.opt.lr = self.base * factor
        self.opt.layer("1").set(lr=0.011 / factor)
        for group, rate in zip(
            self.twin.param_groups, (self.base * factor, 0.011 / factor, self.base * factor * SCALE), strict=True
        ):
            group["lr"] = rate

    def give_torch(self, gradient: Gradients) -> None:
        for key, parameter in self.theirs.items():
            value = gradient[key]
            parameter.grad = None if value is None else value.to(parameter.dtype, copy=True)
            if value is not None:
                self.largest[key] = max(self.largest[key], norm(value.double()))

    def step(self, gradient: Gradients) -> None:
        self.opt.step({str(index): {key: gradient[key] for key in tensors} for index, tensors in enumerate(GROUPS)})
        self.give_torch(gradient)
        self.twin.step()
        self.steps += 1

    def assert_equal_weights(self) -> None:
        for key in SHAPES:
            assert_equal(self.ours[key], self.theirs[key], self.start[key], f"{self.what}, {key}, step {self.steps}")

    def assert_equal_states(self) -> int:
        """Compares every state that torch keeps with ours, and returns how many there were."""
        compared = 0
        for index, tensors in enumerate(GROUPS):
            for key in tensors:
                for name, expected in self.twin.state[self.theirs[key]].items():
                    found = self.opt.layer(index).read_state(key, name)
                    if name == "step":
                        assert list(found) == [int(expected)]  # type: ignore[call-overload]
                    elif expected is not None:
                        size = max(self.largest[key] ** (2 if "sq" in name else 1), norm(expected))
                        assert distance(found, expected) <= TOLERANCE[expected.dtype] * size, (
                            f"{self.what}, {name} of {key}"
                        )
                        compared += 1
        return compared


def stream(dtype: torch.dtype, steps: int = STEPS) -> Iterator[Gradients]:
    """Gradients, each tensor without one at every fifth step."""
    for step, found in enumerate(gradients(SHAPES, steps)):
        yield {
            key: None if (step + index) % 5 == 3 else torch.from_numpy(value).to(dtype)
            for index, (key, value) in enumerate(found.items())
        }


def factors(steps: int = STEPS) -> Iterator[float]:
    """A schedule: warm-up, then a cosine."""
    for step in range(steps):
        yield min(1.0, (step + 1) / 10) * (0.55 + 0.45 * math.cos(math.pi * step / steps))


DTYPES = {"float64": torch.float64, "float32": torch.float32}
DIRECTIONS = {"minimize": False, "maximize": True}


@pytest.mark.parametrize(("case", "direction", "kind"), in_pairs(CASES, DIRECTIONS, DTYPES))
def test_parity(case: str, direction: str, kind: str) -> None:
    """A case meets both directions and both types, each direction with one of the types."""
    (name, options), maximize, dtype = CASES[case], DIRECTIONS[direction], DTYPES[kind]
    pair = Pair(name, options, dtype, dtype, maximize=maximize)
    for factor, gradient in zip(factors(), stream(dtype), strict=True):
        pair.change_rates(factor)
        pair.step(gradient)
        if pair.steps % 50 == 0:
            pair.assert_equal_weights()
    assert pair.assert_equal_states() == state_count(name, options, SHAPES)


def test_sgd_with_decoupled_decay() -> None:
    """torch's SGD has no decoupled decay: w *= 1 - lr * weight_decay before its step is what is meant."""
    ours = torch.from_numpy(weights(SHAPES)["matrix"])
    theirs = torch.nn.Parameter(ours.clone())
    start = ours.clone()
    twin = torch.optim.SGD([theirs], lr=0.02, momentum=0.9, nesterov=True)
    opt = lw.Optimizer(lw.SGD(lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.3, decoupled_weight_decay=True))
    opt.add_layer("a", ours)
    for found in gradients(SHAPES, STEPS):
        gradient = torch.from_numpy(found["matrix"])
        opt.step({"a": gradient})
        with torch.no_grad():
            theirs.mul_(1 - 0.02 * 0.3)
        theirs.grad = gradient.clone()
        twin.step()
    assert_equal(ours, theirs, start)


def test_float32_gradients_of_float64_parameters() -> None:
    name, options = CASES["adamw"]
    pair = Pair(name, options, torch.float64, torch.float64, gradient_dtype="float32")
    for gradient in stream(torch.float32):
        pair.step(gradient)
    pair.assert_equal_weights()


# ---- 16 bits

HALVES = [torch.bfloat16, torch.float16]
HALF_CASES = {name: CASES[name] for name in ("sgd", "sgd dampening", "sgd nesterov", "adam amsgrad", "adamw")}


@pytest.mark.parametrize("gradient_dtype", ["float32", None], ids=["float32 gradients", "16-bit gradients"])
@pytest.mark.parametrize("dtype", HALVES, ids=["bfloat16", "float16"])
@pytest.mark.parametrize(("name", "options"), HALF_CASES.values(), ids=HALF_CASES)
def test_master_copy(name: str, options: dict[str, Any], dtype: torch.dtype, gradient_dtype: str | None) -> None:
    pair = Pair(name, options, dtype, torch.float32, master=True, gradient_dtype=gradient_dtype)
    for factor, gradient in zip(factors(), stream(torch.float32 if gradient_dtype else dtype), strict=True):
        pair.change_rates(factor)
        pair.step(gradient)
    for index, tensors in enumerate(GROUPS):
        for key in tensors:
            master = torch.empty(SHAPES[key])
            pair.opt.layer(index).read_state(key, "master", master)
            assert_equal(master, pair.theirs[key], pair.start[key])
            assert torch.equal(pair.ours[key], master.to(dtype)), key


@pytest.mark.parametrize("gradient_dtype", ["float32", None], ids=["float32 gradients", "16-bit gradients"])
@pytest.mark.parametrize("dtype", HALVES, ids=["bfloat16", "float16"])
@pytest.mark.parametrize(("name", "options"), HALF_CASES.values(), ids=HALF_CASES)
def test_16_bit_weights_step_by_step(
    name: str, options: dict[str, Any], dtype: torch.dtype, gradient_dtype: str | None
) -> None:
    pair = Pair(name, options, dtype, torch.float32, gradient_dtype=gradient_dtype)
    elements = different = changed = 0
    for gradient in stream(torch.float32 if gradient_dtype else dtype):
        before = {key: value.clone() for key, value in pair.ours.items()}
        with torch.no_grad():
            for key, parameter in pair.theirs.items():
                parameter.copy_(before[key])
        pair.step(gradient)
        for key, parameter in pair.theirs.items():
            ours, theirs = pair.ours[key].float(), parameter.detach().to(dtype).float()
            # Where a step nearly cancels a weight, a last bit of float32 is many last bits of the small result.
            spacing = torch.finfo(dtype).eps * torch.maximum(theirs.abs(), before[key].float().abs())
            assert ((ours - theirs).abs() <= spacing).all(), key
            elements += ours.numel()
            different += int((ours != theirs).sum())
            changed += int((pair.ours[key] != before[key]).sum())
    assert changed > elements / 20, "too little moved to say anything"
    assert different <= elements / 1000
    pair.assert_equal_states()


# ---- How gradients arrive


@pytest.mark.parametrize(("name", "options"), HALF_CASES.values(), ids=HALF_CASES)
def test_bound_gradients(name: str, options: dict[str, Any]) -> None:
    """Gradients that are bound once and overwritten in place, as torch does with set_to_none=False."""
    start = {key: torch.from_numpy(value) for key, value in weights(SHAPES).items()}
    ours = {key: value.clone() for key, value in start.items()}
    theirs = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
    bound = {key: torch.zeros_like(value) for key, value in start.items()}
    opt = lw.Optimizer(getattr(lw, name)(**options))
    opt.add_layer("all", ours, grads=bound)
    twin = peer(name)(theirs.values(), foreach=False, **options)
    for gradient in gradients(SHAPES, STEPS):
        for key, value in gradient.items():
            bound[key].copy_(torch.from_numpy(value))
            theirs[key].grad = bound[key].clone()
        opt.step()
        twin.step()
    for key in SHAPES:
        assert_equal(ours[key], theirs[key], start[key])


def test_autograd() -> None:
    """A network in torch, whose gradients autograd allocates at each step, is trained to the same weights."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(64, 5, dtype=torch.float64), torch.randn(64, 2, dtype=torch.float64)

    def network() -> torch.nn.Sequential:
        torch.manual_seed(1)
        return torch.nn.Sequential(torch.nn.Linear(5, 9), torch.nn.Tanh(), torch.nn.Linear(9, 2)).double()

    ours, theirs, start = network(), network(), network()
    opt = lw.Optimizer(lw.AdamW(lr=0.01, weight_decay=0.1))
    linear = {key: module for key, module in ours.named_children() if isinstance(module, torch.nn.Linear)}
    for key, module in linear.items():
        opt.add_layer(key, dict(module.named_parameters()))
    twin = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1, foreach=False)
    for _ in range(STEPS):
        for model in (ours, theirs):
            model.zero_grad()
            torch.nn.functional.mse_loss(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        opt.step({key: {name: p.grad for name, p in module.named_parameters()} for key, module in linear.items()})
        twin.step()
    for found, expected, first in zip(ours.parameters(), theirs.parameters(), start.parameters(), strict=True):
        assert_equal(found, expected, first)


def test_frozen_layers_are_groups_without_gradients() -> None:
    name, options = CASES["adamw"]
    pair = Pair(name, options, torch.float64, torch.float64)
    for step, gradient in enumerate(stream(torch.float64)):
        if step % 40 == 10:
            pair.opt.layer("1").freeze()
        if step % 40 == 30:
            pair.opt.layer("1").unfreeze()
        frozen = 10 <= step % 40 < 30
        pair.opt.step({str(index): {key: gradient[key] for key in tensors} for index, tensors in enumerate(GROUPS)})
        pair.give_torch({key: None if frozen and key in GROUPS[1] else value for key, value in gradient.items()})
        pair.twin.step()
    pair.assert_equal_weights()


# ---- What happens to gradients before the rule

Clip = Callable[[list[torch.nn.Parameter]], object]
LIMIT = 4.0
CLIPS: dict[str, tuple[dict[str, float], Clip]] = {
    "global norm": (
        {"clip_global_norm": LIMIT},
        lambda parameters: torch.nn.utils.clip_grad_norm_(parameters, LIMIT, foreach=False),
    ),
    "global norm, far off": (
        {"clip_global_norm": 1e6},
        lambda parameters: torch.nn.utils.clip_grad_norm_(parameters, 1e6, foreach=False),
    ),
    "value": (
        {"clip_value": 0.4},
        lambda parameters: torch.nn.utils.clip_grad_value_(parameters, 0.4, foreach=False),
    ),
    "value, then global norm": (
        {"clip_value": 0.4, "clip_global_norm": 2.0},
        lambda parameters: (
            torch.nn.utils.clip_grad_value_(parameters, 0.4, foreach=False),
            torch.nn.utils.clip_grad_norm_(parameters, 2.0, foreach=False),
        ),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("scale", [1.0, 12.0], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("telemetry", [False, True], ids=["plain", "telemetry"])
@pytest.mark.parametrize(("settings", "clip"), CLIPS.values(), ids=CLIPS)
def test_clipping(settings: dict[str, float], clip: Clip, telemetry: bool, scale: float, dtype: torch.dtype) -> None:
    """Gradients are divided by the scale, then clamped, then their norm is clipped; ours stay as they were."""
    name, options = CASES["sgd momentum"]
    pair = Pair(name, options, dtype, dtype, telemetry=telemetry, **settings)
    clipped = 0
    for gradient in stream(dtype, 60):
        kept = {key: None if value is None else value.clone() for key, value in gradient.items()}
        pair.opt.step(
            {str(index): {key: gradient[key] for key in tensors} for index, tensors in enumerate(GROUPS)},
            gradient_scale=scale,
        )
        for key, value in kept.items():
            assert value is None or torch.equal(value, gradient[key])  # type: ignore[arg-type]
        pair.give_torch({key: None if value is None else value / scale for key, value in gradient.items()})
        norm = math.sqrt(sum(float(p.grad.double().norm()) ** 2 for p in pair.theirs.values() if p.grad is not None))
        if "clip_global_norm" in settings or telemetry:
            assert pair.opt.summary().gradient_norm == pytest.approx(norm, rel=1e-6)
        clip(list(pair.theirs.values()))
        pair.twin.step()
        clipped += pair.opt.summary().clip_factor < 1
    pair.assert_equal_weights()
    if "clip_global_norm" in settings:
        assert (clipped > 0) == (settings["clip_global_norm"] < 1e6)


def test_clipping_each_layer_then_all() -> None:
    """clip_grad_norm_ for each group, then for all of them together."""
    name, options = CASES["adam decay"]
    pair = Pair(name, options, torch.float64, torch.float64, clip_layer_norm=3.0, clip_global_norm=3.5, telemetry=True)
    for gradient in stream(torch.float64, 60):
        pair.opt.step({str(index): {key: gradient[key] for key in tensors} for index, tensors in enumerate(GROUPS)})
        pair.give_torch(gradient)
        for index, tensors in enumerate(GROUPS):
            norm = torch.nn.utils.clip_grad_norm_([pair.theirs[key] for key in tensors], 3.0)
            assert pair.opt.layer(index).telemetry.gradient_norm == pytest.approx(float(norm), rel=1e-12)
        torch.nn.utils.clip_grad_norm_(pair.theirs.values(), 3.5)
        pair.twin.step()
    pair.assert_equal_weights()


def test_a_power_of_two_scales_without_a_trace() -> None:
    name, options = CASES["adamw"]
    plain, scaled = (Pair(name, options, torch.float32, torch.float32) for _ in range(2))
    for gradient in stream(torch.float32, 20):
        plain.step(gradient)
        scaled.opt.step(
            {
                str(index): {key: None if (g := gradient[key]) is None else g * 1024 for key in tensors}
                for index, tensors in enumerate(GROUPS)
            },
            gradient_scale=1024.0,
        )
    for key in SHAPES:
        assert np.array_equal(plain.ours[key].numpy(), scaled.ours[key].numpy())
