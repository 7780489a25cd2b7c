# SPDX-License-Identifier: Apache-2.0
"""Sentences to classify by what they are about: the English conversations of the package chatterbot-corpus.

Its files are the classes: movies, money, sports ...  A sentence is what the network sees of it, a row of tokens: lower
case, without punctuation, cut where it is long.  What stands in a file twice is one sentence, and what stands in two
files belongs to neither, so that no sentence can stand on both sides of a split.  (A question and its answer can.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

import torch
import yaml
from torch import Tensor
from transformers import PreTrainedTokenizerBase

MOST_TOKENS = 12
MOST_EXAMPLES, VALIDATION, TEST = 20, 8, 16  # of each class
TEST_SEED = 0
PADDING = 0  # the place of MiniLM's "[PAD]" in the vocabulary

WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


@dataclass(frozen=True)
class Sentences:
    """Sentences as rows of tokens, padded at the end, and the numbers of their classes."""

    tokens: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """How many sentences there are."""
        return len(self.labels)

    def take(self, indices: Tensor) -> Sentences:
        """The sentences at ``indices``, with no more padding than they need."""
        tokens = self.tokens[indices]
        longest = int((tokens != PADDING).sum(1).max())
        return Sentences(tokens[:, :longest], self.labels[indices])

    def batches(self, size: int) -> Iterator[Sentences]:
        """All sentences once, the short ones with the short ones."""
        for indices in (self.tokens != PADDING).sum(1).argsort(stable=True).split(size):
            yield self.take(indices)

    def random_batches(self, size: int, generator: torch.Generator) -> Iterator[Sentences]:
        """Random batches without end, in which all sentences come equally often.

        They are drawn in pairs, the shorter sentences and the longer ones, since short ones need no padding by
        themselves.
        """
        queue = torch.empty(0, dtype=torch.long)
        while True:
            if len(queue) < 2 * size:
                queue = torch.cat([queue, torch.randperm(len(self), generator=generator)])
            yield from self.take(queue[: 2 * size]).batches(size)
            queue = queue[2 * size :]


@dataclass(frozen=True)
class Corpus:
    """All sentences of the classes that have enough of them.

    Tokens are numbered by their places in ``vocabulary``, which has those that occur, as the pretrained network numbers
    them.
    """

    classes: Sequence[str]
    vocabulary: Tensor
    test: Sentences
    others: Sentences


@dataclass(frozen=True)
class Draw:
    """Sentences to learn from, and some to choose a rate by.  They share none, neither with each other nor the test."""

    pool: Sentences
    validation: Sentences

    def examples(self, count: int) -> Sentences:
        """The first ``count`` sentences of each class; more examples are the fewer ones and others."""
        places = torch.arange(len(self.pool)).view(-1, MOST_EXAMPLES)
        return self.pool.take(places[:, :count].flatten())


def load(tokenizer: PreTrainedTokenizerBase) -> Corpus:
    """The corpus, tokenised once, with the test sentences taken out, the same every time."""
    rows = {name: _rows(texts, tokenizer) for name, texts in _texts().items()}
    files_with = Counter(row for file in rows.values() for row in file)
    own = {name: [row for row in file if files_with[row] == 1] for name, file in rows.items()}
    classes = [name for name, file in own.items() if len(file) >= TEST + VALIDATION + MOST_EXAMPLES]
    tokens = torch.tensor([row for name in classes for row in own[name]])
    labels = torch.tensor([label for label, name in enumerate(classes) for _ in own[name]])
    vocabulary, places = tokens.unique(return_inverse=True)
    sentences = Sentences(places, labels)
    test = _of_each_class(labels, TEST, torch.Generator().manual_seed(TEST_SEED)).flatten()
    others = torch.ones(len(sentences), dtype=torch.bool)
    others[test] = False
    return Corpus(classes, vocabulary, sentences.take(test), sentences.take(others.nonzero().flatten()))


def draw(corpus: Corpus, seed: int) -> Draw:
    """As many sentences of each class, at random, for each part."""
    generator = torch.Generator().manual_seed(seed)
    drawn = _of_each_class(corpus.others.labels, MOST_EXAMPLES + VALIDATION, generator)
    parts = drawn.split([MOST_EXAMPLES, VALIDATION], dim=1)
    return Draw(*(corpus.others.take(part.flatten()) for part in parts))


def _of_each_class(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random places, one row a class."""
    rows = []
    for label in labels.unique():
        places = (labels == label).nonzero().flatten()
        rows.append(places[torch.randperm(len(places), generator=generator)[:count]])
    return torch.stack(rows)


def _texts() -> dict[str, list[str]]:
    """What the files say, by their names in alphabetical order."""
    folder = files("chatterbot_corpus") / "data" / "english"
    texts = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        conversations = yaml.safe_load(file.read_text("utf-8"))["conversations"]
        texts[file.name.removesuffix(".yml")] = [str(text) for lines in conversations for text in lines]
    return texts


def _rows(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[tuple[int, ...]]:
    """Different sentences as tokens, in the order of the file; what has no words is none."""
    sentences = dict.fromkeys(" ".join(WORD.findall(text)) for text in texts)
    sentences.pop("", None)
    tokens = tokenizer(list(sentences), truncation=True, max_length=MOST_TOKENS, padding="max_length")["input_ids"]
    return list(dict.fromkeys(map(tuple, tokens)))
