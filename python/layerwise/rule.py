# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF002
"""Update rules.  The classes hold hyperparameters under torch's names; the library checks them and does the arithmetic.

In the equations w is a parameter, g its gradient, t the tensor's own step count, and lr or γ the layer's effective
rate.  Any hyperparameter may also be given to one layer (`add_layer(..., weight_decay=0.0)`) or changed between steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, ClassVar, Literal, SupportsFloat, TypedDict

from ._values import Value, dataclass


class Rule(Value):
    """What all rules share."""

    name: ClassVar[str]
    """The library's name of the rule."""

    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Keywords that hold several of the library's numbers, with the library's keys for them."""

    optional: ClassVar[frozenset[str]] = frozenset()
    """Keys of the library within these whose number may be None."""

    if not TYPE_CHECKING:

        def __new__(cls, *args, **keywords):
            """Refuse parameters in place of a rate, which people give who want the class of `layerwise.torch`."""
            if args and not _may_be_a_rate(args[0]):
                raise TypeError(_no_rate(cls.__name__, args[0]))
            return super().__new__(cls, *args, **keywords)

    def __post_init__(self) -> None:
        from . import _checks

        _checks.check_rule(self)

    def settings(self) -> dict[str, object]:
        """The values that were given, `variant` first, because what follows it overrides what it sets."""
        given = {key: value for key, value in vars(self).items() if value is not None}
        return {key: given[key] for key in sorted(given, key=lambda key: key != "variant")}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.settings().items())})"


def _may_be_a_rate(value: object) -> bool:
    # A text is no rate either, but the refusal of a number that is text says more.
    is_number = value is None or isinstance(value, str | SupportsFloat) or hasattr(value, "__index__")
    return is_number and math.prod(getattr(value, "shape", ())) == 1


def _no_rate(rule: str, found: object) -> str:
    return (
        f"{rule}: lr must be a number, found {type(found).__name__}. layerwise.{rule} is a rule by itself, and its "
        f"first argument is the learning rate. To step a torch model, write layerwise.torch.{rule}(model, lr=...); to "
        f"step arrays, layerwise.Optimizer(layerwise.{rule}(lr=...)) and its add_layer"
    )


# ---- Written by `make classes` from the library's declarations


@dataclass(frozen=True, repr=False)
class SGD(Rule):
    """Stochastic gradient descent with momentum.

        d = g + λw; b ← μb + (1−τ)d; w ← w − γ·b

    g += weight_decay * w;  b = momentum * b + (1 - dampening) * g, at the first step b = g;  d = g + momentum * b with
    nesterov, else b;  w -= lr * d.  With decoupled_weight_decay, g is left alone and w *= 1 - lr * weight_decay comes
    first.  The order of lr and momentum is torch's.  The state is there once momentum is not 0.  Source: Sutskever et
    al. 2013; equals torch.optim.SGD.  State: momentum_buffer.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
        momentum: Momentum factor μ, in [0, inf); 0 keeps no velocity, from 1 on it grows without bound.  Default 0.
        dampening: Share τ of the gradient that is left out of the velocity, in [0, 1].  Default 0.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        nesterov: Nesterov momentum, which looks ahead along the velocity; needs momentum > 0 and dampening 0.  Default
            False.
        decoupled_weight_decay: Decay the weights in place of the gradient.  Default False.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "sgd"
    lr: float = 0.001
    _: KW_ONLY
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    decoupled_weight_decay: bool = False
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class LARS(Rule):
    """Layer-wise adaptive rate scaling: SGD with momentum whose rate follows the norms of each tensor.

        r = η‖w‖/(‖g‖ + λ‖w‖ + ε); b ← μb + γr(g + λw); w ← w − b

    ratio = trust_coefficient * |w| / (|g| + weight_decay * |w| + eps), and 1 where |w| or the denominator is 0;  v =
    momentum * v + lr * ratio * (g + weight_decay * w);  w -= v.  Libraries differ, so each difference is an option, and
    `variant` sets them all at once; options given as well override it.  An option left at None is the variant's, else
    the library's default.  Source: You, Gitman, Ginsburg 2017, algorithm 1, arXiv:1708.03888.  State: momentum_buffer.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 1.
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
    """Adaptive moments.

        m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w − γ·m̂/(√v̂ + ε)

    g += weight_decay * w;  m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g * g;  w -= lr * (m / (1 -
    beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps).  With amsgrad, v is replaced by its maximum so far, which is the
    third state.  With decoupled_weight_decay it is AdamW.  Source: Kingma and Ba 2015, algorithm 1, arXiv:1412.6980;
    AMSGrad: arXiv:1904.09237; equals torch.optim.Adam.  State: exp_avg, exp_avg_sq, max_exp_avg_sq.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        amsgrad: Divide by the largest second moment so far.  Default False.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        eps_before_correction: Add ε to √v before that is corrected for its start, as Keras and TensorFlow do.  Default
            False.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "adam"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.001
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    decoupled_weight_decay: bool = False
    eps_before_correction: bool = False
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class AdamW(Rule):
    """Adam with decoupled weight decay.

        m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w − γ·(m̂/(√v̂ + ε) + λw)

    w *= 1 - lr * weight_decay, then Adam's update with the bare gradient.  With amsgrad there is a third state.
    Source: Loshchilov and Hutter 2019, algorithm 2, arXiv:1711.05101; equals torch.optim.AdamW.  State: exp_avg,
    exp_avg_sq, max_exp_avg_sq.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.01.
        amsgrad: Divide by the largest second moment so far.  Default False.
        eps_before_correction: Add ε to √v before that is corrected for its start, as Keras and TensorFlow do.  Default
            False.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "adamw"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.001
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01
    amsgrad: bool = False
    eps_before_correction: bool = False
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class LAMB(Rule):
    """Adam whose update is scaled to the norm of each tensor.

        u = m̂/(√v̂ + ε) + λw; w ← w − γ·(‖w‖/‖u‖)·u

    u = m_hat / (sqrt(v_hat) + eps) + weight_decay * w;  ratio = |w| / |u|, and 1 where a norm is 0;  w -= lr * ratio *
    u.  Libraries differ, so each difference is an option, and `variant` sets them all at once; options given as well
    override it.  An option left at None is the variant's, else the library's default.  Source: You et al. 2020,
    algorithm 2, arXiv:1904.00962.  State: exp_avg, exp_avg_sq.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
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
    """

    name: ClassVar[str] = "lamb"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
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
    """The sign of a momentum, with decoupled weight decay: every weight moves by lr at every step.

        w ← w − γ·(sign(β₁m + (1−β₁)g) + λw); m ← β₂m + (1−β₂)g

    w -= lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * w);  m = beta2 * m + (1 - beta2) * g.  The paper takes
    a rate 3 to 10 times smaller than AdamW's, and a decay as much larger.  Source: Chen et al. 2023, algorithm 2,
    arXiv:2302.06675; equals timm and optax.  State: exp_avg.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.0001.
        betas: Share β₁ of the momentum in the direction and decay β₂ of the momentum that is kept, in [0, 1) each.
            Default (0.9, 0.99).
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "lion"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.0001
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class NAdam(Rule):
    """Adam with Nesterov momentum, whose coefficient may follow a schedule of its own.

        m̂ = μₜ₊₁m/(1 − Πμₜ₊₁) + (1−μₜ)g/(1 − Π); w ← w − γ·m̂/(√v̂ + ε)

    mu_t = beta1 * (1 - 0.5 * 0.96**(t * momentum_decay)), or beta1 where momentum_schedule is "constant";  P = P *
    mu_t, from 1;  m and v as in Adam;  w -= lr * (mu_{t+1} * m / (1 - P * mu_{t+1}) + (1 - mu_t) * g / (1 - P)) /
    (sqrt(v / (1 - beta2**t)) + eps).  P is the state mu_product, one float64 for each tensor, which torch keeps in
    float32.  Source: Dozat 2016; equals torch.optim.NAdam.  State: exp_avg, exp_avg_sq, mu_product (a number).

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.002.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        momentum_decay: Decay ψ of the momentum's schedule, in [0, inf).  Default 0.004.
        momentum_schedule: The momentum's coefficient: "rising" with momentum_decay as in torch, "constant" β₁ as in
            optax, "constant_present" β₁ with this step's correction as in timm.  Default "rising".
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
        variant: Whose version: "optax", "timm" or "keras".
    """

    name: ClassVar[str] = "nadam"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float | None = None
    _: KW_ONLY
    betas: tuple[float, float] | None = None
    eps: float | None = None
    weight_decay: float | None = None
    momentum_decay: float | None = None
    momentum_schedule: Literal["rising", "constant", "constant_present"] | None = None
    decoupled_weight_decay: bool | None = None
    cautious: Literal["none", "update", "decay"] | None = None
    corrected_weight_decay: bool | None = None
    variant: Literal["optax", "timm", "keras"] | None = None


@dataclass(frozen=True, repr=False)
class RMSprop(Rule):
    """Gradients divided by their root mean square.

        s ← αs + (1−α)g²; b ← μb + g/(√s + ε); w ← w − γ·b

    g += weight_decay * w;  s = alpha * s + (1 - alpha) * g * g;  b = momentum * b + g / (sqrt(s) + eps);  w -= lr * b.
    With centered, the square of the mean gradient is taken from s before the root.  momentum_buffer is there once
    momentum is not 0, and grad_avg with centered.  TensorFlow's form, timm's RMSpropTF, has eps_in_sqrt, lr_in_momentum
    and initial_square_avg=1; optax's has the first two.  Source: Hinton 2012, lecture 6e; centered: Graves 2013,
    arXiv:1308.0850; equals torch.optim.RMSprop.  State: square_avg, momentum_buffer, grad_avg.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.01.
        alpha: Decay α of the mean square, in [0, 1).  Default 0.99.
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        momentum: Momentum factor μ, in [0, inf); 0 keeps no velocity, from 1 on it grows without bound.  Default 0.
        centered: Divide by the standard deviation in place of the root mean square.  Default False.
        eps_in_sqrt: Add ε under the root.  Default False.
        lr_in_momentum: Multiply by the rate before the momentum, not after it.  Default False.
        initial_square_avg: What the mean square starts at, in [0, inf).  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "rmsprop"
    lr: float = 0.01
    _: KW_ONLY
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False
    eps_in_sqrt: bool = False
    lr_in_momentum: bool = False
    initial_square_avg: float = 0.0
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class Adagrad(Rule):
    """Gradients divided by the root of the sum of all their squares so far.

        s ← s + g²; w ← w − γ/(1 + (t−1)η)·g/(√s + ε)

    g += weight_decay * w;  s += g * g;  w -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps).  s starts at
    initial_accumulator_value at the tensor's first step.  Source: Duchi, Hazan and Singer 2011, figure 1; equals
    torch.optim.Adagrad.  State: sum.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.01.
        lr_decay: Decay η of the rate: it is divided by 1 + (t − 1)·η, in [0, inf).  Default 0.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        initial_accumulator_value: What the sum of squares starts at, in [0, inf).  Default 0.
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-10.
        eps_in_sqrt: Add ε inside the root, as optax and Keras do.  Default False.
        variant: Whose version: "optax" or "keras".
    """

    name: ClassVar[str] = "adagrad"
    lr: float | None = None
    _: KW_ONLY
    lr_decay: float | None = None
    weight_decay: float | None = None
    initial_accumulator_value: float | None = None
    eps: float | None = None
    eps_in_sqrt: bool | None = None
    variant: Literal["optax", "keras"] | None = None


@dataclass(frozen=True, repr=False)
class Adadelta(Rule):
    """Gradients times the root mean square of past changes over that of past gradients.

        s ← ρs + (1−ρ)g²; d = √(a + ε)/√(s + ε)·g; a ← ρa + (1−ρ)d²; w ← w − γ·d

    g += weight_decay * w;  s = rho * s + (1 - rho) * g * g;  d = sqrt(a + eps) / sqrt(s + eps) * g;  a = rho * a + (1 -
    rho) * d * d;  w -= lr * d.  Source: Zeiler 2012, algorithm 1, arXiv:1212.5701; equals torch.optim.Adadelta.  State:
    square_avg, acc_delta.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 1.
        rho: Decay ρ of both mean squares, in [0, 1).  Default 0.9.
        eps: Number ε that is added under both roots, in [0, inf).  Default 1e-6.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
    """

    name: ClassVar[str] = "adadelta"
    lr: float = 1.0
    _: KW_ONLY
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0


@dataclass(frozen=True, repr=False)
class Adamax(Rule):
    """Adam with the largest recent gradient in place of the root of the second moment.

        m ← β₁m + (1−β₁)g; u ← max(β₂u, |g| + ε); w ← w − γ/(1−β₁ᵗ)·m/u

    g += weight_decay * w;  m = beta1 * m + (1 - beta1) * g;  u = max(beta2 * u, abs(g) + eps);  w -= lr / (1 -
    beta1**t) * m / u.  Source: Kingma and Ba 2015, algorithm 2, arXiv:1412.6980; equals torch.optim.Adamax.  State:
    exp_avg, exp_inf.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.002.
        betas: Decay β₁ of the first moment and decay β₂ of the largest gradient, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the size of the gradient, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        eps_in_denominator: Add ε to the denominator, and not to the size of the gradient, as Keras does.  Default
            False.
        variant: Whose version: "keras".
    """

    name: ClassVar[str] = "adamax"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float | None = None
    _: KW_ONLY
    betas: tuple[float, float] | None = None
    eps: float | None = None
    weight_decay: float | None = None
    decoupled_weight_decay: bool | None = None
    eps_in_denominator: bool | None = None
    variant: Literal["keras"] | None = None


@dataclass(frozen=True, repr=False)
class RAdam(Rule):
    """Adam whose first steps leave out the second moment, until it is known well enough.

        ρ > 5: w ← w − γ·r·m̂·√(1−β₂ᵗ)/(√v + ε); else w ← w − γ·m̂

    m and v as in Adam;  rho_inf = 2 / (1 - beta2) - 1;  rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t).  Where rho >
    5, w -= lr * r * m_hat * sqrt(1 - beta2**t) / (sqrt(v) + eps), with r = sqrt((rho - 4) * (rho - 2) * rho_inf /
    ((rho_inf - 4) * (rho_inf - 2) * rho)); else w -= lr * m_hat, with m_hat = m / (1 - beta1**t).  Source: Liu et al.
    2020, algorithm 2, arXiv:1908.03265; equals torch.optim.RAdam.  State: exp_avg, exp_avg_sq.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "radam"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.001
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class Rprop(Rule):
    """A step size for every weight, which grows while the gradient keeps its sign.

        η ← clamp(η·(η⁺ or η⁻)); w ← w − η·sign(g)

    Where g has the sign of the gradient before, step_size *= etas[1]; where it has the opposite sign, step_size *=
    etas[0] and g = 0; step_size is kept within step_sizes;  w -= step_size * sign(g).  step_size starts at the rate of
    the tensor's first step, and no later change of the rate matters.  It is for gradients of whole data sets.  Source:
    Riedmiller and Braun 1993; equals torch.optim.Rprop.  State: prev, step_size.

    Args:
        lr: First step size of every weight, in [0, inf).  Default 0.01.
        etas: Factor η⁻ of the step size where the sign changes and factor η⁺ of the step size where the sign stays, in
            (0, 1) and [1, inf).  Default (0.5, 1.2).
        step_sizes: Smallest step size and largest step size, in [0, inf) and (0, inf).  Default (1e-6, 50).
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
    """

    name: ClassVar[str] = "rprop"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "etas": ("eta1", "eta2"),
        "step_sizes": ("step_size1", "step_size2"),
    }
    lr: float = 0.01
    _: KW_ONLY
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)
    weight_decay: float = 0.0


@dataclass(frozen=True, repr=False)
class ASGD(Rule):
    """Stochastic gradient descent with a rate that falls, and the average of the weights beside it.

        η = γ/(1 + λγ(t−1))^α; w ← w − η·(λw + g); a ← a + (w − a)/max(1, t−1−t₀)

    g += weight_decay * w;  eta = lr / (1 + lambd * lr * (t - 1))**alpha;  w -= eta * (lambd * w + g);  ax += (w - ax) /
    max(1, t - 1 - t0).  ax is the average of the weights since step t0: evaluate with it.  eta and mu are what torch
    keeps for the next step.  A new rate acts at once, in torch one step later.  Source: Polyak and Juditsky 1992;
    Bottou 2010; equals torch.optim.ASGD.  State: ax, eta (a number), mu (a number).

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.01.
        lambd: Decay λ of the weights, and of the rate, in [0, inf).  Default 0.0001.
        alpha: Power α of the rate's decay, in [0, inf).  Default 0.75.
        t0: Step t₀ at which the average begins, in [0, inf).  Default 1000000.
        weight_decay: Decay coefficient that is added to the gradient, in [0, inf).  Default 0.
    """

    name: ClassVar[str] = "asgd"
    lr: float = 0.01
    _: KW_ONLY
    lambd: float = 0.0001
    alpha: float = 0.75
    t0: float = 1000000.0
    weight_decay: float = 0.0


@dataclass(frozen=True, repr=False)
class AdaBelief(Rule):
    """Adam that divides by how far gradients are from what the first moment expects.

        s ← β₂s + (1−β₂)(g − m)² + ε; w ← w − γ·m̂/(√ŝ + ε)

    m = beta1 * m + (1 - beta1) * g;  s = beta2 * s + (1 - beta2) * (g - m)**2 + eps;  w -= lr * (m / (1 - beta1**t)) /
    (sqrt(s / (1 - beta2**t)) + eps).  The decay acts on the weights, unless decoupled_weight_decay is off.  Source:
    Zhuang et al. 2020, algorithm 2, arXiv:2010.07468; equals pytorch_optimizer.AdaBelief.  State: exp_avg, exp_avg_var.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
        betas: Decay β₁ of the first moment and decay β₂ of the squared surprise, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to s at every step, and to the denominator, in [0, inf).  Default 1e-16.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient.  Default True.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "adabelief"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.001
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-16
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = True
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class Yogi(Rule):
    """Adam whose second moment falls no faster than it grows.

        v ← v − (1−β₂)·sign(v − g²)·g²; w ← w − γ·m̂/(√v̂ + ε)

    m = beta1 * m + (1 - beta1) * g;  v -= (1 - beta2) * sign(v - g * g) * g * g;  w -= lr * (m / (1 - beta1**t)) /
    (sqrt(v / (1 - beta2**t)) + eps).  m and v start at initial_accumulator at the tensor's first step.  The decay acts
    on the weights, unless decoupled_weight_decay is off.  Source: Zaheer et al. 2018, algorithm 2; equals optax and
    pytorch_optimizer.Yogi.  State: exp_avg, exp_avg_sq.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.01.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 0.001.
        initial_accumulator: What both moments start at, in [0, inf).  Default 1e-6.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient.  Default True.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "yogi"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.01
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 0.001
    initial_accumulator: float = 1e-6
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = True
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class Adan(Rule):
    """Adaptive Nesterov momentum, from means of gradients and of their differences.

        u = (m̂ + β₂ê)/(√n̂ + ε); w ← (w − γ·u)/(1 + γλ)

    d = g - previous_grad, 0 at the first step;  m = beta1 * m + (1 - beta1) * g;  e = beta2 * e + (1 - beta2) * d;  n =
    beta3 * n + (1 - beta3) * (g + beta2 * d)**2;  u = (m_hat + beta2 * e_hat) / (sqrt(n_hat) + eps);  w = (w - lr * u)
    / (1 + lr * weight_decay), and with no_prox (1 - lr * weight_decay) * w - lr * u.  eps_root is added to n_hat.  With
    difference_weight="share" 1 - beta2 stands in place of beta2 before d and e_hat.  Source: Xie et al. 2022, algorithm
    1, arXiv:2208.06677; equals pytorch_optimizer.Adan.  State: exp_avg, exp_avg_diff, exp_avg_sq, previous_grad.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
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
    """

    name: ClassVar[str] = "adan"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2", "beta3")}
    lr: float | None = None
    _: KW_ONLY
    betas: tuple[float, float, float] | None = None
    eps: float | None = None
    weight_decay: float | None = None
    no_prox: bool | None = None
    eps_root: float | None = None
    difference_weight: Literal["decay", "share"] | None = None
    cautious: Literal["none", "update", "decay"] | None = None
    corrected_weight_decay: bool | None = None
    variant: Literal["optax"] | None = None


@dataclass(frozen=True, repr=False)
class ADOPT(Rule):
    """Adam that divides each gradient by the second moment of those before it.

        u = clamp(g/max(√v, ε), ±(t−1)^p); m ← β₁m + (1−β₁)u; w ← w − γ·m; v ← β₂v + (1−β₂)g²

    At a tensor's first step v = g * g, and the weights stay.  Then u = g / max(sqrt(v), eps), clamped to +-(t -
    1)**clip_power with clip;  m = beta1 * m + (1 - beta1) * u;  w -= lr * m;  v = beta2 * v + (1 - beta2) * g * g.
    Source: Taniguchi et al. 2024, algorithm 2, arXiv:2411.02853; equals optax.contrib.adopt.  State: exp_avg,
    exp_avg_sq.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.9999).
        eps: Least denominator ε, in [0, inf).  Default 1e-6.
        clip: Bound each quotient.  Default True.
        clip_power: Power p of t − 1 in the bound, in [0, inf).  Default 0.25.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "adopt"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.001
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.9999)
    eps: float = 1e-6
    clip: bool = True
    clip_power: float = 0.25
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class AdEMAMix(Rule):
    """AdamW with a second, slow mean of gradients beside the fast one.

        m₂ ← β₃m₂ + (1−β₃)g; w ← w − γ·((m̂ + αm₂)/(√v̂ + ε) + λw)

    m and v as in Adam;  m2 = beta3 * m2 + (1 - beta3) * g;  w -= lr * ((m_hat + alpha * m2) / (sqrt(v_hat) + eps) +
    weight_decay * w).  alpha grows from 0 over t_alpha steps, and beta3 from beta1 over t_beta3 steps; the paper takes
    the whole run for both.  Source: Pagliardini et al. 2024, algorithm 1, arXiv:2409.03137; equals
    pytorch_optimizer.AdEMAMix.  State: exp_avg, exp_avg_sq, exp_avg_slow.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
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
    """

    name: ClassVar[str] = "ademamix"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2", "beta3")}
    lr: float = 0.001
    _: KW_ONLY
    betas: tuple[float, float, float] = (0.9, 0.999, 0.9999)
    alpha: float = 5.0
    t_alpha: int = 0
    t_beta3: int = 0
    eps: float = 1e-8
    weight_decay: float = 0.01
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class SimplifiedAdEMAMix(Rule):
    """AdEMAMix with one sum of gradients in place of two means.

        m ← β₁m + g; v ← β₂v + (1−β₂)g²; w ← w − γ·((m + αg)/(√v̂ + ε) + λw)

    m = beta1 * m + g;  v = beta2 * v + (1 - beta2) * g * g;  w -= lr * ((m + alpha * g) / (sqrt(v / (1 - beta2**t)) +
    eps) + weight_decay * w).  m adds up about 1 / (1 - beta1) gradients, so the rate is that much smaller than Adam's.
    Source: Morwani et al. 2025, arXiv:2502.02431; equals optax.contrib.simplified_ademamix.  State: exp_avg,
    exp_avg_sq.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.0001.
        betas: Decay β₁ of the sum and decay β₂ of the second moment, in [0, 1) each.  Default (0.99, 0.95).
        alpha: Weight α of the gradient beside the sum, in [0, inf).  Default 0.
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
    """

    name: ClassVar[str] = "simplified_ademamix"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.0001
    _: KW_ONLY
    betas: tuple[float, float] = (0.99, 0.95)
    alpha: float = 0.0
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True, repr=False)
class LaProp(Rule):
    """A mean of gradients that are divided by their root mean square first.

        m ← β₁m + (1−β₁)γ·g/(√v̂ + ε); a ← β₁a + (1−β₁)γ; w ← (1−γλ)(w − m·γ/a)

    v = beta2 * v + (1 - beta2) * g * g;  m = beta1 * m + (1 - beta1) * lr * g / (sqrt(v / (1 - beta2**t)) + eps);  a =
    beta1 * a + (1 - beta1) * lr;  w = (1 - lr * weight_decay) * (w - m * lr / a).  a is the state exp_avg_lr_1, one
    float64 for each tensor.  The rate is inside m, so that a new rate acts over the following steps.  Source: Ziyin,
    Wang and Ueda 2020, algorithm 1, arXiv:2002.04839; equals timm's LaProp.  State: exp_avg, exp_avg_sq, exp_avg_lr_1
    (a number).

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.0004.
        betas: Decay β₁ of the mean quotient and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-15.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "laprop"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.0004
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-15
    weight_decay: float = 0.0
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class MADGRAD(Rule):
    """Dual averaging with momentum: the start less the sum of all gradients, over a cube root.

        q ← q + γ√t·g²; s ← s + γ√t·g; w ← μw + (1−μ)(x₀ − s/(∛q + ε))

    g += weight_decay * w;  l = (lr + eps) * sqrt(t);  q += l * g * g;  s += l * g;  w = momentum * w + (1 - momentum) *
    (x0 - s / (cbrt(q) + eps)).  x0 is the parameters at the tensor's first step.  A layer's scale acts on changes by
    its power 2/3.  Source: Defazio and Jelassi 2022, algorithm 1, arXiv:2101.11075; equals the authors' package and
    pytorch_optimizer.MADGRAD.  State: grad_sum_sq, s, x0.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.01.
        momentum: Momentum factor μ, in [0, 1).  Default 0.9.
        eps: Number ε that is added to the rate and to the denominator, in [0, inf).  Default 1e-6.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
    """

    name: ClassVar[str] = "madgrad"
    lr: float = 0.01
    _: KW_ONLY
    momentum: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class Tiger(Rule):
    """The sign of a momentum, with decoupled weight decay and one state.

        m ← βm + (1−β)g; w ← w − γ·(sign(m) + λw)

    m = beta * m + (1 - beta) * g;  w -= lr * (sign(m) + weight_decay * w).  It is Lion with both betas equal, and moves
    every weight by lr at every step.  Source: Su 2023, github.com/bojone/tiger; equals pytorch_optimizer.Tiger.  State:
    exp_avg.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
        beta: Decay β of the momentum, in [0, 1).  Default 0.965.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.01.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "tiger"
    lr: float = 0.001
    _: KW_ONLY
    beta: float = 0.965
    weight_decay: float = 0.01
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class SignSGD(Rule):
    """The sign of the gradient, or of a momentum (Signum), with decoupled weight decay.

        b ← μb + (1−μ)g; w ← w − γ·(sign(b) + λw)

    b = momentum * b + (1 - momentum) * g;  w -= lr * (sign(b) + weight_decay * w).  With momentum it is Signum.  The
    state is there once momentum is not 0.  Source: Bernstein et al. 2018, algorithm 1, arXiv:1802.04434; equals
    pytorch_optimizer.SignSGD.  State: momentum_buffer.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
        momentum: Momentum factor μ, in [0, 1); 0 keeps no velocity.  Default 0.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "signsgd"
    lr: float = 0.001
    _: KW_ONLY
    momentum: float = 0.0
    weight_decay: float = 0.0
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class Fromage(Rule):
    """The gradient scaled to the norm of the weights, which are then shrunk.

        w ← (w − γ·(‖w‖/‖g‖)·g)/√(1 + γ²)

    d = g + weight_decay * w;  w = (w - lr * |w| / |d| * d) / sqrt(1 + lr**2).  The ratio of norms is 1 where one of
    them is 0, and norms below min_norm count as min_norm.  Source: Bernstein et al. 2020, algorithm 1,
    arXiv:2002.03432; equals pytorch_optimizer.Fromage and optax.fromage.  State: none.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.01.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        min_norm: Least norm in the ratio, in [0, inf); optax has 1e-6.  Default 0.
        trust_ratio_scope: One ratio for each "tensor", or for each "layer".  Default "tensor".
    """

    name: ClassVar[str] = "fromage"
    lr: float = 0.01
    _: KW_ONLY
    weight_decay: float = 0.0
    min_norm: float = 0.0
    trust_ratio_scope: Literal["tensor", "layer"] = "tensor"


@dataclass(frozen=True, repr=False)
class StableAdamW(Rule):
    """AdamW whose rate falls for a tensor while its squared gradients are larger than their average.

        η = γ/max(1, RMS(g/max(√v, ε))); w ← w − η·(m/(√v + ε) + λw)

    share = (1 - beta) / (1 - beta**t) takes the place of 1 - beta in m and v;  rms = sqrt(mean(g * g / max(v, eps**2)))
    over each tensor;  w -= lr / max(1, rms) * (m / (sqrt(v) + eps) + weight_decay * w).  Source: Wortsman et al. 2023,
    algorithm 2, arXiv:2304.13013; equals pytorch_optimizer.StableAdamW and optimi.  State: exp_avg, exp_avg_sq.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.99).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.01.
        decoupled_weight_decay: Decay the weights in place of the gradient.  Default True.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "stable_adamw"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.001
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.01
    decoupled_weight_decay: bool = True
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class MARS(Rule):
    """AdamW or Lion on gradients that are corrected by the change since the last step.

        c = g + γ̂·β₁/(1−β₁)·(g − g_before); m, v of c/max(1, ‖c‖); w ← w − γ·(m̂/(√v̂ + ε) + λw)

    c = g + gamma * beta1 / (1 - beta1) * (g - last_grad);  c /= max(1, |c|), the norm of each tensor;  m = beta1 * m +
    (1 - beta1) * c;  and w -= lr * (m_hat / (sqrt(v_hat) + eps) + weight_decay * w) with v of c, or with
    mars_type="lion" w -= lr * (sign(m) + weight_decay * w).  Unless optimize_1d, tensors of rank 0 and 1 are stepped by
    AdamW with the rate lr_1d_factor * lr, betas_1d and weight_decay_1d.  An option left at None is the variant's, else
    the library's default; timm's has one weight_decay for all tensors.  Source: Yuan et al. 2024, arXiv:2411.10438;
    equals the authors' MARS.  State: last_grad, exp_avg, exp_avg_sq, max_exp_avg_sq.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.003.
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
    """

    name: ClassVar[str] = "mars"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "betas": ("beta1", "beta2"),
        "betas_1d": ("beta1_1d", "beta2_1d"),
    }
    lr: float | None = None
    _: KW_ONLY
    betas: tuple[float, float] | None = None
    eps: float | None = None
    weight_decay: float | None = None
    amsgrad: bool | None = None
    gamma: float | None = None
    mars_type: Literal["adamw", "lion"] | None = None
    correct_first: bool | None = None
    optimize_1d: bool | None = None
    lr_1d_factor: float | None = None
    betas_1d: tuple[float, float] | None = None
    weight_decay_1d: float | None = None
    cautious: Literal["none", "update", "decay"] | None = None
    corrected_weight_decay: bool | None = None
    variant: Literal["paper", "timm"] | None = None


@dataclass(frozen=True, repr=False)
class NovoGrad(Rule):
    """Momentum of gradients that are divided by a running average of the norm of their tensor.

        v ← β₂v + (1−β₂)‖g‖²; m ← β₁m + g/(√v + ε) + λw; w ← w − γ·m

    v = beta2 * v + (1 - beta2) * |g|**2, which starts as |g|**2;  d = g / (sqrt(v) + eps) + weight_decay * w;  m =
    beta1 * m + d;  w -= lr * m.  The state grad_norm is sqrt(v), one number for each tensor.  Libraries differ, so each
    difference is an option, and `variant` sets them all at once; options given as well override it.  An option left at
    None is the variant's, else the library's default.  Source: Ginsburg et al. 2019, algorithm 1, arXiv:1905.11286;
    equals pytorch_optimizer.NovoGrad.  State: exp_avg, grad_norm (a number).

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
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
    """

    name: ClassVar[str] = "novograd"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float | None = None
    _: KW_ONLY
    betas: tuple[float, float] | None = None
    eps: float | None = None
    eps_root: float | None = None
    weight_decay: float | None = None
    decoupled_weight_decay: bool | None = None
    grad_averaging: bool | None = None
    average_first: bool | None = None
    init_zero: bool | None = None
    bias_correction: bool | None = None
    moment: Literal["normalized", "raw"] | None = None
    norm_scope: Literal["tensor", "layer"] | None = None
    variant: Literal["paper", "timm", "optax", "apex"] | None = None


@dataclass(frozen=True, repr=False)
class LANS(Rule):
    """LAMB with normalized gradients and Nesterov momentum.

        r = m̂/(√v̂ + ε) + λw; c = g̃/(√v̂ + ε) + λw; w ← w − γ‖w‖(β₁r/‖r‖ + (1−β₁)c/‖c‖)

    g = g / |g|;  m and v as in Adam;  r = m_hat / (sqrt(v_hat) + eps) + weight_decay * w;  c = g / (sqrt(v_hat) + eps)
    + weight_decay * w;  w -= lr * (beta1 * |w| / |r| * r + (1 - beta1) * |w| / |c| * c).  A ratio is 1 where one of its
    norms is 0.  Source: Zheng, Lin, Zha and Li 2020, algorithm 2, arXiv:2006.13484.  State: exp_avg, exp_avg_sq.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
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
    """

    name: ClassVar[str] = "lans"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float | None = None
    _: KW_ONLY
    betas: tuple[float, float] | None = None
    eps: float | None = None
    weight_decay: float | None = None
    decay: Literal["update", "gradient"] | None = None
    normalize_grad: bool | None = None
    norm_eps: bool | None = None
    grad_averaging: bool | None = None
    bias_correction: bool | None = None
    trust_ratio_scope: Literal["tensor", "layer"] | None = None
    variant: Literal["paper", "gluon"] | None = None


@dataclass(frozen=True, repr=False)
class DoG(Rule):
    """SGD whose rate is the distance to the start over the root of the sum of all squared gradients.

        r̄ ← max(r̄, ‖w − w₀‖); G ← G + ‖g‖²; w ← w − γ·(r̄/√G)·g

    g += weight_decay * w;  rbar = max(rbar, |w - w0|), and reps_rel * (1 + |w0|) at first;  G += |g|**2, and eps at
    first;  w -= lr * rbar / sqrt(G) * g.  The norms run over all layers, so layers cannot be stepped one by one.  The
    authors evaluate an average of the weights, such as that of `torch.optim.swa_utils`.  Source: Ivgi, Hinder and
    Carmon 2023, arXiv:2302.12022; equals dog-optimizer and optax.contrib.dog.  State: init_buffer, rbar (a number that
    all tensors share), G (a number that all tensors share).

    Args:
        lr: Factor γ of the rate, in [0, inf).  Default 1.
        reps_rel: First distance r_ε, relative to 1 + ‖w₀‖, in (0, inf).  Default 1e-6.
        eps: Number ε that is added to the sum of squares, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        init_eta: First rate, in place of reps_rel, in [0, inf); 0 is none.  Default 0.
    """

    name: ClassVar[str] = "dog"
    optional: ClassVar[frozenset[str]] = frozenset({"init_eta"})
    lr: float = 1.0
    _: KW_ONLY
    reps_rel: float = 1e-6
    eps: float = 1e-8
    weight_decay: float = 0.0
    init_eta: float = 0.0


@dataclass(frozen=True, repr=False)
class LDoG(Rule):
    """DoG with a rate for each tensor or layer.

        r̄ ← max(r̄, ‖w − w₀‖); G ← G + ‖g‖²; w ← w − γ·(r̄/√G)·g, for each tensor

    As DoG, with the norms, rbar and G of each tensor, or of each layer with distance_scope="layer".  The authors
    evaluate an average of the weights.  Source: Ivgi, Hinder and Carmon 2023, section 4, arXiv:2302.12022; equals
    dog-optimizer's LDoG.  State: init_buffer, rbar (a number), G (a number).

    Args:
        lr: Factor γ of the rate, in [0, inf).  Default 1.
        reps_rel: First distance r_ε, relative to 1 + ‖w₀‖, in (0, inf).  Default 1e-6.
        eps: Number ε that is added to the sum of squares, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        init_eta: First rate, in place of reps_rel, in [0, inf); 0 is none.  Default 0.
        distance_scope: Norms of each "tensor", or of each "layer".  Default "tensor".
    """

    name: ClassVar[str] = "ldog"
    optional: ClassVar[frozenset[str]] = frozenset({"init_eta"})
    lr: float = 1.0
    _: KW_ONLY
    reps_rel: float = 1e-6
    eps: float = 1e-8
    weight_decay: float = 0.0
    init_eta: float = 0.0
    distance_scope: Literal["tensor", "layer"] = "tensor"


@dataclass(frozen=True, repr=False)
class DoWG(Rule):
    """SGD whose rate is a squared distance to the start over the root of a weighed sum of squares.

        r² ← max(r², ‖w − w₀‖²); S ← S + r²‖g‖²; w ← w − γ·r²/(√S + ε)·g

    g += weight_decay * w;  r2 = max(r2, |w - w0|**2), and init_estim_sq_dist at first;  S += r2 * |g|**2;  w -= lr * r2
    / (sqrt(S) + eps) * g.  The norms run over all layers, so layers cannot be stepped one by one; with
    estimate_scope="layer" each layer has its own.  Source: Khaled, Mishchenko and Jin 2023, algorithm 1,
    arXiv:2305.16284; equals optax.contrib.dowg.  State: init_params, estim_sq_dist (a number that all tensors share),
    weighted_sq_norm_grads (a number that all tensors share).

    Args:
        lr: Factor γ of the rate, in [0, inf).  Default 1.
        init_estim_sq_dist: First squared distance, in [0, inf); 0 is ε.  Default 0.
        eps: Number ε that is added to the denominator, in [0, inf).  Default 0.0001.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        estimate_scope: One estimate for the "optimizer", as published, or one for each "layer".  Default "optimizer".
    """

    name: ClassVar[str] = "dowg"
    optional: ClassVar[frozenset[str]] = frozenset({"init_estim_sq_dist"})
    lr: float = 1.0
    _: KW_ONLY
    init_estim_sq_dist: float = 0.0
    eps: float = 0.0001
    weight_decay: float = 0.0
    estimate_scope: Literal["optimizer", "layer"] = "optimizer"


@dataclass(frozen=True, repr=False)
class Prodigy(Rule):
    """Adam whose learning rate is estimated from the distance that the weights travel.

        d̂ = N/Σr‖s‖₁; w ← w − d·γ·m/(√v + dε)

    d grows from d0 to the estimate d_coef * N / sum |s|, where N adds up <g, p0 - w> and s the gradients; w -= d * lr *
    m / (sqrt(v) + d * eps).  The sums run over all layers, so layers cannot be stepped one by one; with
    estimate_scope="layer" each layer has sums and an estimate of its own.  Rates by layer count in the denominator, or
    in both sums with layer_scale="both"; with equal rates both are the published rule.  With slice_p above 1 the sums
    take every slice_p-th element of each tensor, for which alone s and p0 are kept; it cannot change once there are
    states.  Source: Mishchenko and Defazio 2024, algorithm 4, arXiv:2306.06101; equals prodigyopt.  State: exp_avg,
    exp_avg_sq, s (for every slice_p-th element), p0 (for every slice_p-th element), d (a number that all tensors
    share), d_max (a number that all tensors share), d_numerator (a number that all tensors share).

    Args:
        lr: Factor γ of the estimated rate, in [0, inf).  Default 1.
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
    """

    name: ClassVar[str] = "prodigy"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 1.0
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    beta3: float = 0.0
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = True
    d0: float = 1e-6
    d_coef: float = 1.0
    growth_rate: float = math.inf
    use_bias_correction: bool = False
    safeguard_warmup: bool = False
    layer_scale: Literal["denominator", "both"] = "denominator"
    slice_p: int = 1
    estimate_scope: Literal["optimizer", "layer"] = "optimizer"


@dataclass(frozen=True, repr=False)
class DAdaptAdam(Rule):
    """Adam whose learning rate is estimated from the gradients: D-Adaptation.

        d̂ = N/((1−√β₂)Σr‖s‖₁); m ← β₁m + (1−β₁)dγg; w ← w − m/(√v + ε)

    d grows from d0 to the estimate N / ((1 - sqrt(beta2)) * sum |s|), where N averages <g, s / (sqrt(v) + eps)> and s
    the gradients, all times d * lr; m too, and w -= m / (sqrt(v) + eps).  The sums run over all layers, so layers
    cannot be stepped one by one; with estimate_scope="layer" each layer has sums and an estimate of its own.  Source:
    Defazio and Mishchenko 2023, algorithm 5, arXiv:2301.07733; equals dadaptation.DAdaptAdam.  State: exp_avg,
    exp_avg_sq, s, d (a number that all tensors share), numerator_weighted (a number that all tensors share).

    Args:
        lr: Factor γ of the estimated rate, in [0, inf).  Default 1.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        decoupled_weight_decay: Decay the weights in place of the gradient, as AdamW does.  Default False.
        d0: First estimate d₀ of the distance, in (0, inf).  Default 1e-6.
        growth_rate: Largest growth of d in one step, in (0, inf].  Default inf.
        use_bias_correction: Correct the rate for the moments' start at 0.  Default False.
        estimate_scope: One estimate for the "optimizer", as published, or one for each "layer".  Default "optimizer".
    """

    name: ClassVar[str] = "dadapt_adam"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 1.0
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    d0: float = 1e-6
    growth_rate: float = math.inf
    use_bias_correction: bool = False
    estimate_scope: Literal["optimizer", "layer"] = "optimizer"


@dataclass(frozen=True, repr=False)
class DAdaptSGD(Rule):
    """Dual averaging with momentum whose learning rate is estimated from the gradients: D-Adaptation.

        d̂ = 2N/(G‖s‖); s ← s + dγg; w ← μw + (1−μ)(w₀ − s/G)

    d grows from d0 to the estimate 2 * N / (G * |s|), where s sums the gradients times d * lr, N sums d * lr * <g, s>,
    and G is the norm of the first gradient;  w = momentum * w + (1 - momentum) * (x0 - s / G).  The sums run over all
    layers, so layers cannot be stepped one by one; with estimate_scope="layer" each layer has sums and an estimate of
    its own.  Source: Defazio and Mishchenko 2023, algorithm 4, arXiv:2301.07733; equals dadaptation.DAdaptSGD.  State:
    s, x0, d (a number that all tensors share), numerator_weighted (a number that all tensors share), g0_norm (a number
    that all tensors share).

    Args:
        lr: Factor γ of the estimated rate, in [0, inf).  Default 1.
        momentum: Momentum factor μ, in [0, 1).  Default 0.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        d0: First estimate d₀ of the distance, in (0, inf).  Default 1e-6.
        growth_rate: Largest growth of d in one step, in (0, inf].  Default inf.
        estimate_scope: One estimate for the "optimizer", as published, or one for each "layer".  Default "optimizer".
    """

    name: ClassVar[str] = "dadapt_sgd"
    lr: float = 1.0
    _: KW_ONLY
    momentum: float = 0.0
    weight_decay: float = 0.0
    d0: float = 1e-6
    growth_rate: float = math.inf
    estimate_scope: Literal["optimizer", "layer"] = "optimizer"


@dataclass(frozen=True, repr=False)
class MoMo(Rule):
    """SGD with momentum whose rate is lowered where a model of the loss asks for less.

        τ = min(γ, max(0, f̄ + q − lb)/‖d‖²); w ← (w − τd)/(1 + γλ)

    d = beta * d + (1 - beta) * g;  f averages the losses likewise;  tau = min(lr, max(0, (1 + lr * weight_decay) * (f +
    q - lb) - lr * weight_decay * <d, w>) / |d|**2), where q says how far the average of the tangents lies from f;  w =
    (w - tau * d) / (1 + lr * weight_decay).  Each step needs the loss: opt.step(loss=...).  The sums run over all
    layers, so layers cannot be stepped one by one.  Source: Schaipp et al. 2024, algorithm 1, arXiv:2305.07583; equals
    momo-opt.  State: exp_avg, loss_avg (a number that all tensors share), loss_weight (a number that all tensors
    share), gap (a number that all tensors share), lb (a number that all tensors share), tau (a number that all tensors
    share).

    Args:
        lr: Largest rate γ, in [0, inf).  Default 1.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        beta: Decay β of the averages, in [0, 1).  Default 0.9.
        lb: Lower bound of the loss, in (-inf, inf).  Default 0.
        bias_correction: Start the averages at 0, and correct them.  Default False.
        use_fstar: Estimate the lower bound, beginning at lb.  Default False.
    """

    name: ClassVar[str] = "momo"
    lr: float = 1.0
    _: KW_ONLY
    weight_decay: float = 0.0
    beta: float = 0.9
    lb: float = 0.0
    bias_correction: bool = False
    use_fstar: bool = False


@dataclass(frozen=True, repr=False)
class MoMoAdam(Rule):
    """Adam whose rate is lowered where a model of the loss asks for less.

        τ = min(γ/ρ, max(0, f̄ + q − ρ·lb)/⟨d, d/D⟩); w ← (w − τ·d/D)/(1 + γλ)

    d and v as Adam's moments;  f averages the losses by beta1;  rho = 1 - beta1**t;  D = sqrt(v / (1 - beta2**t)) +
    eps;  tau = min(lr / rho, max(0, (1 + lr * weight_decay) * (f + q - rho * lb) - lr * weight_decay * <d, w>) / <d, d
    / D>), where q says how far the average of the tangents lies from f;  w = (w - tau * d / D) / (1 + lr *
    weight_decay).  Each step needs the loss: opt.step(loss=...).  The sums run over all layers, so layers cannot be
    stepped one by one.  Source: Schaipp et al. 2024, algorithm 2, arXiv:2305.07583; equals momo-opt.  State: exp_avg,
    exp_avg_sq, loss_avg (a number that all tensors share), loss_weight (a number that all tensors share), gap (a number
    that all tensors share), lb (a number that all tensors share), tau (a number that all tensors share).

    Args:
        lr: Largest rate γ, in [0, inf).  Default 0.01.
        betas: Decay β₁ of the first moment and of the losses and decay β₂ of the second moment, in [0, 1) each.
            Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        lb: Lower bound of the loss, in (-inf, inf).  Default 0.
        divide: Divide the stepped weights by 1 + γλ, in place of AdamW's decay.  Default True.
        use_fstar: Estimate the lower bound, beginning at lb.  Default False.
    """

    name: ClassVar[str] = "momo_adam"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.01
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    lb: float = 0.0
    divide: bool = True
    use_fstar: bool = False


@dataclass(frozen=True, repr=False)
class ScheduleFreeAdamW(Rule):
    """AdamW without a schedule: the weights that are evaluated are an average of those that are stepped.

        u = g/(√v̂ + ε) + λy; y ← (1−c)y + cz − γ(1 − β₁(1−c))u; z ← z − γu

    Call `eval` before the weights are evaluated or saved for use, and `train` before the next step.  u = g /
    (sqrt(v_hat) + eps) + weight_decay * y;  y = (1 - c) * y + c * z - lr * (1 - beta1 * (1 - c)) * u;  z -= lr * u,
    where c is the weight of this step in the average.  Source: Defazio et al. 2024, algorithm 1, arXiv:2405.15682;
    equals schedulefree.AdamWScheduleFree.  State: z, exp_avg_sq, weight_sum (a number), lr_max (a number).

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.0025.
        betas: How near β₁ the parameters are to the average and decay β₂ of the second moment, in (0, 1) and [0, 1).
            Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        warmup_steps: Steps of linear warm-up, counted by each tensor, in [0, 2**53].  Default 0.
        r: Power r of t in the weight of the average, in [0, inf).  Default 0.
        weight_lr_power: Power p of the largest rate in that weight, in [0, inf).  Default 2.
    """

    name: ClassVar[str] = "schedule_free_adamw"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.0025
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: int = 0
    r: float = 0.0
    weight_lr_power: float = 2.0


@dataclass(frozen=True, repr=False)
class ScheduleFreeSGD(Rule):
    """SGD without a schedule: the weights that are evaluated are an average of those that are stepped.

        y ← (1−c)y + cz − γ(1 − μ(1−c))(g + λy); z ← z − γ(g + λy)

    Call `eval` before the weights are evaluated or saved for use, and `train` before the next step.  g += weight_decay
    * y;  y = (1 - c) * y + c * z - lr * (1 - momentum * (1 - c)) * g;  z -= lr * g, where c is the weight of this step
    in the average.  Source: Defazio et al. 2024, equations 2 to 4, arXiv:2405.15682; equals
    schedulefree.SGDScheduleFree.  State: z, weight_sum (a number), lr_max (a number).

    Args:
        lr: Learning rate γ, in [0, inf).  Default 1.
        momentum: How near μ the parameters are to the average, in (0, 1).  Default 0.9.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        warmup_steps: Steps of linear warm-up, counted by each tensor, in [0, 2**53].  Default 0.
        r: Power r of t in the weight of the average, in [0, inf).  Default 0.
        weight_lr_power: Power p of the largest rate in that weight, in [0, inf).  Default 2.
    """

    name: ClassVar[str] = "schedule_free_sgd"
    lr: float = 1.0
    _: KW_ONLY
    momentum: float = 0.9
    weight_decay: float = 0.0
    warmup_steps: int = 0
    r: float = 0.0
    weight_lr_power: float = 2.0


@dataclass(frozen=True, repr=False)
class ScheduleFreeRAdam(Rule):
    """Schedule-Free AdamW whose rate grows by RAdam's rectification, so that it needs no warm-up.

        u = g/(√v̂ + ε) + λy; y ← (1−c)y + cz − γr(1 − β₁(1−c))u; z ← z − γr·u

    Call `eval` before the weights are evaluated or saved for use, and `train` before the next step.  rho and r as in
    RAdam, with rho > 4;  u = g / (sqrt(v_hat) + eps) + weight_decay * y;  y = (1 - c) * y + c * z - lr * r * (1 - beta1
    * (1 - c)) * u;  z -= lr * r * u, where c is the weight of this step in the average.  While rho <= 4, which is 4
    steps with beta2 = 0.999, r is 0; without silent_sgd_phase it is 1 and u = g + weight_decay * y.  Source: Defazio et
    al. 2024, arXiv:2405.15682; equals schedulefree.RAdamScheduleFree.  State: z, exp_avg_sq, weight_sum (a number),
    lr_max (a number).

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.0025.
        betas: How near β₁ the parameters are to the average and decay β₂ of the second moment, in (0, 1) and [0, 1).
            Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        r: Power r of t in the weight of the average, in [0, inf).  Default 0.
        weight_lr_power: Power p of the largest rate in that weight, in [0, inf).  Default 2.
        silent_sgd_phase: Leave the weights alone while the second moment is not known well enough, in place of steps of
            SGD.  Default True.
    """

    name: ClassVar[str] = "schedule_free_radam"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.0025
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    r: float = 0.0
    weight_lr_power: float = 2.0
    silent_sgd_phase: bool = True


@dataclass(frozen=True, repr=False)
class Adafactor(Rule):
    """Adam whose second moment is kept by rows and columns, and whose change is relative to the weights.

        u = g/√(RC/mean(R)); w ← w − min(γ, 1/√t)·max(ε₂, RMS(w))·u/max(1, RMS(u)/d) − γλw

    s = t ** beta2_decay;  row_var and col_var are means of g * g over rows and columns, averaged with weight s;  v =
    row_var * col_var / mean(row_var), or v = v + s * (g * g - v) for tensors of rank 0 and 1;  u = g / sqrt(v);  w -=
    min(lr, 1 / sqrt(t)) * max(eps2, RMS(w)) * u / max(1, RMS(u) / d) + lr * weight_decay * w.  Rows and columns are the
    last two axes.  The first of eps may be None, which is the epsilon of the parameter's type.  Source: Shazeer and
    Stern 2018, algorithms 4 and 5, arXiv:1804.04235; equals torch.optim.Adafactor.  State: variance, row_var (by rows),
    col_var (by columns), exp_avg.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.01.
        beta2_decay: Power β₂decay of t, the weight of a step in the second moment, in (-inf, 0].  Default -0.8.
        eps: Bound ε₁ of √v; 0 is the epsilon of the parameter's type and least size ε₂ of the weights, in [0, inf)
            each.  Default (None, 0.001).
        d: Largest root mean square d of u, in (0, inf).  Default 1.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
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
    """

    name: ClassVar[str] = "adafactor"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"eps": ("eps1", "eps2")}
    optional: ClassVar[frozenset[str]] = frozenset({"eps1", "beta1"})
    lr: float | None = None
    _: KW_ONLY
    beta2_decay: float | None = None
    eps: tuple[float | None, float] | None = None
    d: float | None = None
    weight_decay: float | None = None
    beta1: float | None = None
    step_size: Literal["capped", "relative", "warmup", "constant"] | None = None
    scale_parameter: bool | None = None
    eps_position: Literal["floor", "added"] | None = None
    decay: Literal["lr", "step"] | None = None
    cautious: Literal["none", "update", "decay"] | None = None
    corrected_weight_decay: bool | None = None
    variant: Literal["torch", "transformers"] | None = None


@dataclass(frozen=True, repr=False)
class CAME(Rule):
    """Adafactor with momentum, slowed where the step's change and the average disagree.

        û = clip(g/√v); m ← m + (1−β₁)(û − m); i ← average of (û − m)²; w ← w − γ·m/√i − γλw

    row_sq and col_sq are means of g * g + eps1 over rows and columns;  u = g / sqrt(row_sq * col_sq / mean(row_sq)),
    divided by max(1, RMS(u) / clip_threshold);  m = m + (1 - beta1) * (u - m);  row_res and col_res are means of (u -
    m) ** 2 + eps2;  w -= lr * m / sqrt(row_res * col_res / mean(row_res)) + lr * weight_decay * w.  Rows and columns
    are the last two axes.  Tensors of rank 0 and 1 keep their whole second moment, and move by lr * m.  Source: Luo et
    al. 2023, algorithm 2, arXiv:2307.02047; equals pytorch_optimizer.CAME.  State: exp_avg_sq, exp_avg_sq_row (by
    rows), exp_avg_sq_col (by columns), exp_avg, exp_avg_res_row (by rows), exp_avg_res_col (by columns).

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.0002.
        betas: Decay β₁ of the average of changes and decay β₂ of the second moment and decay β₃ of the disagreement, in
            [0, 1) each.  Default (0.9, 0.999, 0.9999).
        eps: Number ε₁ that is added to g² and number ε₂ that is added to the square of the disagreement, in [0, inf)
            each.  Default (1e-30, 1e-16).
        clip_threshold: Largest root mean square d of u, in (0, inf).  Default 1.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "came"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2", "beta3"), "eps": ("eps1", "eps2")}
    lr: float = 0.0002
    _: KW_ONLY
    betas: tuple[float, float, float] = (0.9, 0.999, 0.9999)
    eps: tuple[float, float] = (1e-30, 1e-16)
    clip_threshold: float = 1.0
    weight_decay: float = 0.0
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class SM3(Rule):
    """Adagrad whose sums of squares are kept by row, by column, and by place along further axes.

        ν = min(μ) + g²; μ ← max(ν) by place along each axis; m ← μ₁m + (1−μ₁)·g/√(ν + ε); w ← w − γm − γλw

    nu = min(accumulators of the element's places) + g * g, or beta * min + (1 - beta) * g * g;  each place's
    accumulator becomes the largest nu of its elements;  m = momentum * m + (1 - momentum) * g / sqrt(nu + eps);  w -=
    lr * m + lr * weight_decay * w.  Tensors may not be spread over processes.  Source: Anil et al. 2019, SM3-II,
    arXiv:1901.11150; equals pytorch_optimizer.SM3.  State: accumulator (a number for each place along each axis),
    momentum_buffer.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.1.
        momentum: Decay of the average of changes, in [0, 1); 0 keeps none.  Default 0.9.
        beta: Decay β of the squares, in [0, 1); 0: their sum.  Default 0.
        eps: Number ε that is added to ν, in [0, inf).  Default 1e-30.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        monotone: With β above 0, the largest numbers never fall.  Default True.
        variant: Whose version: "pytorch_optimizer" or "optax".
    """

    name: ClassVar[str] = "sm3"
    lr: float | None = None
    _: KW_ONLY
    momentum: float | None = None
    beta: float | None = None
    eps: float | None = None
    weight_decay: float | None = None
    monotone: bool | None = None
    variant: Literal["pytorch_optimizer", "optax"] | None = None


@dataclass(frozen=True, repr=False)
class AdamMini(Rule):
    """AdamW with one second moment for each block of rows or for each tensor.

        v ← β₂v + (1−β₂)·mean(g²) of a block; w ← w − γ·(m̂/(√v̂ + ε) + λw)

    v = beta2 * v + (1 - beta2) * mean(g * g) over the block;  w is changed as AdamW does.  A block is block_rows rows
    of a tensor of rank 2 and more, counted through all axes but the last, or the whole tensor where block_rows is 0 or
    the rank is less than 2.  The authors take the whole tensor, the rows of a head for queries and keys, and AdamW for
    embeddings and the output: give layers a block_rows or a rule of their own.  Source: Zhang et al. 2024, algorithm 1,
    arXiv:2406.16793; equals the authors' package for equal blocks.  State: exp_avg, exp_avg_sq_row (a number for each
    row).

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
        betas: Decay β₁ of the first moment and decay β₂ of the second moment, in [0, 1) each.  Default (0.9, 0.999).
        eps: Number ε that is added to the denominator, in [0, inf).  Default 1e-8.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.
        block_rows: Rows that share a second moment, in tensors of rank 2 and more, in [0, 2147483647]; 0: the whole
            tensor.  Default 0.
        cautious: Weights take the "update" only where it has the sign of the gradient, or the "decay" only where it has
            the sign of the update; "none" takes both everywhere.  Default "none".
        corrected_weight_decay: Multiply decoupled decay by what the schedule multiplies lr by.  Default False.
    """

    name: ClassVar[str] = "adam_mini"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    lr: float = 0.001
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    block_rows: int = 0
    cautious: Literal["none", "update", "decay"] = "none"
    corrected_weight_decay: bool = False


@dataclass(frozen=True, repr=False)
class Muon(Rule):
    """Momentum whose direction is made orthogonal, for matrices, and AdamW for tensors of rank 0 and 1.

        m ← m + (1−μ)(g − m); O = NewtonSchulz(g + μ(m − g)); w ← w − γ·s·O − γλw

    m = m + (1 - momentum) * (g - m);  u = g + momentum * (m - g) with nesterov, or m;  O = u / max(norm(u), eps), and
    ns_steps times  A = O @ O.T,  O = a * O + (b * A + c * A @ A) @ O;  w -= lr * s * O + lr * weight_decay * w.  s is
    sqrt(max(1, R / C)) for a matrix of R rows and C columns, as adjust_lr_fn says.  Tensors of rank 0 and 1 are stepped
    by AdamW with the rate adamw_lr_scale * lr, whose first moment is the state momentum_buffer.  Embeddings and the
    output layer are better left to AdamW too: give these layers a rule of their own.  Source: Jordan et al. 2024,
    kellerjordan.github.io/posts/muon; equals torch.optim.Muon with ns_precision="bfloat16".  State: momentum_buffer,
    exp_avg_sq.

    Args:
        lr: Learning rate γ, in [0, inf).  Default 0.001.
        weight_decay: Decay coefficient λ, in [0, inf).  Default 0.1.
        momentum: Decay μ of the momentum, in [0, 1).  Default 0.95.
        nesterov: Look ahead along the momentum.  Default True.
        ns_coefficients: Coefficient a of a constant schedule and coefficient b of a constant schedule and coefficient c
            of a constant schedule, in (-inf, inf) each.  Default (3.4445, -4.775, 2.0315).
        eps: Least norm ε that a matrix is divided by, in (0, inf).  Default 1e-7.
        ns_steps: How many times the polynomial is applied, in [1, 99].  Default 5.
        adjust_lr_fn: Factor s of the rate: "original" is √max(1, R/C), "match_rms_adamw" 0.2·√max(R, C), "spectral"
            √(R/C), "none" 1.  Default "original".
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
    """

    name: ClassVar[str] = "muon"
    tuples: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "ns_coefficients": ("ns_coefficients1", "ns_coefficients2", "ns_coefficients3"),
        "adamw_betas": ("adamw_beta1", "adamw_beta2"),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"adjust_lr_fn"})
    lr: float = 0.001
    _: KW_ONLY
    weight_decay: float = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315)
    eps: float = 1e-7
    ns_steps: int = 5
    adjust_lr_fn: Literal["original", "match_rms_adamw", "spectral", "none"] = "original"
    ns_schedule: Literal["constant", "quintic", "polar_express"] = "constant"
    axes: Literal["first", "last"] = "first"
    ns_precision: Literal["full", "bfloat16"] = "full"
    adamw_lr_scale: float = 1.0
    adamw_betas: tuple[float, float] = (0.9, 0.95)
    adamw_eps: float = 1e-10


class Hyperparameters(TypedDict, total=False):
    """The hyperparameters of all rules, as keywords: type checkers find those that no rule has."""

    adamw_beta1: float
    adamw_beta2: float
    adamw_betas: tuple[float, float]
    adamw_eps: float
    adamw_lr_scale: float
    adapt: Literal["all", "decayed", "matrices"]
    adjust_lr_fn: Literal["original", "match_rms_adamw", "spectral", "none"]
    alpha: float
    amsgrad: bool
    average_first: bool
    axes: Literal["first", "last"]
    beta: float
    beta1: float
    beta1_1d: float
    beta2: float
    beta2_1d: float
    beta2_decay: float
    beta3: float
    betas: tuple[float, float] | tuple[float, float, float]
    betas_1d: tuple[float, float]
    bias_correction: bool | Literal["moments", "none", "step_size"]
    block_rows: int
    cautious: Literal["none", "update", "decay"]
    centered: bool
    clip: bool
    clip_power: float
    clip_threshold: float
    correct_first: bool
    corrected_weight_decay: bool
    d: float
    d0: float
    d_coef: float
    dampen_first: bool
    dampening: float
    decay: Literal["update", "decoupled", "gradient", "lr", "step"]
    decoupled_weight_decay: bool
    difference_weight: Literal["decay", "share"]
    distance_scope: Literal["tensor", "layer"]
    divide: bool
    eps: float | tuple[float | None, float] | tuple[float, float]
    eps1: float
    eps2: float
    eps_before_correction: bool
    eps_in_denominator: bool
    eps_in_sqrt: bool
    eps_position: Literal["floor", "added"]
    eps_root: float
    estimate_scope: Literal["optimizer", "layer"]
    eta1: float
    eta2: float
    etas: tuple[float, float]
    gamma: float
    grad_averaging: bool
    growth_rate: float
    init_estim_sq_dist: float
    init_eta: float
    init_zero: bool
    initial_accumulator: float
    initial_accumulator_value: float
    initial_square_avg: float
    lambd: float
    layer_scale: Literal["denominator", "both"]
    lb: float
    lr: float
    lr_1d_factor: float
    lr_decay: float
    lr_in_momentum: bool
    lr_position: Literal["inside", "outside"]
    mars_type: Literal["adamw", "lion"]
    min_norm: float
    moment: Literal["normalized", "raw"]
    momentum: float
    momentum_decay: float
    momentum_schedule: Literal["rising", "constant", "constant_present"]
    monotone: bool
    nesterov: bool
    no_prox: bool
    norm: Literal["separate", "decayed"]
    norm_eps: bool
    norm_scope: Literal["tensor", "layer"]
    normalize_grad: bool
    ns_coefficients: tuple[float, float, float]
    ns_coefficients1: float
    ns_coefficients2: float
    ns_coefficients3: float
    ns_precision: Literal["full", "bfloat16"]
    ns_schedule: Literal["constant", "quintic", "polar_express"]
    ns_steps: int
    optimize_1d: bool
    r: float
    ratio_eps: bool
    ratio_max: float
    ratio_min: float
    reps_rel: float
    rho: float
    safeguard_warmup: bool
    scale_parameter: bool
    silent_sgd_phase: bool
    skip_zero_gradient: bool
    slice_p: int
    step_size: Literal["capped", "relative", "warmup", "constant"]
    step_size1: float
    step_size2: float
    step_sizes: tuple[float, float]
    t0: float
    t_alpha: int
    t_beta3: int
    trust_clip: bool
    trust_coefficient: float
    trust_ratio_scope: Literal["tensor", "layer"]
    use_bias_correction: bool
    use_fstar: bool
    variant: Literal[
        "paper", "timm", "optax", "mae", "pytorch_optimizer", "apex", "keras", "gluon", "torch", "transformers"
    ]
    warmup_steps: int
    weight_decay: float
    weight_decay_1d: float
    weight_decay_exclude_1d: bool
    weight_lr_power: float
    weight_norm_max: float
