# SPDX-License-Identifier: Apache-2.0
"""Accelerate: prepare, accumulate, clipping, save_state and load_state, against the plain loop, in every bit.

Accelerate divides each loss by the number of batches that make a step, two here, as `train(parts=2)` does.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch.utils.data import DataLoader, TensorDataset

import layerwise as lw
from torch_optim.support.networks import (
    OPTIMIZERS,
    ROWS,
    TRUST_RATIOS,
    Network,
    assert_same,
    batches,
    falling,
    network,
    optimizer,
    states_of,
    trained,
    values_of,
)

STEPS, HALF, PARTS, CLIP = 6, 3, 2, 0.3
CASES = OPTIMIZERS | TRUST_RATIOS


def forget() -> None:
    """Accelerate keeps its state for the life of the process."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


@pytest.fixture(autouse=True)
def fresh_state(one_thread: None) -> Iterator[None]:
    forget()
    yield
    forget()


def rows() -> TensorDataset:
    data = batches(STEPS)
    return TensorDataset(torch.cat([inputs for inputs, _ in data]), torch.cat([targets for _, targets in data]))


class Training:
    """A model and all that belongs to it, prepared."""

    def __init__(self, name: str, **options: object) -> None:
        self.accelerator = Accelerator(cpu=True, gradient_accumulation_steps=PARTS)
        model = network()
        opt = optimizer(name, model, **options)
        loader = DataLoader(rows(), batch_size=ROWS // PARTS, shuffle=False)
        # The schedule counts steps of the optimizer.
        self.model, self.opt, self.loader, self.scheduler = self.accelerator.prepare(model, opt, loader, falling(opt))

    def run(self, first: int, last: int) -> None:
        for index, (inputs, targets) in enumerate(self.loader):
            if not first * PARTS <= index < last * PARTS:
                continue
            with self.accelerator.accumulate(self.model):
                loss = torch.nn.functional.mse_loss(self.model(inputs), targets)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), CLIP)
                self.opt.step()
                self.scheduler.step()
                self.opt.zero_grad()

    def tensors(self) -> dict[str, torch.Tensor]:
        return values_of(self.model) | states_of(self.model, self.opt.optimizer)


def alone(name: str, **options: object) -> tuple[Network, torch.optim.Optimizer]:
    return trained(name, batches(STEPS), parts=PARTS, clip=CLIP, scheduled=True, **options)


@pytest.mark.parametrize("name", CASES)
def test_equals_the_plain_loop(name: str) -> None:
    model, opt = alone(name)
    training = Training(name)
    training.run(0, STEPS)
    assert_same(training.tensors(), values_of(model) | states_of(model, opt))


@pytest.mark.parametrize("name", CASES)
def test_resumed(name: str, tmp_path: Path) -> None:
    """From a folder that save_state wrote, with a schedule of Layerwise's beside that of torch."""
    schedule = {"schedule": lw.Exponential(0.9)}
    model, opt = alone(name, **schedule)
    straight = Training(name, **schedule)
    straight.run(0, HALF)
    straight.accelerator.save_state(str(tmp_path))
    straight.run(HALF, STEPS)
    assert_same(straight.tensors(), values_of(model) | states_of(model, opt))

    resumed = Training(name, **schedule)
    with torch.no_grad():
        for parameter in resumed.model.parameters():
            parameter.zero_()
    resumed.accelerator.load_state(str(tmp_path))
    resumed.run(HALF, STEPS)
    assert_same(resumed.tensors(), straight.tensors())


def test_bfloat16_by_autocast() -> None:
    """prepare() wraps forward in autocast; parameters and states stay float32."""
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    model, opt = accelerator.prepare(bare := network(), optimizer("adamw", bare))
    twin = network()
    twin_opt = optimizer("adamw", twin)
    for inputs, targets in batches(STEPS):
        opt.zero_grad()
        accelerator.backward(torch.nn.functional.mse_loss(model(inputs), targets))
        opt.step()
        twin_opt.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = twin(inputs)
        torch.nn.functional.mse_loss(outputs.float(), targets).backward()
        twin_opt.step()
    assert_same(values_of(bare), values_of(twin))
    assert all(state.dtype == torch.float32 for state in states_of(bare, opt.optimizer).values())
