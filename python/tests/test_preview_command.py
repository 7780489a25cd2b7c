# SPDX-License-Identifier: Apache-2.0
"""`python -m layerwise preview`: layers from a checkpoint's names, recipes in words, refusals in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import layerwise as lw
from layerwise.__main__ import main

Run = tuple[int, str, str]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A small model with BERT's names."""
    path = tmp_path / "model.safetensors"
    save_file(bert_tensors(), path)
    return path


def bert_tensors() -> dict[str, np.ndarray[Any, Any]]:
    tensors: dict[str, np.ndarray[Any, Any]] = {
        "bert.embeddings.LayerNorm.weight": np.ones(4, np.float32),
        "bert.embeddings.position_ids": np.arange(8),
        "bert.embeddings.word_embeddings.weight": np.ones((16, 4), np.float32),
        "classifier.bias": np.ones(2, np.float32),
        "classifier.weight": np.ones((2, 4), np.float32),
    }
    for layer in range(11):
        block = f"bert.encoder.layer.{layer}"
        tensors[f"{block}.output.dense.weight"] = np.ones((4, 4), np.float16)
        tensors[f"{block}.output.dense.bias"] = np.ones(4, np.float16)
    return tensors


@pytest.fixture
def preview(bert: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command on the small model, unless it is given another, and returns status, output and errors."""

    def run(*arguments: str | Path, model: Path = bert) -> Run:
        status = main(["preview", str(model), *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def layers(run: Run) -> dict[str, dict[str, Any]]:
    status, out, _ = run
    assert status == 0
    return {row["layer"]: row for row in json.loads(out)["layers"]}


def test_layers_of_a_checkpoint(preview: Any) -> None:
    found = layers(preview("--json"))
    assert list(found) == [
        "bert.embeddings",
        *(f"bert.encoder.layer.{index}" for index in range(11)),
        "classifier",
    ]
    assert [row["depth"] for row in found.values()] == list(range(13))
    assert [row["role"] for row in found.values()] == ["stem", *["block"] * 11, "head"]
    assert found["bert.embeddings"]["parameters"] == 4 + 16 * 4
    assert found["bert.encoder.layer.10"]["tensors"] == 2


def test_what_is_left_out_is_told(preview: Any) -> None:
    _, out, err = preview()
    assert err == "note: left out: bert.embeddings.position_ids (I64)\n"
    assert "position_ids" not in out


def test_statistics_of_norms_are_left_out(preview: Any, tmp_path: Path) -> None:
    model = tmp_path / "resnet.safetensors"
    names = ["conv1.weight", "bn1.weight", "bn1.running_mean", "bn1.running_var", "layer1.0.conv1.weight", "fc.weight"]
    save_file({name: np.ones((2, 2), np.float32) for name in names}, model)
    run = preview("--json", model=model)
    assert sum(row["tensors"] for row in layers(run).values()) == 4
    assert run[2].count("(statistics)") == 2


def test_guesses_are_notes(preview: Any, tmp_path: Path) -> None:
    model = tmp_path / "mlp.safetensors"
    save_file({f"{name}.weight": np.ones((2, 2), np.float32) for name in "abcdefghijkl"}, model)
    _, out, err = preview(model=model)
    assert err.splitlines()[0] == "note: a guess: a at depth 0 (by its place)"
    assert err.splitlines()[8:] == ["note: a guess: 4 more"]
    assert "guess" not in out


def test_table_is_explain(preview: Any) -> None:
    status, out, _ = preview("--rule", "sgd:momentum=0.9", "--lr", "0.5", "--policy", "layer_decay:decay=0.5")
    assert status == 0
    assert out.startswith("SGD, base rate 0.5, policy layer_decay, step 0\n")
    assert len(out.splitlines()) == 2 + 13


def test_recipes_in_words_are_the_classes(preview: Any) -> None:
    found = layers(
        preview(
            "--json",
            "--lr=3e-4",
            "--policy=layer_decay:decay=0.75,convention=timm",
            "--policy=exclude:decay=0",
            "--schedule=cosine:total_steps=1000,warmup_steps=100",
            "--freezing=gradual_unfreezing:every=100",
            "--at=350",
        )
    )
    opt = lw.Optimizer(
        lw.AdamW(lr=3e-4),
        lw.Combine(lw.LayerDecay(0.75, convention="timm"), lw.Exclude(decay=False)),
        schedule=lw.Cosine(1000, warmup_steps=100),
        freezing=lw.GradualUnfreezing(100),
        dry_run=True,
    )
    for name, row in found.items():
        opt.add_layer(name, (2, 2), role=row["role"])
    for row in opt.explain_rows(350):
        for key in ("scale", "effective_lr", "schedule_factor", "frozen", "changes_at"):
            assert found[row["layer"]][key] == row[key], (row["layer"], key)
    assert {row["frozen"] for row in found.values()} == {True, False}


@pytest.mark.parametrize(
    ("words", "schedule"),
    [
        ("multi_step:values=10/30,gamma=0.5", lw.MultiStep([10, 30], 0.5)),
        ("piecewise:values=0/1/40/0.25,interpolation=linear", lw.Piecewise([(0, 1.0), (40, 0.25)], "linear")),
        ('{"name": "warmup", "steps": 50, "parts": ["cosine:total_steps=90"]}', lw.Warmup(50, lw.Cosine(90))),
        (
            '{"name": "sequential", "values": [20], "parts": [{"name": "constant"}, "step:every=10,gamma=0.5"]}',
            lw.Sequential([lw.Constant(), lw.StepDecay(10, 0.5)], [20]),
        ),
        (
            '{"name": "inverse_time", "rate": 0.5, "every": 3, "staircase": true}',
            lw.InverseTime(0.5, every=3, staircase=True),
        ),
    ],
)
def test_notation(preview: Any, words: str, schedule: lw.Schedule) -> None:
    found = layers(preview("--json", "--lr=1", "--schedule", words, "--at=33"))
    assert {row["effective_lr"] for row in found.values()} == {schedule.evaluate(34)[33]}


def test_text_that_looks_like_a_number_goes_as_json(preview: Any, tmp_path: Path) -> None:
    model = tmp_path / "sequential.safetensors"
    save_file({f"{index}.weight": np.ones((2, 2), np.float32) for index in (0, 2, 4)}, model)
    policy = '{"name": "explicit", "parts": [{"name": "layers", "match": "0", "scale": 0.5}, "layers:match=*,scale=2"]}'
    found = layers(preview("--json", "--policy", policy, model=model))
    assert [row["scale"] for row in found.values()] == [0.5, 2.0, 2.0]


def test_towers(preview: Any, tmp_path: Path) -> None:
    model = tmp_path / "clip.safetensors"
    names = [f"{tower}_model.encoder.layers.{index}.fc.weight" for tower in ("text", "vision") for index in range(3)]
    save_file({name: np.ones((2, 2), np.float32) for name in names}, model)
    policy = '{"name": "for_tower", "tower": "vision_model", "parts": ["layer_decay:decay=0.5"]}'
    found = layers(preview("--json", "--policy", policy, model=model))
    assert [row["scale"] for row in found.values() if row["tower"] == "text_model"] == [1.0] * 3
    assert [row["scale"] for row in found.values() if row["tower"] == "vision_model"] == [0.25, 0.5, 1.0]


def test_shards(preview: Any, bert: Path, tmp_path: Path) -> None:
    tensors = bert_tensors()
    places = {name: f"part-{index % 2}.safetensors" for index, name in enumerate(tensors)}
    for part in set(places.values()):
        save_file({name: tensors[name] for name in places if places[name] == part}, tmp_path / part)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}), "utf-8")
    assert layers(preview("--json", model=index)) == layers(preview("--json"))


def test_picture(preview: Any, tmp_path: Path) -> None:
    picture = tmp_path / "rates.png"
    status, out, _ = preview("--schedule=cosine:total_steps=50", "--steps=60", "--png", picture)
    assert status == 0
    assert out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--policy=layer_decay:decy=0.75"],
            'unknown setting "decy" (did you mean "decay"?), expected one of decay, min_scale',
        ),
        (["--policy=layer_decay:decay=2"], "decay must be in (0, 1]"),
        (
            ["--policy=layerdecay"],
            'no policy is called "layerdecay" (did you mean "layer_decay"?), expected one of uniform',
        ),
        (["--policy=layer_decay:decay"], "expected KEY=VALUE, found 'decay'"),
        (["--policy=layer_decay:"], "expected KEY=VALUE, found ''"),
        (["--policy=combine:parts=uniform"], "a list of parts, which needs JSON"),
        (['--policy={"name": "explicit", "parts": ["layers:match=nobody,scale=1"]}'], "nobody"),
        (['--policy={"name": "combine", "parts": "uniform"}'], "a list of parts"),
        (['--policy={"name": "combine", "parts": [1, 2]}'], "expected NAME:KEY=VALUE"),
        (["--schedule=cosine"], "total_steps must be given"),
        (["--schedule=cosine:total_steps=1,total_steps=2"], "total_steps is given twice"),
        (["--schedule=multi_step:values=1/x"], "values must be a list of numbers"),
        (
            ['--schedule={"name": "cosine", "total_steps": null}'],
            "total_steps must be a number, a flag or text, found null",
        ),
        (['--schedule={"name": "cosine", "name": "cosine"}'], "name is given twice"),
        (['--schedule={"total_steps": 3}'], "expected NAME:KEY=VALUE"),
        (['--schedule={"name": "cosine"'], "not JSON"),
        (["--schedule={" + '"a":[' * 100_000], "not JSON"),
        (["--freezing=gradual_unfreezing:every=0"], "every must be a whole number from 1"),
        (["--rule=adamx"], 'no rule is called "adamx"'),
        (["--rule=adamw:lr=1", "--lr=2"], "lr is given twice"),
        (["--rule=adamw:values=1/2"], "a rule has no list of numbers"),
        (["--rule=lamb:variant=nobody"], "variant must be one of paper"),
        (["--lr=-1"], "lr must be in [0, inf)"),
        (["--at=-1"], "step must be from 0"),
        (["--steps=5"], "--png and --steps go together"),
        (["--png=x.png"], "--png and --steps go together"),
        (["--png=x.png", "--steps=0"], "steps must be at least 1"),
        (["--png=/nowhere/x.png", "--steps=5"], "/nowhere/x.png: cannot be written: No such file or directory"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_refusals_are_one_line(preview: Any, arguments: list[str], message: str) -> None:
    status, _, err = preview(*arguments)
    assert status == 2
    (line,) = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert line.startswith("preview: ")
    assert message in line


def test_files_that_are_none(preview: Any, tmp_path: Path) -> None:
    def written(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    integers, nothing = tmp_path / "integers.safetensors", tmp_path / "nothing.safetensors"
    save_file({"ids": np.arange(3)}, integers)
    save_file({}, nothing)
    for model, message in (
        (tmp_path / "absent.safetensors", "no such file"),
        (tmp_path / "absent.json", "no such file"),
        (tmp_path, "a folder; expected a file such as"),
        (written("empty", b""), "cannot be read as safetensors"),
        (written("text", b"hello, this is no checkpoint"), "cannot be read as safetensors"),
        (nothing, "holds no tensors"),
        (integers, "holds no parameters in floating point"),
        (written("a.json", b""), "not an index of safetensors files"),
        (written("b.json", b"[]"), "not an index of safetensors files"),
        (written("c.json", b'{"weight_map": {"x": 1}}'), "not an index of safetensors files"),
        (written("d.json", b'{"weight_map": {}}'), "holds no tensors"),
        (written("e.json", b'{"weight_map": {"x": "integers.safetensors"}}'), "does not contain tensor x"),
    ):
        status, out, err = preview(model=model)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith(f"preview: {model.parent}")
        assert message in err


@pytest.mark.spawns
def test_as_a_command(bert: Path) -> None:
    def run(*arguments: str | Path, prelude: str = "") -> subprocess.CompletedProcess[str]:
        code = f"import sys\n{prelude}\nfrom layerwise.__main__ import main\nsys.exit(main(sys.argv[1:]))"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=os.environ | {"PYTHONPATH": str(Path(lw.__file__).parent.parent)},
            capture_output=True,
            text=True,
            check=False,
        )

    found = run("preview", bert)
    assert (found.returncode, found.stdout.count("\n")) == (0, 15)
    missing = run("preview", bert, prelude="sys.modules['safetensors'] = None")
    assert missing.returncode == 2
    assert missing.stderr == 'preview: checkpoints are read with safetensors: pip install "layerwise[preview]"\n'
    missing = run("preview", bert, "--steps=3", "--png=x.png", prelude="sys.modules['matplotlib'] = None")
    assert missing.returncode == 2
    assert 'pip install "layerwise[plot]"' in missing.stderr
    assert "gamma=0.5" in run("preview", "--help").stdout
