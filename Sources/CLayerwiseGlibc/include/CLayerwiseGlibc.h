// SPDX-License-Identifier: Apache-2.0
//
// Only for the shared library: functions of the C library that its newest versions renamed, so that the library runs on
// older ones.  They stay inside it (Sources/LayerwiseC/exports.map).
#ifndef LAYERWISE_GLIBC_H
#define LAYERWISE_GLIBC_H

// It says which C library this is.
#include <limits.h>

/// √(x² + y²).  Swift's own static library mentions it, which would bind the whole to glibc 2.35; nothing here calls it.
float hypotf(float x, float y);

#endif
