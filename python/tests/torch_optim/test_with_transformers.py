# SPDX-License-Identifier: Apache-2.0
"""Hugging Face's Trainer with a tiny BERT: its ways to be given an optimizer, its schedules, accumulation, clipping
and checkpoints.

Trainings are followed by torch's AdamW (see support/shadow.py).  A training that is resumed from a checkpoint equals
the one that went straight on in every bit.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import assert_same, states_of, values_of
from torch_optim.support.shadow import Shadow

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS, HALF, WARMUP, LR, WEIGHT_DECAY, DECAY, CLIP = 8, 4, 2, 1e-2, 0.1, 0.6, 0.5
TOP = 3
"""The head's depth: the embeddings are at 0, the two blocks at 1 and 2."""

CONFIG = BertConfig(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    vocab_size=31,
    max_position_embeddings=12,
    num_labels=3,
)


class Sentences(Dataset[dict[str, torch.Tensor]]):
    """Random words with random labels."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.words = torch.randint(0, 31, (64, 10), generator=generator)
        self.labels = torch.randint(0, 3, (64,), generator=generator)

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.words[index], "labels": self.labels[index]}


def bert() -> BertForSequenceClassification:
    """Dropout is on: a resumed training needs its random numbers too."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            # Biases that start at 0 would show no decay.
            parameter += 0.05
    return model


def scale_of(name: str) -> float:
    """The scale of layer decay by the name in the model, counted by hand."""
    if "embeddings" in name:
        return DECAY**TOP
    if ".layer." in name:
        return DECAY ** (TOP - 1 - int(name.split(".layer.")[1].split(".")[0]))
    return 1.0


def arguments(folder: Path, **more: Any) -> TrainingArguments:
    options: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_grad_norm": CLIP,
        "learning_rate": LR,
        "weight_decay": WEIGHT_DECAY,
        "lr_scheduler_type": "linear",
        "warmup_steps": WARMUP,
        "save_strategy": "steps",
        "save_steps": HALF,
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
    }
    return TrainingArguments(**(options | more))


def linear(step: int) -> float:
    return step / WARMUP if step < WARMUP else (STEPS - step) / (STEPS - WARMUP)


def cosine(step: int) -> float:
    progress = (step - WARMUP) / (STEPS - WARMUP)
    return step / WARMUP if step < WARMUP else 0.5 * (1 + math.cos(math.pi * progress))


def follow(trainer: Trainer, scaled: bool) -> Shadow:
    """torch's AdamW behind the trainer's optimizer, with the rates that layer decay stands for."""
    trainer.create_optimizer()
    opt = trainer.optimizer
    assert opt is not None
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    scales = [scale_of(names[p]) if scaled else 1.0 for group in opt.param_groups for p in group["params"]]
    return Shadow(opt, torch.optim.AdamW, scales)


def given(folder: Path, **more: Any) -> Trainer:
    """An optimizer made beforehand; the trainer makes its schedule."""
    model = bert()
    opt = lwt.AdamW(model, lr=LR, weight_decay=WEIGHT_DECAY, layer_decay=DECAY)
    return Trainer(model, arguments(folder, **more), train_dataset=Sentences(), optimizers=(opt, None))


def made_of_groups(folder: Path, **more: Any) -> Trainer:
    """The trainer makes two groups without names, of what decays and of what does not."""
    return Trainer(
        bert(),
        arguments(folder, **more),
        train_dataset=Sentences(),
        optimizer_cls_and_kwargs=(lwt.AdamW, {"lr": LR, "betas": (0.9, 0.999)}),
    )


def made_of_the_model(folder: Path, **more: Any) -> Trainer:
    """The trainer hands on a model that it finds among the arguments, so that layers have names."""
    model = bert()
    keywords = {"model": model, "lr": LR, "weight_decay": WEIGHT_DECAY, "layer_decay": DECAY}
    return Trainer(
        model, arguments(folder, **more), train_dataset=Sentences(), optimizer_cls_and_kwargs=(lwt.AdamW, keywords)
    )


def made_of_layers(folder: Path, **more: Any) -> Trainer:
    """A group for each layer, by the same way."""
    model = bert()
    keywords = {
        "params": lwt.param_groups(model),
        "lr": LR,
        "weight_decay": WEIGHT_DECAY,
        "layer_decay": DECAY,
    }
    return Trainer(
        model, arguments(folder, **more), train_dataset=Sentences(), optimizer_cls_and_kwargs=(lwt.AdamW, keywords)
    )


WAYS: dict[str, tuple[Callable[..., Trainer], bool]] = {
    "given": (given, True),
    "made of groups": (made_of_groups, False),
    "made of the model": (made_of_the_model, True),
    "made of layers": (made_of_layers, True),
}
"""How the trainer gets its optimizer, and whether the layers have rates of their own."""


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize(("make", "scaled"), WAYS.values(), ids=WAYS)
def test_trains_as_torch_does(make: Callable[..., Trainer], scaled: bool, kind: str, tmp_path: Path) -> None:
    trainer = make(tmp_path, lr_scheduler_type=kind, save_strategy="no")
    shadow = follow(trainer, scaled)
    trainer.train()
    shadow.assert_followed()
    factor = linear if kind == "linear" else cosine
    assert shadow.rates == pytest.approx([LR * factor(step) for step in range(STEPS)], rel=1e-12)
    logged = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    assert [entry["learning_rate"] for entry in logged] == shadow.rates
    assert any(entry["grad_norm"] > CLIP for entry in logged)


def test_decay_keeps_away_from_what_the_trainer_names(tmp_path: Path) -> None:
    opt = made_of_groups(tmp_path).create_optimizer()
    assert [group["weight_decay"] for group in opt.param_groups] == [WEIGHT_DECAY, 0.0]


def scheduled(folder: Path, **more: Any) -> Trainer:
    """Rates that Layerwise moves itself: the trainer's schedule is constant, the clock is in the optimizer."""
    model = bert()
    opt = lwt.AdamW(
        model,
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        layer_decay=DECAY,
        schedule=lw.Cosine(STEPS, warmup_steps=WARMUP, min_factor=0.1),
    )
    options = {"lr_scheduler_type": "constant", "warmup_steps": 0} | more
    return Trainer(model, arguments(folder, **options), train_dataset=Sentences(), optimizers=(opt, None))


RESUMED: dict[str, tuple[Callable[..., Trainer], dict[str, Any]]] = {
    "linear": (given, {}),
    "cosine": (given, {"lr_scheduler_type": "cosine"}),
    "groups": (made_of_groups, {}),
    "layers": (made_of_layers, {}),
    "own schedule": (scheduled, {}),
}


@pytest.mark.parametrize(("make", "options"), RESUMED.values(), ids=RESUMED)
def test_resumed_training_equals_the_straight_one(
    make: Callable[..., Trainer], options: dict[str, Any], tmp_path: Path
) -> None:
    straight = make(tmp_path, **options)
    straight.train()
    resumed = make(tmp_path, **options)
    with torch.no_grad():
        for parameter in resumed.model.parameters():
            parameter.zero_()
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{HALF}"))
    assert resumed.state.global_step == STEPS
    assert_same(values_of(resumed.model), values_of(straight.model))
    assert_same(optimizer_states(resumed), optimizer_states(straight))


def optimizer_states(trainer: Trainer) -> dict[str, torch.Tensor]:
    opt = trainer.optimizer
    # Accelerate wraps it.
    opt = getattr(opt, "optimizer", opt)
    states = states_of(trainer.model, opt)
    assert len(states) == 3 * len(list(trainer.model.parameters()))
    return states
