// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic of lanes: the vectors that Swift knows as SIMD16<Float>, SIMD8<Double> and so on.  All of it is inlined, so that every
// copy of the kernels compiles it for its own instruction set.
#ifndef LAYERWISE_LANES_H
#define LAYERWISE_LANES_H

#include <stdint.h>

#if defined(__clang__)  // GCC has no vectors of this kind

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

/// One rounding, in every instruction set.
#define LWK_FUSED(x, y, z) __builtin_elementwise_fma(x, y, z)

/// One rounding or two, whatever is quicker.
#if defined(__FMA__) || defined(__aarch64__)
#define LWK_MULTIPLY_ADD(x, y, z) __builtin_elementwise_fma(x, y, z)
#else
#define LWK_MULTIPLY_ADD(x, y, z) ((x) * (y) + (z))
#endif

// ---- Arithmetic
//
// Swift's operators on SIMD16<Float> are a few instructions for every lane until LLVM joins them again, which took most of
// the time in which the kernels were compiled.  Each function here is one call for Swift's compiler, and works on whole vectors for LLVM.
// A comparison with NaN is false.

/// For lanes of `number`; `name` is the end of the functions' names.  `places` are as many integers of the same size.
#define LWK_ARITHMETIC(name, number, lanes, places)                                                                     \
    /* The same number in all lanes. */                                                                                \
    LWK_INLINE lanes lwk_repeat_##name(number x) { return (lanes)x; }                                                  \
    LWK_INLINE lanes lwk_add_##name(lanes x, lanes y) { return x + y; }                                                \
    LWK_INLINE lanes lwk_subtract_##name(lanes x, lanes y) { return x - y; }                                           \
    LWK_INLINE lanes lwk_multiply_##name(lanes x, lanes y) { return x * y; }                                           \
    LWK_INLINE lanes lwk_divide_##name(lanes x, lanes y) { return x / y; }                                             \
    /* Of other sign, zeros too. */                                                                                    \
    LWK_INLINE lanes lwk_negative_##name(lanes x) { return -x; }                                                       \
    /* x * y + z, rounded once. */                                                                                     \
    LWK_INLINE lanes lwk_fused_##name(lanes x, lanes y, lanes z) { return LWK_FUSED(x, y, z); }                        \
    LWK_INLINE lanes lwk_square_root_##name(lanes x) { return __builtin_elementwise_sqrt(x); }                         \
    /* The larger of both, and x where either is NaN. */                                                               \
    LWK_INLINE lanes lwk_maximum_##name(lanes x, lanes y) { return y > x ? y : x; }                                    \
    /* x is negated where it is less than 0. */                                                                        \
    LWK_INLINE lanes lwk_magnitude_##name(lanes x) { return x < (lanes)0 ? -x : x; }                                   \
    /* 1 and -1 for numbers above and below 0, others as they are. */                                                  \
    LWK_INLINE lanes lwk_sign_##name(lanes x) {                                                                        \
        return ((x < (lanes)0) | (x > (lanes)0)) ? __builtin_elementwise_copysign((lanes)1, x) : x;                    \
    }                                                                                                                  \
    /* Between -limit and limit; NaN stays. */                                                                         \
    LWK_INLINE lanes lwk_clamped_##name(lanes x, lanes limit) {                                                        \
        const lanes low = x > limit ? limit : x;                                                                       \
        return low < -limit ? -limit : low;                                                                            \
    }                                                                                                                  \
    /* x where `mark` is 0, y elsewhere. */                                                                            \
    LWK_INLINE lanes lwk_where_zero_##name(lanes mark, lanes x, lanes y) { return mark == (lanes)0 ? x : y; }          \
    /* x - y, and 0 where they are equal, infinities too. */                                                           \
    LWK_INLINE lanes lwk_difference_##name(lanes x, lanes y) { return x == y ? (lanes)0 : x - y; }                     \
    /* 0 where x is infinite. */                                                                                       \
    LWK_INLINE lanes lwk_zero_if_infinite_##name(lanes x) {                                                            \
        return __builtin_elementwise_abs(x) == (lanes)__builtin_inff() ? (lanes)0 : x;                                 \
    }                                                                                                                  \
    /* The first `count` lanes of x, and zeros. */                                                                     \
    LWK_INLINE lanes lwk_prefix_##name(lanes x, int32_t count) { return LWK_PLACES_##name < (places)count ? x : (lanes)0; }

#define LWK_PLACES_float ((lwk_int16x){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#define LWK_PLACES_double ((lwk_long8x){0, 1, 2, 3, 4, 5, 6, 7})

LWK_ARITHMETIC(float, float, lwk_float16x, lwk_int16x)
LWK_ARITHMETIC(double, double, lwk_double8x, lwk_long8x)

/// sum + x * y in float64, of the lower and of the upper half of float32 lanes.  The product of two of these is exact, so that
/// it is the same whether it is rounded by itself or not.
LWK_INLINE lwk_double8x lwk_add_product_low(lwk_double8x sum, lwk_float16x x, lwk_float16x y) {
    const lwk_double8x wide = __builtin_convertvector(x.lo, lwk_double8x);
    return LWK_MULTIPLY_ADD(wide, __builtin_convertvector(y.lo, lwk_double8x), sum);
}
LWK_INLINE lwk_double8x lwk_add_product_high(lwk_double8x sum, lwk_float16x x, lwk_float16x y) {
    const lwk_double8x wide = __builtin_convertvector(x.hi, lwk_double8x);
    return LWK_MULTIPLY_ADD(wide, __builtin_convertvector(y.hi, lwk_double8x), sum);
}

/// The sum of eight lanes, in this order.
LWK_INLINE double lwk_total_double(lwk_double8x x) {
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
}
LWK_INLINE int32_t lwk_total_int(lwk_int16x x) { return __builtin_reduce_add(x); }

/// Both halves in float32.
LWK_INLINE lwk_float16x lwk_narrow_both(lwk_double8x low, lwk_double8x high) {
    lwk_float16x both;
    both.lo = __builtin_convertvector(low, lwk_float8x);
    both.hi = __builtin_convertvector(high, lwk_float8x);
    return both;
}

// ---- Cube roots

// Cube roots of numbers ≥ 0, to an ulp.  No division is needed by way of the inverse root r.  A third of the bits, as an integer, gives
// a guess of it that is off by at most 3.4 %.  With h = 1 − x·r³, a step r ← r + r·h·(1/3 + 2/9·h + 14/81·h²) makes 12·e⁴ of an error e,
// and y ← y + (x − y³)·r²/3 corrects the root y = x·r².  Tiny numbers are multiplied by a power of eight first.  Products are added in
// the order that is written here, so that all instruction sets give the same bits.

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

// ---- What is not finite

// Whether all lanes are finite: a number less itself is 0, or else NaN.  Where lanes take several registers, those of one are
// first joined with those of the others to numbers that are finite only where they all are, so that less is to be tested.
// The answer may also be 0 where such a sum or product overflows.
//
// For storages of 16 bits the answer is 0, too, where a lane of x is near the largest number that is stored.  With bfloat16 its
// square overflows, as that of all beyond 1e19; with float16 the square of 65520 overflows times a limit, alone or with that of
// another lane, and that of 65504 alone does not.

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

// ---- Counting

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

// ---- Storage of 16 bits

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

#endif
