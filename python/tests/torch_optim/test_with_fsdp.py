# SPDX-License-Identifier: Apache-2.0
"""FSDP2, `fully_shard` over gloo: each of two processes holds some rows of every tensor, as a DTensor.

The head has one row, so the second process holds an empty part of it.

Rules that look at one element at a time equal one process in every bit: the mean of two gradients is the same sum (see
test_with_ddp.py).  Norms of whole tensors are sums of float64 squares that are added up in another order when the
tensor is cut.  So two ratios or clip factors differ by a few 1.1e-16, which moves the float32 coefficient of a step by
one last place, 6e-8 of the step, where it lies near the middle of two numbers.  Six steps, and what the changed
weights make of the next gradients, are granted ten times that: 4e-6 of the distance that a tensor moved.  A ratio of
a part of a tensor instead of the whole is off by tenths.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import (
    DECAY,
    OPTIMIZERS,
    Batch,
    Network,
    assert_moved,
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
TOLERANCE = 4e-6
Tensors = dict[str, torch.Tensor]


def sharded(dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = (SIZE,), by_columns: bool = False) -> Network:
    """The network on a mesh of processes; with two dimensions it is cut along the second and copied along the first.

    Args:
        dtype: Of all parameters.
        shape: How many processes stand along each dimension of the mesh.
        by_columns: Cut matrices by columns where FSDP can, which is where their number is even: the stem's.
    """
    model = network(dtype)
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("copies", "parts")[-len(shape) :])

    def placement(parameter: torch.nn.Parameter) -> Shard | None:
        return Shard(1) if by_columns and parameter.dim() == 2 and parameter.shape[1] % SIZE == 0 else None

    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh, shard_placement_fn=placement)


def whole(tensors: Tensors) -> Tensors:
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in tensors.items()}


def train_share(model: torch.nn.Module, opt: torch.optim.Optimizer, data: Sequence[Batch], clip: float | None) -> None:
    for batch in data:
        opt.zero_grad()
        loss_of(model, part(batch, dist.get_rank(), SIZE)).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        opt.step()


def share(name: str, options: dict[str, Any], clip: float | None) -> tuple[Tensors, Tensors, list[str]]:
    """The whole parameters and states after training, and which states are not cut like their parameters."""
    model = sharded()
    opt = optimizer(name, model, **options)
    train_share(model, opt, batches(STEPS), clip)
    other = [
        f"{name}: {key} is {type(value).__name__}"
        for name, parameter in model.named_parameters()
        for key, value in opt.state[parameter].items()
        if key != "step"
        and not (
            isinstance(value, DTensor)
            and value.placements == parameter.placements
            and value.device_mesh == parameter.device_mesh
            and value.shape == parameter.shape
            and value.to_local().shape == parameter.to_local().shape
        )
    ]
    return whole(values_of(model)), whole(states_of(model, opt)), other


def alone(name: str, options: dict[str, Any], clip: float | None = None) -> tuple[Tensors, Tensors]:
    model, opt = trained(name, batches(STEPS), parts=SIZE, clip=clip, **options)
    return values_of(model), states_of(model, opt)


def assert_near(found: Tensors, expected: Tensors) -> None:
    start = network().state_dict()
    for name, value in expected.items():
        moved = (value - start[name]).norm()
        assert moved > 0, name
        assert (found[name] - value).norm() <= TOLERANCE * moved, name


def holdings() -> dict[str, int]:
    return {name: parameter.to_local().numel() for name, parameter in sharded().named_parameters()}


def test_shards_are_odd_and_empty(processes: Processes) -> None:
    """What the other tests rely on."""
    first, second = processes.run(holdings)
    assert second["head.weight"] == second["head.bias"] == 0 < first["head.bias"]
    assert first["blocks.0.outer.weight"] > second["blocks.0.outer.weight"] > 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_the_whole(processes: Processes, name: str) -> None:
    values, states = alone(name, {})
    for found, found_states, other in processes.run(share, name, {}, None):
        assert not other, other
        assert_same(found, values)
        assert_same(found_states, states)


NORMS: dict[str, tuple[str, dict[str, Any], float | None]] = {
    "LARS": ("lars", {}, None),
    "LAMB": ("lamb", {}, None),
    "global norm": ("adamw", {"clip_global_norm": 0.3}, None),
    "layer norm": ("sgd", {"clip_layer_norm": 0.1}, None),
    "one ratio a layer": ("lars", {"trust_ratio_scope": "layer"}, None),
    "LAMB, global norm": ("lamb", {"clip_global_norm": 0.3}, None),
    "torch's clip_grad_norm_": ("adamw, layer decay", {}, 0.3),
}


@pytest.mark.parametrize("case", NORMS)
def test_norms_are_those_of_whole_tensors(processes: Processes, case: str) -> None:
    name, options, clip = NORMS[case]
    values, _ = alone(name, options, clip)
    if options or clip:
        other, _ = alone(name, {})
        assert any(not torch.equal(other[key], values[key]) for key in values), "the options change nothing"
    for found, _, other in processes.run(share, name, options, clip):
        assert not other, other
        assert_near(found, values)


def skipping(poisoned: int) -> tuple[Tensors, Tensors, Tensors]:
    """One process finds a NaN in its part of a gradient; before it, and in the end, both have made good steps."""
    model = sharded()
    opt = lwt.AdamW(model, lr=0.01, weight_decay=0.1, nonfinite="skip")
    train_share(model, opt, batches(2)[:1], None)
    before = whole(values_of(model) | states_of(model, opt))
    opt.zero_grad()
    loss_of(model, part(batches(2)[1], dist.get_rank(), SIZE)).backward()
    if dist.get_rank() == poisoned:
        model.blocks[0].inner.weight.grad.to_local()[0, 0] = torch.nan
    opt.step()
    after = whole(values_of(model) | states_of(model, opt))
    train_share(model, opt, batches(2)[1:], None)
    return before, after, whole(values_of(model))


@pytest.mark.parametrize("poisoned", range(SIZE))
def test_all_processes_skip_what_one_cannot_use(processes: Processes, poisoned: int) -> None:
    model = network()
    train(model, lwt.AdamW(model, lr=0.01, weight_decay=0.1), batches(2), parts=SIZE)
    for before, after, final in processes.run(skipping, poisoned):
        assert_same(after, before)
        assert_same(final, values_of(model))


def raising(poisoned: int) -> tuple[str, Tensors, Tensors, Tensors]:
    model = sharded()
    opt = lwt.LAMB(model, lr=0.02, nonfinite="raise")
    before = whole(values_of(model))
    loss_of(model, part(batches(1)[0], dist.get_rank(), SIZE)).backward()
    if dist.get_rank() == poisoned:
        model.blocks[0].inner.weight.grad.to_local()[0, 0] = torch.nan
    try:
        opt.step()
    except lw.NonFiniteGradient as error:
        message = str(error)
    after = whole(values_of(model))
    train_share(model, opt, batches(1), None)
    return message, before, after, whole(values_of(model))


@pytest.mark.parametrize("poisoned", range(SIZE))
def test_all_processes_refuse_what_one_cannot_use(processes: Processes, poisoned: int) -> None:
    """And none is left waiting for the other; the next step is as if there had been no such gradient."""
    model = network()
    train(model, lwt.LAMB(model, lr=0.02), batches(1), parts=SIZE)
    answers = processes.run(raising, poisoned)
    assert "blocks.0" in answers[poisoned][0] and "inner.weight" in answers[poisoned][0]
    for _, before, after, final in answers:
        assert_same(after, before)
        assert_near(final, values_of(model))


def in_other_ways(name: str, options: dict[str, Any], shape: tuple[int, ...], by_columns: bool) -> Tensors:
    model = sharded(shape=shape, by_columns=by_columns)
    assert not by_columns or model.embed.weight.placements == (Shard(1),)
    train_share(model, optimizer(name, model, **options), batches(STEPS), None)
    return whole(values_of(model))


WAYS: dict[str, tuple[tuple[int, ...], bool]] = {
    "columns": ((SIZE,), True),
    "copies": ((SIZE, 1), False),
    "copies of parts": ((1, SIZE), False),
}
"""How a mesh is laid out, and whether matrices are cut by columns."""
NEED_NORMS: dict[str, tuple[str, dict[str, Any]]] = {"clip": ("adamw", {"clip_global_norm": 0.3}), "lamb": ("lamb", {})}


@pytest.mark.parametrize(("shape", "by_columns"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    ("name", "options"), [("adamw", {"clip_global_norm": 0.3}), ("lamb", {})], ids=["clip", "lamb"]
)
def test_other_ways_to_spread(
    processes: Processes, name: str, options: dict[str, Any], shape: tuple[int, ...], by_columns: bool
) -> None:
    """What two processes hold copies of counts once."""
    for found in processes.run(in_other_ways, name, options, shape, by_columns):
        assert_near(found, alone(name, options)[0])


def partly(name: str, options: dict[str, Any]) -> tuple[str, Tensors]:
    """Only the blocks are sharded; the rest is on both processes, and its gradients are averaged by hand."""
    model = network()
    for block in model.blocks:
        fully_shard(block, mesh=init_device_mesh("cpu", (SIZE,)))
    try:
        opt = optimizer(name, model, **options)
        for batch in batches(STEPS):
            opt.zero_grad()
            loss_of(model, part(batch, dist.get_rank(), SIZE)).backward()
            for parameter in model.parameters():
                if not isinstance(parameter, DTensor):
                    parameter.grad /= SIZE
                    dist.all_reduce(parameter.grad)
            opt.step()
    except lw.InvalidArgument as error:
        return str(error), whole(values_of(model))
    return "", whole(values_of(model))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_partly_sharded(processes: Processes, name: str) -> None:
    for message, found in processes.run(partly, name, {}):
        assert not message
        assert_same(found, alone(name, {})[0])


@pytest.mark.parametrize(
    ("name", "options"), [("adamw", {"clip_global_norm": 0.3}), ("lamb", {})], ids=["clip", "lamb"]
)
def test_norms_of_what_is_partly_sharded(processes: Processes, name: str, options: dict[str, Any]) -> None:
    """Right, or refused before anything changes: copies that are counted twice would go unseen."""
    for message, found in processes.run(partly, name, options):
        if message:
            assert "spread in the same way" in message
            assert_same(found, values_of(network()))
        else:
            assert_near(found, alone(name, options)[0])


class Lonely(torch.nn.Module):
    """All that there is has one row, so the second process has nothing at all."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 1)
        with torch.no_grad():
            self.head.weight.fill_(0.5)
            self.head.bias.fill_(-0.25)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.head(values[:, :3])


def lonely() -> Tensors:
    model = fully_shard(Lonely(), mesh=init_device_mesh("cpu", (SIZE,)))
    opt = lwt.LAMB(model, lr=0.02, weight_decay=0.1, clip_global_norm=0.2, telemetry=True)
    train_share(model, opt, batches(STEPS), None)
    return whole(values_of(model) | states_of(model, opt))


def test_a_process_with_nothing_takes_part(processes: Processes) -> None:
    model = Lonely()
    opt = lwt.LAMB(model, lr=0.02, weight_decay=0.1, clip_global_norm=0.2)
    start = values_of(model)
    train(model, opt, batches(STEPS), parts=SIZE)
    assert_moved(values_of(model), start)
    for found in processes.run(lonely):
        # Nothing is cut here, so sums are the same ones.
        assert_same(found, values_of(model) | states_of(model, opt))


def in_backward() -> str:
    with pytest.raises(lw.InvalidArgument) as error:
        lwt.AdamW(sharded(), lr=0.01, step_in_backward=True)
    return str(error.value)


def test_steps_in_backward_are_refused(processes: Processes) -> None:
    for message in processes.run(in_backward):
        assert "step_in_backward needs whole parameters" in message


def by_width() -> Tensors:
    model = sharded()
    opt = lwt.SGD(model, lr=0.05, policy=lw.MuP({"blocks*weight": (2, 3)}, family="sgd"))
    train_share(model, opt, batches(STEPS), None)
    return whole(values_of(model))


def test_policies_see_the_shape_of_the_whole(processes: Processes) -> None:
    model = network()
    opt = lwt.SGD(model, lr=0.05, policy=lw.MuP({"blocks*weight": (2, 3)}, family="sgd"))
    train(model, opt, batches(STEPS), parts=SIZE)
    for found in processes.run(by_width):
        assert_same(found, values_of(model))


def watched() -> tuple[dict[str, float], list[str]]:
    model = sharded()
    opt = lwt.AdamW(model, lr=0.01, telemetry=True, layer_decay=DECAY)
    train_share(model, opt, batches(1), None)
    return opt.telemetry(), opt.explain().splitlines()[1:]


def test_telemetry_is_that_of_the_whole(processes: Processes) -> None:
    model = network()
    opt = lwt.AdamW(model, lr=0.01, telemetry=True, layer_decay=DECAY)
    train(model, opt, batches(1), parts=SIZE)
    for found, _ in processes.run(watched):
        assert found == pytest.approx(opt.telemetry(), rel=1e-6, nan_ok=True)


def master_copies() -> tuple[Tensors, Tensors, list[str]]:
    model = sharded(torch.bfloat16)
    opt = lwt.AdamW(model, lr=0.01, weight_decay=0.1, layer_decay=DECAY, master=True)
    train_share(model, opt, batches(STEPS, torch.bfloat16), None)
    strange = [
        key
        for parameter in model.parameters()
        for key, value in opt.state[parameter].items()
        if key != "step" and not (isinstance(value, DTensor) and value.placements == (Shard(0),))
    ]
    return whole(values_of(model)), whole(states_of(model, opt)), strange


def test_bfloat16_with_master_copies(processes: Processes) -> None:
    model = network(torch.bfloat16)
    opt = lwt.AdamW(model, lr=0.01, weight_decay=0.1, layer_decay=DECAY, master=True)
    train(model, opt, batches(STEPS, torch.bfloat16), parts=SIZE)
    for found, states, strange in processes.run(master_copies):
        assert not strange
        assert_same(found, values_of(model))
        assert_same(states, states_of(model, opt))
