/* Every damage to a checkpoint is found, and a refused import changes nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     damage [SIZE [EDITS [WORKERS]]]      4096 bytes, 20000 edits and 2 processes by default
 *
 * A checkpoint of exactly SIZE bytes is offered with every single bit flipped, cut to every length, and after EDITS random
 * edits.  Each must be refused as damaged; that none has changed anything is seen from the optimizer's own export, taken
 * after every batch.  The bytes end where no memory is mapped, so that reading past them is seen too.
 */
#define _DEFAULT_SOURCE

#include "check.h"

#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BATCH = 4096,      /* imports between two looks at the optimizer */
    MOST_MOVED = 4096, /* bytes that one edit inserts, removes or moves, at most */
    KINDS = 8          /* of edits */
};

/* ---- The optimizer and its checkpoint ------------------------------------------------------------------------ */

static void *zeroed(int64_t bytes)
{
    void *memory = calloc(1, (size_t)bytes + 1);
    CHECK(memory != NULL);
    return memory;
}

static lw_tensor tensor(const char *name, int32_t dtype, const int64_t *extent)
{
    const int64_t bytes = *extent * (dtype == LW_FLOAT64 ? 8 : dtype == LW_FLOAT32 ? 4 : 2);
    lw_tensor t = LW_TENSOR_INIT;
    t.name = name;
    t.dtype = dtype;
    t.rank = 1;
    t.shape = extent;
    t.parameters = zeroed(bytes);
    t.gradients = zeroed(bytes);
    t.master = dtype == LW_BFLOAT16;
    return t;
}

static void train(lw_optimizer *optimizer, int steps)
{
    for (int i = 0; i < steps; ++i) {
        SUCCEEDS(lw_optimizer_step(optimizer, NULL, error));
        SUCCEEDS(lw_optimizer_report(optimizer, 1.0 + i, error));
    }
}

/** AdamW over float32, float64, and bfloat16 with a master copy: every kind of tensor that is saved.  Its buffers live as long
 *  as the process. */
static lw_optimizer *trained(int64_t floats, int64_t halves)
{
    static const int64_t one = 1;
    const lw_spec plateau = spec("reduce_on_plateau", NULL, 0);
    lw_optimizer *optimizer = NULL;
    lw_tensor tensors[3];
    uint64_t state = 7;
    tensors[0] = tensor("f", LW_FLOAT32, &floats);
    tensors[1] = tensor("d", LW_FLOAT64, &one);
    tensors[2] = tensor("h", LW_BFLOAT16, &halves);
    for (int64_t i = 0; i < floats; ++i) {
        ((float *)tensors[0].parameters)[i] = (float)next_uniform(&state);
        ((float *)(uintptr_t)tensors[0].gradients)[i] = (float)next_uniform(&state);
    }
    for (int64_t i = 0; i < halves; ++i) {
        /* Numbers from 0.5 to 1, and from 0.125 to 0.25. */
        ((uint16_t *)tensors[2].parameters)[i] = (uint16_t)(0x3f00 + i % 128);
        ((uint16_t *)(uintptr_t)tensors[2].gradients)[i] = (uint16_t)(0x3e00 + i % 128);
    }
    SUCCEEDS(lw_optimizer_create(&optimizer, "adamw", NULL, 0, error));
    SUCCEEDS(lw_optimizer_set_schedule(optimizer, -1, "lr", &plateau, 1, error));
    SUCCEEDS(lw_optimizer_add_layer(optimizer, "a", tensors, 3, NULL, 0, NULL, error));
    train(optimizer, 3);
    return optimizer;
}

static const lw_setting with_parameters[] = {{"parameters", 1, NULL}};

static int64_t export_size(lw_optimizer *optimizer)
{
    int64_t size = 0;
    CHECK(lw_optimizer_export(optimizer, NULL, 0, &size, with_parameters, 1, NULL) == LW_ERROR_BUFFER_TOO_SMALL);
    return size;
}

static void export_into(lw_optimizer *optimizer, unsigned char *bytes, int64_t size)
{
    SUCCEEDS(lw_optimizer_export(optimizer, bytes, size, NULL, with_parameters, 1, error));
}

/** An optimizer whose checkpoint takes exactly `size` bytes: 12 for each float, 14 for each half. */
static lw_optimizer *trained_to_size(int64_t size)
{
    int64_t floats = size > 8192 ? (size - 8192) / 12 : 1;
    for (int64_t halves = 0; halves < 64; ++halves) {
        for (int attempt = 0; attempt < 4; ++attempt) {
            lw_optimizer *optimizer = trained(floats, halves);
            const int64_t missing = size - export_size(optimizer);
            if (missing == 0) {
                return optimizer;
            }
            SUCCEEDS(lw_optimizer_destroy(optimizer, error));
            if (missing % 12 != 0 || floats + missing / 12 < 0) {
                break;
            }
            floats += missing / 12;
        }
    }
    check_failed("trained_to_size", "no model has a checkpoint of this size", __FILE__, __LINE__);
    return NULL;
}

/* ---- Offering damaged bytes ---------------------------------------------------------------------------------- */

typedef struct offer {
    lw_optimizer *optimizer;
    unsigned char *end;      /* of the memory that is mapped */
    unsigned char *original; /* the checkpoint */
    int64_t size;
    unsigned char *before, *after; /* the optimizer's own export, which has the same size */
    int64_t refused;
} offer;

static void look(offer *o)
{
    export_into(o->optimizer, o->after, o->size);
    if (memcmp(o->before, o->after, (size_t)o->size) != 0) {
        check_failed("lw_optimizer_import", "refused imports have changed something", __FILE__, __LINE__);
    }
    count_check();
}

/** The last `size` bytes that are mapped are no checkpoint, also where as little as possible is asked of one. */
static void refuse(offer *o, int64_t size, const char *what, int64_t which)
{
    static const lw_setting lenient[] = {{"strict", 0, NULL}, {"convert", 1, NULL}};
    lw_error told = LW_ERROR_INIT;
    const int32_t code = lw_optimizer_import(o->optimizer, o->end - size, size, lenient, 2, NULL, 0, &told);
    if (code != LW_ERROR_CORRUPT || told.message[0] == '\0') {
        char detail[LW_ERROR_MESSAGE_SIZE + 128];
        snprintf(detail, sizeof detail, "%s %lld: %s: %s", what, (long long)which, lw_error_name(code), told.message);
        check_failed("lw_optimizer_import", detail, __FILE__, __LINE__);
    }
    if (++o->refused % BATCH == 0) {
        look(o);
    }
}

static void flip_bits(offer *o, int64_t first, int64_t stride)
{
    unsigned char *bytes = o->end - o->size;
    memcpy(bytes, o->original, (size_t)o->size);
    for (int64_t bit = first; bit < 8 * o->size; bit += stride) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        refuse(o, o->size, "bit", bit);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

static void truncate_to_every_length(offer *o, int64_t first, int64_t stride)
{
    for (int64_t length = first; length < o->size; length += stride) {
        memcpy(o->end - length, o->original, (size_t)length);
        refuse(o, length, "length", length);
    }
}

/** A number from 0 to `limit` - 1. */
static int64_t pick(uint64_t *state, int64_t limit) { return (int64_t)((next_uniform(state) + 1) / 2 * (double)limit); }

static void scribble(unsigned char *bytes, int64_t count, uint64_t *state)
{
    for (int64_t i = 0; i < count; ++i) {
        bytes[i] = (unsigned char)pick(state, 256);
    }
}

/** Changes the `size` bytes at `bytes` in one of several ways; returns how many there are then. */
static int64_t edit(unsigned char *bytes, int64_t size, uint64_t *state)
{
    const int64_t quarter = size / 4, most = quarter < MOST_MOVED ? quarter : (int64_t)MOST_MOVED;
    const int64_t count = 1 + pick(state, most);
    const int64_t from = pick(state, size - 2 * count), to = from + count + pick(state, size - from - 2 * count + 1);
    unsigned char moved[MOST_MOVED];
    switch (pick(state, KINDS)) {
    case 0: /* a few bytes here and there */
        for (int64_t i = 2 + pick(state, 15); i > 0; --i) {
            scribble(bytes + pick(state, size), 1, state);
        }
        return size;
    case 1: /* a run of them */
        scribble(bytes + from, count, state);
        return size;
    case 2: /* a run that was never written */
        memset(bytes + from, 0, (size_t)count);
        return size;
    case 3: /* two runs change places */
        memcpy(moved, bytes + from, (size_t)count);
        memcpy(bytes + from, bytes + to, (size_t)count);
        memcpy(bytes + to, moved, (size_t)count);
        return size;
    case 4: /* a run over another */
        memcpy(bytes + to, bytes + from, (size_t)count);
        return size;
    case 5: /* a run is missing */
        memmove(bytes + from, bytes + from + count, (size_t)(size - from - count));
        return size - count;
    case 6: /* a run too many */
        memmove(bytes + from + count, bytes + from, (size_t)(size - from));
        scribble(bytes + from, count, state);
        return size + count;
    default: /* the end is another */
        scribble(bytes + size - count, count, state);
        return size;
    }
}

static void edit_at_random(offer *o, int64_t count, uint64_t seed)
{
    unsigned char *bytes = (unsigned char *)zeroed(o->size + MOST_MOVED);
    uint64_t state = seed;
    for (int64_t done = 0; done < count;) {
        int64_t size;
        memcpy(bytes, o->original, (size_t)o->size);
        size = edit(bytes, o->size, &state);
        /* Zeros over zeros change nothing. */
        if (size == o->size && memcmp(bytes, o->original, (size_t)size) == 0) {
            continue;
        }
        memcpy(o->end - size, bytes, (size_t)size);
        refuse(o, size, "edit", done);
        ++done;
    }
    free(bytes);
}

/** Memory whose end, which is returned, is followed by a page that is not mapped. */
static unsigned char *mapped_end(int64_t bytes)
{
    const int64_t page = sysconf(_SC_PAGESIZE);
    const int64_t whole = (bytes + page - 1) / page * page;
    unsigned char *start = (unsigned char *)mmap(NULL, (size_t)(whole + page), PROT_READ | PROT_WRITE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(start != (unsigned char *)MAP_FAILED);
    CHECK(mprotect(start + whole, (size_t)page, PROT_NONE) == 0);
    return start + whole;
}

/* ---- Sharing the work ---------------------------------------------------------------------------------------- */

enum { FLIPS, TRUNCATIONS, EDITS, TOTALS };

/** Does one process's share; `refused` receives how many of each were. */
static void work(offer *o, int64_t edits, int64_t worker, int64_t workers, int64_t refused[TOTALS])
{
    flip_bits(o, worker, workers);
    refused[FLIPS] = o->refused;
    truncate_to_every_length(o, worker, workers);
    refused[TRUNCATIONS] = o->refused - refused[FLIPS];
    edit_at_random(o, edits / workers + (worker < edits % workers), 1000u + (uint64_t)worker);
    refused[EDITS] = o->refused - refused[FLIPS] - refused[TRUNCATIONS];
    look(o);
    /* What was refused all along is the damage: the checkpoint itself is taken, and it makes a difference. */
    memcpy(o->end - o->size, o->original, (size_t)o->size);
    SUCCEEDS(lw_optimizer_import(o->optimizer, o->end - o->size, o->size, NULL, 0, NULL, 0, error));
    export_into(o->optimizer, o->after, o->size);
    CHECK(memcmp(o->original, o->after, (size_t)o->size) == 0);
}

int main(int count, char **arguments)
{
    const int64_t size = count > 1 ? atoll(arguments[1]) : 4096;
    const int64_t edits = count > 2 ? atoll(arguments[2]) : 20000;
    const int64_t workers = count > 3 ? atoll(arguments[3]) : 2;
    int64_t total[TOTALS] = {0, 0, 0};
    int ends[2];
    offer o;
    CHECK(size > 0 && edits >= 0 && workers > 0);
    o.optimizer = trained_to_size(size);
    o.size = size;
    o.end = mapped_end(size + MOST_MOVED);
    o.refused = 0;
    o.original = (unsigned char *)zeroed(size);
    o.before = (unsigned char *)zeroed(size);
    o.after = (unsigned char *)zeroed(size);
    export_into(o.optimizer, o.original, size);
    /* Elsewhere than the checkpoint, so that what is put back of one that is refused can be seen. */
    train(o.optimizer, 1);
    CHECK(export_size(o.optimizer) == size);
    export_into(o.optimizer, o.before, size);
    CHECK(pipe(ends) == 0);
    for (int64_t worker = 0; worker < workers; ++worker) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            int64_t refused[TOTALS];
            work(&o, edits, worker, workers, refused);
            CHECK(write(ends[1], refused, sizeof refused) == (ssize_t)sizeof refused);
            _exit(EXIT_SUCCESS);
        }
    }
    close(ends[1]);
    for (int64_t worker = 0; worker < workers; ++worker) {
        int64_t refused[TOTALS];
        int status = 0;
        CHECK(wait(&status) > 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
        CHECK(read(ends[0], refused, sizeof refused) == (ssize_t)sizeof refused);
        for (int kind = 0; kind < TOTALS; ++kind) {
            total[kind] += refused[kind];
        }
    }
    CHECK(total[FLIPS] == 8 * size && total[TRUNCATIONS] == size && total[EDITS] == edits);
    printf("a checkpoint of %lld bytes: refused %lld of %lld flipped bits, %lld of %lld truncations, %lld of %lld edits\n",
           (long long)size, (long long)total[FLIPS], (long long)(8 * size), (long long)total[TRUNCATIONS],
           (long long)size, (long long)total[EDITS], (long long)edits);
    return report();
}
