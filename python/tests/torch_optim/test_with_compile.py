# SPDX-License-Identifier: Apache-2.0
"""A model compiled by torch.compile, stepped by an optimizer that is not.

Compiled code holds the parameters by address or by object, and guards look at them at each call; the names of a
compiled model's parameters begin with "_orig_mod.".  The compiled forward rounds otherwise than the eager one, so the
training is followed by torch's AdamW (see support/shadow.py).
"""

import shutil
from collections.abc import Iterator

import pytest
import torch

import layerwise.torch as lwt
from torch_optim.support.networks import (
    DECAY,
    Batch,
    assert_same,
    batches,
    loss_of,
    network,
    scale_of,
    states_of,
    values_of,
)
from torch_optim.support.shadow import Shadow

# torch's own, inside of its compiler.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.jit")
STEPS, LR, WEIGHT_DECAY = 6, 0.01, 0.2
BACKEND = "inductor" if shutil.which("g++") else "aot_eager"
"""What makes code of a model needs a compiler; the other one takes the same path without making code."""


@pytest.fixture(autouse=True)
def fresh(one_thread: None) -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_training() -> None:
    model = network()
    compiled = torch.compile(model, backend=BACKEND)
    assert all(name.startswith("_orig_mod.") for name, _ in compiled.named_parameters())
    opt = lwt.AdamW(compiled, lr=LR, weight_decay=WEIGHT_DECAY, layer_decay=DECAY)
    scales = [scale_of(name) for name, _ in model.named_parameters()]
    shadow = Shadow(opt, torch.optim.AdamW, scales)
    losses, eager = [], []
    for batch in batches(1) * STEPS:
        opt.zero_grad()
        loss = loss_of(compiled, batch)
        losses.append(loss.item())
        eager.append(loss_of(model, batch).item())
        loss.backward()
        opt.step()
    shadow.assert_followed()
    # The compiled model sees each step: its loss is that of the weights as they are, but for the rounding of the sums
    # of eight float32 numbers, each within 1e-6 of its terms.
    assert losses == pytest.approx(eager, rel=1e-5)
    assert len(set(losses)) == STEPS and losses[-1] < losses[0]


def test_no_step_makes_it_compile_again() -> None:
    """A step changes numbers in place, which no guard looks at."""
    compilations = 0

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> object:
        nonlocal compilations
        compilations += 1
        return graph.forward

    model = network()
    compiled = torch.compile(model, backend=backend)
    opt = lwt.AdamW(model, lr=LR)
    counts = []
    for batch in batches(STEPS):
        opt.zero_grad()
        loss_of(compiled, batch).backward()
        opt.step()
        counts.append(compilations)
    assert set(counts[1:]) == {counts[1]} and counts[0] > 0


def test_the_whole_step_of_a_training_compiled() -> None:
    """Forward, backward and step in one function; the optimizer's part of it stays as it is."""
    plain, other = network(), network()
    first, second = (lwt.AdamW(model, lr=LR, layer_decay=DECAY) for model in (plain, other))

    def step(model: torch.nn.Module, opt: torch.optim.Optimizer, batch: Batch) -> None:
        opt.zero_grad()
        loss_of(model, batch).backward()
        opt.step()

    # Not inductor, whose sums are rounded otherwise.
    compiled = torch.compile(step, backend="aot_eager")
    for batch in batches(STEPS):
        step(plain, first, batch)
        compiled(other, second, batch)
    assert_same(values_of(other) | states_of(other, second), values_of(plain) | states_of(plain, first))


def test_a_checkpoint_of_the_model_fits_the_compiled_one_and_back() -> None:
    """Names with and without the prefix are the same tensors."""
    plain, other = network(), network()
    compiled = torch.compile(other, backend="eager")
    first = lwt.AdamW(plain, lr=LR, weight_decay=WEIGHT_DECAY, layer_decay=DECAY)
    second = lwt.AdamW(compiled, lr=LR, weight_decay=WEIGHT_DECAY, layer_decay=DECAY)
    for model, opt in ((plain, first), (other, second)):
        for batch in batches(2):
            opt.zero_grad()
            loss_of(model, batch).backward()
            opt.step()
    assert_same(values_of(other), values_of(plain))

    third = lwt.AdamW(network(), lr=LR, layer_decay=DECAY)
    third.load_state_dict(second.state_dict())
    fourth_model = network()
    fourth = lwt.AdamW(torch.compile(fourth_model, backend="eager"), lr=LR, layer_decay=DECAY)
    fourth.load_state_dict(first.state_dict())
    assert_same(states_of(fourth_model, fourth), states_of(plain, first))
