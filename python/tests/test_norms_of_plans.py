# SPDX-License-Identifier: Apache-2.0
"""The 1-norms that freezing plans go by, beside what NumPy computes from the same arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import layerwise as lw

Arrays = dict[str, dict[str, NDArray[Any]]]

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "embed": {"weight": (130, 300), "bias": (7,)},
    "body": {"weight": (64, 32)},
    "head": {"weight": (17, 3), "bias": (1,)},
}
NEVER = 10**6
GRADIENTS = (lw.AutoFreeze(NEVER, norm="l1"), lw.GradES(1e-30, 4, measure="gradient", average=0.0, norm="l1"))
UPDATES = lw.GradES(1e-30, 4, average=0.0, norm="l1")
RULES = (
    lw.SGD(lr=0.01, momentum=0.9),
    lw.AdamW(lr=0.01),
    lw.AdamW(lr=0.01, cautious="update"),
    lw.LAMB(lr=0.01),
    lw.Adafactor(lr=0.01),
    lw.Muon(lr=0.01),
)
LIMIT = 0.5


def arrays(dtype: Any, seed: int) -> Arrays:
    """An array for each tensor."""
    random = np.random.default_rng(seed)
    return {
        layer: {name: random.standard_normal(shape).astype(dtype) for name, shape in tensors.items()}
        for layer, tensors in SHAPES.items()
    }


def optimizer(plan: lw.FreezePlan, rule: lw.Rule, dtype: Any, **options: Any) -> tuple[lw.Optimizer, Arrays, Arrays]:
    """An optimizer with its parameters and gradients."""
    weights, grads = arrays(dtype, 0), arrays(dtype, 1)
    opt = lw.Optimizer(rule, freezing=plan, **options)
    for layer in SHAPES:
        opt.add_layer(layer, weights[layer], grads[layer])
    return opt, weights, grads


def measured(opt: lw.Optimizer) -> list[float]:
    """The last value of each layer, of the plan: five numbers of a layer, behind those of a policy."""
    numbers = len(opt.measurements()) // len(SHAPES)
    return opt.measurements()[numbers - 5 :: numbers]


def wide(values: NDArray[Any]) -> NDArray[np.float64]:
    """In float64."""
    return values.astype(np.float64)


def magnitudes(values: Arrays, less: Arrays | None = None, scale: float = 1.0, limit: float = np.inf) -> list[float]:
    """The sum of the magnitudes of each layer."""
    totals = []
    for layer in SHAPES:
        own = [wide(values[layer][name]) - (wide(less[layer][name]) if less else 0.0) for name in SHAPES[layer]]
        totals.append(sum(float(np.minimum(np.abs(scale * array), limit).sum()) for array in own))
    return totals


@pytest.mark.parametrize("options", [{}, {"clip_global_norm": 0.1}, {"clip_layer_norm": 0.1}, {"clip_value": LIMIT}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("plan", GRADIENTS, ids=lambda plan: plan.name)
def test_magnitudes_of_gradients(plan: lw.FreezePlan, dtype: Any, options: dict[str, Any]) -> None:
    for rule in RULES:
        opt, _, grads = optimizer(plan, rule, dtype, **options)
        for step in range(3):
            for layer, tensors in arrays(dtype, 2 + step).items():
                for name, values in tensors.items():
                    grads[layer][name][...] = values
            opt.step(gradient_scale=4 / 3)
            # Before norms are clipped, as telemetry has it; values are clipped before.
            expected = magnitudes(grads, scale=0.75, limit=options.get("clip_value", np.inf))
            assert measured(opt) == pytest.approx(expected, rel=1e-6), rule


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_magnitudes_of_changes(dtype: Any) -> None:
    for rule in RULES:
        opt, weights, grads = optimizer(UPDATES, rule, dtype)
        for step in range(3):
            for layer, tensors in arrays(dtype, 2 + step).items():
                for name, values in tensors.items():
                    grads[layer][name][...] = values
            before = {layer: {name: own.copy() for name, own in weights[layer].items()} for layer in SHAPES}
            opt.step()
            assert measured(opt) == pytest.approx(magnitudes(weights, before), rel=1e-6), rule


def test_what_the_norm_decides() -> None:
    # Of equal root mean square, a large layer has the larger sum; of equal sum, it has the smaller root mean square.
    def frozen(plan: lw.FreezePlan) -> list[bool]:
        opt = lw.Optimizer(lw.SGD(lr=1.0), freezing=plan)
        opt.add_layer("large", np.zeros(100), np.full(100, 0.01))
        opt.add_layer("small", np.zeros(4), np.full(4, 0.02))
        for _ in range(2):
            opt.step()
        return [bool(row["frozen"]) for row in opt.explain_rows()]

    assert frozen(lw.GradES(0.015, 10, start=0.0)) == [True, False]
    assert frozen(lw.GradES(0.5, 10, start=0.0, norm="l1")) == [False, True]
    assert frozen(lw.GradES(0.5, 10, start=0.0, norm="l1", measure="gradient")) == [False, True]


def test_autofreeze_by_magnitudes() -> None:
    # One element grows and many shrink: the 2-norm settles where the sum of magnitudes does not.
    changes: dict[str, list[NDArray[Any]]] = {
        "embed": [np.array([1.0, 1.0, 1.0, 1.0]), np.array([2.0, 0.0, 0.0, 0.0])],
        "head": [np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.9, 0.0, 0.0, 0.0])],
    }

    def frozen(plan: lw.FreezePlan) -> list[bool]:
        opt = lw.Optimizer(lw.SGD(lr=0.01), freezing=plan)
        grads = {layer: np.zeros(4) for layer in changes}
        for layer, grad in grads.items():
            opt.add_layer(layer, np.zeros(4), grad)
        for interval in range(2):
            for layer, values in changes.items():
                grads[layer][...] = values[interval]
            for _ in range(3):
                opt.step()
        return [bool(row["frozen"]) for row in opt.explain_rows()]

    assert frozen(lw.AutoFreeze(3)) == [True, False]
    assert frozen(lw.AutoFreeze(3, norm="l1")) == [False, False]


def test_beside_a_policy_that_watches() -> None:
    # Both look at the same step, and neither changes what the other sees.
    policy = lw.SignAgreement(0.1, min_scale=1.0, max_scale=1.0)
    for plan in (*GRADIENTS, UPDATES):
        opt, weights, _ = optimizer(plan, lw.AdamW(lr=0.01), np.float32, policy=policy)
        alone, others, _ = optimizer(plan, lw.AdamW(lr=0.01), np.float32)
        watched, _, _ = optimizer(lw.GradES(1e-30, 4), lw.AdamW(lr=0.01), np.float32, policy=policy)
        for own in (opt, alone, watched):
            own.step()
            own.step()
        assert measured(opt) == measured(alone)
        numbers = len(opt.measurements()) // len(SHAPES)
        for layer in range(len(SHAPES)):
            first = layer * numbers
            assert opt.measurements()[first : first + 3] == watched.measurements()[first : first + 3]
        assert all((weights[layer][name] == others[layer][name]).all() for layer in SHAPES for name in SHAPES[layer])


def test_checkpoints_say_the_norm_where_it_is_not_the_default(tmp_path: Path) -> None:
    path = tmp_path / "run.lw"
    for default, other in (
        (lw.AutoFreeze(3), lw.AutoFreeze(3, norm="l1")),
        (lw.GradES(0.1, 9), lw.GradES(0.1, 9, norm="l1")),
    ):
        opt, _, _ = optimizer(default, lw.SGD(lr=0.1), np.float32)
        opt.step()
        opt.save(path)
        assert "norm" not in lw.checkpoint.describe(path)["identity"]["freezing"]["settings"]
        again, _, _ = optimizer(default, lw.SGD(lr=0.1), np.float32)
        again.load(path)
        assert again.measurements() == opt.measurements()
        with pytest.raises(lw.CheckpointMismatch) as caught:
            optimizer(other, lw.SGD(lr=0.1), np.float32)[0].load(path)
        assert caught.value.differences == ("freezing.settings.norm: not in the checkpoint",)
        opt, _, _ = optimizer(other, lw.SGD(lr=0.1), np.float32)
        opt.step()
        opt.save(path)
        again, _, _ = optimizer(other, lw.SGD(lr=0.1), np.float32)
        again.load(path)
        assert again.measurements() == opt.measurements()


@pytest.mark.parametrize("norm", ["", "L1", "linf", "rms"])
def test_norms_that_there_are_not(norm: Any) -> None:
    with pytest.raises(lw.LayerwiseError, match="norm"):
        lw.Optimizer(lw.SGD(lr=0.1), freezing=lw.AutoFreeze(3, norm=norm))
    with pytest.raises(lw.LayerwiseError, match="norm"):
        lw.Optimizer(lw.SGD(lr=0.1), freezing=lw.GradES(0.1, 3, norm=norm if norm != "rms" else "l2"))
