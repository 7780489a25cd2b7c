/* SPDX-License-Identifier: Apache-2.0
 *
 * To be preloaded: counts what a step allocates, on all threads. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_int counting;
static atomic_long allocations;

static void count(void) {
    if (atomic_load(&counting)) atomic_fetch_add(&allocations, 1);
}

void *malloc(size_t size) {
    count();
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size) {
    count();
    return __libc_calloc(n, size);
}
void *realloc(void *old, size_t size) {
    count();
    return __libc_realloc(old, size);
}
void *memalign(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **memory, size_t alignment, size_t size) {
    *memory = memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}
void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    count();
    return (void *)syscall(SYS_mmap, address, size, protection, flags, file, offset);
}

typedef int32_t (*step_function)(void *, const void *, void *);

/* Takes `steps` steps; what they allocated.  `code` is the last answer. */
long count_steps(step_function step, void *optimizer, const void *options, int steps, int32_t *code) {
    atomic_store(&allocations, 0);
    for (int taken = 0; taken < steps; taken++) {
        atomic_store(&counting, 1);
        *code = step(optimizer, options, NULL);
        atomic_store(&counting, 0);
    }
    return atomic_load(&allocations);
}

/* A sum over one process. */
int32_t sum_alone(double *sums, int64_t size, void *context) {
    (void)sums, (void)size, (void)context;
    return 0;
}

/* Some work of the allocator's, to see that it is counted. */
int32_t allocate(void *optimizer, const void *options, void *error) {
    (void)optimizer, (void)options, (void)error;
    void *volatile memory = malloc(100);
    __libc_realloc(memory, 0);
    return 0;
}
