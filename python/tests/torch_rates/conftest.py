# SPDX-License-Identifier: Apache-2.0
"""What these tests share with those of the optimizers."""

from torch_optim.conftest import one_thread, processes

__all__ = ["one_thread", "processes"]
