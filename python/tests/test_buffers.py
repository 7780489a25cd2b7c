# SPDX-License-Identifier: Apache-2.0
"""Which buffers are taken, which are refused and how, and that they are stepped where they lie."""

import array
import ctypes
import mmap
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import layerwise as lw


class ThroughDLPack:
    """Exports an array by DLPack and in no other way."""

    def __init__(self, values: Any, device: tuple[int, int] = (1, 0), versioned: bool = True) -> None:
        self.values, self.device, self.versioned = values, device, versioned

    def __dlpack__(self, **options: Any) -> Any:
        if not self.versioned:
            if options:
                raise TypeError("unexpected keyword")
            return self.values.__dlpack__()
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


class ThroughInterface:
    """Exports an array by __array_interface__ and in no other way."""

    def __init__(self, values: Any) -> None:
        self.values = values

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return dict(self.values.__array_interface__)


class SayingSo:
    """Says other things of an array by __array_interface__ than hold."""

    def __init__(self, **said: Any) -> None:
        self.values = np.zeros(4)
        self.__array_interface__ = self.values.__array_interface__ | said


ACCEPTED: dict[str, Callable[[], Any]] = {
    "numpy float64": lambda: np.zeros(4),
    "numpy float32": lambda: np.zeros(4, np.float32),
    "numpy float16": lambda: np.zeros(4, np.float16),
    "numpy bfloat16": lambda: np.zeros(4, ml_dtypes.bfloat16),
    "numpy of rank 3": lambda: np.zeros((2, 1, 2), np.float32),
    "numpy of rank 0": lambda: np.zeros((), np.float32),
    "empty numpy": lambda: np.zeros((0, 3), np.float32),
    "numpy with strides that say nothing": lambda: np.zeros((1, 4), np.float32)[::-1],
    "array.array of float": lambda: array.array("f", bytes(16)),
    "array.array of double": lambda: array.array("d", bytes(32)),
    "empty array.array": lambda: array.array("f"),
    "memoryview": lambda: memoryview(bytearray(16)).cast("f"),
    "memoryview of half": lambda: memoryview(np.zeros(4, np.float16)),  # type: ignore[arg-type]
    "memoryview of rank 2": lambda: memoryview(bytearray(16)).cast("B").cast("f", (2, 2)),
    "ctypes float": lambda: (ctypes.c_float * 4)(),
    "ctypes double of rank 2": lambda: ((ctypes.c_double * 2) * 3)(),
    "ctypes scalar": lambda: ctypes.c_double(0.0),
    "mmap": lambda: memoryview(mmap.mmap(-1, 16)).cast("f"),
    "DLPack": lambda: ThroughDLPack(np.zeros((2, 2), np.float32)),
    "DLPack before 1.0": lambda: ThroughDLPack(np.zeros((2, 2)), versioned=False),
    "array interface": lambda: ThroughInterface(np.zeros(4, np.float32)),
}


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted_and_stepped_in_place(make: Callable[[], Any]) -> None:
    params, grads = make(), make()
    gradient = np.asarray(grads.values if hasattr(grads, "values") else grads)
    parameters = np.asarray(params.values if hasattr(params, "values") else params)
    gradient[...] = -2.0
    with lw.Optimizer(lw.SGD(lr=0.25)) as opt:
        layer = opt.add_layer("layer", params, grads=grads)
        assert layer.info.parameter_count == parameters.size
        opt.step()
        opt.step({"layer": grads})
    assert (parameters == 1.0).all()
    assert (gradient == -2.0).all()


def read_only(values: Any) -> Any:
    values.flags.writeable = False
    return values


REFUSED: dict[str, tuple[Callable[[], Any], type[lw.LayerwiseError], str]] = {
    "list": (lambda: [1.0], lw.DTypeMismatch, "found list"),
    "float": (lambda: 1.0, lw.DTypeMismatch, "found float"),
    "None": (lambda: None, lw.DTypeMismatch, "found NoneType"),
    "text": (lambda: "1.0", lw.DTypeMismatch, "found str"),
    "numpy scalar": (lambda: np.float32(1), lw.DTypeMismatch, "scalar"),
    "int64": (lambda: np.zeros(4, np.int64), lw.DTypeMismatch, "found int64"),
    "int8": (lambda: np.zeros(4, np.int8), lw.DTypeMismatch, "found int8"),
    "complex": (lambda: np.zeros(4, np.complex64), lw.DTypeMismatch, "found complex64"),
    "object": (lambda: np.zeros(4, object), lw.DTypeMismatch, "found object"),
    "longdouble": (lambda: np.zeros(4, np.longdouble), lw.DTypeMismatch, "found "),
    "float8": (lambda: np.zeros(4, ml_dtypes.float8_e4m3fn), lw.DTypeMismatch, "found float8_e4m3fn"),
    "plain two bytes": (lambda: np.zeros(4, "V2"), lw.DTypeMismatch, "found "),
    "structured": (lambda: np.zeros(4, [("a", "f4")]), lw.DTypeMismatch, "found "),
    "bytearray": (lambda: bytearray(16), lw.DTypeMismatch, "found bytes"),
    "array.array of int": (lambda: array.array("i", bytes(16)), lw.DTypeMismatch, 'found format "i"'),
    "byte-swapped": (lambda: np.zeros(4, ">f4"), lw.DTypeMismatch, "native byte order"),
    "byte-swapped bfloat16": (
        lambda: (z := np.zeros(4, ml_dtypes.bfloat16)).view(z.dtype.newbyteorder()),
        lw.DTypeMismatch,
        "native byte order",
    ),
    "byte-swapped ctypes": (lambda: (ctypes.c_float.__ctype_be__ * 4)(), lw.DTypeMismatch, "native byte order"),
    "strided": (lambda: np.zeros(8)[::2], lw.InvalidArgument, "contiguous"),
    "column-major": (lambda: np.zeros((2, 3), order="F"), lw.InvalidArgument, "contiguous"),
    "reversed": (lambda: np.zeros(8)[::-1], lw.InvalidArgument, "contiguous"),
    "broadcast": (lambda: np.lib.stride_tricks.as_strided(np.zeros(1), (4,), (0,)), lw.InvalidArgument, "contiguous"),
    "strided memoryview": (lambda: memoryview(array.array("f", bytes(16)))[::2], lw.InvalidArgument, "contiguous"),
    "unaligned": (
        lambda: np.frombuffer(bytearray(17), np.uint8)[1:].view(np.float32),
        lw.InvalidArgument,
        "must be aligned to 4 bytes",
    ),
    "read-only numpy": (lambda: read_only(np.zeros(4)), lw.InvalidArgument, "read-only"),
    "read-only memoryview": (lambda: memoryview(bytes(16)).cast("f"), lw.InvalidArgument, "read-only"),
    "read-only DLPack": (lambda: ThroughDLPack(read_only(np.zeros(4))), lw.InvalidArgument, "read-only"),
    "DLPack elsewhere": (lambda: ThroughDLPack(np.zeros(4), (2, 3)), lw.InvalidArgument, "DLPack device 2:3"),
    "strided DLPack": (lambda: ThroughDLPack(np.zeros(8)[::2]), lw.InvalidArgument, "contiguous"),
    "an extent of 2**64 + 4": (lambda: SayingSo(shape=(2**64 + 4,)), lw.ShapeMismatch, "extents from 0 to 2"),
    "an extent of 2**63": (lambda: SayingSo(shape=(2**63, 0)), lw.ShapeMismatch, "extents from 0 to 2"),
    "an extent below 0": (lambda: SayingSo(shape=(-1,)), lw.ShapeMismatch, "extents from 0 to 2"),
    "an address of 2**64 + 8": (
        lambda: SayingSo(data=(2**64 + 8, False)),
        lw.InvalidArgument,
        "an address from 0 to 2",
    ),
    "an address below 0": (lambda: SayingSo(data=(-8, False)), lw.InvalidArgument, "an address from 0 to 2"),
    "integer DLPack": (lambda: ThroughDLPack(np.zeros(8, np.int32)), lw.DTypeMismatch, "found DLPack type i4"),
}


@pytest.mark.parametrize(("make", "exception", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(make: Callable[[], Any], exception: type[lw.LayerwiseError], message: str) -> None:
    with lw.Optimizer(lw.SGD()) as opt:
        with pytest.raises(exception, match=message) as caught:
            opt.add_layer("encoder", {"bias": np.zeros(2), "kernel": make()})
        assert str(caught.value).startswith('layer "encoder": tensor "kernel": parameters ')
        assert "\n" not in str(caught.value)
        assert caught.value.tensor == 1
        assert not opt.layers


def test_a_released_memoryview_is_refused() -> None:
    view = memoryview(array.array("f", bytes(16)))
    view.release()
    with lw.Optimizer(lw.SGD()) as opt, pytest.raises(lw.DTypeMismatch, match="released"):
        opt.add_layer("layer", view)


def test_gradients_may_be_read_only() -> None:
    weight = np.ones(4, np.float32)
    with lw.Optimizer(lw.SGD(lr=1.0)) as opt:
        opt.add_layer("layer", weight, grads=read_only(np.ones(4, np.float32)))
        opt.step()
        opt.step({"layer": memoryview(np.ones(4, np.float32).tobytes()).cast("f")})
    assert (weight == -1.0).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_gradients_may_be_float32(dtype: Any) -> None:
    weights = {name: np.ones(4, dtype) for name in ("bound", "given")}
    gradient = np.full(4, 0.5, np.float32)
    with lw.Optimizer(lw.SGD(lr=1.0)) as opt:
        opt.add_layer("bound", weights["bound"], grads=gradient)
        opt.add_layer("given", weights["given"], gradient_dtype="float32")
        opt.step()
        opt.step({"given": gradient})
        with pytest.raises(lw.DTypeMismatch, match="must be float32, as registered"):
            opt.step({"given": np.ones(4, dtype)})
    assert (weights["bound"] == 0.5).all()
    assert (weights["given"] == 0.5).all()


def test_wrong_gradients_are_refused_by_name() -> None:
    with lw.Optimizer(lw.SGD()) as opt:
        for grads, exception, message in (
            (np.zeros((3, 2)), lw.ShapeMismatch, r"has shape \(3, 2\), the registered parameters have \(2, 3\)"),
            (np.zeros(6), lw.ShapeMismatch, "has shape"),
            (np.zeros((2, 3), np.int32), lw.DTypeMismatch, "found int32"),
            (np.zeros((3, 2)).T, lw.InvalidArgument, "contiguous"),
        ):
            with pytest.raises(exception, match=f'layer "a": tensor "weight": gradient .*{message}'):
                opt.add_layer("a", np.zeros((2, 3)), grads=grads)
        with pytest.raises(lw.DTypeMismatch, match="float16"):
            opt.add_layer("a", np.zeros((2, 3)), grads=np.zeros((2, 3), np.float16))
        opt.add_layer("a", np.zeros((2, 3)))
        for grads, exception, message in (
            (np.zeros((3, 2)), lw.ShapeMismatch, "has shape"),
            (np.zeros((2, 3), np.float32), lw.DTypeMismatch, "must be float64, as registered, found float32"),
            (np.zeros((3, 2)).T, lw.InvalidArgument, "contiguous"),
            ([[0.0]], lw.DTypeMismatch, "found list"),
        ):
            with pytest.raises(exception, match=f'layer "a": tensor "weight": gradient .*{message}') as caught:
                opt.step({"a": grads})
            assert caught.value.layer is None or caught.value.layer == 0
        assert opt.summary().steps == 0


def test_gradient_dtype_is_a_name() -> None:
    with lw.Optimizer(lw.SGD()) as opt:
        with pytest.raises(lw.UnknownName, match="float128"):
            opt.add_layer("a", np.zeros(2), gradient_dtype="float128")  # type: ignore[arg-type]
        with pytest.raises(lw.DTypeMismatch):
            opt.add_layer("a", np.zeros(2), gradient_dtype="float16")
        assert not opt.layers


def test_overlap_is_refused() -> None:
    memory = np.zeros(8)
    with lw.Optimizer(lw.SGD()) as opt:
        opt.add_layer("a", memory[:5])
        with pytest.raises(lw.OverlappingBuffers):
            opt.add_layer("b", memory[4:])
        with pytest.raises(lw.OverlappingBuffers):
            opt.add_layer("b", {"x": memory[5:], "y": memory[7:]})
        opt.add_layer("b", memory[5:])


def test_layers_of_several_tensors_take_mappings() -> None:
    with lw.Optimizer(lw.SGD(lr=1.0)) as opt:
        params = {"w": np.ones(2), "b": np.ones(1)}
        with pytest.raises(lw.InvalidArgument, match="2 tensors"):
            opt.add_layer("a", params, grads=np.ones(2))
        with pytest.raises(lw.UnknownName, match="no tensor 'c'; its tensors: w, b"):
            opt.add_layer("a", params, grads={"c": np.ones(2)})
        opt.add_layer("a", params, grads={"w": np.ones(2), "b": None})
        opt.step()
        assert (params["w"] == 0).all()
        assert (params["b"] == 1).all()
        with pytest.raises(lw.UnknownName, match="no tensor 'c'"):
            opt.step({"a": {"c": np.ones(2)}})
        with pytest.raises(lw.InvalidArgument, match="2 tensors"):
            opt.step({"a": np.ones(2)})


def test_names_are_text() -> None:
    with lw.Optimizer(lw.SGD()) as opt:
        with pytest.raises(TypeError, match="must be text, found 3"):
            opt.add_layer(3, np.ones(2))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="must be text, found 3"):
            opt.add_layer("a", {3: np.ones(2)})
        with pytest.raises(lw.InvalidArgument, match="NUL"):
            opt.add_layer("a\0b", np.ones(2))
        with pytest.raises(lw.InvalidArgument):
            opt.add_layer("\ud800", np.ones(2))
        with pytest.raises(lw.InvalidArgument):
            opt.add_layer("", np.ones(2))
        with pytest.raises(lw.LayerwiseError):
            opt.add_layer("a", {})
        assert opt.add_layer("ключ ✓", np.ones(2)).name == "ключ ✓"
        assert opt.layer("ключ ✓").index == 0
