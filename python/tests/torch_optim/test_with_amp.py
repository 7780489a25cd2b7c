# SPDX-License-Identifier: Apache-2.0
"""torch.amp: autocast and GradScaler.

The scaler undoes its scale in the gradients and leaves out a step by itself; with fused=True it leaves both to the
optimizer, as with torch's own.  A scale is a power of two, which leaves no trace in a gradient: trainings with and
without it are compared bit for bit.
"""

from typing import Any

import pytest
import torch

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import (
    DECAY,
    OPTIMIZERS,
    TRUST_RATIOS,
    Network,
    assert_moved,
    assert_same,
    batches,
    loss_of,
    network,
    optimizer,
    scale_of,
    states_of,
    values_of,
)
from torch_optim.support.shadow import Shadow

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS, SCALE = 8, 2.0**12
WAYS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in OPTIMIZERS | TRUST_RATIOS} | {
    f"{name}, fused": (name, {"fused": True}) for name in OPTIMIZERS
}
"""Whether the scaler or the optimizer divides by the scale."""


def test_autocast_to_bfloat16() -> None:
    """Products in bfloat16, parameters and gradients in float32: steps as torch's from the same gradients."""
    model = network()
    opt = lwt.AdamW(model, lr=0.01, weight_decay=0.2, layer_decay=DECAY)
    shadow = Shadow(opt, torch.optim.AdamW, [scale_of(name) for name, _ in model.named_parameters()])
    for batch in batches(STEPS):
        opt.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = model(batch[0])
        assert outputs.dtype == torch.bfloat16
        torch.nn.functional.mse_loss(outputs.float(), batch[1]).backward()
        opt.step()
    shadow.assert_followed()
    assert all(value.dtype == torch.float32 for value in (values_of(model) | states_of(model, opt)).values())


def test_autocast_sees_each_step() -> None:
    """Autocast keeps copies of weights in bfloat16 as long as it is on; a new one must not find those of an old one."""
    model = network()
    opt = lwt.SGD(model, lr=0.5)
    batch = batches(1)[0]

    def outputs() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(batch[0])

    before = outputs()
    torch.nn.functional.mse_loss(before.float(), batch[1]).backward()
    opt.step()
    fresh = network()
    fresh.load_state_dict(model.state_dict())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = fresh(batch[0])
    assert torch.equal(outputs(), expected) and not torch.equal(before, expected)


class Training:
    """A model trained through a scaler, or without one."""

    def __init__(self, name: str, scaled: bool, dtype: torch.dtype = torch.float32, **options: object) -> None:
        self.model: Network = network(dtype)
        self.opt = optimizer(name, self.model, **options)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=3, enabled=scaled)

    def step(self, batch: tuple[torch.Tensor, torch.Tensor], clip: float | None = None, poison: bool = False) -> None:
        self.opt.zero_grad()
        self.scaler.scale(loss_of(self.model, batch)).backward()
        if poison:
            self.model.blocks[1].outer.weight.grad[2, 1] = torch.inf
        if clip is not None:
            self.scaler.unscale_(self.opt)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.scaler.step(self.opt)
        self.scaler.update()

    def tensors(self) -> dict[str, torch.Tensor]:
        return values_of(self.model) | states_of(self.model, self.opt)


@pytest.mark.parametrize("clip", [None, 0.3], ids=["plain", "clipped"])
@pytest.mark.parametrize(("name", "options"), WAYS.values(), ids=WAYS)
def test_a_scale_leaves_no_trace(name: str, options: dict[str, Any], clip: float | None) -> None:
    """While it grows, and where gradients are unscaled beforehand to clip them."""
    scaled, plain = (Training(name, scaled, **options) for scaled in (True, False))
    for batch in batches(STEPS):
        scaled.step(batch, clip)
        plain.step(batch, clip)
    assert scaled.scaler.get_scale() == SCALE * 4, "the scale did not grow"
    assert_same(scaled.tensors(), plain.tensors())
    assert_moved(values_of(plain.model), values_of(network()))


@pytest.mark.parametrize("fused", [None, True])
def test_the_norm_to_clip_by_is_that_of_unscaled_gradients(fused: bool | None) -> None:
    scaled, plain = (Training("adamw", scaled, clip_global_norm=0.3, fused=fused) for scaled in (True, False))
    free = Training("adamw", False)
    for batch in batches(STEPS):
        for training in (scaled, plain, free):
            training.step(batch)
    assert_same(scaled.tensors(), plain.tensors())
    assert any(not torch.equal(a, b) for a, b in zip(plain.model.parameters(), free.model.parameters(), strict=True))


@pytest.mark.parametrize("clip", [None, 0.3], ids=["plain", "clipped"])
@pytest.mark.parametrize(("name", "options"), WAYS.values(), ids=WAYS)
def test_a_step_with_infinity_did_not_happen(name: str, options: dict[str, Any], clip: float | None) -> None:
    """Nothing changes but the scale: no parameter, moment, count or schedule; also at the very first step."""
    scaled, plain = (Training(name, scaled, schedule=lw.Exponential(0.8), **options) for scaled in (True, False))
    for index, batch in enumerate(batches(STEPS)):
        if index in (0, 3):
            before, scale = scaled.tensors(), scaled.scaler.get_scale()
            scaled.step(batch, clip, poison=True)
            assert scaled.scaler.get_scale() == scale / 2
            assert_same(scaled.tensors(), before)
        scaled.step(batch, clip)
        plain.step(batch, clip)
    assert_same(scaled.tensors(), plain.tensors())


@pytest.mark.parametrize("fused", [None, True])
def test_who_undoes_the_scale(fused: bool | None) -> None:
    """The scaler in the gradients; a fused step on the way, so that they stay as backward made them."""
    training = Training("sgd", True, fused=fused)
    training.step(batches(1)[0])
    twin = network()
    loss_of(twin, batches(1)[0]).backward()
    for (name, parameter), other in zip(training.model.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad * SCALE if fused else other.grad), name


@pytest.mark.parametrize("fused", [None, True])
def test_master_copies_of_bfloat16_through_a_scaler(fused: bool | None) -> None:
    scaled, plain = (
        Training("adamw, layer decay", scaled, torch.bfloat16, master=True, fused=fused) for scaled in (True, False)
    )
    for batch in batches(STEPS, torch.bfloat16):
        scaled.step(batch)
        plain.step(batch)
    assert_same(scaled.tensors(), plain.tensors())
    assert any(key.endswith(": master") for key in plain.tensors())
