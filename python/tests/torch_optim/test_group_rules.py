# SPDX-License-Identifier: Apache-2.0
"""Param groups that are stepped by a rule of their own."""

import copy
import dataclasses
import pickle
from typing import Any

import pytest
import torch
from support.rules import TABLE, WITH_LOSS
from torch import Tensor, nn

import layerwise as lw
import layerwise.torch as lt
from layerwise._rule_names import kinds
from layerwise.torch._group_rules import values_in_force

CLASSES = {kind._rule.name: kind for kind in vars(lt).values() if isinstance(kind, type) and hasattr(kind, "_rule")}

TOGETHER = {name for name, kind in CLASSES.items() if kind.__name__ in WITH_LOSS or TABLE[kind.__name__].together}
"""Rules that take sums over all layers."""


def tensors(seed: int = 0) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(5, 7, generator=draw)) for _ in range(3)]


def gradients(step: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(100 + step)
    return [torch.randn(5, 7, generator=draw) for _ in range(3)]


def run(opts: list[torch.optim.Optimizer], params: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        for param, gradient in zip(params, gradients(step), strict=True):
            param.grad = gradient
        for opt in opts:
            opt.step()


@pytest.mark.parametrize("name", sorted(set(CLASSES) - TOGETHER))
def test_moves_as_in_an_optimizer_of_its_own(name: str) -> None:
    kind = CLASSES[name]
    own = kinds()[name](lr=0.02)  # type: ignore[call-arg]
    params = tensors()
    opt = lt.AdamW([{"params": params[:2]}, {"params": params[2:], "rule": own}], lr=0.01)
    run([opt], params, range(5))
    alone = tensors()
    apart = [lt.AdamW(alone[:2], lr=0.01), kind(alone[2:], lr=0.02, **defaults_of(kind, own))]
    run(apart, alone, range(5))
    for one, other in zip(params, alone, strict=True):
        assert torch.equal(one, other)
    assert opt.state[params[2]].keys() == apart[1].state[alone[2]].keys()
    for key, value in apart[1].state[alone[2]].items():
        assert torch.equal(torch.as_tensor(opt.state[params[2]][key]), torch.as_tensor(value))
    assert opt.param_groups[1]["rule"] == name and "rule" not in opt.param_groups[0]


def defaults_of(kind: Any, rule: lw.Rule) -> dict[str, Any]:
    """torch's defaults are not always the library's: the class gets what the rule has in force."""
    return {key: value for key, value in values_in_force(rule, kind._keys).items() if key != "lr"}


@pytest.mark.parametrize("name", CLASSES)
def test_a_rule_has_the_keys_of_its_class(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(kinds()[name])} - {"lr", "variant"}  # type: ignore[arg-type]
    assert set(CLASSES[name]._keys) == fields


def mixed(params: list[nn.Parameter], **options: Any) -> lt.AdamW:
    own = {"params": params[2:], "rule": lw.LAMB(lr=0.02, variant="timm", weight_decay=0.1), "betas": (0.7, 0.8)}
    return lt.AdamW([{"params": params[:2]}, own], lr=0.01, **options)


def test_the_group_holds_the_values_in_force() -> None:
    opt = mixed(tensors())
    group = opt.param_groups[1]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.02, 0.1, (0.7, 0.8))
    assert "amsgrad" not in group and "trust_ratio_scope" in group
    assert [layer.rule.name for layer in opt.native.layers.values()] == ["adamw", "lamb"]
    assert "rule" in opt.explain()


def test_groups_steer_the_rule() -> None:
    params, others = tensors(), tensors()
    opt = mixed(params)
    run([opt], params, range(2))
    opt.param_groups[1]["lr"] = 0.5
    opt.param_groups[1]["weight_decay"] = 0.3
    opt.param_groups[0]["weight_decay"] = 0.2
    scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, 0.5)
    run([opt], params, range(2, 4))
    scheduler.step()
    run([opt], params, range(4, 6))

    apart = [
        lt.AdamW(others[:2], lr=0.01),
        lt.LAMB(others[2:], lr=0.02, variant="timm", weight_decay=0.1, betas=(0.7, 0.8)),
    ]
    run(apart, others, range(2))
    apart[0].param_groups[0]["weight_decay"] = 0.2
    apart[1].param_groups[0]["weight_decay"] = 0.3
    apart[1].param_groups[0]["lr"] = 0.5
    run(apart, others, range(2, 4))
    for other in apart:
        other.param_groups[0]["lr"] *= 0.5
    run(apart, others, range(4, 6))
    for one, other in zip(params, others, strict=True):
        assert torch.equal(one, other)


def test_a_group_may_be_added_later() -> None:
    params, others = tensors(), tensors()
    opt = lt.AdamW(params[:2], lr=0.01)
    run([opt], params[:2] + params[2:], range(2))
    opt.add_param_group({"params": params[2:], "rule": "lion", "lr": 0.002})
    run([opt], params, range(2, 5))
    apart = [lt.AdamW(others[:2], lr=0.01), lt.Lion(others[2:], lr=0.002)]
    run(apart[:1], others, range(2))
    run(apart, others, range(2, 5))
    for one, other in zip(params, others, strict=True):
        assert torch.equal(one, other)


def through_state_dict(opt: lt.AdamW, params: list[nn.Parameter], tmp_path: Any) -> lt.AdamW:
    torch.save(opt.state_dict(), tmp_path / "state.pt")
    new = mixed(params)
    new.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    return new


def through_checkpoint(opt: lt.AdamW, params: list[nn.Parameter], tmp_path: Any) -> lt.AdamW:
    opt.save(tmp_path / "opt.safetensors")
    new = mixed(params)
    new.load(tmp_path / "opt.safetensors")
    return new


@pytest.mark.parametrize("way", [through_state_dict, through_checkpoint])
def test_resumes(way: Any, tmp_path: Any) -> None:
    params = tensors()
    opt = mixed(params)
    run([opt], params, range(3))
    others = [nn.Parameter(param.detach().clone()) for param in params]
    new = way(opt, others, tmp_path)
    run([opt], params, range(3, 6))
    run([new], others, range(3, 6))
    for one, other in zip(params, others, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies(clone: Any) -> None:
    params = tensors()
    opt = mixed(params)
    run([opt], params, range(3))
    new, others = clone((opt, params))
    run([opt], params, range(3, 6))
    run([new], others, range(3, 6))
    for one, other in zip(params, others, strict=True):
        assert torch.equal(one, other)


def test_refusals() -> None:
    params = tensors()
    with pytest.raises(lw.UnknownName, match=r"no rule is called .lyon., .*did you mean .lion."):
        lt.AdamW([{"params": params, "rule": "lyon"}])
    with pytest.raises(TypeError, match="rule of param group 0: expected a rule such as Lion"):
        lt.AdamW([{"params": params, "rule": 3}])
    with pytest.raises(lw.OutOfRange, match="Prodigy takes sums over all its layers"):
        lt.AdamW([{"params": params, "rule": lw.Prodigy()}])
    with pytest.raises(lw.OutOfRange, match="beta1"):
        lt.AdamW([{"params": params, "rule": lw.Lion(betas=(2, 0.5))}])
    opt = mixed(params)
    plain = lt.AdamW([{"params": tensors()[:2]}, {"params": tensors()[2:]}])
    with pytest.raises(lw.InvalidArgument, match="group 1: rule is the optimizer's in the state dict, 'lamb' here"):
        opt.load_state_dict(plain.state_dict())
    with pytest.raises(lw.InvalidArgument, match="group 1: rule is 'lamb' in the state dict, the optimizer's here"):
        plain.load_state_dict(opt.state_dict())
    opt.param_groups[0]["rule"] = "lion"
    with pytest.raises(lw.InvalidArgument, match='the "rule" of a param group stays as it was'):
        run([opt], params, range(1))
    with pytest.warns(UserWarning, match='"amsgrad", which Lion does not read'):
        lt.AdamW([{"params": tensors(), "rule": lw.Lion(), "amsgrad": True}])


def test_conversion_keeps_the_rule() -> None:
    module = nn.Linear(3, 4)
    opt = lt.AdamW([{"params": [module.weight], "rule": lw.Adafactor(lr=0.01)}, {"params": [module.bias]}], lr=0.01)
    module.double()
    module(torch.ones(2, 3, dtype=torch.float64)).sum().backward()
    opt.step()
    assert {key for key in opt.state[module.weight]} >= {"row_var", "col_var"}
