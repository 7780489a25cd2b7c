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


class Rprop(torch.optim.Rprop):
    """torch's Rprop with weight decay, which torch's lacks."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, etas=etas, step_sizes=step_sizes, foreach=foreach, maximize=maximize)
        for group in self.param_groups:
            group.setdefault("weight_decay", weight_decay)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            decay = -group["weight_decay"] if group["maximize"] else group["weight_decay"]
            for param in group["params"]:
                if param.grad is not None:
                    param.grad = param.grad + decay * param
        return super().step(closure)


class ASGD(torch.optim.ASGD):
    """torch's ASGD with the rate and the weight of the average in float64, and the rate of the step itself.

    torch rounds both to float32 whatever the parameters are, and takes the rate from the step before.
    """

    def _init_group(
        self,
        group: Any,
        params_with_grad: list[Tensor],
        grads: list[Tensor],
        mus: list[Tensor],
        axs: list[Tensor],
        etas: list[Tensor],
        state_steps: list[Tensor],
    ) -> Any:
        found = super()._init_group(  # type: ignore[no-untyped-call]
            group, params_with_grad, grads, mus, axs, etas, state_steps
        )
        for index, param in enumerate(params_with_grad):
            self._set(group, self.state[param])
            etas[index], mus[index] = self.state[param]["eta"], self.state[param]["mu"]
        return found

    @staticmethod
    def _set(group: Any, state: Any) -> None:
        """What the next step takes, at the rate that the group has now."""
        rate, steps = group["lr"], float(state["step"])
        eta = rate / (1 + group["lambd"] * rate * steps) ** group["alpha"]
        state["eta"] = torch.tensor(eta, dtype=torch.float64)
        state["mu"] = torch.tensor(1 / max(1, steps - group["t0"]), dtype=torch.float64)

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)  # type: ignore[no-untyped-call]
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._set(group, self.state[param])
        return result
