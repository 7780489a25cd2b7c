# SPDX-License-Identifier: Apache-2.0
"""torch's own optimizer behind ours, fed with the same gradients and rates at each step.

Two trainings, one with each, would drift apart by the rounding of the gradients that their weights make.  Here the
gradients are the same ones, so what is left is the arithmetic of the rule, and its tolerance is that of
test_parity_torch.py: after some steps 2e-6 of the distance that a tensor moved, and 2e-6 of its size.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

TOLERANCE = 2e-6


class Shadow:
    """Follows an optimizer, wherever it is stepped.

    Args:
        opt: The optimizer to follow.
        rule: torch's class.
        scales: What each parameter's rate is multiplied by, in order of the groups; 1 for all by default.
        options: The hyperparameters of torch's class that the groups do not say.
    """

    def __init__(
        self,
        opt: torch.optim.Optimizer,
        rule: Callable[..., torch.optim.Optimizer],
        scales: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        self.parameters = [parameter for group in opt.param_groups for parameter in group["params"]]
        self.scales = [1.0] * len(self.parameters) if scales is None else list(scales)
        self.start = [parameter.detach().clone() for parameter in self.parameters]
        self.copies = [torch.nn.Parameter(value.clone()) for value in self.start]
        self.twin = rule([{"params": [copy]} for copy in self.copies], foreach=False, **options)
        self.rates: list[float] = []
        """The rate of the first group at each step."""
        opt.register_step_post_hook(self._follow)

    def _follow(self, opt: torch.optim.Optimizer, *_: object) -> None:
        """After the step, because a closure makes the gradients during it."""
        groups = [group for group in opt.param_groups for _ in group["params"]]
        self.rates.append(float(groups[0]["lr"]))
        for parameter, copy, scale, theirs, ours in zip(
            self.parameters, self.copies, self.scales, self.twin.param_groups, groups, strict=True
        ):
            copy.grad = None if parameter.grad is None else parameter.grad.detach().clone()
            theirs["lr"] = float(ours["lr"]) * scale
            theirs["weight_decay"] = ours["weight_decay"]
        self.twin.step()

    def assert_followed(self) -> None:
        """The parameters are where torch has them, and each of them moved."""
        for index, (found, expected, start) in enumerate(zip(self.parameters, self.copies, self.start, strict=True)):
            moved = (expected.detach() - start).norm()
            assert moved > 0, f"parameter {index} did not move"
            bound = TOLERANCE * (moved + expected.detach().norm())
            assert (found.detach() - expected.detach()).norm() <= bound, f"parameter {index}"
