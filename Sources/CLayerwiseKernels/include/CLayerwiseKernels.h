// SPDX-License-Identifier: Apache-2.0
//
// What the kernels need from C: the struct that crosses from the engine to a kernel, vector conversions that Swift does
// not inline, and the processor's features.  Header-only but for the last, so that every copy of the kernels compiles
// the conversions for its own instruction set.
#ifndef LAYERWISE_KERNELS_H
#define LAYERWISE_KERNELS_H

#include <stdint.h>

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

#if defined(__clang__)  // the vectors that Swift knows as SIMD16<Float> and so on; GCC has none of this kind

typedef float lwk_float16x __attribute__((ext_vector_type(16)));
typedef float lwk_float8x __attribute__((ext_vector_type(8)));
typedef double lwk_double8x __attribute__((ext_vector_type(8)));
typedef uint16_t lwk_ushort16x __attribute__((ext_vector_type(16)));
typedef uint32_t lwk_uint16x __attribute__((ext_vector_type(16)));
typedef int32_t lwk_int16x __attribute__((ext_vector_type(16)));
typedef uint64_t lwk_ulong8x __attribute__((ext_vector_type(8)));
typedef double lwk_double4x __attribute__((ext_vector_type(4)));
typedef uint64_t lwk_ulong4x __attribute__((ext_vector_type(4)));
typedef uint32_t lwk_uint8x __attribute__((ext_vector_type(8)));
typedef int32_t lwk_int8x __attribute__((ext_vector_type(8)));
typedef int64_t lwk_long8x __attribute__((ext_vector_type(8)));
typedef int8_t lwk_char16x __attribute__((ext_vector_type(16)));
typedef int8_t lwk_char8x __attribute__((ext_vector_type(8)));

#define LWK_INLINE static inline __attribute__((always_inline, const, unused))

LWK_INLINE lwk_double8x lwk_widen_low(lwk_float16x x) { return __builtin_convertvector(x.lo, lwk_double8x); }
LWK_INLINE lwk_double8x lwk_widen_high(lwk_float16x x) { return __builtin_convertvector(x.hi, lwk_double8x); }
LWK_INLINE lwk_double8x lwk_widen(lwk_float8x x) { return __builtin_convertvector(x, lwk_double8x); }

LWK_INLINE lwk_float8x lwk_narrow(lwk_double8x x) { return __builtin_convertvector(x, lwk_float8x); }

// Cube roots of numbers ≥ 0, to an ulp.  No division is needed by way of the inverse root r.  A third of the bits, as an integer, gives
// a guess of it that is off by at most 3.4 %.  With h = 1 − x·r³, a step r ← r + r·h·(1/3 + 2/9·h + 14/81·h²) makes 12·e⁴ of an error e,
// and y ← y + (x − y³)·r²/3 corrects the root y = x·r².  Tiny numbers are multiplied by a power of eight first.  Products are added in
// the order that is written here, so that all instruction sets give the same bits.

/// One rounding, in every instruction set.
#define LWK_FUSED(x, y, z) __builtin_elementwise_fma(x, y, z)

#define LWK_INVERSE_CUBE_ROOT_STEP(lanes, x, r)                                                                         \
    {                                                                                                                  \
        const lanes square = r * r;                                                                                    \
        const lanes h = LWK_FUSED(-square, x * r, (lanes)1);                                                           \
        const lanes share = LWK_FUSED(h * h, (lanes)(14.0 / 81), LWK_FUSED(h, (lanes)(2.0 / 9), (lanes)(1.0 / 3)));    \
        r = LWK_FUSED(r * h, share, r);                                                                                \
    }

#define LWK_CUBE_ROOT(lanes, x, r, root)                                                                               \
    const lanes inverse_square = r * r;                                                                                \
    const lanes y = x * inverse_square;                                                                                \
    const lanes rest = LWK_FUSED(-(y * y), y, x);                                                                      \
    const lanes root = LWK_FUSED(rest, inverse_square * (lanes)(1.0 / 3), y);

LWK_INLINE lwk_float16x lwk_cube_root_float(lwk_float16x x) {
    const lwk_int16x small = x < 0x1p-90f;
    const lwk_float16x one = 1;
    const lwk_float16x factor = small ? (lwk_float16x)0x1p+60f : one;
    const lwk_float16x back = small ? (lwk_float16x)0x1p-20f : one;
    x = x * factor;
    const lwk_float16x third = __builtin_convertvector((lwk_int16x)x, lwk_float16x) * 0x1.555556p-2f;
    lwk_float16x r = (lwk_float16x)(1419916288 - __builtin_convertvector(third, lwk_int16x));
    LWK_INVERSE_CUBE_ROOT_STEP(lwk_float16x, x, r)
    LWK_CUBE_ROOT(lwk_float16x, x, r, root)
    return root * back;
}

LWK_INLINE lwk_double8x lwk_cube_root_double(lwk_double8x x) {
    const lwk_long8x small = x < 0x1p-600;
    const lwk_double8x one = 1;
    const lwk_double8x factor = small ? (lwk_double8x)0x1p+480 : one;
    const lwk_double8x back = small ? (lwk_double8x)0x1p-160 : one;
    x = x * factor;
    // Of the upper half of the bits.
    const lwk_int8x bits = __builtin_convertvector((lwk_long8x)x >> 32, lwk_int8x);
    const lwk_float8x third = __builtin_convertvector(bits, lwk_float8x) * 0x1.555556p-2f;
    const lwk_int8x guess = 1430188288 - __builtin_convertvector(third, lwk_int8x);
    lwk_double8x r = (lwk_double8x)(__builtin_convertvector(guess, lwk_long8x) << 32);
    LWK_INVERSE_CUBE_ROOT_STEP(lwk_double8x, x, r)
    LWK_INVERSE_CUBE_ROOT_STEP(lwk_double8x, x, r)
    LWK_CUBE_ROOT(lwk_double8x, x, r, root)
    return root * back;
}

/// Of other sign, zeros too; part of a multiply-add where it is an operand of one.
LWK_INLINE lwk_float16x lwk_negative_float(lwk_float16x x) { return -x; }
LWK_INLINE lwk_double8x lwk_negative_double(lwk_double8x x) { return -x; }

// Whether all lanes are finite: a number less itself is 0, or else NaN.  Where lanes take several registers, those of one are
// first joined with those of the others to numbers that are finite only where they all are, so that less is to be tested.
// The answer may also be 0 where such a sum or product overflows.
//
// For storages of 16 bits the answer is 0, too, where a lane of x is near the largest number that is stored.  With bfloat16 its
// square overflows, as that of all beyond 1e19; with float16 the square of 65520 overflows times a limit, alone or with that of
// another lane, and that of 65504 alone does not.

#if defined(__FMA__) || defined(__aarch64__)
#define LWK_MULTIPLY_ADD(x, y, z) __builtin_elementwise_fma(x, y, z)
#else
#define LWK_MULTIPLY_ADD(x, y, z) ((x) * (y) + (z))
#endif

#define LWK_FLOAT16_LIMIT 0x1.004p+96f

#if defined(__AVX512F__)

LWK_INLINE int32_t lwk_all_finite_float(lwk_float16x x) { return __builtin_reduce_or((lwk_uint16x)(x - x)) == 0; }
LWK_INLINE int32_t lwk_all_finite_double(lwk_double8x x) { return __builtin_reduce_or((lwk_ulong8x)(x - x)) == 0; }
LWK_INLINE int32_t lwk_both_finite_float(lwk_float16x x, lwk_float16x y) { return lwk_all_finite_float(x + y); }
LWK_INLINE int32_t lwk_both_finite_double(lwk_double8x x, lwk_double8x y) { return lwk_all_finite_double(x + y); }

LWK_INLINE int32_t lwk_all_finite_bfloat16(lwk_float16x x) { return lwk_all_finite_float(x * x); }
LWK_INLINE int32_t lwk_both_finite_bfloat16(lwk_float16x x, lwk_float16x y) {
    return lwk_all_finite_float(LWK_MULTIPLY_ADD(x, x, y));
}
LWK_INLINE int32_t lwk_all_finite_float16(lwk_float16x x) {
    return lwk_all_finite_float(x * x * LWK_FLOAT16_LIMIT);
}
LWK_INLINE int32_t lwk_both_finite_float16(lwk_float16x x, lwk_float16x y) {
    return lwk_all_finite_float(LWK_MULTIPLY_ADD(x * x, (lwk_float16x)LWK_FLOAT16_LIMIT, y));
}

#else

LWK_INLINE int32_t lwk_all_finite_float(lwk_float16x x) {
    lwk_float8x one = x.lo + x.hi;
    return __builtin_reduce_or((lwk_uint8x)(one - one)) == 0;
}
LWK_INLINE int32_t lwk_all_finite_double(lwk_double8x x) {
    lwk_double4x one = x.lo + x.hi;
    return __builtin_reduce_or((lwk_ulong4x)(one - one)) == 0;
}
LWK_INLINE int32_t lwk_both_finite_float(lwk_float16x x, lwk_float16x y) {
    lwk_float8x one = LWK_MULTIPLY_ADD(x.lo, x.hi, y.lo + y.hi);
    return __builtin_reduce_or((lwk_uint8x)(one - one)) == 0;
}
LWK_INLINE int32_t lwk_both_finite_double(lwk_double8x x, lwk_double8x y) {
    lwk_double4x one = LWK_MULTIPLY_ADD(x.lo, x.hi, y.lo + y.hi);
    return __builtin_reduce_or((lwk_ulong4x)(one - one)) == 0;
}

LWK_INLINE int32_t lwk_all_finite_bfloat16(lwk_float16x x) {
    lwk_float8x one = LWK_MULTIPLY_ADD(x.lo, x.lo, x.hi * x.hi);
    return __builtin_reduce_or((lwk_uint8x)(one - one)) == 0;
}
LWK_INLINE int32_t lwk_both_finite_bfloat16(lwk_float16x x, lwk_float16x y) {
    lwk_float8x one = LWK_MULTIPLY_ADD(x.lo, x.lo, LWK_MULTIPLY_ADD(x.hi, x.hi, y.lo + y.hi));
    return __builtin_reduce_or((lwk_uint8x)(one - one)) == 0;
}
LWK_INLINE int32_t lwk_all_finite_float16(lwk_float16x x) {
    lwk_float8x one = LWK_MULTIPLY_ADD(x.lo, x.lo, x.hi * x.hi) * LWK_FLOAT16_LIMIT;
    return __builtin_reduce_or((lwk_uint8x)(one - one)) == 0;
}
LWK_INLINE int32_t lwk_both_finite_float16(lwk_float16x x, lwk_float16x y) {
    lwk_float8x squares = LWK_MULTIPLY_ADD(x.lo, x.lo, x.hi * x.hi);
    lwk_float8x one = LWK_MULTIPLY_ADD(squares, (lwk_float8x)LWK_FLOAT16_LIMIT, y.lo + y.hi);
    return __builtin_reduce_or((lwk_uint8x)(one - one)) == 0;
}

#endif

/// Adds 1 to `count` in every lane whose change is not 0 and whose stored value did not move.  A lane that moved has a change.
LWK_INLINE lwk_int16x lwk_count_lost(lwk_int16x count, lwk_float16x change, lwk_float16x moved) {
    return count - (change != 0.0f) + (moved != 0.0f);
}

/// The sign of x - y in each lane: 1, 0 or -1; 0 where one of them is NaN.
LWK_INLINE lwk_char16x lwk_order_float(lwk_float16x x, lwk_float16x y) {
    return __builtin_convertvector((x < y) - (x > y), lwk_char16x);
}
LWK_INLINE lwk_char8x lwk_order_double(lwk_double8x x, lwk_double8x y) {
    return __builtin_convertvector((x < y) - (x > y), lwk_char8x);
}

/// Adds 1 to `count` in every lane that has one sign in both, and takes 1 from it where the signs are opposite.  Two zeros are both.
LWK_INLINE lwk_char16x lwk_count_kept(lwk_char16x count, lwk_char16x x, lwk_char16x y) {
    return count - (x == y) + (x == -y);
}

/// Adds 1 to `count` in every lane that has a sign in both.
LWK_INLINE lwk_char16x lwk_count_compared(lwk_char16x count, lwk_char16x x, lwk_char16x y) {
    return count - ((x == y) ^ (x == -y));
}

/// The sum of all lanes.
LWK_INLINE int32_t lwk_total_char(lwk_char16x x) {
    return __builtin_reduce_add(__builtin_convertvector(x, lwk_int16x));
}

LWK_INLINE int32_t lwk_any_short(lwk_ushort16x x) { return __builtin_reduce_or(x) != 0; }

/// bfloat16 is the upper half of a float32.
LWK_INLINE lwk_float16x lwk_from_bfloat16(lwk_ushort16x x) {
    return (lwk_float16x)(__builtin_convertvector(x, lwk_uint16x) << 16);
}

/// Rounds to nearest even.  NaN stays NaN: its upper payload is kept and the quiet bit set.
LWK_INLINE lwk_ushort16x lwk_to_bfloat16(lwk_float16x x) {
    lwk_uint16x bits = (lwk_uint16x)x;
    lwk_uint16x upper = bits >> 16;
    lwk_uint16x rounded = (bits + 0x7fffu + (upper & 1u)) >> 16;
    return __builtin_convertvector(x != x ? upper | 0x40u : rounded, lwk_ushort16x);
}

/// Rounds finite numbers to nearest even; the result for NaN is undefined.
LWK_INLINE lwk_ushort16x lwk_finite_to_bfloat16(lwk_float16x x) {
    lwk_uint16x bits = (lwk_uint16x)x;
    return __builtin_convertvector((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16, lwk_ushort16x);
}

/// Whether a finite number of x is stored as anything else than its y; may be 1, too, where x is not finite or lies halfway
/// between two that are stored.
LWK_INLINE int32_t lwk_differs_from_bfloat16(lwk_float16x x, lwk_ushort16x y) {
    lwk_uint16x apart = (lwk_uint16x)x - (__builtin_convertvector(y, lwk_uint16x) << 16);
    lwk_uint16x distance = (lwk_uint16x)__builtin_elementwise_abs((lwk_int16x)apart);
    return __builtin_reduce_or(distance & 0xffff8000u) != 0;
}

#if defined(__F16C__) || defined(__aarch64__)

typedef _Float16 lwk_half16x __attribute__((ext_vector_type(16)));

LWK_INLINE lwk_float16x lwk_from_float16(lwk_ushort16x x) {
    return __builtin_convertvector((lwk_half16x)x, lwk_float16x);
}
LWK_INLINE lwk_ushort16x lwk_to_float16(lwk_float16x x) {
    return (lwk_ushort16x)__builtin_convertvector(x, lwk_half16x);
}

#else  // the same bits, in integers

LWK_INLINE lwk_float16x lwk_from_float16(lwk_ushort16x x) {
    lwk_uint16x half = __builtin_convertvector(x, lwk_uint16x);
    lwk_uint16x sign = (half & 0x8000u) << 16;
    lwk_uint16x magnitude = half & 0x7fffu;
    // Normal numbers move their exponent; subnormal ones are made exact by subtracting the implicit bit.
    lwk_uint16x normal = (magnitude << 13) + 0x38000000u;
    lwk_float16x exact = (lwk_float16x)((magnitude << 13) + 0x38800000u) - (lwk_float16x)((lwk_uint16x)0x38800000u);
    lwk_uint16x subnormal = (lwk_uint16x)(magnitude < 0x400u);
    lwk_uint16x special = (lwk_uint16x)(magnitude >= 0x7c00u);
    lwk_uint16x nan = (lwk_uint16x)(magnitude > 0x7c00u);
    lwk_uint16x bits = (subnormal & (lwk_uint16x)exact) | (~subnormal & normal);
    bits = (special & ((magnitude << 13) | 0x7f800000u | (nan & 0x400000u))) | (~special & bits);
    return (lwk_float16x)(bits | sign);
}
LWK_INLINE lwk_ushort16x lwk_to_float16(lwk_float16x x) {
    lwk_uint16x bits = (lwk_uint16x)x;
    lwk_uint16x sign = (bits >> 16) & 0x8000u;
    lwk_uint16x magnitude = bits & 0x7fffffffu;
    lwk_uint16x normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    // Adding 0.5 lets the float32 unit round a subnormal result to nearest even.
    lwk_uint16x subnormal = (lwk_uint16x)((lwk_float16x)magnitude + 0.5f) - 0x3f000000u;
    lwk_uint16x small = (lwk_uint16x)(magnitude < 0x38800000u);
    lwk_uint16x large = (lwk_uint16x)(magnitude >= 0x477ff000u);
    lwk_uint16x nan = (lwk_uint16x)(magnitude > 0x7f800000u);
    lwk_uint16x result = (small & subnormal) | (~small & normal);
    result = (large & 0x7c00u) | (~large & result);
    result = (nan & (((magnitude >> 13) & 0x3ffu) | 0x7e00u)) | (~nan & result);
    return __builtin_convertvector(result | sign, lwk_ushort16x);
}

#endif

#endif  // __clang__

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
