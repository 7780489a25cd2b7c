# SPDX-License-Identifier: Apache-2.0
"""Steps in backward: the same numbers as steps after it, and less memory on the way.

What a layer's step computes does not depend on the others, so results are compared bit for bit.
"""

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import batches, loss_of, network


def pair(**options: Any) -> tuple[nn.Module, Any, nn.Module, Any]:
    """A network stepped in backward, and one stepped after it."""
    ours, theirs = network(), network()
    in_backward = {key: options.pop(key) for key in ("accumulation_steps",) if key in options}
    opt = lwt.AdamW(ours, lr=0.02, step_in_backward=True, **in_backward, **options)
    return ours, opt, theirs, lwt.AdamW(theirs, lr=0.02, **options)


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other), name


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "policy and schedules": {"layer_decay": 0.5, "schedule": lw.Cosine(8), "freezing": lw.GradualUnfreezing(2)},
    "clipping": {"clip_layer_norm": 0.1, "clip_value": 0.05, "telemetry": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_same_as_after_backward(options: dict[str, Any], accumulation_steps: int) -> None:
    ours, opt, theirs, other = pair(accumulation_steps=accumulation_steps, **options)
    data = iter(batches(6 * accumulation_steps))
    for step in range(6):
        for micro in range(accumulation_steps):
            batch = next(data)
            loss_of(ours, batch).backward()
            loss_of(theirs, batch).backward()
            freed = [param.grad is None for param in ours.parameters()]
            assert all(freed) if micro == accumulation_steps - 1 else not any(freed)
        opt.step()
        other.step()
        other.zero_grad()
        assert opt.native.next_step == other.native.next_step == step + 1
        assert_same(ours, theirs)
    assert opt.explain().splitlines()[1:] == other.explain().splitlines()[1:]


def test_layers_with_parameters_that_took_no_part_are_stepped_at_the_end() -> None:
    ours, opt, theirs, other = pair(schedule=lw.Linear(8))
    inputs = torch.randn(4, 6)
    for step in range(4):
        for model in (ours, theirs):
            values = model.embed(inputs)
            # The second block takes part at every other step; the head without its bias.
            values = model.blocks[step % 2](values)
            (values @ model.head.weight.t()).pow(2).sum().backward()
        assert ours.head.weight.grad is not None, "its layer waits for the bias"
        opt.step()
        other.step()
        other.zero_grad()
        assert all(param.grad is None for param in ours.parameters())
        assert_same(ours, theirs)
    assert opt.state[ours.blocks[1].outer.weight]["step"] == 2
    assert ours.norm.weight not in opt.state


def test_parameters_that_need_gradients_later() -> None:
    ours, opt, theirs, other = pair()
    for model in (ours, theirs):
        model.embed.requires_grad_(False)
    for step, batch in enumerate(batches(5)):
        if step == 2:
            for model in (ours, theirs):
                model.embed.requires_grad_(True)
        for model, each in ((ours, opt), (theirs, other)):
            loss_of(model, batch).backward()
            each.step()
            each.zero_grad()
        assert_same(ours, theirs)


def test_rates_and_hyperparameters_are_read_at_every_round() -> None:
    ours, opt, theirs, other = pair()
    for step, batch in enumerate(batches(4)):
        for model, each in ((ours, opt), (theirs, other)):
            each.param_groups[0].update(lr=0.01 * step, weight_decay=0.1 * step)
            loss_of(model, batch).backward()
            each.step()
            each.zero_grad()
        assert_same(ours, theirs)


def test_state_that_was_put_in_is_taken_in() -> None:
    ours, opt, theirs, other = pair()
    for step, batch in enumerate(batches(4)):
        for model, each in ((ours, opt), (theirs, other)):
            loss_of(model, batch).backward()
            each.step()
            each.zero_grad()
            if step == 1:
                each.state[model.head.weight]["exp_avg"] = torch.full((1, 7), 0.25)
        assert_same(ours, theirs)


def test_a_round_that_was_not_ended_is_noticed() -> None:
    model = network()
    opt = lwt.AdamW(model, step_in_backward=True, accumulation_steps=2)
    first, second, third = batches(3)
    loss_of(model, first).backward()
    loss_of(model, second).backward()
    with pytest.raises(RuntimeError, match=r'layer "head" got a gradient after it was stepped: call step\(\) after ev'):
        loss_of(model, third).backward()
    opt.zero_grad()
    loss_of(model, first).backward()
    loss_of(model, second).backward()
    opt.step()


def test_zero_grad_begins_anew() -> None:
    """A batch that is thrown away does not count as one of those that add up."""
    ours, opt, theirs, other = pair(accumulation_steps=2)
    thrown, first, second = batches(3)
    loss_of(ours, thrown).backward()
    opt.zero_grad()
    for batch in (first, second):
        loss_of(ours, batch).backward()
        loss_of(theirs, batch).backward()
    opt.step()
    other.step()
    assert_same(ours, theirs)


def test_copies_and_added_groups_step_in_backward_too() -> None:
    ours, opt, theirs, other = pair()
    (batch,) = batches(1)
    for model, each in ((ours, opt), (theirs, other)):
        loss_of(model, batch).backward()
        each.step()
        each.zero_grad()
    ours, opt = copy.deepcopy((ours, opt))
    opt.step()
    for model, each in ((ours, opt), (theirs, other)):
        model.extra = nn.Linear(7, 7)
        nn.init.eye_(model.extra.weight)
        nn.init.zeros_(model.extra.bias)
        each.add_param_group({"params": [(f"extra.{name}", param) for name, param in model.extra.named_parameters()]})
        (loss_of(model, batch) + model.extra(torch.ones(2, 7)).pow(3).sum()).backward()
        assert all(param.grad is None for param in model.parameters()) == (model is ours)
        each.step()
    assert_same(ours, theirs)


def test_nonfinite_raise_comes_out_of_backward() -> None:
    """Layers nearer to the output were stepped by then, which the documentation says."""
    model = network()
    opt = lwt.SGD(model, lr=0.1, step_in_backward=True, nonfinite="raise")
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    model.blocks[0].inner.weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(lw.NonFiniteGradient, match=r'layer "blocks\.0": tensor "inner\.weight"'):
        loss_of(model, batches(1)[0]).backward()
    assert not torch.equal(model.head.weight, before["head.weight"])
    assert torch.equal(model.blocks[0].outer.weight, before["blocks.0.outer.weight"])
    assert len(opt.state) > 0


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "global clip": ({"clip_global_norm": 1.0}, "clip_global_norm needs all gradients before the first layer"),
    "no steps": ({"accumulation_steps": 0}, "accumulation_steps must be at least 1, found 0"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lwt.AdamW(network(), step_in_backward=True, **options)


def test_accumulation_without_steps_in_backward_is_refused() -> None:
    with pytest.raises(ValueError, match="no effect without step_in_backward"):
        lwt.AdamW(network(), accumulation_steps=2)


def test_grad_scaler_is_refused() -> None:
    model = network()
    opt = lwt.SGD(model, step_in_backward=True, fused=True)
    opt.found_inf = torch.tensor(0.0)
    with pytest.raises(RuntimeError, match="step_in_backward has used them already"):
        opt.step()


MEMORY = """
import os, torch
from torch import nn
import layerwise.torch as lwt

torch.set_num_threads(1)

def memory(what):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(what))

def train(width, depth, way="after"):
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth)))
    opt = lwt.SGD(model, lr=1e-3, step_in_backward=way == "in", threads=1)
    inputs = torch.randn(2, width)
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # The peak is counted from here.
    before = memory("VmRSS")
    for _ in range(2):
        model(inputs).pow(2).mean().backward()
        opt.step()
        opt.zero_grad()
    return memory("VmHWM") - before

train(8, 2)  # What torch loads and allocates once.
for way in ("after", "in"):
    # Each in a process of its own, to which its memory is new.
    process = os.fork()
    if process == 0:
        print(way, train(1024, 24, way), 1024 * 1024 * 24 * 4, flush=True)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0, way
"""


@pytest.mark.spawns
def test_gradients_are_freed_early() -> None:
    """Of 24 equal layers: the peak is a few gradients in place of 24; all else is the same in both."""
    peaks = {}
    printed = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout
    for line in printed.splitlines():
        way, peak, size = line.split()
        peaks[way], gradients = int(peak), int(size)
    assert peaks["after"] - peaks["in"] > gradients / 2, peaks
