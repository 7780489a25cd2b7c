# SPDX-License-Identifier: Apache-2.0
"""Settings of the optimizer and of its layers, by keyword."""

import math

import numpy as np
import pytest

import layerwise as lw


@pytest.fixture
def opt() -> lw.Optimizer:
    optimizer = lw.Optimizer(lw.AdamW(lr=0.1, betas=(0.8, 0.9), weight_decay=0.5))
    optimizer.add_layer("a", np.ones(2))
    optimizer.add_layer("b", np.ones(2), scale=2.0, depth=7, weight_decay=0.0, betas=(0.5, 0.6))
    return optimizer


def test_the_constructor_sets_all(opt: lw.Optimizer) -> None:
    assert opt.lr == opt.get("lr") == 0.1
    assert opt.get("betas") == (0.8, 0.9)
    assert opt.get("beta2") == 0.9
    assert opt.get("weight_decay") == 0.5
    assert opt.get("amsgrad") == 0.0


def test_options() -> None:
    options = {"threads": 2, "clip_global_norm": 1.0, "clip_layer_norm": 2.0, "clip_value": 3.0}
    with lw.Optimizer(lw.SGD(), nonfinite="skip", maximize=True, telemetry=True, **options) as opt:  # type: ignore[arg-type]
        assert opt.get("nonfinite") == "skip"
        assert opt.get("maximize") == opt.get("telemetry") == 1.0
        for key, value in options.items():
            assert opt.get(key) == value
    with lw.Optimizer(lw.SGD()) as opt:
        assert opt.get("nonfinite") == "raise"
        assert opt.get("threads") == opt.get("maximize") == opt.get("telemetry") == 0.0
        assert opt.get("clip_global_norm") == opt.get("clip_layer_norm") == opt.get("clip_value") == math.inf


def test_change_between_steps(opt: lw.Optimizer) -> None:
    opt.lr = 0.25
    opt.set(betas=(0.1, 0.2), amsgrad=True)
    assert (opt.lr, opt.get("betas"), opt.get("amsgrad")) == (0.25, (0.1, 0.2), 1.0)
    opt.set(clip_value=4)
    opt.set(clip_value=math.inf, nonfinite="propagate")
    assert (opt.get("clip_value"), opt.get("nonfinite")) == (math.inf, "propagate")
    opt.lr = np.float32(0.5)
    assert opt.lr == 0.5


def test_a_refused_change_changes_nothing(opt: lw.Optimizer) -> None:
    for settings, exception in (
        ({"lr": 1.0, "eps": -1.0}, lw.OutOfRange),
        ({"lr": 1.0, "eps": math.nan}, lw.OutOfRange),
        ({"lr": 1.0, "betas": (0.5, 1.0)}, lw.OutOfRange),
        ({"lr": 1.0, "nothing": 1.0}, lw.UnknownName),
        ({"lr": 1.0, "eps": "small"}, ValueError),
        ({"lr": 1.0, "nonfinite": "explode"}, lw.UnknownName),
        ({"lr": 1.0, "nonfinite": 1.0}, ValueError),
        ({"lr": 1.0, "betas": (0.5,)}, lw.InvalidArgument),
        ({"lr": 1.0, "betas": 0.5}, TypeError),
        ({"lr": 1.0, "betas": (0.5, None)}, TypeError),
        ({"lr": 1.0, "eps": None}, TypeError),
        ({"lr": 1.0, "eps": [1.0]}, TypeError),
    ):
        with pytest.raises(exception):
            opt.set(**settings)
        with pytest.raises(exception):
            opt.layer("a").set(**({"scale": 9.0} | settings))
        assert opt.lr == opt.layer("a").get("lr") == 0.1
        assert opt.layer("a").scale == 1.0


def test_bad_constructor_arguments() -> None:
    for make, exception in (
        (lambda: lw.Optimizer(lw.SGD(lr=-1.0)), lw.OutOfRange),
        (lambda: lw.Optimizer(lw.SGD(lr=math.nan)), lw.OutOfRange),
        (lambda: lw.Optimizer(lw.SGD(nesterov=True)), ValueError),
        (lambda: lw.Optimizer(lw.LAMB(decay="sideways")), lw.UnknownName),  # type: ignore[arg-type]
        (lambda: lw.Optimizer(lw.SGD(), **{"threads": -1}), lw.OutOfRange),
        (lambda: lw.Optimizer(lw.SGD(), **{"threads": 1.5}), lw.OutOfRange),
        (lambda: lw.Optimizer(lw.SGD(), **{"clip_value": 0.0}), lw.OutOfRange),
        (lambda: lw.Optimizer(lw.SGD(), **{"nonfinite": "explode"}), lw.UnknownName),
        (lambda: lw.Optimizer(lw.SGD(), **{"policy": lw.LayerDecay(2.0)}), lw.OutOfRange),
        (lambda: lw.Optimizer(lw.SGD(), **{"policy": "uniform"}), TypeError),
        (lambda: lw.Optimizer("sgd"), TypeError),
        (lambda: lw.Optimizer(lw.SGD), TypeError),
    ):
        with pytest.raises(exception):
            make()


def test_a_layers_own_values(opt: lw.Optimizer) -> None:
    a, b = opt.layer("a"), opt.layer("b")
    assert (b.scale, b.depth, b.weight_decay, b.get("betas")) == (2.0, 7, 0.0, (0.5, 0.6))
    assert b.effective_lr == 0.2
    assert (a.scale, a.depth, a.weight_decay, a.get("betas")) == (1.0, 0, 0.5, (0.8, 0.9))
    opt.set(weight_decay=0.25, betas=(0.1, 0.2))
    assert (a.weight_decay, b.weight_decay) == (0.25, 0.0)
    for key in ("betas", "weight_decay", "scale"):
        b.unset(key)
    assert (b.weight_decay, b.get("betas"), b.scale) == (0.25, (0.1, 0.2), 1.0)
    a.set(scale=3.0, eps=0.125, depth=4)
    assert (a.scale, a.get("eps"), opt.get("eps"), a.depth) == (3.0, 0.125, 1e-8, 4)


def test_where_a_layer_stands(opt: lw.Optimizer) -> None:
    c = opt.add_layer("c", np.ones(2), tower="text", role="norm", start=5, frozen="yes")
    assert (c.tower, c.role, c.start, c.depth, c.frozen) == ("text", "norm", 5, 0, True)
    assert (c.get("tower"), c.get("role"), c.get("start"), c.get("frozen")) == ("text", "norm", 5.0, "yes")
    a = opt.layer("a")
    assert (a.tower, a.role, a.start, a.frozen) == ("", "stem", 0, False)
    assert (a.get("role"), a.get("frozen"), opt.layer("b").role) == ("depth", "plan", "head")
    c.set(tower="vision", role="block", start=0, frozen="no")
    assert (c.tower, c.role, c.start, c.frozen) == ("vision", "block", 0, False)
    for key in ("tower", "role", "start", "frozen"):
        c.unset(key)
    assert (c.tower, c.role, c.start, c.depth, c.frozen) == ("", "block", 0, 2, False)


def test_refused_overrides_register_nothing(opt: lw.Optimizer) -> None:
    for overrides, exception in (
        ({"scale": -1.0}, lw.OutOfRange),
        ({"scale": math.nan}, lw.OutOfRange),
        ({"depth": -1}, lw.OutOfRange),
        ({"momentum": 0.9}, lw.UnknownName),
        ({"eps": -1.0}, lw.OutOfRange),
        ({"eps": "x"}, ValueError),
        ({"eps": None}, TypeError),
        ({"role": "body"}, lw.UnknownName),
        ({"role": 1.0}, lw.OutOfRange),
        ({"tower": 1.0}, lw.OutOfRange),
        ({"tower": "x" * 256}, lw.OutOfRange),
        ({"tower": "a\0b"}, lw.InvalidArgument),
        ({"start": -1}, lw.OutOfRange),
        ({"start": 0.5}, lw.OutOfRange),
        ({"frozen": True}, lw.OutOfRange),
        ({"frozen": "maybe"}, lw.UnknownName),
    ):
        with pytest.raises(exception):
            opt.add_layer("c", np.ones(2), **overrides)
    with pytest.raises(lw.DuplicateName):
        opt.add_layer("a", np.ones(2))
    assert list(opt.layers) == ["a", "b"]
    assert opt.add_layer("c", np.ones(2)).index == 2


def test_unknown_keys(opt: lw.Optimizer) -> None:
    for attempt in (
        lambda: opt.get("nothing"),
        lambda: opt.layer("a").get("nothing"),
        lambda: opt.layer("a").unset("nothing"),
        lambda: opt.get("momentum"),
    ):
        with pytest.raises(lw.UnknownName):
            attempt()
    with pytest.raises(lw.InvalidArgument, match="NUL"):
        opt.get("lr\0")


def test_finding_layers(opt: lw.Optimizer) -> None:
    assert opt.layer("b") == opt.layer(1) == opt.layers["b"]
    assert opt.layer("b") != opt.layer("a")
    assert len({opt.layer("b"), opt.layer(1)}) == 1
    assert list(opt.layers) == ["a", "b"]
    with pytest.raises(lw.UnknownName, match="zebra"):
        opt.layer("zebra")
    for index in (2, -1, 2**70):
        with pytest.raises(lw.NotFound, match=str(index)):
            opt.layer(index)
    with pytest.raises(TypeError):
        opt.layer(None)  # type: ignore[arg-type]
