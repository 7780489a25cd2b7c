# SPDX-License-Identifier: Apache-2.0
"""DistributedDataParallel over gloo: two processes, each with half of a batch, train as one with the whole of it.

DDP halves each gradient and adds the two, which the plain loop of `train(parts=2)` does in every bit; so the
parameters and the states are compared bit for bit.
"""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import (
    DECAY,
    OPTIMIZERS,
    TRUST_RATIOS,
    assert_same,
    batches,
    loss_of,
    network,
    optimizer,
    part,
    states_of,
    train,
    trained,
    values_of,
)
from torch_optim.support.processes import SIZE, Processes

pytestmark = pytest.mark.spawns

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 6


WHERE = ("wrapped", "inside", "before", "views")
"""What the optimizer is made of: the wrapped model, the model in it, or the model before it is wrapped; and once more
the latter, with gradients that lie in DDP's own buffers."""


def share(name: str, where: str, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Train on this process's half."""
    model = network()
    if where in ("before", "views"):
        opt = optimizer(name, model, **options)
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=where == "views")
    if where in ("wrapped", "inside"):
        opt = optimizer(name, wrapped if where == "wrapped" else model, **options)
    for batch in batches(STEPS):
        opt.zero_grad()
        loss_of(wrapped, part(batch, dist.get_rank(), SIZE)).backward()
        opt.step()
    return values_of(model) | states_of(model, opt)


def alone(name: str, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    model, opt = trained(name, batches(STEPS), parts=SIZE, **options)
    return values_of(model) | states_of(model, opt)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", OPTIMIZERS | TRUST_RATIOS)
def test_equals_one_process(processes: Processes, name: str, where: str) -> None:
    """Also where the names begin with "module.", as in the wrapped model: its layers are the same ones."""
    expected = alone(name, {})
    for found in processes.run(share, name, where, {}):
        assert_same(found, expected)


def test_clipping_by_the_norm_of_all_gradients(processes: Processes) -> None:
    """Every process has all gradients: nothing is added up once more."""
    options = {"clip_global_norm": 0.3}
    expected = alone("adamw", options)
    for found in processes.run(share, "adamw", "inside", options):
        assert_same(found, expected)
    different = alone("adamw", {})
    assert any(not torch.equal(expected[name], different[name]) for name in expected), "nothing was clipped"


def checkpoint(where: str) -> dict[str, Any]:
    model = network()
    wrapped = DistributedDataParallel(model)
    opt = optimizer("adamw, layer decay", wrapped if where == "wrapped" else model)
    loss_of(wrapped, batches(1)[0]).backward()
    opt.step()
    return opt.state_dict()


@pytest.mark.parametrize("where", ["wrapped", "inside"])
def test_a_checkpoint_fits_the_model_alone(processes: Processes, where: str) -> None:
    """Matched by names without what the wrapper puts before them."""
    expected = network()
    expected_opt = optimizer("adamw, layer decay", expected)
    train(expected, expected_opt, batches(1))
    for state_dict in processes.run(checkpoint, where):
        model = network()
        # In another order, so that only names tell.
        named = list(reversed(list(model.named_parameters())))
        opt = lwt.AdamW(named, lr=0.01, layer_decay=DECAY)
        opt.load_state_dict(state_dict)
        assert_same(states_of(model, opt), states_of(expected, expected_opt))


def in_backward(where: str) -> str:
    model = network()
    try:
        if where == "before":
            lwt.AdamW(model, lr=0.01, step_in_backward=True)
        wrapped = DistributedDataParallel(model)
        if where != "before":
            lwt.AdamW(wrapped if where == "wrapped" else model, lr=0.01, step_in_backward=True)
    except lw.InvalidArgument as error:
        return str(error)
    return ""


@pytest.mark.parametrize("where", ["wrapped", "inside", "before"])
def test_steps_in_backward_are_refused(processes: Processes, where: str) -> None:
    """They would come before the gradients are added up, and the copies of the model would drift apart unseen."""
    for message in processes.run(in_backward, where):
        assert "step_in_backward" in message
