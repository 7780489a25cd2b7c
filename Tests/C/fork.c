/* A child of fork() goes on with an idle optimizer, to the same bits as its parent; one that was inside a step of
 * another thread answers LW_ERROR_FORKED and can be destroyed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L

#include "long_step.h"
#include "many.h"

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/** The exit status of a child; a failed check has status 1. */
enum { CHILD_FINE = 0 };

static void write_all(int file, const void *bytes, size_t size)
{
    const char *next = (const char *)bytes;
    while (size > 0) {
        ssize_t written = write(file, next, size);
        CHECK(written > 0);
        next += written;
        size -= (size_t)written;
    }
}

static void read_all(int file, void *bytes, size_t size)
{
    char *next = (char *)bytes;
    while (size > 0) {
        ssize_t taken = read(file, next, size);
        CHECK(taken > 0);
        next += taken;
        size -= (size_t)taken;
    }
}

static int wait_for(pid_t child)
{
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/** Parent and child step the same optimizer on, each in its own memory, before and after the pool has started. */
static void compare_with_child(run *parent, int steps_before)
{
    static run child_result;
    int ends[2];
    run_steps(parent, steps_before);
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ends[0]);
        run_steps(parent, RUN_STEPS);
        write_all(ends[1], parent->parameters, sizeof parent->parameters);
        SUCCEEDS(lw_optimizer_destroy(parent->optimizer, error));
        _exit(CHILD_FINE);
    }
    close(ends[1]);
    run_steps(parent, RUN_STEPS);
    read_all(ends[0], child_result.parameters, sizeof child_result.parameters);
    close(ends[0]);
    CHECK(wait_for(child) == CHILD_FINE);
    CHECK(memcmp(child_result.parameters, parent->parameters, sizeof parent->parameters) == 0);
}

/** A grandchild too: every generation starts its own threads. */
static void compare_generations(int seed)
{
    static run first;
    run_create(&first, seed);
    compare_with_child(&first, 0);
    compare_with_child(&first, 1);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        compare_with_child(&first, 2);
        _exit(CHILD_FINE);
    }
    CHECK(wait_for(child) == CHILD_FINE);
    run_destroy(&first);
}

/** In the child of a fork that happened inside a step. */
static int child_of_step(const long_step *s)
{
    static run fresh;
    all_refuse(s->optimizer, LW_ERROR_FORKED);
    SUCCEEDS(lw_optimizer_destroy(s->optimizer, error));
    all_refuse(s->optimizer, LW_ERROR_STALE_HANDLE);
    /* The library itself is as good as new. */
    run_create(&fresh, 3);
    run_steps(&fresh, 2);
    run_destroy(&fresh);
    return CHILD_FINE;
}

static void fork_inside_a_step(void)
{
    long_step s;
    long_step_create(&s);
    long_step_start(&s);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        _exit(child_of_step(&s));
    }
    CHECK(wait_for(child) == CHILD_FINE);
    long_step_join(&s);
    SUCCEEDS(lw_optimizer_destroy(s.optimizer, error));
    long_step_free(&s);
}

int main(void)
{
    compare_generations(3);
    compare_generations(4);
    fork_inside_a_step();
    return report();
}
