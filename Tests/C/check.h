/* Checks for the C test programs: the first that fails is printed and ends the program with status 1.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every program here is plain C99 that is C++17 as well; it prints "ok N" after N checks.
 */
#ifndef CHECK_H
#define CHECK_H

#include <layerwise.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int64_t)(sizeof(array) / sizeof((array)[0])))

/** The condition holds. */
#define CHECK(condition) check((condition) ? 1 : 0, #condition, __FILE__, __LINE__)

/** The call succeeds.  It says `error` where it passes an lw_error. */
#define SUCCEEDS(call)                                                                                                 \
    do {                                                                                                               \
        lw_error told = LW_ERROR_INIT;                                                                                 \
        lw_error *error = &told;                                                                                       \
        check_success((call), &told, #call, __FILE__, __LINE__);                                                       \
    } while (0)

static int64_t check_count = 0;

/** Threads check too. */
static inline void count_check(void) { __atomic_add_fetch(&check_count, 1, __ATOMIC_RELAXED); }

static inline void check_failed(const char *what, const char *detail, const char *file, int line)
{
    fprintf(stderr, "%s:%d: %s%s%s\n", file, line, what, detail[0] != '\0' ? ": " : "", detail);
    exit(EXIT_FAILURE);
}

static inline void check(int holds, const char *condition, const char *file, int line)
{
    count_check();
    if (!holds) {
        check_failed(condition, "does not hold", file, line);
    }
}

static inline void check_success(int32_t code, const lw_error *told, const char *call, const char *file, int line)
{
    count_check();
    if (code != LW_OK) {
        check_failed(call, told->message, file, line);
    }
}

/** A policy, schedule or freezing plan without numbers or parts. */
static inline lw_spec spec(const char *name, const lw_setting *settings, int64_t count)
{
    lw_spec s = LW_SPEC_INIT;
    s.name = name;
    s.settings = settings;
    s.setting_count = count;
    return s;
}

/** The last line of every program. */
static inline int report(void)
{
    printf("ok %lld\n", (long long)check_count);
    return EXIT_SUCCESS;
}

/** A fixed sequence of numbers in [-1, 1), by the 64-bit congruential generator of Knuth's MMIX. */
static inline double next_uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(*state >> 11) / 4503599627370496.0 - 1.0;
}

#endif
