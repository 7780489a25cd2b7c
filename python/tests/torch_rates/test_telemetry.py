# SPDX-License-Identifier: Apache-2.0
"""Telemetry of a driven optimizer: the keys of our own classes, and the numbers of a plain sum."""

import math
from typing import Any

import pytest
import torch

import layerwise as lw
import layerwise.torch as lwt
from layerwise.torch import LayerRates
from torch_rates.driving import LAYERS, backward, drive, inputs, tower

# Norms are summed in float32 here, in another order than in the comparison: a few 6e-8.
CLOSE: dict[str, Any] = {"rel": 1e-6, "abs": 1e-12, "nan_ok": True}


def test_keys_and_numbers_of_our_own_class() -> None:
    options: dict[str, Any] = {"layer_decay": 0.5, "schedule": lw.Linear(10), "freezing": lw.GradualUnfreezing(2)}
    model, twin = tower(), tower()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    rates = LayerRates(optimizer, model, layers=LAYERS, telemetry=1, **options)
    ours = lwt.AdamW(twin, lr=0.01, layers=LAYERS, telemetry=True, **options)
    for values in inputs(5):
        drive(model, optimizer, rates, [values])
        backward(twin, values)
        ours.step()
        ours.zero_grad()
        found, expected = rates.telemetry(), ours.telemetry()
        assert list(found) == list(expected)
        for key, value in expected.items():
            name = key.rsplit("/", 1)[1]
            frozen = expected[key.replace(name, "effective_lr")] == 0
            if name in ("trust_ratio", "clip_factor", "lost_count"):
                assert math.isnan(found[key])
            elif not (frozen and name in ("weight_norm", "update_ratio")):
                # Updates of nearly the same weights, which have moved apart by some roundings.
                assert found[key] == pytest.approx(value, rel=1e-3 if "update" in name else 1e-5, abs=1e-9), key


def test_every_so_many_steps() -> None:
    model = tower()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    rates = LayerRates(optimizer, model, layers=LAYERS, schedule=lw.Linear(10), telemetry=3)
    with pytest.raises(lw.errors.InvalidArgument, match="no telemetry before the first step"):
        rates.telemetry()
    seen = []
    for values in inputs(7):
        drive(model, optimizer, rates, [values])
        seen.append(rates.telemetry("")["head/effective_lr"])
    assert seen == pytest.approx([0.5, 0.5, 0.5, 0.35, 0.35, 0.35, 0.2])


def test_numbers_of_a_plain_sum() -> None:
    model = tower()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    rates = LayerRates(optimizer, model, layers=LAYERS, telemetry=1)
    backward(model, inputs(1)[0])
    model.head.bias.grad[1] = float("nan")
    model.norm.weight.grad = None
    start = {name: param.detach().double() for name, param in model.named_parameters()}
    optimizer.step()
    found = rates.telemetry("")
    for layer in LAYERS:
        layer = layer.removesuffix(".*")
        params = {name: param for name, param in model.named_parameters() if name.startswith(layer)}
        gradients = [param.grad.double() for param in params.values() if param.grad is not None]
        moved = [param.detach().double() - start[name] for name, param in params.items()]
        whole = {
            "gradient_norm": math.sqrt(sum(float(one.square().sum()) for one in gradients)),
            "weight_norm": math.sqrt(sum(float(start[name].square().sum()) for name in params)),
            "update_norm": math.sqrt(sum(float(one.square().sum()) for one in moved)),
            "nonfinite_count": sum(int((~torch.isfinite(one)).sum()) for one in gradients),
        }
        for key, value in whole.items():
            assert found[f"{layer}/{key}"] == pytest.approx(value, **CLOSE), (layer, key)


def test_is_off_unless_asked_for() -> None:
    model = tower()
    rates = LayerRates(torch.optim.SGD(model.parameters(), lr=0.5), model, layers=LAYERS)
    with pytest.raises(lw.errors.InvalidArgument, match="telemetry is off"):
        rates.telemetry()


def test_sixteen_bit_norms_do_not_overflow() -> None:
    model = tower(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    rates = LayerRates(optimizer, model, layers=LAYERS, telemetry=1)
    backward(model, inputs(1, torch.bfloat16)[0])
    with torch.no_grad():
        model.head.weight.fill_(300.0)
    optimizer.step()
    assert rates.telemetry("")["head/weight_norm"] == pytest.approx(300 * 6, rel=1e-2)


def test_integers_have_no_norms() -> None:
    """Quantized models keep frozen weights as integers."""
    model = tower()
    model.head.quantized = torch.nn.Parameter(torch.ones(3, dtype=torch.uint8), requires_grad=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    rates = LayerRates(optimizer, model, layers=LAYERS, telemetry=1)
    backward(model, inputs(1)[0])
    optimizer.step()
    weights = [
        model.head.weight.detach() + 0.5 * model.head.weight.grad,
        model.head.bias.detach() + 0.5 * model.head.bias.grad,
    ]
    norm = math.sqrt(sum(float(one.double().square().sum()) for one in weights))
    assert rates.telemetry("")["head/weight_norm"] == pytest.approx(norm, rel=1e-5)
