# SPDX-License-Identifier: Apache-2.0
"""`python -m layerwise show`, and `layerwise.checkpoint`: what a checkpoint holds, for people and for programs."""

import io
import json
import math
import os
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.recipes import LAYERS, PLANS, POLICIES, SCHEDULES, name_of, optimizer
from support.scenario import BFLOAT16

import layerwise as lw
from layerwise import _show, checkpoint
from layerwise.__main__ import main

RULE = lw.AdamW(lr=0.05, weight_decay=0.1)


def show(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What it prints; nothing may be said besides."""
    assert main(["show", str(path), *options]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    return found.out


def show_json(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found: dict[str, Any] = json.loads(show(path, capsys, "--json"), parse_constant=refuse)
    return found


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A run after four steps, in which much differs from layer to layer."""
    opt = lw.Optimizer(
        RULE, lw.LayerDecay(0.5), schedule=lw.Linear(10), freezing=lw.FreezeAt({}, {"a/b": 2}), clip_value=2
    )
    half = np.linspace(-1, 1, 6).astype(BFLOAT16).reshape(2, 3)
    opt.add_layer("a/b", {"weight": np.ones((3, 4)), "x%y": np.ones(())}, {"weight": np.ones((3, 4))})
    opt.add_layer("größe", {"weight": half}, {"weight": half.copy()}, master=True)
    head = opt.add_layer("head", {"weight": np.ones((0, 2), np.float32)}, {"weight": np.ones((0, 2), np.float32)})
    head.set(eps=1e-6)
    head.schedule = lw.ReduceOnPlateau(patience=0)
    for _ in range(4):
        opt.step()
        opt.report(1.0)
    opt.layer("größe").freeze()
    opt.save(tmp_path / "run.lw", parameters=True)
    opt.close()
    return tmp_path / "run.lw"


def test_the_table(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = saved.stat().st_size
    lines = show(saved, capsys).splitlines()
    assert (
        lines[0]
        == f"checkpoint of layerwise {lw.__version__}, format 1: {size:,} bytes, 17 tensors, all checksums right"
    )
    assert lines[1].startswith("rule       adamw: lr=0.05, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.1")
    assert "clip_value=2" in lines[2] and "nonfinite=raise" in lines[2]
    assert lines[3].startswith("policy     layer_decay: decay=0.5")
    assert lines[4].startswith("schedule   lr: linear: total_steps=10")
    assert lines[5].startswith("freezing   freeze_at: ") and "[" in lines[5]
    assert lines[6] == "steps      4 taken, 0 skipped; the next is at t = 4"
    table = [line.split("  ") for line in lines[8:13]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in table]
    assert cells[0] == ["layer", "next rate", "frozen", "tensor", "shape", "dtype", "steps", "holds", "bytes"]
    moments = "exp_avg, exp_avg_sq, parameters"
    assert cells[1] == ["a/b", "0", "by the plan", "weight", "3x4", "float64", "2", moments, str(8 + 3 * 96)]
    assert cells[2] == ["x%y", "scalar", "float64", "0", moments, str(8 + 3 * 8)]
    half = "exp_avg (float32), exp_avg_sq (float32), master (float32), parameters"
    assert cells[3] == ["größe", "0", "by hand", "weight", "2x3", "bfloat16", "4", half, str(8 + 3 * 24 + 12)]
    assert cells[4][:5] == ["head", "5e-05", "no", "weight", "0x2"]
    assert lines[13].startswith("head: schedule of lr: reduce_on_plateau: ") and "; state 0.001/1/0/0" in lines[13]
    assert lines[14] == "head: eps=1e-06"
    assert len(lines) == 15
    assert len({line.rindex("bytes") for line in lines[8:9]} | {len(line) - 5 for line in lines[9:13]}) == 1


def test_json_holds_what_describe_tells(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = show_json(saved, capsys)
    layers = found.pop("layers")
    description = checkpoint.describe(saved)
    assert math.isinf(description["identity"]["settings"].pop("clip_global_norm"))
    assert found["identity"]["settings"].pop("clip_global_norm") is None
    assert found["bytes"] == description["bytes"] == saved.stat().st_size
    assert (
        found["steps"]
        == description["steps"]
        == {"a/b": {"weight": 2, "x%y": 0}, "größe": {"weight": 4}, "head": {"weight": 4}}
    )
    assert found["tensors"] == description["tensors"]
    assert found["progress"] == description["progress"]
    assert found["identity"]["layers"] == description["identity"]["layers"]
    assert list(layers) == ["a/b", "größe", "head"]
    assert layers["größe"]["frozen_by"] == "layer" and layers["a/b"]["frozen_by"] == "plan"


@pytest.mark.parametrize(
    ("schedule", "policy", "plan"), [*zip_longest(SCHEDULES, POLICIES, [None, None, *PLANS])], ids=name_of
)
def test_the_rates_are_those_of_the_next_step(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    schedule: lw.Schedule,
    policy: lw.Policy | None,
    plan: lw.FreezePlan | None,
) -> None:
    with optimizer(RULE, schedule=schedule, policy=policy, freezing=plan) as opt:
        for step in range(5):
            opt.step()
            if isinstance(schedule, lw.ReduceOnPlateau):
                opt.report(-1.0)
            if step == 2:
                opt.layer("block.0").set(lr=0.7, depth=7, start=1)
                opt.set(lr=0.03)
        opt.save(tmp_path / "run.lw")
        expected = {row["layer"]: row for row in opt.explain_rows()}
        found = show_json(tmp_path / "run.lw", capsys)["layers"]
        assert list(found) == list(LAYERS)
        for name, row in found.items():
            assert row == {key: expected[name][key] for key in row}
            assert row["effective_lr"] == opt.layer(name).effective_lr
        assert show(tmp_path / "run.lw", capsys)


def test_a_policy_that_fits_no_layer_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lw.Optimizer(RULE, lw.Explicit({"other": 1.0})) as opt:
        opt.add_layer("a", np.ones(2))
        opt.save(tmp_path / "run.lw")
    assert main(["show", str(tmp_path / "run.lw")]) == 0
    found = capsys.readouterr()
    assert found.err.startswith("show: no rates: ") and found.err.count("\n") == 1
    assert found.out.splitlines()[-1].split() == "a ? ? weight 2 float64 0 exp_avg, exp_avg_sq 40".split()


def test_nothing_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lw.Optimizer(lw.SGD()) as opt:
        opt.save(tmp_path / "run.lw")
    assert "0 tensors, all checksums right" in show(tmp_path / "run.lw", capsys)
    assert show_json(tmp_path / "run.lw", capsys)["layers"] == {}


# ---- What is no checkpoint


def refused(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["show", str(path), *options]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("show: ") and found.err.count("\n") == 1
    return found.err


def test_damaged_files(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = saved.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    for place in (0, 9, header - 3, header, len(good) - 1):
        bad = bytearray(good)
        bad[place] ^= 4
        saved.write_bytes(bad)
        for options in ((), ("--json",)):
            assert str(saved) in refused(saved, capsys, *options)
    saved.write_bytes(bad)
    assert "größe/weight/parameters" in refused(saved, capsys)
    for length in (0, 7, 8, header, len(good) - 1):
        saved.write_bytes(good[:length])
        refused(saved, capsys)


def test_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such file" in refused(tmp_path / "none", capsys)
    refused(tmp_path, capsys)
    (tmp_path / "text").write_text("a" * 1000)
    refused(tmp_path / "text", capsys)


@pytest.mark.spawns
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    # To open one waits for somebody to write, which must not happen: hence the process, which can be ended.
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-m", "layerwise", "show", str(tmp_path / "pipe")]
    environment = os.environ | {"PYTHONPATH": str(Path(lw.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not a regular file" in done.stderr


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["show"], ["show", "a", "b"], ["show", "a", "--xml"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_what_was_made_on_purpose(saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    # Only somebody who forges checksums gets here; it is refused all the same.
    for forge in ({"identity": {}}, {"identity": None}, {"progress": []}, {"steps": {"none": {}}}, {"tensors": 3}):
        description = checkpoint.describe(saved) | forge
        monkeypatch.setattr(_show, "describe", lambda path, progress, found=description: found)
        assert "does not say what a checkpoint must" in refused(saved, capsys)


# ---- For programs


def test_progress_is_told_of_every_byte(saved: Path) -> None:
    told: list[tuple[int, int]] = []
    checkpoint.describe(saved, progress=lambda done, total: told.append((done, total)))
    good = saved.read_bytes()
    data = len(good) - 8 - int.from_bytes(good[:8], "little")
    assert {total for _, total in told} == {data}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (data, data)


def test_what_a_progress_function_raises_is_raised(saved: Path) -> None:
    calls = []

    def stop(done: int, total: int) -> None:
        calls.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint.describe(saved, progress=stop)
    assert len(calls) == 1


def test_keys() -> None:
    for names in (("a", "b", "step"), ("a/b", "%", "exp_avg"), ("a%2Fb", "%25", "x"), ("//", "%%2F25", "x")):
        key = "/".join(name.replace("%", "%25").replace("/", "%2F") for name in names)
        assert checkpoint.split_key(key) == names


def test_a_file_that_is_replaced_meanwhile(saved: Path, tmp_path: Path) -> None:
    with lw.Optimizer(RULE) as opt:
        opt.add_layer("other", np.ones(3))
        opt.save(tmp_path / "new.lw")
    replaced = []

    def replace(done: int, total: int) -> None:
        if not replaced:
            os.replace(tmp_path / "new.lw", saved)
            replaced.append(done)

    whole = checkpoint.describe(saved)
    # All of it is of the file that was there when the call began.
    assert checkpoint.describe(saved, progress=replace) == whole
    assert replaced and list(checkpoint.describe(saved)["steps"]) == ["other"]


# ---- The bar


class Terminal(io.StringIO):
    """A terminal, as far as a program can tell."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("patience", "drawn"), [(0.0, True), (1e9, False)])
def test_a_bar_for_those_who_wait(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, patience: float, drawn: bool
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(_show, "_PATIENCE", patience)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["show", str(saved)]) == 0
    assert ("verifying" in terminal.getvalue()) == drawn
    assert capsys.readouterr().out.startswith("checkpoint of layerwise")


def test_no_bar_where_nobody_looks_or_nothing_can_draw_it(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_show, "_PATIENCE", 0.0)
    assert show(saved, capsys)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["show", str(saved)]) == 0
    assert terminal.getvalue() == ""
