# SPDX-License-Identifier: Apache-2.0
"""What making an optimizer and loading into it cost: work that grows as the number of tensors does, and no faster.

Work is counted and not timed: calls of functions, those of C among them, and comparisons of names, which lists and
dictionaries do inside C.
"""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import layerwise.torch as lwt


class Counted(str):
    """A name that counts how often it is compared or hashed."""

    __slots__ = ()
    count = 0

    def __eq__(self, other: object) -> bool:
        Counted.count += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        Counted.count += 1
        return str.__hash__(self)


def calls_in(work: Callable[[], object]) -> int:
    """How many calls some work makes, and comparisons of counted names."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    Counted.count = 0
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count + Counted.count


def in_one_layer(count: int) -> Any:
    return [(Counted(f"list.{index}"), nn.Parameter(torch.ones(1))) for index in range(count)]


def in_blocks(count: int) -> Any:
    return [
        (Counted(f"layers.{index // 8}.{index % 8}.weight"), nn.Parameter(torch.ones(1, 1))) for index in range(count)
    ]


def split(make: Callable[[int], Any]) -> Callable[[int], Any]:
    """In two groups, so that every layer is in parts."""

    def parts(count: int) -> Any:
        named = make(count)
        return [{"params": named[::2]}, {"params": named[1::2], "weight_decay": 0.0}]

    return parts


MODELS: dict[str, Callable[[int], Any]] = {
    "one layer": in_one_layer,
    "blocks": in_blocks,
    "blocks in two groups": split(in_blocks),
}


def parameters(opt: torch.optim.Optimizer) -> list[Tensor]:
    return [param for group in opt.param_groups for param in group["params"]]


def costs(make: Callable[[int], Any], count: int) -> dict[str, int]:
    given = make(count)
    made: list[Any] = []
    found = {"making": calls_in(lambda: made.append(lwt.AdamW(given, lr=1e-3)))}
    opt = made[0]
    for param in parameters(opt):
        param.grad = torch.ones_like(param)
    opt.step()
    states: list[Any] = []
    found["saving"] = calls_in(lambda: states.append(opt.state_dict()))
    found["loading"] = calls_in(lambda: opt.load_state_dict(states[0]))
    # Every parameter lies elsewhere by now, as after model.load_state_dict(..., assign=True).
    for param in parameters(opt):
        param.data = param.detach().clone()
    found["moving"] = calls_in(opt.step)
    found["adding"] = calls_in(lambda: opt.add_param_group({"params": [("more", nn.Parameter(torch.ones(1)))]}))
    # A parameter that is replaced makes a new native optimizer, into which the states are carried.
    opt.param_groups[0]["params"][0] = nn.Parameter(parameters(opt)[0].detach().clone())
    found["replacing"] = calls_in(opt.step)
    return found


@pytest.mark.parametrize("model", MODELS)
def test_work_is_linear_in_tensors(model: str) -> None:
    # What is imported and kept at a first use counts for neither.
    costs(MODELS[model], 20)
    small, large = (costs(MODELS[model], count) for count in (200, 800))
    for what, count in large.items():
        # Four times as many tensors; quadratic work would be sixteen times as much.
        assert count <= 4.2 * small[what], f"{what}: {small[what]} and {count}"


def test_many_tensors() -> None:
    """Making an optimizer, up to a size at which one call for each pair of tensors would be all that is seen.

    `Tests/C/scale.c` has more tensors, natively.
    """
    made: list[Any] = []
    costs(in_blocks, 20)
    few = in_blocks(1_000)
    small = calls_in(lambda: made.append(lwt.AdamW(few, lr=1e-3)))
    made.clear()
    given = in_blocks(10_000)
    large = calls_in(lambda: made.append(lwt.AdamW(given, lr=1e-3)))
    assert large <= 10.5 * small
    assert len(made[0].native.layers) == 10_000
