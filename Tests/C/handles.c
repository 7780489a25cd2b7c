/* A handle that is NULL, stale or invented is refused by every function, whatever lies where it points.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "calls.h"

/** As refused as any other call, destroying included. */
static void refuse_handle(lw_optimizer *handle)
{
    lw_error told = LW_ERROR_INIT;
    all_refuse(handle, LW_ERROR_STALE_HANDLE);
    memset(told.message, '#', sizeof told.message);
    check_refusal(LW_ERROR_STALE_HANDLE, lw_optimizer_destroy(handle, &told), &told, "lw_optimizer_destroy", __FILE__,
                  __LINE__);
    check_refusal(LW_ERROR_STALE_HANDLE, lw_optimizer_destroy(handle, NULL), NULL, "lw_optimizer_destroy", __FILE__,
                  __LINE__);
}

static void refuse_inventions(const model *m)
{
    static const uintptr_t numbers[] = {1, 2, 3, 4, 7, 8, 16, 64, 0x1000, 0xDEADBEEF, UINTPTR_MAX, UINTPTR_MAX - 7,
                                        UINTPTR_MAX / 2, UINTPTR_MAX / 2 + 1};
    const uintptr_t good = (uintptr_t)m->optimizer;
    double local[8] = {0};
    uint64_t random = 17;
    for (int64_t i = 0; i < COUNT(numbers); ++i) {
        if (numbers[i] != good) {
            refuse_handle((lw_optimizer *)numbers[i]);
        }
    }
    for (unsigned bit = 0; bit < 8 * sizeof good; ++bit) {
        if ((good ^ (uintptr_t)1 << bit) != 0) {
            refuse_handle((lw_optimizer *)(good ^ (uintptr_t)1 << bit));
        }
    }
    for (int i = 0; i < 200; ++i) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        if ((uintptr_t)random != good && random != 0) {
            refuse_handle((lw_optimizer *)(uintptr_t)random);
        }
    }
    refuse_handle((lw_optimizer *)local);
    refuse_handle((lw_optimizer *)(uintptr_t)m);
}

/** Optimizers come and go; the handles of those that went stay stale. */
static void refuse_reuse(void)
{
    enum { ROUNDS = 40 };
    lw_optimizer *gone[ROUNDS];
    for (int i = 0; i < ROUNDS; ++i) {
        model m;
        model_create(&m);
        for (int j = 0; j < i; ++j) {
            CHECK(gone[j] != m.optimizer);
        }
        gone[i] = m.optimizer;
        model_destroy(&m);
        refuse_handle(gone[i]);
    }
    model last;
    snapshot before, after;
    model_create(&last);
    snapshot_take(&before, &last);
    for (int i = 0; i < ROUNDS; ++i) {
        refuse_handle(gone[i]);
    }
    snapshot_take(&after, &last);
    CHECK(before.size == after.size && memcmp(before.bytes, after.bytes, before.size) == 0);
    model_destroy(&last);
}

/** Thousands at once, destroyed in another order than they came. */
static void keep_many(void)
{
    enum { MANY = 3000 };
    static lw_optimizer *many[MANY];
    for (int i = 0; i < MANY; ++i) {
        const lw_setting rate = {"lr", (double)i, NULL};
        SUCCEEDS(lw_optimizer_create(&many[i], "sgd", &rate, 1, error));
    }
    for (int k = 0; k < MANY; ++k) {
        const int i = k * 7 % MANY;
        double rate = -1;
        SUCCEEDS(lw_optimizer_get(many[i], "lr", &rate, error));
        CHECK(rate == i);
        SUCCEEDS(lw_optimizer_destroy(many[i], error));
        CHECK(lw_optimizer_destroy(many[i], NULL) == LW_ERROR_STALE_HANDLE);
    }
}

int main(void)
{
    model m;
    model_create(&m);
    all_refuse(NULL, LW_ERROR_INVALID_ARGUMENT);
    SUCCEEDS(lw_optimizer_destroy(NULL, error));
    CHECK(lw_optimizer_destroy(NULL, NULL) == LW_OK);
    refuse_inventions(&m);
    model_destroy(&m);
    refuse_reuse();
    keep_many();
    return report();
}
