# SPDX-License-Identifier: Apache-2.0
"""Layers from the names of a model's tensors, as Python hands them over.  What is found is tested with the library."""

import dataclasses

import numpy as np
import pytest

import layerwise as lw
from layerwise import introspection

NAMES = [
    "embeddings.word_embeddings.weight",
    "encoder.layer.0.attention.query.weight",
    "encoder.layer.0.output.dense.bias",
    "encoder.layer.1.attention.query.weight",
    "classifier.weight",
]


def test_layers() -> None:
    layers = lw.infer_layers(NAMES)
    assert sorted(index for layer in layers for index in layer.tensors) == list(range(len(NAMES)))
    assert [layer.tensors for layer in layers] == [(0,), (1, 2), (3,), (4,)]
    assert [layer.depth for layer in layers] == [0, 1, 2, 3]
    assert [layer.role for layer in layers] == ["stem", "block", "block", "head"]
    for layer in layers:
        assert isinstance(layer.guess, bool)
        assert layer.reason
        assert layer.name
        with pytest.raises(dataclasses.FrozenInstanceError):
            layer.depth = 5  # type: ignore[misc]


def test_what_is_found_can_be_registered() -> None:
    """Names are unique, and depths, towers and roles are those that add_layer takes."""
    with lw.Optimizer(lw.SGD(lr=1.0), policy=lw.LayerDecay(0.5), dry_run=True) as opt:
        for layer in lw.infer_layers(NAMES):
            tensors = {NAMES[index]: (2, 2) for index in layer.tensors}
            added = opt.add_layer(layer.name, tensors, depth=layer.depth, tower=layer.tower, role=layer.role)
            assert (added.depth, added.tower, added.role) == (layer.depth, layer.tower, layer.role)
        assert [layer.scale for layer in opt.layers.values()] == [0.125, 0.25, 0.5, 1.0]


def test_names_of_any_iterable() -> None:
    assert lw.infer_layers([]) == []
    assert lw.infer_layers(dict.fromkeys(NAMES)) == lw.infer_layers(iter(NAMES)) == lw.infer_layers(np.array(NAMES))


def test_refused() -> None:
    with pytest.raises(TypeError, match="a name must be text"):
        lw.infer_layers([1])  # type: ignore[list-item]
    with pytest.raises(lw.InvalidArgument, match="NUL"):
        lw.infer_layers(["a\0b"])
    with pytest.raises(lw.InvalidArgument, match="UTF-8"):
        lw.infer_layers(["a", "\ud800"])
    with pytest.raises(lw.InvalidArgument, match="name 1 is longer than 1023 bytes"):
        lw.infer_layers(["a", "x" * 2000])


# ---- Patterns of names


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.weight", [True, True, False]),
        ("block.?.weight", [False, True, False]),
        ("block.[0-4].*", [False, True, False]),
        ("[!h]*", [False, True, True]),
        ("[^h]*", [False, True, True]),
        (r"a\*", [False, False, True]),
        ("a*", [False, False, True]),
        ("head", [False, False, False]),
    ],
)
def test_globs_are_those_of_policies(pattern: str, expected: list[bool]) -> None:
    names = ["head.weight", "block.3.weight", "a*"]
    assert introspection.match_names(pattern, names) == expected
    policy = lw.Explicit({pattern: 0.5}, syntax="glob", unused="ignore", unmatched="keep")
    with lw.Optimizer(lw.SGD(lr=1.0), policy=policy, dry_run=True) as opt:
        for name in names:
            opt.add_layer(name, {"w": (2,)})
        assert [layer.scale == 0.5 for layer in opt.layers.values()] == expected


def test_patterns_that_cannot_be_read() -> None:
    for pattern in ("[a", "a\\", ""):
        with pytest.raises(lw.OutOfRange):
            introspection.match_names(pattern, ["a"])
    with pytest.raises(lw.InvalidArgument, match="syntax must be exact, glob or regex"):
        introspection.match_names("a", ["a"], "shell")
    assert introspection.match_names("\u00e9", ["\u00e9", "e\u0301"], "exact") == [True, False]
