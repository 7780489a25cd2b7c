# SPDX-License-Identifier: Apache-2.0
"""Schedules that rise and fall, and the momentum that goes with them, by the names that they had here first."""

from .schedule import Cyclic, CyclicMomentum, OneCycle, OneCycleMomentum, SlantedTriangular

__all__ = ["Cyclic", "CyclicMomentum", "OneCycle", "OneCycleMomentum", "SlantedTriangular"]
