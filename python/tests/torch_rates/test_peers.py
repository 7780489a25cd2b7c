# SPDX-License-Identifier: Apache-2.0
"""Optimizers of torch and of other libraries, each driven by layer beside a twin with groups made by hand."""

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch_optim.support.networks import assert_same, states_of, values_of

import layerwise as lw
from layerwise.torch import LayerRates
from torch_rates.driving import LAYERS, backward, by_hand, drive, groups_of, inputs, tower, values_by_name

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 10
OPTIONS: dict[str, Any] = {
    "layer_decay": 0.6,
    "schedule": lw.Warmup(3, lw.Cosine(12, min_lr=1e-4)),
    "freezing": lw.GradualUnfreezing(2),
}


def _torch(name: str, **values: Any) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda params: getattr(torch.optim, name)(params, **values)


def _tensor_lr(**values: Any) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda params: torch.optim.AdamW(params, lr=torch.tensor(0.01, dtype=torch.float64), **values)


def _schedulefree(params: Any) -> torch.optim.Optimizer:
    schedulefree = pytest.importorskip("schedulefree")
    return schedulefree.AdamWScheduleFree(params, lr=0.01, foreach=False, warmup_steps=0, weight_decay=0.1)  # type: ignore[no-any-return]


def _kozistr(name: str) -> Callable[[Any], torch.optim.Optimizer]:
    def make(params: Any) -> torch.optim.Optimizer:
        peers = pytest.importorskip("pytorch_optimizer")
        return getattr(peers, name)(params, lr=0.003, weight_decay=0.1)  # type: ignore[no-any-return]

    return make


PEERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": _torch("SGD", lr=0.05, momentum=0.9, weight_decay=0.1),
    "AdamW, for-loop": _torch("AdamW", lr=0.01, foreach=False),
    "AdamW, foreach": _torch("AdamW", lr=0.01, foreach=True),
    "AdamW, fused": _torch("AdamW", lr=0.01, fused=True),
    "AdamW, tensor lr": _tensor_lr(foreach=False),
    "AdamW, fused, tensor lr": _tensor_lr(fused=True),
    "Adafactor": _torch("Adafactor", lr=0.01, weight_decay=0.1),
    "NAdam": _torch("NAdam", lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "RMSprop": _torch("RMSprop", lr=0.01, weight_decay=0.1),
    "AdamWScheduleFree": _schedulefree,
    "Lion": _kozistr("Lion"),
    "Adan": _kozistr("Adan"),
}


def as_twins(
    make: Callable[[Any], torch.optim.Optimizer], model_of: Callable[[], nn.Module] = tower, **more: Any
) -> None:
    """Drive one, step the other by hand with the same values, and compare all bits."""
    data = inputs(STEPS)
    model, twin = model_of(), model_of()
    optimizer, other = make(model.parameters()), make(groups_of(twin))
    for one in (optimizer, other):
        getattr(one, "train", lambda: None)()
    rates = LayerRates(optimizer, model, layers=LAYERS, **(OPTIONS | more))
    rows = []
    for values in data:
        rows.append(values_by_name(model, rates))
        drive(model, optimizer, rates, [values])
    by_hand(twin, other, rows, data)
    assert_same(values_of(model), values_of(twin))
    assert_same(_tensors(states_of(model, optimizer)), _tensors(states_of(twin, other)))
    assert not torch.equal(model.head.weight, tower().head.weight)
    assert torch.equal(model.embed.weight, tower().embed.weight) == (STEPS <= 8)


def _tensors(states: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in states.items() if not key.endswith("absmax")}


@pytest.mark.parametrize("name", PEERS)
def test_equals_groups_made_by_hand(name: str) -> None:
    as_twins(PEERS[name])


@pytest.mark.parametrize("follows", ["base_lr", "independent"])
@pytest.mark.parametrize("name", ["AdamW, foreach", "AdamWScheduleFree", "Lion", "Adafactor"])
def test_decay_that_follows_no_layer(name: str, follows: str) -> None:
    as_twins(PEERS[name], decay_follows=follows)


def test_muon_takes_matrices() -> None:
    """Muon refuses vectors; two optimizers share a model, each with LayerRates of its own."""
    data = inputs(STEPS)
    model, twin = tower(), tower()

    def make(of: nn.Module, by_groups: bool) -> torch.optim.Optimizer:
        matrices = [param for param in of.parameters() if param.ndim == 2]
        return torch.optim.Muon([{"params": [param]} for param in matrices] if by_groups else matrices, lr=0.02)

    optimizer, other = make(model, False), make(twin, True)
    vectors = torch.optim.AdamW([param for param in model.parameters() if param.ndim == 1], lr=0.01)
    rates = LayerRates(optimizer, model, layers=LAYERS, **OPTIONS)
    beside = LayerRates(vectors, model, layers=LAYERS, **OPTIONS)
    # Depths are those of the model, of which each optimizer has a part.
    assert [row["scale"] for row in beside.explain_rows()] == [row["scale"] for row in rates.explain_rows()]
    for values in data:
        row = {name: own for name, own in _values_of(model, rates).items() if name.endswith("weight")}
        _same_inputs(model, twin)
        for of in (model, twin):
            backward(of, values)
        optimizer.step()
        rates.step()
        for (name, param), group in zip(
            ((name, param) for name, param in twin.named_parameters() if param.ndim == 2),
            other.param_groups,
            strict=True,
        ):
            if row[name]["frozen"]:
                param.grad = None
            group["lr"] = row[name]["lr"]
        other.step()
        vectors.step()
        beside.step()
        for of in (model, twin):
            of.zero_grad()
        weights = {name: value for name, value in values_of(model).items() if name.endswith("weight")}
        assert_same(weights, {name: value for name, value in values_of(twin).items() if name.endswith("weight")})


def _values_of(model: nn.Module, rates: LayerRates) -> dict[str, dict[str, Any]]:
    group_of = {id(param): group for group in rates.optimizer.param_groups for param in group["params"]}
    frozen = {row["layer"]: row["frozen"] for row in rates.explain_rows()}
    return {
        name: {"lr": group_of[id(param)]["lr"], "frozen": frozen[name.rsplit(".", 1)[0]]}
        for name, param in model.named_parameters()
        if id(param) in group_of
    }


def _same_inputs(model: nn.Module, twin: nn.Module) -> None:
    """The vectors of both, which only one of the two trains."""
    with torch.no_grad():
        for param, other in zip(model.parameters(), twin.parameters(), strict=True):
            if param.ndim == 1:
                other.copy_(param)


def wide() -> nn.Module:
    """Tensors large enough for the 8-bit states of bitsandbytes and torchao, which leave small ones in 32 bits."""
    generator = torch.Generator().manual_seed(5)
    model = tower()
    with torch.no_grad():
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear):
                module.weight = nn.Parameter(torch.randn(256, 256, generator=generator) * 0.05)
                module.bias = nn.Parameter(torch.randn(256, generator=generator) * 0.05)
                assert name
    return model


def train_wide(model: nn.Module, optimizer: torch.optim.Optimizer, step: Callable[[], None]) -> None:
    generator = torch.Generator().manual_seed(6)
    for _ in range(4):
        backward(model, torch.randn(3, 256, generator=generator))
        optimizer.step()
        step()
        optimizer.zero_grad()


def eight_bit(make: Callable[[Any], torch.optim.Optimizer]) -> None:
    """The resting layers stand still, the rest equals groups made by hand."""
    options = OPTIONS | {"freezing": lw.GradualUnfreezing(2, first=2)}
    model, twin = wide(), wide()
    optimizer = make(model.parameters())
    rates = LayerRates(optimizer, model, layers=LAYERS, **options)
    rows: list[dict[str, dict[str, Any]]] = [values_by_name(model, rates)]

    def step() -> None:
        rates.step()
        rows.append(values_by_name(model, rates))

    train_wide(model, optimizer, step)
    other = make(groups_of(twin))
    generator = torch.Generator().manual_seed(6)
    by_hand(twin, other, rows[:4], [torch.randn(3, 256, generator=generator) for _ in range(4)])
    assert_same(values_of(model), values_of(twin))
    start = values_of(wide())
    moved = {name for name, value in values_of(model).items() if not torch.equal(value, start[name])}
    assert moved == {name for name in start if name.split(".")[0] in ("head", "norm") or name.startswith("block.1")}
    assert math.isfinite(float(model.head.weight.detach().abs().max()))


def test_bitsandbytes() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    eight_bit(lambda params: bitsandbytes.optim.AdamW8bit(params, lr=0.01, min_8bit_size=4096))


@pytest.mark.spawns
def test_torchao(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compiles its step, which goes as far here as rates of other layers could matter: no code is made of it."""
    low_bit = pytest.importorskip("torchao.optim")
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    eight_bit(lambda params: low_bit.AdamW8bit(params, lr=0.01))


def test_prodigy_itself() -> None:
    prodigyopt = pytest.importorskip("prodigyopt")
    model = tower()
    with pytest.raises(lw.errors.InvalidArgument, match="Prodigy estimates one step size"):
        LayerRates(prodigyopt.Prodigy(model.parameters()), model, layers=LAYERS, layer_decay=0.5)


def test_relative_step_itself() -> None:
    transformers = pytest.importorskip("transformers")
    model = tower()
    optimizer = transformers.Adafactor(model.parameters(), relative_step=True, scale_parameter=True, warmup_init=False)
    with pytest.raises(lw.errors.InvalidArgument, match="relative_step=True, with which Adafactor sets the rate"):
        LayerRates(optimizer, model, layers=LAYERS, layer_decay=0.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", ["AdamW, foreach", "AdamW, fused", "AdamW, capturable", "SGD"])
def test_on_a_gpu(name: str) -> None:
    """The rates are numbers of the host, so a GPU steps with the values of the CPU; telemetry comes without a wait."""
    model = tower().cuda()
    if name == "AdamW, capturable":
        # torch takes it on a GPU only.
        rate = torch.tensor(0.01, dtype=torch.float64, device="cuda")
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=rate, capturable=True, foreach=True)
    else:
        optimizer = PEERS[name](model.parameters())
    rates = LayerRates(optimizer, model, layers=LAYERS, telemetry=2, **OPTIONS)
    on_cpu = tower()
    twin = PEERS["AdamW, foreach" if name == "AdamW, capturable" else name](on_cpu.parameters())
    theirs = LayerRates(twin, on_cpu, layers=LAYERS, **OPTIONS)
    for values in inputs(STEPS):
        drive(model, optimizer, rates, [values.cuda()])
        drive(on_cpu, theirs.optimizer, theirs, [values])
        assert [float(rate) for rate in rates.get_last_lr()] == [float(rate) for rate in theirs.get_last_lr()]
    for name_, value in values_of(on_cpu).items():
        # Products of matrices are summed in another order there.
        assert torch.allclose(model.get_parameter(name_).cpu(), value, rtol=1e-3, atol=1e-4)
    assert rates.telemetry("")["head/gradient_norm"] > 0
