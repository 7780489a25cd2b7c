# SPDX-License-Identifier: Apache-2.0
"""Processes and threads save to one path and load from it: every save succeeds, and every load finds a whole version.

    LAYERWISE_CROWD_SECONDS=60 python -m pytest python/tests/reliability/test_concurrent.py

does each for a minute.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import layerwise as lw
from reliability.support.saver import ALWAYS, Programs, Saver, amount, contents

SECONDS = amount("LAYERWISE_CROWD_SECONDS", 1)
"""A second has thousands of saves and loads, or hundreds where each waits."""
ENOUGH = 32
"""Saves, and loads, below which a test goes on: on a busy machine a few seconds may hold hardly any."""
PATIENCE = 20
"""How many times as long a test may take for that."""


@pytest.mark.spawns
@pytest.mark.parametrize("microseconds", [0, 300], ids=["at once", "with pauses between the calls"])
def test_eight_writers_and_eight_readers(programs: Programs, tmp_path: Path, microseconds: int) -> None:
    path = tmp_path / "model"
    with Saver(programs, 8, 256) as saver:
        if microseconds:
            # So that each meets the others in other places.
            saver.plan("files", 1, ALWAYS, "delay", microseconds)
        saves = loads = rounds = 0
        while min(saves, loads) <= ENOUGH and rounds < PATIENCE:
            saved, loaded, torn, refused = saver.numbers("crowd", path, 8, 8, 500 * SECONDS)
            assert (torn, refused) == (0, 0)
            saves, loads, rounds = saves + saved, loads + loaded, rounds + 1
        assert min(saves, loads) > ENOUGH
        assert list(contents(tmp_path)) == ["model"]
        assert saver.version_of(path) >= 1
    print(f"{saves} saves and {loads} loads in {rounds * SECONDS / 2} s")


def crowd(programs: Programs, path: Path, writers: int, readers: int, namespaces: int = 0) -> None:
    """Threads of one process, or of the first processes of pid namespaces, save to one path and load from it."""
    arguments = [programs.crowd, path, writers, readers, 1000 * SECONDS, namespaces]
    saves = loads = rounds = 0
    while min(saves, loads) <= ENOUGH and rounds < PATIENCE:
        run = subprocess.run([*map(str, arguments)], capture_output=True, text=True, check=False)
        if namespaces and run.returncode == 77:
            # Then equal ids are all that can be had, of which the next test has many.
            print("this system permits no pid namespaces")
            return
        assert run.returncode == 0, run
        *counts, first = run.stdout.rstrip("\n").split("\t")
        saved, failed, whole, torn = map(int, counts)
        assert (failed, torn) == (0, 0), first
        saves, loads, rounds = saves + saved, loads + whole, rounds + 1
    assert min(saves, loads) > ENOUGH
    assert list(contents(path.parent)) == [path.name]
    print(f"{saves} saves and {loads} loads in {rounds * SECONDS} s")


@pytest.mark.spawns
def test_eight_writing_threads(programs: Programs, tmp_path: Path) -> None:
    crowd(programs, tmp_path / "model", 8, 2)


@pytest.mark.spawns
def test_equal_process_ids(programs: Programs, tmp_path: Path) -> None:
    crowd(programs, tmp_path / "model", 2, 1, namespaces=4)


def small() -> lw.Optimizer:
    opt = lw.Optimizer(lw.SGD(lr=0.1))
    opt.add_layer("a", np.zeros(3))
    return opt


def test_a_description_is_of_one_file(tmp_path: Path) -> None:
    """It used to be made of two readings, between which a save may come."""
    path = tmp_path / "model"
    start = time.monotonic()
    count = 0

    def goes_on() -> bool:
        passed = time.monotonic() - start
        return passed < min(SECONDS, 5) or (count <= ENOUGH and passed < PATIENCE * 5)

    writer = small()
    writer.save(path, parameters=True)

    def save() -> None:
        while goes_on():
            writer.step({"a": np.ones(3)})
            writer.save(path, parameters=True)

    thread = threading.Thread(target=save)
    thread.start()
    try:
        while goes_on():
            described = lw.checkpoint.describe(path)
            assert described["steps"] == {"a": {"weight": described["progress"]["steps"]}}
            count += 1
    finally:
        thread.join()
    assert count > ENOUGH


def test_the_working_directory_changes(tmp_path: Path) -> None:
    """A relative path is of the folder that was the working directory at one moment of the save."""
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    before = os.getcwd()
    start = time.monotonic()

    def goes_on() -> bool:
        passed = time.monotonic() - start
        is_enough = all(len([*folder.glob("new-*")]) > 1 for folder in folders)
        return passed < min(SECONDS, 5) or (not is_enough and passed < PATIENCE * 5)

    opt = small()
    saves = 0
    os.chdir(folders[0])

    def change() -> None:
        while goes_on():
            for folder in folders:
                os.chdir(folder)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        while goes_on():
            opt.save(f"new-{saves}")
            saves += 1
    finally:
        thread.join()
        os.chdir(before)
    found = sorted(name for folder in folders for name in contents(folder))
    assert found == sorted(f"new-{number}" for number in range(saves))
    assert all(len(contents(folder)) > 1 for folder in folders)


def test_many_loads_and_saves_at_once(tmp_path: Path) -> None:
    def make() -> lw.Optimizer:
        opt = lw.Optimizer(lw.AdamW(lr=0.1))
        for index in range(100):
            opt.add_layer(f"layer {index}", np.zeros(100))
        return opt

    path = tmp_path / "model"
    optimizers = [make() for _ in range(100)]
    optimizers[0].save(path)
    failures: list[Exception] = []

    def run(index: int, opt: lw.Optimizer) -> None:
        try:
            for _ in range(3):
                opt.load(path)
                opt.save(tmp_path / f"{index}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=item) for item in enumerate(optimizers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
