# SPDX-License-Identifier: Apache-2.0
"""Adam-mini equals pytorch_optimizer's, which chooses blocks by the names of parameters."""

from __future__ import annotations

import numpy as np
import torch
from pytorch_optimizer import AdamMini

import layerwise as lw

HEADS = 8


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(10, 64)
        self.q_proj = torch.nn.Linear(64, 64, bias=False)
        self.k_proj = torch.nn.Linear(64, 64, bias=False)
        self.mlp = torch.nn.Linear(64, 48)
        self.norm = torch.nn.LayerNorm(48)
        self.lm_head = torch.nn.Linear(48, 10, bias=False)


def test_parity() -> None:
    """Both work in float32 and average in another order: 30 steps differ by some roundings of the weights."""
    torch.manual_seed(0)
    model = Model()
    options = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4}
    ours = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    start = {name: value.copy() for name, value in ours.items()}
    twin = AdamMini(model, weight_decay=0.1, num_embeds=64, num_heads=HEADS, **options)  # type: ignore[arg-type]
    opt = lw.Optimizer(lw.AdamMini(weight_decay=0.1, **options))  # type: ignore[arg-type]
    for name, value in ours.items():
        if "embed" in name or "lm_head" in name:
            opt.add_layer(name, value, rule=lw.AdamW(weight_decay=0.1, **options))  # type: ignore[arg-type]
        elif "q_proj" in name or "k_proj" in name:
            opt.add_layer(name, value, block_rows=64 // HEADS)
        elif "norm" in name:
            opt.add_layer(name, value, weight_decay=0.0)
        else:
            opt.add_layer(name, value)
    random = np.random.default_rng(0)
    for _ in range(30):
        found = {name: random.standard_normal(value.shape).astype(np.float32) for name, value in ours.items()}
        opt.step(found)
        for name, value in model.named_parameters():
            value.grad = torch.from_numpy(found[name].copy())
        twin.step()
    for name, value in model.named_parameters():
        moved = np.abs(start[name] - ours[name]).max()
        np.testing.assert_allclose(ours[name], value.detach().numpy(), rtol=2e-6, atol=2e-6 * moved, err_msg=name)


def test_blocks_may_change() -> None:
    """The state has a number for each row, so that `block_rows` may be set between steps."""
    weight = np.ones((6, 5), np.float32)
    opt = lw.Optimizer(lw.AdamMini(lr=0.1, block_rows=1))
    opt.add_layer("a", weight, np.arange(30, dtype=np.float32).reshape(6, 5))
    opt.step()
    rows = np.asarray(opt.layer("a").read_state("weight", "exp_avg_sq_row")).flatten()
    assert len(set(rows)) == 6
    opt.set(block_rows=3)
    opt.step()
    after = np.asarray(opt.layer("a").read_state("weight", "exp_avg_sq_row")).flatten()
    expected = 0.999 * rows + 0.001 * np.repeat((np.arange(30) ** 2).reshape(2, 15).mean(1), 3)
    np.testing.assert_allclose(after, expected, rtol=1e-6)
