# SPDX-License-Identifier: Apache-2.0
"""A few classes of Transformers, watched on the meta device; `python -m layer_sweep` goes over all of them."""

import pytest
from layer_sweep import transformers_models

TWO_TOWERS = {
    "BartForSequenceClassification",
    "CLIPModel",
    "T5ForConditionalGeneration",
    "WhisperForConditionalGeneration",
}


@pytest.mark.parametrize(
    "name",
    [
        "BartForSequenceClassification",
        "BertForSequenceClassification",
        "CLIPModel",
        "LlamaForCausalLM",
        "SwinForImageClassification",
        "T5ForConditionalGeneration",
        "ViTForImageClassification",
        "Wav2Vec2ForCTC",
        "WhisperForConditionalGeneration",
    ],
)
def test_order_and_towers_are_those_of_the_stacks(name: str) -> None:
    found = transformers_models.look(name)
    assert found["stacks"]["count"]
    assert found["stacks"]["faults"] == []
    assert len(found["towers"]["watching"]) == (2 if name in TWO_TOWERS else 1)
    # Where names guess nothing, they say the same.
    assert found["guesses"]["names"] or found["inversion"] is None
