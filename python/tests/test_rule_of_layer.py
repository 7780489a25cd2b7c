# SPDX-License-Identifier: Apache-2.0
"""Layers that are stepped by a rule of their own in place of the optimizer's."""

import copy
import pickle

import numpy as np
import pytest

import layerwise as lw

OTHERS = {
    "lion": lw.Lion(lr=0.002, betas=(0.8, 0.95), weight_decay=0.1),
    "lamb": lw.LAMB(lr=0.01, variant="timm", weight_decay=0.1),
    "adafactor": lw.Adafactor(lr=0.01),
    "sgd": lw.SGD(lr=0.1, momentum=0.9, nesterov=True),
}


def arrays(seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    draw = np.random.default_rng(seed)
    make = lambda: {name: draw.standard_normal((5, 7)).astype(np.float32) for name in ("body", "head")}  # noqa: E731
    return make(), make()


@pytest.mark.parametrize("name", OTHERS)
def test_moves_as_in_an_optimizer_of_its_own(name: str) -> None:
    rule = OTHERS[name]
    params, grads = arrays()
    alone = {key: value.copy() for key, value in params.items()}
    opt = lw.Optimizer(lw.AdamW(lr=0.01), schedule=lw.Cosine(9))
    opt.add_layer("body", params["body"], grads["body"])
    head = opt.add_layer("head", params["head"], grads["head"], rule=rule)
    others = [lw.Optimizer(lw.AdamW(lr=0.01), schedule=lw.Cosine(9)), lw.Optimizer(rule, schedule=lw.Cosine(9))]
    for other, layer in zip(others, params, strict=True):
        other.add_layer(layer, alone[layer], grads[layer])
    for _ in range(5):
        for each in (opt, *others):
            each.step()
    for layer in params:
        np.testing.assert_array_equal(params[layer], alone[layer])
    assert head.rule == rule and opt.layer("body").rule == opt.rule
    assert head.states().keys() == others[1].layer("head").states().keys()
    assert [row["rule"] for row in opt.explain_rows()] == ["adamw", name]
    assert head.get("rule") == name


def test_values_of_the_layer_go_before_those_of_the_rule() -> None:
    opt = lw.Optimizer(lw.AdamW(lr=0.01))
    own = opt.add_layer(
        "a", np.ones(3, np.float32), rule=lw.Lion(lr=0.5, betas=(0.5, 0.6)), weight_decay=0.25, lr=0.125
    )
    assert (own.get("lr"), own.get("betas"), own.get("weight_decay")) == (0.125, (0.5, 0.6), 0.25)
    own.set(betas=(0.7, 0.8))
    assert own.get("betas") == (0.7, 0.8)
    own.unset("betas")
    own.unset("lr")
    assert (own.get("lr"), own.get("betas")) == (0.125, (0.5, 0.6))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))])
def test_copies_go_on_alike(clone) -> None:  # type: ignore[no-untyped-def]
    params, grads = arrays(1)
    opt = lw.Optimizer(lw.AdamW(lr=0.01))
    opt.add_layer("body", params["body"], grads["body"])
    opt.add_layer("head", params["head"], grads["head"], rule=lw.NAdam(lr=0.002, momentum_decay=0.01), weight_decay=0.1)
    opt.step()
    other = clone(opt)
    for each in (opt, other):
        each.step()
        each.layer("head").set(betas=(0.5, 0.6))
        each.step()
    assert other.layer("head").rule == opt.layer("head").rule
    assert other.to_bytes(parameters=True) == opt.to_bytes(parameters=True)


def test_refusals() -> None:
    opt = lw.Optimizer(lw.AdamW(lr=0.01))
    buffer = np.ones(3, np.float32)
    with pytest.raises(lw.OutOfRange, match="Prodigy takes sums over all its layers: it must be the optimizer's rule"):
        opt.add_layer("a", buffer, rule=lw.Prodigy())
    with pytest.raises(lw.UnknownName, match='unknown setting "eps", expected one of lr, beta1, beta2, weight_decay'):
        opt.add_layer("a", buffer, rule=lw.Lion(), eps=1e-8)
    with pytest.raises(TypeError, match=r"rule: expected"):
        opt.add_layer("a", buffer, rule="lion")  # type: ignore[arg-type]
    assert len(opt.layers) == 0
    layer = opt.add_layer("a", buffer, rule=lw.Lion())
    with pytest.raises(lw.OutOfRange, match="the rule of a layer stays as it was when the layer was added"):
        layer.set(rule="adamw")
