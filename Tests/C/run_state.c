/* The run state as a text, from C: what is refused, what it says, and that it comes back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <layerwise_experimental.h>

/** The call is refused with this code. */
#define FAILS(expected, call)                                                                                          \
    do {                                                                                                               \
        lw_error told = LW_ERROR_INIT;                                                                                 \
        lw_error *error = &told;                                                                                       \
        CHECK((call) == (expected) && told.code == (expected) && told.message[0] != '\0');                             \
    } while (0)

static float weights[2][4] = {{1, 2, 3, 4}, {1, 1, 1, 1}}, gradients[2][4] = {{1, 1, 1, 1}, {1, -1, 1, -1}};

static lw_optimizer *made(void)
{
    static const int64_t shape[] = {4};
    static const char *const names[] = {"body", "head"};
    lw_optimizer *optimizer = NULL;
    SUCCEEDS(lw_optimizer_create(&optimizer, "sgd", NULL, 0, error));
    for (int layer = 0; layer < 2; ++layer) {
        lw_tensor tensor = LW_TENSOR_INIT;
        tensor.name = "weight";
        tensor.dtype = LW_FLOAT32;
        tensor.gradient_dtype = LW_FLOAT32;
        tensor.rank = 1;
        tensor.shape = shape;
        tensor.parameters = weights[layer];
        tensor.gradients = gradients[layer];
        SUCCEEDS(lw_optimizer_add_layer(optimizer, names[layer], &tensor, 1, NULL, 0, NULL, error));
    }
    return optimizer;
}

static int64_t next_step(lw_optimizer *optimizer)
{
    lw_summary summary = LW_SUMMARY_INIT;
    SUCCEEDS(lw_optimizer_get_summary(optimizer, &summary, error));
    return summary.next_step;
}

static void test_there_and_back(void)
{
    lw_optimizer *const one = made(), *const other = made();
    char text[256];
    int64_t needed = 0, said = 7;
    SUCCEEDS(lw_optimizer_get_run_state(one, text, sizeof text, &needed, error));
    CHECK(strcmp(text, "{}") == 0 && needed == 3);
    SUCCEEDS(lw_optimizer_set_run_state(one, text, needed - 1, 0, 4, &said, error));
    CHECK(said == -1 && next_step(one) == 4);
    SUCCEEDS(lw_optimizer_step(one, NULL, error));
    SUCCEEDS(lw_layer_freeze(one, 1, error));
    FAILS(LW_ERROR_BUFFER_TOO_SMALL, lw_optimizer_get_run_state(one, NULL, 0, &needed, error));
    CHECK(needed > 3 && needed <= (int64_t)sizeof text);
    FAILS(LW_ERROR_BUFFER_TOO_SMALL, lw_optimizer_get_run_state(one, text, needed - 1, NULL, error));
    SUCCEEDS(lw_optimizer_get_run_state(one, text, needed, NULL, error));
    /* It needs no NUL. */
    text[needed - 1] = '?';
    SUCCEEDS(lw_optimizer_set_run_state(other, text, needed - 1, LW_RUN_STATE_CHECK, 0, &said, error));
    CHECK(said == 5 && next_step(other) == 0);
    SUCCEEDS(lw_optimizer_set_run_state(other, text, needed - 1, 0, 0, NULL, error));
    CHECK(next_step(other) == 5);
    SUCCEEDS(lw_optimizer_set_run_state(other, NULL, 0, 0, 0, NULL, error));
    CHECK(next_step(other) == 0);
    SUCCEEDS(lw_optimizer_destroy(one, error));
    SUCCEEDS(lw_optimizer_destroy(other, error));
}

static void test_misuse(void)
{
    static const char forged[] = "{\"version\": 2, \"next_step\": 9, \"layers\": {\"head\": {\"frozen\": 1}}}";
    static const char others[] = "{\"version\": 2, \"next_step\": 9, \"layers\": {\"tail\": {\"frozen\": \"yes\"}}}";
    lw_optimizer *const optimizer = made();
    lw_error told = LW_ERROR_INIT;
    char text[8];
    int64_t said = 7;
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_run_state(optimizer, text, -1, NULL, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_run_state(optimizer, NULL, 8, NULL, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_run_state(NULL, text, sizeof text, NULL, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_run_state(NULL, "{}", 2, 0, 0, NULL, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_run_state(optimizer, NULL, 2, 0, 0, NULL, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_run_state(optimizer, "{}", -1, 0, 0, NULL, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_run_state(optimizer, "{}", 2, 4, 0, NULL, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_run_state(optimizer, "{}", 2, -1, 0, NULL, error));
    FAILS(LW_ERROR_OUT_OF_RANGE, lw_optimizer_set_run_state(optimizer, "{}", 2, 0, -1, NULL, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_run_state(optimizer, "{}", 1, 0, 0, NULL, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_run_state(optimizer, "{}", 3, 0, 0, NULL, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_run_state(optimizer, others, sizeof others - 1, 0, 0, &said, error));
    CHECK(lw_optimizer_set_run_state(optimizer, forged, sizeof forged - 1, LW_RUN_STATE_KNOWN, 0, &said, &told) ==
          LW_ERROR_INVALID_ARGUMENT);
    CHECK(told.layer == 1 && strstr(told.message, "layer \"head\": frozen must be text") != NULL);
    CHECK(said == 7 && next_step(optimizer) == 0);
    SUCCEEDS(lw_optimizer_set_run_state(optimizer, others, sizeof others - 1, LW_RUN_STATE_KNOWN, 0, &said, error));
    CHECK(said == 9 && next_step(optimizer) == 9);
    SUCCEEDS(lw_optimizer_destroy(optimizer, error));
    FAILS(LW_ERROR_STALE_HANDLE, lw_optimizer_get_run_state(optimizer, text, sizeof text, NULL, error));
}

int main(void)
{
    test_there_and_back();
    test_misuse();
    return report();
}
