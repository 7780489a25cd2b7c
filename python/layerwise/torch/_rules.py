# SPDX-License-Identifier: Apache-2.0
"""One class for each rule: torch's arguments in torch's order with torch's defaults; what is ours, by keyword."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from torch import Tensor
from typing_extensions import Unpack

from .. import rule
from ..introspection import rules as declared_rules
from ..optimizer import Optimizer
from ._hyperparameters import require_number
from ._optimizer import LayerwiseOptimizer
from ._options import Options, RuleOptions
from ._parameters import Parameters


class SGD(LayerwiseOptimizer):
    """`torch.optim.SGD`, with a rate for every layer.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate; may be a tensor of one element.
        momentum: Momentum factor.
        dampening: Share of the gradient that is left out of the velocity.
        weight_decay: Decay coefficient.
        nesterov: Nesterov momentum.
        maximize: Ascend instead of descend.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        differentiable: Must be False: a step runs outside of autograd.
        fused: Taken as in torch; chooses nothing, but True makes GradScaler leave the division by its scale to `step`.
        decoupled_weight_decay: Decay the weight itself instead of adding to the gradient.
        **options: See `Options`.
    """

    _rule = rule.SGD
    _keys: ClassVar[tuple[str, ...]] = ("momentum", "dampening", "weight_decay", "nesterov", "decoupled_weight_decay")

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-3,
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
        **options: Unpack[Options],
    ) -> None:
        defaults = {
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
        }
        super().__init__(params, defaults, options)


class Adam(LayerwiseOptimizer):
    """`torch.optim.Adam`, with a rate for every layer.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate; may be a tensor of one element.
        betas: Decay of the two moments.
        eps: Added to the denominator.
        weight_decay: Decay coefficient.
        amsgrad: Divide by the largest second moment so far.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        capturable: Taken as in torch; chooses nothing.
        differentiable: Must be False: a step runs outside of autograd.
        fused: Taken as in torch; chooses nothing, but True makes GradScaler leave the division by its scale to `step`.
        decoupled_weight_decay: Decay the weight itself instead of adding to the gradient.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Adam
    _keys: ClassVar[tuple[str, ...]] = ("betas", "eps", "weight_decay", "amsgrad", "decoupled_weight_decay")

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-3,
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
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults, options)


class AdamW(LayerwiseOptimizer):
    """`torch.optim.AdamW`, with a rate for every layer.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate; may be a tensor of one element.
        betas: Decay of the two moments.
        eps: Added to the denominator.
        weight_decay: Decay coefficient.
        amsgrad: Divide by the largest second moment so far.
        maximize: Ascend instead of descend.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        capturable: Taken as in torch; chooses nothing.
        differentiable: Must be False: a step runs outside of autograd.
        fused: Taken as in torch; chooses nothing, but True makes GradScaler leave the division by its scale to `step`.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.AdamW
    _keys: ClassVar[tuple[str, ...]] = ("betas", "eps", "weight_decay", "amsgrad")

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
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
            # torch's AdamW and Adam read it from the groups of a checkpoint.
            "decoupled_weight_decay": True,
        }
        super().__init__(params, defaults, options)


class LARS(LayerwiseOptimizer):
    """Layer-wise adaptive rate scaling: SGD with momentum whose rate follows the norms of each tensor.

    The arguments are those of `layerwise.LARS`, which tells what each of them does.  In the param groups stand the
    values in force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate; may be a tensor of one element.  Default 1.
        momentum: Momentum factor.  Default 0.9.
        dampening: Share of the gradient that is left out of the velocity.
        dampen_first: Damp a tensor's first step too.
        weight_decay: Decay coefficient.
        nesterov: Nesterov momentum.
        trust_coefficient: Factor of the ratio.  Default 0.001.
        eps: Added to the ratio's denominator.
        norm: Denominator: "separate" or "decayed".
        lr_position: "inside" or "outside" the velocity.
        adapt: Which tensors get a ratio: "all", "decayed" or "matrices".
        trust_ratio_scope: One ratio for each "tensor", or for each "layer".
        trust_clip: Limit the ratio to min(ratio / lr, 1).
        skip_zero_gradient: With separate norms, the ratio is 1 where the gradient is 0.
        weight_decay_exclude_1d: No decay for tensors of rank 0 and 1.
        variant: "paper", "timm", "optax", "mae" or "pytorch_optimizer".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.LARS
    _keys: ClassVar[tuple[str, ...]] = tuple(
        key for key in rule.LARS.__dataclass_fields__ if key not in ("name", "lr", "_", "variant")
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
        given = {key: value for key, value in locals().items() if key in (*self._keys, "variant")}
        super().__init__(params, _in_force(rule.LARS, lr, given) | {"maximize": maximize}, options)


class LAMB(LayerwiseOptimizer):
    """Adam whose update is scaled to the norm of each tensor.

    The arguments are those of `layerwise.LAMB`, which tells what each of them does.  In the param groups stand the
    values in force, those of the variant among them.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate; may be a tensor of one element.  Default 0.001.
        betas: Decay of the two moments.  Default (0.9, 0.999).
        eps: Added to the denominator.  Default 1e-6.
        weight_decay: Decay coefficient.
        decay: Where the decay goes: "update", "decoupled" or "gradient".
        adapt: Which tensors get a ratio: "all", "decayed" or "matrices".
        trust_ratio_scope: One ratio for each "tensor", or for each "layer".
        bias_correction: "moments", "none" or "step_size".
        grad_averaging: Weigh the gradient by 1 - beta1 in the first moment.
        ratio_eps: Add eps to the norm of the update in the ratio.
        ratio_min: Lower limit of the ratio.
        ratio_max: Upper limit of the ratio.
        weight_norm_max: Upper limit of the weights' norm in the ratio.
        weight_decay_exclude_1d: No decay for tensors of rank 0 and 1.
        variant: "paper", "timm", "apex", "optax" or "pytorch_optimizer".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.LAMB
    _keys: ClassVar[tuple[str, ...]] = tuple(
        key for key in rule.LAMB.__dataclass_fields__ if key not in ("name", "lr", "_", "variant")
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
        given = {key: value for key, value in locals().items() if key in (*self._keys, "variant")}
        super().__init__(params, _in_force(rule.LAMB, lr, given) | {"maximize": maximize}, options)


class Lion(LayerwiseOptimizer):
    """Evolved sign momentum: every weight moves by the learning rate, in the direction of an interpolated momentum.

    The arguments are those of `layerwise.Lion`, which tells what each of them does.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate; may be a tensor of one element.
        betas: Decay of the direction and of the momentum that is kept.
        weight_decay: Decay coefficient.
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Lion
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "weight_decay",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.0001,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class NAdam(LayerwiseOptimizer):
    """`torch.optim.NAdam`, with a rate for every layer.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate; may be a tensor of one element.
        betas: Decay of the two moments.
        eps: Added to the denominator.
        weight_decay: Decay coefficient.
        momentum_decay: How fast the momentum grows to beta1.
        decoupled_weight_decay: Decay the weight itself instead of adding to the gradient.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        capturable: Taken as in torch; chooses nothing.
        differentiable: Must be False: a step runs outside of autograd.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.NAdam
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "eps",
        "weight_decay",
        "momentum_decay",
        "decoupled_weight_decay",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        momentum_decay: float = 0.004,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults, options)


class RMSprop(LayerwiseOptimizer):
    """`torch.optim.RMSprop`, with a rate for every layer.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate; may be a tensor of one element.
        alpha: Decay of the mean square.
        eps: Added to the denominator.
        weight_decay: Decay coefficient.
        momentum: Momentum factor.
        centered: Divide by the standard deviation instead of the root mean square.
        capturable: Taken as in torch; chooses nothing.
        foreach: Taken as in torch; chooses nothing, since there is one implementation.
        maximize: Ascend instead of descend.
        differentiable: Must be False: a step runs outside of autograd.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.RMSprop
    _keys: ClassVar[tuple[str, ...]] = (
        "alpha",
        "eps",
        "weight_decay",
        "momentum",
        "centered",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
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
        }
        super().__init__(params, defaults, options)


class Prodigy(LayerwiseOptimizer):
    """Adam whose learning rate is estimated from the distance that the weights travel.

    The arguments are those of `layerwise.Prodigy`, which tells what each of them does.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Factor of the estimated rate; may be a tensor of one element.
        betas: Decay of the two moments.
        beta3: Decay of the estimate.
        eps: Added to the denominator, times d.
        weight_decay: Decay coefficient.
        decoupled_weight_decay: Decay the weight itself instead of adding to the gradient.
        d0: First estimate of the distance.
        d_coef: Factor of the estimate.
        growth_rate: Largest growth of d in one step.
        use_bias_correction: Correct the rate for the moments' start at 0.
        safeguard_warmup: Leave the rate out of s, for schedules that warm up.
        layer_scale: Where a layer's rate counts in the estimate: "denominator" or "both".
        maximize: Ascend instead of descend.
        **options: See `Options`.
    """

    _rule: ClassVar[type[rule.Rule]] = rule.Prodigy
    _keys: ClassVar[tuple[str, ...]] = (
        "betas",
        "beta3",
        "eps",
        "weight_decay",
        "decoupled_weight_decay",
        "d0",
        "d_coef",
        "growth_rate",
        "use_bias_correction",
        "safeguard_warmup",
        "layer_scale",
    )

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1.0,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        beta3: float = 0.0,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
        d0: float = 1e-06,
        d_coef: float = 1.0,
        growth_rate: float = math.inf,
        use_bias_correction: bool = False,
        safeguard_warmup: bool = False,
        layer_scale: Literal["denominator", "both"] = "denominator",
        maximize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "beta3": beta3,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "d0": d0,
            "d_coef": d_coef,
            "growth_rate": growth_rate,
            "use_bias_correction": use_bias_correction,
            "safeguard_warmup": safeguard_warmup,
            "layer_scale": layer_scale,
            "maximize": maximize,
        }
        super().__init__(params, defaults, options)


class ScheduleFreeAdamW(LayerwiseOptimizer):
    """AdamW without a schedule: the weights that are evaluated are an average of those that are stepped.

    The arguments are those of `layerwise.ScheduleFreeAdamW`, which tells what each of them does.

    Args:
        params: A module, parameters, named parameters, or param groups.
        lr: Learning rate; may be a tensor of one element.
        betas: How near the parameters are to the average.
        eps: Added to the denominator.
        weight_decay: Decay coefficient.
        warmup_steps: Steps of linear warm-up, counted by each tensor.
        r: Power of t in the weight of the average.
        weight_lr_power: Power of the largest rate in that weight.
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
        eps: float = 1e-08,
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


def _in_force(kind: type[rule.Rule], lr: float | Tensor | None, given: dict[str, Any]) -> dict[str, Any]:
    """The values that a rule takes for its hyperparameters, which variants set: groups say what holds, not why."""
    declaration = next(entry for entry in declared_rules() if entry["name"] == kind.name)
    flags = {entry["key"] for entry in declaration["hyperparameters"] if entry["kind"] == "flag"}
    make: Any = kind
    if lr is not None:
        require_number(lr, "lr")
    with Optimizer(make(lr=None if lr is None else float(lr), **given), dry_run=True) as probe:
        values = {key: probe.get(key) for key in ("lr", *given) if key != "variant"}
    found = {key: bool(value) if key in flags else value for key, value in values.items()}
    return found | ({"lr": lr} if isinstance(lr, Tensor) else {})
