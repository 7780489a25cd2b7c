#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks what the shared library shows to the world and what it needs from it.
# usage: check-symbols.sh FOLDER SOVERSION, the folder that holds liblayerwise.so and the objects it was linked from.
set -euo pipefail

folder=$1
soname=liblayerwise.so.$2
library=$folder/liblayerwise.so
failed=0

fail() {
    echo "check-symbols: $1" >&2
    [ -z "${2-}" ] || head -n 20 <<<"$2" >&2
    failed=1
}

# Exports: the functions of the headers, all of them and nothing else.
headers=$(dirname "$0")/../../include
declared=$(sed -n 's/^LW_API .*[ *]\(lw_[a-z0-9_]*\)(.*/\1/p' "$headers/layerwise.h" "$headers/layerwise_experimental.h" | sort)
exported=$(nm -D --defined-only "$library" | awk '{print $NF}' | sort)
difference=$(diff <(echo "$declared") <(echo "$exported") || true)
[ -z "$difference" ] || fail "header (<) and exports (>) differ:" "$difference"

# The linker keeps one of several weak functions of one name, and AVX-512 code would run on a processor without it if it
# kept the wrong one.  So the objects of an instruction set share no code with others: their weak functions carry the
# name of their own module.  Data ("V") holds no instructions.
for module in LayerwiseKernels LayerwiseKernelsAVX2 LayerwiseKernelsAVX512; do
    objects=$(find -L "$folder/$module.build" -name '*.o' 2>/dev/null || true)
    if [ -z "$objects" ]; then
        fail "no objects of $module below $folder"
        continue
    fi
    weak=$(xargs nm -A --defined-only <<<"$objects" |
        awk -v own="^[$]s${#module}$module" '$(NF-1) ~ /^[Wwu]$/ && $NF !~ own')
    [ -z "$weak" ] || fail "weak functions in $module that another object may have too:" "$weak"
done

# What the loader sees.
dynamic=$(readelf -d --wide "$library")
found=$(sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p' <<<"$dynamic")
[ "$found" = "$soname" ] || fail "soname is '$found', expected '$soname'"

needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$dynamic")
strange=$(grep -vE '^(libc\.so\.6|libm\.so\.6|libstdc\+\+\.so\.6|libgcc_s\.so\.1|ld-linux-.*)$' <<<"$needed" || true)
[ -z "$strange" ] || fail "needs more than the C and C++ run time:" "$strange"

paths=$(grep -E '\((RPATH|RUNPATH)\)' <<<"$dynamic" | grep -v '\[\$ORIGIN\]' || true)
[ -z "$paths" ] || fail "search path of the build machine:" "$paths"

# The threads of a step outlive it, and so must the library's code.
grep -q 'FLAGS_1.*NODELETE' <<<"$dynamic" || fail "dlclose() would unmap it: it is not linked with -z nodelete"

# The wheel's tag promises glibc 2.34.
glibc=$(readelf --version-info --wide "$library" | grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -n 1)
newest=$(printf 'GLIBC_2.34\n%s\n' "$glibc" | sort -V | tail -n 1)
[ "$newest" = GLIBC_2.34 ] || fail "needs $glibc, newer than GLIBC_2.34"

[ "$failed" -eq 0 ] || exit 1
echo "check-symbols: $(wc -l <<<"$exported") functions exported, $soname, $glibc"
