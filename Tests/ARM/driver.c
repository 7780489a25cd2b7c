/* Runs every kernel of one instruction set on numbers that are the same everywhere, and prints a hash of the bits after
 * each call.  Built once for ARM with the kernels as Embedded Swift, and once for each instruction set of x86-64 with the
 * library's own objects; Tests/Scripts/check-arm compares what they print.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "CLayerwiseKernels.h"

/* ---- KernelDoor.swift */

typedef void rule_kernel(int32_t, const lwk_tile *, lwk_sums *);
typedef void condition_kernel(const void *, intptr_t, double, double, void *);
typedef void condition_wide_kernel(const void *, intptr_t, double, double, double, void *);
typedef double square_sum_kernel(const void *, intptr_t, double, double);
typedef void convert_kernel(const void *, intptr_t, void *);
typedef void blend_kernel(const void *, intptr_t, double, void *);
typedef void add_squares_kernel(const void *, intptr_t, intptr_t, intptr_t, intptr_t, double *, double *);
typedef void multiply_kernel(const double *, const void *, intptr_t, intptr_t, intptr_t, intptr_t, void *);
typedef void minimize_kernel(const double *, const void *, intptr_t, intptr_t, intptr_t, void *);
typedef void add_maxima_kernel(const void *, intptr_t, intptr_t, intptr_t, double *, void *);
typedef void product_kernel(const lwk_product *, void *);
typedef void add_sums_kernel(const void *, intptr_t, intptr_t, intptr_t, intptr_t, double *, double *);
typedef void adjust_kernel(const void *, intptr_t, intptr_t, intptr_t, const double *, void *);
typedef double mask_kernel(void *, const void *, intptr_t);
typedef void noise_kernel(void *, intptr_t, intptr_t, double, uint64_t, uint64_t);
typedef void products_kernel(const void *, const void *, const void *, void *, intptr_t, double *);
typedef void signs_kernel(const void *, const void *, void *, intptr_t, double *);
typedef void distance_kernel(const void *, const void *, intptr_t, double *);
typedef void magnitudes_kernel(const void *, intptr_t, double *);
typedef void changes_kernel(const void *, const void *, intptr_t, double *);

int32_t door_keys(void);
rule_kernel *door_rule(int32_t key, int32_t storage);
condition_kernel *door_condition(int32_t storage);
condition_wide_kernel *door_condition_wide(int32_t storage);
square_sum_kernel *door_square_sum(int32_t storage);
convert_kernel *door_decode(int32_t storage);
convert_kernel *door_encode(int32_t storage);
convert_kernel *door_encode_finite(int32_t storage);
blend_kernel *door_blend(int32_t storage);
convert_kernel *door_adopt(int32_t storage);
condition_kernel *door_condition_widened(void);
condition_wide_kernel *door_condition_widened_wide(void);
square_sum_kernel *door_square_sum_widened(void);
add_squares_kernel *door_add_squares(int32_t is_double);
multiply_kernel *door_multiply(int32_t is_double);
minimize_kernel *door_minimize(int32_t is_double);
add_maxima_kernel *door_add_maxima(int32_t is_double);
product_kernel *door_product(int32_t is_double);
add_sums_kernel *door_add_sums(int32_t is_double);
adjust_kernel *door_adjust(int32_t is_double);
mask_kernel *door_mask(int32_t is_double);
noise_kernel *door_add_noise(int32_t is_double);
products_kernel *door_products(int32_t is_double);
signs_kernel *door_signs(int32_t is_double);
distance_kernel *door_distance(int32_t is_double);
magnitudes_kernel *door_magnitudes(int32_t is_double);
changes_kernel *door_changes(int32_t is_double);

/* ---- Storages */

enum { float32, float64, float16, bfloat16, storages };

typedef struct {
    const char *name;
    int bytes, exponent_bits, mantissa_bits;
} format;

static const format formats[storages] = {
    {"float32", 4, 8, 23}, {"float64", 8, 11, 52}, {"float16", 2, 5, 10}, {"bfloat16", 2, 8, 7}};

/* Lanes of 16-bit storages are float32. */
static int lanes_of(int storage) { return storage == float64 ? float64 : float32; }
/* Numbers in a group of lanes. */
static int group_of(int storage) { return storage == float64 ? 8 : 16; }

/* ---- Numbers that are the same everywhere */

static uint64_t random_state;

static uint64_t random_bits(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t read_bits(const void *memory, int bytes)
{
    uint64_t bits = 0;
    memcpy(&bits, memory, (size_t)bytes);
    return bits;
}

/* What numbers are like: near 1; of all magnitudes, subnormal ones too; near 1, with some at the ends and beyond. */
enum { ordinary, wide, extreme, regimes };

static uint64_t number(format f, int regime, int is_signed)
{
    const uint64_t mantissa = random_bits() & ((UINT64_C(1) << f.mantissa_bits) - 1);
    const uint64_t sign = is_signed ? random_bits() & 1 : 0;
    const uint64_t top = (UINT64_C(1) << f.exponent_bits) - 1;
    uint64_t exponent = (top >> 1) - 5 + random_bits() % 6, rest = mantissa;
    if (regime == wide) exponent = random_bits() % top;
    if (regime == extreme && random_bits() % 12 == 0) {
        const uint64_t choice = random_bits() % 6;
        exponent = choice < 2 ? 0 : choice < 4 ? top : top - 1;
        /* 0, the smallest, infinity, NaN, the largest, and half of it. */
        rest = choice == 1 ? 1 : choice == 3 ? UINT64_C(1) << (f.mantissa_bits - 1) : choice == 4 ? ~UINT64_C(0) : 0;
        rest &= (UINT64_C(1) << f.mantissa_bits) - 1;
    }
    return sign << (f.exponent_bits + f.mantissa_bits) | exponent << f.mantissa_bits | rest;
}

static void fill(void *memory, int storage, int count, int regime, int is_signed)
{
    for (int index = 0; index < count; index++) {
        const uint64_t bits = number(formats[storage], regime, is_signed);
        memcpy((char *)memory + index * formats[storage].bytes, &bits, (size_t)formats[storage].bytes);
    }
}

/* In [2^-10, 1). */
static double fraction(void)
{
    /* One call of random_bits() a statement: C leaves the order of two open. */
    const uint64_t mantissa = random_bits() >> 11 | UINT64_C(1) << 52;
    const int exponent = (int)(random_bits() % 10);
    return ldexp((double)mantissa, -53 - exponent);
}

/* The coefficients of any rule: float64 numbers in [0, 1], followed by flags in some.  The byte of a flag must be 0 or 1, so
 * all but the upper two bytes of each number are 0 or 1. */
static void fill_coefficients(void *memory, int count)
{
    for (int index = 0; index < count; index++) {
        uint64_t bits = random_bits() & 0x0000010101010101u;
        const uint64_t choice = random_bits() % 16;
        const uint64_t top = choice == 0 ? 0 : choice == 1 ? 0x3ff0 : 0x3f50 + random_bits() % 0xa0;
        bits = choice < 2 ? top << 48 : bits | top << 48;
        memcpy((char *)memory + index * 8, &bits, 8);
    }
}

/* ---- Hashes */

static uint64_t hash;

static void hash_bits(uint64_t bits)
{
    hash = (hash ^ bits) * 0x100000001b3u;
    hash ^= hash >> 29;
}

/* What is the same to the last bit. */
static void hash_exactly(const void *memory, int storage, int count)
{
    const int bytes = formats[storage].bytes;
    for (int index = 0; index < count; index++) hash_bits(read_bits((const char *)memory + index * bytes, bytes));
}

/* All NaNs count as one: processors choose its sign and payload. */
static void hash_numbers(const void *memory, int storage, int count)
{
    const format f = formats[storage];
    const uint64_t infinity = ((UINT64_C(1) << f.exponent_bits) - 1) << f.mantissa_bits;
    const uint64_t magnitude = (UINT64_C(1) << (f.exponent_bits + f.mantissa_bits)) - 1;
    for (int index = 0; index < count; index++) {
        const uint64_t bits = read_bits((const char *)memory + index * f.bytes, f.bytes);
        hash_bits((bits & magnitude) > infinity ? infinity + 1 : bits);
    }
}

static void say(const char *what, int key, const char *storage, int regime, int size)
{
    printf("%s %d %s %d %d %016llx\n", what, key, storage, regime, size, (unsigned long long)hash);
}

static void *memory_of(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 4096 + 63) / 64 * 64);
    if (!memory) exit(2);
    memset(memory, 0, (bytes + 4096 + 63) / 64 * 64);
    return memory;
}

/* ---- Rules: every pass behind the other, on the same numbers */

enum { most_groups = 7, most_numbers = most_groups * 16 };

static const struct {
    const char *name;
    int32_t pass;
} passes[] = {{"advance", lwk_pass_advance}, {"remeasure", lwk_pass_remeasure}, {"finish", lwk_pass_finish},
              {"update", lwk_pass_update},   {"observe", lwk_pass_observe},     {"advance-again", lwk_pass_advance}};

static void run_rule(int key, int storage, int regime, int groups)
{
    rule_kernel *kernel = door_rule(key, storage);
    if (!kernel) return;
    const int lanes = lanes_of(storage), count = groups * group_of(storage), bytes = formats[storage].bytes;
    random_state = ((uint64_t)regime << 8 | (uint64_t)groups) * 0x1000193u + (uint64_t)key;
    /* Weights and gradients lie at any multiple of their size. */
    char *weights = memory_of(most_numbers * 8), *gradients = memory_of(most_numbers * 8);
    void *directions = memory_of(most_numbers * 8), *coefficients = memory_of(512), *states[4];
    lwk_tile tile = {.weights = weights + bytes * (groups % 3), .gradients = gradients + bytes * (groups % 2),
                     .gradient_factor = groups % 3 == 0 ? 1 : groups % 3 == 1 ? -fraction() : fraction() * 4,
                     .directions = directions, .coefficients = coefficients,
                     .square_limit = lanes == float64 ? 0x1.fffffffffffffp+511 : 0x1.fffffep+63,
                     .weight_scale = regime == wide ? 0x1p-60 : 1, .direction_scale = regime == wide ? 0x1p+40 : 0.5,
                     .ahead = groups % 2 ? 0 : 4096, .states_ahead = 768, .groups = groups,
                     .last_count = 1 + (int64_t)(random_bits() % (uint64_t)group_of(storage))};
    fill(tile.weights, storage, count, regime, 1);
    fill((void *)tile.gradients, storage, count, regime, 1);
    fill_coefficients(coefficients, 64);
    for (int index = 0; index < 4; index++) {
        tile.states[index] = states[index] = memory_of(most_numbers * 8);
        fill(states[index], lanes, count, regime, 0);
        tile.numbers[index] = fraction();
    }
    for (size_t index = 0; index < sizeof passes / sizeof passes[0]; index++) {
        lwk_sums sums = {0, 0, 0, 0};
        tile.rounding = storage == float32 ? groups % 3 : lwk_rounding_none;
        kernel(passes[index].pass, &tile, &sums);
        hash = 0xcbf29ce484222325u;
        hash_exactly(tile.weights, storage, count);
        for (int state = 0; state < 4; state++) hash_exactly(states[state], lanes, count);
        hash_numbers(directions, lanes, count);
        hash_numbers(&sums, float64, 4);
        say(passes[index].name, key, formats[storage].name, regime, groups);
    }
    free(weights), free(gradients), free(directions), free(coefficients);
    for (int index = 0; index < 4; index++) free(states[index]);
}

/* ---- Conversions and sums */

static void run_conversions(int storage, int regime, int count)
{
    const int lanes = lanes_of(storage);
    const char *name = formats[storage].name;
    random_state = ((uint64_t)regime << 16 | (uint64_t)count) * 0x1000193u + (uint64_t)storage;
    char *source = memory_of((size_t)count * 8), *target = memory_of((size_t)count * 8 + 128);
    char *wide_numbers = memory_of((size_t)count * 8 + 128);
    fill(source, storage, count, regime, 1);
    fill(wide_numbers, lanes, count, regime, 1);
    static const double factors[] = {1, -0.37, 3.5}, limits[] = {INFINITY, 0.25, 1e-40};
    for (int index = 0; index < 9; index++) {
        const double factor = factors[index / 3], limit = limits[index % 3];
        hash = 0xcbf29ce484222325u;
        door_condition(storage)(source, count, factor, limit, target);
        hash_numbers(target, lanes, count);
        door_condition_wide(storage)(source, count, factor, 0x1p-70, limit, target);
        hash_numbers(target, lanes, count);
        door_condition_wide(storage)(source, count, factor, 0x1p+70, limit, target);
        hash_numbers(target, lanes, count);
        const double sum = door_square_sum(storage)(source, count, factor, limit);
        hash_numbers(&sum, float64, 1);
        say("condition", index, name, regime, count);
        if (storage == float32) {
            hash = 0xcbf29ce484222325u;
            door_condition_widened()(source, count, factor, limit, target);
            hash_numbers(target, float64, count);
            door_condition_widened_wide()(source, count, factor, 0x1p+70, limit, target);
            hash_numbers(target, float64, count);
            const double widened = door_square_sum_widened()(source, count, factor, limit);
            hash_numbers(&widened, float64, 1);
            say("widened", index, name, regime, count);
        }
    }
    hash = 0xcbf29ce484222325u;
    door_decode(storage)(source, count, target);
    hash_numbers(target, lanes, count);
    say("decode", 0, name, regime, count);
    hash = 0xcbf29ce484222325u;
    door_encode(storage)(wide_numbers, count, target);
    hash_numbers(target, storage, count);
    door_encode_finite(storage)(wide_numbers, count, target);
    hash_numbers(target, storage, count);
    say("encode", 0, name, regime, count);
    hash = 0xcbf29ce484222325u;
    if (door_adopt(storage)) {
        door_adopt(storage)(source, count, wide_numbers);
        hash_numbers(wide_numbers, lanes, count);
    }
    door_blend(storage)(wide_numbers, count, 0.3, source);
    hash_numbers(source, storage, count);
    say("adopt and blend", 0, name, regime, count);
    free(source), free(target), free(wide_numbers);
}

/* Every number of 16 bits, and for each the float32 numbers around it, between it and the next, and halfway. */
static void run_every_short(int storage)
{
    enum { batch = 4096 };
    float *lanes = memory_of(batch * 4);
    uint16_t *shorts = memory_of(batch * 2);
    const int shift = 23 - formats[storage].mantissa_bits;
    const uint32_t low = (1u << shift) - 1, half = 1u << (shift - 1);
    const uint32_t near[] = {0, 1, half - 1, half, half + 1, low};
    hash = 0xcbf29ce484222325u;
    for (uint32_t first = 0; first < 65536; first += batch) {
        for (uint32_t index = 0; index < batch; index++) shorts[index] = (uint16_t)(first + index);
        door_decode(storage)(shorts, batch, lanes);
        hash_numbers(lanes, float32, batch);
    }
    say("decode all", 0, formats[storage].name, 0, 65536);
    hash = 0xcbf29ce484222325u;
    for (uint64_t first = 0; first < UINT64_C(1) << 32; first += (uint64_t)batch << shift) {
        for (size_t which = 0; which < sizeof near / sizeof near[0]; which++) {
            for (uint32_t index = 0; index < batch; index++) {
                const uint32_t bits = (uint32_t)(first + ((uint64_t)index << shift)) + near[which];
                memcpy(&lanes[index], &bits, 4);
            }
            door_encode(storage)(lanes, batch, shorts);
            hash_numbers(shorts, storage, batch);
        }
    }
    say("encode all", 0, formats[storage].name, 0, 0);
    free(lanes), free(shorts);
}

/* ---- Rows and columns, and products of matrices */

static void run_factors(int is_double, int regime, int rows, int columns)
{
    const int lanes = is_double ? float64 : float32, bytes = formats[lanes].bytes, count = 2 * rows * columns;
    random_state = ((uint64_t)regime << 16 | (uint64_t)(rows * 1000 + columns)) * 0x1000193u;
    char *numbers = memory_of((size_t)count * 8), *target = memory_of((size_t)count * 8 + 128);
    double *row_sums = memory_of((size_t)rows * 2 * 8), *column_sums = memory_of((size_t)columns * 2 * 8);
    fill(numbers, lanes, count, regime, 1);
    const int start = columns / 2;
    door_add_squares(is_double)(numbers + start * bytes, count - start, start, rows, columns, row_sums, column_sums);
    hash = 0xcbf29ce484222325u;
    hash_numbers(row_sums, float64, rows * 2);
    hash_numbers(column_sums, float64, columns * 2);
    fill(row_sums, float64, rows * 2, ordinary, 0);
    door_multiply(is_double)(row_sums, numbers, start, count - start, rows, columns, target);
    hash_numbers(target, lanes, count - start);
    say("factors", columns, formats[lanes].name, regime, rows);

    door_minimize(is_double)(row_sums, numbers, start, count - start, columns, target);
    hash = 0xcbf29ce484222325u;
    hash_numbers(target, lanes, count - start);
    char *column_maxima = memory_of((size_t)columns * 8);
    memset(row_sums, 0, (size_t)rows * 2 * 8);
    memset(column_maxima, 0, (size_t)columns * 8);
    fill(numbers, lanes, count, regime, 0);
    door_add_maxima(is_double)(numbers + start * bytes, count - start, start, columns, row_sums, column_maxima);
    hash_numbers(row_sums, float64, rows * 2);
    hash_numbers(column_maxima, lanes, columns);
    say("axes", columns, formats[lanes].name, regime, rows);
    free(numbers), free(target), free(row_sums), free(column_sums), free(column_maxima);
}

static void run_product(int is_double, int regime, int rows, int columns, int depth)
{
    const int lanes = is_double ? float64 : float32;
    random_state = ((uint64_t)regime << 32 | (uint64_t)(rows << 16 | columns << 8 | depth)) * 0x1000193u;
    void *a = memory_of((size_t)(rows * depth) * 8), *b = memory_of((size_t)(depth * columns) * 8);
    void *c = memory_of((size_t)(192 * 192) * 8), *d = memory_of((size_t)(192 * 192) * 8);
    void *mirror = memory_of((size_t)(192 * 192) * 8);
    void *scratch = memory_of((LWK_PRODUCT_ROWS + LWK_PRODUCT_COLUMNS) * (size_t)LWK_PRODUCT_DEPTH * 8
                              + LWK_PRODUCT_ROWS * LWK_PRODUCT_COLUMNS * 8);
    fill(a, lanes, rows * depth, regime, 1);
    fill(b, lanes, depth * columns, regime, 1);
    fill(d, lanes, 192 * 192, regime, 1);
    for (int form = 0; form < 4; form++) {
        /* Rows, then columns side by side; without D, with it, and with the transpose of the result. */
        const int is_transposed = form & 1;
        lwk_product product = {.a = a, .a_row_step = depth, .a_column_step = 1,
                               .b = b, .b_row_step = columns, .b_column_step = 1,
                               .d = form > 1 ? d : NULL, .c = c, .c_row_step = 192, .mirror = form == 3 ? mirror : NULL,
                               .alpha = form ? 0.7 : 1, .beta = -1.3, .rows = rows, .columns = columns, .depth = depth};
        if (is_transposed) {
            product.a_row_step = product.b_row_step = 1;
            product.a_column_step = rows, product.b_column_step = depth;
        }
        door_product(is_double)(&product, scratch);
        hash = 0xcbf29ce484222325u;
        hash_numbers(c, lanes, 192 * 192);
        hash_numbers(mirror, lanes, 192 * 192);
        say("product", form, formats[lanes].name, regime, rows);
    }
    free(a), free(b), free(c), free(d), free(mirror), free(scratch);
}

/* What adjusts gradients and changes, and what measured policies watch, for `count` numbers in slices of `length`. */
static void run_slices(int is_double, int regime, int count, int length)
{
    const int lanes = is_double ? float64 : float32, slices = count / length + 2;
    random_state = ((uint64_t)regime << 32 | (uint64_t)(count << 8 | length)) * 0x1000193u;
    void *a = memory_of((size_t)(count + 32) * 8), *b = memory_of((size_t)(count + 32) * 8);
    void *c = memory_of((size_t)(count + 32) * 8), *d = memory_of((size_t)(count + 32) * 8);
    double *numbers = memory_of((size_t)slices * 3 * 8), sums[2] = {0, 0};
    fill(a, lanes, count + 16, regime, 1);
    fill(b, lanes, count + 16, regime, 1);
    fill(c, lanes, count + 16, regime, 1);
    door_add_sums(is_double)(a, count, 1, length, 3, numbers, numbers + 1);
    hash = 0xcbf29ce484222325u;
    hash_numbers(numbers, float64, slices * 3);
    fill(numbers, float64, slices * 3, ordinary, 1);
    door_adjust(is_double)(a, count, 1, length, numbers, d);
    hash_numbers(d, lanes, count);
    say("slices", length, formats[lanes].name, regime, count);
    hash = 0xcbf29ce484222325u;
    sums[0] = door_mask(is_double)(d, b, count);
    hash_numbers(sums, float64, 2);
    hash_numbers(d, lanes, count);
    say("mask", length, formats[lanes].name, regime, count);
    hash = 0xcbf29ce484222325u;
    door_add_noise(is_double)(b, length, count, 0.3, 0x0123456789abcdefu, 7);
    hash_numbers(b, lanes, count);
    say("noise", length, formats[lanes].name, regime, count);
    hash = 0xcbf29ce484222325u;
    door_products(is_double)(a, b, c, d, count, sums);
    hash_numbers(sums, float64, 2);
    hash_numbers(d, lanes, count);
    door_signs(is_double)(b, a, d, count, sums);
    hash_numbers(sums, float64, 2);
    hash_numbers(d, lanes, count);
    door_distance(is_double)(a, c, count, sums);
    hash_numbers(sums, float64, 2);
    door_magnitudes(is_double)(a, count, sums);
    door_changes(is_double)(a, b, count, sums + 1);
    hash_numbers(sums, float64, 2);
    say("watching", length, formats[lanes].name, regime, count);
    free(a), free(b), free(c), free(d), free(numbers);
}

int main(void)
{
    static const int sizes[] = {1, 3, 4, 5, most_groups}, counts[] = {1, 7, 16, 37, 333};
    for (int key = 0; key < door_keys(); key++)
        for (int storage = 0; storage < storages; storage++)
            for (int regime = 0; regime < regimes; regime++)
                for (int index = 0; index < 5; index++) run_rule(key, storage, regime, sizes[index]);
    for (int storage = 0; storage < storages; storage++)
        for (int regime = 0; regime < regimes; regime++)
            for (int index = 0; index < 5; index++) run_conversions(storage, regime, counts[index]);
    run_every_short(float16);
    run_every_short(bfloat16);
    for (int is_double = 0; is_double < 2; is_double++)
        for (int regime = 0; regime < regimes; regime++) {
            run_factors(is_double, regime, 1, 1);
            run_factors(is_double, regime, 5, 37), run_factors(is_double, regime, 33, 3);
            run_product(is_double, regime, 1, 1, 1), run_product(is_double, regime, 13, 37, 300);
            run_product(is_double, regime, 96, 192, 17);
            run_slices(is_double, regime, 1, 1), run_slices(is_double, regime, 37, 5), run_slices(is_double, regime, 333, 48);
        }
    return 0;
}
