# SPDX-License-Identifier: Apache-2.0
"""What several tests share: weights and gradients to step, and references in plain NumPy."""
