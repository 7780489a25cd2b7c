#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the built XCTest bundle in as many processes as there are processors, and prints a closing line for all as XCTest does.
# usage: xctest.sh FOLDER [quick], the folder of the build; `quick` leaves the tests out that start processes, take address space
# of gigabytes, or are long.
set -euo pipefail

bundle=$1/layerwisePackageTests.xctest
quick=${2-}
rules=LayerwiseRulesTests
# Classes, and single tests, that start processes.  LargeTests maps 8 GiB.
PROCESSES="^(BoundaryTests\.|$rules\.(InstructionSetTests|LargeTests)|LayerwiseTests\.(UncheckedRecipeTests|ChecksumTests/testPortable))"
# Tests that take two thirds of the time of all others together: products of rules, types, options and threads.
LONG="^($rules\.(BitIdentityTests/test(ThreadsAndTelemetry|TelemetryItself|InPlaceAndByTiles)|DriftTests/testTwoHundredSteps|FactoredRuleTests/test(ThirtySteps|EightStepsOfWideMatrices|Bits)|KernelAccuracyTests/test(MARS|MADGRAD|NovoGrad|RMSprop|TensorsOfSeveralBlocks)|MuonTests/testTwentySteps|NonFiniteTests/testRefusedStepLeavesNoTrace|ProdigyTests/testSixtySteps|RuleOfLayerTests/testEachLayerMovesAsInAnOptimizerOfItsOwn|SpreadStepTests/testPartsStepAsTheWhole|SumsOverLayersTests/test(Bits|SixtySteps)|UpdateOptionsTests/testCautiousRules|WatchedPolicyTests/testSameBitsOverThreads)|LayerwiseTests\.SnapshotTests/testEveryRuleAndKind)$"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$bundle" --list-tests | grep '^[A-Za-z]*Tests\.' >"$scratch/all"

# A line for each process: a long test, or one that starts processes, alone and first; then the other tests of each class together.
first="$PROCESSES|$LONG"
{
    if [ "$quick" != quick ]; then grep -E "$first" "$scratch/all"; fi
    grep -vE "$first" "$scratch/all" | awk -F/ '{ tests[$1] = tests[$1] "," $0 } END { for (class in tests) print substr(tests[class], 2) }'
} >"$scratch/jobs"

status=0
# shellcheck disable=SC2016
awk '{ print NR, $0 }' "$scratch/jobs" | xargs -P "$(nproc)" -L 1 sh -c '"$0" "$3" >"$1/$2.log" 2>&1' "$bundle" "$scratch" || status=$?
cat "$scratch"/*.log

# "Executed 532 tests, with 0 failures (0 unexpected) in 95.1 (95.1) seconds": the last such line of each process is of all its tests.
for log in "$scratch"/*.log; do
    grep -h 'Executed [0-9]* test' "$log" | tail -n 1 || true
done | awk -v expected="$(tr ',' '\n' <"$scratch/jobs" | wc -l)" '
    { count += $2; failures += $5; sub(/\(/, "", $7); unexpected += $7; seconds += $10 }
    END {
        printf "Test Suite '\''All tests'\'' %s\n", failures || count != expected ? "failed" : "passed"
        printf "\t Executed %d tests, with %d failures (%d unexpected) in %.3f (%.3f) seconds\n",
            count, failures, unexpected, seconds, seconds
        if (count != expected) { printf "xctest.sh: %d of %d tests ran\n", count, expected; exit 1 }
    }' || status=1
exit "$status"
