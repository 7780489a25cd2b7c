/* Weights for training and for evaluation, and sums over all layers, from C.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

/** The call is refused with this code. */
#define FAILS(expected, call)                                                                                          \
    do {                                                                                                               \
        lw_error told = LW_ERROR_INIT;                                                                                 \
        lw_error *error = &told;                                                                                       \
        CHECK((call) == (expected) && told.code == (expected) && told.message[0] != '\0');                             \
    } while (0)

enum { COUNT_OF_WEIGHTS = 37 };

typedef struct own {
    lw_optimizer *optimizer;
    float weights[2][COUNT_OF_WEIGHTS];
    float gradients[2][COUNT_OF_WEIGHTS];
} own;

static void set_up(own *m, const char *rule)
{
    static const int64_t shape[] = {COUNT_OF_WEIGHTS};
    static const char *const names[] = {"body", "head"};
    memset(m, 0, sizeof *m);
    SUCCEEDS(lw_optimizer_create(&m->optimizer, rule, NULL, 0, error));
    for (int layer = 0; layer < 2; ++layer) {
        lw_tensor tensor = LW_TENSOR_INIT;
        for (int i = 0; i < COUNT_OF_WEIGHTS; ++i) {
            m->weights[layer][i] = (float)(i + 1) / COUNT_OF_WEIGHTS;
            m->gradients[layer][i] = (float)(i % 5) - 2.0F;
        }
        tensor.name = "weight";
        tensor.dtype = LW_FLOAT32;
        tensor.gradient_dtype = LW_FLOAT32;
        tensor.rank = 1;
        tensor.shape = shape;
        tensor.parameters = m->weights[layer];
        tensor.gradients = m->gradients[layer];
        SUCCEEDS(lw_optimizer_add_layer(m->optimizer, names[layer], &tensor, 1, NULL, 0, NULL, error));
    }
}

static int32_t mode_of(const own *m)
{
    int32_t mode = -1;
    SUCCEEDS(lw_optimizer_get_mode(m->optimizer, &mode, error));
    return mode;
}

static void test_modes(void)
{
    own m;
    float training[COUNT_OF_WEIGHTS], evaluation[COUNT_OF_WEIGHTS];
    int differ = 0;
    set_up(&m, "schedule_free_adamw");
    CHECK(mode_of(&m) == LW_MODE_TRAINING);
    for (int step = 0; step < 5; ++step) SUCCEEDS(lw_optimizer_step(m.optimizer, NULL, error));
    memcpy(training, m.weights[1], sizeof training);
    SUCCEEDS(lw_optimizer_set_mode(m.optimizer, LW_MODE_EVALUATION, error));
    CHECK(mode_of(&m) == LW_MODE_EVALUATION);
    memcpy(evaluation, m.weights[1], sizeof evaluation);
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_step(m.optimizer, NULL, error));
    CHECK(memcmp(evaluation, m.weights[1], sizeof evaluation) == 0);
    SUCCEEDS(lw_optimizer_set_mode(m.optimizer, LW_MODE_TRAINING, error));
    for (int i = 0; i < COUNT_OF_WEIGHTS; ++i) {
        differ += training[i] != evaluation[i];
        CHECK(fabs((double)m.weights[1][i] - (double)training[i]) < 1e-6);
    }
    CHECK(differ > COUNT_OF_WEIGHTS / 2);
    memcpy(training, m.weights[1], sizeof training);
    SUCCEEDS(lw_optimizer_assume_mode(m.optimizer, LW_MODE_EVALUATION, error));
    CHECK(mode_of(&m) == LW_MODE_EVALUATION && memcmp(training, m.weights[1], sizeof training) == 0);
    SUCCEEDS(lw_optimizer_assume_mode(m.optimizer, LW_MODE_TRAINING, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_assume_mode(m.optimizer, 2, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_mode(m.optimizer, 2, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_set_mode(m.optimizer, -1, error));
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_mode(m.optimizer, NULL, error));
    SUCCEEDS(lw_optimizer_step(m.optimizer, NULL, error));
    SUCCEEDS(lw_optimizer_destroy(m.optimizer, error));
}

/* A number that all tensors share is one number, by whichever tensor it is read. */
static void test_shared_numbers(void)
{
    own m;
    double first = 0, second = 0, infinite = INFINITY;
    lw_step step = LW_STEP_INIT;
    set_up(&m, "prodigy");
    for (int k = 0; k < 5; ++k) SUCCEEDS(lw_optimizer_step(m.optimizer, NULL, error));
    SUCCEEDS(lw_tensor_read_state(m.optimizer, 0, 0, "d", &first, sizeof first, error));
    SUCCEEDS(lw_tensor_read_state(m.optimizer, 1, 0, "d", &second, sizeof second, error));
    CHECK(first == second && first > 1e-6);
    first = 0.5;
    SUCCEEDS(lw_tensor_write_state(m.optimizer, 0, 0, "d", &first, sizeof first, error));
    SUCCEEDS(lw_tensor_read_state(m.optimizer, 1, 0, "d", &second, sizeof second, error));
    CHECK(second == 0.5);
    FAILS(LW_ERROR_OUT_OF_RANGE, lw_tensor_write_state(m.optimizer, 0, 0, "d", &infinite, sizeof infinite, error));
    step.layer = 1;
    FAILS(LW_ERROR_INVALID_ARGUMENT, lw_optimizer_step(m.optimizer, &step, error));
    SUCCEEDS(lw_optimizer_destroy(m.optimizer, error));
}

int main(void)
{
    test_modes();
    test_shared_numbers();
    return report();
}
