# SPDX-License-Identifier: Apache-2.0
"""Lightning Fabric, which wraps an optimizer in an object of a class made of its own and the optimizer's.

So `isinstance` holds and every method and property of ours is found on the wrapper, but none of our attributes is in
it: what a method changes must reach the optimizer itself.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric

import layerwise as lw
from torch_optim.support.networks import (
    OPTIMIZERS,
    TRUST_RATIOS,
    Batch,
    Network,
    assert_same,
    batches,
    loss_of,
    network,
    optimizer,
    states_of,
    values_of,
)

STEPS, HALF, CLIP = 6, 3, 0.3
CASES = OPTIMIZERS | TRUST_RATIOS


@pytest.fixture(autouse=True)
def alone(one_thread: None) -> Iterator[None]:
    with warnings.catch_warnings():
        # torch's own, of what Lightning imports.
        warnings.simplefilter("ignore")
        yield


class Training:
    """A model and its optimizer, wrapped or not."""

    def __init__(self, name: str, wrapped: bool, **options: Any) -> None:
        self.bare: Network = network()
        self.bare_opt = optimizer(name, self.bare, **options)
        self.model: Any = self.bare
        self.opt: Any = self.bare_opt
        self.extra: torch.nn.Parameter | None = None
        self.fabric: Any = None
        if wrapped:
            self.fabric = Fabric(accelerator="cpu", devices=1)
            self.model, self.opt = self.fabric.setup(self.bare, self.bare_opt)
            assert self.opt is not self.bare_opt and isinstance(self.opt, type(self.bare_opt))

    def run(self, data: list[Batch]) -> None:
        for batch in data:
            self.opt.zero_grad()
            loss = loss_of(self.model, batch)
            if self.extra is not None:
                loss = loss + self.extra.sum()
            if self.fabric is None:
                loss.backward()
                stepped = [parameter for group in self.opt.param_groups for parameter in group["params"]]
                torch.nn.utils.clip_grad_norm_(stepped, CLIP)
            else:
                self.fabric.backward(loss)
                self.fabric.clip_gradients(self.model, self.opt, max_norm=CLIP)
            self.opt.step()

    def tensors(self) -> dict[str, torch.Tensor]:
        return values_of(self.bare) | states_of(self.bare, self.bare_opt)


@pytest.mark.parametrize("name", CASES)
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    schedule = {"schedule": lw.Exponential(0.9)}
    plain = Training(name, False, **schedule)
    plain.run(batches(STEPS))
    straight = Training(name, True, **schedule)
    straight.run(batches(STEPS)[:HALF])
    state = {"model": straight.model, "optimizer": straight.opt}
    straight.fabric.save(tmp_path / "checkpoint", state)
    straight.run(batches(STEPS)[HALF:])
    assert_same(straight.tensors(), plain.tensors())

    resumed = Training(name, True, **schedule)
    resumed.fabric.load(tmp_path / "checkpoint", {"model": resumed.model, "optimizer": resumed.opt})
    resumed.run(batches(STEPS)[HALF:])
    assert_same(resumed.tensors(), plain.tensors())


def test_the_wrapper_is_as_good_as_the_optimizer() -> None:
    """What is seen through it, and what is done to it, before and after the first step."""
    training = Training("adamw, layer decay", True, telemetry=True)
    plain = Training("adamw, layer decay", False, telemetry=True)
    for each in (training, plain):
        each.opt.param_groups[0]["lr"] = 0.02
        assert "blocks.1" in each.opt.explain()
        each.run(batches(1))
        each.extra = torch.nn.Parameter(torch.ones(3))
        each.opt.add_param_group({"params": [("extra", each.extra)], "lr": 0.5, "depth": 2})
        each.run(batches(2)[1:])
        each.opt.param_groups[0]["weight_decay"] = 0.5
        each.run(batches(3)[2:])
    assert_same(training.tensors(), plain.tensors())
    assert torch.equal(training.extra, plain.extra) and (plain.extra < 0.7).all()
    assert training.opt.telemetry() == plain.opt.telemetry()
    assert training.opt.native is training.bare_opt.native
    assert training.opt.state.keys() == training.bare_opt.state.keys()
    training.opt.load_state_dict(plain.opt.state_dict())
    assert_same(training.tensors(), plain.tensors())
