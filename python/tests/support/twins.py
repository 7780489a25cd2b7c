# SPDX-License-Identifier: Apache-2.0
"""Optimizers in plain torch that rules are compared with, where torch has none or rounds what the library does not."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of Chen et al. 2023, line by line."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            first, second = group["betas"]
            for param in group["params"]:
                if param.grad is None:
                    continue
                gradient = -param.grad if group["maximize"] else param.grad
                momentum = self.state[param].setdefault("exp_avg", torch.zeros_like(param))
                direction = torch.sign(first * momentum + (1 - first) * gradient)
                param -= group["lr"] * (direction + group["weight_decay"] * param)
                momentum.copy_(second * momentum + (1 - second) * gradient)
        return None


class Adafactor(torch.optim.Adafactor):
    """torch's Adafactor, which divides by 0 where a tensor has no elements: it leaves such tensors out."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for param in group["params"]:
                if not param.numel():
                    param.grad = None
        return super().step(closure)


class NAdam(torch.optim.NAdam):
    """torch's NAdam with the product of the momenta in float64.

    torch keeps it in float32 whatever the parameters are, which rounds the rate by 6e-8 at every step: more than
    float64 parameters forgive.
    """

    def _init_group(
        self,
        group: Any,
        params_with_grad: list[Tensor],
        grads: list[Tensor],
        exp_avgs: list[Tensor],
        exp_avg_sqs: list[Tensor],
        mu_products: list[Tensor],
        state_steps: list[Tensor],
    ) -> Any:
        found = super()._init_group(  # type: ignore[no-untyped-call]
            group, params_with_grad, grads, exp_avgs, exp_avg_sqs, mu_products, state_steps
        )
        for index, param in enumerate(params_with_grad):
            state = self.state[param]
            state["mu_product"] = mu_products[index] = state["mu_product"].double()
        return found
