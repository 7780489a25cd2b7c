/* Checkpoints through C: a file and a buffer, what they say of themselves, and what comes back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L

#include "folder.h"
#include "model.h"

enum { LARGEST = 1 << 16 };

static const lw_setting all[] = {{"parameters", 1, NULL}};

/** Three more steps on both come to the same; a snapshot has the telemetry of the last step too. */
static void go_on_alike(model *a, model *b)
{
    snapshot first, second;
    for (int i = 0; i < 3; ++i) {
        SUCCEEDS(lw_optimizer_step(a->optimizer, NULL, error));
        SUCCEEDS(lw_optimizer_step(b->optimizer, NULL, error));
    }
    snapshot_take(&first, a);
    snapshot_take(&second, b);
    CHECK(first.size == second.size && memcmp(first.bytes, second.bytes, first.size) == 0);
}

static int64_t read_file(const char *path, unsigned char *bytes, int64_t room)
{
    FILE *file = fopen(path, "rb");
    int64_t size;
    CHECK(file != NULL);
    size = (int64_t)fread(bytes, 1, (size_t)room, file);
    CHECK(size < room && fclose(file) == 0);
    return size;
}

static void load_report(lw_optimizer *optimizer, char *text, int64_t room)
{
    int64_t needed = 0;
    SUCCEEDS(lw_optimizer_get_load_report(optimizer, text, room, &needed, error));
    CHECK(needed == (int64_t)strlen(text) + 1);
}

/** Saved, gone on, and loaded: as if it had not gone on. */
static void save_and_load(const char *path)
{
    model saved, other;
    char text[4096];
    model_create(&saved);
    model_create(&other);
    load_report(other.optimizer, text, sizeof text);
    CHECK(strcmp(text, "{\"loaded\": [], \"missing\": [], \"absent\": [], \"unexpected\": [], \"differences\": []}") == 0);
    for (int i = 0; i < 5; ++i) {
        SUCCEEDS(lw_optimizer_step(other.optimizer, NULL, error));
    }
    SUCCEEDS(lw_layer_freeze(other.optimizer, 0, error));
    SUCCEEDS(lw_optimizer_save(saved.optimizer, path, all, COUNT(all), error));
    SUCCEEDS(lw_optimizer_load(other.optimizer, path, NULL, 0, NULL, 0, error));
    CHECK(memcmp(saved.weight, other.weight, sizeof saved.weight) == 0);
    load_report(other.optimizer, text, sizeof text);
    CHECK(strstr(text, "\"loaded\": [\"body/weight/step\", ") != NULL);
    CHECK(strstr(text, "\"head/weight/parameters\"") != NULL);
    CHECK(strstr(text, "\"missing\": [], \"absent\": [], \"unexpected\": [], \"differences\": []}") != NULL);
    go_on_alike(&saved, &other);
    model_destroy(&saved);
    model_destroy(&other);
}

/** Memory holds what the file does, and needs no alignment. */
static void export_and_import(const char *path)
{
    static unsigned char file[LARGEST], bytes[LARGEST + 1];
    model saved, other;
    int64_t size = 0, needed = 0;
    model_create(&saved);
    SUCCEEDS(lw_optimizer_save(saved.optimizer, path, all, COUNT(all), error));
    size = read_file(path, file, LARGEST);
    CHECK(lw_optimizer_export(saved.optimizer, NULL, 0, &needed, all, COUNT(all), NULL) == LW_ERROR_BUFFER_TOO_SMALL);
    CHECK(needed == size);
    for (int offset = 0; offset < 2; ++offset) {
        needed = 0;
        bytes[offset + size] = 0x5a;
        SUCCEEDS(lw_optimizer_export(saved.optimizer, bytes + offset, size, &needed, all, COUNT(all), error));
        CHECK(needed == size && memcmp(file, bytes + offset, (size_t)size) == 0 && bytes[offset + size] == 0x5a);
        SUCCEEDS(lw_optimizer_export(saved.optimizer, bytes + offset, LARGEST, NULL, all, COUNT(all), error));
        model_create(&other);
        SUCCEEDS(lw_optimizer_step(other.optimizer, NULL, error));
        SUCCEEDS(lw_optimizer_import(other.optimizer, bytes + offset, size, NULL, 0, NULL, 0, error));
        go_on_alike(&saved, &other);
        model_destroy(&other);
        model_destroy(&saved);
        model_create(&saved);
    }
    model_destroy(&saved);
}

typedef struct seen {
    int64_t calls, done, total;
} seen;

static void look(int64_t done, int64_t total, void *context)
{
    seen *s = (seen *)context;
    CHECK(done > s->done && done <= total && (s->calls == 0 || total == s->total));
    s->calls += 1;
    s->done = done;
    s->total = total;
}

static void describe(const char *path)
{
    static const char *const parts[] = {
        "{\"format_version\": \"1\", \"layerwise_version\": \"", "\"identity\": {\"rule\": \"adam\"", "\"next_step\": 2,",
        "{\"key\": \"body/weight/exp_avg\", \"dtype\": \"float32\", \"shape\": [2, 3], \"bytes\": 24, \"crc32c\": \"",
        "{\"key\": \"head/weight/exp_avg\", \"dtype\": \"float64\", \"shape\": [4], \"bytes\": 32, \"crc32c\": \""};
    char text[8192];
    int64_t needed = 0;
    seen s = {0, 0, 0};
    model saved;
    model_create(&saved);
    SUCCEEDS(lw_optimizer_save(saved.optimizer, path, NULL, 0, error));
    model_destroy(&saved);
    SUCCEEDS(lw_checkpoint_describe(path, look, &s, text, sizeof text, &needed, error));
    CHECK(needed == (int64_t)strlen(text) + 1 && strchr(text, '\n') == NULL);
    for (int64_t i = 0; i < COUNT(parts); ++i) {
        CHECK(strstr(text, parts[i]) != NULL);
    }
    /* Step count and two moments of 6, 3 and 4 numbers. */
    CHECK(s.calls == 9 && s.done == s.total && s.total == 3 * 8 + 2 * (9 * 4 + 4 * 8));
    SUCCEEDS(lw_checkpoint_describe(path, NULL, NULL, text, sizeof text, NULL, error));
}

/* ---- What may differ ------------------------------------------------------------------------------------------ */

/** One layer of four numbers; SGD keeps a velocity of each. */
static lw_optimizer *one_layer(const char *name, int32_t dtype, double momentum, void *parameters, const void *gradients)
{
    static const int64_t four[] = {4};
    const lw_setting settings[] = {{"lr", 0.5, NULL}, {"momentum", momentum, NULL}};
    const lw_tensor tensor = vector("weight", dtype, parameters, gradients, four);
    lw_optimizer *optimizer = NULL;
    SUCCEEDS(lw_optimizer_create(&optimizer, "sgd", settings, COUNT(settings), error));
    SUCCEEDS(lw_optimizer_add_layer(optimizer, name, &tensor, 1, NULL, 0, NULL, error));
    return optimizer;
}

/** Another name, another type, another momentum: each comes over when it is asked for, and not before. */
static void differ(const char *path)
{
    static const double gradients[] = {1, -2, 3, -4};
    static const lw_setting convert[] = {{"convert", 1, NULL}}, loose[] = {{"strict", 0, NULL}};
    const lw_rename names[] = {{"old/name", "new"}};
    double wide[4] = {1, 2, 3, 4}, other[4] = {0}, velocity[4];
    float narrow[4] = {0}, narrow_velocity[4];
    char text[1024];
    int64_t steps = 0;
    lw_optimizer *saved = one_layer("old/name", LW_FLOAT64, 0.5, wide, gradients);
    SUCCEEDS(lw_optimizer_step(saved, NULL, error));
    SUCCEEDS(lw_optimizer_save(saved, path, all, COUNT(all), error));
    SUCCEEDS(lw_optimizer_destroy(saved, error));

    lw_optimizer *renamed = one_layer("new", LW_FLOAT64, 0.5, other, NULL);
    CHECK(lw_optimizer_load(renamed, path, NULL, 0, NULL, 0, NULL) == LW_ERROR_MISMATCH);
    load_report(renamed, text, sizeof text);
    CHECK(strstr(text, "\"loaded\": [], \"missing\": [\"new/weight/step\", ") != NULL);
    CHECK(strstr(text, "\"differences\": [\"layers.new: not in the checkpoint\", \"layers.old/name: only in the ") != NULL);
    CHECK(strstr(text, "\"old%2Fname/weight/momentum_buffer\"") != NULL);
    SUCCEEDS(lw_optimizer_load(renamed, path, NULL, 0, names, COUNT(names), error));
    SUCCEEDS(lw_tensor_read_state(renamed, 0, 0, "momentum_buffer", velocity, sizeof velocity, error));
    CHECK(memcmp(other, wide, sizeof wide) == 0 && memcmp(velocity, gradients, sizeof velocity) == 0);
    SUCCEEDS(lw_optimizer_destroy(renamed, error));

    lw_optimizer *converted = one_layer("old/name", LW_FLOAT32, 0.5, narrow, NULL);
    CHECK(lw_optimizer_load(converted, path, NULL, 0, NULL, 0, NULL) == LW_ERROR_MISMATCH);
    CHECK(narrow[0] == 0);
    SUCCEEDS(lw_optimizer_load(converted, path, convert, COUNT(convert), NULL, 0, error));
    SUCCEEDS(
        lw_tensor_read_state(converted, 0, 0, "momentum_buffer", narrow_velocity, sizeof narrow_velocity, error));
    for (int i = 0; i < 4; ++i) {
        CHECK(narrow[i] == (float)wide[i] && narrow_velocity[i] == (float)gradients[i]);
    }
    SUCCEEDS(lw_optimizer_destroy(converted, error));

    memset(other, 0, sizeof other);
    lw_optimizer *partly = one_layer("old/name", LW_FLOAT64, 0, other, NULL);
    CHECK(lw_optimizer_load(partly, path, NULL, 0, NULL, 0, NULL) == LW_ERROR_MISMATCH);
    SUCCEEDS(lw_optimizer_load(partly, path, loose, COUNT(loose), NULL, 0, error));
    load_report(partly, text, sizeof text);
    CHECK(strstr(text, "\"unexpected\": [\"old%2Fname/weight/momentum_buffer\"]") != NULL);
    CHECK(strstr(text, "[\"hyperparameters.momentum: 0.5 in the checkpoint, 0 here\"]") != NULL);
    SUCCEEDS(lw_tensor_read_state(partly, 0, 0, "step", &steps, sizeof steps, error));
    CHECK(memcmp(other, wide, sizeof wide) == 0 && steps == 1);
    SUCCEEDS(lw_optimizer_destroy(partly, error));
}

int main(void)
{
    folder f;
    folder_create(&f);
    save_and_load(folder_path(&f, "a.safetensors"));
    /* Over the old one. */
    save_and_load(folder_path(&f, "a.safetensors"));
    export_and_import(folder_path(&f, "b.safetensors"));
    describe(folder_path(&f, "c.safetensors"));
    differ(folder_path(&f, "d.safetensors"));
    /* Nothing else is left there. */
    folder_remove(&f, 4);
    return report();
}
