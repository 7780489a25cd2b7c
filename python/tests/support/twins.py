# SPDX-License-Identifier: Apache-2.0
"""The optimizers of torch that rules are compared with."""

from typing import Any

import torch


class NAdam(torch.optim.NAdam):
    """torch's NAdam with the product of its momenta in float64, as it is here.

    torch keeps it in float32, whatever the parameters are: its rounding would be all that a comparison in float64 sees.
    """

    def _init_group(self, *arguments: Any) -> bool:
        has_complex: bool = super()._init_group(*arguments)
        params, products = arguments[1], arguments[5]
        for index, param in enumerate(params):
            products[index] = self.state[param]["mu_product"] = products[index].double()
        return has_complex


def peer(name: str) -> type[torch.optim.Optimizer]:
    """The class of torch.optim of this name, or what stands for it."""
    found: type[torch.optim.Optimizer] = NAdam if name == "NAdam" else getattr(torch.optim, name)
    return found


def state_count(name: str, options: dict[str, Any]) -> int:
    """How many states torch keeps for a parameter, beside its step count."""
    if name == "NAdam":
        return 3
    if name == "RMSprop":
        return 1 + bool(options.get("momentum")) + bool(options.get("centered"))
    return 2 + bool(options.get("amsgrad")) if "Adam" in name else int("momentum" in options)
