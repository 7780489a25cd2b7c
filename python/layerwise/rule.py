# SPDX-License-Identifier: Apache-2.0
"""Update rules.  The classes hold hyperparameters under torch's names; the library checks them and does the arithmetic.

In the equations w is a parameter, g its gradient, t the tensor's own step count, and lr the layer's effective rate.
Any hyperparameter may also be given to one layer (`add_layer(..., weight_decay=0.0)`) or changed between steps.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal


class Rule:
    """What all rules share."""

    name: ClassVar[str]
    """The library's name of the rule."""

    def settings(self) -> dict[str, object]:
        """The values that were given, `variant` first, because what follows it overrides what it sets."""
        given = {key: value for key, value in vars(self).items() if value is not None}
        return {key: given[key] for key in sorted(given, key=lambda key: key != "variant")}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.settings().items())})"


@dataclass(frozen=True, repr=False)
class SGD(Rule):
    """Stochastic gradient descent with momentum, as in torch.

    g += weight_decay * w;  b = momentum * b + (1 - dampening) * g, at the first step b = g;
    d = g + momentum * b with nesterov, else b;  w -= lr * d.  With decoupled_weight_decay, g is left alone and
    w *= 1 - lr * weight_decay comes first.  Source: Sutskever et al. 2013; torch.optim.SGD, from which the order of lr
    and momentum is taken.  State: momentum_buffer, once momentum is not 0.

    Args:
        lr: Learning rate, in [0, inf).  Default 0.001.
        momentum: Momentum factor, in [0, inf); 0 keeps no velocity, from 1 on it grows without bound.  Default 0.
        dampening: Share of the gradient that is left out of the velocity, in [0, 1].  Default 0.
        weight_decay: Decay coefficient, in [0, inf).  Default 0.
        nesterov: Nesterov momentum; needs momentum > 0 and dampening 0.  Default False.
        decoupled_weight_decay: Decay the weight itself instead of adding to the gradient.  Default False.
    """

    name: ClassVar[str] = "sgd"
    lr: float = 1e-3
    _: KW_ONLY
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    decoupled_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class LARS(Rule):
    """Layer-wise adaptive rate scaling: SGD with momentum whose rate follows the norms of each tensor.

    ratio = trust_coefficient * |w| / (|g| + weight_decay * |w| + eps), and 1 where |w| or the denominator is 0;
    v = momentum * v + lr * ratio * (g + weight_decay * w);  w -= v.  Source: You, Gitman and Ginsburg 2017,
    arXiv:1708.03888.  Libraries differ, so each difference is an option, and `variant` sets them all at once; options
    given as well override it.  An option left at None is the variant's, else the library's default.
    State: momentum_buffer.

    Args:
        lr: Learning rate, in [0, inf).  Default 1.
        momentum: Momentum factor, in [0, 1); 0 keeps no velocity.  Default 0.9.
        dampening: Share of the gradient that is left out of the velocity, in [0, 1].  Default 0.
        dampen_first: Damp a tensor's first step too, as in pytorch_optimizer.  Default False.
        weight_decay: Decay coefficient, in [0, inf).  Default 0.
        nesterov: Nesterov momentum.  Default False.
        trust_coefficient: Factor of the ratio, in (0, inf).  Default 0.001.
        eps: Added to the ratio's denominator, in [0, inf).  Default 0.
        norm: Denominator: "separate" is |g| + weight_decay |w| + eps (the paper), "decayed" is
            |g + weight_decay w| + eps.  Default "separate".
        lr_position: "inside" keeps lr * ratio in the velocity (the paper), "outside" applies lr to the velocity.
            Default "inside".
        adapt: Which tensors get a ratio: "all", "decayed" (those with weight_decay != 0, as in timm), or "matrices"
            (of rank 2 and more).  Default "all".
        trust_ratio_scope: One ratio for each "tensor", or for each "layer".  Default "tensor".
        trust_clip: Limit the ratio to min(ratio / lr, 1), as in timm.  Default False.
        skip_zero_gradient: With separate norms, the ratio is 1 where |g| is 0, also if there is decay, as in timm.
            Default False.
        weight_decay_exclude_1d: No decay for tensors of rank 0 and 1.  Default False.
        variant: "paper", "timm", "optax", "mae" or "pytorch_optimizer".
    """

    name: ClassVar[str] = "lars"
    lr: float | None = None
    _: KW_ONLY
    momentum: float | None = None
    dampening: float | None = None
    dampen_first: bool | None = None
    weight_decay: float | None = None
    nesterov: bool | None = None
    trust_coefficient: float | None = None
    eps: float | None = None
    norm: Literal["separate", "decayed"] | None = None
    lr_position: Literal["inside", "outside"] | None = None
    adapt: Literal["all", "decayed", "matrices"] | None = None
    trust_ratio_scope: Literal["tensor", "layer"] | None = None
    trust_clip: bool | None = None
    skip_zero_gradient: bool | None = None
    weight_decay_exclude_1d: bool | None = None
    variant: Literal["paper", "timm", "optax", "mae", "pytorch_optimizer"] | None = None


@dataclass(frozen=True, repr=False)
class Adam(Rule):
    """Adaptive moments, as in torch.

    g += weight_decay * w;  m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g * g;
    w -= lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps).  With amsgrad, v is replaced by its maximum so
    far.  With decoupled_weight_decay it is AdamW.  Source: Kingma and Ba 2015, arXiv:1412.6980; AMSGrad: Reddi et al.
    2018.  State: exp_avg, exp_avg_sq, and with amsgrad max_exp_avg_sq.

    Args:
        lr: Learning rate, in [0, inf).  Default 0.001.
        betas: Decay of the two moments, in [0, 1) each.  Default (0.9, 0.999).
        eps: Added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient, in [0, inf).  Default 0.
        amsgrad: Divide by the largest second moment so far.  Default False.
        decoupled_weight_decay: Decay the weight itself instead of adding to the gradient.  Default False.
    """

    name: ClassVar[str] = "adam"
    lr: float = 1e-3
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    decoupled_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class AdamW(Rule):
    """Adam with decoupled weight decay, as in torch.

    w *= 1 - lr * weight_decay, then Adam's update with the bare gradient.  Source: Loshchilov and Hutter 2019,
    arXiv:1711.05101.  State: exp_avg, exp_avg_sq, and with amsgrad max_exp_avg_sq.

    Args:
        lr: Learning rate, in [0, inf).  Default 0.001.
        betas: Decay of the two moments, in [0, 1) each.  Default (0.9, 0.999).
        eps: Added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient, in [0, inf).  Default 0.01.
        amsgrad: Divide by the largest second moment so far.  Default False.
    """

    name: ClassVar[str] = "adamw"
    lr: float = 1e-3
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2
    amsgrad: bool = False


@dataclass(frozen=True, repr=False)
class LAMB(Rule):
    """Adam whose update is scaled to the norm of each tensor.

    u = m_hat / (sqrt(v_hat) + eps) + weight_decay * w;  ratio = |w| / |u|, and 1 where a norm is 0;
    w -= lr * ratio * u.  Source: You et al. 2020, arXiv:1904.00962.  Libraries differ, so each difference is an option,
    and `variant` sets them all at once; options given as well override it.  An option left at None is the variant's,
    else the library's default.  State: exp_avg, exp_avg_sq.

    Args:
        lr: Learning rate, in [0, inf).  Default 0.001.
        betas: Decay of the two moments, in [0, 1) each.  Default (0.9, 0.999).
        eps: Added to the denominator, in [0, inf).  Default 1e-6.
        weight_decay: Decay coefficient, in [0, inf).  Default 0.
        decay: Where the decay goes: "update" is inside u (the paper), "decoupled" is w *= 1 - lr * weight_decay before
            the norm is taken, "gradient" is g += weight_decay * w.  Default "update".
        adapt: Which tensors get a ratio: "all", "decayed" (those with weight_decay != 0, as in timm), or "matrices"
            (of rank 2 and more).  Default "all".
        trust_ratio_scope: One ratio for each "tensor", or for each "layer".  Default "tensor".
        bias_correction: "moments" corrects both; "none"; "step_size" corrects m only, on the step after the ratio
            (pytorch_optimizer).  Default "moments".
        grad_averaging: Weigh the gradient by 1 - beta1 in m.  Default True.
        ratio_eps: Add eps to |u| in the ratio.  Default False.
        ratio_min: Lower limit of the ratio, in [0, inf).  Default 0.
        ratio_max: Upper limit of the ratio, in (0, inf].  Default inf.
        weight_norm_max: Upper limit of |w| in the ratio, in (0, inf].  Default inf.
        weight_decay_exclude_1d: No decay for tensors of rank 0 and 1.  Default False.
        variant: "paper", "timm", "apex", "optax" or "pytorch_optimizer".
    """

    name: ClassVar[str] = "lamb"
    lr: float | None = None
    _: KW_ONLY
    betas: tuple[float, float] | None = None
    eps: float | None = None
    weight_decay: float | None = None
    decay: Literal["update", "decoupled", "gradient"] | None = None
    adapt: Literal["all", "decayed", "matrices"] | None = None
    trust_ratio_scope: Literal["tensor", "layer"] | None = None
    bias_correction: Literal["moments", "none", "step_size"] | None = None
    grad_averaging: bool | None = None
    ratio_eps: bool | None = None
    ratio_min: float | None = None
    ratio_max: float | None = None
    weight_norm_max: float | None = None
    weight_decay_exclude_1d: bool | None = None
    variant: Literal["paper", "timm", "apex", "optax", "pytorch_optimizer"] | None = None
