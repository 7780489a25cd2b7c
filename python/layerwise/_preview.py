# SPDX-License-Identifier: Apache-2.0
"""The command `preview`: what every layer of a checkpoint would get, before anything is trained."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ._cli_syntax import NOTATION, FreezePlanInWords, ParsedRule, PolicyInWords, ScheduleInWords
from ._safetensors import StoredTensor, read, untrained
from .errors import InvalidArgument, LayerwiseError
from .introspection import InferredLayer, infer_layers
from .optimizer import Optimizer
from .policy import Combine, Policy

_MOST_NOTES = 8


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "preview",
        help="show what every layer of a checkpoint would get",
        description="Show what every layer of a checkpoint would get: its rate, its decay, when it trains.\n"
        "Names and shapes are read, no weights; layers are inferred from the names of the tensors.",
        epilog=NOTATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .safetensors file or a .safetensors.index.json")
    parser.add_argument("--rule", default="adamw", help="the update rule, such as lamb:variant=timm (%(default)s)")
    parser.add_argument("--lr", type=float, help="the base learning rate (the rule's default)")
    parser.add_argument("--policy", action="append", default=[], help="such as layer_decay:decay=0.75; several combine")
    parser.add_argument("--schedule", help="how the rate moves, such as cosine:total_steps=1000,warmup_steps=100")
    parser.add_argument("--freezing", help="when each layer trains, such as gradual_unfreezing:every=100")
    parser.add_argument("--at", type=int, metavar="STEP", help="explain this step, counted from 0 (0)", default=0)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw all rates; needs --steps")
    parser.add_argument("--steps", type=int, metavar="N", help="how many steps to draw, from step 0")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        _preview(options)
    except (LayerwiseError, ImportError) as error:
        print(f"preview: {error}", file=sys.stderr)
        return 2
    return 0


def _preview(options: argparse.Namespace) -> None:
    if (options.png is None) != (options.steps is None):
        raise InvalidArgument("--png and --steps go together: a picture needs to know how far it reaches")
    tensors = read(options.model)
    others = untrained(tensors)
    parameters = {name: tensor for name, tensor in tensors.items() if name not in others}
    if not parameters:
        raise InvalidArgument(f"{options.model}: holds no parameters in floating point")
    layers = infer_layers(parameters)
    _note("left out", [f"{name} ({why})" for name, why in others.items()])
    _note("a guess", [f"{layer.name} at depth {layer.depth} ({layer.reason})" for layer in layers if layer.guess])
    with _optimizer(options) as optimizer:
        stored = list(parameters.items())
        for layer in layers:
            _add(optimizer, layer, [stored[index] for index in layer.tensors])
        if options.json:
            print(optimizer.explain_json(options.at))
        else:
            print(optimizer.explain(options.at).rstrip("\n"))
        if options.png is not None:
            _draw(optimizer, options.steps, options.png)


def _optimizer(options: argparse.Namespace) -> Optimizer:
    policies: list[Policy] = [PolicyInWords(words) for words in options.policy]
    return Optimizer(
        ParsedRule(options.rule, **({} if options.lr is None else {"lr": options.lr})),
        Combine(*policies) if len(policies) > 1 else policies[0] if policies else None,
        schedule=None if options.schedule is None else ScheduleInWords(options.schedule),
        freezing=None if options.freezing is None else FreezePlanInWords(options.freezing),
        dry_run=True,
    )


def _add(optimizer: Optimizer, layer: InferredLayer, tensors: list[tuple[str, StoredTensor]]) -> None:
    prefix = f"{layer.name}."
    # A tensor is called what its name has beyond the layer's.
    if not all(name.startswith(prefix) and len(name) > len(prefix) for name, _ in tensors):
        prefix = ""
    buffers = {name.removeprefix(prefix): tensor for name, tensor in tensors}
    place: dict[str, Any] = {"depth": layer.depth, "tower": layer.tower or None, "role": layer.role}
    optimizer.add_layer(layer.name, buffers, **place)


def _note(what: str, items: Iterable[str]) -> None:
    told = list(items)
    for item in told[:_MOST_NOTES]:
        print(f"note: {what}: {item}", file=sys.stderr)
    if len(told) > _MOST_NOTES:
        print(f"note: {what}: {len(told) - _MOST_NOTES} more", file=sys.stderr)


def _draw(optimizer: Optimizer, steps: int, path: Path) -> None:
    from . import plot

    figure = plot.picture(optimizer, steps)
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot be written: {error.strerror}") from None
