/* A shim (LD_PRELOAD) through which a program's file and memory calls pass: it counts them, writes them down, and fails,
 * shortens, delays or kills at the k-th.  It does nothing until the program says what and when (saver.c).
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Calls that the C library makes within itself are not seen, except for its allocations.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum action { NOTHING, FAIL, SHORTEN, DELAY, KILL_BEFORE, KILL_WITHIN, KILL_AFTER };

static struct {
    char calls[16]; /* "files", "memory", the name of one function, or "buffer": an aligned allocation */
    int64_t first, last;
    enum action action;
    int64_t argument; /* errno, bytes or microseconds */
} plan;

static int armed, trace = -1, syncs = 1;
static int64_t counted;

/* ---- What the program says --------------------------------------------------------------------------------- */

/** From the next arming on, the calls first ... last of `calls`, counted from 1, meet `action`. */
void fault_plan(const char *calls, int64_t first, int64_t last, const char *action, int64_t argument)
{
    static const char *const actions[] = {"nothing", "fail", "shorten", "delay", "kill_before", "kill_within",
                                          "kill_after"};
    snprintf(plan.calls, sizeof plan.calls, "%s", calls);
    plan.first = first;
    plan.last = last;
    plan.argument = argument;
    plan.action = NOTHING;
    for (int i = 0; i < (int)(sizeof actions / sizeof actions[0]); ++i) {
        if (strcmp(action, actions[i]) == 0) {
            plan.action = (enum action)i;
        }
    }
}

/** Writes file calls down in a new file at `path`; NULL: no more. */
void fault_trace(const char *path)
{
    if (trace >= 0) {
        syscall(SYS_close, trace);
    }
    trace = path == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
}

/** Whether fsync does anything: it takes most of a save's time, and only a power failure tells the difference. */
void fault_sync(int on) { syncs = on; }

/** Counts from 0 on, or no longer; returns what was counted. */
int64_t fault_arm(int on)
{
    if (on) {
        counted = 0;
    }
    armed = on;
    return counted;
}

/* ---- Every call ---------------------------------------------------------------------------------------------- */

static void die(void)
{
    syscall(SYS_kill, (pid_t)syscall(SYS_getpid), SIGKILL);
    for (;;) {
        pause();
    }
}

static enum action begin(const char *kind, const char *name)
{
    if (!armed || (strcmp(plan.calls, kind) != 0 && strcmp(plan.calls, name) != 0)) {
        return NOTHING;
    }
    ++counted;
    if (counted < plan.first || counted > plan.last) {
        return NOTHING;
    }
    if (plan.action == KILL_BEFORE) {
        die();
    }
    if (plan.action == DELAY) {
        const struct timespec time = {plan.argument / 1000000, plan.argument % 1000000 * 1000};
        syscall(SYS_nanosleep, &time, NULL);
    }
    return plan.action;
}

static int64_t end(enum action action, const char *name, const char *path, const char *other, int64_t descriptor,
                   int64_t argument, int64_t result)
{
    const int reason = errno;
    if (armed && trace >= 0) {
        char line[2048];
        const int size = snprintf(line, sizeof line, "%s\t%s\t%s\t%lld\t%lld\t%lld\t%d\n", name, path, other,
                                  (long long)descriptor, (long long)argument, (long long)result,
                                  result < 0 ? reason : 0);
        if (size < 0 || size >= (int)sizeof line || syscall(SYS_write, trace, line, (size_t)size) != size) {
            abort();
        }
    }
    if (action == KILL_WITHIN || action == KILL_AFTER) {
        die();
    }
    errno = reason;
    return result;
}

static int64_t failed(void)
{
    errno = (int)plan.argument;
    return -1;
}

/** The call itself, or its failure. */
#define PERFORM(name, path, other, descriptor, argument, call)                                                         \
    enum action action = begin("files", name);                                                                         \
    const int64_t result = action == FAIL ? failed() : (int64_t)(call);                                                \
    return (int)end(action, name, path, other, descriptor, argument, result)

/** How many bytes a call may take that is cut short; half of them where the process dies within it. */
static size_t cut(enum action action, size_t count)
{
    if (action == SHORTEN && (size_t)plan.argument < count) {
        return (size_t)plan.argument;
    }
    return action == KILL_WITHIN ? count / 2 : count;
}

/* ---- Files --------------------------------------------------------------------------------------------------- */

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    const int mode = (flags & O_CREAT) != 0 ? va_arg(arguments, int) : 0;
    va_end(arguments);
    PERFORM("open", path, flags & O_CREAT ? "create" : "", mode, flags,
            syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

int openat(int folder, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    const int mode = (flags & O_CREAT) != 0 ? va_arg(arguments, int) : 0;
    va_end(arguments);
    PERFORM("openat", path, flags & O_CREAT ? "create" : "", mode, flags,
            syscall(SYS_openat, folder, path, flags, mode));
}

int close(int descriptor)
{
    enum action action = begin("files", "close");
    int64_t result = syscall(SYS_close, descriptor);
    // Linux has closed it whatever it answers.
    if (action == FAIL) {
        result = failed();
    }
    return (int)end(action, "close", "", "", descriptor, 0, result);
}

ssize_t write(int descriptor, const void *bytes, size_t count)
{
    enum action action = begin("files", "write");
    const size_t part = cut(action, count);
    const int64_t result = action == FAIL ? failed() : part == 0 ? 0 : syscall(SYS_write, descriptor, bytes, part);
    return end(action, "write", "", "", descriptor, (int64_t)count, result);
}

ssize_t pread(int descriptor, void *bytes, size_t count, off_t offset)
{
    enum action action = begin("files", "pread");
    const size_t part = cut(action, count);
    const int64_t result =
        action == FAIL ? failed() : part == 0 ? 0 : syscall(SYS_pread64, descriptor, bytes, part, offset);
    return end(action, "pread", "", "", descriptor, (int64_t)count, result);
}

int fsync(int descriptor) { PERFORM("fsync", "", "", descriptor, 0, syncs ? syscall(SYS_fsync, descriptor) : 0); }

int fchmod(int descriptor, mode_t mode)
{
    PERFORM("fchmod", "", "", descriptor, mode, syscall(SYS_fchmod, descriptor, mode));
}

int fchown(int descriptor, uid_t owner, gid_t group)
{
    PERFORM("fchown", "", "", descriptor, owner, syscall(SYS_fchown, descriptor, owner, group));
}

int flock(int descriptor, int operation)
{
    PERFORM("flock", "", "", descriptor, operation, syscall(SYS_flock, descriptor, operation));
}

int renameat(int folder, const char *from, int other, const char *to)
{
    PERFORM("renameat", from, to, folder, 0, syscall(SYS_renameat2, folder, from, other, to, 0));
}

int unlinkat(int folder, const char *path, int flags)
{
    PERFORM("unlinkat", path, "", folder, flags, syscall(SYS_unlinkat, folder, path, flags));
}

ssize_t readlink(const char *path, char *target, size_t size)
{
    PERFORM("readlink", path, "", -1, (int64_t)size, syscall(SYS_readlinkat, AT_FDCWD, path, target, size));
}

/** The C library's own function, for what is more than a system call. */
#define ORIGINAL(function) __typeof__(&function) original = (__typeof__(&function))dlsym(RTLD_NEXT, #function)

int fstatat(int folder, const char *path, struct stat *status, int flags)
{
    ORIGINAL(fstatat);
    PERFORM("fstatat", path, "", folder, flags, original(folder, path, status, flags));
}

int fstat(int descriptor, struct stat *status)
{
    ORIGINAL(fstat);
    PERFORM("fstat", "", "", descriptor, 0, original(descriptor, status));
}

char *realpath(const char *path, char *resolved)
{
    ORIGINAL(realpath);
    enum action action = begin("files", "realpath");
    char *result = action == FAIL ? NULL : original(path, resolved);
    if (action == FAIL) {
        failed();
    }
    end(action, "realpath", path, "", -1, 0, result == NULL ? -1 : 0);
    return result;
}

DIR *fdopendir(int folder)
{
    ORIGINAL(fdopendir);
    enum action action = begin("files", "fdopendir");
    DIR *result = action == FAIL ? NULL : original(folder);
    if (action == FAIL) {
        failed();
    }
    end(action, "fdopendir", "", "", folder, 0, result == NULL ? -1 : 0);
    return result;
}

struct dirent *readdir(DIR *folder)
{
    ORIGINAL(readdir);
    enum action action = begin("files", "readdir");
    struct dirent *result = action == FAIL ? NULL : original(folder);
    if (action == FAIL) {
        failed();
    }
    end(action, "readdir", result == NULL ? "" : result->d_name, "", -1, 0, 0);
    return result;
}

int closedir(DIR *folder)
{
    ORIGINAL(closedir);
    enum action action = begin("files", "closedir");
    int64_t result = original(folder);
    if (action == FAIL) {
        result = failed();
    }
    return (int)end(action, "closedir", "", "", -1, 0, result);
}

/* ---- Memory -------------------------------------------------------------------------------------------------- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static int refuses(const char *name)
{
    if (begin("memory", name) != FAIL) {
        return 0;
    }
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) { return refuses("malloc") ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) { return refuses("calloc") ? NULL : __libc_calloc(count, size); }

void *realloc(void *memory, size_t size) { return refuses("realloc") ? NULL : __libc_realloc(memory, size); }

void *aligned_alloc(size_t alignment, size_t size)
{
    return refuses("aligned_alloc") ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    /* The library's own buffers are aligned to a cache line, those of Swift's run time to less. */
    void *result = refuses(alignment >= 64 ? "buffer" : "posix_memalign") ? NULL : __libc_memalign(alignment, size);
    if (result == NULL) {
        return ENOMEM;
    }
    *memory = result;
    return 0;
}

void *mmap(void *address, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    if (refuses("mmap")) {
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, address, size, protection, flags, descriptor, offset);
}
