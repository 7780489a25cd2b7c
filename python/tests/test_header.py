# SPDX-License-Identifier: Apache-2.0
"""The headers: every function of layerwise.h is documented, and layerwise_names.h has what the library declares."""

import ctypes
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import layerwise as lw
from layerwise import _binding

ROOT = Path(__file__).parents[2]
HEADER = (ROOT / "include" / "layerwise.h").read_text("utf-8")
KEY = re.compile(r"^ \*      ([a-z_]+) {2,}", re.MULTILINE)
UNKNOWN_NAME = 2
NAMES = ROOT / "include" / "layerwise_names.h"


def test_every_function_has_a_comment_of_its_own() -> None:
    text = HEADER + (ROOT / "include" / "layerwise_experimental.h").read_text("utf-8")
    functions = re.findall(r"^LW_API .*?\b(lw_\w+)\(", text, re.MULTILINE)
    documented = re.findall(r"\*/\nLW_API .*?\b(lw_\w+)\(", text)
    assert len(functions) > 70
    assert documented == functions


@pytest.mark.spawns
def test_the_names_are_those_of_the_library() -> None:
    printed = subprocess.run(
        [sys.executable, ROOT / ".ci" / "names-header"], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert NAMES.read_text("utf-8") == printed.stdout, "run `make names`"


@pytest.mark.parametrize(
    ("prefix", "declarations"),
    [("RULE", lw.rules), ("POLICY", lw.policies), ("SCHEDULE", lw.schedules), ("FREEZE_PLAN", lw.freeze_plans)],
)
def test_every_name_has_a_macro(prefix: str, declarations: Callable[[], list[dict[str, Any]]]) -> None:
    text = NAMES.read_text("utf-8")
    for declaration in declarations():
        assert f'#define LW_{prefix}_{declaration["name"].upper()} "{declaration["name"]}"' in text
        for setting in declaration.get("hyperparameters", []) + declaration.get("settings", []):
            assert f'#define LW_KEY_{setting["key"].upper()} "{setting["key"]}"' in text


def test_every_key_of_optimizers_and_layers_is_one() -> None:
    """The comment of lw_setting, from which they are taken, has no key that the library does not know."""
    comment = HEADER[HEADER.index("/** One setting by its key.") : HEADER.index("typedef struct lw_setting")]
    optimizer = lw.Optimizer(lw.SGD(), dry_run=True)
    optimizer.add_layer("layer", (2,))
    number = ctypes.c_double()
    of_optimizer, _, of_layer = (KEY.findall(text) for text in comment.partition("and for one layer:"))
    assert len(of_optimizer) > 5
    assert len(of_layer) > 5
    for key in [*of_optimizer, "no_such_key"]:
        code = _binding.lw_optimizer_get(optimizer._handle, key.encode(), number, None)
        assert (code == UNKNOWN_NAME) == (key == "no_such_key"), key
    for key in [*of_layer, "no_such_key"]:
        code = _binding.lw_layer_get(optimizer._handle, 0, key.encode(), number, None)
        assert (code == UNKNOWN_NAME) == (key == "no_such_key"), key
