# SPDX-License-Identifier: Apache-2.0
"""Param groups as other libraries make them: by decay, with a scale, with strange keys, with frozen parameters."""

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import network


def net() -> Any:
    torch.manual_seed(3)
    return nn.ModuleDict({"embed": nn.Linear(3, 4), "body": nn.Linear(4, 4), "head": nn.Linear(4, 2)})


PLACES = {"embed.*": 0, "body.*": 1, "head.*": 2}


def by_decay(model: nn.Module) -> list[dict[str, Any]]:
    """As Transformers' Trainer makes them."""
    return [
        {"params": [param for param in model.parameters() if param.ndim > 1], "weight_decay": 0.5},
        {"params": [param for param in model.parameters() if param.ndim < 2], "weight_decay": 0.0},
    ]


def split(kind: Any = lwt.AdamW, **options: Any) -> tuple[Any, Any]:
    model = net()
    given = {"lr": 1.0, "layers": PLACES} | options
    return model, kind(by_decay(model), module=model, **given)


def give(model: nn.Module, value: float = 1.0) -> None:
    for param in model.parameters():
        param.grad = torch.full_like(param, value)


def moved(model: nn.Module, opt: Any) -> dict[str, bool]:
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    give(model)
    opt.step()
    return {name: not torch.equal(before[name], param) for name, param in model.named_parameters()}


# ---- A layer in two groups


def test_a_policy_by_name_takes_the_whole_layer() -> None:
    _, opt = split(policy=lw.Explicit({"head": 10.0, "*": 1.0}))
    scales = {name: layer.scale for name, layer in opt.native.layers.items()}
    assert scales == {
        "embed": 1.0,
        "body": 1.0,
        "head": 10.0,
        "embed (group 1)": 1.0,
        "body (group 1)": 1.0,
        "head (group 1)": 10.0,
    }
    assert [row["part_of"] for row in opt.native.explain_rows()] == [None] * 3 + ["embed", "body", "head"]


@pytest.mark.parametrize("syntax", ["glob", "regex"])
def test_patterns_see_the_name_of_the_whole(syntax: Any) -> None:
    pattern = "h*d" if syntax == "glob" else "h.*d"
    _, opt = split(policy=lw.Explicit({pattern: 10.0, "*": 1.0}, syntax=syntax))
    assert [row["scale"] for row in opt.native.explain_rows()] == [1, 1, 10] * 2
    with pytest.raises(
        lw.UnknownName, match=r'no name of a layer matches "[^"]*", expected one of "embed", "body", "head"$'
    ):
        split(policy=lw.Explicit({r"*.bias" if syntax == "glob" else r".*\.bias": 2.0, "*": 1.0}, syntax=syntax))[
            1
        ].explain()


@pytest.mark.parametrize(
    ("policy", "scales"),
    [
        (lw.LayerDecay(0.5), [0.25, 0.5, 1]),
        (lw.LayerDecay(0.5, convention="timm"), [0.25, 0.5, 1]),
        (lw.GeometricRange(0.01), [0.01, 0.1, 1]),
        (lw.ULMFiT(2.0), [0.25, 0.5, 1]),
    ],
    ids=repr,
)
def test_policies_by_depth_give_both_parts_one_depth(policy: lw.Policy, scales: list[float]) -> None:
    _, opt = split(policy=policy)
    rows = opt.native.explain_rows()
    assert [row["scale"] for row in rows] == pytest.approx(scales * 2)
    assert [row["depth"] for row in rows] == [0, 1, 2] * 2
    assert [row["weight_decay"] for row in rows] == [0.5] * 3 + [0.0] * 3, "and hyperparameters of their own"


@pytest.mark.parametrize(
    "plan", [lw.FreezeAt(freeze={"head": 0}), lw.FreezeAt(freeze={"h*": 0}, syntax="glob")], ids=repr
)
def test_the_bias_of_a_frozen_layer_stays(plan: lw.FreezePlan) -> None:
    model, opt = split(freezing=plan)
    assert moved(model, opt) == {name: not name.startswith("head") for name, _ in model.named_parameters()}


def test_the_bias_of_a_layer_frozen_by_hand_stays() -> None:
    model, opt = split()
    opt.native.layer("head").freeze()
    assert moved(model, opt) == {name: not name.startswith("head") for name, _ in model.named_parameters()}
    # A part may be treated apart.
    opt.native.layer("head (group 1)").unfreeze()
    assert moved(model, opt) == {name: name != "head.weight" for name, _ in model.named_parameters()}
    with pytest.raises(lw.InvalidArgument, match=r'a part has the depth of its whole: set it for layer "head"'):
        opt.native.layer("head (group 1)").set(depth=4)


def test_gradual_unfreezing_counts_layers() -> None:
    model, opt = split(freezing=lw.GradualUnfreezing(1))
    for count in range(1, 4):
        found = moved(model, opt)
        assert {name.split(".")[0] for name, moves in found.items() if moves} == {"head", "body", "embed"} - {
            *["embed", "body"][: 3 - count]
        }
        assert all(found[f"{layer}.weight"] == found[f"{layer}.bias"] for layer in ("embed", "body", "head"))


def test_split_or_whole_a_layer_is_clipped_alike() -> None:
    """By the norm of all of it."""
    found = []
    for whole in (True, False):
        model = net()
        groups: Any = model if whole else by_decay(model)
        opt = lwt.SGD(groups, module=model, lr=1.0, weight_decay=0, clip_layer_norm=1.0, telemetry=True)
        for group in opt.param_groups:
            group["weight_decay"] = 0.0
        give(model, 3.0)
        opt.step()
        found.append(list(model.parameters()))
        factors = {row.clip_factor for name, row in opt.native.telemetry().items() if name.startswith("head")}
        assert len(factors) == 1 and factors.pop() == pytest.approx(1 / (3 * 10**0.5), rel=1e-6)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_what_needs_a_whole_layer_at_once_is_refused() -> None:
    for kind in (lwt.LARS, lwt.LAMB):
        with pytest.raises(lw.InvalidArgument, match=r'trust_ratio_scope="layer" needs .*"embed" has some in group 1'):
            split(kind, trust_ratio_scope="layer")
        model, opt = split(kind)
        before = copy.deepcopy(model.state_dict())
        for group in opt.param_groups:
            group["trust_ratio_scope"] = "layer"
        give(model)
        with pytest.raises(lw.InvalidArgument, match=r"trust_ratio_scope"):
            opt.step()
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        state = opt.state_dict()
        with pytest.raises(lw.InvalidArgument, match=r"trust_ratio_scope"):
            split(kind)[1].load_state_dict(state)
    with pytest.raises(lw.InvalidArgument, match=r'clip_layer_norm needs all gradients of a layer.*"embed" in parts'):
        split(step_in_backward=True, clip_layer_norm=1.0)


def test_checkpoints_of_split_layers(tmp_path: Path) -> None:
    """The names in a file are those of version 0.1.0."""
    model, opt = split(policy=lw.LayerDecay(0.5), telemetry=True)
    opt.native.layer("body").freeze()
    for _ in range(3):
        moved(model, opt)
    opt.save(tmp_path / "run.lw")
    report = lw.checkpoint.describe(tmp_path / "run.lw")
    assert "head (group 1)" in str(report)
    other, twin = split(policy=lw.LayerDecay(0.5), telemetry=True)
    other.load_state_dict(model.state_dict())
    twin.load(tmp_path / "run.lw")
    assert moved(other, twin) == moved(model, opt)
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    third, again = split(policy=lw.LayerDecay(0.5), telemetry=True)
    third.load_state_dict(model.state_dict())
    again.load_state_dict(copy.deepcopy(opt.state_dict()))
    both = copy.deepcopy((model, opt))
    for each, optimizer in ((model, opt), (third, again), both):
        assert not moved(each, optimizer)["body.bias"]
    for each in (third, both[0]):
        assert all(map(torch.equal, model.parameters(), each.parameters()))


def test_a_group_that_is_added_brings_parts() -> None:
    model = net()
    weights, biases = by_decay(model)
    opt = lwt.AdamW([weights], module=model, lr=1.0, layers=PLACES, policy=lw.Explicit({"head": 10.0, "*": 1.0}))
    opt.native.layer("head").freeze()
    opt.add_param_group(biases)
    assert opt.native.layer("head (group 1)").scale == 10.0
    assert not moved(model, opt)["head.bias"]


def test_the_native_optimizer_takes_parts_too() -> None:
    opt = lw.Optimizer(lw.AdamW(lr=1.0), policy=lw.Explicit({"head": 10.0}), schedule=lw.Linear(10))
    opt.add_layer("head", {"weight": torch.ones(2, 3)})
    opt.set_schedule(lw.Constant(0.5), layer="head")
    part = opt.add_layer("head (no decay)", {"bias": torch.ones(2)}, part_of="head", weight_decay=0.0, maximize=True)
    assert (part.part_of, part.get("part_of"), part.scale, part.depth) == ("head", "head", 10.0, 0)
    assert part.get("maximize") == 1.0 and opt.layer("head").get("maximize") == 0.0
    assert part.schedule == lw.Constant(0.5)
    opt.set_schedule(None, layer="head")
    assert part.schedule is None
    opt.set_schedule(lw.Constant(0.25), layer="head")
    twin = copy.deepcopy(opt)
    assert twin.explain() == opt.explain() and twin.layer("head (no decay)").part_of == "head"
    assert twin.layer("head (no decay)").schedule == lw.Constant(0.25)


# ---- Directions


def test_a_group_may_ascend(tmp_path: Path) -> None:
    model = net()
    groups = by_decay(model)
    groups[1]["maximize"] = True
    for group in groups:
        group["weight_decay"] = 0.0
    with torch.no_grad():
        for param in model.parameters():
            param.zero_()
    opt = lwt.SGD(groups, lr=1.0)
    before = copy.deepcopy(model.state_dict())
    give(model)
    opt.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name] + (1 if name.endswith("bias") else -1)), name
    opt.save(tmp_path / "run.lw")
    opt.load(tmp_path / "run.lw")
    for group in opt.param_groups:
        group["maximize"] = not group["maximize"]
    opt.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


# ---- Keys that nobody reads


def test_keys_that_nobody_reads_are_told_once_each() -> None:
    params = list(net().parameters())
    with pytest.warns(UserWarning) as found:
        lwt.AdamW(
            [
                {"params": params[:2], "weight_decy": 0.0, "tag": 3},
                {"params": params[2:4], "weight_decy": 0.1, "momentum": 0.9},
                {"params": params[4:], "maximise": True},
            ]
        )
    assert [str(each.message) for each in found] == [
        'param group 0 has the key "weight_decy", which AdamW does not read; did you mean weight_decay?',
        'param group 0 has the key "tag", which AdamW does not read',
        'param group 1 has the key "momentum", which AdamW does not read',
        'param group 2 has the key "maximise", which AdamW does not read; did you mean maximize?',
    ]
    assert {each.filename for each in found} == {__file__}


def test_keys_that_torch_and_timm_put_there_are_not_told() -> None:
    params = list(net().parameters())
    theirs = torch.optim.AdamW([{"params": params, "name": "all", "lr_scale": 1.0, "use_fallback": True, "_mine": 1}])
    lr_scheduler.OneCycleLR(theirs, 0.1, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lwt.AdamW(theirs.param_groups)
        lwt.AdamW(lwt.param_groups(net()))


@pytest.mark.parametrize("key", ["layer_decay", "policy", "schedule", "freezing", "clip_global_norm", "nonfinite"])
def test_options_in_a_group_are_refused(key: str) -> None:
    opt = lwt.AdamW(net())
    with pytest.raises(lw.InvalidArgument, match=f'"{key}" has no effect in param group 1'):
        opt.add_param_group({"params": [("more", nn.Parameter(torch.ones(1)))], key: None})
    assert len(opt.param_groups) == 1


# ---- lr_scale


def scaled(model: Any) -> list[dict[str, Any]]:
    """As timm's `param_groups_layer_decay` makes them."""
    scales = {"embed": 0.25, "body": 0.5, "head": 1.0}
    return [{"params": [*model[name].parameters()], "lr_scale": scale} for name, scale in scales.items()]


class TimmScheduler:
    """What timm's schedulers do to groups (timm/scheduler/scheduler.py, update_groups)."""

    def __init__(self, opt: torch.optim.Optimizer) -> None:
        self.opt = opt
        for group in opt.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.step(1.0)

    def step(self, factor: float) -> None:
        for group in self.opt.param_groups:
            group["lr"] = group["initial_lr"] * factor * group["lr_scale"]


def rates_of_a_step(model: Any, opt: Any) -> list[float]:
    before = [model[name].weight.detach().clone() for name in ("embed", "body", "head")]
    give(model)
    opt.step()
    return [
        round((old - model[name].weight).mean().item(), 6)
        for old, name in zip(before, ("embed", "body", "head"), strict=True)
    ]


def test_lr_scale_of_timm_with_its_scheduler_is_not_applied_twice() -> None:
    for option in (None, "scheduler"):
        model = net()
        opt = lwt.SGD(scaled(model), lr=1.0, lr_scale=option)
        scheduler = TimmScheduler(opt)
        scheduler.step(0.0)
        assert rates_of_a_step(model, opt) == [0, 0, 0], "a warm-up begins at 0, which tells nothing"
        scheduler.step(0.5)
        assert rates_of_a_step(model, opt) == [0.125, 0.25, 0.5]
        scheduler.step(1.0)
        assert rates_of_a_step(model, opt) == [0.25, 0.5, 1.0]


def test_lr_scale_is_applied_where_it_is_asked_for() -> None:
    model = net()
    opt = lwt.SGD(scaled(model), lr=1.0, lr_scale="apply")
    scheduler = lr_scheduler.StepLR(opt, 1, 0.5)
    assert rates_of_a_step(model, opt) == [0.25, 0.5, 1.0]
    scheduler.step()
    assert rates_of_a_step(model, opt) == [0.125, 0.25, 0.5]


@pytest.mark.parametrize("how", ["alone", "scheduler of torch", "rates of their own", "one group"])
def test_lr_scale_that_nobody_applies_is_refused(how: str) -> None:
    model = net()
    groups = scaled(model)
    if how == "rates of their own":
        groups[2]["lr"] = 10.0
    opt = lwt.SGD(groups[:1] if how == "one group" else groups, lr=1.0)
    if how == "scheduler of torch":
        lr_scheduler.StepLR(opt, 1, 0.5)
    before = copy.deepcopy(model.state_dict())
    give(model)
    with pytest.raises(
        lw.InvalidArgument, match=r'group 0 has lr_scale 0.25 and lr 1.0, .*lr_scale="apply".*"scheduler"'
    ):
        opt.step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# ---- A scheduler outside, and one here


def test_two_schedulers_are_told_once() -> None:
    model = net()
    opt = lwt.SGD(model, lr=1.0, schedule=lw.Linear(10))
    scheduler = lr_scheduler.LambdaLR(opt, lambda t: 1 - t / 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved(model, opt)
    scheduler.step()
    with pytest.warns(UserWarning, match=r'outside moves "lr" .* schedule= moves lr too: the two multiply') as found:
        for _ in range(3):
            moved(model, opt)
            scheduler.step()
    assert len(found) == 1


def test_two_schedulers_of_momentum_are_told() -> None:
    model = net()
    opt = lwt.AdamW(model, lr=1.0, schedule={"beta1": lw.Constant(0.5)})
    lr_scheduler.OneCycleLR(opt, 1.0, 10)
    with pytest.warns(UserWarning, match=r'outside moves "betas" .* schedule= moves beta1 too'):
        moved(model, opt)


def quiet() -> Iterator[tuple[str, Any]]:
    yield "constant", lambda opt: lr_scheduler.LambdaLR(opt, lambda _: 1.0)
    yield "none", lambda _: None


@pytest.mark.parametrize(("name", "make"), quiet())
def test_what_does_not_move_is_not_told(name: str, make: Any) -> None:
    model = net()
    opt = lwt.SGD(model, lr=1.0, schedule=lw.Linear(10))
    scheduler = make(opt)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(4):
            moved(model, opt)
            if scheduler:
                scheduler.step()
            elif step == 2:
                # By hand.
                opt.param_groups[0]["lr"] = 0.5
            opt.load_state_dict(opt.state_dict())


def test_a_rate_that_was_loaded_is_no_scheduler() -> None:
    model = net()
    opt = lwt.SGD(model, lr=1.0, schedule=lw.Linear(10))
    state = opt.state_dict()
    state["param_groups"][0] |= {"lr": 0.5, "initial_lr": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved(model, opt)
        opt.load_state_dict(state)
        moved(model, opt)


# ---- Frozen parameters that cannot be stepped


def strange() -> Iterator[tuple[str, torch.Tensor]]:
    yield "int8", torch.zeros(4, dtype=torch.int8)
    yield "complex", torch.zeros(4, dtype=torch.complex64)
    yield "float8", torch.zeros(4).to(torch.float8_e5m2)
    yield "expanded", torch.ones(1).expand(4)
    yield "sparse", torch.eye(2).to_sparse()


@pytest.mark.parametrize(("kind", "value"), strange(), ids=[kind for kind, _ in strange()])
@pytest.mark.parametrize("given", ["module", "parameters", "named"])
def test_frozen_parameters_that_cannot_be_stepped_are_left_out(kind: str, value: torch.Tensor, given: str) -> None:
    def build() -> tuple[Any, Any]:
        model = net()
        model.base = nn.Parameter(value, requires_grad=False)
        params = {"module": model, "parameters": model.parameters(), "named": model.named_parameters()}[given]
        return model, lwt.AdamW(params, lr=0.1)

    model, opt = build()
    theirs = torch.optim.AdamW(model.parameters(), lr=0.1)
    assert [*map(id, opt.param_groups[0]["params"])] == [*map(id, theirs.param_groups[0]["params"])]
    for _ in range(2):
        for param in model.parameters():
            param.grad = torch.ones_like(param) if param.requires_grad else None
        opt.step()
    assert len(opt.state) == 6
    twin, other = build()
    twin.load_state_dict(model.state_dict()) if kind != "expanded" else None
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    theirs.load_state_dict(copy.deepcopy(opt.state_dict()))
    opt.load_state_dict(copy.deepcopy(theirs.state_dict()))
    if kind in ("complex", "expanded"):
        model.base.requires_grad_(True)
        with pytest.raises((lw.DTypeMismatch, lw.InvalidArgument), match=r"was left out; now it requires a gradient"):
            opt.step()
        model.base.requires_grad_(False)
    opt.step()


def test_parameters_that_are_trained_and_cannot_be_stepped_are_refused() -> None:
    for value in (torch.zeros(4, dtype=torch.complex64), torch.ones(1).expand(4)):
        model = net()
        model.base = nn.Parameter(value)
        with pytest.raises((lw.DTypeMismatch, lw.InvalidArgument), match=r'parameter "base" must'):
            lwt.AdamW(model)


def test_nothing_but_frozen_parameters() -> None:
    model = nn.Module()
    model.base = nn.Parameter(torch.zeros(4, dtype=torch.int8), requires_grad=False)
    opt = lwt.AdamW(model)
    opt.step()
    assert not opt.state
    opt.add_param_group({"params": [("new", nn.Parameter(torch.ones(2)))]})
    opt.param_groups[1]["params"][0].grad = torch.ones(2)
    opt.step()
    assert len(opt.state) == 1


def test_groups_that_lose_a_parameter_beside_one_that_was_left_out() -> None:
    model: Any = network()
    model.base = nn.Parameter(torch.zeros(4, dtype=torch.int8), requires_grad=False)
    opt = lwt.SGD(model, lr=1.0)
    assert opt.param_groups[0]["params"][0] is model.base
    del opt.param_groups[0]["params"][1], opt.param_groups[0]["param_names"][1]
    trained = [name for name, param in model.named_parameters() if param.requires_grad]
    assert moved_names(model, opt) == trained[1:]


def moved_names(model: nn.Module, opt: Any) -> list[str]:
    named = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    before = {name: param.detach().clone() for name, param in named}
    for _, param in named:
        param.grad = torch.ones_like(param)
    opt.step()
    return [name for name, param in named if not torch.equal(param, before[name])]


# ---- A parameter that is there twice


def test_a_parameter_that_is_there_twice_is_stepped_once() -> None:
    """torch warns of it, and steps it twice."""
    one, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    with pytest.warns(UserWarning, match=r"duplicate parameters"):
        opt = lwt.SGD([one, one, other], lr=1.0)
    one.grad = other.grad = torch.ones(2)
    for _ in range(2):
        opt.step()
    assert one.eq(-2).all() and other.eq(-2).all()
    opt.load_state_dict(opt.state_dict())
    with pytest.raises(ValueError, match=r"appear in more than one parameter group"):
        opt.add_param_group({"params": [one]})
