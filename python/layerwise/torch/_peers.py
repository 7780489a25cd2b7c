# SPDX-License-Identifier: Apache-2.0
"""What is known of the optimizers of other libraries: which cannot be driven, and which decouple their decay."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ._parameters import Group

_ONE_RATE = (
    "estimates one step size for all parameters and refuses unequal rates: leave policy and layer_decay out, or "
)
"""The reason of rules that find their step size themselves."""

_UNEQUAL = {
    "Prodigy": _ONE_RATE + "take AdamW",
    "ProdigyPlusScheduleFree": _ONE_RATE + "take AdamWScheduleFree",
    "DAdaptAdam": _ONE_RATE + "take AdamW",
    "DAdaptAdamIP": _ONE_RATE + "take AdamW",
    "DAdaptSGD": _ONE_RATE + "take SGD",
    "DAdaptAdaGrad": _ONE_RATE + "take AdaGrad",
    "DAdaptLion": _ONE_RATE + "take Lion",
    "DAdaptAdan": _ONE_RATE + "take Adan",
    "DAdaptAdanIP": _ONE_RATE + "take Adan",
    "SGDHD": _ONE_RATE + "take SGD",
    "AdamHD": _ONE_RATE + "take Adam",
    "Momo": _ONE_RATE + "take SGD",
    "MomoAdam": _ONE_RATE + "take AdamW",
}
"""Rules that refuse unequal rates, by class."""

_ONE_GROUP = {
    "LBFGS": "keeps one history of all parameters and takes one param group: leave policy and layer_decay out, or take "
    "an optimizer such as AdamW"
}
"""Rules that take a single param group, by class."""

_DECOUPLED = ("AdamW", "Lion", "Muon", "Adafactor", "ScheduleFree", "AdEMAMix", "Adan")
"""What the names of classes hold whose decay is multiplied by the rate and acts on the weights."""

_WRAPPERS = ("accelerate", "lightning", "lightning_fabric", "pytorch_lightning")
"""Packages whose optimizers pass every step on to the one inside."""


def unwrap(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer that takes the steps, inside what Accelerate and Lightning put around it."""
    inner = getattr(optimizer, "optimizer", None)
    while isinstance(inner, torch.optim.Optimizer) and type(optimizer).__module__.split(".")[0] in _WRAPPERS:
        optimizer, inner = inner, getattr(inner, "optimizer", None)
    return optimizer


def refuse(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer whose parameters or rates cannot be assigned to layers.

    Raises:
        InvalidArgument: The optimizer holds flattened parameters, or sets its rate by itself.
    """
    name = type(optimizer).__name__
    if any(kind.__module__.split(".")[0] == "deepspeed" for kind in type(optimizer).__mro__) and hasattr(
        optimizer, "optimizer"
    ):
        raise InvalidArgument(
            f"{name} of DeepSpeed steps flattened parameters, in which layers cannot be told apart: give "
            "param_groups(model, policy=..., lr=...) to the optimizer before deepspeed.initialize, and move the rates "
            "with DeepSpeed's scheduler"
        )
    for index, group in enumerate(optimizer.param_groups):
        if any(_is_flat(param) for param in group["params"]):
            raise InvalidArgument(
                f"param group {index} holds a FlatParameter of FSDP1, in which layers cannot be told apart: make the "
                "model with use_orig_params=True, or use FSDP2 (torch.distributed.fsdp.fully_shard)"
            )
        if group.get("relative_step"):
            raise InvalidArgument(
                f"param group {index} of {name} has relative_step=True, with which {name} sets the rate by itself: "
                "expected relative_step=False, scale_parameter=False and an lr"
            )


def _is_flat(param: Tensor) -> bool:
    return type(param).__name__ == "FlatParameter" or bool(getattr(param, "_is_flat_param", False))


def refuse_unequal(optimizer: torch.optim.Optimizer, rates: Sequence[Sequence[float]], group_count: int) -> None:
    """Refuse an optimizer that takes one rate, or one param group, for all parameters.

    Args:
        optimizer: The optimizer.
        rates: The rates of all groups at several steps.
        group_count: How many groups there would be.

    Raises:
        InvalidArgument: The optimizer would refuse these groups, or worse, take them.
    """
    names = [kind.__name__ for kind in type(optimizer).__mro__]
    if any(len(set(row)) > 1 for row in rates):
        for name in names:
            if name in _UNEQUAL:
                raise InvalidArgument(f"{name} {_UNEQUAL[name]}")
    if group_count > 1:
        for name in names:
            if name in _ONE_GROUP:
                raise InvalidArgument(f"{name} {_ONE_GROUP[name]}")


def refuse_split(optimizer: torch.optim.Optimizer) -> None:
    """Refuse to split the groups of an optimizer that has copies of them.

    Raises:
        InvalidArgument: The optimizer is such a one.
    """
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    if module is not None and isinstance(optimizer, module.ZeroRedundancyOptimizer):
        raise InvalidArgument(
            "ZeroRedundancyOptimizer has divided its param groups among the processes, and they cannot be split any "
            "more: make it with param_groups(model, policy=...), with the policy of LayerRates"
        )
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        raise InvalidArgument(
            "a scheduler was made for the param groups of this optimizer, and they would be split now: make LayerRates "
            "first and the scheduler after it, or give param_groups(model, policy=...) to the optimizer"
        )


def decouples(groups: Iterable[Group], optimizer: torch.optim.Optimizer) -> bool:
    """Whether the decay acts on the weights themselves, multiplied by the rate.

    The param groups say so where they have a word for it, else the name of the class.
    """
    said = [bool(group[key]) for group in groups for key in _decoupling_keys(group)]
    if said:
        return all(said)
    names = [kind.__name__ for kind in type(optimizer).__mro__]
    return any(part in name for name in names for part in _DECOUPLED)


def _decoupling_keys(group: Group) -> list[str]:
    return [key for key in ("decoupled_weight_decay", "weight_decouple") if key in group]


def refuse_fixed_decay(groups: Iterable[Group]) -> None:
    """Refuse to lead a decay that is multiplied by no rate.

    Raises:
        InvalidArgument: A group says `fixed_decay`.
    """
    for index, group in enumerate(groups):
        if group.get("fixed_decay"):
            raise InvalidArgument(
                f"param group {index} has fixed_decay=True, so that its decay follows no rate: expected "
                "fixed_decay=False with decay_follows"
            )


def require_hooks(optimizer: Any) -> None:
    """Refuse an optimizer whose steps run no hooks, by which layers are frozen.

    Raises:
        InvalidArgument: The optimizer's class has not run `torch.optim.Optimizer.__init__`.
    """
    if not runs_hooks(optimizer):
        raise InvalidArgument(
            f"{type(optimizer).__name__}.step runs no hooks, by which layers are frozen: drive the optimizer inside "
            "it, whose class derives from torch.optim.Optimizer"
        )


def runs_hooks(optimizer: Any) -> bool:
    """Whether steps of the optimizer run hooks, as those of all do whose class derives from torch's."""
    return getattr(type(optimizer).step, "hooked", False) and hasattr(optimizer, "_optimizer_step_pre_hooks")
