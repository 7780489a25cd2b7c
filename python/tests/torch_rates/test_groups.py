# SPDX-License-Identifier: Apache-2.0
"""What LayerRates makes of the groups of an optimizer, what it leaves as it is, and what it refuses."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch_optim.support.networks import assert_same, states_of, values_of

import layerwise as lw
import layerwise.torch as lwt
from layerwise.torch import LayerRates
from torch_rates.driving import LAYERS, backward, drive, groups_of, inputs, tower

LR = 0.01
SCALES = [0.5**4, 0.5**3, 0.5**2, 0.5, 1.0]


def adamw(model: nn.Module, **more: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=LR, **more)


def rates_of(optimizer: torch.optim.Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def test_splits_an_optimizer_in_the_middle_of_a_run() -> None:
    model = tower()
    optimizer = adamw(model)
    groups, defaults, seen = optimizer.param_groups, dict(optimizer.defaults), []
    hook = optimizer.register_step_post_hook(lambda *_: seen.append(1))
    for values in inputs(3):
        backward(model, values)
        optimizer.step()
        optimizer.zero_grad()
    state = states_of(model, optimizer)
    kept = {id(param): optimizer.state[param] for param in model.parameters()}
    rates = LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5)
    assert rates.optimizer is optimizer and optimizer.param_groups is groups and optimizer.defaults == defaults
    assert rates_of(optimizer) == [LR * scale for scale in SCALES]
    assert all(optimizer.state[param] is kept[id(param)] for param in model.parameters())
    assert_same(states_of(model, optimizer), state)
    assert [param for group in groups for param in group["params"]] == list(model.parameters())
    drive(model, optimizer, rates, inputs(1))
    assert len(seen) == 4 and all(entry["step"] == 4 for entry in optimizer.state.values())
    hook.remove()


def test_merges_what_is_equal_at_every_step() -> None:
    model = tower()
    optimizer = torch.optim.AdamW(groups_of(model), lr=LR)
    rates = LayerRates(optimizer, model, layers=LAYERS, policy=lw.Explicit({"head": 10, "*": 1}))
    assert rates_of(optimizer) == [LR, 10 * LR]
    assert [len(group["params"]) for group in optimizer.param_groups] == [8, 2]
    assert rates.explain().endswith("\n5 layers in 2 param groups, made of 10\n")
    assert [row["param_groups"] for row in rates.explain_rows()] == [[0], [0], [0], [0], [1]]


def test_one_group_stays_one() -> None:
    model = tower()
    optimizer = adamw(model)
    group = optimizer.param_groups[0]
    LayerRates(optimizer, model, layers=LAYERS, schedule=lw.Cosine(10), freezing=lw.GradualUnfreezing(2))
    assert len(optimizer.param_groups) == 1 and optimizer.param_groups[0] is group


def test_a_plan_that_anneals_keeps_layers_apart() -> None:
    model = tower()
    optimizer = adamw(model)
    rates = LayerRates(optimizer, model, layers=LAYERS, freezing=lw.FreezeOut(20, start=0.5))
    rates.step()
    assert len(set(rates_of(optimizer))) == 5


@pytest.mark.parametrize("different", [{"betas": (0.8, 0.9)}, {"eps": 1e-6}, {"maximize": True}, {"amsgrad": True}])
def test_groups_that_differ_stay_apart(different: dict[str, Any]) -> None:
    model = tower()
    params = list(model.parameters())
    optimizer = torch.optim.AdamW([{"params": params[:4]}, {"params": params[4:], **different}], lr=LR)
    LayerRates(optimizer, model, layers=LAYERS, policy=lw.Uniform())
    assert [len(group["params"]) for group in optimizer.param_groups] == [4, 6]
    (key,) = different
    assert optimizer.param_groups[1][key] == different[key]


def test_each_group_keeps_its_own_base() -> None:
    model = tower()
    params = list(model.parameters())
    groups = [{"params": params[:4], "lr": 0.5, "weight_decay": 0.25}, {"params": params[4:]}]
    optimizer = torch.optim.SGD(groups, lr=LR)
    rates = LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5, schedule=lw.Linear(10))
    assert rates_of(optimizer) == [0.5 * SCALES[0], 0.5 * SCALES[1], *(LR * scale for scale in SCALES[2:])]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.25, 0.25, 0, 0, 0]
    assert rates.base_lrs == [group["initial_lr"] for group in optimizer.param_groups] == rates_of(optimizer)
    rates.step()
    assert rates_of(optimizer) == pytest.approx([0.9 * base for base in rates.base_lrs], rel=1e-15)


def test_names_of_groups_stay_unique() -> None:
    model = tower()
    params = list(model.named_parameters())
    optimizer = torch.optim.AdamW([{"params": params, "name": "all"}], lr=LR)
    LayerRates(optimizer, layers=LAYERS, layer_decay=0.5)
    names = [group["name"] for group in optimizer.param_groups]
    assert names == ["all (embed)", "all (block.0)", "all (block.1)", "all (norm)", "all (head)"]
    assert [name for group in optimizer.param_groups for name in group["param_names"]] == [name for name, _ in params]


def test_names_come_from_named_parameters_or_groups() -> None:
    for make in (
        lambda model: torch.optim.AdamW(list(model.named_parameters()), lr=LR),
        lambda model: torch.optim.AdamW(lwt.param_groups(model, layers=LAYERS), lr=LR),
    ):
        optimizer = make(tower())
        LayerRates(optimizer, layers=LAYERS, layer_decay=0.5)
        assert rates_of(optimizer) == [LR * scale for scale in SCALES]


def test_weight_decay_is_kept_from_vectors() -> None:
    model = tower()
    optimizer = adamw(model, weight_decay=0.1)
    LayerRates(optimizer, model, layers=LAYERS, weight_decay_exclude_1d=True)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert all(param.ndim == 1 for param in optimizer.param_groups[1]["params"])


def test_a_tensor_is_written_in_place() -> None:
    model = tower()
    rate = torch.tensor(LR, dtype=torch.float64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, capturable=True, foreach=True)
    rates = LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5, schedule=lw.Linear(10))
    tensors = [group["lr"] for group in optimizer.param_groups]
    assert len({id(tensor) for tensor in tensors}) == 5 and all(isinstance(tensor, torch.Tensor) for tensor in tensors)
    rates.step()
    assert all(group["lr"] is tensor for group, tensor in zip(optimizer.param_groups, tensors, strict=True))
    assert [float(tensor) for tensor in tensors] == [0.9 * LR * scale for scale in SCALES]
    assert (optimizer.defaults["lr"] is rate and float(rate) == LR * SCALES[0]) or float(rate) == LR
    last = rates.get_last_lr()
    last[0].fill_(7)
    assert float(tensors[0]) != 7


@pytest.mark.parametrize("device", ["meta"])
def test_groups_of_a_policy_for_any_device(device: str) -> None:
    model = tower().to(device)
    groups = lwt.param_groups(
        model, layers=LAYERS, policy=lw.LayerDecay(0.5), weight_decay=0.05, weight_decay_exclude_1d=True, lr=LR
    )
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (LR * scale, decay) for scale in SCALES for decay in (0.05, 0.0)
    ]
    optimizer = torch.optim.AdamW(groups, lr=3e-4)
    rates = LayerRates(optimizer, model, layers=LAYERS, policy=lw.LayerDecay(0.5), schedule=lw.Linear(10))
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (LR * scale, decay) for scale in SCALES for decay in (0.05, 0.0)
    ]
    assert rates.base_lrs == [LR * scale for scale in SCALES for _ in range(2)]


def test_groups_of_a_policy_without_a_rate_take_the_optimizers() -> None:
    model = tower()
    groups = lwt.param_groups(model, layers=LAYERS, policy=lw.LayerDecay(0.5))
    assert len(groups) == 5 and not any("lr" in group for group in groups)
    optimizer = torch.optim.AdamW(groups, lr=LR)
    LayerRates(optimizer, model, layers=LAYERS, policy=lw.LayerDecay(0.5))
    assert rates_of(optimizer) == [LR * scale for scale in SCALES]


def test_lr_scale_of_timm() -> None:
    def groups(model: nn.Module) -> list[dict[str, Any]]:
        params = list(model.parameters())
        return [{"params": params[:4], "lr_scale": 0.25}, {"params": params[4:], "lr_scale": 1.0}]

    model = tower()
    optimizer = torch.optim.AdamW(groups(model), lr=LR)
    with pytest.raises(lw.errors.InvalidArgument, match=r'param group 0 has lr_scale 0.25: say lr_scale="apply"'):
        LayerRates(optimizer, model, layers=LAYERS)
    LayerRates(optimizer, model, layers=LAYERS, lr_scale="apply")
    assert rates_of(optimizer) == [0.25 * LR, LR]
    with pytest.raises(lw.errors.InvalidArgument, match="leave out layer_decay and policy"):
        LayerRates(torch.optim.AdamW(groups(model), lr=LR), model, lr_scale="apply", layer_decay=0.5)


def test_groups_that_are_added_later() -> None:
    model = tower()
    params = dict(model.named_parameters())
    optimizer = torch.optim.AdamW([param for name, param in params.items() if "head" not in name], lr=LR)
    rates = LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5, schedule=lw.Linear(10))
    rates.step()
    optimizer.add_param_group({"params": [param for name, param in params.items() if "head" in name], "lr": 1.0})
    with pytest.raises(lw.errors.InvalidArgument, match="the optimizer has 5 param groups, and had 4"):
        rates.step()
    assert rates.last_epoch == 1
    rates.refresh()
    assert rates_of(optimizer) == pytest.approx([0.9 * LR * scale for scale in SCALES[:4]] + [0.9])
    rates.step()
    assert rates_of(optimizer) == pytest.approx([0.8 * LR * scale for scale in SCALES[:4]] + [0.8])


def test_changes_by_hand() -> None:
    model = tower()
    optimizer = adamw(model)
    rates = LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5, schedule=lw.Linear(10))
    rates.step()
    rates.native.layer("embed").set(scale=3.0)
    rates.native.layer("norm").freeze()
    rates.refresh()
    assert rates_of(optimizer) == pytest.approx([0.9 * LR * scale for scale in [3, *SCALES[1:]]])
    assert [row["frozen"] for row in rates.explain_rows()] == [False, False, False, True, False]
    assert set(map(id, rates.active_parameters())) == {
        id(param) for name, param in model.named_parameters() if "norm" not in name
    }


def test_remove_gives_the_optimizer_back() -> None:
    model = tower()
    optimizer = adamw(model, weight_decay=0.1)
    rates = LayerRates(
        optimizer,
        model,
        layers=LAYERS,
        layer_decay=0.5,
        schedule={"lr": lw.Linear(10), "beta1": lw.Constant(0.5)},
        freezing=lw.GradualUnfreezing(100),
        weight_decay_exclude_1d=True,
    )
    with pytest.raises(lw.errors.InvalidArgument, match=r"AdamW has LayerRates already: call remove\(\)"):
        LayerRates(optimizer, model)
    drive(model, optimizer, rates, inputs(2))
    rates.remove()
    assert set(rates_of(optimizer)) == {LR}
    assert {(group["weight_decay"], group["betas"]) for group in optimizer.param_groups} == {(0.1, (0.9, 0.999))}
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    before = values_of(model)
    backward(model, inputs(1)[0])
    optimizer.step()
    assert all(not torch.equal(param, before[name]) for name, param in model.named_parameters())
    LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5)


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_copies_go_on_by_themselves(way: str) -> None:
    model = tower()
    optimizer = adamw(model)
    rates = LayerRates(
        optimizer,
        model,
        layers=LAYERS,
        layer_decay=0.5,
        schedule={"lr": lw.Linear(20), "beta1": lw.Linear(20)},
        freezing=lw.GradualUnfreezing(3),
        weight_decay_exclude_1d=True,
        telemetry=2,
    )
    rates.native.layer("norm").set(scale=2.0)
    rates.refresh()
    data = inputs(8)
    drive(model, optimizer, rates, data[:2])
    if way == "deepcopy":
        twin, other, theirs = copy.deepcopy((model, optimizer, rates))
    else:
        twin, other, theirs = pickle.loads(pickle.dumps((model, optimizer, rates)))
    drive(model, optimizer, rates, data[2:])
    drive(twin, other, theirs, data[2:])
    assert_same(values_of(model), values_of(twin))
    assert theirs.last_epoch == 8 and theirs.get_last_lr() == rates.get_last_lr()
    assert theirs.explain() == rates.explain() and theirs.telemetry() == pytest.approx(rates.telemetry(), nan_ok=True)


# ---- What is refused


def refused(make: Any, error: type[Exception], match: str, **options: Any) -> None:
    """The error says why, and the optimizer is as it was."""
    model = tower()
    optimizer = make(model)
    before = [dict(group) for group in optimizer.param_groups]
    with pytest.raises(error, match=match):
        LayerRates(optimizer, model, layers=LAYERS, **options)
    assert [dict(group) for group in optimizer.param_groups] == before
    assert not optimizer._optimizer_step_pre_hooks


class Prodigy(torch.optim.SGD):
    """Stands for all rules of this name."""


class DAdaptAdam(torch.optim.Adam):
    """Likewise."""


INVALID = lw.errors.InvalidArgument


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda model: Prodigy(model.parameters(), lr=1.0), "Prodigy estimates one step size .* take AdamW"),
        (lambda model: DAdaptAdam(model.parameters(), lr=1.0), "DAdaptAdam estimates one step size"),
        (lambda model: torch.optim.LBFGS(model.parameters()), "LBFGS keeps one history .* takes one param group"),
        (
            lambda model: torch.optim.AdamW([{"params": list(model.parameters()), "relative_step": True}]),
            "relative_step=True, with which AdamW sets the rate by itself: expected relative_step=False",
        ),
        (lambda model: lwt.AdamW(model, layers=LAYERS), r"layerwise.torch.AdamW takes policy, schedule and freezing"),
    ],
)
def test_refuses_rules_that_object(make: Any, match: str) -> None:
    model = tower()
    optimizer = make(model)
    with pytest.raises(INVALID, match=match):
        LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5)


def test_rules_that_want_one_rate_may_have_a_schedule() -> None:
    model = tower()
    optimizer = Prodigy(model.parameters(), lr=1.0)
    rates = LayerRates(optimizer, model, layers=LAYERS, schedule=lw.Linear(10), freezing=lw.GradualUnfreezing(2))
    drive(model, optimizer, rates, inputs(2))
    assert rates_of(optimizer) == [0.8]
    rates.remove()
    with pytest.raises(INVALID, match="Prodigy estimates"):
        LayerRates(optimizer, model, layers=LAYERS, freezing=lw.FreezeOut(10))


class FlatParameter(nn.Parameter):
    """Stands for FSDP1's."""


def test_refuses_flattened_parameters() -> None:
    flat = torch.optim.AdamW([FlatParameter(torch.zeros(8))])
    with pytest.raises(INVALID, match=r"param group 0 holds a FlatParameter of FSDP1.*use_orig_params=True"):
        LayerRates(flat, tower(), layers=LAYERS, layer_decay=0.5)
    strange = torch.optim.AdamW([nn.Parameter(torch.zeros(8))])
    with pytest.raises(INVALID, match="parameter 0 of param group 0 is no parameter of the model"):
        LayerRates(strange, tower(), layers=LAYERS, layer_decay=0.5)


def test_refuses_an_optimizer_of_deepspeed() -> None:
    kind = type("DeepSpeedZeroOptimizer", (torch.optim.SGD,), {"__module__": "deepspeed.runtime.zero.stage_1_and_2"})
    model = tower()
    optimizer = kind(model.parameters(), lr=0.1)
    optimizer.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(INVALID, match=r"DeepSpeedZeroOptimizer of DeepSpeed steps flattened parameters.*param_groups"):
        LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"layer_decay": 0.5, "policy": lw.LayerDecay(0.5)}, INVALID, "exclude each other"),
        ({"policy": 0.5}, TypeError, "policy: expected one such as LayerDecay"),
        ({"schedule": 0.5}, TypeError, "schedule of lr: expected one such as Cosine"),
        (
            {"schedule": {"momentum": lw.Constant(0.5)}},
            INVALID,
            'AdamW has no number "momentum", expected one of eps, lr',
        ),
        ({"freezing": 3}, TypeError, "freezing: expected one such as GradualUnfreezing"),
        ({"telemetry": -1}, lw.errors.OutOfRange, "telemetry must be a number of steps"),
        ({"last_epoch": -2}, lw.errors.OutOfRange, "last_epoch must be at least -1"),
        ({"policy": lw.Explicit({"nothing": 2, "*": 1}, syntax="glob")}, lw.errors.UnknownName, "nothing"),
        ({"decay_follows": "nothing"}, lw.errors.UnknownName, "decay_follows"),
    ],
)
def test_refuses_arguments(options: dict[str, Any], error: type[Exception], match: str) -> None:
    refused(adamw, error, match, **options)


@pytest.mark.parametrize("lr", [float("nan"), float("inf"), -1.0])
def test_refuses_rates(lr: float) -> None:
    model = tower()
    optimizer = adamw(model)
    optimizer.param_groups[0]["lr"] = lr
    with pytest.raises(lw.errors.OutOfRange, match="lr of param group 0 must be in"):
        LayerRates(optimizer, model, layers=LAYERS)


def test_refuses_decay_that_cannot_follow() -> None:
    def sgd(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)

    refused(sgd, INVALID, "decay_follows must be layer_lr where the decay is not decoupled", decay_follows="base_lr")

    def fixed(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW([{"params": list(model.parameters()), "fixed_decay": True}])

    refused(fixed, INVALID, "param group 0 has fixed_decay=True", decay_follows="independent")


def test_refuses_depths_that_nobody_tells() -> None:
    model = tower()
    with pytest.raises(INVALID, match="goes by depth"):
        LayerRates(adamw(model), layer_decay=0.5)


def test_refuses_to_split_under_a_scheduler() -> None:
    model = tower()
    optimizer = adamw(model)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    with pytest.raises(INVALID, match="make LayerRates first and the scheduler after it"):
        LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5)
    assert len(optimizer.param_groups) == 1
