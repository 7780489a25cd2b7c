# SPDX-License-Identifier: Apache-2.0
"""Real images of handwritten digits, and four ways in which the world may change after a network has learned them.

The images are the 1,797 digits of 8 x 8 pixels that ship with scikit-learn, so nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits

from small_network import Floats, Labels

CLASSES = 10
SIDE = 8
PIXELS = SIDE * SIDE
BRIGHTEST = 16.0
NOISE = 0.4  # standard deviation; pixels lie between 0 and 1
EXAMPLES_PER_CLASS = 5
VALIDATION_IMAGES = 250


@dataclass(frozen=True)
class Images:
    """Images as rows of pixels between 0 and 1, and their labels."""

    pixels: Floats
    labels: Labels

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def take(self, indices: Labels) -> Images:
        """The images at ``indices``."""
        return Images(self.pixels[indices], self.labels[indices])


@dataclass(frozen=True)
class Target:
    """The changed world: a few examples to adapt with, and two parts to judge by.  They share no image."""

    examples: Images
    validation: Images
    test: Images


Change = Callable[[Images, np.random.Generator], Images]


def invert(images: Images, _: np.random.Generator) -> Images:
    """Black on white in place of white on black."""
    return Images(1 - images.pixels, images.labels)


def add_noise(images: Images, rng: np.random.Generator) -> Images:
    """Noise on every pixel, drawn separately for every image."""
    noise = rng.normal(0.0, NOISE, images.pixels.shape).astype(np.float32)
    return Images(np.clip(images.pixels + noise, 0, 1), images.labels)


def mirror(images: Images, _: np.random.Generator) -> Images:
    """Left and right exchanged."""
    rows = images.pixels.reshape(-1, SIDE, SIDE)
    return Images(np.ascontiguousarray(rows[:, :, ::-1]).reshape(-1, PIXELS), images.labels)


def permute_labels(images: Images, _: np.random.Generator) -> Images:
    """The same images under other names: 0 is now called 1, 1 is called 2 ... and 9 is called 0."""
    return Images(images.pixels, (images.labels + 1) % CLASSES)


CHANGES: dict[str, Change] = {
    "images inverted": invert,
    "images noisy": add_noise,
    "images mirrored": mirror,
    "labels permuted": permute_labels,
}


def load() -> Images:
    """All digits, in the order of the data set."""
    pixels, labels = load_digits(return_X_y=True)
    return Images((pixels / BRIGHTEST).astype(np.float32), labels.astype(np.int64))


def split(images: Images, rng: np.random.Generator) -> tuple[Images, Target]:
    """A random half to pretrain on, and the target that the other half makes."""
    order = rng.permutation(len(images))
    pretraining, rest = np.split(order, [len(images) // 2])
    labels = images.labels[rest]
    few = np.concatenate([rest[labels == label][:EXAMPLES_PER_CLASS] for label in range(CLASSES)])
    validation, test = np.split(rest[~np.isin(rest, few)], [VALIDATION_IMAGES])
    return images.take(pretraining), Target(images.take(few), images.take(validation), images.take(test))


def changed(target: Target, change: Change, rng: np.random.Generator) -> Target:
    """The target after ``change``."""
    return Target(change(target.examples, rng), change(target.validation, rng), change(target.test, rng))
