# SPDX-License-Identifier: Apache-2.0
"""Rules by the names that other libraries give them: torch, Transformers, timm, optax, Keras, pytorch_optimizer."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import rule as rules
from ._names import hint
from .errors import UnknownName
from .rule import Rule

_Options = Mapping[str, Any]

_RMSPROP_TF: _Options = {
    "alpha": 0.9, "eps": 1e-10, "eps_in_sqrt": True, "lr_in_momentum": True, "initial_square_avg": 1.0,
}  # fmt: skip

ALIASES: Mapping[str, tuple[str, _Options]] = {
    # SGD
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "sgdw": ("SGD", {"decoupled_weight_decay": True}),
    "nesterovw": ("SGD", {"momentum": 0.9, "nesterov": True, "decoupled_weight_decay": True}),
    "fusedsgd": ("SGD", {}),
    "bnbsgd": ("SGD", {}),
    "signum": ("SignSGD", {"momentum": 0.9}),
    # Adam and AdamW
    "amsgrad": ("Adam", {"amsgrad": True}),
    "fusedadam": ("Adam", {}),
    "bnbadam": ("Adam", {}),
    "adamw_torch": ("AdamW", {}),
    "adamw_torch_fused": ("AdamW", {}),
    "adamw_torch_xla": ("AdamW", {}),
    "adamw_torch_npu_fused": ("AdamW", {}),
    "adamwlegacy": ("AdamW", {}),
    "fusedadamw": ("AdamW", {}),
    "bnbadamw": ("AdamW", {}),
    "paged_adamw": ("AdamW", {}),
    "paged_adamw_32bit": ("AdamW", {}),
    # Others of the family
    "nadamw": ("NAdam", {"variant": "timm", "decoupled_weight_decay": True}),
    "nadamlegacy": ("NAdam", {}),
    "radamw": ("RAdam", {"decoupled_weight_decay": True}),
    "radamlegacy": ("RAdam", {}),
    "adamaxw": ("Adamax", {"decoupled_weight_decay": True}),
    "adanw": ("Adan", {"no_prox": True}),
    "adoptw": ("ADOPT", {"decoupled_weight_decay": True}),
    "bnbademamix": ("AdEMAMix", {}),
    "paged_ademamix_32bit": ("AdEMAMix", {}),
    "rmsprop_bnb": ("RMSprop", {}),
    "rmsprop_bnb_32bit": ("RMSprop", {}),
    "rmsproptf": ("RMSprop", _RMSPROP_TF),
    "madgradw": ("MADGRAD", {"decoupled_weight_decay": True}),
    # Cautious changes and corrected decay, by timm's names
    "cadamw": ("AdamW", {"cautious": "update"}),
    "adamc": ("AdamW", {"corrected_weight_decay": True}),
    "cadamc": ("AdamW", {"cautious": "update", "corrected_weight_decay": True}),
    "cadopt": ("ADOPT", {"cautious": "update"}),
    "cadoptw": ("ADOPT", {"decoupled_weight_decay": True, "cautious": "update"}),
    "adoptc": ("ADOPT", {"decoupled_weight_decay": True, "corrected_weight_decay": True}),
    "cadoptc": (
        "ADOPT",
        {"decoupled_weight_decay": True, "cautious": "update", "corrected_weight_decay": True},
    ),
    "claprop": ("LaProp", {"cautious": "update"}),
    "lapropc": ("LaProp", {"corrected_weight_decay": True}),
    "clion": ("Lion", {"cautious": "update"}),
    "lionc": ("Lion", {"corrected_weight_decay": True}),
    "clionc": ("Lion", {"cautious": "update", "corrected_weight_decay": True}),
    "cmars": ("MARS", {"variant": "timm", "cautious": "update"}),
    "crmsproptf": ("RMSprop", {**_RMSPROP_TF, "cautious": "update"}),
    "csgdw": ("SGD", {"momentum": 0.9, "nesterov": True, "decoupled_weight_decay": True, "cautious": "update"}),
    "sgdc": (
        "SGD",
        {"momentum": 0.9, "nesterov": True, "decoupled_weight_decay": True, "corrected_weight_decay": True},
    ),
    "csgdc": (
        "SGD",
        {"momentum": 0.9, "nesterov": True, "decoupled_weight_decay": True, "cautious": "update"}
        | {"corrected_weight_decay": True},
    ),
    "cnadamw": ("NAdam", {"variant": "timm", "decoupled_weight_decay": True, "cautious": "update"}),
    "nadamc": ("NAdam", {"variant": "timm", "decoupled_weight_decay": True, "corrected_weight_decay": True}),
    "cnadamc": (
        "NAdam",
        {"variant": "timm", "decoupled_weight_decay": True, "cautious": "update", "corrected_weight_decay": True},
    ),
    # Signs
    "lion_32bit": ("Lion", {}),
    "paged_lion": ("Lion", {}),
    "paged_lion_32bit": ("Lion", {}),
    "bnblion": ("Lion", {}),
    # Trust ratios, by timm's names
    "lambc": ("LAMB", {"variant": "timm", "ratio_max": 1.0}),
    "lambw": ("LAMB", {"variant": "timm", "decay": "decoupled"}),
    "lambcw": ("LAMB", {"variant": "timm", "ratio_max": 1.0, "decay": "decoupled"}),
    "fusedlamb": ("LAMB", {"variant": "apex"}),
    "larc": ("LARS", {"variant": "timm", "trust_clip": True}),
    "nlars": ("LARS", {"variant": "timm", "momentum": 0.9, "nesterov": True}),
    "fusednovograd": ("NovoGrad", {"variant": "apex"}),
    "nlarc": ("LARS", {"variant": "timm", "momentum": 0.9, "nesterov": True, "trust_clip": True}),
    # Rates that find themselves
    "polyak_sgd": ("MoMo", {"beta": 0.0}),
    "dadapt_adamw": ("DAdaptAdam", {"decoupled_weight_decay": True, "use_bias_correction": True}),
    # Matrices
    "nmuon": ("Muon", {"nesterov": True}),
}
"""Names that are not a rule's own: the class, and the arguments by which it becomes that optimizer."""

ABSENT: Mapping[str, tuple[str, ...]] = {
    "its states have 8 bits or fewer": (
        "adamw_torch_4bit", "adamw_torch_8bit", "adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit", "ademamix_8bit",
        "paged_ademamix_8bit", "lion_8bit", "paged_lion_8bit", "rmsprop_bnb_8bit", "bnbsgd8bit", "bnbadam8bit",
        "bnbadamw8bit", "bnblion8bit", "bnbademamix8bit",
    ),
    "its states have another precision than float32": ("adamw_anyprecision", "flashadamw"),
    "it steps in the backward pass of torch and keeps no gradients": ("lomo", "adalomo"),
    "its mask covers a part of the change, or is taken before a trust ratio": (
        "cadafactor", "cadafactorbv", "cadan", "cadanw", "clamb", "clambw", "cadamp", "csgdp",
    ),
    "no rule of its family has a corrected decay": (
        "lambcd", "kronc", "rmsproptfc", "adafactorbvc", "cadafactorbvc",
    ),
    "it works on whole matrices": (
        "adamuon", "nadamuon", "distributedmuon", "muonclip", "normuon", "adago", "ano", "conda",
        "dash", "shampoo", "scalableshampoo", "soap", "kron", "kronw", "scion", "scionlight", "splus", "alice", "racs",
        "spectralsphere", "lorarite", "demo", "fira", "galore", "sara", "magma", "rose",
        "galore_adamw", "galore_adamw_8bit", "galore_adafactor", "galore_adamw_layerwise",
        "galore_adamw_8bit_layerwise", "galore_adafactor_layerwise", "apollo", "apollo_adamw",
        "apollo_adamw_layerwise", "nero",
    ),
    "it chooses its own step size, and no rule here has its estimate": (
        "dadaptadagrad", "dadaptadan", "dadaptlion", "cocob",
        "alig", "mechanize", "adamg", "sgdsai",
    ),
    "it needs second derivatives, the loss, or several gradients of a step": (
        "lbfgs", "adahessian", "sophia", "sophiah", "bsam", "sam", "hutchinson_estimator_diag_hessian",
    ),
    "it adds noise or clips each example's gradient": ("noisy_sgd", "dpsgd", "differentially_private_aggregate"),
    "it is for sparse gradients": ("sparseadam",),
    "any rule can have it: lookahead=layerwise.Lookahead()": ("lookahead",),
    "it is a wrapper, and no optimizer by itself": (
        "lossscaleoptimizer", "multioptimizer", "optimizermap", "optimizer", "schedule_free",
        "schedule_free_eval_params", "normalize", "reduce_on_plateau", "split_real_and_imaginary",
    ),
    "no rule here has its equation": (
        "a2grad", "accsgd", "acprop", "adabound", "adafactorbv", "adagc", "adai", "adalite", "adamod", "adamp", "adams",
        "adamwsn", "adanorm", "adapnm", "adashift", "adasmooth", "adatam", "aggmo", "aida", "amos", "apollodqn",
        "avagrad", "bcos", "diffgrad", "dualadam", "emofact", "emolynx", "emonavi", "exadam", "fadam", "focus",
        "ftrl", "grams", "gravity", "grokadamw", "grokfastadamw", "kate",
        "msvag", "optimistic_adam", "optimistic_adam_v2",
        "optimistic_gradient_descent", "padam", "pid", "pnm", "qhadam", "qhm", "radabelief", "ranger", "ranger21",
        "sgdp", "spam", "srmm", "stablespam", "swats", "tam", "vsgd",
    ),
}  # fmt: skip
"""Names of optimizers that are not here, by the reason."""


def key(name: str) -> str:
    """A name without what libraries write differently: capitals, underscores, hyphens, dots."""
    return re.sub(r"[\W_]", "", name).lower()


@functools.cache
def kinds() -> dict[str, type[Rule]]:
    """The rules' classes by the library's names."""
    found = (kind for kind in vars(rules).values() if isinstance(kind, type) and issubclass(kind, Rule))
    return {kind.name: kind for kind in found if "name" in vars(kind)}


def resolve(name: str) -> tuple[type[Rule], _Options]:
    """The class of a name, and the arguments that the name stands for.

    Raises:
        UnknownName: It is no name of a rule here.
    """
    if not isinstance(name, str):
        raise TypeError(f"expected the name of a rule, found {name!r}")
    found = _known().get(key(name))
    if found is None:
        reason = next((reason for reason, names in ABSENT.items() if key(name) in map(key, names)), None)
        if reason:
            raise UnknownName(
                f"{name} is not here: {reason}. layerwise.torch.LayerRates and layerwise.optax give a rate for each "
                "layer to optimizers of other libraries (docs/anywhere.md)"
            )
        known = [*kinds(), *ALIASES]
        raise UnknownName(f'no rule is called "{name}"{hint(name, known)}, expected one of {", ".join(kinds())}')
    return found


@functools.cache
def _known() -> dict[str, tuple[type[Rule], _Options]]:
    found: dict[str, tuple[type[Rule], _Options]] = {}
    for alias, (title, options) in ALIASES.items():
        found[key(alias)] = getattr(rules, title), options
    return found | {key(name): (kind, {}) for name, kind in kinds().items()}


def rule_by_name(name: str, lr: float | None = None, **hyperparameters: Any) -> Rule:
    """The rule that people call by a name, for programs that read it from a file or a command line.

    Names are those of the rules here and of torch.optim, Transformers, timm, optax, Keras and pytorch_optimizer.
    Capitals, underscores and hyphens do not matter.  A name of another library gives the same equation with the
    defaults of the class here; docs/coming-from.md lists all names.

    Example:
        lw.rule_by_name("adamw_torch_fused", lr=3e-4, weight_decay=0.05)

    Args:
        name: The name.
        lr: The learning rate; None for the rule's default.
        **hyperparameters: The other arguments of the rule's class.

    Raises:
        UnknownName: No rule here has this name.  The message says why, where another library has such an optimizer.
    """
    kind, options = resolve(name)
    make: Callable[..., Rule] = kind
    given = {} if lr is None else {"lr": lr}
    return make(**{**options, **given, **hyperparameters})
