# SPDX-License-Identifier: Apache-2.0
"""Who is timed.  Each function gives one contestant its own buffers and its own optimizer, set up alike.

Rivals are imported when they are asked for; one that this machine lacks raises `AbsentError` and is reported as such.
"""

from __future__ import annotations

import importlib
import logging
import os
import sysconfig
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest import mock

import numpy as np

import layerwise as lw

from .workloads import BFLOAT16, Array, Buffers, Workload

LR = 1e-3
BETAS = (0.9, 0.999)
EPS = 1e-8
ADAM_DECAY = 0.01
MOMENTUM = 0.9
SGD_DECAY = 1e-4
LARS_LR = 0.1
MATMUL_SIDE = 1024
CLIP = 1.0
"""The gradients of every workload have a norm above this, so clipping is at work."""


class AbsentError(Exception):
    """A rival cannot take part; the text says why."""


class Entry(NamedTuple):
    """What a contestant brings.

    How it takes a step, the buffers that it steps, what happens before each step, and the bytes that a step must move
    where the case has no number for all.
    """

    step: Callable[[], object]
    buffers: Buffers
    renew: Callable[[], object] | None = None
    traffic: int | None = None


def use_threads(count: int) -> None:
    """Gives every contestant the same number of threads.  To be called before any rival is imported.

    Also lets torch ask for huge pages, as NumPy and Layerwise do: without them it would lose by its allocator alone.
    """
    os.environ["OMP_NUM_THREADS"] = str(count)
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"


# ---- Layerwise


def layerwise(rule: lw.Rule, buffers: Buffers, threads: int, scales: Sequence[float] | None = None) -> lw.Optimizer:
    """An optimizer with a layer for every tensor that does not look for non-finite gradients, as no rival does."""
    optimizer = lw.Optimizer(rule, nonfinite="propagate", threads=threads)
    for index, (parameter, gradient) in enumerate(zip(buffers.parameters, buffers.gradients, strict=True)):
        optimizer.add_layer(f"layer{index}", parameter, grads=gradient)
    if scales is not None:
        optimizer.policy = explicit(scales)
    return optimizer


def explicit(scales: Sequence[float]) -> lw.Explicit:
    """A rate of its own for every layer."""
    return lw.Explicit({f"layer{index}": scale for index, scale in enumerate(scales)})


def adamw() -> lw.AdamW:
    """AdamW with the values that all contestants use."""
    return lw.AdamW(lr=LR, betas=BETAS, eps=EPS, weight_decay=ADAM_DECAY)


def sgd() -> lw.SGD:
    """SGD with momentum, likewise."""
    return lw.SGD(lr=LR, momentum=MOMENTUM, weight_decay=SGD_DECAY)


def muon(precision: Literal["full", "bfloat16"] = "full") -> lw.Muon:
    """Muon with torch's defaults."""
    return lw.Muon(lr=LR, ns_precision=precision)


def lamb(variant: Literal["pytorch_optimizer"] | None = None) -> lw.LAMB:
    """LAMB, likewise."""
    return lw.LAMB(lr=LR, betas=BETAS, eps=EPS, weight_decay=ADAM_DECAY, variant=variant)


def lars(variant: Literal["pytorch_optimizer"] | None = None) -> lw.LARS:
    """LARS, likewise."""
    return lw.LARS(lr=LARS_LR, momentum=MOMENTUM, weight_decay=SGD_DECAY, variant=variant)


def at_defaults(rule: lw.Rule, workload: Workload, threads: int) -> Entry:
    """A rule at its defaults."""
    buffers = workload.copy()
    optimizer = layerwise(rule, buffers, threads)
    needs_loss = next(entry["needs_loss"] for entry in lw.rules() if entry["name"] == rule.name)
    step = partial(optimizer.step, loss=1.0) if needs_loss else optimizer.step
    return Entry(step, buffers)


def peer_of(rule: lw.Rule, workload: Workload) -> Entry:
    """The class of the same name in torch, fused where it can be, or else in pytorch_optimizer, at its defaults."""
    name = type(rule).__name__
    torch = import_torch()
    kind = getattr(torch.optim, name, None)
    buffers = workload.copy()
    parameters = _parameters(torch, buffers)
    if kind is not None:
        fused = name in ("SGD", "Adam", "AdamW", "Adagrad")
        options = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = kind(parameters, lr=LR, **options, **({"fused": True} if fused else {"foreach": True}))
        return Entry(optimizer.step, buffers)
    module = _import("pytorch_optimizer")
    kind = getattr(module, {"LAMB": "Lamb"}.get(name, name), None)
    if kind is None or name == "AdamMini":
        raise AbsentError("none of this name")
    return Entry(kind(parameters, lr=LR).step, buffers)


# ---- torch


def torch_adamw(workload: Workload, scales: Sequence[float] | None = None, **implementation: bool) -> Entry:
    """torch's AdamW; with ``scales`` it has a group with a rate of its own for every tensor."""
    torch, buffers = import_torch(), workload.copy()
    groups = _groups(_parameters(torch, buffers), scales)
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS, weight_decay=ADAM_DECAY, **implementation)
    return Entry(optimizer.step, buffers)


def torch_sgd(workload: Workload, **implementation: bool) -> Entry:
    """torch's SGD with momentum."""
    torch, buffers = import_torch(), workload.copy()
    parameters = _parameters(torch, buffers)
    optimizer = torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM, weight_decay=SGD_DECAY, **implementation)
    return Entry(optimizer.step, buffers)


def muon_in_bfloat16(workload: Workload, threads: int) -> Entry:
    """Muon whose matrices are rounded as torch's are."""
    buffers = workload.copy()
    return Entry(layerwise(muon("bfloat16"), buffers, threads).step, buffers)


def muon_by_blas(workload: Workload, threads: int, precision: Literal["full", "bfloat16"]) -> Entry:
    """Muon by the BLAS that LAYERWISE_BENCH_BLAS names, or by the OpenBLAS that NumPy's wheel brings."""
    bundled = (Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas64_*.so")
    path = os.environ.get("LAYERWISE_BENCH_BLAS") or next(map(str, bundled), None)
    if path is None:
        raise AbsentError("no BLAS: NumPy brings none, and LAYERWISE_BENCH_BLAS names none")
    buffers = workload.copy()
    optimizer = layerwise(muon(precision), buffers, threads)

    def step() -> None:
        lw.use_blas(path)
        optimizer.step()
        lw.use_blas(None)

    return Entry(step, buffers)


def torch_muon(workload: Workload) -> Entry:
    """torch's Muon, whose products are of bfloat16 numbers."""
    torch, buffers = import_torch(), workload.copy()
    return Entry(torch.optim.Muon(_parameters(torch, buffers), lr=LR).step, buffers)


def torch_muon_in_float32(workload: Workload) -> Entry:
    """torch's Muon without its rounding to bfloat16."""
    torch, entry = import_torch(), torch_muon(workload)

    def step() -> None:
        with mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone):
            entry.step()

    return Entry(step, entry.buffers)


def muon_products(workload: Workload) -> Entry:
    """The matrix products of five iterations, by torch."""
    torch, buffers = import_torch(), workload.copy()
    matrices = [torch.from_numpy(array) for array in buffers.gradients]
    # Of the shorter side, as in torch's Muon.
    wide = [(matrix.T if matrix.shape[0] > matrix.shape[1] else matrix).contiguous() for matrix in matrices]

    def step() -> None:
        for matrix in wide:
            for _ in range(5):
                gram = matrix @ matrix.T
                (gram @ gram) @ matrix

    return Entry(step, buffers)


def torch_guarded_adamw(workload: Workload) -> Entry:
    """torch's fused AdamW behind its clipping by global norm, which also looks for a norm that is not finite."""
    torch, buffers = import_torch(), workload.copy()
    parameters = _parameters(torch, buffers)
    optimizer = torch.optim.AdamW(parameters, lr=LR, betas=BETAS, eps=EPS, weight_decay=ADAM_DECAY, fused=True)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(parameters, CLIP, error_if_nonfinite=True)
        optimizer.step()

    return Entry(step, buffers)


def import_torch() -> Any:
    """torch, with the number of threads that everyone has."""
    torch = _import("torch")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return torch


def _parameters(torch: Any, buffers: Buffers) -> list[Any]:
    """torch parameters with gradients, in the memory of ``buffers``."""

    def tensor(array: Array) -> Any:
        if array.dtype == BFLOAT16:
            return torch.from_numpy(array.view("uint16")).view(torch.bfloat16)
        return torch.from_numpy(array)

    parameters = [torch.nn.Parameter(tensor(array)) for array in buffers.parameters]
    for parameter, gradient in zip(parameters, buffers.gradients, strict=True):
        parameter.grad = tensor(gradient)
    return parameters


def _groups(parameters: list[Any], scales: Sequence[float] | None) -> list[Any]:
    if scales is None:
        return parameters
    return [{"params": [p], "lr": LR * scale} for p, scale in zip(parameters, scales, strict=True)]


# ---- torch's interface, with new gradients at each step, as autograd makes them


def layerwise_torch(workload: Workload, threads: int, scales: Sequence[float] | None = None) -> Entry:
    """Layerwise's AdamW for torch."""
    torch, buffers = import_torch(), workload.copy()
    parameters = _parameters(torch, buffers)
    made = importlib.import_module("layerwise.torch").AdamW(
        _groups(parameters, scales), lr=LR, betas=BETAS, eps=EPS, weight_decay=ADAM_DECAY, threads=threads
    )
    return Entry(made.step, buffers, _renewal(parameters))


def renewed_torch_adamw(workload: Workload, scales: Sequence[float] | None = None, **implementation: bool) -> Entry:
    """torch's AdamW."""
    torch, buffers = import_torch(), workload.copy()
    parameters = _parameters(torch, buffers)
    groups = _groups(parameters, scales)
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS, weight_decay=ADAM_DECAY, **implementation)
    return Entry(optimizer.step, buffers, _renewal(parameters))


class Driven:
    """One AdamW of torch with its parameters in one group, in groups by layer, or in a group for each tensor.

    The memory is the same for all, so that where it lies makes no difference.

    Args:
        workload: The tensors.
        names: Their names, which tell the layers.
        implementation: Which of torch's it is.
    """

    def __init__(self, workload: Workload, names: Sequence[str], **implementation: bool) -> None:
        torch = import_torch()
        named = list(zip(names, _parameters(torch, workload.copy()), strict=True))
        self._optimizer = torch.optim.AdamW(
            named, lr=LR, betas=BETAS, eps=EPS, weight_decay=ADAM_DECAY, **implementation
        )
        self._one = list(self._optimizer.param_groups)
        rates = importlib.import_module("layerwise.torch").LayerRates(
            self._optimizer, policy=lw.LayerDecay(0.9), schedule=_endless()
        )
        self._move = rates.step
        self._by_layer = list(self._optimizer.param_groups)
        self._each = [{**group, "params": [one]} for group in self._by_layer for one in group["params"]]

    def step(self) -> None:
        """The step of the optimizer alone."""
        self._optimizer.step()

    def driven_step(self) -> None:
        """The step of the optimizer, and the move to the rates of the next."""
        self._optimizer.step()
        self._move()

    def in_one_group(self) -> None:
        """Prepare for a step with one group."""
        self._optimizer.param_groups[:] = self._one

    def by_layer(self) -> None:
        """Prepare for a step with merged groups."""
        self._optimizer.param_groups[:] = self._by_layer

    def each(self) -> None:
        """Prepare for a step with a group for each tensor."""
        self._optimizer.param_groups[:] = self._each


def layer_rates(workload: Workload) -> Entry:
    """What moves the rates of an optimizer with a layer, and a rate, for each tensor."""
    torch, buffers = import_torch(), workload.copy()
    named = [(f"layers.{index}.weight", one) for index, one in enumerate(_parameters(torch, buffers))]
    optimizer = torch.optim.AdamW(named, lr=LR)
    rates = importlib.import_module("layerwise.torch").LayerRates(
        optimizer, policy=lw.LayerDecay(0.99), schedule=_endless()
    )
    return Entry(rates.step, buffers)


def torch_scheduler(workload: Workload) -> Entry:
    """torch's own cosine over as many groups."""
    torch, buffers = import_torch(), workload.copy()
    groups = [{"params": [one]} for one in _parameters(torch, buffers)]
    optimizer = torch.optim.AdamW(groups, lr=LR)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10**9)
    # It warns where the first step of the optimizer comes later than its own.
    optimizer.step()
    return Entry(scheduler.step, buffers)


def _endless() -> lw.Schedule:
    """A schedule that does not end before the benchmark does."""
    return lw.Cosine(total_steps=10**9)


def renewed_deepspeed_adamw(workload: Workload, scales: Sequence[float] | None = None) -> Entry:
    """DeepSpeed's CPUAdam."""
    buffers = workload.copy()
    optimizer, parameters = _deepspeed(buffers, scales, float32_moments=True)
    return Entry(optimizer.step, buffers, _renewal(parameters))


def after_matmul(entry: Entry) -> Entry:
    """The contestant as a training loop meets it: each step comes right after a matrix product.

    The caches then hold the product's operands, and torch's threads still spin on their processors.
    """
    torch = import_torch()
    operand = torch.full((MATMUL_SIDE, MATMUL_SIDE), 1e-3)

    def renew() -> None:
        if entry.renew is not None:
            entry.renew()
        torch.mm(operand, operand)

    return entry._replace(renew=renew)


def _renewal(parameters: list[Any]) -> Callable[[], object]:
    """Gives every parameter another gradient, in other memory."""
    sets = [[p.grad for p in parameters], [p.grad.clone() for p in parameters]]

    def renew() -> None:
        sets.reverse()
        for parameter, gradient in zip(parameters, sets[0], strict=True):
            parameter.grad = gradient

    return renew


# ---- DeepSpeed


def deepspeed_adamw(workload: Workload, scales: Sequence[float] | None = None, float32_moments: bool = True) -> Entry:
    """DeepSpeed's CPUAdam, which is AdamW by default."""
    buffers = workload.copy()
    optimizer, _ = _deepspeed(buffers, scales, float32_moments)
    return Entry(optimizer.step, buffers)


def _deepspeed(buffers: Buffers, scales: Sequence[float] | None, float32_moments: bool) -> tuple[Any, list[Any]]:
    """The optimizer, which compiles itself when first used, and its parameters."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    # Its compilation looks for ninja on the path, where an interpreter called by its full name may not be.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    torch, adam = import_torch(), _import("deepspeed.ops.adam")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    parameters = _parameters(torch, buffers)
    groups = _groups(parameters, scales)
    try:
        optimizer = adam.DeepSpeedCPUAdam(
            groups, lr=LR, betas=BETAS, eps=EPS, weight_decay=ADAM_DECAY, fp32_optimizer_states=float32_moments
        )
    except RuntimeError as error:
        raise AbsentError(f"does not compile here: {error.__cause__ or error}") from error
    return optimizer, parameters


# ---- pytorch_optimizer


def pytorch_optimizer_lamb(workload: Workload) -> Entry:
    """pytorch_optimizer's LAMB."""
    return _pytorch_optimizer("Lamb", workload, lr=LR, betas=BETAS, eps=EPS, weight_decay=ADAM_DECAY)


def pytorch_optimizer_lars(workload: Workload) -> Entry:
    """pytorch_optimizer's LARS."""
    return _pytorch_optimizer("LARS", workload, lr=LARS_LR, momentum=MOMENTUM, weight_decay=SGD_DECAY)


def _pytorch_optimizer(rule: str, workload: Workload, **values: Any) -> Entry:
    torch, module = import_torch(), _import("pytorch_optimizer")
    buffers = workload.copy()
    make: Callable[..., Any] = getattr(module, rule)
    optimizer = make(_parameters(torch, buffers), **values)
    return Entry(optimizer.step, buffers)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]
        raise AbsentError("not installed" if missing else f"cannot be imported: {error}") from error
