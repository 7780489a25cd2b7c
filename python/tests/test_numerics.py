# SPDX-License-Identifier: Apache-2.0
"""Same bits whatever the threads, instruction set, memory and way of calling; and a process that is left as it was."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import scenario
from support.rules import TABLE
from support.scenario import LARGE, RULES, TYPES

import layerwise as lw

TESTS = Path(__file__).parent


def run(*arguments: str, **environment: str) -> str:
    """What a new interpreter prints."""
    path = os.pathsep.join([str(TESTS), str(Path(lw.__file__).parent.parent)])
    result = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# ---- Same bits


@pytest.fixture(scope="module")
def here() -> list[str]:
    """The digests of this process."""
    return list(scenario.digests())


@pytest.mark.spawns
@pytest.mark.parametrize("instruction_set", ["baseline", "avx2", "avx512"])
def test_instruction_sets(instruction_set: str, here: list[str]) -> None:
    used, *found = run("-m", "support.scenario", LAYERWISE_ISA=instruction_set).splitlines()
    needs = {"baseline": "sse2", "avx2": "avx2", "avx512": "avx512bw"}[instruction_set]
    if needs in Path("/proc/cpuinfo").read_text().split():
        assert used == instruction_set
    assert found == here


@pytest.mark.parametrize("kind", ["float32", "float64, float32 gradients", "bfloat16, master copy"])
@pytest.mark.parametrize("rule", RULES)
def test_threads(rule: str, kind: str) -> None:
    digests = {threads: scenario.digest(rule, kind, LARGE, steps=2, threads=threads) for threads in (1, 2, 3, 8)}
    assert len(set(digests.values())) == 1, digests


def test_given_gradients(here: list[str]) -> None:
    assert list(scenario.digests(given=True)) == here


def test_telemetry(here: list[str]) -> None:
    assert list(scenario.digests(telemetry=True)) == here


def test_the_check_for_nonfinite_gradients(here: list[str]) -> None:
    assert list(scenario.digests(nonfinite="propagate")) == here
    assert list(scenario.digests(nonfinite="skip")) == here


@pytest.mark.parametrize("offset", [1, 3, 15, 17])
def test_placement_in_memory(offset: int, here: list[str]) -> None:
    assert list(scenario.digests(offset=offset)) == here


def test_layers_one_by_one(here: list[str]) -> None:
    """Except where sums over all layers matter."""
    for rule, (chosen, options) in RULES.items():
        if "clip_global_norm" not in options and not TABLE[type(chosen).__name__].together:
            for kind in TYPES:
                assert f"{rule}, {kind}: {scenario.digest(rule, kind, one_by_one=True)}" in here


def test_a_second_run(here: list[str]) -> None:
    assert list(scenario.digests()) == here
    assert len(set(here)) == len(RULES) * len(TYPES)


# ---- A process that is left as it was

CONTROL = """
#if defined(__x86_64__)
#include <immintrin.h>
unsigned long control(void) { return _mm_getcsr() & 0xffc0u; } /* without the sticky flags */
#else
#include <fenv.h>
unsigned long control(void) { return (unsigned long)fegetround() << 16 | (unsigned long)fegetexcept(); }
#endif
"""


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with one function, that returns the control bits of floating-point arithmetic."""
    library = tmp_path_factory.mktemp("control") / "control.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-x", "c", "-", "-o", str(library), "-lm"],
        input=CONTROL,
        text=True,
        check=True,
    )
    return library


@pytest.mark.spawns
def test_rounding_and_subnormal_numbers_are_left_alone(control: Path) -> None:
    code = f"""
import ctypes
import numpy as np
control = ctypes.CDLL({str(control)!r}).control
before = control()
import layerwise as lw
assert control() == before, "import"
opt = lw.Optimizer(lw.LAMB(), threads=3, telemetry=True)
opt.add_layer("a", np.ones(300000, np.float32), grads=np.full(300000, 1e-42, np.float32))
opt.step()
assert control() == before, "step"
assert np.float32(1e-40) * np.float32(0.5) > 0
assert np.float64(1e-310) * 0.5 > 0
"""
    run("-c", code)


def test_subnormal_numbers_are_numbers() -> None:
    """A step neither flushes subnormal weights or gradients to zero nor takes them for zero."""
    weight, gradient = np.full(300000, 1e-40, np.float32), np.full(300000, 3e-41, np.float32)
    with lw.Optimizer(lw.SGD(lr=1.0), threads=3) as opt:
        opt.add_layer("a", weight, grads=gradient)
        opt.step()
    assert (weight == np.float32(1e-40) - np.float32(3e-41)).all()
    assert weight[0] > 0


@pytest.mark.spawns
def test_the_caller_may_round_otherwise(control: Path) -> None:
    """A rounding mode that is not the default survives a step."""
    libm = ctypes.CDLL("libm.so.6")
    upward = {"x86_64": 0x800, "aarch64": 0x400000}[os.uname().machine]  # FE_UPWARD
    read = ctypes.CDLL(str(control)).control
    before = libm.fegetround()
    try:
        assert libm.fesetround(upward) == 0
        mode = read()
        with lw.Optimizer(lw.AdamW(), threads=2) as opt:
            opt.add_layer("a", np.ones(300000, np.float32), grads=np.ones(300000, np.float32))
            opt.step()
        assert libm.fegetround() == upward
        assert read() == mode
    finally:
        libm.fesetround(before)


@pytest.mark.spawns
def test_threads_do_not_keep_the_rounding_of_who_made_them() -> None:
    """Threads that begin while the caller rounds otherwise work as all others."""
    code = """
import ctypes
import os
import numpy as np
import layerwise as lw

libm = ctypes.CDLL("libm.so.6")
upward = {"x86_64": 0x800, "aarch64": 0x400000}[os.uname().machine]  # FE_UPWARD
weights = np.random.default_rng(0).standard_normal(300_000).astype(np.float32)

def stepped(threads):
    array = weights.copy()
    with lw.Optimizer(lw.AdamW(lr=0.1), threads=threads) as opt:
        opt.add_layer("a", array, grads=weights[::-1].copy())
        for _ in range(3):
            opt.step()
    return array.tobytes()

before = libm.fegetround()
assert libm.fesetround(upward) == 0
upwards = stepped(4)
libm.fesetround(before)
assert stepped(4) == stepped(1)
assert upwards != stepped(1)
"""
    run("-c", code)


@pytest.mark.spawns
def test_signals_threads_and_files_are_left_alone() -> None:
    """Import starts no thread, opens no file and handles no signal; the threads of a step block every signal."""
    code = """
import os
import threading
import numpy as np

def status(task="self"):
    with open(f"/proc/{task}/status") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}

def process():
    now = status()
    return {key: now[key] for key in ("SigCgt", "SigIgn", "SigBlk")}, sorted(os.listdir("/proc/self/fd"))

def tasks():
    return set(os.listdir("/proc/self/task"))

before, threads = process(), tasks()
import layerwise as lw
assert process() == before, (process(), before)
assert tasks() == threads

opt = lw.Optimizer(lw.LAMB(), threads=3)
opt.add_layer("a", np.ones(300000, np.float32), grads=np.ones(300000, np.float32))
assert tasks() == threads
opt.step()
started = tasks() - threads
assert 1 <= len(started) <= 2, started
for task in started:
    blocked = int(status(f"self/task/{task}")["SigBlk"], 16)
    unblockable = 1 << 8 | 1 << 18 | 1 << 31 | 1 << 32  # KILL, STOP, and the two that the C library keeps
    assert blocked | unblockable == (1 << 64) - 1, hex(blocked)
assert process() == before, (process(), before)
assert threading.active_count() == 1
opt.close()
assert process() == before, (process(), before)
"""
    run("-c", code)


@pytest.mark.parametrize("sizes", [(100, 300), (20_000, 30_000)], ids=["small", "large"])
def test_a_ratio_shared_by_types_of_different_width(sizes: tuple[int, int]) -> None:
    """Directions that LAMB keeps between its passes do not overlap: telemetry recomputes them and changes no bit."""
    results = []
    for telemetry in (False, True):
        random = np.random.default_rng(5)
        wide, narrow = random.standard_normal(sizes[0]), random.standard_normal(sizes[1]).astype(np.float32)
        rule = lw.LAMB(lr=0.1, trust_ratio_scope="layer")
        with lw.Optimizer(rule, telemetry=telemetry) as opt:
            gradients = {"wide": wide * 0.3 + 0.1, "narrow": narrow * np.float32(0.2) + np.float32(0.1)}
            opt.add_layer("layer", {"wide": wide, "narrow": narrow}, grads=gradients)
            for _ in range(3):
                opt.step()
        results.append((wide.tobytes(), narrow.tobytes()))
    assert results[0] == results[1]
