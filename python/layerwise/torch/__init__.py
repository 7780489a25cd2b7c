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

from ._layers import LayerTable, layers, param_groups
from ._optimizer import LayerwiseOptimizer
from ._options import Options
from ._rates import LayerRates
from ._rules import (
    ADOPT,
    ASGD,
    LAMB,
    LARS,
    MADGRAD,
    SGD,
    AdaBelief,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Adan,
    AdEMAMix,
    Fromage,
    LaProp,
    Lion,
    NAdam,
    Prodigy,
    RAdam,
    RMSprop,
    Rprop,
    ScheduleFreeAdamW,
    SignSGD,
    Tiger,
    Yogi,
)
from .telemetry import write_tensorboard

__all__ = [
    "ADOPT",
    "ASGD",
    "LAMB",
    "LARS",
    "MADGRAD",
    "SGD",
    "AdEMAMix",
    "AdaBelief",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "Fromage",
    "LaProp",
    "LayerRates",
    "LayerTable",
    "LayerwiseOptimizer",
    "Lion",
    "NAdam",
    "Options",
    "Prodigy",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ScheduleFreeAdamW",
    "SignSGD",
    "Tiger",
    "Yogi",
    "layers",
    "param_groups",
    "write_tensorboard",
]
