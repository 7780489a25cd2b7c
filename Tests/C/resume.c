/* A run that another program began, carried on from its checkpoint to the same bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     resume FROM STEP END TO      load FROM, in which STEP steps are taken, go on to END, save to TO
 *     resume                       begin, stop and resume a run here, at every one of its steps
 *
 * The parameters come with the file: what they are before it is loaded does not matter.  Gradients follow from the step alone.
 */
#include "check.h"

enum { LAYERS = 4, LONGEST = 129, EVERY = 10, STEPS = 40, LARGEST = 1 << 15 };

static const char *const names[LAYERS] = {"embed", "body/1", "body/2", "head"};
static const int64_t sizes[LAYERS] = {37, LONGEST, 0, 5};
static const int32_t types[LAYERS] = {LW_FLOAT32, LW_BFLOAT16, LW_FLOAT32, LW_FLOAT64};

/** AdamW over layers of each type, the 16-bit one with a master copy. */
typedef struct run {
    lw_optimizer *optimizer;
    double parameters[LAYERS][LONGEST]; /* room for any type */
    float narrow[LAYERS][LONGEST];      /* gradients */
    double wide[LONGEST];
} run;

static void set_up(run *r)
{
    static const lw_setting settings[] = {{"lr", 0.02, NULL}, {"clip_global_norm", 3, NULL}};
    static const lw_setting half = {"decay", 0.5, NULL}, every = {"every", 3, NULL};
    static const lw_setting warmup = {"steps", 20, NULL}, cosine = {"total_steps", 150, NULL};
    static const lw_setting plateau[] = {{"patience", 2, NULL}, {"factor", 0.5, NULL}};
    const lw_spec policy = spec("layer_decay", &half, 1), plan = spec("gradual_unfreezing", &every, 1);
    lw_spec schedule[4];
    schedule[0] = spec("product", NULL, 0);
    schedule[0].part_count = 2;
    schedule[1] = spec("warmup", &warmup, 1);
    schedule[1].part_count = 1;
    schedule[2] = spec("cosine", &cosine, 1);
    schedule[3] = spec("reduce_on_plateau", plateau, COUNT(plateau));
    memset(r, 0, sizeof *r);
    SUCCEEDS(lw_optimizer_create(&r->optimizer, "adamw", settings, COUNT(settings), error));
    SUCCEEDS(lw_optimizer_set_policy(r->optimizer, &policy, 1, error));
    SUCCEEDS(lw_optimizer_set_schedule(r->optimizer, -1, "lr", schedule, COUNT(schedule), error));
    SUCCEEDS(lw_optimizer_set_freeze_plan(r->optimizer, &plan, 1, error));
    for (int k = 0; k < LAYERS; ++k) {
        lw_tensor tensor = LW_TENSOR_INIT;
        tensor.name = "weight";
        tensor.dtype = types[k];
        tensor.gradient_dtype = types[k] == LW_FLOAT64 ? LW_FLOAT64 : LW_FLOAT32;
        tensor.master = types[k] == LW_BFLOAT16;
        tensor.rank = 1;
        tensor.shape = &sizes[k];
        tensor.parameters = r->parameters[k];
        tensor.gradients = types[k] == LW_FLOAT64 ? (const void *)r->wide : (const void *)r->narrow[k];
        SUCCEEDS(lw_optimizer_add_layer(r->optimizer, names[k], &tensor, 1, NULL, 0, NULL, error));
    }
}

/** Steps from `first` on; after every tenth a metric that stops falling. */
static void go_on(run *r, int first, int end)
{
    for (int t = first; t < end; ++t) {
        uint64_t state = (uint64_t)t + 1;
        for (int k = 0; k < LAYERS; ++k) {
            for (int64_t i = 0; i < sizes[k]; ++i) {
                double gradient = next_uniform(&state);
                r->narrow[k][i] = (float)gradient;
                if (types[k] == LW_FLOAT64) {
                    r->wide[i] = gradient;
                }
            }
        }
        SUCCEEDS(lw_optimizer_step(r->optimizer, NULL, error));
        if (t % EVERY == EVERY - 1) {
            SUCCEEDS(lw_optimizer_report(r->optimizer, t < 2 * EVERY ? -t : 1, error));
        }
    }
}

static const lw_setting all = {"parameters", 1, NULL};

static void resume(const char *from, int step, int end, const char *to)
{
    run r;
    lw_summary summary = LW_SUMMARY_INIT;
    set_up(&r);
    SUCCEEDS(lw_optimizer_load(r.optimizer, from, NULL, 0, NULL, 0, error));
    SUCCEEDS(lw_optimizer_get_summary(r.optimizer, &summary, error));
    CHECK(summary.next_step == step && summary.steps == step);
    go_on(&r, step, end);
    SUCCEEDS(lw_optimizer_save(r.optimizer, to, &all, 1, error));
    SUCCEEDS(lw_optimizer_destroy(r.optimizer, error));
}

static int64_t export_all(const run *r, unsigned char *bytes)
{
    int64_t size = 0;
    SUCCEEDS(lw_optimizer_export(r->optimizer, bytes, LARGEST, &size, &all, 1, error));
    return size;
}

/** Resumes at every step, in this process. */
static void resume_everywhere(void)
{
    static unsigned char straight[LARGEST], saved[LARGEST], resumed[LARGEST];
    run whole;
    int64_t size;
    set_up(&whole);
    go_on(&whole, 0, STEPS);
    size = export_all(&whole, straight);
    SUCCEEDS(lw_optimizer_destroy(whole.optimizer, error));
    for (int step = 0; step <= STEPS; ++step) {
        run first, second;
        int64_t saved_size;
        set_up(&first);
        go_on(&first, 0, step);
        saved_size = export_all(&first, saved);
        SUCCEEDS(lw_optimizer_destroy(first.optimizer, error));
        set_up(&second);
        SUCCEEDS(lw_optimizer_import(second.optimizer, saved, saved_size, NULL, 0, NULL, 0, error));
        go_on(&second, step, STEPS);
        CHECK(export_all(&second, resumed) == size && memcmp(straight, resumed, (size_t)size) == 0);
        SUCCEEDS(lw_optimizer_destroy(second.optimizer, error));
    }
}

int main(int count, char **arguments)
{
    if (count == 5) {
        resume(arguments[1], atoi(arguments[2]), atoi(arguments[3]), arguments[4]);
    } else {
        CHECK(count == 1);
        resume_everywhere();
    }
    return report();
}
