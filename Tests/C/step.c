/* Steps of every rule against plain double loops, in float32 and float64, with a rate for every layer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

enum { LAYERS = 3, LONGEST = 1031, STEPS = 20 };

static const int64_t sizes[LAYERS] = {1, 67, LONGEST};
static const char *const names[LAYERS] = {"stem", "body", "head"};

/** The same parameters in three forms, and the state of the reference. */
typedef struct layer {
    float narrow[LONGEST], narrow_gradient[LONGEST];
    double wide[LONGEST], wide_gradient[LONGEST];
    double w[LONGEST], m[LONGEST], v[LONGEST], highest[LONGEST];
} layer;

static layer layers[LAYERS];

/** One step of one layer by the reference: its gradient is `wide_gradient`, its rate `lr`, its count `t`. */
typedef void reference(layer *l, int64_t n, double lr, int t);

static double norm(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
        sum += x[i] * x[i];
    }
    return sqrt(sum);
}

/* ---- Rules, with the settings below ----------------------------------------------------------------------------- */

static const lw_setting sgd_settings[] = {
    {"lr", 0.05, NULL}, {"momentum", 0.9, NULL}, {"nesterov", 1, NULL}, {"weight_decay", 0.01, NULL}};

static void sgd(layer *l, int64_t n, double lr, int t)
{
    for (int64_t i = 0; i < n; ++i) {
        double g = l->wide_gradient[i] + 0.01 * l->w[i];
        l->m[i] = t == 1 ? g : 0.9 * l->m[i] + g;
        l->w[i] -= lr * (g + 0.9 * l->m[i]);
    }
}

static const lw_setting lars_settings[] = {
    {"lr", 2, NULL}, {"momentum", 0.9, NULL}, {"weight_decay", 0.01, NULL}, {"trust_coefficient", 0.02, NULL}};

static void lars(layer *l, int64_t n, double lr, int t)
{
    double w_norm = norm(l->w, n), g_norm = norm(l->wide_gradient, n);
    double ratio = w_norm > 0 && g_norm > 0 ? 0.02 * w_norm / (g_norm + 0.01 * w_norm) : 1;
    (void)t;
    for (int64_t i = 0; i < n; ++i) {
        l->m[i] = 0.9 * l->m[i] + lr * ratio * (l->wide_gradient[i] + 0.01 * l->w[i]);
        l->w[i] -= l->m[i];
    }
}

static const lw_setting adam_settings[] = {{"lr", 0.01, NULL},          {"beta1", 0.8, NULL}, {"beta2", 0.95, NULL},
                                           {"weight_decay", 0.1, NULL}, {"eps", 1e-6, NULL},  {"amsgrad", 1, NULL}};

static void adam(layer *l, int64_t n, double lr, int t)
{
    for (int64_t i = 0; i < n; ++i) {
        double g = l->wide_gradient[i] + 0.1 * l->w[i];
        l->m[i] = 0.8 * l->m[i] + 0.2 * g;
        l->v[i] = 0.95 * l->v[i] + 0.05 * g * g;
        l->highest[i] = fmax(l->highest[i], l->v[i]);
        l->w[i] -= lr / (1 - pow(0.8, t)) * l->m[i] / (sqrt(l->highest[i] / (1 - pow(0.95, t))) + 1e-6);
    }
}

static const lw_setting adamw_settings[] = {{"lr", 0.01, NULL}, {"weight_decay", 0.1, NULL}};

static void adamw(layer *l, int64_t n, double lr, int t)
{
    for (int64_t i = 0; i < n; ++i) {
        double g = l->wide_gradient[i];
        l->w[i] *= 1 - lr * 0.1;
        l->m[i] = 0.9 * l->m[i] + 0.1 * g;
        l->v[i] = 0.999 * l->v[i] + 0.001 * g * g;
        l->w[i] -= lr / (1 - pow(0.9, t)) * l->m[i] / (sqrt(l->v[i] / (1 - pow(0.999, t))) + 1e-8);
    }
}

static const lw_setting lamb_settings[] = {{"lr", 0.02, NULL}, {"weight_decay", 0.1, NULL}, {"ratio_max", 1.5, NULL}};

static void lamb(layer *l, int64_t n, double lr, int t)
{
    static double u[LONGEST];
    for (int64_t i = 0; i < n; ++i) {
        double g = l->wide_gradient[i];
        l->m[i] = 0.9 * l->m[i] + 0.1 * g;
        l->v[i] = 0.999 * l->v[i] + 0.001 * g * g;
        u[i] = l->m[i] / (1 - pow(0.9, t)) / (sqrt(l->v[i] / (1 - pow(0.999, t))) + 1e-6) + 0.1 * l->w[i];
    }
    double w_norm = norm(l->w, n), u_norm = norm(u, n);
    double ratio = w_norm > 0 && u_norm > 0 ? fmin(w_norm / u_norm, 1.5) : 1;
    for (int64_t i = 0; i < n; ++i) {
        l->w[i] -= lr * ratio * u[i];
    }
}

static const struct {
    const char *name;
    const lw_setting *settings;
    int64_t count;
    reference *reference_step;
} rules[] = {
    {"sgd", sgd_settings, COUNT(sgd_settings), sgd},     {"lars", lars_settings, COUNT(lars_settings), lars},
    {"adam", adam_settings, COUNT(adam_settings), adam}, {"adamw", adamw_settings, COUNT(adamw_settings), adamw},
    {"lamb", lamb_settings, COUNT(lamb_settings), lamb},
};

/* ---- Set-up ---------------------------------------------------------------------------------------------------- */

/** Parameters and gradients are float32 numbers in all three forms, so that only the arithmetic differs. */
static void initialise(uint64_t *state)
{
    for (int k = 0; k < LAYERS; ++k) {
        layer *l = &layers[k];
        memset(l, 0, sizeof *l);
        for (int64_t i = 0; i < sizes[k]; ++i) {
            l->narrow[i] = (float)next_uniform(state);
            l->wide[i] = l->w[i] = (double)l->narrow[i];
        }
    }
}

static void next_gradients(uint64_t *state)
{
    for (int k = 0; k < LAYERS; ++k) {
        for (int64_t i = 0; i < sizes[k]; ++i) {
            layers[k].narrow_gradient[i] = (float)(0.3 * next_uniform(state) + 0.1);
            layers[k].wide_gradient[i] = (double)layers[k].narrow_gradient[i];
        }
    }
}

static lw_optimizer *create(const char *rule, const lw_setting *settings, int64_t count, int32_t dtype)
{
    const lw_setting halves = {"decay", 0.5, NULL};
    const lw_spec policy = spec("layer_decay", &halves, 1);
    lw_optimizer *optimizer = NULL;
    SUCCEEDS(lw_optimizer_create(&optimizer, rule, settings, count, error));
    SUCCEEDS(lw_optimizer_set_policy(optimizer, &policy, 1, error));
    for (int k = 0; k < LAYERS; ++k) {
        int64_t index = -1;
        lw_tensor tensor = LW_TENSOR_INIT;
        tensor.name = "weight";
        tensor.dtype = dtype;
        tensor.rank = 1;
        tensor.shape = &sizes[k];
        tensor.parameters = dtype == LW_FLOAT64 ? (void *)layers[k].wide : (void *)layers[k].narrow;
        tensor.gradients = dtype == LW_FLOAT64 ? (void *)layers[k].wide_gradient : (void *)layers[k].narrow_gradient;
        SUCCEEDS(lw_optimizer_add_layer(optimizer, names[k], &tensor, 1, NULL, 0, &index, error));
        CHECK(index == k);
    }
    return optimizer;
}

static void destroy(lw_optimizer *optimizer) { SUCCEEDS(lw_optimizer_destroy(optimizer, error)); }

static double rate_of(lw_optimizer *optimizer, int k)
{
    lw_layer_info info = LW_LAYER_INFO_INIT;
    SUCCEEDS(lw_layer_get_info(optimizer, k, &info, error));
    return info.effective_lr;
}

/** The library's parameters are the reference's, within what rounding to the type explains. */
static void compare(int32_t dtype, int k)
{
    for (int64_t i = 0; i < sizes[k]; ++i) {
        double found = dtype == LW_FLOAT64 ? layers[k].wide[i] : (double)layers[k].narrow[i];
        double allowed = dtype == LW_FLOAT64 ? 1e-13 : 2e-6;
        CHECK(fabs(found - layers[k].w[i]) <= allowed * fmax(1, fabs(layers[k].w[i])));
    }
}

/* ---- Tests --------------------------------------------------------------------------------------------------- */

static void follow_reference(const char *rule, const lw_setting *settings, int64_t count, reference *step,
                             int32_t dtype)
{
    uint64_t state = 5;
    initialise(&state);
    lw_optimizer *optimizer = create(rule, settings, count, dtype);
    for (int t = 1; t <= STEPS; ++t) {
        next_gradients(&state);
        for (int k = 0; k < LAYERS; ++k) {
            double lr = settings[0].number * pow(0.5, LAYERS - 1 - k);
            CHECK(fabs(rate_of(optimizer, k) - lr) <= 1e-15 * lr);
            step(&layers[k], sizes[k], lr, t);
        }
        SUCCEEDS(lw_optimizer_step(optimizer, NULL, error));
        for (int k = 0; k < LAYERS; ++k) {
            compare(dtype, k);
        }
    }
    destroy(optimizer);
}

/** A frozen layer rests and a layer without a gradient waits; both go on with their own count. */
static void rest_and_wait(void)
{
    uint64_t state = 6;
    int counts[LAYERS] = {0, 0, 0};
    const double lr = adamw_settings[0].number;
    initialise(&state);
    lw_optimizer *optimizer = create("adamw", adamw_settings, COUNT(adamw_settings), LW_FLOAT64);
    for (int t = 0; t < STEPS; ++t) {
        const void *given[LAYERS];
        lw_step step = LW_STEP_INIT;
        const int frozen = t % 4 == 1 ? 0 : -1, missing = t % 3 == 1 ? 1 : -1;
        next_gradients(&state);
        if (frozen >= 0) {
            SUCCEEDS(lw_layer_freeze(optimizer, frozen, error));
            layers[frozen].wide_gradient[0] = NAN; /* is not read */
        }
        for (int k = 0; k < LAYERS; ++k) {
            given[k] = k == missing ? NULL : layers[k].wide_gradient;
            if (k != frozen && k != missing) {
                adamw(&layers[k], sizes[k], lr * pow(0.5, LAYERS - 1 - k), ++counts[k]);
            }
        }
        step.gradients = given;
        step.gradient_count = LAYERS;
        SUCCEEDS(lw_optimizer_step(optimizer, &step, error));
        if (frozen >= 0) {
            SUCCEEDS(lw_layer_unfreeze(optimizer, frozen, error));
        }
        for (int k = 0; k < LAYERS; ++k) {
            int64_t count = -1;
            compare(LW_FLOAT64, k);
            SUCCEEDS(lw_tensor_read_state(optimizer, k, 0, "step", &count, sizeof count, error));
            CHECK(count == counts[k]);
        }
    }
    destroy(optimizer);
}

/** One layer at a time, gradients divided by the scale, ascending. */
static void step_one_layer(void)
{
    uint64_t state = 7;
    const lw_setting settings[] = {{"lr", 0.1, NULL}, {"maximize", 1, NULL}};
    lw_step step = LW_STEP_INIT;
    initialise(&state);
    lw_optimizer *optimizer = create("sgd", settings, COUNT(settings), LW_FLOAT64);
    next_gradients(&state);
    step.layer = 1;
    step.gradient_scale = 8;
    SUCCEEDS(lw_optimizer_step(optimizer, &step, error));
    for (int64_t i = 0; i < sizes[1]; ++i) {
        layers[1].w[i] += 0.1 * 0.5 / 8 * layers[1].wide_gradient[i];
    }
    for (int k = 0; k < LAYERS; ++k) {
        compare(LW_FLOAT64, k);
    }
    destroy(optimizer);
}

/** Clipping by the global norm, and what the step then says of itself. */
static void clip_and_observe(void)
{
    uint64_t state = 8;
    const double lr = 0.1, limit = 0.5;
    const lw_setting settings[] = {{"lr", lr, NULL}, {"clip_global_norm", limit, NULL}, {"telemetry", 1, NULL}};
    lw_telemetry rows[LAYERS] = {LW_TELEMETRY_INIT, LW_TELEMETRY_INIT, LW_TELEMETRY_INIT};
    lw_summary summary = LW_SUMMARY_INIT;
    double squares = 0, factor;
    initialise(&state);
    lw_optimizer *optimizer = create("sgd", settings, COUNT(settings), LW_FLOAT64);
    next_gradients(&state);
    for (int k = 0; k < LAYERS; ++k) {
        squares += pow(norm(layers[k].wide_gradient, sizes[k]), 2);
    }
    factor = fmin(1, limit / (sqrt(squares) + 1e-6));
    SUCCEEDS(lw_optimizer_step(optimizer, NULL, error));
    SUCCEEDS(lw_optimizer_get_telemetry(optimizer, rows, LAYERS, error));
    SUCCEEDS(lw_optimizer_get_summary(optimizer, &summary, error));
    CHECK(factor < 1);
    CHECK(summary.steps == 1 && summary.skipped_steps == 0);
    CHECK(fabs(summary.gradient_norm - sqrt(squares)) < 1e-12 && fabs(summary.clip_factor - factor) < 1e-14);
    for (int k = 0; k < LAYERS; ++k) {
        double rate = lr * pow(0.5, LAYERS - 1 - k);
        double g_norm = norm(layers[k].wide_gradient, sizes[k]), w_norm = norm(layers[k].w, sizes[k]);
        for (int64_t i = 0; i < sizes[k]; ++i) {
            layers[k].w[i] -= rate * factor * layers[k].wide_gradient[i];
        }
        compare(LW_FLOAT64, k);
        CHECK(fabs(rows[k].gradient_norm - g_norm) < 1e-12 && fabs(rows[k].weight_norm - w_norm) < 1e-12);
        CHECK(fabs(rows[k].update_norm - rate * factor * g_norm) < 1e-12);
        CHECK(fabs(rows[k].update_ratio - rate * factor * g_norm / w_norm) < 1e-12);
        CHECK(rows[k].trust_ratio == 1 && rows[k].effective_lr == rate && rows[k].nonfinite_count == 0);
        CHECK(fabs(rows[k].clip_factor - factor) < 1e-14);
    }
    destroy(optimizer);
}

/** A program that was compiled before lw_telemetry had lost_count: rows are 8 bytes shorter, and nothing is written behind. */
static void observe_with_the_former_struct(void)
{
    enum { FORMER = 72 };
    uint64_t state = 8;
    const lw_setting settings[] = {{"lr", 0.1, NULL}, {"telemetry", 1, NULL}};
    lw_telemetry whole[LAYERS] = {LW_TELEMETRY_INIT, LW_TELEMETRY_INIT, LW_TELEMETRY_INIT};
    double aligned[LAYERS * FORMER / 8 + 1];
    unsigned char *const former = (unsigned char *)aligned;
    lw_telemetry *const rows = (lw_telemetry *)(void *)aligned;
    lw_telemetry *const last = (lw_telemetry *)(void *)(former + (LAYERS - 1) * FORMER);
    const uint32_t size = FORMER;
    initialise(&state);
    lw_optimizer *optimizer = create("sgd", settings, COUNT(settings), LW_FLOAT64);
    next_gradients(&state);
    SUCCEEDS(lw_optimizer_step(optimizer, NULL, error));
    memset(former, 0xa5, sizeof aligned);
    for (int k = 0; k < LAYERS; ++k) {
        memcpy(former + k * FORMER, &size, sizeof size);
        memcpy(former + k * FORMER + sizeof size, "\0\0\0", 4);
    }
    SUCCEEDS(lw_optimizer_get_telemetry(optimizer, whole, LAYERS, error));
    SUCCEEDS(lw_optimizer_get_telemetry(optimizer, rows, LAYERS, error));
    for (int k = 0; k < LAYERS; ++k) {
        CHECK(memcmp(former + k * FORMER + 8, (unsigned char *)&whole[k] + 8, FORMER - 8) == 0);
        CHECK(whole[k].update_norm > 0 && whole[k].lost_count == 0);
    }
    SUCCEEDS(lw_layer_get_telemetry(optimizer, LAYERS - 1, last, error));
    CHECK(former[LAYERS * FORMER] == 0xa5);
    destroy(optimizer);
}

/** State that is read and written back elsewhere goes on to the same bits. */
static void carry_state(void)
{
    uint64_t state = 9;
    static float continued[LONGEST];
    static double moments[2][LAYERS][LONGEST];
    int64_t counts[LAYERS];
    static const char *const moment_names[] = {"exp_avg", "exp_avg_sq"};
    initialise(&state);
    lw_optimizer *first = create("lamb", lamb_settings, COUNT(lamb_settings), LW_FLOAT32);
    next_gradients(&state);
    SUCCEEDS(lw_optimizer_step(first, NULL, error));
    SUCCEEDS(lw_optimizer_step(first, NULL, error));
    for (int k = 0; k < LAYERS; ++k) {
        SUCCEEDS(lw_tensor_read_state(first, k, 0, "step", &counts[k], 8, error));
        for (int j = 0; j < 2; ++j) {
            SUCCEEDS(lw_tensor_read_state(first, k, 0, moment_names[j], moments[j][k], 4 * sizes[k], error));
        }
    }
    memcpy(continued, layers[2].narrow, sizeof continued);
    SUCCEEDS(lw_optimizer_step(first, NULL, error));
    destroy(first);
    for (int64_t i = 0; i < LONGEST; ++i) {
        float after = layers[2].narrow[i];
        layers[2].narrow[i] = continued[i];
        continued[i] = after;
    }

    lw_optimizer *second = create("lamb", lamb_settings, COUNT(lamb_settings), LW_FLOAT32);
    for (int k = 0; k < LAYERS; ++k) {
        SUCCEEDS(lw_tensor_write_state(second, k, 0, "step", &counts[k], 8, error));
        for (int j = 0; j < 2; ++j) {
            SUCCEEDS(lw_tensor_write_state(second, k, 0, moment_names[j], moments[j][k], 4 * sizes[k], error));
        }
    }
    SUCCEEDS(lw_optimizer_step(second, NULL, error));
    CHECK(memcmp(layers[2].narrow, continued, sizeof continued) == 0);
    destroy(second);
}

int main(void)
{
    CHECK(lw_abi_version() == LW_ABI_VERSION);
    CHECK(lw_version()[0] != '\0' && lw_instruction_set()[0] != '\0' && lw_available_threads() >= 1);
    for (int64_t i = 0; i < COUNT(rules); ++i) {
        follow_reference(rules[i].name, rules[i].settings, rules[i].count, rules[i].reference_step, LW_FLOAT64);
        follow_reference(rules[i].name, rules[i].settings, rules[i].count, rules[i].reference_step, LW_FLOAT32);
    }
    rest_and_wait();
    step_one_layer();
    clip_and_observe();
    observe_with_the_former_struct();
    carry_state();
    return report();
}
