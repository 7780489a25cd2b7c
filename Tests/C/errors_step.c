/* Every misuse of a step, of what is read after it and of state is refused and changes nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model.h"

#include <math.h>

static const int64_t no_layer[] = {-1, 2, 1000, INT64_MIN, INT64_MAX};

static int32_t step_with(const model *m, lw_step step, lw_error *error)
{
    return lw_optimizer_step(m->optimizer, &step, error);
}

static void refuse_steps(const model *m)
{
    static const uint32_t sizes[] = {0, 4, (uint32_t)sizeof(lw_step) - 8, (uint32_t)sizeof(lw_step) + 8, UINT32_MAX};
    static const double scales[] = {0, -1, NAN, INFINITY, -INFINITY};
    static const int64_t layers[] = {-2, 2, INT64_MIN, INT64_MAX};
    lw_step step = LW_STEP_INIT;
    for (int64_t i = 0; i < COUNT(sizes); ++i) {
        step.struct_size = sizes[i];
        REFUSED(m, LW_ERROR_STRUCT_SIZE, step_with(m, step, error));
    }
    step.struct_size = (uint32_t)sizeof step;
    step.reserved = 1;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, step_with(m, step, error));
    step.reserved = 0;
    for (int64_t i = 0; i < COUNT(scales); ++i) {
        step.gradient_scale = scales[i];
        REFUSED(m, LW_ERROR_OUT_OF_RANGE, step_with(m, step, error));
    }
    step.gradient_scale = 1;
    for (int64_t i = 0; i < COUNT(layers); ++i) {
        step.layer = layers[i];
        REFUSED(m, LW_ERROR_NOT_FOUND, step_with(m, step, error));
    }
}

static void refuse_gradients(const model *m)
{
    static float other[7];
    static const int64_t counts[] = {0, 2, 4, INT64_C(1) << 62};
    const void *gradients[] = {m->weight_gradient, m->bias_gradient, m->head_gradient, NULL};
    lw_step step = LW_STEP_INIT;
    step.gradients = gradients;
    for (int64_t i = 0; i < COUNT(counts); ++i) {
        step.gradient_count = counts[i];
        REFUSED(m, LW_ERROR_SHAPE, step_with(m, step, error));
    }
    step.gradient_count = -1;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, step_with(m, step, error));
    step.layer = 0; /* two tensors, not three */
    step.gradient_count = MODEL_TENSORS;
    REFUSED(m, LW_ERROR_SHAPE, step_with(m, step, error));
    step.layer = -1;
    step.gradients = NULL;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, step_with(m, step, error));

    step.gradients = gradients;
    gradients[0] = (const unsigned char *)other + 2;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, step_with(m, step, error));
    gradients[0] = m->weight;
    REFUSED(m, LW_ERROR_OVERLAP, step_with(m, step, error));
    gradients[0] = m->weight + 5;
    REFUSED(m, LW_ERROR_OVERLAP, step_with(m, step, error));
    gradients[0] = m->bias;
    REFUSED(m, LW_ERROR_OVERLAP, step_with(m, step, error));
    gradients[0] = (const void *)(UINTPTR_MAX - 15);
    REFUSED(m, LW_ERROR_OVERLAP, step_with(m, step, error));
}

/** Sets one gradient element to a value, expects the step to be refused at that place, and restores it. */
static void refuse_element(const model *m, float *element, float value, int64_t layer, int64_t tensor, int64_t index)
{
    const float saved = *element;
    lw_error where = LW_ERROR_INIT;
    lw_telemetry telemetry = LW_TELEMETRY_INIT;
    *element = value;
    REFUSED(m, LW_ERROR_NONFINITE, lw_optimizer_step(m->optimizer, NULL, error));
    CHECK(lw_optimizer_step(m->optimizer, NULL, &where) == LW_ERROR_NONFINITE);
    CHECK(where.layer == layer && where.tensor == tensor && where.element == index);
    CHECK(strstr(where.message, "body") != NULL);
    SUCCEEDS(lw_layer_get_telemetry(m->optimizer, layer, &telemetry, error));
    CHECK(telemetry.nonfinite_count == 1);
    *element = saved;
}

static void refuse_nonfinite(model *m)
{
    const void *given[MODEL_TENSORS];
    double bad[4] = {0, 0, 0, NAN};
    lw_step step = LW_STEP_INIT;
    refuse_element(m, &m->weight_gradient[0], NAN, 0, 0, 0);
    refuse_element(m, &m->weight_gradient[5], INFINITY, 0, 0, 5);
    refuse_element(m, &m->bias_gradient[2], -INFINITY, 0, 1, 2);
    given[0] = m->weight_gradient;
    given[1] = m->bias_gradient;
    given[2] = bad;
    step.gradients = given;
    step.gradient_count = MODEL_TENSORS;
    REFUSED(m, LW_ERROR_NONFINITE, step_with(m, step, error));
}

/** Functions of one layer do not find a wrong index; those of one tensor neither. */
static void refuse_indexes(const model *m)
{
    lw_optimizer *const o = m->optimizer;
    const lw_setting setting = {"lr", 1, NULL};
    char text[256];
    for (int64_t i = 0; i < COUNT(no_layer); ++i) {
        const int64_t wrong = no_layer[i];
        double number = 0;
        int64_t count = 0;
        const char *choice = NULL;
        lw_telemetry telemetry = LW_TELEMETRY_INIT;
        lw_layer_info info = LW_LAYER_INFO_INIT;
        lw_state_info state = LW_STATE_INFO_INIT;
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_set(o, wrong, &setting, 1, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_unset(o, wrong, "lr", error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_get(o, wrong, "lr", &number, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_get_choice(o, wrong, "norm", &choice, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_freeze(o, wrong, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_unfreeze(o, wrong, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_get_telemetry(o, wrong, &telemetry, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_get_info(o, wrong, &info, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_get_name(o, wrong, text, sizeof text, NULL, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_state_count(o, wrong, 0, &count, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_state_count(o, 0, wrong, &count, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_get_state_info(o, wrong, 0, 0, &state, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_get_state_info(o, 0, wrong, 0, &state, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_read_state(o, wrong, 0, "step", &count, 8, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_read_state(o, 0, wrong, "step", &count, 8, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_write_state(o, wrong, 0, "step", &count, 8, error));
        REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_write_state(o, 0, wrong, "step", &count, 8, error));
    }
}

static void refuse_reports(const model *m)
{
    lw_optimizer *const o = m->optimizer;
    lw_summary summary = LW_SUMMARY_INIT;
    lw_telemetry rows[] = {LW_TELEMETRY_INIT, LW_TELEMETRY_INIT, LW_TELEMETRY_INIT};
    lw_layer_info info = LW_LAYER_INFO_INIT;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_layer_count(o, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_summary(o, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_get_telemetry(o, 0, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_get_info(o, 0, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_telemetry(o, NULL, 2, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_get_telemetry(o, rows, 1, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_get_telemetry(o, rows, 3, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_get_telemetry(o, rows, -1, error));
    rows[1].struct_size = 8;
    REFUSED(m, LW_ERROR_STRUCT_SIZE, lw_optimizer_get_telemetry(o, rows, 2, error));
    CHECK(rows[0].effective_lr == 0);
    REFUSED(m, LW_ERROR_STRUCT_SIZE, lw_layer_get_telemetry(o, 0, &rows[1], error));
    summary.struct_size = 0;
    REFUSED(m, LW_ERROR_STRUCT_SIZE, lw_optimizer_get_summary(o, &summary, error));
    info.struct_size += 8;
    REFUSED(m, LW_ERROR_STRUCT_SIZE, lw_layer_get_info(o, 0, &info, error));
}

static void refuse_texts(const model *m)
{
    lw_optimizer *const o = m->optimizer;
    char text[4096];
    int64_t needed = 0;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_get_name(o, 0, NULL, 8, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_get_name(o, 0, text, -1, NULL, error));
    memset(text, '#', sizeof text);
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_layer_get_name(o, 0, text, 4, &needed, error));
    CHECK(needed == 5 && text[4] == '#');
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_layer_get_name(o, 0, NULL, 0, &needed, error));
    SUCCEEDS(lw_layer_get_name(o, 0, text, 5, &needed, error));
    CHECK(strcmp(text, "body") == 0 && text[5] == '#');

    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_explain(o, -1, NULL, 8, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_explain(o, -1, text, INT64_MIN, NULL, error));
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_optimizer_explain(o, -1, text, 10, &needed, error));
    CHECK(needed > 10 && needed <= (int64_t)sizeof text);
    SUCCEEDS(lw_optimizer_explain(o, -1, text, needed, NULL, error));
    CHECK((int64_t)strlen(text) == needed - 1);
    CHECK(strstr(text, "body") != NULL && strstr(text, "head") != NULL);
}

static void refuse_states(const model *m)
{
    lw_optimizer *const o = m->optimizer;
    static const int64_t sizes[] = {-1, 0, 1, 20, 23, 25, 28, 48, INT64_MIN, INT64_MAX};
    float moments[12] = {0};
    int64_t count = 0, negative = -1, least = INT64_MIN;
    lw_state_info state = LW_STATE_INFO_INIT;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_tensor_state_count(o, 0, 0, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_tensor_get_state_info(o, 0, 0, 0, NULL, error));
    SUCCEEDS(lw_tensor_state_count(o, 0, 0, &count, error));
    CHECK(count == 3); /* step, exp_avg, exp_avg_sq */
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_get_state_info(o, 0, 0, -1, &state, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_get_state_info(o, 0, 0, count, &state, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_get_state_info(o, 0, 0, INT64_MAX, &state, error));
    state.struct_size = 0;
    REFUSED(m, LW_ERROR_STRUCT_SIZE, lw_tensor_get_state_info(o, 0, 0, 0, &state, error));

    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_tensor_read_state(o, 0, 0, NULL, moments, 24, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_tensor_read_state(o, 0, 0, "exp_avg", NULL, 24, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_tensor_read_state(o, 0, 0, "momentum_buffer", moments, 24, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_tensor_read_state(o, 0, 0, "max_exp_avg_sq", moments, 24, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_tensor_read_state(o, 0, 0, "master", moments, 24, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_tensor_write_state(o, 0, 0, NULL, moments, 24, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_tensor_write_state(o, 0, 0, "exp_avg", NULL, 24, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_tensor_write_state(o, 0, 0, "", moments, 24, error));
    for (int64_t i = 0; i < COUNT(sizes); ++i) {
        const int32_t code = sizes[i] < 0 ? LW_ERROR_INVALID_ARGUMENT : LW_ERROR_SHAPE;
        REFUSED(m, code, lw_tensor_read_state(o, 0, 0, "exp_avg", moments, sizes[i], error));
        REFUSED(m, code, lw_tensor_write_state(o, 0, 0, "exp_avg", moments, sizes[i], error));
        REFUSED(m, code, lw_tensor_write_state(o, 0, 0, "step", moments, sizes[i], error));
    }
    for (int64_t i = 0; i < COUNT(moments); ++i) {
        CHECK(moments[i] == 0);
    }
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_tensor_write_state(o, 0, 0, "step", &negative, 8, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_tensor_write_state(o, 0, 0, "step", &least, 8, error));
}

int main(void)
{
    model m;
    model_create(&m);
    refuse_steps(&m);
    refuse_gradients(&m);
    refuse_nonfinite(&m);
    refuse_indexes(&m);
    refuse_reports(&m);
    refuse_texts(&m);
    refuse_states(&m);
    model_destroy(&m);
    return report();
}
