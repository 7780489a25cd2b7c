# SPDX-License-Identifier: Apache-2.0
"""A small network whose layers have depths and whose shapes are odd, data for it, and the plainest loop that trains it.

What a framework makes of an optimizer is compared with this loop, so it has nothing that could go wrong.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

import layerwise.torch as lwt

Batch = tuple[Tensor, Tensor]
FEATURES, WIDTH, HIDDEN, ROWS = 6, 7, 5, 8


class Block(nn.Module):
    """A residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, HIDDEN)
        self.outer = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        return values + self.outer(torch.tanh(self.inner(values)))


class Network(nn.Module):
    """A stem, two blocks, a norm and a head with one output: shards of odd sizes, and empty ones."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, values: Tensor) -> Tensor:
        values = self.embed(values)
        for block in self.blocks:
            values = block(values)
        return self.head(self.norm(values))


DECAY = 0.6
SCALES = {"embed": DECAY**4, "blocks.0": DECAY**3, "blocks.1": DECAY**2, "norm": DECAY, "head": 1.0}
"""The scales with `layer_decay=DECAY`, counted by hand; the final norm has a depth of its own."""


def network(dtype: torch.dtype = torch.float32) -> Network:
    """The same numbers at each call, and no parameter that is 0 and could hide a missing decay."""
    generator = torch.Generator().manual_seed(3)
    model = Network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + 0.1)
    return model.to(dtype)


def batches(count: int, dtype: torch.dtype = torch.float32, rows: int = ROWS) -> list[Batch]:
    generator = torch.Generator().manual_seed(4)
    return [
        (
            torch.randn(rows, FEATURES, generator=generator).to(dtype),
            torch.randn(rows, 1, generator=generator).to(dtype),
        )
        for _ in range(count)
    ]


def part(batch: Batch, index: int, parts: int) -> Batch:
    """What process `index` of `parts` sees of a batch."""
    inputs, targets = (tensor.chunk(parts)[index] for tensor in batch)
    return inputs, targets


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    inputs, targets = batch
    return nn.functional.mse_loss(model(inputs), targets)


def train(
    model: nn.Module,
    opt: torch.optim.Optimizer,
    data: Sequence[Batch],
    *,
    parts: int = 1,
    before_step: Callable[[], object] | None = None,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> None:
    """The plain loop.

    The gradient is the mean of those of `parts` equal parts of the batch.  A gradient is linear and a half is a power
    of two, so two parts give in every bit what two processes make that halve theirs and add them.
    """
    for batch in data:
        opt.zero_grad()
        for index in range(parts):
            (loss_of(model, part(batch, index, parts)) / parts).backward()
        if before_step is not None:
            before_step()
        opt.step()
        if scheduler is not None:
            scheduler.step()


def falling(opt: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """A schedule of torch's."""
    return torch.optim.lr_scheduler.LambdaLR(opt, lambda step: 0.8**step)


def scale_of(name: str) -> float:
    """The scale of the layer that a parameter of the network belongs to."""
    (scale,) = (scale for layer, scale in SCALES.items() if name.startswith(layer + "."))
    return scale


def values_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the parameters."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def states_of(model: nn.Module, opt: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies of all that the optimizer keeps for each parameter, as "parameter: state"."""
    return {
        f"{name}: {key}": torch.as_tensor(value).detach().clone()
        for name, parameter in model.named_parameters()
        for key, value in opt.state.get(parameter, {}).items()
    }


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Equal in every bit."""
    assert found.keys() == expected.keys()
    different = [
        f"{name} by up to {(found[name].double() - expected[name].double()).abs().max():.3g}"
        for name in expected
        if found[name].dtype != expected[name].dtype or not torch.equal(found[name], expected[name])
    ]
    assert not different, different


def assert_moved(found: dict[str, Tensor], start: dict[str, Tensor]) -> None:
    """Every tensor changed, so a comparison says something about each of them."""
    still = [name for name in start if torch.equal(found[name], start[name])]
    assert not still, still


Rule = type[torch.optim.Optimizer]
OPTIMIZERS: dict[str, tuple[str, dict[str, object]]] = {
    "sgd": ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.02}),
    "adam": ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.02}),
    "adamw": ("AdamW", {"lr": 0.01, "weight_decay": 0.2}),
    "adamw, layer decay": ("AdamW", {"lr": 0.01, "weight_decay": 0.2, "layer_decay": DECAY}),
}
"""Rules that look at one element at a time: what a shard gets does not depend on the rest of its tensor."""


TRUST_RATIOS: dict[str, tuple[str, dict[str, object]]] = {
    "lars": ("LARS", {"lr": 0.5, "momentum": 0.9, "weight_decay": 0.01, "layer_decay": DECAY}),
    "lamb": ("LAMB", {"lr": 0.02, "weight_decay": 0.1, "layer_decay": DECAY}),
}
"""Rules that need the norms of whole tensors."""


def optimizer(name: str, model: nn.Module, **more: object) -> torch.optim.Optimizer:
    """One of OPTIMIZERS or TRUST_RATIOS for a model."""
    rule, options = (OPTIMIZERS | TRUST_RATIOS)[name]
    return getattr(lwt, rule)(model, **(options | more))


def trained(
    name: str,
    data: Sequence[Batch],
    *,
    parts: int = 1,
    clip: float | None = None,
    scheduled: bool = False,
    **options: object,
) -> tuple[Network, torch.optim.Optimizer]:
    """The network and its optimizer after the plain loop.

    Args:
        name: One of OPTIMIZERS or TRUST_RATIOS.
        data: A batch for each step.
        parts: See `train`.
        clip: What torch clips the norm of all gradients to.
        scheduled: By `falling`.
        options: Of the optimizer.
    """
    model = network()
    opt = optimizer(name, model, **options)

    def before_step() -> None:
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)

    train(model, opt, data, parts=parts, before_step=before_step, scheduler=falling(opt) if scheduled else None)
    assert_moved(values_of(model), values_of(network()))
    return model, opt
