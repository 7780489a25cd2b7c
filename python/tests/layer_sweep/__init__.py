# SPDX-License-Identifier: Apache-2.0
"""Compares layers from names with layers from watching, and both with what timm and Transformers say."""
