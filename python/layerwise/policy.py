# SPDX-License-Identifier: Apache-2.0
"""Policies: what computes every layer's learning-rate scale.  The classes hold values; the library computes.

A layer's effective rate is `lr * scale`, as the schedule moves it.  A scale given to one layer
(`add_layer(..., scale=...)`) takes precedence.

Patterns are names of layers, or of tensors as "layer/tensor", written in one of three ways: "exact", letter for letter;
"glob", as in a shell, where `*` is any text, also with a slash; "regex", a regular expression that matches the whole
name.  They are compared when a scale is first needed, since a policy may be set before the layers are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from typing import ClassVar, Literal, TypeAlias, overload

from ._settings import pair
from ._spec import Recipe
from ._values import dataclass

Syntax: TypeAlias = Literal["exact", "glob", "regex"]
"""How a pattern is written."""


class Policy(Recipe):
    """What all policies share."""


@dataclass(frozen=True)
class Uniform(Policy):
    """One rate for all: scale = 1."""

    name: ClassVar[str] = "uniform"


@dataclass(frozen=True)
class Explicit(Policy):
    """A scale, or a rate in place of the optimizer's, for each layer by its name or a pattern of names.

    The pattern "*" stands for every layer that no other pattern matches.  Matching is strict unless the last three
    arguments relax it.  Source: mmengine's custom_keys, Burn's groups, Keras's OptimizerMap.

    Args:
        scales: Scale by pattern, in [0, inf).
        rates: Rate by pattern, in [0, inf), which takes the place of the optimizer's lr.  A pattern that has a scale
            too gets the rate times the scale.
        syntax: How patterns are written: "exact", "glob" or "regex".  Default "exact".
        unused: What a pattern that matches no layer is: an "error", or something to "ignore".  Default "error".
        unmatched: What a layer that no pattern matches is: an "error", or one to "keep" as it is, with scale 1.
            Default "error".
        ambiguous: What a layer that several patterns match is: an "error", or one for the "first" or "last" of them, in
            the order of scales and then rates.  Default "error".
    """

    name: ClassVar[str] = "explicit"
    scales: Mapping[str, float] | None = None
    _: KW_ONLY
    rates: Mapping[str, float] | None = None
    syntax: Syntax = "exact"
    unused: Literal["error", "ignore"] = "error"
    unmatched: Literal["error", "keep"] = "error"
    ambiguous: Literal["error", "first", "last"] = "error"

    def __post_init__(self) -> None:
        # Copies, because a policy is a value: changing the caller's mapping later must not look as if it did something.
        object.__setattr__(self, "scales", dict(self.scales or {}))
        object.__setattr__(self, "rates", dict(self.rates or {}))

    def settings(self) -> dict[str, object]:
        """How patterns are matched."""
        return matching(self)

    def parts(self) -> Sequence[Recipe]:
        """What each pattern gives."""
        scales, rates = self.scales or {}, self.rates or {}
        return [_Layers(match, scales.get(match), rates.get(match)) for match in {**scales, **rates}]


def matching(recipe: Recipe) -> dict[str, object]:
    """The settings of a recipe that matches patterns to layers."""
    return {key: getattr(recipe, key) for key in ("syntax", "unused", "unmatched", "ambiguous")}


@dataclass(frozen=True)
class _Layers(Recipe):
    name: ClassVar[str] = "layers"
    match: str
    scale: float | None
    lr: float | None


@dataclass(frozen=True)
class LayerDecay(Policy):
    """Rates that fall from layer to layer.

    scale = max(min_scale, decay ** distance).  The distance is counted in each tower by itself:

        convention   embeddings   block k of 1 ... n   final norm   head
        depth        top - depth, of whatever depths the layers have (direction "output": depth)
        timm         n + 1        n + 1 - k            1            0      (one less all along without a head)
        beit, mae    n + 1        n + 1 - k            0            0
        electra      n + 2        n + 2 - k            2            0

    A layer's role says which of these it is; by default the lowest depth of a tower is its embeddings and the highest
    its head.  Source: Clark et al. 2020 (ELECTRA), arXiv:2003.10555; timm's param_groups_layer_decay; Bao et al. 2021
    (BEiT), arXiv:2106.08254; MAE's lr_decay.py.  Each convention equals its namesake.

    Args:
        decay: Factor from one distance to the next, in (0, 1].
        min_scale: No scale falls below this, in [0, 1].  Default 0.
        direction: "input" or "output": the end with the lowest rate.  Default "input".
        convention: How the distance is counted: by "depth", or as in "timm", "beit", "mae" or "electra".
            Default "depth".
        head_scale: Scale of heads in place of the decay's, in [0, inf).  Default None.
    """

    name: ClassVar[str] = "layer_decay"
    decay: float
    min_scale: float = 0.0
    direction: Literal["input", "output"] = "input"
    convention: Literal["depth", "timm", "beit", "mae", "electra"] = "depth"
    head_scale: float | None = None


@dataclass(frozen=True)
class Range(Policy):
    """Scales in geometric progression from the input to the output, in each tower.

    scale = lowest * (highest / lowest) ** (depth / top_depth).  Source: discriminative rates, Howard and Ruder 2018,
    arXiv:1801.06146; `Slice` says the same in rates, as fastai does.

    Args:
        lowest: Scale of the layer nearest to the input, in (0, inf), at most highest.
        highest: Scale of the layer nearest to the output, in (0, inf).  Default 1.
    """

    name: ClassVar[str] = "range"
    lowest: float
    highest: float = 1.0


@dataclass(frozen=True)
class ULMFiT(Policy):
    """Each layer's rate is a fixed fraction of that of the layer above.

    scale = factor ** -(layers above it).  Source: Howard and Ruder 2018 (ULMFiT), arXiv:1801.06146, section 3.2.
    Layers count by their different depths, in each tower by itself.

    Args:
        factor: Ratio between neighbouring layers, in [1, inf).  Default 2.6.
    """

    name: ClassVar[str] = "ulmfit"
    factor: float = 2.6


@dataclass(frozen=True, init=False)
class Slice(Policy):
    """Rates, not multipliers, from the first layer to the last, in place of the optimizer's lr.

    Slice(lowest, highest): rate = lowest * (highest / lowest) ** (i / (n - 1)) for layer i of n; Slice(highest): rate =
    highest for the last layer, highest / 10 for the others.  Source: fastai's slice (even_mults), which it equals.
    Layers of one depth share a rate; each tower has its own slice.

    Args:
        lowest: Rate of the first layer, in (0, inf), at most highest.
        highest: Rate of the last layer, in (0, inf).
    """

    name: ClassVar[str] = "slice"
    lowest: float | None
    highest: float

    @overload
    def __init__(self, highest: float, /) -> None: ...
    @overload
    def __init__(self, lowest: float, highest: float, /) -> None: ...
    def __init__(self, *rates: float) -> None:
        if len(rates) not in (1, 2):
            raise TypeError(f"expected Slice(highest) or Slice(lowest, highest), found {len(rates)} arguments")
        object.__setattr__(self, "lowest", rates[0] if len(rates) == 2 else None)
        object.__setattr__(self, "highest", rates[-1])

    def __repr__(self) -> str:
        return f"Slice({', '.join(map(repr, self.settings().values()))})"


@dataclass(frozen=True)
class Exclude(Policy):
    """No decay, no trust ratio, or neither, for some tensors: biases and norms, by rank or by name.

    Put it beside another policy: `Combine(LayerDecay(0.75), Exclude())`.  Source: timm (weight_decay_exclude_1d,
    no_weight_decay), BERT, and LARS, which excludes from adaptation.

    Args:
        names: Patterns of "layer/tensor".
        max_rank: Tensors of this rank or less are excluded, in [-1, 16]; -1 for none.  Default 1.
        decay: They do not decay.  Default True.
        trust_ratio: No trust ratio adapts them.  Default True.
        syntax: How patterns are written: "exact", "glob" or "regex".  Default "glob".
        unused: What a pattern that matches no tensor is: an "error", or something to "ignore".  Default "error".
    """

    name: ClassVar[str] = "exclude"
    names: Sequence[str] = ()
    _: KW_ONLY
    max_rank: int = 1
    decay: bool = True
    trust_ratio: bool = True
    syntax: Syntax = "glob"
    unused: Literal["error", "ignore"] = "error"

    def __post_init__(self) -> None:
        if isinstance(self.names, str):
            raise TypeError(f"names: expected a list of patterns, found {self.names!r}")
        object.__setattr__(self, "names", tuple(self.names))

    def settings(self) -> dict[str, object]:
        """What is excluded, from what, and how patterns are matched."""
        return {key: value for key, value in vars(self).items() if key != "names"}

    def parts(self) -> Sequence[Recipe]:
        """The patterns."""
        return [_Tensors(match) for match in self.names]


@dataclass(frozen=True)
class _Tensors(Recipe):
    name: ClassVar[str] = "tensors"
    match: str


@dataclass(frozen=True)
class MuP(Policy):
    """Rates by width, so that what was tuned on a narrow model carries over to a wide one.

    With m_in = fan_in / base fan_in and m_out = fan_out / base fan_out, each 1 where no base is given: family "adam"
    has scale = 1 / m_in for tensors with two infinite dimensions, else 1; "sgd" has scale = m_out / m_in for those, m
    for tensors with one.  A dimension is infinite where its base is given.  Decay is multiplied by 1 / scale.  Source:
    Yang et al. 2022 (maximal update parametrization), arXiv:2203.03466, table 8; equals MuAdam, MuAdamW and MuSGD of
    microsoft/mup.  Initialisation and the multiplier of the output belong to the model.

    Args:
        bases: (base fan_in, base fan_out) by pattern of "layer/tensor"; 0 for a dimension that is finite.  Tensors that
            no pattern matches keep scale 1.
        family: Which rules' scaling: "adam" or "sgd".  Default "adam".
        decoupled_decay: Leave the decay as it is.  Default False.
        layout: Where a weight's dimensions stand: "out_in" (fan_out, fan_in, ...) as in torch, "in_out" (..., fan_in,
            fan_out) as in JAX and Keras.  Default "out_in".
        syntax: How patterns are written: "exact", "glob" or "regex".  Default "glob".
    """

    name: ClassVar[str] = "mup"
    bases: Mapping[str, tuple[int, int]]
    _: KW_ONLY
    family: Literal["adam", "sgd"] = "adam"
    decoupled_decay: bool = False
    layout: Literal["out_in", "in_out"] = "out_in"
    syntax: Syntax = "glob"

    def __post_init__(self) -> None:
        bases = {match: pair(f"bases[{match!r}]", base) for match, base in self.bases.items()}
        object.__setattr__(self, "bases", bases)

    def settings(self) -> dict[str, object]:
        """How to scale, and how patterns are matched."""
        return {key: value for key, value in vars(self).items() if key != "bases"}

    def parts(self) -> Sequence[Recipe]:
        """The base widths."""
        return [_Base(match, *base) for match, base in self.bases.items()]


@dataclass(frozen=True)
class _Base(Recipe):
    name: ClassVar[str] = "base"
    match: str
    fan_in: int
    fan_out: int


@dataclass(frozen=True)
class LoRAPlus(Policy):
    """Higher rates for the second of LoRA's two matrices.

    scale = ratio for tensors whose "layer/tensor" matches, and for vectors; 1 for the others.  Source: Hayou, Ghosh and
    Yu 2024 (LoRA+), arXiv:2402.12354; equals PEFT's create_loraplus_optimizer, except that embeddings have no rate
    apart.

    Args:
        ratio: Rate of B over rate of A, in (0, inf).  Default 16.
        match: Pattern of B, which must match some tensor.  Default "*lora_B*".
        vectors: Tensors of rank 0 and 1 have B's rate, as in PEFT.  Default True.
        syntax: How the pattern is written: "exact", "glob" or "regex".  Default "glob".
    """

    name: ClassVar[str] = "lora_plus"
    ratio: float = 16.0
    _: KW_ONLY
    match: str = "*lora_B*"
    vectors: bool = True
    syntax: Syntax = "glob"


@dataclass(frozen=True)
class ForTower(Policy):
    """A policy for the layers of one tower only; the others keep what they have.

    `Combine(ForTower("vision", LayerDecay(0.65)), ForTower("text", LayerDecay(0.8)))`.

    Args:
        tower: The tower's name, which some layer must have (`add_layer(..., tower=...)`).
        policy: The policy, which sees these layers and no others.
    """

    name: ClassVar[str] = "for_tower"
    tower: str
    policy: Policy

    def settings(self) -> dict[str, object]:
        """The tower."""
        return {"tower": self.tower}

    def parts(self) -> Sequence[Recipe]:
        """The policy."""
        return [self.policy]


@dataclass(frozen=True, init=False)
class Combine(Policy):
    """Several policies at once: their scales multiply, and so do their factors of the decay.

    A trust ratio adapts a tensor where all of them let it, and at most one of them gives a layer a rate.

    Args:
        policies: Two or more.
    """

    name: ClassVar[str] = "combine"
    policies: tuple[Policy, ...]

    def __init__(self, *policies: Policy) -> None:
        object.__setattr__(self, "policies", policies)

    def __repr__(self) -> str:
        return f"Combine({', '.join(map(repr, self.policies))})"

    def settings(self) -> dict[str, object]:
        """None."""
        return {}

    def parts(self) -> Sequence[Recipe]:
        """The policies."""
        return self.policies
