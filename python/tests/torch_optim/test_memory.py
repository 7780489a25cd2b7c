# SPDX-License-Identifier: Apache-2.0
"""Parameters with gaps in their memory, and models that are converted to another type while an optimizer has them."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.pairs import in_pairs
from support.rules import TABLE
from torch import Tensor, nn

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import batches, loss_of, network

CLASSES = {name: row.options for name, row in TABLE.items()}


def make(name: str, params: Any, **options: Any) -> Any:
    return getattr(lwt, name)(params, **CLASSES[name] | options)


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# ---- Gaps


GAPS: dict[str, Callable[[torch.dtype], Tensor]] = {
    "a column": lambda dtype: numbers(4, 2, dtype=dtype)[:, 0],
    "columns": lambda dtype: numbers(4, 6, dtype=dtype)[:, 1:4],
    "every second": lambda dtype: numbers(3, 8, dtype=dtype)[:, ::2],
    "columns, transposed": lambda dtype: numbers(4, 6, dtype=dtype)[:, 1:4].t(),
    "channels last": lambda dtype: numbers(2, 8, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)[:, 1:4],
}


def gradient(shape: tuple[int, ...], step: int, dtype: torch.dtype) -> Tensor:
    return numbers(*shape, seed=10 + step, dtype=dtype)


@pytest.mark.parametrize(
    ("name", "gaps", "dtype"), in_pairs(CLASSES, GAPS, [torch.float32, torch.float64, torch.bfloat16])
)
def test_parameters_with_gaps_are_stepped_as_those_without(name: str, gaps: str, dtype: torch.dtype) -> None:
    """In every bit, and nothing in the gaps moves.  Gradients come with the strides of either."""
    values = GAPS[gaps](dtype)
    base = values._base if values._base is not None else values
    whole = base.clone()
    # In the order of memory in which the copy lies, so that sums for norms are added in one order.
    param, plain = nn.Parameter(values), nn.Parameter(torch.empty_like(values).copy_(values))
    assert param.data_ptr() == values.data_ptr() and param.stride() != plain.stride()
    opts = [make(name, [each], master=dtype is torch.bfloat16) for each in (param, plain)]
    for step in range(4):
        given = gradient(tuple(param.shape), step, dtype)
        param.grad = given if step % 2 else torch.empty_strided(param.shape, param.stride(), dtype=dtype).copy_(given)
        plain.grad = given.clone()
        for opt in opts:
            opt.step()
        assert torch.equal(param, plain)
    for key, value in opts[1].state[plain].items():
        found = opts[0].state[param][key]
        assert torch.equal(found, value) and found.stride() == value.stride(), key
    values.detach().copy_(GAPS[gaps](dtype))
    assert torch.equal(base, whole), "only the parameter moved"


def test_what_is_written_between_steps_counts() -> None:
    param = nn.Parameter(torch.ones(4, 2)[:, 0])
    opt = lwt.SGD([param], lr=0.5)
    param.grad = torch.ones(4)
    opt.step()
    with torch.no_grad():
        param.fill_(8.0)
    opt.step()
    assert param.eq(7.5).all()


def test_only_stepped_parameters_with_gaps_count_as_modified() -> None:
    one, other = (nn.Parameter(torch.ones(4, 2)[:, 0]) for _ in range(2))
    opt = lwt.SGD([one, other], lr=0.5)
    one.grad = torch.ones(4)
    versions = one._version, other._version
    opt.step()
    assert one._version > versions[0] and other._version == versions[1]


def test_interleaved_parameters() -> None:
    whole = torch.ones(4, 2)
    params = [nn.Parameter(whole[:, index]) for index in range(2)]
    opt = lwt.SGD(params, lr=0.5)
    for index, param in enumerate(params):
        param.grad = torch.full((4,), 1.0 + index)
    opt.step()
    assert torch.equal(whole, torch.tensor([[0.5, 0.0]]).expand(4, 2))


def test_interleaved_parameters_that_share_an_element_are_refused() -> None:
    whole = torch.ones(4, 4)
    params = [("left", nn.Parameter(whole[:, :2])), ("middle", nn.Parameter(whole[:, 1:3]))]
    with pytest.raises(lw.OverlappingBuffers, match='"middle" shares memory with parameter "left"'):
        lwt.SGD(params)
    opt = lwt.SGD(params[:1], lr=0.5)
    with pytest.raises(lw.OverlappingBuffers, match='"middle" shares memory with parameter "left"'):
        opt.add_param_group({"params": params[1:]})
    params[0][1].grad = torch.ones(4, 2)
    opt.step()
    assert whole[0].tolist() == [0.5, 0.5, 1.0, 1.0]


def test_states_of_parameters_with_gaps_are_exchanged_with_torch() -> None:
    values = numbers(4, 6)
    ours, theirs = (nn.Parameter(values.clone()[:, 1:4]) for _ in range(2))
    opt, twin = lwt.AdamW([ours], lr=0.1), torch.optim.AdamW([theirs], lr=0.1)
    for step in range(6):
        for each in (ours, theirs):
            each.grad = gradient((4, 3), step, torch.float32)
        opt.step()
        twin.step()
        if step == 2:
            mine, other = copy.deepcopy((opt.state_dict(), twin.state_dict()))
            assert mine["state"][0]["exp_avg"].shape == other["state"][0]["exp_avg"].shape
            twin.load_state_dict(mine)
            opt.load_state_dict(other)
    # Six float32 steps, each rounded once by both: 2e-6 of weights of size 1.
    torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=2e-6)


def test_files_hold_parameters_with_gaps(tmp_path: Path) -> None:
    param = nn.Parameter(numbers(4, 6)[:, 1:4])
    opt = lwt.AdamW([("param", param)], lr=0.1)
    param.grad = torch.ones(4, 3)
    opt.step()
    with torch.no_grad():
        param.add_(1.0)
    kept = param.detach().clone()
    opt.save(tmp_path / "run.lw", parameters=True)
    opt.step()
    opt.load(tmp_path / "run.lw")
    assert torch.equal(param, kept)
    data = opt.native.to_bytes(parameters=True)
    opt.step()
    opt.native.load_bytes(data)
    assert torch.equal(param, kept)


def test_gaps_come_and_go() -> None:
    param, plain = (nn.Parameter(numbers(4, 3)) for _ in range(2))
    opts = [lwt.AdamW([each], lr=0.1) for each in (param, plain)]
    for step in range(6):
        if step == 2:
            param.data = torch.zeros(4, 6)[:, ::2].copy_(param.data)
        if step == 4:
            param.data = param.data.clone()
        for each, opt in zip((param, plain), opts, strict=True):
            each.grad = gradient((4, 3), step, torch.float32)
            opt.step()
        assert torch.equal(param, plain), step


def test_gaps_with_steps_in_backward() -> None:
    values = numbers(4, 6)
    param, plain = nn.Parameter(values[:, 1:4]), nn.Parameter(values[:, 1:4].clone())
    opt = lwt.SGD([("param", param)], lr=0.5, step_in_backward=True)
    twin = lwt.SGD([("param", plain)], lr=0.5)
    for _ in range(3):
        (param * param).sum().backward()
        opt.step()
        (plain * plain).sum().backward()
        twin.step()
        twin.zero_grad()
    assert torch.equal(param, plain)


def test_a_refused_step_leaves_gaps_and_parameter_alone() -> None:
    whole = torch.ones(4, 2)
    param = nn.Parameter(whole[:, 0])
    opt = lwt.SGD([param], lr=0.5, nonfinite="raise")
    param.grad = torch.tensor([1.0, float("nan"), 1.0, 1.0])
    with pytest.raises(lw.NonFiniteGradient):
        opt.step()
    assert whole.eq(1).all()


# ---- Conversion


CONVERSIONS: dict[str, Callable[[nn.Module], object]] = {
    "double": lambda model: model.double(),
    "bfloat16": lambda model: model.bfloat16(),
    "half": lambda model: model.half(),
    "channels last": lambda model: model.to(memory_format=torch.channels_last),
    "double, there and back": lambda model: model.double().float(),
}


def run(model: nn.Module, opt: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    dtype = next(model.parameters()).dtype
    for batch in batches(first + steps, dtype)[first:]:
        opt.zero_grad()
        loss_of(model, batch).backward()
        opt.step()


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for (name, ours), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        assert ours.dtype is theirs.dtype and torch.equal(ours, theirs), name


@pytest.mark.parametrize(
    ("name", "conversion", "option"), in_pairs(CLASSES, CONVERSIONS, ["", "master", "step_in_backward"])
)
def test_a_model_may_be_converted_before_the_first_step(name: str, conversion: str, option: str) -> None:
    """It goes on as if the optimizer had been made afterwards, with all that was set meanwhile."""
    if option == "step_in_backward" and TABLE[name].together:
        whole = network()
        with pytest.raises(lw.InvalidArgument, match="sums over all layers"):
            run(whole, make(name, whole, step_in_backward=True), 1)
        return
    options: dict[str, Any] = {"layer_decay": 0.5} | ({option: True} if option else {})
    model, later = network(), network()
    opt = make(name, model, **options)
    CONVERSIONS[conversion](later)
    other = make(name, later, **options)
    for each in (opt, other):
        each.native.schedule = lw.Linear(10)
        each.native.layer("embed").set(weight_decay=0.25)
        each.native.layer("norm").schedule = lw.Cosine(7)
        each.native.layer("blocks.0").freeze()
        each.native.seek(2)
    CONVERSIONS[conversion](model)
    run(model, opt, 3)
    run(later, other, 3)
    assert_same(model, later)
    assert opt.explain() == other.explain()
    for ours, theirs in zip(model.parameters(), later.parameters(), strict=True):
        found, expected = opt.state[ours], other.state[theirs]
        assert list(found) == list(expected)
        assert all(found[key].dtype is expected[key].dtype for key in found)


@pytest.mark.parametrize(
    ("name", "second", "first"),
    in_pairs(CLASSES, [torch.float64, torch.float32, torch.bfloat16], [torch.float32, torch.bfloat16]),
)
def test_a_model_that_is_converted_later_keeps_its_state(name: str, first: torch.dtype, second: torch.dtype) -> None:
    """As an optimizer that is made afterwards, and takes over the state dict; hyperparameters set by hand stay."""
    model = network(first)
    opt = make(name, model, schedule=lw.Linear(10))
    opt.native.layer("embed").freeze()
    run(model, opt, 3)
    saved = copy.deepcopy(opt.state_dict())
    model.to(second)
    later = copy.deepcopy(model)
    other = make(name, later, schedule=lw.Linear(10))
    other.load_state_dict(saved)
    run(model, opt, 3, first=3)
    run(later, other, 3, first=3)
    assert_same(model, later)
    assert opt.native.next_step == 6 and opt.native.layer("embed").frozen
    assert opt.state[model.head.bias]["step"] == 6 and opt.state[model.embed.bias]["step"] == 0


@pytest.mark.parametrize("steps", [0, 2])
def test_groups_keep_what_is_theirs(steps: int) -> None:
    """Rates and other hyperparameters of each group, and parameters that were taken out of theirs."""

    def make_one(model: Any) -> Any:
        groups = lwt.param_groups(model)
        for index, group in enumerate(groups):
            group |= {"lr": 0.01 * (index + 1), "weight_decay": 0.1 * index}
        return lwt.AdamW(groups, layer_decay=0.5)

    model = network()
    opt = make_one(model)
    run(model, opt, steps)
    taken = opt.param_groups[0]["params"].pop(0)
    expected = make_one(network(torch.float64)).native.explain_rows()
    model.double()
    before = taken.detach().clone()
    run(model, opt, 2, first=steps)
    assert torch.equal(taken, before)
    assert [group["lr"] for group in opt.param_groups] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])
    for row, its in zip(opt.native.explain_rows(), expected, strict=True):
        assert (row["effective_lr"], row["weight_decay"]) == (its["effective_lr"], its["weight_decay"])
    assert opt.native.layer("head").info.steps == steps + 2


def test_a_conversion_that_would_round_the_state_is_refused() -> None:
    """As a state dict of float64 moments is."""
    model = network(torch.float64)
    opt = make("AdamW", model)
    run(model, opt, 2)
    before = copy.deepcopy(model)
    model.float()
    model.zero_grad()
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    message = re.escape('"embed.weight" was converted from torch.float64 to torch.float32 after 2 steps')
    for call in (opt.step, opt.state_dict, lambda: opt.load_state_dict({})):
        with pytest.raises(lw.DTypeMismatch, match=message):
            call()
    assert_same(model, before.float())
    model.double()
    opt.step()
    assert opt.native.layer("head").info.steps == 3


def test_a_state_dict_after_a_conversion_is_of_the_new_type() -> None:
    model, twin = network(), network(torch.float64)
    opt, other = make("AdamW", model), make("AdamW", twin)
    run(twin, other, 2)
    model.double()
    opt.load_state_dict(other.state_dict())
    model.load_state_dict(twin.state_dict())
    assert opt.state[model.head.weight]["exp_avg"].dtype is torch.float64
    run(model, opt, 2, first=2)
    run(twin, other, 2, first=2)
    assert_same(model, twin)
    model = network()
    opt = make("AdamW", model)
    run(model, opt, 1)
    model.double()
    assert opt.state_dict()["state"][0]["exp_avg"].dtype is torch.float64


def test_a_wrapper_keys_and_writing_survive_a_conversion() -> None:
    model = network()
    opt = make("AdamW", model)
    run(model, opt, 2)
    opt.state[model.head.weight]["slow"] = torch.ones(3)
    opt.state[model.head.weight]["exp_avg"] = torch.full((1, 7), 2.0)
    opt.state[model.head.bias]["exp_avg"].fill_(4.0)
    model.double()
    model.zero_grad()
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    opt.step()
    # Halved nowhere: 0.9 of them, in float64 from float32 numbers that are exact.
    assert torch.allclose(opt.state[model.head.weight]["exp_avg"], torch.full((1, 7), 1.8, dtype=torch.float64))
    assert torch.allclose(opt.state[model.head.bias]["exp_avg"], torch.full((1,), 3.6, dtype=torch.float64))
    assert torch.equal(opt.state[model.head.weight]["slow"], torch.ones(3))
