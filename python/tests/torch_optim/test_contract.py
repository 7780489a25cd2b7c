# SPDX-License-Identifier: Apache-2.0
"""What frameworks rely on in a torch optimizer, and the kinds of tests that torch has for its own."""

import copy
import functools
import gc
import inspect
import os
import threading
import weakref
from collections.abc import Callable
from types import CellType, FunctionType, GenericAlias, UnionType
from typing import Any

import pytest
import torch
from support.rules import TABLE
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import Network, batches, loss_of, network

CLASSES = {name: row.options for name, row in TABLE.items()}
every_class = pytest.mark.parametrize("name", CLASSES)


def make(name: str, model: Any, **options: Any) -> Any:
    return getattr(lwt, name)(model, **CLASSES[name] | options)


def train(model: nn.Module, opt: torch.optim.Optimizer, first: int, last: int) -> None:
    for batch in batches(last)[first:]:
        opt.zero_grad()
        loss_of(model, batch).backward()
        opt.step()


def give_gradients(model: nn.Module, value: float = 1.0) -> None:
    for param in model.parameters():
        param.grad = torch.full_like(param, value)


def weights(model: nn.Module) -> list[Tensor]:
    return [param.detach().clone() for param in model.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


# ---- 1. A real optimizer


@every_class
def test_is_a_torch_optimizer(name: str) -> None:
    opt = make(name, network())
    assert isinstance(opt, torch.optim.Optimizer)
    assert opt.defaults["lr"] == opt.param_groups[0]["lr"] == CLASSES[name]["lr"]
    assert name in repr(opt) and "lr: " in repr(opt)


@pytest.mark.spawns
def test_importing_layerwise_does_not_import_torch() -> None:
    import subprocess
    import sys

    code = "import sys, layerwise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- 2. step


def test_closure_runs_with_gradients_before_they_are_read() -> None:
    model, reference = network(), network()
    opt, other = make("AdamW", model), make("AdamW", reference)
    batch = batches(1)[0]

    def closure() -> Tensor:
        assert torch.is_grad_enabled()
        opt.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        return loss

    with torch.no_grad():
        returned = opt.step(closure=closure)
    loss_of(reference, batch).backward()
    other.step()
    assert same(weights(model), weights(reference))
    assert returned == loss_of(network(), batch)
    assert other.step(closure=None) is None


def test_step_is_a_bound_method_that_schedulers_may_replace() -> None:
    opt = make("AdamW", network())
    assert inspect.ismethod(opt.step) and opt.step.__func__.hooked
    lr_scheduler.LambdaLR(opt, lambda step: 1.0)
    give_gradients(nn.Module())
    opt.step()


def test_hooks_run_in_order() -> None:
    model = network()
    opt = make("AdamW", model)
    seen: list[str] = []
    handles = [
        opt.register_step_pre_hook(lambda *_: seen.append("pre")),
        opt.register_step_post_hook(lambda *_: seen.append("post")),
        register_optimizer_step_pre_hook(lambda *_: seen.append("global pre")),
        register_optimizer_step_post_hook(lambda *_: seen.append("global post")),
    ]
    try:
        opt.step()
        assert seen == ["global pre", "pre", "post", "global post"]
    finally:
        for handle in handles:
            handle.remove()
    opt.step()
    assert len(seen) == 4


def test_a_hook_may_replace_the_arguments() -> None:
    model = network()
    opt = make("AdamW", model)
    give_gradients(model)
    opt.register_step_pre_hook(lambda opt, args, kwargs: ((*args, lambda: 7.0), kwargs))
    assert opt.step() == 7.0


def test_hooks_run_once_where_a_subclass_steps_through_ours() -> None:
    class Counting(lwt.AdamW):
        steps = 0

        def step(self, closure: Any = None) -> Any:
            type(self).steps += 1
            return super().step(closure)

    model = network()
    opt = Counting(model.parameters())
    give_gradients(model)
    seen: list[str] = []
    opt.register_step_pre_hook(lambda *_: seen.append("pre"))
    opt.register_step_post_hook(lambda *_: seen.append("post"))
    before = copy.deepcopy(model.state_dict())
    opt.step()
    assert (seen, Counting.steps) == (["pre", "post"], 1)
    assert any(not value.equal(before[name]) for name, value in model.state_dict().items())


def test_hooks_run_once_where_somebody_wraps_the_step_of_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = lwt.AdamW.step

    @functools.wraps(inner)
    def outer(self: Any, *args: Any) -> Any:
        seen.append("outer")
        return inner(self, *args)

    # With the attributes of what it wraps, torch takes it for wrapped already.
    monkeypatch.setattr(lwt.AdamW, "step", outer)
    model = network()
    opt = make("AdamW", model)
    give_gradients(model)
    seen: list[str] = []
    opt.register_step_pre_hook(lambda *_: seen.append("pre"))
    opt.step()
    assert seen == ["outer", "pre"]


def test_hooks_run_after_a_step_of_a_subclass_that_failed() -> None:
    class Failing(lwt.AdamW):
        fails = True

        def step(self, closure: Any = None) -> Any:
            if self.fails:
                raise ValueError("not yet")
            return super().step(closure)

    model = network()
    opt = Failing(model.parameters())
    give_gradients(model)
    seen: list[str] = []
    opt.register_step_post_hook(lambda *_: seen.append("post"))
    with pytest.raises(ValueError, match="not yet"):
        opt.step()
    lwt.AdamW.step(opt)
    assert seen == ["post"]


def test_a_profiler_sees_the_step() -> None:
    model = network()
    opt = make("AdamW", model)
    give_gradients(model)
    opt.step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        opt.step()
    assert [event.count for event in profile.key_averages() if event.key == "Optimizer.step#AdamW.step"] == [1]


def test_state_dict_hooks_see_what_torch_shows_them() -> None:
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 2)
    seen: list[Any] = []
    opt.register_state_dict_pre_hook(lambda opt: seen.append("pre"))
    opt.register_state_dict_post_hook(lambda opt, found: seen.append(len(found["state"])))
    saved = copy.deepcopy(opt.state_dict())
    assert seen == ["pre", 12]

    def before(opt: Any, found: dict[str, Any]) -> dict[str, Any]:
        seen.append(len(found["state"]))
        changed = copy.deepcopy(found)
        changed["param_groups"][0]["lr"] = 0.125
        return changed

    opt.register_load_state_dict_pre_hook(before)
    opt.register_load_state_dict_post_hook(lambda opt: seen.append(opt.state[model.head.bias]["step"].item()))
    opt.load_state_dict(saved)
    assert seen == ["pre", 12, 12, 2.0] and opt.param_groups[0]["lr"] == 0.125


# ---- 3. Groups are read at every step


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": lambda opt: lr_scheduler.LambdaLR(opt, lambda step: 0.9**step),
    "OneCycleLR": lambda opt: lr_scheduler.OneCycleLR(opt, 0.1, total_steps=20),
    "CosineAnnealingWarmRestarts": lambda opt: lr_scheduler.CosineAnnealingWarmRestarts(opt, 3),
    "CyclicLR": lambda opt: lr_scheduler.CyclicLR(opt, 0.01, 0.1, 2, cycle_momentum=False),
    "SequentialLR": lambda opt: lr_scheduler.SequentialLR(
        opt, [lr_scheduler.ConstantLR(opt, 0.1), lr_scheduler.ExponentialLR(opt, 0.9)], [4]
    ),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_schedulers_of_torch(name: str, scheduler: str) -> None:
    """OneCycleLR moves momentum and betas too.  float64, so that 1e-12 of the weights is far above rounding."""
    ours, theirs = network(torch.float64), network(torch.float64)
    opt, twin = make(name, ours), getattr(torch.optim, name)(theirs.parameters(), **CLASSES[name])
    schedulers = [SCHEDULERS[scheduler](opt), SCHEDULERS[scheduler](twin)]
    for batch in batches(12, torch.float64):
        for model, optimizer in ((ours, opt), (theirs, twin)):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
        for each in schedulers:
            each.step()
    assert [group["lr"] for group in opt.param_groups] == [group["lr"] for group in twin.param_groups]
    for one, other in zip(weights(ours), weights(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_reduce_on_plateau_of_torch() -> None:
    opt = make("AdamW", network())
    scheduler = lr_scheduler.ReduceLROnPlateau(opt, factor=0.5, patience=0)
    for loss in (1.0, 2.0):
        scheduler.step(loss)
    assert opt.native.lr == 0.01


def test_scheduler_moves_the_base_and_the_scale_stays_inside() -> None:
    model = network()
    opt = lwt.SGD(model, lr=1.0, layer_decay=0.5)
    lr_scheduler.LambdaLR(opt, lambda step: 0.25)
    before = weights(model)
    give_gradients(model)
    opt.step()
    moved = [(old - new).mean().item() for old, new in zip(before, weights(model), strict=True)]
    # A difference of float32 weights of size 1: 1e-7 of them, 1e-5 of 1/64.
    assert moved[0] == pytest.approx(0.25 / 16, rel=1e-5) and moved[-1] == pytest.approx(0.25, rel=1e-5)


def test_every_hyperparameter_may_change_between_steps() -> None:
    ours, theirs = network(torch.float64), network(torch.float64)
    groups = [[{"params": [param]} for param in model.parameters()] for model in (ours, theirs)]
    opt, twin = lwt.Adam(groups[0]), torch.optim.Adam(groups[1])
    for step, batch in enumerate(batches(8, torch.float64)):
        for model, optimizer in ((ours, opt), (theirs, twin)):
            group = optimizer.param_groups[step]
            group.update(betas=(0.5, 0.6), eps=1e-3, weight_decay=0.1, lr=0.1)
            if step == 0:
                # Before its first step: torch makes that state only then.
                group["amsgrad"] = True
            if step > 4:
                for each in optimizer.param_groups:
                    each["maximize"] = True
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
    for one, other in zip(weights(ours), weights(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)
    assert "max_exp_avg_sq" in opt.state[opt.param_groups[0]["params"][0]]


def test_groups_that_agree_again_after_they_did_not() -> None:
    """Nesterov needs momentum: the library gets both at once, whatever the order in which they change."""
    w = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    opt = lwt.SGD([{"params": [param]} for param in w], momentum=0.9, nesterov=True)
    plain, nesterov = {"momentum": 0.0, "nesterov": False}, {"momentum": 0.9, "nesterov": True}
    for values in ((plain, nesterov), (nesterov, plain), (plain, plain), (nesterov, nesterov)):
        for group, value in zip(opt.param_groups, values, strict=True):
            group.update(value)
        for param in w:
            param.grad = torch.ones(2)
        opt.step()


def test_parameters_that_leave_their_group_are_not_stepped() -> None:
    model = network()
    opt = make("SGD", model)
    train(model, opt, 0, 2)
    before = weights(model)
    taken = opt.param_groups[0]["params"].pop(0)
    give_gradients(model)
    opt.step()
    assert torch.equal(taken, before[0]) and not torch.equal(model.embed.bias, before[1])
    opt.param_groups[0]["params"].insert(0, taken)
    opt.step()
    assert not torch.equal(taken, before[0])
    assert opt.state[taken]["step"] == 3 and opt.state[model.embed.bias]["step"] == 4


def test_parameters_that_are_replaced_keep_the_state() -> None:
    """As Accelerate does when a model is wrapped: new objects in the same places."""
    model, reference = network(), network()
    opt, other = make("AdamW", model), make("AdamW", reference)
    train(model, opt, 0, 2)
    train(reference, other, 0, 2)
    head = nn.Parameter(model.head.weight.detach().clone())
    opt.param_groups[0]["params"] = [
        head if param is model.head.weight else param for param in opt.param_groups[0]["params"]
    ]
    model.head.weight = head
    train(model, opt, 2, 4)
    train(reference, other, 2, 4)
    assert same(weights(model), weights(reference))
    assert opt.state[head]["step"] == 4


def test_groups_that_are_taken_away() -> None:
    model = network()
    opt = lwt.AdamW(lwt.param_groups(model))
    train(model, opt, 0, 2)
    before = model.embed.weight.detach().clone()
    del opt.param_groups[0]
    train(model, opt, 2, 3)
    assert torch.equal(model.embed.weight, before)
    assert opt.state[model.head.weight]["step"] == 3


# ---- 4. and 5. State, and how torch.distributed.checkpoint makes it


@every_class
@pytest.mark.parametrize("policy", [None, lw.RateSlice(1e-3, 1e-1)], ids=["one rate", "rates of the policy's own"])
def test_a_step_at_rate_0_makes_all_states_and_nothing_else(name: str, policy: lw.Policy | None) -> None:
    model = network()
    opt = make(name, model, policy=policy, weight_decay=0.3)
    before = weights(model)
    for tensor in (False, True):
        opt.state.clear()
        opt.param_groups[0]["lr"] = torch.tensor(0.0) if tensor else 0.0
        for param in model.parameters():
            param.grad = torch.zeros_like(param)
        opt.step(closure=None)
        opt.zero_grad(set_to_none=True)
        assert same(weights(model), before)
        assert len(opt.state) == 12
        for entry in opt.state.values():
            assert all(isinstance(value, Tensor | int | float | dict) for value in entry.values())
    assert opt.native.next_step == 0


# ---- 7. Gradients


def test_zero_grad() -> None:
    model = network()
    opt = make("AdamW", model)
    assert inspect.signature(opt.zero_grad).parameters["set_to_none"].default is True
    give_gradients(model)
    opt.zero_grad(set_to_none=False)
    assert all(param.grad is not None and not param.grad.any() for param in model.parameters())
    opt.zero_grad()
    assert all(param.grad is None for param in model.parameters())


@every_class
def test_no_gradient_means_no_step(name: str) -> None:
    model = network()
    opt = make(name, model)
    before = weights(model)
    opt.step()
    assert same(weights(model), before) and len(opt.state) == 0


def test_a_gradient_of_zero_is_a_step() -> None:
    model = network()
    opt = make("AdamW", model, weight_decay=0.5)
    before = weights(model)
    give_gradients(model, 0.0)
    opt.step()
    assert not same(weights(model), before) and opt.state[model.head.bias]["step"] == 1


def test_gradients_of_other_strides_are_taken_by_their_places() -> None:
    model, reference = nn.Linear(3, 4, bias=False), nn.Linear(3, 4, bias=False)
    reference.load_state_dict(model.state_dict())
    gradient = torch.arange(12.0).reshape(4, 3)
    model.weight.grad = gradient.t().contiguous().t()
    reference.weight.grad = gradient
    for each in (model, reference):
        lwt.SGD(each, lr=1.0).step()
    assert torch.equal(model.weight, reference.weight)
    reference.weight.grad = model.weight.grad = torch.ones(1).expand(4, 3)
    for each in (model, reference):
        lwt.SGD(each, lr=1.0).step()
    assert torch.equal(model.weight, reference.weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_gradients_of_16_bit_parameters(dtype: torch.dtype) -> None:
    """What grad_dtype allows: the small part of the gradient that 16 bits would lose counts."""
    param = nn.Parameter(torch.zeros(4, dtype=dtype))
    param.grad_dtype = torch.float32
    opt = lwt.SGD([param], lr=1.0, momentum=0.9)
    param.grad = torch.full((4,), 1.0 + 2.0**-20)
    opt.step()
    assert opt.state[param]["momentum_buffer"][0] == 1.0 + 2.0**-20


# ---- 8. GradScaler


def test_found_inf_leaves_everything_as_it_was() -> None:
    model = network()
    opt = make("AdamW", model, fused=True)
    train(model, opt, 0, 1)
    before = weights(model)
    give_gradients(model, float("inf"))
    opt.found_inf, opt.grad_scale = torch.tensor(1.0), torch.tensor(64.0)
    opt.step()
    assert same(weights(model), before) and opt.state[model.head.bias]["step"] == 1
    assert opt._step_supports_amp_scaling and not hasattr(make("AdamW", network()), "_step_supports_amp_scaling")
    assert copy.deepcopy(opt)._step_supports_amp_scaling


def test_grad_scale_divides_gradients() -> None:
    model, reference = network(), network()
    opt, other = make("SGD", model, fused=True), make("SGD", reference)
    give_gradients(model, 64.0)
    give_gradients(reference, 1.0)
    opt.found_inf, opt.grad_scale = torch.tensor(0.0), torch.tensor(64.0)
    opt.step()
    other.step()
    assert same(weights(model), weights(reference))


# ---- 12. Flags


def test_a_flag_that_asks_for_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="differentiable must be False, found True"):
        make("AdamW", network(), differentiable=True)
    with pytest.raises(ValueError, match="differentiable of param group 0 must be False"):
        make("AdamW", [{"params": network().parameters(), "differentiable": True}])


@pytest.mark.parametrize("flag", ["foreach", "fused", "capturable"])
@pytest.mark.parametrize("value", [None, False, True])
def test_flags_that_choose_an_implementation_choose_nothing(flag: str, value: bool | None) -> None:
    found = []
    for options in ({}, {flag: value}):
        model = network()
        opt = make("AdamW", model, **options)
        train(model, opt, 0, 3)
        found.append(weights(model))
        assert opt.param_groups[0][flag] is options.get(flag, False if flag == "capturable" else None)
    assert same(*found)


# ---- 14. Memory


def transposed() -> nn.Parameter:
    return nn.Parameter(torch.arange(12.0).reshape(3, 4).t())


@every_class
def test_parameters_that_are_not_contiguous_are_stepped_where_they_are(name: str) -> None:
    param, plain = transposed(), nn.Parameter(transposed().detach().contiguous())
    for each in (param, plain):
        opt = make(name, [each])
        for step in range(3):
            each.grad = None
            (each * torch.arange(12.0).reshape(4, 3) + step).pow(2).sum().backward()
            opt.step()
    # Norms of a tensor in another order may differ in the last bit: 1e-6 of the weights.
    torch.testing.assert_close(param, plain, rtol=1e-6, atol=0)
    assert param.stride() == (1, 4)


MOVES: dict[str, Callable[[nn.Parameter], None]] = {
    "data assigned": lambda param: setattr(param, "data", param.data.clone()),
    "set_": lambda param: torch.no_grad()(lambda: param.set_(param.detach().clone()))(),  # type: ignore[arg-type]
    "swapped": lambda param: torch.utils.swap_tensors(param, nn.Parameter(param.detach().clone())),
}


@pytest.mark.parametrize("move", MOVES)
def test_parameters_that_move_keep_their_state(move: str) -> None:
    model, reference = network(), network()
    opt, other = make("AdamW", model), make("AdamW", reference)
    for step in range(4):
        train(model, opt, step, step + 1)
        train(reference, other, step, step + 1)
        if step == 1:
            model.zero_grad()
            for param in model.parameters():
                MOVES[move](param)
    assert same(weights(model), weights(reference))
    assert opt.state[model.head.bias]["step"] == 4


def test_the_old_memory_is_let_go() -> None:
    model = network()
    opt = make("AdamW", model)
    old = model.head.weight.data
    ref = weakref.ref(old)
    model.head.weight.data = old.clone()
    give_gradients(model)
    opt.step()
    del old
    gc.collect()
    assert ref() is None


def test_parameters_that_are_resized_are_refused() -> None:
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 1)
    before = weights(model)
    model.zero_grad()
    model.head.weight.data = torch.zeros(2, 7)
    give_gradients(model)
    with pytest.raises(lw.ShapeMismatch, match=r'"head.weight" must keep its shape \(1, 7\), found \(2, 7\)'):
        opt.step()
    assert same(weights(model)[:-2], before[:-2])


def test_a_gradient_that_was_shrunk_is_refused() -> None:
    """Reading past its end would be worse."""
    model = network()
    opt = make("AdamW", model)
    give_gradients(model)
    before = weights(model)
    model.embed.weight.grad.resize_(3)
    with pytest.raises(lw.ShapeMismatch, match=r'gradient of parameter "embed\.weight" must have'):
        opt.step()
    assert same(weights(model), before)


def test_storage_that_was_freed_is_refused() -> None:
    model = network()
    opt = make("AdamW", model)
    give_gradients(model)
    model.embed.weight.untyped_storage().resize_(0)
    with pytest.raises(lw.InvalidArgument, match=r'parameter "embed\.weight" has no memory'):
        opt.step()


def test_tensors_without_elements() -> None:
    param = nn.Parameter(torch.ones(0, 3))
    opt = lwt.AdamW([param, nn.Parameter(torch.ones(()))])
    for each in opt.param_groups[0]["params"]:
        each.grad = torch.ones_like(each)
    opt.step()
    assert [entry["step"].item() for entry in opt.state.values()] == [1.0, 1.0]
    assert opt.state[param]["exp_avg"].shape == (0, 3)


# ---- Autograd


def test_a_stale_backward_is_refused() -> None:
    """Autograd has kept the weights for it, and they are no longer what they were."""
    model = network()
    opt = make("AdamW", model)
    loss = loss_of(model, batches(1)[0])
    loss.backward(retain_graph=True)
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_only_stepped_parameters_count_as_modified() -> None:
    model = network()
    opt = make("AdamW", model)
    model.head.bias.grad = torch.ones(1)
    versions = {name: param._version for name, param in model.named_parameters()}
    opt.step()
    changed = [name for name, param in model.named_parameters() if param._version != versions[name]]
    assert changed == ["head.bias"]


# ---- add_param_group


def test_groups_added_later() -> None:
    model, reference = network(), network()
    opt = lwt.AdamW(model.head.parameters(), lr=0.1)
    train(model, opt, 0, 2)
    opt.add_param_group({"params": model.norm.parameters(), "lr": 0.05, "weight_decay": 0.5})
    other = torch.optim.AdamW(reference.head.parameters(), lr=0.1)
    train(reference, other, 0, 2)
    other.add_param_group({"params": reference.norm.parameters(), "lr": 0.05, "weight_decay": 0.5})
    train(model, opt, 2, 6)
    train(reference, other, 2, 6)
    for one, two in zip(weights(model), weights(reference), strict=True):
        # Float32 weights of size 1 after six steps, each rounded once by both: 2e-6.
        torch.testing.assert_close(one, two, rtol=2e-6, atol=2e-6)


def test_groups_added_later_may_move_depths() -> None:
    model = network()
    named = list(model.named_parameters())
    opt = lwt.SGD([{"params": [item for item in named if item[0].startswith("head")]}], layer_decay=0.5)
    train(model, opt, 0, 2)
    assert opt.native.layer("head").scale == 1.0
    opt.add_param_group({"params": [item for item in named if item[0].startswith("blocks.1")]})
    opt.add_param_group({"params": [item for item in named if item[0].startswith("blocks.0")]})
    assert {name: layer.scale for name, layer in opt.native.layers.items()} == {
        "head": 1.0,
        "blocks.1": 0.5,
        "blocks.0": 0.25,
    }
    assert opt.state[model.head.bias]["step"] == 2


def test_groups_added_later_with_depths() -> None:
    w = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    opt = lwt.SGD([{"params": [w[0]], "depth": 2}], layer_decay=0.5)
    opt.add_param_group({"params": [w[1]], "depth": 1})
    opt.add_param_group({"params": [w[2]], "depth": 0, "layer": "stem"})
    assert {name: layer.scale for name, layer in opt.native.layers.items()} == {
        "group 0": 1.0,
        "group 1": 0.5,
        "stem": 0.25,
    }


def test_a_group_that_is_refused_leaves_no_trace() -> None:
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 2)
    shared = nn.Parameter(model.head.weight.detach())
    refused: list[tuple[type[Exception], Any]] = [
        (lw.OverlappingBuffers, [("fine", nn.Parameter(torch.ones(3))), ("tail", shared)]),
        (lw.DTypeMismatch, [("numbers", torch.arange(3))]),
        (ValueError, [("again", model.head.weight)]),
    ]
    for error, params in refused:
        with pytest.raises(error):
            opt.add_param_group({"params": params})
        assert len(opt.param_groups) == 1
    reference = network()
    other = make("AdamW", reference)
    train(model, opt, 2, 4)
    train(reference, other, 0, 4)
    assert same(weights(model), weights(reference))


# ---- As torch tests its own


@every_class
@pytest.mark.parametrize("maximize", [False, True], ids=["down", "up"])
def test_goes_the_right_way(name: str, maximize: bool) -> None:
    model = network()
    opt = make(name, model, maximize=maximize, lr={"SGD": 0.001, "LARS": 1.0}.get(name, 0.01))
    batch = batches(1)[0]
    first = loss_of(model, batch).item()
    for _ in range(20):
        opt.zero_grad()
        loss_of(model, batch).backward()
        opt.step()
    assert (loss_of(model, batch).item() > first) == maximize


def test_default_dtype_does_not_matter() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        model: Network = network(torch.float32)
        opt = make("AdamW", model)
        give_gradients(model)
        opt.step()
        assert {value.dtype for entry in opt.state.values() for value in entry.values()} == {torch.float32}
    finally:
        torch.set_default_dtype(torch.float32)


def test_types_may_be_mixed() -> None:
    params = [nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in (torch.float32, torch.float64, torch.bfloat16)]
    opt = lwt.SGD(params, lr=0.5)
    for param in params:
        param.grad = torch.ones_like(param)
    opt.step()
    assert all(param.eq(0.5).all() for param in params)


def test_deepcopy_keeps_public_attributes() -> None:
    opt = make("AdamW", network())
    copied = copy.deepcopy(opt)
    public = {key for key in dir(opt) if not key.startswith("_")}
    assert public <= {key for key in dir(copied) if not key.startswith("_")}


def test_a_duplicate_is_warned_of_and_stepped_once() -> None:
    param = nn.Parameter(torch.zeros(2))
    with pytest.warns(UserWarning, match="duplicate parameters"):
        opt = lwt.SGD([param, param], lr=1.0)
    param.grad = torch.ones(2)
    opt.step()
    assert param.eq(-1).all()


# ---- Ours


def test_an_optimizer_is_freed_without_the_cycle_collector() -> None:
    model = network()
    # The first optimizer of a process makes torch import its compiler, which holds on to all frames of that moment.
    make("AdamW", network())
    gc.collect()
    gc.disable()
    try:
        opt = make("AdamW", model, step_in_backward=True)
        loss_of(model, batches(1)[0]).backward()
        opt.step()
        native = weakref.ref(opt.native)
        del opt
        assert native() is None
        loss_of(model, batches(1)[0]).backward()
        assert model.head.bias.grad is not None, "its hooks are gone"
    finally:
        gc.enable()


def test_telemetry_is_ready_for_a_logger() -> None:
    model = network()
    opt = make("AdamW", model, telemetry=True, layer_decay=0.5)
    train(model, opt, 0, 2)
    rows = opt.telemetry()
    assert set(rows) == {f"layerwise/{name}/{key}" for name in opt.native.layers for key in lw.Telemetry._fields}
    assert all(type(value) is float for value in rows.values())
    assert rows["layerwise/head/update_ratio"] == opt.native.layer("head").telemetry.update_ratio > 0
    assert rows["layerwise/norm/effective_lr"] == pytest.approx(0.01)
    written: list[tuple[str, float, int]] = []

    class Writer:
        def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
            written.append((tag, scalar_value, global_step))

    lwt.write_tensorboard(Writer(), opt, 7)
    assert written == [(key, value, 7) for key, value in rows.items()]

    written.clear()
    chosen = ("update_ratio", "effective_lr")
    lwt.write_tensorboard(Writer(), opt, 8, prefix="", only=chosen)
    assert [(tag, value) for tag, value, _ in written] == [
        (key.removeprefix("layerwise/"), value) for key, value in rows.items() if key.endswith(chosen)
    ]
    assert opt.telemetry(only="effective_lr") == {key: rows[key] for key in rows if key.endswith("effective_lr")}
    with pytest.raises(lw.UnknownName, match=r"did you mean update_ratio\?"):
        opt.telemetry(only=["update_ration"])


def test_telemetry_that_is_off_says_so() -> None:
    with pytest.raises(lw.InvalidArgument, match="telemetry=True"):
        make("AdamW", network()).telemetry()


def test_clipping_inside_is_that_of_torch() -> None:
    ours, theirs = network(torch.float64), network(torch.float64)
    opt, twin = make("AdamW", ours, clip_global_norm=0.3), torch.optim.AdamW(theirs.parameters(), **CLASSES["AdamW"])
    for batch in batches(6, torch.float64):
        opt.zero_grad()
        loss_of(ours, batch).backward()
        opt.step()
        twin.zero_grad()
        loss_of(theirs, batch).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.3)
        twin.step()
        assert opt.native.summary().clip_factor < 1
    for one, other in zip(weights(ours), weights(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_what_a_bad_gradient_does() -> None:
    for nonfinite in ("raise", "skip", "propagate"):
        model = network()
        opt = make("AdamW", model, nonfinite=nonfinite)
        train(model, opt, 0, 1)
        before = weights(model)
        give_gradients(model)
        model.norm.weight.grad[3] = float("nan")
        if nonfinite == "raise":
            with pytest.raises(lw.NonFiniteGradient, match=r'layer "norm": tensor "weight".*3'):
                opt.step()
        else:
            opt.step()
        if nonfinite == "propagate":
            assert model.norm.weight[3].isnan() and not model.head.weight.isnan().any()
        else:
            assert same(weights(model), before) and opt.state[model.head.bias]["step"] == 1


def test_a_second_thread_is_told_and_disturbs_nothing() -> None:
    """Large enough for the first to be inside when the second comes."""
    param = nn.Parameter(torch.zeros(1 << 22))
    opt = lwt.AdamW([param], threads=1)
    param.grad = torch.ones_like(param)
    busy, steps = [], []

    def work() -> None:
        for _ in range(20):
            try:
                opt.step()
                steps.append(1)
            except lw.BusyOptimizer:
                busy.append(1)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(busy) + len(steps) == 40
    assert opt.state[param]["step"] == len(steps)
    assert param.unique().numel() == 1


ALIVE: dict[str, dict[str, Any]] = {
    "plain": {},
    "with everything": {"layer_decay": 0.5, "clip_global_norm": 1.0, "telemetry": True, "schedule": lw.Linear(10)},
    "steps in backward": {"step_in_backward": True},
    "a process group": {"process_group": object(), "nonfinite": "propagate"},
}


# Rules with sums would need them over the processes of the group, of which there are none.
ALIVE_CASES = [
    (name, options)
    for name, row in TABLE.items()
    for options in ALIVE
    if (options != "a process group" or not row.has_sums) and (options != "steps in backward" or not row.together)
]


@pytest.mark.parametrize(("name", "options"), ALIVE_CASES)
def test_nothing_is_left_to_the_cycle_collector(name: str, options: str) -> None:
    """Neither by an optimizer that is gone, nor by calls of one that is there: memory goes at once."""
    model = network()
    make("AdamW", network())
    gc.collect()
    # What is there already is of no interest, and takes longest to look at.
    gc.freeze()
    gc.disable()
    try:
        opt = make(name, model, **ALIVE[options])
        for _ in range(2):
            loss_of(model, batches(1)[0]).backward()
            opt.step()
            opt.zero_grad()
        opt.load_state_dict(opt.state_dict())
        opt.native.lr = 0.5
        assert opt.explain() and len(opt.preview(3)) == 5 and opt.native.summary() and opt.native.layers
        opt.add_param_group({"params": [("more", nn.Parameter(torch.ones(2)))]})
        copied = copy.deepcopy((model, opt))
        copied[1].native.explain()
        gc.set_debug(gc.DEBUG_SAVEALL)
        del opt, copied
        gc.collect()
        # A function in torch's load_state_dict refers to itself, and to its annotations.
        left = CellType | FunctionType | tuple | GenericAlias | UnionType
        assert [each for each in gc.garbage if not isinstance(each, left)] == []
        assert {each.__module__ for each in gc.garbage if isinstance(each, FunctionType)} <= {"torch.optim.optimizer"}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


# ---- Threads


def test_threads_are_those_of_torch() -> None:
    """Whenever they are changed, and wherever OMP_NUM_THREADS is said; `threads` goes before."""
    model = network()
    before = torch.get_num_threads()
    opt, own = make("AdamW", model), make("AdamW", network(), threads=3)
    try:
        for threads in (1, 2, 5, before):
            torch.set_num_threads(threads)
            give_gradients(model)
            opt.step()
            own.step()
            assert opt.native.get("threads") == threads and own.native.get("threads") == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.spawns
def test_one_thread_where_torch_has_one() -> None:
    import subprocess
    import sys

    code = """
import os, torch, layerwise.torch as lwt
param = torch.nn.Parameter(torch.ones(4_000_000))
param.grad = torch.ones_like(param)
opt = lwt.AdamW([param])
before = len(os.listdir("/proc/self/task"))
for _ in range(3):
    opt.step()
print(torch.get_num_threads(), len(os.listdir("/proc/self/task")) - before)
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["1", "0"]
