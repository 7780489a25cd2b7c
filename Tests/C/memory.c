/* An optimizer whose states and work lie in static arrays: how many bytes, what is refused, and the way from one to another.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <stdint.h>

enum { ROOM = 1 << 21, MATRIX = 12, LAYERS = 2 };

typedef struct net {
    lw_optimizer *optimizer;
    float parameters[LAYERS][MATRIX], gradients[LAYERS][MATRIX];
} net;

static unsigned char first_memory[ROOM], second_memory[ROOM], third_memory[ROOM], saved[ROOM];

static void net_create(net *n, const char *rule, const char *memory)
{
    static const int64_t shape[] = {3, 4};
    static const char *const names[] = {"body", "head"};
    const lw_setting settings[] = {
        {"lr", 0.1, NULL}, {"clip_global_norm", 1.0, NULL}, {"telemetry", 1, NULL}, {"memory", 0, memory}};
    const lw_setting decay[] = {{"decay", 0.5, NULL}};
    const lw_spec policy = spec("layer_decay", decay, COUNT(decay));
    SUCCEEDS(lw_optimizer_create(&n->optimizer, rule, settings, COUNT(settings), error));
    SUCCEEDS(lw_optimizer_set_policy(n->optimizer, &policy, 1, error));
    for (int layer = 0; layer < LAYERS; ++layer) {
        lw_tensor tensor = LW_TENSOR_INIT;
        for (int i = 0; i < MATRIX; ++i) {
            n->parameters[layer][i] = (float)(i - 5) / 4.0f;
        }
        tensor.name = "weight";
        tensor.rank = 2;
        tensor.shape = shape;
        tensor.parameters = n->parameters[layer];
        tensor.gradients = n->gradients[layer];
        SUCCEEDS(lw_optimizer_add_layer(n->optimizer, names[layer], &tensor, 1, NULL, 0, NULL, error));
    }
}

static void net_train(net *n, int steps)
{
    for (int step = 0; step < steps; ++step) {
        for (int layer = 0; layer < LAYERS; ++layer) {
            for (int i = 0; i < MATRIX; ++i) {
                n->gradients[layer][i] = n->parameters[layer][i] - 0.5f;
            }
        }
        SUCCEEDS(lw_optimizer_step(n->optimizer, NULL, error));
    }
}

static int64_t memory_size(const net *n)
{
    int64_t size = 0;
    SUCCEEDS(lw_optimizer_get_memory_size(n->optimizer, &size, error));
    return size;
}

static void give(const net *n, unsigned char *memory, int64_t size)
{
    SUCCEEDS(lw_optimizer_set_memory(n->optimizer, memory, size, NULL, error));
}

static void same(const net *a, const net *b)
{
    CHECK(memcmp(a->parameters, b->parameters, sizeof a->parameters) == 0);
}

/** Size query, static array, training, a save into a buffer, and on in another optimizer in another array. */
static void whole_life(const char *rule)
{
    static const lw_setting with_parameters[] = {{"parameters", 1, NULL}};
    static net given, other, plain;
    int64_t size, bytes = 0;
    net_create(&given, rule, "caller");
    net_create(&other, rule, "caller");
    net_create(&plain, rule, "library");

    size = memory_size(&given);
    CHECK(size > 0 && size < ROOM && memory_size(&other) == size);
    memset(first_memory, 0x5a, sizeof first_memory);
    give(&given, first_memory + 1, size);
    CHECK(first_memory[0] == 0x5a);
    net_train(&given, 5);
    net_train(&plain, 5);
    same(&given, &plain);
    for (int64_t i = size + 1; i < ROOM; ++i) {
        if (first_memory[i] != 0x5a) {
            check_failed("memory behind the size", "was written", __FILE__, __LINE__);
        }
    }

    SUCCEEDS(lw_optimizer_export(given.optimizer, saved, ROOM, &bytes, with_parameters, COUNT(with_parameters), error));
    give(&other, second_memory, size);
    SUCCEEDS(lw_optimizer_import(other.optimizer, saved, bytes, NULL, 0, NULL, 0, error));
    same(&other, &given);
    net_train(&other, 5);
    net_train(&plain, 5);
    same(&other, &plain);

    /* What is kept moves to other memory; the first is the caller's again. */
    give(&other, third_memory, size);
    memset(second_memory, 0xff, sizeof second_memory);
    net_train(&other, 3);
    net_train(&plain, 3);
    same(&other, &plain);

    SUCCEEDS(lw_optimizer_destroy(given.optimizer, error));
    SUCCEEDS(lw_optimizer_destroy(other.optimizer, error));
    SUCCEEDS(lw_optimizer_destroy(plain.optimizer, error));
}

static void refusals(void)
{
    static net n, plain;
    const lw_setting momentum[] = {{"momentum", 0.9, NULL}}, to_library[] = {{"memory", 0, "library"}};
    lw_tensor tensor = LW_TENSOR_INIT;
    lw_error error = LW_ERROR_INIT;
    static float more[1];
    int64_t needed = -1, size;
    net_create(&n, "sgd", "caller");
    net_create(&plain, "sgd", "library");
    size = memory_size(&n);

    CHECK(lw_optimizer_step(n.optimizer, NULL, &error) == LW_ERROR_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "has no memory yet") != NULL);
    CHECK(lw_optimizer_export(n.optimizer, saved, ROOM, &needed, NULL, 0, NULL) == LW_ERROR_INVALID_ARGUMENT);
    CHECK(lw_optimizer_set_memory(n.optimizer, first_memory, size - 1, &needed, &error) == LW_ERROR_BUFFER_TOO_SMALL);
    CHECK(needed == size);
    needed = -1;
    CHECK(lw_optimizer_set_memory(n.optimizer, NULL, 0, &needed, NULL) == LW_ERROR_BUFFER_TOO_SMALL && needed == size);
    CHECK(lw_optimizer_set_memory(n.optimizer, NULL, size, NULL, NULL) == LW_ERROR_INVALID_ARGUMENT);
    CHECK(lw_optimizer_set_memory(n.optimizer, first_memory, -1, NULL, NULL) == LW_ERROR_INVALID_ARGUMENT);
    CHECK(lw_optimizer_set_memory(n.optimizer, n.parameters, ROOM, NULL, NULL) == LW_ERROR_OVERLAP);
    CHECK(lw_optimizer_set_memory(n.optimizer, (void *)(UINTPTR_MAX - 4096), ROOM, NULL, NULL) == LW_ERROR_OVERLAP);
    CHECK(lw_optimizer_get_memory_size(n.optimizer, NULL, NULL) == LW_ERROR_INVALID_ARGUMENT);
    CHECK(lw_optimizer_get_memory_size(plain.optimizer, &needed, NULL) == LW_ERROR_INVALID_ARGUMENT);
    CHECK(lw_optimizer_set_memory(plain.optimizer, first_memory, ROOM, NULL, NULL) == LW_ERROR_INVALID_ARGUMENT);
    CHECK(lw_optimizer_set(n.optimizer, to_library, 1, NULL) == LW_ERROR_INVALID_ARGUMENT);

    give(&n, first_memory, size);
    CHECK(lw_optimizer_set_memory(n.optimizer, first_memory, size, NULL, NULL) == LW_ERROR_OVERLAP);
    tensor.name = "weight";
    tensor.parameters = more;
    CHECK(lw_optimizer_add_layer(n.optimizer, "late", &tensor, 1, NULL, 0, NULL, NULL) == LW_ERROR_INVALID_ARGUMENT);
    net_train(&n, 2);
    net_train(&plain, 2);
    CHECK(lw_optimizer_set(n.optimizer, momentum, 1, &error) == LW_ERROR_BUFFER_TOO_SMALL);
    CHECK(strstr(error.message, "the optimizer needs ") != NULL);
    net_train(&n, 2);
    net_train(&plain, 2);
    same(&n, &plain);

    give(&n, second_memory, ROOM);
    SUCCEEDS(lw_optimizer_set(n.optimizer, momentum, 1, error));
    SUCCEEDS(lw_optimizer_set(plain.optimizer, momentum, 1, error));
    SUCCEEDS(lw_optimizer_prepare(n.optimizer, error));
    net_train(&n, 4);
    net_train(&plain, 4);
    same(&n, &plain);
    SUCCEEDS(lw_optimizer_destroy(n.optimizer, error));
    SUCCEEDS(lw_optimizer_destroy(plain.optimizer, error));
}

int main(void)
{
    for (int32_t rule = 0; rule < lw_rule_count(); ++rule) {
        const char *name = lw_rule_name(rule);
        /* These need the loss of each step. */
        if (strcmp(name, "momo") != 0 && strcmp(name, "momo_adam") != 0) {
            whole_life(name);
        }
    }
    refusals();
    return report();
}
