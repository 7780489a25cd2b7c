# SPDX-License-Identifier: Apache-2.0
"""Misuses, and the exception and message that each gets; a refused call has changed nothing.

What is wrong with a state dict is in test_state.py, what does not go with steps in backward in test_backward.py.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import network


def param(*shape: int, **kind: Any) -> nn.Parameter:
    return nn.Parameter(torch.ones(shape or (3,), **kind))


def adamw(params: Any = None, **options: Any) -> lwt.AdamW:
    return lwt.AdamW([param()] if params is None else params, **options)


def tied_by_memory() -> list[nn.Parameter]:
    first = param(4)
    return [first, nn.Parameter(first.detach()[1:3])]


def freed() -> nn.Parameter:
    first = param(4)
    first.untyped_storage().resize_(0)
    return first


Row = tuple[Callable[[], object], type[Exception], str]

CONSTRUCTION: dict[str, Row] = {
    # What torch refuses, and with its exception.
    "a tensor": (lambda: adamw(param()), TypeError, "should be an iterable of Tensors or dicts"),
    "nothing": (lambda: adamw([]), ValueError, "empty parameter list"),
    "numbers": (lambda: adamw([1.0]), TypeError, "can only optimize Tensors"),
    "a set in a group": (lambda: adamw([{"params": {param()}}]), TypeError, "ordered collections"),
    "no leaf": (lambda: adamw([param() * 2]), ValueError, "can't optimize a non-leaf Tensor"),
    "two groups, one parameter": (
        lambda: adamw([{"params": [shared]}, {"params": [shared]}]),
        ValueError,
        "appear in more than one parameter group",
    ),
    "some names": (lambda: adamw([("a", param()), param()]), ValueError, "Some param names are missing"),
    "rate below 0": (lambda: adamw(lr=-1.0), ValueError, r"lr must be in \[0, inf\), found -1"),
    "beta of 1": (lambda: adamw(betas=(1.0, 0.9)), ValueError, r"beta1 must be in \[0, 1\), found 1"),
    "second beta of 1": (lambda: adamw(betas=(0.9, 1.0)), ValueError, r"beta2 must be in \[0, 1\), found 1"),
    "eps below 0": (lambda: adamw(eps=-1e-8), ValueError, r"eps must be in \[0, inf\)"),
    "decay below 0": (lambda: adamw(weight_decay=-1.0), ValueError, r"weight_decay must be in \[0, inf\), found -1"),
    "momentum below 0": (lambda: lwt.SGD([param()], momentum=-0.5), ValueError, r"momentum must be in \[0, inf\)"),
    "nesterov without momentum": (lambda: lwt.SGD([param()], nesterov=True), ValueError, "nesterov"),
    "a group's own rate": (lambda: adamw([{"params": [param()], "lr": -2.0}]), ValueError, "found -2"),
    "rate that is many": (
        lambda: adamw(lr=torch.ones(2)),
        ValueError,
        r"lr must be .* one element, found .* shape \(2,\)",
    ),
    "rate that is text": (lambda: adamw(lr="1e-3"), TypeError, "lr must be a number, found '1e-3'"),
    "rate that is text, of a trust ratio": (
        lambda: lwt.LAMB([param()], lr="1e-3"),  # type: ignore[arg-type]
        TypeError,
        "lr must be a number, found '1e-3'",
    ),
    "a group's rate that is text": (
        lambda: adamw([{"params": [param()]}, {"params": [param()], "lr": "1e-3"}]),
        TypeError,
        "lr of param group 1 must be a number, found '1e-3'",
    ),
    "decay that is text": (lambda: adamw(weight_decay="0.1"), ValueError, "weight_decay takes a number, found"),
    "eps that is text": (lambda: adamw(eps="1e-8"), ValueError, "eps takes a number, found"),
    "betas that are text": (lambda: adamw(betas=("0.9", "0.99")), ValueError, "beta1 takes a number, found"),
    "fused that is text": (lambda: adamw(fused="no"), TypeError, "fused must be True, False or None, found 'no'"),
    "fused and foreach": (lambda: adamw(fused=True, foreach=True), RuntimeError, "cannot be `True` together"),
    "differentiable": (lambda: adamw(differentiable=True), ValueError, "differentiable must be False, found True"),
    # Parameters that cannot be stepped.
    "a module without parameters": (lambda: adamw(nn.ReLU()), ValueError, "ReLU has no parameters"),
    "a state dict": (lambda: adamw(network().state_dict()), TypeError, "found a mapping.*named_parameters"),
    "sparse": (lambda: adamw([torch.eye(2).to_sparse()]), ValueError, "parameter 0 of group 0 must be a dense tensor"),
    "complex": (lambda: adamw([("z", param(dtype=torch.complex64))]), TypeError, '"z" must be real.*view_as_real'),
    "integers": (lambda: adamw([torch.arange(3)]), TypeError, "must be float64, float32, float16 or bfloat16, found"),
    "float8": (lambda: adamw([torch.ones(3).to(torch.float8_e5m2)]), TypeError, "found torch.float8_e5m2"),
    "meta": (lambda: adamw([("w", param(device="meta"))]), ValueError, r'"w" is on the device "meta".*to_empty'),
    "expanded": (
        lambda: adamw([torch.ones(1).expand(4)]),
        ValueError,
        r"memory of its own for each element, found shape \(4,\) with strides \(0,\): make it with .clone",
    ),
    "gaps that others use": (
        lambda: adamw([("rows", columns.detach()[1:3]), ("left", columns.detach()[:, :2])]),
        lw.OverlappingBuffers,
        'parameter "left" shares memory with parameter "rows"',
    ),
    "shared memory": (lambda: adamw(tied_by_memory()), lw.OverlappingBuffers, "1"),
    "freed memory": (lambda: adamw([("w", freed())]), ValueError, '"w" has no memory: its storage was freed'),
    # Options.
    "unknown option": (lambda: adamw(layer_decai=0.5), TypeError, "AdamW has no argument 'layer_decai'.*layer_decay"),
    "decay and policy": (
        lambda: adamw(network(), layer_decay=0.5, policy=lw.Uniform()),
        ValueError,
        "layer_decay and policy exclude each other",
    ),
    "decay out of range": (lambda: adamw(network(), layer_decay=1.5), ValueError, r"decay must be in \(0, 1\]"),
    "no policy": (lambda: adamw(network(), policy=0.5), TypeError, r"policy: expected one such as LayerDecay\(0.75\)"),
    "no schedule": (lambda: adamw(schedule=0.5), TypeError, "schedule of lr: expected one such as"),
    "no freezing plan": (lambda: adamw(freezing=3), TypeError, "freezing: expected one such as"),
    "unknown scheduled number": (
        lambda: adamw(schedule={"momentum": lw.Linear(3)}),
        ValueError,
        "momentum",
    ),
    "unknown nonfinite": (lambda: adamw(nonfinite="ignore"), ValueError, "nonfinite.*ignore"),
    "threads": (lambda: adamw(threads=-1), ValueError, "threads"),
    "clip of 0": (lambda: adamw(clip_global_norm=0.0), ValueError, "clip_global_norm"),
    "module that is none": (lambda: adamw(module="bert"), TypeError, "module: expected a torch module, found str"),
    "decay_follows without decoupled decay": (
        lambda: lwt.SGD([param()], decay_follows="base_lr"),
        ValueError,
        "decay_follows must be layer_lr",
    ),
    "maximize that is text": (
        lambda: adamw([{"params": [param()]}, {"params": [param()], "maximize": "yes"}]),
        TypeError,
        "maximize of param group 1 must be True or False, found 'yes'",
    ),
    # Keys of groups.
    "an option in a group": (
        lambda: adamw([{"params": [param()], "layer_decay": 0.8}]),
        ValueError,
        r'"layer_decay" has no effect in param group 0: .*AdamW\(..., layer_decay=...\)',
    ),
    "an option for param_groups": (
        lambda: lwt.param_groups(network(), layer_decay=0.8),
        ValueError,
        r"layer_decay is an argument of the optimizer and not of a group: AdamW\(param_groups\(model\), layer_decay=",
    ),
    "coupled decay in a group of AdamW": (
        lambda: adamw([{"params": [param()], "decoupled_weight_decay": False}]),
        ValueError,
        "decoupled_weight_decay of param group 0 must be True",
    ),
    "lr_scale below 0": (
        lambda: adamw([{"params": [param()], "lr_scale": -1}]),
        ValueError,
        r"in \[0, inf\), found -1",
    ),
    "lr_scale that is no choice": (
        lambda: adamw(lr_scale="use"),
        ValueError,
        'lr_scale must be "apply", "scheduler" or',
    ),
    "lr_scale and scale": (
        lambda: adamw([{"params": [param()], "lr_scale": 0.5, "scale": 0.5}], lr_scale="apply"),
        ValueError,
        'has a "scale" and an "lr_scale"',
    ),
    "lr_scale and layer decay": (
        lambda: adamw(network(), lr_scale="apply", layer_decay=0.5),
        ValueError,
        "leave out layer_decay and policy",
    ),
    # Layers.
    "decay of nameless parameters": (
        lambda: adamw(network().parameters(), layer_decay=0.5),
        ValueError,
        r"LayerDecay.* goes by depth, and nothing tells the depth of group 0: .*module=",
    ),
    "decay of nameless groups": (
        lambda: adamw([{"params": [param()]}, {"params": [param()]}], layer_decay=0.5),
        ValueError,
        "goes by depth",
    ),
    "unfreezing nameless parameters": (
        lambda: adamw(freezing=lw.GradualUnfreezing(3)),
        ValueError,
        "GradualUnfreezing.* goes by depth",
    ),
    "rules without names": (lambda: adamw(layers={"*": 0}), ValueError, "rules go by names of parameters"),
    "a rule that matches nothing": (
        lambda: adamw(network(), layers={"trunk.*": 0}),
        lw.UnknownName,
        'layers: no parameter matches "trunk.\\*"; the first is called "embed.weight"',
    ),
    "a rule that says nothing known": (
        lambda: adamw(network(), layers={"head.*": {"dept": 3}}),
        lw.UnknownName,
        "unknown key 'dept', expected one of layer, depth, tower, role, scale",
    ),
    "a rule that is no rule": (lambda: adamw(network(), layers={"head.*": 0.5}), TypeError, "expected a depth, the na"),
    "rules that are a list": (lambda: adamw(network(), layers=["head"]), TypeError, "layers: expected a mapping"),
    "depth below 0": (lambda: adamw([{"params": [param()], "depth": -1}]), ValueError, "depth"),
    "role": (lambda: adamw([{"params": [param()], "depth": 0, "role": "tail"}]), ValueError, "role.*tail"),
    "pattern of a policy": (
        lambda: adamw(network(), policy=lw.Explicit({"trunk": 1.0, "*": 1.0})).explain(),
        lw.UnknownName,
        "trunk",
    ),
    # Trust ratios.
    "variant": (lambda: lwt.LAMB([param()], variant="papers"), lw.UnknownName, "papers"),
    "ratio limits": (lambda: lwt.LAMB([param()], ratio_max=-1.0), ValueError, "ratio_max"),
    "positional": (lambda: lwt.LARS([param()], 0.1, 0.9), TypeError, "positional"),  # type: ignore[misc]
}

shared = param()
columns = param(4, 4)


@pytest.mark.parametrize(("make", "error", "message"), CONSTRUCTION.values(), ids=CONSTRUCTION)
def test_at_construction(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as found:
        make()
    assert re.search(message, str(found.value), re.DOTALL), str(found.value)


def put(opt: lwt.LayerwiseOptimizer, **values: Any) -> None:
    opt.param_groups[1].update(values)


def set_gradient(model: nn.Module, make: Callable[[torch.Tensor], torch.Tensor]) -> None:
    model.head.weight.grad = make(model.head.weight.detach())


Misuse = tuple[Callable[[Any, Any], object], type[Exception], str]

STEP: dict[str, Misuse] = {
    "rate below 0": (lambda m, o: put(o, lr=-0.1), lw.OutOfRange, r"lr of param group 1 must be in \[0, inf\), found"),
    "rate that is not a number": (
        lambda m, o: put(o, lr=float("nan")),
        lw.OutOfRange,
        "lr of param group 1.*found nan",
    ),
    "infinite rate": (lambda m, o: put(o, lr=float("inf")), lw.OutOfRange, "lr of param group 1 .* found inf"),
    "rate that is text": (lambda m, o: put(o, lr="high"), TypeError, "lr of param group 1 must be a number, found 'hi"),
    "beta": (lambda m, o: put(o, betas=(0.9, 2.0)), lw.OutOfRange, r"beta2 must be in \[0, 1\), found 2"),
    "one beta": (lambda m, o: put(o, betas=(0.9,)), ValueError, "betas: expected two numbers, found 1"),
    "decay": (lambda m, o: put(o, weight_decay=-1.0), lw.OutOfRange, "weight_decay"),
    "maximize": (lambda m, o: put(o, maximize="up"), TypeError, "maximize of param group 1 must be True or False"),
    "rate that is many": (
        lambda m, o: put(o, lr=torch.ones(2)),
        lw.InvalidArgument,
        r"lr of param group 1 must be .* one element, found a tensor of shape \(2,\)",
    ),
    "no rate": (lambda m, o: o.param_groups[1].pop("lr"), lw.InvalidArgument, "param group 1 has no 'lr'"),
    "no eps": (lambda m, o: o.param_groups[1].pop("eps"), lw.InvalidArgument, "param group 1 has no 'eps'"),
    "sparse gradient": (
        lambda m, o: setattr(m.head.weight, "grad", torch.ones(1, 7).to_sparse()),
        lw.InvalidArgument,
        'gradient of parameter "head.weight" must be a dense tensor, found layout torch.sparse_coo',
    ),
    "gradient of another shape": (
        lambda m, o: m.head.weight.grad.resize_(2, 7),
        lw.ShapeMismatch,
        r'gradient of parameter "head.weight" must have the parameter.s shape \(1, 7\), found \(2, 7\)',
    ),
    "parameters of another shape": (
        lambda m, o: setattr(m.head.weight, "data", torch.ones(3, 3)),
        lw.ShapeMismatch,
        r'parameter "head.weight" must keep its shape \(1, 7\), found \(3, 3\)',
    ),
    "parameters of an unknown type": (
        lambda m, o: setattr(m.head.weight, "data", torch.ones(1, 7).to(torch.float8_e5m2)),
        lw.DTypeMismatch,
        'parameter "head.weight" must be float64, float32, float16 or bfloat16, found torch.float8_e5m2',
    ),
    "parameters whose elements share memory": (
        lambda m, o: setattr(m.head.weight, "data", torch.ones(1).expand(1, 7)),
        lw.InvalidArgument,
        'parameter "head.weight" must have memory of its own for each element',
    ),
    "parameters without memory": (
        lambda m, o: m.head.weight.untyped_storage().resize_(0),
        lw.InvalidArgument,
        'parameter "head.weight" has no memory',
    ),
    "state of another shape": (
        lambda m, o: o.state[m.head.weight].update(exp_avg=torch.ones(2)),
        lw.InvalidArgument,
        r'state: parameter "head.weight": exp_avg has shape \(2,\), the parameter has \(1, 7\)',
    ),
    "step count": (
        lambda m, o: o.state[m.head.weight].update(step=torch.tensor(-3.0)),
        lw.InvalidArgument,
        'parameter "head.weight": step must be a whole number >= 0, found -3.0',
    ),
    "parameter in a group that no longer fits": (
        lambda m, o: o.param_groups[1]["params"].append(torch.arange(3)),
        lw.DTypeMismatch,
        "must be float64, float32, float16 or bfloat16",
    ),
}


@pytest.mark.parametrize(("misuse", "error", "message"), STEP.values(), ids=STEP)
def test_at_a_step(misuse: Callable[[Any, Any], object], error: type[Exception], message: str) -> None:
    """All other parameters are as they were, and step counts too."""
    model: Any = network()
    named = list(model.named_parameters())
    opt = lwt.AdamW([{"params": named[:4]}, {"params": named[4:]}], lr=0.1)
    for _ in range(2):
        for each in model.parameters():
            each.grad = torch.full_like(each, 0.5)
        opt.step()
    before = {name: each.detach().clone() for name, each in named if name != "head.weight"}
    misuse(model, opt)
    for _ in range(2):
        with pytest.raises(error) as found:
            opt.step()
        assert re.search(message, str(found.value)), str(found.value)
    for name, value in before.items():
        assert torch.equal(dict(named)[name], value), name
    bridge = opt._inside.bridge
    assert bridge is not None and set(bridge.kept.counts()) == {2}


def test_a_set_of_parameters_is_warned_of() -> None:
    """At the user's line, with every torch; torch's own classes warn from 2.15 on."""
    with pytest.warns(FutureWarning, match="organized in ordered collections") as found:
        opt = lwt.SGD(set(network().parameters()), lr=0.1)
    assert [Path(warning.filename).name for warning in found] == ["test_errors.py"]
    assert len(opt.param_groups[0]["params"]) == len(list(network().parameters()))


def test_there_are_as_many_rows_as_promised() -> None:
    assert len(CONSTRUCTION) + len(STEP) >= 40
