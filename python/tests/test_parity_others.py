# SPDX-License-Identifier: Apache-2.0
"""Rules that torch lacks equal the libraries that have them: 200 steps in float64, all options away from the defaults.

Both sides round each operation at different places; 1e-12 of the distance moved is a thousand such roundings.
pytorch_optimizer's Prodigy takes its sums in float32, which rounds the estimate d by 6e-8 at each step, so that it is
compared with 1e-5 of the distance, and with float64 sums in `Tests/LayerwiseRulesTests/ProdigyTests.swift`.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import dadaptation
import dog
import jax
import numpy as np
import optax  # type: ignore[import-untyped]
import prodigyopt
import pytest
import pytorch_optimizer
import schedulefree
import torch
import transformers
from support import twins
from support.material import SHAPES, distance, gradients, weights

import layerwise as lw
import layerwise.torch as lwt

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]

STEPS = 200

CASES: dict[str, tuple[str, dict[str, Any], Any, dict[str, Any], float]] = {
    "lion": (
        "Lion",
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1},
        pytorch_optimizer.Lion,
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1, "weight_decouple": True},
        1e-12,
    ),
    "schedule-free": (
        "ScheduleFreeAdamW",
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.2, "warmup_steps": 7, "r": 0.5}
        | {"weight_lr_power": 1.5},
        schedulefree.AdamWScheduleFree,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.2, "warmup_steps": 7, "r": 0.5}
        | {"weight_lr_power": 1.5, "foreach": False},
        1e-12,
    ),
    "adafactor of transformers": (
        "Adafactor",
        {"lr": 1.0, "variant": "transformers"},
        transformers.Adafactor,
        {},
        1e-12,
    ),
    "adafactor of transformers, options": (
        "Adafactor",
        {"lr": 0.03, "variant": "transformers", "eps": (1e-20, 1e-2), "d": 1.5, "beta2_decay": -0.6, "beta1": 0.8}
        | {"weight_decay": 0.1, "scale_parameter": False, "step_size": "constant"},
        transformers.Adafactor,
        {"lr": 0.03, "eps": (1e-20, 1e-2), "clip_threshold": 1.5, "decay_rate": -0.6, "beta1": 0.8}
        | {"weight_decay": 0.1, "scale_parameter": False, "relative_step": False},
        1e-12,
    ),
    "adafactor of transformers, warm-up": (
        "Adafactor",
        {"lr": 1.0, "variant": "transformers", "step_size": "warmup", "beta1": 0.5, "weight_decay": 0.1},
        transformers.Adafactor,
        {"warmup_init": True, "beta1": 0.5, "weight_decay": 0.1},
        1e-10,
    ),
    "came": (
        "CAME",
        {"lr": 0.01, "betas": (0.8, 0.97, 0.99), "eps": (1e-8, 1e-6), "weight_decay": 0.2},
        pytorch_optimizer.CAME,
        {"lr": 0.01, "betas": (0.8, 0.97, 0.99), "eps1": 1e-8, "eps2": 1e-6, "weight_decay": 0.2},
        1e-12,
    ),
    "sm3": (
        "SM3",
        {"lr": 0.05, "momentum": 0.8, "eps": 1e-6},
        pytorch_optimizer.SM3,
        {"lr": 0.05, "momentum": 0.8, "eps": 1e-6},
        1e-12,
    ),
    "sm3 without momentum": (
        "SM3",
        {"lr": 0.05, "variant": "pytorch_optimizer"},
        pytorch_optimizer.SM3,
        {"lr": 0.05},
        1e-12,
    ),
    "lion, cautious": (
        "Lion",
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1, "cautious": "update"},
        twins.CautiousLion,
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1},
        1e-12,
    ),
    "adamw, cautious": (
        "AdamW",
        {"lr": 0.01, "weight_decay": 0.1, "cautious": "update"},
        twins.CautiousAdamW,
        {"lr": 0.01, "weight_decay": 0.1, "cautious": "update"},
        1e-12,
    ),
    "adamw, cautious decay": (
        "AdamW",
        {"lr": 0.01, "weight_decay": 0.1, "cautious": "decay"},
        twins.CautiousAdamW,
        {"lr": 0.01, "weight_decay": 0.1, "cautious": "decay"},
        1e-12,
    ),
    "nadamw of timm": (
        "NAdam",
        {"lr": 0.01, "betas": (0.8, 0.95), "variant": "timm", "eps": 1e-5, "weight_decay": 0.2}
        | {"decoupled_weight_decay": True},
        twins.NAdamWOfTimm,
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.2},
        1e-12,
    ),
    "prodigy": (
        "Prodigy",
        {"lr": 0.7, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "d0": 1e-3, "d_coef": 1.3}
        | {"growth_rate": 1.5, "use_bias_correction": True, "safeguard_warmup": True},
        pytorch_optimizer.Prodigy,
        {"lr": 0.7, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "d0": 1e-3, "d_coef": 1.3}
        | {"growth_rate": 1.5, "bias_correction": True, "safeguard_warmup": True},
        1e-5,
    ),
    "adabelief": (
        "AdaBelief",
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.2},
        pytorch_optimizer.AdaBelief,
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.2, "weight_decouple": True},
        1e-12,
    ),
    "adabelief coupled": (
        "AdaBelief",
        {"lr": 0.01, "betas": (0.7, 0.9), "eps": 1e-8, "weight_decay": 0.2, "decoupled_weight_decay": False},
        pytorch_optimizer.AdaBelief,
        {"lr": 0.01, "betas": (0.7, 0.9), "eps": 1e-8, "weight_decay": 0.2, "weight_decouple": False},
        1e-12,
    ),
    "yogi": (
        "Yogi",
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "initial_accumulator": 0.01, "weight_decay": 0.2},
        pytorch_optimizer.Yogi,
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "initial_accumulator": 0.01, "weight_decay": 0.2}
        | {"weight_decouple": True},
        1e-12,
    ),
    "yogi coupled": (
        "Yogi",
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.2, "decoupled_weight_decay": False},
        pytorch_optimizer.Yogi,
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.2, "weight_decouple": False},
        1e-12,
    ),
    "adan": (
        "Adan",
        {"lr": 0.01, "betas": (0.9, 0.8, 0.95), "eps": 1e-5, "weight_decay": 0.2},
        pytorch_optimizer.Adan,
        {"lr": 0.01, "betas": (0.9, 0.8, 0.95), "eps": 1e-5, "weight_decay": 0.2, "weight_decouple": False},
        1e-12,
    ),
    "adan without prox": (
        "Adan",
        {"lr": 0.01, "betas": (0.95, 0.7, 0.9), "weight_decay": 0.2, "no_prox": True},
        pytorch_optimizer.Adan,
        {"lr": 0.01, "betas": (0.95, 0.7, 0.9), "weight_decay": 0.2, "weight_decouple": True},
        1e-12,
    ),
    # pytorch_optimizer counts the bound's steps from 1, and so takes another power here.
    "adopt": (
        "ADOPT",
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "clip_power": 0.4, "weight_decay": 0.2},
        pytorch_optimizer.ADOPT,
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "clip_lambda": lambda t: (t - 1) ** 0.4, "weight_decay": 0.2},
        1e-12,
    ),
    "adopt without clip": (
        "ADOPT",
        {"lr": 0.01, "betas": (0.8, 0.95), "clip": False},
        pytorch_optimizer.ADOPT,
        {"lr": 0.01, "betas": (0.8, 0.95), "clip_lambda": None},
        1e-12,
    ),
    "ademamix": (
        "AdEMAMix",
        {"lr": 0.01, "betas": (0.8, 0.95, 0.99), "alpha": 3.0, "t_alpha": 150, "t_beta3": 150, "eps": 1e-5}
        | {"weight_decay": 0.2},
        pytorch_optimizer.AdEMAMix,
        {"lr": 0.01, "betas": (0.8, 0.95, 0.99), "alpha": 3.0, "t_alpha_beta3": 150.0, "eps": 1e-5}
        | {"weight_decay": 0.2, "weight_decouple": True},
        1e-12,
    ),
    "ademamix without warm-up": (
        "AdEMAMix",
        {"lr": 0.01, "betas": (0.9, 0.97, 0.995), "alpha": 8.0, "weight_decay": 0.1},
        pytorch_optimizer.AdEMAMix,
        {"lr": 0.01, "betas": (0.9, 0.97, 0.995), "alpha": 8.0, "weight_decay": 0.1, "weight_decouple": True},
        1e-12,
    ),
    # pytorch_optimizer adds 1e-15 under the root, which is up to 1e-8 of the squares of small gradients.
    "laprop": (
        "LaProp",
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.2},
        pytorch_optimizer.LaProp,
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.2, "weight_decouple": True},
        1e-8,
    ),
    "madgrad": (
        "MADGRAD",
        {"lr": 0.01, "momentum": 0.8, "eps": 1e-5, "weight_decay": 0.2},
        pytorch_optimizer.MADGRAD,
        {"lr": 0.01, "momentum": 0.8, "eps": 1e-5, "weight_decay": 0.2},
        1e-12,
    ),
    "madgrad without momentum": (
        "MADGRAD",
        {"lr": 0.01, "momentum": 0.0},
        pytorch_optimizer.MADGRAD,
        {"lr": 0.01, "momentum": 0.0},
        1e-12,
    ),
    # pytorch_optimizer's decoupled decay is (lr + eps) * weight_decay.
    "madgrad decoupled": (
        "MADGRAD",
        {"lr": 0.01, "momentum": 0.8, "eps": 1e-3, "weight_decay": 0.2 * 1.1, "decoupled_weight_decay": True},
        pytorch_optimizer.MADGRAD,
        {"lr": 0.01, "momentum": 0.8, "eps": 1e-3, "weight_decay": 0.2, "weight_decouple": True},
        1e-12,
    ),
    "fromage": ("Fromage", {"lr": 0.01}, pytorch_optimizer.Fromage, {"lr": 0.01}, 1e-12),
    "stableadamw": (
        "StableAdamW",
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.2},
        pytorch_optimizer.StableAdamW,
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.2},
        1e-12,
    ),
    "stableadamw coupled": (
        "StableAdamW",
        {"lr": 0.01, "betas": (0.7, 0.9), "weight_decay": 0.2, "decoupled_weight_decay": False},
        pytorch_optimizer.StableAdamW,
        {"lr": 0.01, "betas": (0.7, 0.9), "weight_decay": 0.2, "weight_decouple": False},
        1e-12,
    ),
    # pytorch_optimizer divides ε by the root of 1 - β₂ᵗ and adds 1e-15 under the root: equal where squares are large.
    "mars": (
        "MARS",
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 0.0, "weight_decay": 0.2, "gamma": 0.3, "lr_1d_factor": 0.5}
        | {"betas_1d": (0.7, 0.95), "weight_decay_1d": 0.1},
        pytorch_optimizer.MARS,
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 0.0, "weight_decay": 0.2, "gamma": 0.3, "lr_1d": 0.005}
        | {"betas_1d": (0.7, 0.95), "weight_decay_1d": 0.1, "foreach": False},
        1e-8,
    ),
    "mars with lion": (
        "MARS",
        {"lr": 0.01, "betas": (0.8, 0.9), "mars_type": "lion", "gamma": 0.3, "weight_decay": 0.2, "optimize_1d": True},
        pytorch_optimizer.MARS,
        {"lr": 0.01, "betas": (0.8, 0.9), "mars_type": "lion", "gamma": 0.3, "weight_decay": 0.2, "optimize_1d": True}
        | {"foreach": False},
        1e-12,
    ),
    "mars of the authors": (
        "MARS",
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2, "gamma": 0.3, "lr_1d_factor": 0.5}
        | {"betas_1d": (0.7, 0.95), "weight_decay_1d": 0.1, "amsgrad": True},
        twins.MARS,
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2, "gamma": 0.3, "lr_1d_factor": 0.5}
        | {"betas_1d": (0.7, 0.95), "weight_decay_1d": 0.1, "amsgrad": True},
        1e-12,
    ),
    "mars of timm": (
        "MARS",
        {"variant": "timm", "lr": 0.01, "eps": 1e-3, "weight_decay": 0.2, "weight_decay_1d": 0.2, "gamma": 0.3}
        | {"lr_1d_factor": 0.5},
        twins.MARS,
        {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-3, "weight_decay": 0.2, "weight_decay_1d": None, "gamma": 0.3}
        | {"lr_1d_factor": 0.5, "betas_1d": (0.9, 0.99), "corrects_first": False},
        1e-12,
    ),
    "mars of timm, everywhere": (
        "MARS",
        {"variant": "timm", "lr": 0.01, "betas": (0.7, 0.9), "weight_decay": 0.2, "optimize_1d": True},
        twins.MARS,
        {"lr": 0.01, "betas": (0.7, 0.9), "weight_decay": 0.2, "optimize_1d": True, "corrects_first": False},
        1e-12,
    ),
    "novograd": (
        "NovoGrad",
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.2, "grad_averaging": True},
        pytorch_optimizer.NovoGrad,
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.2, "grad_averaging": True},
        1e-12,
    ),
    "novograd decoupled": (
        "NovoGrad",
        {"lr": 0.01, "weight_decay": 0.2, "decoupled_weight_decay": True},
        pytorch_optimizer.NovoGrad,
        {"lr": 0.01, "weight_decay": 0.2, "weight_decouple": True},
        1e-12,
    ),
    "novograd of timm": (
        "NovoGrad",
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.2, "grad_averaging": True, "variant": "timm"},
        twins.NovoGradOfTimm,
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.2, "grad_averaging": True},
        1e-12,
    ),
    "novograd of apex": (
        "NovoGrad",
        {"lr": 0.01, "eps": 1e-4, "weight_decay": 0.2, "variant": "apex"},
        twins.NovoGradOfApex,
        {"lr": 0.01, "eps": 1e-4, "weight_decay": 0.2},
        1e-12,
    ),
    "novograd of apex, decay inside": (
        "NovoGrad",
        {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.2, "variant": "apex"}
        | {"moment": "normalized", "decoupled_weight_decay": False, "init_zero": True},
        twins.NovoGradOfApex,
        {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.2, "reg_inside_moment": True, "init_zero": True},
        1e-12,
    ),
    "lans": (
        "LANS",
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.2, "variant": "gluon"},
        twins.LANS,
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.2},
        1e-12,
    ),
    "lans, decay in the gradient": (
        "LANS",
        {"lr": 0.01, "betas": (0.7, 0.9), "weight_decay": 0.2, "variant": "gluon"}
        | {"decay": "gradient", "grad_averaging": False, "bias_correction": False},
        twins.LANS,
        {"lr": 0.01, "betas": (0.7, 0.9), "weight_decay": 0.2, "adam_w_mode": False}
        | {"grad_averaging": False, "bias_correction": False},
        1e-12,
    ),
    "lans without normalization": (
        "LANS",
        {"lr": 0.01, "weight_decay": 0.2, "normalize_grad": False},
        twins.LANS,
        {"lr": 0.01, "weight_decay": 0.2, "normalize_grad": False},
        1e-12,
    ),
    "dog": (
        "DoG",
        {"lr": 0.8, "reps_rel": 1e-3, "eps": 1e-4, "weight_decay": 0.2},
        dog.DoG,
        {"lr": 0.8, "reps_rel": 1e-3, "eps": 1e-4, "weight_decay": 0.2},
        1e-12,
    ),
    "dog, first rate": ("DoG", {"init_eta": 0.01}, dog.DoG, {"init_eta": 0.01}, 1e-12),
    "ldog": (
        "LDoG",
        {"lr": 0.8, "reps_rel": 1e-3, "eps": 1e-4, "weight_decay": 0.2},
        dog.LDoG,
        {"lr": 0.8, "reps_rel": 1e-3, "eps": 1e-4, "weight_decay": 0.2},
        1e-12,
    ),
    "ldog, first rate": ("LDoG", {"init_eta": 0.01}, dog.LDoG, {"init_eta": 0.01}, 1e-12),
    "d-adaptation of adam": (
        "DAdaptAdam",
        {"lr": 0.7, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "d0": 1e-3, "growth_rate": 1.5}
        | {"use_bias_correction": True},
        dadaptation.DAdaptAdam,
        {"lr": 0.7, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "d0": 1e-3, "growth_rate": 1.5}
        | {"use_bias_correction": True},
        1e-12,
    ),
    "d-adaptation of adam, decoupled": (
        "DAdaptAdam",
        {"weight_decay": 0.1, "d0": 1e-3, "decoupled_weight_decay": True},
        dadaptation.DAdaptAdam,
        {"weight_decay": 0.1, "d0": 1e-3, "decouple": True},
        1e-12,
    ),
    "d-adaptation of sgd": (
        "DAdaptSGD",
        {"lr": 0.7, "momentum": 0.8, "weight_decay": 0.1, "d0": 1e-3, "growth_rate": 1.5},
        dadaptation.DAdaptSGD,
        {"lr": 0.7, "momentum": 0.8, "weight_decay": 0.1, "d0": 1e-3, "growth_rate": 1.5},
        1e-12,
    ),
    "schedule-free sgd": (
        "ScheduleFreeSGD",
        {"lr": 0.2, "momentum": 0.8, "weight_decay": 0.2, "warmup_steps": 7, "r": 0.5, "weight_lr_power": 1.5},
        schedulefree.SGDScheduleFree,
        {"lr": 0.2, "momentum": 0.8, "weight_decay": 0.2, "warmup_steps": 7, "r": 0.5, "weight_lr_power": 1.5}
        | {"foreach": False},
        1e-12,
    ),
    "schedule-free radam": (
        "ScheduleFreeRAdam",
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.2, "r": 0.5, "weight_lr_power": 1.5},
        schedulefree.RAdamScheduleFree,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.2, "r": 0.5, "weight_lr_power": 1.5}
        | {"foreach": False},
        1e-12,
    ),
    "schedule-free radam, first steps of sgd": (
        "ScheduleFreeRAdam",
        {"lr": 0.02, "betas": (0.7, 0.99), "weight_decay": 0.2, "silent_sgd_phase": False},
        schedulefree.RAdamScheduleFree,
        {"lr": 0.02, "betas": (0.7, 0.99), "weight_decay": 0.2, "silent_sgd_phase": False, "foreach": False},
        1e-12,
    ),
    "prodigy of prodigyopt": (
        "Prodigy",
        {"lr": 0.7, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "d0": 1e-3, "d_coef": 1.3, "beta3": 0.9}
        | {"growth_rate": 1.5, "use_bias_correction": True, "safeguard_warmup": True},
        prodigyopt.Prodigy,
        {"lr": 0.7, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "d0": 1e-3, "d_coef": 1.3, "beta3": 0.9}
        | {"growth_rate": 1.5, "use_bias_correction": True, "safeguard_warmup": True},
        1e-10,
    ),
    "prodigy of prodigyopt, decay in the gradient": (
        "Prodigy",
        {"lr": 0.9, "weight_decay": 0.1, "d0": 1e-3, "decoupled_weight_decay": False},
        prodigyopt.Prodigy,
        {"lr": 0.9, "weight_decay": 0.1, "d0": 1e-3, "decouple": False},
        1e-10,
    ),
    "prodigy of prodigyopt, every third element": (
        "Prodigy",
        {"lr": 0.9, "weight_decay": 0.1, "d0": 1e-3, "slice_p": 3},
        prodigyopt.Prodigy,
        {"lr": 0.9, "weight_decay": 0.1, "d0": 1e-3, "slice_p": 3},
        1e-10,
    ),
    "prodigy of prodigyopt, every eleventh element": (
        "Prodigy",
        {"lr": 0.7, "betas": (0.8, 0.95), "weight_decay": 0.1, "d0": 1e-3, "decoupled_weight_decay": False}
        | {"slice_p": 11, "safeguard_warmup": True, "use_bias_correction": True},
        prodigyopt.Prodigy,
        {"lr": 0.7, "betas": (0.8, 0.95), "weight_decay": 0.1, "d0": 1e-3, "decouple": False}
        | {"slice_p": 11, "safeguard_warmup": True, "use_bias_correction": True},
        1e-10,
    ),
    "tiger": (
        "Tiger",
        {"lr": 0.01, "beta": 0.9, "weight_decay": 0.2},
        pytorch_optimizer.Tiger,
        {"lr": 0.01, "beta": 0.9, "weight_decay": 0.2, "weight_decouple": True},
        1e-12,
    ),
    "signsgd": (
        "SignSGD",
        {"lr": 0.01, "weight_decay": 0.2},
        pytorch_optimizer.SignSGD,
        {"lr": 0.01, "momentum": 0.0, "weight_decay": 0.2, "weight_decouple": True},
        1e-12,
    ),
    "signum": (
        "SignSGD",
        {"lr": 0.01, "momentum": 0.8, "weight_decay": 0.2},
        pytorch_optimizer.SignSGD,
        {"lr": 0.01, "momentum": 0.8, "weight_decay": 0.2, "weight_decouple": True},
        1e-12,
    ),
}


@pytest.mark.parametrize(("name", "options", "peer", "peer_options", "tolerance"), CASES.values(), ids=CASES)
def test_parity(name: str, options: dict[str, Any], peer: Any, peer_options: dict[str, Any], tolerance: float) -> None:
    start = {key: torch.from_numpy(value) for key, value in weights(SHAPES).items() if value.size}
    ours = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
    theirs = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
    opt = getattr(lwt, name)([*ours.items()], **options)
    twin = peer([*theirs.values()], **peer_options)
    with contextlib.suppress(AttributeError):
        twin.train()
    for step, found in enumerate(gradients(SHAPES, STEPS)):
        for key, value in found.items():
            if key in ours:
                # A pull to 0 makes the estimate of the distance move.
                ours[key].grad = torch.from_numpy(value) + 0.3 * ours[key].detach()
                theirs[key].grad = torch.from_numpy(value) + 0.3 * theirs[key].detach()
        opt.step()
        twin.step()
        if step % 50 == 49 and name.startswith("ScheduleFree"):
            for each in (opt, twin):
                each.eval()
            compare(name, step, ours, theirs, start, tolerance)
            for each in (opt, twin):
                each.train()
    compare(name, STEPS, ours, theirs, start, tolerance)


def compare(name: str, step: int, ours: Any, theirs: Any, start: Any, tolerance: float) -> None:
    for key in ours:
        moved = distance(theirs[key].detach(), start[key])
        assert moved > 0
        error = distance(ours[key].detach(), theirs[key].detach())
        assert error <= tolerance * moved, f"{name}, step {step}, {key}: {error / moved:.2e} of the distance moved"


OF_OPTAX: dict[str, tuple[lw.Rule, Any]] = {
    "rmsprop, TensorFlow's form": (
        lw.RMSprop(
            lr=0.01, alpha=0.9, eps=1e-4, momentum=0.8, eps_in_sqrt=True, lr_in_momentum=True, initial_square_avg=1.0
        ),
        optax.rmsprop(0.01, decay=0.9, eps=1e-4, momentum=0.8, initial_scale=1.0),
    ),
    "rmsprop, centered": (
        lw.RMSprop(lr=0.01, alpha=0.9, eps=1e-3, centered=True, eps_in_sqrt=True),
        optax.rmsprop(0.01, decay=0.9, eps=1e-3, centered=True),
    ),
    "rmsprop, epsilon outside": (
        lw.RMSprop(lr=0.01, alpha=0.9, eps=1e-3, momentum=0.8, lr_in_momentum=True),
        optax.rmsprop(0.01, decay=0.9, eps=1e-3, momentum=0.8, eps_in_sqrt=False),
    ),
    "adabelief": (
        lw.AdaBelief(lr=0.01, betas=(0.8, 0.95), eps=1e-6),
        optax.adabelief(0.01, 0.8, 0.95, eps=1e-6, eps_root=1e-6),
    ),
    "yogi": (lw.Yogi(lr=0.01, betas=(0.8, 0.95), eps=1e-4), optax.yogi(0.01, 0.8, 0.95, eps=1e-4)),
    "adopt": (
        lw.ADOPT(lr=0.01, betas=(0.8, 0.95), eps=1e-4, clip_power=0.4),
        optax.contrib.adopt(0.01, 0.8, 0.95, eps=1e-4, clip_value_fn=lambda t: t**0.4),
    ),
    "sm3": (lw.SM3(lr=0.05, variant="optax"), optax.sm3(0.05)),
    "sm3 with decay": (
        lw.SM3(lr=0.05, variant="optax", momentum=0.8, beta=0.7, eps=1e-4),
        optax.chain(optax.scale_by_sm3(0.8, 0.7, 1e-4), optax.scale(-0.05)),
    ),
    "adagrad": (
        lw.Adagrad(lr=0.01, variant="optax", eps=1e-3),
        optax.adagrad(0.01, eps=1e-3),
    ),
    "adan": (
        lw.Adan(lr=0.01, betas=(0.9, 0.7, 0.95), eps=1e-4, weight_decay=0.2, variant="optax"),
        optax.adan(0.01, 0.9, 0.7, 0.95, eps=1e-4, weight_decay=0.2),
    ),
    "adan with eps_root": (
        lw.Adan(lr=0.01, betas=(0.9, 0.7, 0.95), eps=0.0, eps_root=1e-3, variant="optax"),
        optax.adan(0.01, 0.9, 0.7, 0.95, eps=0.0, eps_root=1e-3),
    ),
    "nadam": (
        lw.NAdam(lr=0.01, betas=(0.8, 0.95), variant="optax", eps=1e-4),
        optax.nadam(0.01, 0.8, 0.95, eps=1e-4),
    ),
    "nadamw": (
        lw.NAdam(lr=0.01, betas=(0.8, 0.95), variant="optax", weight_decay=0.2, decoupled_weight_decay=True),
        optax.nadamw(0.01, 0.8, 0.95, weight_decay=0.2),
    ),
    "signsgd": (lw.SignSGD(lr=0.01), optax.sign_sgd(0.01)),
    "adamaxw": (
        lw.Adamax(lr=0.01, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.2, decoupled_weight_decay=True),
        optax.adamaxw(0.01, 0.8, 0.95, eps=1e-4, weight_decay=0.2),
    ),
    "simplified ademamix": (
        lw.SimplifiedAdEMAMix(lr=0.003, betas=(0.8, 0.95), alpha=3.0, eps=1e-4, weight_decay=0.2),
        optax.contrib.simplified_ademamix(0.003, 0.8, 0.95, alpha=3.0, eps=1e-4, weight_decay=0.2),
    ),
    "dog": (
        lw.DoG(lr=0.8, reps_rel=1e-3, eps=1e-4, weight_decay=0.2),
        optax.contrib.dog(0.8, ("heuristic", 1e-3), eps=1e-4, weight_decay=0.2),
    ),
    "dog, first rate": (lw.DoG(init_eta=0.01), optax.contrib.dog(1.0, ("learning_rate", 0.01))),
    "dowg": (lw.DoWG(lr=0.8, weight_decay=0.2), optax.contrib.dowg(0.8, weight_decay=0.2)),
    "dowg, first distance": (
        lw.DoWG(init_estim_sq_dist=0.01, eps=1e-5),
        optax.contrib.dowg(1.0, 0.01, eps=1e-5),
    ),
    # Gradients that do not depend on the weights let the estimate grow at every step.
    "d-adaptation of adamw": (
        lw.DAdaptAdam(lr=1e-12, d0=1e-3, weight_decay=0.2, decoupled_weight_decay=True, use_bias_correction=True),
        optax.contrib.dadapt_adamw(1e-12, estim_lr0=1e-3, weight_decay=0.2),
    ),
    "fromage": (lw.Fromage(lr=0.01, min_norm=1e-6), optax.fromage(0.01)),
    # optax subtracts 1 from its factor of the weights, which loses digits where the rate is small.
    "fromage, least norm": (lw.Fromage(lr=0.1, min_norm=5.0), optax.fromage(0.1, 5.0)),
    "novograd": (lw.NovoGrad(lr=0.01, variant="optax"), optax.novograd(0.01)),
    "novograd, options": (
        lw.NovoGrad(lr=0.01, betas=(0.8, 0.4), eps=1e-4, eps_root=1e-3, weight_decay=0.2, variant="optax"),
        optax.novograd(0.01, 0.8, 0.4, eps=1e-4, eps_root=1e-3, weight_decay=0.2),
    ),
    "fromage, with decay": (
        lw.Fromage(lr=0.01, weight_decay=0.2),
        optax.chain(optax.add_decayed_weights(0.2), optax.fromage(0.01)),
    ),
}


@pytest.mark.parametrize(("rule", "peer"), OF_OPTAX.values(), ids=OF_OPTAX)
def test_parity_with_optax(rule: lw.Rule, peer: Any) -> None:
    # optax's SM3 knows no tensors of rank 0.
    least = 1 if isinstance(rule, lw.SM3) else 0
    start = {key: value for key, value in weights(SHAPES).items() if value.size and value.ndim >= least}
    ours = {key: value.copy() for key, value in start.items()}
    theirs = {key: jax.numpy.asarray(value) for key, value in start.items()}
    state = peer.init(theirs)

    # Fast code is not what is compared, and to make it takes longer than the steps.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def step(found: Any, old: Any, params: Any) -> Any:
        changes, state = peer.update(found, old, params)
        return optax.apply_updates(params, changes), state

    with lw.Optimizer(rule) as opt:
        opt.add_layer("all", ours)
        for found in gradients(SHAPES, STEPS):
            fresh = {key: found[key] for key in ours}
            opt.step({"all": fresh})
            theirs, state = step(fresh, state, theirs)
    for key in ours:
        moved = distance(np.asarray(theirs[key]), start[key])
        error = distance(ours[key], np.asarray(theirs[key]))
        assert error <= 1e-12 * moved, f"{key}: {error / moved:.2e} of the distance moved"


def test_schedule_free_state_dict_in_evaluation() -> None:
    """A state dict that was taken in evaluation goes with weights for evaluation, and trains on to the same bits."""
    torch.manual_seed(0)
    model, other = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    opt, loaded = (lwt.ScheduleFreeAdamW(each, lr=0.1) for each in (model, other))

    def step(module: torch.nn.Module, optimizer: Any) -> None:
        optimizer.zero_grad()
        module(torch.ones(2, 5)).square().sum().backward()
        optimizer.step()

    for _ in range(4):
        step(model, opt)
    opt.eval()
    other.load_state_dict(model.state_dict())
    loaded.load_state_dict(opt.state_dict())
    assert loaded.native.mode == "evaluation"
    for each in (opt, loaded):
        each.train()
    for _ in range(2):
        step(model, opt)
        step(other, loaded)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
