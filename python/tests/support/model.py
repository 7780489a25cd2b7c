# SPDX-License-Identifier: Apache-2.0
"""One step in NumPy float64, from what a tensor holds now, with a bound on the error of rounding."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import trust_ratio
from .material import Array, complement, norm


class Numbers(NamedTuple):
    """What a step of one tensor reads, in float64; the gradient is scaled and clipped already."""

    weights: Array
    gradient: Array
    states: Mapping[str, Array]
    step: int
    """Counted from 1."""


class Outcome(NamedTuple):
    """What a step of one tensor writes.

    `sizes` has the magnitudes of the terms that were added up, under the names of the states and "weights": the error
    of arithmetic in floating point is some roundings of them.
    """

    weights: Array
    states: dict[str, Array]
    sizes: dict[str, Array]


Reference = Callable[..., Outcome]


def sgd(
    tensor: Numbers,
    *,
    lr: float,
    momentum: float,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> Outcome:
    """SGD as torch has it."""
    w, g = tensor.weights, tensor.gradient
    d = g + weight_decay * w
    size = np.abs(g) + weight_decay * np.abs(w)
    if momentum == 0:
        # A velocity of earlier steps is kept as it is.
        states = dict(tensor.states)
        return Outcome(w - lr * d, states, {"weights": np.abs(w) + lr * size} | {key: 0 * w for key in states})
    old = tensor.states["momentum_buffer"]
    b = momentum * old + (1.0 if tensor.step == 1 else 1 - dampening) * d
    velocity = momentum * np.abs(old) + size
    return Outcome(
        w - lr * (d + momentum * b if nesterov else b),
        {"momentum_buffer": b},
        {"weights": np.abs(w) + lr * (velocity + size), "momentum_buffer": velocity},
    )


def adam(
    tensor: Numbers,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    decoupled_weight_decay: bool = False,
) -> Outcome:
    """Adam as torch has it."""
    w, g = tensor.weights, tensor.gradient
    size = np.abs(g)
    if not decoupled_weight_decay:
        g = g + weight_decay * w
        size = size + weight_decay * np.abs(w)
    m = betas[0] * tensor.states["exp_avg"] + (1 - betas[0]) * g
    v = betas[1] * tensor.states["exp_avg_sq"] + (1 - betas[1]) * g * g
    states = {"exp_avg": m, "exp_avg_sq": v}
    sizes = {"exp_avg": np.abs(tensor.states["exp_avg"]) + size, "exp_avg_sq": tensor.states["exp_avg_sq"] + size**2}
    if amsgrad:
        v = states["max_exp_avg_sq"] = np.maximum(tensor.states["max_exp_avg_sq"], v)
        sizes["max_exp_avg_sq"] = np.maximum(sizes["exp_avg_sq"], v)
    rate = lr / complement(betas[0], tensor.step)
    denominator = np.sqrt(v / complement(betas[1], tensor.step)) + eps
    decay = lr * weight_decay * w if decoupled_weight_decay else 0.0
    sizes["weights"] = np.abs(w) + np.abs(decay) + rate * sizes["exp_avg"] / denominator
    return Outcome(w - decay - rate * m / denominator, states, sizes)


def adamw(tensor: Numbers, **options: Any) -> Outcome:
    """AdamW as torch has it."""
    return adam(tensor, decoupled_weight_decay=True, **options)


def lars(tensor: Numbers, *, momentum: float, **options: Any) -> Outcome:
    """LARS with one ratio a tensor."""
    w = tensor.weights.copy()
    state = {} if tensor.step == 1 or momentum == 0 else {"b": tensor.states["momentum_buffer"]}
    trust_ratio.lars([w], [tensor.gradient], [state], momentum=momentum, **options)
    old = tensor.states.get("momentum_buffer", np.zeros_like(w))
    # The ratio makes gradient and decay together no longer than the weights, unless there is none.
    size = (
        np.abs(tensor.weights) + np.abs(w) + np.abs(old) + norm(tensor.weights) + options["lr"] * norm(tensor.gradient)
    )
    states = {key: state.get("b", value) for key, value in tensor.states.items()}
    return Outcome(w, states, {"weights": size} | dict.fromkeys(states, size))


def lamb(tensor: Numbers, *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> Outcome:
    """LAMB with its defaults."""
    w, g = tensor.weights.copy(), tensor.gradient
    old_m, old_v = tensor.states["exp_avg"], tensor.states["exp_avg_sq"]
    state: trust_ratio.State = {"t": tensor.step - 1, "m": old_m, "v": old_v}
    (ratio,) = trust_ratio.lamb([w], [g], [state], lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    sizes = {"exp_avg": np.abs(old_m) + np.abs(g), "exp_avg_sq": old_v + g * g}
    root = np.sqrt(state["v"] / complement(betas[1], tensor.step))
    scale = complement(betas[0], tensor.step) * (root + eps)
    u = state["m"] / scale + weight_decay * tensor.weights
    terms = sizes["exp_avg"] / scale + weight_decay * np.abs(tensor.weights)
    # An error of the direction changes the ratio as well.
    share = norm(terms) / norm(u) if norm(u) > 0 else 0.0
    sizes["weights"] = np.abs(tensor.weights) + lr * ratio * (terms + share * np.abs(u))
    return Outcome(w, {"exp_avg": state["m"], "exp_avg_sq": state["v"]}, sizes)


def clip_factor(limit: float, total: float) -> float:
    """As torch's clip_grad_norm_."""
    return min(1.0, limit / (total + 1e-6))


def conditioned(
    layers: Sequence[Sequence[Array]],
    *,
    gradient_scale: float = 1.0,
    maximize: bool = False,
    clip_value: float = math.inf,
    clip_layer_norm: float = math.inf,
    clip_global_norm: float = math.inf,
) -> tuple[list[list[Array]], float]:
    """The gradients of each layer as the rule sees them, and the factor of the global clipping."""
    scaled = [
        [np.clip(g * ((-1 if maximize else 1) / gradient_scale), -clip_value, clip_value) for g in layer]
        for layer in layers
    ]
    scaled = [
        [g * clip_factor(clip_layer_norm, math.hypot(*map(norm, layer))) for g in layer] if layer else []
        for layer in scaled
    ]
    factor = clip_factor(clip_global_norm, math.hypot(*(norm(g) for layer in scaled for g in layer)))
    return [[g * factor for g in layer] for layer in scaled], factor
