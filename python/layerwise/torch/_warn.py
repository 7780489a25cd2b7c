# SPDX-License-Identifier: Apache-2.0
"""Warnings that point at the user's line."""

from __future__ import annotations

import sys
import warnings


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn of something, at the line outside of this package and of torch that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith((__package__ or "", "torch.")):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
