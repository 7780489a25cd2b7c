/* Every misuse of specs, schedules, freezing plans and what is asked of them is refused and changes nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model.h"

#include <math.h>

/* ---- Specs ----------------------------------------------------------------------------------------------------- */

/** A spec with parts. */
static lw_spec whole(const char *name, const lw_setting *settings, int64_t count, int32_t parts)
{
    lw_spec s = spec(name, settings, count);
    s.part_count = parts;
    return s;
}

/** A spec with a list of numbers. */
static lw_spec listed(const char *name, const double *values, int64_t count)
{
    lw_spec s = spec(name, NULL, 0);
    s.values = values;
    s.value_count = count;
    return s;
}

static int32_t set_schedule(const model *m, const lw_spec *specs, int64_t count, lw_error *error)
{
    return lw_optimizer_set_schedule(m->optimizer, -1, "lr", specs, count, error);
}

/** The spec is refused alike as a policy, as a schedule, to be evaluated, and as a freezing plan. */
static void refuse_specs(const model *m, int32_t code, const lw_spec *specs, int64_t count)
{
    double value = 5;
    REFUSED(m, code, lw_optimizer_set_policy(m->optimizer, specs, count, error));
    REFUSED(m, code, lw_schedule_evaluate(specs, count, 1, 0, 1, 1, &value, error));
    if (count != 0) { /* takes a schedule or a plan away */
        REFUSED(m, code, set_schedule(m, specs, count, error));
        REFUSED(m, code, lw_optimizer_set_schedule(m->optimizer, 1, "lr", specs, count, error));
        REFUSED(m, code, lw_optimizer_set_freeze_plan(m->optimizer, specs, count, error));
    }
    CHECK(value == 5);
}

static void refuse_spec_structs(const model *m)
{
    static const uint32_t sizes[] = {0, 8, (uint32_t)sizeof(lw_spec) - 1, (uint32_t)sizeof(lw_spec) + 8, UINT32_MAX};
    static const int64_t counts[] = {-1, INT64_MIN, INT64_MAX, INT64_C(1) << 40};
    static char long_name[5000];
    const lw_spec good = spec("constant", NULL, 0);
    lw_spec wrong;
    memset(long_name, 'n', sizeof long_name - 1);
    for (int64_t i = 0; i < COUNT(sizes); ++i) {
        lw_spec nested[2];
        wrong = good;
        wrong.struct_size = sizes[i];
        refuse_specs(m, LW_ERROR_STRUCT_SIZE, &wrong, 1);
        nested[0] = whole("combine", NULL, 0, 1);
        nested[1] = wrong;
        refuse_specs(m, LW_ERROR_STRUCT_SIZE, nested, 2);
    }
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, NULL, 0);
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, NULL, 1);
    for (int64_t i = 0; i < COUNT(counts); ++i) {
        refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, &good, counts[i]);
        wrong = good;
        wrong.setting_count = counts[i];
        refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, &wrong, 1);
        wrong = good;
        wrong.value_count = counts[i];
        refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, &wrong, 1);
    }
    /* Counts that were forgotten. */
    const lw_setting setting = {"factor", 0.5, NULL};
    const double value = 0.5;
    wrong = spec("constant", &setting, 0);
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, &wrong, 1);
    wrong = listed("factor_table", &value, 0);
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, &wrong, 1);
    wrong = spec("constant", NULL, 1);
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, &wrong, 1);
    wrong = listed("factor_table", NULL, 1);
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, &wrong, 1);
    wrong = spec(NULL, NULL, 0);
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, &wrong, 1);
    wrong = spec("\xC0\xAF", NULL, 0);
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, &wrong, 1);
    wrong = spec(long_name, NULL, 0);
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, &wrong, 1);
    wrong = spec("", NULL, 0);
    refuse_specs(m, LW_ERROR_UNKNOWN_NAME, &wrong, 1);
    wrong = spec("Cosine", NULL, 0);
    refuse_specs(m, LW_ERROR_UNKNOWN_NAME, &wrong, 1);
}

static void refuse_spec_settings(const model *m)
{
    static const double finite[] = {1}, infinite[] = {1, INFINITY}, unknown[] = {NAN, 1};
    const lw_setting nameless = {NULL, 1, NULL};
    const lw_setting foreign = {"nonsense", 1, NULL};
    const lw_setting text = {"factor", 0, "\xED\xA0\x80"};
    lw_spec wrong = spec("constant", &nameless, 1);
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, set_schedule(m, &wrong, 1, error));
    wrong = spec("constant", &text, 1);
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, set_schedule(m, &wrong, 1, error));
    wrong = spec("constant", &foreign, 1);
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, set_schedule(m, &wrong, 1, error));
    wrong = listed("factor_table", infinite, 2);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_schedule(m, &wrong, 1, error));
    wrong = listed("factor_table", unknown, 2);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_schedule(m, &wrong, 1, error));
    wrong = listed("factor_table", NULL, 0);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_schedule(m, &wrong, 1, error));
    wrong = listed("constant", finite, 1);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_schedule(m, &wrong, 1, error));
    wrong = listed("uniform", finite, 1);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_set_policy(m->optimizer, &wrong, 1, error));
}

/** Part counts that do not fit the list, and parts where none belong. */
static void refuse_part_counts(const model *m)
{
    enum { DEEP = 64 };
    const lw_setting total = {"total_steps", 9, NULL};
    const lw_setting warm = {"steps", 3, NULL};
    const lw_spec linear = spec("linear", &total, 1);
    lw_spec specs[DEEP];
    specs[0] = linear;
    specs[1] = linear;
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, specs, 2);
    specs[0] = whole("warmup", &warm, 1, 1);
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, specs, 1);
    specs[0].part_count = 2;
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, specs, 2);
    specs[0].part_count = INT32_MAX;
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, specs, 2);
    specs[0].part_count = -1;
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, specs, 1);
    specs[0].part_count = INT32_MIN;
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, specs, 2);
    specs[0] = whole("linear", &total, 1, 1);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_schedule(m, specs, 2, error));
    specs[0] = whole("product", NULL, 0, 1);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_schedule(m, specs, 2, error));
    specs[0] = whole("product", NULL, 0, 2);
    specs[2] = spec("gradual_unfreezing", NULL, 0);
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, set_schedule(m, specs, 3, error));

    for (int depth = 0; depth < DEEP; ++depth) {
        specs[depth] = depth + 1 < DEEP ? whole("warmup", &warm, 1, 1) : linear;
    }
    refuse_specs(m, LW_ERROR_INVALID_ARGUMENT, specs, DEEP);
    specs[32] = linear;
    SUCCEEDS(set_schedule(m, specs, 33, error));
    SUCCEEDS(set_schedule(m, NULL, 0, error));
}

/* ---- Schedules and plans --------------------------------------------------------------------------------------- */

static void refuse_schedules(const model *m)
{
    lw_optimizer *const o = m->optimizer;
    const lw_spec good = spec("constant", NULL, 0);
    const lw_setting none = {"total_steps", 0, NULL}, lost = {"total_steps", NAN, NULL};
    lw_spec wrong = spec("cosine", &none, 1);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_schedule(m, &wrong, 1, error));
    wrong = spec("cosine", &lost, 1);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_schedule(m, &wrong, 1, error));
    wrong = spec("cosine", NULL, 0);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_schedule(m, &wrong, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_schedule(o, -1, NULL, &good, 1, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_set_schedule(o, -1, "momentum", &good, 1, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_set_schedule(o, -1, "amsgrad", &good, 1, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_set_schedule(o, -1, "clip_value", &good, 1, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_set_schedule(o, -1, "scale", &good, 1, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_set_schedule(o, -1, "momentum", NULL, 0, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_set_schedule(o, 2, "lr", &good, 1, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_set_schedule(o, -2, "lr", &good, 1, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_set_schedule(o, INT64_MAX, "lr", NULL, 0, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_set_schedule(o, INT64_MIN, "lr", NULL, 0, error));
}

static void refuse_freeze_plans(const model *m)
{
    const lw_setting never = {"every", 0, NULL};
    const lw_spec named[] = {whole("freeze_at", NULL, 0, 1), spec("layers", NULL, 0)};
    lw_spec wrong = spec("gradual_unfreezing", NULL, 0);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_set_freeze_plan(m->optimizer, &wrong, 1, error));
    wrong = spec("gradual_unfreezing", &never, 1);
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_set_freeze_plan(m->optimizer, &wrong, 1, error));
    wrong = spec("linear", NULL, 0);
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_set_freeze_plan(m->optimizer, &wrong, 1, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_set_freeze_plan(m->optimizer, named, 2, error));
    SUCCEEDS(lw_optimizer_set_freeze_plan(m->optimizer, NULL, 0, error));
}

static void refuse_steps(const model *m)
{
    lw_optimizer *const o = m->optimizer;
    char text[4096];
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_seek(o, -1, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_seek(o, INT64_MIN, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_seek(o, (INT64_C(1) << 53) + 1, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_seek(o, INT64_MAX, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_explain(o, -2, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_explain(o, INT64_MAX, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_explain_json(o, INT64_MIN, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_explain_json(o, INT64_MAX, text, sizeof text, NULL, error));
    SUCCEEDS(lw_optimizer_explain(o, INT64_C(1) << 53, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_explain_json(o, -1, NULL, 8, NULL, error));
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_optimizer_explain_json(o, -1, text, 10, NULL, error));
}

static void refuse_previews(const model *m)
{
    enum { STEPS = 5, RATES = STEPS * MODEL_LAYERS };
    lw_optimizer *const o = m->optimizer;
    double rates[RATES + 1];
    static const struct {
        int64_t first, count, stride;
    } wrong[] = {{-2, STEPS, 1},        {INT64_MIN, STEPS, 1},
                 {INT64_MAX, STEPS, 1}, {(INT64_C(1) << 53) + 1, STEPS, 1},
                 {0, -1, 1},            {0, INT64_MIN, 1},
                 {0, STEPS, 0},         {0, STEPS, -1},
                 {0, STEPS, INT64_MIN}, {0, STEPS, INT64_MAX},
                 {0, INT64_MAX, 1},     {0, INT64_MAX, INT64_MAX},
                 {0, INT64_C(1) << 53, 2}};
    for (int i = 0; i <= RATES; ++i) {
        rates[i] = 7;
    }
    for (int64_t i = 0; i < COUNT(wrong); ++i) {
        REFUSED(m, LW_ERROR_OUT_OF_RANGE,
                lw_optimizer_preview(o, wrong[i].first, wrong[i].count, wrong[i].stride, rates, RATES, error));
    }
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_preview(o, 0, STEPS, 1, rates, RATES - 1, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_preview(o, 0, STEPS, 1, rates, RATES + 1, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_preview(o, 0, INT64_C(1) << 52, 1, rates, RATES, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_preview(o, 0, STEPS, 1, NULL, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_preview(o, 0, STEPS, 1, NULL, RATES, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_preview(o, 0, STEPS, 1, rates, -1, error));
    for (int i = 0; i <= RATES; ++i) {
        CHECK(rates[i] == 7);
    }
    SUCCEEDS(lw_optimizer_preview(o, -1, STEPS, 1, rates, RATES, error));
    CHECK(rates[0] == 0.01 && rates[RATES - 1] == 0.01 && rates[RATES] == 7);
    SUCCEEDS(lw_optimizer_preview(o, INT64_C(1) << 53, 1, 1, rates, MODEL_LAYERS, error));
    SUCCEEDS(lw_optimizer_preview(o, 0, 0, 1, NULL, 0, error));
}

static void refuse_driven_values(const model *m)
{
    lw_optimizer *const o = m->optimizer;
    static const char *const keys[] = {"lr", "unscheduled_lr"}, *const unknown[] = {"lr", "nothing"};
    static const char *const missing[] = {"lr", NULL};
    static const int64_t tensors[] = {0, 1}, beyond[] = {0, MODEL_TENSORS}, negative[] = {0, -1};
    enum { STEPS = 3, VALUES = STEPS * 2 * 2, MARKS = STEPS * MODEL_LAYERS };
    double values[VALUES];
    uint8_t frozen[MARKS];
    int64_t groups[MODEL_TENSORS], count = 0;
#define DRIVEN(keys, key_count, tensors, tensor_count, first, count, stride, value_count, frozen_count)             \
    lw_optimizer_get_driven_values(o, keys, key_count, tensors, tensor_count, first, count, stride, values,            \
                                   value_count, frozen, frozen_count, error)
    SUCCEEDS(DRIVEN(keys, 2, tensors, 2, 0, STEPS, 1, VALUES, MARKS));
    for (int i = 0; i < VALUES; ++i) {
        CHECK(values[i] == 0.01);
    }
    for (int i = 0; i < MARKS; ++i) {
        CHECK(frozen[i] == 0);
    }
    SUCCEEDS(DRIVEN(keys, 2, tensors, 2, -1, 1, 1, 4, MODEL_LAYERS));
    SUCCEEDS(DRIVEN(NULL, 0, NULL, 0, 0, 0, 1, 0, 0));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, DRIVEN(unknown, 2, tensors, 2, 0, STEPS, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, DRIVEN(missing, 2, tensors, 2, 0, STEPS, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, DRIVEN(NULL, 2, tensors, 2, 0, STEPS, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, DRIVEN(keys, -1, tensors, 2, 0, STEPS, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, DRIVEN(keys, 65, tensors, 2, 0, STEPS, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, DRIVEN(keys, 2, NULL, 2, 0, STEPS, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, DRIVEN(keys, 2, tensors, -1, 0, STEPS, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_NOT_FOUND, DRIVEN(keys, 2, beyond, 2, 0, STEPS, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_NOT_FOUND, DRIVEN(keys, 2, negative, 2, 0, STEPS, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, DRIVEN(keys, 2, tensors, 2, -2, STEPS, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, DRIVEN(keys, 2, tensors, 2, INT64_MAX, STEPS, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, DRIVEN(keys, 2, tensors, 2, 0, -1, 1, VALUES, MARKS));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, DRIVEN(keys, 2, tensors, 2, 0, STEPS, 0, VALUES, MARKS));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, DRIVEN(keys, 2, tensors, 2, 0, INT64_MAX, INT64_MAX, VALUES, MARKS));
    REFUSED(m, LW_ERROR_SHAPE, DRIVEN(keys, 2, tensors, 2, 0, STEPS, 1, VALUES - 1, MARKS));
    REFUSED(m, LW_ERROR_SHAPE, DRIVEN(keys, 2, tensors, 2, 0, STEPS, 1, VALUES, MARKS - 1));
    REFUSED(m, LW_ERROR_SHAPE, DRIVEN(keys, 2, tensors, 2, 0, INT64_C(1) << 52, 1, VALUES, MARKS));
#undef DRIVEN
    SUCCEEDS(lw_optimizer_get_rate_groups(o, groups, MODEL_TENSORS, &count, error));
    CHECK(count == 1 && groups[0] == 0 && groups[MODEL_TENSORS - 1] == 0);
    SUCCEEDS(lw_optimizer_get_rate_groups(o, groups, MODEL_TENSORS, NULL, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_get_rate_groups(o, groups, MODEL_TENSORS - 1, &count, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_get_rate_groups(o, NULL, 0, &count, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_rate_groups(o, NULL, MODEL_TENSORS, &count, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_rate_groups(o, groups, -1, &count, error));
}

static void refuse_layer_rules(const model *m)
{
    static const char *const names[] = {"encoder.layer.0.weight", "encoder.layer.1.weight", "head.weight"};
    static const uint8_t matched[] = {0, 0, 1};
    const lw_layer_rule unset = LW_LAYER_RULE_INIT;
    lw_layer_rule rule = LW_LAYER_RULE_INIT, wrong = LW_LAYER_RULE_INIT;
    char text[4096];
    rule.pattern = "encoder.*";
    rule.layer = "trunk";
    rule.has_scale = 1;
    rule.scale = 0.5;
    SUCCEEDS(lw_place_layers(names, 3, &rule, 1, text, sizeof text, NULL, error));
    CHECK(strstr(text, "\"trunk\"") && strstr(text, "\"scale\": 0.5") && strstr(text, "\"tensors\": [0, 1]"));
    CHECK(strstr(text, "\"scale\": null"));
    rule.matched = matched;
    SUCCEEDS(lw_place_layers(names, 3, &rule, 1, text, sizeof text, NULL, error));
    CHECK(strstr(text, "\"trunk\"") && strstr(text, "\"tensors\": [2]"));
    SUCCEEDS(lw_place_layers(names, 3, NULL, 0, text, sizeof text, NULL, error));
    SUCCEEDS(lw_place_layers(NULL, 0, NULL, 0, text, sizeof text, NULL, error));
#define WRONG(code, member, value)                                                                                  \
    do {                                                                                                               \
        wrong = unset;                                                                                                 \
        wrong.pattern = "*";                                                                                           \
        wrong.member = value;                                                                                          \
        REFUSED(m, code, lw_place_layers(names, 3, &wrong, 1, text, sizeof text, NULL, error));                       \
    } while (0)
    WRONG(LW_ERROR_STRUCT_SIZE, struct_size, 8);
    WRONG(LW_ERROR_INVALID_ARGUMENT, reserved, 1);
    WRONG(LW_ERROR_INVALID_ARGUMENT, pattern, NULL);
    WRONG(LW_ERROR_INVALID_ARGUMENT, syntax, "shell");
    WRONG(LW_ERROR_OUT_OF_RANGE, pattern, "[");
    WRONG(LW_ERROR_OUT_OF_RANGE, pattern, "");
    WRONG(LW_ERROR_UNKNOWN_NAME, pattern, "nothing");
    WRONG(LW_ERROR_UNKNOWN_NAME, role, "tail");
    WRONG(LW_ERROR_OUT_OF_RANGE, layer, "");
#undef WRONG
    wrong.layer = NULL;
    wrong.has_depth = 1;
    wrong.depth = -1;
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_place_layers(names, 3, &wrong, 1, text, sizeof text, NULL, error));
    wrong.has_depth = 0;
    wrong.has_scale = 1;
    wrong.scale = -1;
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_place_layers(names, 3, &wrong, 1, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_place_layers(names, 3, NULL, 1, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_place_layers(names, 3, &rule, -1, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_place_layers(NULL, 3, &rule, 1, text, sizeof text, NULL, error));
}

static void refuse_evaluations(const model *m)
{
    enum { STEPS = 3 };
    double values[STEPS + 1] = {7, 7, 7, 7};
    const lw_setting total = {"total_steps", 2, NULL};
    const lw_spec linear = spec("linear", &total, 1);
    static const struct {
        double base;
        int64_t first, count, stride;
    } wrong[] = {{-1, 0, STEPS, 1},      {NAN, 0, STEPS, 1},        {INFINITY, 0, STEPS, 1}, {1, -1, STEPS, 1},
                 {1, INT64_MIN, STEPS, 1}, {1, INT64_MAX, STEPS, 1}, {1, 0, -1, 1},           {1, 0, INT64_MIN, 1},
                 {1, 0, INT64_MAX, 1},   {1, 0, STEPS, 0},          {1, 0, STEPS, -1},       {1, 0, STEPS, INT64_MAX},
                 {1, 0, STEPS, INT64_MIN}};
    for (int64_t i = 0; i < COUNT(wrong); ++i) {
        REFUSED(m, LW_ERROR_OUT_OF_RANGE,
                lw_schedule_evaluate(&linear, 1, wrong[i].base, wrong[i].first, wrong[i].count, wrong[i].stride, values,
                                     error));
    }
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_schedule_evaluate(&linear, 1, 1, 0, STEPS, 1, NULL, error));
    for (int i = 0; i <= STEPS; ++i) {
        CHECK(values[i] == 7);
    }
    SUCCEEDS(lw_schedule_evaluate(&linear, 1, 4, 0, STEPS, 1, values, error));
    CHECK(values[0] == 4 && values[1] == 2 && values[2] == 0 && values[STEPS] == 7);
    SUCCEEDS(lw_schedule_evaluate(&linear, 1, 4, 1, 1, 1, values, error));
    CHECK(values[0] == 2 && values[1] == 2);
    SUCCEEDS(lw_schedule_evaluate(&linear, 1, 4, 0, 0, 1, NULL, error));
}

/** The state of a schedule that follows a metric: four numbers, taken and put back whole. */
static void refuse_schedule_states(const model *m)
{
    lw_optimizer *const o = m->optimizer;
    double values[5] = {7, 7, 7, 7, 7};
    int64_t needed = 0;
    const lw_setting patience = {"patience", 0, NULL};
    const lw_spec plateau = spec("reduce_on_plateau", &patience, 1), constant = spec("constant", NULL, 0);
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_report(o, 1, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_get_schedule_state(o, -1, "lr", values, 5, NULL, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_set_schedule_state(o, -1, "lr", values, 0, error));
    SUCCEEDS(set_schedule(m, &constant, 1, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_report(o, 1, error));
    SUCCEEDS(lw_optimizer_get_schedule_state(o, -1, "lr", NULL, 0, &needed, error));
    CHECK(needed == 0);
    SUCCEEDS(lw_optimizer_set_schedule_state(o, -1, "lr", NULL, 0, error));

    SUCCEEDS(set_schedule(m, &plateau, 1, error));
    SUCCEEDS(lw_optimizer_report(o, 1, error));
    SUCCEEDS(lw_optimizer_report(o, NAN, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_schedule_state(o, -1, NULL, values, 5, NULL, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_get_schedule_state(o, -1, "eps", values, 5, NULL, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_get_schedule_state(o, 0, "lr", values, 5, NULL, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_optimizer_get_schedule_state(o, 2, "lr", values, 5, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_schedule_state(o, -1, "lr", NULL, 4, NULL, error));
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_optimizer_get_schedule_state(o, -1, "lr", values, -1, &needed, error));
    CHECK(needed == 4);
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_optimizer_get_schedule_state(o, -1, "lr", values, 3, NULL, error));
    for (int i = 0; i < 5; ++i) {
        CHECK(values[i] == 7);
    }
    SUCCEEDS(lw_optimizer_get_schedule_state(o, -1, "lr", values, 5, NULL, error));
    CHECK(values[0] == 0.1 && values[1] == 1 && values[4] == 7);

    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_schedule_state(o, -1, NULL, values, 4, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_schedule_state(o, -1, "lr", NULL, 4, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_schedule_state(o, -1, "lr", values, -1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_schedule_state(o, -1, "lr", values, INT64_MAX, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_set_schedule_state(o, -1, "lr", values, 3, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_set_schedule_state(o, -1, "lr", values, 5, error));
    REFUSED(m, LW_ERROR_SHAPE, lw_optimizer_set_schedule_state(o, -1, "lr", NULL, 0, error));
    SUCCEEDS(lw_optimizer_set_schedule_state(o, -1, "lr", values, 4, error));
    SUCCEEDS(set_schedule(m, NULL, 0, error));
}

/** A state that no reports can have left behind is refused, and is not taken for one. */
static void refuse_impossible_states(const model *m)
{
    static const double states[][4] = {{NAN, 1, 0, 0},  {2, 1, 0, 0},  {-1, 1, 0, 0},   {0.5, NAN, 0, 0},
                                       {0.5, 1, -1, 0}, {0.5, 1, 0.5, 0}, {0.5, 1, 0, -1}, {0.5, 1, 0, INFINITY}};
    const lw_spec plateau = spec("reduce_on_plateau", NULL, 0);
    SUCCEEDS(set_schedule(m, &plateau, 1, error));
    for (int64_t i = 0; i < COUNT(states); ++i) {
        REFUSED(m, LW_ERROR_OUT_OF_RANGE,
                lw_optimizer_set_schedule_state(m->optimizer, -1, "lr", states[i], 4, error));
    }
    SUCCEEDS(set_schedule(m, NULL, 0, error));
}

/* ---- Layers ---------------------------------------------------------------------------------------------------- */

static void refuse_layers(const model *m)
{
    lw_optimizer *const o = m->optimizer;
    const lw_setting dry = {"dry_run", 1, NULL};
    char text[16];
    int64_t needed = 0;
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_reset(o, 2, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_reset(o, -1, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_reset(o, INT64_MIN, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set(o, &dry, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_get_text(o, 0, NULL, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_layer_get_text(o, 0, "name", text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_layer_get_text(o, 0, "role", text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_NOT_FOUND, lw_layer_get_text(o, 2, "tower", text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_get_text(o, 0, "tower", NULL, 8, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_get_text(o, 0, "tower", text, -1, NULL, error));
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_layer_get_text(o, 0, "tower", NULL, 0, &needed, error));
    CHECK(needed == 1);
}

static void read_towers(const model *m)
{
    lw_optimizer *const o = m->optimizer;
    static const char name[] = "vision \xCE\xB1"; /* a Greek letter */
    const lw_setting tower = {"tower", 0, name};
    char text[16];
    int64_t needed = 0;
    SUCCEEDS(lw_layer_set(o, 1, &tower, 1, error));
    memset(text, '#', sizeof text);
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL,
            lw_layer_get_text(o, 1, "tower", text, (int64_t)sizeof name - 1, &needed, error));
    CHECK(needed == (int64_t)sizeof name && text[0] == '#');
    SUCCEEDS(lw_layer_get_text(o, 1, "tower", text, needed, NULL, error));
    CHECK(strcmp(text, name) == 0 && text[sizeof name] == '#');
    SUCCEEDS(lw_layer_unset(o, 1, "tower", error));
    SUCCEEDS(lw_layer_get_text(o, 1, "tower", text, sizeof text, NULL, error));
    CHECK(text[0] == '\0');
}

static void refuse_inferences(const model *m)
{
    static const char *const good[] = {"encoder.layer.0.weight", "head.weight"};
    static const char *const missing[] = {"encoder.layer.0.weight", NULL};
    static const char *const broken[] = {"encoder.layer.0.weight", "\xFF"};
    static char long_name[5000];
    const char *const endless[] = {long_name};
    static const int64_t counts[] = {-1, INT64_MIN, INT64_MAX, INT64_C(1) << 40};
    char text[4096];
    int64_t needed = 0;
    memset(long_name, 'n', sizeof long_name - 1);
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_infer_layers(NULL, 1, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_infer_layers(missing, 2, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_infer_layers(broken, 2, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_infer_layers(endless, 1, text, sizeof text, NULL, error));
    for (int64_t i = 0; i < COUNT(counts); ++i) {
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_infer_layers(good, counts[i], text, sizeof text, NULL, error));
    }
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_infer_layers(good, 2, NULL, 8, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_infer_layers(good, 2, text, -1, NULL, error));
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_infer_layers(good, 2, NULL, 0, &needed, error));
    CHECK(needed > 2 && needed <= (int64_t)sizeof text);
    SUCCEEDS(lw_infer_layers(good, 2, text, needed, NULL, error));
    CHECK((int64_t)strlen(text) == needed - 1 && text[0] == '[' && text[needed - 2] == ']');
    SUCCEEDS(lw_infer_layers(NULL, 0, text, sizeof text, NULL, error));
    uint8_t matched[2] = {7, 7};
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_match_names(NULL, "glob", good, 2, matched, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_match_names("*", NULL, good, 2, matched, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_match_names("*", "shell", good, 2, matched, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_match_names("", "glob", good, 2, matched, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_match_names("[a", "glob", good, 2, matched, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_match_names("*", "glob", NULL, 2, matched, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_match_names("*", "glob", missing, 2, matched, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_match_names("*", "glob", good, -1, matched, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_match_names("*", "glob", good, 2, NULL, error));
    CHECK(matched[0] == 7 && matched[1] == 7);
    SUCCEEDS(lw_match_names("head.*", "glob", good, 2, matched, error));
    CHECK(matched[0] == 0 && matched[1] == 1);
    SUCCEEDS(lw_match_names("*", "glob", NULL, 0, NULL, error));
    CHECK(strcmp(text, "[]") == 0);
}

int main(void)
{
    model m;
    model_create(&m);
    refuse_spec_structs(&m);
    refuse_spec_settings(&m);
    refuse_part_counts(&m);
    refuse_schedules(&m);
    refuse_freeze_plans(&m);
    refuse_steps(&m);
    refuse_previews(&m);
    refuse_driven_values(&m);
    refuse_layer_rules(&m);
    refuse_evaluations(&m);
    refuse_schedule_states(&m);
    refuse_layers(&m);
    read_towers(&m);
    refuse_inferences(&m);
    refuse_impossible_states(&m);
    model_destroy(&m);
    return report();
}
