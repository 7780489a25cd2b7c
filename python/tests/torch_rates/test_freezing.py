# SPDX-License-Identifier: Apache-2.0
"""Layers that rest are left out of a step by their gradients: nothing of them moves."""

from typing import Any

import pytest
import torch

import layerwise as lw
from layerwise.torch import LayerRates
from torch_rates.driving import LAYERS, backward, drive, inputs, tower


def driven(make: Any = torch.optim.AdamW, **more: Any) -> tuple[torch.nn.Module, torch.optim.Optimizer, LayerRates]:
    model = tower()
    optimizer = make(model.parameters(), lr=0.01, weight_decay=0.1)
    rates = LayerRates(optimizer, model, layers=LAYERS, freezing=lw.GradualUnfreezing(2), **more)
    return model, optimizer, rates


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD, torch.optim.NAdam])
def test_nothing_of_a_resting_layer_moves(make: Any) -> None:
    model, optimizer, rates = driven(make)
    start = {name: param.detach().clone() for name, param in model.named_parameters()}
    awake = {"head": 0, "norm": 2, "block.1": 4, "block.0": 6, "embed": 8}
    for step, values in enumerate(inputs(10)):
        drive(model, optimizer, rates, [values])
        for name, param in model.named_parameters():
            sleeps = step < awake[name.rsplit(".", 1)[0]]
            assert torch.equal(param, start[name]) == sleeps, (step, name)
            assert bool(optimizer.state[param]) != sleeps if make is not torch.optim.SGD else param.requires_grad
            assert param.requires_grad
    if make is not torch.optim.SGD:
        steps = {name: int(optimizer.state[param]["step"]) for name, param in model.named_parameters()}
        assert steps == {
            f"{layer}.{tensor}": 10 - begin for layer, begin in awake.items() for tensor in ("weight", "bias")
        }


def test_moments_stand_still_while_a_layer_rests_again() -> None:
    model = tower()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    rates = LayerRates(optimizer, model, layers=LAYERS, freezing=lw.FreezeAt(freeze={"head": 2}))
    data = inputs(5)
    drive(model, optimizer, rates, data[:2])
    before = {key: value.clone() for key, value in optimizer.state[model.head.weight].items()}
    drive(model, optimizer, rates, data[2:])
    after = optimizer.state[model.head.weight]
    assert before["step"] == 2 and all(torch.equal(after[key], value) for key, value in before.items())
    assert optimizer.state[model.norm.weight]["step"] == 5


def test_gradients_come_back_after_the_step() -> None:
    model, optimizer, _ = driven()
    backward(model, inputs(1)[0])
    gradients = {name: param.grad for name, param in model.named_parameters()}
    during = []
    optimizer.register_step_pre_hook(lambda *_: during.append([param.grad is None for param in model.parameters()]))
    optimizer.step()
    assert during == [[True] * 8 + [False] * 2]
    assert all(param.grad is gradients[name] for name, param in model.named_parameters())


def test_gradients_come_back_after_a_step_that_raised() -> None:
    model, optimizer, rates = driven()
    backward(model, inputs(1)[0])
    gradients = [param.grad for param in model.parameters()]
    optimizer.param_groups[0]["betas"] = None
    with pytest.raises(TypeError):
        optimizer.step()
    optimizer.param_groups[0]["betas"] = (0.9, 0.999)
    start = model.embed.weight.detach().clone()
    optimizer.step()
    assert all(param.grad is gradient for param, gradient in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(model.embed.weight, start)
    assert rates.last_epoch == 0


@pytest.mark.parametrize("by_keyword", [False, True])
def test_closures_make_gradients_inside_the_step(by_keyword: bool) -> None:
    model, optimizer, _ = driven()
    start = [param.detach().clone() for param in model.parameters()]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(inputs(1)[0]).square().mean()
        loss.backward()
        return loss

    loss = optimizer.step(closure=closure) if by_keyword else optimizer.step(closure)
    assert loss.item() > 0
    assert [torch.equal(param, old) for param, old in zip(model.parameters(), start, strict=True)] == [True] * 8 + [
        False
    ] * 2
    assert all(param.grad is not None for param in model.parameters())


def test_closures_add_up_gradients_of_resting_layers() -> None:
    model, optimizer, _ = driven()
    (values,) = inputs(1)
    backward(model, values)
    once = model.embed.weight.grad.clone()

    def closure() -> torch.Tensor:
        loss = model(values).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.equal(model.embed.weight.grad, once + once)


def test_clipping_sees_what_is_asked_for() -> None:
    """A clip of all parameters counts layers that rest; one of `active_parameters` does not."""
    model, _, rates = driven()
    backward(model, inputs(1)[0])
    everything = torch.nn.utils.get_total_norm([param.grad for param in model.parameters()])
    active = torch.nn.utils.get_total_norm([param.grad for param in rates.active_parameters()])
    head = torch.nn.utils.get_total_norm([param.grad for param in model.head.parameters()])
    assert active == head < everything


def test_an_optimizer_without_hooks_cannot_freeze() -> None:
    class Wrapper(torch.optim.Optimizer):
        """Passes everything on, as wrappers do that never run the constructor of the base."""

        def __init__(self, inner: torch.optim.Optimizer) -> None:
            self.inner, self.defaults, self.state = inner, inner.defaults, inner.state
            self.param_groups = inner.param_groups

        def step(self, closure: Any = None) -> Any:
            return self.inner.step(closure)

    model = tower()
    inner = torch.optim.AdamW(model.parameters(), lr=0.01)
    with pytest.raises(lw.errors.InvalidArgument, match=r"Wrapper.step runs no hooks, by which layers are frozen"):
        LayerRates(Wrapper(inner), model, layers=LAYERS, freezing=lw.GradualUnfreezing(2))
    rates = LayerRates(Wrapper(inner), model, layers=LAYERS, layer_decay=0.5)
    rates.native.layer("head").freeze()
    with pytest.raises(lw.errors.InvalidArgument, match=r"Wrapper.step runs no hooks"):
        rates.refresh()


def test_freezing_does_not_disturb_grad_scaler() -> None:
    model, optimizer, rates = driven()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    start = [param.detach().clone() for param in model.parameters()]
    for values in inputs(2):
        scaler.scale(model(values).square().mean()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        rates.step()
        optimizer.zero_grad()
    assert [torch.equal(param, old) for param, old in zip(model.parameters(), start, strict=True)] == [True] * 8 + [
        False
    ] * 2
