# SPDX-License-Identifier: Apache-2.0
"""What the loaded library can do."""

from __future__ import annotations

import ctypes
import functools
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from . import _binding as lw
from ._values import dataclass


def rules() -> list[dict[str, Any]]:
    """The declaration of every rule: name, equation, source, hyperparameters, presets and states.

    The same declarations drive the library's checks; see `lw_rule_describe` in `layerwise.h` for their shape.
    """
    return _declarations(lw.lw_rule_count, lw.lw_rule_name, lw.lw_rule_describe)


@functools.cache
def declaration_of(rule: str) -> dict[str, Any]:
    """The declaration of one rule, which all callers share and none changes."""
    return dict(json.loads(lw.text(lw.lw_rule_describe, lw.name(rule))))


def policies() -> list[dict[str, Any]]:
    """The declaration of every policy: name, equation, source, settings, and what its list and parts are."""
    return _declarations(lw.lw_policy_count, lw.lw_policy_name, lw.lw_policy_describe)


def schedules() -> list[dict[str, Any]]:
    """The declaration of every schedule: name, equation, source, settings, and what its list and parts are."""
    return _declarations(lw.lw_schedule_count, lw.lw_schedule_name, lw.lw_schedule_describe)


def freeze_plans() -> list[dict[str, Any]]:
    """The declaration of every freezing plan."""
    return _declarations(lw.lw_freeze_plan_count, lw.lw_freeze_plan_name, lw.lw_freeze_plan_describe)


known_policies = functools.cache(policies)
"""As `policies`: a list that all callers share and none changes."""

known_freeze_plans = functools.cache(freeze_plans)
"""As `freeze_plans`, likewise."""


@dataclass(frozen=True)
class InferredLayer:
    """One layer of a model, as the names of its tensors tell.

    Attributes:
        name: What its tensors' names have in common.
        depth: Position from the input, in its tower.
        tower: The stack it belongs to; empty where there is one.
        role: "stem", "block", "norm" or "head".
        tensors: Indices of its tensors among the names.
        reason: Why it is what it is.
        guess: Whether names leave its place open, or that of some of its tensors, so that their order decided.
    """

    name: str
    depth: int
    tower: str
    role: str
    tensors: tuple[int, ...]
    reason: str
    guess: bool


def infer_layers(names: Iterable[str]) -> list[InferredLayer]:
    """The layers of a model from the names of its tensors, such as `model.state_dict()`, by towers and depths.

    Order of the names matters only where they say nothing.
    """
    texts = [lw.name(name) for name in names]
    found = json.loads(lw.text(lw.lw_infer_layers, lw.array_type(ctypes.c_char_p, len(texts))(*texts), len(texts)))
    return [InferredLayer(**layer | {"tensors": tuple(layer["tensors"])}) for layer in found]


def match_names(pattern: str, names: Sequence[str], syntax: str = "glob") -> list[bool]:
    """Which of some names a pattern matches, as policies match the names of layers.

    Args:
        pattern: What the whole name is compared with.
        names: The names.
        syntax: "exact", "glob" or "regex", as in policies.
    """
    texts = [lw.name(name) for name in names]
    matched = lw.array_type(ctypes.c_uint8, len(texts))()
    lw.call(
        lw.lw_match_names,
        lw.name(pattern),
        lw.name(syntax),
        lw.array_type(ctypes.c_char_p, len(texts))(*texts),
        len(texts),
        matched,
    )
    return [bool(one) for one in matched]


def _declarations(
    count: lw.NativeFunction, name: lw.NativeFunction, describe: lw.NativeFunction
) -> list[dict[str, Any]]:
    return [json.loads(lw.text(describe, name(index))) for index in range(count())]


def instruction_set() -> str:
    """The instruction set chosen at load: "avx512", "avx2", "neon" or "baseline".

    The environment variable LAYERWISE_ISA forces one that the processor has.  Results have the same bits in all.
    """
    return str(lw.lw_instruction_set().decode())


def use_blas(path: str | os.PathLike[str] | None) -> None:
    """Let a BLAS multiply matrices in place of the library's own kernels, for rules such as `Muon`.

    The library's own kernels give the same bits on any number of threads and any processor.  A BLAS rounds in an order
    of its own, uses threads of its own, and serves all optimizers of the process from their next step on.

    Args:
        path: A shared library with the functions of CBLAS, a name that the loader finds, such as "libopenblas.so.0", or
            "auto" for the first of OpenBLAS, BLIS and MKL that it finds.  None goes back to the library's own kernels.
            The environment variable `LAYERWISE_BLAS` says the same.

    Raises:
        InvalidArgument: The library cannot be loaded, or lacks a function.  Nothing changes.
    """
    lw.call(lw.lw_use_blas, None if path is None else os.fsencode(path))


def blas() -> str | None:
    """The BLAS in use: the path that `use_blas` was given; None for the library's own kernels."""
    return lw.text(lw.lw_blas) or None


def available_threads() -> int:
    """How many threads a step may use unless `threads` says otherwise: affinity, limited by the cgroup's quota."""
    return int(lw.lw_available_threads())
