# SPDX-License-Identifier: Apache-2.0
"""The command line, as `layerwise` or `python -m layerwise`: see `layerwise --help`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from . import _bench as bench
from . import _doctor as doctor
from . import _preview as preview
from . import _show as show
from ._rules_page import markdown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    program = "layerwise" if Path(sys.argv[0]).stem == "layerwise" else "python -m layerwise"
    parser = argparse.ArgumentParser(prog=program, description="A learning rate for every layer.")
    parser.add_argument("--version", action="version", version=f"layerwise {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("rules", help="print every rule, policy, schedule and plan as Markdown").set_defaults(
        run=_print_rules
    )
    preview.add_command(commands)
    show.add_command(commands)
    doctor.add_command(commands)
    bench.add_command(commands)
    options = parser.parse_args(arguments)
    try:
        status = int(options.run(options))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough, as `head` does; what is left to write goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return status


def _print_rules(_: argparse.Namespace) -> int:
    print(markdown(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
