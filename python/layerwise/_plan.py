# SPDX-License-Identifier: Apache-2.0
"""A dry-run optimizer for the parameters of a model by name and shape, whatever framework holds them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._placement import LayerRules, Placement, by_name
from ._spec import Recipe
from .errors import InvalidArgument
from .freezing import FreezePlan
from .introspection import known_freeze_plans, known_policies
from .optimizer import Optimizer
from .policy import Policy
from .rule import Rule
from .schedule import Schedule


def depends_on_depth(recipe: Recipe | None, declarations: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a policy or freezing plan depends on the depths of layers, as the declarations of all of its kind say."""
    if recipe is None:
        return False
    declared = {declaration["name"]: declaration["depends_on_depth"] for declaration in declarations}
    ahead = [recipe]
    while ahead:
        part = ahead.pop()
        dependence = declared.get(part.name, "never")
        if dependence == "always":
            return True
        if dependence == "parts":
            ahead.extend(part.parts())
    return False


class ModelPlan:
    """The layers of a model, and the dry-run optimizer that computes what they get.

    Args:
        shapes: The shape of each parameter by name, with dots between the parts of a name.
        rule: The rule that has the hyperparameters which schedules may move; it takes no steps.
        rules: The user's own rules for which parameter belongs to which layer.
        policy: What sets every layer's scale.
        schedule: How the rate moves in time, or a mapping from hyperparameter to schedule.
        freezing: When each layer trains.
        decay_follows: What multiplies decoupled decay.

    Raises:
        InvalidArgument: There are no parameters.
    """

    def __init__(
        self,
        shapes: Mapping[str, Sequence[int]],
        rule: Rule,
        *,
        rules: LayerRules | None,
        policy: Policy | None,
        schedule: Schedule | Mapping[str, Schedule] | None,
        freezing: FreezePlan | None,
        decay_follows: Any = "layer_lr",
    ) -> None:
        if not shapes:
            raise InvalidArgument("params: expected at least one parameter, found none")
        for what, value, kind, example in (
            ("policy", policy, Policy, "LayerDecay(0.75)"),
            ("freezing", freezing, FreezePlan, "GradualUnfreezing(100)"),
        ):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{what}: expected one such as {example}, found {value!r}")
        placed = by_name(list(shapes), rules)
        if depends_on_depth(policy, known_policies()) or depends_on_depth(freezing, known_freeze_plans()):
            _warn_of_guesses(placed.values())
        members: dict[Placement, list[str]] = {}
        for name, placement in placed.items():
            members.setdefault(placement, []).append(name)
        self.native = Optimizer(
            rule, policy, schedule=schedule, freezing=freezing, decay_follows=decay_follows, dry_run=True
        )
        self.names: list[str] = []
        """The parameters, in the order of their tensors."""
        self.layer_of: list[int] = []
        """The index of each parameter's layer."""
        ordered = sorted(
            members.items(), key=lambda item: (item[0].tower, -1 if item[0].depth is None else item[0].depth)
        )
        for index, (placement, names) in enumerate(ordered):
            prefix = f"{placement.layer}."
            # A tensor is called what its name has beyond the layer's.
            if not all(name.startswith(prefix) and len(name) > len(prefix) for name in names):
                prefix = ""
            role: Any = placement.role
            self.native.add_layer(
                placement.layer,
                {name.removeprefix(prefix): tuple(shapes[name]) for name in names},
                depth=placement.depth,
                tower=placement.tower or None,
                role=role,
                scale=placement.scale,
            )
            self.names += names
            self.layer_of += [index] * len(names)


def _warn_of_guesses(placements: Iterable[Placement]) -> None:
    guesses = {placement.layer: placement.depth for placement in placements if placement.guess}
    if guesses:
        told = ", ".join(f"{layer} at depth {depth}" for layer, depth in list(guesses.items())[:8])
        more = f" and {len(guesses) - 8} more" if len(guesses) > 8 else ""
        warnings.warn(
            f"only the order of the parameters tells the depth of {told}{more}: say it with layers={{pattern: depth}}",
            UserWarning,
            stacklevel=4,
        )
