# SPDX-License-Identifier: Apache-2.0
"""What messages say to do after a mistake that many people make."""

import gzip
import inspect
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import layerwise as lw
from layerwise._buffers import Place, describe

os.environ.setdefault("KERAS_BACKEND", "jax")

torch = pytest.importorskip("torch")
lwt = pytest.importorskip("layerwise.torch")

MODEL = torch.nn.Linear(2, 2)


def layer(params: object, grads: object = None, **options: Any) -> None:
    with lw.Optimizer(lw.SGD()) as opt:
        opt.add_layer("head", params, grads, **options)


def read_only() -> np.ndarray[Any, Any]:
    array = np.ones(3)
    array.flags.writeable = False
    return array


POINTER = r"layerwise\.torch\.AdamW\(model, lr=\.\.\.\).*layerwise\.Optimizer\(layerwise\.AdamW\(lr=\.\.\.\)\)"
RULE = r"expected a rule such as layerwise\.AdamW\(lr=3e-4\), found "

MISTAKES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    # One of the two classes, where the other was meant.
    "parameters for a rule": (lambda: lw.AdamW(MODEL.parameters()), TypeError, "found generator.*" + POINTER),
    "parameters and rate": (lambda: lw.AdamW(MODEL.parameters(), lr=1e-3), TypeError, POINTER),
    "parameters, rate": (lambda: lw.AdamW(MODEL.parameters(), 1e-3), TypeError, POINTER),
    "list of parameters": (lambda: lw.AdamW(list(MODEL.parameters())), TypeError, "found list.*" + POINTER),
    "model for a rule": (lambda: lw.AdamW(MODEL), TypeError, "found Linear.*" + POINTER),
    "tensor for a rule": (lambda: lw.AdamW(MODEL.weight), TypeError, "found Parameter.*" + POINTER),
    "array for a rule": (lambda: lw.SGD(np.ones(3)), TypeError, r"found ndarray.*layerwise\.torch\.SGD"),
    "rate for torch": (lambda: lwt.AdamW(1e-3), TypeError, "model or its parameters, found 0.001.*in layerwise"),
    "rate alone for torch": (lambda: lwt.AdamW(lr=1e-3), TypeError, r"AdamW\(model, \.\.\.\).*layerwise\.AdamW\("),
    "rule for torch": (lambda: lwt.AdamW(lw.AdamW()), TypeError, "model or its parameters, found the rule AdamW"),
    "arrays for torch": (lambda: lwt.AdamW([np.ones(3)]), TypeError, r"layerwise\.Optimizer.*torch\.from_numpy"),
    "array for torch": (lambda: lwt.AdamW(np.ones(3)), TypeError, r"layerwise\.Optimizer.*torch\.from_numpy"),
    "torch class": (lambda: lw.Optimizer(torch.optim.AdamW), TypeError, RULE + r"the class torch\.optim"),
    "class of a rule": (lambda: lw.Optimizer(lw.AdamW), TypeError, RULE + r".*: write AdamW\(\.\.\.\)"),
    "torch optimizer": (lambda: lw.Optimizer(lwt.SGD(MODEL)), TypeError, RULE + r".*_rules\.SGD.* call its own step"),
    "name of a rule": (lambda: lw.Optimizer("adamw"), TypeError, RULE + r"'adamw': layerwise\.rule_by_name\('adamw'"),
    "model": (lambda: lw.Optimizer(MODEL), TypeError, RULE + r".*layerwise\.torch take a model"),
    "parameters": (lambda: lw.Optimizer(MODEL.parameters()), TypeError, RULE + r".*layerwise\.torch take a model"),
    "rule of a layer": (lambda: layer(np.ones(3), rule=lw.Lion), TypeError, RULE + r".*: write Lion\(\.\.\.\)"),
    "class of a policy": (
        lambda: lw.Optimizer(lw.SGD(), policy=lw.LayerDecay),
        TypeError,
        r"policy: .*layerwise\.LayerDecay\(0\.75\), found the class .*: write LayerDecay\(\.\.\.\)",
    ),
    "scheduler of torch": (
        lambda: lw.Optimizer(lw.SGD(), schedule=torch.optim.lr_scheduler.StepLR),
        TypeError,
        r"such as layerwise\.Cosine\(1000\), found the class torch\.optim\.lr_scheduler\.StepLR",
    ),
    # Numbers as text.
    "text": (lambda: lw.AdamW(lr="1e-3"), lw.OutOfRange, r"""lr takes a number.*lr=1e-3, or float\('1e-3'\)"""),
    "text of beta": (lambda: lw.AdamW(betas=("0.9", 0.99)), lw.OutOfRange, r"beta1=0\.9, or float\('0\.9'\)"),
    "text for torch": (lambda: lwt.AdamW(MODEL, lr="1e-3"), TypeError, r"lr=1e-3, or float\('1e-3'\)"),
    "text to set": (lambda: lw.Optimizer(lw.SGD()).set(lr="0.5"), lw.OutOfRange, r"lr=0\.5, or float\('0\.5'\)"),
    "text for a layer": (lambda: layer(np.ones(3), lr="0.5"), lw.OutOfRange, r"lr=0\.5, or float"),
    "text for a schedule": (lambda: lw.Cosine("100"), lw.OutOfRange, r"total_steps=100, or float\('100'\)"),
    "text in a list": (lambda: lw.Explicit({"a": "0.1"}), lw.OutOfRange, r"scale=0\.1, or float\('0\.1'\)"),
    "words": (lambda: lw.AdamW(lr="fast"), lw.OutOfRange, 'lr takes a number, found "fast"$'),
    # Wrong numbers, when the value is made.
    "rule": (lambda: lw.AdamW(lr=-1), lw.OutOfRange, r"AdamW: lr must be in \[0, inf\), found -1"),
    "one of two": (lambda: lw.AdamW(betas=(0.9, 1.5)), lw.OutOfRange, r"beta2 must be in \[0, 1\), found 1\.5"),
    "variant": (lambda: lw.LAMB(variant="tim"), lw.UnknownName, r'found "tim" \(did you mean "timm"\?\)'),
    "together": (lambda: lw.SGD(nesterov=True), lw.OutOfRange, "momentum"),
    "policy": (lambda: lw.LayerDecay(-1), lw.OutOfRange, r"layer_decay: decay must be in \(0, 1\], found -1"),
    "slice": (lambda: lw.RateSlice(0.2, 0.1), lw.OutOfRange, "lowest must not exceed highest"),
    "schedule": (lambda: lw.Cosine(-5), lw.OutOfRange, "cosine: total_steps must be a whole number from 1"),
    "plan": (lambda: lw.GradualUnfreezing(-1), lw.OutOfRange, "gradual_unfreezing: every must be a whole number"),
    "part": (lambda: lw.Warmup(100, 3), TypeError, "warmup: 3 cannot be a part of it"),
    "parts": (lambda: lw.Product(lw.Linear(5)), lw.OutOfRange, "expected at least two schedules, found 1"),
    # Names.
    "argument of a rule": (
        lambda: lw.AdamW(weigth_decay=0.1),
        TypeError,
        "AdamW .*; did you mean weight_decay",
    ),
    "argument of a policy": (lambda: lw.LayerDecay(0.5, min_scal=0.1), TypeError, r"did you mean min_scale\?"),
    "argument of an optimizer": (
        lambda: lw.Optimizer(lw.SGD(), clip_globl_norm=1.0),
        TypeError,
        r"'clip_globl_norm'; did you mean clip_global_norm\?",
    ),
    "strange argument": (lambda: lw.LayerDecay(0.5, zzz=1), TypeError, "'zzz'; expected one of decay, min_scale,"),
    "option for torch": (lambda: lwt.AdamW(MODEL, layer_deacy=0.5), TypeError, r"did you mean layer_decay\?"),
    "setting": (
        lambda: lw.Optimizer(lw.SGD()).set(momentm=0.9),
        lw.UnknownName,
        r'\(did you mean "momentum"\?\), expected',
    ),
    "value": (lambda: lw.Optimizer(lw.SGD()).get("momentm"), lw.UnknownName, r'\(did you mean "momentum"\?\)$'),
    "option of a layer": (
        lambda: layer(np.ones(3), weigth_decay=0.1),
        lw.UnknownName,
        r'layer "head": unknown setting "weigth_decay" \(did you mean "weight_decay"\?\), expected one of',
    ),
    "choice": (
        lambda: lw.Optimizer(lw.SGD(), nonfinite="rais"),
        lw.UnknownName,
        r'one of raise, skip, propagate, found "rais" \(did you mean "raise"\?\)',
    ),
    "number of a schedule": (
        lambda: lw.Optimizer(lw.SGD(), schedule={"momentun": lw.Constant()}),
        lw.UnknownName,
        r'no number is called "momentun" \(did you mean "momentum"\?\)',
    ),
    # Memory that cannot be stepped.
    "read-only": (
        lambda: layer(read_only()),
        lw.InvalidArgument,
        r"must be writable; .* np\.array\(x\) makes",
    ),
    "bytes": (lambda: layer(memoryview(b"12345678").cast("d")), lw.InvalidArgument, r"read-only memoryview.*np\.array"),
    "list": (lambda: layer([1.0, 2.0]), lw.DTypeMismatch, r"found list: np\.array\(x, np\.float32\)"),
    "strided": (lambda: layer(np.ones((3, 4))[:, ::2]), lw.InvalidArgument, r"numpy\.ascontiguousarray"),
    "meta": (lambda: layer(torch.ones(3, device="meta")), lw.InvalidArgument, r"found device meta.*model\.to_empty"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_says_what_to_do(mistake: str) -> None:
    make, exception, match = MISTAKES[mistake]
    with pytest.raises(exception, match=match) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_signatures_are_those_of_init() -> None:
    for cls in (lw.Optimizer, lw.AdamW, lw.LAMB, lw.Cosine, lw.Product, lw.RateSlice, lwt.AdamW, lwt.LAMB, lwt.SGD):
        parameters = inspect.signature(cls).parameters
        assert list(parameters) == list(inspect.signature(cls.__init__).parameters)[1:], cls
        assert "keywords" not in parameters


def test_names_of_layers_tensors_and_states() -> None:
    with lw.Optimizer(lw.SGD(momentum=0.9)) as opt:
        opt.add_layer("head", np.ones(3), np.ones(3))
        head = opt.layer("head")
        attempts: list[tuple[Callable[[], object], str]] = [
            (lambda: opt.layer("haed"), r'no layer is called "haed" \(did you mean "head"\?\), expected one of "head"'),
            (lambda: opt.step({"Head": np.ones(3)}), r'\(did you mean "head"\?\)'),
            (lambda: opt.step({"head": {"wieght": np.ones(3)}}), r"no tensor 'wieght' \(did you mean \"weight\"\?\)"),
            (lambda: head.read_state("weight", "momentum_bufer"), r'\(did you mean "momentum_buffer"\?\)'),
            (lambda: head.set(scal=1.0), r'\(did you mean "scale"\?\)'),
            (lambda: head.get("momentm"), r'\(did you mean "momentum"\?\)$'),
            (lambda: head.unset("momentm"), r'\(did you mean "momentum"\?\)$'),
            (lambda: opt.layer("tail"), 'no layer is called "tail", expected one of "head"$'),
        ]
        for attempt, match in attempts:
            with pytest.raises(lw.UnknownName, match=match):
                attempt()


def test_arrays_of_jax() -> None:
    jnp = pytest.importorskip("jax.numpy")
    with pytest.raises(lw.InvalidArgument, match=r"array of JAX.*np\.array\(x\) makes a.*layerwise\.optax"):
        layer(jnp.ones(3))
    weight = np.array(jnp.ones(3))
    with lw.Optimizer(lw.SGD(lr=0.5)) as opt:
        # Gradients are only read.
        opt.add_layer("head", weight)
        opt.step({"head": jnp.ones(3)})
    assert weight.tolist() == [0.5] * 3


def test_variables_of_keras() -> None:
    keras = pytest.importorskip("keras")
    with pytest.raises(lw.DTypeMismatch, match=r"variable of Keras: give its `\.value`.*layerwise\.keras"):
        layer(keras.Variable(np.ones(3)))


class OnTheGPU(torch.Tensor):  # type: ignore[misc]
    """A tensor that says it is on a GPU."""

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    @property
    def device(self) -> Any:
        return torch.device("cuda:0")


def test_parameters_on_a_gpu() -> None:
    tensor = torch.ones(3).as_subclass(OnTheGPU)
    match = r"must be on the CPU, found device cuda:0: layerwise\.torch\.LayerRates.*docs/anywhere\.md"
    with pytest.raises(lw.InvalidArgument, match=match):
        describe(tensor, Place("head", "weight", "parameters"), writable=True)
    from layerwise.torch._parameters import check

    with pytest.raises(lw.InvalidArgument, match=match):
        check(SimpleNamespace(layout=torch.strided, is_meta=False, device=torch.device("cuda:0")), "parameter 0")
    assert (Path(__file__).parents[2] / "docs" / "anywhere.md").exists()


def _write(path: Path, kind: str) -> None:
    weights = {"w": np.ones(3, np.float32)}
    if kind == "torch":
        torch.save({"w": torch.ones(3)}, path)
    elif kind == "old torch":
        torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, weights["w"])
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **weights)
    elif kind == "gzip":
        path.write_bytes(gzip.compress(b"weights"))
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(weights))
    elif kind == "text":
        path.write_text("lr: 0.1\nmomentum: 0.9\n", "utf-8")
    elif kind == "safetensors":
        pytest.importorskip("safetensors.numpy").save_file(weights, path)
    elif kind == "short":
        path.write_bytes(b"abc")


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("torch", r"not a safetensors file, as a checkpoint of Layerwise is, but a zip archive.*torch\.load"),
        ("old torch", r"not a safetensors file, as a checkpoint of Layerwise is, but a pickle.*torch\.load"),
        ("npz", "not a safetensors file, as a checkpoint of Layerwise is, but a zip archive"),
        ("npy", r"not a safetensors file, as a checkpoint of Layerwise is, but an array of NumPy.*numpy\.load"),
        ("gzip", "not a safetensors file, as a checkpoint of Layerwise is, but a gzip archive"),
        ("pickle", "not a safetensors file"),
        ("text", "not a safetensors file, as a checkpoint of Layerwise is, but text"),
        ("safetensors", "a safetensors file, but not a checkpoint of Layerwise"),
        ("short", "3 bytes are too few for a checkpoint"),
    ],
)
def test_files_that_are_no_checkpoint(kind: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / "run.lw"
    _write(path, kind)
    with lw.Optimizer(lw.SGD()) as opt:
        opt.add_layer("head", np.ones(3, np.float32))
        with pytest.raises(lw.CorruptCheckpoint, match=re.escape(str(path)) + ": " + match):
            opt.load(path)
    with pytest.raises(lw.CorruptCheckpoint, match=match):
        lwt.SGD(torch.nn.Linear(2, 1)).load(path)
