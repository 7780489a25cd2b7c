# SPDX-License-Identifier: Apache-2.0
"""The page `docs/rules.md`: every rule, policy, schedule and freezing plan, from the library's own declarations."""

from __future__ import annotations

from typing import Any

from .introspection import freeze_plans, policies, rules, schedules


def markdown() -> str:
    """What the library declares, as Markdown."""
    lines = [
        "# Rules, policies, schedules and freezing plans",
        "",
        "Written by `make docs` from the declarations that the library itself checks settings against.",
        "Most settings without a default must be given; the others have no value until they are.",
        "",
        "[Rules](#rules) · [policies](#policies) · [schedules](#schedules) · [freezing plans](#freezing-plans)",
        "",
        "# Rules",
        "",
        "γ is the effective rate of the layer, λ the weight decay, g the gradient after scaling and clipping.",
    ]
    for rule in rules():
        lines += ["", f"## {rule['title']} (`{rule['name']}`)", "", f"    {rule['equation']}", ""]
        states = ", ".join(f"`{state}`" for state in rule["states"])
        lines += [f"Source: {rule['source']}.", f"States: {states or 'none'}.", ""]
        lines += _table(rule["hyperparameters"])
        presets = rule["presets"]
        if presets:
            lines += ["", "Presets, by the key `variant`:", ""]
            for name, values in presets.items():
                settings = ", ".join(f"{key} = {_value(value)}" for key, value in values.items())
                lines.append(f"* `{name}`: {settings}")
    for title, text, recipes in (
        ("Policies", "A layer's rate is the base rate times its scale, as the schedule moves it.", policies()),
        ("Schedules", "t counts steps from 0; p goes from 0 to 1 over the steps after the warm-up.", schedules()),
        ("Freezing plans", "A layer trains while it is active; i counts layers from the input.", freeze_plans()),
    ):
        lines += ["", f"# {title}", "", text, *_recipes(recipes)]
    return "\n".join(lines) + "\n"


def _recipes(declarations: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for recipe in declarations:
        lines += ["", f"## `{recipe['name']}`", "", f"{recipe['doc'][0].upper()}{recipe['doc'][1:]}."]
        lines += ["", f"    {recipe['equation']}", "", f"Source: {recipe['source']}."]
        lines += [f"*{key.title()}:* {recipe[key]}." for key in ("values", "parts") if recipe[key]]
        if recipe["settings"]:
            lines += ["", *_table(recipe["settings"])]
    return lines


def _table(parameters: list[dict[str, Any]]) -> list[str]:
    rows = ["| key | default | valid | |", "|---|---|---|---|"]
    for parameter in parameters:
        valid = {"flag": "0, 1", "choice": ", ".join(parameter.get("choices", [])), "text": "text"}
        text = valid.get(parameter["kind"], parameter.get("range", ""))
        for exponent in (20, 53):
            text = text.replace(str(2**exponent), f"2^{exponent}")
        default = _value(parameter["default"]) if "default" in parameter else ""
        rows.append(f"| `{parameter['key']}` | {default} | {text} | {parameter['doc']} |")
    return rows


def _value(value: str | float | None) -> str:
    # An infinite default is null in the declaration: JSON has no infinity.
    if value is None:
        return "inf"
    if isinstance(value, str):
        # A pattern has asterisks, which are not for emphasis.
        return f"`{value}`" if "*" in value else value
    return f"{value:g}"
