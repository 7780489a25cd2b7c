# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m layerwise` with `rules`, `preview MODEL.safetensors` or `show CHECKPOINT`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import _preview as preview
from . import _show as show
from ._rules_page import markdown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m layerwise", description="A learning rate for every layer.")
    commands = parser.add_subparsers(required=True)
    commands.add_parser("rules", help="print every rule, policy, schedule and plan as Markdown").set_defaults(
        run=_print_rules
    )
    preview.add_command(commands)
    show.add_command(commands)
    options = parser.parse_args(arguments)
    return int(options.run(options))


def _print_rules(_: argparse.Namespace) -> int:
    print(markdown(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
