/* Schedules, freezing plans and previews through C: what they do to the steps, against plain loops.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

enum { LAYERS = 4, COUNT_OF_EACH = 5, STEPS = 24, STAGE = 5 };

static const char *const names[LAYERS] = {"stem", "low", "high", "head"};

/** SGD in float64 over four layers, whose gradients are 1: each step takes the rate off every weight. */
typedef struct ramp {
    lw_optimizer *optimizer;
    double weights[LAYERS][COUNT_OF_EACH];
    double gradients[LAYERS][COUNT_OF_EACH];
} ramp;

/** A linear warm-up of 4 steps, then a cosine over 16 to a tenth of each layer's rate. */
static void schedule_of(lw_spec *specs)
{
    static const lw_setting warmup[] = {{"steps", 4, NULL}, {"start", 0.25, NULL}};
    static const lw_setting cosine[] = {{"total_steps", 16, NULL}, {"min_factor", 0.1, NULL}};
    specs[0] = spec("warmup", warmup, COUNT(warmup));
    specs[0].part_count = 1;
    specs[1] = spec("cosine", cosine, COUNT(cosine));
}

static double factor_at(int t)
{
    const double pi = 3.14159265358979323846;
    double p = fmin(1, (t - 4) / 16.0);
    return t < 4 ? 0.25 + 0.75 * t / 4 : 0.1 + 0.9 * 0.5 * (1 + cos(pi * p));
}

static double rate_at(int layer, int t)
{
    int thaw = (LAYERS - 1 - layer) * STAGE;
    return t < thaw ? 0 : 0.5 * pow(0.5, LAYERS - 1 - layer) * factor_at(t);
}

static void ramp_create(ramp *r)
{
    static const int64_t extent[] = {COUNT_OF_EACH};
    const lw_setting settings[] = {{"lr", 0.5, NULL}, {"telemetry", 1, NULL}};
    const lw_setting half = {"decay", 0.5, NULL}, every = {"every", STAGE, NULL};
    const lw_spec policy = spec("layer_decay", &half, 1), plan = spec("gradual_unfreezing", &every, 1);
    lw_spec schedule[2];
    schedule_of(schedule);
    SUCCEEDS(lw_optimizer_create(&r->optimizer, "sgd", settings, COUNT(settings), error));
    SUCCEEDS(lw_optimizer_set_policy(r->optimizer, &policy, 1, error));
    SUCCEEDS(lw_optimizer_set_schedule(r->optimizer, -1, "lr", schedule, 2, error));
    SUCCEEDS(lw_optimizer_set_freeze_plan(r->optimizer, &plan, 1, error));
    for (int layer = 0; layer < LAYERS; ++layer) {
        lw_tensor tensor = LW_TENSOR_INIT;
        for (int i = 0; i < COUNT_OF_EACH; ++i) {
            r->weights[layer][i] = i;
            r->gradients[layer][i] = 1;
        }
        tensor.name = "weight";
        tensor.dtype = LW_FLOAT64;
        tensor.rank = 1;
        tensor.shape = extent;
        tensor.parameters = r->weights[layer];
        tensor.gradients = r->gradients[layer];
        SUCCEEDS(lw_optimizer_add_layer(r->optimizer, names[layer], &tensor, 1, NULL, 0, NULL, error));
    }
}

static void ramp_destroy(ramp *r) { SUCCEEDS(lw_optimizer_destroy(r->optimizer, error)); }

static void check_info(const ramp *r, int layer, int t)
{
    static const char *const roles[LAYERS] = {"stem", "block", "block", "head"};
    lw_layer_info info = LW_LAYER_INFO_INIT;
    int thaw = (LAYERS - 1 - layer) * STAGE;
    SUCCEEDS(lw_layer_get_info(r->optimizer, layer, &info, error));
    CHECK(strcmp(info.role, roles[layer]) == 0 && info.depth == layer);
    CHECK(info.frozen == (t < thaw) && strcmp(info.frozen_by, t < thaw ? "plan" : "") == 0);
    CHECK(info.changes_at == (t < thaw ? thaw : -1));
    CHECK(fabs(info.schedule_factor - factor_at(t)) < 1e-14);
    CHECK(fabs(info.effective_lr - rate_at(layer, t)) < 1e-14);
    CHECK(info.steps == (t < thaw ? 0 : t - thaw));
}

static void follow(void)
{
    ramp r;
    double rates[LAYERS * STEPS], alone[STEPS];
    lw_spec schedule[2];
    ramp_create(&r);
    SUCCEEDS(lw_optimizer_preview(r.optimizer, -1, STEPS, 1, rates, COUNT(rates), error));
    schedule_of(schedule);
    SUCCEEDS(lw_schedule_evaluate(schedule, 2, 0.5, 0, STEPS, 1, alone, error));
    for (int t = 0; t < STEPS; ++t) {
        lw_summary summary = LW_SUMMARY_INIT;
        lw_telemetry rows[LAYERS] = {LW_TELEMETRY_INIT, LW_TELEMETRY_INIT, LW_TELEMETRY_INIT, LW_TELEMETRY_INIT};
        double before[LAYERS];
        SUCCEEDS(lw_optimizer_get_summary(r.optimizer, &summary, error));
        CHECK(summary.next_step == t);
        CHECK(fabs(alone[t] - 0.5 * factor_at(t)) < 1e-15 && alone[t] == rates[(LAYERS - 1) * STEPS + t]);
        for (int layer = 0; layer < LAYERS; ++layer) {
            check_info(&r, layer, t);
            before[layer] = r.weights[layer][1];
        }
        SUCCEEDS(lw_optimizer_step(r.optimizer, NULL, error));
        SUCCEEDS(lw_optimizer_get_telemetry(r.optimizer, rows, LAYERS, error));
        for (int layer = 0; layer < LAYERS; ++layer) {
            double rate = rates[layer * STEPS + t];
            CHECK(fabs(rate - rate_at(layer, t)) < 1e-15);
            CHECK(r.weights[layer][1] == before[layer] - rate);
            CHECK(rate == 0 || rows[layer].effective_lr == rate);
        }
    }
    ramp_destroy(&r);
}

/** Saved after `saved` steps and resumed elsewhere, a run ends with the same weights. */
static void resume(int saved)
{
    ramp whole, first, second;
    ramp_create(&whole);
    ramp_create(&first);
    ramp_create(&second);
    for (int t = 0; t < STEPS; ++t) {
        SUCCEEDS(lw_optimizer_step(whole.optimizer, NULL, error));
        SUCCEEDS(lw_optimizer_step((t < saved ? first : second).optimizer, NULL, error));
        if (t + 1 == saved) {
            memcpy(second.weights, first.weights, sizeof first.weights);
            SUCCEEDS(lw_optimizer_seek(second.optimizer, saved, error));
        }
    }
    CHECK(memcmp(second.weights, whole.weights, sizeof whole.weights) == 0);
    ramp_destroy(&whole);
    ramp_destroy(&first);
    ramp_destroy(&second);
}

/** The plan is overruled by hand, and then asked again. */
static void overrule(void)
{
    ramp r;
    const lw_setting plan = {"frozen", 0, "plan"};
    const char *choice = NULL;
    lw_layer_info info = LW_LAYER_INFO_INIT;
    ramp_create(&r);
    SUCCEEDS(lw_layer_unfreeze(r.optimizer, 0, error));
    SUCCEEDS(lw_layer_freeze(r.optimizer, 3, error));
    SUCCEEDS(lw_optimizer_step(r.optimizer, NULL, error));
    CHECK(r.weights[0][0] < 0 && r.weights[1][0] == 0 && r.weights[3][0] == 0);
    SUCCEEDS(lw_layer_get_info(r.optimizer, 3, &info, error));
    CHECK(strcmp(info.frozen_by, "layer") == 0 && info.changes_at == -1 && info.effective_lr == 0);
    SUCCEEDS(lw_layer_get_choice(r.optimizer, 3, "frozen", &choice, error));
    CHECK(strcmp(choice, "yes") == 0);
    SUCCEEDS(lw_layer_set(r.optimizer, 0, &plan, 1, error));
    SUCCEEDS(lw_layer_unset(r.optimizer, 3, "frozen", error));
    double kept = r.weights[0][0];
    SUCCEEDS(lw_optimizer_step(r.optimizer, NULL, error));
    CHECK(r.weights[0][0] == kept && r.weights[3][0] < 0);
    SUCCEEDS(lw_optimizer_set_freeze_plan(r.optimizer, NULL, 0, error));
    SUCCEEDS(lw_optimizer_step(r.optimizer, NULL, error));
    CHECK(r.weights[0][0] < kept && r.weights[1][0] < 0);
    ramp_destroy(&r);
}

/** A schedule of its own for one layer, and one for another number of the rule. */
static void apart(void)
{
    ramp r;
    const lw_setting lower = {"factor", 0.125, NULL}, decay = {"weight_decay", 0.5, NULL};
    const lw_spec constant = spec("constant", &lower, 1);
    const double weight = 4;
    ramp_create(&r);
    SUCCEEDS(lw_optimizer_set_freeze_plan(r.optimizer, NULL, 0, error));
    SUCCEEDS(lw_optimizer_set(r.optimizer, &decay, 1, error));
    SUCCEEDS(lw_optimizer_set_schedule(r.optimizer, 2, "lr", &constant, 1, error));
    SUCCEEDS(lw_optimizer_set_schedule(r.optimizer, -1, "weight_decay", &constant, 1, error));
    SUCCEEDS(lw_optimizer_step(r.optimizer, NULL, error));
    CHECK(r.weights[2][4] == weight - 0.25 * 0.125 * (1 + 0.5 * 0.125 * weight));
    CHECK(fabs(r.weights[3][4] - (weight - 0.5 * 0.25 * (1 + 0.5 * 0.125 * weight))) < 1e-15);
    ramp_destroy(&r);
}

/** A layer that was reset has the state that it had before its first step. */
static void forget(void)
{
    float weights[2][3] = {{1, 2, 3}, {1, 2, 3}}, gradients[3] = {0.5f, -1, 2};
    static const int64_t three[] = {3};
    const char *const layers[] = {"first", "second"};
    lw_optimizer *optimizer = NULL;
    lw_step step = LW_STEP_INIT;
    SUCCEEDS(lw_optimizer_create(&optimizer, "adam", NULL, 0, error));
    for (int layer = 0; layer < 2; ++layer) {
        lw_tensor tensor = LW_TENSOR_INIT;
        tensor.name = "weight";
        tensor.rank = 1;
        tensor.shape = three;
        tensor.parameters = weights[layer];
        tensor.gradients = gradients;
        SUCCEEDS(lw_optimizer_add_layer(optimizer, layers[layer], &tensor, 1, NULL, 0, NULL, error));
    }
    step.layer = 0;
    for (int i = 0; i < 7; ++i) {
        SUCCEEDS(lw_optimizer_step(optimizer, &step, error));
    }
    SUCCEEDS(lw_layer_reset(optimizer, 0, error));
    memcpy(weights[0], weights[1], sizeof weights[0]);
    for (int i = 0; i < 3; ++i) {
        SUCCEEDS(lw_optimizer_step(optimizer, NULL, error));
    }
    CHECK(memcmp(weights[0], weights[1], sizeof weights[0]) == 0);
    SUCCEEDS(lw_optimizer_destroy(optimizer, error));
}

/** Layers without memory: nothing can be stepped, and all that would happen can be seen. */
static void dry_run(void)
{
    static const int64_t wide[] = {INT64_C(1) << 20, INT64_C(1) << 10};
    const lw_setting settings[] = {{"dry_run", 1, NULL}, {"lr", 0.5, NULL}};
    lw_optimizer *optimizer = NULL;
    lw_layer_info info = LW_LAYER_INFO_INIT;
    char text[4096];
    double rates[STEPS];
    lw_tensor tensor = LW_TENSOR_INIT;
    lw_spec schedule[2];
    schedule_of(schedule);
    tensor.name = "weight";
    tensor.rank = 2;
    tensor.shape = wide;
    SUCCEEDS(lw_optimizer_create(&optimizer, "lamb", settings, COUNT(settings), error));
    SUCCEEDS(lw_optimizer_set_schedule(optimizer, -1, "lr", schedule, 2, error));
    SUCCEEDS(lw_optimizer_add_layer(optimizer, "wide", &tensor, 1, NULL, 0, NULL, error));
    CHECK(lw_optimizer_step(optimizer, NULL, NULL) == LW_ERROR_INVALID_ARGUMENT);
    SUCCEEDS(lw_layer_get_info(optimizer, 0, &info, error));
    CHECK(info.parameter_count == wide[0] * wide[1] && info.steps == 0);
    SUCCEEDS(lw_optimizer_explain(optimizer, 3, text, sizeof text, NULL, error));
    SUCCEEDS(lw_optimizer_preview(optimizer, -1, STEPS, 1, rates, STEPS, error));
    for (int t = 0; t < STEPS; ++t) {
        CHECK(fabs(rates[t] - 0.5 * factor_at(t)) < 1e-15);
    }
    SUCCEEDS(lw_optimizer_destroy(optimizer, error));
}

int main(void)
{
    follow();
    for (int saved = 0; saved <= STEPS; saved += 3) {
        resume(saved);
    }
    overrule();
    apart();
    forget();
    dry_run();
    return report();
}
