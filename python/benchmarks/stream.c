/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory's limit: loops that read and write what an optimizer step must, and compute next to nothing.
 *
 * The first arrays are written in place, the last one is only read, as parameters, moments and gradients are.  Threads
 * take blocks from a shared counter, so a thread that is held up does not hold up the others.  Each call starts them
 * again: some 30 microseconds beside the milliseconds that large arrays need.
 *
 * Which loop is the fastest depends on the processor, so there is a family of them, and the limit is the fastest in a run:
 * element by element, a cache line of each array at a time, that with prefetching, and with stores past the caches.
 *
 * A step that has to look before it may write (norms for a trust ratio, a check for NaN) goes over its data twice, and the
 * first time only reads, which memory does at another speed than reading and writing.  So the loop can do that too, a unit
 * at a time: a tensor, or everything.
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* Elements a block: smaller ones were up to 5 % slower, larger ones gained nothing. */
enum { BLOCK = 1 << 16, MAX_THREADS = 1024, LINE = 16 };

#define INLINE static inline __attribute__((always_inline))

/* The first `written` float32 arrays are read and written, `copies` more are read, and the gradient is the last.  Both numbers are
 * constants where this is called, so that nothing is left of the tests. */
INLINE void add(void *const *arrays, const int written, const int copies, int64_t from, int64_t to) {
    float *restrict w = arrays[0];
    float *restrict m = written > 1 ? arrays[1] : 0;
    float *restrict v = written > 2 ? arrays[2] : 0;
    float *restrict u = written > 3 ? arrays[3] : 0;
    float *restrict n = written > 4 ? arrays[4] : 0;
    const float *restrict c = copies > 0 ? arrays[written] : 0;
    const float *restrict g = arrays[written + copies];
    for (int64_t i = from; i < to; i++) {
        if (written > 1) m[i] += g[i];
        if (written > 2) v[i] += g[i];
        if (written > 3) u[i] += g[i];
        if (written > 4) n[i] += g[i];
        w[i] += copies > 0 ? g[i] + c[i] : g[i];
    }
}

/* 16-bit parameters and gradient, two float32 moments.  22 bytes an element. */
INLINE void two_moments_16_bit(void *const *arrays, int64_t from, int64_t to) {
    uint16_t *restrict w = arrays[0];
    float *restrict m = arrays[1], *restrict v = arrays[2];
    const uint16_t *restrict g = arrays[3];
    for (int64_t i = from; i < to; i++) {
        m[i] += 1.0f;
        v[i] += 1.0f;
        w[i] = (uint16_t)(w[i] + g[i]);
    }
}

/* float32 parameters and gradient, two float32 moments and a byte: AdamW that keeps the signs of its last change.  30 bytes. */
INLINE void two_moments_and_signs(void *const *arrays, int64_t from, int64_t to) {
    float *restrict w = arrays[0], *restrict m = arrays[1], *restrict v = arrays[2];
    int8_t *restrict s = arrays[3];
    const float *restrict g = arrays[4];
    for (int64_t i = from; i < to; i++) {
        m[i] += g[i];
        v[i] += g[i];
        w[i] += g[i];
    }
    for (int64_t i = from; i < to; i++) s[i] ^= 1;
}

/* One float32 moment, and the root and the quotient of an element that Adagrad and RMSprop cannot do without.  Where the processor
 * divides more slowly than its memory delivers, that is the limit. */
INLINE void one_moment_and_root(void *const *arrays, int64_t from, int64_t to) {
    float *restrict w = arrays[0], *restrict m = arrays[1];
    const float *restrict g = arrays[2];
    for (int64_t i = from; i < to; i++) {
        m[i] += g[i];
        w[i] += g[i] / sqrtf(m[i]);
    }
}

/* Two float32 moments, and the two roots and the quotient of Adadelta. */
INLINE void two_moments_and_roots(void *const *arrays, int64_t from, int64_t to) {
    float *restrict w = arrays[0], *restrict m = arrays[1], *restrict v = arrays[2];
    const float *restrict g = arrays[3];
    for (int64_t i = from; i < to; i++) {
        m[i] += g[i];
        v[i] += g[i];
        w[i] += g[i] / sqrtf(m[i]) * sqrtf(v[i]);
    }
}

#if defined(__SSE2__)
/* Adds `g`, or 1, with stores past the caches, for `from`, `to` and arrays that are whole cache lines. */
INLINE void add_one_past_caches(float *target, const float *g, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += 4) {
        const __m128 addend = g != 0 ? _mm_load_ps(g + i) : _mm_set1_ps(1.0f);
        _mm_stream_ps(target + i, _mm_add_ps(_mm_load_ps(target + i), addend));
    }
}
INLINE void add_past_caches(void *const *arrays, const int written, const int copies, int64_t from, int64_t to) {
    const float *g = arrays[written + copies];
    for (int n = 1; n < written; n++) add_one_past_caches(arrays[n], g, from, to);
    if (copies == 0) {
        add_one_past_caches(arrays[0], g, from, to);
        return;
    }
    float *w = arrays[0];
    const float *c = arrays[written];
    for (int64_t i = from; i < to; i += 4) {
        const __m128 addend = _mm_add_ps(_mm_load_ps(c + i), _mm_load_ps(g + i));
        _mm_stream_ps(w + i, _mm_add_ps(_mm_load_ps(w + i), addend));
    }
}
INLINE void two_moments_16_bit_past_caches(void *const *arrays, int64_t from, int64_t to) {
    uint16_t *w = arrays[0];
    const uint16_t *g = arrays[3];
    add_one_past_caches(arrays[1], 0, from, to);
    add_one_past_caches(arrays[2], 0, from, to);
    for (int64_t i = from; i < to; i += 8) {
        __m128i *target = (__m128i *)(w + i);
        _mm_stream_si128(target, _mm_add_epi16(_mm_load_si128(target), _mm_load_si128((const __m128i *)(g + i))));
    }
}
INLINE void two_moments_and_signs_past_caches(void *const *arrays, int64_t from, int64_t to) {
    int8_t *s = arrays[3];
    for (int n = 0; n < 3; n++) add_one_past_caches(arrays[n], arrays[4], from, to);
    for (int64_t i = from; i < to; i += 16) {
        __m128i *target = (__m128i *)(s + i);
        _mm_stream_si128(target, _mm_xor_si128(_mm_load_si128(target), _mm_set1_epi8(1)));
    }
}
#else
#define add_past_caches add
#define two_moments_16_bit_past_caches two_moments_16_bit
#define two_moments_and_signs_past_caches two_moments_and_signs
#endif
#define one_moment_and_root_past_caches one_moment_and_root
#define two_moments_and_roots_past_caches two_moments_and_roots

#define FLOATS(kind, written, copies)                                                                                  \
    INLINE void kind(void *const *arrays, int64_t from, int64_t to) { add(arrays, written, copies, from, to); }        \
    INLINE void kind##_past_caches(void *const *arrays, int64_t from, int64_t to) {                                    \
        add_past_caches(arrays, written, copies, from, to);                                                            \
    }

FLOATS(floats_1_0, 1, 0)
FLOATS(floats_2_0, 2, 0)
FLOATS(floats_3_0, 3, 0)
FLOATS(floats_4_0, 4, 0)
FLOATS(floats_5_0, 5, 0)
FLOATS(floats_1_1, 1, 1)
FLOATS(floats_2_1, 2, 1)
FLOATS(floats_3_1, 3, 1)
FLOATS(floats_4_1, 4, 1)

/* How a loop goes over the elements. */
enum { BY_ELEMENT, BY_LINE, PREFETCHING, PAST_CACHES };

/* `sizes`: bytes of an element of each array. */
#define TRAFFIC(kind, ...)                                                                                             \
    static void run_##kind(void *const *arrays, int64_t from, int64_t to, int32_t way, int64_t ahead) {                \
        static const int64_t sizes[] = {__VA_ARGS__};                                                                  \
        enum { COUNT = sizeof sizes / sizeof sizes[0] };                                                               \
        int64_t i = from;                                                                                              \
        if (way == BY_LINE) {                                                                                          \
            for (; i + LINE <= to; i += LINE) kind(arrays, i, i + LINE);                                               \
        } else if (way == PREFETCHING) {                                                                               \
            for (; i + LINE <= to; i += LINE) {                                                                        \
                for (int n = 0; n < COUNT; n++) {                                                                      \
                    __builtin_prefetch((const char *)arrays[n] + i * sizes[n] + ahead, n < COUNT - 1);                 \
                }                                                                                                      \
                kind(arrays, i, i + LINE);                                                                             \
            }                                                                                                          \
        } else if (way == PAST_CACHES) {                                                                               \
            for (; i + LINE <= to; i += LINE) kind##_past_caches(arrays, i, i + LINE);                                 \
        }                                                                                                              \
        kind(arrays, i, to);                                                                                           \
    }

TRAFFIC(floats_1_0, 4, 4)
TRAFFIC(floats_2_0, 4, 4, 4)
TRAFFIC(floats_3_0, 4, 4, 4, 4)
TRAFFIC(floats_4_0, 4, 4, 4, 4, 4)
TRAFFIC(floats_5_0, 4, 4, 4, 4, 4, 4)
TRAFFIC(floats_1_1, 4, 4, 4)
TRAFFIC(floats_2_1, 4, 4, 4, 4)
TRAFFIC(floats_3_1, 4, 4, 4, 4, 4)
TRAFFIC(floats_4_1, 4, 4, 4, 4, 4, 4)
TRAFFIC(two_moments_16_bit, 2, 4, 4, 2)
TRAFFIC(two_moments_and_signs, 4, 4, 4, 1, 4)
TRAFFIC(one_moment_and_root, 4, 4, 4)
TRAFFIC(two_moments_and_roots, 4, 4, 4, 4)

static const struct {
    const char *name;
    void (*run)(void *const *arrays, int64_t from, int64_t to, int32_t way, int64_t ahead);
} traffic[] = {
    {"floats_1_0", run_floats_1_0},
    {"floats_2_0", run_floats_2_0},
    {"floats_3_0", run_floats_3_0},
    {"floats_4_0", run_floats_4_0},
    {"floats_5_0", run_floats_5_0},
    {"floats_1_1", run_floats_1_1},
    {"floats_2_1", run_floats_2_1},
    {"floats_3_1", run_floats_3_1},
    {"floats_4_1", run_floats_4_1},
    {"two_moments_16_bit", run_two_moments_16_bit},
    {"two_moments_and_signs", run_two_moments_and_signs},
    {"one_moment_and_root", run_one_moment_and_root},
    {"two_moments_and_roots", run_two_moments_and_roots},
};

/* The number of the loop of this name, or -1. */
int32_t stream_kind(const char *name) {
    const int32_t count = sizeof traffic / sizeof traffic[0];
    for (int32_t kind = 0; kind < count; kind++) {
        if (strcmp(traffic[kind].name, name) == 0) return kind;
    }
    return -1;
}

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
    int32_t kind, threads, way;
    int64_t ahead;
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
            traffic[job->kind].run(job->arrays, from, to, job->way, job->ahead);
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
 * `looks` are read first.  `way` is how a loop goes over the elements, `ahead` how far ahead it prefetches, in bytes.
 * Returns 0, or an errno value. */
int32_t stream_run(int32_t kind, void *const *arrays, int64_t count, int64_t unit, const int32_t *looks,
                   int32_t look_count, int32_t threads, int32_t way, int64_t ahead) {
    struct job job = {.arrays = arrays, .count = count, .unit = unit, .kind = kind, .look_count = look_count,
                      .way = way, .ahead = ahead};
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
