# SPDX-License-Identifier: Apache-2.0
"""The C ABI: every struct and function of `layerwise.h`, declared once, and the way from a code to an exception.

Names are those of the header.  Nothing here decides anything.
"""

from __future__ import annotations

import array
import ctypes
import functools
import operator
from collections.abc import Callable, Sequence
from ctypes import (
    POINTER,
    byref,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, TypeVar

from . import errors
from ._library import load

_Data = TypeVar("_Data", bound="ctypes._CData")

OK = 0
ERROR_BUFFER_TOO_SMALL = 15

MODE_TRAINING, MODE_EVALUATION = 0, 1
RUN_STATE_KNOWN, RUN_STATE_CHECK = 1, 2
FLOAT32, FLOAT64, FLOAT16, BFLOAT16, INT64, INT8 = 1, 2, 3, 4, 5, 6
FLOATS = {"float32": FLOAT32, "float64": FLOAT64, "float16": FLOAT16, "bfloat16": BFLOAT16}
DTYPE_NAMES = {dtype: name for name, dtype in FLOATS.items()} | {INT64: "int64", INT8: "int8"}
DTYPE_SIZES = {FLOAT32: 4, FLOAT64: 8, FLOAT16: 2, BFLOAT16: 2, INT64: 8, INT8: 1}


class lw_optimizer(ctypes.Structure):
    """Opaque."""


class lw_snapshot(ctypes.Structure):
    """Opaque."""


class lw_error(ctypes.Structure):
    """What went wrong."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("code", c_int32),
        ("layer", c_int64),
        ("tensor", c_int64),
        ("element", c_int64),
        ("message", c_char * 512),
    )


class lw_setting(ctypes.Structure):
    """One setting by its key."""

    _fields_ = (("key", c_char_p), ("number", c_double), ("choice", c_char_p))


class lw_spec(ctypes.Structure):
    """A policy, a schedule or a freezing plan in words."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("part_count", c_int32),
        ("name", c_char_p),
        ("settings", POINTER(lw_setting)),
        ("setting_count", c_int64),
        ("values", POINTER(c_double)),
        ("value_count", c_int64),
    )


class lw_tensor(ctypes.Structure):
    """One buffer of parameters, its gradient and its shape."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("dtype", c_int32),
        ("gradient_dtype", c_int32),
        ("rank", c_int32),
        ("name", c_char_p),
        ("parameters", c_void_p),
        ("gradients", c_void_p),
        ("shape", POINTER(c_int64)),
        ("master", c_int32),
        ("reserved", c_int32),
        ("whole_shape", POINTER(c_int64)),
    )


class lw_layer_rule(ctypes.Structure):
    """What is said of some tensors of a model before their names tell anything."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("has_depth", c_int32),
        ("has_scale", c_int32),
        ("reserved", c_int32),
        ("pattern", c_char_p),
        ("syntax", c_char_p),
        ("matched", POINTER(c_uint8)),
        ("layer", c_char_p),
        ("depth", c_int64),
        ("tower", c_char_p),
        ("role", c_char_p),
        ("scale", c_double),
    )


lw_reduce = ctypes.CFUNCTYPE(c_int32, POINTER(c_double), c_int64, c_void_p)
"""Replaces numbers by their sums over all processes."""


class lw_step(ctypes.Structure):
    """How to take a step."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("layer", c_int64),
        ("gradient_scale", c_double),
        ("gradients", POINTER(c_void_p)),
        ("gradient_count", c_int64),
        ("reduce", lw_reduce),
        ("reduce_context", c_void_p),
    )


class lw_dlpack_tensor(ctypes.Structure):
    """A tensor in DLPack's words."""

    _fields_ = (
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("rank", c_int32),
        ("type_code", c_uint8),
        ("type_bits", c_uint8),
        ("type_lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


class lw_dlpack_lists(ctypes.Structure):
    """Where to find parameters and their gradients.  Lists, objects and functions of Python's are addresses here."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("parameters", c_void_p),
        ("gradients", c_void_p),
        ("count", c_int64),
        ("item", c_void_p),
        ("view", c_void_p),
        ("absent", c_void_p),
        ("expected", POINTER(lw_dlpack_tensor)),
        ("gradient_dtypes", POINTER(c_int32)),
    )


class lw_summary(ctypes.Structure):
    """The last step."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("steps", c_int64),
        ("skipped_steps", c_int64),
        ("gradient_norm", c_double),
        ("clip_factor", c_double),
        ("next_step", c_int64),
    )


class lw_telemetry(ctypes.Structure):
    """One layer at its last step."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("gradient_norm", c_double),
        ("weight_norm", c_double),
        ("update_norm", c_double),
        ("update_ratio", c_double),
        ("trust_ratio", c_double),
        ("clip_factor", c_double),
        ("effective_lr", c_double),
        ("nonfinite_count", c_int64),
        ("lost_count", c_int64),
    )


class lw_layer_info(ctypes.Structure):
    """What a layer is and what it will get at the next step."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("frozen", c_int32),
        ("depth", c_int64),
        ("tensor_count", c_int64),
        ("parameter_count", c_int64),
        ("state_bytes", c_int64),
        ("steps", c_int64),
        ("scale", c_double),
        ("effective_lr", c_double),
        ("weight_decay", c_double),
        ("scale_source", c_char_p),
        ("role", c_char_p),
        ("frozen_by", c_char_p),
        ("changes_at", c_int64),
        ("schedule_factor", c_double),
        ("measured_value", c_double),
        ("measured_target", c_double),
        ("measured_scale", c_double),
    )


class lw_spectrum(ctypes.Structure):
    """What the singular values of one tensor say."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("count", c_int64),
        ("alpha", c_double),
        ("stable_rank", c_double),
        ("norm", c_double),
    )


class lw_state_info(ctypes.Structure):
    """One state of one tensor."""

    _fields_ = (("struct_size", c_uint32), ("dtype", c_int32), ("count", c_int64), ("name", c_char * 64))


class lw_rename(ctypes.Structure):
    """A layer of a checkpoint that has another name here."""

    _fields_ = (("from_", c_char_p), ("to", c_char_p))


lw_progress = ctypes.CFUNCTYPE(None, c_int64, c_int64, c_void_p)
"""Called with the number of bytes read so far, and of all bytes."""

_gemm = (c_int32, c_int32, c_int32, c_int32, c_int32, c_int32)
lw_sgemm = ctypes.CFUNCTYPE(
    None, *_gemm, c_float, POINTER(c_float), c_int32, POINTER(c_float), c_int32, c_float, POINTER(c_float), c_int32
)
"""cblas_sgemm."""
lw_dgemm = ctypes.CFUNCTYPE(
    None, *_gemm, c_double, POINTER(c_double), c_int32, POINTER(c_double), c_int32, c_double, POINTER(c_double), c_int32
)
"""cblas_dgemm."""
lw_sbgemm = ctypes.CFUNCTYPE(
    None, *_gemm, c_float, POINTER(c_uint16), c_int32, POINTER(c_uint16), c_int32, c_float, POINTER(c_float), c_int32
)
"""cblas_sbgemm."""

Handle = POINTER(lw_optimizer)
SnapshotHandle = POINTER(lw_snapshot)

_library = load()

NativeFunction = Callable[..., Any]
"""A function of the library."""


def _declare(name: str, restype: type[Any] | None, *argtypes: type[Any]) -> NativeFunction:
    function = getattr(_library, name)
    function.argtypes = argtypes
    function.restype = restype
    return function  # type: ignore[no-any-return]


def _fallible(name: str, *argtypes: type[Any]) -> NativeFunction:
    """A function that returns a code and takes an lw_error last."""
    return _declare(name, c_int32, *argtypes, POINTER(lw_error))


_text_out = (POINTER(c_char), c_int64, POINTER(c_int64))
_settings_in = (POINTER(lw_setting), c_int64)
_specs_in = (POINTER(lw_spec), c_int64)

lw_abi_version = _declare("lw_abi_version", c_int32)
lw_version = _declare("lw_version", c_char_p)
lw_instruction_set = _declare("lw_instruction_set", c_char_p)
lw_available_threads = _declare("lw_available_threads", c_int32)
lw_use_blas = _fallible("lw_use_blas", c_char_p)
lw_use_blas_functions = _fallible("lw_use_blas_functions", lw_sgemm, lw_dgemm, lw_sbgemm)
lw_blas = _fallible("lw_blas", *_text_out)
lw_error_name = _declare("lw_error_name", c_char_p, c_int32)

lw_rule_count = _declare("lw_rule_count", c_int32)
lw_rule_name = _declare("lw_rule_name", c_char_p, c_int32)
lw_rule_describe = _fallible("lw_rule_describe", c_char_p, *_text_out)
lw_policy_count = _declare("lw_policy_count", c_int32)
lw_policy_name = _declare("lw_policy_name", c_char_p, c_int32)
lw_policy_describe = _fallible("lw_policy_describe", c_char_p, *_text_out)
lw_schedule_count = _declare("lw_schedule_count", c_int32)
lw_schedule_name = _declare("lw_schedule_name", c_char_p, c_int32)
lw_schedule_describe = _fallible("lw_schedule_describe", c_char_p, *_text_out)
lw_freeze_plan_count = _declare("lw_freeze_plan_count", c_int32)
lw_freeze_plan_name = _declare("lw_freeze_plan_name", c_char_p, c_int32)
lw_freeze_plan_describe = _fallible("lw_freeze_plan_describe", c_char_p, *_text_out)
lw_schedule_evaluate = _fallible(
    "lw_schedule_evaluate", *_specs_in, c_double, c_int64, c_int64, c_int64, POINTER(c_double)
)
lw_infer_layers = _fallible("lw_infer_layers", POINTER(c_char_p), c_int64, *_text_out)
lw_place_layers = _fallible("lw_place_layers", POINTER(c_char_p), c_int64, POINTER(lw_layer_rule), c_int64, *_text_out)
lw_match_names = _fallible("lw_match_names", c_char_p, c_char_p, POINTER(c_char_p), c_int64, POINTER(ctypes.c_uint8))

lw_optimizer_create = _fallible("lw_optimizer_create", POINTER(Handle), c_char_p, *_settings_in)
lw_optimizer_destroy = _fallible("lw_optimizer_destroy", Handle)
lw_optimizer_set = _fallible("lw_optimizer_set", Handle, *_settings_in)
lw_optimizer_get = _fallible("lw_optimizer_get", Handle, c_char_p, POINTER(c_double))
lw_optimizer_get_choice = _fallible("lw_optimizer_get_choice", Handle, c_char_p, POINTER(c_char_p))
lw_optimizer_set_policy = _fallible("lw_optimizer_set_policy", Handle, *_specs_in)
lw_optimizer_set_schedule = _fallible("lw_optimizer_set_schedule", Handle, c_int64, c_char_p, *_specs_in)
lw_optimizer_set_freeze_plan = _fallible("lw_optimizer_set_freeze_plan", Handle, *_specs_in)
lw_optimizer_report = _fallible("lw_optimizer_report", Handle, c_double)
lw_optimizer_get_schedule_state = _fallible(
    "lw_optimizer_get_schedule_state", Handle, c_int64, c_char_p, POINTER(c_double), c_int64, POINTER(c_int64)
)
lw_optimizer_set_schedule_state = _fallible(
    "lw_optimizer_set_schedule_state", Handle, c_int64, c_char_p, POINTER(c_double), c_int64
)
lw_optimizer_get_measurements = _fallible(
    "lw_optimizer_get_measurements", Handle, POINTER(c_double), c_int64, POINTER(c_int64)
)
lw_optimizer_set_measurements = _fallible("lw_optimizer_set_measurements", Handle, POINTER(c_double), c_int64)
lw_optimizer_restart_measurements = _fallible("lw_optimizer_restart_measurements", Handle)
lw_optimizer_seek = _fallible("lw_optimizer_seek", Handle, c_int64)
lw_optimizer_set_mode = _fallible("lw_optimizer_set_mode", Handle, c_int32)
lw_optimizer_get_run_state = _fallible("lw_optimizer_get_run_state", Handle, *_text_out)
lw_optimizer_set_run_state = _fallible(
    "lw_optimizer_set_run_state", Handle, c_char_p, c_int64, c_int32, c_int64, POINTER(c_int64)
)
lw_optimizer_assume_mode = _fallible("lw_optimizer_assume_mode", Handle, c_int32)
lw_optimizer_get_mode = _fallible("lw_optimizer_get_mode", Handle, POINTER(c_int32))

lw_optimizer_add_layer = _fallible(
    "lw_optimizer_add_layer", Handle, c_char_p, POINTER(lw_tensor), c_int64, *_settings_in, POINTER(c_int64)
)
lw_optimizer_layer_count = _fallible("lw_optimizer_layer_count", Handle, POINTER(c_int64))
lw_optimizer_find_layer = _fallible("lw_optimizer_find_layer", Handle, c_char_p, POINTER(c_int64))
lw_layer_set = _fallible("lw_layer_set", Handle, c_int64, *_settings_in)
lw_optimizer_set_layers = _fallible("lw_optimizer_set_layers", Handle, POINTER(c_int64), *_settings_in)
lw_optimizer_set_rates = _fallible("lw_optimizer_set_rates", Handle, POINTER(c_double), c_int64)
lw_layer_unset = _fallible("lw_layer_unset", Handle, c_int64, c_char_p)
lw_layer_get = _fallible("lw_layer_get", Handle, c_int64, c_char_p, POINTER(c_double))
lw_layer_get_choice = _fallible("lw_layer_get_choice", Handle, c_int64, c_char_p, POINTER(c_char_p))
lw_layer_get_text = _fallible("lw_layer_get_text", Handle, c_int64, c_char_p, *_text_out)
lw_layer_freeze = _fallible("lw_layer_freeze", Handle, c_int64)
lw_layer_unfreeze = _fallible("lw_layer_unfreeze", Handle, c_int64)
lw_layer_reset = _fallible("lw_layer_reset", Handle, c_int64)
lw_tensor_bind = _fallible("lw_tensor_bind", Handle, c_int64, c_int64, c_void_p, c_void_p)

lw_optimizer_step = _fallible("lw_optimizer_step", Handle, POINTER(lw_step))
lw_optimizer_set_loss = _fallible("lw_optimizer_set_loss", Handle, c_double)
lw_optimizer_measure_microbatch = _fallible("lw_optimizer_measure_microbatch", Handle, POINTER(lw_step))
lw_optimizer_measure_spectra = _fallible("lw_optimizer_measure_spectra", Handle, c_int64)
lw_optimizer_expect_step = _fallible("lw_optimizer_expect_step", Handle)
lw_optimizer_get_memory_size = _fallible("lw_optimizer_get_memory_size", Handle, POINTER(c_int64))
lw_optimizer_set_memory = _fallible("lw_optimizer_set_memory", Handle, c_void_p, c_int64, POINTER(c_int64))
lw_optimizer_prepare = _fallible("lw_optimizer_prepare", Handle)

# It looks at Python's objects, so that unlike the others it keeps the interpreter, and raises what they leave behind.
lw_dlpack_find_gradients: NativeFunction = ctypes.PYFUNCTYPE(
    c_int32, POINTER(lw_dlpack_lists), POINTER(c_void_p), POINTER(c_int64), POINTER(c_int64), POINTER(lw_error)
)(("lw_dlpack_find_gradients", _library))

lw_optimizer_get_summary = _fallible("lw_optimizer_get_summary", Handle, POINTER(lw_summary))
lw_layer_get_telemetry = _fallible("lw_layer_get_telemetry", Handle, c_int64, POINTER(lw_telemetry))
lw_optimizer_get_telemetry = _fallible("lw_optimizer_get_telemetry", Handle, POINTER(lw_telemetry), c_int64)
lw_layer_get_info = _fallible("lw_layer_get_info", Handle, c_int64, POINTER(lw_layer_info))
lw_layer_get_name = _fallible("lw_layer_get_name", Handle, c_int64, *_text_out)
lw_optimizer_explain = _fallible("lw_optimizer_explain", Handle, c_int64, *_text_out)
lw_optimizer_explain_json = _fallible("lw_optimizer_explain_json", Handle, c_int64, *_text_out)
lw_optimizer_preview = _fallible("lw_optimizer_preview", Handle, c_int64, c_int64, c_int64, POINTER(c_double), c_int64)
lw_optimizer_get_rate_groups = _fallible(
    "lw_optimizer_get_rate_groups", Handle, POINTER(c_int64), c_int64, POINTER(c_int64)
)
lw_optimizer_get_driven_values = _fallible(
    "lw_optimizer_get_driven_values",
    Handle,
    POINTER(c_char_p),
    c_int64,
    POINTER(c_int64),
    c_int64,
    c_int64,
    c_int64,
    c_int64,
    POINTER(c_double),
    c_int64,
    POINTER(c_uint8),
    c_int64,
)

lw_tensor_get_spectrum = _fallible("lw_tensor_get_spectrum", Handle, c_int64, c_int64, POINTER(lw_spectrum))
lw_tensor_state_count = _fallible("lw_tensor_state_count", Handle, c_int64, c_int64, POINTER(c_int64))
lw_tensor_get_state_info = _fallible(
    "lw_tensor_get_state_info", Handle, c_int64, c_int64, c_int64, POINTER(lw_state_info)
)
lw_tensor_read_state = _fallible("lw_tensor_read_state", Handle, c_int64, c_int64, c_char_p, c_void_p, c_int64)
lw_tensor_write_state = _fallible("lw_tensor_write_state", Handle, c_int64, c_int64, c_char_p, c_void_p, c_int64)
lw_tensor_get_state_address = _fallible(
    "lw_tensor_get_state_address", Handle, c_int64, c_int64, c_char_p, POINTER(c_void_p)
)
lw_optimizer_get_step_counts = _fallible("lw_optimizer_get_step_counts", Handle, POINTER(c_int64), c_int64)

_renames_in = (POINTER(lw_rename), c_int64)
lw_optimizer_save = _fallible("lw_optimizer_save", Handle, c_char_p, *_settings_in)
lw_optimizer_export = _fallible("lw_optimizer_export", Handle, c_void_p, c_int64, POINTER(c_int64), *_settings_in)
lw_optimizer_load = _fallible("lw_optimizer_load", Handle, c_char_p, *_settings_in, *_renames_in)
lw_optimizer_import = _fallible("lw_optimizer_import", Handle, c_void_p, c_int64, *_settings_in, *_renames_in)
lw_optimizer_get_load_report = _fallible("lw_optimizer_get_load_report", Handle, *_text_out)
lw_optimizer_snapshot = _fallible("lw_optimizer_snapshot", Handle, POINTER(SnapshotHandle))
lw_optimizer_restore = _fallible("lw_optimizer_restore", Handle, SnapshotHandle)
lw_snapshot_get_size = _fallible("lw_snapshot_get_size", SnapshotHandle, POINTER(c_int64))
lw_snapshot_destroy = _fallible("lw_snapshot_destroy", SnapshotHandle)

lw_search_rates = _fallible("lw_search_rates", c_char_p, c_double, c_double, POINTER(c_double), c_int64)
lw_search_analyse = _fallible(
    "lw_search_analyse", c_char_p, POINTER(c_double), c_int64, POINTER(c_double), c_int64, *_text_out
)
lw_search_has_diverged = _fallible("lw_search_has_diverged", POINTER(c_double), c_int64, c_int64, POINTER(c_int32))
lw_search_is_spike = _fallible(
    "lw_search_is_spike", c_char_p, c_double, POINTER(c_double), c_int64, c_double, POINTER(c_int32)
)
lw_search_scales = _fallible("lw_search_scales", POINTER(c_double), c_int64, POINTER(c_double))
lw_search_judge = _fallible("lw_search_judge", POINTER(c_double), c_int64, c_int64, *_text_out)
lw_checkpoint_describe = _fallible("lw_checkpoint_describe", c_char_p, lw_progress, c_void_p, *_text_out)


def new_error() -> lw_error:
    """LW_ERROR_INIT."""
    return lw_error(ctypes.sizeof(lw_error), OK, -1, -1, -1)


def failure(code: int, error: lw_error) -> errors.LayerwiseError:
    """The exception for a code and what the library wrote about it."""
    layer, tensor, element = (None if index < 0 else index for index in (error.layer, error.tensor, error.element))
    return errors.from_code(code, error.message.decode("utf-8", "replace"), layer=layer, tensor=tensor, element=element)


def call(function: NativeFunction, *arguments: Any) -> None:
    """Call a fallible function; raise if it refuses."""
    error = new_error()
    code = function(*arguments, byref(error))
    if code:
        raise failure(code, error)


def text(function: NativeFunction, *arguments: Any, room: int = 2048) -> str:
    """Call a function that writes text, with as much room as it asks for; `room` is a first guess."""
    needed = c_int64(room)
    while True:
        written = bytearray(needed.value)
        error = new_error()
        code = function(*arguments, byref(c_char.from_buffer(written)), len(written), byref(needed), byref(error))
        if not code:
            return written[: written.index(0)].decode()
        # What is described may have grown since the last try, hence the loop.
        if code != ERROR_BUFFER_TOO_SMALL or needed.value <= len(written):
            raise failure(code, error)


def numbers(function: NativeFunction, *arguments: Any) -> list[float]:
    """Call a function that writes a list of numbers, with as much room as it asks for."""
    needed = c_int64(8)
    while True:
        room = doubles(needed.value)
        error = new_error()
        code = function(*arguments, pointer(room), len(room), byref(needed), byref(error))
        if not code:
            return list(room[: needed.value])
        if code != ERROR_BUFFER_TOO_SMALL or needed.value <= len(room):
            raise failure(code, error)


def doubles(count: int) -> array.array[float]:
    """Room for numbers."""
    try:
        return array.array("d", (0.0,)) * count
    except (MemoryError, OverflowError):
        raise errors.OutOfMemory(f"{count} numbers need more memory than there is") from None


def array_of(values: Sequence[float]) -> array.array[float]:
    """Numbers side by side."""
    try:
        return array.array("d", tuple(values))
    except TypeError as error:
        raise TypeError(f"expected a list of numbers: {error}") from None


def pointer(values: array.array[float]) -> ctypes._Pointer[c_double]:
    """The numbers of an array where they lie, as the library takes them; it keeps the array."""
    return ctypes.pointer(c_double.from_buffer(values)) if values else POINTER(c_double)()


@functools.lru_cache(maxsize=1024)
def array_type(kind: type[_Data], count: int) -> type[ctypes.Array[_Data]]:
    """The type `kind * count`, cached.

    A type refers to itself, and ctypes caches only types in use: without this, each would wait for the cycle
    collector once its last array is gone.  So `count` is a number of things such as tensors, layers or dimensions, of
    which a program meets few.  Text and lists of any length take `text`, `numbers` and `pointer`, which need no type.
    """
    made: Any = kind
    return made * count  # type: ignore[no-any-return]


def whole(what: str, value: int) -> int:
    """A step, or a number of them, as the library takes it.

    Refused here is only what would change on the way: ctypes cuts off what an int64 cannot hold, and where there is a
    next step, -1 stands for it.
    """
    number = operator.index(value)
    if not 0 <= number < 1 << 63:
        raise errors.OutOfRange(f"{what} must be from 0 to 2**53, found {number}")
    return number


def name(value: str) -> bytes:
    """A name as the library takes it.  It judges UTF-8 itself; only what a C string cannot carry is refused here."""
    if not isinstance(value, str):
        raise TypeError(f"a name must be text, found {value!r}")
    if "\0" in value:
        raise errors.InvalidArgument(f"{value!r}: a name cannot hold a NUL character")
    return value.encode("utf-8", "surrogatepass")
