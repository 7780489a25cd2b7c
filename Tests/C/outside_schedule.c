/* What an outside schedule and an adapter need: all rates in one call, values of several layers, the address of a state,
 * step counts, sums over processes; and every misuse of them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model.h"

#include <math.h>

static double effective_rate(const model *m, int64_t layer)
{
    lw_layer_info info = LW_LAYER_INFO_INIT;
    SUCCEEDS(lw_layer_get_info(m->optimizer, layer, &info, error));
    return info.effective_lr;
}

static void rates(const model *m)
{
    double values[] = {0.25, 0.125, 0.5};
    SUCCEEDS(lw_optimizer_set_rates(m->optimizer, values, 2, error));
    CHECK(effective_rate(m, 0) == 0.25 && effective_rate(m, 1) == 0.125);
    values[0] = NAN;
    SUCCEEDS(lw_optimizer_set_rates(m->optimizer, values, 2, error));
    CHECK(effective_rate(m, 0) == 0.01 && effective_rate(m, 1) == 0.125);

    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_set_rates(m->optimizer, values, 3, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_set_rates(m->optimizer, NULL, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_rates(m->optimizer, NULL, 2, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_rates(m->optimizer, values, -1, error));
    values[1] = -0.5;
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_set_rates(m->optimizer, values, 2, error));
    values[1] = INFINITY;
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_set_rates(m->optimizer, values, 2, error));
}

static void several_layers(const model *m)
{
    static const int64_t layers[] = {1, 0, 0}, unknown[] = {1, 2, 0};
    lw_setting settings[] = {{"scale", 2, NULL}, {"weight_decay", 0.75, NULL}, {"beta1", 0.5, NULL}};
    double value = 0;
    SUCCEEDS(lw_optimizer_set_layers(m->optimizer, layers, settings, 3, error));
    SUCCEEDS(lw_layer_get(m->optimizer, 1, "scale", &value, error));
    CHECK(value == 2);
    SUCCEEDS(lw_layer_get(m->optimizer, 0, "beta1", &value, error));
    CHECK(value == 0.5);
    SUCCEEDS(lw_optimizer_set_layers(m->optimizer, NULL, NULL, 0, error));

    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_set_layers(m->optimizer, unknown, settings, 3, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_layers(m->optimizer, NULL, settings, 3, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_layers(m->optimizer, layers, NULL, 3, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_layers(m->optimizer, layers, settings, -1, error));
    settings[2].key = "weight_decay";
    REFUSED(m, LW_ERROR_DUPLICATE, lw_optimizer_set_layers(m->optimizer, layers, settings, 3, error));
    settings[2].key = "no such key";
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_set_layers(m->optimizer, layers, settings, 3, error));
    settings[2].key = "beta1";
    settings[2].number = 1;
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_set_layers(m->optimizer, layers, settings, 3, error));
}

static void state_addresses(const model *m)
{
    void *address = NULL, *again = NULL;
    float copy[6];
    SUCCEEDS(lw_tensor_get_state_address(m->optimizer, 0, 0, "exp_avg", &address, error));
    SUCCEEDS(lw_optimizer_step(m->optimizer, NULL, error));
    SUCCEEDS(lw_tensor_get_state_address(m->optimizer, 0, 0, "exp_avg", &again, error));
    CHECK(address == again);
    SUCCEEDS(lw_tensor_read_state(m->optimizer, 0, 0, "exp_avg", copy, sizeof copy, error));
    CHECK(memcmp(address, copy, sizeof copy) == 0);

    REFUSED(m, LW_ERROR_INVALID_ARGUMENT,
            lw_tensor_get_state_address(m->optimizer, 0, 0, "step", &address, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_tensor_get_state_address(m->optimizer, 0, 0, "velocity", &address, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_tensor_get_state_address(m->optimizer, 0, 0, NULL, &address, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_tensor_get_state_address(m->optimizer, 0, 0, "exp_avg", NULL, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_get_state_address(m->optimizer, 2, 0, "step", &address, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_tensor_get_state_address(m->optimizer, 0, -1, "exp_avg", &address, error));
}

static void step_counts(const model *m)
{
    int64_t counts[MODEL_TENSORS + 1] = {-1, -1, -1, -1};
    lw_step step = LW_STEP_INIT;
    step.layer = 1;
    SUCCEEDS(lw_optimizer_step(m->optimizer, &step, error));
    SUCCEEDS(lw_optimizer_get_step_counts(m->optimizer, counts, MODEL_TENSORS, error));
    CHECK(counts[0] == 3 && counts[1] == 3 && counts[2] == 4 && counts[3] == -1);
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_get_step_counts(m->optimizer, counts, MODEL_TENSORS + 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_step_counts(m->optimizer, NULL, MODEL_TENSORS, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_step_counts(m->optimizer, counts, -1, error));
}

typedef struct sums {
    lw_optimizer *optimizer;
    int64_t calls, count;
    int32_t answer;
    int32_t code_inside;
} sums;

/** As if two processes held the same parts: all sums double. */
static int32_t twice(double *values, int64_t count, void *context)
{
    sums *s = (sums *)context;
    lw_summary summary = LW_SUMMARY_INIT;
    s->calls += 1;
    s->count = count;
    s->code_inside = lw_optimizer_get_summary(s->optimizer, &summary, NULL);
    for (int64_t i = 0; i < count; ++i) {
        values[i] *= 2;
    }
    return s->answer;
}

static void sums_over_processes(const model *m)
{
    sums s = {m->optimizer, 0, 0, 0, 0};
    lw_step step = LW_STEP_INIT;
    lw_summary alone = LW_SUMMARY_INIT, both = LW_SUMMARY_INIT;
    SUCCEEDS(lw_optimizer_step(m->optimizer, NULL, error));
    SUCCEEDS(lw_optimizer_get_summary(m->optimizer, &alone, error));
    step.reduce = twice;
    step.reduce_context = &s;
    SUCCEEDS(lw_optimizer_step(m->optimizer, &step, error));
    SUCCEEDS(lw_optimizer_get_summary(m->optimizer, &both, error));
    /* One call for the gradients, one for the telemetry: four numbers a layer. */
    CHECK(s.calls == 2 && s.count == 4 * MODEL_LAYERS);
    CHECK(s.code_inside == LW_ERROR_BUSY);
    CHECK(fabs(both.gradient_norm / alone.gradient_norm - sqrt(2.0)) < 1e-12);
    s.answer = 7;
    REFUSED(m, LW_ERROR_REDUCE, lw_optimizer_step(m->optimizer, &step, error));
}

int main(void)
{
    model m;
    model_create(&m);
    state_addresses(&m);
    step_counts(&m);
    sums_over_processes(&m);
    rates(&m);
    several_layers(&m);
    model_destroy(&m);
    return report();
}
