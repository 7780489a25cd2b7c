# SPDX-License-Identifier: Apache-2.0
"""LARS and LAMB in NumPy: as other libraries write them, and with every option of ours.

Each function takes one step, in float64, of a layer's weights `w` (changed in place) with the gradients `g`, and keeps
what it needs in `state`.  The functions named after a library follow its source line by line, one tensor at a time.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .material import Array, complement, norm

State = dict[str, Any]
Step = Callable[[list[Array], list[Array], list[State]], None]


# ---- As others write them


def timm_lars(
    w: Array,
    g: Array,
    state: State,
    *,
    lr: float = 1.0,
    momentum: float = 0,
    dampening: float = 0,
    weight_decay: float = 0,
    nesterov: bool = False,
    trust_coefficient: float = 0.001,
    eps: float = 1e-8,
    trust_clip: bool = False,
    always_adapt: bool = False,
) -> None:
    """timm/optim/lars.py, class Lars."""
    if weight_decay != 0 or always_adapt:
        w_norm, g_norm = norm(w), norm(g)
        ratio = 1.0
        if w_norm > 0 and g_norm > 0:
            ratio = trust_coefficient * w_norm / (g_norm + w_norm * weight_decay + eps)
        if trust_clip:
            ratio = min(ratio / lr, 1.0)
        g = (g + weight_decay * w) * ratio
    if momentum != 0:
        if "buf" not in state:
            state["buf"] = g.copy()
        else:
            state["buf"] = momentum * state["buf"] + (1 - dampening) * g
        g = g + momentum * state["buf"] if nesterov else state["buf"]
    w -= lr * g


def mae_lars(
    w: Array,
    g: Array,
    state: State,
    *,
    lr: float = 0,
    weight_decay: float = 0,
    momentum: float = 0.9,
    trust_coefficient: float = 0.001,
) -> None:
    """facebookresearch/mae, util/lars.py, class LARS; the same in MoCo v3."""
    if w.ndim > 1:
        g = g + weight_decay * w
        param_norm, update_norm = norm(w), norm(g)
        if param_norm > 0 and update_norm > 0:
            g = g * (trust_coefficient * param_norm / update_norm)
    state["mu"] = momentum * state.get("mu", np.zeros_like(w)) + g
    w -= lr * state["mu"]


def timm_lamb(
    w: Array,
    g: Array,
    state: State,
    *,
    lr: float = 1e-3,
    bias_correction: bool = True,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    grad_averaging: bool = True,
    trust_clip: bool = False,
    always_adapt: bool = False,
    decoupled_decay: bool = False,
) -> None:
    """timm/optim/lamb.py, _single_tensor_lamb, without the clipping that comes before it."""
    beta1, beta2 = betas
    beta3 = 1 - beta1 if grad_averaging else 1.0
    step = state["step"] = state.get("step", 0) + 1
    correction1, correction2 = (1 - beta1**step, 1 - beta2**step) if bias_correction else (1.0, 1.0)
    state["exp_avg"] = beta1 * state.get("exp_avg", np.zeros_like(w)) + beta3 * g
    state["exp_avg_sq"] = beta2 * state.get("exp_avg_sq", np.zeros_like(w)) + (1 - beta2) * g * g
    denominator = np.sqrt(state["exp_avg_sq"]) / math.sqrt(correction2) + eps
    update = state["exp_avg"] / correction1 / denominator
    if weight_decay != 0:
        if decoupled_decay:
            w -= lr * weight_decay * w
        else:
            update = update + weight_decay * w
    if weight_decay != 0 or always_adapt:
        w_norm, g_norm = norm(w), norm(update)
        ratio = w_norm / g_norm if w_norm > 0 and g_norm > 0 else 1.0
        update = update * (min(ratio, 1.0) if trust_clip else ratio)
    w -= lr * update


def apex_lamb(
    w: Array,
    g: Array,
    state: State,
    *,
    lr: float = 1e-3,
    bias_correction: bool = True,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    adam_w_mode: bool = True,
    grad_averaging: bool = True,
    use_nvlamb: bool = False,
    clipped_global_grad_norm: float = 1.0,
) -> None:
    """NVIDIA/apex, csrc/multi_tensor_lamb.cu, LAMBStage1Functor and LAMBStage2Functor."""
    beta1, beta2 = betas
    beta3 = 1 - beta1 if grad_averaging else 1.0
    step = state["step"] = state.get("step", 0) + 1
    correction1, correction2 = (1 - beta1**step, 1 - beta2**step) if bias_correction else (1.0, 1.0)
    g = g / clipped_global_grad_norm
    if not adam_w_mode:
        g = g + weight_decay * w
    state["m"] = state.get("m", np.zeros_like(w)) * beta1 + beta3 * g
    state["v"] = state.get("v", np.zeros_like(w)) * beta2 + (1 - beta2) * g * g
    update = (state["m"] / correction1) / (np.sqrt(state["v"] / correction2) + eps)
    if adam_w_mode:
        update = update + weight_decay * w
    ratio = lr
    if use_nvlamb or weight_decay != 0:
        param_norm, update_norm = norm(w), norm(update)
        ratio = lr * (param_norm / update_norm) if update_norm != 0 and param_norm != 0 else lr
    w -= ratio * update


# ---- With every option of ours


def _adapted(adapt: str, w: Array, decay: float) -> bool:
    return {"all": True, "decayed": decay != 0, "matrices": w.ndim >= 2}[adapt]


def _units(scope: str, adapted: list[bool]) -> list[list[int]]:
    """The tensors that share a ratio."""
    members = [index for index, is_adapted in enumerate(adapted) if is_adapted]
    if scope == "layer":
        return [members] if members else []
    return [[index] for index in members]


def lars(
    ws: list[Array],
    gs: list[Array],
    states: list[State],
    *,
    lr: float = 1.0,
    momentum: float = 0.9,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    trust_coefficient: float = 0.001,
    eps: float = 0.0,
    norm_of: str = "separate",
    lr_position: str = "inside",
    adapt: str = "all",
    trust_ratio_scope: str = "tensor",
    trust_clip: bool = False,
    skip_zero_gradient: bool = False,
    weight_decay_exclude_1d: bool = False,
) -> list[float]:
    """One layer's step of LARS; returns the trust ratio of each tensor."""
    decays = [0.0 if weight_decay_exclude_1d and w.ndim < 2 else weight_decay for w in ws]
    ratios = [1.0] * len(ws)
    for unit in _units(trust_ratio_scope, [_adapted(adapt, w, decay) for w, decay in zip(ws, decays, strict=True)]):
        weight = math.hypot(*(norm(ws[index]) for index in unit))
        if norm_of == "separate":
            direction = math.hypot(*(norm(gs[index]) for index in unit))
            decay = math.hypot(*(decays[index] * norm(ws[index]) for index in unit))
        else:
            direction, decay = math.hypot(*(norm(gs[index] + decays[index] * ws[index]) for index in unit)), 0.0
        ratio = 1.0
        if weight > 0 and direction + decay > 0 and not (skip_zero_gradient and direction == 0):
            ratio = trust_coefficient * weight / (direction + decay + eps)
        if trust_clip:
            ratio = min(ratio / lr, 1.0)
        for index in unit:
            ratios[index] = ratio
    inner, outer = (lr, 1.0) if lr_position == "inside" else (1.0, lr)
    for w, g, state, decay, ratio in zip(ws, gs, states, decays, ratios, strict=True):
        d = inner * ratio * (g + decay * w)
        b = d
        if momentum:
            b = momentum * state["b"] + (1 - dampening) * d if "b" in state else d
            state["b"] = b
        w -= outer * (d + momentum * b if nesterov else b)
    return ratios


def lamb(
    ws: list[Array],
    gs: list[Array],
    states: list[State],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    decay: str = "update",
    adapt: str = "all",
    trust_ratio_scope: str = "tensor",
    bias_correction: str = "moments",
    grad_averaging: bool = True,
    ratio_eps: bool = False,
    ratio_min: float = 0.0,
    ratio_max: float = math.inf,
    weight_norm_max: float = math.inf,
    weight_decay_exclude_1d: bool = False,
) -> list[float]:
    """One layer's step of LAMB; returns the trust ratio of each tensor."""
    beta1, beta2 = betas
    decays = [0.0 if weight_decay_exclude_1d and w.ndim < 2 else weight_decay for w in ws]
    updates, sizes = [], []
    for w, g, state, own in zip(ws, gs, states, decays, strict=True):
        t = state["t"] = state.get("t", 0) + 1
        if decay == "gradient":
            g = g + own * w
        state["m"] = beta1 * state.get("m", 0.0) + ((1 - beta1) if grad_averaging else 1.0) * g
        state["v"] = beta2 * state.get("v", 0.0) + (1 - beta2) * g * g
        m, v, size = state["m"], state["v"], lr
        if bias_correction == "moments":
            m, v = m / complement(beta1, t), v / complement(beta2, t)
        elif bias_correction == "step_size":
            size = lr / complement(beta1, t)
        if decay == "decoupled":
            w -= lr * own * w
        updates.append(m / (np.sqrt(v) + eps) + (own * w if decay == "update" else 0.0))
        sizes.append(size)
    ratios = [1.0] * len(ws)
    for unit in _units(trust_ratio_scope, [_adapted(adapt, w, own) for w, own in zip(ws, decays, strict=True)]):
        weight = min(math.hypot(*(norm(ws[index]) for index in unit)), weight_norm_max)
        direction = math.hypot(*(norm(updates[index]) for index in unit))
        for index in unit:
            if weight > 0 and direction > 0:
                ratios[index] = max(ratio_min, min(weight / (direction + (eps if ratio_eps else 0.0)), ratio_max))
    for w, update, size, ratio in zip(ws, updates, sizes, ratios, strict=True):
        w -= size * ratio * update
    return ratios
