# SPDX-License-Identifier: Apache-2.0
"""Whole training steps: a network with the shapes of MiniLM-L6, forward, backward, and then an optimizer or none."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from .contestants import ADAM_DECAY, BETAS, EPS, LR, Entry, import_torch
from .workloads import Buffers

SENTENCES, TOKENS = 16, 32
VOCABULARY, POSITIONS, WIDTH, INNER, HEADS, LAYERS = 30522, 512, 384, 1536, 12, 6

Make = Callable[[list[Any]], Any]
"""Makes an optimizer of some groups."""


def layerwise_adamw(groups: list[Any], threads: int) -> Any:
    """Layerwise's AdamW for torch."""
    return importlib.import_module("layerwise.torch").AdamW(groups, threads=threads)


def torch_adamw(groups: list[Any]) -> Any:
    """torch's AdamW."""
    return import_torch().optim.AdamW(groups, fused=True)


def training(make: Make | None = None) -> Entry:
    """A training step.

    Args:
        make: Makes the optimizer; each tensor is a group.  Without, nothing is learned.
    """
    torch = import_torch()
    torch.manual_seed(0)
    network = _network(torch)
    options = {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": ADAM_DECAY}
    optimizer = make([{"params": [param], **options} for param in network.parameters()]) if make else None
    words = torch.randint(VOCABULARY, (SENTENCES, TOKENS))

    def step() -> None:
        network.zero_grad()
        # The loss does not matter to the time.
        network(words).square().mean().backward()
        if optimizer is not None:
            optimizer.step()

    return Entry(step, Buffers([], []))


def _network(torch: Any) -> Any:
    nn, functional = torch.nn, torch.nn.functional

    class Layer(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
            self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
            self.norm, self.last_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

        def forward(self, x: Any) -> Any:
            parts = (
                part(x).view(SENTENCES, TOKENS, HEADS, -1).transpose(1, 2)
                for part in (self.query, self.key, self.value)
            )
            seen = functional.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(x.shape)
            x = self.norm(x + self.out(seen))
            return self.last_norm(x + self.down(functional.gelu(self.up(x))))

    class Network(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(POSITIONS, WIDTH)
            self.types = nn.Embedding(2, WIDTH)
            self.norm = nn.LayerNorm(WIDTH)
            self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
            self.pooler = nn.Linear(WIDTH, WIDTH)

        def forward(self, words: Any) -> Any:
            types = torch.zeros_like(words)
            x = self.words(words) + self.places(torch.arange(TOKENS)) + self.types(types)
            return self.pooler(self.layers(self.norm(x))[:, 0]).tanh()

    return Network()
