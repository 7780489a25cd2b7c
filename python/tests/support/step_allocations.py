# SPDX-License-Identifier: Apache-2.0
"""What steps allocate after the first: run with allocations.c preloaded, prints a line for each kind that does.

Its argument says whose memory the optimizers work in: the library's, or the caller's.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

import layerwise as lw
from layerwise import _binding as binding
from support import recipes
from support.rules import TABLE
from support.rules import rule as rule_of

# A rule that estimates its rate from sums over all layers runs away under a gradient that never turns: it takes few
# steps here, with ordinary hyperparameters.
RULES = [
    rule_of(name, options)
    for name, row in TABLE.items()
    for options in (row.options, *(() if row.together else row.extremes))
]

SMALL, LARGE = 37, 23_000
"""Sizes of a tensor.  Six of the large ones are a step for several threads, and each is more than a block."""

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "global norm": {"clip_global_norm": 0.1},
    "layer norm": {"clip_layer_norm": 0.1},
    "value": {"clip_value": 0.1},
    "all clipping, telemetry": {"clip_global_norm": 0.1, "clip_layer_norm": 0.1, "clip_value": 0.1, "telemetry": True},
    "propagate": {"nonfinite": "propagate"},
    "skip": {"nonfinite": "skip", "telemetry": True},
    "units": {"clip_unit_ratio": 0.1, "centralize_gradients": True, "telemetry": True},
    "noise": {"gradient_noise": 0.1, "clip_global_norm": 1.0},
}

counter = ctypes.CDLL(None)
counter.count_steps.restype = ctypes.c_long
counter.count_steps.argtypes = (
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.POINTER(binding.lw_step),
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_int32),
)


def step_options(**fields: Any) -> binding.lw_step:
    """How to step."""
    return binding.lw_step(
        ctypes.sizeof(binding.lw_step),
        layer=fields.pop("layer", -1),
        gradient_scale=fields.pop("gradient_scale", 1.0),
        **fields,
    )


def allocations(opt: lw.Optimizer, options: binding.lw_step, steps: int, expected: int = 0) -> int:
    """What the steps after the first allocate; where the memory is the caller's, all of them."""
    native = ctypes.cast(binding.lw_optimizer_step, ctypes.c_void_p)
    code = ctypes.c_int32()
    if opt.get("memory") == "library":
        counter.count_steps(native, opt._handle, options, 1, code)
    elif not opt._memory:
        opt.set_memory(bytearray(opt.memory_size))
    found: int = counter.count_steps(native, opt._handle, options, steps, code)
    assert code.value == expected, (code, opt.rule)
    return found


def optimizer(
    rule: lw.Rule, dtype: Any, size: int, master: bool = False, gradient: float = 0.0, **options: Any
) -> lw.Optimizer:
    """Three layers of two tensors; one element of a gradient is `gradient`."""
    opt = lw.Optimizer(rule, **options)
    for index, name in enumerate("abc"):
        tensors, grads = (
            {key: values.copy() for key, values in zip(("weight", "bias"), pair, strict=True)}
            for pair in material(np.dtype(dtype), size)[index]
        )
        grads["bias"][3] = gradient
        opt.add_layer(name, tensors, grads, master=master)
    return opt


@cache
def material(dtype: np.dtype[Any], size: int) -> np.ndarray[Any, Any]:
    """Weights and gradients of three layers."""
    return np.random.default_rng(1).standard_normal((3, 2, 2, size)).astype(dtype)


KINDS: tuple[tuple[str, Any, bool, int], ...] = (
    ("float32", np.float32, False, SMALL),
    ("float64", np.float64, False, LARGE),
    ("float16, master", np.float16, True, LARGE),
)
"""Types and sizes of the layers of one optimizer."""


def kinds_of(number: int, label: str) -> Iterator[tuple[str, Any, bool, int]]:
    """The types and sizes that rule `number` of RULES meets with these options.

    Every rule meets all options and all types, and all options meet all types, but a rule meets an option with one type
    only.  The choices of hyperparameters of one class follow each other, so that the class itself meets nearly all.
    """
    for index, kind in enumerate(KINDS):
        is_small = kind[-1] == SMALL
        if label in ("units", "noise"):
            if is_small:
                yield kind
        elif (number + [*OPTIONS].index(label)) % len(KINDS) == index or (label == "plain" and is_small):
            yield kind


def cases_of_librarys_memory() -> Iterator[tuple[str, int]]:
    """Every kind of step, and what it allocates."""
    for number, rule in enumerate(RULES):
        is_alone = not TABLE[type(rule).__name__].together
        for label, options in OPTIONS.items():
            for kind, dtype, master, size in kinds_of(number, label):
                with optimizer(rule, dtype, size, master, threads=3, **options) as opt:
                    # Long enough for what is counted once a step to outgrow what is kept ready for it.
                    steps = 1100 if size == SMALL and label == "plain" and is_alone else 5
                    yield f"{rule}, {kind}, {label}", allocations(opt, step_options(), steps)
                    if size == SMALL and is_alone:
                        yield f"{rule}, {kind}, {label}, one layer", allocations(opt, step_options(layer=1), 3)
                    reduce = ctypes.cast(counter.sum_alone, binding.lw_reduce)
                    spread = step_options(reduce=reduce)
                    yield f"{rule}, {kind}, {label}, spread", allocations(opt, spread, 3)
                    yield f"{rule}, {kind}, {label}, scaled", allocations(opt, step_options(gradient_scale=1e-40), 2)
        with optimizer(rule, np.float64, SMALL) as opt:
            grads = [np.full(SMALL, 0.5) for _ in range(6)]
            addresses = (ctypes.c_void_p * 6)(*(grad.ctypes.data for grad in grads))
            given = step_options(gradients=addresses, gradient_count=6)
            yield f"{rule}, given gradients", allocations(opt, given, 3)
        with optimizer(rule, np.float64, SMALL, gradient=np.nan, nonfinite="skip", clip_global_norm=1.0) as opt:
            yield f"{rule}, skipped", allocations(opt, step_options(), 3)
        with optimizer(rule, np.float64, SMALL, gradient=1e200, clip_global_norm=1.0) as opt:
            yield f"{rule}, squares overflow", allocations(opt, step_options(gradient_scale=1e-200), 3)
    for schedule in recipes.SCHEDULES:
        key = "momentum" if "Momentum" in type(schedule).__name__ else "lr"
        with recipes.optimizer(lw.SGD(lr=0.1, momentum=0.9), clip_global_norm=1.0) as opt:
            opt.set_schedule(schedule, key)
            yield f"{schedule}", allocations(opt, step_options(), 40)
    for key, rule in (
        ("beta1", lw.AdamW(lr=0.1)),
        ("beta2", lw.LAMB(lr=0.1)),
        ("weight_decay", lw.Adam(lr=0.1, weight_decay=0.1)),
        ("eps", lw.AdamW(lr=0.1, amsgrad=True)),
        ("momentum", lw.LARS(lr=0.1, momentum=0.9)),
    ):
        with recipes.optimizer(rule, clip_layer_norm=1.0) as opt:
            opt.set_schedule(lw.Cosine(30, min_factor=0.1), key)
            opt.set_schedule(lw.Warmup(4, lw.Cosine(12)), "lr")
            yield f"schedule of {key}", allocations(opt, step_options(), 40)
    for plan in recipes.PLANS:
        with recipes.optimizer(lw.AdamW(lr=0.1), freezing=plan, clip_global_norm=1.0) as opt:
            yield f"{plan}", allocations(opt, step_options(), 40)
    for policy in recipes.POLICIES:
        with recipes.optimizer(lw.AdamW(lr=0.1), policy=policy) as opt:
            yield f"{policy}", allocations(opt, step_options(), 3)
    for policy in (
        lw.RelativeGradientNorm(1.5, ramp=20),
        lw.UpdateRatio(ramp=20),
        lw.LARC(),
        lw.Hypergradient(ramp=20),
        lw.SignAgreement(),
        lw.LDoGScale(),
        lw.AutoLR(warmup=2, period=3),
    ):
        for label, kind in (("all layers", {}), ("one layer", {"layer": 1})):
            for memory in ("library", "caller"):
                with optimizer(lw.AdamW(lr=0.1), np.float32, SMALL, policy=policy, memory=memory) as opt:
                    yield f"{policy}, {label}, {memory}", allocations(opt, step_options(**kind), 40)
    reduce = ctypes.cast(counter.sum_alone, binding.lw_reduce)
    for plan in (lw.AutoFreeze(3), lw.AutoFreeze(3, norm="l1"), lw.GradES(1e-9, 40), lw.GradES(1e-9, 40, norm="l1")):
        for label, kind in (("alone", {}), ("spread", {"reduce": reduce})):
            for memory in ("library", "caller"):
                options = {"policy": lw.SignAgreement(), "freezing": plan, "memory": memory}
                with optimizer(lw.AdamW(lr=0.1), np.float32, SMALL, **options) as opt:
                    yield f"{plan}, {label}, {memory}", allocations(opt, step_options(**kind), 40)
    yield from cases_of_options()
    yield from cases_of_mixed_rules()


def cases_of_options() -> Iterator[tuple[str, int]]:
    """What is done with gradients and changes around a rule."""
    for options in (
        {"average": lw.EMA(0.9, warmup=True), "clip_global_norm": 1.0},
        {"average": lw.PolynomialAverage(start=2, period=2), "lookahead": lw.Lookahead(2)},
    ):
        for memory in ("library", "caller"):
            for size, dtype in ((SMALL, np.float32), (LARGE, np.float16)):
                with optimizer(lw.AdamW(lr=0.1), dtype, size, memory=memory, **options) as opt:
                    yield f"{options}, {size}, {memory}", allocations(opt, step_options(), 6)
    for options in ({"cautious": "update"}, {"cautious": "decay"}, {"corrected_weight_decay": True}):
        for rule in (lw.AdamW(lr=0.1, **options), lw.Lion(lr=0.1, **options)):
            for size in (SMALL, LARGE):
                with optimizer(rule, np.float32, size, threads=3, telemetry=True, clip_unit_ratio=0.1) as opt:
                    yield f"{rule}, {size}", allocations(opt, step_options(), 5)
    for rule in (lw.AdamW(lr=0.1), lw.AdamMini(lr=0.1), lw.SM3(lr=0.1), lw.LAMB(lr=0.1)):
        for where in ({}, {"memory": "caller"}):
            with matrices(rule, average=lw.EMA(0.9), lookahead=lw.Lookahead(2), **where) as opt:
                yield f"{rule}, averages, {where}", allocations(opt, step_options(), 5)
                yield f"{rule}, averages, one layer, {where}", allocations(opt, step_options(layer=1), 3)
    for rule in (lw.MoMo(), lw.MoMoAdam()):
        # Each step needs its loss, also the one that is not counted where the memory is the library's.
        with optimizer(rule, np.float32, SMALL, memory="caller") as opt:
            for _ in range(3):
                opt._say_loss(0.5)
                yield f"{rule}, memory of the caller", allocations(opt, step_options(), 1)


def cases_of_callers_memory() -> Iterator[tuple[str, int]]:
    """Optimizers whose memory is the caller's: not even the first step allocates, and no step starts a thread."""
    threads = len(os.listdir("/proc/self/task"))
    kinds = (("float32", np.float32, False, SMALL), ("float16, master", np.float16, True, LARGE))
    for number, rule in enumerate(RULES):
        for index, (label, options) in enumerate(OPTIONS.items()):
            # A rule meets each option with one of the two types.  It meets both types, and so does each option.
            kind, dtype, master, size = kinds[(number + index) % len(kinds)]
            with optimizer(rule, dtype, size, master, memory="caller", **options) as opt:
                yield f"{rule}, {kind}, {label}, memory of the caller", allocations(opt, step_options(), 4)
    for rule in (lw.Muon(lr=0.1), lw.Adafactor(lr=0.1), lw.CAME(lr=0.1), lw.AdamW(lr=0.1, cautious="update")):
        with matrices(rule, memory="caller", clip_unit_ratio=0.1, telemetry=True) as opt:
            yield f"{rule}, matrices, memory of the caller", allocations(opt, step_options(), 4)
    for schedule in recipes.SCHEDULES:
        key = "momentum" if "Momentum" in type(schedule).__name__ else "lr"
        with recipes.optimizer(lw.SGD(lr=0.1, momentum=0.9), clip_global_norm=1.0, memory="caller") as opt:
            opt.set_schedule(schedule, key)
            yield f"{schedule}, memory of the caller", allocations(opt, step_options(), 40)
    for plan in recipes.PLANS:
        with recipes.optimizer(lw.AdamW(lr=0.1), freezing=plan, empty_step="allow", memory="caller") as opt:
            yield f"{plan}, memory of the caller", allocations(opt, step_options(), 40)
    for policy in recipes.POLICIES:
        with recipes.optimizer(lw.AdamW(lr=0.1), policy=policy, memory="caller") as opt:
            yield f"{policy}, memory of the caller", allocations(opt, step_options(), 10)
    with optimizer(lw.SGD(lr=0.1), np.float32, SMALL, memory="caller") as opt:
        opt.set_memory(bytearray(10 * opt.memory_size))
        for options in ({"momentum": 0.9}, {"clip_unit_ratio": 0.5}, {"telemetry": True}, {"lr": 0.5}):
            opt.set(**options)
            opt.prepare()
            yield f"{options}, prepared", allocations(opt, step_options(), 1)
    yield "threads", len(os.listdir("/proc/self/task")) - threads


def matrices(rule: lw.Rule, **options: Any) -> lw.Optimizer:
    """Two layers of a matrix and a vector."""
    opt = lw.Optimizer(rule, **options)
    for name in "ab":
        tensors = {"weight": np.ones((40, 300), np.float32), "bias": np.ones(40, np.float32)}
        opt.add_layer(name, tensors, {key: np.full_like(tensor, 0.5) for key, tensor in tensors.items()})
    return opt


def cases_of_mixed_rules() -> Iterator[tuple[str, int]]:
    """Layers with rules of different stages in one optimizer, whose threads change from step to step."""
    with optimizer(lw.AdamW(lr=0.1), np.float32, 1_000_000, threads=16) as opt:
        yield "sixteen threads", allocations(opt, step_options(), 3)
    for rule in (lw.AdamW(lr=0.1), lw.Prodigy()):
        with optimizer(rule, np.float32, LARGE, clip_global_norm=1.0, telemetry=True, threads=3) as opt:
            for index, own in enumerate((lw.Lion(), lw.LAMB(), lw.Adafactor(lr=0.01), lw.NAdam())):
                tensors = {"weight": np.ones((300, 40), np.float32), "bias": np.ones(40, np.float32)}
                grads = {name: np.full_like(tensor, 0.5) for name, tensor in tensors.items()}
                opt.add_layer(f"own {index}", tensors, grads, rule=own)
            steps = 5 if TABLE[type(rule).__name__].together else 100
            yield f"rules of layers beside {rule}", allocations(opt, step_options(), steps)
            spread = step_options(reduce=ctypes.cast(counter.sum_alone, binding.lw_reduce))
            yield f"rules of layers beside {rule}, spread", allocations(opt, spread, 3)


if __name__ == "__main__":
    probe = ctypes.cast(counter.allocate, ctypes.c_void_p)
    assert counter.count_steps(probe, None, None, 3, ctypes.c_int32()) == 3
    kinds = 0
    parts = {"library": cases_of_librarys_memory, "caller": cases_of_callers_memory}
    for label, found in parts[sys.argv[1]]():
        kinds += 1
        if found:
            print(f"{found} allocations: {label}")
    print(f"{kinds} kinds of steps")
