/* While one thread is inside a step, every other call on that optimizer is refused at once, destroying included.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L

#include "long_step.h"

/** One call into a running step.  Whether it came in time: a step that ended first lets the call through. */
static int meets_busy(const char *name, int32_t (*make)(lw_optimizer *, lw_error *))
{
    long_step s;
    lw_error told = LW_ERROR_INIT;
    int32_t code = LW_OK;
    long_step_create(&s);
    if (long_step_start(&s)) {
        memset(told.message, '#', sizeof told.message);
        code = make(s.optimizer, &told);
        if (code == LW_ERROR_BUSY) {
            check_refusal(LW_ERROR_BUSY, code, &told, name, __FILE__, __LINE__);
        }
    }
    long_step_join(&s);
    if (!(make == lw_optimizer_destroy && code == LW_OK)) {
        SUCCEEDS(lw_optimizer_destroy(s.optimizer, error));
    }
    long_step_free(&s);
    return code == LW_ERROR_BUSY;
}

/** All calls into the same few steps: each is refused with BUSY or comes between two steps. */
static int64_t meet_all(int *seen)
{
    long_step s;
    int64_t met = 0;
    long_step_create(&s);
    if (long_step_start(&s)) {
        for (int64_t i = 0; i < COUNT(calls); ++i) {
            if (calls[i].make == call_bind) {
                continue; /* let through, it would bind a buffer that is too small; it has a run of its own below */
            }
            lw_error told = LW_ERROR_INIT;
            memset(told.message, '#', sizeof told.message);
            if (calls[i].make(s.optimizer, &told) == LW_ERROR_BUSY) {
                check_refusal(LW_ERROR_BUSY, told.code, &told, calls[i].name, __FILE__, __LINE__);
                met += !seen[i];
                seen[i] = 1;
            }
        }
    }
    long_step_join(&s);
    SUCCEEDS(lw_optimizer_destroy(s.optimizer, error));
    long_step_free(&s);
    return met;
}

static int32_t bind_own(lw_optimizer *optimizer, lw_error *error)
{
    static float head[1];
    return lw_tensor_bind(optimizer, 1, 0, head, NULL, error);
}

int main(void)
{
    int seen[sizeof calls / sizeof calls[0]] = {0};
    int64_t met = 0;
    for (int tries = 0; met < COUNT(calls) - 1 && tries < 50; ++tries) {
        met += meet_all(seen);
    }
    CHECK(met == COUNT(calls) - 1);

    int destroyed = 0, bound = 0;
    for (int tries = 0; !destroyed && tries < 50; ++tries) {
        destroyed = meets_busy("lw_optimizer_destroy", lw_optimizer_destroy);
    }
    for (int tries = 0; !bound && tries < 50; ++tries) {
        bound = meets_busy("lw_tensor_bind", bind_own);
    }
    CHECK(destroyed && bound);
    return report();
}
