# SPDX-License-Identifier: Apache-2.0
"""The lifetime of optimizers: closing, collecting, holding buffers, threads, fork, pickling."""

from __future__ import annotations

import array
import ctypes
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import layerwise as lw
from layerwise import _binding


class Held(np.ndarray[Any, Any]):
    """An array that can be referred to weakly."""


def held(size: int = 4) -> Held:
    return np.ones(size).view(Held)


def collected(reference: weakref.ref[Any]) -> bool:
    gc.collect()
    return reference() is None


def test_closing_twice_is_harmless() -> None:
    opt = lw.Optimizer(lw.SGD())
    assert not opt.closed
    opt.close()
    opt.close()
    assert opt.closed
    assert "closed" in repr(opt)


def test_a_context_closes() -> None:
    with pytest.raises(KeyError), lw.Optimizer(lw.SGD()) as opt:
        raise KeyError
    assert opt.closed


def test_everything_else_on_a_closed_optimizer_says_so() -> None:
    opt = lw.Optimizer(lw.Adam())
    layer = opt.add_layer("a", np.ones(2), grads=np.ones(2))
    opt.close()
    attempts: list[Callable[[], object]] = [
        opt.step,
        lambda: opt.step({}),
        lambda: opt.step(layer=layer),
        lambda: opt.add_layer("b", np.ones(2)),
        lambda: opt.layer("a"),
        lambda: opt.layer(0),
        lambda: opt.set(lr=1.0),
        lambda: opt.get("lr"),
        lambda: opt.lr,
        lambda: setattr(opt, "policy", lw.Uniform()),
        lambda: setattr(opt, "schedule", lw.Constant()),
        lambda: setattr(opt, "schedule", None),
        lambda: setattr(opt, "freezing", lw.ChainThaw(1)),
        lambda: setattr(opt, "freezing", None),
        lambda: opt.set_schedule(lw.Constant(), layer=layer),
        lambda: opt.schedule_state(),
        lambda: opt.set_schedule_state([]),
        lambda: opt.report(1.0),
        lambda: opt.seek(0),
        lambda: opt.next_step,
        lambda: opt.preview(1),
        opt.explain_json,
        opt.explain_rows,
        opt.explain,
        opt.telemetry,
        opt.summary,
        layer.freeze,
        layer.follow_plan,
        layer.reset,
        lambda: layer.tower,
        lambda: layer.role,
        lambda: layer.start,
        lambda: setattr(layer, "schedule", lw.Constant()),
        layer.states,
        lambda: layer.info,
        lambda: layer.telemetry,
        lambda: layer.set(scale=1.0),
        lambda: layer.get("lr"),
        lambda: layer.unset("lr"),
        lambda: layer.read_state("weight", "step"),
        lambda: layer.write_state("weight", "step", array.array("q", [1])),
        lambda: layer.bind(np.ones(2)),
    ]
    for attempt in attempts:
        with pytest.raises(lw.ClosedOptimizer):
            attempt()
    assert layer.name == "a"
    assert repr(layer) == "<layerwise.Layer 'a': weight>"


def test_buffers_are_held_until_closing() -> None:
    weight, gradient = held(), held()
    references = [weakref.ref(weight), weakref.ref(gradient)]
    opt = lw.Optimizer(lw.SGD(lr=1.0))
    layer = opt.add_layer("a", weight, grads=gradient)
    del weight, gradient
    assert not any(map(collected, references))
    opt.step()
    assert (references[0]() == 0).all()  # type: ignore[union-attr]
    opt.close()
    assert all(map(collected, references))
    assert layer.name == "a"


def test_buffers_are_let_go_when_bound_anew_or_refused() -> None:
    weight, refused = held(), held(5)
    old, bad = weakref.ref(weight), weakref.ref(refused)
    with lw.Optimizer(lw.SGD()) as opt:
        layer = opt.add_layer("a", weight)
        with pytest.raises(lw.ShapeMismatch):
            layer.bind(refused)
        with pytest.raises(lw.DuplicateName):
            opt.add_layer("a", refused)
        del refused
        assert collected(bad)
        layer.bind(held())
        del weight
        assert collected(old)


def test_an_optimizer_is_freed_without_the_cycle_collector() -> None:
    weight = held()
    buffer = weakref.ref(weight)
    opt = lw.Optimizer(lw.SGD())
    opt.add_layer("a", weight)
    handle, reference = opt._handle, weakref.ref(opt)
    gc.disable()
    try:
        del opt, weight
        assert reference() is None
        assert buffer() is None
    finally:
        gc.enable()
    with pytest.raises(lw.ClosedOptimizer):
        _binding.call(_binding.lw_optimizer_step, handle, None)


def test_a_layer_holds_its_optimizer() -> None:
    weight = np.ones(2)
    layer = lw.Optimizer(lw.SGD(lr=1.0)).add_layer("a", weight, grads=np.ones(2))
    gc.collect()
    layer._optimizer.step()
    assert (weight == 0).all()


def test_growing_buffers_refuse_to_resize_until_closing() -> None:
    parameters, gradients = array.array("f", [1.0, 2.0]), array.array("f", [0.0, 0.0])
    memory = bytearray(8)
    opt = lw.Optimizer(lw.SGD())
    opt.add_layer("a", parameters, grads=gradients)
    opt.add_layer("b", memoryview(memory).cast("f"))
    attempts: list[Callable[[], None]] = [
        lambda: parameters.append(3.0),
        lambda: gradients.append(3.0),
        lambda: memory.extend(b"12"),
    ]
    for grow in attempts:
        with pytest.raises(BufferError):
            grow()
    opt.close()
    parameters.append(3.0)
    gradients.append(3.0)
    memory.extend(b"12")


def test_a_refused_registration_lets_go() -> None:
    parameters = array.array("f", [1.0, 2.0])
    with lw.Optimizer(lw.SGD()) as opt:
        with pytest.raises(lw.OutOfRange):
            opt.add_layer("a", parameters, scale=-1.0)
        parameters.append(3.0)
        opt.add_layer("a", parameters)


def test_a_released_view_is_still_held() -> None:
    memory = bytearray(b"\0" * 8)
    view = memoryview(memory).cast("f")
    with lw.Optimizer(lw.SGD(lr=1.0)) as opt:
        opt.add_layer("a", view, grads=array.array("f", [-1.0, -2.0]))
        view.release()
        opt.step()
    assert memoryview(memory).cast("f").tolist() == [1.0, 2.0]


def test_rules_policies_and_reports_can_be_pickled() -> None:
    with lw.Optimizer(lw.SGD()) as opt:
        info = opt.add_layer("a", np.ones(2)).info
        for value in (lw.LAMB(variant="timm"), lw.AdamW(lr=0.5), lw.Explicit({"*": 1.0}), lw.GeometricRange(0.1), info):
            assert pickle.loads(pickle.dumps(value)) == value


def test_threads_with_optimizers_of_their_own_do_not_disturb_each_other() -> None:
    weights = [np.ones(1000, np.float32) for _ in range(4)]

    def work(weight: np.ndarray[Any, Any]) -> None:
        with lw.Optimizer(lw.AdamW(lr=0.01)) as opt:
            opt.add_layer("a", weight, grads=np.linspace(-1, 1, 1000, dtype=np.float32))
            for _ in range(200):
                opt.step()

    threads = [threading.Thread(target=work, args=(weight,)) for weight in weights]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(weight.tobytes() == weights[0].tobytes() for weight in weights)
    assert not (weights[0] == 1).all()


def test_a_second_thread_is_told_that_the_optimizer_is_busy() -> None:
    """Many threads step one optimizer: each call either steps or raises BusyOptimizer, with a message of its own."""
    size, rounds = 200_000, 40
    weight = np.zeros(size)
    opt = lw.Optimizer(lw.SGD(lr=1.0), threads=1)
    opt.add_layer("a", weight, grads=np.full(size, -1.0))
    taken, problems = [], []

    def work() -> None:
        for _ in range(rounds):
            try:
                opt.step()
                taken.append(1)
            except lw.BusyOptimizer as error:
                if not str(error):
                    problems.append("empty message")
            except BaseException as error:
                problems.append(repr(error))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not problems
    assert (weight == len(taken)).all()
    assert opt.summary().steps == len(taken)
    opt.close()


class HeldStep:
    """A step on another thread that is inside the library until `go_on` is called.

    It waits in the callback that adds up sums over processes, which a step calls before it writes anything.
    """

    def __init__(self, opt: lw.Optimizer) -> None:
        self._opt = opt
        self._inside, self._may_go_on = threading.Event(), threading.Event()
        self._code: int | None = None
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> HeldStep:
        self._thread.start()
        assert self._inside.wait(60)
        return self

    def __exit__(self, *exception: object) -> None:
        self.go_on()

    def go_on(self) -> None:
        """Let the step end, successfully."""
        self._may_go_on.set()
        self._thread.join()
        assert self._code == 0

    def _work(self) -> None:
        step = _binding.lw_step(ctypes.sizeof(_binding.lw_step), 0, -1, 1.0)
        step.reduce = callback = _binding.lw_reduce(self._wait)
        self._code = _binding.lw_optimizer_step(self._opt._handle, step, None)
        del callback

    def _wait(self, sums: object, count: int, context: object) -> int:
        self._inside.set()
        return 0 if self._may_go_on.wait(60) else 1


def test_busy_while_a_step_runs() -> None:
    """While one thread steps, every other call of another thread is refused, and the step is not disturbed."""
    weight, gradient, spare = np.zeros(1000), np.full(1000, -1.0), np.zeros(1000)
    opt = lw.Optimizer(lw.SGD(lr=1.0))
    layer = opt.add_layer("a", weight, grads=gradient)
    attempts: list[Callable[[], object]] = [
        lambda: layer.bind(weight, gradient),
        opt.summary,
        opt.step,
        opt.close,
        lambda: opt.add_layer("b", spare),
    ]
    with HeldStep(opt):
        for attempt in attempts:
            with pytest.raises(lw.BusyOptimizer) as caught:
                attempt()
            assert "\n" not in str(caught.value)
    assert list(opt.layers) == ["a"]
    assert opt.summary().steps == 1
    assert (weight == 1).all()
    opt.close()


def test_calls_between_the_steps_of_another_thread() -> None:
    """Beside a thread that steps without end, every call is either refused or served, and no step is disturbed."""
    size = 100_000
    opt = lw.Optimizer(lw.SGD(lr=1.0), threads=1)
    weight, gradient, spare = np.zeros(size), np.full(size, -1.0), np.zeros(size)
    layer = opt.add_layer("a", weight, grads=gradient)
    stop, steps = threading.Event(), [0]

    def work() -> None:
        while not stop.is_set():
            try:
                opt.step()
                steps[0] += 1
            except lw.BusyOptimizer:
                pass

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(300):
            for attempt in (
                lambda: layer.bind(weight, gradient),
                opt.summary,
                lambda: opt.add_layer("a", spare),
            ):
                with suppress(lw.BusyOptimizer, lw.DuplicateName):
                    attempt()
    finally:
        stop.set()
        thread.join()
    assert list(opt.layers) == ["a"]
    assert (weight == steps[0]).all()
    opt.close()


# Other tests of this run import JAX, which warns of forks; the child below does not touch it.
@pytest.mark.spawns
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_after_fork_parent_and_child_step_the_same_bits() -> None:
    weight, gradient = np.ones(100_000, np.float32), np.linspace(-1, 1, 100_000, dtype=np.float32)
    opt = lw.Optimizer(lw.AdamW(lr=0.1), threads=2)
    opt.add_layer("a", weight, grads=gradient)
    opt.step()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            opt.step()
            os.write(writer, weight[:: 100_000 // 1000].tobytes())
        finally:
            os._exit(0)
    os.close(writer)
    opt.step()
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == weight[:: 100_000 // 1000].tobytes()
    assert os.waitpid(child, 0)[1] == 0
    opt.close()


@pytest.mark.spawns
def test_after_fork_inside_a_step_the_child_can_only_close() -> None:
    weight = np.zeros(1000)
    opt = lw.Optimizer(lw.SGD(lr=1.0))
    opt.add_layer("a", weight, grads=np.full(1000, -1.0))
    with HeldStep(opt):
        with warnings.catch_warnings():
            # Python 3.12 warns of forking with threads, which is what is tested.
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            status = 1
            try:
                for attempt in (opt.step, opt.summary):
                    with pytest.raises(lw.ForkedOptimizer):
                        attempt()
                opt.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (weight == 1).all()
    opt.close()


class Interrupt(BaseException):
    """Stands for KeyboardInterrupt."""


def test_interrupts_leave_python_and_library_in_step() -> None:
    """Ctrl-C at any moment of a registration, binding or step: both sides agree on the layers, and stepping goes on."""

    def interrupt(*_: object) -> None:
        raise Interrupt

    opt = lw.Optimizer(lw.SGD(lr=1.0))
    opt.add_layer("first", np.zeros(2), grads=np.zeros(2))
    interrupted = 0
    # A collector's callback, such as jax's, would swallow the interrupt.
    gc.disable()
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for attempt in range(300):
            weight, gradient = np.zeros(2), np.ones(2)
            try:
                signal.setitimer(signal.ITIMER_REAL, 5e-6 + attempt % 60 * 5e-6)
                opt.add_layer(f"layer {attempt}", {"a": weight, "b": np.zeros(2)}, grads={"a": gradient})
                opt.layer("first").bind(np.zeros(2), gradient)
                opt.step(layer=0)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                interrupted += 1
            assert [layer.index for layer in opt.layers.values()] == list(range(opt._layer_count()))
            assert all(opt.layer(name).info.depth == layer.index for name, layer in opt.layers.items())
            opt.step({"first": gradient})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        gc.enable()
    assert interrupted > 20
    opt.close()


@pytest.mark.spawns
def test_an_optimizer_alive_at_exit_is_freed_quietly() -> None:
    code = (
        "import array, layerwise as lw; opt = lw.Optimizer(lw.SGD());"
        "opt.add_layer('a', array.array('f', [1.0]), grads=array.array('f', [1.0])); opt.step()"
    )
    path = os.path.dirname(os.path.dirname(lw.__file__))
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
