# SPDX-License-Identifier: Apache-2.0
"""A step in which no parameter that trains has a gradient: nothing happens, as in torch, and it warns once."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from layerwise import FreezeAt, Linear
from layerwise.torch import SGD, AdamW


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))


def backward(model: nn.Module) -> None:
    model(torch.ones(1, 3)).sum().backward()


def test_it_warns_once_and_trains_nothing() -> None:
    model = network()
    before = [param.detach().clone() for param in model.parameters()]
    optimizer = AdamW(model, lr=0.1, schedule=Linear(10))
    with pytest.warns(UserWarning, match="no parameter that trains has a gradient") as caught:
        optimizer.step()
    assert [record.filename for record in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        optimizer.zero_grad()
        optimizer.step()
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), before, strict=True))
    backward(model)
    optimizer.step()
    assert not any(torch.equal(*pair) for pair in zip(model.parameters(), before, strict=True))


def test_one_gradient_is_enough() -> None:
    model = network()
    optimizer = SGD(model, lr=0.1)
    model[1].bias.grad = torch.ones(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()


def test_nothing_is_missing_where_nothing_trains() -> None:
    model = network()
    optimizer = SGD(model, lr=0.1, freezing=FreezeAt({"0": 2, "1": 2}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        optimizer.step()
    with pytest.warns(UserWarning, match="no parameter that trains"):
        optimizer.step()


def test_a_scaler_that_skips_is_no_empty_step() -> None:
    model = network()
    optimizer = SGD(model, lr=0.1, schedule=Linear(10))
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            optimizer.zero_grad()
            (scaler.scale(model(torch.ones(1, 3)).sum()) * float("inf")).backward()
            scaler.step(optimizer)
            scaler.update()
