# SPDX-License-Identifier: Apache-2.0
"""The table of rules: what tests need to know of each.  A new rule has its row here and nowhere else.

`test_rules.py` compares the table with what the library declares.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import layerwise as lw

Options = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What tests need to know of a rule.

    Attributes:
        options: An ordinary choice, which trains the small networks of the tests.
        parity: Runs that are compared with the peer, by name; together they have every option away from its default.
        peer: Where in torch the optimizer is that the rule is compared with: "optim", or "twins" for those of
            support/twins.py; empty for rules that are compared elsewhere.
        extremes: Choices at the ends of what is allowed.
        counts: Whether the peer counts steps in its state.
        has_sums: Whether a tensor's change depends on sums over it.
        together: Whether those sums are taken over all layers, which are then stepped together.
        averages: Whether the change depends on means over the tensor.
        skips_empty: Whether the peer leaves out tensors without elements.
    """

    options: Options
    parity: dict[str, Options] = field(default_factory=dict)
    peer: str = ""
    extremes: list[Options] = field(default_factory=list)
    counts: bool = True
    has_sums: bool = False
    together: bool = False
    averages: bool = False
    skips_empty: bool = False


TABLE: dict[str, Case] = {
    "SGD": Case(
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1},
        {
            "sgd": {"lr": 0.03},
            "sgd decay": {"lr": 0.03, "weight_decay": 0.07},
            "sgd momentum": {"lr": 0.01, "momentum": 0.8},
            "sgd dampening": {"lr": 0.02, "momentum": 0.85, "dampening": 0.3, "weight_decay": 0.04},
            "sgd nesterov": {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05},
        },
        "optim",
        [
            {"lr": 0.1},
            {"lr": 0.1, "weight_decay": 0.1},
            {"lr": 1e10, "weight_decay": 1e10, "decoupled_weight_decay": True},
            {"lr": 0.1, "momentum": 0.9},
            {"lr": 10.0, "momentum": 0.9, "nesterov": True, "weight_decay": 3.0},
            {"lr": 0.1, "momentum": 0.9, "dampening": 1.0, "weight_decay": 2.0},
            {"lr": 0.0, "momentum": 0.9},
        ],
        counts=False,
    ),
    "LARS": Case(
        {"lr": 2.0, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "weight_decay": 2.0, "norm": "decayed", "nesterov": True, "lr_position": "outside"},
            {"lr": 0.1, "momentum": 0.0, "trust_ratio_scope": "layer", "weight_decay": 0.1},
        ],
        has_sums=True,
    ),
    "Adam": Case(
        {"lr": 0.02, "amsgrad": True, "betas": (0.8, 0.95)},
        {
            "adam": {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6},
            "adam decay": {"lr": 0.02, "betas": (0.85, 0.97), "eps": 1e-5, "weight_decay": 0.06},
            "adam amsgrad": {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-4, "weight_decay": 0.03, "amsgrad": True},
            "adam decoupled": {"lr": 0.02, "weight_decay": 0.3, "decoupled_weight_decay": True, "amsgrad": True},
        },
        "optim",
        [
            {"lr": 0.1},
            {"lr": 0.1, "weight_decay": 10.0, "amsgrad": True},
            {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0},
            {"lr": 1e30, "eps": 1e30},
        ],
    ),
    "AdamW": Case(
        {"lr": 0.02, "weight_decay": 0.2},
        {
            "adamw": {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-7, "weight_decay": 0.2},
            "adamw amsgrad": {"lr": 0.02, "betas": (0.6, 0.8), "eps": 1e-3, "weight_decay": 0.4, "amsgrad": True},
            "adamw defaults": {},
        },
        "optim",
        [{"lr": 0.1, "weight_decay": 0.0}, {"lr": 0.1, "weight_decay": 100.0, "amsgrad": True}],
    ),
    "LAMB": Case(
        {"lr": 0.02, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "weight_decay": 10.0, "grad_averaging": False, "bias_correction": "none"},
            {"lr": 0.1, "weight_decay": 2.0, "decay": "decoupled", "trust_ratio_scope": "layer"},
            {"lr": 0.1, "weight_decay": 2.0, "decay": "gradient", "ratio_eps": True},
        ],
        has_sums=True,
    ),
    "Lion": Case(
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1},
        {
            "lion": {"lr": 0.01, "betas": (0.8, 0.95)},
            "lion decay": {"lr": 0.02, "betas": (0.7, 0.9), "weight_decay": 0.3},
        },
        "twins",
        [{"lr": 0.1}, {"lr": 0.1, "betas": (0.0, 0.0), "weight_decay": 10.0}],
        counts=False,
    ),
    "NAdam": Case(
        {"lr": 0.02, "betas": (0.8, 0.95), "momentum_decay": 0.01},
        {
            "nadam": {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "momentum_decay": 0.02},
            "nadam decay": {"lr": 0.02, "betas": (0.85, 0.97), "eps": 1e-5, "weight_decay": 0.06},
            "nadam decoupled": {"lr": 0.02, "weight_decay": 0.3, "decoupled_weight_decay": True},
        },
        "twins",
        [{"lr": 0.1}, {"lr": 0.1, "weight_decay": 10.0}],
    ),
    "RMSprop": Case(
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "centered": True},
        {
            "rmsprop": {"lr": 0.01, "alpha": 0.9, "eps": 1e-6},
            "rmsprop momentum": {"lr": 0.01, "alpha": 0.95, "eps": 1e-4, "momentum": 0.8, "weight_decay": 0.06},
            "rmsprop centered": {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "centered": True},
            "rmsprop all": {
                "lr": 0.01,
                "alpha": 0.8,
                "eps": 1e-3,
                "momentum": 0.7,
                "centered": True,
                "weight_decay": 0.1,
            },
        },
        "optim",
        [
            {"lr": 0.1},
            {"lr": 0.1, "weight_decay": 10.0, "momentum": 0.9, "centered": True},
            {"lr": 1e30, "eps": 0.0, "eps_in_sqrt": True, "momentum": 0.9, "lr_in_momentum": True},
            {"lr": 0.1, "eps_in_sqrt": True, "centered": True, "initial_square_avg": 1e30},
        ],
    ),
    "Adagrad": Case(
        {"lr": 0.05, "lr_decay": 0.01, "weight_decay": 0.1},
        {
            "adagrad": {"lr": 0.05, "eps": 1e-6},
            "adagrad decay": {"lr": 0.05, "lr_decay": 0.02, "weight_decay": 0.06, "initial_accumulator_value": 0.1},
        },
        "optim",
        [
            {"lr": 0.1},
            {"lr": 0.1, "eps": 0.0, "weight_decay": 10.0},
            {"lr": 1e30, "lr_decay": 1e30, "initial_accumulator_value": 1e30},
        ],
    ),
    "Adadelta": Case(
        {"lr": 1.0, "rho": 0.8, "eps": 1e-4},
        {
            "adadelta": {"lr": 0.7, "rho": 0.8, "eps": 1e-5},
            "adadelta decay": {"lr": 0.9, "rho": 0.95, "eps": 1e-4, "weight_decay": 0.06},
        },
        "optim",
        [{"lr": 1.0}, {"lr": 1.0, "rho": 0.0, "eps": 0.0, "weight_decay": 10.0}, {"lr": 1e30, "eps": 1e30}],
    ),
    "Adamax": Case(
        {"lr": 0.02, "betas": (0.8, 0.95)},
        {
            "adamax": {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6},
            "adamax decay": {"lr": 0.02, "betas": (0.85, 0.97), "eps": 1e-3, "weight_decay": 0.06},
        },
        "optim",
        [{"lr": 0.1}, {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0, "weight_decay": 10.0}, {"lr": 1e30, "eps": 1e30}],
    ),
    "RAdam": Case(
        {"lr": 0.02, "betas": (0.8, 0.95)},
        {
            "radam": {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6},
            "radam decay": {"lr": 0.02, "betas": (0.85, 0.97), "eps": 1e-5, "weight_decay": 0.06},
            "radam decoupled": {
                "lr": 0.02,
                "betas": (0.7, 0.9),
                "weight_decay": 0.3,
                "decoupled_weight_decay": True,
            },
        },
        "optim",
        [{"lr": 0.1}, {"lr": 0.1, "betas": (0.0, 0.0)}, {"lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 10.0}],
    ),
    "Rprop": Case(
        {"lr": 0.01, "etas": (0.6, 1.3), "step_sizes": (1e-5, 0.05)},
        {
            "rprop": {"lr": 0.01, "etas": (0.6, 1.3), "step_sizes": (1e-3, 0.1)},
            "rprop decay": {"lr": 0.02, "etas": (0.4, 1.1), "step_sizes": (1e-3, 0.2), "weight_decay": 0.06},
        },
        "twins",
        [{"lr": 0.1}, {"lr": 1e30, "step_sizes": (0.0, 1e30), "weight_decay": 1e10}],
    ),
    "ASGD": Case(
        {"lr": 0.05, "lambd": 0.01, "t0": 2, "weight_decay": 0.1},
        {
            "asgd": {"lr": 0.05, "lambd": 0.02},
            "asgd average": {"lr": 0.05, "lambd": 0.03, "alpha": 0.6, "t0": 30.0, "weight_decay": 0.06},
        },
        "twins",
        [{"lr": 0.1}, {"lr": 1e10, "lambd": 1e10, "t0": 0, "weight_decay": 1e10}, {"lr": 0.1, "alpha": 0.0, "t0": 1}],
    ),
    "AdaBelief": Case(
        {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0, "weight_decay": 10.0, "decoupled_weight_decay": False},
            {"lr": 1e30, "eps": 1e30},
        ],
    ),
    "Yogi": Case(
        {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0, "weight_decay": 10.0, "decoupled_weight_decay": False},
            {"lr": 0.1, "initial_accumulator": 1e30},
        ],
    ),
    "Adan": Case(
        {"lr": 0.02, "betas": (0.9, 0.8, 0.95), "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1, "eps_root": 1e30},
            {"lr": 0.1, "betas": (0.0, 0.0, 0.0), "eps": 0.0, "weight_decay": 1e30},
            {"lr": 0.1, "weight_decay": 10.0, "no_prox": True},
        ],
    ),
    "ADOPT": Case(
        {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0, "clip": False, "weight_decay": 10.0},
            {"lr": 0.1, "clip_power": 100.0, "weight_decay": 10.0, "decoupled_weight_decay": True},
        ],
    ),
    "AdEMAMix": Case(
        {"lr": 0.02, "betas": (0.8, 0.95, 0.99), "alpha": 3.0, "t_alpha": 20, "t_beta3": 30, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.0, 0.0, 0.0), "t_beta3": 3, "eps": 0.0, "weight_decay": 10.0},
            {"lr": 0.1, "betas": (0.9, 0.99, 0.5), "alpha": 1e30, "t_alpha": 3, "t_beta3": 3},
        ],
    ),
    "SimplifiedAdEMAMix": Case(
        {"lr": 0.002, "betas": (0.8, 0.95), "alpha": 3.0, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0, "weight_decay": 10.0},
            {"lr": 1e30, "eps": 1e30, "alpha": 1e30},
        ],
    ),
    "LaProp": Case(
        {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0, "weight_decay": 10.0},
            {"lr": 1e30, "weight_decay": 1e10},
            {"lr": 0.0},
        ],
    ),
    "MADGRAD": Case(
        {"lr": 0.02, "momentum": 0.8, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1, "weight_decay": 10.0, "decoupled_weight_decay": True},
            {"lr": 0.1},
            {"lr": 0.1, "momentum": 0.0, "eps": 0.0, "weight_decay": 10.0},
            {"lr": 1e30, "eps": 1e30},
            {"lr": 0.0},
        ],
    ),
    "Tiger": Case(
        {"lr": 0.01, "beta": 0.9, "weight_decay": 0.1},
        extremes=[{"lr": 0.1}, {"lr": 0.1, "beta": 0.0, "weight_decay": 10.0}],
        counts=False,
    ),
    "SignSGD": Case(
        {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1},
        extremes=[{"lr": 0.1}, {"lr": 0.1, "momentum": 0.9, "weight_decay": 10.0}],
        counts=False,
    ),
    "Fromage": Case(
        {"lr": 0.05, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 1e200, "weight_decay": 10.0},
            {"lr": 0.1, "trust_ratio_scope": "layer", "weight_decay": 0.1},
            {"lr": 0.1, "min_norm": 1e30},
        ],
        counts=False,
        has_sums=True,
    ),
    "StableAdamW": Case(
        {"lr": 0.02, "weight_decay": 0.2},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0, "weight_decay": 10.0, "decoupled_weight_decay": False},
            {"lr": 1e30, "eps": 1e30, "weight_decay": 0.0},
            {"lr": 0.1, "weight_decay": 100.0},
        ],
        has_sums=True,
        averages=True,
    ),
    "MARS": Case(
        {"lr": 0.02, "gamma": 0.1, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0, "weight_decay": 10.0, "amsgrad": True},
            {"lr": 0.1, "mars_type": "lion", "gamma": 1e30, "weight_decay": 10.0},
            {"lr": 0.1, "mars_type": "lion", "optimize_1d": True, "variant": "timm"},
            {"lr": 1e30, "eps": 1e30, "lr_1d_factor": 0.0},
        ],
        has_sums=True,
    ),
    "NovoGrad": Case(
        {"lr": 0.02, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0, "weight_decay": 10.0, "init_zero": True},
            {"lr": 0.1, "variant": "apex", "eps": 0.0, "weight_decay": 10.0},
            {"lr": 0.1, "norm_scope": "layer", "eps_root": 1e30},
        ],
        has_sums=True,
    ),
    "LANS": Case(
        {"lr": 0.02, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0, "weight_decay": 10.0},
            {"lr": 0.1, "decay": "gradient", "normalize_grad": False, "grad_averaging": False, "weight_decay": 10.0},
            {"lr": 0.1, "trust_ratio_scope": "layer", "norm_eps": True, "eps": 1e30},
        ],
        has_sums=True,
    ),
    "DoG": Case(
        {"lr": 1.0, "reps_rel": 1e-3, "weight_decay": 0.1},
        extremes=[
            {"lr": 1.0},
            {"lr": 1.0, "reps_rel": 1e30, "eps": 0.0, "weight_decay": 10.0},
            {"lr": 1.0, "init_eta": 1e-3},
        ],
        has_sums=True,
        together=True,
    ),
    "LDoG": Case(
        {"lr": 1.0, "reps_rel": 1e-3, "weight_decay": 0.1},
        extremes=[
            {"lr": 1.0},
            {"lr": 1.0, "eps": 0.0, "weight_decay": 10.0},
            {"lr": 1.0, "init_eta": 1e-3, "distance_scope": "layer"},
        ],
        has_sums=True,
    ),
    "DoWG": Case(
        {"lr": 1.0, "eps": 1e-3, "weight_decay": 0.1},
        extremes=[
            {"lr": 1.0},
            {"lr": 1.0, "eps": 0.0, "weight_decay": 10.0},
            {"lr": 1.0, "init_estim_sq_dist": 1e30},
        ],
        has_sums=True,
        together=True,
    ),
    "Prodigy": Case(
        {"lr": 1.0, "d0": 1e-3},
        extremes=[
            {"lr": 1.0},
            {"lr": 1.0, "weight_decay": 10.0, "decoupled_weight_decay": False, "use_bias_correction": True},
            {"lr": 1.0, "betas": (0.0, 0.0), "d0": 1.0, "layer_scale": "both"},
            {"lr": 1.0, "slice_p": 3},
        ],
        has_sums=True,
        together=True,
    ),
    "DAdaptAdam": Case(
        {"lr": 1.0, "d0": 1e-3},
        extremes=[
            {"lr": 1.0},
            {"lr": 1.0, "weight_decay": 10.0, "decoupled_weight_decay": True, "use_bias_correction": True},
            {"lr": 1.0, "betas": (0.0, 0.0), "d0": 1.0},
        ],
        has_sums=True,
        together=True,
    ),
    "DAdaptSGD": Case(
        {"lr": 1.0, "momentum": 0.5, "d0": 1e-3},
        extremes=[
            {"lr": 1.0},
            {"lr": 1.0, "momentum": 0.9, "weight_decay": 10.0},
            {"lr": 1.0, "d0": 1.0, "growth_rate": 1.0},
        ],
        has_sums=True,
        together=True,
    ),
    "ScheduleFreeAdamW": Case(
        {"lr": 0.02, "weight_decay": 0.1},
        extremes=[{"lr": 0.1}, {"lr": 0.1, "weight_decay": 10.0, "r": 2.0, "warmup_steps": 3}],
    ),
    "ScheduleFreeSGD": Case(
        {"lr": 0.1, "weight_decay": 0.1},
        extremes=[{"lr": 0.1}, {"lr": 0.1, "weight_decay": 2.0, "r": 2.0, "warmup_steps": 3}],
    ),
    "ScheduleFreeRAdam": Case(
        # Without the option weights stand still for the first steps.
        {"lr": 0.02, "betas": (0.9, 0.95), "weight_decay": 0.1, "silent_sgd_phase": False},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "weight_decay": 10.0, "r": 2.0, "silent_sgd_phase": True},
            {"lr": 0.1, "betas": (0.5, 0.0), "eps": 0.0},
        ],
    ),
    "Adafactor": Case(
        {"lr": 0.05, "weight_decay": 0.1},
        {
            "adafactor": {"lr": 0.05},
            "adafactor options": {
                "lr": 0.05,
                "beta2_decay": -0.6,
                "eps": (1e-4, 1e-2),
                "d": 1.2,
                "weight_decay": 0.1,
            },
        },
        "twins",
        [
            {"lr": 0.1},
            {"lr": 0.1, "weight_decay": 10.0, "beta1": 0.9, "decay": "step", "eps_position": "added"},
            {"lr": 1.0, "variant": "transformers"},
        ],
        has_sums=True,
        averages=True,
        skips_empty=True,
    ),
    "CAME": Case(
        {"lr": 0.01, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "weight_decay": 10.0, "betas": (0.0, 0.0, 0.0), "eps": (0.0, 0.0)},
            {"lr": 1.0, "clip_threshold": 1e-3, "weight_decay": 0.1, "cautious": "update"},
        ],
        has_sums=True,
        averages=True,
    ),
    "SM3": Case(
        {"lr": 0.05, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.5},
            {"lr": 0.5, "momentum": 0.0, "weight_decay": 2.0, "eps": 0.0},
            {"lr": 0.5, "beta": 0.9, "variant": "optax"},
        ],
    ),
    "AdamMini": Case(
        {"lr": 0.01, "weight_decay": 0.1},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "weight_decay": 10.0, "betas": (0.0, 0.0), "eps": 0.0, "block_rows": 1},
            {"lr": 1.0, "block_rows": 2, "weight_decay": 0.1},
        ],
        has_sums=True,
        averages=True,
    ),
    "Muon": Case(
        {"lr": 0.02},
        extremes=[
            {"lr": 0.1},
            {"lr": 0.1, "weight_decay": 10.0, "nesterov": False, "ns_steps": 1, "adamw_lr_scale": 0.1},
            {"lr": 1.0, "ns_schedule": "polar_express", "axes": "last", "adjust_lr_fn": "match_rms_adamw"},
        ],
        has_sums=True,
    ),
}
"""By the name of the class."""

WITH_LOSS: dict[str, Options] = {
    "MoMo": {"lr": 0.3, "weight_decay": 0.1},
    "MoMoAdam": {"lr": 0.05, "weight_decay": 0.1},
}
"""Rules whose steps need the loss, with ordinary options: `test_momo.py` does what other tests do with the table."""

PARITY = {case: (name, options) for name, row in TABLE.items() for case, options in row.parity.items()}
"""The class and the options of each run that is compared with a peer."""


def rule(name: str, options: Options) -> lw.Rule:
    """A rule by the name of its class."""
    made: lw.Rule = getattr(lw, name)(**options)
    return made


def peer(name: str) -> Any:
    """The optimizer in torch that a rule is compared with, or None.

    torch is imported here: processes that look up rules alone start without it, which saves each of them two seconds.
    """
    where = TABLE[name].peer
    if not where:
        return None
    return getattr(importlib.import_module("torch.optim" if where == "optim" else "support.twins"), name)


def states(name: str, options: Options, shape: Sequence[int] = (1,)) -> list[str]:
    """The states of a tensor of this shape, without its step count."""
    with lw.Optimizer(rule(name, options)) as opt:
        found = opt.add_layer("tensor", np.zeros(shape, np.float32)).states()
    return [state for of_tensor in found.values() for state in of_tensor if state != "step"]


def state_count(name: str, options: Options, shapes: Mapping[str, Sequence[int]]) -> int:
    """How many states tensors of these shapes have that can be compared with the peer's."""
    compared = [shape for shape in shapes.values() if not (TABLE[name].skips_empty and 0 in shape)]
    return sum(len(states(name, options, shape)) for shape in compared)
