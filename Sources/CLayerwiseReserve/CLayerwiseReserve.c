// SPDX-License-Identifier: Apache-2.0
#include "CLayerwiseReserve.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

// What the linker calls the originals.  They are absent where nothing is wrapped, and then no reserve is of use.
#define ORIGINAL extern __attribute__((weak))
#define HIDDEN __attribute__((visibility("hidden")))
ORIGINAL void *__real_malloc(size_t size);
ORIGINAL void *__real_calloc(size_t count, size_t size);
ORIGINAL void *__real_realloc(void *memory, size_t size);
ORIGINAL int __real_posix_memalign(void **memory, size_t alignment, size_t size);
ORIGINAL size_t __real_malloc_usable_size(void *memory);
ORIGINAL void __real_free(void *memory);
// The run time is C++: its operator new throws; there is one that does not.
ORIGINAL void *__real__Znwm(size_t size);
ORIGINAL void __real__ZdlPvm(void *memory, size_t size);
ORIGINAL void *_ZnwmRKSt9nothrow_t(size_t size, const char *nothrow);
ORIGINAL const char _ZSt7nothrow;

// A block is 32 << class bytes, of which its head takes the first.
enum { reserve_count = 64, class_count = 40, smallest = 32, head = 16 };

typedef struct block {
    size_t class;
    struct block *next;  // while it is free
} block;

// Its owner alone takes from it and keeps lists of what came back, so there is no lock that a fork could leave locked.
static struct reserve {
    _Atomic(uintptr_t) range;  // where it starts, and in the low bits the logarithm of its size; 0: nowhere
    _Atomic(pthread_t) owner;  // 0: none any more
    atomic_long users;         // blocks in use, and one while it is open
    uintptr_t next, end;
    block *lists[class_count];
} reserves[reserve_count];

// How many were ever open.
static atomic_int used_count;

int32_t lwr_open(size_t bytes) {
    if (!__real_malloc) return 0;
    if (bytes > SIZE_MAX / 4) return -1;
    int logarithm = 16;
    while ((size_t)1 << logarithm < bytes) ++logarithm;
    for (int32_t i = 0; i < reserve_count; ++i) {
        struct reserve *r = &reserves[i];
        long none = 0;
        if (!atomic_compare_exchange_strong(&r->users, &none, 1)) continue;
        void *memory =
            mmap(NULL, (size_t)1 << logarithm, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            atomic_store(&r->users, 0);
            return -1;
        }
        r->next = (uintptr_t)memory;
        r->end = r->next + ((size_t)1 << logarithm);
        memset(r->lists, 0, sizeof r->lists);
        for (int count = atomic_load(&used_count);
             count <= i && !atomic_compare_exchange_weak(&used_count, &count, i + 1);) {}
        atomic_store(&r->range, (uintptr_t)memory | (uintptr_t)logarithm);
        atomic_store(&r->owner, pthread_self());
        return i;
    }
    return -1;
}

static void leave(struct reserve *r) {
    for (long users = atomic_load(&r->users); users > 1;)
        if (atomic_compare_exchange_weak(&r->users, &users, users - 1)) return;
    // The last one: nobody knows an address in it any more.
    uintptr_t range = atomic_exchange(&r->range, 0);
    munmap((void *)(range & ~(uintptr_t)0xfff), (size_t)1 << (range & 0xfff));
    atomic_store(&r->users, 0);
}

void lwr_close(int32_t ticket) {
    if (!__real_malloc || ticket < 0) return;
    atomic_store(&reserves[ticket].owner, 0);
    leave(&reserves[ticket]);
}

static struct reserve *holder(void *memory) {
    for (int i = 0, count = atomic_load_explicit(&used_count, memory_order_relaxed); i < count; ++i) {
        uintptr_t range = atomic_load(&reserves[i].range), start = range & ~(uintptr_t)0xfff;
        if (range && (uintptr_t)memory - start < (uintptr_t)1 << (range & 0xfff)) return &reserves[i];
    }
    return NULL;
}

static size_t room(void *memory) { return ((size_t)smallest << ((block *)((char *)memory - head))->class) - head; }

static void *take(size_t size) {
    size_t class = 0;
    while (class < class_count && ((size_t)smallest << class) - head < size) ++class;
    for (int i = 0; i < atomic_load(&used_count) && class < class_count; ++i) {
        struct reserve *r = &reserves[i];
        if (atomic_load(&r->owner) != pthread_self()) continue;
        block *b = r->lists[class];
        if (b) {
            r->lists[class] = b->next;
        } else {
            if (r->end - r->next < (size_t)smallest << class) continue;
            b = (block *)r->next;
            r->next += (size_t)smallest << class;
            b->class = class;
        }
        atomic_fetch_add(&r->users, 1);
        return (char *)b + head;
    }
    return NULL;
}

static void give_back(struct reserve *r, void *memory) {
    block *b = (block *)((char *)memory - head);
    if (atomic_load(&r->owner) == pthread_self()) {
        b->next = r->lists[b->class];
        r->lists[b->class] = b;
    }
    leave(r);
}

HIDDEN void *__wrap_malloc(size_t size) {
    void *memory = __real_malloc(size);
    return memory ? memory : take(size);
}

HIDDEN void *__wrap_calloc(size_t count, size_t size) {
    void *memory = __real_calloc(count, size);
    size_t bytes;
    if (memory || __builtin_mul_overflow(count, size, &bytes)) return memory;
    memory = take(bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

HIDDEN void *__wrap_realloc(void *memory, size_t size) {
    struct reserve *r = holder(memory);
    if (!r) return __real_realloc(memory, size);
    if (size <= room(memory)) return memory;
    void *larger = __wrap_malloc(size);
    if (!larger) return NULL;
    memcpy(larger, memory, room(memory));
    give_back(r, memory);
    return larger;
}

// The library's own buffers are aligned to more, and do without.
HIDDEN int __wrap_posix_memalign(void **memory, size_t alignment, size_t size) {
    int reason = __real_posix_memalign(memory, alignment, size);
    void *reserved = reason && alignment <= head ? take(size) : NULL;
    if (!reserved) return reason;
    *memory = reserved;
    return 0;
}

HIDDEN size_t __wrap_malloc_usable_size(void *memory) {
    return holder(memory) ? room(memory) : __real_malloc_usable_size(memory);
}

HIDDEN void __wrap_free(void *memory) {
    struct reserve *r = holder(memory);
    if (r) give_back(r, memory);
    else __real_free(memory);
}

HIDDEN void *__wrap__Znwm(size_t size) {
    void *memory = _ZnwmRKSt9nothrow_t(size, &_ZSt7nothrow);
    if (!memory) memory = take(size);
    return memory ? memory : __real__Znwm(size);
}

HIDDEN void __wrap__ZdlPvm(void *memory, size_t size) {
    struct reserve *r = holder(memory);
    if (r) give_back(r, memory);
    else __real__ZdlPvm(memory, size);
}
