# SPDX-License-Identifier: Apache-2.0
"""Parameters of which each process has its own rows, without DTensor: norms are those of the whole.

What two processes make of their rows is compared with one process that has them all.  Sums of float64 squares are added
in another order when a tensor is cut, which moves ratios and clip factors by a few 1.1e-16, and so a float32 weight by
one last place now and then: 1e-6 of the weights after five steps.  A norm of the own rows alone is off by tenths.
"""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.processes import SIZE, Processes

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "global clip": ("AdamW", {"lr": 0.05, "clip_global_norm": 0.5}),
    "layer clip": ("SGD", {"lr": 0.1, "momentum": 0.9, "clip_layer_norm": 0.3}),
    "lars": ("LARS", {"lr": 5.0, "weight_decay": 0.1}),
    "lamb": ("LAMB", {"lr": 0.05, "weight_decay": 0.1}),
}


def tensors(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 3, generator=generator), torch.randn(6, generator=generator) * 5]


def trained(case: str, rank: int | None) -> list[Tensor]:
    """All rows, or those of one process."""
    name, options = CASES[case]

    def mine(tensor: Tensor) -> Tensor:
        # The first process has more rows than the second.
        return tensor if rank is None else tensor.tensor_split([tensor.shape[0] - 2])[rank].clone()

    params = [nn.Parameter(mine(tensor)) for tensor in tensors(0)]
    together = {} if rank is None else {"process_group": dist.group.WORLD}
    opt = getattr(lwt, name)([("a.weight", params[0]), ("b.weight", params[1])], **options, **together)
    for step in range(5):
        for param, gradient in zip(params, tensors(step + 1), strict=True):
            param.grad = mine(gradient)
        opt.step()
    return [param.detach() for param in params]


def rows(case: str) -> list[Tensor]:
    return trained(case, dist.get_rank())


@pytest.mark.spawns
@pytest.mark.parametrize("case", CASES)
def test_norms_are_those_of_the_whole(processes: Processes, case: str) -> None:
    parts = processes.run(rows, case)
    for index, whole in enumerate(trained(case, None)):
        joined = torch.cat([parts[rank][index] for rank in range(SIZE)])
        torch.testing.assert_close(joined, whole, rtol=1e-6, atol=1e-6)


def bad_gradient() -> tuple[str, bool]:
    """Only the second process has a NaN."""
    param = nn.Parameter(torch.ones(3))
    opt = lwt.SGD([param], nonfinite="raise", process_group=dist.group.WORLD)
    param.grad = torch.full((3,), float("nan") if dist.get_rank() == 1 else 1.0)
    try:
        opt.step()
    except lw.NonFiniteGradient as error:
        return type(error).__name__, bool(param.eq(1).all())
    return "stepped", False


@pytest.mark.spawns
def test_a_bad_gradient_of_one_process_stops_all(processes: Processes) -> None:
    assert processes.run(bad_gradient) == [("NonFiniteGradient", True)] * SIZE


def test_step_in_backward_is_refused() -> None:
    with pytest.raises(lw.InvalidArgument, match="step_in_backward needs whole parameters"):
        lwt.SGD([nn.Parameter(torch.ones(2))], step_in_backward=True, process_group=object())
