# SPDX-License-Identifier: Apache-2.0
"""What share of a training step the optimizer takes, beside torch's own."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import torch
from torch.nn.functional import cross_entropy

import finetune_minilm_data as data
import finetune_minilm_model as model
from layerwise.torch import AdamW


def share_of_a_step(batch_size: int, layer_decay: float, repetitions: int) -> str:
    """How long an optimizer's step takes beside forward and backward of all of MiniLM, with torch's threads, in words.

    Args:
        batch_size: How many sentences there are.
        layer_decay: How fast Layerwise's rates fall; torch has one rate for all.
        repetitions: How often each is timed, in turns.
    """
    corpus = data.load(model.tokenizer())
    network = model.pretrained(len(corpus.classes))
    threads = torch.get_num_threads()
    # Two optimizers of one network: with rates of 0 it stays as it is.
    optimizers = {
        "Layerwise": AdamW(network, lr=0.0, layer_decay=layer_decay, threads=threads),
        "torch": torch.optim.AdamW(network.parameters(), lr=0.0, fused=True),
    }
    examples = data.draw(corpus, seed=0).pool
    batch = next(examples.random_batches(batch_size, torch.Generator().manual_seed(0)))
    tokens = corpus.vocabulary[batch.tokens]
    passes: list[float] = []
    steps: dict[str, list[float]] = {name: [] for name in optimizers}
    for _ in range(1 + repetitions):
        for name, optimizer in optimizers.items():
            optimizer.zero_grad()
            start = perf_counter()
            cross_entropy(network(tokens), batch.labels).backward()
            middle = perf_counter()
            optimizer.step()
            steps[name].append(perf_counter() - middle)
            passes.append(middle - start)
    # Each made its states in its first step, which is left out.
    learning = median(passes[len(optimizers) :])
    ours, theirs = (median(times[1:]) for times in steps.values())
    sizes = [parameter.numel() for parameter in network.parameters()]
    return (
        f"A training step of all of MiniLM: {len(sizes)} tensors, {sum(sizes) / 1e6:.1f} million parameters, "
        f"{batch_size} sentences, threads: {threads}.  Forward and backward {1e3 * learning:.0f} ms; "
        f"Layerwise's step, with layer decay, {1e3 * ours:.1f} ms ({ours / (learning + ours):.0%} of the whole); "
        f"torch's fused AdamW, one rate, {1e3 * theirs:.1f} ms ({theirs / (learning + theirs):.0%})."
    )
