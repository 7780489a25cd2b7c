/* Every misuse of rules, settings and policies is refused by name and changes nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model.h"

#include <math.h>

typedef struct misuse {
    lw_setting setting;
    int32_t code;
} misuse;

/** Refused wherever hyperparameters of Adam may be given: create, set, a layer's own. */
static const misuse adam_hyperparameters[] = {
    {{NULL, 1, NULL}, LW_ERROR_INVALID_ARGUMENT},
    {{"", 1, NULL}, LW_ERROR_UNKNOWN_NAME},
    {{"learning_rate", 1, NULL}, LW_ERROR_UNKNOWN_NAME},
    {{"LR", 1, NULL}, LW_ERROR_UNKNOWN_NAME},
    {{"lr ", 1, NULL}, LW_ERROR_UNKNOWN_NAME},
    {{"momentum", 0.9, NULL}, LW_ERROR_UNKNOWN_NAME}, /* of another rule */
    {{"l\xFFr", 1, NULL}, LW_ERROR_INVALID_ARGUMENT},
    {{"\xC0\xAF", 1, NULL}, LW_ERROR_INVALID_ARGUMENT},
    {{"a\nb", 1, NULL}, LW_ERROR_UNKNOWN_NAME},
    {{"lr", NAN, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"lr", -1e-3, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"lr", INFINITY, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"lr", 1, "high"}, LW_ERROR_OUT_OF_RANGE},
    {{"beta1", 1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"beta1", -0.1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"beta1", NAN, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"beta2", 1.5, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"eps", -1e-8, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"eps", NAN, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"weight_decay", -1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"weight_decay", -INFINITY, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"decoupled_weight_decay", 2, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"decoupled_weight_decay", 0.5, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"decoupled_weight_decay", NAN, NULL}, LW_ERROR_OUT_OF_RANGE},
};

/** Refused as settings of an optimizer. */
static const misuse optimizer_settings[] = {
    {{"nonfinite", 0, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"nonfinite", 1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"nonfinite", 0, "explode"}, LW_ERROR_UNKNOWN_NAME},
    {{"nonfinite", 0, "\xED\xA0\x80"}, LW_ERROR_INVALID_ARGUMENT},
    {{"clip_global_norm", 0, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"clip_global_norm", NAN, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"clip_layer_norm", -1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"clip_value", -INFINITY, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"maximize", -1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"telemetry", 2, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"threads", -1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"threads", 1.5, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"threads", 1025, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"threads", NAN, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"threads", 1e300, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"decay_follows", 1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"decay_follows", 0, "lr"}, LW_ERROR_UNKNOWN_NAME},
    {{"decay_follows", 0, "independent"}, LW_ERROR_OUT_OF_RANGE}, /* the decay is coupled */
    {{"dry_run", 2, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"tower", 0, "vision"}, LW_ERROR_UNKNOWN_NAME},
    {{"scale", 1, NULL}, LW_ERROR_UNKNOWN_NAME}, /* of a layer */
    {{"depth", 1, NULL}, LW_ERROR_UNKNOWN_NAME},
};

/** Refused as settings of a layer. */
static const misuse layer_settings[] = {
    {{"threads", 1, NULL}, LW_ERROR_UNKNOWN_NAME}, /* of an optimizer */
    {{"nonfinite", 0, "skip"}, LW_ERROR_UNKNOWN_NAME},
    {{"scale", -1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"scale", NAN, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"scale", INFINITY, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"scale", 1, "full"}, LW_ERROR_OUT_OF_RANGE},
    {{"depth", -1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"depth", 0.5, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"depth", NAN, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"depth", 1e30, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"tower", 1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"tower", 0, "\xC0\xAF"}, LW_ERROR_INVALID_ARGUMENT},
    {{"role", 1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"role", 0, "tail"}, LW_ERROR_UNKNOWN_NAME},
    {{"start", -1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"start", 0.5, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"start", 1e17, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"frozen", 1, NULL}, LW_ERROR_OUT_OF_RANGE},
    {{"frozen", 0, "true"}, LW_ERROR_UNKNOWN_NAME},
    {{"dry_run", 1, NULL}, LW_ERROR_UNKNOWN_NAME},
};

/** lw_optimizer_create, which also has to leave NULL behind; had it succeeded, nothing would leak into later checks. */
static int32_t create(const char *rule, const lw_setting *settings, int64_t count, lw_error *error)
{
    lw_optimizer *out = (lw_optimizer *)&out;
    int32_t code = lw_optimizer_create(&out, rule, settings, count, error);
    CHECK(code == LW_OK ? out != NULL : out == NULL);
    if (code == LW_OK) {
        SUCCEEDS(lw_optimizer_destroy(out, error));
    }
    return code;
}

/** The misuse alone, and behind a good setting that must then not be taken either. */
static void refuse_in_optimizer(const model *m, const misuse *wrong)
{
    const lw_setting both[] = {{"clip_value", 7, NULL}, wrong->setting};
    REFUSED(m, wrong->code, create("adam", &wrong->setting, 1, error));
    REFUSED(m, wrong->code, lw_optimizer_set(m->optimizer, &wrong->setting, 1, error));
    if (wrong->setting.key == NULL || strcmp(wrong->setting.key, "clip_value") != 0) {
        REFUSED(m, wrong->code, lw_optimizer_set(m->optimizer, both, 2, error));
    }
}

static void refuse_in_layer(const model *m, const misuse *wrong)
{
    static float parameters[1];
    static const int64_t one[] = {1};
    const lw_tensor tensor = vector("weight", LW_FLOAT32, parameters, NULL, one);
    const lw_setting both[] = {{"amsgrad", 1, NULL}, wrong->setting};
    int64_t index = 77;
    REFUSED(m, wrong->code, lw_layer_set(m->optimizer, 0, &wrong->setting, 1, error));
    REFUSED(m, wrong->code, lw_layer_set(m->optimizer, 1, both, 2, error));
    REFUSED(m, wrong->code,
            lw_optimizer_add_layer(m->optimizer, "new", &tensor, 1, &wrong->setting, 1, &index, error));
    CHECK(index == 77);
}

static void refuse_lists(const model *m)
{
    static char long_key[100001];
    const lw_setting good = {"lr", 1, NULL};
    const lw_setting twice[] = {{"lr", 1, NULL}, {"eps", 1, NULL}, {"lr", 1, NULL}};
    const lw_setting long_name = {long_key, 1, NULL};
    memset(long_key, 'k', sizeof long_key - 1);
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_create(NULL, "adam", NULL, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, create(NULL, NULL, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, create("\x80", NULL, 0, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, create("", NULL, 0, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, create("Adam", NULL, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, create("adam", NULL, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, create("adam", &good, -1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, create("adam", &good, INT64_C(1) << 62, error));
    REFUSED(m, LW_ERROR_DUPLICATE, create("adam", twice, 3, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set(m->optimizer, NULL, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set(m->optimizer, &good, -1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set(m->optimizer, &good, INT64_MIN, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set(m->optimizer, &good, INT64_MAX, error));
    REFUSED(m, LW_ERROR_DUPLICATE, lw_optimizer_set(m->optimizer, twice, 3, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set(m->optimizer, &long_name, 1, error));
    long_key[1000] = '\0';
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_set(m->optimizer, &long_name, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_set(m->optimizer, 0, NULL, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_set(m->optimizer, 0, &good, -1, error));
    REFUSED(m, LW_ERROR_DUPLICATE, lw_layer_set(m->optimizer, 0, twice, 3, error));
    SUCCEEDS(lw_optimizer_set(m->optimizer, NULL, 0, error));
    SUCCEEDS(lw_layer_set(m->optimizer, 0, NULL, 0, error));
}

/** Values that are good alone and wrong together, and the options of the other rules. */
static void refuse_combinations(const model *m)
{
    const lw_setting nesterov[] = {{"nesterov", 1, NULL}};
    const lw_setting dampened[] = {{"nesterov", 1, NULL}, {"momentum", 0.9, NULL}, {"dampening", 0.1, NULL}};
    const lw_setting momentum = {"momentum", -0.5, NULL};
    const lw_setting variant = {"variant", 0, "torch"};
    const lw_setting numeric_variant = {"variant", 1, NULL};
    const lw_setting norm = {"norm", 0, "l1"};
    const lw_setting ratios[] = {{"ratio_min", 2, NULL}, {"ratio_max", 1, NULL}};
    const lw_setting decoupled = {"decoupled_weight_decay", 1, NULL};
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, create("sgd", nesterov, 1, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, create("sgd", dampened, 3, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, create("sgd", &momentum, 1, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, create("sgd", &variant, 1, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, create("lars", &variant, 1, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, create("lars", &numeric_variant, 1, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, create("lars", &norm, 1, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, create("lamb", ratios, 2, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, create("adamw", &decoupled, 1, error));
}

static void refuse_reading(const model *m)
{
    double number = 5;
    const char *choice = "unset";
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get(m->optimizer, NULL, &number, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get(m->optimizer, "lr", NULL, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_get(m->optimizer, "momentum", &number, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get(m->optimizer, "nonfinite", &number, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_choice(m->optimizer, NULL, &choice, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_choice(m->optimizer, "nonfinite", NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_choice(m->optimizer, "lr", &choice, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_get_choice(m->optimizer, "finite", &choice, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_get(m->optimizer, 0, NULL, &number, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_get(m->optimizer, 0, "lr", NULL, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_layer_get(m->optimizer, 0, "threads", &number, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_get_choice(m->optimizer, 0, "lr", &choice, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_layer_get_choice(m->optimizer, 0, "norm", &choice, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_layer_unset(m->optimizer, 0, NULL, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_layer_unset(m->optimizer, 0, "rate", error));
    CHECK(number == 5);
    CHECK(strcmp(choice, "unset") == 0);
}

static int32_t set_policy(const model *m, const char *name, const lw_setting *settings, int64_t count, lw_error *error)
{
    const lw_spec policy = spec(name, settings, count);
    return lw_optimizer_set_policy(m->optimizer, &policy, 1, error);
}

static int32_t set_policy_with(const model *m, const char *name, const char *key, double number, const char *choice,
                               lw_error *error)
{
    const lw_setting setting = {key, number, choice};
    return set_policy(m, name, &setting, 1, error);
}

/** One layer's scale in a policy "explicit". */
static lw_spec layers_of(const lw_setting *match_and_scale) { return spec("layers", match_and_scale, 2); }

static void refuse_policies(const model *m)
{
    const lw_setting twice[] = {{"decay", 0.5, NULL}, {"decay", 0.5, NULL}};
    const lw_setting reversed[] = {{"lowest", 0.5, NULL}, {"highest", 0.1, NULL}};
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, set_policy(m, NULL, NULL, 0, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, set_policy(m, "linear", NULL, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, set_policy(m, "layer_decay", NULL, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, set_policy(m, "layer_decay", twice, -1, error));
    REFUSED(m, LW_ERROR_DUPLICATE, set_policy(m, "layer_decay", twice, 2, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_policy_with(m, "layer_decay", "decay", 0, NULL, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_policy_with(m, "layer_decay", "decay", 1.5, NULL, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_policy_with(m, "layer_decay", "decay", NAN, NULL, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, set_policy_with(m, "layer_decay", "lowest", 1, NULL, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, set_policy_with(m, "layer_decay", "direction", 0, "up", error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, set_policy_with(m, "uniform", "scale", 1, NULL, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_policy_with(m, "geometric_range", "lowest", -1, NULL, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_policy(m, "geometric_range", reversed, 2, error));
}

/** A policy "explicit" of one scale, or of the same one twice. */
static int32_t set_explicit(const model *m, double scale, int32_t times, lw_error *error)
{
    const lw_setting all[] = {{"match", 0, "*"}, {"scale", scale, NULL}};
    const lw_spec specs[] = {
        {sizeof(lw_spec), times, "explicit", NULL, 0, NULL, 0}, layers_of(all), layers_of(all)};
    return lw_optimizer_set_policy(m->optimizer, specs, 1 + times, error);
}

static void refuse_scales(const model *m)
{
    const lw_setting unnamed[] = {{"scale", 1, NULL}, {"lr", 1, NULL}};
    const lw_spec nameless[] = {{sizeof(lw_spec), 1, "explicit", NULL, 0, NULL, 0}, layers_of(unnamed)};
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_explicit(m, -1, 1, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, set_explicit(m, NAN, 1, error));
    REFUSED(m, LW_ERROR_DUPLICATE, set_explicit(m, 1, 2, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_set_policy(m->optimizer, nameless, 2, error));
}

/** Names of an explicit policy are matched when they are needed, as layers may come after it: the step is refused. */
static void refuse_unmatched_names(model *m)
{
    const lw_setting body[] = {{"match", 0, "body"}, {"scale", 1, NULL}};
    const lw_setting head[] = {{"match", 0, "head"}, {"scale", 1, NULL}};
    const lw_setting tail[] = {{"match", 0, "tail"}, {"scale", 1, NULL}};
    static const struct {
        int32_t count;
        int32_t code;
        const char *fault;
    } cases[] = {{1, LW_ERROR_OUT_OF_RANGE, "\"head\""}, {3, LW_ERROR_UNKNOWN_NAME, "\"tail\""}};
    snapshot before, after;
    snapshot_take(&before, m);
    for (int64_t i = 0; i < COUNT(cases); ++i) {
        const lw_spec policy[] = {{sizeof(lw_spec), cases[i].count, "explicit", NULL, 0, NULL, 0}, layers_of(body),
                                  layers_of(head), layers_of(tail)};
        lw_error told = LW_ERROR_INIT;
        lw_layer_info info = LW_LAYER_INFO_INIT;
        double rates[MODEL_LAYERS];
        SUCCEEDS(lw_optimizer_set_policy(m->optimizer, policy, 1 + cases[i].count, error));
        check_refusal(cases[i].code, lw_optimizer_step(m->optimizer, NULL, &told), &told, "step", __FILE__, __LINE__);
        CHECK(strstr(told.message, cases[i].fault) != NULL);
        CHECK(lw_layer_get_info(m->optimizer, 0, &info, NULL) == cases[i].code);
        CHECK(lw_optimizer_explain(m->optimizer, -1, NULL, 0, NULL, NULL) == cases[i].code);
        CHECK(lw_optimizer_preview(m->optimizer, -1, 1, 1, rates, MODEL_LAYERS, NULL) == cases[i].code);
    }
    SUCCEEDS(set_policy(m, "uniform", NULL, 0, error));
    snapshot_take(&after, m);
    CHECK(before.size == after.size && memcmp(before.bytes, after.bytes, before.size) == 0);
}

/** An lw_error of another size is not written to, and the call does nothing. */
static void refuse_error_structs(const model *m)
{
    static const uint32_t sizes[] = {0, 8, (uint32_t)sizeof(lw_error) - 1, (uint32_t)sizeof(lw_error) + 1, UINT32_MAX};
    const lw_setting rate = {"lr", 9, NULL};
    for (int64_t i = 0; i < COUNT(sizes); ++i) {
        lw_error wrong = LW_ERROR_INIT, copy;
        lw_optimizer *out = m->optimizer;
        snapshot before;
        snapshot_take(&before, m);
        wrong.struct_size = sizes[i];
        copy = wrong;
        CHECK(lw_optimizer_set(m->optimizer, &rate, 1, &wrong) == LW_ERROR_STRUCT_SIZE);
        CHECK(lw_optimizer_set(m->optimizer, NULL, 1, &wrong) == LW_ERROR_STRUCT_SIZE);
        CHECK(lw_optimizer_destroy(m->optimizer, &wrong) == LW_ERROR_STRUCT_SIZE);
        CHECK(lw_optimizer_create(&out, "adam", NULL, 0, &wrong) == LW_ERROR_STRUCT_SIZE);
        CHECK(out == NULL && memcmp(&wrong, &copy, sizeof wrong) == 0);
        check_unchanged(&before, m, "a call with an lw_error of another size", __FILE__, __LINE__);
    }
}

/** The four functions have one contract. */
static void refuse_describe(const model *m, const char *name,
                            int32_t (*describe)(const char *, char *, int64_t, int64_t *, lw_error *))
{
    char text[16384];
    int64_t needed = 0;
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, describe(NULL, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, describe("nothing", text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, describe(name, NULL, 10, &needed, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, describe(name, text, -1, &needed, error));
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, describe(name, NULL, 0, &needed, error));
    CHECK(needed > 2 && needed < (int64_t)sizeof text);
    memset(text, '#', sizeof text);
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, describe(name, text, needed - 1, NULL, error));
    CHECK(text[needed - 1] == '#');
    SUCCEEDS(describe(name, text, needed, NULL, error));
    CHECK((int64_t)strlen(text) == needed - 1 && text[0] == '{' && text[needed - 2] == '}' && text[needed] == '#');
    CHECK(strchr(text, '\n') == NULL);
}

int main(void)
{
    model m;
    model_create(&m);
    for (int64_t i = 0; i < COUNT(adam_hyperparameters); ++i) {
        refuse_in_optimizer(&m, &adam_hyperparameters[i]);
        refuse_in_layer(&m, &adam_hyperparameters[i]);
    }
    for (int64_t i = 0; i < COUNT(optimizer_settings); ++i) {
        refuse_in_optimizer(&m, &optimizer_settings[i]);
    }
    for (int64_t i = 0; i < COUNT(layer_settings); ++i) {
        refuse_in_layer(&m, &layer_settings[i]);
    }
    refuse_lists(&m);
    refuse_combinations(&m);
    refuse_reading(&m);
    refuse_policies(&m);
    refuse_scales(&m);
    refuse_unmatched_names(&m);
    refuse_error_structs(&m);
    for (int32_t i = 0; i < lw_rule_count(); ++i) {
        refuse_describe(&m, lw_rule_name(i), lw_rule_describe);
    }
    for (int32_t i = 0; i < lw_policy_count(); ++i) {
        refuse_describe(&m, lw_policy_name(i), lw_policy_describe);
    }
    for (int32_t i = 0; i < lw_schedule_count(); ++i) {
        refuse_describe(&m, lw_schedule_name(i), lw_schedule_describe);
    }
    for (int32_t i = 0; i < lw_freeze_plan_count(); ++i) {
        refuse_describe(&m, lw_freeze_plan_name(i), lw_freeze_plan_describe);
    }
    CHECK(lw_rule_name(-1) == NULL && lw_rule_name(lw_rule_count()) == NULL);
    CHECK(lw_policy_name(INT32_MIN) == NULL && lw_policy_name(INT32_MAX) == NULL);
    CHECK(lw_schedule_name(-1) == NULL && lw_schedule_name(lw_schedule_count()) == NULL);
    CHECK(lw_freeze_plan_name(INT32_MIN) == NULL && lw_freeze_plan_name(lw_freeze_plan_count()) == NULL);
    CHECK(strcmp(lw_error_name(LW_ERROR_SHAPE), "LW_ERROR_SHAPE") == 0);
    CHECK(strcmp(lw_error_name(-5), "LW_ERROR_UNKNOWN") == 0 && strcmp(lw_error_name(99), "LW_ERROR_UNKNOWN") == 0);
    model_destroy(&m);
    return report();
}
