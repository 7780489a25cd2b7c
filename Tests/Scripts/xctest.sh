#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the built XCTest bundle in two processes, of which the first has the tests that start processes, and prints a closing line for
# both as XCTest does.
# usage: xctest.sh FOLDER [quick], the folder of the build; `quick` leaves the tests out that start processes, take address space
# of gigabytes, or are long.
set -euo pipefail

bundle=$1/layerwisePackageTests.xctest
quick=${2-}
# Classes, and single tests, that start processes.  The last maps 8 GiB.
processes='^(BoundaryTests\.|LayerwiseTests\.(InstructionSetTests|UncheckedRecipeTests|ChecksumTests/testPortable|LargeTests))'
# Tests that take two thirds of the time of all others together: products of rules, types, options and threads.
LONG='^LayerwiseTests\.(BitIdentityTests/testThreadsAndTelemetry|DriftTests/testTwoHundredSteps|FactoredRuleTests/test(ThirtySteps|ThirtyStepsOfWideMatrices|Bits)|KernelAccuracyTests/test(MARS|MADGRAD|NovoGrad|RMSprop|TensorsOfSeveralBlocks)|MuonTests/testTwentySteps|NonFiniteTests/testRefusedStepLeavesNoTrace|ProdigyTests/testSixtySteps|RuleOfLayerTests/testEachLayerMovesAsInAnOptimizerOfItsOwn|SnapshotTests/testEveryRuleAndKind|SpreadStepTests/testPartsStepAsTheWhole|SumsOverLayersTests/test(Bits|SixtySteps)|UpdateOptionsTests/testCautiousRules|WatchedPolicyTests/testSameBitsOverThreads)$'

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$bundle" --list-tests | grep '^[A-Za-z]*Tests\.' >"$scratch/all"
grep -E "$processes" "$scratch/all" >"$scratch/with"
grep -vE "$processes" "$scratch/all" >"$scratch/without"
groups=(with without)
if [ "$quick" = quick ]; then
    # Every second one, so that both processes have as much to do.
    grep -vE "$LONG" "$scratch/without" | awk -v folder="$scratch" '{ print >(folder "/" (NR % 2 ? "odd" : "even")) }'
    groups=(odd even)
fi

run() { "$bundle" "$(paste -sd, "$scratch/$1")" >"$scratch/$1.log" 2>&1; }

run "${groups[0]}" &
first=$!
status=0
run "${groups[1]}" || status=$?
wait "$first" || status=$?
cat "$scratch/${groups[0]}.log" "$scratch/${groups[1]}.log"

# "Executed 532 tests, with 0 failures (0 unexpected) in 95.1 (95.1) seconds": the last such line of each process is of all its tests.
for group in "${groups[@]}"; do
    grep -h 'Executed [0-9]* test' "$scratch/$group.log" | tail -n 1 || true
done | awk -v expected="$(cat "${groups[@]/#/$scratch/}" | wc -l)" '
    { count += $2; failures += $5; sub(/\(/, "", $7); unexpected += $7; seconds = $10 > seconds ? $10 : seconds }
    END {
        printf "Test Suite '\''All tests'\'' %s\n", failures || count != expected ? "failed" : "passed"
        printf "\t Executed %d tests, with %d failures (%d unexpected) in %.3f (%.3f) seconds\n",
            count, failures, unexpected, seconds, seconds
        if (count != expected) { printf "xctest.sh: %d of %d tests ran\n", count, expected; exit 1 }
    }' || status=1
exit "$status"
