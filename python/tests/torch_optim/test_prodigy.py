# SPDX-License-Identifier: Apache-2.0
"""Prodigy in torch beside prodigyopt: states for every p-th element, and an estimate for each layer."""

from __future__ import annotations

import copy
from typing import Any

import prodigyopt
import pytest
import torch

import layerwise as lw
import layerwise.torch as lwt

SHAPES = [(6, 5, 3, 3), (7,), (), (4, 9)]


def parameters(memory_format: torch.memory_format) -> list[torch.nn.Parameter]:
    random = torch.Generator().manual_seed(1)
    values = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in SHAPES]
    values[0] = values[0].to(memory_format=memory_format)
    return [torch.nn.Parameter(value) for value in values]


def train(params: list[torch.nn.Parameter], optimizer: Any, steps: int, seed: int = 2) -> None:
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for param in params:
            noise = torch.randn(param.shape, generator=random, dtype=torch.float64)
            param.grad = (param.detach() - 0.5 + 0.1 * noise).to(param.dtype)
        optimizer.step()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_equals_prodigyopt(memory_format: torch.memory_format) -> None:
    """The elements are those of the flattened parameter, whatever its memory looks like."""
    ours, theirs = parameters(memory_format), parameters(torch.contiguous_format)
    start = [param.detach().clone() for param in theirs]
    opt = lwt.Prodigy(ours, lr=1.0, d0=1e-3, weight_decay=0.1, slice_p=4)
    twin = prodigyopt.Prodigy(theirs, lr=1.0, d0=1e-3, weight_decay=0.1, slice_p=4)
    train(ours, opt, 40)
    train(theirs, twin, 40)
    for a, b, w in zip(ours, theirs, start, strict=True):
        assert float((a - b).detach().norm()) <= 1e-10 * float((b.detach() - w).norm())
    for param, other in zip(ours, theirs, strict=True):
        for name in ("s", "p0"):
            found, wanted = opt.state[param][name], twin.state[other][name]
            assert found.shape == (-(-param.numel() // 4),) == wanted.shape
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_state_dict() -> None:
    """A state dict has them in their own shape, goes on to the same bits, and is refused for another distance."""
    ours = parameters(torch.channels_last)
    opt = lwt.Prodigy(ours, lr=1.0, d0=1e-3, slice_p=4)
    train(ours, opt, 5)
    saved = copy.deepcopy(opt.state_dict())
    again = [torch.nn.Parameter(param.detach().clone()) for param in ours]
    loaded = lwt.Prodigy(again, lr=1.0, d0=1e-3, slice_p=4)
    loaded.load_state_dict(saved)
    train(ours, opt, 3, seed=3)
    train(again, loaded, 3, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
    before = [param.detach().clone() for param in again]
    other = lwt.Prodigy(again, lr=1.0, d0=1e-3, slice_p=3)
    with pytest.raises((lw.LayerwiseError, ValueError), match="s"):
        other.load_state_dict(saved)
    assert all(torch.equal(a, b) for a, b in zip(again, before, strict=True))


def test_cannot_change() -> None:
    ours = parameters(torch.contiguous_format)
    opt = lwt.Prodigy(ours, lr=1.0, slice_p=4)
    train(ours, opt, 1)
    opt.param_groups[0]["slice_p"] = 2
    before = [param.detach().clone() for param in ours]
    with pytest.raises(lw.LayerwiseError, match="slice_p is 4 where there are states, and cannot become 2"):
        train(ours, opt, 1)
    assert all(torch.equal(a, b) for a, b in zip(ours, before, strict=True))
    opt.param_groups[0]["slice_p"] = 4
    train(ours, opt, 1)


@pytest.mark.parametrize("slice_p", [1, 3])
def test_an_estimate_for_each_layer(slice_p: int) -> None:
    """Layers go as the layers of as many optimizers of prodigyopt, and their estimates differ."""
    torch.manual_seed(5)
    models = [torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)) for _ in range(2)]
    ours, theirs = (model.double() for model in models)
    theirs.load_state_dict(ours.state_dict())
    start = [param.detach().clone() for param in ours.parameters()]
    opt = lwt.Prodigy(ours.named_parameters(), lr=1.0, d0=1e-3, estimate_scope="layer", slice_p=slice_p)
    twins = [prodigyopt.Prodigy(theirs[index].parameters(), lr=1.0, d0=1e-3, slice_p=slice_p) for index in (0, 2)]
    for _ in range(40):
        inputs = torch.randn(8, 6, dtype=torch.float64)
        for model in (ours, theirs):
            model.zero_grad()
            (model(inputs) - inputs[:, :2].square()).square().mean().backward()
        opt.step()
        for twin in twins:
            twin.step()
    for a, b, first in zip(ours.parameters(), theirs.parameters(), start, strict=True):
        assert float((a - b).detach().norm()) <= 1e-9 * float((b.detach() - first).norm())
    estimates = [float(opt.state[ours[index].weight]["d"]) for index in (0, 2)]
    assert estimates == pytest.approx([twin.param_groups[0]["d"] for twin in twins], rel=1e-9)
    assert estimates[0] != estimates[1]
    assert opt.state[ours[0].weight]["d"] == opt.state[ours[0].bias]["d"]
    saved = copy.deepcopy(opt.state_dict())
    again = copy.deepcopy(ours)
    loaded = lwt.Prodigy(again.named_parameters(), lr=1.0, d0=1e-3, estimate_scope="layer", slice_p=slice_p)
    loaded.load_state_dict(saved)
    assert [float(loaded.state[again[index].weight]["d"]) for index in (0, 2)] == estimates
