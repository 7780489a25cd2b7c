#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs to a scratch folder and builds and runs the C example as a user would: with pkg-config, and with CMake from a
# tree that was moved.  Then uninstalls and expects nothing to remain.
# usage: check-install.sh VERSION SOVERSION
set -euo pipefail

version=$1
soversion=$2
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/installed

fail() {
    echo "check-install: $1" >&2
    exit 1
}

make --no-print-directory --silent install PREFIX="$prefix"

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
found=$(pkg-config --modversion layerwise)
[ "$found" = "$version" ] || fail "pkg-config says version $found, expected $version"

# shellcheck disable=SC2046  # pkg-config prints words
cc -std=c99 -Wall -Wextra -Werror -pedantic -O2 -o "$scratch/train" docs/examples/train.c \
    $(pkg-config --cflags --libs layerwise) -lm
LD_LIBRARY_PATH=$prefix/lib "$scratch/train" docs/examples/iris.csv >"$scratch/pkg-config.txt"
grep -q "^Layerwise $version " "$scratch/pkg-config.txt" || fail "the library's version is not $version"

moved=$scratch/moved
cp -a "$prefix" "$moved"
for request in "$version" "$soversion"; do
    rm -rf "$scratch/cmake"
    cmake -S docs/examples -B "$scratch/cmake" -DCMAKE_PREFIX_PATH="$moved" -DLAYERWISE_VERSION="$request" \
        -DCMAKE_BUILD_TYPE=Release >"$scratch/cmake.log" || { cat "$scratch/cmake.log" >&2; fail "CMake"; }
done
cmake --build "$scratch/cmake" >"$scratch/cmake.log" || { cat "$scratch/cmake.log" >&2; fail "CMake"; }
"$scratch/cmake/train" docs/examples/iris.csv >"$scratch/cmake.txt"
cmp "$scratch/pkg-config.txt" "$scratch/cmake.txt" || fail "two runs of the example differ"

if cmake -S docs/examples -B "$scratch/newer" -DCMAKE_PREFIX_PATH="$moved" -DLAYERWISE_VERSION=$((soversion + 1)) \
    >"$scratch/cmake.log" 2>&1; then
    fail "CMake accepted version $version for a request of $((soversion + 1))"
fi

make --no-print-directory --silent install PREFIX=/usr DESTDIR="$scratch/staged"
grep -qx 'prefix=/usr' "$scratch/staged/usr/lib/pkgconfig/layerwise.pc" || fail "DESTDIR leaks into layerwise.pc"

make --no-print-directory --silent uninstall PREFIX="$prefix"
left=$(find "$prefix" -not -type d)
[ -z "$left" ] || fail "uninstall left $left"
echo "check-install: pkg-config, CMake, DESTDIR and uninstall work"
