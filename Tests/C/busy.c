/* While one thread is inside a step, every other call on that optimizer is refused at once, destroying included.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L

#include "long_step.h"

int main(void)
{
    long_step s;
    long_step_create(&s);
    long_step_start(&s);
    all_refuse(s.optimizer, LW_ERROR_BUSY);
    lw_error told = LW_ERROR_INIT;
    memset(told.message, '#', sizeof told.message);
    check_refusal(LW_ERROR_BUSY, lw_optimizer_destroy(s.optimizer, &told), &told, "lw_optimizer_destroy", __FILE__,
                  __LINE__);
    long_step_join(&s);
    /* None of them disturbed the step. */
    lw_summary summary = LW_SUMMARY_INIT;
    SUCCEEDS(lw_optimizer_get_summary(s.optimizer, &summary, error));
    CHECK(summary.steps == 1);
    SUCCEEDS(lw_optimizer_destroy(s.optimizer, error));
    long_step_free(&s);
    return report();
}
