# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m layerwise rules` prints every rule and policy as Markdown (`docs/rules.md`)."""

from __future__ import annotations

import argparse
from typing import Any

from .introspection import policies, rules


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m layerwise", description=__doc__.split(":")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rules", help="print every rule and policy as Markdown")
    parser.parse_args()
    print(markdown(), end="")


def markdown() -> str:
    """Every rule and policy, as the library declares them."""
    lines = [
        "# Rules and policies",
        "",
        "Written by `make docs` from the declarations that the library itself checks settings against.",
        "γ is the effective rate of the layer, λ the weight decay, g the gradient after scaling and clipping.",
    ]
    for rule in rules():
        lines += ["", f"## {rule['title']} (`{rule['name']}`)", "", f"    {rule['equation']}", ""]
        lines += [f"Source: {rule['source']}.", f"States: {', '.join(f'`{state}`' for state in rule['states'])}.", ""]
        lines += _table(rule["hyperparameters"])
        presets = rule["presets"]
        if presets:
            lines += ["", "Presets, by the key `variant`:", ""]
            for name, values in presets.items():
                settings = ", ".join(f"{key} = {_value(value)}" for key, value in values.items())
                lines.append(f"* `{name}`: {settings}")
    lines += ["", "# Policies"]
    for policy in policies():
        lines += ["", f"## `{policy['name']}`", "", f"{policy['doc'][0].upper()}{policy['doc'][1:]}."]
        if policy["settings"]:
            lines += ["", *_table(policy["settings"])]
    return "\n".join(lines) + "\n"


def _table(parameters: list[dict[str, Any]]) -> list[str]:
    rows = ["| key | default | valid | |", "|---|---|---|---|"]
    for parameter in parameters:
        valid = {"flag": "0, 1", "choice": ", ".join(parameter.get("choices", []))}
        text = valid.get(parameter["kind"], parameter.get("range", ""))
        rows.append(f"| `{parameter['key']}` | {_value(parameter['default'])} | {text} | {parameter['doc']} |")
    return rows


def _value(value: str | float | None) -> str:
    # An infinite default is null in the declaration: JSON has no infinity.
    if value is None:
        return "inf"
    return value if isinstance(value, str) else f"{value:g}"


if __name__ == "__main__":
    main()
