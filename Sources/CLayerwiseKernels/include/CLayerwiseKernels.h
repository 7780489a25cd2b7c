// SPDX-License-Identifier: Apache-2.0
//
// What the kernels need from C: the struct that crosses from the engine to a kernel, arithmetic of lanes (CLayerwiseLanes.h),
// and the processor's features.
#ifndef LAYERWISE_KERNELS_H
#define LAYERWISE_KERNELS_H

#include <stdint.h>

#include "CLayerwiseLanes.h"

#if !defined(__clang__)
#define _Nonnull
#define _Nullable
#endif

// What a kernel does to a tile.  (An enum would be a type, with functions that the copies of the kernels share.)

/// w <- w - change.
static const int32_t lwk_pass_update = 0;
/// w <- w - change, with the sums of gradients, old weights and changes.
static const int32_t lwk_pass_observe = 1;
/// First pass of a rule with a trust ratio: advances the state, with the sums of weights and directions.
static const int32_t lwk_pass_advance = 2;
/// Second pass of such a rule, from directions that the first pass kept.
static const int32_t lwk_pass_finish = 3;
/// Measures such a rule's weights and directions once more, scaled; changes nothing.
static const int32_t lwk_pass_remeasure = 4;

// The storage that lanes of float32 are rounded to behind the kernel.

/// None: they are stored as they are.
static const int32_t lwk_rounding_none = 0;
static const int32_t lwk_rounding_float16 = 1;
static const int32_t lwk_rounding_bfloat16 = 2;

/// One tile of one tensor, whole groups of lanes only: float32 x 16 or float64 x 8.  States and directions are lanes;
/// weights and gradients are in the storage of the kernel.
typedef struct lwk_tile {
    void *_Nonnull weights;          // read, and written by the passes that change them
    const void *_Nonnull gradients;
    double gradient_factor;          // gradients are multiplied by it: direction, gradient scale, clipping
    void *_Nullable directions;      // kept from the first pass of a rule with a trust ratio for the second, or NULL
    void *_Nullable states[4];       // the rule's states, in the order of its declaration
    const void *_Nonnull coefficients;  // the rule's own struct, filled by its plan
    double numbers[4];               // what the rule's finish made of the sums of the stage before
    double square_limit;             // the largest number of the lanes whose square is finite
    double weight_scale;             // powers of two by which lwk_pass_remeasure multiplies weights and directions
    double direction_scale;
    int64_t ahead;                   // how far ahead weights and gradients are asked for, in bytes: 0 if they are in cache
    int64_t states_ahead;            // how far ahead states and directions are asked for, in bytes
    int64_t groups;
    int64_t last_count;              // numbers of the last group that belong to the tensor; the others are padding
    int32_t rounding;                // lwk_rounding_..., for the pass that observes
} lwk_tile;

/// Sums of squares, float64, to which a pass adds those of its tile.
typedef struct lwk_sums {
    double gradients;  // as the rule saw them
    double weights;    // before the change
    double updates;    // what moved, or the directions of a rule with a trust ratio
    double lost;       // how many weights of 16 bits have a change that is not zero and did not move
} lwk_sums;

/// One part of a product of matrices, C = alpha * A * B + beta * D: at most LWK_PRODUCT_ROWS rows and LWK_PRODUCT_COLUMNS columns
/// of it.  All are lanes of one type, addressed in elements; steps go from row to row and from column to column.
typedef struct lwk_product {
    const void *_Nonnull a;  // rows x depth
    int64_t a_row_step, a_column_step;
    const void *_Nonnull b;  // depth x columns
    int64_t b_row_step, b_column_step;
    const void *_Nullable d;  // rows x columns, with the steps of c; not read where it is NULL
    void *_Nonnull c;         // rows x columns; columns are next to each other
    int64_t c_row_step;
    void *_Nullable mirror;  // where the transpose of c is written too, with its steps, or NULL
    double alpha, beta;
    int64_t rows, columns, depth;
} lwk_product;

#define LWK_PRODUCT_ROWS 96
#define LWK_PRODUCT_COLUMNS 192
/// How much of the depth is worked on at a time.
#define LWK_PRODUCT_DEPTH 256

/// How far ahead memory is asked for, in bytes; it depends on the processor.
intptr_t lwk_prefetch_distance(void) __attribute__((const));

/// Makes the calling thread round to nearest and keep subnormal numbers.
void lwk_use_default_floating_point(void);

/// Asks for a cache line that will be read, or read and written, soon.  An address that is not mapped does no harm.
static inline __attribute__((always_inline, unused)) void lwk_prefetch_read(const void *_Nonnull address) {
    __builtin_prefetch(address, 0, 3);
}
static inline __attribute__((always_inline, unused)) void lwk_prefetch_write(const void *_Nonnull address) {
    __builtin_prefetch(address, 1, 3);
}

/// Tells the processor that this is a waiting loop.
static inline __attribute__((always_inline, unused)) void lwk_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/// 0: the x86-64 baseline or another architecture, 1: x86-64-v3 (AVX2, FMA, F16C), 2: x86-64-v4 (AVX-512 F BW CD DQ VL).
int32_t lwk_processor_level(void);

/// How many processors this process may run on; 0 if this is unknown.
int32_t lwk_schedulable_processors(void);

/// CRC-32C of bytes that follow those whose checksum is `previous`; 0 where there are none.
uint32_t lwk_crc32c(uint32_t previous, const void *_Nonnull bytes, intptr_t count);

#endif
