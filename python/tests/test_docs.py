# SPDX-License-Identifier: Apache-2.0
"""The documentation is true: it shows what the library declares and what the examples print."""

import re
import sys
from pathlib import Path

import pytest
import yaml
from support.pages import DOCUMENTS, PAGES, READMES, ROOT, check_output, output, runnable

import layerwise as lw
from layerwise.__main__ import markdown

RULES = ROOT / "docs" / "rules.md"
IMAGES = ROOT / "docs" / "images"

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
@pytest.mark.parametrize("page", [page for page in PAGES if page not in READMES and runnable("python", [page])])
def test_examples_print_what_the_page_shows(page: str, tmp_path: Path) -> None:
    """The examples of a page run one after another in one interpreter, as a reader would type them."""
    examples = runnable("python", [page])
    for example in examples:
        # As many lines ahead of it as on the page, so that a traceback names the page's lines.
        (tmp_path / f"line{example.line}.py").write_text("\n" * (example.line - 1) + example.code, "utf-8")
    files = [f"line{example.line}.py" for example in examples]
    package = str(Path(lw.__file__).parent.parent)
    printed = output([sys.executable, "-c", RUNNER, *files], tmp_path, PYTHONPATH=package).split(SEPARATOR)
    assert printed.pop() == ""
    for example, found in zip(examples, printed, strict=True):
        check_output(example, found)


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


def test_every_page_is_in_the_menu_of_the_site() -> None:
    config = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text("utf-8"))

    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry
        return [page for part in parts for page in pages(part)]

    listed = pages(config["nav"])
    assert len(listed) == len(set(listed))
    here = {page.removeprefix("docs/") for page in DOCUMENTS if page.startswith("docs/")}
    decisions = {page for page in here if page.startswith("decisions/")}
    assert here - decisions == {page for page in listed if (ROOT / "docs" / page).exists()}
