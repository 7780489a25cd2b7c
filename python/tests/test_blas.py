# SPDX-License-Identifier: Apache-2.0
"""A BLAS found at run time multiplies Muon's matrices as the library's own kernels do, but for rounding."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import layerwise as lw
from layerwise import _binding as native


def bundled() -> str:
    """The OpenBLAS that NumPy's wheel brings, whose integers have 64 bits."""
    found = sorted((Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas64_*.so"))
    if not found:
        pytest.skip("NumPy brings no OpenBLAS here")
    return str(found[0])


@pytest.fixture(autouse=True)
def own_kernels() -> Iterator[None]:
    yield
    lw.use_blas(None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_singular_values(dtype: str) -> None:
    """LAPACK's eigenvalues are ours but for rounding, and those of NumPy's singular values."""
    random = np.random.default_rng(2)
    for shape in [(5, 3), (40, 200), (300, 33), (1, 1), (7, 7)]:
        weight = random.normal(size=shape).astype(dtype)
        with lw.Optimizer(lw.SGD()) as opt:
            opt.add_layer("a", weight)
            own = opt.layer("a").spectrum()
            lw.use_blas(bundled())
            other = opt.layer("a").spectrum()
            lw.use_blas(None)
            assert opt.layer("a").spectrum() == own or np.isnan(own.alpha)
        values = np.linalg.svd(weight.astype(np.float64), compute_uv=False)
        # Both add up a Gram matrix in float64, with errors of about 1e-13 of its largest eigenvalue.
        assert (own.stable_rank, own.norm) == pytest.approx((other.stable_rank, other.norm), rel=1e-9)
        assert other.norm == pytest.approx(values[0], rel=1e-9)
        assert np.isnan(own.alpha) if len(values) < 2 else other.alpha == pytest.approx(own.alpha, rel=1e-6)
        if min(shape) > 10:
            assert own != other, "LAPACK was not used"
    weight[0, 0] = np.nan
    lw.use_blas(bundled())
    with lw.Optimizer(lw.SGD()) as opt, pytest.raises(lw.NonFiniteGradient):
        opt.add_layer("a", weight)
        opt.layer("a").spectrum()


SHAPES = [(31, 47), (47, 31), (64, 64), (1, 9), (9, 1), (1, 1), (3, 4, 5)]


def run(dtype: Any, **options: Any) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(1)
    weights = {str(shape): random.normal(size=shape).astype(dtype) for shape in SHAPES}
    with lw.Optimizer(lw.Muon(lr=0.02, **options)) as opt:
        opt.add_layer("a", weights)
        for _ in range(5):
            opt.step({"a": {name: random.normal(size=w.shape).astype(dtype) for name, w in weights.items()}})
    return list(weights.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products(dtype: str) -> None:
    """A step moves each weight by at most about the rate; 25 products of sums of up to 64 terms round by 1e3 units."""
    own = run(dtype)
    lw.use_blas(bundled())
    assert lw.blas() == bundled()
    other = run(dtype)
    bound = 5 * 0.02 * 1e3 * float(np.finfo(dtype).eps)
    for a, b in zip(own, other, strict=True):
        assert np.abs(a - b).max() <= bound
    assert any(not np.array_equal(a, b) for a, b in zip(own, other, strict=True))
    lw.use_blas(None)
    assert lw.blas() is None
    assert all(np.array_equal(a, b) for a, b in zip(own, run(dtype), strict=True))


@pytest.mark.parametrize("has_double", [True, False])
def test_functions(has_double: bool) -> None:
    """Functions may be handed in; without one for float64 the library's own kernels multiply these."""
    calls: list[int] = []

    def multiply(order: int, ta: int, tb: int, m: int, n: int, k: int, alpha: float, a: Any, lda: int, b: Any, ldb: int,
                 beta: float, c: Any, ldc: int) -> None:  # fmt: skip
        def matrix(memory: Any, transposition: int, rows: int, columns: int, leading: int) -> Any:
            shape = (rows, columns) if transposition == 111 else (columns, rows)
            assert leading >= shape[1]
            whole = np.ctypeslib.as_array(memory, ((shape[0] - 1) * leading + shape[1],))
            found = np.lib.stride_tricks.as_strided(whole, shape, (leading * whole.itemsize, whole.itemsize))
            return found if transposition == 111 else found.T

        calls.append(order)
        target = np.ctypeslib.as_array(c, (m, ldc))[:, :n]
        target[:] = alpha * (matrix(a, ta, m, k, lda) @ matrix(b, tb, k, n, ldb)) + beta * target

    single, double = native.lw_sgemm(multiply), native.lw_dgemm(multiply)
    own = [run(dtype) for dtype in ("float32", "float64")]
    half = native.lw_sbgemm()
    native.call(native.lw_use_blas_functions, single, double if has_double else native.lw_dgemm(), half)
    assert lw.blas() == "functions"
    for index, dtype in enumerate(("float32", "float64")):
        calls.clear()
        for a, b in zip(own[index], run(dtype), strict=True):
            assert np.abs(a - b).max() <= 5 * 0.02 * 1e3 * float(np.finfo(dtype).eps)
        assert bool(calls) == (dtype == "float32" or has_double)
        assert set(calls) <= {101}
    with pytest.raises(lw.InvalidArgument, match="sgemm is NULL"):
        native.call(native.lw_use_blas_functions, native.lw_sgemm(), double, half)
    lw.use_blas(None)


NAIVE = r"""
#include <stdint.h>
#include <string.h>
static int products;
int32_t products_of_halves(void) { return products; }
static float one(const uint16_t *x) { uint32_t bits = (uint32_t)*x << 16; float f; memcpy(&f, &bits, 4); return f; }
#define AT(x, by_columns, leading, i, j) (x)[(by_columns) ? (j) * (leading) + (i) : (i) * (leading) + (j)]
void cblas_sbgemm(int32_t order, int32_t ta, int32_t tb, int32_t m, int32_t n, int32_t k, float alpha,
                  const uint16_t *a, int32_t lda, const uint16_t *b, int32_t ldb, float beta, float *c, int32_t ldc) {
    products += order == 101;
    for (int32_t i = 0; i < m; i++)
        for (int32_t j = 0; j < n; j++) {
            float sum = 0;
            for (int32_t l = 0; l < k; l++)
                sum += one(&AT(a, ta == 112, lda, i, l)) * one(&AT(b, tb == 112, ldb, l, j));
            c[i * ldc + j] = alpha * sum + beta * c[i * ldc + j];
        }
}
void cblas_sgemm(void) {}
void cblas_dgemm(void) {}
void cblas_ssyrk(void) {}
void cblas_dsyrk(void) {}
"""
"""A library whose other functions do nothing: a product that is left to them shows."""


@pytest.mark.spawns
def test_halves(tmp_path: Path) -> None:
    """Matrices rounded to bfloat16 are multiplied by cblas_sbgemm where the library has it; sums round otherwise."""
    path = tmp_path / "libnaive.so"
    subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)], input=NAIVE, text=True, check=True
    )
    products = ctypes.CDLL(str(path)).products_of_halves
    own = run("float32", ns_precision="bfloat16")
    lw.use_blas(path)
    other = run("float32", ns_precision="bfloat16")
    # Three products for each of five iterations of seven matrices in five steps.
    assert products() == 3 * 5 * 7 * 5
    # A step moves each weight by at most about 0.02, and an iteration loses 2**-8 of it where a sum rounds otherwise.
    assert max(np.abs(a - b).max() for a, b in zip(own, other, strict=True)) <= 5 * 0.02 * 5 * 2**-8
    lw.use_blas(bundled())
    # Without it they are multiplied as float32.
    single = run("float32", ns_precision="bfloat16")
    assert max(np.abs(a - b).max() for a, b in zip(own, single, strict=True)) <= 5 * 0.02 * 5 * 2**-8
    lw.use_blas(None)
    assert all(np.array_equal(a, b) for a, b in zip(own, run("float32", ns_precision="bfloat16"), strict=True))
    full = run("float32")
    assert any(not np.array_equal(a, b) for a, b in zip(own, full, strict=True))


def test_refusals() -> None:
    with pytest.raises(lw.InvalidArgument, match=r"no BLAS can be used: .*nowhere"):
        lw.use_blas("/nowhere/libblas.so")
    with pytest.raises(lw.InvalidArgument, match="has no cblas_sgemm"):
        lw.use_blas("libm.so.6")
    assert lw.blas() is None


PROGRAM = """
import numpy as np, layerwise as lw
with lw.Optimizer(lw.Muon(lr=0.02)) as opt:
    w = np.ones((3, 4))
    opt.add_layer("a", {"w": w})
    try:
        opt.step({"a": {"w": np.ones((3, 4))}})
    except lw.InvalidArgument as error:
        print("refused:", error, (w == 1).all())
    print(lw.blas())
"""


@pytest.mark.spawns
@pytest.mark.parametrize("found", [True, False])
def test_environment(found: bool) -> None:
    """LAYERWISE_BLAS names one; a step is refused, and changes nothing, where it cannot be used."""
    path = bundled() if found else "/nowhere/libblas.so"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, "LAYERWISE_BLAS": path}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    if found:
        assert lines == [path]
    else:
        assert lines[0].startswith("refused: LAYERWISE_BLAS: no BLAS can be used") and lines[0].endswith("True")
        assert lines[1] == "None"
