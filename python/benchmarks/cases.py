# SPDX-License-Identifier: Apache-2.0
"""Which contestants meet on which workload."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import layerwise as lw

from . import contestants as who
from . import training
from .meeting import Meeting
from .policies import MICROBATCHES, PLANS, POLICIES, TELEMETRY, TELEMETRY_AGAIN, WATCHED, watched
from .results import STREAM, STREAM_TWICE
from .rules import all_rules, limit
from .stream import ONE_MOMENT, TWO_MOMENTS, TWO_MOMENTS_16_BIT, Look, Stream, Traffic
from .workloads import BFLOAT16, Shape, Workload, matrices, minilm, minilm_names, small_tensors

PLAIN = "layerwise"
EVERY_RATE = "layerwise, a rate for every layer"
SGD_EVERY_RATE = "layerwise SGD with momentum, a rate for every layer"
RAISE = 'layerwise, nonfinite="raise"'
GUARDED = "layerwise, guarded"
ADAMW = "layerwise AdamW"
SGD = "layerwise SGD with momentum"
LAMB = "layerwise LAMB"
LARS = "layerwise LARS"
SCHEDULED = "layerwise, with a schedule"
TORCH_FUSED = "torch fused"
TORCH_FOREACH = "torch foreach"
TORCH_GUARDED = "torch clip_grad_norm_ + fused"
DEEPSPEED = "DeepSpeed CPUAdam"
TORCH_FUSED_16_BIT = "torch fused, bf16 moments"
DEEPSPEED_16_BIT = "DeepSpeed CPUAdam, bf16 moments"
LAMB_LIKE_PEER = "layerwise LAMB, the peer's variant"
LARS_LIKE_PEER = "layerwise LARS, the peer's variant"
PEER_LAMB = "pytorch_optimizer Lamb"
PEER_LARS = "pytorch_optimizer LARS"
IN_TORCH = "layerwise.torch"
IN_TORCH_GROUPS = "layerwise.torch, a group for each tensor"
TORCH_FUSED_GROUPS = "torch fused, a group for each tensor"
LAYER_RATES = "layerwise.torch.LayerRates"
TORCH_COSINE = "torch CosineAnnealingLR"
DRIVEN_FUSED = "torch fused, driven by layer, merged groups"
FUSED_BY_HAND = "torch fused, the same groups, rates at rest"
DRIVEN_FUSED_GROUPS = "torch fused, a rate and a group for each tensor"
DRIVEN_FOREACH = "torch foreach, driven by layer, merged groups"
FOREACH_BY_HAND = "torch foreach, the same groups, rates at rest"
DRIVEN_FOREACH_GROUPS = "torch foreach, a rate and a group for each tensor"
MUON = "layerwise Muon"
MUON_16 = "layerwise Muon, rounded to bfloat16"
MUON_BLAS = "layerwise Muon by a BLAS"
MUON_BLAS_16 = "layerwise Muon by a BLAS, rounded to bfloat16"
TORCH_MUON = "torch Muon, bfloat16 products"
TORCH_MUON_32 = "torch Muon, float32 products"
PRODUCTS = "the products alone, by torch in float32"
WITHOUT = "forward and backward"
WITH_LAYERWISE = "with layerwise.torch, a group for each tensor"
WITH_TORCH = "with torch fused, a group for each tensor"


@dataclass(frozen=True)
class Scope:
    """How large a run is.

    Attributes:
        threads: For every contestant.
        tensors: How many large tensors there are.
        side: Rows and columns of each.
        repeats: How often the four small tensors repeat.
        stream: The streaming loops.
    """

    threads: int
    tensors: int
    side: int
    repeats: int
    stream: Stream

    @property
    def large(self) -> list[Shape]:
        """The shapes of the cases that are limited by memory."""
        return matrices(self.tensors, self.side)


def adamw_float32(scope: Scope) -> Meeting:
    """AdamW on large float32 tensors."""
    meeting = _memory_bound("AdamW, float32", PLAIN, Workload(scope.large), TWO_MOMENTS, scope)
    _add_variants(meeting, who.adamw(), scope)
    meeting.invite(TORCH_FUSED, lambda: who.torch_adamw(meeting.workload, fused=True))
    meeting.invite(TORCH_FOREACH, lambda: who.torch_adamw(meeting.workload, foreach=True))
    meeting.invite(DEEPSPEED, lambda: who.deepspeed_adamw(meeting.workload))
    meeting.first_step()
    return meeting


def sgd_float32(scope: Scope) -> Meeting:
    """SGD with momentum on large float32 tensors."""
    meeting = _memory_bound("SGD with momentum, float32", PLAIN, Workload(scope.large), ONE_MOMENT, scope)
    _add_variants(meeting, who.sgd(), scope)
    meeting.invite(TORCH_FUSED, lambda: who.torch_sgd(meeting.workload, fused=True))
    meeting.invite(TORCH_FOREACH, lambda: who.torch_sgd(meeting.workload, foreach=True))
    meeting.first_step()
    return meeting


def every_rate(scope: Scope) -> Meeting:
    """What a rate for every layer costs: so little that it takes many rounds to tell."""
    meeting = Meeting("A rate for every layer, float32", PLAIN, Workload(scope.large), rounds=8)
    for rule, one, every in ((who.adamw(), PLAIN, EVERY_RATE), (who.sgd(), SGD, SGD_EVERY_RATE)):
        buffers = meeting.workload.copy()
        optimizer = who.layerwise(rule, buffers, scope.threads)
        own_rates = who.explicit(_scales(len(buffers.parameters)))
        meeting.add(one, optimizer.step, partial(setattr, optimizer, "policy", lw.Uniform()))
        meeting.add(every, optimizer.step, partial(setattr, optimizer, "policy", own_rates))
    meeting.first_step()
    return meeting


def adamw_bfloat16(scope: Scope) -> Meeting:
    """AdamW on large bfloat16 tensors; our moments are float32, those of some rivals bfloat16."""
    workload = Workload(scope.large, BFLOAT16)
    meeting = _memory_bound("AdamW, bfloat16, float32 moments", PLAIN, workload, TWO_MOMENTS_16_BIT, scope)
    buffers = workload.copy()
    meeting.add(PLAIN, who.layerwise(who.adamw(), buffers, scope.threads).step, compare=buffers)
    meeting.invite(DEEPSPEED, lambda: who.deepspeed_adamw(workload))
    # All four arrays are read and all but the gradient written, two bytes an element.
    narrow = 7 * 2 * workload.parameter_count
    meeting.invite(TORCH_FUSED_16_BIT, lambda: who.torch_adamw(workload, fused=True), narrow)
    meeting.invite(DEEPSPEED_16_BIT, lambda: who.deepspeed_adamw(workload, float32_moments=False), narrow)
    # Rounding to bfloat16 may go the other way, and one unit of a large weight is about as much as a step.
    meeting.first_step(tolerance=1.0)
    return meeting


def lamb_float32(scope: Scope) -> Meeting:
    """LAMB beside AdamW on the same large tensors."""
    meeting = _memory_bound("LAMB, float32", LAMB, Workload(scope.large), TWO_MOMENTS, scope)
    _add_rules(
        meeting,
        scope,
        {LAMB: who.lamb(), LAMB_LIKE_PEER: who.lamb("pytorch_optimizer"), ADAMW: who.adamw()},
        LAMB_LIKE_PEER,
    )
    meeting.invite(PEER_LAMB, lambda: who.pytorch_optimizer_lamb(meeting.workload))
    meeting.first_step()
    return meeting


def lars_float32(scope: Scope) -> Meeting:
    """LARS beside SGD with momentum on the same large tensors."""
    meeting = _memory_bound("LARS, float32", LARS, Workload(scope.large), ONE_MOMENT, scope)
    _add_rules(
        meeting,
        scope,
        {LARS: who.lars(), LARS_LIKE_PEER: who.lars("pytorch_optimizer"), SGD: who.sgd()},
        LARS_LIKE_PEER,
    )
    look = Look(weights=True, unit=scope.side**2)
    meeting.add_loops(STREAM_TWICE, scope.stream.steppers(meeting.workload, ONE_MOMENT, scope.threads, look))
    meeting.invite(PEER_LARS, lambda: who.pytorch_optimizer_lars(meeting.workload))
    meeting.first_step()
    return meeting


def guarded_adamw(scope: Scope) -> Meeting:
    """AdamW with everything that looks at the gradients first, beside plain AdamW."""
    meeting = _memory_bound(
        "AdamW, float32, guarded by clipping, finite check, telemetry",
        GUARDED,
        Workload(scope.large),
        TWO_MOMENTS,
        scope,
    )
    look = Look(weights=False)
    meeting.add_loops(STREAM_TWICE, scope.stream.steppers(meeting.workload, TWO_MOMENTS, scope.threads, look))
    buffers = meeting.workload.copy()
    optimizer = who.layerwise(who.adamw(), buffers, scope.threads)
    on = partial(optimizer.set, clip_global_norm=who.CLIP, nonfinite="raise", telemetry=True)
    off = partial(optimizer.set, clip_global_norm=math.inf, nonfinite="propagate", telemetry=False)
    meeting.add(GUARDED, optimizer.step, on, compare=buffers)
    meeting.add(PLAIN, optimizer.step, off)
    meeting.invite(TORCH_GUARDED, lambda: who.torch_guarded_adamw(meeting.workload))
    meeting.invite(TORCH_FUSED, lambda: who.torch_adamw(meeting.workload, fused=True), compare=False)
    meeting.first_step()
    return meeting


def small_layers(scope: Scope) -> Meeting:
    """AdamW on many small tensors, each a layer or group with a rate of its own, stepped from Python."""
    workload = Workload(small_tensors(scope.repeats))
    meeting = Meeting(f"AdamW, {len(workload.shapes)} small tensors, a rate for each", PLAIN, workload)
    scales = _scales(len(workload.shapes))
    _add_own(meeting, scope, scales)
    meeting.invite(DEEPSPEED, lambda: who.deepspeed_adamw(workload, scales))
    meeting.invite(TORCH_FUSED, lambda: who.torch_adamw(workload, scales, fused=True))
    meeting.invite(TORCH_FOREACH, lambda: who.torch_adamw(workload, scales, foreach=True))
    meeting.first_step()
    return meeting


def one_tensor(scope: Scope) -> Meeting:
    """AdamW on a tensor of 16 elements: what a call from Python costs."""
    workload = Workload([(16,)])
    meeting = Meeting("AdamW, one tensor of 16 elements", PLAIN, workload)
    _add_own(meeting, scope, None)
    meeting.invite(DEEPSPEED, lambda: who.deepspeed_adamw(workload))
    meeting.invite(TORCH_FUSED, lambda: who.torch_adamw(workload, fused=True))
    meeting.first_step()
    return meeting


def torch_small(scope: Scope) -> Meeting:
    """AdamW as a torch optimizer, on many small tensors with a group for each, and gradients that are new each time."""
    return _torch_small(scope, "new gradients", lambda entry: entry)


def torch_small_after_matmul(scope: Scope) -> Meeting:
    """The steps of `torch_small`, each right after a matrix product of torch."""
    return _torch_small(scope, "each step after a matrix product", who.after_matmul)


def _torch_small(scope: Scope, how: str, met: Callable[[who.Entry], who.Entry]) -> Meeting:
    workload = Workload(small_tensors(scope.repeats))
    title = f"AdamW in torch, {len(workload.shapes)} small tensors, a group and a rate for each, {how}"
    meeting = Meeting(title, IN_TORCH, workload)
    scales = _scales(len(workload.shapes))
    meeting.invite(IN_TORCH, lambda: met(who.layerwise_torch(workload, scope.threads, scales)))
    meeting.invite(DEEPSPEED, lambda: met(who.renewed_deepspeed_adamw(workload, scales)))
    meeting.invite(TORCH_FUSED, lambda: met(who.renewed_torch_adamw(workload, scales, fused=True)))
    meeting.invite(TORCH_FOREACH, lambda: met(who.renewed_torch_adamw(workload, scales, foreach=True)))
    meeting.first_step()
    return meeting


def torch_minilm(scope: Scope) -> Meeting:
    """AdamW as a torch optimizer on the tensors of MiniLM, in one group and in a group for each."""
    workload = Workload(minilm())
    meeting = _memory_bound(
        "AdamW in torch, MiniLM's 103 tensors, new gradients", IN_TORCH, workload, TWO_MOMENTS, scope
    )
    ones = [1.0] * len(workload.shapes)
    meeting.invite(IN_TORCH, lambda: who.layerwise_torch(workload, scope.threads))
    meeting.invite(IN_TORCH_GROUPS, lambda: who.layerwise_torch(workload, scope.threads, ones))
    meeting.invite(TORCH_FUSED, lambda: who.renewed_torch_adamw(workload, fused=True))
    meeting.invite(TORCH_FUSED_GROUPS, lambda: who.renewed_torch_adamw(workload, ones, fused=True))
    meeting.invite(TORCH_FOREACH, lambda: who.renewed_torch_adamw(workload, foreach=True))
    meeting.invite(DEEPSPEED, lambda: who.renewed_deepspeed_adamw(workload))
    meeting.first_step()
    return meeting


def layer_rates(scope: Scope) -> Meeting:
    """Moving the rates of an optimizer of torch, of 200 layers with a group for each."""
    workload = Workload([(8,)] * 200)
    meeting = Meeting(f"The rates of {len(workload.shapes)} layers, a param group for each", LAYER_RATES, workload)
    meeting.invite(LAYER_RATES, lambda: who.layer_rates(workload), compare=False)
    meeting.invite(TORCH_COSINE, lambda: who.torch_scheduler(workload), compare=False)
    meeting.first_step()
    return meeting


def driven_minilm(scope: Scope) -> Meeting:
    """torch's AdamW driven by layer on the tensors of MiniLM, beside the same with one group."""
    workload, names = Workload(minilm()), minilm_names()
    meeting = Meeting("torch's AdamW driven by layer, MiniLM's 103 tensors", DRIVEN_FUSED, workload)
    for (driven, by_hand, each, one), implementation in (
        ((DRIVEN_FUSED, FUSED_BY_HAND, DRIVEN_FUSED_GROUPS, TORCH_FUSED), {"fused": True}),
        ((DRIVEN_FOREACH, FOREACH_BY_HAND, DRIVEN_FOREACH_GROUPS, TORCH_FOREACH), {"foreach": True}),
    ):
        made = who.Driven(workload, names, **implementation)
        meeting.add(driven, made.driven_step, made.by_layer)
        meeting.add(by_hand, made.step, made.by_layer)
        meeting.add(each, made.step, made.each)
        meeting.add(one, made.step, made.in_one_group)
    meeting.first_step()
    return meeting


def training_minilm(scope: Scope) -> Meeting:
    """What share of a whole training step the optimizer takes."""
    title = f"Training a network of MiniLM's shapes, {training.SENTENCES} sentences of {training.TOKENS} tokens"
    meeting = Meeting(title, WITHOUT, Workload(minilm()))
    meeting.invite(WITHOUT, training.training, compare=False)
    ours = partial(training.layerwise_adamw, threads=scope.threads)
    meeting.invite(WITH_LAYERWISE, lambda: training.training(ours), compare=False)
    meeting.invite(WITH_TORCH, lambda: training.training(training.torch_adamw), compare=False)
    meeting.first_step()
    return meeting


def muon_square(scope: Scope) -> Meeting:
    """Muon on a square matrix."""
    return _muon((1024, 1024), scope)


def muon_tall(scope: Scope) -> Meeting:
    """Muon on a tall matrix."""
    return _muon((4096, 1024), scope)


def _muon(shape: Shape, scope: Scope) -> Meeting:
    """Muon beside torch's, and beside the matrix products that it cannot do without."""
    workload = Workload([shape])
    meeting = Meeting(f"Muon, float32, {shape[0]} x {shape[1]}", MUON, workload)
    buffers = workload.copy()
    meeting.add(MUON, who.layerwise(who.muon(), buffers, scope.threads).step, compare=buffers)
    meeting.invite(MUON_16, lambda: who.muon_in_bfloat16(workload, scope.threads), compare=False)
    meeting.invite(MUON_BLAS, lambda: who.muon_by_blas(workload, scope.threads, "full"))
    meeting.invite(MUON_BLAS_16, lambda: who.muon_by_blas(workload, scope.threads, "bfloat16"), compare=False)
    meeting.invite(TORCH_MUON_32, lambda: who.torch_muon_in_float32(workload))
    meeting.invite(TORCH_MUON, lambda: who.torch_muon(workload), compare=False)
    meeting.invite(PRODUCTS, lambda: who.muon_products(workload), compare=False)
    meeting.first_step()
    return meeting


def every_rule(scope: Scope) -> Meeting:
    """Every rule at its defaults but Muon, whose time is that of products, beside plain loops over the same arrays."""
    workload = Workload(matrices(4, scope.side))
    count = workload.parameter_count
    meeting = Meeting("Every rule, float32", "AdamW", workload)
    for name, rule in all_rules().items():
        own = limit(name, rule)
        for loop in (own, own.plain):
            if loop.name not in meeting.loops:
                steppers = scope.stream.steppers(workload, loop.traffic, scope.threads, loop.look)
                meeting.add_loops(loop.name, steppers, loop.bytes_per_parameter * count)
        moved = own.bytes_per_parameter * count
        meeting.invite(name, partial(who.at_defaults, rule, workload, scope.threads), moved, compare=False)
        meeting.invite(f"{name}, peer", partial(who.peer_of, rule, workload), moved, compare=False)
        meeting.limits |= {name: own.name, f"{name}, peer": own.name}
    meeting.first_step()
    return meeting


def measured_policies(scope: Scope) -> Meeting:
    """AdamW with every policy and freezing plan that measures, beside AdamW with telemetry and loops of as many bytes.

    One optimizer takes all steps, so that where its memory lies makes no difference.  AdamW with telemetry takes part
    twice.
    """
    workload = Workload(matrices(scope.tensors // 2, scope.side))
    count = workload.parameter_count
    meeting = Meeting(
        "AdamW with a policy that measures, float32",
        TELEMETRY,
        workload,
        TWO_MOMENTS.bytes_per_parameter * count,
    )
    for own in WATCHED:
        loops = scope.stream.steppers(workload, own.traffic, scope.threads, own.look)
        meeting.add_loops(own.loop, loops, own.bytes_per_parameter * count)
    optimizer = who.layerwise(who.adamw(), workload.copy(), scope.threads)

    def prepare(policy: lw.Policy, telemetry: bool, plan: lw.FreezePlan | None = None) -> None:
        optimizer.policy = policy
        optimizer.freezing = plan
        optimizer.set(telemetry=telemetry)

    def measure_and_step() -> None:
        optimizer.measure_microbatch()
        optimizer.step()

    for name in (TELEMETRY, TELEMETRY_AGAIN):
        meeting.add(name, optimizer.step, partial(prepare, lw.Uniform(), True))
    meeting.add(PLAIN, optimizer.step, partial(prepare, lw.Uniform(), False))
    kinds = {name: watched(policy) for name, policy in POLICIES.items()}
    for name, policy in POLICIES.items():
        step = measure_and_step if kinds[name] is MICROBATCHES else optimizer.step
        traffic = kinds[name].bytes_per_parameter * count
        meeting.add(name, step, partial(prepare, policy, False), traffic=traffic)
    for name, plan in PLANS.items():
        meeting.add(name, optimizer.step, partial(prepare, lw.Uniform(), False, plan))
    meeting.first_step()
    return meeting


CASES: dict[str, Callable[[Scope], Meeting]] = {
    "adamw_float32": adamw_float32,
    "sgd_float32": sgd_float32,
    "every_rate": every_rate,
    "adamw_bfloat16": adamw_bfloat16,
    "lamb_float32": lamb_float32,
    "lars_float32": lars_float32,
    "guarded_adamw": guarded_adamw,
    "small_layers": small_layers,
    "one_tensor": one_tensor,
    "torch_small": torch_small,
    "torch_small_after_matmul": torch_small_after_matmul,
    "torch_minilm": torch_minilm,
    "layer_rates": layer_rates,
    "driven_minilm": driven_minilm,
    "training_minilm": training_minilm,
    "every_rule": every_rule,
    "measured_policies": measured_policies,
    "muon_square": muon_square,
    "muon_tall": muon_tall,
}


def _memory_bound(title: str, ours: str, workload: Workload, traffic: Traffic, scope: Scope) -> Meeting:
    meeting = Meeting(title, ours, workload, traffic.bytes_per_parameter * workload.parameter_count)
    meeting.add_loops(STREAM, scope.stream.steppers(workload, traffic, scope.threads))
    return meeting


def _scales(count: int) -> list[float]:
    """A different rate for every layer, falling towards the input."""
    return [1.0 / (1.0 + 0.01 * (count - index)) for index in range(count)]


def _add_variants(meeting: Meeting, rule: lw.Rule, scope: Scope) -> None:
    """One optimizer in two settings: set up like its rivals, and with the finite check."""
    buffers = meeting.workload.copy()
    optimizer = who.layerwise(rule, buffers, scope.threads)
    meeting.add(PLAIN, optimizer.step, partial(optimizer.set, nonfinite="propagate"), compare=buffers)
    meeting.add(RAISE, optimizer.step, partial(optimizer.set, nonfinite="raise"))


def _add_rules(meeting: Meeting, scope: Scope, rules: dict[str, lw.Rule], compare: str) -> None:
    """An optimizer for each rule; the one called ``compare`` computes what the peer of the case does."""
    for name, rule in rules.items():
        buffers = meeting.workload.copy()
        step = who.layerwise(rule, buffers, scope.threads).step
        meeting.add(name, step, compare=buffers if name == compare else None)


def _add_own(meeting: Meeting, scope: Scope, scales: list[float] | None) -> None:
    """One AdamW in three settings: set up like its rivals, with the finite check, with a schedule."""
    buffers = meeting.workload.copy()
    optimizer = who.layerwise(who.adamw(), buffers, scope.threads, scales)
    # It does not end before the benchmark does.
    cosine = lw.Cosine(total_steps=10**9, warmup_steps=100)

    def settings(nonfinite: Literal["raise", "propagate"], schedule: lw.Schedule | None) -> None:
        optimizer.schedule = schedule
        optimizer.set(nonfinite=nonfinite)

    meeting.add(PLAIN, optimizer.step, partial(settings, "propagate", None), compare=buffers)
    meeting.add(RAISE, optimizer.step, partial(settings, "raise", None))
    meeting.add(SCHEDULED, optimizer.step, partial(settings, "propagate", cosine))
