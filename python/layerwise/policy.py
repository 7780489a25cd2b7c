# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF002
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

from . import _checks
from ._spec import Content, Part, Parts, Patterns, Recipe, Unnamed
from ._values import dataclass

Syntax: TypeAlias = Literal["exact", "glob", "regex"]
"""How a pattern is written."""


class Policy(Recipe):
    """What all policies share."""

    def _check(self) -> None:
        _checks.check_policy(self)


# ---- Written by `make classes` from the library's declarations


@dataclass(frozen=True)
class Uniform(Policy):
    """One rate for all layers.

        scale = 1

    Source: every optimizer's default.
    """

    name: ClassVar[str] = "uniform"


@dataclass(frozen=True)
class Explicit(Policy):
    """A scale or a rate for each layer by name or pattern; "*" is every other layer.

        scale = that of the pattern that matches

    The pattern "*" stands for every layer that no other pattern matches.  Matching is strict unless the last three
    arguments relax it.  Source: mmengine's custom_keys, Burn's groups, Keras's OptimizerMap, with strict matching.

    Args:
        scales: Scale by pattern, in [0, inf).  Default None.
        rates: Rate by pattern, in [0, inf), which takes the place of the optimizer's lr; a pattern that has a scale too
            gets the rate times the scale.  Default None.
        syntax: How patterns are written: "exact", "glob" or "regex".  Default "exact".
        unused: What a pattern that matches no layer is: an "error", or something to "ignore".  Default "error".
        unmatched: What a layer that no pattern matches is: an "error", or one to "keep" as it is.  Default "error".
        ambiguous: What a layer that several patterns match is: an "error", or one for the "first" or "last" of them, in
            the order of the arguments.  Default "error".
    """

    name: ClassVar[str] = "explicit"
    contents: ClassVar[tuple[Content, ...]] = (Patterns("layers", {"scales": ("scale",), "rates": ("lr",)}),)
    scales: Mapping[str, float] | None = None
    _: KW_ONLY
    rates: Mapping[str, float] | None = None
    syntax: Syntax = "exact"
    unused: Literal["error", "ignore"] = "error"
    unmatched: Literal["error", "keep"] = "error"
    ambiguous: Literal["error", "first", "last"] = "error"


@dataclass(frozen=True)
class LayerDecay(Policy):
    """Rates that fall layer by layer.

        scale = max(min_scale, decay^distance)

    scale = max(min_scale, decay ** distance).  The distance is counted in each tower by itself:

        convention   embeddings   block k of 1 ... n   final norm   head
        depth        top - depth, of whatever depths the layers have (direction "output": depth)
        timm         n + 1        n + 1 - k            1            0      (one less all along without a head)
        beit, mae    n + 1        n + 1 - k            0            0
        electra      n + 2        n + 2 - k            2            0

    A layer's role says which of these it is; by default the lowest depth of a tower is its embeddings and the highest
    its head.  Each convention equals its namesake.  Source: Clark et al. 2020, arXiv:2003.10555; timm, BEiT, MAE and
    ELECTRA, which count the distance differently.

    Args:
        decay: Factor from one distance to the next, in (0, 1].
        min_scale: No scale falls below this, in [0, 1].  Default 0.
        direction: "input" or "output": the end with the lowest rate.  Default "input".
        convention: How the distance is counted: by "depth", or as in "timm", "beit", "mae" or "electra".  Default
            "depth".
        head_scale: Scale of heads in place of the decay's, in [0, inf).  Default None.
    """

    name: ClassVar[str] = "layer_decay"
    decay: float
    min_scale: float = 0.0
    direction: Literal["input", "output"] = "input"
    convention: Literal["depth", "timm", "beit", "mae", "electra"] = "depth"
    head_scale: float | None = None


@dataclass(frozen=True)
class GeometricRange(Policy):
    """Rates that rise geometrically from depth 0 to the top.

        scale = lowest·(highest/lowest)^(depth/top)

    scale = lowest * (highest / lowest) ** (depth / top_depth), in each tower.  `RateSlice` says the same in rates.
    Source: fastai's slice(lo, hi), as multipliers.

    Args:
        lowest: Scale at depth 0, at most highest, in (0, inf).
        highest: Scale at the highest depth, in (0, inf).  Default 1.
    """

    name: ClassVar[str] = "geometric_range"
    lowest: float
    highest: float = 1.0


@dataclass(frozen=True)
class ULMFiT(Policy):
    """Each layer's rate is a fraction of that of the layer above.

        scale = factor^−(layers above)

    scale = factor ** -(layers above it).  Layers count by their different depths, in each tower by itself.  Source:
    Howard and Ruder 2018, arXiv:1801.06146, §3.2.

    Args:
        factor: Ratio between neighbouring layers, in [1, inf).  Default 2.6.
    """

    name: ClassVar[str] = "ulmfit"
    factor: float = 2.6


@dataclass(frozen=True, init=False, repr=False)
class RateSlice(Policy, Unnamed):
    """Fastai's slice: rates from the first layer to the last.

        rate = lowest·(highest/lowest)^(i/(n−1)); without lowest: highest/10 below the last layer

    RateSlice(lowest, highest): rate = lowest * (highest / lowest) ** (i / (n - 1)) for layer i of n;
    RateSlice(highest): rate = highest for the last layer, highest / 10 for the others.  Rates, not multipliers, in
    place of the optimizer's lr; it equals fastai's slice.  Layers of one depth share a rate; each tower has its own
    slice.  Source: fastai, even_mults.

    Args:
        lowest: Rate of the first layer, at most highest, in (0, inf).  May be left out.
        highest: Rate of the last layer, in (0, inf).
    """

    name: ClassVar[str] = "rate_slice"
    lowest: float | None
    highest: float

    @overload
    def __init__(self, highest: float, /) -> None: ...

    @overload
    def __init__(self, lowest: float, highest: float, /) -> None: ...
    def __init__(self, *numbers: float) -> None:
        self._fill(numbers)


@dataclass(frozen=True)
class Exclude(Policy):
    """Tensors without decay or trust ratio, by rank or name.

        λ = 0 and trust ratio 1 for tensors of rank ≤ max_rank and those that a pattern matches

    Put it beside another policy: `Combine(LayerDecay(0.75), Exclude())`.  Source: timm (weight_decay_exclude_1d,
    no_weight_decay), BERT, LARS.

    Args:
        names: Patterns of "layer/tensor".  Default ().
        decay: They do not decay.  Default True.
        trust_ratio: No trust ratio adapts them.  Default True.
        max_rank: Tensors of this rank or less are excluded, in [-1, 16]; -1: none.  Default 1.
        syntax: How patterns are written: "exact", "glob" or "regex".  Default "glob".
        unused: What a pattern that matches no tensor is: an "error", or something to "ignore".  Default "error".
    """

    name: ClassVar[str] = "exclude"
    contents: ClassVar[tuple[Content, ...]] = (Patterns("tensors", {"names": ()}),)
    names: Sequence[str] = ()
    _: KW_ONLY
    decay: bool = True
    trust_ratio: bool = True
    max_rank: int = 1
    syntax: Syntax = "glob"
    unused: Literal["error", "ignore"] = "error"


@dataclass(frozen=True)
class MuP(Policy):
    """Rates by width: the maximal update parametrization.

        adam: scale = base_fan_in/fan_in of matrices; sgd: scale = (m_out/m_in) of matrices, m of vectors

    With m_in = fan_in / base fan_in and m_out = fan_out / base fan_out, each 1 where no base is given: family "adam"
    has scale = 1 / m_in for tensors with two infinite dimensions, else 1; "sgd" has scale = m_out / m_in for those, m
    for tensors with one.  A dimension is infinite where its base is given.  Decay is multiplied by 1 / scale.
    Initialisation and the multiplier of the output belong to the model.  Source: Yang et al. 2022, arXiv:2203.03466,
    table 8; microsoft/mup MuAdam, MuSGD.

    Args:
        bases: (base fan_in, base fan_out) by pattern of "layer/tensor"; 0 for a dimension that is finite; tensors that
            no pattern matches keep scale 1.
        family: Which rules' scaling: "adam" or "sgd".  Default "adam".
        decoupled_decay: Leave the decay as it is; else γ·λ stays as it is.  Default False.
        layout: Where a weight's dimensions stand: "out_in" (fan_out, fan_in, ...) as in torch, "in_out" (..., fan_in,
            fan_out) as in JAX and Keras.  Default "out_in".
        syntax: How patterns are written: "exact", "glob" or "regex".  Default "glob".
    """

    name: ClassVar[str] = "mup"
    contents: ClassVar[tuple[Content, ...]] = (Patterns("base", {"bases": ("fan_in", "fan_out")}),)
    bases: Mapping[str, tuple[int, int]]
    _: KW_ONLY
    family: Literal["adam", "sgd"] = "adam"
    decoupled_decay: bool = False
    layout: Literal["out_in", "in_out"] = "out_in"
    syntax: Syntax = "glob"


@dataclass(frozen=True)
class CompleteP(Policy):
    """Rates by width and depth: muP with a factor for the depth.

        blocks: scale = m_L^(a−1)/m_N of matrices, m_L^(a−1) of vectors

    With width = m_N and depth = m_L, both relative to the model on which rates were tuned: matrices of layers with the
    role block have scale = m_L ** (alpha - 1) / m_N and m_N times the decay, vectors of these layers scale = m_L **
    (alpha - 1) and no decay; all other layers have scale 1, and their vectors no decay.  Give the rule an eps of base
    eps / (m_N * m_L ** alpha).  Initialisation and multipliers of the output and of residual branches belong to the
    model.  Source: Dey et al. 2025, arXiv:2505.01618; EleutherAI/nanoGPT-mup, branch completep.

    Args:
        width: M_N: the width over that of the base model, in (0, inf).
        depth: M_L: the number of blocks over that of the base model, in (0, inf).
        alpha: A: the exponent of the depth, in [0, 1]; residual branches have m_L^(−a).  Default 1.
    """

    name: ClassVar[str] = "completep"
    width: float
    depth: float
    _: KW_ONLY
    alpha: float = 1.0


@dataclass(frozen=True)
class Blockwise(Policy):
    """Rates by what a tensor of a transformer does: norm, attention, feed-forward, embedding.

        scale = 1 : 4 : 6 : 8 : 10 for norm : VO : FFN : QK : embedding

    What a tensor does is read off "layer/tensor" in lower case, by patterns in the order norm, query and key, value and
    output, feed-forward, embedding; the first that matches decides, and a tensor that none matches has the scale
    `others`.  A projection of queries, keys and values in one is among values and outputs.  Refused where no tensor
    matches any.  For pre-training; the ratios are relative to the best single rate of AdamW.  Source: Wang et al. 2025,
    arXiv:2502.19002.

    Args:
        norm: Scale of norms, in [0, inf).  Default 1.
        value_output: Scale of values and outputs of attention, in [0, inf).  Default 4.
        feed_forward: Scale of feed-forward layers, in [0, inf).  Default 6.
        query_key: Scale of queries and keys, in [0, inf).  Default 8.
        embedding: Scale of embeddings, in [0, inf).  Default 10.
        others: Scale of all others, such as the head, in [0, inf).  Default 1.
        norm_match: Regular expression of norms; "": the usual names.  Default "".
        query_key_match: Likewise of queries and keys.  Default "".
        value_output_match: Likewise of values and outputs of attention.  Default "".
        feed_forward_match: Likewise of feed-forward layers.  Default "".
        embedding_match: Likewise of embeddings.  Default "".
    """

    name: ClassVar[str] = "blockwise"
    _: KW_ONLY
    norm: float = 1.0
    value_output: float = 4.0
    feed_forward: float = 6.0
    query_key: float = 8.0
    embedding: float = 10.0
    others: float = 1.0
    norm_match: str = ""
    query_key_match: str = ""
    value_output_match: str = ""
    feed_forward_match: str = ""
    embedding_match: str = ""


@dataclass(frozen=True)
class LoRAPlus(Policy):
    """Higher rates for LoRA's B.

        scale = ratio for B and vectors, 1 for A

    scale = ratio for tensors whose "layer/tensor" matches, and for vectors; 1 for the others.  It equals PEFT's
    optimizer, except that embeddings have no rate apart.  Source: Hayou, Ghosh, Yu 2024, arXiv:2402.12354; PEFT
    create_loraplus_optimizer.

    Args:
        ratio: Rate of B over rate of A, in (0, inf).  Default 16.
        match: Pattern of B, a "layer/tensor", which must match some tensor.  Default "*lora_B*".
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
class RelativeGradientNorm(Policy):
    """Rates that follow the relative gradient norm of each layer, as measured at every step.

        scale = (EMA(‖g‖/‖w‖) / max)^power

    value = |g| / |w|, of all tensors of the layer;  scale = (average / largest average of all layers) ** power.  The
    layers whose gradients are large beside their weights learn.  The scales are those of the next step, are saved in
    checkpoints, and multiply those of other policies in `Combine`.  A layer whose weights are all 0 keeps scale 1. The
    published power is 1.  It helps where labels changed; where the input changed, it may point the wrong way.  It costs
    what telemetry costs.  Source: Lee et al. 2023, arXiv:2210.11466, Auto-RGN, which measures tensors once an epoch.

    Args:
        power: Exponent of the ratio to the largest: 1 as published, in (0, inf); 2 singles layers out more sharply.
            Default 2.
        average: Share of the average that a step keeps, in [0, 1); 0: the last value alone.  Default 0.9.
        warmup: Steps of a layer that are measured before its scale changes, in [1, 2**53].  Default 1.
        period: Steps of a layer from one change of its scale to the next, in [1, 2**53].  Default 1.
        ramp: Steps over which the scale goes from start_scale to what is measured, in [0, 2**53].  Default 0.
        min_scale: No measured scale is lower, in [0, inf).  Default 0.
        max_scale: No measured scale is higher, in (0, inf).  Default 1.
        start_scale: The scale of the steps before the first that is measured, in (0, inf).  Default 1.
        unit: What has a scale of its own: each "layer", or each "tower" as a whole.  Default "layer".
    """

    name: ClassVar[str] = "relative_gradient_norm"
    power: float = 2.0
    _: KW_ONLY
    average: float = 0.9
    warmup: int = 1
    period: int = 1
    ramp: int = 0
    min_scale: float = 0.0
    max_scale: float = 1.0
    start_scale: float = 1.0
    unit: Literal["layer", "tower"] = "layer"


@dataclass(frozen=True)
class UpdateRatio(Policy):
    """Rates at which every layer moves by a given share of its weights at each step.

        scale = ratio / EMA(‖Δw‖/‖w‖ per unit of rate) / base rate

    value = |dw| / |w| / effective rate;  scale = ratio / (average * base rate), so that |dw| / |w| is about ratio *
    factor of the schedule * scales of other policies.  The rule's learning rate sets only the first step.  The scales
    are those of the next step, and are saved in checkpoints.  A layer whose weights are all 0 keeps scale 1, and one
    that does not move gets max_scale.  It costs what telemetry costs.  Source: Layerwise; the ratio is a common
    diagnostic (Karpathy, CS231n notes).

    Args:
        ratio: ‖Δw‖/‖w‖ of a step, where the schedule's factor is 1, in (0, inf).  Default 0.001.
        average: Share of the average that a step keeps, in [0, 1); 0: the last value alone.  Default 0.9.
        warmup: Steps of a layer that are measured before its scale changes, in [1, 2**53].  Default 1.
        period: Steps of a layer from one change of its scale to the next, in [1, 2**53].  Default 1.
        ramp: Steps over which the scale goes from start_scale to what is measured, in [0, 2**53].  Default 0.
        min_scale: No measured scale is lower, in [0, inf).  Default 0.001.
        max_scale: No measured scale is higher, in (0, inf).  Default 1000.
        start_scale: The scale of the steps before the first that is measured, in (0, inf).  Default 1.
        unit: What has a scale of its own: each "layer", or each "tower" as a whole.  Default "layer".
    """

    name: ClassVar[str] = "update_ratio"
    ratio: float = 0.001
    _: KW_ONLY
    average: float = 0.9
    warmup: int = 1
    period: int = 1
    ramp: int = 0
    min_scale: float = 0.001
    max_scale: float = 1000.0
    start_scale: float = 1.0
    unit: Literal["layer", "tower"] = "layer"


@dataclass(frozen=True)
class LARC(Policy):
    """A rate from the ratio of weight to gradient norms of each layer, for any rule.

        scale = min(trust·‖w‖/(‖g‖ + λ‖w‖ + ε)/rate, 1)

    value = trust * |w| / (|g| + lambda * |w| + eps); with clip, scale = min(value / rate, 1), so that the ratio only
    lowers rates; without, scale = value.  The scales are those of the next step, and are saved in checkpoints: the
    first step has start_scale.  It costs what telemetry costs.  Source: NVIDIA apex LARC, for each layer and from the
    step before.

    Args:
        trust: η: the ratio of change to weights that is aimed at, in (0, inf).  Default 0.02.
        clip: Only lower rates.  Default True.
        eps: What is added to the divisor, in [0, inf).  Default 1e-8.
        average: Share of the average that a step keeps, in [0, 1); 0: the last value alone.  Default 0.
        warmup: Steps of a layer that are measured before its scale changes, in [1, 2**53].  Default 1.
        period: Steps of a layer from one change of its scale to the next, in [1, 2**53].  Default 1.
        ramp: Steps over which the scale goes from start_scale to what is measured, in [0, 2**53].  Default 0.
        min_scale: No measured scale is lower, in [0, inf).  Default 0.
        max_scale: No measured scale is higher, in (0, inf).  Default 1000.
        start_scale: The scale of the steps before the first that is measured, in (0, inf).  Default 1.
        unit: What has a scale of its own: each "layer", or each "tower" as a whole.  Default "layer".
    """

    name: ClassVar[str] = "larc"
    trust: float = 0.02
    _: KW_ONLY
    clip: bool = True
    eps: float = 1e-8
    average: float = 0.0
    warmup: int = 1
    period: int = 1
    ramp: int = 0
    min_scale: float = 0.0
    max_scale: float = 1000.0
    start_scale: float = 1.0
    unit: Literal["layer", "tower"] = "layer"


@dataclass(frozen=True)
class TVLARS(Policy):
    """LARS's ratio with a factor that begins high and falls, in place of a warm-up, for any rule.

        scale = η·‖w‖/(‖g‖ + λ‖w‖ + ε)·(1/(α + e^(s·(t − d))) + lowest)

    scale = trust * |w| / (|g| + lambda * |w| + eps) * (1 / (alpha + exp(steepness * (t - delay))) + lowest), where t
    counts the steps of the layer from 1.  The scales are those of the next step, and are saved in checkpoints: the
    first step has start_scale.  It costs what telemetry costs.  Source: Do, Tran, Tran 2023, arXiv:2309.14053, for each
    layer and from the step before.

    Args:
        trust: η, in (0, inf).  Default 0.001.
        steepness: How fast the factor falls, in (0, inf).  Default 0.001.
        alpha: Bounds the factor at 1/alpha, in (0, inf).  Default 0.1.
        delay: Steps by which the fall is put off, in [0, inf).  Default 0.
        lowest: What the factor falls to, in [0, inf).  Default 0.
        eps: What is added to the divisor, in [0, inf).  Default 1e-8.
        average: Share of the average that a step keeps, in [0, 1); 0: the last value alone.  Default 0.
        warmup: Steps of a layer that are measured before its scale changes, in [1, 2**53].  Default 1.
        period: Steps of a layer from one change of its scale to the next, in [1, 2**53].  Default 1.
        ramp: Steps over which the scale goes from start_scale to what is measured, in [0, 2**53].  Default 0.
        min_scale: No measured scale is lower, in [0, inf).  Default 0.
        max_scale: No measured scale is higher, in (0, inf).  Default 1000.
        start_scale: The scale of the steps before the first that is measured, in (0, inf).  Default 1.
        unit: What has a scale of its own: each "layer", or each "tower" as a whole.  Default "layer".
    """

    name: ClassVar[str] = "tvlars"
    trust: float = 0.001
    _: KW_ONLY
    steepness: float = 0.001
    alpha: float = 0.1
    delay: float = 0.0
    lowest: float = 0.0
    eps: float = 1e-8
    average: float = 0.0
    warmup: int = 1
    period: int = 1
    ramp: int = 0
    min_scale: float = 0.0
    max_scale: float = 1000.0
    start_scale: float = 1.0
    unit: Literal["layer", "tower"] = "layer"


@dataclass(frozen=True)
class Hypergradient(Policy):
    """Rates that grow while a layer's gradient agrees with its last change, and fall while it does not.

        scale ← scale · exp(β·cos(g, u)), u the last change

    With u the last change of a layer per unit of its rate: form "cosine" has scale *= exp(beta * cos(g, u)), which
    depends on no scale of the gradients; "published" has scale += beta * <g, u> / base rate, for which beta is 1e-6
    with SGD and 1e-8 with Adam.  The scales are those of the next step, and are saved in checkpoints.  Each tensor
    keeps its last change, 4 bytes for a float32 parameter; the page on policies has the time that it costs.  Source:
    Baydin et al. 2018, arXiv:1703.04782, for each layer.

    Args:
        beta: How fast scales change, in (0, inf).  Default 0.02.
        form: How a product changes the scale: "cosine" or "published".  Default "cosine".
        average: Share of the average that a step keeps, in [0, 1); 0: the last value alone.  Default 0.
        warmup: Steps of a layer that are measured before its scale changes, in [1, 2**53].  Default 1.
        period: Steps of a layer from one change of its scale to the next, in [1, 2**53].  Default 1.
        ramp: Steps over which the scale goes from start_scale to what is measured, in [0, 2**53].  Default 0.
        min_scale: No measured scale is lower, in [0, inf).  Default 0.001.
        max_scale: No measured scale is higher, in (0, inf).  Default 1000.
        start_scale: The scale of the steps before the first that is measured, in (0, inf).  Default 1.
        unit: What has a scale of its own: each "layer", or each "tower" as a whole.  Default "layer".
    """

    name: ClassVar[str] = "hypergradient"
    beta: float = 0.02
    _: KW_ONLY
    form: Literal["cosine", "published"] = "cosine"
    average: float = 0.0
    warmup: int = 1
    period: int = 1
    ramp: int = 0
    min_scale: float = 0.001
    max_scale: float = 1000.0
    start_scale: float = 1.0
    unit: Literal["layer", "tower"] = "layer"


@dataclass(frozen=True)
class SignAgreement(Policy):
    """Rates that grow while most elements of a layer keep the sign of their last change, and fall while they do not.

        scale ← scale ± bump, by the share of signs kept

    value = share of the elements whose change has the sign of the last; scale += bump where the average is at least the
    threshold, else scale -= bump.  The scales are those of the next step, and are saved in checkpoints.  Momentum makes
    changes agree, so that max_scale often decides.  Each tensor keeps the signs of its last change, a byte for each
    element; the page on policies has the time that it costs.  Source: Automagic v2 of ai-toolkit (Ostris), for each
    layer and any rule.

    Args:
        bump: By how much a scale changes, in (0, inf).  Default 0.01.
        threshold: Share of signs kept from which on a scale grows, in (0, 1).  Default 0.5.
        average: Share of the average that a step keeps, in [0, 1); 0: the last value alone.  Default 0.
        warmup: Steps of a layer that are measured before its scale changes, in [1, 2**53].  Default 1.
        period: Steps of a layer from one change of its scale to the next, in [1, 2**53].  Default 1.
        ramp: Steps over which the scale goes from start_scale to what is measured, in [0, 2**53].  Default 0.
        min_scale: No measured scale is lower, in [0, inf).  Default 0.1.
        max_scale: No measured scale is higher, in (0, inf).  Default 10.
        start_scale: The scale of the steps before the first that is measured, in (0, inf).  Default 1.
        unit: What has a scale of its own: each "layer", or each "tower" as a whole.  Default "layer".
    """

    name: ClassVar[str] = "sign_agreement"
    bump: float = 0.01
    _: KW_ONLY
    threshold: float = 0.5
    average: float = 0.0
    warmup: int = 1
    period: int = 1
    ramp: int = 0
    min_scale: float = 0.1
    max_scale: float = 10.0
    start_scale: float = 1.0
    unit: Literal["layer", "tower"] = "layer"


@dataclass(frozen=True)
class LDoGScale(Policy):
    """Rates from the distance that a layer has come, for any rule.

        scale = max‖w − w₀‖ / √Σ‖u‖²

    With r the largest |w - w0| of a layer so far, at first reps_rel * (1 + |w|), and G the sum of |u|**2 over its
    steps, u the change per unit of rate: scale = r / sqrt(G).  Set the rule's lr to 1 or near it.  The scales are those
    of the next step, and are saved in checkpoints; the first step has start_scale.  Each tensor keeps its weights at
    the start, 4 bytes for a float32 parameter; the page on policies has the time that it costs.  Source: Ivgi, Hinder,
    Carmon 2023, arXiv:2302.12022, L-DoG, as a scale.

    Args:
        reps_rel: The first distance, relative to 1 + ‖w‖, in (0, inf).  Default 1e-6.
        warmup: Steps of a layer that are measured before its scale changes, in [1, 2**53].  Default 1.
        period: Steps of a layer from one change of its scale to the next, in [1, 2**53].  Default 1.
        ramp: Steps over which the scale goes from start_scale to what is measured, in [0, 2**53].  Default 0.
        min_scale: No measured scale is lower, in [0, inf).  Default 0.
        max_scale: No measured scale is higher, in (0, inf).  Default 1000000.
        start_scale: The scale of the steps before the first that is measured, in (0, inf).  Default 1e-6.
        unit: What has a scale of its own: each "layer", or each "tower" as a whole.  Default "layer".
    """

    name: ClassVar[str] = "ldog_scale"
    reps_rel: float = 1e-6
    _: KW_ONLY
    warmup: int = 1
    period: int = 1
    ramp: int = 0
    min_scale: float = 0.0
    max_scale: float = 1000000.0
    start_scale: float = 1e-6
    unit: Literal["layer", "tower"] = "layer"


@dataclass(frozen=True)
class GradientNoise(Policy):
    """Rates that follow the share of signal in the gradients of each layer, as micro-batches show it.

        scale = |G|²/(|G|² + S/n)

    Call measure_microbatch after each of the n micro-batches of a step, while gradients add up.  |G|**2 and S, the
    squared mean gradient and the variance of a micro-batch, follow from the norms of the sums by least squares; scale =
    |G|**2 / (|G|**2 + S / n), both averaged.  A step without such calls measures nothing.  The scales are those of the
    next step, and are saved in checkpoints.  Each call reads all gradients once.  Source: McCandlish et al. 2018,
    arXiv:1812.06162, for each layer.

    Args:
        average: Share of the average that a step keeps, in [0, 1); 0: the last value alone.  Default 0.95.
        warmup: Steps of a layer that are measured before its scale changes, in [1, 2**53].  Default 5.
        period: Steps of a layer from one change of its scale to the next, in [1, 2**53].  Default 1.
        ramp: Steps over which the scale goes from start_scale to what is measured, in [0, 2**53].  Default 0.
        min_scale: No measured scale is lower, in [0, inf).  Default 0.01.
        max_scale: No measured scale is higher, in (0, inf).  Default 1.
        start_scale: The scale of the steps before the first that is measured, in (0, inf).  Default 1.
        unit: What has a scale of its own: each "layer", or each "tower" as a whole.  Default "layer".
    """

    name: ClassVar[str] = "gradient_noise"
    _: KW_ONLY
    average: float = 0.95
    warmup: int = 5
    period: int = 1
    ramp: int = 0
    min_scale: float = 0.01
    max_scale: float = 1.0
    start_scale: float = 1.0
    unit: Literal["layer", "tower"] = "layer"


@dataclass(frozen=True)
class AutoLR(Policy):
    """Rates at which layers move the more the nearer they are to the output.

        scale ← scale · aim / movement, while movements do not rise with depth

    movement = average of |dw| / elements.  Every period steps the movements are compared with the order of the layers:
    score = 1 - 2 * sum(|i - rank|) / n**2, for each tower without its head.  While it is below the threshold, scale *=
    aim / movement.  The first aims rise in equal steps from lowest * the least movement to highest * the largest; later
    ones are the movements, put in order from the middle outwards.  The published AutoLR compares whole epochs, and
    rolls back those whose score is low; here nothing is taken back.  The scales are those of the next step, and are
    saved in checkpoints.  It costs what telemetry costs.  Source: Ro and Choi 2021, arXiv:2002.06048, without trials.

    Args:
        threshold: The score that is good enough, in [0, 1).  Default 0.94.
        threshold_decay: What the threshold is multiplied by after each good score, until it is below 0.8, in (0, 1].
            Default 0.99.
        lowest: The first aim of the first layer, in least movements, in (0, inf).  Default 2.
        highest: The first aim of the last layer, in largest movements, in (0, inf).  Default 0.4.
        average: Share of the average that a step keeps, in [0, 1); 0: the last value alone.  Default 0.9.
        warmup: Steps of a layer that are measured before its scale changes, in [1, 2**53].  Default 20.
        period: Steps of a layer from one change of its scale to the next, in [1, 2**53].  Default 20.
        ramp: Steps over which the scale goes from start_scale to what is measured, in [0, 2**53].  Default 0.
        min_scale: No measured scale is lower, in [0, inf).  Default 0.001.
        max_scale: No measured scale is higher, in (0, inf).  Default 1000.
        start_scale: The scale of the steps before the first that is measured, in (0, inf).  Default 1.
    """

    name: ClassVar[str] = "auto_lr"
    threshold: float = 0.94
    _: KW_ONLY
    threshold_decay: float = 0.99
    lowest: float = 2.0
    highest: float = 0.4
    average: float = 0.9
    warmup: int = 20
    period: int = 20
    ramp: int = 0
    min_scale: float = 0.001
    max_scale: float = 1000.0
    start_scale: float = 1.0


@dataclass(frozen=True)
class TempBalance(Policy):
    """Rates that follow the singular values of the weights, whenever measure_spectra is called.

        scale = lowest + (highest − lowest)·(α − min)/(max − min)

    Call measure_spectra now and then, such as once an epoch.  value = alpha, the exponent of the tail of the squared
    singular values, in the mean over the matrices of a layer; scale = lowest + (highest - lowest) * (value - least) /
    (largest - least) over all layers.  Until the first call all scales are 1; from then on they go over to new ones in
    `ramp` steps.  Scales are saved in checkpoints.  It costs nothing in a step; a call takes about 4 n**3 + 2 n**2 m
    operations for an n * m matrix, on a thread of its own if it has a delay.  Source: Zhou et al. 2023, TempBalance;
    LLR, arXiv:2605.22297.

    Args:
        lowest: Scale of the layer with the least value, in [0, inf).  Default 0.5.
        highest: Scale of the layer with the largest value, in (0, inf).  Default 1.5.
        measure: What is read off: "alpha", "stable_rank" or "spectral_norm".  Default "alpha".
        ends: Scale of the first layer and the head: "one", the "highest", or as "measured".  Default "one".
        least_rank: Tensors with fewer rows or columns are left out, in [2, 2**20].  Default 50.
        average: Share of the average that a call keeps, in [0, 1); 0: the last value alone.  Default 0.
        ramp: Steps in which a scale goes from the present one to a new one, in [0, 2**53].  Default 0.
    """

    name: ClassVar[str] = "temp_balance"
    lowest: float = 0.5
    highest: float = 1.5
    _: KW_ONLY
    measure: Literal["alpha", "stable_rank", "spectral_norm"] = "alpha"
    ends: Literal["one", "highest", "measured"] = "one"
    least_rank: int = 50
    average: float = 0.0
    ramp: int = 0


@dataclass(frozen=True)
class AlphaDecay(Policy):
    """Weight decay that follows the singular values of the weights, whenever measure_spectra is called.

        λ · (lowest + (highest − lowest)·(α − min)/(max − min))

    Call measure_spectra now and then.  value = alpha, the exponent of the tail of the squared singular values, in the
    mean over the matrices of a layer.  With map "linear" the weight decay is multiplied by lowest + (highest - lowest)
    * (value - least) / (largest - least) over all layers; with "sigmoid" by lowest + (highest - lowest) / (1 + exp(-4
    z)), z = (value - mean) / standard deviation, which is the published one from 0 to 2.  With of "rate" the rate is
    multiplied instead.  Until the first call all factors are 1.  They are saved in checkpoints.  It costs what
    TempBalance costs.  Source: AlphaDecay, arXiv:2506.14562, for each layer.

    Args:
        lowest: Factor of the layer with the least value, in [0, inf).  Default 0.5.
        highest: Factor of the layer with the largest value, in (0, inf).  Default 1.5.
        map: How values become factors: "linear" or "sigmoid".  Default "linear".
        of: What is multiplied: the weight "decay" or the "rate".  Default "decay".
        measure: What is read off: "alpha", "stable_rank" or "spectral_norm".  Default "alpha".
        ends: Scale of the first layer and the head: "one", the "highest", or as "measured".  Default "one".
        least_rank: Tensors with fewer rows or columns are left out, in [2, 2**20].  Default 50.
        average: Share of the average that a call keeps, in [0, 1); 0: the last value alone.  Default 0.
        ramp: Steps in which a scale goes from the present one to a new one, in [0, 2**53].  Default 0.
    """

    name: ClassVar[str] = "alpha_decay"
    lowest: float = 0.5
    highest: float = 1.5
    _: KW_ONLY
    map: Literal["linear", "sigmoid"] = "linear"
    of: Literal["decay", "rate"] = "decay"
    measure: Literal["alpha", "stable_rank", "spectral_norm"] = "alpha"
    ends: Literal["one", "highest", "measured"] = "one"
    least_rank: int = 50
    average: float = 0.0
    ramp: int = 0


@dataclass(frozen=True)
class ForTower(Policy):
    """A policy for the layers of one tower only.

        scale = that of the part, else 1

    `Combine(ForTower("vision", LayerDecay(0.65)), ForTower("text", LayerDecay(0.8)))`.  The other layers keep what they
    have.  Source: Layerwise.

    Args:
        tower: The tower's name, which some layer must have.
        policy: The policy, which sees these layers and no others.
    """

    name: ClassVar[str] = "for_tower"
    contents: ClassVar[tuple[Content, ...]] = (Part("policy"),)
    tower: str
    policy: Policy


@dataclass(frozen=True, init=False, repr=False)
class Combine(Policy, Unnamed):
    """Several policies at once: their scales multiply.

        scale = ∏ scaleᵢ

    A trust ratio adapts a tensor where all of them let it, and at most one of them gives a layer a rate. Their factors
    of the decay multiply too.  Source: Layerwise.

    Args:
        policies: Two policies or more.
    """

    name: ClassVar[str] = "combine"
    contents: ClassVar[tuple[Content, ...]] = (Parts("policies"),)
    policies: tuple[Policy, ...]

    def __init__(self, *policies: Policy) -> None:
        object.__setattr__(self, "policies", policies)
        self._check()


# The names of version 0.1.0.
Range = GeometricRange
Slice = RateSlice
