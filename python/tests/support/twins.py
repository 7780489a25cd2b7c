# SPDX-License-Identifier: Apache-2.0
"""Optimizers in plain torch that rules are compared with, where torch has none or rounds what the library does not."""

import math
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


class NovoGradOfTimm(torch.optim.Optimizer):
    """timm's NvNovoGrad, which weighs a tensor's first gradient as every other."""

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            first, second = group["betas"]
            for param in group["params"]:
                state = self.state[param]
                square = param.grad.square().sum()
                if not state:
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), square
                else:
                    state["exp_avg_sq"] = second * state["exp_avg_sq"] + (1 - second) * square
                direction = param.grad / (state["exp_avg_sq"].sqrt() + group["eps"]) + group["weight_decay"] * param
                if group["grad_averaging"]:
                    direction *= 1 - first
                state["exp_avg"].mul_(first).add_(direction)
                param.sub_(state["exp_avg"], alpha=group["lr"])
        return None


class NovoGradOfApex(torch.optim.Optimizer):
    """apex's FusedNovoGrad with the 2-norm and its other defaults, written from its kernel."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        reg_inside_moment: bool = False,
        init_zero: bool = False,
    ) -> None:
        self.inside, self.init_zero, self.steps = reg_inside_moment, init_zero, 0
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        self.steps += 1
        for group in self.param_groups:
            first, second = group["betas"]
            for param in group["params"]:
                norm = param.grad.norm()
                state = self.state[param]
                if not state:
                    state["exp_avg"], state["norm"] = torch.zeros_like(param), 0 * norm if self.init_zero else norm
                state["norm"] = (second * state["norm"] ** 2 + (1 - second) * norm**2).sqrt()
                divisor = state["norm"] / (1 - second**self.steps) ** 0.5 + group["eps"]
                decay = group["weight_decay"] * param
                fresh = param.grad / divisor + decay if self.inside else param.grad
                state["exp_avg"].mul_(first).add_((1 - first) * fresh)
                moment = state["exp_avg"] / (1 - first**self.steps)
                param.sub_(moment if self.inside else moment / divisor + decay, alpha=group["lr"])
        return None


class LANS(torch.optim.Optimizer):
    """gluon-nlp's FusedLANS, written from its kernel."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        *,
        bias_correction: bool = True,
        adam_w_mode: bool = True,
        grad_averaging: bool = True,
        normalize_grad: bool = True,
    ) -> None:
        self.corrects, self.apart = bias_correction, adam_w_mode
        self.averages, self.normalizes, self.steps = grad_averaging, normalize_grad, 0
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        self.steps += 1
        for group in self.param_groups:
            first, second = group["betas"]
            share = 1 - first if self.averages else 1.0
            corrections = [1 - beta**self.steps if self.corrects else 1.0 for beta in (first, second)]
            for param in group["params"]:
                norm, decay = param.grad.norm(), group["weight_decay"] * param
                gradient = param.grad / (norm + group["eps"]) if self.normalizes and norm else param.grad
                if not self.apart:
                    gradient, decay = gradient + decay, torch.zeros_like(param)
                moments = self.state[param].setdefault("moments", [torch.zeros_like(param) for _ in range(2)])
                moments[0].mul_(first).add_(gradient, alpha=share)
                moments[1].mul_(second).add_(gradient.square(), alpha=1 - second)
                divisor = (moments[1] / corrections[1]).sqrt() + group["eps"]
                for factor, part in ((first, moments[0] / corrections[0]), (share, gradient)):
                    direction = part / divisor + decay
                    norms = param.norm(), direction.norm()
                    ratio = norms[0] / norms[1] if all(norms) else 1.0
                    moments.append(group["lr"] * factor * ratio * direction)
                param.sub_(moments.pop() + moments.pop())
        return None


class CautiousLion(torch.optim.Optimizer):
    """Lion with the mask of Liang et al. 2024, algorithm 1, as timm has it."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                update = (first * m + (1 - first) * p.grad).sign()
                mask = (update * p.grad > 0).to(p.dtype)
                mask /= mask.mean().clamp(min=1e-3)
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update * mask, alpha=group["lr"])
                m.mul_(second).add_(p.grad, alpha=1 - second)


class CautiousAdamW(torch.optim.Optimizer):
    """AdamW with that mask, with the decay of Chen et al. 2025, equation 2, or with Defazio's corrected decay."""

    def __init__(self, params: Any, lr: float, weight_decay: float, cautious: str = "none") -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "cautious": cautious})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["t"] = state.get("t", 0) + 1
                m = state.setdefault("m", torch.zeros_like(p)).lerp_(p.grad, 0.1)
                v = state.setdefault("v", torch.zeros_like(p)).mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
                update = m / (1 - 0.9 ** state["t"]) / ((v / (1 - 0.999 ** state["t"])).sqrt() + 1e-8)
                decay = group["weight_decay"] * p
                if group["cautious"] == "update":
                    mask = (update * p.grad > 0).to(p.dtype)
                    update = update * mask / mask.mean().clamp(min=1e-3)
                else:
                    decay = decay * (update * p >= 0)
                p.sub_(update + decay, alpha=group["lr"])


class NAdamWOfTimm(torch.optim.Optimizer):
    """timm's NAdamW, written from its equations: the gradient advances the moment once more in the step."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                t = state["t"] = state.get("t", 0) + 1
                p.mul_(1 - group["lr"] * group["weight_decay"])
                m = state.setdefault("m", torch.zeros_like(p)).lerp_(p.grad, 1 - beta1)
                v = state.setdefault("v", torch.zeros_like(p)).mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                ahead = beta1 * m + (1 - beta1) * p.grad
                denominator = v.sqrt() / math.sqrt(1 - beta2**t) + group["eps"]
                p.addcdiv_(ahead, denominator, value=-group["lr"] / (1 - beta1**t))


class MARS(torch.optim.Optimizer):
    """The authors' MARS with `is_approx`, and timm's `Mars`, written from their equations.

    timm takes a tensor's first gradient as it is, and has no `weight_decay_1d`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        amsgrad: bool = False,
        gamma: float = 0.025,
        mars_type: str = "adamw",
        optimize_1d: bool = False,
        lr_1d_factor: float = 1.0,
        betas_1d: tuple[float, float] = (0.9, 0.95),
        weight_decay_1d: float | None = 0.1,
        corrects_first: bool = True,
    ) -> None:
        self.corrected = (betas, weight_decay, lr)
        self.plain = (betas_1d, weight_decay if weight_decay_1d is None else weight_decay_1d, lr * lr_1d_factor)
        self.eps, self.amsgrad, self.gamma, self.type = eps, amsgrad, gamma, mars_type
        self.every, self.corrects_first, self.steps = optimize_1d, corrects_first, 0
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        self.steps += 1
        for param in (param for group in self.param_groups for param in group["params"]):
            state = self.state[param] or {name: torch.zeros_like(param) for name in ("last", "m", "v", "largest")}
            self.state[param] = state
            is_corrected = self.every or param.dim() > 1
            (first, second), decay, rate = self.corrected if is_corrected else self.plain
            gradient = param.grad
            if is_corrected and (self.corrects_first or self.steps > 1):
                gradient = gradient + self.gamma * first / (1 - first) * (gradient - state["last"])
                gradient = gradient / max(1.0, float(gradient.norm()))
            state["last"] = param.grad.clone()
            state["m"] = first * state["m"] + (1 - first) * gradient
            if is_corrected and self.type == "lion":
                param -= rate * (state["m"].sign() + decay * param)
                continue
            state["v"] = second * state["v"] + (1 - second) * gradient**2
            state["largest"] = torch.maximum(state["largest"], state["v"])
            v = state["largest"] if self.amsgrad else state["v"]
            root = (v / (1 - second**self.steps)).sqrt() + self.eps
            param -= rate * (state["m"] / (1 - first**self.steps) / root + decay * param)
        return None
