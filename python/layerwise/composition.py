# SPDX-License-Identifier: Apache-2.0
"""Schedules made of lists, and of other schedules, by the names that they had here first."""

from .schedule import Piecewise, Product, Sequential, Table, Warmup

__all__ = ["Piecewise", "Product", "Sequential", "Table", "Warmup"]
