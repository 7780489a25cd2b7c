# SPDX-License-Identifier: Apache-2.0
"""A step: bound and given gradients, one layer, skipping, freezing, reports."""

import math
import pickle
from typing import Any

import numpy as np
import pytest

import layerwise as lw


def optimizer(*names: str, **options: Any) -> tuple[lw.Optimizer, dict[str, np.ndarray[Any, Any]]]:
    """Plain SGD of rate 1 over layers of ones, each with a bound gradient of ones."""
    opt = lw.Optimizer(lw.SGD(lr=1.0), **options)
    weights = {name: np.ones(3) for name in names}
    for name in names:
        opt.add_layer(name, weights[name], grads=np.ones(3))
    return opt, weights


def values(weights: dict[str, np.ndarray[Any, Any]]) -> list[float]:
    assert all((weight == weight[0]).all() for weight in weights.values())
    return [float(weight[0]) for weight in weights.values()]


def test_bound_gradients() -> None:
    opt, weights = optimizer("a", "b")
    opt.step()
    opt.step()
    assert values(weights) == [-1.0, -1.0]
    assert opt.summary().steps == 2


def test_given_gradients_replace_the_bound_ones() -> None:
    opt, weights = optimizer("a", "b", "c")
    opt.step({"c": np.full(3, 4.0), "a": {"weight": np.full(3, 2.0)}, "b": None})
    assert values(weights) == [-1.0, 1.0, -3.0]
    assert [opt.layer(name).info.steps for name in weights] == [1, 0, 1]
    opt.set(empty_step="allow")
    opt.step({"a": {"weight": None}})
    opt.step({"a": {}})
    assert values(weights) == [-1.0, 1.0, -3.0]


def test_gradients_by_name_index_or_layer() -> None:
    opt, weights = optimizer("a", "b", "c")
    opt.step({opt.layer("a"): np.full(3, 2.0), 1: {"weight": np.full(3, 3.0)}, "c": np.full(3, 4.0)})
    assert values(weights) == [-1.0, -2.0, -3.0]
    opt.step({2: np.ones(3)}, layer="c")
    assert values(weights) == [-1.0, -2.0, -4.0]
    assert [opt.layer(name).info.steps for name in weights] == [1, 1, 2]
    other, _ = optimizer("a")
    wrong: list[tuple[Any, type[Exception], str]] = [
        ({opt.layer("a"): np.ones(3), "a": np.ones(3)}, lw.DuplicateName, 'layer "a": its gradients are given twice'),
        ({0: np.ones(3), "a": None}, lw.DuplicateName, 'layer "a"'),
        ({3: np.ones(3)}, lw.NotFound, "no layer has index 3"),
        ({-1: np.ones(3)}, lw.NotFound, "no layer has index -1"),
        ({other.layer("a"): np.ones(3)}, lw.InvalidArgument, "another optimizer"),
        ({1.0: np.ones(3)}, TypeError, "by name or index"),
        ({None: np.ones(3)}, TypeError, "by name or index"),
        ({("a", "weight"): np.ones(3)}, TypeError, "by name or index"),
        ({"a": {0: np.ones(3)}}, lw.UnknownName, "no tensor 0"),
    ]
    for gradients, kind, message in wrong:
        with pytest.raises(kind, match=message):
            opt.step(gradients)
    assert values(weights) == [-1.0, -2.0, -4.0]
    assert opt.summary().steps == 2


class TestWithoutGradients:
    """A step in which no layer that trains has a gradient is most likely a mistake: see `empty_step`."""

    def make(self, **options: Any) -> lw.Optimizer:
        opt = lw.Optimizer(lw.SGD(lr=1.0), schedule=lw.Linear(10), **options)
        for name in ("a", "b"):
            opt.add_layer(name, np.ones(3))
        return opt

    @pytest.mark.parametrize("arguments", [{}, {"grads": {}}, {"grads": {"a": None}}, {"layer": "a"}])
    def test_it_is_refused_and_the_clock_stands(self, arguments: dict[str, Any]) -> None:
        opt = self.make()
        for _ in range(5):
            with pytest.raises(lw.InvalidArgument, match="gradient; with the setting empty_step = allow") as caught:
                opt.step(**arguments)
        assert ('layer "a"' in str(caught.value)) == ("layer" in arguments)
        assert (opt.next_step, opt.summary().steps, opt.layer("a").effective_lr) == (0, 0, 1.0)

    def test_it_is_taken_where_that_is_allowed(self) -> None:
        opt = self.make(empty_step="allow")
        for _ in range(5):
            opt.step()
        assert (opt.next_step, opt.layer("a").info.steps, opt.layer("a").effective_lr) == (5, 0, 0.5)
        opt.set(empty_step="raise")
        assert opt.get("empty_step") == "raise"
        with pytest.raises(lw.InvalidArgument):
            opt.step()

    def test_one_gradient_is_enough(self) -> None:
        opt = self.make()
        opt.step({"b": np.ones(3)})
        assert opt.next_step == 1

    def test_frozen_layers_do_not_train(self) -> None:
        opt = self.make()
        opt.layer("a").freeze()
        with pytest.raises(lw.InvalidArgument, match="no layer that trains"):
            opt.step({"a": np.ones(3)})
        # Nothing is missing where nothing is to be trained, and a plan must go on to thaw something.
        opt.layer("b").freeze()
        opt.step()
        assert opt.next_step == 1

    def test_a_plan_that_freezes_everything_goes_on(self) -> None:
        opt, weight = self.make(freezing=lw.FreezeAt({"a": 2, "b": 2})), np.ones(3)
        opt.layer("a").bind(weight)
        for _ in range(2):
            opt.step()
        assert opt.next_step == 2
        with pytest.raises(lw.InvalidArgument):
            opt.step()
        opt.step({"a": np.ones(3)})
        assert (weight == 1 - 0.8).all()

    def test_tensors_without_elements_need_no_gradient(self) -> None:
        opt = lw.Optimizer(lw.SGD())
        opt.add_layer("empty", np.ones(0))
        opt.step()
        lw.Optimizer(lw.SGD()).step()

    def test_it_belongs_to_no_checkpoint(self) -> None:
        saved = self.make(empty_step="allow").to_bytes()
        opt = self.make()
        opt.load_bytes(saved)
        assert opt.get("empty_step") == "raise"
        assert pickle.loads(pickle.dumps(self.make(empty_step="allow"))).get("empty_step") == "allow"


def test_one_layer() -> None:
    opt, weights = optimizer("a", "b", "c")
    opt.step(layer="b")
    opt.step(layer=1)
    opt.step(layer=opt.layer("b"))
    assert values(weights) == [1.0, -2.0, 1.0]
    opt.step({"b": np.full(3, -3.0), "c": np.ones(3)}, layer="b")
    assert values(weights) == [1.0, 1.0, 1.0]
    other, _ = optimizer("a", "b")
    with pytest.raises(lw.InvalidArgument, match="another optimizer"):
        opt.step(layer=other.layer("b"))


def test_gradient_scale() -> None:
    opt, weights = optimizer("a")
    opt.step(gradient_scale=4.0)
    assert values(weights) == [0.75]
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(lw.LayerwiseError):
            opt.step(gradient_scale=scale)
    with pytest.raises(TypeError):
        opt.step(gradient_scale="2")  # type: ignore[arg-type]
    assert values(weights) == [0.75]


def test_refused_gradients_step_nothing() -> None:
    opt, weights = optimizer("a", "b")
    for grads, exception in (
        ({"zebra": np.ones(3)}, lw.UnknownName),
        ({"a": np.ones(3), "b": np.ones(4)}, lw.ShapeMismatch),
        ([np.ones(3), np.ones(3)], TypeError),
        (np.ones(3), TypeError),
    ):
        with pytest.raises(exception):
            opt.step(grads)  # type: ignore[arg-type]
    assert values(weights) == [1.0, 1.0]
    assert opt.summary().steps == 0
    opt.step()
    assert values(weights) == [0.0, 0.0]


def test_nonfinite() -> None:
    bad = {"a": np.ones(3), "b": np.array([1.0, math.nan, 1.0])}
    opt, weights = optimizer("a", "b")
    with pytest.raises(lw.NonFiniteGradient):
        opt.step(bad)
    assert values(weights) == [1.0, 1.0]
    opt, weights = optimizer("a", "b", nonfinite="skip")
    opt.step(bad)
    assert values(weights) == [1.0, 1.0]
    assert (opt.summary().steps, opt.summary().skipped_steps) == (0, 1)
    opt, weights = optimizer("a", "b", nonfinite="propagate")
    opt.step(bad)
    assert (weights["a"] == 0.0).all()
    assert np.isnan(weights["b"]).tolist() == [False, True, False]


def test_freezing() -> None:
    opt, weights = optimizer("a", "b")
    opt.layer("a").freeze()
    assert opt.layer("a").frozen is True
    opt.step()
    assert values(weights) == [1.0, 0.0]
    assert (opt.layer("a").info.steps, opt.layer("b").info.steps) == (0, 1)
    opt.layer("a").unfreeze()
    assert opt.layer("a").frozen is False
    opt.step()
    assert values(weights) == [0.0, -1.0]


def test_maximize_and_clipping() -> None:
    opt, weights = optimizer("a", maximize=True)
    opt.step()
    assert values(weights) == [2.0]
    opt, weights = optimizer("a", clip_value=0.5)
    opt.step()
    assert values(weights) == [0.5]
    opt, weights = optimizer("a", "b", clip_global_norm=math.sqrt(6) / 2)
    opt.step()
    assert values(weights) == pytest.approx([0.5, 0.5], rel=1e-5)
    assert opt.summary().clip_factor == pytest.approx(0.5, rel=1e-5)
    assert opt.summary().gradient_norm == pytest.approx(math.sqrt(6))


def test_a_scale_for_every_layer() -> None:
    opt, weights = optimizer("a", "b", "c", policy=lw.LayerDecay(0.5))
    opt.step()
    assert values(weights) == [0.75, 0.5, 0.0]
    opt.policy = lw.Uniform()
    opt.lr = 2.0
    opt.layer("c").set(scale=0.0)
    opt.step()
    assert values(weights) == [-1.25, -1.5, 0.0]


def test_telemetry() -> None:
    opt, _ = optimizer("a", "b", telemetry=True)
    opt.layer("b").set(scale=0.5)
    opt.step()
    rows = opt.telemetry()
    assert list(rows) == ["a", "b"]
    assert rows["b"] == opt.layer("b").telemetry
    row = rows["b"]
    assert row.gradient_norm == row.weight_norm == pytest.approx(math.sqrt(3))
    assert row.update_norm == pytest.approx(math.sqrt(3) / 2)
    assert row.update_ratio == pytest.approx(0.5)
    assert (row.trust_ratio, row.clip_factor, row.effective_lr, row.nonfinite_count) == (1.0, 1.0, 0.5, 0)
    with lw.Optimizer(lw.SGD()) as empty:
        assert empty.telemetry() == {}


def test_explain() -> None:
    opt, _ = optimizer("embed", "head", policy=lw.LayerDecay(0.5))
    opt.layer("embed").freeze()
    table = opt.explain()
    assert "embed" in table
    assert "head" in table
    assert "0.5" in table
    assert "frozen" in table
    many, _ = optimizer(*(f"layer.{index}" for index in range(200)))
    assert "layer.199" in many.explain()


def test_info() -> None:
    opt, _ = optimizer("a", "b")
    assert opt.layer("b").info == lw.LayerInfo(
        frozen=False,
        depth=1,
        tensor_count=1,
        parameter_count=3,
        state_bytes=opt.layer("b").info.state_bytes,
        steps=0,
        scale=1.0,
        effective_lr=1.0,
        weight_decay=0.0,
        scale_source="policy",
        role="head",
        frozen_by=None,
        changes_at=None,
        schedule_factor=1.0,
    )
    opt.layer("b").set(scale=1.0)
    assert opt.layer("b").info.scale_source == "layer"


def test_an_optimizer_without_layers_steps() -> None:
    with lw.Optimizer(lw.SGD()) as opt:
        opt.step()
        opt.step({})
