# SPDX-License-Identifier: Apache-2.0
"""The declarations in Python say what the headers say."""

import ctypes
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from layerwise import _binding as lw
from layerwise import _library, errors

INCLUDE = Path(__file__).parents[2] / "include"
HEADER = "".join((INCLUDE / name).read_text() for name in ("layerwise.h", "layerwise_experimental.h"))
CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
TYPES = {name: value for name, value in vars(lw).items() if isinstance(value, type) and name.startswith("lw_")}
OPAQUE = ("lw_optimizer", "lw_snapshot")
STRUCTS = [name for name, value in TYPES.items() if issubclass(value, ctypes.Structure) and name not in OPAQUE]
CALLBACKS = [name for name, value in TYPES.items() if name not in (*STRUCTS, *OPAQUE)]

C_TYPES = {
    "int32_t": ctypes.c_int32,
    "int32_t *": ctypes.POINTER(ctypes.c_int32),
    "int64_t": ctypes.c_int64,
    "double": ctypes.c_double,
    "const char *": ctypes.c_char_p,
    "float": ctypes.c_float,
    "double *": ctypes.POINTER(ctypes.c_double),
    "float *": ctypes.POINTER(ctypes.c_float),
    "const float *": ctypes.POINTER(ctypes.c_float),
    "const uint16_t *": ctypes.POINTER(ctypes.c_uint16),
    "uint8_t *": ctypes.POINTER(ctypes.c_uint8),
    "const double *": ctypes.POINTER(ctypes.c_double),
    "int64_t *": ctypes.POINTER(ctypes.c_int64),
    "char *": ctypes.POINTER(ctypes.c_char),
    "void *": ctypes.c_void_p,
    "const void *": ctypes.c_void_p,
    "void **": ctypes.POINTER(ctypes.c_void_p),
    "const void **": ctypes.POINTER(ctypes.c_void_p),
    "const int64_t *": ctypes.POINTER(ctypes.c_int64),
    "const char **": ctypes.POINTER(ctypes.c_char_p),
    "const char *const *": ctypes.POINTER(ctypes.c_char_p),
    "lw_optimizer *": lw.Handle,
    "lw_optimizer **": ctypes.POINTER(lw.Handle),
    "lw_snapshot *": lw.SnapshotHandle,
    "lw_snapshot **": ctypes.POINTER(lw.SnapshotHandle),
}


def c_type(text: str) -> object:
    if text in C_TYPES:
        return C_TYPES[text]
    if text in CALLBACKS:
        return TYPES[text]
    struct = re.fullmatch(r"(?:const )?(lw_\w+) \*", text)
    assert struct, text
    return ctypes.POINTER(getattr(lw, struct[1]))


def prototypes() -> dict[str, tuple[str, list[str]]]:
    found = re.findall(r"LW_API\s+([\w ]+?[ *]+)(lw_\w+)\(([^;]*)\);", CODE)
    parsed = {}
    for returned, name, arguments in found:
        parts = [" ".join(part.split()) for part in arguments.split(",")]
        types = [] if parts == ["void"] else [re.sub(r"\w+$", "", part).strip() for part in parts]
        parsed[name] = (returned.strip(), types)
    return parsed


def test_every_function_is_declared_and_no_other() -> None:
    declared = {name for name, value in vars(lw).items() if hasattr(value, "argtypes") and name not in CALLBACKS}
    assert declared == set(prototypes())


@pytest.mark.parametrize("name", sorted(prototypes()))
def test_function(name: str) -> None:
    returned, arguments = prototypes()[name]
    function = getattr(lw, name)
    assert function.restype is c_type(returned)
    assert list(function.argtypes) == [c_type(argument) for argument in arguments]


def test_only_what_looks_at_objects_of_python_keeps_the_interpreter() -> None:
    """All others let it go, so that threads run on; this one would tear objects apart."""
    keeps = [name for name in prototypes() if getattr(lw, name)._flags_ & ctypes._FUNCFLAG_PYTHONAPI]
    assert keeps == ["lw_dlpack_find_gradients"]


@pytest.mark.parametrize("name", CALLBACKS)
def test_callback(name: str) -> None:
    found = re.search(rf"typedef (\w+) \(\*{name}\)\(([^;]*)\);", CODE)
    assert found
    arguments = [re.sub(r"\w+$", "", part.strip()).strip() for part in found[2].split(",")]
    assert TYPES[name]._restype_ is (None if found[1] == "void" else c_type(found[1]))
    assert list(TYPES[name]._argtypes_) == [c_type(argument) for argument in arguments]


@pytest.mark.spawns
def test_struct_layouts(tmp_path: Path) -> None:
    # `from` is a keyword of Python, so that one has a name with "_".
    fields = [(struct, field[0]) for struct in STRUCTS for field in getattr(lw, struct)._fields_]
    lines = [
        f'printf("{s}.{f} %zu %zu\\n", offsetof({s}, {c}), sizeof((({s} *)0)->{c}));'
        for s, f in fields
        for c in [f.rstrip("_")]
    ]
    lines += [f'printf("{struct} 0 %zu\\n", sizeof({struct}));' for struct in STRUCTS]
    source = (
        "#include <stddef.h>\n#include <stdio.h>\n#include <layerwise_experimental.h>\nint main(void) { %s return 0; }"
    )
    program = tmp_path / "layout"
    subprocess.run(
        ["cc", "-x", "c", f"-I{INCLUDE}", "-", "-o", str(program)],
        input=source % "\n".join(lines),
        text=True,
        check=True,
    )
    expected = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    found = []
    for struct, field in fields:
        descriptor = getattr(getattr(lw, struct), field)
        found.append(f"{struct}.{field} {descriptor.offset} {descriptor.size}")
    found += [f"{struct} 0 {ctypes.sizeof(getattr(lw, struct))}" for struct in STRUCTS]
    assert found == expected


def test_constants() -> None:
    def value(name: str) -> int:
        match = re.search(rf"\b{name}\b\s*=?\s*(\d+)", CODE)
        assert match, name
        return int(match[1])

    assert value("LW_ABI_VERSION") == _library.ABI_VERSION
    assert value("LW_ERROR_BUFFER_TOO_SMALL") == lw.ERROR_BUFFER_TOO_SMALL
    assert value("LW_ERROR_MESSAGE_SIZE") == lw.lw_error.message.size
    for dtype, name in lw.DTYPE_NAMES.items():
        assert value(f"LW_{name.upper()}") == dtype


NAMES = {
    errors.InvalidArgument: "LW_ERROR_INVALID_ARGUMENT",
    errors.UnknownName: "LW_ERROR_UNKNOWN_NAME",
    errors.OutOfRange: "LW_ERROR_OUT_OF_RANGE",
    errors.ShapeMismatch: "LW_ERROR_SHAPE",
    errors.DTypeMismatch: "LW_ERROR_DTYPE",
    errors.OverlappingBuffers: "LW_ERROR_OVERLAP",
    errors.DuplicateName: "LW_ERROR_DUPLICATE",
    errors.NotFound: "LW_ERROR_NOT_FOUND",
    errors.ClosedOptimizer: "LW_ERROR_STALE_HANDLE",
    errors.BusyOptimizer: "LW_ERROR_BUSY",
    errors.NonFiniteGradient: "LW_ERROR_NONFINITE",
    errors.OutOfMemory: "LW_ERROR_OUT_OF_MEMORY",
    errors.ForkedOptimizer: "LW_ERROR_FORKED",
    errors.BufferTooSmall: "LW_ERROR_BUFFER_TOO_SMALL",
    errors.CheckpointIOError: "LW_ERROR_IO",
    errors.CorruptCheckpoint: "LW_ERROR_CORRUPT",
    errors.CheckpointMismatch: "LW_ERROR_MISMATCH",
    errors.ReduceFailed: "LW_ERROR_REDUCE",
}


@pytest.mark.parametrize("exception", NAMES)
def test_code_of_exception(exception: type[errors.LayerwiseError]) -> None:
    assert lw.lw_error_name(exception.code).decode() == NAMES[exception]
    assert type(errors.from_code(exception.code, "")) is exception


def test_text_and_numbers_of_any_length_make_no_types() -> None:
    """A ctypes array type waits for the cycle collector, and a cache of types would fill up."""

    def describe(wanted: int, out: Any, room: int, needed: Any, error: Any) -> int:
        needed._obj.value = wanted
        return lw.ERROR_BUFFER_TOO_SMALL if room < wanted else 0

    types = lw.array_type.cache_info().misses
    for length in range(1, 3000):
        assert lw.text(describe, length, room=1) == ""
        assert lw.numbers(describe, length) == [0.0] * length
        lw.pointer(lw.array_of([1.0] * (length % 50)))
    assert lw.array_type.cache_info().misses == types
