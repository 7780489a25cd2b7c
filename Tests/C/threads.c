/* Eight optimizers on eight threads come out to the bits that they have one after another.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L

#include "many.h"

#include <pthread.h>

enum { THREADS = 8 };

typedef struct job {
    int seed;
    run work;
} job;

static void *work(void *argument)
{
    job *j = (job *)argument;
    run_create(&j->work, j->seed);
    run_steps(&j->work, RUN_STEPS);
    run_destroy(&j->work);
    return NULL;
}

int main(void)
{
    static job serial[THREADS], parallel[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; ++i) {
        serial[i].seed = i;
        parallel[i].seed = i;
        work(&serial[i]);
    }
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < THREADS; ++i) {
            CHECK(pthread_create(&threads[i], NULL, work, &parallel[i]) == 0);
        }
        for (int i = 0; i < THREADS; ++i) {
            CHECK(pthread_join(threads[i], NULL) == 0);
        }
        for (int i = 0; i < THREADS; ++i) {
            CHECK(memcmp(serial[i].work.parameters, parallel[i].work.parameters, sizeof serial[i].work.parameters)
                  == 0);
        }
    }
    for (int i = 1; i < THREADS; ++i) {
        CHECK(memcmp(serial[0].work.parameters, serial[i].work.parameters, sizeof serial[0].work.parameters) != 0);
    }
    return report();
}
