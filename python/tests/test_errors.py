# SPDX-License-Identifier: Apache-2.0
"""Exceptions: what they inherit and carry."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest

import layerwise as lw
from layerwise import errors

BUILTINS = {
    lw.InvalidArgument: ValueError,
    lw.UnknownName: ValueError,
    lw.OutOfRange: ValueError,
    lw.ShapeMismatch: ValueError,
    lw.DTypeMismatch: TypeError,
    lw.OverlappingBuffers: ValueError,
    lw.DuplicateName: ValueError,
    lw.NotFound: LookupError,
    lw.ClosedOptimizer: RuntimeError,
    lw.BusyOptimizer: RuntimeError,
    lw.NonFiniteGradient: ArithmeticError,
    lw.OutOfMemory: MemoryError,
    lw.ForkedOptimizer: RuntimeError,
    lw.BufferTooSmall: ValueError,
}


@pytest.mark.parametrize("exception", BUILTINS)
def test_each_is_the_builtin_that_a_user_would_catch(exception: type[lw.LayerwiseError]) -> None:
    assert issubclass(exception, BUILTINS[exception])
    assert issubclass(exception, lw.LayerwiseError)


def test_a_code_of_a_newer_library_is_carried() -> None:
    error = errors.from_code(999, "news")
    assert type(error) is lw.LayerwiseError
    assert error.code == 999


def test_pickling_keeps_what_it_carries() -> None:
    error = errors.from_code(11, "gradient is NaN", layer=1, tensor=2, element=3)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is lw.NonFiniteGradient
    assert (str(copy), copy.code, copy.layer, copy.tensor, copy.element) == ("gradient is NaN", 11, 1, 2, 3)


def test_a_nonfinite_gradient_is_located() -> None:
    gradient = np.zeros(8)
    gradient[5] = np.inf
    with lw.Optimizer(lw.SGD()) as opt:
        opt.add_layer("a", np.ones(3), grads=np.zeros(3))
        opt.add_layer("b", {"v": np.ones(2), "w": np.ones(8)}, grads={"v": np.zeros(2), "w": gradient})
        with pytest.raises(lw.NonFiniteGradient, match='layer "b"') as caught:
            opt.step()
    assert (caught.value.layer, caught.value.tensor, caught.value.element) == (1, 1, 5)
    assert caught.value.code == 11


def test_messages_are_one_line() -> None:
    with lw.Optimizer(lw.SGD()) as opt:
        opt.add_layer("a", np.ones(3))
        attempts: list[Callable[[], object]] = [
            lambda: opt.add_layer("a", np.ones(3)),
            lambda: opt.layer("b"),
            lambda: opt.layer(7),
            lambda: opt.set(lr=-1.0),
            lambda: opt.set(nothing=1.0),
            lambda: opt.layer("a").read_state("weight", "nothing"),
            lambda: opt.layer("a").read_state("nothing", "step"),
            lambda: opt.layer("a").read_state(3, "step"),
        ]
        for attempt in attempts:
            with pytest.raises(lw.LayerwiseError) as caught:
                attempt()
            assert str(caught.value)
            assert "\n" not in str(caught.value)
            assert caught.value.layer is None or caught.value.layer >= 0
