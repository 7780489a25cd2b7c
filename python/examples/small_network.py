# SPDX-License-Identifier: Apache-2.0
"""A small fully connected network in NumPy, with its backward pass written out.

Parameters and gradients live in buffers that are made once and only ever written in place, so an optimizer that
registers their addresses sees every gradient and every step without a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Linear:
    """The buffers of one layer ``y = x @ weight + bias``: parameters and gradients, by the same tensor names."""

    name: str
    parameters: dict[str, Floats]
    gradients: dict[str, Floats]

    def __call__(self, inputs: Floats) -> Floats:
        """The layer's outputs for a batch of inputs, one row each."""
        outputs: Floats = inputs @ self.parameters["weight"]
        outputs += self.parameters["bias"]
        return outputs

    def differentiate(self, inputs: Floats, output_gradient: Floats) -> None:
        """Write the gradients of weight and bias into their buffers."""
        np.matmul(inputs.T, output_gradient, out=self.gradients["weight"])
        np.sum(output_gradient, axis=0, out=self.gradients["bias"])


class Network:
    """Linear layers with ReLU between them, trained on the mean cross-entropy of their softmax."""

    def __init__(self, widths: Sequence[int], rng: np.random.Generator, dtype: type[np.floating] = np.float32) -> None:
        """Make a network of ``widths`` (inputs, hidden units ..., classes) with He initialisation."""
        names = [f"hidden{depth}" for depth in range(1, len(widths) - 1)] + ["head"]
        self.layers = [
            _new_layer(name, fan_in, fan_out, rng, dtype)
            for name, fan_in, fan_out in zip(names, widths[:-1], widths[1:], strict=True)
        ]

    def logits(self, images: Floats) -> Floats:
        """Unnormalised class scores, one row for each image."""
        return self._activations(images)[-1]

    def accuracy(self, images: Floats, labels: Labels) -> float:
        """The share of images whose highest score is that of their label."""
        return float(np.mean(self.logits(images).argmax(axis=1) == labels))

    def loss(self, images: Floats, labels: Labels) -> float:
        """The mean cross-entropy."""
        probabilities = _softmax(self.logits(images))
        return float(-np.mean(np.log(probabilities[np.arange(len(labels)), labels])))

    def backward(self, images: Floats, labels: Labels) -> None:
        """Write the gradient of the loss into the gradient buffers of every layer."""
        inputs = self._activations(images)
        # The gradient of the mean cross-entropy with respect to the logits: (softmax - one-hot) / batch size.
        gradient = _softmax(inputs.pop())
        gradient[np.arange(len(labels)), labels] -= 1
        gradient /= len(labels)
        for layer, layer_inputs in zip(reversed(self.layers), reversed(inputs), strict=True):
            layer.differentiate(layer_inputs, gradient)
            if layer is not self.layers[0]:
                gradient = gradient @ layer.parameters["weight"].T
                gradient *= layer_inputs > 0  # ReLU passes a gradient where it passed its input

    def copy_parameters_from(self, other: Network) -> None:
        """Take over the values of a network of the same widths; the buffers stay where they are."""
        for target, source in zip(self.tensors(), other.tensors(), strict=True):
            np.copyto(target, source)

    def tensors(self) -> Iterator[Floats]:
        """The parameters of all layers."""
        for layer in self.layers:
            yield from layer.parameters.values()

    def _activations(self, images: Floats) -> list[Floats]:
        """The input of every layer, and last the logits."""
        activations = [images]
        for layer in self.layers[:-1]:
            hidden = layer(activations[-1])
            activations.append(np.maximum(hidden, 0, out=hidden))
        activations.append(self.layers[-1](activations[-1]))
        return activations


def _new_layer(name: str, fan_in: int, fan_out: int, rng: np.random.Generator, dtype: type[np.floating]) -> Linear:
    weight = rng.normal(0.0, np.sqrt(2.0 / fan_in), (fan_in, fan_out)).astype(dtype)
    parameters: dict[str, Floats] = {"weight": weight, "bias": np.zeros(fan_out, dtype)}
    return Linear(name, parameters, {key: np.zeros_like(value) for key, value in parameters.items()})


def _softmax(logits: Floats) -> Floats:
    exponentials: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials
