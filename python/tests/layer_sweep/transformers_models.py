# SPDX-License-Identifier: Apache-2.0
"""The model classes of Transformers, each with at most three blocks a stack, and its stacks of blocks."""

import inspect
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PretrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.auto import modeling_auto

from .compare import both_ways, stack_faults

TASKS = (
    "MODEL_FOR_SEQUENCE_CLASSIFICATION",
    "MODEL_FOR_IMAGE_CLASSIFICATION",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM",
    "MODEL_FOR_CTC",
    "MODEL_FOR_OBJECT_DETECTION",
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ",
    "MODEL_FOR_CAUSAL_LM",
    "MODEL",
)
COUNTS = (
    "num_hidden_layers",
    "num_layers",
    "encoder_layers",
    "decoder_layers",
    "n_layer",
    "n_layers",
    "num_encoder_layers",
    "num_decoder_layers",
)
TOKENS = ("decoder_start_token_id", "pad_token_id", "bos_token_id")
LARGEST = 100_000_000
"""Parameters of a model that is made with values, where it cannot run without."""


def small(config: Any) -> Any:
    """A configuration with at most three blocks in each stack."""
    for key in COUNTS:
        value = getattr(config, key, None)
        if isinstance(value, int) and value > 3:
            try:
                setattr(config, key, 3)
            except (AttributeError, NotImplementedError):
                # It follows from others.
                continue
    if isinstance(getattr(config, "layer_types", None), list):
        config.layer_types = config.layer_types[:3]
    for value in list(vars(config).values()):
        if isinstance(value, PretrainedConfig):
            small(value)
    for key in TOKENS:
        if hasattr(config, key) and getattr(config, key) is None:
            setattr(config, key, 0)
    return config


def made(cls: Any, device: str) -> nn.Module:
    with torch.device(device):
        try:
            return cls(small(cls.config_class()))
        except Exception:
            # Its numbers of blocks go with others.
            return cls(cls.config_class())


def example(model: Any) -> dict[str, torch.Tensor]:
    """Made-up inputs of the right shapes."""
    config, arguments = model.config, inspect.signature(model.forward).parameters
    vision = next(
        (one for key in ("vision_config", "backbone_config") if (one := getattr(config, key, None)) is not None), config
    )
    size = getattr(config, "image_size", None) or getattr(vision, "image_size", None) or 224
    height, width = (size[-2:] if len(size) > 1 else size * 2) if isinstance(size, list | tuple) else (size, size)
    channels = getattr(config, "num_channels", None) or getattr(vision, "num_channels", None) or 3
    pixels = torch.zeros(1, channels, height, width)
    ids = torch.ones(1, 16, dtype=torch.long)
    # Some pool at the end of the sentence.
    ids[:, -1] = getattr(config, "eos_token_id", None) if isinstance(getattr(config, "eos_token_id", None), int) else 2
    inputs: dict[str, torch.Tensor] = {}
    match model.main_input_name:
        case "input_values":
            inputs["input_values"] = torch.zeros(1, 16000)
        case "input_features":
            inputs["input_features"] = torch.zeros(1, getattr(config, "num_mel_bins", None) or 80, 3000)
        case "pixel_values":
            inputs["pixel_values"] = pixels
        case _:
            inputs["input_ids"] = ids
    if (
        "input_ids" in arguments
        and "pixel_values" in arguments
        and "logits_per_image" in inspect.getsource(type(model))
    ):
        inputs |= {"input_ids": ids, "pixel_values": pixels}
    if "decoder_input_ids" in arguments:
        inputs["decoder_input_ids"] = ids
    return inputs


def stacks(model: nn.Module) -> dict[str, int]:
    """The lists of Transformers' own class of blocks."""
    return {
        path: len(module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) > 1
        and all(isinstance(block, GradientCheckpointingLayer) for block in module)
    }


def look(name: str) -> dict[str, Any]:
    cls = getattr(transformers, name)
    # In the type that matrices of experts are multiplied in on the meta device.
    model = made(cls, "meta").bfloat16()
    inputs = {key: value.bfloat16() if value.is_floating_point() else value for key, value in example(model).items()}
    try:
        watched, found = both_ways(model, inputs)
    except Exception:
        # It looks at values; where it cannot run with them either, that error counts.
        if sum(param.numel() for param in model.parameters()) > LARGEST:
            raise
        model = made(cls, "cpu")
        watched, found = both_ways(model, example(model))
    lists = stacks(model)
    found["stacks"] = {"count": len(lists), "faults": stack_faults(watched, lists)}
    return found


def all_of(limit: int, known: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """The classes of all tasks by turns, so that a part of them is of all tasks."""
    tasks = [getattr(modeling_auto, f"{task}_MAPPING_NAMES").values() for task in TASKS]
    seen: set[str] = set()
    for row in zip_longest(*tasks):
        for entry in row:
            for name in [entry] if isinstance(entry, str) else entry or ():
                if name not in seen and (not limit or len(seen) < limit):
                    seen.add(name)
                    yield name, lambda name=name: look(name)
