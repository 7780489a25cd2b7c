# SPDX-License-Identifier: Apache-2.0
"""A learning rate for every layer, stepped at memory speed.

Example:
    import layerwise as lw

    opt = lw.Optimizer(
        lw.AdamW(lr=3e-4, weight_decay=0.05), policy=lw.LayerDecay(0.75), schedule=lw.Warmup(100, lw.Cosine(900))
    )
    opt.add_layer("embed", {"weight": weight}, grads={"weight": gradient})
    opt.add_layer("head", head, grads=head_gradient, scale=10.0)
    opt.step()
    print(opt.explain())
"""

from . import checkpoint
from .composition import Piecewise, Product, Sequential, Table, Warmup
from .cycle import Cyclic, CyclicMomentum, OneCycle, OneCycleMomentum, SlantedTriangular
from .errors import (
    BusyOptimizer,
    CheckpointIOError,
    CheckpointMismatch,
    ClosedOptimizer,
    CorruptCheckpoint,
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
    ReduceFailed,
    ShapeMismatch,
    UnknownName,
)
from .freezing import ChainThaw, FreezeAt, FreezeOut, FreezePlan, GradualUnfreezing, LayerFreezing
from .introspection import (
    InferredLayer,
    available_threads,
    freeze_plans,
    infer_layers,
    instruction_set,
    policies,
    rules,
    schedules,
)
from .layer import Layer
from .optimizer import Optimizer
from .policy import (
    Combine,
    Exclude,
    Explicit,
    ForTower,
    LayerDecay,
    LoRAPlus,
    MuP,
    Policy,
    Range,
    Slice,
    ULMFiT,
    Uniform,
)
from .reports import LayerInfo, LoadReport, StateInfo, Summary, Telemetry
from .rule import LAMB, LARS, SGD, Adafactor, Adam, AdamW, Lion, NAdam, Prodigy, RMSprop, Rule, ScheduleFreeAdamW
from .schedule import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    FlatCosine,
    InverseSqrt,
    InverseTime,
    Linear,
    MultiStep,
    Noam,
    Polynomial,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    Tanh,
    WarmupStableDecay,
)

__version__ = "0.1.0"

__all__ = [
    "LAMB",
    "LARS",
    "SGD",
    "Adafactor",
    "Adam",
    "AdamW",
    "BusyOptimizer",
    "ChainThaw",
    "CheckpointIOError",
    "CheckpointMismatch",
    "ClosedOptimizer",
    "Combine",
    "Constant",
    "CorruptCheckpoint",
    "Cosine",
    "CosineRestarts",
    "Cyclic",
    "CyclicMomentum",
    "DTypeMismatch",
    "DuplicateName",
    "Exclude",
    "Explicit",
    "Exponential",
    "FlatCosine",
    "ForTower",
    "ForkedOptimizer",
    "FreezeAt",
    "FreezeOut",
    "FreezePlan",
    "GradualUnfreezing",
    "InferredLayer",
    "InvalidArgument",
    "InverseSqrt",
    "InverseTime",
    "Layer",
    "LayerDecay",
    "LayerFreezing",
    "LayerInfo",
    "LayerwiseError",
    "Linear",
    "Lion",
    "LoRAPlus",
    "LoadReport",
    "MuP",
    "MultiStep",
    "NAdam",
    "Noam",
    "NonFiniteGradient",
    "NotFound",
    "OneCycle",
    "OneCycleMomentum",
    "Optimizer",
    "OutOfMemory",
    "OutOfRange",
    "OverlappingBuffers",
    "Piecewise",
    "Policy",
    "Polynomial",
    "Prodigy",
    "Product",
    "RMSprop",
    "Range",
    "ReduceFailed",
    "ReduceOnPlateau",
    "Rule",
    "Schedule",
    "ScheduleFreeAdamW",
    "Sequential",
    "ShapeMismatch",
    "SlantedTriangular",
    "Slice",
    "StateInfo",
    "StepDecay",
    "Summary",
    "Table",
    "Tanh",
    "Telemetry",
    "ULMFiT",
    "Uniform",
    "UnknownName",
    "Warmup",
    "WarmupStableDecay",
    "available_threads",
    "checkpoint",
    "freeze_plans",
    "infer_layers",
    "instruction_set",
    "policies",
    "rules",
    "schedules",
]
