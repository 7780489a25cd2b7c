/* A signal handler forks while its thread is inside a step whose work threads share: in the child the step is either whole,
 * or it answers LW_ERROR_FORKED and the optimizer can be destroyed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _XOPEN_SOURCE 700

#include "calls.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ELEMENTS = 1 << 21, FORKS = 60, SECONDS = 20 };

/** Exit statuses of a child; a failed check has status 1. */
enum { CHILD_STEPPED = 0, CHILD_TORN = 3, CHILD_FORKED = 4 };

static volatile sig_atomic_t is_child, forks;
static float parameters[ELEMENTS], gradients[ELEMENTS];

static void fork_now(int number)
{
    (void)number;
    if (!is_child && forks < FORKS) {
        forks = forks + 1;
        if (fork() == 0) {
            is_child = 1;
        }
    }
}

static void set_timer(long microseconds)
{
    struct itimerval timer;
    memset(&timer, 0, sizeof timer);
    timer.it_value.tv_usec = timer.it_interval.tv_usec = microseconds;
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}

/** Whether every element was stepped that often, at a rate of 1 with gradients of 1. */
static int is_stepped(int steps)
{
    for (int i = 0; i < ELEMENTS; ++i) {
        if (parameters[i] != -(float)steps) {
            return 0;
        }
    }
    return 1;
}

/** In a child, which came back from the step in which it was forked. */
static int child_of_step(lw_optimizer *optimizer, int32_t code, int steps)
{
    if (code == LW_OK) {
        return is_stepped(steps) ? CHILD_STEPPED : CHILD_TORN;
    }
    CHECK(code == LW_ERROR_FORKED);
    CHECK(call_get(optimizer, NULL) == LW_ERROR_FORKED);
    CHECK(lw_optimizer_step(optimizer, NULL, NULL) == LW_ERROR_FORKED);
    SUCCEEDS(lw_optimizer_destroy(optimizer, error));
    /* The library itself is as good as new, with threads of its own. */
    const lw_setting settings[] = {{"threads", 2, NULL}, {"lr", 1, NULL}};
    const int64_t extent[] = {ELEMENTS};
    lw_tensor tensor = vector("weight", LW_FLOAT32, parameters, gradients, extent);
    lw_optimizer *other;
    memset(parameters, 0, sizeof parameters);
    SUCCEEDS(lw_optimizer_create(&other, "sgd", settings, COUNT(settings), error));
    SUCCEEDS(lw_optimizer_add_layer(other, "a", &tensor, 1, NULL, 0, NULL, error));
    for (int step = 0; step < 3; ++step) {
        SUCCEEDS(lw_optimizer_step(other, NULL, error));
    }
    CHECK(is_stepped(3));
    SUCCEEDS(lw_optimizer_destroy(other, error));
    return CHILD_FORKED;
}

int main(void)
{
    const lw_setting settings[] = {{"threads", 2, NULL}, {"lr", 1, NULL}};
    const int64_t extent[] = {ELEMENTS};
    lw_tensor tensor = vector("weight", LW_FLOAT32, parameters, gradients, extent);
    lw_optimizer *optimizer;
    struct sigaction action;
    int steps = 0;
    for (int i = 0; i < ELEMENTS; ++i) {
        gradients[i] = 1;
    }
    SUCCEEDS(lw_optimizer_create(&optimizer, "sgd", settings, COUNT(settings), error));
    SUCCEEDS(lw_optimizer_add_layer(optimizer, "a", &tensor, 1, NULL, 0, NULL, error));
    memset(&action, 0, sizeof action);
    action.sa_handler = fork_now;
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    set_timer(3000);
    for (time_t end = time(NULL) + SECONDS; forks < FORKS && time(NULL) < end;) {
        int32_t code = lw_optimizer_step(optimizer, NULL, NULL);
        ++steps;
        if (is_child) {
            /* Timers do not come along. */
            _exit(child_of_step(optimizer, code, steps));
        }
        CHECK(code == LW_OK);
    }
    set_timer(0);
    int stepped = 0, torn = 0, refused = 0;
    for (int child = 0; child < forks; ++child) {
        int status = 0;
        CHECK(wait(&status) > 0);
        CHECK(WIFEXITED(status));
        stepped += WEXITSTATUS(status) == CHILD_STEPPED;
        torn += WEXITSTATUS(status) == CHILD_TORN;
        refused += WEXITSTATUS(status) == CHILD_FORKED;
    }
    CHECK(torn == 0);
    CHECK(stepped + refused == forks && forks > 0);
    CHECK(is_stepped(steps));
    SUCCEEDS(lw_optimizer_destroy(optimizer, error));
    printf("%d forks: %d steps whole in the child, %d refused\n", (int)forks, stepped, refused);
    return report();
}
