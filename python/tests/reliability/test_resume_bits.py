# SPDX-License-Identifier: Apache-2.0
"""A run that is stopped after any of its steps, and carried on by another process, ends with the same bits.

The run of every rule is stopped after each of 200 calls (and before the first) with one type, and with the others
after every 20th call and beside each event.  The other process registers the layers in another order, may use another
number of threads, and has another instruction set.  Compared are all bytes: the parameters, every state, and all that a
checkpoint says of the progress.

    LAYERWISE_STOPS=1 python -m pytest python/tests/reliability/test_resume_bits.py -s

stops after each call with every type.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.scenario import BFLOAT16, Array

import layerwise as lw
from layerwise import _binding
from reliability.support import resumed_runs
from reliability.support.resumed_runs import CASES, KINDS, STEPS, Run, content, saved
from reliability.support.saver import amount

EVERY = amount("LAYERWISE_STOPS", 20)
TESTS = Path(__file__).parents[1]
ROOT = TESTS.parents[1]


class Elsewhere:
    """A process that carries runs on under an instruction set."""

    def __init__(self, instruction_set: str) -> None:
        paths = [str(TESTS), str(Path(lw.__file__).parents[1])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", resumed_runs.__name__],
            env=os.environ | {"LAYERWISE_ISA": instruction_set, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.instruction_set = self._line().strip()
        assert self.instruction_set == instruction_set

    def begin(self, name: str, kind: str, folder: Path) -> None:
        """Start to carry a run on."""
        assert self._process.stdin
        print(json.dumps({"name": name, "kind": kind, "folder": str(folder)}), file=self._process.stdin, flush=True)

    def wrong(self) -> list[int]:
        """After which calls the run that was begun first came out otherwise."""
        return list(json.loads(self._line()))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[list[Elsewhere]]:
    """A process for each of the instruction sets of other processors."""
    others = [name for name in ("baseline", "avx2") if _runs(name) and name != lw.instruction_set()]
    processes = [Elsewhere(name) for name in others or [lw.instruction_set()]]
    yield processes
    for process in processes:
        process.close()


def _runs(instruction_set: str) -> bool:
    found = subprocess.run(
        [sys.executable, "-c", "import layerwise; print(layerwise.instruction_set())"],
        env=os.environ | {"LAYERWISE_ISA": instruction_set, "PYTHONPATH": str(Path(lw.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip() == instruction_set


@pytest.mark.spawns
@pytest.mark.parametrize("name", CASES)
def test_stopped_at_every_step(name: str, elsewhere: list[Elsewhere], tmp_path: Path) -> None:
    wrong = {}
    begun: list[tuple[str, Path, Elsewhere]] = []

    def finish() -> None:
        kind, folder, process = begun.pop(0)
        if found := process.wrong():
            wrong[f"{kind}, {process.instruction_set}"] = found
        shutil.rmtree(folder)

    stops = 0
    for number, kind in enumerate(KINDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        # The types are spread over the rules.
        is_whole = EVERY == 1 or number == [*CASES].index(name) * (len(KINDS) - 1) // (len(CASES) - 1)
        after = range(STEPS + 1) if is_whole else resumed_runs.some_stops(name, EVERY)
        stops += len(after)
        resumed_runs.write(name, kind, folder, after)
        process = elsewhere[number % len(elsewhere)]
        process.begin(name, kind, folder)
        begun.append((kind, folder, process))
        if len(begun) > len(elsewhere):
            finish()
    while begun:
        finish()
    print(f"\n{name}: {stops - sum(map(len, wrong.values()))} of {stops} stops end with the same bits")
    assert not wrong


@pytest.mark.parametrize("name", [name for name in CASES if name != "sgd"])
def test_a_lost_bit_is_seen(name: str) -> None:
    """One bit of some numbers of one state, and the comparison above would tell."""
    straight, other = Run(name, "float32"), Run(name, "float32", elsewhere=True)
    with contextlib.closing(straight.opt), contextlib.closing(other.opt):
        for _ in straight.steps(0, 100):
            pass
        other.opt.load_state_dict(straight.opt.state_dict(parameters=True))
        layer = other.opt.layer("head")
        *_, state = layer.states()["weight"]
        values = np.array(layer.read_state("weight", state))
        values.view(np.uint8)[..., 2] ^= 0x20
        layer.write_state("weight", state, values)
        for run in (straight, other):
            for _ in run.steps(100, STEPS):
                pass
        assert content(saved(straight.opt)) != content(saved(other.opt))


# ---- Carried on in C


@pytest.fixture(scope="module")
def resume_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests/C/resume.c, against the library that the package has loaded."""
    folder = tmp_path_factory.mktemp("programs")
    library = folder / "liblayerwise.so.0"  # the name by which the loader looks for it
    library.symlink_to(Path(_binding._library._name).resolve())
    program = folder / "resume"
    subprocess.run(
        [
            *("gcc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "include"),
            *(ROOT / "Tests/C/resume.c", library, f"-Wl,-rpath,{folder}", "-o", program),
        ],
        check=True,
    )
    return program


STEPS_OF_C = 160
LAYERS_OF_C: dict[str, tuple[int, np.dtype[Any]]] = {
    "embed": (37, np.dtype(np.float32)),
    "body/1": (129, BFLOAT16),
    "body/2": (0, np.dtype(np.float32)),
    "head": (5, np.dtype(np.float64)),
}


class RunOfC:
    """The run of Tests/C/resume.c, begun here: see there what it is."""

    def __init__(self) -> None:
        self.opt = lw.Optimizer(
            lw.AdamW(lr=0.02),
            lw.LayerDecay(0.5),
            schedule=lw.Product(lw.Warmup(20, lw.Cosine(150)), lw.ReduceOnPlateau(patience=2, factor=0.5)),
            freezing=lw.GradualUnfreezing(3),
            clip_global_norm=3.0,
        )
        generator = np.random.default_rng(3)
        self._gradients: list[Array] = []
        for name, (size, dtype) in LAYERS_OF_C.items():
            gradient = np.zeros(size, np.float64 if dtype == np.float64 else np.float32)
            self.opt.add_layer(name, generator.normal(size=size).astype(dtype), gradient, master=dtype == BFLOAT16)
            self._gradients.append(gradient)

    def steps(self, first: int, end: int) -> Iterator[int]:
        """Take steps, and tell of each."""
        for step in range(first, end):
            state = step + 1
            for gradient in self._gradients:
                for index in range(len(gradient)):
                    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
                    gradient[index] = (state >> 11) / 2.0**52 - 1.0
            self.opt.step()
            if step % 10 == 9:
                self.opt.report(-step if step < 20 else 1)
            yield step + 1


@pytest.mark.spawns
def test_begun_in_python_and_finished_in_c(resume_program: Path, tmp_path: Path) -> None:
    run = RunOfC()
    with contextlib.closing(run.opt):
        run.opt.save(tmp_path / "0", parameters=True)
        for step in run.steps(0, STEPS_OF_C):
            run.opt.save(tmp_path / str(step), parameters=True)
    end = (tmp_path / str(STEPS_OF_C)).read_bytes()
    stops = range(0, STEPS_OF_C + 1, 5)
    for number, stop in enumerate(stops):
        subprocess.run(
            [resume_program, tmp_path / str(stop), str(stop), str(STEPS_OF_C), tmp_path / "end"],
            env=os.environ | {"LAYERWISE_ISA": ("baseline", "avx2", "avx512")[number % 3]},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        # The whole file: parameters, states, settings and progress.
        assert (tmp_path / "end").read_bytes() == end, f"stopped after {stop} steps"
    print(f"\n{len(stops)} of {len(stops)} stops end in C with the same file")


# ---- Threads


def test_other_threads(tmp_path: Path) -> None:
    """Layers that are large enough for several threads: one thread until the stop, four afterwards, and the reverse."""

    def optimizer(threads: int, seed: int) -> lw.Optimizer:
        opt = lw.Optimizer(lw.LAMB(lr=0.01, weight_decay=0.01), threads=threads, clip_global_norm=3.0)
        generator = np.random.default_rng(seed)
        gradients = np.random.default_rng(1)
        for name, size in (("first", 2 * 65536 + 5), ("second", 90300), ("third", 5)):
            parameters = generator.normal(size=size).astype(np.float32)
            opt.add_layer(name, parameters, gradients.normal(size=size).astype(np.float32))
        return opt

    for before, after in ((1, 4), (4, 1), (2, 3)):
        with optimizer(before, 2) as straight, optimizer(before, 2) as first:
            for _ in range(20):
                straight.step()
            for step in range(1, 21):
                first.step()
                if step % 4:
                    continue
                first.save(tmp_path / "stopped", parameters=True)
                with optimizer(after, 9) as second:
                    second.load(tmp_path / "stopped")
                    for _ in range(step, 20):
                        second.step()
                    assert content(saved(second)) == content(saved(straight)), f"{before}, {after}: {step}"
