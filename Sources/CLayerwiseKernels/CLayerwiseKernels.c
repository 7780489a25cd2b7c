// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CLayerwiseKernels.h"

#include <sched.h>

int32_t lwk_processor_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4")) return 2;
    if (__builtin_cpu_supports("x86-64-v3")) return 1;
#endif
    return 0;
}

int32_t lwk_schedulable_processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
}
