#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs to a scratch folder and builds and runs the C example as a user would: with pkg-config, and with CMake from a
# tree that was moved; each with the shared library and with the static one.  The C++ header is tested in the same places.
# Then uninstalls and expects nothing to remain.
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

make --no-print-directory --silent install PREFIX="$prefix" >"$scratch/install.txt"
grep -q -- "-Wl,-rpath,$prefix/lib" "$scratch/install.txt" || fail "make install does not say how programs find the library"

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
found=$(pkg-config --modversion layerwise)
[ "$found" = "$version" ] || fail "pkg-config says version $found, expected $version"

# shellcheck disable=SC2046  # pkg-config prints words
cc -std=c99 -Wall -Wextra -Werror -pedantic -O2 -o "$scratch/train" docs/examples/train.c \
    $(pkg-config --cflags --libs layerwise) -lm
LD_LIBRARY_PATH=$prefix/lib "$scratch/train" docs/examples/iris.csv >"$scratch/pkg-config.txt"
grep -q "^Layerwise $version " "$scratch/pkg-config.txt" || fail "the library's version is not $version"

# Statically, as far as pkg-config says: nothing of Layerwise or Swift is needed when the program runs.
# shellcheck disable=SC2046
cc -static -std=c99 -O2 -o "$scratch/train-static" docs/examples/train.c \
    $(pkg-config --static --cflags --libs layerwise) 2>"$scratch/static.log" || { cat "$scratch/static.log" >&2; fail "-static"; }
"$scratch/train-static" docs/examples/iris.csv >"$scratch/static.txt"
cmp "$scratch/pkg-config.txt" "$scratch/static.txt" || fail "the static library gives other results"
# The archive alone is linked into a program that uses the shared C library.
# shellcheck disable=SC2046
cc -std=c99 -O2 -o "$scratch/train-archive" docs/examples/train.c $(pkg-config --cflags layerwise) "$prefix/lib/liblayerwise.a" \
    $(pkg-config --static --libs-only-l layerwise | sed 's/-llayerwise//')
"$scratch/train-archive" docs/examples/iris.csv | cmp "$scratch/pkg-config.txt" - || fail "the archive gives other results"
if readelf -d "$scratch/train-archive" | grep -q liblayerwise; then fail "the program with the archive needs the shared library"; fi
shown=$(nm -g --defined-only "$prefix/lib/liblayerwise.a" | awk 'NF == 3 {print $3}' | sort)
exported=$(nm -D --defined-only "$prefix/lib/liblayerwise.so" | awk '{print $NF}' | sort)
[ "$shown" = "$exported" ] || fail "the static library shows other symbols than the shared one"

# Other languages, where their tools are: all of them train the same network, with the same bits.
export LD_LIBRARY_PATH=$prefix/lib
missing=()
same() {
    [ -s "$scratch/bits.txt" ] || grep -E '^[0-9a-f]{8} ' "$1" >"$scratch/bits.txt" || fail "$2 printed no weights"
    grep -E '^[0-9a-f]{8} ' "$1" | cmp "$scratch/bits.txt" - || fail "$2 gives other bits"
}
if command -v luajit >/dev/null; then
    luajit docs/examples/train.lua "$prefix/lib/liblayerwise.so" >"$scratch/lua.txt" || fail "LuaJIT"
    same "$scratch/lua.txt" LuaJIT
else
    missing+=(LuaJIT)
fi
if command -v rustc >/dev/null; then
    rustc --edition 2021 -O -D warnings -L "native=$prefix/lib" -l dylib=layerwise -o "$scratch/train-rust" docs/examples/train.rs
    "$scratch/train-rust" >"$scratch/rust.txt" || fail "Rust"
    same "$scratch/rust.txt" Rust
else
    missing+=(Rust)
fi
node_headers=$(dirname "$(readlink -f "$(command -v node || echo /)")")/../include/node
if command -v node >/dev/null && [ -e "$node_headers/node_api.h" ]; then
    # shellcheck disable=SC2046
    cc -std=c11 -Wall -Wextra -Werror -O2 -shared -fPIC -isystem "$node_headers" -o "$scratch/layerwise.node" \
        docs/examples/layerwise_node.c $(pkg-config --cflags --libs layerwise)
    node docs/examples/train.js "$scratch/layerwise.node" >"$scratch/node.txt" || fail "Node"
    same "$scratch/node.txt" Node
    grep -q '^LW_ERROR_DUPLICATE: ' "$scratch/node.txt" || fail "Node does not show an error of the library"
else
    missing+=(Node)
fi
if command -v mpicc >/dev/null && command -v mpirun >/dev/null; then
    # shellcheck disable=SC2046
    mpicc -std=c99 -Wall -Wextra -Werror -pedantic -O2 -o "$scratch/mpi" docs/examples/mpi.c $(pkg-config --cflags --libs layerwise)
    # Open MPI asks root for leave, and asks before it starts more processes than there are processors.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
    for processes in 1 2 3; do
        mpirun -n $processes "$scratch/mpi" >"$scratch/mpi-$processes.txt" || fail "MPI with $processes processes"
        same "$scratch/mpi-$processes.txt" "MPI with $processes processes"
        cmp "$scratch/mpi-1.txt" "$scratch/mpi-$processes.txt" || fail "norms of $processes processes are not those of one"
    done
else
    missing+=(MPI)
fi
unset LD_LIBRARY_PATH
[ ${#missing[@]} -eq 0 ] || echo "check-install: not tried, since their tools are not here: ${missing[*]}"

# C++: the shared and the static library, with the warnings of careful projects.
strict=(-Wall -Wextra -Werror -pedantic -Wold-style-cast -Wzero-as-null-pointer-constant -Wconversion -Wshadow)
for standard in c++17 c++20; do
    # shellcheck disable=SC2046
    g++ -std=$standard -O1 "${strict[@]}" -o "$scratch/wrapper" Tests/Cpp/wrapper.cpp $(pkg-config --cflags --libs layerwise)
    LD_LIBRARY_PATH=$prefix/lib "$scratch/wrapper" "$scratch/wrapper.lw" >/dev/null || fail "layerwise.hpp as $standard"
done
# shellcheck disable=SC2046
g++ -std=c++17 -O1 -static -o "$scratch/wrapper-static" Tests/Cpp/wrapper.cpp \
    $(pkg-config --static --cflags --libs layerwise) 2>"$scratch/static.log" || { cat "$scratch/static.log" >&2; fail "-static, C++"; }
"$scratch/wrapper-static" "$scratch/wrapper.lw" >/dev/null || fail "layerwise.hpp with the static library"

# The static library in a program with a Swift runtime of its own.
swiftc -O -suppress-warnings -static-stdlib -I include Tests/Static/beside.swift "$prefix/lib/liblayerwise.a" -lstdc++ -lm \
    -o "$scratch/beside"
"$scratch/beside" >/dev/null || fail "two Swift runtimes in one program"

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
cmake -S docs/examples -B "$scratch/cmake" -DLAYERWISE_TARGET=Layerwise::static >"$scratch/cmake.log" &&
    cmake --build "$scratch/cmake" >"$scratch/cmake.log" || { cat "$scratch/cmake.log" >&2; fail "CMake, static"; }
"$scratch/cmake/train" docs/examples/iris.csv | cmp "$scratch/pkg-config.txt" - || fail "CMake's static program differs"

if cmake -S docs/examples -B "$scratch/newer" -DCMAKE_PREFIX_PATH="$moved" -DLAYERWISE_VERSION=$((soversion + 1)) \
    >"$scratch/cmake.log" 2>&1; then
    fail "CMake accepted version $version for a request of $((soversion + 1))"
fi

make --no-print-directory --silent install PREFIX=/usr DESTDIR="$scratch/staged" >"$scratch/staged.txt"
[ ! -s "$scratch/staged.txt" ] || fail "a staged install speaks of run time: $(cat "$scratch/staged.txt")"
grep -qx 'prefix=/usr' "$scratch/staged/usr/lib/pkgconfig/layerwise.pc" || fail "DESTDIR leaks into layerwise.pc"

make --no-print-directory --silent uninstall PREFIX="$prefix"
left=$(find "$prefix" -not -type d)
[ -z "$left" ] || fail "uninstall left $left"
echo "check-install: pkg-config, CMake, shared and static, C and C++, other languages, DESTDIR and uninstall work"
