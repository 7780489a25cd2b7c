/* Snapshots and searches with wrong arguments: each call is refused with its code, and nothing changes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L

#include "long_step.h"

#include <math.h>

static void step(model *m) { SUCCEEDS(lw_optimizer_step(m->optimizer, NULL, error)); }

/** A snapshot can be restored any number of times, with the same bits. */
static void restore(model *m)
{
    snapshot before, after;
    lw_snapshot *kept = NULL;
    int64_t size = 0;
    SUCCEEDS(lw_optimizer_snapshot(m->optimizer, &kept, error));
    CHECK(kept != NULL);
    SUCCEEDS(lw_snapshot_get_size(kept, &size, error));
    CHECK(size >= 9 * 3 * 4 + 4 * 3 * 8);
    snapshot_take(&before, m);
    for (int round = 0; round < 3; ++round) {
        step(m);
        m->head[0] = 1e9;
        SUCCEEDS(lw_layer_freeze(m->optimizer, 1, error));
        SUCCEEDS(lw_optimizer_restore(m->optimizer, kept, error));
        snapshot_take(&after, m);
        CHECK(before.size == after.size && memcmp(before.bytes, after.bytes, before.size) == 0);
    }
    SUCCEEDS(lw_snapshot_destroy(kept, error));
    CHECK(lw_snapshot_destroy(kept, NULL) == LW_ERROR_STALE_HANDLE);
    REFUSED(m, LW_ERROR_STALE_HANDLE, lw_optimizer_restore(m->optimizer, kept, error));
    REFUSED(m, LW_ERROR_STALE_HANDLE, lw_snapshot_destroy(kept, error));
    REFUSED(m, LW_ERROR_STALE_HANDLE, lw_snapshot_get_size(kept, &size, error));
}

static void refuse_arguments(model *m)
{
    static const uintptr_t numbers[] = {1, 2, 3, 8, 0x1000, 0xDEADBEEF, UINTPTR_MAX, UINTPTR_MAX / 2};
    lw_snapshot *kept = NULL;
    int64_t size = 0;
    SUCCEEDS(lw_optimizer_snapshot(m->optimizer, &kept, error));
    SUCCEEDS(lw_snapshot_destroy(NULL, error));
    CHECK(lw_snapshot_destroy(NULL, NULL) == LW_OK);
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_snapshot(m->optimizer, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_restore(m->optimizer, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_snapshot_get_size(NULL, &size, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_snapshot_get_size(kept, NULL, error));
    /* Handles of one kind are none of the other, nor are invented ones. */
    REFUSED(m, LW_ERROR_STALE_HANDLE, lw_optimizer_restore((lw_optimizer *)kept, kept, error));
    REFUSED(m, LW_ERROR_STALE_HANDLE, lw_optimizer_restore(m->optimizer, (lw_snapshot *)m->optimizer, error));
    REFUSED(m, LW_ERROR_STALE_HANDLE, lw_snapshot_destroy((lw_snapshot *)m->optimizer, error));
    REFUSED(m, LW_ERROR_STALE_HANDLE, lw_optimizer_destroy((lw_optimizer *)kept, error));
    REFUSED(m, LW_ERROR_STALE_HANDLE, lw_optimizer_step((lw_optimizer *)kept, NULL, error));
    for (int64_t i = 0; i < COUNT(numbers); ++i) {
        REFUSED(m, LW_ERROR_STALE_HANDLE, lw_optimizer_restore(m->optimizer, (lw_snapshot *)numbers[i], error));
        REFUSED(m, LW_ERROR_STALE_HANDLE, lw_snapshot_destroy((lw_snapshot *)numbers[i], error));
    }
    for (unsigned bit = 0; bit < 8 * sizeof(uintptr_t); ++bit) {
        lw_snapshot *const other = (lw_snapshot *)((uintptr_t)kept ^ (uintptr_t)1 << bit);
        REFUSED(m, LW_ERROR_STALE_HANDLE, lw_optimizer_restore(m->optimizer, other, error));
    }
    /* The failed call leaves NULL. */
    lw_snapshot *none = kept;
    CHECK(lw_optimizer_snapshot(NULL, &none, NULL) == LW_ERROR_INVALID_ARGUMENT && none == NULL);
    SUCCEEDS(lw_snapshot_destroy(kept, error));
}

/** Of another optimizer, of one with other layers, and of one that is gone. */
static void refuse_others(model *m)
{
    model other;
    lw_snapshot *own = NULL, *foreign = NULL;
    static float more[2];
    static const int64_t two[] = {2};
    const lw_tensor tensor = vector("weight", LW_FLOAT32, more, NULL, two);
    model_create(&other);
    SUCCEEDS(lw_optimizer_snapshot(m->optimizer, &own, error));
    SUCCEEDS(lw_optimizer_snapshot(other.optimizer, &foreign, error));
    REFUSED(m, LW_ERROR_MISMATCH, lw_optimizer_restore(m->optimizer, foreign, error));
    REFUSED(&other, LW_ERROR_MISMATCH, lw_optimizer_restore(other.optimizer, own, error));
    model_destroy(&other);
    REFUSED(m, LW_ERROR_MISMATCH, lw_optimizer_restore(m->optimizer, foreign, error));
    REFUSED(m, LW_ERROR_STALE_HANDLE, lw_optimizer_restore(other.optimizer, foreign, error));
    SUCCEEDS(lw_snapshot_destroy(foreign, error));
    SUCCEEDS(lw_optimizer_add_layer(m->optimizer, "more", &tensor, 1, NULL, 0, NULL, error));
    REFUSED(m, LW_ERROR_MISMATCH, lw_optimizer_restore(m->optimizer, own, error));
    SUCCEEDS(lw_snapshot_destroy(own, error));
}

/** While a step runs, the optimizer is busy, and its snapshot is not. */
static void refuse_meanwhile(void)
{
    long_step s;
    lw_snapshot *kept = NULL, *none = NULL;
    int64_t size = 0;
    long_step_create(&s);
    SUCCEEDS(lw_optimizer_snapshot(s.optimizer, &kept, error));
    long_step_start(&s);
    CHECK(lw_optimizer_restore(s.optimizer, kept, NULL) == LW_ERROR_BUSY);
    CHECK(lw_optimizer_snapshot(s.optimizer, &none, NULL) == LW_ERROR_BUSY && none == NULL);
    SUCCEEDS(lw_snapshot_get_size(kept, &size, error));
    long_step_join(&s);
    CHECK(s.parameters[0] != 1.0f);
    SUCCEEDS(lw_optimizer_restore(s.optimizer, kept, error));
    CHECK(s.parameters[0] == 1.0f);
    SUCCEEDS(lw_optimizer_destroy(s.optimizer, error));
    SUCCEEDS(lw_snapshot_destroy(kept, error));
    long_step_free(&s);
}

/** Thousands at once, and their handles stay stale when they are gone. */
static void keep_many(model *m)
{
    enum { MANY = 2000 };
    static lw_snapshot *many[MANY];
    for (int i = 0; i < MANY; ++i) {
        SUCCEEDS(lw_optimizer_snapshot(m->optimizer, &many[i], error));
    }
    for (int k = 0; k < MANY; ++k) {
        const int i = k * 7 % MANY;
        SUCCEEDS(lw_snapshot_destroy(many[i], error));
        CHECK(lw_snapshot_destroy(many[i], NULL) == LW_ERROR_STALE_HANDLE);
    }
}

/* ---- Search ------------------------------------------------------------------------------------------------------ */

static void refuse_search(model *m)
{
    static const double bad[][2] = {{0, 1}, {-1, 1}, {1, 1}, {2, 1}, {NAN, 1}, {1, NAN}, {1, INFINITY}, {1e-308, 1e308}};
    static const double falling[] = {2, 1}, zero[] = {0, 1}, rates[] = {1, 2}, losses[] = {1, NAN};
    static const int64_t counts[] = {0, -1, INT64_MIN, INT64_MAX, (1 << 14) + 1};
    double room[4];
    char text[1024];
    int64_t needed = 0;
    int32_t diverged = -1;
    for (int64_t i = 0; i < COUNT(bad); ++i) {
        REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_search_rates("sweep", bad[i][0], bad[i][1], room, 4, error));
    }
    for (int64_t i = 0; i < COUNT(counts); ++i) {
        REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_search_rates("trials", 1, 2, room, counts[i], error));
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT,
                lw_search_analyse("trials", rates, 2, losses, counts[i], text, sizeof text, NULL, error));
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT,
                lw_search_judge(losses, counts[i], 1, text, sizeof text, NULL, error));
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT,
                lw_search_judge(losses, 1, counts[i], text, sizeof text, NULL, error));
    }
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_search_rates("sweep", 1, 2, room, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_rates("sweep", 1, 2, NULL, 4, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_rates(NULL, 1, 2, room, 4, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_search_rates("", 1, 2, room, 4, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_search_analyse("Sweep", rates, 2, losses, 1, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_search_analyse("sweep", falling, 2, losses, 1, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_search_analyse("sweep", zero, 2, losses, 1, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_analyse("sweep", NULL, 2, losses, 1, text, 1, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_analyse("sweep", rates, 2, NULL, 1, text, 1, NULL, error));
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_search_analyse("sweep", rates, 2, losses, 1, text, 1, &needed, error));
    CHECK(needed > 1);
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_has_diverged(NULL, 1, 4, &diverged, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_has_diverged(losses, 1, 4, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_has_diverged(losses, -1, 4, &diverged, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_scales(losses, -1, room, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_scales(losses, 2, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_judge(NULL, 1, 1, text, sizeof text, NULL, error));
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_search_is_spike("median", 3, losses, 1, 1, &diverged, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_is_spike(NULL, 3, losses, 1, 1, &diverged, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_is_spike("ratio", 3, NULL, 1, 1, &diverged, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_is_spike("ratio", 3, losses, -1, 1, &diverged, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_search_is_spike("ratio", 3, losses, 1, 1, NULL, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_search_is_spike("ratio", 1, losses, 1, 1, &diverged, error));
    REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_search_is_spike("deviations", NAN, losses, 1, 1, &diverged, error));
    /* The policy of this optimizer measures nothing. */
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_measure_microbatch(m->optimizer, NULL, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_measure_spectra(m->optimizer, 0, error));
    /* What is odd and allowed. */
    SUCCEEDS(lw_optimizer_restart_measurements(m->optimizer, error));
    SUCCEEDS(lw_search_is_spike("deviations", 3, NULL, 0, NAN, &diverged, error));
    CHECK(diverged == 1);
    SUCCEEDS(lw_search_has_diverged(NULL, 0, INT64_MIN, &diverged, error));
    CHECK(diverged == 0);
    SUCCEEDS(lw_search_has_diverged(losses, 2, 0, &diverged, error));
    CHECK(diverged == 1);
    SUCCEEDS(lw_search_scales(NULL, 0, NULL, error));
    SUCCEEDS(lw_search_analyse("sweep", rates, 2, losses, 1, text, sizeof text, &needed, error));
    SUCCEEDS(lw_search_judge(losses, 2, 1, text, sizeof text, &needed, error));
    CHECK(strstr(text, "\"order\": [0, 1]") != NULL);
}

int main(void)
{
    model m;
    model_create(&m);
    restore(&m);
    refuse_arguments(&m);
    refuse_search(&m);
    keep_many(&m);
    refuse_others(&m);
    model_destroy(&m);
    refuse_meanwhile();
    return report();
}
