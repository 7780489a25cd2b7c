/* Every misuse of layers, tensors and buffers is refused and changes nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model.h"

/** Free memory for new tensors: 16-byte blocks that belong to nothing. */
static union {
    double doubles[64];
    float floats[128];
    unsigned char bytes[512];
} spare;

static const int64_t eight[] = {8};

static lw_tensor spare_tensor(void)
{
    return vector("weight", LW_FLOAT32, spare.floats, spare.floats + 64, eight);
}

static int32_t add(const model *m, const char *name, const lw_tensor *tensors, int64_t count, lw_error *error)
{
    int64_t index = 77;
    int32_t code = lw_optimizer_add_layer(m->optimizer, name, tensors, count, NULL, 0, &index, error);
    CHECK(code == LW_OK || index == 77);
    return code;
}

static int32_t add_one(const model *m, lw_tensor tensor, lw_error *error) { return add(m, "new", &tensor, 1, error); }

/* ---- Names ---------------------------------------------------------------------------------------------------- */

static void refuse_names(const model *m)
{
    /* Of each kind, the first and the last. */
    static const char *const controls[] = {"\x01", "\n", "\x1f", "\x7f", "\xC2\x80", "\xC2\x85", "\xC2\x9F",
                                           "\xE2\x80\xA8", "\xE2\x80\xA9"};
    static const char *const not_utf8[] = {"\x80", "a\xC3", "\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80",
                                           "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xFF"};
    char too_long[257];
    lw_tensor tensor = spare_tensor();
    lw_tensor twins[] = {LW_TENSOR_INIT, LW_TENSOR_INIT};
    memset(too_long, 'n', 256);
    too_long[256] = '\0';

    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, NULL, &tensor, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, "", &tensor, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, too_long, &tensor, 1, error));
    for (int64_t i = 0; i < COUNT(controls); ++i) {
        char name[16];
        snprintf(name, sizeof name, "a%sb", controls[i]);
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, name, &tensor, 1, error));
        tensor.name = name;
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
        tensor = spare_tensor();
        /* A message quotes what was given, and is one line all the same. */
        lw_error quoted = LW_ERROR_INIT;
        CHECK(lw_optimizer_find_layer(m->optimizer, name, NULL, &quoted) == LW_ERROR_UNKNOWN_NAME);
        CHECK(strstr(quoted.message, controls[i]) == NULL && strstr(quoted.message, "\"a?") != NULL);
    }
    REFUSED(m, LW_ERROR_DUPLICATE, add(m, "body", &tensor, 1, error));
    for (int64_t i = 0; i < COUNT(not_utf8); ++i) {
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, not_utf8[i], &tensor, 1, error));
        tensor.name = not_utf8[i];
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
        tensor = spare_tensor();
    }
    tensor.name = NULL;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
    tensor.name = "";
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
    tensor.name = too_long;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
    twins[0] = spare_tensor();
    twins[1] = vector("weight", LW_FLOAT32, spare.floats + 8, NULL, eight);
    REFUSED(m, LW_ERROR_DUPLICATE, add(m, "new", twins, 2, error));

    int64_t layer = 77;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_find_layer(m->optimizer, NULL, &layer, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_find_layer(m->optimizer, "body", NULL, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_find_layer(m->optimizer, "Body", &layer, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_find_layer(m->optimizer, too_long, &layer, error));
    CHECK(layer == 77);
}

/** A message that has to be cut is cut between characters: a name of 255 bytes, of 1 to 4 bytes a character. */
static void refuse_with_long_names(const model *m)
{
    static const char *const characters[] = {"n", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x99\x82"};
    for (int64_t c = 0; c < COUNT(characters); ++c) {
        char name[256] = {0};
        lw_tensor tensor = spare_tensor();
        for (size_t used = 0; used + strlen(characters[c]) <= 255; used += strlen(characters[c])) {
            memcpy(name + used, characters[c], strlen(characters[c]));
        }
        tensor.name = name;
        tensor.dtype = 99;
        REFUSED(m, LW_ERROR_DTYPE, add(m, name, &tensor, 1, error));
        REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_layer_unset(m->optimizer, 0, name, error));
    }
}

/* ---- Descriptions ------------------------------------------------------------------------------------------------ */

static void refuse_structs(const model *m)
{
    static const uint32_t right = (uint32_t)sizeof(lw_tensor);
    const uint32_t sizes[] = {0, 1, 4, right - 1, right + 1, UINT32_MAX};
    lw_tensor tensor = spare_tensor();
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, "new", NULL, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, "new", NULL, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, "new", &tensor, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, "new", &tensor, -1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, "new", &tensor, INT64_C(1) << 62, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, "new", &tensor, INT64_MAX, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add(m, "new", &tensor, INT64_MIN, error));
    for (int64_t i = 0; i < COUNT(sizes); ++i) {
        tensor.struct_size = sizes[i];
        REFUSED(m, LW_ERROR_STRUCT_SIZE, add_one(m, tensor, error));
    }
    tensor = spare_tensor();
    tensor.reserved = 1;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
}

static void refuse_dtypes(const model *m)
{
    static const int32_t unknown[] = {0, -1, 6, 99, INT32_MIN, INT32_MAX, LW_INT64};
    /* Parameters and gradients that do not go together. */
    static const int32_t pairs[][2] = {{LW_FLOAT32, LW_FLOAT64},  {LW_FLOAT32, LW_FLOAT16}, {LW_FLOAT32, LW_BFLOAT16},
                                       {LW_FLOAT64, LW_BFLOAT16}, {LW_FLOAT16, LW_BFLOAT16}, {LW_BFLOAT16, LW_FLOAT16},
                                       {LW_BFLOAT16, LW_FLOAT64}, {LW_FLOAT32, LW_INT64},   {LW_FLOAT32, 99},
                                       {LW_FLOAT32, -1}};
    lw_tensor tensor = spare_tensor();
    for (int64_t i = 0; i < COUNT(unknown); ++i) {
        tensor.dtype = unknown[i];
        REFUSED(m, LW_ERROR_DTYPE, add_one(m, tensor, error));
    }
    for (int64_t i = 0; i < COUNT(pairs); ++i) {
        tensor = spare_tensor();
        tensor.dtype = pairs[i][0];
        tensor.gradient_dtype = pairs[i][1];
        REFUSED(m, LW_ERROR_DTYPE, add_one(m, tensor, error));
    }
    tensor = spare_tensor();
    tensor.master = 1; /* of float32 */
    REFUSED(m, LW_ERROR_DTYPE, add_one(m, tensor, error));
    tensor.dtype = LW_BFLOAT16;
    tensor.master = 2;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
    tensor.master = -1;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
}

static void refuse_shapes(const model *m)
{
    static const int64_t negative[] = {4, -2}, least[] = {INT64_MIN}, huge[] = {INT64_MAX};
    static const int64_t product[] = {INT64_C(1) << 62, 4}, square[] = {INT64_C(1) << 32, INT64_C(1) << 32};
    static const int64_t bytes[] = {INT64_C(1) << 61}; /* a number of elements, not of bytes */
    static const struct {
        const int64_t *shape;
        int32_t rank;
    } shapes[] = {{negative, 2}, {least, 1}, {huge, 1}, {product, 2}, {square, 2}, {bytes, 1}};
    static const int32_t ranks[] = {-1, 17, INT32_MIN, INT32_MAX};
    lw_tensor tensor = spare_tensor();
    for (int64_t i = 0; i < COUNT(shapes); ++i) {
        tensor.shape = shapes[i].shape;
        tensor.rank = shapes[i].rank;
        REFUSED(m, LW_ERROR_SHAPE, add_one(m, tensor, error));
    }
    tensor = spare_tensor();
    for (int64_t i = 0; i < COUNT(ranks); ++i) {
        tensor.rank = ranks[i];
        REFUSED(m, LW_ERROR_SHAPE, add_one(m, tensor, error));
    }
    tensor = spare_tensor();
    tensor.shape = NULL;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
    /* A rank that was forgotten would train element 0 alone. */
    tensor = spare_tensor();
    tensor.rank = 0;
    REFUSED(m, LW_ERROR_SHAPE, add_one(m, tensor, error));
    tensor.whole_shape = tensor.shape;
    tensor.shape = NULL;
    REFUSED(m, LW_ERROR_SHAPE, add_one(m, tensor, error));
}

/* ---- Buffers ------------------------------------------------------------------------------------------------ */

/** An address for a buffer that nobody may touch. */
static void *address(uintptr_t value) { return (void *)value; }

static void refuse_buffers(const model *m)
{
    lw_tensor tensor = spare_tensor();
    tensor.parameters = NULL;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
    for (int offset = 1; offset < 4; ++offset) {
        tensor = spare_tensor();
        tensor.parameters = spare.bytes + offset;
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
        tensor = spare_tensor();
        tensor.gradients = spare.bytes + 256 + offset;
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));
    }
    tensor = vector("weight", LW_FLOAT64, spare.floats + 1, NULL, eight);
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, add_one(m, tensor, error));

    /* The last 16 bytes of the address space cannot hold 32. */
    tensor = spare_tensor();
    tensor.parameters = address(UINTPTR_MAX - 15);
    REFUSED(m, LW_ERROR_OVERLAP, add_one(m, tensor, error));
    tensor = spare_tensor();
    tensor.gradients = address(UINTPTR_MAX - 15);
    REFUSED(m, LW_ERROR_OVERLAP, add_one(m, tensor, error));
}

/** State that no machine has memory for: 2^47 bytes a moment.  The buffer is not touched before that is known. */
static void refuse_without_memory(const model *m)
{
    static const int64_t enormous[] = {INT64_C(1) << 45};
    const lw_tensor tensor = vector("weight", LW_FLOAT32, address((uintptr_t)1 << 52), NULL, enormous);
    REFUSED(m, LW_ERROR_OUT_OF_MEMORY, add_one(m, tensor, error));
}

static void refuse_overlaps(const model *m)
{
    /* Eight floats from here share: all of the bias's start, its last element, one byte more than nothing. */
    unsigned char *bias = (unsigned char *)m->bias;
    unsigned char *const starts[] = {bias, bias + 8, bias - 28, bias - 4};
    lw_tensor two[2];
    lw_tensor tensor;
    for (int64_t i = 0; i < COUNT(starts); ++i) {
        tensor = spare_tensor();
        tensor.parameters = starts[i];
        REFUSED(m, LW_ERROR_OVERLAP, add_one(m, tensor, error));
        tensor = spare_tensor();
        tensor.gradients = starts[i]; /* a gradient that a step would write */
        REFUSED(m, LW_ERROR_OVERLAP, add_one(m, tensor, error));
    }
    tensor = spare_tensor();
    tensor.parameters = (void *)(uintptr_t)m->weight_gradient; /* which another layer reads as its gradient */
    REFUSED(m, LW_ERROR_OVERLAP, add_one(m, tensor, error));
    tensor = spare_tensor();
    tensor.gradients = tensor.parameters;
    REFUSED(m, LW_ERROR_OVERLAP, add_one(m, tensor, error));
    tensor.gradients = spare.floats + 7;
    REFUSED(m, LW_ERROR_OVERLAP, add_one(m, tensor, error));

    two[0] = spare_tensor();
    two[1] = vector("bias", LW_FLOAT32, spare.floats + 7, NULL, eight);
    REFUSED(m, LW_ERROR_OVERLAP, add(m, "new", two, 2, error));
    two[1] = vector("bias", LW_FLOAT32, spare.floats + 8, spare.floats + 7, eight);
    REFUSED(m, LW_ERROR_OVERLAP, add(m, "new", two, 2, error));
    two[1] = vector("bias", LW_FLOAT32, spare.floats + 71, NULL, eight);
    REFUSED(m, LW_ERROR_OVERLAP, add(m, "new", two, 2, error));
}

static void refuse_binding(model *m)
{
    lw_optimizer *const o = m->optimizer;
    static const int64_t wrong[] = {-1, 2, 99, INT64_MIN, INT64_MAX};
    for (int64_t i = 0; i < COUNT(wrong); ++i) {
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_bind(o, wrong[i], 0, spare.floats, NULL, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_bind(o, 0, wrong[i], spare.floats, NULL, error));
    }
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_tensor_bind(o, 0, 0, NULL, spare.floats, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_tensor_bind(o, 0, 0, spare.bytes + 2, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_tensor_bind(o, 0, 0, spare.floats, spare.bytes + 257, error));
    REFUSED(m, LW_ERROR_OVERLAP, lw_tensor_bind(o, 0, 0, m->bias, NULL, error));
    REFUSED(m, LW_ERROR_OVERLAP, lw_tensor_bind(o, 0, 0, m->bias_gradient, NULL, error));
    REFUSED(m, LW_ERROR_OVERLAP, lw_tensor_bind(o, 0, 0, m->weight, m->bias, error));
    REFUSED(m, LW_ERROR_OVERLAP, lw_tensor_bind(o, 0, 0, spare.floats, spare.floats + 5, error));
    REFUSED(m, LW_ERROR_OVERLAP, lw_tensor_bind(o, 0, 0, address(UINTPTR_MAX - 15), NULL, error));
    /* Its own buffers again are no overlap. */
    SUCCEEDS(lw_tensor_bind(o, 0, 0, m->weight, m->weight_gradient, error));
}

/** Names of 255 bytes, neighbours that touch, zeros in a shape, rank 0 and rank 16 are all fine. */
static void accept_the_limits(const model *m)
{
    static const int64_t ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2};
    static const int64_t none[] = {3, 0};
    char longest[256] = {0};
    lw_tensor tensors[4];
    int64_t layer = -1, found = -1;
    memset(longest, 'n', 255);
    tensors[0] = spare_tensor();
    tensors[0].gradients = NULL;
    tensors[1] = vector(longest, LW_FLOAT32, spare.floats + 8, NULL, ones);
    tensors[1].rank = 16;
    tensors[2] = vector("scalar", LW_FLOAT32, spare.floats + 10, NULL, NULL);
    tensors[2].rank = 0;
    tensors[3] = vector("empty", LW_FLOAT32, spare.floats + 11, NULL, none);
    tensors[3].rank = 2;
    SUCCEEDS(lw_optimizer_add_layer(m->optimizer, longest, tensors, 4, NULL, 0, &layer, error));
    CHECK(layer == MODEL_LAYERS);
    SUCCEEDS(lw_optimizer_find_layer(m->optimizer, longest, &found, error));
    CHECK(found == layer);
    SUCCEEDS(lw_optimizer_step(m->optimizer, NULL, error));
}

/** A rule of the layer's own, whose hyperparameters the other settings are. */
static void rule_of_the_layer(const model *m)
{
    static float memory[64];
    static const lw_setting unknown[] = {{"rule", 0, "lyon"}};
    static const lw_setting shared[] = {{"rule", 0, "prodigy"}};
    static const lw_setting strange[] = {{"rule", 0, "lion"}, {"rho", 0.5, NULL}};
    static const lw_setting own[] = {{"lr", 0.5, NULL}, {"rule", 0, "lion"}, {"beta1", 0.25, NULL}};
    static const lw_setting other[] = {{"rule", 0, "nadam"}};
    lw_tensor tensor = spare_tensor();
    const char *rule = NULL;
    double rate = 0;
    int64_t layer = -1;
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_add_layer(m->optimizer, "own", &tensor, 1, unknown, 1, NULL, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_add_layer(m->optimizer, "own", &tensor, 1, shared, 1, NULL, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_add_layer(m->optimizer, "own", &tensor, 1, strange, 2, NULL, error));
    tensor.parameters = memory;
    tensor.gradients = NULL;
    SUCCEEDS(lw_optimizer_add_layer(m->optimizer, "own", &tensor, 1, own, COUNT(own), &layer, error));
    SUCCEEDS(lw_layer_get_choice(m->optimizer, layer, "rule", &rule, error));
    CHECK(strcmp(rule, "lion") == 0);
    SUCCEEDS(lw_layer_get(m->optimizer, layer, "lr", &rate, error));
    CHECK(rate == 0.5);
    SUCCEEDS(lw_layer_get(m->optimizer, layer, "beta1", &rate, error));
    CHECK(rate == 0.25);
    CHECK(lw_layer_set(m->optimizer, layer, other, 1, NULL) == LW_ERROR_OUT_OF_RANGE);
    CHECK(lw_layer_unset(m->optimizer, layer, "rule", NULL) == LW_ERROR_INVALID_ARGUMENT);
    SUCCEEDS(lw_optimizer_step(m->optimizer, NULL, error));
}

int main(void)
{
    model m;
    model_create(&m);
    refuse_names(&m);
    refuse_with_long_names(&m);
    refuse_structs(&m);
    refuse_dtypes(&m);
    refuse_shapes(&m);
    refuse_buffers(&m);
    refuse_without_memory(&m);
    refuse_overlaps(&m);
    refuse_binding(&m);
    accept_the_limits(&m);
    rule_of_the_layer(&m);
    model_destroy(&m);
    return report();
}
