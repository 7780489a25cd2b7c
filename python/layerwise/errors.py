# SPDX-License-Identifier: Apache-2.0
"""What can go wrong: one exception for each code of the library, each also the builtin that a user would catch."""

from __future__ import annotations


class LayerwiseError(Exception):
    """Any refusal.  A refused call has changed nothing.

    Attributes:
        code: The code of `layerwise.h`, such as 4 for a wrong shape.
        layer: Index of the layer at fault, or None.
        tensor: Index of the tensor within the layer, or None.
        element: Index of the element within the tensor, or None.
    """

    code: int = 0

    def __init__(
        self, message: str = "", *, layer: int | None = None, tensor: int | None = None, element: int | None = None
    ) -> None:
        super().__init__(message)
        self.layer = layer
        self.tensor = tensor
        self.element = element


class InvalidArgument(LayerwiseError, ValueError):
    """An argument that cannot be used, such as a read-only or non-contiguous buffer."""

    code = 1


class UnknownName(LayerwiseError, ValueError):
    """No rule, policy, schedule, setting, layer ... has this name; the message lists those that exist."""

    code = 2


class OutOfRange(LayerwiseError, ValueError):
    """A setting's value is outside its range; the message says the range."""

    code = 3


class ShapeMismatch(LayerwiseError, ValueError):
    """A shape, count or byte size does not match."""

    code = 4


class DTypeMismatch(LayerwiseError, TypeError):
    """An element type is not supported, or not the one that is needed."""

    code = 5


class OverlappingBuffers(LayerwiseError, ValueError):
    """Two buffers share bytes."""

    code = 6


class DuplicateName(LayerwiseError, ValueError):
    """A layer, tensor or key is given twice."""

    code = 7


class NotFound(LayerwiseError, LookupError):
    """No layer or tensor has this index, or there is no such schedule."""

    code = 8


class ClosedOptimizer(LayerwiseError, RuntimeError):
    """The optimizer was closed."""

    code = 9


class BusyOptimizer(LayerwiseError, RuntimeError):
    """Another thread is inside this optimizer."""

    code = 10


class NonFiniteGradient(LayerwiseError, ArithmeticError):
    """A gradient holds NaN or infinity; `layer`, `tensor` and `element` say where."""

    code = 11


class OutOfMemory(LayerwiseError, MemoryError):
    """State could not be allocated."""

    code = 12


class ForkedOptimizer(LayerwiseError, RuntimeError):
    """The process forked while another thread was inside this optimizer; it can only be closed."""

    code = 14


class BufferTooSmall(LayerwiseError, ValueError):
    """The memory that an optimizer was given is too small; the message says how many bytes it needs."""

    code = 15


class CheckpointIOError(LayerwiseError, OSError):
    """The operating system refused to read or write a file; the message says what and why."""

    code = 16


class CorruptCheckpoint(LayerwiseError, ValueError):
    """A checkpoint is damaged, or is none."""

    code = 17


class CheckpointMismatch(LayerwiseError, ValueError):
    """A checkpoint is of another optimizer.

    Attributes:
        differences: A line for each difference, the first 10,000 of them.
    """

    code = 18
    differences: tuple[str, ...] = ()


class ReduceFailed(LayerwiseError, RuntimeError):
    """The sums over processes failed."""

    code = 19


_CLASSES: dict[int, type[LayerwiseError]] = {
    cls.code: cls
    for cls in (
        InvalidArgument,
        UnknownName,
        OutOfRange,
        ShapeMismatch,
        DTypeMismatch,
        OverlappingBuffers,
        DuplicateName,
        NotFound,
        ClosedOptimizer,
        BusyOptimizer,
        NonFiniteGradient,
        OutOfMemory,
        ForkedOptimizer,
        BufferTooSmall,
        CheckpointIOError,
        CorruptCheckpoint,
        CheckpointMismatch,
        ReduceFailed,
    )
}


def from_code(
    code: int, message: str, *, layer: int | None = None, tensor: int | None = None, element: int | None = None
) -> LayerwiseError:
    """Return the exception for a code; a code of a newer library gives a plain LayerwiseError that carries it."""
    error = _CLASSES.get(code, LayerwiseError)(message, layer=layer, tensor=tensor, element=element)
    error.code = code
    return error
