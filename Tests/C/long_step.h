/* An optimizer whose step takes long enough to be met inside it by another thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first lines of a program that includes this define _POSIX_C_SOURCE 200809L.
 */
#ifndef LONG_STEP_H
#define LONG_STEP_H

#include "calls.h"

#include <pthread.h>
#include <sched.h>

enum { LONG_COUNT = 1 << 22, LONG_STEPS = 4 };

typedef struct long_step {
    lw_optimizer *optimizer;
    float *parameters, *gradients;
    pthread_t thread;
} long_step;

/** LAMB on one thread over two layers, "body" (4 M elements) and "head" (1), so that the calls of calls.h fit it. */
static inline void long_step_create(long_step *s)
{
    static const int64_t extent[] = {LONG_COUNT};
    static float head[1];
    const lw_setting settings[] = {{"threads", 1, NULL}, {"lr", 1e-6, NULL}};
    lw_tensor tensor;
    s->parameters = (float *)malloc(LONG_COUNT * sizeof(float));
    s->gradients = (float *)malloc(LONG_COUNT * sizeof(float));
    CHECK(s->parameters != NULL && s->gradients != NULL);
    for (int i = 0; i < LONG_COUNT; ++i) {
        s->parameters[i] = 1.0f + (float)(i % 7);
        s->gradients[i] = 0.5f - (float)(i % 5) * 0.2f;
    }
    SUCCEEDS(lw_optimizer_create(&s->optimizer, "lamb", settings, COUNT(settings), error));
    tensor = vector("weight", LW_FLOAT32, s->parameters, s->gradients, extent);
    SUCCEEDS(lw_optimizer_add_layer(s->optimizer, "body", &tensor, 1, NULL, 0, NULL, error));
    tensor = vector("weight", LW_FLOAT32, head, NULL, NULL);
    tensor.rank = 0;
    SUCCEEDS(lw_optimizer_add_layer(s->optimizer, "head", &tensor, 1, NULL, 0, NULL, error));
}

static inline void long_step_free(long_step *s)
{
    free(s->parameters);
    free(s->gradients);
}

/** A step that the other thread's questions may keep out for a moment, and that a destroyed optimizer ends. */
static inline void *long_step_run(void *argument)
{
    const long_step *s = (const long_step *)argument;
    int taken = 0;
    while (taken < LONG_STEPS) {
        int32_t code = lw_optimizer_step(s->optimizer, NULL, NULL);
        if (code == LW_OK) {
            ++taken;
        } else if (code == LW_ERROR_STALE_HANDLE) {
            break;
        } else {
            CHECK(code == LW_ERROR_BUSY);
            sched_yield();
        }
    }
    return NULL;
}

/** Starts the steps on another thread.  Whether that thread has been seen inside one; after many tries it has not. */
static inline int long_step_start(long_step *s)
{
    CHECK(pthread_create(&s->thread, NULL, long_step_run, s) == 0);
    for (int i = 0; i < 100000; ++i) {
        if (call_get(s->optimizer, NULL) == LW_ERROR_BUSY) {
            return 1;
        }
        sched_yield();
    }
    return 0;
}

static inline void long_step_join(long_step *s) { CHECK(pthread_join(s->thread, NULL) == 0); }

#endif
