# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of earlier releases, which every later one must load and carry on to the same bits."""
