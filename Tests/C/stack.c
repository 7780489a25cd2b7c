/* What a call takes of its thread's stack: less than 256 KiB, or than 2 MiB with regular expressions nested as deeply as a
 * pattern of 255 bytes can be.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L

#include "calls.h"
#include "folder.h"

#include <pthread.h>

enum { CALL = 256 << 10, PATTERNS = 2 << 20, DEEPEST = 33 };

static char text[1 << 20];

/** Each kind of recipe, nested as deeply as parts may be. */
static void set_nested(lw_optimizer *optimizer)
{
    const lw_setting steps = {"total_steps", 100, NULL}, warmup = {"steps", 1, NULL};
    lw_spec specs[2 * DEEPEST - 1];
    static double rates[3 * 2000];
    int64_t count = 0;
    for (int i = 0; i < DEEPEST - 1; ++i) {
        specs[i] = spec("warmup", &warmup, 1);
        specs[i].part_count = 1;
    }
    specs[DEEPEST - 1] = spec("cosine", &steps, 1);
    SUCCEEDS(lw_optimizer_set_schedule(optimizer, -1, "lr", specs, DEEPEST, error));
    /* Each of two parts, the second of which has parts again. */
    for (int i = 0; i < DEEPEST - 1; ++i) {
        specs[2 * i] = spec("combine", NULL, 0);
        specs[2 * i].part_count = 2;
        specs[2 * i + 1] = spec("uniform", NULL, 0);
    }
    specs[2 * DEEPEST - 2] = spec("layer_decay", NULL, 0);
    SUCCEEDS(lw_optimizer_set_policy(optimizer, specs, 2 * DEEPEST - 1, error));
    SUCCEEDS(lw_optimizer_step(optimizer, NULL, error));
    SUCCEEDS(lw_optimizer_layer_count(optimizer, &count, error));
    CHECK(count <= 3);
    SUCCEEDS(lw_optimizer_preview(optimizer, -1, 2000, 1, rates, 2000 * count, error));
    SUCCEEDS(lw_optimizer_explain(optimizer, -1, text, sizeof text, NULL, error));
}

static void *make_calls(void *argument)
{
    static const char *const names[] = {"model.layers.0.weight", "model.layers.1.weight", "head.weight"};
    folder f;
    model m;
    (void)argument;
    /* What one answers depends on those before it; here it is enough that it returns. */
    model_create(&m);
    for (int64_t i = 0; i < COUNT(calls); ++i) {
        (void)calls[i].make(m.optimizer, NULL);
    }
    model_destroy(&m);
    model_create(&m);
    folder_create(&f);
    const char *path = folder_path(&f, "file");
    SUCCEEDS(lw_optimizer_save(m.optimizer, path, NULL, 0, error));
    SUCCEEDS(lw_optimizer_load(m.optimizer, path, NULL, 0, NULL, 0, error));
    SUCCEEDS(lw_checkpoint_describe(path, NULL, NULL, text, sizeof text, NULL, error));
    folder_remove(&f, 1);
    set_nested(m.optimizer);
    SUCCEEDS(lw_rule_describe("adamw", text, sizeof text, NULL, error));
    SUCCEEDS(lw_policy_describe("explicit", text, sizeof text, NULL, error));
    SUCCEEDS(lw_schedule_describe("cosine", text, sizeof text, NULL, error));
    SUCCEEDS(lw_freeze_plan_describe("freeze_at", text, sizeof text, NULL, error));
    SUCCEEDS(lw_infer_layers(names, COUNT(names), text, sizeof text, NULL, error));
    model_destroy(&m);
    return NULL;
}

/** 255 bytes of nested brackets of each kind; some are refused, and all are read. */
static void *match_patterns(void *argument)
{
    static const char *const brackets[][2] = {{"(", ")"}, {"[", "]"}, {"(?:", ")*"}, {"(?=", ")"}};
    (void)argument;
    for (int64_t kind = 0; kind < COUNT(brackets); ++kind) {
        const size_t length = strlen(brackets[kind][0]) + strlen(brackets[kind][1]);
        char pattern[256] = {0};
        model m;
        lw_spec specs[2];
        const lw_setting syntax = {"syntax", 0, "regex"};
        const lw_setting settings[] = {{"match", 0, pattern}, {"scale", 0.5, NULL}};
        for (size_t depth = 0; (depth + 1) * length < 255; ++depth) {
            strcat(pattern, brackets[kind][0]);
        }
        strcat(pattern, "a");
        for (size_t depth = 0; (depth + 1) * length < 255; ++depth) {
            strcat(pattern, brackets[kind][1]);
        }
        specs[0] = spec("explicit", &syntax, 1);
        specs[0].part_count = 1;
        specs[1] = spec("layers", settings, COUNT(settings));
        model_create(&m);
        if (lw_optimizer_set_policy(m.optimizer, specs, COUNT(specs), NULL) == LW_OK) {
            CHECK(lw_optimizer_step(m.optimizer, NULL, NULL) != LW_OK);
        }
        model_destroy(&m);
    }
    return NULL;
}

static void run_with_stack(size_t size, void *(*work)(void *))
{
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, size) == 0);
    CHECK(pthread_create(&thread, &attributes, work, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_attr_destroy(&attributes) == 0);
}

int main(void)
{
    run_with_stack(CALL, make_calls);
    run_with_stack(PATTERNS, match_patterns);
    return report();
}
