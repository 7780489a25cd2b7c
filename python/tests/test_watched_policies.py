# SPDX-License-Identifier: Apache-2.0
"""Policies that watch elements, choose by ratio or by role, beside plain float64 references; guards of the loss."""

import copy
import math
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import layerwise as lw
import layerwise.torch as lt

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "one": {"bias": (1,)},
    "body": {"weight": (33, 70), "bias": (70,)},
    "head": {"weight": (200, 300)},
}
"""A layer of one element, one of two tensors that do not fill their lanes, and one of several blocks."""

Arrays = dict[str, dict[str, np.ndarray]]


def arrays(seed: int, size: float = 1.0, dtype: Any = np.float64) -> Arrays:
    """Numbers for all tensors."""
    draw = np.random.default_rng(seed)
    return {
        layer: {name: (size * draw.standard_normal(shape)).astype(dtype) for name, shape in own.items()}
        for layer, own in SHAPES.items()
    }


def model(policy: lw.Policy, rule: lw.Rule, dtype: Any = np.float64, **settings: Any) -> tuple[lw.Optimizer, Arrays]:
    """An optimizer with `SHAPES` and its parameters."""
    params = arrays(0, dtype=dtype)
    opt = lw.Optimizer(rule, policy, **settings)
    for layer, own in params.items():
        opt.add_layer(layer, own)
    return opt, params


def flat(values: Arrays, layer: str) -> np.ndarray:
    """All numbers of a layer."""
    return np.concatenate([own.astype(np.float64).ravel() for own in values[layer].values()])


def walk(opt: lw.Optimizer, params: Arrays, steps: int, first: int = 0) -> list[dict[str, Any]]:
    """Step, and keep what a reference needs of each: gradients, weights before and after, scales and rates."""
    seen = []
    for step in range(first, first + steps):
        # Gradients that partly follow the last ones, so that products and signs are neither all alike nor chance alone.
        steady, noise = arrays(500), arrays(1000 + step)
        grads = {
            layer: {name: 0.5 * steady[layer][name] + noise[layer][name] for name in own}
            for layer, own in params.items()
        }
        grads = {
            layer: {name: own.astype(params[layer][name].dtype) for name, own in tensors.items()}
            for layer, tensors in grads.items()
        }
        before = copy.deepcopy(params)
        rows = {row["layer"]: row for row in opt.explain_rows()}
        opt.step(grads)
        seen.append(
            {
                layer: {
                    "g": flat(grads, layer),
                    "before": flat(before, layer),
                    "after": flat(params, layer),
                    "scale": rows[layer]["scale"],
                    "rate": rows[layer]["effective_lr"],
                }
                for layer in params
            }
        )
    return seen


def scales(opt: lw.Optimizer) -> list[float]:
    """The scales of the next step."""
    return [row["scale"] for row in opt.explain_rows()]


RULES = [lw.SGD(lr=0.01), lw.AdamW(lr=0.01, weight_decay=0.1), lw.LAMB(lr=0.01), lw.Muon(lr=0.01)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("form", ["cosine", "published"])
def test_hypergradient_follows_its_equation(rule: lw.Rule, form: Any) -> None:
    beta = 0.05 if form == "cosine" else 1e-6
    opt, params = model(lw.Hypergradient(beta, form=form, max_scale=3), rule)
    seen = walk(opt, params, 8)
    for position, layer in enumerate(SHAPES):
        scale = 1.0
        for last, own in pairwise(seen):
            # A change is a difference of weights, whose last digits cancel: 1e-16 beside changes near 1e-3.
            change = last[layer]["before"] - last[layer]["after"]
            product = float(own[layer]["g"] @ change)
            if form == "cosine":
                scale *= math.exp(beta * product / np.linalg.norm(own[layer]["g"]) / np.linalg.norm(change))
            else:
                scale += beta * product / last[layer]["rate"] / 0.01
            scale = min(max(scale, 1e-3), 3)
        assert scales(opt)[position] == pytest.approx(scale, rel=1e-9)
    assert len(set(scales(opt))) == 3


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_sign_agreement_follows_its_equation(rule: lw.Rule) -> None:
    opt, params = model(lw.SignAgreement(0.125, threshold=0.55), rule)
    seen = walk(opt, params, 8)
    for position, layer in enumerate(SHAPES):
        scale = 1.0
        for last, own in pairwise(seen):
            signs = np.sign(last[layer]["before"] - last[layer]["after"])
            signs *= np.sign(own[layer]["before"] - own[layer]["after"])
            share = (signs > 0).sum() / np.abs(signs).sum()
            scale = min(max(scale + (0.125 if share >= 0.55 else -0.125), 0.1), 10)
        assert scales(opt)[position] == scale


@pytest.mark.parametrize("rule", [lw.SGD(lr=1), lw.AdamW(lr=1, weight_decay=0.1)], ids=lambda rule: type(rule).__name__)
def test_ldog_scale_follows_its_equation(rule: lw.Rule) -> None:
    opt, params = model(lw.LDoGScale(1e-3, start_scale=1e-4), rule)
    seen = walk(opt, params, 8)
    for position, layer in enumerate(SHAPES):
        start = seen[0][layer]["before"]
        farthest, total = 1e-3 * (1 + np.linalg.norm(start)), 0.0
        for own in seen:
            farthest = max(farthest, np.linalg.norm(own[layer]["after"] - start))
            total += (np.linalg.norm(own[layer]["before"] - own[layer]["after"]) / own[layer]["rate"]) ** 2
        assert scales(opt)[position] == pytest.approx(farthest / math.sqrt(total), rel=1e-8)


def test_ldog_scale_is_the_rule_ldog_one_step_later() -> None:
    """With SGD the change per unit of rate is the gradient: distances and sums are those of the rule LDoG."""
    opt = lw.Optimizer(lw.SGD(lr=1), lw.LDoGScale(1e-3, start_scale=1e-3))
    weight = np.linspace(1, 2, 50)
    opt.add_layer("layer", weight)
    start, total, farthest = weight.copy(), 0.0, 1e-3 * (1 + np.linalg.norm(weight))
    for step in range(6):
        grad = np.cos(np.arange(50) + step)
        expected = 1e-3 if step == 0 else farthest / math.sqrt(total)
        assert scales(opt) == [pytest.approx(expected, rel=1e-9)]
        opt.step({"layer": grad})
        total += float(grad @ grad)
        farthest = max(farthest, float(np.linalg.norm(weight - start)))


@pytest.mark.parametrize("clip", [True, False])
def test_larc_follows_its_equation(clip: bool) -> None:
    opt, params = model(lw.LARC(0.02, clip=clip, eps=1e-3), lw.AdamW(lr=0.01, weight_decay=0.1))
    opt.set_schedule(lw.Linear(20))
    seen = walk(opt, params, 3)
    for position, layer in enumerate(SHAPES):
        own = seen[-1][layer]
        weights, gradients = np.linalg.norm(own["before"]), np.linalg.norm(own["g"])
        ratio = 0.02 * weights / (gradients + 0.1 * weights + 1e-3)
        expected = min(ratio / (own["rate"] / own["scale"]), 1) if clip else ratio
        assert scales(opt)[position] == pytest.approx(expected, rel=1e-12)


def test_tvlars_follows_its_equation() -> None:
    policy = lw.TVLARS(0.02, steepness=0.3, alpha=0.25, delay=2, lowest=0.125)
    opt, params = model(policy, lw.SGD(lr=0.01, weight_decay=0.1))
    seen = walk(opt, params, 5)
    for position, layer in enumerate(SHAPES):
        own = seen[-1][layer]
        weights, gradients = np.linalg.norm(own["before"]), np.linalg.norm(own["g"])
        factor = 1 / (0.25 + math.exp(0.3 * (5 - 2))) + 0.125
        assert scales(opt)[position] == pytest.approx(
            0.02 * weights / (gradients + 0.1 * weights + 1e-8) * factor, rel=1e-12
        )


WATCHING = [
    lw.Hypergradient(0.1, average=0.5),
    lw.SignAgreement(0.1, ramp=4),
    lw.LDoGScale(1e-3),
    lw.LARC(),
    lw.Combine(lw.LayerDecay(0.5), lw.Hypergradient(1e-6, form="published", warmup=2, period=2)),
]


@pytest.mark.parametrize("policy", WATCHING, ids=lambda policy: type(policy).__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_checkpoints_and_threads_go_on_alike(policy: lw.Policy, dtype: Any) -> None:
    opt, params = model(policy, lw.AdamW(lr=0.01), dtype, threads=1)
    many, others = model(policy, lw.AdamW(lr=0.01), dtype, threads=4, telemetry=True)
    for each, own in ((opt, params), (many, others)):
        walk(each, own, 4)
    assert opt.to_bytes(parameters=True) == many.to_bytes(parameters=True)
    loaded, third = model(policy, lw.AdamW(lr=0.01), dtype)
    loaded.load_bytes(opt.to_bytes(parameters=True))
    snapshot = opt.snapshot()
    walk(opt, params, 3, first=4)
    walk(loaded, third, 3, first=4)
    after = opt.to_bytes(parameters=True)
    assert loaded.to_bytes(parameters=True) == after
    opt.restore(snapshot)
    walk(opt, params, 3, first=4)
    assert opt.to_bytes(parameters=True) == after
    other = pickle.loads(pickle.dumps(opt))
    assert other.to_bytes(parameters=True) == after


@pytest.mark.parametrize("policy", WATCHING[:3], ids=lambda policy: type(policy).__name__)
def test_a_frozen_layer_keeps_what_it_has(policy: lw.Policy) -> None:
    opt, params = model(policy, lw.SGD(lr=0.01))
    walk(opt, params, 3)
    kept = opt.measurements()
    opt.layer("body").freeze()
    walk(opt, params, 2, first=3)
    numbers = len(kept) // 3
    assert opt.measurements()[numbers : 2 * numbers] == kept[numbers : 2 * numbers]
    assert opt.measurements()[:numbers] != kept[:numbers]


@pytest.mark.parametrize("policy", WATCHING[:3], ids=lambda policy: type(policy).__name__)
def test_zero_gradients_and_nan_measure_nothing(policy: lw.Policy) -> None:
    opt, params = model(policy, lw.SGD(lr=0.01), nonfinite="propagate")
    walk(opt, params, 3)
    kept = opt.measurements()
    zeros = {layer: {name: np.zeros_like(own) for name, own in tensors.items()} for layer, tensors in params.items()}
    opt.step(zeros)
    numbers = len(kept) // 3
    assert opt.measurements()[1::numbers] == kept[1::numbers], "no count has grown"
    assert scales(opt) == [row for row in kept[2::numbers]]
    zeros["one"]["bias"][0] = np.nan
    opt.step(zeros)
    assert all(math.isfinite(scale) for scale in scales(opt))


def test_signs_are_kept_as_bytes() -> None:
    """Also where a checkpoint is loaded into parameters of another type."""
    opt, params = model(lw.SignAgreement(0.1), lw.SGD(lr=0.01))
    walk(opt, params, 1)
    state = opt.layer("body").states()["weight"]["last_signs"]
    assert (state.dtype, state.count) == ("int8", 33 * 70)
    signs = np.array(opt.layer("body").read_state("weight", "last_signs"))
    assert np.array_equal(signs, np.sign(arrays(0)["body"]["weight"] - params["body"]["weight"]).ravel())
    other, _ = model(lw.SignAgreement(0.1), lw.SGD(lr=0.01), np.float32)
    other.load_bytes(opt.to_bytes(parameters=True), convert=True)
    found = np.zeros((33, 70), np.int8)
    assert np.array_equal(other.layer("body").read_state("weight", "last_signs", found), signs.reshape(33, 70))
    other.layer("body").write_state("weight", "last_signs", -found)
    assert np.array_equal(np.array(other.layer("body").read_state("weight", "last_signs")), -signs)
    with pytest.raises(lw.DTypeMismatch, match="must be int8 or bytes, found float32"):
        other.layer("body").write_state("weight", "last_signs", found.astype(np.float32))
    with pytest.raises(lw.DTypeMismatch, match="found int8"):
        other.add_layer("bytes", np.zeros(3, np.int8))


def test_nan_has_no_sign() -> None:
    """What else moves in the layer is compared all the same."""
    weight = np.ones(100, np.float32)
    opt = lw.Optimizer(lw.SGD(lr=0.01), lw.SignAgreement(0.25), nonfinite="propagate")
    opt.add_layer("layer", weight)
    grad = np.ones(100, np.float32)
    opt.step({"layer": grad})
    weight[7] = np.nan
    for expected in (1.25, 1.5):
        opt.step({"layer": grad})
        assert scales(opt) == [expected]
    assert opt.measurements()[0] == 1.0


def test_clipping_leaves_the_cosine_alone() -> None:
    plain, params = model(lw.Hypergradient(0.1), lw.SGD(lr=1e-9))
    clipped, others = model(lw.Hypergradient(0.1), lw.SGD(lr=1e-9), clip_layer_norm=0.5)
    walk(plain, params, 4)
    walk(clipped, others, 4)
    # Changes near 1e-9 of weights near 1 keep seven digits.
    assert clipped.measurements()[::5] == pytest.approx(plain.measurements()[::5], abs=1e-6)


def test_changes_of_bfloat16_are_those_of_what_is_stored() -> None:
    weight = torch.ones(300, dtype=torch.bfloat16)
    opt = lw.Optimizer(lw.SGD(lr=1e-4), lw.LDoGScale(start_scale=1.0))
    opt.add_layer("layer", weight, torch.full((300,), 1.0, dtype=torch.bfloat16))
    opt.step()
    # 1e-4 is below half a spacing of bfloat16 at 1: nothing moved, and no distance was come.
    assert torch.equal(weight, torch.ones(300, dtype=torch.bfloat16))
    assert opt.measurements()[1] == 0


def test_setting_a_policy_later_begins_to_watch() -> None:
    opt, params = model(lw.Uniform(), lw.SGD(lr=0.01))
    walk(opt, params, 2)
    assert "last_change" not in opt.layer("body").states()["weight"]
    opt.policy = lw.Hypergradient(0.1)
    assert "last_change" in opt.layer("body").states()["weight"]
    walk(opt, params, 1, first=2)
    assert opt.measurements()[1::5] == [0, 0, 0], "there was no change before"
    walk(opt, params, 1, first=3)
    assert opt.measurements()[1::5] == [1, 1, 1]
    # Another policy, and back: what was watched before does not count.
    opt.policy = lw.Uniform()
    walk(opt, params, 1, first=4)
    opt.policy = lw.Hypergradient(0.1)
    walk(opt, params, 1, first=5)
    assert opt.measurements()[1::5] == [0, 0, 0]


def networks() -> tuple[nn.Module, nn.Module]:
    """Twice the same network."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    return first, copy.deepcopy(first)


def train(module: nn.Module, opt: torch.optim.Optimizer, steps: range) -> None:
    """Some steps on random inputs."""
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        opt.zero_grad()
        module(torch.randn(6, 4, generator=draw)).square().mean().backward()
        opt.step()


@pytest.mark.parametrize("policy", WATCHING, ids=lambda policy: type(policy).__name__)
def test_torch_resumes(policy: lw.Policy, tmp_path: Any) -> None:
    first, second = networks()
    opt = lt.AdamW(first, lr=0.01, policy=policy)
    train(first, opt, range(4))
    torch.save([first.state_dict(), opt.state_dict()], tmp_path / "run.pt")
    weights, state = torch.load(tmp_path / "run.pt", weights_only=True)
    second.load_state_dict(weights)
    other = lt.AdamW(second, lr=0.01, policy=policy)
    other.load_state_dict(state)
    assert other.native.measurements() == opt.native.measurements()
    for module, each in ((first, opt), (second, other)):
        train(module, each, range(4, 8))
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


def test_signs_in_torch() -> None:
    first, second = networks()
    opt = lt.AdamW(first, lr=0.01, policy=lw.SignAgreement(0.1))
    train(first, opt, range(2))
    for param in first.parameters():
        signs = opt.state[param]["last_signs"]
        assert (signs.dtype, signs.shape) == (torch.int8, param.shape)
        assert set(signs.unique().tolist()) <= {-1, 0, 1}
    saved = opt.state_dict()
    # A policy that watches nothing leaves them out.
    plain = lt.AdamW(second, lr=0.01)
    plain.load_state_dict(saved)
    train(second, plain, range(1))
    saved["state"][0]["last_signs"] = saved["state"][0]["last_signs"].float()
    with pytest.raises(ValueError, match=r"last_signs is torch\.float32, which torch\.int8 cannot hold"):
        opt.load_state_dict(saved)


# ---- By role and size


def network(policy: lw.Policy, tensors: dict[str, dict[str, tuple[int, ...]]]) -> dict[str, tuple[float, float]]:
    """Scale and decay factor of every tensor."""
    opt = lw.Optimizer(lw.AdamW(lr=1.0), policy, dry_run=True)
    for layer, own in tensors.items():
        opt.add_layer(layer, own)
    found = {}
    for row in opt.explain_rows():
        apart = {entry["tensor"]: entry for entry in row["apart"]}
        for name in tensors[row["layer"]]:
            own_scale = apart.get(name, {"scale": 1.0, "decay_scale": 1.0})
            found[f"{row['layer']}/{name}"] = (row["scale"] * own_scale["scale"], own_scale["decay_scale"])
    return found


def test_completep() -> None:
    found = network(
        lw.CompleteP(4, 8, alpha=0.5),
        {
            "embed": {"weight": (100, 32)},
            "block": {"weight": (32, 32), "bias": (32,)},
            "head": {"weight": (10, 32), "bias": (10,)},
        },
    )
    factor = 8**-0.5
    assert found["embed/weight"][0] == found["head/weight"][0] == found["head/bias"][0] == 1
    assert found["block/weight"][0] == pytest.approx(factor / 4) and found["block/bias"][0] == pytest.approx(factor)
    assert found["block/bias"][1] == found["head/bias"][1] == 0
    with pytest.raises(lw.OutOfRange, match=r"width and depth must be given|width must be"):
        lw.Optimizer(lw.AdamW(), lw.CompleteP(math.nan, 2))


NAMES = {
    "norm": [
        "model.layers.0.input_layernorm.weight",
        "h.0.ln_1.weight",
        "encoder.layer.0.attention.output.LayerNorm.bias",
        "blocks.0.norm1.weight",
        "ln_f.bias",
        "layers.3.self_attn.q_norm.weight",
    ],
    "query_key": [
        "model.layers.0.self_attn.q_proj.weight",
        "encoder.layer.0.attention.self.key.bias",
        "block.0.layer.0.SelfAttention.q.weight",
        "attention.wk.weight",
        "attn.to_q.weight",
    ],
    "value_output": [
        "model.layers.0.self_attn.v_proj.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "encoder.layer.0.attention.output.dense.weight",
        "blocks.0.attn.qkv.weight",
        "blocks.0.attn.proj.bias",
        "h.0.attn.c_attn.weight",
        "h.0.attn.c_proj.weight",
        "layers.0.self_attn.in_proj_weight",
        "layers.0.self_attn.out_proj.weight",
        "attention.wo.weight",
        "attention.query_key_value.weight",
    ],
    "feed_forward": [
        "model.layers.0.mlp.gate_proj.weight",
        "encoder.layer.0.intermediate.dense.weight",
        "encoder.layer.0.output.dense.weight",
        "h.0.mlp.c_proj.weight",
        "blocks.0.mlp.fc1.weight",
        "block.0.layer.1.DenseReluDense.wo.weight",
        "layers.0.linear1.weight",
        "feed_forward.w2.weight",
    ],
    "embedding": [
        "model.embed_tokens.weight",
        "wte.weight",
        "embeddings.word_embeddings.weight",
        "patch_embed.proj.weight",
        "pos_embed",
        "shared.weight",
    ],
    "others": [
        "lm_head.weight",
        "classifier.dense.bias",
        "head.weight",
        "output.weight",
    ],
}


@pytest.mark.parametrize("kind", list(NAMES))
def test_blockwise_knows_the_usual_names(kind: str) -> None:
    scale = {"norm": 1, "value_output": 4, "feed_forward": 6, "query_key": 8, "embedding": 10, "others": 0.5}[kind]
    for name in NAMES[kind]:
        found = network(lw.Blockwise(others=0.5), {"model": {name: (4, 4), "embed": (4, 4)}})
        assert found[f"model/{name}"][0] == pytest.approx(scale), name


def test_blockwise_refuses_what_it_does_not_know() -> None:
    with pytest.raises(lw.OutOfRange, match="no tensor is called as a norm"):
        network(lw.Blockwise(), {"a": {"w": (4, 4)}})
    own = lw.Blockwise(query_key_match=".*[/]w")
    assert network(own, {"a": {"w": (4, 4), "x": (4, 4)}}) == {"a/w": (8.0, 1.0), "a/x": (pytest.approx(1.0), 1.0)}


# ---- Guards


def run(guard_of: Any, spikes: dict[int, float]) -> tuple[lw.Optimizer, lw.SpikeGuard, list[float]]:
    """A loss that falls as the weights do, with other losses at some checks."""
    weight = np.ones(4)
    opt = lw.Optimizer(lw.AdamW(lr=0.01), lw.RelativeGradientNorm())
    opt.add_layer("layer", weight)
    guard, losses = guard_of(opt), []
    for number in range(30):
        loss = spikes.get(number, float(weight @ weight))
        losses.append(loss)
        if guard.check(loss):
            continue
        opt.step({"layer": weight * (1000 if number + 1 in spikes else 1)})
    return opt, guard, losses


@pytest.mark.parametrize("threshold", ["deviations", "ratio"])
@pytest.mark.parametrize("spike", [1e3, math.nan, math.inf])
def test_a_guard_goes_back(threshold: Any, spike: float) -> None:
    opt, guard, _ = run(lambda opt: lw.SpikeGuard(opt, threshold=threshold, every=5, window=10), {13: spike})
    assert len(guard.spikes) == 1 and opt.next_step == 9 + 16, "9 steps before the last snapshot, 16 since"
    plain, _, _ = run(lambda opt: lw.SpikeGuard(opt, threshold=threshold, every=1000), {})
    assert guard.spikes[0] == spike or math.isnan(spike)
    assert plain.next_step == 30


def test_guards_that_report_and_raise() -> None:
    opt, guard, _ = run(lambda opt: lw.SpikeGuard(opt, on_spike="report"), {13: 1e3})
    assert guard.spikes == [1e3] and opt.next_step == 29
    with pytest.raises(lw.LossSpikeError, match=r"the loss is 1000, and was .* in the mean of 13 losses before"):
        run(lambda opt: lw.SpikeGuard(opt, on_spike="raise"), {13: 1e3})
    with pytest.raises(lw.LossSpikeError, match="3 restores of one snapshot have not helped"):
        run(lambda opt: lw.SpikeGuard(opt), dict.fromkeys(range(13, 17), 1e3))


def test_a_guard_of_torch_and_refusals() -> None:
    first, _ = networks()
    opt = lt.AdamW(first, lr=0.01)
    train(first, opt, range(2))
    guard = lw.SpikeGuard(opt)
    weights = copy.deepcopy(first.state_dict())
    assert not guard.check(1.0) and not guard.check(1.1)
    train(first, opt, range(2, 4))
    assert guard.check(50)
    for name, value in first.state_dict().items():
        assert torch.equal(value, weights[name])
    guard.close()
    guard.close()
    assert guard.check(math.nan) and not guard.check(1.0)
    with pytest.raises(TypeError, match="expected an optimizer of layerwise"):
        lw.SpikeGuard(torch.optim.SGD(first.parameters(), lr=0.1))  # type: ignore[arg-type]
    for wrong, message in (
        ({"limit": 0.5, "threshold": "ratio"}, r"the limit of ratio must be in \(1, inf\), found 0.5"),
        ({"limit": math.nan}, r"the limit of deviations must be in \(0, inf\)"),
        ({"window": 1}, "window must be at least 2"),
        ({"threshold": "median"}, 'threshold must be deviations or ratio, found "median"'),
        ({"on_spike": "ignore"}, "on_spike must be"),
    ):
        with pytest.raises(lw.LayerwiseError, match=message):
            lw.SpikeGuard(opt, **wrong)


# ---- Micro-batches


def test_gradient_noise_follows_its_equation() -> None:
    draw = np.random.default_rng(3)
    opt = lw.Optimizer(lw.SGD(lr=0.01), lw.GradientNoise(average=0.5, warmup=1, min_scale=1e-3))
    mean = {"steady": np.full(40, 1.0), "noisy": np.full(40, 0.1)}
    for layer in mean:
        opt.add_layer(layer, np.ones(40))
    averages: dict[str, tuple[float, float]] = {}
    for step in range(6):
        count = 3 + step % 2
        total = {layer: np.zeros(40) for layer in mean}
        squares: dict[str, list[float]] = {layer: [] for layer in mean}
        for number in range(count):
            for layer in mean:
                total[layer] += mean[layer] + draw.standard_normal(40)
                squares[layer].append(float(total[layer] @ total[layer]) / (number + 1))
            opt.measure_microbatch(total, gradient_scale=2.0)
        opt.step(total, gradient_scale=2.0)
        for layer, own in squares.items():
            signal, noise = np.polyfit(np.arange(1, count + 1), np.array(own) / 4, 1)
            old = averages.get(layer)
            averages[layer] = (
                (signal, noise) if old is None else (0.5 * old[0] + 0.5 * signal, 0.5 * old[1] + 0.5 * noise)
            )
        for found, layer in zip(scales(opt), mean, strict=True):
            signal, noise = max(0, averages[layer][0]), max(0, averages[layer][1]) / count
            assert found == pytest.approx(min(max(signal / (signal + noise), 1e-3), 1), rel=1e-9)
    assert scales(opt)[0] > scales(opt)[1]
    kept = opt.measurements()
    opt.measure_microbatch(total)
    opt.step(total)
    assert opt.measurements() == kept, "one micro-batch tells nothing"


def test_micro_batches_of_torch_and_refusals() -> None:
    module, _ = networks()
    opt = lt.SGD(module, lr=0.01, policy=lw.GradientNoise(warmup=1))
    for step in range(3):
        opt.zero_grad()
        for part in range(4):
            draw = torch.Generator().manual_seed(10 * step + part)
            module(torch.randn(6, 4, generator=draw)).square().mean().div(4).backward()
            opt.measure_microbatch()
        opt.step()
    assert opt.native.measurements()[1::4] == [3, 3]
    plain, _ = model(lw.LARC(), lw.SGD(lr=0.01))
    with pytest.raises(lw.InvalidArgument, match="the policy larc measures no micro-batches, as gradient_noise does"):
        plain.measure_microbatch()


# ---- Singular values


def tail_exponent(squares: np.ndarray) -> float:
    """As TempBalance's code has it."""
    rising = np.sort(squares)
    first = len(rising) // 2
    tail = rising[first:]
    return float(1 + len(tail) / (np.log(tail).sum() - len(tail) * np.log(rising[first])))


@pytest.mark.parametrize("measure", ["alpha", "stable_rank", "spectral_norm"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_temp_balance_follows_its_equation(measure: Any, dtype: Any) -> None:
    draw = np.random.default_rng(5)
    shapes = {"stem": (9, 8), "a": (30, 70), "b": (64, 20), "c": (6, 5, 3, 3), "small": (2, 40), "head": (12, 40)}
    params = {
        name: (draw.standard_normal(shape) ** (1 + index % 3)).astype(dtype)
        for index, (name, shape) in enumerate(shapes.items())
    }
    opt = lw.Optimizer(lw.SGD(lr=0.1), lw.TempBalance(0.25, 2, measure=measure, least_rank=4))
    for name, own in params.items():
        opt.add_layer(name, {"weight": own, "bias": np.ones(3, dtype)})
    assert scales(opt) == [1] * 6
    opt.measure_spectra()
    values = {}
    for name in ("a", "b", "c"):
        matrices = params[name].astype(np.float64).reshape(*shapes[name][:2], -1)
        squares = np.concatenate(
            [np.linalg.svd(matrices[..., place], compute_uv=False) ** 2 for place in range(matrices.shape[2])]
        )
        values[name] = {
            "alpha": tail_exponent(squares),
            "stable_rank": float(squares.sum() / squares.max()),
            "spectral_norm": math.sqrt(squares.max()),
        }[measure]
    least, largest = min(values.values()), max(values.values())
    expected = [1.0, *(0.25 + 1.75 * (value - least) / (largest - least) for value in values.values()), 1.0, 1.0]
    # The squares come from a Gram matrix, which has half of float64's digits below the largest.
    assert scales(opt) == pytest.approx(expected, rel=1e-9)
    kept = opt.measurements()
    opt.step({name: {"weight": np.ones_like(own)} for name, own in params.items()})
    # Layers without a value have an average of NaN, which equals nothing.
    assert np.array_equal(opt.measurements(), kept, equal_nan=True)
    assert scales(opt) == pytest.approx(expected, rel=1e-9)
    loaded = lw.Optimizer(lw.SGD(lr=0.1), opt.policy)
    for name, own in params.items():
        loaded.add_layer(name, {"weight": own.copy(), "bias": np.ones(3, dtype)})
    loaded.load_bytes(opt.to_bytes(parameters=True))
    assert np.array_equal(loaded.measurements(), kept, equal_nan=True) and scales(loaded) == scales(opt)


def test_spectra_of_zeros_and_refusals() -> None:
    opt = lw.Optimizer(lw.SGD(lr=0.1), lw.TempBalance(1, 5, ends="highest", least_rank=2))
    weight = np.zeros((5, 6))
    for name in ("stem", "body", "head"):
        opt.add_layer(name, weight.copy() if name != "body" else weight)
    opt.measure_spectra()
    assert scales(opt) == [5, 1, 5]
    weight[2, 2] = np.nan
    with pytest.raises(lw.NonFiniteGradient, match='layer "body": its weights, or their squares, are not finite'):
        opt.measure_spectra()
    plain, _ = model(lw.LARC(), lw.SGD(lr=0.01))
    with pytest.raises(lw.InvalidArgument, match="goes by no singular values, as temp_balance does"):
        plain.measure_spectra()
    with pytest.raises(lw.OutOfRange, match="lowest must not exceed highest"):
        lw.Optimizer(lw.SGD(), lw.TempBalance(2, 1))
