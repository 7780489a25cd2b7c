# SPDX-License-Identifier: Apache-2.0
"""Rules by the names of other libraries: every name of their registries has a rule here, or a reason why none."""

import inspect
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import layerwise as lw
from layerwise._rule_names import ABSENT, ALIASES, key, kinds

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text("utf-8")
REASONS = {key(name): reason for reason, names in ABSENT.items() for name in names}

os.environ.setdefault("KERAS_BACKEND", "jax")


def of_torch() -> Iterable[str]:
    optim = pytest.importorskip("torch.optim")
    found = (kind for kind in vars(optim).values() if isinstance(kind, type) and issubclass(kind, optim.Optimizer))
    return [kind.__name__ for kind in found if kind is not optim.Optimizer]


def of_transformers() -> Iterable[str]:
    return [name.value for name in pytest.importorskip("transformers.training_args").OptimizerNames]


def of_timm() -> Iterable[str]:
    return list(pytest.importorskip("timm.optim").list_optimizers())


def of_optax() -> Iterable[str]:
    alias = pytest.importorskip("optax._src.alias")
    functions = inspect.getmembers(alias, inspect.isfunction)
    return [name for name, one in functions if one.__module__ == alias.__name__ and not name.startswith("_")]


def of_optax_contrib() -> Iterable[str]:
    functions = inspect.getmembers(pytest.importorskip("optax.contrib"), inspect.isfunction)
    return [name for name, _ in functions if not name.startswith("scale_by_")]


def of_keras() -> Iterable[str]:
    return [kind.__name__ for kind in pytest.importorskip("keras.src.optimizers").ALL_OBJECTS]


def of_pytorch_optimizer() -> Iterable[str]:
    return list(pytest.importorskip("pytorch_optimizer").get_supported_optimizers())


@pytest.mark.parametrize(
    "registry", [of_torch, of_transformers, of_timm, of_optax, of_optax_contrib, of_keras, of_pytorch_optimizer]
)
def test_every_name_has_a_rule_or_a_reason(registry: Callable[[], Iterable[str]]) -> None:
    names = list(registry())
    assert len(names) > 10
    lost = []
    for name in names:
        try:
            lw.rule_by_name(name)
        except lw.UnknownName as error:
            if f"{name} is not here: " not in str(error):
                lost.append(name)
    assert not lost, "add them to ALIASES or ABSENT of layerwise/_rule_names.py, and to docs/coming-from.md"


def test_a_name_has_one_meaning() -> None:
    every = [*kinds(), *ALIASES, *(name for names in ABSENT.values() for name in names)]
    keys = [key(name) for name in every]
    assert sorted(keys) == sorted(set(keys)), "a rule that is here now has no reason to be absent"


def test_the_page_names_everything() -> None:
    begin, end = PAGE.index("### All names"), PAGE.index("## torch\n")
    names = set(re.findall(r"`(\w+)`", PAGE[begin:end]))
    assert names >= {*ALIASES, *(name for group in ABSENT.values() for name in group)}
    for reason in ABSENT:
        assert reason in PAGE[begin:end], reason


def test_names_give_the_rule_with_the_class_defaults() -> None:
    for name, kind in kinds().items():
        for text in (name, kind.__name__, name.upper(), name.replace("_", "-")):
            assert lw.rule_by_name(text) == kind()
    assert lw.rule_by_name("adamw_torch_fused", lr=3e-4, weight_decay=0.05) == lw.AdamW(3e-4, weight_decay=0.05)
    assert lw.rule_by_name("AdamW", 0.5).get_params()["lr"] == 0.5
    assert lw.rule_by_name("nesterov", 0.1, momentum=0.8) == lw.SGD(0.1, momentum=0.8, nesterov=True)


@pytest.mark.parametrize("name", ALIASES)
def test_every_alias_takes_a_step(name: str) -> None:
    weight = np.ones((2, 2), np.float32)
    with lw.Optimizer(lw.rule_by_name(name, lr=0.1)) as opt:
        opt.add_layer("head", weight, np.full_like(weight, 0.5))
        opt.step(loss=1.0)
        opt.step(loss=1.0)
    assert np.all(weight < 1)


def test_names_that_are_none() -> None:
    attempts: list[tuple[Any, type[Exception], str]] = [
        ("adamm", lw.UnknownName, r'no rule is called "adamm" \(did you mean "adam\w*"\?\), expected one of sgd, '),
        ("xyzzy", lw.UnknownName, 'no rule is called "xyzzy", expected one of sgd, '),
        ("shampoo", lw.UnknownName, r"shampoo is not here: it works on whole matrices\. .*LayerRates.*anywhere\.md"),
        ("AdamW8bit", lw.UnknownName, "not here: its states have 8 bits or fewer"),
        (lw.AdamW, TypeError, "expected the name of a rule"),
    ]
    for name, exception, match in attempts:
        with pytest.raises(exception, match=match):
            lw.rule_by_name(name)
    with pytest.raises(TypeError, match=r"AdamW has no argument 'weigth_decay'; did you mean weight_decay\?"):
        lw.rule_by_name("adamw", weigth_decay=0.1)
    with pytest.raises(lw.OutOfRange, match="lr must be in"):
        lw.rule_by_name("adamw", lr=-1.0)
