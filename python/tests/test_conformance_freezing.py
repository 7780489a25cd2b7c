# SPDX-License-Identifier: Apache-2.0
"""Freezing plans freeze what others do, when they do: Composer, FreezeOut, ULMFiT, AllenNLP, DeepMoji and fastai.

None of them is installed: what they do is written out here, with the file that it comes from.
"""

import math
from typing import Any

import numpy as np
import pytest
from support.conformance import BASE, RATES, assert_same, optimizer
from support.material import Array

import layerwise as lw


def dry_run(freezing: lw.FreezePlan, count: int, schedule: lw.Schedule | None = None) -> lw.Optimizer:
    """Layers 0 to count - 1, from the input."""
    return optimizer(schedule, {str(layer): BASE for layer in range(count)}, freezing=freezing)


def active(opt: lw.Optimizer, steps: int) -> Array:
    """Whether each layer trains at each step, which is also where its rate is not 0."""
    found: Array = np.array([[not row["frozen"] for row in opt.explain_rows(step)] for step in range(steps)]).T
    assert (found == (np.asarray(opt.preview(steps)) > 0)).all()
    return found


# ---- From the input


@pytest.mark.parametrize(
    ("count", "epochs", "start", "level"),
    [(6, 40, 0.5, 1.0), (6, 40, 0.0, 1.0), (13, 100, 0.3, 0.7), (2, 9, 0.9, 1.0), (5, 20, 0.5, 0.0), (1, 10, 0.5, 1.0)],
)
def test_composer(count: int, epochs: int, start: float, level: float) -> None:
    """mosaicml 0.32.1, composer/algorithms/layer_freezing/layer_freezing.py, `_freeze_schedule` and `freeze_layers`.

    Composer looks at the end of each epoch, this plan at every step: here an epoch has one step.
    """
    expected = []
    for epoch in range(epochs):
        passed = epoch / epochs
        share = 0.0 if passed <= start else level * ((passed - start) / (1.0 - start))
        frozen = int(share * (count - 1))
        expected.append([layer >= frozen for layer in range(count)])
    found = active(dry_run(lw.LayerFreezing(epochs, start=start, level=level), count), epochs)
    assert (found == np.array(expected).T).all()


@pytest.mark.parametrize("steps", [100, 1000, 333])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize(("spacing", "power", "start"), [("linear", 1, 0.5), ("squared", 2, 0.6), ("cubic", 3, 0.8)])
def test_freeze_out(spacing: Any, power: int, start: float, scaled: bool, steps: int) -> None:
    """Brock et al. 2017 (arXiv:1706.04983); ajbrock/FreezeOut, vgg.py, `DenseNet.update_lr`."""
    count = 7
    expected = np.zeros((count, steps))
    for layer in range(count):
        share = (start + (1 - start) * layer / (count - 1)) ** power
        rate = BASE / share if scaled else BASE
        for step in range(steps):
            if step <= share * steps:
                expected[layer, step] = rate / 2 * (1 + math.cos(math.pi * step / (share * steps)))
    plan = lw.FreezeOut(steps, start=start, spacing=spacing, scaled=scaled)
    assert_same(np.asarray(dry_run(plan, count).preview(steps)), expected)


def test_a_layer_that_would_train_for_less_than_a_step() -> None:
    """FreezeOut with t0 = 0.1, cubed, over 100 steps.

    Its first layer freezes after a tenth of a step, and that step has a thousand times the rate.  Ours trains every
    layer for a step or more, and so multiplies by 100 at most.
    """
    share, steps = 0.1**3, 100
    assert share * steps < 1
    assert BASE / share == pytest.approx(1000 * BASE)
    found = np.asarray(dry_run(lw.FreezeOut(steps, start=0.1), 3).preview(steps))
    assert found[0, 0] == pytest.approx(100 * BASE)
    assert not found[0, 1:].any()


# ---- From the output


@pytest.mark.parametrize(("count", "batches"), [(4, 1), (4, 25), (1, 3)])
def test_gradual_unfreezing(count: int, batches: int) -> None:
    """ULMFiT (Howard and Ruder 2018, arXiv:1801.06146), section 3.3, and AllenNLP 2.10.1: the top epoch + 1 layers.

    allennlp/training/learning_rate_schedulers/slanted_triangular.py, `SlantedTriangular.step` with gradual_unfreezing.
    """
    epochs = count + 2
    expected = [
        [layer >= count - (epoch + 1) for layer in range(count)] for epoch in range(epochs) for _ in range(batches)
    ]
    plan = lw.GradualUnfreezing(1, steps_per_epoch=batches)
    assert (active(dry_run(plan, count), epochs * batches) == np.array(expected).T).all()


def test_freeze_to() -> None:
    """fastai 2.8.12, fastai/optimizer.py, `Optimizer.freeze_to`: all groups below n, counted from the end if negative.

    ULMFiT in fastai is freeze_to(-1), (-2), (-3), and unfreeze, which is freeze_to(0).
    """
    count, batches = 5, 4
    expected = []
    for n in (-1, -2, -3, 0):
        frozen = n if n >= 0 else count + n
        expected += [[layer >= frozen for layer in range(count)]] * batches
    thaws = {str(count - 2): batches, str(count - 3): 2 * batches} | {str(n): 3 * batches for n in range(count - 3)}
    found = active(dry_run(lw.FreezeAt(thaws), count), 4 * batches)
    assert (found == np.array(expected).T).all()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_chain_thaw(count: int) -> None:
    """The last layer, then each from the first to the last but one, then all.

    Felbo et al. 2017 (DeepMoji, arXiv:1708.00524), section 3.3; bfelbo/DeepMoji, deepmoji/finetuning.py, `chain_thaw`.
    There a stage ends when the loss stops falling.
    """
    batches = 3
    stages = [[layer == alone for layer in range(count)] for alone in (count - 1, *range(count - 1))] + [[True] * count]
    expected = [stage for stage in stages for _ in range(batches)]
    plan = lw.ChainThaw(1, steps_per_epoch=batches)
    assert (active(dry_run(plan, count), len(expected)) == np.array(expected).T).all()


# ---- With schedules


@pytest.mark.parametrize("schedule", [None, lw.Cosine(100)])
@pytest.mark.parametrize("plan", [lw.GradualUnfreezing(20), lw.FreezeOut(100)])
def test_plans_beside_schedules(plan: lw.FreezePlan, schedule: lw.Schedule | None) -> None:
    """A plan says when, a schedule how much: what both say is their product."""
    rates = {**RATES, "top": BASE}
    found = np.asarray(optimizer(schedule, rates, freezing=plan).preview(100))
    shape = np.asarray(optimizer(None, rates, freezing=plan).preview(100))
    factors = np.ones(100) if schedule is None else np.asarray(schedule.evaluate(100))
    assert_same(found, shape * factors)
