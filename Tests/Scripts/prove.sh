#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The long proofs, whose figures docs/reliability.md has, of which `make test` runs smaller ones; ten minutes of fuzzing; and
# changes of the library for the worse, each of which a test must find.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln -s "$PWD/.build_shared/release/liblayerwise.so" "$work/liblayerwise.so.0"
cc -O2 -Iinclude Tests/C/damage.c "$work/liblayerwise.so.0" -Wl,-rpath,"$work" -pthread -lm -o "$work/damage"

# Every bit and every length of a file of 1 MiB, and a million random changes, in as many processes as there are processors.
"$work/damage" 1048576 1000000 "$(nproc)"

proofs=python/tests/reliability
LAYERWISE_KILLS=10000 LAYERWISE_CROWD_SECONDS=60 LAYERWISE_ALLOCATION_STEPS=4000 LAYERWISE_STOPS=1 PYTHONPATH=python .venv/bin/python -m pytest -s -q \
    $proofs/test_kill.py $proofs/test_concurrent.py $proofs/test_crash_states.py $proofs/test_faults.py \
    $proofs/test_allocations.py $proofs/test_resume_bits.py

# The wheel: two builds in two folders give the same bytes, and every version of Python that can be had takes it.
.ci/make-wheel "$work/first"
.ci/make-wheel "$work/second"
cmp "$work"/first/*.whl "$work"/second/*.whl
Tests/Scripts/check-wheel.sh "$work"/first/*.whl "$(sed -n 's/^VERSION = //p' Makefile)" 3.10 3.11 3.12 3.13 3.14 3.14t

# The source distribution: pip builds it, and the library is that of the wheel.
.ci/make-sdist "$work/sdist"
.venv/bin/python -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$work"/sdist/*.tar.gz
"$work/venv/bin/layerwise" doctor
"$work/venv/bin/python" -m zipfile -e "$work"/first/*.whl "$work/unpacked"
cmp "$work/unpacked/layerwise/liblayerwise.so" "$work"/venv/lib/python*/site-packages/layerwise/liblayerwise.so

Tests/Fuzz/fuzz.sh 600 "$(nproc)"
Tests/Scripts/mutate
