# SPDX-License-Identifier: Apache-2.0
"""Drop-in torch optimizers: a learning rate for every layer, whatever the framework around.

Example:
    from layerwise.torch import AdamW

    optimizer = AdamW(model, lr=2e-5, layer_decay=0.8)
    ...
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
"""

from typing import TYPE_CHECKING, Any

from ._layers import LayerTable, layers, param_groups
from ._optimizer import LayerwiseOptimizer
from ._options import Options
from ._rates import LayerRates
from ._rules import (
    ADOPT,
    ASGD,
    CAME,
    LAMB,
    LANS,
    LARS,
    MADGRAD,
    MARS,
    SGD,
    SM3,
    AdaBelief,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamMini,
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
    ScheduleFreeAdamW,
    ScheduleFreeRAdam,
    ScheduleFreeSGD,
    SignSGD,
    SimplifiedAdEMAMix,
    StableAdamW,
    Tiger,
    Yogi,
)
from ._snapshots import TorchSnapshot
from .telemetry import write_tensorboard

if TYPE_CHECKING:
    from ._search import choose, find_rates
else:

    def __getattr__(name: str) -> Any:
        # Imported when it is first used, as most programs search for no rates.
        if name not in ("choose", "find_rates"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import _search

        found = globals()[name] = getattr(_search, name)
        return found


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
    "SM3",
    "AdEMAMix",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamMini",
    "AdamW",
    "Adamax",
    "Adan",
    "DAdaptAdam",
    "DAdaptSGD",
    "DoG",
    "DoWG",
    "Fromage",
    "LDoG",
    "LaProp",
    "LayerRates",
    "LayerTable",
    "LayerwiseOptimizer",
    "Lion",
    "MoMo",
    "MoMoAdam",
    "Muon",
    "NAdam",
    "NovoGrad",
    "Options",
    "Prodigy",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ScheduleFreeAdamW",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "SignSGD",
    "SimplifiedAdEMAMix",
    "StableAdamW",
    "Tiger",
    "TorchSnapshot",
    "Yogi",
    "choose",
    "find_rates",
    "layers",
    "param_groups",
    "write_tensorboard",
]
