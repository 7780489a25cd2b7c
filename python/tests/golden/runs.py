# SPDX-License-Identifier: Apache-2.0
"""One run for each rule, saved by a release after some steps, and what became of it in the next ones.

    PYTHONPATH=python:python/tests python -m golden.runs 0.1.0

writes the files of a release that are missing.  They are written once, before it is published, and never again: what is
said here of a release's runs may be added to and not changed.  A rule joins the runs of the first
release that has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from support.scenario import BFLOAT16, Array

import layerwise as lw

FOLDER = Path(__file__).parent
SAVED, END = 25, 75
"""Steps before the save, and in all."""

REPORTED = ("adam", "adamw")
"""Rules whose runs have a schedule that follows a metric."""

LAYERS: dict[str, dict[str, tuple[type, bool, tuple[int, ...]]]] = {
    "embed": {"weight": (np.float32, False, (7, 5)), "bias": (np.float32, False, (5,))},
    "body/1": {"weight": (BFLOAT16.type, True, (33,)), "scalar": (BFLOAT16.type, True, ())},
    "body/2": {"weight": (np.float16, False, (17,)), "empty": (np.float16, False, (0, 3))},
    "head": {"weight": (np.float64, False, (3, 3))},
}
"""Element type, whether there is a master copy, and shape."""


def _plateau(factor: float) -> lw.Schedule:
    return lw.ReduceOnPlateau(factor=factor, patience=1)


RUNS: dict[str, dict[str, Callable[[], lw.Optimizer]]] = {
    "0.1.0": {
        "sgd": lambda: lw.Optimizer(
            lw.SGD(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
            lw.LayerDecay(0.75),
            schedule={"lr": lw.Warmup(10, lw.Linear(100)), "momentum": lw.StepDecay(30, 0.9)},
            clip_value=0.75,
        ),
        "lars": lambda: lw.Optimizer(
            lw.LARS(lr=0.5, weight_decay=0.03, trust_coefficient=0.02),
            schedule=lw.Polynomial(90, 2.0),
            freezing=lw.FreezeOut(80, start=0.5),
            clip_layer_norm=2.0,
        ),
        "adam": lambda: lw.Optimizer(
            lw.Adam(lr=0.01, amsgrad=True, weight_decay=0.01), lw.ULMFiT(1.5), schedule=_plateau(0.5), maximize=True
        ),
        "adamw": lambda: lw.Optimizer(
            lw.AdamW(lr=0.01, weight_decay=0.1),
            lw.Combine(lw.LayerDecay(0.75), lw.Exclude()),
            schedule=lw.Product(lw.OneCycle(80), _plateau(0.75)),
            freezing=lw.GradualUnfreezing(10),
            clip_global_norm=1.0,
            decay_follows="base_lr",
        ),
        "lamb": lambda: lw.Optimizer(
            lw.LAMB(lr=0.02, weight_decay=0.07, trust_ratio_scope="layer"),
            lw.GeometricRange(0.1),
            schedule=lw.Exponential(0.99),
        ),
    }
}
"""By release and rule."""


class Run:
    """A run of a release, at its beginning."""

    def __init__(self, release: str, rule: str) -> None:
        self.opt = RUNS[release][rule]()
        self.parameters: dict[str, Array] = {}
        self._gradients: list[Array] = []
        self._state = 7
        for layer, tensors in LAYERS.items():
            own = {name: self._drawn(np.zeros(shape, np.dtype(dtype))) for name, (dtype, _, shape) in tensors.items()}
            gradients = {name: np.zeros_like(value) for name, value in own.items()}
            self.parameters |= {f"{layer}/{name}": value for name, value in own.items()}
            self._gradients += gradients.values()
            master = any(master for _, master, _ in tensors.values())
            self.opt.add_layer(layer, own, gradients, master=master)

    def steps(self, first: int, end: int) -> None:
        """Take steps, whose gradients follow from their number alone."""
        for step in range(first, end):
            self._state = step + 1
            for gradient in self._gradients:
                self._drawn(gradient)
            self.opt.step()
            if self.opt.rule.name in REPORTED and step % 5 == 4:
                self.opt.report(1.0 / (1 + min(step, 20)))

    def digest(self) -> str:
        """The SHA-256 of all parameters and states, each behind its key, and of the step count."""
        found = {key: value.tobytes() for key, value in self.parameters.items()}
        for layer in self.opt.layers.values():
            for tensor, states in layer.states().items():
                for state in states:
                    value = layer.read_state(tensor, state)
                    found[f"{layer.name}/{tensor}/{state}"] = np.asarray(value).tobytes()
        found["next step"] = str(self.opt.next_step).encode()
        hashed = hashlib.sha256()
        for key, content in sorted(found.items()):
            hashed.update(f"{key}: {len(content)} bytes\n".encode())
            hashed.update(content)
        return hashed.hexdigest()

    def _drawn(self, values: Array) -> Array:
        """Fills with numbers in [-1, 1) by the 64-bit congruential generator of Knuth's MMIX, the same everywhere."""
        for index in np.ndindex(values.shape):
            self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
            values[index] = (self._state >> 11) / 2.0**52 - 1.0
        return values


def write(release: str) -> None:
    """Write a release's files that are not there yet."""
    folder = FOLDER / release
    folder.mkdir(exist_ok=True)
    digests = folder / "digests.json"
    ends = json.loads(digests.read_text("utf-8")) if digests.exists() else {}
    for rule in RUNS[release]:
        if rule in ends:
            continue
        run = Run(release, rule)
        with contextlib.closing(run.opt):
            run.steps(0, SAVED)
            run.opt.save(folder / f"{rule}.safetensors", parameters=True)
            saved = run.digest()
            run.steps(SAVED, END)
            ends[rule] = {"saved": saved, "end": run.digest()}
    digests.write_text(json.dumps(ends, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    write(sys.argv[1])
