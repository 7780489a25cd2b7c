# SPDX-License-Identifier: Apache-2.0
"""The frameworks that rates can drive are extras: nothing of them is imported before it is asked for."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.spawns


def test_the_package_imports_no_framework() -> None:
    code = (
        "import sys, layerwise; "
        "found = {'torch', 'jax', 'optax', 'keras', 'numpy'} & set(sys.modules); "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_framework_is_named_with_its_extra() -> None:
    for module, extra in (("optax", "layerwise[optax]"), ("keras", "layerwise[keras]")):
        code = (
            f"import sys; sys.modules[{module!r}] = None\n"
            f"try:\n    import layerwise.{module}\n"
            f"except ImportError as error:\n    assert 'pip install \"{extra}\"' in str(error), error\n"
            "else:\n    raise SystemExit('imported')\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
