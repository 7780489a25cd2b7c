# SPDX-License-Identifier: Apache-2.0
"""States and the work of steps in the caller's memory: the same bits, nothing outside, refusals that change nothing."""

import ctypes
import mmap
import pickle
from typing import Any, ClassVar

import numpy as np
import pytest
from support import recipes
from support.rules import TABLE
from support.rules import rule as rule_of

import layerwise as lw
from layerwise import _binding as binding

RULES = [
    *(rule_of(name, options) for name, row in TABLE.items() for options in (row.options, *row.parity.values())),
    lw.Muon(lr=0.1, axes="last"),
    lw.AdamW(lr=0.1, cautious="update"),
    lw.AdamW(lr=0.1, cautious="decay", corrected_weight_decay=True),
]

OPTIONS: list[dict[str, Any]] = [
    {},
    {
        "clip_global_norm": 0.5,
        "clip_layer_norm": 0.4,
        "clip_value": 0.3,
        "clip_unit_ratio": 0.1,
        "centralize_gradients": True,
        "gradient_noise": 0.1,
        "telemetry": True,
    },
]

GUARD = 4096
"""Bytes before and behind the memory."""


class Model:
    """Matrices and vectors; one tensor has no elements, and one is larger than a block."""

    SHAPES: ClassVar = {"a": [(7, 5), (5,)], "b": [(130, 140), (0, 3)], "c": [(3, 4), (4,)]}

    def __init__(self, rule: lw.Rule, dtype: Any = np.float32, **options: Any) -> None:
        random = np.random.default_rng(1)
        self.opt = lw.Optimizer(rule, **options)
        self.weights: list[np.ndarray[Any, Any]] = []
        self.grads: list[np.ndarray[Any, Any]] = []
        for name, shapes in self.SHAPES.items():
            tensors = {str(index): random.standard_normal(shape).astype(dtype) for index, shape in enumerate(shapes)}
            grads = {key: random.standard_normal(value.shape).astype(dtype) for key, value in tensors.items()}
            self.opt.add_layer(name, tensors, grads, master=dtype is np.float16)
            self.weights += tensors.values()
            self.grads += grads.values()

    def run(self, steps: int = 4) -> bytes:
        """Steps, and all that a checkpoint has after them."""
        for step in range(steps):
            for grad in self.grads:
                grad *= -0.75 if step % 2 else 0.875
            self.opt.step()
        return self.opt.to_bytes(parameters=True)


class Memory:
    """Memory of exactly `size` bytes, `offset` bytes behind a multiple of 64, between guards."""

    def __init__(self, size: int, offset: int = 1) -> None:
        self.whole = np.full(size + 2 * GUARD + 128, 0xA5, np.uint8)
        start = GUARD + -(self.whole.ctypes.data + GUARD) % 64 + offset
        self.used = self.whole[start : start + size]
        self.guards = self.whole[:start], self.whole[start + size :]

    def check(self) -> None:
        """Nothing outside was written."""
        assert all((guard == 0xA5).all() for guard in self.guards)


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "all options"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_same_bits_in_the_callers_memory(rule: lw.Rule, options: dict[str, Any]) -> None:
    for dtype in (np.float32, np.float64, np.float16):
        plain, given = Model(rule, dtype, **options), Model(rule, dtype, memory="caller", **options)
        memory = Memory(given.opt.memory_size)
        given.opt.set_memory(memory.used)
        assert given.run() == plain.run()
        memory.check()
        assert given.opt.explain() == plain.opt.explain()


@pytest.mark.parametrize("policy", recipes.POLICIES, ids=recipes.name_of)
def test_what_policies_watch_lies_there_too(policy: lw.Policy) -> None:
    saved = []
    for memory in ("library", "caller"):
        opt = recipes.optimizer(lw.AdamW(lr=0.1), policy=policy, memory=memory)
        if memory == "caller":
            room = Memory(opt.memory_size)
            opt.set_memory(room.used)
        for _ in range(6):
            opt.step()
        if memory == "caller":
            room.check()
        saved.append(opt.to_bytes(parameters=True))
    assert saved[0] == saved[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(
    "options",
    [{"average": lw.EMA(0.9)}, {"average": lw.PolynomialAverage(start=2)}, {"lookahead": lw.Lookahead(2)}],
    ids=str,
)
def test_what_follows_the_weights_lies_there_too(dtype: Any, options: dict[str, Any]) -> None:
    plain, given = Model(lw.AdamW(lr=0.1), dtype, **options), Model(lw.AdamW(lr=0.1), dtype, memory="caller", **options)
    memory = Memory(given.opt.memory_size)
    given.opt.set_memory(memory.used)
    assert given.run() == plain.run()
    for model in (plain, given):
        model.opt.eval()
    assert given.opt.to_bytes(parameters=True) == plain.opt.to_bytes(parameters=True)
    memory.check()
    other = Memory(given.opt.memory_size, offset=5)
    given.opt.set_memory(other.used)
    for model in (plain, given):
        model.opt.train()
    assert given.run() == plain.run()
    other.check()


def test_an_average_that_does_not_fit_is_refused_with_all_else() -> None:
    model = Model(lw.SGD(lr=0.1), memory="caller")
    memory = Memory(2 * model.opt.memory_size)
    model.opt.set_memory(memory.used)
    before = model.run(2)
    with pytest.raises(lw.BufferTooSmall, match="no memory for new states"):
        model.opt.set(momentum=0.9, average=lw.EMA(0.9), lookahead=lw.Lookahead(3))
    assert model.opt.to_bytes(parameters=True) == before


def test_states_lie_in_the_memory() -> None:
    model = Model(lw.AdamW(lr=0.1), memory="caller")
    memory = Memory(model.opt.memory_size)
    model.opt.set_memory(memory.used)
    first = memory.used.ctypes.data
    for layer in "abc":
        for name in ("exp_avg", "exp_avg_sq"):
            address = ctypes.c_void_p()
            index = model.opt.layer(layer).index
            binding.call(
                binding.lw_tensor_get_state_address, model.opt._handle, index, 0, name.encode(), ctypes.byref(address)
            )
            assert first <= address.value < first + memory.used.size and address.value % 64 == 0


@pytest.mark.parametrize("rule", [lw.AdamW(lr=0.1), lw.LAMB(lr=0.1), lw.Muon(lr=0.1), lw.Adafactor(lr=0.1)], ids=str)
def test_memory_that_is_too_small_is_refused(rule: lw.Rule) -> None:
    model = Model(rule, memory="caller")
    size = model.opt.memory_size
    memory = Memory(size)
    for less in (0, 1, size - 1):
        with pytest.raises(lw.BufferTooSmall, match=f"needs {size} bytes of memory, the buffer has {less}"):
            model.opt.set_memory(memory.used[:less])
    assert model.opt.memory_size == size
    with pytest.raises(lw.InvalidArgument, match="has no memory yet"):
        model.opt.step()
    model.opt.set_memory(memory.used)
    assert model.run() == Model(rule).run()


def test_nothing_works_before_the_memory_is_given() -> None:
    model = Model(lw.AdamW(lr=0.1), memory="caller")
    other = Model(lw.AdamW(lr=0.1)).opt.to_bytes()
    for call in (
        model.opt.step,
        model.opt.to_bytes,
        model.opt.snapshot,
        lambda: model.opt.load_bytes(other),
        lambda: model.opt.layer("a").read_state("0", "exp_avg"),
        lambda: pickle.dumps(model.opt),
    ):
        with pytest.raises(lw.InvalidArgument, match="has no memory yet"):
            call()
    assert "adamw" in model.opt.explain().lower()


def test_layers_come_before_the_memory() -> None:
    opt = lw.Optimizer(lw.AdamW(lr=0.1), memory="caller")
    with pytest.raises(lw.InvalidArgument, match="layers must be added before"):
        opt.set_memory(bytearray(1 << 20))
    opt.add_layer("a", np.ones(3), np.ones(3))
    opt.set_memory(bytearray(opt.memory_size))
    with pytest.raises(lw.InvalidArgument, match="layers must be added before"):
        opt.add_layer("b", np.ones(3), np.ones(3))
    assert len(opt.layers) == 1


def test_the_setting_says_whose_memory_it_is() -> None:
    opt = lw.Optimizer(lw.AdamW(lr=0.1))
    for refused in (lambda: opt.memory_size, lambda: opt.set_memory(bytearray(9999))):
        with pytest.raises(lw.InvalidArgument, match="set memory = caller before the first layer"):
            refused()
    opt.add_layer("a", np.ones(3), np.ones(3))
    with pytest.raises(lw.InvalidArgument, match="memory cannot be changed once there are layers"):
        opt.set(memory="caller")
    for options in ({"threads": 2}, {"dry_run": True}):
        with pytest.raises(lw.OutOfRange, match="memory = caller"):
            lw.Optimizer(lw.AdamW(lr=0.1), memory="caller", **options)


def test_memory_must_not_share_bytes() -> None:
    whole = np.zeros(1 << 16, np.uint8)
    floats = whole.view(np.float32)
    opt = lw.Optimizer(lw.AdamW(lr=0.1), memory="caller")
    opt.add_layer("a", floats[:100], floats[200:300])
    for shared in (whole, whole[396:], whole[1000:]):
        with pytest.raises(
            lw.OverlappingBuffers, match=r'the memory shares bytes with the (parameters|gradients) of layer "a"'
        ):
            opt.set_memory(shared)
    memory = whole[4096:]
    opt.set_memory(memory)
    with pytest.raises(lw.OverlappingBuffers, match="with the memory that the optimizer was given"):
        opt.set_memory(memory[64:])
    with pytest.raises(lw.OverlappingBuffers, match="with the memory that the optimizer was given"):
        opt.step({"a": floats[2000:2100]})
    opt.step()


def test_a_change_that_needs_more_takes_the_rest_or_is_refused() -> None:
    exact, roomy, plain = (Model(lw.SGD(lr=0.1), **options) for options in ({"memory": "caller"},) * 2 + ({},))
    size = exact.opt.memory_size
    exact.opt.set_memory(Memory(size).used)
    before = exact.run(2)
    with pytest.raises(lw.BufferTooSmall, match=r"needs \d+ bytes, and was given \d+") as caught:
        exact.opt.set(momentum=0.9)
    needed = int(str(caught.value).split("needs ")[1].split()[0])
    assert needed > size and exact.opt.get("momentum") == 0 and exact.opt.to_bytes(parameters=True) == before
    # Other memory takes over what is kept; then there is room.
    exact.opt.set_memory(Memory(needed).used)
    assert exact.opt.to_bytes(parameters=True) == before
    memory = Memory(needed, offset=63)
    roomy.opt.set_memory(memory.used)
    for model in (roomy, plain):
        assert model.run(2) == before
    for model in (exact, roomy, plain):
        model.opt.set(momentum=0.9)
    assert exact.run() == roomy.run() == plain.run()
    memory.check()


def test_a_step_that_needs_more_is_refused() -> None:
    model = Model(lw.SGD(lr=0.1), memory="caller")
    model.opt.set_memory(Memory(model.opt.memory_size).used)
    before = model.run(2)
    model.opt.set(clip_unit_ratio=0.5)
    for call in (model.opt.step, model.opt.prepare):
        with pytest.raises(lw.BufferTooSmall, match="no memory for the step: the optimizer needs"):
            call()
    model.opt.set(clip_unit_ratio=np.inf)
    assert model.opt.to_bytes(parameters=True) == before
    plain = Model(lw.SGD(lr=0.1))
    plain.run(2)
    assert model.run() == plain.run()


def test_other_memory_takes_over_what_is_kept() -> None:
    moved, stayed = (Model(lw.AdamW(lr=0.1, amsgrad=True), memory="caller") for _ in range(2))
    stayed.opt.set_memory(bytearray(stayed.opt.memory_size))
    for offset in (0, 17, 63):
        memory = Memory(moved.opt.memory_size, offset)
        moved.opt.set_memory(memory.used)
        assert moved.run(2) == stayed.run(2)
        memory.check()


def test_a_checkpoint_goes_from_one_memory_to_another() -> None:
    first, second = (Model(lw.LAMB(lr=0.1), memory="caller") for _ in range(2))
    for model in (first, second):
        model.opt.set_memory(mmap.mmap(-1, model.opt.memory_size))
    saved = first.run()
    second.opt.load_bytes(saved)
    for grad, other in zip(first.grads, second.grads, strict=True):
        other[...] = grad
    assert second.run() == first.run()


def test_states_of_a_layer_that_rests_are_cleared_in_place() -> None:
    """What a plan clears is set to 0, and no page of the caller's is given back."""
    saved = []
    for memory in ("library", "caller"):
        opt = recipes.optimizer(
            lw.AdamW(lr=0.1), freezing=lw.BAdam(2, states="clear"), memory=memory, empty_step="allow"
        )
        if memory == "caller":
            opt.set_memory(mmap.mmap(-1, opt.memory_size))
        for _ in range(30):
            opt.step()
        saved.append(opt.to_bytes(parameters=True))
    assert saved[0] == saved[1]


def test_snapshots_and_copies() -> None:
    model = Model(lw.AdamW(lr=0.1), memory="caller")
    model.opt.set_memory(Memory(model.opt.memory_size).used)
    model.run(2)
    taken = model.opt.snapshot()
    before = model.opt.to_bytes(parameters=True)
    model.run(2)
    model.opt.restore(taken)
    assert model.opt.to_bytes(parameters=True) == before
    assert model.opt.get("memory") == "caller"


def test_prepare_changes_no_result() -> None:
    prepared, plain = Model(lw.LAMB(lr=0.1)), Model(lw.LAMB(lr=0.1))
    prepared.opt.prepare()
    assert prepared.run() == plain.run()
    prepared.opt.set(lr=0.5)
    plain.opt.set(lr=0.5)
    prepared.opt.prepare()
    assert prepared.run() == plain.run()
    with pytest.raises(lw.UnknownName):
        lw.Optimizer(lw.AdamW(), policy=lw.Explicit({"none": 1.0})).prepare()
