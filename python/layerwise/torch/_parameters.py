# SPDX-License-Identifier: Apache-2.0
"""What a user may hand over as parameters, made into torch's groups; and what cannot be stepped, refused by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsFloat, TypeAlias

import torch
from torch import Tensor, nn

from .._buffers import ELSEWHERE
from .._placement import Placement, by_name
from ..errors import DTypeMismatch, InvalidArgument, OverlappingBuffers
from ..rule import Rule
from ._warn import warn

Group: TypeAlias = dict[str, Any]
"""A param group of torch: parameters, and the hyperparameters that hold for them."""

Parameters: TypeAlias = nn.Module | Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Group]
"""A module, parameters, named parameters, or param groups."""

_RULES = (
    "the classes of layerwise.torch are optimizers and take the parameters first; a rule by itself, for "
    "layerwise.Optimizer, is the class of the same name in layerwise"
)

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def for_torch(params: Parameters) -> Any:
    """The argument for torch's own constructor: a module becomes one group of named parameters.

    One group, not one a layer, so that every scheduler sees one base rate; the layers' scales are applied inside.

    Raises:
        InvalidArgument: The module has no parameters.
        TypeError: It is a mapping, such as a state dict.
    """
    if isinstance(params, nn.Module):
        named = named_parameters(params)
        if not named:
            raise InvalidArgument(f"{type(params).__name__} has no parameters")
        return named
    if isinstance(params, Mapping):
        raise TypeError(
            "params: expected a module, parameters, named parameters or param groups, found a mapping; "
            "did you mean model.named_parameters()?"
        )
    if isinstance(params, Rule):
        name = type(params).__name__
        raise TypeError(f"params: expected a model or its parameters, found the rule {name}: {_RULES}")
    if isinstance(params, str | SupportsFloat) and not isinstance(params, Tensor) and not hasattr(params, "shape"):
        raise TypeError(f"params: expected a model or its parameters, found {params!r}: {_RULES}")
    if isinstance(params, set):
        # torch warns from 2.15 on, in the same category.
        warn(
            "optimizer parameters need to be organized in ordered collections: a set has another order in each run, "
            "and state dicts go by the order; give a list",
            FutureWarning,
        )
    given: Any = params
    if not isinstance(params, Tensor):
        given = list(params)
        if any(hasattr(one, "__array_interface__") for one in (params, *given)):
            raise TypeError(
                "params: expected torch tensors, found arrays of NumPy: layerwise.Optimizer steps those, "
                "or torch.from_numpy(x) makes a tensor of the same memory"
            )
    return given


def names_of(group: Group) -> list[str] | None:
    """The names of a group's parameters; None without, or where they no longer go with the parameters.

    Some wrappers split or prune the parameters of a group and leave its names alone.
    """
    names = group.get("param_names")
    if names is None or len(names) != len(group["params"]):
        return None
    return clean(names)


_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:(?:module|_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.)+")
"""What DataParallel, torch.compile, activation checkpointing and FSDP put into names, in front or in the middle."""


def clean(names: Iterable[str]) -> list[str]:
    """Names without what wrappers around modules put into them, so that a model has the same in and out of them.

    A name that another one would have then is left as it is: a model may have modules of these names itself.
    """
    given = list(names)
    bare = [_WRAPPERS.sub("", name) for name in given]
    counts = Counter(_WRAPPERS.sub("", name) for name in set(given))
    return [short if counts[short] == 1 else name for name, short in zip(given, bare, strict=True)]


def named_parameters(module: nn.Module) -> list[tuple[str, Tensor]]:
    """A module's parameters by clean names, in the order of their first names.

    A parameter that several modules share has the name under which it is nearest to the input: the table that
    embeddings and head share is the embeddings', whichever was made first.
    """
    named = list(module.named_parameters())
    names, params = clean(name for name, _ in named), [param for _, param in named]
    others = _other_names(module, params)
    if not others:
        return list(zip(names, params, strict=True))
    together = by_name([*names, *(name for found in others.values() for name in found)], None)
    for index, found in others.items():
        for other in found:
            if not _precedes(together[other], together[names[index]]):
                continue
            # The other names of the rest would make layers of their own.
            changed = [*names[:index], other, *names[index + 1 :]]
            if _precedes(by_name(changed, None)[other], by_name(names, None)[names[index]]):
                names = changed
    return list(zip(names, params, strict=True))


def _precedes(one: Placement, other: Placement) -> bool:
    """Whether the first is surely nearer to the input of the same tower."""
    return one.tower == other.tower and not one.guess and (one.depth or 0) < (other.depth or 0)


def _other_names(module: nn.Module, params: Sequence[Tensor]) -> dict[int, list[str]]:
    """The names but the first of each parameter that has several, by its index."""
    if type(module).named_parameters is not nn.Module.named_parameters:
        return {}
    every = list(module.named_parameters(remove_duplicate=False))
    if len(every) == len(params):
        return {}
    index = {id(param): position for position, param in enumerate(params)}
    names = clean(name for name, _ in every)
    if len(set(names)) < len(names):
        return {}
    found: dict[int, list[str]] = {}
    seen: set[int] = set()
    for name, (_, param) in zip(names, every, strict=True):
        if id(param) in seen:
            found.setdefault(index[id(param)], []).append(name)
        seen.add(id(param))
    return found


def describe(names: Sequence[str] | None, index: int, position: int) -> str:
    """How messages name a parameter.

    Args:
        names: What `names_of` says of its group: it reads all names, so it is asked once for each group.
        index: The group's index.
        position: The parameter's index in the group.
    """
    return f'parameter "{names[position]}"' if names else f"parameter {position} of group {index}"


def check(param: Tensor, what: str) -> None:
    """Refuse what cannot be stepped in place on the CPU.

    Raises:
        InvalidArgument: It is sparse, not on the CPU, negated lazily, or some of its elements share memory.
        DTypeMismatch: It is complex, integer, or of another type that the library does not know.
    """
    if param.layout is not torch.strided:
        raise InvalidArgument(f"{what} must be a dense tensor, found layout {param.layout}")
    if param.is_meta:
        raise InvalidArgument(
            f'{what} is on the device "meta" and has no memory: call model.to_empty(device="cpu") first'
        )
    if param.device.type != "cpu":
        raise InvalidArgument(f"{what} must be on the CPU, found device {param.device}{ELSEWHERE}")
    if param.is_complex():
        raise DTypeMismatch(f"{what} must be real, found {param.dtype}: optimize torch.view_as_real of it")
    if param.dtype not in FLOATS:
        raise DTypeMismatch(f"{what} must be float64, float32, float16 or bfloat16, found {param.dtype}")
    if param.is_neg():
        raise InvalidArgument(f"{what} waits to be negated: make it with torch.resolve_neg")
    if param.numel() and not param.untyped_storage().nbytes():
        raise InvalidArgument(f"{what} has no memory: its storage was freed")
    if may_overlap(param):
        raise InvalidArgument(
            f"{what} must have memory of its own for each element, found shape {tuple(param.shape)} with strides "
            f"{param.stride()}: make it with .clone(memory_format=torch.contiguous_format)"
        )


def check_disjoint(params: Sequence[tuple[str, Tensor]]) -> None:
    """Refuse parameters with gaps that share an element with another parameter.

    The library is given dense copies of parameters with gaps, so it cannot see what these share.

    Args:
        params: What messages call each parameter, and its memory in this process.

    Raises:
        OverlappingBuffers: Two parameters share memory.
    """
    by_storage: dict[int, list[tuple[str, Tensor]]] = {}
    for what, param in params:
        if param.numel():
            by_storage.setdefault(param.untyped_storage().data_ptr(), []).append((what, param))
    for sharing in by_storage.values():
        if len(sharing) > 1 and not all(is_dense(param) for _, param in sharing):
            _check_disjoint_in_storage(sharing)


def _check_disjoint_in_storage(params: Sequence[tuple[str, Tensor]]) -> None:
    size = params[0][1].untyped_storage().nbytes()
    taken = torch.zeros(size, dtype=torch.bool, device="cpu")
    for index, (what, param) in enumerate(params):
        if _bytes_of(param, taken).any():
            own = torch.zeros(size, dtype=torch.bool, device="cpu")
            _bytes_of(param, own).fill_(True)
            other = next(name for name, earlier in params[:index] if _bytes_of(earlier, own).any())
            raise OverlappingBuffers(f"{what} shares memory with {other}")
        _bytes_of(param, taken).fill_(True)


def _bytes_of(tensor: Tensor, marks: Tensor) -> Tensor:
    """Of marks for the bytes of a storage, those that a tensor takes."""
    size = tensor.dtype.itemsize
    strides = *(stride * size for stride in tensor.stride()), 1
    return marks.as_strided((*tensor.shape, size), strides, tensor.storage_offset() * size)


def may_be_left_out(param: Tensor) -> bool:
    """Whether a parameter that cannot be stepped may stay in its group all the same.

    A frozen parameter never has a gradient.  Quantized models keep their weights in such: integers, or tensors of
    another layout.
    """
    is_strange = (
        param.layout is not torch.strided or param.dtype not in FLOATS or (param.is_cpu and not is_dense(param))
    )
    return isinstance(param, nn.Parameter) and not param.requires_grad and is_strange


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill a range of memory, each once, in whatever order of dimensions."""
    expected = 1
    if not tensor.numel():
        return True
    for stride, extent in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if extent != 1:
            if stride != expected:
                return False
            expected *= extent
    return True


def may_overlap(tensor: Tensor) -> bool:
    """Whether elements may share memory: whether an outer dimension strides over less than an inner one reaches."""
    reach = 0
    if not tensor.numel():
        return False
    for stride, extent in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if extent != 1:
            if stride <= reach:
                return True
            reach += stride * (extent - 1)
    return False


def dense_copy(tensor: Tensor, *, by_axes: bool = False) -> Tensor | None:
    """A copy without gaps, in the order of dimensions that torch gives to states; None if the tensor has no gaps.

    With `by_axes` the copy is in row-major order, and needed of any tensor that is not.
    """
    if by_axes:
        return None if tensor.is_contiguous() else tensor.detach().clone(memory_format=torch.contiguous_format)
    if is_dense(tensor):
        return None
    with torch.no_grad():
        return torch.empty_like(tensor, memory_format=torch.preserve_format, requires_grad=False).copy_(tensor)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of the row-major order."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def in_memory_order(tensor: Tensor) -> Tensor:
    """The same memory as a contiguous tensor of the same shape.

    For a transposed or channels-last tensor the elements then stand at other places.  A step treats all elements of
    a tensor alike, so that their order does not matter to it, but their shape does: some policies look at it.
    """
    with torch.no_grad():
        return tensor.detach().as_strided(tensor.shape, row_major(tensor.shape), tensor.storage_offset())


def strides_of(tensor: Tensor) -> tuple[int, ...]:
    """Strides that can be compared: those of extents of one say nothing."""
    strides = tensor.stride()
    if 1 in tensor.shape:
        return tuple(0 if extent == 1 else stride for stride, extent in zip(strides, tensor.shape, strict=True))
    return strides
