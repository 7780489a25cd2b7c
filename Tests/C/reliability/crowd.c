/* Threads that save to one path and load from it, each with an optimizer of its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     crowd PATH WRITERS READERS MILLISECONDS [NAMESPACES]
 *
 * prints how many saves succeeded and failed, how many loads were whole, and how many were not: refused, or with numbers of two
 * saves.  With NAMESPACES it does so in as many processes, each the first of a pid namespace of its own, as containers on one
 * volume are, so that all have the same process id.  The status is 77 where this system permits no namespace.
 */
#define _GNU_SOURCE
#include <layerwise.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ELEMENTS = 2000 };

typedef struct board {
    atomic_llong saved, failed, whole, torn;
    char first[256];
} board;

static const char *path;
static double until;
static board *seen;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static lw_optimizer *create(float *weights)
{
    static const int64_t shape[1] = {ELEMENTS};
    lw_optimizer *optimizer = NULL;
    lw_tensor tensor = LW_TENSOR_INIT;
    tensor.name = "weight";
    tensor.parameters = weights;
    tensor.shape = shape;
    tensor.rank = 1;
    if (lw_optimizer_create(&optimizer, "sgd", NULL, 0, NULL) != LW_OK
        || lw_optimizer_add_layer(optimizer, "a", &tensor, 1, NULL, 0, NULL, NULL) != LW_OK) {
        exit(2);
    }
    return optimizer;
}

static int32_t save(lw_optimizer *optimizer, lw_error *error)
{
    const lw_setting option = {"parameters", 1, NULL};
    return lw_optimizer_save(optimizer, path, &option, 1, error);
}

static void tell(const char *message)
{
    static atomic_flag told = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&told)) {
        snprintf(seen->first, sizeof seen->first, "%s", message);
    }
}

static void *write_until(void *argument)
{
    float *weights = calloc(ELEMENTS, sizeof *weights);
    lw_optimizer *optimizer = create(weights);
    for (long version = 1 + (long)(intptr_t)argument; now() < until; version += 16) {
        lw_error error = LW_ERROR_INIT;
        for (int i = 0; i < ELEMENTS; ++i) {
            weights[i] = (float)version;
        }
        if (save(optimizer, &error) == LW_OK) {
            ++seen->saved;
        } else {
            ++seen->failed;
            tell(error.message);
        }
    }
    lw_optimizer_destroy(optimizer, NULL);
    free(weights);
    return NULL;
}

static void *read_until(void *argument)
{
    float *weights = calloc(ELEMENTS, sizeof *weights);
    lw_optimizer *optimizer = create(weights);
    (void)argument;
    while (now() < until) {
        lw_error error = LW_ERROR_INIT;
        int bad = lw_optimizer_load(optimizer, path, NULL, 0, NULL, 0, &error) != LW_OK;
        for (int i = 0; i < ELEMENTS; ++i) {
            bad |= weights[i] < 1 || weights[i] != weights[0];
        }
        ++*(bad ? &seen->torn : &seen->whole);
        if (bad) {
            tell(error.message);
        }
    }
    lw_optimizer_destroy(optimizer, NULL);
    free(weights);
    return NULL;
}

static void crowd(int writers, int readers)
{
    pthread_t threads[64];
    for (int i = 0; i < writers + readers; ++i) {
        if (pthread_create(&threads[i], NULL, i < writers ? write_until : read_until, (void *)(intptr_t)i) != 0) {
            exit(2);
        }
    }
    for (int i = 0; i < writers + readers; ++i) {
        pthread_join(threads[i], NULL);
    }
}

/** Does so as the first process of a pid namespace.  A child of this process is the first, so this one is as well a child. */
static int in_namespace(int writers, int readers)
{
    /* A user who may not create a namespace of processes alone may create it with one of users. */
    if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) {
        return 77;
    }
    int status;
    const pid_t child = fork();
    if (child == 0) {
        if (getpid() != 1) {
            _exit(2);
        }
        crowd(writers, readers);
        _exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        return 2;
    }
    const int writers = atoi(argv[2]), readers = atoi(argv[3]), namespaces = argc > 5 ? atoi(argv[5]) : 0;
    path = argv[1];
    if (writers + readers > 64) {
        return 2;
    }
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seen == MAP_FAILED) {
        return 2;
    }
    float *weights = calloc(ELEMENTS, sizeof *weights);
    for (int i = 0; i < ELEMENTS; ++i) {
        weights[i] = 1;
    }
    lw_optimizer *first = create(weights);
    if (save(first, NULL) != LW_OK) {
        return 2;
    }
    lw_optimizer_destroy(first, NULL);
    free(weights);
    until = now() + atof(argv[4]) * 1e-3;
    if (namespaces == 0) {
        crowd(writers, readers);
    }
    for (int i = 0; i < namespaces; ++i) {
        if (fork() == 0) {
            _exit(in_namespace(writers, readers));
        }
    }
    int status, bad = 0;
    while (wait(&status) > 0) {
        bad = WIFEXITED(status) ? (WEXITSTATUS(status) > bad ? WEXITSTATUS(status) : bad) : 2;
    }
    if (bad != 0) {
        return bad;
    }
    printf("%lld\t%lld\t%lld\t%lld\t%s\n", (long long)seen->saved, (long long)seen->failed, (long long)seen->whole,
           (long long)seen->torn, seen->first);
    return 0;
}
