/* Gradients found in lists of objects: what is as usual, and each way of not being so, found exactly where it is.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The objects here are tensors themselves and the lists are arrays of them; any of them may be NULL.
 */
#include "check.h"

#include <layerwise_experimental.h>

enum { PAIRS = 4, AXES = 3, AT = 2 };

/** An object of a list: what a view of it says, and whether there is one. */
typedef struct object {
    lw_dlpack_tensor tensor;
    int64_t shape[AXES], strides[AXES];
    int fails;
} object;

static float memory[PAIRS][24];
static float gradient_memory[PAIRS][24];
static int absent; /* its address is all that counts */
static int failed, calls_after_failure;

static void *item(void *list, intptr_t position)
{
    void *const found = ((void **)list)[position];
    calls_after_failure += failed;
    failed |= found == NULL;
    return found;
}

static int view(void *given, lw_dlpack_tensor *tensor)
{
    const object *o = (const object *)given;
    calls_after_failure += failed;
    *tensor = o->tensor;
    failed = o->fails;
    return o->fails ? -1 : 0;
}

/** Everything that one search looks at. */
typedef struct search {
    object parameters[PAIRS], gradients[PAIRS];
    void *parameter_list[PAIRS], *gradient_list[PAIRS];
    lw_dlpack_tensor expected[PAIRS];
    int64_t expected_shape[PAIRS][AXES], expected_strides[PAIRS][AXES];
    const void *addresses[PAIRS];
    lw_dlpack_lists lists;
} search;

static void describe(object *o, float *data)
{
    static const int64_t shape[AXES] = {2, 3, 4}, strides[AXES] = {12, 4, 1};
    memset(o, 0, sizeof *o);
    memcpy(o->shape, shape, sizeof shape);
    memcpy(o->strides, strides, sizeof strides);
    o->tensor.data = data;
    o->tensor.device_type = 1;
    o->tensor.rank = AXES;
    o->tensor.type_code = 2;
    o->tensor.type_bits = 32;
    o->tensor.type_lanes = 1;
    o->tensor.shape = o->shape;
    o->tensor.strides = o->strides;
}

/** All as usual. */
static void begin(search *s)
{
    const lw_dlpack_lists lists = LW_DLPACK_LISTS_INIT;
    for (int i = 0; i < PAIRS; ++i) {
        describe(&s->parameters[i], memory[i]);
        describe(&s->gradients[i], gradient_memory[i]);
        s->parameter_list[i] = &s->parameters[i];
        s->gradient_list[i] = &s->gradients[i];
        memcpy(s->expected_shape[i], s->parameters[i].shape, sizeof s->expected_shape[i]);
        memcpy(s->expected_strides[i], s->parameters[i].strides, sizeof s->expected_strides[i]);
        s->expected[i] = s->parameters[i].tensor;
        s->expected[i].shape = s->expected_shape[i];
        s->expected[i].strides = s->expected_strides[i];
        s->addresses[i] = &absent; /* nothing that a search would write */
    }
    s->lists = lists;
    s->lists.parameters = s->parameter_list;
    s->lists.gradients = s->gradient_list;
    s->lists.count = PAIRS;
    s->lists.item = item;
    s->lists.view = view;
    s->lists.absent = &absent;
    s->lists.expected = s->expected;
    failed = 0;
}

/** Searches from the beginning: where it stops. */
static int64_t stop(search *s)
{
    int64_t position = 0;
    SUCCEEDS(lw_dlpack_find_gradients(&s->lists, s->addresses, &position, NULL, error));
    return position;
}

/** The search stops at the pair AT, has written the addresses before it, and looks at nothing behind a failure. */
static void check_stops(search *s, int line)
{
    const int64_t position = stop(s);
    if (position != AT) {
        fprintf(stderr, "line %d: stopped at %lld\n", line, (long long)position);
    }
    CHECK(position == AT);
    CHECK(s->addresses[0] == gradient_memory[0] && s->addresses[1] == gradient_memory[1]);
    CHECK(s->addresses[2] == &absent && s->addresses[3] == &absent);
    CHECK(calls_after_failure == 0);
}

/** One change to what is usual, which makes the search stop there. */
#define UNUSUAL(change)                                                                                                \
    do {                                                                                                               \
        begin(&s);                                                                                                     \
        change;                                                                                                        \
        check_stops(&s, __LINE__);                                                                                     \
    } while (0)

/** Makes the change to the parameter, and then to the gradient. */
#define BOTH_UNUSUAL(change)                                                                                           \
    do {                                                                                                               \
        object *o = &s.parameters[AT];                                                                                 \
        UNUSUAL(change);                                                                                               \
        o = &s.gradients[AT];                                                                                          \
        UNUSUAL(change);                                                                                               \
    } while (0)

static void stop_at_the_unusual(void)
{
    static search s;
    BOTH_UNUSUAL(o->fails = 1);
    BOTH_UNUSUAL(o->tensor.data = NULL);
    BOTH_UNUSUAL((o->tensor.data = NULL, o->tensor.byte_offset = 4));
    BOTH_UNUSUAL(o->tensor.device_type = 2);
    BOTH_UNUSUAL(o->tensor.device_type = 0);
    BOTH_UNUSUAL(o->tensor.type_lanes = 2);
    BOTH_UNUSUAL(o->tensor.type_lanes = 0);
    BOTH_UNUSUAL(o->tensor.type_code = 0);                                       /* int32 */
    BOTH_UNUSUAL((o->tensor.type_code = 4, o->tensor.type_bits = 16));           /* a type, not the expected one */
    BOTH_UNUSUAL(o->tensor.type_code = 4);                                       /* no type */
    BOTH_UNUSUAL(o->tensor.type_bits = 16);
    BOTH_UNUSUAL(o->tensor.type_bits = 64);
    BOTH_UNUSUAL(o->tensor.type_bits = 8);
    BOTH_UNUSUAL(o->tensor.rank = 2);
    BOTH_UNUSUAL(o->tensor.rank = 4);
    BOTH_UNUSUAL(o->tensor.rank = 0);
    BOTH_UNUSUAL(o->tensor.rank = -1);
    BOTH_UNUSUAL(o->tensor.rank = INT32_MIN);
    BOTH_UNUSUAL(o->tensor.shape = NULL);
    BOTH_UNUSUAL(o->tensor.strides = NULL);
    BOTH_UNUSUAL(o->shape[0] = 1);
    BOTH_UNUSUAL(o->shape[AXES - 1] = 5);
    BOTH_UNUSUAL(o->shape[1] = -3);
    BOTH_UNUSUAL(o->strides[0] = 0);
    BOTH_UNUSUAL(o->strides[AXES - 1] = 2);
    BOTH_UNUSUAL((o->strides[1] = 1, o->strides[2] = 3));
    UNUSUAL(s.parameter_list[AT] = NULL);
    UNUSUAL(s.gradient_list[AT] = NULL);
    UNUSUAL(s.parameters[AT].tensor.data = memory[0]);
    UNUSUAL(s.parameters[AT].tensor.byte_offset = 4);
    /* Wherever what is expected came from. */
    UNUSUAL((s.expected[AT].rank = -1, s.parameters[AT].tensor.rank = -1, s.gradients[AT].tensor.rank = -1));
    UNUSUAL(s.expected[AT].shape = NULL);
    UNUSUAL(s.expected[AT].strides = NULL);
    UNUSUAL(s.expected[AT].data = NULL);
    UNUSUAL((s.expected[AT].data = NULL, s.parameters[AT].tensor.data = NULL));
    UNUSUAL((s.expected[AT].type_bits = s.parameters[AT].tensor.type_bits = s.gradients[AT].tensor.type_bits = 8));
}

static void pass_over_the_usual(void)
{
    static const struct {
        uint8_t code, bits;
        int32_t dtype;
    } types[] = {{2, 64, LW_FLOAT64}, {2, 32, LW_FLOAT32}, {2, 16, LW_FLOAT16}, {4, 16, LW_BFLOAT16}};
    static search s;
    int32_t dtypes[PAIRS] = {LW_FLOAT32, LW_FLOAT32, LW_FLOAT32, LW_FLOAT32};
    begin(&s);
    CHECK(stop(&s) == PAIRS);
    for (int i = 0; i < PAIRS; ++i) {
        CHECK(s.addresses[i] == gradient_memory[i]);
    }
    /* Only the address counts, not how it is given. */
    begin(&s);
    s.parameters[AT].tensor.data = &memory[AT][0] - 2;
    s.parameters[AT].tensor.byte_offset = 8;
    s.gradients[AT].tensor.byte_offset = 16;
    CHECK(stop(&s) == PAIRS && s.addresses[AT] == &gradient_memory[AT][4]);
    /* Other orders of dimensions, where all have them. */
    begin(&s);
    s.parameters[AT].strides[0] = s.gradients[AT].strides[0] = s.expected_strides[AT][0] = 1;
    s.parameters[AT].strides[2] = s.gradients[AT].strides[2] = s.expected_strides[AT][2] = 6;
    s.parameters[AT].strides[1] = s.gradients[AT].strides[1] = s.expected_strides[AT][1] = 2;
    CHECK(stop(&s) == PAIRS);
    /* Strides of extents of one. */
    begin(&s);
    s.parameters[AT].shape[1] = s.gradients[AT].shape[1] = s.expected_shape[AT][1] = 1;
    s.parameters[AT].strides[1] = 99;
    s.gradients[AT].strides[1] = 0;
    CHECK(stop(&s) == PAIRS);
    /* Numbers without dimensions, which need no shape. */
    begin(&s);
    s.parameters[AT].tensor.rank = s.gradients[AT].tensor.rank = s.expected[AT].rank = 0;
    s.gradients[AT].tensor.shape = s.gradients[AT].tensor.strides = NULL;
    CHECK(stop(&s) == PAIRS);
    for (int64_t i = 0; i < COUNT(types); ++i) {
        begin(&s);
        s.parameters[AT].tensor.type_code = s.expected[AT].type_code = types[i].code;
        s.parameters[AT].tensor.type_bits = s.expected[AT].type_bits = types[i].bits;
        /* As the parameter, or as it is said. */
        s.lists.gradient_dtypes = dtypes;
        CHECK(stop(&s) == PAIRS);
        dtypes[AT] = types[i].dtype;
        CHECK(stop(&s) == (types[i].dtype == LW_FLOAT32 ? PAIRS : AT));
        s.gradients[AT].tensor.type_code = types[i].code;
        s.gradients[AT].tensor.type_bits = types[i].bits;
        CHECK(stop(&s) == PAIRS);
        s.lists.gradient_dtypes = NULL;
        CHECK(stop(&s) == PAIRS);
        dtypes[AT] = LW_FLOAT32;
    }
    /* No type of the library's. */
    begin(&s);
    s.lists.gradient_dtypes = dtypes;
    dtypes[AT] = 0;
    CHECK(stop(&s) == AT);
}

static void count_the_absent(void)
{
    static search s;
    int64_t position = 0, count = 10;
    begin(&s);
    s.gradient_list[0] = s.gradient_list[AT] = &absent;
    SUCCEEDS(lw_dlpack_find_gradients(&s.lists, s.addresses, &position, &count, error));
    CHECK(position == PAIRS && count == 12);
    CHECK(s.addresses[0] == NULL && s.addresses[AT] == NULL && s.addresses[1] == gradient_memory[1]);
    /* Only among the gradients, and only where the parameter is as it was. */
    UNUSUAL((s.gradient_list[AT] = &absent, s.parameters[AT].tensor.data = memory[0]));
    begin(&s);
    s.lists.absent = NULL;
    CHECK(stop(&s) == PAIRS);
}

static void go_on_behind_the_unusual(void)
{
    static const int64_t stops[] = {0, 2, 3, PAIRS};
    static search s;
    int64_t position = 0;
    begin(&s);
    s.gradients[0].fails = s.gradients[2].fails = s.gradients[3].fails = 1;
    for (int64_t i = 0; i < COUNT(stops); ++i) {
        failed = 0;
        SUCCEEDS(lw_dlpack_find_gradients(&s.lists, s.addresses, &position, NULL, error));
        CHECK(position == stops[i]);
        position += 1;
    }
    CHECK(s.addresses[0] == &absent && s.addresses[1] == gradient_memory[1] && s.addresses[3] == &absent);
}

/** A call that is refused with a code and a message that holds a text, and writes nothing. */
#define REFUSED(wanted, text, call)                                                                                    \
    do {                                                                                                               \
        lw_error told = LW_ERROR_INIT, *error = &told;                                                                 \
        CHECK((call) == (wanted) && told.code == (wanted));                                                            \
        CHECK(strstr(told.message, text) != NULL);                                                                     \
        CHECK(s.addresses[0] == &absent && count == 7);                                                                \
    } while (0)

#define FIND lw_dlpack_find_gradients(&s.lists, s.addresses, &position, &count, error)

static void refuse(void)
{
    static search s;
    static const uint32_t sizes[] = {0, 4, (uint32_t)sizeof s.lists - 8, (uint32_t)sizeof s.lists + 8, UINT32_MAX};
    static const int64_t counts[] = {-1, INT64_MIN, INT64_MAX}, positions[] = {-1, PAIRS + 1, INT64_MIN, INT64_MAX};
    int64_t position = 0, count = 7;
    lw_error unknown = LW_ERROR_INIT;
    begin(&s);
    for (int64_t i = 0; i < COUNT(sizes); ++i) {
        s.lists.struct_size = sizes[i];
        REFUSED(LW_ERROR_STRUCT_SIZE, "lw_dlpack_lists", FIND);
    }
    begin(&s);
    s.lists.reserved = 1;
    REFUSED(LW_ERROR_INVALID_ARGUMENT, "reserved", FIND);
    begin(&s);
    for (int64_t i = 0; i < COUNT(counts); ++i) {
        s.lists.count = counts[i];
        REFUSED(LW_ERROR_INVALID_ARGUMENT, "count", FIND);
    }
    begin(&s);
    for (int64_t i = 0; i < COUNT(positions); ++i) {
        position = positions[i];
        REFUSED(LW_ERROR_INVALID_ARGUMENT, "position", FIND);
        CHECK(position == positions[i]);
    }
    position = 0;
    s.lists.parameters = NULL;
    REFUSED(LW_ERROR_INVALID_ARGUMENT, "parameters is NULL", FIND);
    begin(&s);
    s.lists.gradients = NULL;
    REFUSED(LW_ERROR_INVALID_ARGUMENT, "gradients is NULL", FIND);
    begin(&s);
    s.lists.item = NULL;
    REFUSED(LW_ERROR_INVALID_ARGUMENT, "item is NULL", FIND);
    begin(&s);
    s.lists.view = NULL;
    REFUSED(LW_ERROR_INVALID_ARGUMENT, "view is NULL", FIND);
    begin(&s);
    s.lists.expected = NULL;
    REFUSED(LW_ERROR_INVALID_ARGUMENT, "expected is NULL", FIND);
    begin(&s);
    REFUSED(LW_ERROR_INVALID_ARGUMENT, "lists is NULL",
            lw_dlpack_find_gradients(NULL, s.addresses, &position, &count, error));
    REFUSED(LW_ERROR_INVALID_ARGUMENT, "addresses is NULL",
            lw_dlpack_find_gradients(&s.lists, NULL, &position, &count, error));
    REFUSED(LW_ERROR_INVALID_ARGUMENT, "position is NULL",
            lw_dlpack_find_gradients(&s.lists, s.addresses, NULL, &count, error));
    unknown.struct_size = 8;
    CHECK(lw_dlpack_find_gradients(&s.lists, s.addresses, &position, &count, &unknown) == LW_ERROR_STRUCT_SIZE);
    CHECK(s.addresses[0] == &absent && position == 0);
    CHECK(lw_dlpack_find_gradients(&s.lists, s.addresses, &position, &count, NULL) == LW_OK && position == PAIRS);
    /* At the end, and where there is nothing. */
    SUCCEEDS(lw_dlpack_find_gradients(&s.lists, s.addresses, &position, &count, error));
    begin(&s);
    s.lists.count = position = 0;
    SUCCEEDS(lw_dlpack_find_gradients(&s.lists, s.addresses, &position, &count, error));
    CHECK(position == 0 && count == 7 && s.addresses[0] == &absent);
}

int main(void)
{
    stop_at_the_unusual();
    pass_over_the_usual();
    count_the_absent();
    go_on_behind_the_unusual();
    refuse();
    return report();
}
