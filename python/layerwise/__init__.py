# SPDX-License-Identifier: Apache-2.0
"""A learning rate for every layer, stepped at memory speed.

Example:
    import layerwise as lw

    opt = lw.Optimizer(lw.AdamW(lr=3e-4, weight_decay=0.05), policy=lw.LayerDecay(0.75))
    opt.add_layer("embed", {"weight": weight}, grads={"weight": gradient})
    opt.add_layer("head", head, grads=head_gradient, scale=10.0)
    opt.step()
    print(opt.explain())
"""

from .errors import (
    BusyOptimizer,
    ClosedOptimizer,
    DTypeMismatch,
    DuplicateName,
    ForkedOptimizer,
    InvalidArgument,
    LayerwiseError,
    NonFiniteGradient,
    NotFound,
    OutOfMemory,
    OutOfRange,
    OverlappingBuffers,
    ShapeMismatch,
    UnknownName,
)
from .introspection import available_threads, instruction_set, policies, rules
from .layer import Layer
from .optimizer import Optimizer
from .policy import Explicit, LayerDecay, Policy, Range, Uniform
from .reports import LayerInfo, StateInfo, Summary, Telemetry
from .rule import LAMB, LARS, SGD, Adam, AdamW, Rule

__version__ = "0.1.0"

__all__ = [
    "LAMB",
    "LARS",
    "SGD",
    "Adam",
    "AdamW",
    "BusyOptimizer",
    "ClosedOptimizer",
    "DTypeMismatch",
    "DuplicateName",
    "Explicit",
    "ForkedOptimizer",
    "InvalidArgument",
    "Layer",
    "LayerDecay",
    "LayerInfo",
    "LayerwiseError",
    "NonFiniteGradient",
    "NotFound",
    "Optimizer",
    "OutOfMemory",
    "OutOfRange",
    "OverlappingBuffers",
    "Policy",
    "Range",
    "Rule",
    "ShapeMismatch",
    "StateInfo",
    "Summary",
    "Telemetry",
    "Uniform",
    "UnknownName",
    "available_threads",
    "instruction_set",
    "policies",
    "rules",
]
