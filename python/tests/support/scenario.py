# SPDX-License-Identifier: Apache-2.0
"""A number of steps with every rule, type and option, and a digest of the bits that come out.

Run as a script it prints the instruction set and the digests, for runs under another environment.
"""

import hashlib
import itertools
from collections.abc import Iterator
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
    dtype, gradient_dtype, master = TYPES[kind]
    generator = np.random.default_rng(7)
    layers = {
        "a": {name: placed(numbers(shape, dtype, generator), offset) for name, shape in shapes.items()},
        "b": {"weight": placed(numbers((211, 3), dtype, generator), offset)},
    }
    gradients = {
        layer: {name: placed(value.astype(gradient_dtype), offset) for name, value in tensors.items()}
        for layer, tensors in layers.items()
    }
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
        for _ in range(steps):
            for tensors in gradients.values():
                for value in tensors.values():
                    value[...] = numbers(value.shape, gradient_dtype, generator)
            if one_by_one:
                for name in layers:
                    opt.step(gradients if given else None, layer=name)
            else:
                opt.step(gradients if given else None)
        for name, tensors in layers.items():
            for tensor, value in tensors.items():
                hashed.update(value.tobytes())
                for state in opt.layer(name).states()[tensor]:
                    hashed.update(bytes(opt.layer(name).read_state(tensor, state)))  # type: ignore[call-overload]
    return hashed.hexdigest()[:16]


def digests(**options: Any) -> Iterator[str]:
    """One line for each rule and type."""
    for rule, kind in itertools.product(RULES, TYPES):
        yield f"{rule}, {kind}: {digest(rule, kind, **options)}"


if __name__ == "__main__":
    print(lw.instruction_set(), *digests(), sep="\n")
