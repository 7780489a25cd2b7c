# SPDX-License-Identifier: Apache-2.0
"""States are listed, read and written exactly; buffers can be exchanged."""

import array
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import layerwise as lw


def adam(weight: Any, **options: Any) -> lw.Optimizer:
    opt = lw.Optimizer(lw.Adam(lr=0.1))
    opt.add_layer("layer", weight, grads=np.linspace(-1, 1, weight.size, dtype=weight.dtype), **options)
    return opt


def test_states_are_listed() -> None:
    opt = adam(np.ones(5, np.float32))
    opt.step()
    assert opt.layer("layer").states() == {
        "weight": {
            "step": lw.StateInfo("step", "int64", 1),
            "exp_avg": lw.StateInfo("exp_avg", "float32", 5),
            "exp_avg_sq": lw.StateInfo("exp_avg_sq", "float32", 5),
        }
    }
    assert {state.dtype for state in adam(np.ones(5)).layer("layer").states()["weight"].values()} == {
        "int64",
        "float64",
    }
    master = adam(np.ones(5, ml_dtypes.bfloat16), master=True).layer("layer")
    assert master.states()["weight"]["master"] == lw.StateInfo("master", "float32", 5)
    assert list(master.read_state("weight", "master")) == [1.0] * 5  # type: ignore[call-overload]


def test_master_is_for_the_16_bit_tensors_of_a_layer() -> None:
    with lw.Optimizer(lw.SGD()) as opt:
        layer = opt.add_layer("a", {"w": np.ones(2, np.float16), "b": np.ones(2, np.float32)}, master=True)
        assert "master" in layer.states()["w"]
        assert "master" not in layer.states()["b"]


def test_reading() -> None:
    opt = adam(np.ones(5, np.float32))
    layer = opt.layer("layer")
    opt.step()
    opt.step()
    values = layer.read_state("weight", "exp_avg")
    assert isinstance(values, array.array)
    assert values.typecode == "f"
    assert layer.read_state("weight", "step") == array.array("q", [2])
    expected = np.asarray(values)
    for out in (np.zeros(5, np.float32), (array.array("f", bytes(20))), bytearray(20), memoryview(bytearray(20))):
        assert layer.read_state(0, "exp_avg", out) is out
        assert np.array_equal(np.frombuffer(out, np.float32), expected)


def test_state_carries_over_exactly() -> None:
    first, second = np.ones(5, np.float32), np.ones(5, np.float32)
    source, target = adam(first), adam(second)
    for _ in range(3):
        source.step()
    for name in source.layer("layer").states()["weight"]:
        target.layer("layer").write_state("weight", name, source.layer("layer").read_state("weight", name))
    second[:] = first
    source.step()
    target.step()
    assert first.tobytes() == second.tobytes()
    for name in ("step", "exp_avg", "exp_avg_sq"):
        assert source.layer("layer").read_state("weight", name) == target.layer("layer").read_state("weight", name)


def test_any_bits_are_kept() -> None:
    layer = adam(np.ones(3, np.float32)).layer("layer")
    bits = np.array([0x7FC12345, 0xFF800000, 0x00000001], np.uint32)
    layer.write_state("weight", "exp_avg", bits.tobytes())
    assert layer.read_state("weight", "exp_avg", bytearray(12)) == bits.tobytes()


def test_refused_buffers() -> None:
    layer = adam(np.ones(3, np.float32)).layer("layer")
    for buffer, exception in (
        (np.zeros(4, np.float32), lw.ShapeMismatch),
        (bytes(11), lw.ShapeMismatch),
        (np.zeros(3), lw.DTypeMismatch),
        (np.zeros(3, np.int64), lw.DTypeMismatch),
        (np.zeros(6, np.float32)[::2], lw.InvalidArgument),
        ([0.0] * 3, lw.DTypeMismatch),
    ):
        with pytest.raises(exception):
            layer.write_state("weight", "exp_avg", buffer)
        with pytest.raises(lw.LayerwiseError):
            layer.read_state("weight", "exp_avg", buffer)
    with pytest.raises(lw.InvalidArgument, match="read-only"):
        layer.read_state("weight", "exp_avg", bytes(12))
    with pytest.raises(lw.LayerwiseError):
        layer.write_state("weight", "step", np.array([-1]))
    with pytest.raises(lw.UnknownName, match="exp_avg_sq"):
        layer.read_state("weight", "momentum")
    assert layer.read_state("weight", "step") == array.array("q", [0])


def test_binding_keeps_the_state() -> None:
    old, new, twin = np.ones(4), np.ones(4), np.ones(4)
    opt, reference = adam(old), adam(twin)
    for optimizer in (opt, reference):
        optimizer.step()
    new[:] = old
    opt.layer("layer").bind(new, np.linspace(-1, 1, 4))
    frozen = old.copy()
    for optimizer in (opt, reference):
        optimizer.step()
    assert new.tobytes() == twin.tobytes()
    assert old.tobytes() == frozen.tobytes()


def test_binding_without_a_gradient_skips_the_tensor() -> None:
    opt, new = adam(np.ones(4)), np.ones(4)
    opt.layer("layer").bind(new)
    opt.set(empty_step="allow")
    opt.step()
    assert (new == 1).all()


def test_binding_some_tensors() -> None:
    tensors = {"w": np.ones(2), "b": np.ones(3)}
    with lw.Optimizer(lw.SGD(lr=1.0)) as opt:
        layer = opt.add_layer("a", tensors, grads={"w": np.ones(2), "b": np.ones(3)})
        new = np.full(3, 5.0)
        layer.bind({"b": new}, {"b": np.ones(3)})
        opt.step()
        assert (tensors["w"] == 0).all()
        assert (tensors["b"] == 1).all()
        assert (new == 4).all()


def test_a_refused_binding_changes_nothing() -> None:
    tensors = {"w": np.ones(2), "b": np.ones(3)}
    foreign = np.ones(3)
    with lw.Optimizer(lw.SGD(lr=1.0)) as opt:
        opt.add_layer("other", foreign)
        layer = opt.add_layer("a", tensors, grads={"w": np.ones(2), "b": np.ones(3)})
        for params, grads, exception in (
            ({"w": np.ones(2), "b": foreign}, None, lw.OverlappingBuffers),
            ({"w": np.ones(2), "b": np.ones(4)}, None, lw.ShapeMismatch),
            ({"w": np.ones(2), "b": np.ones(3, np.float32)}, None, lw.DTypeMismatch),
            ({"w": np.ones(2), "c": np.ones(3)}, None, lw.UnknownName),
            ({"w": np.ones(2)}, {"b": np.ones(3)}, lw.UnknownName),
            ({"w": np.ones(2)}, {"w": np.ones(3)}, lw.ShapeMismatch),
            (np.ones(2), None, lw.InvalidArgument),
        ):
            with pytest.raises(exception):
                layer.bind(params, grads)
        opt.step()
        assert (tensors["w"] == 0).all()
        assert (tensors["b"] == 0).all()
