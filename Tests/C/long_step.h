/* A step that stays inside the library until another thread lets it go on.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * It waits in the callback that adds up sums over processes, so that no test depends on who is faster.
 *
 * The first lines of a program that includes this define _POSIX_C_SOURCE 200809L.
 */
#ifndef LONG_STEP_H
#define LONG_STEP_H

#include "calls.h"

#include <pthread.h>

enum { LONG_COUNT = 1 << 16 };

typedef struct long_step {
    lw_optimizer *optimizer;
    float *parameters, *gradients;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int is_inside, may_go_on;
} long_step;

/** LAMB on one thread over two layers, "body" (65,536 elements) and "head" (1), so that the calls of calls.h fit it. */
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
    s->is_inside = s->may_go_on = 0;
    CHECK(pthread_mutex_init(&s->lock, NULL) == 0 && pthread_cond_init(&s->changed, NULL) == 0);
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
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
}

static inline int32_t long_step_wait(double *sums, int64_t count, void *context)
{
    long_step *s = (long_step *)context;
    (void)sums, (void)count;
    pthread_mutex_lock(&s->lock);
    s->is_inside = 1;
    pthread_cond_broadcast(&s->changed);
    while (!s->may_go_on) {
        pthread_cond_wait(&s->changed, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static inline void *long_step_run(void *argument)
{
    long_step *s = (long_step *)argument;
    lw_step step = LW_STEP_INIT;
    step.reduce = long_step_wait;
    step.reduce_context = s;
    CHECK(lw_optimizer_step(s->optimizer, &step, NULL) == LW_OK);
    return NULL;
}

/** Starts the step on another thread, and returns when that thread is inside it. */
static inline void long_step_start(long_step *s)
{
    CHECK(pthread_create(&s->thread, NULL, long_step_run, s) == 0);
    pthread_mutex_lock(&s->lock);
    while (!s->is_inside) {
        pthread_cond_wait(&s->changed, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
}

/** Lets the step go on, and returns when it is over. */
static inline void long_step_join(long_step *s)
{
    pthread_mutex_lock(&s->lock);
    s->may_go_on = 1;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    CHECK(pthread_join(s->thread, NULL) == 0);
}

#endif
