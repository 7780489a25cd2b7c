# SPDX-License-Identifier: Apache-2.0
"""What may be handed over as parameters, which layers come of it, and what is shown before anything is made."""

import copy
import re
import warnings
from typing import Any

import pytest
import torch
from support.rules import TABLE
from torch import nn

import layerwise as lw
import layerwise.torch as lwt
from layerwise.torch._options import RuleOptions
from torch_optim.support.networks import DECAY, SCALES, network


def scales(opt: lwt.LayerwiseOptimizer) -> dict[str, float]:
    return {name: layer.scale for name, layer in opt.native.layers.items()}


def params_of(opt: lwt.LayerwiseOptimizer) -> list[list[str]]:
    return [[str(name) for name in row] for row in (group.get("param_names", []) for group in opt.param_groups)]


# ---- From a module


def test_module_makes_one_group_and_inferred_layers() -> None:
    model = network()
    opt = lwt.AdamW(model, lr=0.5, layer_decay=DECAY)
    assert len(opt.param_groups) == 1
    assert opt.param_groups[0]["param_names"] == [name for name, _ in model.named_parameters()]
    assert scales(opt) == pytest.approx(SCALES)
    assert opt.native.layer("head").effective_lr == 0.5


def test_named_parameters_are_like_the_module() -> None:
    assert scales(lwt.AdamW(network().named_parameters(), layer_decay=DECAY)) == pytest.approx(SCALES)


def test_a_generator_of_parameters() -> None:
    model = network()
    assert lwt.AdamW(model.parameters()).param_groups[0]["params"] == list(model.parameters())


@pytest.mark.parametrize("wrapper", ["compile", "module", "checkpoint"])
def test_names_without_what_wrappers_put_into_them(wrapper: str) -> None:
    model: Any = network()
    if wrapper == "compile":
        model = torch.compile(model)
    elif wrapper == "module":
        model = nn.ModuleDict({"module": model})
    else:
        from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

        model.blocks[0] = checkpoint_wrapper(model.blocks[0])
    assert scales(lwt.AdamW(model, layer_decay=DECAY)) == pytest.approx(SCALES)


def test_tied_weights_are_stepped_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    opt = lwt.SGD(model, lr=1.0)
    model[0].weight.grad = torch.ones(3, 3)
    before = model[0].weight.detach().clone()
    opt.step()
    assert torch.equal(model[0].weight, before - 1)


def test_parameters_that_need_no_gradient_may_need_it_later() -> None:
    model = network()
    model.embed.requires_grad_(False)
    opt = lwt.SGD(model, lr=1.0)
    model.embed.requires_grad_(True)
    model.embed.bias.grad = torch.ones_like(model.embed.bias)
    before = model.embed.bias.detach().clone()
    opt.step()
    assert torch.equal(model.embed.bias, before - 1)


# ---- From groups


def test_groups_stay_as_they_are() -> None:
    model = network()
    mine = [{"params": list(model.embed.parameters()), "lr": 0.1}, {"params": list(model.head.parameters()), "note": 3}]
    with pytest.warns(UserWarning, match='param group 1 has the key "note", which AdamW does not read'):
        opt = lwt.AdamW(mine, lr=0.2)
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.2]
    assert opt.param_groups[1]["note"] == 3
    assert list(scales(opt)) == ["group 0", "group 1"]


def test_param_groups_make_one_group_a_layer() -> None:
    opt = lwt.AdamW(lwt.param_groups(network(), weight_decay=0.3), layer_decay=DECAY)
    assert [group["layer"] for group in opt.param_groups] == list(SCALES)
    assert all(group["weight_decay"] == 0.3 for group in opt.param_groups)
    assert scales(opt) == pytest.approx(SCALES)


def test_param_groups_know_names_in_whatever_order() -> None:
    """Wrappers sort the parameters of a group, so that names cannot be a list beside them."""
    groups = lwt.param_groups(network())
    for group in groups:
        group["params"].reverse()
    names = lwt.AdamW(groups).native.layer("blocks.0").states()
    assert set(names) == {"inner.weight", "inner.bias", "outer.weight"}
    assert list(names) == ["outer.weight", "inner.bias", "inner.weight"]


def test_a_layer_in_two_groups_becomes_two_of_one_place() -> None:
    model = network()
    named = list(model.named_parameters())
    opt = lwt.AdamW(
        [
            {"params": [(name, param) for name, param in named if param.ndim > 1], "weight_decay": 0.5},
            {"params": [(name, param) for name, param in named if param.ndim <= 1], "weight_decay": 0.0},
        ],
        layer_decay=DECAY,
    )
    rows = {row["layer"]: row for row in opt.native.explain_rows()}
    assert rows["blocks.1"]["scale"] == rows["blocks.1 (group 1)"]["scale"] == pytest.approx(SCALES["blocks.1"])
    assert (rows["blocks.1"]["weight_decay"], rows["blocks.1 (group 1)"]["weight_decay"]) == (0.5, 0.0)
    assert rows["head (group 1)"]["depth"] == rows["head"]["depth"]


def test_module_gives_names_to_bare_groups() -> None:
    """As Hugging Face makes them: two groups, by decay, of parameters without names."""
    model = network()
    groups = [
        {"params": [param for param in model.parameters() if param.ndim > 1], "weight_decay": 0.1},
        {"params": [param for param in model.parameters() if param.ndim <= 1], "weight_decay": 0.0},
    ]
    opt = lwt.AdamW(groups, module=model, layer_decay=DECAY)
    assert {name: scale for name, scale in scales(opt).items() if "group" not in name} == pytest.approx(SCALES)
    assert params_of(opt)[1][0] == "embed.bias"


def test_groups_say_what_they_are() -> None:
    w = [nn.Parameter(torch.ones(2)) for _ in range(4)]
    opt = lwt.SGD(
        [
            {"params": [w[0]], "layer": "a", "depth": 0, "tower": "left"},
            {"params": [w[1]], "layer": "b", "depth": 3, "tower": "left"},
            {"params": [w[2]], "layer": "a", "depth": 0, "tower": "right", "role": "head"},
            {"params": [w[3]], "depth": 1, "tower": "right", "scale": 0.3},
        ],
        layer_decay=0.5,
    )
    assert scales(opt) == {"a": 0.125, "b": 1.0, "a (group 2)": 0.5, "group 3": 0.3}
    assert opt.native.layer("a (group 2)").role == "head"


def test_an_empty_group_counts_as_a_depth() -> None:
    """ZeroRedundancyOptimizer leaves groups empty whose parameters another process steps."""
    w = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": [w[0]], "depth": 0}, {"params": [w[1]], "depth": 1}, {"params": [], "depth": 2}]
    opt = lwt.SGD(groups, lr=1.0, layer_decay=0.5)
    for param in w:
        param.grad = torch.ones(2)
    opt.step()
    assert [param[0].item() for param in w] == [0.75, 0.5]


# ---- Which layers


def test_rules_go_before_the_inference() -> None:
    table = lwt.layers(
        network(),
        rules={
            "embed.*": 7,
            re.compile(r"blocks\.\d\.outer\.weight"): "outer",
            "head.bias": {"layer": "head", "scale": 5.0},
            "norm.*": {"depth": 9, "tower": "aside", "role": "norm"},
            "*.inner.*": "head",
        },
    )
    rows = {row.name: row for row in table}
    assert (rows["embed"].depth, rows["embed"].parameters) == (7, ("embed.weight", "embed.bias"))
    assert rows["outer"].parameters == ("blocks.0.outer.weight", "blocks.1.outer.weight")
    assert rows["outer"].depth == 1, "of layers that are called one, the lowest place is theirs"
    assert rows["norm"].tower == "aside" and rows["norm"].depth == 9 and rows["norm"].role == "norm"
    assert {"blocks.0.inner.weight", "blocks.1.inner.bias"} < set(rows["head"].parameters)
    assert rows["head (2)"].scale == 5.0 or rows["head"].scale == 5.0
    assert sum(row.count for row in table) == sum(param.numel() for param in network().parameters())
    assert not any(row.guess for row in table)


def test_the_first_rule_that_matches_counts() -> None:
    rows = {row.name: row for row in lwt.layers(network(), rules={"head.weight": 1, "head.*": 2})}
    assert {row.depth for row in rows.values() if any("head" in name for name in row.parameters)} == {1, 2}


def test_rules_reach_the_optimizer() -> None:
    opt = lwt.SGD(network(), layer_decay=0.5, layers={"head.*": 0, "embed.*": {"scale": 3.0}})
    assert scales(opt)["embed"] == 3.0
    assert scales(opt)["head"] == scales(lwt.SGD(network(), layer_decay=0.5))["embed"] * 2, "depth 3 is the top now"


def test_table() -> None:
    text = str(lwt.layers(network()))
    head, *rows = text.splitlines()
    assert head.split() == ["layer", "depth", "role", "tensors", "parameters", "why"]
    assert [row.split()[:3] for row in rows] == [
        ["embed", "0", "stem"],
        ["blocks.0", "1", "block"],
        ["blocks.1", "2", "block"],
        ["norm", "3", "norm"],
        ["head", "4", "head"],
    ]


class Plain(nn.Module):
    """Names that say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha, self.beta = nn.Linear(2, 2), nn.Linear(2, 2)


def test_a_guess_is_told() -> None:
    assert "(a guess)" in str(lwt.layers(Plain()))
    with pytest.warns(UserWarning, match="order of registration tells the depth of alpha at depth 0, beta at") as found:
        lwt.AdamW(Plain(), layer_decay=0.5)
    assert found[0].filename == __file__, "the warning points at the user's line"


def test_a_guess_that_does_not_matter_is_not_told() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lwt.AdamW(Plain())
        lwt.AdamW(Plain(), policy=lw.Explicit({"alpha": 0.1, "*": 1.0}))
        lwt.AdamW(Plain(), layer_decay=0.5, layers={"alpha.*": 0, "beta.*": 1})


# ---- Options


def test_no_decay_for_biases_and_norms() -> None:
    """Off by default: the class is a drop-in."""
    for excluded in (False, True):
        model = network()
        opt = lwt.AdamW(model, lr=0.5, weight_decay=0.5, weight_decay_exclude_1d=excluded)
        before = copy.deepcopy(model)
        for param in model.parameters():
            param.grad = torch.zeros_like(param)
        opt.step()
        assert torch.equal(model.norm.weight, before.norm.weight * (1.0 if excluded else 0.75))
        assert torch.equal(model.head.weight, before.head.weight * 0.75)


def test_exclusion_goes_with_a_policy() -> None:
    opt = lwt.AdamW(network(), layer_decay=DECAY, weight_decay_exclude_1d=True)
    assert scales(opt) == pytest.approx(SCALES)
    assert opt.native.layer("norm").weight_decay == 0.0


def test_options_reach_the_library() -> None:
    opt = lwt.AdamW(
        network(),
        clip_global_norm=1.5,
        clip_layer_norm=0.5,
        clip_value=0.25,
        decay_follows="base_lr",
        telemetry=True,
        threads=1,
        nonfinite="skip",
    )
    keys = ("clip_global_norm", "clip_layer_norm", "clip_value", "decay_follows", "telemetry", "threads", "nonfinite")
    assert [opt.native.get(key) for key in keys] == [1.5, 0.5, 0.25, "base_lr", 1.0, 1.0, "skip"]
    assert lwt.AdamW(network()).native.get("nonfinite") == "propagate", "as in torch"


def test_schedules_and_freezing() -> None:
    model = network()
    opt = lwt.SGD(
        model,
        lr=1.0,
        momentum=0.8,
        schedule={"lr": lw.Linear(4), "momentum": lw.Constant(0.5)},
        freezing=lw.GradualUnfreezing(2),
    )
    rates = opt.preview(4).tolist()
    rows = dict(zip(opt.native.layers, rates, strict=True))
    assert rows["head"] == [1.0, 0.75, 0.5, 0.25]
    assert rows["norm"] == [0.0, 0.0, 0.5, 0.25]
    # A scheduler of torch moves what the schedule multiplies.
    opt.param_groups[0]["lr"] = 0.5
    assert dict(zip(opt.native.layers, opt.preview(2).tolist(), strict=True))["head"] == [0.5, 0.375]


def test_explain_speaks_of_the_groups_rates() -> None:
    opt = lwt.AdamW(network(), lr=0.25, layer_decay=DECAY)
    opt.param_groups[0]["lr"] = 0.125
    assert "0.125" in opt.explain() and "0.25 " not in opt.explain()


def test_every_argument_is_documented() -> None:
    """The reader finds each option in a docstring."""
    for name in TABLE:
        kind = getattr(lwt, name)
        for key in set(kind.__init__.__annotations__) - {"options", "return"}:
            assert f" {key}: " in (kind.__doc__ or ""), f"{name}: {key}"
    documented = (lwt.Options.__doc__ or "") + (RuleOptions.__doc__ or "")
    for key in lwt.Options.__annotations__:
        assert f" {key}: " in documented, key


# ---- What wrappers put into names


class Wrapped(nn.Module):
    """As `DataParallel` keeps a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_a_wrapper_in_the_middle_does_not_matter() -> None:
    plain, wrapped = network(), network()
    wrapped.blocks = Wrapped(wrapped.blocks)
    wrapped.head = Wrapped(Wrapped(wrapped.head))
    there, here = lwt.AdamW(wrapped, lr=0.5, layer_decay=DECAY), lwt.AdamW(plain, lr=0.5, layer_decay=DECAY)
    assert scales(there) == scales(here)
    for param in wrapped.parameters():
        param.grad = torch.ones_like(param)
    there.step()
    here.load_state_dict(there.state_dict())
    assert all(state["step"] == 1 for state in here.state.values())
    assert [row.parameters for row in lwt.layers(wrapped)] == [row.parameters for row in lwt.layers(plain)]


def test_names_that_would_be_one_are_left_alone() -> None:
    model = nn.Module()
    model.a = nn.Module()
    model.a.module = nn.Linear(2, 2, bias=False)
    model.a.weight = nn.Parameter(torch.ones(2))
    names = [name for row in lwt.layers(model) for name in row.parameters]
    assert sorted(names) == ["a.module.weight", "a.weight"]


def test_rules_have_the_patterns_of_policies() -> None:
    def depths(pattern: str) -> list[str]:
        table = lwt.layers(network(), rules={pattern: {"depth": 99}})
        return sorted(name for row in table if row.depth == 99 for name in row.parameters)

    assert depths(r"hea\d.weight") == depths("head.[!b]*") == depths("head.[^b]*") == ["head.weight"]
    with pytest.raises(lw.OutOfRange, match=r"a \[ has no \]"):
        lwt.layers(network(), rules={"head[": 1})
