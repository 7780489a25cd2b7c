# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF002
"""One class for each rule: torch's arguments in torch's order with torch's defaults; what is ours, by keyword."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from torch import Tensor
from typing_extensions import Unpack

from .. import rule
from ._hyperparameters import in_force
from ._optimizer import LayerwiseOptimizer
from ._options import Options, RuleOptions
from ._parameters import Parameters

# ---- Written by `make classes` from the library's declarations


class SGD(LayerwiseOptimizer):
    """`torch.optim.SGD`, with a rate for every layer.

    The hyperparameters are those of `layerwise.SGD`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        momentum: Momentum factor μ, in [0, inf); 0 keeps no velocity, from 1 on it grows without bound.  Default 0.
        dampening: Share τ of the gradient that is left out of the velocity, in [0, 1].  Default 0.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        nesterov: Nesterov momentum, which looks ahead along the velocity; needs momentum > 0 and dampening 0.  Default
            False.
        maximize: Ascend instead of descend.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        differentiable: Must be False: a step runs outside of autograd.
        fused: Taken as in torch; chooses nothing, but True makes GradScaler leave the division by its scale to `step`.
        decoupled_weight_decay: Decay the weights in place of the gradient.  Default False.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.SGD
    _keys: ClassVar[tuple[str, ...]] = (
        "momentum",
        "dampening",
        "weight_decay",
        "nesterov",
        "decoupled_weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"decoupled_weight_decay", "cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
        }
        super().__init__(params, defaults, options)


class LARS(LayerwiseOptimizer):
    """Layer-wise adaptive rate scaling: SGD with momentum whose rate follows the norms of each tensor.

    The hyperparameters are those of `layerwise.LARS`, which has the equation.  In the param groups stand the values in
    force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 1.  May be a tensor of one element.
        momentum: Momentum factor μ, in [0, 1); 0 keeps no velocity.  Default 0.9.
        dampening: Share τ of the gradient that is left out of the velocity, in [0, 1].  Default 0.
        dampen_first: Damp a tensor's first step too, as in pytorch_optimizer.  Default False.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        nesterov: Nesterov momentum, which looks ahead along the velocity; needs momentum > 0 and dampening 0.  Default
            False.
        trust_coefficient: Factor η of the ratio, in (0, inf).  Default 0.001.
        eps: Number ε that is added to the denominator of the ratio, in [0, inf).  Default 0.
        norm: Denominator: "separate" is ‖g‖ + λ‖w‖ + ε (the paper), "decayed" is ‖g + λw‖ + ε.  Default "separate".
        lr_position: "inside" keeps γr in the velocity (the paper), "outside" applies γ to the velocity.  Default
            "inside".
        adapt: Which tensors get a ratio: "all", "decayed" (those with decay, as in timm) or "matrices" (of rank 2 and
            more).  Default "all".
        trust_ratio_scope: One ratio for each "tensor", or for each "layer".  Default "tensor".
        trust_clip: Limit the ratio to min(r/γ, 1), as in timm.  Default False.
        skip_zero_gradient: With separate norms, the ratio is 1 where ‖g‖ is 0, also if there is decay, as in timm.
            Default False.
        weight_decay_exclude_1d: No decay for tensors of rank 0 and 1.  Default False.
        variant: Whose version: "paper", "timm", "optax", "mae" or "pytorch_optimizer".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.LARS
    _keys: ClassVar[tuple[str, ...]] = (
        "momentum",
        "dampening",
        "dampen_first",
        "weight_decay",
        "nesterov",
        "trust_coefficient",
        "eps",
        "norm",
        "lr_position",
        "adapt",
        "trust_ratio_scope",
        "trust_clip",
        "skip_zero_gradient",
        "weight_decay_exclude_1d",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor | None = None,
        *,
        momentum: float | None = None,
        dampening: float | None = None,
        dampen_first: bool | None = None,
        weight_decay: float | None = None,
        nesterov: bool | None = None,
        trust_coefficient: float | None = None,
        eps: float | None = None,
        norm: Literal["separate", "decayed"] | None = None,
        lr_position: Literal["inside", "outside"] | None = None,
        adapt: Literal["all", "decayed", "matrices"] | None = None,
        trust_ratio_scope: Literal["tensor", "layer"] | None = None,
        trust_clip: bool | None = None,
        skip_zero_gradient: bool | None = None,
        weight_decay_exclude_1d: bool | None = None,
        variant: Literal["paper", "timm", "optax", "mae", "pytorch_optimizer"] | None = None,
        maximize: bool = False,
        **options: Unpack[RuleOptions],
    ) -> None:
        given: dict[str, Any] = {
            "momentum": momentum,
            "dampening": dampening,
            "dampen_first": dampen_first,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "trust_coefficient": trust_coefficient,
            "eps": eps,
            "norm": norm,
            "lr_position": lr_position,
            "adapt": adapt,
            "trust_ratio_scope": trust_ratio_scope,
            "trust_clip": trust_clip,
            "skip_zero_gradient": skip_zero_gradient,
            "weight_decay_exclude_1d": weight_decay_exclude_1d,
            "variant": variant,
        }
        defaults = in_force(rule.LARS, lr, given) | {"maximize": maximize}
        super().__init__(params, defaults, options)


class Adam(LayerwiseOptimizer):
    """`torch.optim.Adam`, with a rate for every layer.

    The hyperparameters are those of `layerwise.Adam`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        amsgrad: Divide by the largest second moment so far.  Default False.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        capturable: Taken as in torch; chooses nothing.
        differentiable: Must be False: a step runs outside of autograd.
        fused: Taken as in torch; chooses nothing, but True makes GradScaler leave the division by its scale to `step`.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        eps_before_correction: Add ε to √v before that is corrected for its start, as Keras and TensorFlow do.  Default
            False.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Adam
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "amsgrad",
        "decoupled_weight_decay",
        "eps_before_correction",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"eps_before_correction", "cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        eps_before_correction: bool = False,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "foreach": foreach,
            "maximize": maximize,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
            "eps_before_correction": eps_before_correction,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
        }
        super().__init__(params, defaults, options)


class AdamW(LayerwiseOptimizer):
    """`torch.optim.AdamW`, with a rate for every layer.

    The hyperparameters are those of `layerwise.AdamW`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.01.
        amsgrad: Divide by the largest second moment so far.  Default False.
        maximize: Ascend instead of descend.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        capturable: Taken as in torch; chooses nothing.
        differentiable: Must be False: a step runs outside of autograd.
        fused: Taken as in torch; chooses nothing, but True makes GradScaler leave the division by its scale to `step`.
        eps_before_correction: Add ε to √v before that is corrected for its start, as Keras and TensorFlow do.  Default
            False.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.AdamW
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "amsgrad",
        "eps_before_correction",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"eps_before_correction", "cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        eps_before_correction: bool = False,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "eps_before_correction": eps_before_correction,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            # torch's classes read it from the groups of a checkpoint.
            "decoupled_weight_decay": True,
        }
        super().__init__(params, defaults, options)


class LAMB(LayerwiseOptimizer):
    """Adam whose update is scaled to the norm of each tensor.

    The hyperparameters are those of `layerwise.LAMB`, which has the equation.  In the param groups stand the values in
    force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-6.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decay: Where the decay goes: "update" is inside u (the paper), "decoupled" is w ← w − γλw before the norm is
            taken, "gradient" is g + λw.  Default "update".
        adapt: Which tensors get a ratio: "all", "decayed" (those with decay, as in timm) or "matrices" (of rank 2 and
            more).  Default "all".
        trust_ratio_scope: One ratio for each "tensor", or for each "layer".  Default "tensor".
        bias_correction: "moments" corrects both; "none"; "step_size" corrects m only, on the step after the ratio
            (pytorch_optimizer).  Default "moments".
        grad_averaging: Weigh the gradient by 1 − β₁ in the first moment.  Default True.
        ratio_eps: Add ε to ‖u‖ in the ratio.  Default False.
        ratio_min: Lower limit of the ratio, in [0, inf).  Default 0.
        ratio_max: Upper limit of the ratio, in (0, inf].  Default inf.
        weight_norm_max: Upper limit of ‖w‖ in the ratio, in (0, inf].  Default inf.
        weight_decay_exclude_1d: No decay for tensors of rank 0 and 1.  Default False.
        variant: Whose version: "paper", "timm", "apex", "optax" or "pytorch_optimizer".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.LAMB
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "decay",
        "adapt",
        "trust_ratio_scope",
        "bias_correction",
        "grad_averaging",
        "ratio_eps",
        "ratio_min",
        "ratio_max",
        "weight_norm_max",
        "weight_decay_exclude_1d",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor | None = None,
        *,
        betas: tuple[float, float] | None = None,
        eps: float | None = None,
        weight_decay: float | None = None,
        decay: Literal["update", "decoupled", "gradient"] | None = None,
        adapt: Literal["all", "decayed", "matrices"] | None = None,
        trust_ratio_scope: Literal["tensor", "layer"] | None = None,
        bias_correction: Literal["moments", "none", "step_size"] | None = None,
        grad_averaging: bool | None = None,
        ratio_eps: bool | None = None,
        ratio_min: float | None = None,
        ratio_max: float | None = None,
        weight_norm_max: float | None = None,
        weight_decay_exclude_1d: bool | None = None,
        variant: Literal["paper", "timm", "apex", "optax", "pytorch_optimizer"] | None = None,
        maximize: bool = False,
        **options: Unpack[RuleOptions],
    ) -> None:
        given: dict[str, Any] = {
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay": decay,
            "adapt": adapt,
            "trust_ratio_scope": trust_ratio_scope,
            "bias_correction": bias_correction,
            "grad_averaging": grad_averaging,
            "ratio_eps": ratio_eps,
            "ratio_min": ratio_min,
            "ratio_max": ratio_max,
            "weight_norm_max": weight_norm_max,
            "weight_decay_exclude_1d": weight_decay_exclude_1d,
            "variant": variant,
        }
        defaults = in_force(rule.LAMB, lr, given) | {"maximize": maximize}
        super().__init__(params, defaults, options)


class Lion(LayerwiseOptimizer):
    """The sign of a momentum, with decoupled weight decay: every weight moves by lr at every step.

    The hyperparameters are those of `layerwise.Lion`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.0001.  May be a tensor of one element.
        betas: Share β₁ of the momentum in the direction and decay β₂ of the momentum that is kept, in [0, 1) each.
            Default (0.9, 0.99).
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Lion
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.0001,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class NAdam(LayerwiseOptimizer):
    """`torch.optim.NAdam`, with a rate for every layer.

    The hyperparameters are those of `layerwise.NAdam`, which has the equation.  In the param groups stand the values in
    force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.002.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        momentum_decay: Decay ψ of the momentum's schedule, in [0, inf).  Default 0.004.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        capturable: Taken as in torch; chooses nothing.
        differentiable: Must be False: a step runs outside of autograd.
        momentum_schedule: The momentum's coefficient: "rising" with momentum_decay as in torch, "constant" β₁ as in
            optax, "constant_present" β₁ with this step's correction as in timm.  Default "rising".
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        variant: Whose version: "optax", "timm" or "keras".
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.NAdam
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "momentum_decay",
        "momentum_schedule",
        "decoupled_weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"momentum_schedule", "cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 0.004,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        momentum_schedule: Literal["rising", "constant", "constant_present"] | None = None,
        cautious: Literal["none", "update", "decay"] | None = None,
        corrected_weight_decay: bool | None = None,
        variant: Literal["optax", "timm", "keras"] | None = None,
        **options: Unpack[Options],
    ) -> None:
        given: dict[str, Any] = {
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "momentum_schedule": momentum_schedule,
            "decoupled_weight_decay": decoupled_weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "variant": variant,
        }
        usual = {
            "betas": (0.9, 0.999),
            "eps": 1e-8,
            "weight_decay": 0,
            "momentum_decay": 0.004,
            "decoupled_weight_decay": False,
        }
        others = {"foreach": foreach, "maximize": maximize, "capturable": capturable, "differentiable": differentiable}
        defaults = in_force(rule.NAdam, lr, given, usual) | others
        super().__init__(params, defaults, options)


class RMSprop(LayerwiseOptimizer):
    """`torch.optim.RMSprop`, with a rate for every layer.

    The hyperparameters are those of `layerwise.RMSprop`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.01.  May be a tensor of one element.
        alpha: Decay α of the mean square, in [0, 1).  Default 0.99.
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        momentum: Momentum factor μ, in [0, inf); 0 keeps no velocity, from 1 on it grows without bound.  Default 0.
        centered: Divide by the standard deviation in place of the root mean square.  Default False.
        capturable: Taken as in torch; chooses nothing.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        differentiable: Must be False: a step runs outside of autograd.
        eps_in_sqrt: Add ε under the root.  Default False.
        lr_in_momentum: Multiply by the rate before the momentum, not after it.  Default False.
        initial_square_avg: What the mean square starts at, in [0, inf).  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.RMSprop
    _keys: ClassVar[tuple[str, ...]] = (
        "alpha",
        "eps",
        "weight_decay",
        "momentum",
        "centered",
        "eps_in_sqrt",
        "lr_in_momentum",
        "initial_square_avg",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset(
        {"eps_in_sqrt", "lr_in_momentum", "initial_square_avg", "cautious", "corrected_weight_decay"}
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        eps_in_sqrt: bool = False,
        lr_in_momentum: bool = False,
        initial_square_avg: float = 0.0,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "eps_in_sqrt": eps_in_sqrt,
            "lr_in_momentum": lr_in_momentum,
            "initial_square_avg": initial_square_avg,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
        }
        super().__init__(params, defaults, options)


class Adagrad(LayerwiseOptimizer):
    """`torch.optim.Adagrad`, with a rate for every layer.

    The hyperparameters are those of `layerwise.Adagrad`, which has the equation.  In the param groups stand the values
    in force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.01.  May be a tensor of one element.
        lr_decay: Decay η of the rate: it is divided by 1 + (t − 1)·η, in [0, inf).  Default 0.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        initial_accumulator_value: What the sum of squares starts at, in [0, inf).  Default 0.
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-10.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        differentiable: Must be False: a step runs outside of autograd.
        fused: Taken as in torch; chooses nothing, but True makes GradScaler leave the division by its scale to `step`.
        eps_in_sqrt: Add ε inside the root, as optax and Keras do.  Default False.
        variant: Whose version: "optax" or "keras".
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Adagrad
    _keys: ClassVar[tuple[str, ...]] = (
        "lr_decay",
        "weight_decay",
        "initial_accumulator_value",
        "eps",
        "eps_in_sqrt",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"eps_in_sqrt"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.01,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        eps_in_sqrt: bool | None = None,
        variant: Literal["optax", "keras"] | None = None,
        **options: Unpack[Options],
    ) -> None:
        given: dict[str, Any] = {
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "eps_in_sqrt": eps_in_sqrt,
            "variant": variant,
        }
        usual = {
            "lr_decay": 0,
            "weight_decay": 0,
            "initial_accumulator_value": 0,
            "eps": 1e-10,
        }
        others = {"foreach": foreach, "maximize": maximize, "differentiable": differentiable, "fused": fused}
        defaults = in_force(rule.Adagrad, lr, given, usual) | others
        super().__init__(params, defaults, options)


class Adadelta(LayerwiseOptimizer):
    """`torch.optim.Adadelta`, with a rate for every layer.

    The hyperparameters are those of `layerwise.Adadelta`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 1.  May be a tensor of one element.
        rho: Decay ρ of both mean squares, in [0, 1).  Default 0.9.
        eps: Number ε that is added under both roots, in [0, inf).  Default 1e-6.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        capturable: Taken as in torch; chooses nothing.
        maximize: Ascend instead of descend.
        differentiable: Must be False: a step runs outside of autograd.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Adadelta
    _keys: ClassVar[tuple[str, ...]] = (
        "rho",
        "eps",
        "weight_decay",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "capturable": capturable,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults, options)


class Adamax(LayerwiseOptimizer):
    """`torch.optim.Adamax`, with a rate for every layer.

    The hyperparameters are those of `layerwise.Adamax`, which has the equation.  In the param groups stand the values
    in force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.002.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the largest gradient, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the size of the gradient, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        differentiable: Must be False: a step runs outside of autograd.
        capturable: Taken as in torch; chooses nothing.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        eps_in_denominator: Add ε to the denominator, and not to the size of the gradient, as Keras does.  Default
            False.
        variant: Whose version: "keras".
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Adamax
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "decoupled_weight_decay",
        "eps_in_denominator",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"decoupled_weight_decay", "eps_in_denominator"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        decoupled_weight_decay: bool | None = None,
        eps_in_denominator: bool | None = None,
        variant: Literal["keras"] | None = None,
        **options: Unpack[Options],
    ) -> None:
        given: dict[str, Any] = {
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "eps_in_denominator": eps_in_denominator,
            "variant": variant,
        }
        usual = {
            "betas": (0.9, 0.999),
            "eps": 1e-8,
            "weight_decay": 0,
        }
        others = {"foreach": foreach, "maximize": maximize, "differentiable": differentiable, "capturable": capturable}
        defaults = in_force(rule.Adamax, lr, given, usual) | others
        super().__init__(params, defaults, options)


class RAdam(LayerwiseOptimizer):
    """`torch.optim.RAdam`, with a rate for every layer.

    The hyperparameters are those of `layerwise.RAdam`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        capturable: Taken as in torch; chooses nothing.
        differentiable: Must be False: a step runs outside of autograd.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.RAdam
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "decoupled_weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "capturable": capturable,
            "differentiable": differentiable,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
        }
        super().__init__(params, defaults, options)


class Rprop(LayerwiseOptimizer):
    """`torch.optim.Rprop`, with a rate for every layer.

    The hyperparameters are those of `layerwise.Rprop`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: First step size of every weight, in [0, inf).  Default 0.01.  May be a tensor of one element.
        etas: Factor η⁻ of the step size where the sign changes and factor η⁺ of the step size where the sign stays, in
            (0, 1) and [1, inf).  Default (0.5, 1.2).
        step_sizes: Smallest step size and largest step size, in [0, inf) and (0, inf).  Default (1e-6, 50).
        capturable: Taken as in torch; chooses nothing.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        differentiable: Must be False: a step runs outside of autograd.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Rprop
    _keys: ClassVar[tuple[str, ...]] = (
        "etas",
        "step_sizes",
        "weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.01,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        weight_decay: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, options)


class ASGD(LayerwiseOptimizer):
    """`torch.optim.ASGD`, with a rate for every layer.

    The hyperparameters are those of `layerwise.ASGD`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.01.  May be a tensor of one element.
        lambd: Decay λ of the weights, and of the rate, in [0, inf).  Default 0.0001.
        alpha: Power α of the rate's decay, in [0, inf).  Default 0.75.
        t0: Step t₀ at which the average begins, in [0, inf).  Default 1000000.
        weight_decay: Decay coefficient that is added to the gradient, in [0, inf).  Default 0.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        differentiable: Must be False: a step runs outside of autograd.
        capturable: Taken as in torch; chooses nothing.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.ASGD
    _keys: ClassVar[tuple[str, ...]] = (
        "lambd",
        "alpha",
        "t0",
        "weight_decay",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.01,
        lambd: float = 0.0001,
        alpha: float = 0.75,
        t0: float = 1000000.0,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults, options)


class AdaBelief(LayerwiseOptimizer):
    """Adam that divides by how far gradients are from what the first moment expects.

    The hyperparameters are those of `layerwise.AdaBelief`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the squared surprise, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to s at every step, and to the denominator, in [0, inf).  Default 1e-16.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient.  Default True.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.AdaBelief
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "decoupled_weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class Yogi(LayerwiseOptimizer):
    """Adam whose second moment falls no faster than it grows.

    The hyperparameters are those of `layerwise.Yogi`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.01.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 0.001.
        initial_accumulator: What both moments start at, in [0, inf).  Default 1e-6.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient.  Default True.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Yogi
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "initial_accumulator",
        "weight_decay",
        "decoupled_weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.01,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 0.001,
        initial_accumulator: float = 1e-6,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "initial_accumulator": initial_accumulator,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class Adan(LayerwiseOptimizer):
    """Adaptive Nesterov momentum, from means of gradients and of their differences.

    The hyperparameters are those of `layerwise.Adan`, which has the equation.  In the param groups stand the values in
    force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the mean gradient and decay β₂ of the mean difference and decay β₃ of the mean square, in [0,
            1) each.  Default (0.98, 0.92, 0.99).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        no_prox: Decay the weights before the step, as AdamW does.  Default False.
        eps_root: Number ε′ that is added under the root, as in optax, in [0, inf).  Default 0.
        difference_weight: What the differences are multiplied by in the step: "decay" β₂ as the authors do, "share" 1 −
            β₂ as optax does.  Default "decay".
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        variant: Whose version: "optax".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Adan
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "no_prox",
        "eps_root",
        "difference_weight",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset(
        {"eps_root", "difference_weight", "cautious", "corrected_weight_decay"}
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor | None = None,
        *,
        betas: tuple[float, float, float] | None = None,
        eps: float | None = None,
        weight_decay: float | None = None,
        no_prox: bool | None = None,
        eps_root: float | None = None,
        difference_weight: Literal["decay", "share"] | None = None,
        cautious: Literal["none", "update", "decay"] | None = None,
        corrected_weight_decay: bool | None = None,
        variant: Literal["optax"] | None = None,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        given: dict[str, Any] = {
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "no_prox": no_prox,
            "eps_root": eps_root,
            "difference_weight": difference_weight,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "variant": variant,
        }
        defaults = in_force(rule.Adan, lr, given) | {"maximize": maximize}
        super().__init__(params, defaults, options)


class ADOPT(LayerwiseOptimizer):
    """Adam that divides each gradient by the second moment of those before it.

    The hyperparameters are those of `layerwise.ADOPT`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.9999).
        eps: Least denominator ε, in [0, inf).  Default 1e-6.
        clip: Bound each quotient.  Default True.
        clip_power: Power p of t − 1 in the bound, in [0, inf).  Default 0.25.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.ADOPT
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "clip",
        "clip_power",
        "weight_decay",
        "decoupled_weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.9999),
        eps: float = 1e-6,
        clip: bool = True,
        clip_power: float = 0.25,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "clip": clip,
            "clip_power": clip_power,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class AdEMAMix(LayerwiseOptimizer):
    """AdamW with a second, slow mean of gradients beside the fast one.

    The hyperparameters are those of `layerwise.AdEMAMix`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the fast first moment and decay β₂ of the second moment and decay β₃ of the slow first
            moment, in [0, 1) each.  Default (0.9, 0.999, 0.9999).
        alpha: Weight α of the slow first moment, in [0, inf).  Default 5.
        t_alpha: Steps over which α grows to its value, in [0, 2**53]; 0 is none.  Default 0.
        t_beta3: Steps over which β₃ grows from β₁ to its value, in [0, 2**53]; 0 is none.  Default 0.
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.01.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.AdEMAMix
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "alpha",
        "t_alpha",
        "t_beta3",
        "eps",
        "weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        *,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float = 5.0,
        t_alpha: int = 0,
        t_beta3: int = 0,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "alpha": alpha,
            "t_alpha": t_alpha,
            "t_beta3": t_beta3,
            "eps": eps,
            "weight_decay": weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class SimplifiedAdEMAMix(LayerwiseOptimizer):
    """AdEMAMix with one sum of gradients in place of two means.

    The hyperparameters are those of `layerwise.SimplifiedAdEMAMix`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.0001.  May be a tensor of one element.
        betas: Decay β₁ of the sum and decay β₂ of the second moment, in [0, 1) each.  Default (0.99, 0.95).
        alpha: Weight α of the gradient beside the sum, in [0, inf).  Default 0.
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.SimplifiedAdEMAMix
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "alpha",
        "eps",
        "weight_decay",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.0001,
        *,
        betas: tuple[float, float] = (0.99, 0.95),
        alpha: float = 0.0,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class LaProp(LayerwiseOptimizer):
    """A mean of gradients that are divided by their root mean square first.

    The hyperparameters are those of `layerwise.LaProp`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.0004.  May be a tensor of one element.
        betas: Decay β₁ of the mean quotient and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-15.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.LaProp
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.0004,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-15,
        weight_decay: float = 0.0,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class MADGRAD(LayerwiseOptimizer):
    """Dual averaging with momentum: the start less the sum of all gradients, over a cube root.

    The hyperparameters are those of `layerwise.MADGRAD`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.01.  May be a tensor of one element.
        momentum: Momentum factor μ, in [0, 1).  Default 0.9.
        eps: Number ε that is added to the rate and to the denominator, in [0, inf).  Default 1e-6.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.MADGRAD
    _keys: ClassVar[tuple[str, ...]] = (
        "momentum",
        "eps",
        "weight_decay",
        "decoupled_weight_decay",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.01,
        *,
        momentum: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class Tiger(LayerwiseOptimizer):
    """The sign of a momentum, with decoupled weight decay and one state.

    The hyperparameters are those of `layerwise.Tiger`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        beta: Decay β of the momentum, in [0, 1).  Default 0.965.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.01.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Tiger
    _keys: ClassVar[tuple[str, ...]] = (
        "beta",
        "weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        *,
        beta: float = 0.965,
        weight_decay: float = 0.01,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "beta": beta,
            "weight_decay": weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class SignSGD(LayerwiseOptimizer):
    """The sign of the gradient, or of a momentum (Signum), with decoupled weight decay.

    The hyperparameters are those of `layerwise.SignSGD`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        momentum: Momentum factor μ, in [0, 1); 0 keeps no velocity.  Default 0.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.SignSGD
    _keys: ClassVar[tuple[str, ...]] = (
        "momentum",
        "weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class Fromage(LayerwiseOptimizer):
    """The gradient scaled to the norm of the weights, which are then shrunk.

    The hyperparameters are those of `layerwise.Fromage`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.01.  May be a tensor of one element.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        min_norm: Least norm in the ratio, in [0, inf); optax has 1e-6.  Default 0.
        trust_ratio_scope: One ratio for each "tensor", or for each "layer".  Default "tensor".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Fromage
    _keys: ClassVar[tuple[str, ...]] = (
        "weight_decay",
        "min_norm",
        "trust_ratio_scope",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.01,
        *,
        weight_decay: float = 0.0,
        min_norm: float = 0.0,
        trust_ratio_scope: Literal["tensor", "layer"] = "tensor",
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "weight_decay": weight_decay,
            "min_norm": min_norm,
            "trust_ratio_scope": trust_ratio_scope,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class StableAdamW(LayerwiseOptimizer):
    """AdamW whose rate falls for a tensor while its squared gradients are larger than their average.

    The hyperparameters are those of `layerwise.StableAdamW`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.99).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.01.
        decoupled_weight_decay: Decay the weights in place of the gradient.  Default True.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.StableAdamW
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "decoupled_weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decoupled_weight_decay: bool = True,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class MARS(LayerwiseOptimizer):
    """AdamW or Lion on gradients that are corrected by the change since the last step.

    The hyperparameters are those of `layerwise.MARS`, which has the equation.  In the param groups stand the values in
    force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.003.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.95, 0.99).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        amsgrad: Divide by the largest second moment so far.  Default False.
        gamma: Strength γ̂ of the correction, in [0, inf).  Default 0.025.
        mars_type: What the corrected gradient is given to: "adamw" or "lion".  Default "adamw".
        correct_first: Correct a tensor's first gradient too, as if one of 0 came before.  Default True.
        optimize_1d: Treat tensors of rank 0 and 1 as all others.  Default False.
        lr_1d_factor: Else their rate, in units of γ, in [0, inf).  Default 1.
        betas_1d: Else the decay of their first moment and else the decay of their second moment, in [0, 1) each.
            Default (0.9, 0.95).
        weight_decay_1d: Else their decay coefficient, in [0, inf).  Default 0.1.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        variant: Whose version: "paper" or "timm".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.MARS
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "amsgrad",
        "gamma",
        "mars_type",
        "correct_first",
        "optimize_1d",
        "lr_1d_factor",
        "betas_1d",
        "weight_decay_1d",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor | None = None,
        *,
        betas: tuple[float, float] | None = None,
        eps: float | None = None,
        weight_decay: float | None = None,
        amsgrad: bool | None = None,
        gamma: float | None = None,
        mars_type: Literal["adamw", "lion"] | None = None,
        correct_first: bool | None = None,
        optimize_1d: bool | None = None,
        lr_1d_factor: float | None = None,
        betas_1d: tuple[float, float] | None = None,
        weight_decay_1d: float | None = None,
        cautious: Literal["none", "update", "decay"] | None = None,
        corrected_weight_decay: bool | None = None,
        variant: Literal["paper", "timm"] | None = None,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        given: dict[str, Any] = {
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "gamma": gamma,
            "mars_type": mars_type,
            "correct_first": correct_first,
            "optimize_1d": optimize_1d,
            "lr_1d_factor": lr_1d_factor,
            "betas_1d": betas_1d,
            "weight_decay_1d": weight_decay_1d,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "variant": variant,
        }
        defaults = in_force(rule.MARS, lr, given) | {"maximize": maximize}
        super().__init__(params, defaults, options)


class NovoGrad(LayerwiseOptimizer):
    """Momentum of gradients that are divided by a running average of the norm of their tensor.

    The hyperparameters are those of `layerwise.NovoGrad`, which has the equation.  In the param groups stand the values
    in force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the squared norm, in [0, 1) each.  Default (0.95, 0.98).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        eps_root: Number ε′ that is added to v under the root, as in optax, in [0, inf).  Default 0.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the direction, as AdamW does.  Default False.
        grad_averaging: Weigh the direction by 1 − β₁ in the first moment.  Default False.
        average_first: Weigh a tensor's first direction so too, as in timm and apex.  Default False.
        init_zero: Start the average of squared norms at 0.  Default False.
        bias_correction: Correct both averages for their start at 0, as in apex.  Default False.
        moment: The first moment is of "normalized" gradients (the paper), or of "raw" ones, and then divided (apex).
            Default "normalized".
        norm_scope: One norm for each "tensor", or for each "layer".  Default "tensor".
        variant: Whose version: "paper", "timm", "optax" or "apex".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.NovoGrad
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "eps_root",
        "weight_decay",
        "decoupled_weight_decay",
        "grad_averaging",
        "average_first",
        "init_zero",
        "bias_correction",
        "moment",
        "norm_scope",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor | None = None,
        *,
        betas: tuple[float, float] | None = None,
        eps: float | None = None,
        eps_root: float | None = None,
        weight_decay: float | None = None,
        decoupled_weight_decay: bool | None = None,
        grad_averaging: bool | None = None,
        average_first: bool | None = None,
        init_zero: bool | None = None,
        bias_correction: bool | None = None,
        moment: Literal["normalized", "raw"] | None = None,
        norm_scope: Literal["tensor", "layer"] | None = None,
        variant: Literal["paper", "timm", "optax", "apex"] | None = None,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        given: dict[str, Any] = {
            "betas": betas,
            "eps": eps,
            "eps_root": eps_root,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "grad_averaging": grad_averaging,
            "average_first": average_first,
            "init_zero": init_zero,
            "bias_correction": bias_correction,
            "moment": moment,
            "norm_scope": norm_scope,
            "variant": variant,
        }
        defaults = in_force(rule.NovoGrad, lr, given) | {"maximize": maximize}
        super().__init__(params, defaults, options)


class LANS(LayerwiseOptimizer):
    """LAMB with normalized gradients and Nesterov momentum.

    The hyperparameters are those of `layerwise.LANS`, which has the equation.  In the param groups stand the values in
    force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-6.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.01.
        decay: Where the decay goes: "update" is inside r and c (the paper), "gradient" is g̃ + λw.  Default "update".
        normalize_grad: Divide the gradient by its norm.  Default True.
        norm_eps: Add ε to that norm, as gluon-nlp does.  Default False.
        grad_averaging: Weigh the gradient by 1 − β₁.  Default True.
        bias_correction: Correct both moments for their start at 0.  Default True.
        trust_ratio_scope: Norms of each "tensor", or of each "layer".  Default "tensor".
        variant: Whose version: "paper" or "gluon".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.LANS
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "decay",
        "normalize_grad",
        "norm_eps",
        "grad_averaging",
        "bias_correction",
        "trust_ratio_scope",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor | None = None,
        *,
        betas: tuple[float, float] | None = None,
        eps: float | None = None,
        weight_decay: float | None = None,
        decay: Literal["update", "gradient"] | None = None,
        normalize_grad: bool | None = None,
        norm_eps: bool | None = None,
        grad_averaging: bool | None = None,
        bias_correction: bool | None = None,
        trust_ratio_scope: Literal["tensor", "layer"] | None = None,
        variant: Literal["paper", "gluon"] | None = None,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        given: dict[str, Any] = {
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay": decay,
            "normalize_grad": normalize_grad,
            "norm_eps": norm_eps,
            "grad_averaging": grad_averaging,
            "bias_correction": bias_correction,
            "trust_ratio_scope": trust_ratio_scope,
            "variant": variant,
        }
        defaults = in_force(rule.LANS, lr, given) | {"maximize": maximize}
        super().__init__(params, defaults, options)


class DoG(LayerwiseOptimizer):
    """SGD whose rate is the distance to the start over the root of the sum of all squared gradients.

    The hyperparameters are those of `layerwise.DoG`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Factor γ of the rate, in [0, inf).  Default 1.  May be a tensor of one element.
        reps_rel: First distance r_ε, relative to 1 + ‖w₀‖, in (0, inf).  Default 1e-6.
        eps: Number ε that is added to the sum of squares, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        init_eta: First rate, in place of reps_rel, in [0, inf); 0 is none.  Default 0.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.DoG
    _keys: ClassVar[tuple[str, ...]] = (
        "reps_rel",
        "eps",
        "weight_decay",
        "init_eta",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1.0,
        *,
        reps_rel: float = 1e-6,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        init_eta: float = 0.0,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "reps_rel": reps_rel,
            "eps": eps,
            "weight_decay": weight_decay,
            "init_eta": init_eta,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class LDoG(LayerwiseOptimizer):
    """DoG with a rate for each tensor or layer.

    The hyperparameters are those of `layerwise.LDoG`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Factor γ of the rate, in [0, inf).  Default 1.  May be a tensor of one element.
        reps_rel: First distance r_ε, relative to 1 + ‖w₀‖, in (0, inf).  Default 1e-6.
        eps: Number ε that is added to the sum of squares, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        init_eta: First rate, in place of reps_rel, in [0, inf); 0 is none.  Default 0.
        distance_scope: Norms of each "tensor", or of each "layer".  Default "tensor".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.LDoG
    _keys: ClassVar[tuple[str, ...]] = (
        "reps_rel",
        "eps",
        "weight_decay",
        "init_eta",
        "distance_scope",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1.0,
        *,
        reps_rel: float = 1e-6,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        init_eta: float = 0.0,
        distance_scope: Literal["tensor", "layer"] = "tensor",
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "reps_rel": reps_rel,
            "eps": eps,
            "weight_decay": weight_decay,
            "init_eta": init_eta,
            "distance_scope": distance_scope,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class DoWG(LayerwiseOptimizer):
    """SGD whose rate is a squared distance to the start over the root of a weighed sum of squares.

    The hyperparameters are those of `layerwise.DoWG`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Factor γ of the rate, in [0, inf).  Default 1.  May be a tensor of one element.
        init_estim_sq_dist: First squared distance, in [0, inf); 0 is ε.  Default 0.
        eps: Number ε that is added to the denominator, in [0, inf).  Default 0.0001.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        estimate_scope: One estimate for the "optimizer", as published, or one for each "layer".  Default "optimizer".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.DoWG
    _keys: ClassVar[tuple[str, ...]] = (
        "init_estim_sq_dist",
        "eps",
        "weight_decay",
        "estimate_scope",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"estimate_scope"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1.0,
        *,
        init_estim_sq_dist: float = 0.0,
        eps: float = 0.0001,
        weight_decay: float = 0.0,
        estimate_scope: Literal["optimizer", "layer"] = "optimizer",
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "init_estim_sq_dist": init_estim_sq_dist,
            "eps": eps,
            "weight_decay": weight_decay,
            "estimate_scope": estimate_scope,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class Prodigy(LayerwiseOptimizer):
    """Adam whose learning rate is estimated from the distance that the weights travel.

    The hyperparameters are those of `layerwise.Prodigy`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Factor γ of the estimated rate, in [0, inf).  Default 1.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, times d, in [0, inf).  Default 1e-8.
        beta3: Decay β₃ of the estimate, in [0, 1); 0 is √β₂.  Default 0.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient.  Default True.
        d0: First estimate d₀ of the distance, in (0, inf).  Default 1e-6.
        d_coef: Factor of the estimate, in (0, inf).  Default 1.
        growth_rate: Largest growth of d in one step, in (0, inf].  Default inf.
        use_bias_correction: Correct the rate for the moments' start at 0.  Default False.
        safeguard_warmup: Leave the rate out of s, for schedules that warm up.  Default False.
        layer_scale: Where a layer's rate counts in the estimate: "denominator" or "both".  Default "denominator".
        slice_p: The estimate takes every slice_p-th element, in [1, 2147483647]; the authors recommend 11.  Default 1.
        estimate_scope: One estimate for the "optimizer", as published, or one for each "layer".  Default "optimizer".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Prodigy
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "beta3",
        "weight_decay",
        "decoupled_weight_decay",
        "d0",
        "d_coef",
        "growth_rate",
        "use_bias_correction",
        "safeguard_warmup",
        "layer_scale",
        "slice_p",
        "estimate_scope",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"slice_p", "estimate_scope"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1.0,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        beta3: float = 0.0,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
        d0: float = 1e-6,
        d_coef: float = 1.0,
        growth_rate: float = math.inf,
        use_bias_correction: bool = False,
        safeguard_warmup: bool = False,
        layer_scale: Literal["denominator", "both"] = "denominator",
        slice_p: int = 1,
        estimate_scope: Literal["optimizer", "layer"] = "optimizer",
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "beta3": beta3,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "d0": d0,
            "d_coef": d_coef,
            "growth_rate": growth_rate,
            "use_bias_correction": use_bias_correction,
            "safeguard_warmup": safeguard_warmup,
            "layer_scale": layer_scale,
            "slice_p": slice_p,
            "estimate_scope": estimate_scope,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class DAdaptAdam(LayerwiseOptimizer):
    """Adam whose learning rate is estimated from the gradients: D-Adaptation.

    The hyperparameters are those of `layerwise.DAdaptAdam`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Factor γ of the estimated rate, in [0, inf).  Default 1.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        d0: First estimate d₀ of the distance, in (0, inf).  Default 1e-6.
        growth_rate: Largest growth of d in one step, in (0, inf].  Default inf.
        use_bias_correction: Correct the rate for the moments' start at 0.  Default False.
        estimate_scope: One estimate for the "optimizer", as published, or one for each "layer".  Default "optimizer".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.DAdaptAdam
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "decoupled_weight_decay",
        "d0",
        "growth_rate",
        "use_bias_correction",
        "estimate_scope",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"estimate_scope"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1.0,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        d0: float = 1e-6,
        growth_rate: float = math.inf,
        use_bias_correction: bool = False,
        estimate_scope: Literal["optimizer", "layer"] = "optimizer",
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "d0": d0,
            "growth_rate": growth_rate,
            "use_bias_correction": use_bias_correction,
            "estimate_scope": estimate_scope,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class DAdaptSGD(LayerwiseOptimizer):
    """Dual averaging with momentum whose learning rate is estimated from the gradients: D-Adaptation.

    The hyperparameters are those of `layerwise.DAdaptSGD`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Factor γ of the estimated rate, in [0, inf).  Default 1.  May be a tensor of one element.
        momentum: Momentum factor μ, in [0, 1).  Default 0.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        d0: First estimate d₀ of the distance, in (0, inf).  Default 1e-6.
        growth_rate: Largest growth of d in one step, in (0, inf].  Default inf.
        estimate_scope: One estimate for the "optimizer", as published, or one for each "layer".  Default "optimizer".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.DAdaptSGD
    _keys: ClassVar[tuple[str, ...]] = (
        "momentum",
        "weight_decay",
        "d0",
        "growth_rate",
        "estimate_scope",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"estimate_scope"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1.0,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        d0: float = 1e-6,
        growth_rate: float = math.inf,
        estimate_scope: Literal["optimizer", "layer"] = "optimizer",
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "d0": d0,
            "growth_rate": growth_rate,
            "estimate_scope": estimate_scope,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class MoMo(LayerwiseOptimizer):
    """SGD with momentum whose rate is lowered where a model of the loss asks for less.

    The hyperparameters are those of `layerwise.MoMo`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Largest rate γ, in [0, inf).  Default 1.  May be a tensor of one element.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        beta: Decay β of the averages, in [0, 1).  Default 0.9.
        lb: Lower bound of the loss, in (-inf, inf).  Default 0.
        bias_correction: Start the averages at 0, and correct them.  Default False.
        use_fstar: Estimate the lower bound, beginning at lb.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.MoMo
    _keys: ClassVar[tuple[str, ...]] = (
        "weight_decay",
        "beta",
        "lb",
        "bias_correction",
        "use_fstar",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1.0,
        *,
        weight_decay: float = 0.0,
        beta: float = 0.9,
        lb: float = 0.0,
        bias_correction: bool = False,
        use_fstar: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "weight_decay": weight_decay,
            "beta": beta,
            "lb": lb,
            "bias_correction": bias_correction,
            "use_fstar": use_fstar,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class MoMoAdam(LayerwiseOptimizer):
    """Adam whose rate is lowered where a model of the loss asks for less.

    The hyperparameters are those of `layerwise.MoMoAdam`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Largest rate γ, in [0, inf).  Default 0.01.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and of the losses and decay β₂ of the second moment, in [0, 1) each.
            Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        lb: Lower bound of the loss, in (-inf, inf).  Default 0.
        divide: Divide the stepped weights by 1 + γλ, in place of AdamW's decay.  Default True.
        use_fstar: Estimate the lower bound, beginning at lb.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.MoMoAdam
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "lb",
        "divide",
        "use_fstar",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.01,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        lb: float = 0.0,
        divide: bool = True,
        use_fstar: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "lb": lb,
            "divide": divide,
            "use_fstar": use_fstar,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class ScheduleFreeAdamW(LayerwiseOptimizer):
    """AdamW without a schedule: the weights that are evaluated are an average of those that are stepped.

    The hyperparameters are those of `layerwise.ScheduleFreeAdamW`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.0025.  May be a tensor of one element.
        betas: How near β₁ the parameters are to the average and decay β₂ of the second moment, in (0, 1) and [0, 1).
            Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        warmup_steps: Steps of linear warm-up, counted by each tensor, in [0, 2**53].  Default 0.
        r: Power r of t in the weight of the average, in [0, inf).  Default 0.
        weight_lr_power: Power p of the largest rate in that weight, in [0, inf).  Default 2.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.ScheduleFreeAdamW
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "warmup_steps",
        "r",
        "weight_lr_power",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.0025,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "warmup_steps": warmup_steps,
            "r": r,
            "weight_lr_power": weight_lr_power,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class ScheduleFreeSGD(LayerwiseOptimizer):
    """SGD without a schedule: the weights that are evaluated are an average of those that are stepped.

    The hyperparameters are those of `layerwise.ScheduleFreeSGD`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 1.  May be a tensor of one element.
        momentum: How near μ the parameters are to the average, in (0, 1).  Default 0.9.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        warmup_steps: Steps of linear warm-up, counted by each tensor, in [0, 2**53].  Default 0.
        r: Power r of t in the weight of the average, in [0, inf).  Default 0.
        weight_lr_power: Power p of the largest rate in that weight, in [0, inf).  Default 2.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.ScheduleFreeSGD
    _keys: ClassVar[tuple[str, ...]] = (
        "momentum",
        "weight_decay",
        "warmup_steps",
        "r",
        "weight_lr_power",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1.0,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "warmup_steps": warmup_steps,
            "r": r,
            "weight_lr_power": weight_lr_power,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class ScheduleFreeRAdam(LayerwiseOptimizer):
    """Schedule-Free AdamW whose rate grows by RAdam's rectification, so that it needs no warm-up.

    The hyperparameters are those of `layerwise.ScheduleFreeRAdam`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.0025.  May be a tensor of one element.
        betas: How near β₁ the parameters are to the average and decay β₂ of the second moment, in (0, 1) and [0, 1).
            Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        r: Power r of t in the weight of the average, in [0, inf).  Default 0.
        weight_lr_power: Power p of the largest rate in that weight, in [0, inf).  Default 2.
        silent_sgd_phase: Leave the weights alone while the second moment is not known well enough, in place of steps of
            SGD.  Default True.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.ScheduleFreeRAdam
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "r",
        "weight_lr_power",
        "silent_sgd_phase",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.0025,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        silent_sgd_phase: bool = True,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "r": r,
            "weight_lr_power": weight_lr_power,
            "silent_sgd_phase": silent_sgd_phase,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class Adafactor(LayerwiseOptimizer):
    """`torch.optim.Adafactor`, with a rate for every layer.

    The hyperparameters are those of `layerwise.Adafactor`, which has the equation.  In the param groups stand the
    values in force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.01.  May be a tensor of one element.
        beta2_decay: Power β₂decay of t, the weight of a step in the second moment, in (-inf, 0].  Default -0.8.
        eps: Bound ε₁ of √v; 0 is the epsilon of the parameter's type and least size ε₂ of the weights, in [0, inf)
            each.  Default (None, 0.001).
        d: Largest root mean square d of u, in (0, inf).  Default 1.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        beta1: Decay β₁ of the average of changes, in [0, 1); 0 keeps none.  Default 0.
        step_size: "capped" is min(γ, 1/√t) (torch), "relative" γ·min(0.01, 1/√t), "warmup" γ·min(1e-6·t, 1/√t),
            "constant" γ.  Default "capped".
        scale_parameter: Multiply the change by max(ε₂, RMS(w)).  Default True.
        eps_position: "floor" bounds √v from below (torch), "added" adds ε₁ to g² (transformers).  Default "floor".
        decay: The weights decay by "lr" times λ (torch), or by "step", all that multiplies u, times λ.  Default "lr".
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        variant: Whose version: "torch" or "transformers".
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Adafactor
    _keys: ClassVar[tuple[str, ...]] = (
        "beta2_decay",
        "eps",
        "d",
        "weight_decay",
        "beta1",
        "step_size",
        "scale_parameter",
        "eps_position",
        "decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset(
        {"beta1", "step_size", "scale_parameter", "eps_position", "decay", "cautious", "corrected_weight_decay"}
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.01,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 0.001),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        beta1: float | None = None,
        step_size: Literal["capped", "relative", "warmup", "constant"] | None = None,
        scale_parameter: bool | None = None,
        eps_position: Literal["floor", "added"] | None = None,
        decay: Literal["lr", "step"] | None = None,
        cautious: Literal["none", "update", "decay"] | None = None,
        corrected_weight_decay: bool | None = None,
        variant: Literal["torch", "transformers"] | None = None,
        **options: Unpack[Options],
    ) -> None:
        given: dict[str, Any] = {
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "beta1": beta1,
            "step_size": step_size,
            "scale_parameter": scale_parameter,
            "eps_position": eps_position,
            "decay": decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "variant": variant,
        }
        usual = {
            "beta2_decay": -0.8,
            "eps": (None, 0.001),
            "d": 1.0,
            "weight_decay": 0.0,
        }
        others = {"foreach": foreach, "maximize": maximize}
        defaults = in_force(rule.Adafactor, lr, given, usual) | others
        super().__init__(params, defaults, options)


class CAME(LayerwiseOptimizer):
    """Adafactor with momentum, slowed where the step's change and the average disagree.

    The hyperparameters are those of `layerwise.CAME`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.0002.  May be a tensor of one element.
        betas: Decay β₁ of the average of changes and decay β₂ of the second moment and decay β₃ of the disagreement, in
            [0, 1) each.  Default (0.9, 0.999, 0.9999).
        eps: Number ε₁ that is added to g² and number ε₂ that is added to the square of the disagreement, in [0, inf)
            each.  Default (1e-30, 1e-16).
        clip_threshold: Largest root mean square d of u, in (0, inf).  Default 1.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.CAME
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "clip_threshold",
        "weight_decay",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.0002,
        *,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        eps: tuple[float, float] = (1e-30, 1e-16),
        clip_threshold: float = 1.0,
        weight_decay: float = 0.0,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "clip_threshold": clip_threshold,
            "weight_decay": weight_decay,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class SM3(LayerwiseOptimizer):
    """Adagrad whose sums of squares are kept by row, by column, and by place along further axes.

    The hyperparameters are those of `layerwise.SM3`, which has the equation.  In the param groups stand the values in
    force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.1.  May be a tensor of one element.
        momentum: Decay of the average of changes, in [0, 1); 0 keeps none.  Default 0.9.
        beta: Decay β of the squares, in [0, 1); 0: their sum.  Default 0.
        eps: Number ε that is added to ν, in [0, inf).  Default 1e-30.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        monotone: With β above 0, the largest numbers never fall.  Default True.
        variant: Whose version: "pytorch_optimizer" or "optax".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.SM3
    _keys: ClassVar[tuple[str, ...]] = (
        "momentum",
        "beta",
        "eps",
        "weight_decay",
        "monotone",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor | None = None,
        *,
        momentum: float | None = None,
        beta: float | None = None,
        eps: float | None = None,
        weight_decay: float | None = None,
        monotone: bool | None = None,
        variant: Literal["pytorch_optimizer", "optax"] | None = None,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        given: dict[str, Any] = {
            "momentum": momentum,
            "beta": beta,
            "eps": eps,
            "weight_decay": weight_decay,
            "monotone": monotone,
            "variant": variant,
        }
        defaults = in_force(rule.SM3, lr, given) | {"maximize": maximize}
        super().__init__(params, defaults, options)


class AdamMini(LayerwiseOptimizer):
    """AdamW with one second moment for each block of rows or for each tensor.

    The hyperparameters are those of `layerwise.AdamMini`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        block_rows: Rows that share a second moment, in tensors of rank 2 and more, in [0, 2147483647]; 0: the whole
            tensor.  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.AdamMini
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "block_rows",
        "cautious",
        "corrected_weight_decay",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset({"cautious", "corrected_weight_decay"})

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        block_rows: int = 0,
        cautious: Literal["none", "update", "decay"] = "none",
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "block_rows": block_rows,
            "cautious": cautious,
            "corrected_weight_decay": corrected_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class Muon(LayerwiseOptimizer):
    """`torch.optim.Muon`, with a rate for every layer.

    The hyperparameters are those of `layerwise.Muon`, which has the equation.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate γ, in [0, inf).  Default 0.001.  May be a tensor of one element.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.1.
        momentum: Decay μ of the momentum, in [0, 1).  Default 0.95.
        nesterov: Look ahead along the momentum.  Default True.
        ns_coefficients: Coefficient a of a constant schedule and coefficient b of a constant schedule and coefficient c
            of a constant schedule, in (-inf, inf) each.  Default (3.4445, -4.775, 2.0315).
        eps: Least norm ε that a matrix is divided by, in (0, inf).  Default 1e-7.
        ns_steps: How many times the polynomial is applied, in [1, 99].  Default 5.
        adjust_lr_fn: Factor s of the rate: "original" is √max(1, R/C), "match_rms_adamw" 0.2·√max(R, C), "spectral"
            √(R/C), "none" 1.  Default None.
        ns_schedule: Coefficients of the iterations: "constant" takes ns_coefficients in all, "quintic" five polynomials
            found together, "polar_express" those of arXiv:2505.16932.  Default "constant".
        axes: A tensor of rank 3 and more is one matrix, the "first" axis against the others, or matrices of the "last"
            two axes.  Default "first".
        ns_precision: What the matrices of the iterations are rounded to: "full" nothing, "bfloat16" that type after
            each product, as torch does.  Default "full".
        adamw_lr_scale: The rate of tensors of rank 0 and 1, in units of γ, in [0, inf).  Default 1.
        adamw_betas: Decay of the first moment of tensors of rank 0 and 1 and decay of the second moment of tensors of
            rank 0 and 1, in [0, 1) each.  Default (0.9, 0.95).
        adamw_eps: Number that is added to the denominator of theirs, in [0, inf).  Default 1e-10.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Muon
    _keys: ClassVar[tuple[str, ...]] = (
        "weight_decay",
        "momentum",
        "nesterov",
        "ns_coefficients",
        "eps",
        "ns_steps",
        "adjust_lr_fn",
        "ns_schedule",
        "axes",
        "ns_precision",
        "adamw_lr_scale",
        "adamw_betas",
        "adamw_eps",
    )
    _may_lack: ClassVar[frozenset[str]] = frozenset(
        {"ns_schedule", "axes", "ns_precision", "adamw_lr_scale", "adamw_betas", "adamw_eps"}
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.001,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        ns_schedule: Literal["constant", "quintic", "polar_express"] = "constant",
        axes: Literal["first", "last"] = "first",
        ns_precision: Literal["full", "bfloat16"] = "full",
        adamw_lr_scale: float = 1.0,
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-10,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "ns_schedule": ns_schedule,
            "axes": axes,
            "ns_precision": ns_precision,
            "adamw_lr_scale": adamw_lr_scale,
            "adamw_betas": adamw_betas,
            "adamw_eps": adamw_eps,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)
