# SPDX-License-Identifier: Apache-2.0
"""State: what `state`, `state_dict` and `load_state_dict` show and take, and that nobody's writing is lost."""

import copy
import io
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from support.rules import TABLE, states
from torch import Tensor, nn

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import Network, batches, loss_of, network

OPTIONS = {name: row.options for name, row in TABLE.items()}
every_class = pytest.mark.parametrize("name", OPTIONS)


def make(name: str, model: nn.Module, **options: Any) -> Any:
    return getattr(lwt, name)(model, **OPTIONS[name] | options)


def train(model: nn.Module, opt: torch.optim.Optimizer, first: int, last: int) -> None:
    dtype = next(model.parameters()).dtype
    for batch in batches(last, dtype)[first:]:
        opt.zero_grad()
        loss_of(model, batch).backward()
        opt.step()


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for (name, ours), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def straight(name: str, steps: int, **options: Any) -> Network:
    model = network()
    train(model, make(name, model, **options), 0, steps)
    return model


# ---- What is shown


def test_state_is_made_at_the_first_step_of_a_parameter() -> None:
    model = network()
    opt = make("AdamW", model)
    assert len(opt.state) == 0
    model.head.bias.grad = torch.ones(1)
    opt.step()
    assert list(opt.state) == [model.head.bias]
    assert set(opt.state[model.head.bias]) == {"step", "exp_avg", "exp_avg_sq"}
    assert opt.state[model.head.bias]["step"].shape == ()


def test_a_frozen_layer_has_state_once_it_had_a_gradient() -> None:
    """Checkpoint formats want an entry for whatever takes gradients."""
    model = network()
    opt = make("AdamW", model)
    opt.native.layer("embed").freeze()
    train(model, opt, 0, 2)
    assert opt.state[model.embed.weight]["step"] == 0
    assert opt.state[model.head.weight]["step"] == 2


@every_class
def test_tensors_of_the_state_lie_in_the_library(name: str) -> None:
    """The tensors show what a step writes, and the next step reads what is written into them."""
    model = network()
    opt = make(name, model)
    train(model, opt, 0, 1)
    names = states(name, OPTIONS[name], (1, 1))
    if not names:
        assert set(opt.state[model.head.weight]) == {"step"}
        return
    key = names[0]
    view = opt.state[model.head.weight][key]
    before = view.clone()
    train(model, opt, 1, 2)
    # The one array of these is the weights at the first step.
    assert torch.equal(view, before) == (name in ("DoG", "LDoG", "DoWG"))
    view.fill_(3.5)
    assert set(opt.native.layer("head").read_state("weight", key)) == {3.5}


def test_views_outlive_the_optimizer() -> None:
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 1)
    view = opt.state[model.embed.weight]["exp_avg"]
    kept = view.clone()
    del opt
    junk = [torch.full_like(view, 7.0) for _ in range(1000)]
    assert torch.equal(view, kept) and len(junk) == 1000


def test_the_native_optimizer_cannot_be_closed_under_its_views() -> None:
    opt = make("AdamW", network())
    with pytest.raises(lw.InvalidArgument, match="belongs to its torch optimizer"):
        opt.native.close()
    with pytest.raises(lw.InvalidArgument, match="belongs to its torch optimizer"), opt.native:
        pass
    assert not opt.native.closed


# ---- What is written


def test_a_tensor_put_in_place_of_another_is_taken_in() -> None:
    model = network()
    opt = make("AdamW", model, lr=0.0)
    train(model, opt, 0, 2)
    new = torch.full_like(model.head.weight, 2.0)
    opt.state[model.head.weight]["exp_avg"] = new
    opt.state[model.head.weight]["step"] = torch.tensor(40.0)
    model.head.weight.grad = torch.zeros_like(new)
    opt.step()
    entry = opt.state[model.head.weight]
    assert torch.allclose(entry["exp_avg"], torch.full_like(new, 2.0 * 0.9), rtol=1e-6)
    assert entry["step"] == 41
    assert torch.equal(new, torch.full_like(new, 2.0)), "the user's tensor is the user's"


def test_a_whole_entry_is_taken_in_before_the_first_step() -> None:
    """As ZeroRedundancyOptimizer loads; the clock goes on from there."""
    trained = network()
    other = make("AdamW", trained)
    train(trained, other, 0, 5)
    model = copy.deepcopy(trained)
    opt = make("AdamW", model, schedule=lw.Linear(10))
    for mine, theirs in zip(model.parameters(), trained.parameters(), strict=True):
        opt.state[mine] = {key: value.clone() for key, value in other.state[theirs].items()}
    other.native.schedule = lw.Linear(10)
    for model_, opt_ in ((model, opt), (trained, other)):
        train(model_, opt_, 5, 8)
    assert_same_weights(model, trained)
    assert opt.native.next_step == 8


def test_a_deleted_entry_starts_anew() -> None:
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 3)
    del opt.state[model.head.weight]
    assert model.head.weight not in opt.state
    opt.state[model.embed.weight].clear()
    train(model, opt, 3, 4)
    steps = {name: opt.state[param]["step"].item() for name, param in model.named_parameters()}
    assert steps == {name: 1 if name in ("head.weight", "embed.weight") else 4 for name in steps}


def test_a_state_that_is_replaced_as_a_whole() -> None:
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 3)
    opt.state = defaultdict(dict)
    train(model, opt, 3, 4)
    fresh, reference = network(), make("AdamW", network())
    assert all(entry["step"] == 1 for entry in opt.state.values()) and len(opt.state) == len(list(fresh.parameters()))
    assert len(reference.state) == 0


def test_what_does_not_fit_is_refused_before_anything_is_changed() -> None:
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 2)
    before = copy.deepcopy(model)
    state = opt.state
    state[model.head.bias]["exp_avg"] = torch.ones(1)
    state[model.head.weight]["exp_avg_sq"] = torch.ones(3, 3)
    with pytest.raises(lw.InvalidArgument, match=r'"head.weight": exp_avg_sq has shape \(3, 3\), the parameter has'):
        opt.step()
    assert_same_weights(model, before)
    assert opt.native.layer("head").read_state("bias", "exp_avg")[0] != 1.0
    opt.state[model.head.weight]["exp_avg_sq"] = torch.ones(1, 7)
    opt.step()
    assert opt.state[model.head.weight]["step"] == 3, "it could be mended"


# ---- state_dict


@every_class
def test_state_dict_goes_on_in_lockstep(name: str) -> None:
    model = network()
    opt = make(name, model)
    train(model, opt, 0, 3)
    stored = io.BytesIO()
    torch.save({"model": model.state_dict(), "opt": opt.state_dict()}, stored)
    stored.seek(0)
    loaded = torch.load(stored, weights_only=True)
    other = network()
    other.load_state_dict(loaded["model"])
    resumed = getattr(lwt, name)(other, lr=1e9)
    resumed.load_state_dict(loaded["opt"])
    train(other, resumed, 3, 9)
    assert_same_weights(other, straight(name, 9))


@every_class
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_copies_go_on_in_lockstep(name: str, way: str) -> None:
    """With their options: a copy knows its layers, its policy and its schedule."""
    options = {"layer_decay": 0.5, "schedule": lw.Cosine(20), "weight_decay_exclude_1d": True}
    model = network()
    opt = make(name, model, **options)
    opt.native.layer("blocks.0").freeze()
    train(model, opt, 0, 3)
    if way == "deepcopy":
        other, copied = copy.deepcopy((model, opt))
    elif way == "pickle":
        other, copied = pickle.loads(pickle.dumps((model, opt)))
    else:
        stored = io.BytesIO()
        torch.save((model, opt), stored)
        stored.seek(0)
        other, copied = torch.load(stored, weights_only=False)
    for model_, opt_ in ((other, copied), (model, opt)):
        train(model_, opt_, 3, 9)
    assert_same_weights(other, model)
    assert copied.native.layer("blocks.0").frozen and copied.native.next_step == 9
    assert copied.explain() == opt.explain()


def test_a_copy_is_apart() -> None:
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 2)
    other, copied = copy.deepcopy((model, opt))
    before = copy.deepcopy(model)
    train(other, copied, 2, 4)
    assert_same_weights(model, before)
    assert opt.state[model.head.weight]["step"] == 2


def test_empty_state_goes_round() -> None:
    """As Accelerate does when it wraps an optimizer."""
    model = network()
    opt = make("AdamW", model)
    opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    train(model, opt, 0, 4)
    assert_same_weights(model, straight("AdamW", 4))


def test_loading_forgets_what_was() -> None:
    model = network()
    opt = make("AdamW", model, schedule=lw.Linear(10))
    empty = copy.deepcopy(opt.state_dict())
    start = copy.deepcopy(model.state_dict())
    train(model, opt, 0, 3)
    opt.native.layer("head").freeze()
    opt.load_state_dict(empty)
    assert len(opt.state) == 0 and opt.native.next_step == 0
    assert not opt.native.layer("head").frozen
    model.load_state_dict(start)
    train(model, opt, 0, 4)
    assert_same_weights(model, straight("AdamW", 4, schedule=lw.Linear(10)))


def test_a_state_dict_of_itself_may_be_loaded_into_itself() -> None:
    """Its tensors lie in the memory that is written."""
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 3)
    opt.load_state_dict(opt.state_dict())
    train(model, opt, 3, 6)
    assert_same_weights(model, straight("AdamW", 6))


def test_states_may_change_places() -> None:
    """Two parameters take each other's state, from tensors that lie where the other's is written."""
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 3)
    one, other = model.blocks[0].inner.weight, model.blocks[1].inner.weight
    before = [opt.state[param]["exp_avg"].clone() for param in (one, other)]
    saved = opt.state_dict()
    names = saved["param_groups"][0]["param_names"] = list(saved["param_groups"][0]["param_names"])
    first, second = names.index("blocks.0.inner.weight"), names.index("blocks.1.inner.weight")
    names[first], names[second] = names[second], names[first]
    opt.load_state_dict(saved)
    assert torch.equal(opt.state[one]["exp_avg"], before[1]) and torch.equal(opt.state[other]["exp_avg"], before[0])


def test_progress_that_torch_has_no_place_for() -> None:
    """The clock of schedules, what reports left behind in them, and layers frozen by hand."""

    def make_one(model: nn.Module) -> Any:
        opt = make("AdamW", model, schedule=lw.ReduceOnPlateau(factor=0.5, patience=0))
        opt.native.layer("norm").schedule = lw.Linear(50)
        return opt

    model = network()
    opt = make_one(model)
    train(model, opt, 0, 3)
    for metric in (1.0, 2.0, 3.0):
        opt.native.report(metric)
    opt.native.layer("embed").freeze()
    opt.native.layer("head").unfreeze()
    other = make_one(copy.deepcopy(model))
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert other.preview(5).tolist() == opt.preview(5).tolist()
    assert other.native.schedule_state() == opt.native.schedule_state()
    assert other.native.layer("embed").get("frozen") == "yes"
    assert other.native.layer("head").get("frozen") == "no"
    assert other.native.layer("norm").get("frozen") == "plan"
    assert other.explain() == opt.explain()


def test_clock_follows_the_steps_of_a_torch_checkpoint() -> None:
    model = network()
    theirs = torch.optim.AdamW(model.parameters())
    train(model, theirs, 0, 4)
    opt = make("AdamW", model, schedule=lw.Linear(10))
    opt.load_state_dict(theirs.state_dict())
    assert opt.native.next_step == 4


@every_class
def test_files_of_the_library(name: str, tmp_path: Path) -> None:
    """Everything comes back, the rates of the groups among it."""
    options = {"layer_decay": 0.5, "schedule": lw.Cosine(20)}
    model = network()
    opt = make(name, lwt.param_groups(model), **options)
    train(model, opt, 0, 3)
    for index, group in enumerate(opt.param_groups):
        group["lr"] = 0.01 * (index + 1)
    train(model, opt, 3, 4)
    opt.save(tmp_path / "run.safetensors", parameters=True)
    other = network()
    resumed = make(name, lwt.param_groups(other), **options)
    report = resumed.load(tmp_path / "run.safetensors")
    assert not report.missing and not report.unexpected
    assert [group["lr"] for group in resumed.param_groups] == [0.01, 0.02, 0.03, 0.04, 0.05]
    for model_, opt_ in ((model, opt), (other, resumed)):
        for group in opt_.param_groups:
            group["lr"] *= 0.5
        train(model_, opt_, 4, 8)
    assert_same_weights(other, model)
    assert resumed.state[other.head.weight]["step"] == 8
    changed = make(name, lwt.param_groups(network(), weight_decay=0.75), **options)
    with pytest.raises(lw.CheckpointMismatch, match="weight_decay"):
        changed.load(tmp_path / "run.safetensors")


# ---- Names and shapes


def test_parameters_are_matched_by_name() -> None:
    """In another order, the state of each still finds its parameter, where torch would mix them up."""
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 3)
    saved = copy.deepcopy(opt.state_dict())
    other = copy.deepcopy(model)
    backwards = lwt.AdamW(reversed(list(other.named_parameters())), lr=1.0)
    backwards.load_state_dict(saved)
    assert backwards.param_groups[0]["param_names"][0] == "head.bias"
    train(model, opt, 3, 6)
    train(other, backwards, 3, 6)
    assert_same_weights(model, other)


def test_groups_are_matched_by_the_names_in_them() -> None:
    model = network()
    groups = [{"params": [item], "lr": 0.1 + index} for index, item in enumerate(model.named_parameters())]
    opt = lwt.AdamW(groups)
    train(model, opt, 0, 2)
    saved = copy.deepcopy(opt.state_dict())
    turned = lwt.AdamW([{"params": [item]} for item in reversed(list(model.named_parameters()))])
    turned.load_state_dict(saved)
    rates = {group["param_names"][0]: group["lr"] for group in turned.param_groups}
    assert rates == {name: 0.1 + index for index, (name, _) in enumerate(model.named_parameters())}
    assert torch.equal(turned.state[model.norm.weight]["exp_avg"], opt.state[model.norm.weight]["exp_avg"])


def test_a_compiled_model_takes_the_checkpoint_of_a_plain_one() -> None:
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 2)
    compiled: Any = torch.compile(copy.deepcopy(model))
    other = lwt.AdamW(list(compiled.named_parameters())[::-1])
    other.load_state_dict(opt.state_dict())
    assert torch.equal(other.state[compiled.head.weight]["exp_avg"], opt.state[model.head.weight]["exp_avg"])


def change(saved: dict[str, Any], what: str) -> None:
    state, group = saved["state"], saved["param_groups"][0]
    if what == "names":
        group["param_names"][0] = "stem.weight"
        group["param_names"][1] = "stem.bias"
    elif what == "shapes":
        state[0]["exp_avg"] = state[0]["exp_avg"].T.contiguous()
        state[1]["exp_avg_sq"] = torch.zeros(99)
    elif what == "types":
        state[0]["exp_avg"] = state[0]["exp_avg"].double()
        state[1]["exp_avg"] = [1.0]
    elif what == "states":
        del state[0]["exp_avg_sq"]
        state[1]["square_avg"] = state[1].pop("exp_avg")
    elif what == "steps":
        state[0]["step"] = torch.tensor(-1.0)
        state[1]["step"] = torch.tensor(2.5)
        state[2]["step"] = "many"
    elif what == "hyperparameters":
        group["betas"] = (0.9, 1.5)
    elif what == "rate":
        group["lr"] = float("nan")
    elif what == "groups":
        saved["param_groups"].append(copy.deepcopy(group))
    elif what == "size":
        del group["param_names"]
        group["params"].pop()
    elif what == "progress":
        group["layerwise"] = "{"
    elif what == "layers":
        group["layerwise"] = '{"next_step": 3, "frozen": {"trunk": "yes"}}'
    elif what == "master":
        state[0]["master"] = torch.zeros_like(state[0]["exp_avg"])


REFUSALS: dict[str, list[str]] = {
    "names": ['missing "embed.weight", "embed.bias"', 'unexpected "stem.weight", "stem.bias"'],
    "shapes": [
        r'parameter "embed.weight": exp_avg has shape \(6, 7\), the parameter has \(7, 6\)',
        r'parameter "embed.bias": exp_avg_sq has shape \(99,\), the parameter has \(7,\)',
    ],
    "types": [
        'parameter "embed.weight": exp_avg is torch.float64, which torch.float32 cannot hold',
        'parameter "embed.bias": exp_avg must be a tensor, found list',
    ],
    "states": ['parameter "embed.weight": missing exp_avg_sq', 'parameter "embed.bias": unexpected square_avg'],
    "steps": ["step must be a whole number >= 0, found -1.0", "found 2.5", "step must be a number, found 'many'"],
    "hyperparameters": [r"group 0: .*beta2 must be in \[0, 1\), found 1.5"],
    "rate": ["group 0: .*lr"],
    "groups": ["loaded state dict has a different number of parameter groups: 2, here are 1"],
    "size": ["parameter group that doesn't match the size of optimizer's group: group 0 has 11 parameters, here 12"],
    "progress": ['the key "layerwise" of a param group must be what a state dict had there'],
    "layers": ['the run state speaks of the layer "trunk", and there is none of this name'],
    "master": ['parameter "embed.weight": unexpected master, because this optimizer keeps no master copies'],
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_does_not_fit_is_refused_with_all_differences(what: str) -> None:
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 2)
    saved = copy.deepcopy(opt.state_dict())
    change(saved, what)
    before = copy.deepcopy(opt.state_dict())
    for pattern in REFUSALS[what]:
        with pytest.raises(lw.LayerwiseError, match=pattern):
            opt.load_state_dict(saved)
    after = opt.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for key, entry in before["state"].items():
        assert all(torch.equal(entry[name], after["state"][key][name]) for name in entry)
    train(model, opt, 2, 4)
    assert_same_weights(model, straight("AdamW", 4))


# ---- Types


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_types_are_kept_exactly(dtype: torch.dtype) -> None:
    """torch would cast moments to the type of the parameter."""
    model = network(dtype)
    opt = make("AdamW", model, master=dtype.itemsize == 2)
    train(model, opt, 0, 3)
    saved = copy.deepcopy(opt.state_dict())
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    other = copy.deepcopy(model)
    resumed = make("AdamW", other, master=dtype.itemsize == 2)
    resumed.load_state_dict(saved)
    for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
        for key, value in resumed.state[mine].items():
            assert value.dtype is (torch.float32 if key == "step" else wide)
            assert torch.equal(value, opt.state[theirs][key]), key
    assert "master" in resumed.state[other.head.weight] or dtype is torch.float64
    train(model, opt, 3, 6)
    train(other, resumed, 3, 6)
    assert_same_weights(model, other)


def test_16_bit_states_of_torch_are_widened() -> None:
    model = network(torch.bfloat16)
    theirs = torch.optim.AdamW(model.parameters())
    train(model, theirs, 0, 2)
    opt = make("AdamW", model)
    opt.load_state_dict(theirs.state_dict())
    entry = opt.state[model.head.weight]
    assert entry["exp_avg"].dtype is torch.float32
    assert torch.equal(entry["exp_avg"], theirs.state[model.head.weight]["exp_avg"].float())


def test_a_missing_master_is_the_parameters() -> None:
    model = network(torch.bfloat16)
    opt = make("AdamW", model)
    train(model, opt, 0, 2)
    other = make("AdamW", model, master=True)
    other.load_state_dict(opt.state_dict())
    assert torch.equal(other.state[model.head.weight]["master"], model.head.weight.float())


def test_implementation_flags_of_torch_are_not_taken_over() -> None:
    model = network()
    theirs = torch.optim.AdamW(model.parameters(), lr=0.3, foreach=True)
    train(model, theirs, 0, 1)
    opt = make("AdamW", model)
    opt.load_state_dict(theirs.state_dict())
    assert opt.param_groups[0]["foreach"] is None
    assert opt.param_groups[0]["lr"] == 0.3


def test_safetensors() -> None:
    """Names and states make a flat file, as some trainers keep them."""
    from safetensors.torch import load, save

    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 2)
    names = dict(model.named_parameters())
    flat = {f"{name}.{key}": value for name, param in names.items() for key, value in opt.state[param].items()}
    for key, value in load(save(flat)).items():
        assert torch.equal(value, flat[key])


# ---- Memory order


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_state_has_the_strides_of_its_parameter(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(3, 5, 2).to(memory_format=memory_format)
    opt = lwt.AdamW(model)
    model(torch.randn(2, 3, 4, 4)).sum().backward()
    opt.step()
    view = opt.state[model.weight]["exp_avg"]
    assert view.stride() == model.weight.stride()
    assert torch.allclose(view, model.weight.grad * 0.1, rtol=1e-6)


def test_a_change_of_memory_order_takes_the_state_along() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, 3, 4, 4)

    def run(change_at: int | None) -> Tensor:
        torch.manual_seed(1)
        model: Any = nn.Conv2d(3, 5, 2)
        opt = lwt.AdamW(model, lr=0.1)
        for step in range(6):
            if step == change_at:
                model = model.to(memory_format=torch.channels_last)
                assert opt.state[model.weight]["exp_avg"].shape == (5, 3, 2, 2)
            opt.zero_grad()
            (model(inputs) ** 2).sum().backward()
            opt.step()
        assert opt.state[model.weight]["exp_avg"].stride() == model.weight.stride()
        return model.weight.detach().clone()

    # Convolutions in another memory order add in another order: 1e-5 of weights of size 1 after six steps of 0.1.
    assert torch.allclose(run(None), run(3), atol=1e-5)


# ---- What wrappers keep beside it


def with_foreign_state() -> tuple[Network, Any]:
    """As Lookahead keeps it: a tensor for each parameter, and something that belongs to none."""
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 2)
    for param in model.parameters():
        opt.state[param]["slow_buffer"] = param.detach().clone()
    opt.state["lookahead"] = {"step": 7}
    return model, opt


def assert_foreign_state(model: Network, opt: Any, expected: Network) -> None:
    for param, other in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(opt.state[param]["slow_buffer"], other)
        assert opt.state[param]["exp_avg"].shape == param.shape
    assert opt.state["lookahead"] == {"step": 7}


@pytest.mark.parametrize("way", ["state_dict", "by names", "deepcopy", "pickle", "add_param_group", "replaced"])
def test_keys_of_others_go_along(way: str) -> None:
    model, opt = with_foreign_state()
    kept = copy.deepcopy(model)
    train(model, opt, 2, 4)
    other, made = copy.deepcopy(kept), opt
    if way == "state_dict":
        made = make("AdamW", other)
        made.load_state_dict(copy.deepcopy(opt.state_dict()))
    elif way == "by names":
        made = lwt.AdamW(reversed(list(other.named_parameters())))
        made.load_state_dict(copy.deepcopy(opt.state_dict()))
    elif way == "deepcopy":
        other, made = copy.deepcopy((model, opt))
    elif way == "pickle":
        other, made = pickle.loads(pickle.dumps((model, opt)))
    else:
        other = model
        if way == "add_param_group":
            made.add_param_group({"params": [("more", nn.Parameter(torch.ones(2)))]})
        else:
            head = nn.Parameter(model.head.weight.detach().clone())
            made.param_groups[0]["params"][-2] = other.head.weight = head
    assert_foreign_state(other, made, kept)
    other.zero_grad()
    train(other, made, 4, 5)
    assert_foreign_state(other, made, kept)
    assert made.state[other.head.bias]["step"] == 5


def test_keys_of_others_go_to_torch_and_back() -> None:
    model, opt = with_foreign_state()
    theirs = torch.optim.AdamW(model.parameters())
    theirs.load_state_dict(copy.deepcopy(opt.state_dict()))
    expected = theirs.state[model.head.weight]["slow_buffer"]
    assert torch.equal(expected, model.head.weight) and theirs.state["lookahead"] == {"step": 7}
    opt.load_state_dict(theirs.state_dict())
    assert_foreign_state(model, opt, model)


def test_keys_of_others_before_the_first_step() -> None:
    model = network()
    opt = make("AdamW", model)
    opt.state[model.head.weight]["slow_buffer"] = torch.ones(3)
    saved = copy.deepcopy(opt.state_dict())
    opt.load_state_dict(saved)
    assert opt.state[model.head.weight].keys() == {"slow_buffer"}
    train(model, opt, 0, 2)
    assert opt.state[model.head.weight]["step"] == 2 and opt.state[model.head.weight]["slow_buffer"].shape == (3,)
    assert_same_weights(model, straight("AdamW", 2))


def test_states_of_another_rule_are_not_taken_for_those_of_a_wrapper() -> None:
    model = network()
    sgd, adam = make("SGD", model), make("AdamW", model)
    for opt in (sgd, adam):
        train(model, opt, 0, 1)
    for opt, other, pattern in ((sgd, adam, "unexpected exp_avg"), (adam, sgd, "unexpected momentum_buffer")):
        with pytest.raises(lw.InvalidArgument, match=f'parameter "embed.weight": {pattern}'):
            opt.load_state_dict(other.state_dict())
    theirs = torch.optim.RMSprop(model.parameters())
    theirs.step()
    with pytest.raises(lw.InvalidArgument, match=r'"embed.weight": unexpected square_avg.*missing exp_avg'):
        adam.load_state_dict(theirs.state_dict())


def test_lookahead_of_pytorch_optimizer() -> None:
    """A wrapper whose state_dict and load_state_dict are its own, around an optimizer of ours and of torch."""
    from pytorch_optimizer import Lookahead

    models = [network(), network(), network()]
    opts: list[Any] = [Lookahead(make("AdamW", models[0]), k=2), Lookahead(make("AdamW", models[1]), k=2)]
    opts.append(Lookahead(torch.optim.AdamW(models[2].parameters(), **OPTIONS["AdamW"]), k=2))
    for model, opt in zip(models, opts, strict=True):
        train(model, opt, 0, 3)
    opts[1].load_state_dict(copy.deepcopy(opts[0].state_dict()))
    for model, opt in zip(models, opts, strict=True):
        train(model, opt, 3, 7)
    assert_same_weights(models[1], models[0])
    for ours, theirs in zip(models[0].parameters(), models[2].parameters(), strict=True):
        # Float32 weights of size 1 after seven steps, each rounded once by both: 4e-6.
        torch.testing.assert_close(ours, theirs, rtol=4e-6, atol=4e-6)


# ---- Step counts that float32 cannot show


@pytest.mark.parametrize("count", [2**24 + 1, 2**24 + 3, 2**30 + 1, 2**53 - 16])
def test_reading_the_state_does_not_change_step_counts(count: int) -> None:
    model = network()
    opt = make("AdamW", model)
    train(model, opt, 0, 1)
    bridge = opt._inside.bridge
    for member in bridge.members:
        bridge.kept.set_count(member, count)
    for step in range(1, 5):
        assert opt.state[model.head.bias]["step"].item() == torch.tensor(float(count + step - 1)).item()
        train(model, opt, step, step + 1)
        assert opt.native.layer("head").info.steps == count + step
    opt.state[model.head.bias]["step"] *= 0.5
    model.zero_grad()
    opt.step()
    assert bridge.kept.counts()[-1] == int(torch.tensor(float(count + 4)).item() / 2)
    assert bridge.kept.counts()[0] == count + 4


# ---- The default device and the default type are the user's


@pytest.fixture(params=["meta", "meta as a context", "float64"])
def other_defaults(request: pytest.FixtureRequest) -> Any:
    """Torch's defaults changed, as they are while somebody builds a model without memory."""
    if request.param == "meta":
        torch.set_default_device("meta")
        yield
        torch.set_default_device(None)
    elif request.param == "float64":
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)
    else:
        with torch.device("meta"):
            yield


@every_class
def test_defaults_of_torch_do_not_matter(name: str, other_defaults: None) -> None:
    """For what is made here: states, counts, gradients that are copied, layers whose parameters are elsewhere."""
    del other_defaults
    cpu: dict[str, Any] = {"device": "cpu", "dtype": torch.float32}
    params = [nn.Parameter(torch.ones(4, 3, **cpu)), nn.Parameter(torch.ones(4, 2, **cpu)[:, 0])]
    params.append(nn.Parameter(torch.ones(0, 2, **cpu)))
    groups: list[dict[str, Any]] = [{"params": params, "depth": 1}, {"params": [], "depth": 0}]
    opt = getattr(lwt, name)(groups, **OPTIONS[name])
    opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    for step in range(3):
        params[0].grad = torch.ones(3, 4, **cpu).t()
        params[1].grad = torch.ones(1, **cpu).expand(4)
        params[2].grad = torch.ones(0, 2, **cpu)
        opt.step()
        del opt.state[params[0]]
        opt.step()
        saved = copy.deepcopy(opt.state_dict())
        for entry in saved["state"].values():
            for key, value in entry.items():
                number = key != "step" and not value.dim()
                dtype = torch.float64 if number else torch.float32
                assert value.device.type == "cpu" and value.dtype is dtype, key
        if step:
            opt.load_state_dict(saved)
            opt = copy.deepcopy((params, opt))[1]
            params = opt.param_groups[0]["params"]
    assert opt.state[params[1]]["step"] == 6 and params[0].lt(1).all()


# ---- Rates that are tensors


def groups_of_two(rates: Any, **options: Any) -> tuple[list[nn.Parameter], Any]:
    params = [nn.Parameter(torch.ones(1)) for _ in range(2)]
    own: list[dict[str, Any]] = [{} if rate is None else {"lr": rate} for rate in rates]
    given = [{"params": [param]} | more for param, more in zip(params, own, strict=True)]
    return params, lwt.SGD(given, **options)


def rates_of(opt: Any) -> list[float]:
    return [round(float(group["lr"]), 6) for group in opt.param_groups]


@pytest.mark.parametrize("way", ["load", "load_state_dict"])
def test_groups_that_share_a_rate_get_each_its_own(way: str, tmp_path: Path) -> None:
    _, saver = groups_of_two([0.1, 0.01])
    saver.save(tmp_path / "run.lw")
    given = torch.tensor(0.5)
    _, opt = groups_of_two([None, None], lr=given)
    assert opt.param_groups[0]["lr"] is opt.param_groups[1]["lr"]
    if way == "load":
        opt.load(tmp_path / "run.lw")
        assert all(isinstance(group["lr"], Tensor) for group in opt.param_groups)
    else:
        opt.load_state_dict(saver.state_dict())
    assert rates_of(opt) == [0.1, 0.01]
    assert given == 0.5 and opt.defaults["lr"] == 0.5
    # A scheduler writes tensors in place.
    scheduler = torch.optim.lr_scheduler.LambdaLR(opt, [lambda step: 0.5**step, lambda step: 0.1**step])
    for group in opt.param_groups:
        group["params"][0].grad = torch.ones(1)
    opt.step()
    scheduler.step()
    assert rates_of(opt) == [0.05, 0.001]
    assert [opt.native.layer(index).effective_lr for index in range(2)] == pytest.approx([0.05, 0.001], rel=1e-6)


def test_a_rate_that_is_held_goes_on_steering(tmp_path: Path) -> None:
    """One tensor, and the same rate for all who share it: it is written where it is, and the default stays."""
    params, saver = groups_of_two([0.25, 0.25])
    saver.save(tmp_path / "run.lw")
    held = torch.tensor(0.5)
    params, opt = groups_of_two([None, None], lr=held)
    opt.load(tmp_path / "run.lw")
    assert opt.param_groups[0]["lr"] is opt.param_groups[1]["lr"] is held
    assert held == 0.25 and opt.defaults["lr"] == 0.5
    held.fill_(1.0)
    for param in params:
        param.grad = torch.ones(1)
    opt.step()
    assert [param.item() for param in params] == [0.0, 0.0]
    opt.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    assert opt.param_groups[2]["lr"] == 0.5


def test_some_groups_share_a_rate(tmp_path: Path) -> None:
    params = [nn.Parameter(torch.ones(1)) for _ in range(4)]
    saver = lwt.SGD([{"params": [param], "lr": rate} for param, rate in zip(params, (0.1, 0.2, 0.3, 0.3), strict=True)])
    saver.save(tmp_path / "run.lw")
    one, other = torch.tensor(1.0), torch.tensor(1.0, dtype=torch.float64)
    given = (one, one, other, other)
    opt = lwt.SGD([{"params": [param], "lr": rate} for param, rate in zip(params, given, strict=True)])
    opt.load(tmp_path / "run.lw")
    assert rates_of(opt) == [0.1, 0.2, 0.3, 0.3]
    assert one == 1.0 and opt.param_groups[2]["lr"] is opt.param_groups[3]["lr"] is other
    assert [group["lr"].dtype for group in opt.param_groups] == [torch.float32] * 2 + [torch.float64] * 2
