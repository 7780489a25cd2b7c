# SPDX-License-Identifier: Apache-2.0
"""What the classes take beside the hyperparameters of their rule."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from torch import Tensor, nn

from .._names import nearest
from .._placement import KEYS
from ..averaging import Average, Lookahead
from ..errors import InvalidArgument, OutOfRange
from ..freezing import FreezePlan
from ..policy import Combine, Exclude, LayerDecay, Policy
from ..schedule import Schedule
from ._layers import Layers
from ._parameters import Group
from ._run_state import KEY
from ._warn import warn


class RuleOptions(TypedDict, total=False):
    """What all classes take beside the hyperparameters of their rule, by keyword.

    Attributes:
        layer_decay: `policy=LayerDecay(layer_decay)`: rates fall by this factor from layer to layer.
        policy: What sets every layer's scale.  Default: the same rate for all.
        schedule: How rates move in time, or a mapping from hyperparameter to schedule.  It multiplies what a scheduler
            of torch makes of the groups' "lr".
        freezing: When each layer trains.
        layers: The user's own rules for which parameter belongs to which layer, or a table; see `layers`.
        lr_scale: Who multiplies a group's rate by its key "lr_scale", which timm, MAE and BEiT put there: "scheduler"
            says that something outside puts lr * lr_scale into the group's "lr", as their schedulers do; "apply" makes
            it the scale of the group's layers here.  Default None: the first step at which a rate is not 0 looks
            whether the groups' rates are in the ratio of their "lr_scale", and is refused if they are not.
        module: Gives names to parameters that come without, such as those of the groups that Hugging Face makes.
        master: Keep a float32 master copy of float16 and bfloat16 parameters.  Default False.  Parameters may be
            changed between steps: where one is not what the last step stored, the step begins from it and not from
            the copy.
        nonfinite: At a NaN or infinite gradient, "raise" refuses the whole step and names the element, "skip" leaves
            everything as it was, "propagate" does not look.  Default "propagate", as in torch.
        clip_global_norm: Scale all gradients by min(1, limit / (norm + 1e-6)).
        clip_layer_norm: The same for each layer's own norm.
        clip_value: Clamp every gradient element to [-limit, limit], before the norms.
        clip_unit_ratio: Scale the gradients of each unit by min(1, limit * max(norm(w), clip_unit_eps) / norm(g)),
            after the other clips.  A unit is what the first axis of a tensor counts, such as a neuron or a filter; a
            tensor of rank 0 or 1 is one unit.
        clip_unit_eps: The least norm that the weights of a unit are taken to have.  Default 1e-3.
        centralize_gradients: Take the mean of each unit from its gradients, in tensors of rank 2 and more, after all
            clips.  Default False.
        gradient_noise: Add normal noise to gradients, whose variance after t steps is
            gradient_noise / (1 + t) ** gradient_noise_decay.  It follows from the seed, the names of the parameters,
            the step and the place alone.  Where parameters are spread over processes, each needs a seed of its own.
            Default 0, none.
        gradient_noise_decay: See gradient_noise.  Default 0.55.
        gradient_noise_seed: See gradient_noise.  Default 0.
        average: An average of the weights to keep, such as `layerwise.EMA(0.999)`, which `eval` puts into the
            parameters.  Default None.
        lookahead: Slow weights that the weights return to every k steps: `layerwise.Lookahead(k=5, alpha=0.5)`.
            Default None.
        decay_follows: What multiplies decoupled decay: "layer_lr", "base_lr" or "independent".  Default "layer_lr".
        telemetry: Keep norms for each layer at each step.  Default False.
        process_group: Where each process has parts of its own of every tensor, without DTensor: over which processes
            norms are summed for clipping, trust ratios, telemetry and the look for NaN.  They must have the same
            layers.  DTensors say themselves how they are spread.
        threads: The most threads that a step may use; None for as many as torch uses (`torch.get_num_threads()`, asked
            at each step).  Never more than affinity and the cgroup's quota grant.
        step_in_backward: Step each layer as soon as backward has its gradients, and free them.  `step()` ends the round
            and steps what was left.  A clip by the norm of all gradients is refused, and so is GradScaler: both need
            all gradients at once.  With `nonfinite="raise"` the error comes out of backward, after layers nearer to
            the output were stepped.  Default False.
        accumulation_steps: With `step_in_backward`, how many backwards add up to a gradient.  Default 1.
    """

    layer_decay: float | None
    policy: Policy | None
    schedule: Schedule | Mapping[str, Schedule] | None
    freezing: FreezePlan | None
    layers: Layers | None
    lr_scale: Literal["apply", "scheduler"] | None
    module: nn.Module | None
    master: bool
    nonfinite: Literal["raise", "skip", "propagate"]
    clip_global_norm: float | None
    clip_layer_norm: float | None
    clip_value: float | None
    clip_unit_ratio: float | None
    clip_unit_eps: float
    centralize_gradients: bool
    gradient_noise: float
    gradient_noise_decay: float
    gradient_noise_seed: int
    average: Average | None
    lookahead: Lookahead | None
    decay_follows: Literal["layer_lr", "base_lr", "independent"]
    telemetry: bool
    process_group: Any
    threads: int | None
    step_in_backward: bool
    accumulation_steps: int


class Options(RuleOptions, total=False):
    """What the classes of torch's rules take besides.

    Attributes:
        weight_decay_exclude_1d: Keep weight decay away from biases and norm weights: from tensors of rank 0 and 1.
            Default False, as in torch.
    """

    weight_decay_exclude_1d: bool


NATIVE = (
    "schedule",
    "freezing",
    "clip_global_norm",
    "clip_layer_norm",
    "clip_value",
    "clip_unit_ratio",
    "clip_unit_eps",
    "centralize_gradients",
    "gradient_noise",
    "gradient_noise_decay",
    "gradient_noise_seed",
    "average",
    "lookahead",
    "decay_follows",
    "telemetry",
    "threads",
)
"""Options that the native optimizer takes under the same name."""

FLAGS = ("foreach", "fused", "capturable", "differentiable")
"""Arguments of torch that choose among its implementations.  There is one here, so the first three choose nothing."""

LR_SCALE = "lr_scale"
"""The key of timm's, MAE's and BEiT's groups that says what multiplies their rate."""

_FOREIGN = {
    "name",
    "param_names",
    LR_SCALE,
    "swa_lr",
    "min_lr",
    "max_lr",
    "base_momentum",
    "max_momentum",
    "use_fallback",
    "decoupled_weight_decay",
}
"""Keys that torch's classes, its schedulers and timm put into groups, and that mean nothing here."""


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what is none of what is expected, and what does not go together."""
    lr_scale = options.get(LR_SCALE)
    if lr_scale not in (None, "apply", "scheduler"):
        raise InvalidArgument(f'lr_scale must be "apply", "scheduler" or None, found {lr_scale!r}')
    if lr_scale == "apply" and (options.get("policy") is not None or options.get("layer_decay") is not None):
        raise InvalidArgument(
            'lr_scale="apply" makes the "lr_scale" of each group the scale of its layers, in place of what a policy '
            'says: leave out layer_decay and policy, or the groups\' "lr_scale"'
        )
    freezing = options.get("freezing")
    if freezing is not None and not isinstance(freezing, FreezePlan):
        raise TypeError(f"freezing: expected one such as GradualUnfreezing(100), found {freezing!r}")
    in_backward = options.get("step_in_backward", False)
    steps = operator.index(options.get("accumulation_steps", 1))
    if steps < 1:
        raise OutOfRange(f"accumulation_steps must be at least 1, found {steps}")
    if steps > 1 and not in_backward:
        raise InvalidArgument("accumulation_steps has no effect without step_in_backward: call step() less often")
    if in_backward and options.get("process_group") is not None:
        raise InvalidArgument("step_in_backward needs whole parameters, and with process_group each process has parts")
    if in_backward and options.get("clip_global_norm") is not None:
        raise InvalidArgument(
            "clip_global_norm needs all gradients before the first layer is stepped, and step_in_backward steps "
            "each as it comes: use clip_layer_norm or clip_value"
        )


def refuse_in_zero(options: Mapping[str, Any], groups: Sequence[Group]) -> None:
    """Refuse what needs all tensors, where ZeroRedundancyOptimizer makes an optimizer for those of one process."""
    if not _is_made_by_zero():
        return
    reasons = [key for key in ("clip_global_norm", "clip_layer_norm") if options.get(key) is not None]
    if options.get("nonfinite", "propagate") != "propagate":
        reasons.append(f'nonfinite="{options["nonfinite"]}"')
    if any(group.get("trust_ratio_scope") == "layer" for group in groups):
        reasons.append('trust_ratio_scope="layer"')
    if reasons:
        raise InvalidArgument(
            f"{' and '.join(reasons)} needs all gradients, and ZeroRedundancyOptimizer gives each process a part of "
            "the parameters: call torch.nn.utils.clip_grad_norm_ before step"
        )


def _is_made_by_zero() -> bool:
    """Whether ZeroRedundancyOptimizer is among the callers: it calls the class as a user would, and says nothing."""
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    frame = sys._getframe(1) if module is not None else None
    while frame is not None:
        if frame.f_code.co_filename == getattr(module, "__file__", None):
            return True
        frame = frame.f_back
    return False


def refuse_for_spread(options: Mapping[str, Any]) -> None:
    """Refuse what needs whole parameters, where a process has only a part of each."""
    if options.get("step_in_backward"):
        raise InvalidArgument("step_in_backward needs whole parameters, and some are spread over processes (DTensor)")


def policy_of(options: Mapping[str, Any]) -> Policy | None:
    """The policy that the options ask for."""
    policy, decay = options.get("policy"), options.get("layer_decay")
    if policy is not None and decay is not None:
        raise InvalidArgument("layer_decay and policy exclude each other: put LayerDecay into the policy")
    if policy is not None and not isinstance(policy, Policy):
        raise TypeError(f"policy: expected one such as LayerDecay(0.75), found {policy!r}")
    if decay is not None:
        policy = LayerDecay(decay)
    if options.get("weight_decay_exclude_1d"):
        exclude = Exclude(trust_ratio=False)
        policy = exclude if policy is None else Combine(policy, exclude)
    return policy


def plain(value: Any) -> Any:
    """A number for a tensor of one element, also in a tuple."""
    if isinstance(value, tuple | list):
        return tuple(map(plain, value))
    return value.item() if isinstance(value, Tensor) else value


def check_flags(group: Mapping[str, Any], where: str) -> None:
    """Refuse flags that would change what a step means, and what torch refuses of the others."""
    for key in FLAGS:
        if group.get(key) not in (None, False, True):
            raise TypeError(f"{key}{where} must be True, False or None, found {group[key]!r}")
    if group.get("differentiable"):
        raise InvalidArgument(
            f"differentiable{where} must be False, found True: a step runs in the library, outside of autograd"
        )
    if group.get("fused") and group.get("foreach"):
        raise RuntimeError(f"`fused` and `foreach`{where} cannot be `True` together.")


_ABSENT = object()


def refuse_options(keys: Iterable[str]) -> None:
    """Refuse arguments of the optimizer where hyperparameters of groups are expected."""
    for key in keys:
        if key in RuleOptions.__annotations__ and key != LR_SCALE:
            raise InvalidArgument(
                f"{key} is an argument of the optimizer and not of a group: AdamW(param_groups(model), {key}=...)"
            )


def check_keys(
    group: Mapping[str, Any],
    index: int,
    kind: str,
    known: Iterable[str],
    fixed: Mapping[str, Any],
    given: Mapping[str, Any],
    warned: set[str],
) -> None:
    """Say which keys of a group have no effect.

    An argument of the optimizer that is no hyperparameter is refused.  Of any other key that is neither known here nor
    put there by torch or timm there is a warning, once for each key, and it stays in the group, as in torch.

    Args:
        group: The group, as the user gave it.
        index: Its index.
        kind: The name of the class.
        known: Keys that are read, and the rule's hyperparameters among them.
        fixed: Keys of torch's that say what the rule is, and their values.
        given: The optimizer's own arguments: ZeroRedundancyOptimizer puts them into the groups too.
        warned: Keys that were already warned of.

    Raises:
        InvalidArgument: A key is an argument of the optimizer.
    """
    known = {*known, *FLAGS, *KEYS, "params", KEY}
    options = (Options.__annotations__.keys() | RuleOptions.__annotations__.keys()) - known - {LR_SCALE}
    for key in group:
        if key in options and group[key] is not given.get(key, _ABSENT):
            raise InvalidArgument(
                f'"{key}" has no effect in param group {index}: it holds for all groups, so give it to the optimizer: '
                f"{kind}(..., {key}=...)"
            )
    for key, value in fixed.items():
        if group.get(key, value) != value:
            raise InvalidArgument(
                f"{key} of param group {index} must be {value}, found {group[key]!r}: {kind} is the rule where it is so"
            )
    strange = [
        key
        for key in group
        if key not in known | _FOREIGN | options | warned and not str(key).startswith(("initial_", "_"))
    ]
    for key in strange:
        warned.add(key)
        near = nearest(key, [*known - {"params", KEY}, *options])
        hint = f"; did you mean {near}?" if near else ""
        warn(f'param group {index} has the key "{key}", which {kind} does not read{hint}')


def check_lr_scale(group: Mapping[str, Any], index: int, option: str | None) -> None:
    """Refuse an "lr_scale" that is no number >= 0, or beside which there is another scale.

    Raises:
        InvalidArgument: It is so.
    """
    if LR_SCALE not in group:
        return
    value = group[LR_SCALE]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InvalidArgument(f"lr_scale of param group {index} must be in [0, inf), found {value!r}")
    if option == "apply" and group.get("scale") is not None:
        raise InvalidArgument(f'param group {index} has a "scale" and an "lr_scale": say one of them')
