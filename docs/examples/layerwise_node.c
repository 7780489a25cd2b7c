/* SPDX-License-Identifier: Apache-2.0
 *
 * Layerwise for Node: the few functions that train.js needs, by Node-API, whose headers come with Node.
 *
 *     cc -shared -fPIC -I/usr/include/node layerwise_node.c $(pkg-config --cflags --libs layerwise) -o layerwise.node
 */
#include <layerwise.h>
#include <node_api.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ARGUMENTS = 5, MOST_SETTINGS = 16, MOST_EXTENTS = 16, TEXT = 4096 };

/* An optimizer, and references to the arrays whose memory it has, so that Node neither frees nor moves them. */
typedef struct {
    lw_optimizer *optimizer;
    napi_ref *arrays;
    size_t array_count;
} holder;

/* Returns NULL with an exception, after a failure of Node's or of the library's. */
#define NODE(call) \
    do { \
        if ((call) != napi_ok) return napi_throw_error(env, NULL, "wrong argument: " #call), NULL; \
    } while (0)
#define TRY(call) \
    do { \
        lw_error error = LW_ERROR_INIT; \
        if (call) return napi_throw_error(env, lw_error_name(error.code), error.message), NULL; \
    } while (0)

static void release(napi_env env, void *data, void *hint) {
    holder *own = data;
    (void)hint;
    lw_optimizer_destroy(own->optimizer, NULL);
    for (size_t i = 0; i < own->array_count; i++) napi_delete_reference(env, own->arrays[i]);
    free(own->arrays);
    free(own);
}

/* An object of numbers as settings: {lr: 0.1, weight_decay: 0.01}.  Keys are kept in `keys`. */
static napi_status read_settings(napi_env env, napi_value object, lw_setting *settings, char (*keys)[64], int64_t *count) {
    napi_value names, name, value;
    uint32_t length;
    napi_status status = napi_get_property_names(env, object, &names);
    if (status == napi_ok) status = napi_get_array_length(env, names, &length);
    if (status == napi_ok && length > MOST_SETTINGS) return napi_invalid_arg;
    for (uint32_t i = 0; status == napi_ok && i < length; i++) {
        settings[i].choice = NULL, settings[i].key = keys[i];
        status = napi_get_element(env, names, i, &name);
        if (status == napi_ok) status = napi_get_value_string_utf8(env, name, keys[i], sizeof keys[i], NULL);
        if (status == napi_ok) status = napi_get_property(env, object, name, &value);
        if (status == napi_ok) status = napi_get_value_double(env, value, &settings[i].number);
    }
    *count = status == napi_ok ? length : 0;
    return status;
}

static holder *unwrap(napi_env env, napi_callback_info info, napi_value *arguments) {
    size_t count = MOST_ARGUMENTS;
    void *own = NULL;
    if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok) return NULL;
    return napi_get_value_external(env, arguments[0], &own) == napi_ok ? own : NULL;
}

/* create(rule, settings) */
static napi_value create(napi_env env, napi_callback_info info) {
    napi_value arguments[MOST_ARGUMENTS], result;
    size_t count = MOST_ARGUMENTS;
    char rule[64], keys[MOST_SETTINGS][64];
    lw_setting settings[MOST_SETTINGS];
    int64_t setting_count;
    NODE(napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NODE(napi_get_value_string_utf8(env, arguments[0], rule, sizeof rule, NULL));
    NODE(read_settings(env, arguments[1], settings, keys, &setting_count));
    holder *own = calloc(1, sizeof *own);
    if (own == NULL) return napi_throw_error(env, NULL, "no memory"), NULL;
    lw_error error = LW_ERROR_INIT;
    if (lw_optimizer_create(&own->optimizer, rule, settings, setting_count, &error)) {
        free(own);
        return napi_throw_error(env, lw_error_name(error.code), error.message), NULL;
    }
    NODE(napi_create_external(env, own, release, NULL, &result));
    return result;
}

/* setPolicy(optimizer, name, settings) */
static napi_value set_policy(napi_env env, napi_callback_info info) {
    napi_value arguments[MOST_ARGUMENTS];
    char name[64], keys[MOST_SETTINGS][64];
    lw_setting settings[MOST_SETTINGS];
    lw_spec policy = LW_SPEC_INIT;
    holder *own = unwrap(env, info, arguments);
    NODE(own ? napi_ok : napi_invalid_arg);
    NODE(napi_get_value_string_utf8(env, arguments[1], name, sizeof name, NULL));
    NODE(read_settings(env, arguments[2], settings, keys, &policy.setting_count));
    policy.name = name, policy.settings = policy.setting_count ? settings : NULL;
    TRY(lw_optimizer_set_policy(own->optimizer, &policy, 1, &error));
    return NULL;
}

/* addLayer(optimizer, name, weights, gradients, shape): a layer of one tensor, whose memory is that of two Float32Arrays. */
static napi_value add_layer(napi_env env, napi_callback_info info) {
    napi_value arguments[MOST_ARGUMENTS], element;
    char name[256];
    void *memory[2];
    size_t lengths[2];
    int64_t shape[MOST_EXTENTS], elements = 1;
    uint32_t rank;
    lw_tensor tensor = LW_TENSOR_INIT;
    holder *own = unwrap(env, info, arguments);
    NODE(own ? napi_ok : napi_invalid_arg);
    NODE(napi_get_value_string_utf8(env, arguments[1], name, sizeof name, NULL));
    for (int i = 0; i < 2; i++) {
        napi_typedarray_type type;
        NODE(napi_get_typedarray_info(env, arguments[2 + i], &type, &lengths[i], &memory[i], NULL, NULL));
        NODE(type == napi_float32_array ? napi_ok : napi_invalid_arg);
    }
    NODE(napi_get_array_length(env, arguments[4], &rank));
    NODE(rank <= MOST_EXTENTS ? napi_ok : napi_invalid_arg);
    for (uint32_t i = 0; i < rank; i++) {
        NODE(napi_get_element(env, arguments[4], i, &element));
        NODE(napi_get_value_int64(env, element, &shape[i]));
        elements *= shape[i];
    }
    /* Only the arrays know how large they are. */
    NODE(elements == (int64_t)lengths[0] && elements == (int64_t)lengths[1] ? napi_ok : napi_invalid_arg);

    napi_ref *arrays = realloc(own->arrays, (own->array_count + 2) * sizeof *arrays);
    if (arrays == NULL) return napi_throw_error(env, NULL, "no memory"), NULL;
    own->arrays = arrays;
    for (int i = 0; i < 2; i++) {
        NODE(napi_create_reference(env, arguments[2 + i], 1, &own->arrays[own->array_count]));
        own->array_count++;
    }
    tensor.name = "weight", tensor.rank = (int32_t)rank, tensor.shape = rank ? shape : NULL;
    tensor.parameters = memory[0], tensor.gradients = memory[1];
    TRY(lw_optimizer_add_layer(own->optimizer, name, &tensor, 1, NULL, 0, NULL, &error));
    return NULL;
}

/* step(optimizer) */
static napi_value step(napi_env env, napi_callback_info info) {
    napi_value arguments[MOST_ARGUMENTS];
    holder *own = unwrap(env, info, arguments);
    NODE(own ? napi_ok : napi_invalid_arg);
    TRY(lw_optimizer_step(own->optimizer, NULL, &error));
    return NULL;
}

/* explain(optimizer): text */
static napi_value explain(napi_env env, napi_callback_info info) {
    napi_value arguments[MOST_ARGUMENTS], result;
    char text[TEXT];
    holder *own = unwrap(env, info, arguments);
    NODE(own ? napi_ok : napi_invalid_arg);
    TRY(lw_optimizer_explain(own->optimizer, -1, text, sizeof text, NULL, &error));
    NODE(napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result));
    return result;
}

NAPI_MODULE_INIT() {
    const napi_property_descriptor functions[] = {
        {"create", NULL, create, NULL, NULL, NULL, napi_default, NULL},
        {"setPolicy", NULL, set_policy, NULL, NULL, NULL, napi_default, NULL},
        {"addLayer", NULL, add_layer, NULL, NULL, NULL, napi_default, NULL},
        {"step", NULL, step, NULL, NULL, NULL, napi_default, NULL},
        {"explain", NULL, explain, NULL, NULL, NULL, napi_default, NULL},
    };
    NODE(napi_define_properties(env, exports, sizeof functions / sizeof functions[0], functions));
    return exports;
}
