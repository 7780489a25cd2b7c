# SPDX-License-Identifier: Apache-2.0
"""The command line: runs the cases, prints tables, writes bench.json and bench.png."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

import layerwise as lw

from . import chart, machine, policies, report, rules
from .cases import CASES, Scope
from .contestants import use_threads
from .meeting import Meeting
from .results import CaseResult, Row, fastest
from .stream import Stream
from .timing import measure

ROUNDS, WINDOW = 31, 0.03
QUICK_ROUNDS, QUICK_WINDOW = 3, 0.001
DISTURBED = 0.03
"""Share of other work above which the numbers are not to be trusted."""
OUTPUT = Path(__file__).resolve().parents[2] / "build" / "bench"
MARKDOWN = {"every_rule": rules.markdown, "measured_policies": policies.markdown}
"""The cases of which docs/benchmarks.md has a table."""


def main() -> None:
    """Runs what the command line asks for."""
    options = _parse()
    use_threads(options.threads)
    console = Console()
    if not console.is_terminal:
        console.width = 120
    here = machine.describe()
    settings: dict[str, object] = {
        "threads": options.threads,
        "rounds": options.rounds,
        "quick": options.quick,
        "window": options.window,
    }
    for line in [*here.lines(), f"{options.threads} threads for everyone, {options.rounds} rounds"]:
        console.print(line, highlight=False, soft_wrap=True)
    if options.quick:
        console.print("[bold]--quick: shows that everything runs; the numbers mean nothing[/]")

    other_work = machine.OtherWork()
    results = _run(console, options)
    share = settings["share_of_other_work"] = other_work.share()
    report.print_all(console, results, options.quick)
    if share > DISTURBED:
        console.print(f"[bold red]{share:.0%} of the processors' time went to other work: do not trust this[/]")
    if options.markdown:
        for key, table in MARKDOWN.items():
            if key in results:
                console.print(table(results[key]), highlight=False, soft_wrap=True, markup=False)
    options.output.mkdir(parents=True, exist_ok=True)
    report.write_json(options.output / "bench.json", here, settings, results)
    title = f"{here.processor}, {options.threads} threads" + (", --quick: not a measurement" if options.quick else "")
    usual = {key: each for key, each in results.items() if not each.limits}
    if usual:
        chart.draw(options.output / "bench.png", title, usual)
    for key, each in results.items():
        if each.limits:
            chart.draw_shares(options.output / f"{key}.svg", title, each)
            console.print(f"{options.output / key}.svg", highlight=False, soft_wrap=True)
    console.print(f"\n{options.output / 'bench.json'}\n{options.output / 'bench.png'}", highlight=False, soft_wrap=True)


def _run(console: Console, options: argparse.Namespace) -> dict[str, CaseResult]:
    if options.quick:
        scope = Scope(options.threads, tensors=4, side=256, repeats=2, stream=Stream())
    else:
        scope = Scope(options.threads, tensors=32, side=1024, repeats=50, stream=Stream())
    results = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        for key in options.only:
            task = progress.add_task(key, total=None)
            # Refreshed by hand: a thread that draws would be timed, too.
            progress.refresh()
            meeting = CASES[key](scope)
            rounds = meeting.rounds * options.rounds
            progress.update(task, total=rounds)

            def advance(task: TaskID = task) -> None:
                progress.update(task, advance=1, refresh=True)

            samples = measure(meeting.contestants, rounds, options.window, advance)
            results[key] = _result(meeting, samples)
            progress.remove_task(task)
            # Gigabytes, parts of them in cycles: make room for the next case.
            del meeting
            gc.collect()
    return results


def _result(meeting: Meeting, samples: Mapping[str, list[float]]) -> CaseResult:
    """A row for each contestant; of each family of streaming loops the fastest, under the family's name."""
    measured = {each.name: Row(samples[each.name], each.traffic) for each in meeting.contestants}
    loops = {kind: {name: measured.pop(name) for name in names} for kind, names in meeting.loops.items()}
    rows = {kind: family[fastest(family)] for kind, family in loops.items()} | measured
    shapes, parameters = meeting.workload.shapes, meeting.workload.parameter_count
    # A rival that is absent has no row.
    limits = {name: kind for name, kind in meeting.limits.items() if name in rows}
    return CaseResult(meeting.title, meeting.ours, len(shapes), parameters, rows, meeting.absent, loops, limits)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Times a Layerwise step beside its peers."
    )
    parser.add_argument("--quick", action="store_true", help="small tensors, few rounds: only to see that it runs")
    parser.add_argument(
        "--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=f"of {', '.join(CASES)}"
    )
    parser.add_argument(
        "--rounds", type=int, help=f"samples of each contestant, in one case a multiple (default {ROUNDS})"
    )
    parser.add_argument(
        "--threads", type=int, default=lw.available_threads(), help="for every contestant (default: all processors)"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER", help="default: build/bench")
    parser.add_argument(
        "--markdown",
        action="store_true",
        help=f"also print the tables that docs/benchmarks.md has of {' and '.join(MARKDOWN)}",
    )
    options = parser.parse_args()
    if options.markdown and not MARKDOWN.keys() & set(options.only):
        parser.error(f"--markdown is about the cases {' and '.join(MARKDOWN)}")
    if options.rounds is None:
        options.rounds = QUICK_ROUNDS if options.quick else ROUNDS
    options.window = QUICK_WINDOW if options.quick else WINDOW
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads start at 1")
    return options


if __name__ == "__main__":
    main()
