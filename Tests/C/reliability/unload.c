/* Unloads the library soon after a step on several threads, which go on for a while, and loads it again.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: unload LIBRARY THREADS
 */
#define _POSIX_C_SOURCE 200809L

#include <dlfcn.h>
#include <layerwise.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ELEMENTS = 400000 };

static float parameters[ELEMENTS], gradients[ELEMENTS];

/** The address of a function, which ISO C does not let an object pointer be cast to. */
static void find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    if (found == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(EXIT_FAILURE);
    }
    memcpy(function, &found, sizeof found);
}

static void step_on_threads(const char *path, int threads)
{
    int32_t (*create)(lw_optimizer **, const char *, const lw_setting *, int64_t, lw_error *);
    int32_t (*add)(lw_optimizer *, const char *, const lw_tensor *, int64_t, const lw_setting *, int64_t, int64_t *,
                   lw_error *);
    int32_t (*step)(lw_optimizer *, const lw_step *, lw_error *);
    int32_t (*destroy)(lw_optimizer *, lw_error *);
    const lw_setting setting = {"threads", threads, NULL};
    const int64_t extent = ELEMENTS;
    lw_tensor tensor = LW_TENSOR_INIT;
    lw_optimizer *optimizer = NULL;
    int32_t codes = 0;
    void *library = dlopen(path, RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(EXIT_FAILURE);
    }
    find(library, "lw_optimizer_create", &create);
    find(library, "lw_optimizer_add_layer", &add);
    find(library, "lw_optimizer_step", &step);
    find(library, "lw_optimizer_destroy", &destroy);
    tensor.name = "w";
    tensor.parameters = parameters;
    tensor.gradients = gradients;
    tensor.shape = &extent;
    tensor.rank = 1;
    codes |= create(&optimizer, "sgd", &setting, 1, NULL);
    codes |= add(optimizer, "a", &tensor, 1, NULL, 0, NULL, NULL);
    for (int i = 0; i < 50; ++i) {
        codes |= step(optimizer, NULL, NULL);
    }
    codes |= destroy(optimizer, NULL);
    if (codes != LW_OK || dlclose(library) != 0) {
        exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv)
{
    const struct timespec pause = {0, 100000000};
    if (argc != 3) {
        return EXIT_FAILURE;
    }
    for (int i = 0; i < 3; ++i) {
        step_on_threads(argv[1], atoi(argv[2]));
        nanosleep(&pause, NULL);
    }
    puts("alive");
    return EXIT_SUCCESS;
}
