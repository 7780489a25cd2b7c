# SPDX-License-Identifier: Apache-2.0
"""Loading, adding and unpickling: a call that is refused leaves groups, hyperparameters, state and progress alone."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.rules import TABLE
from torch import nn

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import network

CLASSES = {name: row.options for name, row in TABLE.items()}
every_class = pytest.mark.parametrize("name", CLASSES)
BAD: list[Any] = [None, "much", -1.0, 2.5, float("nan"), float("inf"), torch.ones(2), [1.0, 2.0, 3.0], {}, object()]


def make(name: str, steps: int, **options: Any) -> tuple[nn.Module, Any]:
    """A network, its norms in a group of their own, after some steps."""
    model = network()
    named = list(model.named_parameters())
    groups = [{"params": named[:6]}, {"params": named[6:], "lr": 0.125}]
    opt = getattr(lwt, name)(groups, **CLASSES[name] | options)
    step(model, opt, steps)
    return model, opt


def step(model: nn.Module, opt: Any, steps: int) -> None:
    for _ in range(steps):
        for index, param in enumerate(model.parameters()):
            param.grad = torch.full_like(param, 0.5 + index)
        opt.step()


def snapshot(model: nn.Module, opt: Any) -> bytes:
    """All that can be seen, and the objects in which it is."""
    state = {id(param): {key: id(value) for key, value in entry.items()} for param, entry in opt.state.items()}
    ids = id(opt.param_groups), [id(group) for group in opt.param_groups], state
    seen = ids, opt.native.explain(), opt.native.get("maximize"), opt.state_dict(), model.state_dict()
    return pickle.dumps(with_bytes(seen))


def with_bytes(value: Any) -> Any:
    """A copy in which each tensor is replaced by its bytes: torch.save stores as much, and takes longer."""
    if isinstance(value, torch.Tensor):
        content = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return type(value), value.dtype, value.shape, value.stride(), value.requires_grad, content
    if isinstance(value, dict):
        return type(value), [(key, with_bytes(one)) for key, one in value.items()]
    return type(value), [with_bytes(one) for one in value] if isinstance(value, list | tuple) else value


def assert_goes_on(model: nn.Module, opt: Any, name: str, **options: Any) -> None:
    """As one that was never disturbed, from the third step on."""
    step(model, opt, 2)
    straight, _ = make(name, 4, **options)
    for ours, theirs in zip(model.parameters(), straight.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@every_class
def test_a_bad_hyperparameter_in_a_state_dict(name: str) -> None:
    """Whichever it is, in either group: what a step would refuse is refused before anything is changed."""
    model, opt = make(name, 2)
    _, other = make(name, 5)
    saved = copy.deepcopy(other.state_dict())
    before = snapshot(model, opt)
    refused = 0
    for place, key in enumerate(("lr", *opt._keys, "maximize")):
        for number, value in enumerate(BAD):
            wrong = saved | {"param_groups": [dict(group) for group in saved["param_groups"]]}
            wrong["param_groups"][(place + number) % 2][key] = value
            try:
                opt.load_state_dict(wrong)
            except (lw.LayerwiseError, TypeError, ValueError):
                refused += 1
                assert snapshot(model, opt) == before, (key, value)
            else:
                # What was taken can be stepped, and goes away with the next that fits.
                copy.deepcopy((model, opt))[1].step()
                weights = copy.deepcopy(model.state_dict())
                model, opt = make(name, 2)
                assert all(map(torch.equal, weights.values(), model.state_dict().values()))
                before = snapshot(model, opt)
    assert refused >= 5 * len(opt._keys)
    assert_goes_on(model, opt, name)


@every_class
def test_maximize_that_is_no_flag(name: str) -> None:
    model, opt = make(name, 2)
    _, other = make(name, 5)
    saved = copy.deepcopy(other.state_dict())
    for group in saved["param_groups"]:
        group["maximize"] = 2.0
    before = snapshot(model, opt)
    with pytest.raises(lw.InvalidArgument, match="maximize of param group 0"):
        opt.load_state_dict(saved)
    assert snapshot(model, opt) == before
    assert_goes_on(model, opt, name)


PROGRESS: dict[str, str] = {
    "no text": "[1]",
    "negative": '{"next_step": -3}',
    "too large": '{"next_step": 9223372036854775808}',
    "no step": '{"schedules": {"lr": []}}',
    "states of a schedule": '{"next_step": 3, "schedules": {"lr": ["a"]}}',
    "too many states": '{"next_step": 3, "schedules": {"lr": [1, 2, 3, 4, 5, 6, 7]}}',
    "schedules that are none": '{"next_step": 3, "schedules": 5}',
    "a frozen layer's choice": '{"next_step": 3, "frozen": {"head": "perhaps"}}',
    "frozen that is none": '{"next_step": 3, "frozen": ["head"]}',
    "a layer's schedule": '{"next_step": 3, "layer_schedules": {"head": {"lr": [1.0]}}}',
}


@pytest.mark.parametrize("what", PROGRESS)
def test_bad_progress_in_a_state_dict(what: str) -> None:
    options = {"schedule": lw.ReduceOnPlateau(factor=0.5, patience=0)}
    model, opt = make("AdamW", 2, **options)
    opt.native.layer("norm").freeze()
    _, other = make("AdamW", 5, **options)
    saved = copy.deepcopy(other.state_dict())
    for group in saved["param_groups"]:
        group["layerwise"] = PROGRESS[what]
    before = snapshot(model, opt)
    with pytest.raises((lw.LayerwiseError, TypeError)):
        opt.load_state_dict(saved)
    assert snapshot(model, opt) == before
    opt.native.layer("norm").follow_plan()
    assert_goes_on(model, opt, "AdamW", **options)


def test_what_only_the_library_can_refuse() -> None:
    """Decay that is not decoupled does not go with `decay_follows`, which no state dict tells."""
    model, opt = make("Adam", 2, decoupled_weight_decay=True, decay_follows="base_lr")
    _, other = make("Adam", 5)
    before = snapshot(model, opt)
    with pytest.raises(lw.LayerwiseError, match="decay_follows"):
        opt.load_state_dict(other.state_dict())
    assert snapshot(model, opt) == before
    assert_goes_on(model, opt, "Adam", decoupled_weight_decay=True, decay_follows="base_lr")


def test_a_state_that_is_no_dict() -> None:
    model, opt = make("AdamW", 2)
    saved = copy.deepcopy(opt.state_dict())
    saved["state"][3] = torch.ones(3)
    before = snapshot(model, opt)
    with pytest.raises(lw.InvalidArgument, match=r'"blocks\.0\.inner\.bias": its state must be a dict, found Tensor'):
        opt.load_state_dict(saved)
    assert snapshot(model, opt) == before


def test_a_hook_that_fails_before_and_after() -> None:
    model, opt = make("AdamW", 2)
    _, other = make("AdamW", 5)
    before = snapshot(model, opt)

    def fail(*_: object) -> None:
        raise KeyError("no")

    handle = opt.register_load_state_dict_pre_hook(fail)
    with pytest.raises(KeyError):
        opt.load_state_dict(other.state_dict())
    handle.remove()
    assert snapshot(model, opt) == before
    opt.register_load_state_dict_post_hook(fail)
    with pytest.raises(KeyError):
        opt.load_state_dict(other.state_dict())
    assert opt.native.layer("head").info.steps == 5, "torch had loaded it before it asked the hook"


ADDED: dict[str, Callable[[nn.Parameter], dict[str, Any]]] = {
    "rate": lambda param: {"params": [("new", param)], "lr": -1.0},
    "rate that is no number": lambda param: {"params": [("new", param)], "lr": "high"},
    "decay": lambda param: {"params": [("new", param)], "weight_decay": -1.0},
    "decay that is None": lambda param: {"params": [("new", param)], "weight_decay": None},
    "betas": lambda param: {"params": [("new", param)], "betas": (0.9, 1.5)},
    "one beta": lambda param: {"params": [("new", param)], "betas": (0.9,)},
    "maximize": lambda param: {"params": [("new", param)], "maximize": 3},
    "no names": lambda param: {"params": [param]},
    "role": lambda param: {"params": [("new", param)], "depth": 0, "role": "tail"},
    "depth": lambda param: {"params": [("new", param)], "depth": -1},
    "type": lambda param: {"params": [("new", param.to(torch.int32))]},
    "elements that share memory": lambda param: {"params": [("new", param.detach()[:1].expand(4))]},
}


@pytest.mark.parametrize("what", ADDED)
def test_a_group_that_is_refused(what: str) -> None:
    model, opt = make("AdamW", 2)
    before = snapshot(model, opt)
    with pytest.raises((lw.LayerwiseError, TypeError, ValueError)):
        opt.add_param_group(ADDED[what](nn.Parameter(torch.ones(4))))
    assert len(opt.param_groups) == 2
    assert opt.native.explain() == pickle.loads(pickle.dumps(opt.native.explain()))
    if what not in ("role", "depth"):
        # Those two are seen only when layers are in the library, which cannot let go of them and is made again.
        assert snapshot(model, opt) == before
    assert_goes_on(model, opt, "AdamW")


def test_a_file_that_is_refused(tmp_path: Path) -> None:
    model, opt = make("AdamW", 2, schedule=lw.Linear(10))
    _, other = make("AdamW", 5, weight_decay=0.5)
    other.save(tmp_path / "other.lw")
    before = snapshot(model, opt)
    with pytest.raises(lw.CheckpointMismatch):
        opt.load(tmp_path / "other.lw")
    with pytest.raises(lw.CheckpointIOError):
        opt.load(tmp_path / "none.lw")
    assert snapshot(model, opt) == before
    assert_goes_on(model, opt, "AdamW", schedule=lw.Linear(10))


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_whose_state_does_not_fit_never_steps_without_it(way: str) -> None:
    model, opt = make("AdamW", 2)
    state = opt.state
    state[model.head.weight]["exp_avg"] = torch.ones(3, 3)
    carried = {
        "deepcopy": lambda: copy.deepcopy((model, state, opt.__getstate__())),
        "pickle": lambda: pickle.loads(pickle.dumps((model, state, opt.__getstate__()))),
    }
    with pytest.raises(lw.InvalidArgument, match="exp_avg has shape"):
        opt.step()
    copied_model, _, inside = carried[way]()
    made = lwt.AdamW.__new__(lwt.AdamW)
    made.__setstate__(inside)
    for param in copied_model.parameters():
        param.grad = torch.ones_like(param)
    before = copy.deepcopy(copied_model)
    for _ in range(2):
        with pytest.raises(lw.InvalidArgument, match=r'"head.weight": exp_avg has shape \(3, 3\), the parameter has'):
            made.step()
    assert all(map(torch.equal, before.state_dict().values(), copied_model.state_dict().values()))
