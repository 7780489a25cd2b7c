/* Training runs that must come out to the same bits wherever and whenever they are made.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MANY_H
#define MANY_H

#include "check.h"

enum { RUN_LAYERS = 3, RUN_COUNT = 50021, RUN_STEPS = 6 };

/** One optimizer over three layers of float32, on several threads, its gradients a fixed function of its parameters. */
typedef struct run {
    lw_optimizer *optimizer;
    float parameters[RUN_LAYERS][RUN_COUNT];
    float gradients[RUN_LAYERS][RUN_COUNT];
} run;

static inline void run_create(run *r, int seed)
{
    static const char *const rules[] = {"sgd", "lars", "adam", "adamw", "lamb"};
    static const char *const names[RUN_LAYERS] = {"stem", "body", "head"};
    static const int64_t extent[] = {RUN_COUNT};
    const lw_setting settings[] = {{"threads", 4, NULL}, {"clip_global_norm", 10, NULL}, {"telemetry", 1, NULL}};
    const lw_setting decay = {"decay", 0.7, NULL};
    const lw_spec policy = spec("layer_decay", &decay, 1);
    uint64_t state = 1000u + (uint64_t)seed;
    SUCCEEDS(lw_optimizer_create(&r->optimizer, rules[seed % COUNT(rules)], settings, COUNT(settings), error));
    SUCCEEDS(lw_optimizer_set_policy(r->optimizer, &policy, 1, error));
    for (int layer = 0; layer < RUN_LAYERS; ++layer) {
        lw_tensor tensor = LW_TENSOR_INIT;
        for (int i = 0; i < RUN_COUNT; ++i) {
            r->parameters[layer][i] = (float)next_uniform(&state);
        }
        tensor.name = "weight";
        tensor.rank = 1;
        tensor.shape = extent;
        tensor.parameters = r->parameters[layer];
        tensor.gradients = r->gradients[layer];
        SUCCEEDS(lw_optimizer_add_layer(r->optimizer, names[layer], &tensor, 1, NULL, 0, NULL, error));
    }
}

static inline void run_steps(run *r, int steps)
{
    for (int step = 0; step < steps; ++step) {
        if (step % 2 == 1) {
            SUCCEEDS(lw_optimizer_expect_step(r->optimizer, error));
        }
        for (int layer = 0; layer < RUN_LAYERS; ++layer) {
            for (int i = 0; i < RUN_COUNT; ++i) {
                float w = r->parameters[layer][i];
                r->gradients[layer][i] = w * w * w - 0.5f * w + 0.001f * (float)(i % 11);
            }
        }
        SUCCEEDS(lw_optimizer_step(r->optimizer, NULL, error));
    }
}

static inline void run_destroy(run *r) { SUCCEEDS(lw_optimizer_destroy(r->optimizer, error)); }

#endif
