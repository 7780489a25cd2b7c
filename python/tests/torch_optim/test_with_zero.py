# SPDX-License-Identifier: Apache-2.0
"""ZeroRedundancyOptimizer over gloo: each of two processes keeps the state of half of the tensors.

It makes the optimizer itself, as `cls(groups, **defaults)` with the groups that are left on a process, some of them
empty and all of them with every default as a key; writes state into `optimizer.state`; and copies what is in the
groups to and fro.  A tensor is never cut, so all rules, also those with trust ratios, equal those of one process in
every bit (see test_with_ddp.py for why).
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import (
    DECAY,
    OPTIMIZERS,
    TRUST_RATIOS,
    Batch,
    Network,
    assert_moved,
    assert_same,
    batches,
    falling,
    loss_of,
    network,
    part,
    states_of,
    train,
    values_of,
)
from torch_optim.support.processes import SIZE, Processes

pytestmark = pytest.mark.spawns

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS, HALF = 6, 3
CASES = OPTIMIZERS | TRUST_RATIOS
Tensors = dict[str, torch.Tensor]


def split(name: str) -> tuple[type[torch.optim.Optimizer], dict[str, Any], dict[str, Any]]:
    """A case's class, what its groups are made with, and what the class takes besides."""
    rule, options = CASES[name]
    options = dict(options)
    return getattr(lwt, rule), {"layer_decay": options.pop("layer_decay")} if "layer_decay" in options else {}, options


def groups(model: Network, name: str) -> list[dict[str, Any]]:
    """A group for each layer; or, where nothing is decayed, one with the weights and one with the rest."""
    decay = split(name)[1]
    if decay:
        return lwt.param_groups(model)
    parameters = list(model.parameters())
    return [
        {"params": [value for value in parameters if value.dim() > 1], "weight_decay": 0.3},
        {"params": [value for value in parameters if value.dim() == 1]},
    ]


def zero(model: Network, name: str) -> ZeroRedundancyOptimizer:
    rule, decay, options = split(name)
    return ZeroRedundancyOptimizer(groups(model, name), rule, **options, **decay)


def plain(model: Network, name: str) -> torch.optim.Optimizer:
    rule, decay, options = split(name)
    return rule(groups(model, name), **options, **decay)


def train_share(
    model: torch.nn.Module,
    opt: ZeroRedundancyOptimizer,
    data: Sequence[Batch],
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> None:
    for batch in data:
        opt.zero_grad()
        loss_of(model, part(batch, dist.get_rank(), SIZE)).backward()
        opt.step()
        if scheduler is not None:
            scheduler.step()


def train_all(name: str) -> tuple[Tensors, Any, Tensors]:
    """Half of the steps, a checkpoint, the other half; and the other half again from the checkpoint."""
    model = network()
    wrapped, opt = DistributedDataParallel(model), zero(model, name)
    scheduler = falling(opt)
    train_share(wrapped, opt, batches(STEPS)[:HALF], scheduler)
    opt.consolidate_state_dict(to=0)
    checkpoint: list[Any] = [None]
    # What ZeRO gives out is the live state.
    if dist.get_rank() == 0:
        checkpoint = [deepcopy((values_of(model), opt.state_dict(), scheduler.state_dict()))]
    train_share(wrapped, opt, batches(STEPS)[HALF:], scheduler)

    dist.broadcast_object_list(checkpoint, src=0)
    kept = deepcopy(checkpoint[0])
    values, state, schedule = checkpoint[0]
    second = network()
    with torch.no_grad():
        for key, parameter in second.named_parameters():
            parameter.copy_(values[key])
    opt = zero(second, name)
    scheduler = falling(opt)
    opt.load_state_dict(state)
    scheduler.load_state_dict(schedule)
    train_share(DistributedDataParallel(second), opt, batches(STEPS)[HALF:], scheduler)
    return values_of(model), kept, values_of(second)


def alone(name: str, steps: int) -> tuple[Network, torch.optim.Optimizer]:
    model = network()
    opt = plain(model, name)
    train(model, opt, batches(STEPS)[:steps], parts=SIZE, scheduler=falling(opt))
    return model, opt


@pytest.mark.parametrize("name", CASES)
def test_equals_one_process(processes: Processes, name: str) -> None:
    """From the start, from a consolidated checkpoint, and with what was consolidated loaded by one process."""
    expected = values_of(alone(name, STEPS)[0])
    assert_moved(expected, values_of(network()))
    answers = processes.run(train_all, name)
    for straight, _, resumed in answers:
        assert_same(straight, expected)
        assert_same(resumed, expected)

    values, state, schedule = answers[0][1]
    half, half_opt = alone(name, HALF)
    assert_same(values, values_of(half))
    model = network()
    opt = plain(model, name)
    scheduler = falling(opt)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(values[key])
    opt.load_state_dict(state)
    assert_same(states_of(model, opt), states_of(half, half_opt))
    scheduler.load_state_dict(schedule)
    train(model, opt, batches(STEPS)[HALF:], parts=SIZE, scheduler=scheduler)
    assert_same(values_of(model), expected)


NEED_ALL: dict[str, tuple[str, dict[str, Any]]] = {
    "global norm": ("AdamW", {"clip_global_norm": 0.3}),
    "layer norm": ("SGD", {"clip_layer_norm": 0.1}),
    "one ratio a layer": ("LARS", {"trust_ratio_scope": "layer"}),
}
"""What needs tensors that another process has."""


def refused(rule: str, options: dict[str, Any], by_layers: bool) -> str:
    model = network()
    try:
        parameters = lwt.param_groups(model) if by_layers else model.parameters()
        ZeroRedundancyOptimizer(parameters, getattr(lwt, rule), lr=0.01, **options)
    except lw.InvalidArgument as error:
        return str(error)
    return ""


@pytest.mark.parametrize("by_layers", [True, False], ids=["layers", "parameters"])
@pytest.mark.parametrize("case", NEED_ALL)
def test_what_needs_all_tensors_is_refused(processes: Processes, case: str, by_layers: bool) -> None:
    """Norms of a part would be silently wrong, and different on each process."""
    rule, options = NEED_ALL[case]
    for message in processes.run(refused, rule, options, by_layers):
        assert next(iter(options)) in message and "ZeroRedundancyOptimizer" in message


def shares() -> list[list[str]]:
    """Which tensors this process keeps state for, and how many groups it has none of."""
    model = network()
    opt = zero(model, "adamw, layer decay")
    train_share(DistributedDataParallel(model), opt, batches(1))
    return [name for name, parameter in model.named_parameters() if parameter in opt.optim.state]


def test_each_state_lives_once(processes: Processes) -> None:
    first, second = processes.run(shares)
    assert first and second and not set(first) & set(second)
    assert sorted(first + second) == sorted(dict(network().named_parameters()))


def with_views() -> Tensors:
    """ZeRO moves the parameters into buffers of its own after it made the optimizer."""
    model = network()
    opt = ZeroRedundancyOptimizer(
        model.parameters(), lwt.AdamW, lr=0.01, weight_decay=0.2, parameters_as_bucket_view=True
    )
    train_share(DistributedDataParallel(model), opt, batches(STEPS))
    return values_of(model)


def test_parameters_in_buckets(processes: Processes) -> None:
    model = network()
    train(model, lwt.AdamW(model, lr=0.01, weight_decay=0.2), batches(STEPS), parts=SIZE)
    for found in processes.run(with_views):
        assert_same(found, values_of(model))


def master_copies() -> tuple[Tensors, Tensors]:
    """float32 moments and master copies of bfloat16 parameters, through a checkpoint."""
    data = batches(STEPS, torch.bfloat16)
    model = network(torch.bfloat16)
    opt = ZeroRedundancyOptimizer(lwt.param_groups(model), lwt.AdamW, lr=0.01, layer_decay=DECAY, master=True)
    train_share(model, opt, data[:HALF])
    opt.consolidate_state_dict(to=0)
    checkpoint = [deepcopy((model.state_dict(), opt.state_dict())) if dist.get_rank() == 0 else None]
    train_share(model, opt, data[HALF:])
    dist.broadcast_object_list(checkpoint, src=0)
    second = network(torch.bfloat16)
    second.load_state_dict(checkpoint[0][0])
    opt = ZeroRedundancyOptimizer(lwt.param_groups(second), lwt.AdamW, lr=0.01, layer_decay=DECAY, master=True)
    opt.load_state_dict(checkpoint[0][1])
    train_share(second, opt, data[HALF:])
    return values_of(model), values_of(second)


def test_master_copies(processes: Processes) -> None:
    """Each process goes its own way with its half of a batch here: what it keeps is what counts."""
    for straight, resumed in processes.run(master_copies):
        assert_same(resumed, straight)


SCHEDULE = lw.Exponential(0.7)


def train_scheduled() -> tuple[Tensors, Tensors]:
    """With a schedule of Layerwise's, whose clock is the optimizer's; resumed by way of a consolidated checkpoint."""
    model = network()
    wrapped, opt = DistributedDataParallel(model), scheduled(model)
    train_share(wrapped, opt, batches(STEPS)[:HALF])
    opt.consolidate_state_dict(to=0)
    checkpoint = [deepcopy((values_of(model), opt.state_dict())) if dist.get_rank() == 0 else None]
    train_share(wrapped, opt, batches(STEPS)[HALF:])
    dist.broadcast_object_list(checkpoint, src=0)
    values, state = checkpoint[0]
    second = network()
    with torch.no_grad():
        for key, parameter in second.named_parameters():
            parameter.copy_(values[key])
    opt = scheduled(second)
    opt.load_state_dict(state)
    train_share(DistributedDataParallel(second), opt, batches(STEPS)[HALF:])
    return values_of(model), values_of(second)


def scheduled(model: Network) -> ZeroRedundancyOptimizer:
    return ZeroRedundancyOptimizer(
        lwt.param_groups(model), lwt.AdamW, lr=0.01, weight_decay=0.2, layer_decay=DECAY, schedule=SCHEDULE
    )


def test_schedules_of_its_own(processes: Processes) -> None:
    model = network()
    opt = lwt.AdamW(model, lr=0.01, weight_decay=0.2, layer_decay=DECAY, schedule=SCHEDULE)
    train(model, opt, batches(STEPS), parts=SIZE)
    for straight, resumed in processes.run(train_scheduled):
        assert_same(straight, values_of(model))
        assert_same(resumed, values_of(model))
