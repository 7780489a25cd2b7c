# SPDX-License-Identifier: Apache-2.0
"""LayerRates under Transformers' Trainer, Lightning, Accelerate, DDP, FSDP2 and torch.compile.

What a framework trains is compared with the plain loop of the documentation, in every bit where it adds nothing of its
own; a run that is resumed equals the one that went straight on.
"""

import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch_optim.support.networks import Batch, assert_same, batches, loss_of, network, part, states_of, values_of
from torch_optim.support.processes import SIZE, Processes
from torch_optim.test_with_transformers import CONFIG, Sentences
from transformers import BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

import layerwise as lw
import layerwise.torch as lwt
from layerwise.torch import LayerRates

STEPS, HALF = 8, 4
LR = 0.01
OPTIONS: dict[str, Any] = {
    "layer_decay": 0.6,
    "schedule": lw.Warmup(2, lw.Cosine(10, min_lr=1e-4)),
    "freezing": lw.GradualUnfreezing(2),
}


@pytest.fixture(autouse=True)
def alone(one_thread: None) -> Iterator[None]:
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    torch.compiler.reset()


def adamw(model: nn.Module, **more: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.2, **more)


def plain(parts: int = 1, data: Sequence[Batch] | None = None) -> dict[str, torch.Tensor]:
    """The loop of the documentation."""
    model = network()
    optimizer = adamw(model)
    rates = LayerRates(optimizer, model, **OPTIONS)
    for batch in batches(STEPS) if data is None else data:
        for index in range(parts):
            (loss_of(model, part(batch, index, parts)) / parts).backward()
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
    return values_of(model) | states_of(model, optimizer)


# ---- Transformers


class Watch(TrainerCallback):
    """Notes the rates of each step, and which parameters have moved."""

    def __init__(self, rates: LayerRates, model: nn.Module) -> None:
        self.rates, self.model, self.seen = rates, model, []
        self.start = values_of(model)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        moved = sum(not torch.equal(param, self.start[name]) for name, param in self.model.named_parameters())
        self.seen.append((self.rates.last_epoch, self.rates.get_last_lr(), moved))


def trainer(folder: Path, **more: Any) -> tuple[Trainer, LayerRates, Watch]:
    torch.manual_seed(0)
    model = BertForSequenceClassification(CONFIG)
    optimizer = adamw(model)
    rates = LayerRates(optimizer, model, **OPTIONS)
    options: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "save_steps": HALF,
        "report_to": [],
        "disable_tqdm": True,
        "logging_steps": 1,
    }
    watch = Watch(rates, model)
    made = Trainer(
        model,
        TrainingArguments(**(options | more)),
        train_dataset=Sentences(),
        optimizers=(optimizer, rates),
        callbacks=[watch],
    )
    return made, rates, watch


def test_trainer(tmp_path: Path) -> None:
    straight, rates, watch = trainer(tmp_path / "straight")
    preview = rates.preview(STEPS + 1, first=0)
    straight.train()
    assert [epoch for epoch, _, _ in watch.seen] == list(range(1, STEPS + 1))
    bases = [row["param_groups"][0] for row in rates.explain_rows()]
    for epoch, found, _ in watch.seen:
        for layer, group in enumerate(bases):
            assert preview[layer, epoch] in (0, found[group])
    moved = [count for _, _, count in watch.seen]
    # The first rate of the warm-up is 0; then pooler and classifier train alone.
    assert moved[:2] == [0, 4] and moved == sorted(moved) and moved[-1] > 30
    resumed, _, _ = trainer(tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / f"checkpoint-{HALF}"))
    assert_same(values_of(resumed.model), values_of(straight.model))
    # It logs the rate of the first group.
    assert straight.state.log_history[1]["learning_rate"] == watch.seen[0][1][0]


# ---- Lightning


class Module(lightning.LightningModule):
    """Lightning steps with a closure that does forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.model = network()

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return loss_of(self.model, batch)

    def configure_optimizers(self) -> Any:
        optimizer = adamw(self.model)
        self.rates = LayerRates(optimizer, self.model, **OPTIONS)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.rates, "interval": "step"}}


def fit(module: Module, folder: Path, epochs: int, resume: Path | None = None) -> lightning.Trainer:
    data = batches(HALF)
    tensors = TensorDataset(torch.cat([one for one, _ in data]), torch.cat([two for _, two in data]))
    made = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=CSVLogger(folder),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            LearningRateMonitor("step"),
            ModelCheckpoint(folder, filename="{epoch}", every_n_epochs=1, save_top_k=-1),
        ],
    )
    rows = DataLoader(tensors, batch_size=len(data[0][0]), shuffle=False)
    made.fit(module, rows, ckpt_path=str(resume) if resume else None)
    return made


def test_lightning(tmp_path: Path) -> None:
    """Resumed after the first of two epochs, since a loader without a state begins from its start again."""
    module = Module()
    made = fit(module, tmp_path / "straight", STEPS // HALF)
    expected = plain(data=batches(HALF) * 2)
    assert_same(values_of(module.model) | states_of(module.model, made.optimizers[0]), expected)
    resumed = Module()
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.zero_()
    made = fit(resumed, tmp_path / "resumed", STEPS // HALF, tmp_path / "straight" / "epoch=0.ckpt")
    assert_same(values_of(resumed.model) | states_of(resumed.model, made.optimizers[0]), expected)
    assert resumed.rates.last_epoch == STEPS


# ---- Accelerate


def test_accelerate(tmp_path: Path) -> None:
    def run(steps: list[int], load: Path | None = None, save_at: int | None = None) -> dict[str, torch.Tensor]:
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
        model = network()
        optimizer = adamw(model)
        rates = LayerRates(optimizer, model, **OPTIONS)
        prepared, opt, scheduler = accelerator.prepare(model, optimizer, rates)
        if load is not None:
            accelerator.load_state(str(load))
        for step in steps:
            batch = batches(STEPS)[step]
            for index in range(2):
                with accelerator.accumulate(prepared):
                    accelerator.backward(loss_of(prepared, part(batch, index, 2)))
                    opt.step()
                    scheduler.step()
                    opt.zero_grad()
            if step + 1 == save_at:
                accelerator.save_state(str(tmp_path))
        assert scheduler.get_last_lr() == rates.get_last_lr() and rates.last_epoch == STEPS
        return values_of(model) | states_of(model, optimizer)

    assert_same(run(list(range(STEPS)), save_at=HALF), plain(parts=2))
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    assert_same(run(list(range(HALF, STEPS)), load=tmp_path), plain(parts=2))


def test_over_an_optimizer_that_accelerate_has_prepared() -> None:
    model = network()
    optimizer = adamw(model)
    prepared, opt = Accelerator(cpu=True).prepare(model, optimizer)
    rates = LayerRates(opt, prepared, **OPTIONS)
    assert rates.optimizer is optimizer
    for batch in batches(STEPS):
        loss_of(prepared, batch).backward()
        opt.step()
        rates.step()
        opt.zero_grad()
    assert_same(values_of(model) | states_of(model, optimizer), plain())


# ---- Several processes


def share_ddp(wrapped_names: bool) -> dict[str, torch.Tensor]:
    model = network()
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = adamw(model)
    rates = LayerRates(optimizer, wrapped if wrapped_names else model, **OPTIONS)
    for batch in batches(STEPS):
        loss_of(wrapped, part(batch, dist.get_rank(), SIZE)).backward()
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
    return values_of(model) | states_of(model, optimizer)


@pytest.mark.spawns
@pytest.mark.parametrize("wrapped_names", [True, False])
def test_ddp(processes: Processes, wrapped_names: bool) -> None:
    for found in processes.run(share_ddp, wrapped_names):
        assert_same(found, plain(parts=SIZE))


def share_fsdp() -> tuple[dict[str, torch.Tensor], dict[str, float], list[float]]:
    model = network()
    mesh = init_device_mesh("cpu", (SIZE,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert all(isinstance(param, DTensor) for param in model.parameters())
    optimizer = adamw(model)
    rates = LayerRates(optimizer, model, telemetry=1, **OPTIONS)
    for batch in batches(STEPS):
        loss_of(model, part(batch, dist.get_rank(), SIZE)).backward()
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
    values = {name: param.full_tensor().detach() for name, param in model.named_parameters()}
    return values, rates.telemetry(), [float(rate) for rate in rates.get_last_lr()]


@pytest.mark.spawns
def test_fsdp2(processes: Processes) -> None:
    model = network()
    optimizer = adamw(model)
    rates = LayerRates(optimizer, model, telemetry=1, **OPTIONS)
    for batch in batches(STEPS):
        for index in range(SIZE):
            (loss_of(model, part(batch, index, SIZE)) / SIZE).backward()
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
    for found, telemetry, last in processes.run(share_fsdp):
        assert_same(found, values_of(model))
        # Norms of shards are summed in another order.
        assert telemetry == pytest.approx(rates.telemetry(), rel=1e-5, nan_ok=True)
        assert last == rates.get_last_lr()


def share_zero(early: bool) -> dict[str, torch.Tensor]:
    model = network()
    wrapped = DistributedDataParallel(model)
    if early:
        groups = lwt.param_groups(model, policy=lw.LayerDecay(OPTIONS["layer_decay"]))
        optimizer = ZeroRedundancyOptimizer(groups, torch.optim.AdamW, lr=LR, weight_decay=0.2)
    else:
        optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.AdamW, lr=LR, weight_decay=0.2)
    rates = LayerRates(optimizer, model, **OPTIONS)
    for batch in batches(STEPS):
        loss_of(wrapped, part(batch, dist.get_rank(), SIZE)).backward()
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
    return values_of(model)


def refuse_zero() -> str:
    # Caught here: an error that leaves a process ends both.
    with pytest.raises(lw.InvalidArgument) as refused:
        share_zero(False)
    return str(refused.value)


@pytest.mark.spawns
def test_zero(processes: Processes) -> None:
    expected = {name: value for name, value in plain(parts=SIZE).items() if ":" not in name}
    for found in processes.run(share_zero, True):
        assert_same(found, expected)
    for refusal in processes.run(refuse_zero):
        assert "ZeroRedundancyOptimizer has divided its param groups" in refusal


# ---- torch.compile


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_a_compiled_step() -> None:
    """Layers rest in a compiled step too, and it equals the one that is not compiled but for its rounding."""
    model, twin = network(), network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.tensor(LR, dtype=torch.float64), weight_decay=0.2)
    rates = LayerRates(optimizer, model, **OPTIONS)
    other = adamw(twin)
    theirs = LayerRates(other, twin, **OPTIONS)
    compiled = torch.compile(optimizer.step)
    start = values_of(model)
    for step, batch in enumerate(batches(STEPS)):
        for each in (model, twin):
            loss_of(each, batch).backward()
        compiled()
        other.step()
        rates.step()
        theirs.step()
        for name, param in model.named_parameters():
            expected = twin.get_parameter(name)
            assert torch.equal(param, start[name]) == torch.equal(expected, start[name]), (step, name)
            assert torch.allclose(param, expected, rtol=1e-4, atol=1e-5)
            assert param.grad is not None
        optimizer.zero_grad()
        other.zero_grad()
    assert not torch.equal(model.head.weight, start["head.weight"])


def test_a_rate_in_a_tensor_compiles_once() -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.tensor(LR, dtype=torch.float64))
    rates = LayerRates(optimizer, model, layer_decay=0.6, schedule=OPTIONS["schedule"])
    # What is counted comes before any code is made.
    compiled = torch.compile(optimizer.step, backend="aot_eager")
    graphs = []
    for batch in batches(STEPS):
        loss_of(model, batch).backward()
        compiled()
        rates.step()
        optimizer.zero_grad()
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert len(set(graphs[2:])) == 1, graphs
