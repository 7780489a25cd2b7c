# SPDX-License-Identifier: Apache-2.0
"""Runs of every rule and type that are stopped after each of their steps, and carried on by another process.

Run as a script it carries them on: it reads what was saved, in layers registered in another order and under whatever
instruction set its environment names, and compares the end with that of the run that was not stopped.
"""

from __future__ import annotations

import contextlib
import json
import math
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from support.scenario import BFLOAT16, Array, numbers

import layerwise as lw

STEPS = 200
END = "end"
"""The file of the run that was not stopped."""

LAYERS: dict[str, dict[str, tuple[int, ...]]] = {
    "stem": {"weight": (37,), "bias": (1,)},
    "block.0": {"weight": (3, 43)},
    "block/1": {"empty": (0, 2), "weight": (16,)},
    "head": {"weight": (5, 7), "scalar": ()},
}

KINDS: dict[str, tuple[Any, Any, bool]] = {
    "float32": (np.float32, np.float32, False),
    "float64": (np.float64, np.float64, False),
    "float64, float32 gradients": (np.float64, np.float32, False),
    "float16": (np.float16, np.float16, False),
    "float16, master": (np.float16, np.float16, True),
    "float16, float32 gradients, master": (np.float16, np.float32, True),
    "bfloat16": (BFLOAT16, BFLOAT16, False),
    "bfloat16, float32 gradients": (BFLOAT16, np.float32, False),
    "bfloat16, float32 gradients, master": (BFLOAT16, np.float32, True),
}
"""Types of parameters and gradients, and whether there is a master copy."""


@dataclass(frozen=True)
class Case:
    """A rule with what moves its rates, and what happens on the way.

    Attributes:
        rule: The rule.
        options: Of the optimizer.
        events: What is done before the call of this number.
        reports: A metric is reported after so many calls.
        one_by_one: A call steps one layer, so that most stops are within a round.
        reordered: Layers may be registered in another order.  A norm over all layers is a sum in that order, and its
            last bit depends on it.
        layer_options: Of one layer, by its name.
        nan_at: The call whose gradients hold a NaN.
    """

    rule: lw.Rule
    options: dict[str, Any] = field(default_factory=dict)
    events: dict[int, Callable[[lw.Optimizer], None]] = field(default_factory=dict)
    reports: int = 0
    one_by_one: bool = False
    reordered: bool = True
    layer_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    nan_at: int = -1


def _set_rate(rate: float) -> Callable[[lw.Optimizer], None]:
    def set_rate(opt: lw.Optimizer) -> None:
        opt.lr = rate

    return set_rate


CASES = {
    "sgd": Case(
        lw.SGD(lr=0.03, weight_decay=0.01),
        {"policy": lw.GeometricRange(0.1), "schedule": lw.OneCycle(150), "clip_value": 0.75, "maximize": True},
        {90: _set_rate(0.05)},
    ),
    "sgd with momentum": Case(
        lw.SGD(lr=0.03, momentum=0.9, nesterov=True, weight_decay=0.01),
        {
            "policy": lw.LayerDecay(0.75),
            "schedule": {"lr": lw.Warmup(10, lw.Cosine(170)), "momentum": lw.Linear(400, min_factor=0.5)},
            "nonfinite": "skip",
        },
        {
            40: lambda opt: opt.layer("block.0").freeze(),
            77: lambda opt: opt.layer("block.0").unfreeze(),
            100: _set_rate(0.01),
        },
        nan_at=33,
    ),
    "lars": Case(
        lw.LARS(lr=0.7, weight_decay=0.03, trust_coefficient=0.02, trust_ratio_scope="layer"),
        {"freezing": lw.FreezeOut(190, start=0.25), "clip_layer_norm": 4.0},
        layer_options={"head": {"schedule": lw.CosineRestarts(30), "start": 11}, "stem": {"momentum": 0.5}},
    ),
    "adam": Case(
        lw.Adam(lr=0.01, amsgrad=True, weight_decay=0.01),
        {
            "policy": lw.ULMFiT(1.5),
            "schedule": {"lr": lw.ReduceOnPlateau(patience=1, factor=0.75, cooldown=2), "beta1": lw.StepDecay(50, 0.9)},
        },
        reports=7,
        layer_options={"block.0": {"schedule": lw.ReduceOnPlateau(mode="max", patience=0, factor=0.875)}},
    ),
    "adamw": Case(
        lw.AdamW(lr=0.01, weight_decay=0.1),
        {
            "policy": lw.Combine(lw.LayerDecay(0.75), lw.Exclude()),
            "schedule": lw.Product(lw.Warmup(20, lw.Cosine(150)), lw.ReduceOnPlateau(patience=2, factor=0.5)),
            "freezing": lw.GradualUnfreezing(20),
            "clip_global_norm": 1.0,
            "decay_follows": "base_lr",
        },
        reports=10,
        reordered=False,
    ),
    "lamb": Case(
        lw.LAMB(lr=0.02, weight_decay=0.07, trust_ratio_scope="layer", ratio_max=4.0),
        {"policy": lw.LayerDecay(0.5), "schedule": lw.FlatCosine(45), "freezing": lw.ChainThaw(8)},
        {60: _set_rate(0.03)},
        one_by_one=True,
    ),
}


TOTAL = sum(math.prod(shape) for layer in LAYERS.values() for shape in layer.values())
"""How many numbers all layers have."""


@cache
def _material(kind: str) -> tuple[Array, Array]:
    """The first parameters, and the gradients of all calls."""
    dtype, gradient_dtype, _ = KINDS[kind]
    generator = np.random.default_rng(17)
    return (
        numbers((TOTAL,), dtype, generator),
        np.stack([numbers((TOTAL,), gradient_dtype, generator) for _ in range(STEPS)]),
    )


class Run:
    """One run, from its beginning or from where another was stopped."""

    def __init__(self, name: str, kind: str, *, elsewhere: bool = False) -> None:
        """Set up the optimizer.

        Args:
            name: Key of CASES.
            kind: Key of KINDS.
            elsewhere: As in the other process: other numbers, another order, another number of threads.
        """
        self.case = CASES[name]
        dtype, gradient_dtype, master = KINDS[kind]
        first, self._table = _material(kind)
        self._gradients = np.zeros(TOTAL, gradient_dtype)
        parameters = np.zeros(TOTAL, dtype) if elsewhere else first.copy()
        self.opt = lw.Optimizer(self.case.rule, threads=3 if elsewhere else 1, **self.case.options)
        places: dict[str, tuple[dict[str, Array], dict[str, Array]]] = {}
        offset = 0
        for layer, shapes in LAYERS.items():
            own: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
            for tensor, shape in shapes.items():
                end = offset + math.prod(shape)
                for target, memory in zip(own, (parameters, self._gradients), strict=True):
                    target[tensor] = memory[offset:end].reshape(shape)
                offset = end
            places[layer] = own
        depths = {layer: depth for depth, layer in enumerate(LAYERS)}
        for layer in reversed(LAYERS) if elsewhere and self.case.reordered else LAYERS:
            self.opt.add_layer(
                layer,
                *places[layer],
                depth=depths[layer],
                master=master,
                **self.case.layer_options.get(layer, {}),
            )
        self._names = list(LAYERS)

    def steps(self, first: int, end: int) -> Iterator[int]:
        """Take the calls from `first` on, and tell of each once it is made."""
        opt, case = self.opt, self.case
        for call in range(first, end):
            if call in case.events:
                case.events[call](opt)
            self._gradients[...] = self._table[call]
            if call == case.nan_at:
                self._gradients[5] = np.nan
            opt.step(layer=self._names[call % len(self._names)] if case.one_by_one else None)
            if case.reports and call % case.reports == case.reports - 1:
                opt.report(max(1.0 - 0.01 * call, 0.4))
            yield call + 1


def saved(opt: lw.Optimizer) -> bytes:
    """A checkpoint with the parameters, as `save` writes it."""
    return bytes(opt.state_dict(parameters=True)["checkpoint"])


def content(checkpoint: bytes) -> dict[str, Any]:
    """Every tensor's bytes by its key, the identity and the progress, whatever their order in the file."""
    (length,) = struct.unpack("<Q", checkpoint[:8])
    header = json.loads(checkpoint[8 : 8 + length])
    metadata = header.pop("__metadata__")
    found: dict[str, Any] = {key: json.loads(metadata[key]) for key in ("identity", "progress")}
    for key, tensor in header.items():
        start, end = tensor["data_offsets"]
        found[key] = (tensor["dtype"], tensor["shape"], checkpoint[8 + length + start : 8 + length + end])
    return found


def some_stops(name: str, every: int) -> list[int]:
    """After which calls a run is stopped: every so many, the first three, and those beside an event of the case."""
    events = [*CASES[name].events, CASES[name].nan_at]
    beside = {event + offset for event in events if event >= 0 for offset in (-1, 0, 1)}
    return sorted({*range(0, STEPS + 1, every), 1, 2, 3} | beside)


def write(name: str, kind: str, folder: Path, stops: Sequence[int]) -> None:
    """Make the run that is not stopped, and save it after so many calls as `stops` has."""
    run = Run(name, kind)
    with contextlib.closing(run.opt):
        if 0 in stops:
            (folder / "0").write_bytes(saved(run.opt))
        for call in run.steps(0, STEPS):
            if call in stops:
                (folder / str(call)).write_bytes(saved(run.opt))
        (folder / END).write_bytes(saved(run.opt))


def carry_on(name: str, kind: str, folder: Path) -> list[int]:
    """Carry each on to the end; the stops after which something came out otherwise."""
    end = content((folder / END).read_bytes())
    wrong = []
    for call in sorted(int(file.name) for file in folder.iterdir() if file.name != END):
        run = Run(name, kind, elsewhere=True)
        with contextlib.closing(run.opt):
            run.opt.load(folder / str(call))
            for _ in run.steps(call, STEPS):
                pass
            if content(saved(run.opt)) != end:
                wrong.append(call)
    return wrong


def main() -> None:
    """Carry on what each line of the input names, and answer each with a line."""
    print(lw.instruction_set(), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(carry_on(request["name"], request["kind"], Path(request["folder"]))), flush=True)


if __name__ == "__main__":
    main()
