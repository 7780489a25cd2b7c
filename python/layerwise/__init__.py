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

from typing import TYPE_CHECKING, Any

from . import checkpoint
from . import composition as composition
from . import cycle as cycle
from ._rate_array import Rates
from ._rule_names import rule_by_name
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
    blas,
    freeze_plans,
    infer_layers,
    instruction_set,
    policies,
    rules,
    schedules,
    use_blas,
)
from .layer import Layer
from .optimizer import Optimizer
from .policy import (
    Combine,
    Exclude,
    Explicit,
    ForTower,
    GeometricRange,
    LayerDecay,
    LoRAPlus,
    MuP,
    Policy,
    RateSlice,
    RelativeGradientNorm,
    ULMFiT,
    Uniform,
    UpdateRatio,
)
from .policy import Range as Range
from .policy import Slice as Slice
from .reports import LayerInfo, LoadReport, StateInfo, Summary, Telemetry
from .rule import (
    ADOPT,
    ASGD,
    CAME,
    LAMB,
    LANS,
    LARS,
    MADGRAD,
    MARS,
    SGD,
    AdaBelief,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Adan,
    AdEMAMix,
    DAdaptAdam,
    DAdaptSGD,
    DoG,
    DoWG,
    Fromage,
    LaProp,
    LDoG,
    Lion,
    MoMo,
    MoMoAdam,
    Muon,
    NAdam,
    NovoGrad,
    Prodigy,
    RAdam,
    RMSprop,
    Rprop,
    Rule,
    ScheduleFreeAdamW,
    ScheduleFreeRAdam,
    ScheduleFreeSGD,
    SignSGD,
    SimplifiedAdEMAMix,
    StableAdamW,
    Tiger,
    Yogi,
)
from .schedule import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    CyclicMomentum,
    Exponential,
    FactorTable,
    FlatCosine,
    InverseSqrt,
    InverseTime,
    Linear,
    MultiStep,
    Noam,
    OneCycle,
    OneCycleMomentum,
    Piecewise,
    Polynomial,
    Product,
    ReduceOnPlateau,
    Schedule,
    Sequential,
    SlantedTriangular,
    StepDecay,
    Tanh,
    Warmup,
    WarmupStableDecay,
)
from .schedule import Table as Table
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .finder import Curve, FoundRates, find_rates
    from .tournament import Candidate, Choice, Round, choose
else:

    def __getattr__(name: str) -> Any:
        # Imported when it is first used, as most programs search for no rates.
        if name in ("Curve", "FoundRates", "find_rates"):
            from . import finder as module
        elif name in ("Candidate", "Choice", "Round", "choose"):
            from . import tournament as module
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(module, name)
        return found


__version__ = "0.1.0"

__all__ = [
    "ADOPT",
    "ASGD",
    "CAME",
    "LAMB",
    "LANS",
    "LARS",
    "MADGRAD",
    "MARS",
    "SGD",
    "AdEMAMix",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "BusyOptimizer",
    "Candidate",
    "ChainThaw",
    "CheckpointIOError",
    "CheckpointMismatch",
    "Choice",
    "ClosedOptimizer",
    "Combine",
    "Constant",
    "CorruptCheckpoint",
    "Cosine",
    "CosineRestarts",
    "Curve",
    "Cyclic",
    "CyclicMomentum",
    "DAdaptAdam",
    "DAdaptSGD",
    "DTypeMismatch",
    "DoG",
    "DoWG",
    "DuplicateName",
    "Exclude",
    "Explicit",
    "Exponential",
    "FactorTable",
    "FlatCosine",
    "ForTower",
    "ForkedOptimizer",
    "FoundRates",
    "FreezeAt",
    "FreezeOut",
    "FreezePlan",
    "Fromage",
    "GeometricRange",
    "GradualUnfreezing",
    "InferredLayer",
    "InvalidArgument",
    "InverseSqrt",
    "InverseTime",
    "LDoG",
    "LaProp",
    "Layer",
    "LayerDecay",
    "LayerFreezing",
    "LayerInfo",
    "LayerwiseError",
    "Linear",
    "Lion",
    "LoRAPlus",
    "LoadReport",
    "MoMo",
    "MoMoAdam",
    "MuP",
    "MultiStep",
    "Muon",
    "NAdam",
    "Noam",
    "NonFiniteGradient",
    "NotFound",
    "NovoGrad",
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
    "RAdam",
    "RMSprop",
    "RateSlice",
    "Rates",
    "ReduceFailed",
    "ReduceOnPlateau",
    "RelativeGradientNorm",
    "Round",
    "Rprop",
    "Rule",
    "Schedule",
    "ScheduleFreeAdamW",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "Sequential",
    "ShapeMismatch",
    "SignSGD",
    "SimplifiedAdEMAMix",
    "SlantedTriangular",
    "Snapshot",
    "StableAdamW",
    "StateInfo",
    "StepDecay",
    "Summary",
    "Tanh",
    "Telemetry",
    "Tiger",
    "ULMFiT",
    "Uniform",
    "UnknownName",
    "UpdateRatio",
    "Warmup",
    "WarmupStableDecay",
    "Yogi",
    "available_threads",
    "blas",
    "checkpoint",
    "choose",
    "find_rates",
    "freeze_plans",
    "infer_layers",
    "instruction_set",
    "policies",
    "rule_by_name",
    "rules",
    "schedules",
    "use_blas",
]
