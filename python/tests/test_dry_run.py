# SPDX-License-Identifier: Apache-2.0
"""An optimizer without memory: everything can be seen, nothing can be stepped."""

import array
import ctypes
import resource
import sys
import weakref
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from support.recipes import LAYERS, PLANS, POLICIES, SCHEDULES, name_of, optimizer

import layerwise as lw


def dry(**options: Any) -> lw.Optimizer:
    """As `optimizer`, of shapes alone."""
    opt = lw.Optimizer(lw.SGD(lr=0.1), dry_run=True, **options)
    for name in LAYERS:
        opt.add_layer(name, {"weight": (3, 4), "bias": (4,)}, role="norm" if name == "norm" else "depth")
    return opt


@pytest.mark.parametrize("recipe", [*POLICIES, *SCHEDULES, *PLANS], ids=name_of)
def test_everything_is_told_as_with_memory(recipe: Any) -> None:
    kinds = {"policy": lw.Policy, "schedule": lw.Schedule, "freezing": lw.FreezePlan}
    options = {key: recipe for key, kind in kinds.items() if isinstance(recipe, kind)}
    with dry(**options) as without, optimizer(**options) as opt:
        assert bytes(without.preview(30)) == bytes(opt.preview(30))
        assert without.explain_rows() == [row | {"state_bytes": 0} for row in opt.explain_rows()]
        assert without.explain().splitlines()[0] == opt.explain().splitlines()[0]


def test_nothing_is_allocated() -> None:
    with lw.Optimizer(lw.AdamW(), dry_run=True, schedule=lw.Linear(10)) as opt:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        layer = opt.add_layer("everything", {"weight": (10**6, 10**9), "bias": (10**15,)})
        assert layer.info.parameter_count == 2 * 10**15
        assert layer.info.state_bytes == 0
        assert opt.preview(2).tolist() == [[0.001, 0.001 * 0.9]]
        assert "everything" in opt.explain()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**15  # In KiB.


def test_what_stands_for_a_buffer() -> None:
    shapes: dict[str, Any] = {
        "tuple": (2, 3),
        "scalar": (),
        "empty": (0, 5),
        "numpy": np.ones((4, 5), np.float16),
        "bfloat16": np.ones(3, ml_dtypes.bfloat16),
        "shape and type": SimpleNamespace(shape=(7, 2), dtype="float64"),
        "array": array.array("d", [1.0, 2.0]),
        "ctypes": (ctypes.c_float * 6)(),
        "memoryview": memoryview(array.array("f", [1.0])),
    }
    with lw.Optimizer(lw.SGD(), dry_run=True) as opt:
        layer = opt.add_layer("a", shapes, master=True)
        assert layer.info.parameter_count == 6 + 1 + 0 + 20 + 3 + 14 + 2 + 6 + 1
        assert layer.info.tensor_count == len(shapes)
        assert opt.add_layer("single", (5, 6)).info.parameter_count == 30
        assert opt.add_layer("gradient", {"w": (5, 6)}, {"w": (5, 6)}).info.parameter_count == 30


def test_torch_tensors_without_memory() -> None:
    with lw.Optimizer(lw.SGD(), dry_run=True) as opt:
        tensor = torch.empty(10**5, 10**6, device="meta", dtype=torch.bfloat16)
        assert opt.add_layer("a", tensor).info.parameter_count == 10**11
        assert opt.add_layer("b", tensor.shape).info.parameter_count == 10**11


def test_buffers_are_not_held() -> None:
    class Held(np.ndarray[Any, Any]):
        pass

    weight = np.ones(3).view(Held)
    reference = weakref.ref(weight)
    with lw.Optimizer(lw.SGD(), dry_run=True) as opt:
        opt.add_layer("a", weight, weight)
        assert sys.getrefcount(weight) == 2
        del weight
        assert reference() is None
        assert opt.layer("a").info.parameter_count == 3


def test_nothing_can_be_stepped() -> None:
    with dry(schedule=lw.Linear(4)) as opt:
        for step in (opt.step, lambda: opt.step(layer="head"), lambda: opt.step({})):
            with pytest.raises(lw.InvalidArgument, match="dry_run"):
                step()
        assert opt.next_step == 0
        opt.seek(3)
        assert opt.layer("head").effective_lr == 0.1 * 0.25
        opt.layer("head").freeze()
        opt.layer("head").reset()
        opt.layer("embed").set(scale=2.0)
        assert [row["effective_lr"] for row in opt.explain_rows()] == [0.05, 0.025, 0.025, 0.025, 0.0]
        assert list(opt.layer("head").states()["bias"]) == ["step"]


def test_only_without_layers() -> None:
    with optimizer() as opt, pytest.raises(lw.InvalidArgument, match="dry_run cannot be changed"):
        opt.set(dry_run=True)
    with dry() as opt, pytest.raises(lw.InvalidArgument, match="dry_run cannot be changed"):
        opt.set(dry_run=False)
    with lw.Optimizer(lw.SGD()) as opt:
        opt.set(dry_run=True)
        opt.add_layer("a", (3,))
        assert opt.get("dry_run") == 1.0


def test_refused() -> None:
    bad: list[tuple[Any, type[Exception], str]] = [
        ((-1,), lw.ShapeMismatch, "extents"),
        ((2**63,), lw.ShapeMismatch, "extents"),
        ((2**62, 4), lw.ShapeMismatch, "too many elements"),
        ((1,) * 17, lw.ShapeMismatch, "rank must be from 0 to 16"),
        ((1.5,), TypeError, "integer"),
        (("3",), TypeError, "integer"),
        (SimpleNamespace(shape=(3,), dtype="int32"), lw.DTypeMismatch, "float64, float32, float16 or bfloat16"),
        ([3, 4], lw.DTypeMismatch, "must be a buffer"),
        (None, lw.DTypeMismatch, "must be a buffer"),
        (5, lw.DTypeMismatch, "must be a buffer"),
    ]
    with lw.Optimizer(lw.SGD(), dry_run=True) as opt:
        for shape, exception, match in bad:
            with pytest.raises(exception, match=match):
                opt.add_layer("a", {"w": shape})
        with pytest.raises(lw.ShapeMismatch, match="registered parameters"):
            opt.add_layer("a", {"w": (3,)}, {"w": (4,)})
        assert not opt.layers


def test_a_shape_is_no_buffer_otherwise() -> None:
    with lw.Optimizer(lw.SGD()) as opt:
        with pytest.raises(
            lw.DTypeMismatch, match="must be a buffer, such as a NumPy array or torch tensor, found tuple"
        ):
            opt.add_layer("a", {"w": (3, 4)})
        assert not opt.layers
