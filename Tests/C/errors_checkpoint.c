/* Checkpoints that cannot be saved, loaded or described: each call is refused with its code, and nothing changes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L

#include "folder.h"
#include "long_step.h"

#include <math.h>

static const char *path; /* where a good checkpoint of the model lies */
static unsigned char good[1 << 14];
static int64_t size;

/* ---- Arguments ------------------------------------------------------------------------------------------------- */

static void refuse_paths(model *m)
{
    static const char *const bad[] = {"", "/", "/missing/folder/file", "\x80", "a\xC3"};
    static const int32_t codes[] = {LW_ERROR_IO, LW_ERROR_IO, LW_ERROR_IO, LW_ERROR_INVALID_ARGUMENT,
                                    LW_ERROR_INVALID_ARGUMENT};
    char text[4096];
    for (int64_t i = 0; i < COUNT(bad); ++i) {
        REFUSED(m, codes[i], lw_optimizer_save(m->optimizer, bad[i], NULL, 0, error));
        REFUSED(m, codes[i], lw_optimizer_load(m->optimizer, bad[i], NULL, 0, NULL, 0, error));
        REFUSED(m, codes[i], lw_checkpoint_describe(bad[i], NULL, NULL, text, sizeof text, NULL, error));
    }
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_save(m->optimizer, NULL, NULL, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_load(m->optimizer, NULL, NULL, 0, NULL, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_checkpoint_describe(NULL, NULL, NULL, text, sizeof text, NULL, error));
}

static void refuse_options(model *m)
{
    static const lw_setting parameters = {"parameters", 1, NULL};
    static const struct {
        lw_setting settings[2];
        int64_t count;
        int32_t code;
    } cases[] = {
        {{{NULL, 1, NULL}, {NULL, 0, NULL}}, 1, LW_ERROR_INVALID_ARGUMENT},
        {{{"parameter", 1, NULL}, {NULL, 0, NULL}}, 1, LW_ERROR_UNKNOWN_NAME},
        {{{"", 1, NULL}, {NULL, 0, NULL}}, 1, LW_ERROR_UNKNOWN_NAME},
        {{{"lr", 1, NULL}, {NULL, 0, NULL}}, 1, LW_ERROR_UNKNOWN_NAME},
        {{{"\xFF", 1, NULL}, {NULL, 0, NULL}}, 1, LW_ERROR_INVALID_ARGUMENT},
    };
    static const char *const saves[] = {"parameters", "require_finite"}, *const loads[] = {"strict", "convert"};
    static const double values[] = {-1, 2, 0.5, NAN, INFINITY};
    lw_optimizer *const o = m->optimizer;
    unsigned char room[16];
    for (int64_t i = 0; i < COUNT(cases); ++i) {
        const lw_setting *const s = cases[i].settings;
        REFUSED(m, cases[i].code, lw_optimizer_save(o, path, s, cases[i].count, error));
        REFUSED(m, cases[i].code, lw_optimizer_export(o, room, sizeof room, NULL, s, cases[i].count, error));
        REFUSED(m, cases[i].code, lw_optimizer_load(o, path, s, cases[i].count, NULL, 0, error));
        REFUSED(m, cases[i].code, lw_optimizer_import(o, good, size, s, cases[i].count, NULL, 0, error));
    }
    /* Options of one are unknown to the other. */
    REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_load(o, path, &parameters, 1, NULL, 0, error));
    for (int k = 0; k < 2; ++k) {
        const lw_setting load[] = {{loads[k], 1, NULL}, {loads[k], 1, NULL}};
        const lw_setting save[] = {{saves[k], 1, NULL}, {saves[k], 1, NULL}};
        const lw_setting load_choice = {loads[k], 0, "yes"}, save_choice = {saves[k], 0, "yes"};
        REFUSED(m, LW_ERROR_UNKNOWN_NAME, lw_optimizer_save(o, path, load, 1, error));
        REFUSED(m, LW_ERROR_DUPLICATE, lw_optimizer_save(o, path, save, 2, error));
        REFUSED(m, LW_ERROR_DUPLICATE, lw_optimizer_load(o, path, load, 2, NULL, 0, error));
        REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_save(o, path, &save_choice, 1, error));
        REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_load(o, path, &load_choice, 1, NULL, 0, error));
        for (int64_t i = 0; i < COUNT(values); ++i) {
            const lw_setting s = {saves[k], values[i], NULL}, l = {loads[k], values[i], NULL};
            REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_save(o, path, &s, 1, error));
            REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_export(o, room, sizeof room, NULL, &s, 1, error));
            REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_load(o, path, &l, 1, NULL, 0, error));
            REFUSED(m, LW_ERROR_OUT_OF_RANGE, lw_optimizer_import(o, good, size, &l, 1, NULL, 0, error));
        }
    }
    static const int64_t counts[] = {1, -1, INT64_MIN, INT64_MAX};
    for (int64_t i = 0; i < COUNT(counts); ++i) {
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_save(o, path, NULL, counts[i], error));
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_load(o, path, NULL, counts[i], NULL, 0, error));
    }
}

static void refuse_buffers(model *m)
{
    static const int64_t negative[] = {-1, INT64_MIN};
    lw_optimizer *const o = m->optimizer;
    char text[8];
    int64_t needed = 0;
    unsigned char room[1];
    for (int64_t i = 0; i < COUNT(negative); ++i) {
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_export(o, room, negative[i], NULL, NULL, 0, error));
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_import(o, good, negative[i], NULL, 0, NULL, 0, error));
        REFUSED(
            m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_get_load_report(o, text, negative[i], NULL, error));
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_checkpoint_describe(path, NULL, NULL, text, negative[i], NULL, error));
    }
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_export(o, NULL, 1, NULL, NULL, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_import(o, NULL, 1, NULL, 0, NULL, 0, error));
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_optimizer_export(o, room, 1, &needed, NULL, 0, error));
    CHECK(needed == size);
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_optimizer_export(o, NULL, 0, NULL, NULL, 0, error));
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_optimizer_get_load_report(o, text, sizeof text, &needed, error));
    CHECK(needed > (int64_t)sizeof text);
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_optimizer_get_load_report(o, NULL, 0, &needed, error));
    REFUSED(m, LW_ERROR_BUFFER_TOO_SMALL, lw_checkpoint_describe(path, NULL, NULL, text, sizeof text, &needed, error));
    CHECK(needed > (int64_t)sizeof text);
    /* Nothing, and less than a length. */
    REFUSED(m, LW_ERROR_CORRUPT, lw_optimizer_import(o, NULL, 0, NULL, 0, NULL, 0, error));
    REFUSED(m, LW_ERROR_CORRUPT, lw_optimizer_import(o, good, 7, NULL, 0, NULL, 0, error));
    REFUSED(m, LW_ERROR_CORRUPT, lw_optimizer_import(o, good, size - 1, NULL, 0, NULL, 0, error));
    good[size - 1] ^= 1;
    REFUSED(m, LW_ERROR_CORRUPT, lw_optimizer_import(o, good, size, NULL, 0, NULL, 0, error));
    good[size - 1] ^= 1;
}

static void refuse_renames(model *m)
{
    static const struct {
        lw_rename renames[2];
        int64_t count;
        int32_t code;
    } cases[] = {
        {{{NULL, "body"}, {NULL, NULL}}, 1, LW_ERROR_INVALID_ARGUMENT},
        {{{"body", NULL}, {NULL, NULL}}, 1, LW_ERROR_INVALID_ARGUMENT},
        {{{"\xFF", "body"}, {NULL, NULL}}, 1, LW_ERROR_INVALID_ARGUMENT},
        {{{"tail", "body"}, {NULL, NULL}}, 1, LW_ERROR_UNKNOWN_NAME},
        {{{"", "body"}, {NULL, NULL}}, 1, LW_ERROR_UNKNOWN_NAME},
        {{{"body", "tail"}, {NULL, NULL}}, 1, LW_ERROR_UNKNOWN_NAME},
        {{{"body", "head"}, {NULL, NULL}}, 1, LW_ERROR_DUPLICATE},
        {{{"body", "head"}, {"head", "head"}}, 2, LW_ERROR_DUPLICATE},
        {{{"body", "body"}, {"body", "head"}}, 2, LW_ERROR_DUPLICATE},
        /* Each is taken for the other, which has other tensors. */
        {{{"body", "head"}, {"head", "body"}}, 2, LW_ERROR_MISMATCH},
    };
    static const int64_t counts[] = {-1, INT64_MIN, (1 << 20) + 1, INT64_MAX};
    const lw_rename one = {"body", "body"};
    lw_optimizer *const o = m->optimizer;
    for (int64_t i = 0; i < COUNT(cases); ++i) {
        const lw_rename *const r = cases[i].renames;
        REFUSED(m, cases[i].code, lw_optimizer_load(o, path, NULL, 0, r, cases[i].count, error));
        REFUSED(m, cases[i].code, lw_optimizer_import(o, good, size, NULL, 0, r, cases[i].count, error));
    }
    for (int64_t i = 0; i < COUNT(counts); ++i) {
        REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_load(o, path, NULL, 0, &one, counts[i], error));
    }
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_import(o, good, size, NULL, 0, NULL, 1, error));
}

/* ---- State ----------------------------------------------------------------------------------------------------- */

static void refuse_others(model *m)
{
    const lw_setting changed = {"eps", 0.5, NULL}, back = {"eps", 1e-8, NULL}, dry[] = {{"dry_run", 1, NULL}};
    const lw_setting finite = {"require_finite", 1, NULL};
    double moments[4], bad[4] = {0, 0, NAN, 0};
    lw_error told = LW_ERROR_INIT;
    lw_optimizer *const o = m->optimizer;
    lw_optimizer *planned = NULL;
    unsigned char room[16];
    SUCCEEDS(lw_optimizer_set(o, &changed, 1, error));
    REFUSED(m, LW_ERROR_MISMATCH, lw_optimizer_load(o, path, NULL, 0, NULL, 0, error));
    SUCCEEDS(lw_optimizer_set(o, &back, 1, error));

    SUCCEEDS(lw_tensor_read_state(o, 1, 0, "exp_avg", moments, sizeof moments, error));
    SUCCEEDS(lw_tensor_write_state(o, 1, 0, "exp_avg", bad, sizeof bad, error));
    REFUSED(m, LW_ERROR_NONFINITE, lw_optimizer_save(o, path, &finite, 1, error));
    REFUSED(m, LW_ERROR_NONFINITE, lw_optimizer_export(o, room, sizeof room, NULL, &finite, 1, error));
    CHECK(lw_optimizer_save(o, path, &finite, 1, &told) == LW_ERROR_NONFINITE);
    CHECK(told.layer == 1 && told.tensor == 0 && strstr(told.message, "layer \"head\"") != NULL);
    SUCCEEDS(lw_tensor_write_state(o, 1, 0, "exp_avg", moments, sizeof moments, error));
    /* The good one is still there. */
    SUCCEEDS(lw_optimizer_load(o, path, NULL, 0, NULL, 0, error));

    SUCCEEDS(lw_optimizer_create(&planned, "adam", dry, 1, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_save(planned, path, NULL, 0, error));
    REFUSED(m, LW_ERROR_INVALID_ARGUMENT, lw_optimizer_import(planned, good, size, NULL, 0, NULL, 0, error));
    SUCCEEDS(lw_optimizer_destroy(planned, error));
}

/* ---- Handles ---------------------------------------------------------------------------------------------------- */

static int32_t call_save(lw_optimizer *o, lw_error *e) { return lw_optimizer_save(o, path, NULL, 0, e); }

static int32_t call_export(lw_optimizer *o, lw_error *e)
{
    static unsigned char room[sizeof good];
    return lw_optimizer_export(o, room, sizeof room, NULL, NULL, 0, e);
}

static int32_t call_load(lw_optimizer *o, lw_error *e) { return lw_optimizer_load(o, path, NULL, 0, NULL, 0, e); }

static int32_t call_import(lw_optimizer *o, lw_error *e)
{
    return lw_optimizer_import(o, good, size, NULL, 0, NULL, 0, e);
}

static int32_t call_load_report(lw_optimizer *o, lw_error *e)
{
    char text[4096];
    return lw_optimizer_get_load_report(o, text, sizeof text, NULL, e);
}

/** Those that refuse a busy optimizer before they look at anything else; call_save last, which would write. */
static const call checkpoint_calls[] = {{"lw_optimizer_export", call_export},
                                        {"lw_optimizer_load", call_load},
                                        {"lw_optimizer_import", call_import},
                                        {"lw_optimizer_get_load_report", call_load_report},
                                        {"lw_optimizer_save", call_save}};

static void refuse_handles(lw_optimizer *stale)
{
    static int nothing[16];
    lw_optimizer *const handles[] = {NULL, stale, (lw_optimizer *)(void *)nothing, (lw_optimizer *)(uintptr_t)-1};
    for (int64_t h = 0; h < COUNT(handles); ++h) {
        const int32_t code = handles[h] == NULL ? LW_ERROR_INVALID_ARGUMENT : LW_ERROR_STALE_HANDLE;
        for (int64_t i = 0; i < COUNT(checkpoint_calls); ++i) {
            lw_error told = LW_ERROR_INIT;
            memset(told.message, '#', sizeof told.message);
            check_refusal(
                code, checkpoint_calls[i].make(handles[h], &told), &told, checkpoint_calls[i].name, __FILE__, __LINE__);
            CHECK(checkpoint_calls[i].make(handles[h], NULL) == code);
        }
    }
}

/** An lw_error of another version of the header is refused, and not written to. */
static void refuse_structs(const model *m)
{
    lw_error other = LW_ERROR_INIT;
    other.struct_size = 8;
    CHECK(lw_optimizer_save(m->optimizer, path, NULL, 0, &other) == LW_ERROR_STRUCT_SIZE && other.message[0] == '\0');
    CHECK(call_import(m->optimizer, &other) == LW_ERROR_STRUCT_SIZE && other.code == 0);
}

/** Each is refused while another thread is inside a step; what comes between two steps is let through. */
static void refuse_while_busy(void)
{
    long_step s;
    long_step_create(&s);
    long_step_start(&s);
    for (int64_t i = 0; i < COUNT(checkpoint_calls); ++i) {
        lw_error told = LW_ERROR_INIT;
        check_refusal(LW_ERROR_BUSY, checkpoint_calls[i].make(s.optimizer, &told), &told, checkpoint_calls[i].name,
                      __FILE__, __LINE__);
    }
    long_step_join(&s);
    SUCCEEDS(lw_optimizer_destroy(s.optimizer, error));
    long_step_free(&s);
}

int main(void)
{
    folder f;
    model m;
    folder_create(&f);
    path = folder_path(&f, "good.safetensors");
    model_create(&m);
    SUCCEEDS(lw_optimizer_save(m.optimizer, path, NULL, 0, error));
    SUCCEEDS(lw_optimizer_export(m.optimizer, good, sizeof good, &size, NULL, 0, error));
    refuse_paths(&m);
    refuse_options(&m);
    refuse_buffers(&m);
    refuse_renames(&m);
    refuse_others(&m);
    refuse_structs(&m);
    model_destroy(&m);
    refuse_handles(m.optimizer);
    refuse_while_busy();
    folder_remove(&f, 1);
    return report();
}
