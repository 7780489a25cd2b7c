// SPDX-License-Identifier: Apache-2.0
#include "CLayerwiseGlibc.h"

#if defined(__GLIBC__)
__attribute__((visibility("hidden"))) float hypotf(float x, float y) {
    if (__builtin_isinf(x) || __builtin_isinf(y)) return __builtin_inff();
    // The squares of float32 numbers are exact in float64, and their sum cannot overflow.
    return (float)__builtin_sqrt((double)x * x + (double)y * y);
}
#endif
