# SPDX-License-Identifier: Apache-2.0
"""The run state in state dicts: texts of earlier versions load to the same numbers, and all numbers come back."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import layerwise as lw
import layerwise.torch as lwt
from layerwise.torch._run_state import KEY
from torch_optim.support.networks import Network, batches, loss_of, network

FORMER: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "run_states.json").read_text("utf-8"))
"""Texts that version 0.1.0, or one between it and the next, has written, and what that version made of them.

In 0.1.0 there were no measurements yet.
"""


def _plateau() -> lw.ReduceOnPlateau:
    return lw.ReduceOnPlateau(factor=0.5, patience=0)


def made(name: str) -> tuple[Network, Any]:
    """An optimizer set up as the one whose text it is."""
    grades = lw.GradES(threshold=10.0, total_steps=20)
    model, (rule, options) = (
        network(),
        {
            "clock": ("AdamW", {"schedule": lw.Linear(10)}),
            "schedules": ("AdamW", {"schedule": _plateau()}),
            "frozen": ("AdamW", {"freezing": lw.GradualUnfreezing(every=2)}),
            "measured policy": ("SGD", {"policy": lw.RelativeGradientNorm()}),
            "watching policy": ("AdamW", {"policy": lw.SignAgreement()}),
            "measured plan": ("AdamW", {"freezing": grades}),
            "both measure": ("AdamW", {"policy": lw.UpdateRatio(0.001), "freezing": grades}),
            "evaluation": ("ScheduleFreeAdamW", {}),
        }[name],
    )
    opt = getattr(lwt, rule)(model, lr=0.01, **options)
    if name == "schedules":
        opt.native.layer("norm").schedule = _plateau()
    return model, opt


def seen(opt: Any) -> dict[str, Any]:
    """The run state as it shows itself."""
    native = opt.native
    return {
        "next_step": native.next_step,
        "mode": native.mode,
        "frozen": {name: layer.get("frozen") for name, layer in native.layers.items() if layer.get("frozen") != "plan"},
        "schedules": {key: native.schedule_state(key) for key in native._schedules},
        "layer_schedules": {
            layer.name: {key: native.schedule_state(key, layer.name) for key in layer.schedules}
            for layer in native._layers
            if layer.schedules
        },
        "measurements": [None if math.isnan(value) else value for value in native.measurements()],
        "rates": opt.preview(2).tolist(),
    }


def train(model: nn.Module, opt: Any, first: int, last: int) -> None:
    for batch in batches(last, torch.float32)[first:]:
        opt.zero_grad()
        loss_of(model, batch).backward()
        opt.step()


@pytest.mark.parametrize("name", FORMER)
@pytest.mark.parametrize("goes_on", [False, True])
def test_texts_of_former_versions(name: str, goes_on: bool) -> None:
    """Also where the optimizer has a run state of its own, and again from what it then says itself."""
    expected = dict(FORMER[name])
    text = expected.pop("text")
    model, opt = made(name)
    saved = copy.deepcopy(opt.state_dict())
    saved["param_groups"][0][KEY] = text
    if goes_on:
        train(model, opt, 0, 6)
        opt.native.layer("blocks.0").freeze()
    opt.load_state_dict(saved)
    assert seen(opt) == expected
    again = opt.state_dict()["param_groups"][0][KEY]
    assert json.loads(again)["version"] == 2
    _, other = made(name)
    saved["param_groups"][0][KEY] = again
    other.load_state_dict(saved)
    assert seen(other) == expected


def test_counts_of_steps_come_back() -> None:
    model, opt = made("clock")
    train(model, opt, 0, 3)
    _, other = made("clock")
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert other.native.summary().steps == 3


def test_a_refused_text_changes_nothing_and_says_the_layer() -> None:
    model, opt = made("schedules")
    train(model, opt, 0, 2)
    for change, match in [
        ({"layers": {"norm": {"frozen": "maybe"}}}, 'layer "norm": frozen must be plan, yes or no'),
        (
            {"layers": {"norm": {"schedule_states": {"lr": [2.0, 1, 0, 0]}}}},
            'layer "norm": the schedule of lr: .* is no',
        ),
        ({"layers": {"head": {"schedule_states": {"lr": [1]}}}}, 'layer "head": the schedule of lr: .* none such here'),
        ({"version": 3}, "version must be 2, found 3"),
    ]:
        saved = copy.deepcopy(opt.state_dict())
        before = seen(opt), saved["param_groups"][0][KEY]
        saved["param_groups"][0][KEY] = json.dumps({"version": 2, "next_step": 9} | change)
        saved["param_groups"][0]["lr"] = 0.5
        with pytest.raises(lw.InvalidArgument, match=match):
            opt.load_state_dict(saved)
        assert (seen(opt), opt.state_dict()["param_groups"][0][KEY]) == before
        assert opt.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize("text", ["nonsense", '{"next_step": 1}\0', "\ud800", 3, ["{}"]])
def test_what_is_no_text_is_refused(text: object) -> None:
    _, opt = made("clock")
    saved = copy.deepcopy(opt.state_dict())
    saved["param_groups"][0][KEY] = text
    with pytest.raises(lw.InvalidArgument, match='the key "layerwise" of a param group must be what a state dict had'):
        opt.load_state_dict(saved)


@pytest.mark.parametrize("text", [None, "", {}])
def test_no_text_is_as_from_torch(text: object) -> None:
    model, opt = made("clock")
    train(model, opt, 0, 3)
    saved = copy.deepcopy(opt.state_dict())
    saved["param_groups"][0][KEY] = text
    opt.native.seek(7)
    opt.load_state_dict(saved)
    assert opt.native.next_step == 3


# ---- Numbers that parameters share

SHARING: dict[str, dict[str, Any]] = {
    "Prodigy": {},
    "Prodigy by layer": {"estimate_scope": "layer"},
    "DAdaptAdam": {},
    "DAdaptSGD": {},
    "DoG": {},
    "LDoG": {},
    "DoWG": {"estimate_scope": "layer"},
    "MoMo": {"lr": 1.0},
}


def sharing(name: str) -> tuple[list[nn.Parameter], Any]:
    """Two layers of two parameters; those that never get a gradient come last in each."""
    params = [nn.Parameter(torch.full((3,), 1.0 + index)) for index in range(4)]
    names = ("a.one", "a.two", "b.one", "b.two")
    groups = [
        {"params": [*zip(names, params, strict=True)][first : first + 2], "layer": names[first][0]} for first in (0, 2)
    ]
    return params, getattr(lwt, name.partition(" ")[0])(groups, **SHARING[name])


def drive(params: list[nn.Parameter], opt: Any, first: int, last: int) -> None:
    for step in range(first, last):
        for index in (0, 2):
            params[index].grad = torch.linspace(-1, 1 + index, 3) * (1 + step % 3)
        opt.step(loss=5.0 / (1 + step)) if isinstance(opt, lwt.MoMo) else opt.step()


def numbers(params: list[nn.Parameter], opt: Any) -> dict[str, float]:
    return {key: float(value) for key, value in opt.state[params[0]].items() if value.numel() == 1}


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("way", ["state_dict", "deepcopy", "own text", "without text"])
def test_shared_numbers_outlive_parameters_without_a_state(name: str, way: str) -> None:
    """A parameter that never had a gradient has no entry in a state dict, and shares the numbers of its layer."""
    params, opt = sharing(name)
    drive(params, opt, 0, 4)
    assert params[1] not in opt.state and params[3] not in opt.state
    if way == "deepcopy":
        copied, other = copy.deepcopy((params, opt))
    else:
        copied, other = sharing(name)
        for own, param in zip(copied, params, strict=True):
            own.data.copy_(param.data)
        saved = copy.deepcopy(opt.state_dict())
        if way == "own text":
            # The numbers of the run state stand in for entries that lack them.
            text = saved["param_groups"][0][KEY]
            for entry in saved["state"].values():
                for key in [key for key in entry if key != "step" and f'"{key}"' in text]:
                    del entry[key]
        elif way == "without text":
            for group in saved["param_groups"]:
                group[KEY] = '{"next_step": 4}'
        other.load_state_dict(saved)
    assert numbers(copied, other) == numbers(params, opt)
    drive(params, opt, 4, 8)
    drive(copied, other, 4, 8)
    for own, param in zip(copied, params, strict=True):
        assert torch.equal(own, param)
    assert numbers(copied, other) == numbers(params, opt)


@pytest.mark.parametrize("name", SHARING)
def test_shared_numbers_begin_again(name: str) -> None:
    """With an empty state dict, and where all entries are deleted; one entry that is deleted changes none."""
    params, opt = sharing(name)
    empty = copy.deepcopy(opt.state_dict())
    drive(params, opt, 0, 4)
    before = numbers(params, opt)
    del opt.state[params[2]]
    assert numbers(params, opt) == before
    start, _ = sharing(name)
    for way in ("load", "clear"):
        if way == "load":
            opt.load_state_dict(copy.deepcopy(empty))
        else:
            opt.state.clear()
        for own, param in zip(params, start, strict=True):
            own.data.copy_(param.data)
        twin, reference = sharing(name)
        drive(params, opt, 0, 3)
        drive(twin, reference, 0, 3)
        for own, param in zip(params, twin, strict=True):
            assert torch.equal(own, param), way
        assert numbers(params, opt) == numbers(twin, reference)
