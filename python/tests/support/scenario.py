# SPDX-License-Identifier: Apache-2.0
"""A number of steps with every rule, type and option, and a digest of the bits that come out.

Run as a script it prints the instruction set and the digests, for runs under another environment.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

import layerwise as lw
from support.rules import TABLE
from support.rules import rule as rule_of

Array = np.ndarray[Any, Any]

SMALL = {"scalar": (), "empty": (0, 2), "lanes": (16,), "odd": (37,), "tile": (33, 31), "block": (16401,)}
"""Ends inside a group of lanes, a tile (512 numbers) and a block (16384)."""
LARGE = {"first": (2 * 65536 + 5,), "second": (300, 301), "third": (5,)}
"""Enough for a step to use threads."""

RULES: dict[str, tuple[lw.Rule, dict[str, Any]]] = {
    "sgd": (lw.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), {}),
    "sgd, clipped": (lw.SGD(lr=0.1), {"clip_global_norm": 3.0, "clip_layer_norm": 2.0, "clip_value": 0.5}),
    "adam": (lw.Adam(lr=0.01, amsgrad=True, weight_decay=0.01), {"maximize": True}),
    "adamw": (lw.AdamW(lr=0.01), {"clip_global_norm": 1.0}),
    "lars": (lw.LARS(lr=1.0, weight_decay=0.01, trust_coefficient=0.01), {}),
    "lamb": (lw.LAMB(lr=0.01, weight_decay=0.01, trust_ratio_scope="layer"), {"clip_value": 0.3}),
}
RULES |= {name.lower(): (rule_of(name, row.options), {}) for name, row in TABLE.items() if name.lower() not in RULES}
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
TYPES: dict[str, tuple[Any, Any, bool]] = {
    "float32": (np.float32, np.float32, False),
    "float64": (np.float64, np.float64, False),
    "float64, float32 gradients": (np.float64, np.float32, False),
    "float16": (np.float16, np.float16, False),
    "bfloat16": (BFLOAT16, BFLOAT16, False),
    "bfloat16, float32 gradients": (BFLOAT16, np.float32, False),
    "bfloat16, master copy": (BFLOAT16, BFLOAT16, True),
}


def numbers(shape: tuple[int, ...], dtype: Any, generator: np.random.Generator) -> Array:
    """Ordinary numbers among zeros of both signs, subnormal ones and some that are much larger than the others."""
    values = np.atleast_1d(generator.normal(size=shape))
    values.flat[1::7] = 0.0
    values.flat[2::7] = -0.0
    values.flat[3::7] *= 1e-40 if np.dtype(dtype).itemsize > 2 else 1e-7
    values.flat[5::41] *= 100.0
    return np.asarray(values.reshape(shape).astype(dtype))


def placed(values: Array, offset: int) -> Array:
    """A copy that begins `offset` elements past a page's start."""
    space = np.zeros(values.nbytes + 4096 + offset * values.itemsize, np.uint8)
    start = -space.ctypes.data % 4096 + offset * values.itemsize
    copy = np.asarray(space[start : start + values.nbytes].view(values.dtype).reshape(values.shape))
    copy[...] = values
    return copy


Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Of the tensors of layer "a", by their names."""


def _split(values: Array, shapes: dict[str, dict[str, tuple[int, ...]]]) -> dict[str, dict[str, Array]]:
    """Tensors of these shapes, one after the other."""
    ends = list(itertools.accumulate(math.prod(shape) for own in shapes.values() for shape in own.values()))
    parts = iter(np.split(values, ends[:-1]))
    return {layer: {name: next(parts).reshape(shape) for name, shape in own.items()} for layer, own in shapes.items()}


@cache
def _material(kind: str, of_first: Shapes, steps: int) -> list[dict[str, dict[str, Array]]]:
    """Weights, and the gradients of each step: the same for every rule, and not to be written."""
    dtype, gradient_dtype, _ = TYPES[kind]
    generator = np.random.default_rng(7)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {"a": dict(of_first), "b": {"weight": (211, 3)}}
    size = sum(math.prod(shape) for own in shapes.values() for shape in own.values())
    return [_split(numbers((size,), each, generator), shapes) for each in (dtype, *[gradient_dtype] * steps)]


def digest(
    rule: str,
    kind: str,
    shapes: dict[str, tuple[int, ...]] = SMALL,
    *,
    steps: int = 3,
    given: bool = False,
    offset: int = 0,
    one_by_one: bool = False,
    **settings: Any,
) -> str:
    """The digest of all weights and states after some steps.

    Args:
        rule: Key of RULES.
        kind: Key of TYPES.
        shapes: The tensors.
        steps: How many steps.
        given: Give the gradients with the step instead of binding them.
        offset: Place buffers so many elements past a page's start.
        one_by_one: Step each layer in a call of its own.
        **settings: For the optimizer, besides those of the rule.
    """
    _, gradient_dtype, master = TYPES[kind]
    weights, *gradients_of_steps = _material(kind, tuple(shapes.items()), steps)
    layers, gradients = (
        {layer: {name: placed(value, offset) for name, value in tensors.items()} for layer, tensors in material.items()}
        for material in (weights, gradients_of_steps[0])
    )
    chosen, options = RULES[rule]
    hashed = hashlib.sha256()
    with lw.Optimizer(chosen, policy=lw.LayerDecay(0.7), **(options | settings)) as opt:
        for name, tensors in layers.items():
            opt.add_layer(
                name,
                tensors,
                grads=None if given else gradients[name],
                master=master,
                gradient_dtype=np.dtype(gradient_dtype).name,
            )
        for of_step in gradients_of_steps:
            for layer, tensors in gradients.items():
                for tensor, value in tensors.items():
                    value[...] = of_step[layer][tensor]
            if one_by_one:
                for name in layers:
                    opt.step(gradients if given else None, layer=name)
            else:
                opt.step(gradients if given else None)
        for name, tensors in layers.items():
            own = opt.layer(name)
            states = own.states()
            for tensor, value in tensors.items():
                hashed.update(value)
                for state in states[tensor]:
                    hashed.update(bytes(own.read_state(tensor, state)))  # type: ignore[call-overload]
    return hashed.hexdigest()[:16]


def digests(**options: Any) -> Iterator[str]:
    """One line for each rule and type."""
    for rule, kind in itertools.product(RULES, TYPES):
        yield f"{rule}, {kind}: {digest(rule, kind, **options)}"


if __name__ == "__main__":
    print(lw.instruction_set(), *digests(), sep="\n")
