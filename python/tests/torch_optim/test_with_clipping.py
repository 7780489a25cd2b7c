# SPDX-License-Identifier: Apache-2.0
"""torch's clipping before a step, as in every fine-tuning script, on the tensors of a small sentence model.

It scales gradients in place, in float32 and by a norm in float32; `clip_global_norm` does so on the way, in float64.
Two clip factors then differ by the rounding of the norm, some 6e-8, and those of the scaled gradients by as much; SGD
hands both on to the weights as they are.  So 1e-6 of the distance moved is what they may differ by.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

import layerwise.torch as lwt
from torch_optim.support.networks import assert_moved, assert_same, values_of

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS, CLIP = 4, 0.5
CONFIG = BertConfig(
    hidden_size=24,
    num_hidden_layers=6,
    num_attention_heads=3,
    intermediate_size=40,
    vocab_size=50,
    max_position_embeddings=16,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
"""MiniLM's six layers and 103 tensors, each of them narrow."""


def sentence_model() -> BertModel:
    torch.manual_seed(0)
    return BertModel(CONFIG)


Step = Callable[[BertModel, torch.optim.Optimizer], object]


def train(make: Callable[[BertModel], torch.optim.Optimizer], before_step: Step | None) -> BertModel:
    model = sentence_model()
    opt = make(model)
    generator = torch.Generator().manual_seed(2)
    wanted = torch.nn.functional.normalize(torch.randn(3, CONFIG.hidden_size, generator=generator), dim=1)
    for _ in range(STEPS):
        words = torch.randint(0, 50, (3, 9), generator=generator)
        opt.zero_grad()
        states = model(words)
        # A mean over words, and the pooler, so that every tensor has a gradient.
        found = torch.nn.functional.normalize(states.last_hidden_state.mean(1) + states.pooler_output, dim=1)
        (10 * (found - wanted).square().sum()).backward()
        if before_step is not None:
            before_step(model, opt)
        opt.step()
    return model


def by_torch(model: BertModel, _: object) -> None:
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    assert norm > CLIP


def in_two_calls(model: BertModel, _: object) -> None:
    gradients = [parameter.grad for parameter in model.parameters()]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
    torch.nn.utils.clip_grads_with_norm_(model.parameters(), CLIP, norm, foreach=True)


def far_off(model: BertModel, _: object) -> None:
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e6)


def sgd(model: BertModel, **options: Any) -> torch.optim.Optimizer:
    return lwt.SGD(model, lr=0.05, momentum=0.9, **options)


def adamw(model: BertModel) -> torch.optim.Optimizer:
    return lwt.AdamW(model, lr=2e-3, weight_decay=0.1, layer_decay=0.8)


def test_it_is_what_clip_global_norm_does() -> None:
    assert len(list(sentence_model().parameters())) == 103
    start = values_of(sentence_model())
    found, expected = values_of(train(sgd, by_torch)), values_of(train(lambda m: sgd(m, clip_global_norm=CLIP), None))
    free = values_of(train(sgd, None))
    # A key's bias moves all scores of a word alike, which softmax does not see: its gradient is nothing but rounding.
    compared = [name for name in start if not name.endswith("key.bias")]
    assert len(compared) == 103 - CONFIG.num_hidden_layers
    for name in compared:
        moved = (expected[name] - start[name]).norm()
        assert (found[name] - expected[name]).norm() <= 1e-6 * moved + 2e-7 * start[name].norm(), name
        assert (free[name] - expected[name]).norm() > 0.1 * moved, name


def test_both_ways_of_torch_are_one() -> None:
    for make in (sgd, adamw):
        clipped = values_of(train(make, by_torch))
        assert_same(values_of(train(make, in_two_calls)), clipped)
        assert_moved(clipped, values_of(sentence_model()))


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    """torch multiplies by 1 then; the gradients' memory and versions change all the same."""
    for make in (sgd, adamw):
        assert_same(values_of(train(make, far_off)), values_of(train(make, None)))


@pytest.mark.parametrize("where", [0, 50, 102])
def test_torch_refuses_a_norm_that_is_not_finite(where: int) -> None:
    """error_if_nonfinite raises before the step: nothing has changed, and training goes on."""
    model = sentence_model()
    opt = adamw(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    poisoned = list(model.parameters())[where].grad
    assert poisoned is not None
    poisoned.view(-1)[0] = torch.nan
    with pytest.raises(RuntimeError, match="non-finite"):
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP, error_if_nonfinite=True)
    assert_same(values_of(model), values_of(sentence_model()))
    assert not opt.state
    poisoned.view(-1)[0] = 0
    by_torch(model, opt)
    opt.step()
    moved = [
        name for name, value in values_of(sentence_model()).items() if not torch.equal(value, values_of(model)[name])
    ]
    assert len(moved) == 103
