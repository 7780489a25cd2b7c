# SPDX-License-Identifier: Apache-2.0
"""What the loaded library can do."""

from __future__ import annotations

import json
from typing import Any

from . import _binding as lw


def rules() -> list[dict[str, Any]]:
    """The declaration of every rule: name, equation, source, hyperparameters, presets and states.

    The same declarations drive the library's checks; see `lw_rule_describe` in `layerwise.h` for their shape.
    """
    return _declarations(lw.lw_rule_count, lw.lw_rule_name, lw.lw_rule_describe)


def policies() -> list[dict[str, Any]]:
    """The declaration of every policy."""
    return _declarations(lw.lw_policy_count, lw.lw_policy_name, lw.lw_policy_describe)


def _declarations(
    count: lw.NativeFunction, name: lw.NativeFunction, describe: lw.NativeFunction
) -> list[dict[str, Any]]:
    return [json.loads(lw.text(describe, name(index))) for index in range(count())]


def instruction_set() -> str:
    """The instruction set chosen at load: "avx512", "avx2", "neon" or "baseline".

    The environment variable LAYERWISE_ISA forces one that the processor has.  Results have the same bits in all.
    """
    return str(lw.lw_instruction_set().decode())


def available_threads() -> int:
    """How many threads a step may use unless `threads` says otherwise: affinity, limited by the cgroup's quota."""
    return int(lw.lw_available_threads())
