/* SPDX-License-Identifier: Apache-2.0
 *
 * A network whose weights are spread over processes by rows: each process steps the rows that it holds, and clipping and
 * trust ratios are those of the whole.  One process and several print the same bits.
 *
 *     mpicc -std=c99 -O2 mpi.c $(pkg-config --cflags --libs layerwise) -o mpi && mpirun -n 2 ./mpi
 */
#include <inttypes.h>
#include <layerwise.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>

enum { LAYERS = 3, ROWS = 8, COLUMNS = 4, STEPS = 20 };

#define TRY(call) \
    do { \
        if (call) { \
            fprintf(stderr, "%s\n", error.message); \
            MPI_Abort(MPI_COMM_WORLD, 1); \
        } \
    } while (0)

/* What a step needs of the other processes: sums of numbers. */
static int32_t sum(double *sums, int64_t count, void *context) {
    return MPI_Allreduce(MPI_IN_PLACE, sums, (int)count, MPI_DOUBLE, MPI_SUM, *(MPI_Comm *)context) != MPI_SUCCESS;
}

static float weights[LAYERS][ROWS][COLUMNS], gradients[LAYERS][ROWS][COLUMNS];

int main(int argc, char **argv) {
    MPI_Comm all = MPI_COMM_WORLD;
    int rank, size;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(all, &rank);
    MPI_Comm_size(all, &size);

    /* This process holds the rows first ... last - 1 of every layer. */
    const int first = ROWS * rank / size, last = ROWS * (rank + 1) / size;
    const int64_t part[] = {last - first, COLUMNS}, whole[] = {ROWS, COLUMNS};

    lw_error error = LW_ERROR_INIT;
    lw_optimizer *optimizer = NULL;
    const lw_setting settings[] = {{"lr", 0.1, NULL}, {"weight_decay", 0.01, NULL}, {"clip_global_norm", 1.0, NULL}};
    TRY(lw_optimizer_create(&optimizer, "lamb", settings, 3, &error));
    const lw_setting decay[] = {{"decay", 0.5, NULL}};
    lw_spec policy = LW_SPEC_INIT;
    policy.name = "layer_decay", policy.settings = decay, policy.setting_count = 1;
    TRY(lw_optimizer_set_policy(optimizer, &policy, 1, &error));
    for (int layer = 0; layer < LAYERS; layer++) {
        const char *const names[] = {"embed", "body", "head"};
        for (int row = 0; row < ROWS; row++)
            for (int column = 0; column < COLUMNS; column++)
                weights[layer][row][column] = (float)(1 + (row + 3 * column + layer) % 5);
        lw_tensor tensor = LW_TENSOR_INIT;
        tensor.name = "weight", tensor.rank = 2, tensor.shape = part, tensor.whole_shape = whole;
        tensor.parameters = weights[layer][first], tensor.gradients = gradients[layer][first];
        TRY(lw_optimizer_add_layer(optimizer, names[layer], &tensor, 1, NULL, 0, NULL, &error));
    }

    lw_step step = LW_STEP_INIT;
    step.reduce = sum, step.reduce_context = &all;
    for (int t = 0; t < STEPS; t++) {
        for (int layer = 0; layer < LAYERS; layer++)
            for (int row = first; row < last; row++)
                for (int column = 0; column < COLUMNS; column++)
                    gradients[layer][row][column] = weights[layer][row][column] - (float)(row - column);
        /* One process needs no sums. */
        TRY(lw_optimizer_step(optimizer, size > 1 ? &step : NULL, &error));
    }

    lw_summary summary = LW_SUMMARY_INIT;
    TRY(lw_optimizer_get_summary(optimizer, &summary, &error));
    /* The rows of all processes, in their order. */
    for (int layer = 0; layer < LAYERS; layer++)
        for (int row = 0; row < ROWS; row++) {
            const int owner = (size * (row + 1) - 1) / ROWS;
            MPI_Bcast(weights[layer][row], COLUMNS, MPI_FLOAT, owner, all);
        }
    if (rank == 0) {
        printf("norm of all gradients %.17g, clipped by %.17g\n", summary.gradient_norm, summary.clip_factor);
        for (int layer = 0; layer < LAYERS; layer++)
            for (int row = 0; row < ROWS; row++) {
                uint32_t bits[COLUMNS];
                memcpy(bits, weights[layer][row], sizeof bits);
                for (int column = 0; column < COLUMNS; column++)
                    printf("%08" PRIx32 "%c", bits[column], column < COLUMNS - 1 ? ' ' : '\n');
            }
    }
    TRY(lw_optimizer_destroy(optimizer, &error));
    return MPI_Finalize();
}
