# SPDX-License-Identifier: Apache-2.0
"""torch.distributed.checkpoint: what two processes saved of their shards, two or one go on from, bit for bit.

Before it saves or loads, it makes an optimizer's state by a step with gradients of 0 at a rate of 0; what it cannot
find, by name, in a checkpoint is an error; and each key of a group must be there as well.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import DefaultLoadPlanner
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import (
    DECAY,
    Batch,
    Network,
    assert_moved,
    assert_same,
    batches,
    loss_of,
    network,
    part,
    states_of,
    train,
    values_of,
)
from torch_optim.support.processes import SIZE, Processes

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS, HALF, AHEAD = 6, 3, 5
Tensors = dict[str, torch.Tensor]


def schedule_inside(model: Network) -> torch.optim.Optimizer:
    """Layers and a schedule of its own, whose progress torch's format has no place for."""
    opt = lwt.AdamW(model, lr=0.01, weight_decay=0.2, layer_decay=DECAY, schedule=lw.Exponential(0.8))
    # Ahead of the counts of steps, so that those cannot stand for it.
    opt.native.seek(AHEAD)
    return opt


def two_groups(model: Network) -> torch.optim.Optimizer:
    parameters = list(model.named_parameters())
    return lwt.SGD(
        [
            {"params": [(name, value) for name, value in parameters if value.dim() > 1], "weight_decay": 0.3},
            {"params": [(name, value) for name, value in parameters if value.dim() == 1]},
        ],
        lr=0.05,
        momentum=0.9,
    )


def a_group_a_layer(model: Network) -> torch.optim.Optimizer:
    return lwt.Adam(lwt.param_groups(model), lr=0.01, amsgrad=True, layer_decay=DECAY)


def master_copies(model: Network) -> torch.optim.Optimizer:
    """float32 moments and master copies of bfloat16 parameters."""
    return lwt.AdamW(model, lr=0.01, weight_decay=0.2, layer_decay=DECAY, master=True)


MAKERS = {maker.__name__: maker for maker in (schedule_inside, two_groups, a_group_a_layer, master_copies)}
LAYOUTS = {"nested": StateDictOptions(), "flat": StateDictOptions(flatten_optimizer_state_dict=True)}


def dtype_of(maker: str) -> torch.dtype:
    return torch.bfloat16 if maker == "master_copies" else torch.float32


def sharded(dtype: torch.dtype = torch.float32) -> Network:
    model = network(dtype)
    mesh = init_device_mesh("cpu", (SIZE,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def unlike(model: Network) -> None:
    """Other weights, so that what was not loaded is seen."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)


def train_share(model: Network, opt: torch.optim.Optimizer, data: Sequence[Batch]) -> None:
    for batch in data:
        opt.zero_grad()
        loss_of(model, part(batch, dist.get_rank(), SIZE)).backward()
        opt.step()


def whole(tensors: Tensors) -> Tensors:
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in tensors.items()}


def save(model: Network, opt: torch.optim.Optimizer, layout: str, folder: str) -> None:
    model_state, optimizer_state = get_state_dict(model, opt, options=LAYOUTS[layout])
    dcp.save({"model": model_state, "optimizer": optimizer_state}, checkpoint_id=folder)


def load(model: Network, opt: torch.optim.Optimizer, layout: str, folder: str, planner: Any = None) -> None:
    model_state, optimizer_state = get_state_dict(model, opt, options=LAYOUTS[layout])
    state = {"model": model_state, "optimizer": optimizer_state}
    dcp.load(state, checkpoint_id=folder, planner=planner)
    set_state_dict(
        model,
        opt,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
        options=LAYOUTS[layout],
    )


def train_save_and_load(maker: str, layout: str, folder: str) -> tuple[Tensors, Tensors, Tensors]:
    """All steps at once; then, with what was saved after half of them, the other half again."""
    dtype = dtype_of(maker)
    data = batches(STEPS, dtype)
    model = sharded(dtype)
    opt = MAKERS[maker](model)
    train_share(model, opt, data[:HALF])
    save(model, opt, layout, folder)
    train_share(model, opt, data[HALF:])

    second = sharded(dtype)
    unlike(second)
    second_opt = MAKERS[maker](second)
    load(second, second_opt, layout, folder)
    loaded = whole(values_of(second) | states_of(second, second_opt))
    train_share(second, second_opt, data[HALF:])
    return whole(values_of(model)), loaded, whole(values_of(second))


# The warning is expected here.
@pytest.mark.spawns
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("maker", MAKERS)
def test_two_processes_save_two_and_one_load(processes: Processes, maker: str, layout: str, tmp_path: Path) -> None:
    dtype = dtype_of(maker)
    data = batches(STEPS, dtype)
    model = network(dtype)
    opt = MAKERS[maker](model)
    train(model, opt, data[:HALF], parts=SIZE)
    half = values_of(model) | states_of(model, opt)
    train(model, opt, data[HALF:], parts=SIZE)
    expected = values_of(model)
    assert_moved(expected, {name: half[name] for name in expected})

    for straight, loaded, resumed in processes.run(train_save_and_load, maker, layout, str(tmp_path)):
        assert_same(straight, expected)
        assert_same(loaded, half)
        assert_same(resumed, expected)

    alone = network(dtype)
    unlike(alone)
    opt = MAKERS[maker](alone)
    load(alone, opt, layout, str(tmp_path))
    assert_same(values_of(alone) | states_of(alone, opt), half)
    train(alone, opt, data[HALF:], parts=SIZE)
    assert_same(values_of(alone), expected)


FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
FROM_FIRST = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


def gather() -> tuple[list[str], Tensors]:
    """The whole state on the first process, trained on; and the same again, from that process's copy alone."""
    model = sharded()
    opt = schedule_inside(model)
    train_share(model, opt, batches(STEPS)[:HALF])
    model_state, optimizer_state = get_state_dict(model, opt, options=FULL)
    second = sharded()
    unlike(second)
    second_opt = schedule_inside(second)
    # Not set_state_dict, which leaves out the model where its state is empty, as it is on all but the first.
    set_model_state_dict(second, model_state, options=FROM_FIRST)
    set_optimizer_state_dict(second, second_opt, optimizer_state, options=FROM_FIRST)
    train_share(second, second_opt, batches(STEPS)[HALF:])
    return list(model_state), whole(values_of(second))


@pytest.mark.spawns
def test_gathered_on_one_process_and_handed_out_again(processes: Processes) -> None:
    model = network()
    train(model, schedule_inside(model), batches(STEPS), parts=SIZE)
    first, second = processes.run(gather)
    assert len(first[0]) == len(model.state_dict()) and not second[0]
    for _, resumed in (first, second):
        assert_same(resumed, values_of(model))


@pytest.mark.parametrize("maker", MAKERS)
def test_what_makes_the_state_changes_no_parameter(maker: str) -> None:
    """The step at a rate of 0 that get_state_dict does; also where weights decay."""
    model = network()
    opt = MAKERS[maker](model)
    _, state = get_state_dict(model, opt)
    assert_same(values_of(model), values_of(network()))
    assert set(state["state"]) == set(dict(model.named_parameters()))


# ---- To and from torch's optimizers


THEIRS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "SGD": ({"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}, {}),
    "Adam": ({"lr": 0.02, "amsgrad": True}, {}),
    "AdamW": ({"lr": 0.02, "weight_decay": 0.2}, {}),
    "RMSprop": ({"lr": 0.01, "momentum": 0.9, "centered": True}, {}),
    "AdamW, all options": ({"lr": 0.02, "weight_decay": 0.2}, {"layer_decay": DECAY, "schedule": lw.Linear(50)}),
}
"""Options of both, and those of ours alone; by the name of the class."""
GROUPS: dict[str, Callable[[Network], object]] = {
    "one group": lambda model: model.parameters(),
    "names": lambda model: model.named_parameters(),
    "two groups": lambda model: [
        {"params": [value for value in model.parameters() if value.dim() > 1], "weight_decay": 0.3},
        {"params": [value for value in model.parameters() if value.dim() == 1]},
    ],
}


def classes(name: str) -> tuple[type[torch.optim.Optimizer], type[torch.optim.Optimizer]]:
    kind = name.partition(",")[0]
    return getattr(torch.optim, kind), getattr(lwt, kind)


def ours_of(name: str, model: Network, groups: str) -> torch.optim.Optimizer:
    both, own = THEIRS[name]
    if groups == "one group":
        return classes(name)[1](lwt.param_groups(model) if own else model, **both | own)
    return classes(name)[1](GROUPS[groups](model), module=model, **both | own)


def compare_with(ours: Network, theirs: Network) -> None:
    for one, other in zip(values_of(ours).values(), values_of(theirs).values(), strict=True):
        # Float32 weights of size 1 after six steps, each rounded once by both: 4e-6.
        torch.testing.assert_close(one, other, rtol=4e-6, atol=4e-6)


def hand_over(
    model: Network, opt: torch.optim.Optimizer, other: Network, receiver: torch.optim.Optimizer, layout: str
) -> None:
    """Through a state dict in memory, copied, since torch takes tensors as they are."""
    state = copy.deepcopy(get_optimizer_state_dict(model, opt, options=LAYOUTS[layout]))
    set_optimizer_state_dict(other, receiver, state, options=LAYOUTS[layout])


@pytest.mark.parametrize(
    ("name", "groups", "layout"),
    [
        ("SGD", "one group", "flat"),
        ("SGD", "two groups", "nested"),
        ("Adam", "two groups", "flat"),
        ("AdamW", "one group", "flat"),
        ("AdamW", "one group", "nested"),
        ("AdamW", "names", "flat"),
        ("RMSprop", "one group", "flat"),
        ("AdamW, all options", "two groups", "flat"),
        ("AdamW, all options", "one group", "flat"),
    ],
)
def test_from_torch_and_back(name: str, groups: str, layout: str) -> None:
    """Keys that torch's groups do not have (names, layers, progress) are not asked of its state dicts."""
    both, own = THEIRS[name]
    theirs, ours, third = network(), network(), network()
    twin = classes(name)[0](GROUPS[groups](theirs), **both)
    train(theirs, twin, batches(STEPS)[:HALF])
    opt = ours_of(name, ours, groups)
    ours.load_state_dict(theirs.state_dict())
    hand_over(theirs, twin, ours, opt, layout)
    states = states_of(ours, opt)
    assert all(torch.equal(states[key], value) for key, value in states_of(theirs, twin).items())
    # torch's SGD counts no steps: a velocity shows that there was one.
    assert opt.native.next_step == (1 if name == "SGD" else HALF)
    last = classes(name)[0](GROUPS[groups](third), **both)
    third.load_state_dict(ours.state_dict())
    if groups == "one group" and own:
        # A group a layer makes several of the one, of which torch's own cannot take any.
        return
    hand_over(ours, opt, third, last, layout)
    assert all(torch.equal(value, states[key]) for key, value in states_of(third, last).items())
    for model, optimizer in ((theirs, twin), (ours, opt), (third, last)):
        train(model, optimizer, batches(STEPS)[HALF:])
    compare_with(third, theirs)
    if not own:
        compare_with(ours, theirs)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["SGD", "AdamW", "AdamW, all options"])
def test_files_of_torch_and_for_torch(name: str, layout: str, tmp_path: Path) -> None:
    theirs = network()
    twin = classes(name)[0](theirs.parameters(), **THEIRS[name][0])
    train(theirs, twin, batches(STEPS)[:HALF])
    save(theirs, twin, layout, str(tmp_path / "theirs"))
    ours = network()
    unlike(ours)
    opt = classes(name)[1](ours, **THEIRS[name][0] | THEIRS[name][1])
    # What is asked for by the keys of our groups is not all in torch's file.
    load(ours, opt, layout, str(tmp_path / "theirs"), planner=DefaultLoadPlanner(allow_partial_load=True))
    expected = states_of(theirs, twin)
    found = states_of(ours, opt)
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert_same(values_of(ours), values_of(theirs))
    # torch's SGD counts no steps: a velocity shows that there was one.
    assert opt.native.next_step == (1 if name == "SGD" else HALF)
    save(ours, opt, layout, str(tmp_path / "ours"))
    third = network()
    last = classes(name)[0](third.parameters(), **THEIRS[name][0])
    load(third, last, layout, str(tmp_path / "ours"))
    found = states_of(ours, opt)
    assert all(torch.equal(value, found[key]) for key, value in states_of(third, last).items())
    train(third, last, batches(STEPS)[HALF:])
    if name != "AdamW, all options":
        train(ours, opt, batches(STEPS)[HALF:])
        compare_with(ours, third)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_progress_goes_along_without_a_file(layout: str) -> None:
    """Handed over in memory, with what was frozen by hand."""
    model, other = network(), network()
    opt, made = schedule_inside(model), schedule_inside(other)
    train(model, opt, batches(STEPS)[:HALF])
    opt.native.layer("embed").freeze()
    other.load_state_dict(model.state_dict())
    hand_over(model, opt, other, made, layout)
    assert made.native.next_step == AHEAD + HALF and made.native.layer("embed").frozen
    for each, its in ((model, opt), (other, made)):
        train(each, its, batches(STEPS)[HALF:])
    assert_same(values_of(other), values_of(model))


def test_a_flat_state_dict_without_a_hyperparameter_is_refused() -> None:
    model = network()
    opt = lwt.AdamW(model)
    flat = get_optimizer_state_dict(model, opt, options=LAYOUTS["flat"])
    flat = {key: value for key, value in flat.items() if not key.endswith(".betas")}
    with pytest.raises(KeyError, match="betas"):
        set_optimizer_state_dict(model, opt, flat, options=LAYOUTS["flat"])
