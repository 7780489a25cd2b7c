/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory's limit: loops that read and write what an optimizer step must, and compute next to nothing.
 *
 * The first arrays are written in place, the last one is only read, as parameters, moments and gradients are.  Threads
 * take blocks from a shared counter, so a thread that is held up does not hold up the others.  They are started anew in
 * each call: some 30 microseconds beside the milliseconds that large arrays need.
 *
 * A step that has to look before it may write (norms for a trust ratio, a check for NaN) goes over its data twice, and the
 * first time only reads, which memory does at another speed than reading and writing.  So the loop can do that too, a unit
 * at a time: a tensor, or everything.
 */
#include <pthread.h>
#include <sched.h>
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

/* Reads; the sum is there so that the compiler cannot leave it out. */
static float look(const float *restrict x, int64_t from, int64_t to) {
    float sums[16] = {0};
    for (int64_t i = from; i + 16 <= to; i += 16) {
        for (int lane = 0; lane < 16; lane++) {
            sums[lane] += x[i + lane];
        }
    }
    float sum = 0;
    for (int lane = 0; lane < 16; lane++) {
        sum += sums[lane];
    }
    return sum;
}

struct job {
    void *const *arrays;
    int64_t count, unit;
    int32_t kind, threads;
    /* The arrays that are looked at first: parameters and gradient, the gradient alone, or none. */
    int32_t looks[2], look_count;
    atomic_llong next_block, arrived;
    _Atomic float seen;
};

/* Waits until every thread is here; `phase` counts the times. */
static void meet(struct job *job, int64_t *phase) {
    ++*phase;
    atomic_fetch_add(&job->arrived, 1);
    while (atomic_load(&job->arrived) < *phase * job->threads) {
        sched_yield();
    }
}

/* Takes blocks from the one numbered `base` on, of the elements from `start` to `end`. */
static void take(struct job *job, int64_t base, int64_t start, int64_t end, int looking) {
    const int64_t blocks = (end - start + BLOCK - 1) / BLOCK;
    int64_t block;
    float seen = 0;
    while ((block = atomic_load(&job->next_block)) < base + blocks) {
        if (!atomic_compare_exchange_weak(&job->next_block, &(long long){block}, block + 1)) {
            continue;
        }
        const int64_t from = start + (block - base) * BLOCK, to = end - from > BLOCK ? from + BLOCK : end;
        if (looking) {
            for (int32_t i = 0; i < job->look_count; i++) {
                seen += look(job->arrays[job->looks[i]], from, to);
            }
        } else {
            traffic[job->kind](job->arrays, from, to);
        }
    }
    if (looking) {
        atomic_store(&job->seen, seen);
    }
}

static void *work(void *argument) {
    struct job *job = argument;
    int64_t base = 0, phase = 0;
    for (int64_t start = 0; start < job->count; start += job->unit) {
        const int64_t end = job->count - start > job->unit ? start + job->unit : job->count;
        const int64_t blocks = (end - start + BLOCK - 1) / BLOCK;
        if (job->look_count > 0) {
            take(job, base, start, end, 1);
            base += blocks;
            meet(job, &phase);
        }
        take(job, base, start, end, 0);
        base += blocks;
        if (job->look_count > 0) {
            meet(job, &phase);
        }
    }
    return 0;
}

/* Streams over `count` elements with `threads` threads, the caller's among them, `unit` elements at a time; the arrays in
 * `looks` are read first.  0, or an errno value. */
int32_t stream_run(int32_t kind, void *const *arrays, int64_t count, int64_t unit, const int32_t *looks,
                   int32_t look_count, int32_t threads) {
    struct job job = {.arrays = arrays, .count = count, .unit = unit, .kind = kind, .look_count = look_count};
    for (int32_t i = 0; i < look_count; i++) {
        job.looks[i] = looks[i];
    }
    pthread_t others[MAX_THREADS];
    job.threads = threads < MAX_THREADS ? threads : MAX_THREADS;
    int32_t started = 0, error = 0;
    while (started < job.threads - 1 && error == 0) {
        error = pthread_create(&others[started], 0, work, &job);
        started += error == 0;
    }
    /* Those that were not started are there in no meeting. */
    if (error != 0) {
        atomic_fetch_add(&job.arrived, (int64_t)1 << 62);
    }
    work(&job);
    for (int32_t i = 0; i < started; i++) {
        pthread_join(others[i], 0);
    }
    return error;
}
