# SPDX-License-Identifier: Apache-2.0
"""Update rules.  The classes hold hyperparameters under torch's names; the library checks them and does the arithmetic.

In the equations w is a parameter, g its gradient, t the tensor's own step count, and lr the layer's effective rate.
Any hyperparameter may also be given to one layer (`add_layer(..., weight_decay=0.0)`) or changed between steps.
"""

from __future__ import annotations

import math
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


@dataclass(frozen=True, repr=False)
class Lion(Rule):
    """Evolved sign momentum: every weight moves by the learning rate, in the direction of an interpolated momentum.

    w -= lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * w);  m = beta2 * m + (1 - beta2) * g.  The sign of 0
    is 0.  A suitable lr is three to ten times smaller than that of AdamW, and weight_decay as much larger.  Source:
    Chen et al. 2023, arXiv:2302.06675, algorithm 2.  State: exp_avg.

    Args:
        lr: Learning rate, in [0, inf).  Default 0.0001.
        betas: Decay of the direction and of the momentum that is kept, in [0, 1) each.  Default (0.9, 0.99).
        weight_decay: Decay coefficient, in [0, inf).  Default 0.
    """

    name: ClassVar[str] = "lion"
    lr: float = 0.0001
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0


@dataclass(frozen=True, repr=False)
class NAdam(Rule):
    """Adam with Nesterov momentum, as in torch.

    mu_t = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)), and mu_product is the product of all mu so far; m and v as
    in Adam; m_hat = mu_next * m / (1 - mu_product * mu_next) + (1 - mu) * g / (1 - mu_product);  w -= lr * m_hat /
    (sqrt(v_hat) + eps).  Source: Dozat 2016; torch.optim.NAdam, which keeps mu_product in float32.  State: exp_avg,
    exp_avg_sq, and the number mu_product.

    Args:
        lr: Learning rate, in [0, inf).  Default 0.002.
        betas: Decay of the two moments, in [0, 1) each.  Default (0.9, 0.999).
        eps: Added to the denominator, in [0, inf).  Default 1e-08.
        weight_decay: Decay coefficient, in [0, inf).  Default 0.
        momentum_decay: How fast the momentum grows to beta1, in [0, inf).  Default 0.004.
        decoupled_weight_decay: Decay the weight itself instead of adding to the gradient.  Default False.
    """

    name: ClassVar[str] = "nadam"
    lr: float = 0.002
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-08
    weight_decay: float = 0.0
    momentum_decay: float = 0.004
    decoupled_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class RMSprop(Rule):
    """The gradient over a running root mean square of itself, as in torch.

    s = alpha * s + (1 - alpha) * g * g;  q = sqrt(s) + eps, or sqrt(s - mean * mean) + eps with centered;  b = momentum
    * b + g / q;  w -= lr * b.  Source: Hinton 2012; centered: Graves 2013, arXiv:1308.0850; torch.optim.RMSprop, in
    which a variance that rounding makes negative gives NaN; here it counts as 0.  State: square_avg, and
    momentum_buffer and grad_avg where they are used.

    Args:
        lr: Learning rate, in [0, inf).  Default 0.01.
        alpha: Decay of the mean square, in [0, 1).  Default 0.99.
        eps: Added to the denominator, in [0, inf).  Default 1e-08.
        weight_decay: Decay coefficient, in [0, inf).  Default 0.
        momentum: Momentum factor, in [0, inf); 0 keeps no velocity.  Default 0.
        centered: Divide by the standard deviation instead of the root mean square.  Default False.
    """

    name: ClassVar[str] = "rmsprop"
    lr: float = 0.01
    _: KW_ONLY
    alpha: float = 0.99
    eps: float = 1e-08
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False


@dataclass(frozen=True, repr=False)
class Prodigy(Rule):
    """Adam whose learning rate is estimated from the distance that the weights travel.

    d grows from d0 to the estimate d_coef * N / sum |s|, where N adds up <g, p0 - w> and s the gradients; w -= d * lr *
    m / (sqrt(v) + d * eps).  The sums run over all layers, so layers cannot be stepped one by one.  Rates by layer
    count in the denominator, or in both sums with layer_scale="both".  Source: Mishchenko and Defazio 2024,
    arXiv:2306.06101, algorithm 4; equals prodigyopt where all rates are equal.  State: exp_avg, exp_avg_sq, s, p0, and
    the numbers d, d_max and d_numerator, which all tensors share.

    Args:
        lr: Factor of the estimated rate, in [0, inf).  Default 1.
        betas: Decay of the two moments, in [0, 1) each.  Default (0.9, 0.999).
        beta3: Decay of the estimate, in [0, 1); 0 is the root of the second of betas.  Default 0.
        eps: Added to the denominator, times d, in [0, inf).  Default 1e-08.
        weight_decay: Decay coefficient, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weight itself instead of adding to the gradient.  Default True.
        d0: First estimate of the distance, in (0, inf).  Default 1e-06.
        d_coef: Factor of the estimate, in (0, inf).  Default 1.
        growth_rate: Largest growth of d in one step, in (0, inf].  Default inf.
        use_bias_correction: Correct the rate for the moments' start at 0.  Default False.
        safeguard_warmup: Leave the rate out of s, for schedules that warm up.  Default False.
        layer_scale: Where a layer's rate counts in the estimate: "denominator" or "both".  Default "denominator".
    """

    name: ClassVar[str] = "prodigy"
    lr: float = 1.0
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    beta3: float = 0.0
    eps: float = 1e-08
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = True
    d0: float = 1e-06
    d_coef: float = 1.0
    growth_rate: float = math.inf
    use_bias_correction: bool = False
    safeguard_warmup: bool = False
    layer_scale: Literal["denominator", "both"] = "denominator"


@dataclass(frozen=True, repr=False)
class ScheduleFreeAdamW(Rule):
    """AdamW without a schedule: the weights that are evaluated are an average of those that are stepped.

    Call `eval` before the weights are evaluated or saved for use, and `train` before the next step.  u = g /
    (sqrt(v_hat) + eps) + weight_decay * y;  y = (1 - c) * y + c * z - lr * (1 - beta1 * (1 - c)) * u;  z -= lr * u,
    where c is the weight of this step in the average.  Source: Defazio et al. 2024, arXiv:2405.15682; equals
    schedulefree.AdamWScheduleFree.  State: z, exp_avg_sq, and the numbers weight_sum and lr_max.

    Args:
        lr: Learning rate, in [0, inf).  Default 0.0025.
        betas: How near the parameters are to the average, in (0, 1), and the decay of the second moment, in [0, 1).
            Default (0.9, 0.999).
        eps: Added to the denominator, in [0, inf).  Default 1e-08.
        weight_decay: Decay coefficient, in [0, inf).  Default 0.
        warmup_steps: Steps of linear warm-up, counted by each tensor, in [0, 9007199254740992].  Default 0.
        r: Power of t in the weight of the average, in [0, inf).  Default 0.
        weight_lr_power: Power of the largest rate in that weight, in [0, inf).  Default 2.
    """

    name: ClassVar[str] = "schedule_free_adamw"
    lr: float = 0.0025
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-08
    weight_decay: float = 0.0
    warmup_steps: int = 0
    r: float = 0.0
    weight_lr_power: float = 2.0
