#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the library under AddressSanitizer, then under ThreadSanitizer, and runs the C tests against each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
swift_libraries=$(dirname "$(command -v swiftc)")/../lib/swift/linux

# run KIND TEST...: the tests, with the library built under the sanitizer KIND.
run() {
    local kind=$1
    shift
    local build=.build-$kind flags=()
    # Swift 6.3's thread instrumentation emits a cast that LLVM's verifier refuses and its code generator takes.
    [ "$kind" = address ] || flags=(-Xswiftc -Xfrontend -Xswiftc -disable-llvm-verify)
    swift build -c release --sanitize="$kind" "${flags[@]}" --scratch-path "$build" --product LayerwiseC
    ln -sf "$PWD/$build/release/libLayerwiseC.so" "$work/liblayerwise.so.0"
    for test in "$@"; do
        clang -std=c99 -fsanitize="$kind" -g -Iinclude "Tests/C/$test.c" -o "$work/$test" \
            "$work/liblayerwise.so.0" -L"$swift_libraries" -ldispatch -lBlocksRuntime -Wl,-rpath,"$swift_libraries" \
            -pthread -lm -lstdc++ 2>"$work/warnings" || { cat "$work/warnings" >&2; exit 1; }
        echo "$kind: $test"
        # Without the search for leaks: the Swift runtime keeps what it makes once.
        ASAN_OPTIONS=detect_leaks=0 LD_LIBRARY_PATH=$work "$work/$test"
    done
}

run address step timeline outside_schedule checkpoint resume errors_layers errors_settings errors_recipes errors_step errors_checkpoint dlpack handles busy threads
run thread step timeline checkpoint handles busy threads
