# SPDX-License-Identifier: Apache-2.0
"""The command line: `layerwise --version`, `doctor` and `bench`; the other commands have tests of their own."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import layerwise as lw
from layerwise import _bench, _binding, _doctor, _reference
from layerwise.__main__ import main

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "python"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(PYTHON)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def doctor(capsys: pytest.CaptureFixture[str], status: int = 0) -> dict[str, Any]:
    assert main(["doctor", "--json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# ---- The command


@pytest.mark.spawns
@pytest.mark.parametrize("module", ["layerwise", "layerwise_command"])
def test_version(module: str) -> None:
    result = run("-m", module, "--version")
    assert (result.returncode, result.stdout) == (0, f"layerwise {lw.__version__}\n")


@pytest.mark.spawns
def test_every_command_is_listed() -> None:
    result = run("-m", "layerwise", "--help")
    for command in ("rules", "preview", "show", "doctor", "bench"):
        assert re.search(rf"^    {command} ", result.stdout, re.MULTILINE)
    assert "usage: python -m layerwise" in result.stdout


@pytest.mark.spawns
def test_no_command_is_a_mistake() -> None:
    assert run("-m", "layerwise").returncode == 2


@pytest.mark.spawns
@pytest.mark.parametrize("command", ["rules", "doctor"])
def test_a_reader_that_has_seen_enough_is_no_mistake(command: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "layerwise", command],
        env=os.environ | {"PYTHONPATH": str(PYTHON)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    with process.stderr as said:
        assert said.read() == b""
    assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.spawns
def test_a_missing_library_is_told_in_words() -> None:
    result = run("-m", "layerwise_command", "doctor", LAYERWISE_LIBRARY="/nowhere/liblayerwise.so")
    assert result.returncode == 1
    assert "/nowhere/liblayerwise.so: does not exist" in result.stderr
    assert "Traceback" not in result.stderr


# ---- Doctor


def test_doctor_finds_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    found = doctor(capsys)
    assert found["healthy"] is True
    assert found["library"]["path"] == _binding._library._name
    assert found["library"]["version"] == lw.__version__
    assert found["instruction_set"] == lw.instruction_set()
    assert found["threads"] == lw.available_threads()
    assert found["frameworks"]["numpy"]
    assert set(found["frameworks"]) >= {"torch", "optax", "keras"}
    assert found["self_test"]["same_bits_for_all_threads"] is True


def test_doctor_prints_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert str(_binding._library._name) in text
    for rule in lw.rules():
        assert re.search(rf"^{rule['name']}\b", text, re.MULTILINE)
    tests = 4 * len(_reference.CASES) + 3 * len(_doctor.without_equations())
    assert f"all {tests} are right" in text


def test_every_rule_is_tested(capsys: pytest.CaptureFixture[str]) -> None:
    found = doctor(capsys)["self_test"]
    tested = {case.rule for case in _reference.CASES} | set(found["compared_with_float64"])
    assert tested == {rule["name"] for rule in lw.rules()}
    source = (ROOT / "Sources" / "LayerwiseRules" / "KernelKey.swift").read_text("utf-8")
    kernels = re.findall(r"^    case (\w+)  //", source, re.MULTILINE)
    assert {case.kernel for case in _reference.CASES} <= set(kernels)
    assert len({case.label for case in _reference.CASES}) == len(_reference.CASES)


@pytest.mark.spawns
@pytest.mark.parametrize("instruction_set", ["baseline", "avx2", "avx512"])
def test_doctor_tests_the_instruction_set_that_is_used(instruction_set: str) -> None:
    result = run("-m", "layerwise", "doctor", "--json", LAYERWISE_ISA=instruction_set)
    found = json.loads(result.stdout)
    assert result.returncode == 0
    assert found["instruction_set_forced"] == instruction_set


@pytest.mark.parametrize("index", range(len(_reference.CASES)), ids=[case.label for case in _reference.CASES])
def test_doctor_sees_a_kernel_that_is_off(
    index: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Off in the last element alone, by two units of bfloat16."""
    case = _reference.CASES[index]

    def step(tensor: _reference.Tensor, settings: dict[str, float]) -> list[float]:
        changes = case.step(tensor, settings)
        changes[-1] += abs(tensor.weights[-1]) * 2**-6
        return changes

    monkeypatch.setattr(_doctor, "CASES", (dataclasses.replace(case, step=step),))
    found = doctor(capsys, status=1)
    assert found["healthy"] is False
    own = [kernel for kernel in found["self_test"]["kernels"] if kernel["case"] == case.label]
    assert [kernel["right"] for kernel in own] == [False] * 4
    assert main(["doctor"]) == 1
    assert f"WRONG: {case.label}, float32: off by" in capsys.readouterr().out


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_doctor_sees_what_is_not_finite(
    value: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = dataclasses.replace(_reference.CASES[0], step=lambda tensor, _: [value] * len(tensor.weights))
    monkeypatch.setattr(_doctor, "CASES", (case,))
    kernels = doctor(capsys, status=1)["self_test"]["kernels"]
    assert not any(kernel["right"] for kernel in kernels if kernel["case"] == case.label)


def test_doctor_tells_of_a_refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    case = dataclasses.replace(_reference.CASES[0], settings={"no_such_key": 1.0})
    monkeypatch.setattr(_doctor, "CASES", (case,))
    assert main(["doctor"]) == 1
    assert "no_such_key" in capsys.readouterr().out


def test_doctor_sees_threads_that_disagree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_doctor, "_threads_agree", lambda threads: False)
    assert main(["doctor"]) == 1
    assert "does not give the bits of one thread" in capsys.readouterr().out


def test_doctor_sees_a_library_of_another_release(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_doctor, "__version__", "0.0.9")
    assert main(["doctor"]) == 1
    assert f"WRONG: the library is of version {lw.__version__}, the package of 0.0.9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "processors", "memory"),
    [
        ({"cpu.max": "max 100000", "memory.max": "max"}, "no limit", "no limit"),
        ({"cpu.max": "150000 100000", "memory.max": "2147483648"}, "1.5 processors", "2.0 GiB"),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "no limit", "no limit"),
        (
            {
                "cpu/cpu.cfs_quota_us": "200000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "1073741824",
            },
            "2 processors",
            "1.0 GiB",
        ),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, "no limit", "no limit"),
        ({"cpu.max": "odd", "memory.max": "odd"}, "no limit", "no limit"),
        ({}, "no limit", "no limit"),
    ],
)
def test_cgroups(files: dict[str, str], processors: str, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_doctor, "_read", lambda path: files.get(path.removeprefix("/sys/fs/cgroup/")))
    assert _doctor._cgroup() == {"processors": processors, "memory": memory}


# ---- Bench


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bench, "_TENSORS", 2)
    monkeypatch.setattr(_bench, "_ELEMENTS", 1 << 12)
    monkeypatch.setattr(_bench, "_PARAMETERS", 2 << 12)
    monkeypatch.setattr(_bench, "_QUICK_SECONDS", 0.05)


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_bench(threads: str, small: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--quick", "--json", "--threads", threads]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["threads"] == int(threads)
    assert set(found["seconds"]) == {"memcpy", "layerwise SGD", "layerwise AdamW", "torch AdamW, fused"}
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert found["time_over_limit"] > 0 and found["torch_time_over_ours"] > 0


def test_bench_without_torch(small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_bench.importlib.util, "find_spec", lambda name: None)
    assert main(["bench", "--quick"]) == 0
    text = capsys.readouterr().out
    assert "memory's limit" in text
    assert "torch" not in text


@pytest.mark.parametrize("threads", ["0", "-1", "many", "1025"])
def test_bench_refuses_a_number_of_threads(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["bench", "--threads", threads])
    assert refused.value.code == 2
    assert "--threads" in capsys.readouterr().err
