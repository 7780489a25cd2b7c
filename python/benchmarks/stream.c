/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory's limit: loops that read and write what an optimizer step must, and compute next to nothing.
 *
 * The first arrays are written in place, the last one is only read, as parameters, moments and gradients are.  Threads
 * take blocks from a shared counter, so a thread that is held up does not hold up the others.  They are started anew in
 * each call: some 30 microseconds beside the milliseconds that large arrays need.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* Elements a block: smaller ones were up to 5 % slower, larger ones gained nothing. */
enum { BLOCK = 1 << 16, MAX_THREADS = 1024 };

/* float32 parameters and gradient, one float32 moment: SGD with momentum, LARS.  20 bytes an element. */
static void one_moment(void *const *arrays, int64_t from, int64_t to) {
    float *restrict w = arrays[0], *restrict m = arrays[1];
    const float *restrict g = arrays[2];
    for (int64_t i = from; i < to; i++) {
        m[i] += g[i];
        w[i] += g[i];
    }
}

/* float32 parameters and gradient, two float32 moments: the Adam family.  28 bytes an element. */
static void two_moments(void *const *arrays, int64_t from, int64_t to) {
    float *restrict w = arrays[0], *restrict m = arrays[1], *restrict v = arrays[2];
    const float *restrict g = arrays[3];
    for (int64_t i = from; i < to; i++) {
        m[i] += g[i];
        v[i] += g[i];
        w[i] += g[i];
    }
}

/* 16-bit parameters and gradient, two float32 moments.  22 bytes an element. */
static void two_moments_16_bit(void *const *arrays, int64_t from, int64_t to) {
    uint16_t *restrict w = arrays[0];
    float *restrict m = arrays[1], *restrict v = arrays[2];
    const uint16_t *restrict g = arrays[3];
    for (int64_t i = from; i < to; i++) {
        m[i] += 1.0f;
        v[i] += 1.0f;
        w[i] = (uint16_t)(w[i] + g[i]);
    }
}

static void (*const traffic[])(void *const *arrays, int64_t from, int64_t to) = {
    one_moment,
    two_moments,
    two_moments_16_bit,
};

struct job {
    void *const *arrays;
    int64_t count;
    int32_t kind;
    atomic_llong next_block;
};

static void *work(void *argument) {
    struct job *job = argument;
    for (;;) {
        const int64_t from = atomic_fetch_add(&job->next_block, 1) * BLOCK;
        if (from >= job->count) {
            return 0;
        }
        traffic[job->kind](job->arrays, from, job->count - from > BLOCK ? from + BLOCK : job->count);
    }
}

/* Streams once over `count` elements with `threads` threads, the caller's among them.  0, or an errno value. */
int32_t stream_run(int32_t kind, void *const *arrays, int64_t count, int32_t threads) {
    struct job job = {arrays, count, kind, 0};
    pthread_t others[MAX_THREADS];
    int32_t started = 0, error = 0;
    while (started < threads - 1 && started < MAX_THREADS && error == 0) {
        error = pthread_create(&others[started], 0, work, &job);
        started += error == 0;
    }
    work(&job);
    for (int32_t i = 0; i < started; i++) {
        pthread_join(others[i], 0);
    }
    return error;
}
