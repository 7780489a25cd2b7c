/* Every function that takes an optimizer, each with good arguments for the model of model.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CALLS_H
#define CALLS_H

#include "model.h"

#include <layerwise_experimental.h>

typedef struct call {
    const char *name;
    int32_t (*make)(lw_optimizer *optimizer, lw_error *error);
} call;

static const lw_setting call_setting = {"eps", 1e-8, NULL};

static inline int32_t call_set(lw_optimizer *o, lw_error *e) { return lw_optimizer_set(o, &call_setting, 1, e); }

static inline int32_t call_get(lw_optimizer *o, lw_error *e)
{
    double number;
    return lw_optimizer_get(o, "lr", &number, e);
}

static inline int32_t call_get_choice(lw_optimizer *o, lw_error *e)
{
    const char *choice;
    return lw_optimizer_get_choice(o, "nonfinite", &choice, e);
}

static inline int32_t call_set_policy(lw_optimizer *o, lw_error *e)
{
    const lw_spec policy = spec("uniform", NULL, 0);
    return lw_optimizer_set_policy(o, &policy, 1, e);
}

static inline int32_t call_set_schedule(lw_optimizer *o, lw_error *e)
{
    const lw_spec schedule = spec("constant", NULL, 0);
    return lw_optimizer_set_schedule(o, -1, "lr", &schedule, 1, e);
}

static inline int32_t call_set_freeze_plan(lw_optimizer *o, lw_error *e)
{
    return lw_optimizer_set_freeze_plan(o, NULL, 0, e);
}

/** Sets the schedule that takes the metric first. */
static inline int32_t call_report(lw_optimizer *o, lw_error *e)
{
    const lw_spec schedule = spec("reduce_on_plateau", NULL, 0);
    int32_t code = lw_optimizer_set_schedule(o, -1, "eps", &schedule, 1, e);
    return code == LW_OK ? lw_optimizer_report(o, 1, e) : code;
}

/** Of the schedule that call_report sets. */
static inline int32_t call_get_schedule_state(lw_optimizer *o, lw_error *e)
{
    double values[8];
    return lw_optimizer_get_schedule_state(o, -1, "eps", values, COUNT(values), NULL, e);
}

static inline int32_t call_set_schedule_state(lw_optimizer *o, lw_error *e)
{
    static const double values[] = {1, 2, 0, 0};
    return lw_optimizer_set_schedule_state(o, -1, "eps", values, COUNT(values), e);
}

static inline int32_t call_seek(lw_optimizer *o, lw_error *e) { return lw_optimizer_seek(o, 3, e); }

static inline int32_t call_set_mode(lw_optimizer *o, lw_error *e)
{
    return lw_optimizer_set_mode(o, LW_MODE_TRAINING, e);
}

static inline int32_t call_assume_mode(lw_optimizer *o, lw_error *e)
{
    return lw_optimizer_assume_mode(o, LW_MODE_TRAINING, e);
}

static inline int32_t call_get_run_state(lw_optimizer *o, lw_error *e)
{
    char text[1024];
    return lw_optimizer_get_run_state(o, text, sizeof text, NULL, e);
}

static inline int32_t call_set_run_state(lw_optimizer *o, lw_error *e)
{
    return lw_optimizer_set_run_state(o, "{}", 2, 0, 3, NULL, e);
}

static inline int32_t call_get_mode(lw_optimizer *o, lw_error *e)
{
    int32_t mode;
    return lw_optimizer_get_mode(o, &mode, e);
}

static inline int32_t call_add_layer(lw_optimizer *o, lw_error *e)
{
    static float parameters[1];
    static const int64_t one[] = {1};
    const lw_tensor tensor = vector("weight", LW_FLOAT32, parameters, NULL, one);
    return lw_optimizer_add_layer(o, "new", &tensor, 1, NULL, 0, NULL, e);
}

static inline int32_t call_layer_count(lw_optimizer *o, lw_error *e)
{
    int64_t count;
    return lw_optimizer_layer_count(o, &count, e);
}

static inline int32_t call_find_layer(lw_optimizer *o, lw_error *e)
{
    int64_t layer;
    return lw_optimizer_find_layer(o, "body", &layer, e);
}

static inline int32_t call_layer_set(lw_optimizer *o, lw_error *e) { return lw_layer_set(o, 0, &call_setting, 1, e); }

static inline int32_t call_layer_unset(lw_optimizer *o, lw_error *e) { return lw_layer_unset(o, 0, "eps", e); }

static inline int32_t call_layer_get(lw_optimizer *o, lw_error *e)
{
    double number;
    return lw_layer_get(o, 0, "lr", &number, e);
}

static inline int32_t call_layer_get_choice(lw_optimizer *o, lw_error *e)
{
    const char *choice;
    return lw_layer_get_choice(o, 0, "norm", &choice, e);
}

static inline int32_t call_layer_get_text(lw_optimizer *o, lw_error *e)
{
    char text[256];
    return lw_layer_get_text(o, 0, "tower", text, sizeof text, NULL, e);
}

static inline int32_t call_layer_reset(lw_optimizer *o, lw_error *e) { return lw_layer_reset(o, 1, e); }

static inline int32_t call_layer_freeze(lw_optimizer *o, lw_error *e) { return lw_layer_freeze(o, 0, e); }

static inline int32_t call_layer_unfreeze(lw_optimizer *o, lw_error *e) { return lw_layer_unfreeze(o, 0, e); }

static inline int32_t call_bind(lw_optimizer *o, lw_error *e)
{
    static float parameters[6];
    return lw_tensor_bind(o, 0, 0, parameters, NULL, e);
}

static inline int32_t call_step(lw_optimizer *o, lw_error *e) { return lw_optimizer_step(o, NULL, e); }
static inline int32_t call_set_loss(lw_optimizer *o, lw_error *e) { return lw_optimizer_set_loss(o, 0.5, e); }
static inline int32_t call_expect_step(lw_optimizer *o, lw_error *e) { return lw_optimizer_expect_step(o, e); }
static inline int32_t call_prepare(lw_optimizer *o, lw_error *e) { return lw_optimizer_prepare(o, e); }

static inline int32_t call_get_summary(lw_optimizer *o, lw_error *e)
{
    lw_summary summary = LW_SUMMARY_INIT;
    return lw_optimizer_get_summary(o, &summary, e);
}

static inline int32_t call_layer_get_telemetry(lw_optimizer *o, lw_error *e)
{
    lw_telemetry telemetry = LW_TELEMETRY_INIT;
    return lw_layer_get_telemetry(o, 0, &telemetry, e);
}

static inline int32_t call_get_telemetry(lw_optimizer *o, lw_error *e)
{
    lw_telemetry rows[] = {LW_TELEMETRY_INIT, LW_TELEMETRY_INIT};
    return lw_optimizer_get_telemetry(o, rows, MODEL_LAYERS, e);
}

static inline int32_t call_layer_get_info(lw_optimizer *o, lw_error *e)
{
    lw_layer_info info = LW_LAYER_INFO_INIT;
    return lw_layer_get_info(o, 0, &info, e);
}

static inline int32_t call_measure_spectra(lw_optimizer *o, lw_error *e) { return lw_optimizer_measure_spectra(o, 3, e); }

static inline int32_t call_get_spectrum(lw_optimizer *o, lw_error *e)
{
    lw_spectrum spectrum = LW_SPECTRUM_INIT;
    return lw_tensor_get_spectrum(o, 0, 0, &spectrum, e);
}

static inline int32_t call_layer_get_name(lw_optimizer *o, lw_error *e)
{
    char text[256];
    return lw_layer_get_name(o, 0, text, sizeof text, NULL, e);
}

static inline int32_t call_explain(lw_optimizer *o, lw_error *e)
{
    char text[4096];
    return lw_optimizer_explain(o, -1, text, sizeof text, NULL, e);
}

static inline int32_t call_explain_json(lw_optimizer *o, lw_error *e)
{
    char text[4096];
    return lw_optimizer_explain_json(o, -1, text, sizeof text, NULL, e);
}

static inline int32_t call_preview(lw_optimizer *o, lw_error *e)
{
    double rates[3 * MODEL_LAYERS];
    return lw_optimizer_preview(o, -1, 3, 1, rates, COUNT(rates), e);
}

static inline int32_t call_rate_groups(lw_optimizer *o, lw_error *e)
{
    int64_t groups[MODEL_TENSORS];
    return lw_optimizer_get_rate_groups(o, groups, MODEL_TENSORS, NULL, e);
}

static inline int32_t call_driven_values(lw_optimizer *o, lw_error *e)
{
    static const char *const keys[] = {"lr"};
    static const int64_t tensor = 0;
    double value;
    uint8_t frozen[MODEL_LAYERS];
    return lw_optimizer_get_driven_values(o, keys, 1, &tensor, 1, -1, 1, 1, &value, 1, frozen, MODEL_LAYERS, e);
}

static inline int32_t call_state_count(lw_optimizer *o, lw_error *e)
{
    int64_t count;
    return lw_tensor_state_count(o, 0, 0, &count, e);
}

static inline int32_t call_get_state_info(lw_optimizer *o, lw_error *e)
{
    lw_state_info state = LW_STATE_INFO_INIT;
    return lw_tensor_get_state_info(o, 0, 0, 0, &state, e);
}

static inline int32_t call_read_state(lw_optimizer *o, lw_error *e)
{
    int64_t step;
    return lw_tensor_read_state(o, 0, 0, "step", &step, sizeof step, e);
}

static inline int32_t call_write_state(lw_optimizer *o, lw_error *e)
{
    static const int64_t step = 7;
    return lw_tensor_write_state(o, 0, 0, "step", &step, sizeof step, e);
}

static inline int32_t call_snapshot(lw_optimizer *o, lw_error *e)
{
    lw_snapshot *made = NULL;
    const int32_t code = lw_optimizer_snapshot(o, &made, e);
    SUCCEEDS(lw_snapshot_destroy(made, error));
    return code;
}

/** Of a snapshot that it makes; the optimizer refuses before it looks at one. */
static inline int32_t call_restore(lw_optimizer *o, lw_error *e)
{
    lw_snapshot *made = NULL;
    int32_t code;
    lw_optimizer_snapshot(o, &made, NULL);
    code = lw_optimizer_restore(o, made, e);
    SUCCEEDS(lw_snapshot_destroy(made, error));
    return code;
}

/** All but lw_optimizer_destroy. */
static const call calls[] = {
    {"lw_optimizer_set", call_set},
    {"lw_optimizer_get", call_get},
    {"lw_optimizer_get_choice", call_get_choice},
    {"lw_optimizer_set_policy", call_set_policy},
    {"lw_optimizer_set_schedule", call_set_schedule},
    {"lw_optimizer_set_freeze_plan", call_set_freeze_plan},
    {"lw_optimizer_report", call_report},
    {"lw_optimizer_get_schedule_state", call_get_schedule_state},
    {"lw_optimizer_set_schedule_state", call_set_schedule_state},
    {"lw_optimizer_seek", call_seek},
    {"lw_optimizer_set_mode", call_set_mode},
    {"lw_optimizer_assume_mode", call_assume_mode},
    {"lw_optimizer_get_mode", call_get_mode},
    {"lw_optimizer_get_run_state", call_get_run_state},
    {"lw_optimizer_set_run_state", call_set_run_state},
    {"lw_optimizer_add_layer", call_add_layer},
    {"lw_optimizer_layer_count", call_layer_count},
    {"lw_optimizer_find_layer", call_find_layer},
    {"lw_layer_set", call_layer_set},
    {"lw_layer_unset", call_layer_unset},
    {"lw_layer_get", call_layer_get},
    {"lw_layer_get_choice", call_layer_get_choice},
    {"lw_layer_get_text", call_layer_get_text},
    {"lw_layer_reset", call_layer_reset},
    {"lw_layer_freeze", call_layer_freeze},
    {"lw_layer_unfreeze", call_layer_unfreeze},
    {"lw_tensor_bind", call_bind},
    {"lw_optimizer_step", call_step},
    {"lw_optimizer_set_loss", call_set_loss},
    {"lw_optimizer_expect_step", call_expect_step},
    {"lw_optimizer_prepare", call_prepare},
    {"lw_optimizer_get_summary", call_get_summary},
    {"lw_layer_get_telemetry", call_layer_get_telemetry},
    {"lw_optimizer_get_telemetry", call_get_telemetry},
    {"lw_layer_get_info", call_layer_get_info},
    {"lw_layer_get_name", call_layer_get_name},
    {"lw_optimizer_explain", call_explain},
    {"lw_optimizer_explain_json", call_explain_json},
    {"lw_optimizer_preview", call_preview},
    {"lw_optimizer_get_rate_groups", call_rate_groups},
    {"lw_optimizer_get_driven_values", call_driven_values},
    {"lw_optimizer_measure_spectra", call_measure_spectra},
    {"lw_tensor_get_spectrum", call_get_spectrum},
    {"lw_tensor_state_count", call_state_count},
    {"lw_tensor_get_state_info", call_get_state_info},
    {"lw_tensor_read_state", call_read_state},
    {"lw_tensor_write_state", call_write_state},
    {"lw_optimizer_snapshot", call_snapshot},
    {"lw_optimizer_restore", call_restore},
};

/** Every call with this optimizer is refused with the code and a message, with an lw_error and without. */
static inline void all_refuse(lw_optimizer *optimizer, int32_t code)
{
    for (int64_t i = 0; i < COUNT(calls); ++i) {
        lw_error told = LW_ERROR_INIT;
        memset(told.message, '#', sizeof told.message);
        check_refusal(code, calls[i].make(optimizer, &told), &told, calls[i].name, __FILE__, __LINE__);
        check_refusal(code, calls[i].make(optimizer, NULL), NULL, calls[i].name, __FILE__, __LINE__);
    }
}

#endif
