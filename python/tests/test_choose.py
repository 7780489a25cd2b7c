# SPDX-License-Identifier: Apache-2.0
"""The tournament of policies: who wins, what a tie is, and what is put back."""

import json
import math
from typing import Any

import pytest
import torch
from test_find_rates import cross_entropy, data, everything, network, quadratic, same

import layerwise as lw
import layerwise.torch as lt

POLICIES = {
    "one rate": lw.Uniform(),
    "by curvature": lw.Explicit({"flat": 1.0, "middle": 0.1, "steep": 0.01}),
    "falling": lw.LayerDecay(0.5),
    "none": lw.Explicit({"*": 1e-6}),
}


def tournament(**arguments: Any) -> tuple[lw.Optimizer, lw.Choice, bytes]:
    opt, closure, _ = quadratic(lw.SGD(lr=0.3), noise=0.05)
    before = opt.to_bytes(parameters=True)
    given: dict[str, Any] = {"train": closure, "validate": lambda: closure(10**6), "steps": 4} | arguments
    policies = given.pop("policies", POLICIES)
    return opt, lw.choose(opt, policies, **given), before


def test_the_best_half_goes_on_and_the_winner_is_set() -> None:
    opt, choice, before = tournament()
    assert choice.winner == lw.Candidate("by curvature", POLICIES["by curvature"])
    assert [played.steps for played in choice.rounds] == [4, 8]
    assert [len(played.candidates) for played in choice.rounds] == [4, 2]
    assert choice.rounds[1].candidates[0] is choice.winner
    assert {each.name for each in choice.rounds[1].candidates} == {
        each.name for each in choice.rounds[0].candidates[:2]
    }
    assert list(choice.rounds[0].mean) == sorted(choice.rounds[0].mean)
    assert opt.policy is POLICIES["by curvature"] and not choice.tied
    text = choice.explain()
    assert "round 1, 4 steps\n  by curvature " in text and " wins" in text
    assert "more than chance over 3 repeats." in text
    opt.policy = lw.Uniform()
    assert opt.to_bytes(parameters=True) == before
    values = json.loads(choice.json())
    assert values["winner"]["name"] == "by curvature" and len(values["rounds"]) == 2


def test_all_start_from_the_same_bits_and_see_the_same_batches() -> None:
    opt, closure, calls = quadratic(noise=0.1)
    starts: dict[int, set[bytes]] = {}

    def watched(batch: int) -> float:
        if batch % 5 == 0 and len(calls) < 30:
            starts.setdefault(batch, set()).add(
                b"".join(layer.tensors[0].parameters.owner.tobytes() for layer in opt._layers)
            )  # type: ignore[attr-defined]
        return closure(batch)

    lw.choose(opt, [lw.Uniform(), lw.LayerDecay(0.5)], train=watched, validate=lambda: 0.0, steps=5, repeats=3)
    assert calls == 2 * list(range(15))
    assert set(starts) == {0, 5, 10} and len(set.union(*starts.values())) == 1


def test_a_tie_is_said() -> None:
    same_rates = lw.Explicit({"*": 1.0})
    _, choice, _ = tournament(policies={"one rate": lw.Uniform(), "all ones": same_rates})
    assert choice.winner.name == "one rate" and [each.name for each in choice.tied] == ["all ones"]
    assert choice.explain().endswith("one rate is set; the scores do not distinguish it from all ones.")
    assert ", tied" in choice.explain()


def test_one_repeat_says_nothing_of_chance() -> None:
    _, choice, _ = tournament(repeats=1)
    assert not choice.tied
    assert choice.explain().endswith("by curvature is set; one repeat does not say whether that is chance.")


def test_a_run_that_diverges_comes_last() -> None:
    opt, choice, _ = tournament(
        policies=[lw.Explicit({"*": 1e300}), lw.Uniform(), lw.LayerDecay(0.5)], steps=50, rates=[1e-3]
    )
    first = choice.rounds[0]
    assert first.candidates[-1].name == "Explicit({'*': 1e+300}), lr 0.001"
    assert first.mean[-1] == math.inf and math.isnan(first.spread[-1])
    assert "not finite" in choice.explain()
    assert len(choice.rounds[1].candidates) == 2
    json.loads(choice.json())
    assert opt.lr == 1e-3


def test_base_rates() -> None:
    opt, closure, _ = quadratic(lw.SGD(lr=0.3))
    opt.layer("steep").set(lr=0.03)
    policies = {"one rate": lw.Uniform()}
    choice = lw.choose(opt, policies, train=closure, validate=lambda: closure(9), steps=3, rates=[1e-3, 1e-2, 5.0])
    assert choice.winner == lw.Candidate("one rate, lr 0.01", policies["one rate"], 0.01)
    assert opt.lr == 0.01 and opt.layer("steep").get("lr") == pytest.approx(0.001)


def test_one_candidate() -> None:
    _, choice, _ = tournament(policies=[lw.LayerDecay(0.5)])
    assert choice.explain().endswith("LayerDecay(0.5) is set; there was no other.")


def test_refusals() -> None:
    opt, closure, calls = quadratic()
    before = opt.to_bytes(parameters=True)
    cases: list[tuple[type[Exception], dict[str, Any]]] = [
        (lw.InvalidArgument, {"policies": []}),
        (lw.InvalidArgument, {"policies": [lw.Uniform(), lw.Uniform()]}),
        (TypeError, {"policies": [3]}),
        (lw.InvalidArgument, {"steps": 0}),
        (lw.InvalidArgument, {"repeats": 0}),
        (lw.InvalidArgument, {"rates": []}),
        (lw.InvalidArgument, {"rates": [0.0]}),
        (lw.InvalidArgument, {"rates": [math.nan]}),
        (TypeError, {"validate": 3}),
    ]
    for error, arguments in cases:
        given: dict[str, Any] = {"policies": [lw.Uniform()], "train": closure, "validate": lambda: 0.0} | arguments
        with pytest.raises(error):
            lw.choose(opt, given.pop("policies"), **given)
    with pytest.raises(lw.UnknownName, match="no_such_layer"):
        lw.choose(opt, [lw.Explicit({"no_such_layer": 2.0})], train=closure, validate=lambda: 0.0)
    assert opt.to_bytes(parameters=True) == before and opt.policy == lw.Uniform()
    assert len(calls) <= 1


def test_torch() -> None:
    model = network()
    opt = lt.AdamW(model, lr=0.01, layer_decay=0.9)
    before = everything(model, opt)
    batch = next(iter(data()))
    torch.set_rng_state(before[-3])
    policies = [lw.LayerDecay(0.5), lw.LayerDecay(0.1), lw.Uniform()]

    def validate(model: torch.nn.Module) -> torch.Tensor:
        assert not model.training and not torch.is_grad_enabled()
        return cross_entropy(model, batch)

    choice = lt.choose(model, opt, policies, data(), cross_entropy, validate, steps=5, repeats=2, rates=[0.001, 0.01])
    assert opt.native.policy is choice.winner.policy and opt.param_groups[0]["lr"] == choice.winner.lr
    assert model.training
    # A native optimizer that is made later has the policy too.
    opt._rebuild()
    assert opt.native.policy is choice.winner.policy
    after = everything(model, opt)
    assert same(before[:-4], after[:-4]) and same(before[-3:], after[-3:])
