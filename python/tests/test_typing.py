# SPDX-License-Identifier: Apache-2.0
"""What type checkers find in a user's program: every mistake, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

import layerwise as lw
from layerwise import _keywords
from layerwise.rule import Hyperparameters

PACKAGE = Path(lw.__file__).parent

RIGHT = """
opt = lw.Optimizer(lw.AdamW(lr=1e-3, weight_decay=0.05), lw.LayerDecay(0.75), schedule=lw.Cosine(100), telemetry=True)
layer = opt.add_layer("head", np.ones(3), weight_decay=0.0, betas=(0.9, 0.99), frozen="plan", maximize=True)
opt.add_layer("body", {"weight": np.ones(3)}, rule=lw.Lion(1e-4), scale=0.5, role="block", beta1=0.8)
opt.set(lr=0.5, nonfinite="skip", clip_global_norm=1.0, momentum=0.9)
layer.set(scale=2.0, role="head", eps=1e-6)
row = opt.explain_rows()[0]
rate: float = row["effective_lr"]
norm: float | None = row.get("gradient_norm")
ratio: float = layer.telemetry.update_ratio
changed: lw.Warmup = lw.Warmup(5, lw.Cosine(9)).set_params(then__total_steps=8)
rule: lw.Rule = lw.rule_by_name("adamw", lr=1e-3, weight_decay=0.1)
hash(lw.Explicit({"a": 1.0}))
"""

WRONG = """
opt.add_layer("a", np.ones(3), weigth_decay=0.0)
opt.add_layer("a", np.ones(3), scales=0.5)
opt.add_layer("a", np.ones(3), frozen=True)
opt.add_layer("a", np.ones(3), role="tail")
opt.add_layer("a", np.ones(3), lr="1e-3")
opt.add_layer("a", np.ones(3), betas=0.9)
opt.set(momentm=0.9)
opt.set(nonfinite="explode")
layer.set(scal=2.0)
layer.set(frozen="maybe")
row["effective_rate"]
row["frozen"] + "yes"
opt.explain_rows()[0]["lr"]
layer.telemetry.update_rato
opt.telemetry()["head"].gradient_norms
opt.summary().step
layer.info.effective_rate
lw.AdamW(weigth_decay=0.1)
lw.AdamW([np.ones(3)])
lw.AdamW(lr="1e-3")
lw.LayerDecay(0.5, convention="keras")
lw.Cosine("100")
lw.Warmup(5, lw.LayerDecay(0.5))
lw.Explicit({"a": "1"})
lw.Optimizer(lw.AdamW)
lw.Optimizer(lw.AdamW(), clip_globl_norm=1.0)
lw.Optimizer(lw.AdamW(), policy=lw.Cosine(3))
lw.Optimizer(lw.AdamW(), nonfinite="explode")
"""

PROGRAM = f"import numpy as np\n\nimport layerwise as lw\n{RIGHT}{WRONG}"


@pytest.mark.spawns
def test_mypy_finds_every_mistake_of_a_user(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    file = tmp_path / "program.py"
    file.write_text(PROGRAM, "utf-8")
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nmypy_path = {PACKAGE.parent}\n", "utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--cache-dir",
        str(tmp_path / "cache"),
        "--config-file",
        "mypy.ini",
        file.name,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    found = {int(line.split(":")[1]) for line in errors if line.startswith("program.py:")}
    assert len(errors) == sum(line.startswith("program.py:") for line in errors), "the package itself has no errors"
    check_found(found)


@pytest.mark.spawns
def test_pyright_finds_every_mistake_of_a_user(tmp_path: Path) -> None:
    """basedpyright is pyright in a package, here with pyright's own rules."""
    pytest.importorskip("basedpyright")
    file = tmp_path / "program.py"
    file.write_text(PROGRAM, "utf-8")
    config = {"typeCheckingMode": "standard", "extraPaths": [str(PACKAGE.parent)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config), "utf-8")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, file.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    report = json.loads(done.stdout)["generalDiagnostics"]
    errors = [row for row in report if row["severity"] == "error"]
    assert {Path(row["file"]).name for row in errors} == {file.name}
    check_found({row["range"]["start"]["line"] + 1 for row in errors})


def check_found(found: set[int]) -> None:
    """The lines with errors are those with mistakes."""
    lines = PROGRAM.splitlines()
    first = lines.index('opt.add_layer("a", np.ones(3), weigth_decay=0.0)') + 1
    assert [lines[line - 1] for line in sorted(found) if line < first] == []
    assert [lines[line - 1] for line in range(first, len(lines) + 1) if line not in found] == []


def test_keywords_are_those_that_the_library_takes() -> None:
    optimizer = get_type_hints(_keywords.OptimizerSettings).keys() - get_type_hints(Hyperparameters).keys()
    layer = get_type_hints(_keywords.LayerSettings).keys() - get_type_hints(Hyperparameters).keys()
    with lw.Optimizer(lw.SGD()) as opt:
        view = opt.add_layer("head", np.ones(3))
        for keys, known in ((optimizer, opt.set), (layer, view.set)):
            with pytest.raises(lw.UnknownName, match="expected one of") as caught:
                known(xyzzy=1)  # type: ignore[call-arg]
            names = str(caught.value).partition("expected one of ")[2].split(", ")
            # A message has at most 511 bytes; its last name, which only the constructor takes, may be cut.
            listed = set(names[:-1] if len(str(caught.value)) == 511 else names)
            # What only add_layer and the constructor take.
            others = {entry["key"] for entry in lw.rules()[0]["hyperparameters"]} | {
                "part_of",
                "rule",
                "dry_run",
                "memory",
            }
            # What one keyword stands for.
            values = (lw.EMA(), lw.PolynomialAverage(), lw.Lookahead())
            inside = {name for value in values for name in value._settings()} if known == opt.set else set()
            assert listed - others - inside == set(keys) - others - {"average", "lookahead"}


def test_rows_are_those_that_the_library_writes() -> None:
    hints = get_type_hints(_keywords.ExplainedLayer)
    with lw.Optimizer(lw.SGD(), lw.Combine(lw.Exclude(), lw.LARC()), telemetry=True) as opt:
        opt.add_layer("head", {"weight": np.ones((2, 2)), "bias": np.ones(2)}, {"weight": np.ones((2, 2))})
        opt.step()
        (row,) = opt.explain_rows()
    assert row.keys() == hints.keys()
    assert row["apart"] and row["apart"][0].keys() == get_type_hints(_keywords.Apart).keys()
    optional = get_type_hints(_keywords.Measured).keys() | get_type_hints(_keywords.ByPolicy).keys()
    assert optional == row.keys() - _keywords.ExplainedLayer.__required_keys__
