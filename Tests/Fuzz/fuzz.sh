#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Offers the loader of checkpoints, what describes them, and the reader of run states changed ones, under libFuzzer and AddressSanitizer.
#
#     fuzz.sh replay                  the corpus and the seeds once, unchanged, as CorpusTests does without AddressSanitizer
#     fuzz.sh SECONDS [PROCESSES]     goes on from the inputs of former runs, in build/fuzz; finds are put there too
#     fuzz.sh keep                    turns them into the corpus of the repository, no larger than needed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=$1
processes=${2:-1}
corpus=Tests/Fuzz/Corpus
found=build/fuzz
inputs=$found/inputs
program=.build-fuzz/release/fuzz

swift build -c release --package-path Tests/Fuzz --scratch-path .build-fuzz --product fuzz

# The runtime leaves a crash to libFuzzer, which writes down the input.
export SWIFT_BACKTRACE=enable=no ASAN_OPTIONS=quarantine_size_mb=8:malloc_context_size=4

mkdir -p "$inputs"
"$program" seeds "$found/seeds"

# Neither one allocation nor all memory together may grow with anything but the input, which has at most 16 KiB; what stays
# free for ASan's own use does not grow with it either.
options=(-max_len=16384 -len_control=0 -timeout=10 -malloc_limit_mb=16 -rss_limit_mb=512 -artifact_prefix="$found/find-")

if [ "$seconds" = keep ]; then
    rm -rf "$found/kept"
    mkdir "$found/kept"
    # The fewest that reach all that any reaches, and of these the shortest: at most 95, of 2 KiB on average.
    "$program" "${options[@]}" -set_cover_merge=1 -use_counters=0 \
        "$found/kept" "$found/seeds" "$corpus" "$inputs"
    (cd "$found/kept" && ls -S | head -n -95 | xargs -r rm --)
    rm -rf "$corpus"
    mv "$found/kept" "$corpus"
    exit
fi

if [ "$seconds" = replay ]; then
    exec "$program" "${options[@]}" -runs=0 "$corpus" "$found/seeds"
fi

[ "$processes" = 1 ] || options+=(-fork="$processes")
"$program" "${options[@]}" -max_total_time="$seconds" -print_final_stats=1 "$inputs" "$corpus" "$found/seeds"
