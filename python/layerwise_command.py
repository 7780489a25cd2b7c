# SPDX-License-Identifier: Apache-2.0
"""The command `layerwise`, outside of the package, which cannot be imported where its library does not load."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command; where the library does not load, say why in place of a traceback."""
    try:
        from layerwise.__main__ import main as command
    except ImportError as error:
        print(f"layerwise: {error}", file=sys.stderr)
        return 1
    return command()


if __name__ == "__main__":
    sys.exit(main())
