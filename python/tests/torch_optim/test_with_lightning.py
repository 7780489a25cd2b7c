# SPDX-License-Identifier: Apache-2.0
"""Lightning, which calls step with a closure that does forward and backward, against the plain loop, in every bit.

With the optimization that it does itself (accumulation, clipping, schedules, checkpoints), and with the one that a
module does by hand.
"""

import csv
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

import layerwise as lw
import layerwise.torch as lwt
from torch_optim.support.networks import (
    OPTIMIZERS,
    ROWS,
    TRUST_RATIOS,
    Batch,
    Network,
    assert_moved,
    assert_same,
    batches,
    falling,
    loss_of,
    network,
    optimizer,
    states_of,
    train,
    trained,
    values_of,
)

STEPS, HALF, PARTS, CLIP = 6, 3, 2, 0.3
DATA = batches(STEPS)
CASES = OPTIMIZERS | TRUST_RATIOS


@pytest.fixture(autouse=True)
def alone(one_thread: None) -> Iterator[None]:
    with warnings.catch_warnings():
        # Lightning says that a loader could have more workers, and the like.
        warnings.simplefilter("ignore")
        yield


def loader(rows: int, count: int) -> DataLoader[Any]:
    data = batches(count)
    tensors = TensorDataset(torch.cat([inputs for inputs, _ in data]), torch.cat([targets for _, targets in data]))
    return DataLoader(tensors, batch_size=rows, shuffle=False)


class Automatic(lightning.LightningModule):
    """Lightning steps."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.model = network()
        self.make = lambda model: optimizer(name, model, **options)

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        return loss_of(self.model, batch)

    def configure_optimizers(self) -> dict[str, Any]:
        opt = self.make(self.model)
        return {"optimizer": opt, "lr_scheduler": {"scheduler": falling(opt), "interval": "step"}}


def fit(
    module: lightning.LightningModule, folder: Path, checkpoint: Path | None = None, count: int = STEPS, **more: Any
) -> Any:
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "max_steps": STEPS,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
    }
    trainer = lightning.Trainer(**(options | more))
    rows = ROWS // trainer.accumulate_grad_batches
    trainer.fit(module, loader(rows, count), ckpt_path=checkpoint)
    return trainer


def plain(
    name: str, data: Sequence[Batch] = DATA, parts: int = PARTS, clip: float | None = CLIP, **options: Any
) -> dict[str, torch.Tensor]:
    model, opt = trained(name, data, parts=parts, clip=clip, scheduled=True, **options)
    return values_of(model) | states_of(model, opt)


def tensors(trainer: Any, model: Network) -> dict[str, torch.Tensor]:
    return values_of(model) | states_of(model, trainer.optimizers[0])


@pytest.mark.parametrize("name", CASES)
def test_equals_the_plain_loop(name: str, tmp_path: Path) -> None:
    module = Automatic(name, {})
    trainer = fit(module, tmp_path, accumulate_grad_batches=PARTS, gradient_clip_val=CLIP)
    assert trainer.global_step == STEPS
    assert_same(tensors(trainer, module.model), plain(name))


def test_the_module_itself_has_the_same_layers(tmp_path: Path) -> None:
    """Names in the module begin with that of the attribute which holds the model."""
    module = Automatic("adamw, layer decay", {})
    module.make = lambda model: optimizer("adamw, layer decay", module)
    trainer = fit(module, tmp_path, accumulate_grad_batches=PARTS, gradient_clip_val=CLIP)
    assert_same(tensors(trainer, module.model), plain("adamw, layer decay"))


@pytest.mark.parametrize("name", ["sgd", "adamw, layer decay"])
def test_bfloat16_by_autocast_with_clipping(name: str, tmp_path: Path) -> None:
    """Lightning clips by itself only where the optimizer leaves it to a scaler to undo its scale, as torch's do."""
    module = Automatic(name, {})
    trainer = fit(module, tmp_path, precision="bf16-mixed", gradient_clip_val=CLIP)
    model = network()
    opt = optimizer(name, model)
    scheduler = falling(opt)
    for batch in DATA:
        opt.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        opt.step()
        scheduler.step()
    assert_same(tensors(trainer, module.model), values_of(model) | states_of(model, opt))


@pytest.mark.parametrize("name", CASES)
def test_resumed(name: str, tmp_path: Path) -> None:
    """From a checkpoint of Lightning's, with a schedule of Layerwise's beside that of torch.

    After the first of two epochs, since a loader without a state starts over.
    """
    epochs = {"count": HALF, "max_steps": -1, "max_epochs": STEPS // HALF}
    schedule = {"schedule": lw.Exponential(0.9)}
    expected = plain(name, DATA[:HALF] * 2, parts=1, clip=None, **schedule)
    straight = Automatic(name, schedule)
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", every_n_epochs=1, save_top_k=-1)
    trainer = fit(straight, tmp_path, **epochs, callbacks=[keep], enable_checkpointing=True)
    assert_same(tensors(trainer, straight.model), expected)

    resumed = Automatic(name, schedule)
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.zero_()
    trainer = fit(resumed, tmp_path, tmp_path / "epoch=0.ckpt", **epochs)
    assert trainer.global_step == STEPS
    assert_same(tensors(trainer, resumed.model), expected)


def test_rates_are_monitored(tmp_path: Path) -> None:
    """Lightning reads the rate and the momentum of each group, by the group's name where it has one."""
    module = Automatic("adamw", {})
    logger = CSVLogger(tmp_path)
    monitor = LearningRateMonitor("step", log_momentum=True)
    fit(module, tmp_path, logger=logger, callbacks=[monitor], log_every_n_steps=1)
    with open(Path(logger.log_dir) / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rates = [float(row["lr-AdamW"]) for row in rows]
    assert rates == pytest.approx([0.01 * 0.8**step for step in range(STEPS)], rel=1e-12)
    assert [float(row["lr-AdamW-momentum"]) for row in rows] == [0.9] * STEPS


class Manual(lightning.LightningModule):
    """The module steps two optimizers, one of them at every other batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.first, self.second = network(), network()

    def training_step(self, batch: Batch, index: int) -> None:
        first, second = self.optimizers()
        first.zero_grad()
        self.manual_backward(loss_of(self.first, batch))
        self.clip_gradients(first, gradient_clip_val=CLIP, gradient_clip_algorithm="norm")
        first.step()

        def closure() -> torch.Tensor:
            second.zero_grad()
            loss = loss_of(self.second, batch)
            self.manual_backward(loss)
            return loss

        if index % 2:
            with second.toggle_model():
                second.step(closure=closure)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [optimizer("sgd", self.first), lwt.LAMB(self.second, lr=0.02)]


def test_by_hand(tmp_path: Path) -> None:
    module = Manual()
    # Lightning counts the steps of all optimizers.
    trainer = fit(module, tmp_path, max_steps=-1, max_epochs=1)
    assert trainer.global_step == STEPS + STEPS // 2
    first, second = network(), network()
    first_opt, second_opt = optimizer("sgd", first), lwt.LAMB(second, lr=0.02)

    def clip() -> None:
        torch.nn.utils.clip_grad_norm_(first.parameters(), CLIP)

    train(first, first_opt, batches(STEPS), before_step=clip)
    train(second, second_opt, batches(STEPS)[1::2])
    assert_same(values_of(module.first), values_of(first))
    assert_same(values_of(module.second), values_of(second))
    assert_moved(values_of(second), values_of(network()))
    for found, model, opt in zip(trainer.optimizers, (first, second), (first_opt, second_opt), strict=True):
        ours = module.first if model is first else module.second
        assert_same(states_of(ours, found), states_of(model, opt))
