/* What is done to one layer costs as much among many layers as among few: registering, setting, scheduling, binding, and the
 * first step with recipes that go by depth.  Processor time for each layer is compared, of 25 times as many layers, with a
 * margin of 6; what grew with the number of layers would take 25 times as long.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>
#include <time.h>

enum { FEW = 4000, MANY = 100000, SAMPLE = 2000, MARGIN = 6, TRIES = 4 };

typedef struct crowd {
    lw_optimizer *optimizer;
    int64_t count;
    float *parameters, *gradients, *spare;
} crowd;

static const int64_t extent = 1;

static double now(void) { return (double)clock() / (double)CLOCKS_PER_SEC; }

/** A place for each layer's buffers, in an order that is neither rising nor falling. */
static int64_t place(const crowd *c, int64_t layer) { return layer * 7919 % c->count; }

static void add(crowd *c, int64_t layer, const lw_setting *settings, int64_t setting_count)
{
    char name[32];
    lw_tensor tensor = LW_TENSOR_INIT;
    snprintf(name, sizeof name, "layer %lld", (long long)layer);
    tensor.name = "weight";
    tensor.rank = 1;
    tensor.shape = &extent;
    tensor.parameters = c->parameters + place(c, layer);
    tensor.gradients = c->gradients + place(c, layer);
    SUCCEEDS(lw_optimizer_add_layer(c->optimizer, name, &tensor, 1, settings, setting_count, NULL, error));
}

static void crowd_create(crowd *c, int64_t count)
{
    const lw_setting settings[] = {{"threads", 1, NULL}, {"lr", 1e-3, NULL}};
    c->count = count;
    c->parameters = (float *)calloc((size_t)count, sizeof(float));
    c->gradients = (float *)calloc((size_t)count, sizeof(float));
    c->spare = (float *)calloc((size_t)count, sizeof(float));
    CHECK(c->parameters != NULL && c->gradients != NULL && c->spare != NULL);
    SUCCEEDS(lw_optimizer_create(&c->optimizer, "sgd", settings, COUNT(settings), error));
}

static void crowd_fill(crowd *c, const lw_setting *settings, int64_t setting_count)
{
    for (int64_t layer = 0; layer < c->count; ++layer) {
        add(c, layer, settings, setting_count);
    }
}

static void crowd_destroy(crowd *c)
{
    SUCCEEDS(lw_optimizer_destroy(c->optimizer, error));
    free(c->parameters);
    free(c->gradients);
    free(c->spare);
}

/* ---- What is measured: seconds for each layer or call ---------------------------------------------------------------- */

enum {
    REGISTERING,
    SETTING,
    UNSETTING,
    SCHEDULING,
    BINDING,
    ASKING,
    FIRST_STEPS,
    WITH_SETTINGS = FIRST_STEPS + 5,
    EXPLAINING,
    KINDS
};

static const char *const kinds[KINDS] = {
    "registering", "setting", "unsetting", "scheduling", "binding", "asking", "ulmfit", "rate_slice", "gradual_unfreezing",
    "chain_thaw", "layer_freezing", "registering with settings", "explaining"};

/** One call for each of some layers of a crowd. */
static double calls(crowd *c, void (*make)(crowd *c, int64_t layer))
{
    double start = now();
    for (int64_t i = 0; i < SAMPLE; ++i) {
        make(c, i * (c->count / SAMPLE));
    }
    return (now() - start) / SAMPLE;
}

/** A scale, and a rule of its own. */
static void set_layer(crowd *c, int64_t layer)
{
    const lw_setting settings[] = {{"scale", 0.5, NULL}, {"weight_decay", 0.1, NULL}};
    SUCCEEDS(lw_layer_set(c->optimizer, layer, settings, COUNT(settings), error));
}

static void unset_layer(crowd *c, int64_t layer)
{
    SUCCEEDS(lw_layer_unset(c->optimizer, layer, "weight_decay", error));
    SUCCEEDS(lw_layer_unset(c->optimizer, layer, "scale", error));
}

static void set_schedule(crowd *c, int64_t layer)
{
    const lw_setting steps = {"total_steps", 1e6 + (double)layer, NULL};
    const lw_spec linear = spec("linear", &steps, 1);
    SUCCEEDS(lw_optimizer_set_schedule(c->optimizer, layer, "lr", &linear, 1, error));
}

static void bind_elsewhere(crowd *c, int64_t layer)
{
    SUCCEEDS(lw_tensor_bind(c->optimizer, layer, 0, c->spare + place(c, layer), c->gradients + place(c, layer), error));
}

static void get_depth(crowd *c, int64_t layer)
{
    double depth = -1;
    SUCCEEDS(lw_layer_get(c->optimizer, layer, "depth", &depth, error));
    CHECK(depth == (double)layer);
}

/** The first step with a policy or a freezing plan, which asks for all layers. */
static double first_step(crowd *c, int32_t (*set)(lw_optimizer *, const lw_spec *, int64_t, lw_error *), const char *name,
                         const lw_setting *setting)
{
    const lw_spec recipe = spec(name, setting, setting == NULL ? 0 : 1);
    SUCCEEDS(set(c->optimizer, &recipe, 1, error));
    double start = now();
    SUCCEEDS(lw_optimizer_step(c->optimizer, NULL, error));
    double taken = now() - start;
    return taken / (double)c->count;
}

/** Layers that each have a schedule of their own, in a table. */
static double explaining(int64_t count)
{
    int64_t needed = 0;
    crowd c;
    crowd_create(&c, count);
    crowd_fill(&c, NULL, 0);
    for (int64_t layer = 0; layer < count; ++layer) {
        set_schedule(&c, layer);
    }
    SUCCEEDS(lw_optimizer_step(c.optimizer, NULL, error));
    double start = now();
    CHECK(lw_optimizer_explain_json(c.optimizer, -1, NULL, 0, &needed, NULL) == LW_ERROR_BUFFER_TOO_SMALL);
    double taken = now() - start;
    crowd_destroy(&c);
    return taken / (double)count;
}

static void measure(int64_t count, double *seconds)
{
    const lw_setting own[] = {{"weight_decay", 0.1, NULL}, {"scale", 0.5, NULL}};
    const lw_setting highest = {"highest", 1e-3, NULL}, every = {"every", 10, NULL}, total = {"total_steps", 1e6, NULL};
    crowd c;
    crowd_create(&c, count);
    double start = now();
    crowd_fill(&c, NULL, 0);
    seconds[REGISTERING] = (now() - start) / (double)count;
    /* The first call asks for all layers, and is not counted. */
    get_depth(&c, 0);
    seconds[ASKING] = calls(&c, get_depth);
    seconds[SETTING] = calls(&c, set_layer);
    seconds[UNSETTING] = calls(&c, unset_layer);
    seconds[BINDING] = calls(&c, bind_elsewhere);
    seconds[FIRST_STEPS] = first_step(&c, lw_optimizer_set_policy, "ulmfit", NULL);
    seconds[FIRST_STEPS + 1] = first_step(&c, lw_optimizer_set_policy, "rate_slice", &highest);
    seconds[FIRST_STEPS + 2] = first_step(&c, lw_optimizer_set_freeze_plan, "gradual_unfreezing", &every);
    seconds[FIRST_STEPS + 3] = first_step(&c, lw_optimizer_set_freeze_plan, "chain_thaw", &every);
    seconds[FIRST_STEPS + 4] = first_step(&c, lw_optimizer_set_freeze_plan, "layer_freezing", &total);
    seconds[SCHEDULING] = calls(&c, set_schedule);
    crowd_destroy(&c);

    crowd_create(&c, count);
    start = now();
    crowd_fill(&c, own, COUNT(own));
    seconds[WITH_SETTINGS] = (now() - start) / (double)count;
    crowd_destroy(&c);
    seconds[EXPLAINING] = explaining(count / 5);
}

int main(void)
{
    double few[KINDS], many[KINDS], ratios[KINDS];
    int far = KINDS;
    for (int kind = 0; kind < KINDS; ++kind) {
        ratios[kind] = HUGE_VAL;
    }
    /* What else the machine does makes a ratio worse as often as better, so each has several tries. */
    for (int tries = 0; tries < TRIES && far > 0; ++tries) {
        measure(FEW, few);
        measure(MANY, many);
        far = 0;
        for (int kind = 0; kind < KINDS; ++kind) {
            const double ratio = many[kind] / (few[kind] + 1e-8);
            ratios[kind] = ratio < ratios[kind] ? ratio : ratios[kind];
            far += ratios[kind] >= MARGIN;
            printf("%-26s %8.2f us, %8.2f us among %d times as many: %.1f\n", kinds[kind], few[kind] * 1e6,
                   many[kind] * 1e6, MANY / FEW, ratio);
        }
    }
    CHECK(far == 0);
    return report();
}
