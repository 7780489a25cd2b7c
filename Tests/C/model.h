/* An optimizer with some history, a snapshot of everything that can be seen of it, and the check of a refused call.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_H
#define MODEL_H

#include "check.h"

/** Adam over two layers: "body" (float32: "weight" 2 x 3, "bias" 3) and "head" (float64: "weight" 4). */
typedef struct model {
    lw_optimizer *optimizer;
    float weight[6], weight_gradient[6];
    float bias[3], bias_gradient[3];
    double head[4], head_gradient[4];
} model;

enum { MODEL_LAYERS = 2, MODEL_TENSORS = 3 };

/** A tensor of rank 1. */
static inline lw_tensor vector(const char *name, int32_t dtype, void *parameters, const void *gradients,
                               const int64_t *extent)
{
    lw_tensor tensor = LW_TENSOR_INIT;
    tensor.name = name;
    tensor.dtype = dtype;
    tensor.rank = 1;
    tensor.shape = extent;
    tensor.parameters = parameters;
    tensor.gradients = gradients;
    return tensor;
}

static inline void model_create(model *m)
{
    static const int64_t matrix[] = {2, 3}, three[] = {3}, four[] = {4};
    const lw_setting settings[] = {{"lr", 0.01, NULL}, {"weight_decay", 0.1, NULL}, {"telemetry", 1, NULL}};
    lw_tensor body[2];
    lw_tensor head;
    for (int i = 0; i < 6; ++i) {
        m->weight[i] = 0.5f - 0.25f * (float)i;
        m->weight_gradient[i] = 0.125f * (float)(i + 1);
    }
    for (int i = 0; i < 3; ++i) {
        m->bias[i] = (float)i;
        m->bias_gradient[i] = -0.5f;
    }
    for (int i = 0; i < 4; ++i) {
        m->head[i] = 1.0 / (i + 1);
        m->head_gradient[i] = 0.1 * i;
    }
    body[0] = vector("weight", LW_FLOAT32, m->weight, m->weight_gradient, matrix);
    body[0].rank = 2;
    body[1] = vector("bias", LW_FLOAT32, m->bias, m->bias_gradient, three);
    head = vector("weight", LW_FLOAT64, m->head, m->head_gradient, four);
    SUCCEEDS(lw_optimizer_create(&m->optimizer, "adam", settings, COUNT(settings), error));
    SUCCEEDS(lw_optimizer_add_layer(m->optimizer, "body", body, 2, NULL, 0, NULL, error));
    SUCCEEDS(lw_optimizer_add_layer(m->optimizer, "head", &head, 1, NULL, 0, NULL, error));
    SUCCEEDS(lw_optimizer_step(m->optimizer, NULL, error));
    SUCCEEDS(lw_optimizer_step(m->optimizer, NULL, error));
}

static inline void model_destroy(model *m) { SUCCEEDS(lw_optimizer_destroy(m->optimizer, error)); }

/* ---- Snapshot ------------------------------------------------------------------------------------------------ */

/** Everything that can be seen of a model, as bytes. */
typedef struct snapshot {
    unsigned char bytes[16384];
    size_t size;
} snapshot;

static inline void snapshot_append(snapshot *s, const void *bytes, size_t size)
{
    CHECK(s->size + size <= sizeof s->bytes);
    memcpy(s->bytes + s->size, bytes, size);
    s->size += size;
}

static inline void snapshot_layer(snapshot *s, const model *m, int64_t layer)
{
    static const char *const keys[] = {"lr", "beta1", "beta2", "eps", "weight_decay", "amsgrad",
                                       "decoupled_weight_decay", "scale", "depth", "start"};
    static const char *const choices[] = {"role", "frozen"};
    lw_layer_info info = LW_LAYER_INFO_INIT;
    lw_telemetry telemetry = LW_TELEMETRY_INIT;
    char name[256] = {0};
    for (int64_t k = 0; k < COUNT(keys); ++k) {
        double value = 0;
        SUCCEEDS(lw_layer_get(m->optimizer, layer, keys[k], &value, error));
        snapshot_append(s, &value, sizeof value);
    }
    for (int64_t k = 0; k < COUNT(choices); ++k) {
        const char *choice = NULL;
        SUCCEEDS(lw_layer_get_choice(m->optimizer, layer, choices[k], &choice, error));
        snapshot_append(s, choice, strlen(choice));
    }
    SUCCEEDS(lw_layer_get_info(m->optimizer, layer, &info, error));
    snapshot_append(s, &info, sizeof info);
    SUCCEEDS(lw_layer_get_telemetry(m->optimizer, layer, &telemetry, error));
    telemetry.nonfinite_count = 0; /* the one thing that a refused step reports */
    snapshot_append(s, &telemetry, sizeof telemetry);
    SUCCEEDS(lw_layer_get_name(m->optimizer, layer, name, sizeof name, NULL, error));
    snapshot_append(s, name, sizeof name);
    for (int64_t tensor = 0; tensor < info.tensor_count; ++tensor) {
        int64_t count = 0;
        SUCCEEDS(lw_tensor_state_count(m->optimizer, layer, tensor, &count, error));
        for (int64_t i = 0; i < count; ++i) {
            lw_state_info state = LW_STATE_INFO_INIT;
            double buffer[8];
            int64_t size;
            SUCCEEDS(lw_tensor_get_state_info(m->optimizer, layer, tensor, i, &state, error));
            size = state.count * (state.dtype == LW_FLOAT32 ? 4 : 8);
            CHECK(size <= (int64_t)sizeof buffer);
            SUCCEEDS(lw_tensor_read_state(m->optimizer, layer, tensor, state.name, buffer, size, error));
            snapshot_append(s, &state, sizeof state);
            snapshot_append(s, buffer, (size_t)size);
        }
    }
}

static inline void snapshot_take(snapshot *s, const model *m)
{
    static const char *const keys[] = {"lr", "beta1", "beta2", "eps", "weight_decay", "amsgrad",
                                       "decoupled_weight_decay", "clip_global_norm", "clip_layer_norm", "clip_value",
                                       "maximize", "telemetry", "dry_run", "threads"};
    static const char *const choices[] = {"nonfinite", "decay_follows"};
    char text[4096] = {0};
    lw_summary summary = LW_SUMMARY_INIT;
    const char *choice = NULL;
    int64_t layers = 0;
    s->size = 0;
    snapshot_append(s, m->weight, sizeof m->weight);
    snapshot_append(s, m->bias, sizeof m->bias);
    snapshot_append(s, m->head, sizeof m->head);
    snapshot_append(s, m->weight_gradient, sizeof m->weight_gradient);
    snapshot_append(s, m->bias_gradient, sizeof m->bias_gradient);
    snapshot_append(s, m->head_gradient, sizeof m->head_gradient);
    for (int64_t k = 0; k < COUNT(keys); ++k) {
        double value = 0;
        SUCCEEDS(lw_optimizer_get(m->optimizer, keys[k], &value, error));
        snapshot_append(s, &value, sizeof value);
    }
    for (int64_t k = 0; k < COUNT(choices); ++k) {
        SUCCEEDS(lw_optimizer_get_choice(m->optimizer, choices[k], &choice, error));
        snapshot_append(s, choice, strlen(choice));
    }
    SUCCEEDS(lw_optimizer_explain_json(m->optimizer, -1, text, sizeof text, NULL, error));
    snapshot_append(s, text, strlen(text));
    SUCCEEDS(lw_optimizer_get_summary(m->optimizer, &summary, error));
    snapshot_append(s, &summary, sizeof summary);
    SUCCEEDS(lw_optimizer_layer_count(m->optimizer, &layers, error));
    snapshot_append(s, &layers, sizeof layers);
    for (int64_t layer = 0; layer < layers; ++layer) {
        snapshot_layer(s, m, layer);
    }
}

/* ---- Refusals ------------------------------------------------------------------------------------------------ */

/** The call is refused with the code, says why in one line, and changes nothing; without an lw_error likewise.
 *  The call says `error` where it passes one. */
#define REFUSED(m, expected, call)                                                                                     \
    do {                                                                                                               \
        lw_error told = LW_ERROR_INIT;                                                                                 \
        lw_error *error = &told;                                                                                       \
        snapshot before;                                                                                               \
        snapshot_take(&before, m);                                                                                     \
        memset(told.message, '#', sizeof told.message);                                                                \
        check_refusal((expected), (call), &told, #call, __FILE__, __LINE__);                                           \
        check_unchanged(&before, m, #call, __FILE__, __LINE__);                                                        \
        error = NULL;                                                                                                  \
        check_refusal((expected), (call), NULL, #call, __FILE__, __LINE__);                                            \
        check_unchanged(&before, m, #call, __FILE__, __LINE__);                                                        \
    } while (0)

/** Whether the text is UTF-8: no stray, missing or overlong bytes, no surrogates. */
static inline int is_utf8(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (*p != 0) {
        int following = *p < 0x80 ? 0 : (*p >> 5) == 0x06 ? 1 : (*p >> 4) == 0x0E ? 2 : (*p >> 3) == 0x1E ? 3 : -1;
        uint32_t scalar = following == 0 ? *p : *p & (0x3Fu >> following);
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (following < 0) {
            return 0;
        }
        ++p;
        for (int i = 0; i < following; ++i, ++p) {
            if ((*p >> 6) != 0x02) {
                return 0;
            }
            scalar = scalar << 6 | (*p & 0x3Fu);
        }
        if (scalar < least[following] || scalar > 0x10FFFF || (scalar >= 0xD800 && scalar <= 0xDFFF)) {
            return 0;
        }
    }
    return 1;
}

static inline void check_refusal(int32_t expected, int32_t code, const lw_error *told, const char *call,
                                 const char *file, int line)
{
    count_check();
    if (code != expected) {
        char detail[LW_ERROR_MESSAGE_SIZE + 128];
        snprintf(detail, sizeof detail, "%s, expected %s; message: %s", lw_error_name(code), lw_error_name(expected),
                 code != LW_OK && told != NULL ? told->message : "none");
        check_failed(call, detail, file, line);
    }
    if (told != NULL) {
        count_check();
        if (told->struct_size != sizeof(lw_error) || told->code != code || told->layer < -1 || told->tensor < -1
            || told->element < -1) {
            check_failed(call, "lw_error is not filled", file, line);
        }
        if (memchr(told->message, 0, sizeof told->message) == NULL || told->message[0] == '\0'
            || strpbrk(told->message, "\r\n") != NULL || !is_utf8(told->message)) {
            check_failed(call, "the message is not one line of UTF-8", file, line);
        }
    }
}

static inline void check_unchanged(const snapshot *before, const model *m, const char *call, const char *file, int line)
{
    snapshot after;
    snapshot_take(&after, m);
    if (before->size != after.size || memcmp(before->bytes, after.bytes, after.size) != 0) {
        check_failed(call, "the refused call changed something", file, line);
    }
}

#endif
