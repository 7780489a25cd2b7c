# SPDX-License-Identifier: Apache-2.0
"""One forward pass of a model, watched: which parameters each operation reads, and where its inputs come from."""

from __future__ import annotations

import functools
import gc
import random
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import InvalidArgument
from ._warn import warn

Example: TypeAlias = Any
"""What a model is called with: a tuple or list of arguments, a mapping of keyword arguments, or the only argument."""


@dataclass(frozen=True)
class Trace:
    """The operations of a forward pass, in the order of execution; the first nodes are the tensors of the example.

    Operations that read no parameter and one result are not listed: what reads theirs reads that one.

    Attributes:
        inputs: How many tensors the example has.
        parents: For each node the nodes whose results it reads.
        reads: For each node the parameters that it reads, by index.
    """

    inputs: int
    parents: list[tuple[int, ...]] = field(default_factory=list)
    reads: list[tuple[int, ...]] = field(default_factory=list)

    def used(self) -> set[int]:
        """The parameters that an operation reads."""
        return {param for reads in self.reads for param in reads}


def watch(model: nn.Module, params: Sequence[Tensor], example: Example) -> Trace:
    """Run the model once on the example, without changing it.

    The pass runs in evaluation mode, where no layer is dropped at random.  Where that leaves a parameter out, such as
    one of an auxiliary head, it runs in training mode too, and the pass that uses more parameters counts.

    Args:
        model: The module.
        params: Its parameters.
        example: What it is called with.

    Returns:
        What was seen.

    Raises:
        InvalidArgument: The module is a scripted one.
        Exception: What the model raises for this example.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise InvalidArgument("example: a scripted module cannot be watched: give the module that it was made of")
    while isinstance(inner := _inside_of(model), nn.Module):
        model = inner
    trace = _watch_in_mode(model, params, example, training=False)
    if len(trace.used()) < len(params):
        try:
            other = _watch_in_mode(model, params, example, training=True)
        except Exception:
            return trace
        if len(other.used()) > len(trace.used()):
            return other
    return trace


def _inside_of(model: nn.Module) -> object:
    """The module that a wrapper runs, for those whose own forward does more than compute."""
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return model.module
    return model._modules.get("_orig_mod")


def _watch_in_mode(model: nn.Module, params: Sequence[Tensor], example: Example, *, training: bool) -> Trace:
    """Watch without computing, or else computing."""
    with _unchanged(model, params, training):
        try:
            return _run(model, params, example, compute=False)
        except Exception:
            if any(param.is_meta for param in params):
                raise
    try:
        with _unchanged(model, params, training):
            return _run(model, params, example, compute=True)
    except RuntimeError as error:
        # A forward pass may take derivatives itself.
        if "grad" not in str(error):
            raise
    with _unchanged(model, params, training), torch.enable_grad():
        return _run(model, params, example, compute=True)


def _run(model: nn.Module, params: Sequence[Tensor], example: Example, *, compute: bool) -> Trace:
    """One forward pass.

    Args:
        model: The module.
        params: Its parameters.
        example: What it is called with.
        compute: Whether all values are computed; if not, those that depend on no parameter, such as masks, and of the
            others only types and shapes.
    """
    alive: list[weakref.ref[Tensor]] = []
    example, inputs = _copied(example)
    watcher = _Watcher(params, inputs, None if compute else alive)
    with watcher:
        if isinstance(example, Mapping):
            model(**example)
        elif type(example) in (tuple, list):
            model(*example)
        else:
            model(example)
    trace = watcher.trace
    del example, inputs, watcher
    _release(alive)
    return trace


def _without_values(tensor: Tensor) -> Tensor:
    """A tensor of the same type and shape on the meta device, where operations compute these only."""
    if tensor.is_meta:
        return tensor
    if tensor.layout is not torch.strided:
        raise NotImplementedError(f"layout {tensor.layout}")
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _copied(example: Example) -> tuple[Example, list[Tensor]]:
    """The example with copies of its tensors, and these."""
    inputs: list[Tensor] = []

    def copy(value: Any) -> Any:
        if isinstance(value, Tensor):
            inputs.append(value.detach().clone())
            return inputs[-1]
        if isinstance(value, Mapping):
            # Such as Transformers' BatchEncoding: the model gets what is in it.
            return {key: copy(one) for key, one in value.items()}
        if type(value) in (list, tuple):
            return type(value)(copy(one) for one in value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(copy(one) for one in value))
        return value

    copied = copy(example)
    return copied, inputs


class _Watcher(TorchDispatchMode):
    """Notes for each operation what it reads and what it makes.

    A tensor is known by its storage, so that what is written through a view is seen by all who read the whole.
    """

    def __init__(
        self, params: Sequence[Tensor], inputs: Sequence[Tensor], alive: list[weakref.ref[Tensor]] | None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = Trace(len(inputs), [()] * len(inputs), [()] * len(inputs))
        self._alive = alive
        self._device = next((param.device for param in params if not param.is_meta), torch.device("cpu"))
        self._by_identity = {id(param): index for index, param in enumerate(params)}
        self._params: dict[object, list[tuple[int, int, int]]] = {}
        for index, param in enumerate(params):
            start = _offset(param)
            self._params.setdefault(_storage(param), []).append((start, start + param.numel(), index))
        self._made: dict[object, int] = {_storage(tensor): node for node, tensor in enumerate(inputs)}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        parents: set[int] = set()
        reads: set[int] = set()
        tensors = list(_tensors((args, kwargs)))
        for tensor in tensors:
            self._look(tensor, parents, reads)
        if self._alive is None or not (reads or any(tensor.is_meta for tensor in tensors)):
            if self._alive is not None and getattr(kwargs.get("device"), "type", None) == "meta":
                # Where a tensor without values is, says where others are made, which may have some.
                kwargs = {**kwargs, "device": self._device}
            result = func(*args, **kwargs)
        else:
            if func in _INDEXING:
                args = args[0], _positions(args[1]), *args[2:]
            result = func(*_map(args, _without_values), **_map(kwargs, _without_values))
        if not parents and not reads:
            return result
        node = self._node(tuple(sorted(parents)), tuple(sorted(reads)))
        for tensor in _tensors(result):
            self._note(tensor, node)
        if func._schema.is_mutable:
            for place, argument in enumerate(func._schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    value = args[place] if place < len(args) else kwargs.get(argument.name)
                    for tensor in _tensors(value):
                        self._note(tensor, node)
        return result

    def _look(self, tensor: Tensor, parents: set[int], reads: set[int]) -> None:
        index = self._by_identity.get(id(tensor))
        if index is not None:
            reads.add(index)
            return
        storage = _storage(tensor)
        spans = self._params.get(storage)
        if spans is None:
            node = self._made.get(storage)
            if node is not None:
                parents.add(node)
        elif len(spans) == 1:
            reads.add(spans[0][2])
        else:
            # Several parameters are parts of one memory.
            start = _offset(tensor)
            reads.update(index for first, end, index in spans if first <= start < end)

    def _node(self, parents: tuple[int, ...], reads: tuple[int, ...]) -> int:
        if not reads and len(parents) == 1:
            return parents[0]
        self.trace.parents.append(parents)
        self.trace.reads.append(reads)
        return len(self.trace.parents) - 1

    def _note(self, tensor: Tensor, node: int) -> None:
        storage = _storage(tensor)
        if storage not in self._params:
            self._made[storage] = node
        if self._alive is not None and tensor.is_meta:
            self._alive.append(weakref.ref(tensor))


def _storage(tensor: Tensor) -> object:
    """What tells memory apart; a weak reference, whose address is not given to another storage while it is kept."""
    try:
        return StorageWeakRef(tensor.untyped_storage())
    except (NotImplementedError, RuntimeError):
        # Sparse tensors have several, or none.
        return weakref.ref(tensor)


def _offset(tensor: Tensor) -> int:
    try:
        return int(tensor.storage_offset())
    except (NotImplementedError, RuntimeError):
        return 0


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)


_INDEXING = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)


def _positions(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Indices with the positions that masks mark, where these have values: their number says the shape of a result."""
    found: list[Tensor | None] = []
    for index in indices:
        is_mask = index is not None and not index.is_meta and index.dtype in (torch.bool, torch.uint8)
        found += index.nonzero(as_tuple=True) if index is not None and is_mask else [index]
    return found


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)(_map(one, change) for one in value)
    if isinstance(value, dict):
        return {key: _map(one, change) for key, one in value.items()}
    return value


# ---- Everything as it was


@contextmanager
def _unchanged(model: nn.Module, params: Sequence[Tensor], training: bool) -> Iterator[None]:
    """Set the mode of all modules, and put back afterwards what a forward pass may change."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    with kept(model, params), torch.no_grad():
        torch.backends.mha.set_fastpath_enabled(False)
        for module in model.modules():
            module.training = training
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fastpath)


@contextmanager
def kept(model: nn.Module, params: Sequence[Tensor]) -> Iterator[Callable[[], None]]:
    """Put back afterwards what passes of a model may change: attributes, buffers, gradients, random generators.

    Gradients are None inside.  What it yields puts all back before the end, and can be called any number of times.
    """
    attributes = [(module, _snapshot(module)) for module in model.modules()]
    values = [(tensor, tensor._version, tensor.detach().clone()) for tensor in model.buffers() if not tensor.is_meta]
    gradients = [(param, param.grad) for param in params]
    python, numpy = random.getstate(), _numpy_random()
    devices = sorted({param.device.index for param in params if param.is_cuda and param.device.index is not None})

    def put_back() -> None:
        for module, snapshot in attributes:
            _restore(module, snapshot)
        for tensor, version, value in values:
            # A batch norm writes its buffers without a change of version.
            if tensor._version != version or not torch.equal(tensor, value):
                with torch.no_grad():
                    tensor.copy_(value)
        random.setstate(python)
        if numpy is not None:
            numpy[0].set_state(numpy[1])

    with torch.random.fork_rng(devices):
        for param, _ in gradients:
            param.grad = None
        try:
            yield put_back
        finally:
            put_back()
            for param, gradient in gradients:
                param.grad = gradient


_Snapshot: TypeAlias = tuple[dict[str, Any], dict[str, dict[str, Any]]]


def _snapshot(module: nn.Module) -> _Snapshot:
    """A module's attributes, and what the tables of its parameters, buffers and modules hold."""
    own = dict(module.__dict__)
    tables = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
    return own, {key: own[key].copy() for key in tables if key in own}


def _restore(module: nn.Module, snapshot: _Snapshot) -> None:
    own, tables = snapshot
    here = module.__dict__
    for key in here.keys() - own.keys():
        del here[key]
    for key, value in own.items():
        if here.get(key, here) is not value:
            here[key] = value
    for key, table in tables.items():
        if own[key] != table if key == "_non_persistent_buffers_set" else not _same(own[key], table):
            own[key].clear()
            own[key].update(table)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(one[key] is other[key] for key in one)


def _numpy_random() -> tuple[Any, Any] | None:
    """The generator of numpy and its state, where numpy was imported."""
    numpy = sys.modules.get("numpy")
    generator = getattr(numpy, "random", None)
    return None if generator is None else (generator, generator.get_state())


def _release(alive: Sequence[weakref.ref[Tensor]]) -> None:
    """See to it that no tensor without data is left where a later pass would find it, as in a cache of a function."""
    if not any(one() is not None for one in alive):
        return
    gc.collect()
    if not any(one() is not None for one in alive):
        return
    for cached in gc.get_objects():
        if isinstance(cached, functools._lru_cache_wrapper) and _holds_meta(cached, 3):
            cached.cache_clear()
    gc.collect()
    if any(one() is not None for one in alive):
        warn(
            "the model keeps tensors of the forward pass that was watched, in which nothing was computed, outside of "
            "its modules: if a later pass fails on a meta tensor, clear the cache that holds them"
        )


def _holds_meta(value: object, levels: int) -> bool:
    return any(
        (isinstance(one, Tensor) and one.is_meta)
        or (levels > 0 and isinstance(one, list | tuple | dict) and _holds_meta(one, levels - 1))
        for one in gc.get_referents(value)
    )
