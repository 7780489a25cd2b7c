# SPDX-License-Identifier: Apache-2.0
"""What the documentation says is what happens: what the library declares, and what the examples print."""

import re
import sys
from pathlib import Path

import pytest
from test_readme import PAGES, ROOT, output

import layerwise as lw
from layerwise.__main__ import markdown

RULES = ROOT / "docs" / "rules.md"
IMAGES = ROOT / "docs" / "images"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/install.md", *PAGES)

EXAMPLE = re.compile(r"^```python\n(?P<code>.*?)^```$(?:\n\n^```text\n(?P<output>.*?)^```$)?", re.DOTALL | re.MULTILINE)
"""A block of Python, and the block of text after it if there is one: what it prints."""

SEPARATOR = "\x1e"
"""What is printed after each example."""

RUNNER = f"""
import sys

names = {{"__name__": "__main__"}}
for file in sys.argv[1:]:
    with open(file, encoding="utf-8") as source:
        exec(compile(source.read(), file, "exec"), names)
    print({SEPARATOR!r}, end="")
"""


def test_rules_page_is_up_to_date() -> None:
    assert RULES.read_text("utf-8") == markdown(), "run `make docs`"


def test_rules_page_names_everything() -> None:
    lines = RULES.read_text("utf-8").splitlines()
    for rule in lw.rules():
        assert f"## {rule['title']} (`{rule['name']}`)" in lines
    for recipe in [*lw.policies(), *lw.schedules(), *lw.freeze_plans()]:
        assert f"## `{recipe['name']}`" in lines
        assert f"    {recipe['equation']}" in lines
        assert f"Source: {recipe['source']}." in lines


@pytest.mark.spawns
@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_examples_print_what_the_page_shows(page: str, tmp_path: Path) -> None:
    """The examples of a page run one after another in one interpreter, as a reader would type them."""
    text = (ROOT / page).read_text("utf-8")
    examples = {text.count("\n", 0, found.start()) + 1: found for found in EXAMPLE.finditer(text)}
    for line, example in examples.items():
        # As many lines ahead of it as on the page, so that a traceback tells the page's lines.
        (tmp_path / f"line{line}.py").write_text("\n" * line + example["code"], "utf-8")
    files = [f"line{line}.py" for line in examples]
    package = str(Path(lw.__file__).parent.parent)
    printed = output([sys.executable, "-c", RUNNER, *files], tmp_path, PYTHONPATH=package).split(SEPARATOR)
    assert printed.pop() == ""
    for (line, example), found in zip(examples.items(), printed, strict=True):
        if example["output"] is not None:
            # No file has blanks at the ends of its lines.
            lines = [line.rstrip() for line in found.rstrip().split("\n")]
            assert lines == example["output"].rstrip().split("\n"), f"{page}:{line}"


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    source = ROOT / document
    for link in re.findall(r"\]\(([^)\s]+)\)", source.read_text("utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = source.parent / file if file else source
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_figure_is_drawn_and_shown() -> None:
    shown = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"images/([\w-]+)\.svg", (ROOT / document).read_text("utf-8"))
    }
    assert {image.stem for image in IMAGES.glob("*.svg")} == shown, "run `make docs`"


def test_every_policy_schedule_and_plan_is_explained() -> None:
    """By its class in Python."""
    for page, kind in {"policies": lw.Policy, "schedules": lw.Schedule, "freezing": lw.FreezePlan}.items():
        text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
        values = [getattr(lw, name) for name in lw.__all__ if name != kind.__name__]
        names = [value.__name__ for value in values if isinstance(value, type) and issubclass(value, kind)]
        assert len(names) >= 5
        assert [name for name in names if f"{name}(" not in text] == []
