/* Saves and loads by commands on its standard input, one command a line, words apart by tabs; answers each with a line.
 * With the shim (fault.c) before it, a save or load meets what the last "plan" said.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     saver TENSORS ELEMENTS       AdamW over so many tensors of float32, each in a layer of its own
 *
 *     fill VERSION                 everything becomes what that version is
 *     save PATH, load PATH         the code and the message
 *     version                      which one is here; -1 if it is not one as a whole
 *     digest                       of all that a save would write
 *     plan CALLS FIRST LAST ACTION ARGUMENT, trace PATH        see fault.c
 *     sync 0 | 1                   whether fsync does anything
 *     calls                        how many the last save or load made
 *     files                        how many are open
 *     heap                         bytes of the C library's allocator in use, and pages of address space
 *     limit BYTES                  from now on, so many more of address space can be had; -1: all
 *     fork COMMAND ...             does it in a child; says how that ended
 *     kills PATH COUNT SEED        kills as many children that save without end, each at a random moment
 *     crowd PATH WRITERS READERS MILLISECONDS                  as many children on one path
 */
#define _GNU_SOURCE
#include "../check.h"

#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static lw_optimizer *optimizer;
static int64_t tensor_count, element_count;
static float *parameters, *scratch;

static void (*fault_plan)(const char *, int64_t, int64_t, const char *, int64_t);
static void (*fault_trace)(const char *);
static void (*fault_sync)(int);
static int64_t (*fault_arm)(int);
static int64_t last_calls;

/* ---- Versions ------------------------------------------------------------------------------------------------ */

static const char *const state_names[] = {"exp_avg", "exp_avg_sq"};

/** What version `version` has in a state of a tensor, or (state 2) in its parameters. */
static void expected(int64_t version, int64_t tensor, int64_t state, float *values)
{
    uint64_t sequence = (uint64_t)(version * 3 + state) * 1000003u + (uint64_t)tensor;
    next_uniform(&sequence);
    for (int64_t i = 0; i < element_count; ++i) {
        values[i] = (float)next_uniform(&sequence);
    }
}

static int64_t state_size(void) { return element_count * (int64_t)sizeof(float); }

static void fill(int64_t version)
{
    for (int64_t tensor = 0; tensor < tensor_count; ++tensor) {
        for (int64_t state = 0; state < COUNT(state_names); ++state) {
            expected(version, tensor, state, scratch);
            SUCCEEDS(lw_tensor_write_state(optimizer, tensor, 0, state_names[state], scratch, state_size(), error));
        }
        expected(version, tensor, COUNT(state_names), parameters + tensor * element_count);
        SUCCEEDS(lw_tensor_write_state(optimizer, tensor, 0, "step", &version, sizeof version, error));
    }
    SUCCEEDS(lw_optimizer_seek(optimizer, version, error));
}

/** The version that is here, or -1 if the parts are of several. */
static int64_t find_version(void)
{
    float *found = scratch + element_count;
    lw_summary summary = LW_SUMMARY_INIT;
    SUCCEEDS(lw_optimizer_get_summary(optimizer, &summary, error));
    const int64_t version = summary.next_step;
    for (int64_t tensor = 0; tensor < tensor_count; ++tensor) {
        int64_t step;
        SUCCEEDS(lw_tensor_read_state(optimizer, tensor, 0, "step", &step, sizeof step, error));
        if (step != version) {
            return -1;
        }
        for (int64_t state = 0; state <= COUNT(state_names); ++state) {
            expected(version, tensor, state, scratch);
            if (state < COUNT(state_names)) {
                SUCCEEDS(lw_tensor_read_state(optimizer, tensor, 0, state_names[state], found, state_size(), error));
            } else {
                memcpy(found, parameters + tensor * element_count, (size_t)state_size());
            }
            if (memcmp(found, scratch, (size_t)state_size()) != 0) {
                return -1;
            }
        }
    }
    return version;
}

static void create(void)
{
    const lw_setting threads = {"threads", 1, NULL};
    parameters = (float *)calloc((size_t)(tensor_count * element_count), sizeof(float));
    scratch = (float *)calloc((size_t)(2 * element_count), sizeof(float));
    CHECK(parameters != NULL && scratch != NULL);
    SUCCEEDS(lw_optimizer_create(&optimizer, "adamw", &threads, 1, error));
    for (int64_t i = 0; i < tensor_count; ++i) {
        char name[64];
        lw_tensor tensor = LW_TENSOR_INIT;
        snprintf(name, sizeof name, "encoder.layer.%lld", (long long)i);
        tensor.name = "weight";
        tensor.rank = 1;
        tensor.shape = &element_count;
        tensor.parameters = parameters + i * element_count;
        SUCCEEDS(lw_optimizer_add_layer(optimizer, name, &tensor, 1, NULL, 0, NULL, error));
    }
}

/* ---- Saving and loading -------------------------------------------------------------------------------------- */

static void arm(int on)
{
    if (fault_arm != NULL) {
        last_calls = fault_arm(on);
    }
}

/** A call that has not come back after a minute never does; then the process ends. */
enum { PATIENCE = 60 };

static int32_t save(const char *path, lw_error *error)
{
    const lw_setting options = {"parameters", 1, NULL};
    alarm(PATIENCE);
    arm(1);
    const int32_t code = lw_optimizer_save(optimizer, path, &options, 1, error);
    arm(0);
    alarm(0);
    return code;
}

static int32_t load(const char *path, lw_error *error)
{
    alarm(PATIENCE);
    arm(1);
    const int32_t code = lw_optimizer_load(optimizer, path, NULL, 0, NULL, 0, error);
    arm(0);
    alarm(0);
    return code;
}

static uint64_t digest(void)
{
    const lw_setting options = {"parameters", 1, NULL};
    /* As many bytes as the last time: to ask for the size takes as long as to export. */
    static int64_t room = 0;
    int64_t size = room;
    uint64_t hash = 14695981039346656037u;
    unsigned char *bytes = (unsigned char *)malloc((size_t)room);
    if (room == 0 || lw_optimizer_export(optimizer, bytes, room, &size, &options, 1, NULL) != LW_OK) {
        free(bytes);
        lw_optimizer_export(optimizer, NULL, 0, &size, &options, 1, NULL);
        bytes = (unsigned char *)malloc((size_t)size);
        CHECK(bytes != NULL);
        SUCCEEDS(lw_optimizer_export(optimizer, bytes, size, &size, &options, 1, error));
        room = size;
    }
    for (int64_t i = 0; i < size; ++i) {
        hash = (hash ^ bytes[i]) * 1099511628211u;
    }
    free(bytes);
    return hash;
}

static int open_files(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder) != NULL) {
        ++count;
    }
    closedir(folder);
    return count - 3; /* ".", ".." and the folder itself */
}

/** Pages of address space. */
static long pages(void)
{
    long count = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%ld", &count) == 1);
    fclose(file);
    return count;
}

static void limit(int64_t bytes)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = bytes < 0 ? limit.rlim_max : (rlim_t)(pages() * sysconf(_SC_PAGESIZE) + bytes);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

/* ---- Many processes ------------------------------------------------------------------------------------------ */

/** What children and their parent both see. */
typedef struct board {
    atomic_llong begun, done, torn, refused, saves, loads, in_midst;
} board;

static board *make_board(void)
{
    void *memory = mmap(NULL, sizeof(board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return (board *)memory;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void rest(double seconds)
{
    const struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

static void save_without_end(const char *path, board *seen)
{
    for (int64_t version = seen->done + 1;; ++version) {
        fill(version);
        seen->begun = version;
        if (save(path, NULL) != LW_OK) {
            ++seen->refused;
        }
        seen->done = version;
    }
}

static void kills(const char *path, int64_t count, uint64_t seed)
{
    board *seen = make_board();
    fill(1);
    SUCCEEDS(save(path, error));
    double longest = now();
    for (int i = 0; i < 8; ++i) {
        SUCCEEDS(save(path, error));
    }
    /* Some die before their first save, most within one of their first three. */
    longest = 3 * (now() - longest) / 8;
    seen->begun = seen->done = 1;
    for (int64_t i = 0; i < count; ++i) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            save_without_end(path, seen);
        }
        rest((next_uniform(&seed) + 1) / 2 * longest);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        if (load(path, NULL) != LW_OK) {
            ++seen->refused;
            continue;
        }
        const int64_t version = find_version();
        if (version != seen->done && version != seen->begun) {
            ++seen->torn;
        }
        seen->in_midst += seen->begun != seen->done;
        seen->done = seen->begun = version > 0 ? version : 1;
    }
    printf("%lld\t%lld\t%lld\n", seen->torn, seen->refused, seen->in_midst);
}

static void crowd(const char *path, int writers, int readers, double seconds)
{
    board *seen = make_board();
    const double until = now() + seconds;
    fill(1);
    SUCCEEDS(save(path, error));
    for (int i = 0; i < writers + readers; ++i) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child != 0) {
            continue;
        }
        for (int64_t version = i + 1; now() < until; version += writers) {
            if (i < writers) {
                fill(version);
                *(save(path, NULL) == LW_OK ? &seen->saves : &seen->refused) += 1;
            } else {
                *(load(path, NULL) == LW_OK ? &seen->loads : &seen->refused) += 1;
                seen->torn += find_version() < 1;
            }
        }
        _exit(EXIT_SUCCESS);
    }
    int status, bad = 0;
    while (wait(&status) > 0) {
        bad += status != 0;
    }
    printf("%lld\t%lld\t%lld\t%lld\n", seen->saves, seen->loads, seen->torn, seen->refused + bad);
}

/* ---- Commands ------------------------------------------------------------------------------------------------ */

static const char *word(char **line)
{
    const char *found = strsep(line, "\t");
    CHECK(found != NULL);
    return found;
}

static int64_t number(char **line) { return strtoll(word(line), NULL, 10); }

static void answer(int32_t code, const lw_error *error)
{
    printf("%s\t%s\n", code == LW_OK ? "LW_OK" : lw_error_name(code), error->message);
}

static void obey(char *line)
{
    lw_error error = LW_ERROR_INIT;
    const char *command = word(&line);
    if (strcmp(command, "fill") == 0) {
        fill(number(&line));
        puts("ok");
    } else if (strcmp(command, "save") == 0) {
        const int32_t code = save(word(&line), &error);
        answer(code, &error);
    } else if (strcmp(command, "load") == 0) {
        const int32_t code = load(word(&line), &error);
        answer(code, &error);
    } else if (strcmp(command, "version") == 0) {
        printf("%lld\n", (long long)find_version());
    } else if (strcmp(command, "digest") == 0) {
        printf("%016llx\n", (unsigned long long)digest());
    } else if (strcmp(command, "plan") == 0) {
        const char *calls = word(&line);
        const int64_t first = number(&line), last = number(&line);
        const char *action = word(&line);
        fault_plan(calls, first, last, action, number(&line));
        puts("ok");
    } else if (strcmp(command, "trace") == 0) {
        const char *path = word(&line);
        fault_trace(path[0] == '\0' ? NULL : path);
        puts("ok");
    } else if (strcmp(command, "sync") == 0) {
        fault_sync((int)number(&line));
        puts("ok");
    } else if (strcmp(command, "calls") == 0) {
        printf("%lld\n", (long long)last_calls);
    } else if (strcmp(command, "files") == 0) {
        printf("%d\n", open_files());
    } else if (strcmp(command, "heap") == 0) {
        const struct mallinfo2 info = mallinfo2();
        printf("%zu\t%ld\n", info.uordblks + info.hblkhd, pages());
    } else if (strcmp(command, "limit") == 0) {
        limit(number(&line));
        puts("ok");
    } else if (strcmp(command, "fork") == 0) {
        int status;
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            obey(line);
            fflush(stdout);
            _exit(EXIT_SUCCESS);
        }
        CHECK(waitpid(child, &status, 0) == child);
        printf("%s\t%d\n", WIFSIGNALED(status) ? "killed" : "exited",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    } else if (strcmp(command, "kills") == 0) {
        const char *path = word(&line);
        const int64_t count = number(&line);
        kills(path, count, (uint64_t)number(&line));
    } else if (strcmp(command, "crowd") == 0) {
        const char *path = word(&line);
        const int writers = (int)number(&line), readers = (int)number(&line);
        crowd(path, writers, readers, (double)number(&line) * 1e-3);
    } else {
        check_failed("unknown command", command, __FILE__, __LINE__);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t room = 0;
    CHECK(argc == 3);
    tensor_count = atoll(argv[1]);
    element_count = atoll(argv[2]);
    create();
    *(void **)&fault_plan = dlsym(RTLD_DEFAULT, "fault_plan");
    *(void **)&fault_trace = dlsym(RTLD_DEFAULT, "fault_trace");
    *(void **)&fault_sync = dlsym(RTLD_DEFAULT, "fault_sync");
    *(void **)&fault_arm = dlsym(RTLD_DEFAULT, "fault_arm");
    for (ssize_t size; (size = getline(&line, &room, stdin)) > 0;) {
        line[size - 1] = '\0';
        obey(line);
    }
    free(line);
    SUCCEEDS(lw_optimizer_destroy(optimizer, error));
    return EXIT_SUCCESS;
}
