# SPDX-License-Identifier: Apache-2.0
"""What the documentation says of rules and policies is what the library declares."""

from pathlib import Path

from layerwise.__main__ import markdown

RULES = Path(__file__).parents[2] / "docs" / "rules.md"


def test_rules_page_is_up_to_date() -> None:
    assert RULES.read_text("utf-8") == markdown(), "run `make docs`"


def test_rules_page_names_every_rule() -> None:
    text = RULES.read_text("utf-8")
    assert [f"(`{name}`)" in text for name in ("sgd", "lars", "adam", "adamw", "lamb")] == [True] * 5
