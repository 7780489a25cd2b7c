/* Layerwise: a learning rate for every layer, stepped at memory speed.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * This header is the manual for C and C++ users.  Read the four short articles, then the functions in order;
 * docs/architecture.md describes how a step works.
 *
 *     lw_optimizer *optimizer = NULL;
 *     lw_setting rates[] = {{"lr", 3e-4, NULL}, {"weight_decay", 0.05, NULL}};
 *     lw_error error = LW_ERROR_INIT;
 *     if (lw_optimizer_create(&optimizer, "adamw", rates, 2, &error) != LW_OK) {
 *         fprintf(stderr, "%s\n", error.message);
 *     }
 *
 * OWNERSHIP
 *   The library registers the address of a parameter or gradient buffer and never allocates, frees or moves it.
 *   A registered buffer must stay mapped, and must not move, until its optimizer is destroyed or the tensor is bound to
 *   another buffer.  Parameters are written in place by a step and at no other time; gradients are never written.
 *   Moments and master copies belong to the library, which allocates them unless the setting "memory" is "caller".  Strings that are passed in are copied.  Strings that are returned
 *   as `const char *` are static.  Text and state are written into memory of the caller, so there is nothing to free
 *   but the handles of optimizers and snapshots.
 *
 * ERRORS
 *   Every function that can fail returns LW_OK (0) or a positive code and fills the caller's `lw_error`, which is always
 *   the last argument and may be NULL.  A refused call changes nothing: no parameter, no state, no setting, no counter.
 *   A message is one line, names the layer and tensor, and says what was expected and what was found.
 *   There is no thread-local or global error state.  A call with an `lw_error` of unknown struct_size is refused with
 *   LW_ERROR_STRUCT_SIZE and writes nothing there.
 *
 * THREADS
 *   An optimizer serves one thread at a time.  A call made while another thread is inside the same optimizer returns
 *   LW_ERROR_BUSY at once.  Different optimizers are independent.  A step may use worker threads of the library; they
 *   block all signals and never call back.  After fork() the child may go on with any optimizer that was idle; one that
 *   was inside a call of another thread answers LW_ERROR_FORKED and can only be destroyed.  If a signal handler forks within
 *   a step whose work is shared by threads, the child's step answers LW_ERROR_FORKED likewise.
 *   A call takes less than 256 KiB of its thread's stack; with a policy or freezing plan of regular expressions as much more
 *   as their nesting needs, less than 2 MiB in all.
 *   Worker threads outlive a step, so the library stays in memory after dlclose().
 *   Results do not depend on the number of threads nor on the instruction set: the bits are the same.
 *
 * VERSIONS
 *   lw_abi_version() is raised when an existing declaration changes meaning; a wrapper compares it with LW_ABI_VERSION.
 *   Structs begin with `struct_size` (set by their _INIT macro) and grow at their end only.  Enumerators are pinned and
 *   only ever appended.  `lw_setting` is frozen.
 */
#ifndef LAYERWISE_H
#define LAYERWISE_H

#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#if defined(__GNUC__)
#define LW_API __attribute__((visibility("default")))
#else
#define LW_API
#endif

/* ---- Version ------------------------------------------------------------------------------------------------- */

#define LW_ABI_VERSION 1

/* What the _INIT macros are made of: compilers of C++ warn of casts as C has them, and of zeros for pointers. */
#if defined(__cplusplus)
#define LW_SIZE_OF_(type) static_cast<uint32_t>(sizeof(type))
#else
#define LW_SIZE_OF_(type) ((uint32_t)sizeof(type))
#endif
#if defined(__cplusplus) && __cplusplus >= 201103L
#define LW_NULL_ nullptr
#else
#define LW_NULL_ 0
#endif

/** The ABI version of the loaded library.  Compare it with LW_ABI_VERSION before anything else. */
LW_API int32_t lw_abi_version(void);

/** The library's version, such as "0.1.0".  Static. */
LW_API const char *lw_version(void);

/** The instruction set chosen at load: "avx512", "avx2", "neon" or "baseline".  Static.
 *  The environment variable LAYERWISE_ISA forces one that the processor has; any other value is ignored. */
LW_API const char *lw_instruction_set(void);

/** How many threads a step may use when the setting "threads" is 0: the processors this process may run on, limited
 *  by the cgroup's quota.  Read again at each call. */
LW_API int32_t lw_available_threads(void);

/* ---- Errors -------------------------------------------------------------------------------------------------- */

enum lw_code {
    LW_OK = 0,
    LW_ERROR_INVALID_ARGUMENT = 1, /* NULL where a value is needed, a list of a struct given with a count of 0, a size that
                                      is negative or too large, text that is not UTF-8, a name with control characters or
                                      line separators (U+0001 to 1F, 7F to 9F, 2028, 2029), a buffer that is not aligned,
                                      a step in which no layer that trains has a gradient */
    LW_ERROR_UNKNOWN_NAME = 2,     /* no rule, policy, schedule, setting, choice, layer or state has this name; the message
                                      lists them */
    LW_ERROR_OUT_OF_RANGE = 3,     /* a setting's value is outside its range, a number where a choice belongs or the
                                      reverse, or values that exclude each other; the message says what is valid */
    LW_ERROR_SHAPE = 4,            /* shape, rank, count or byte size does not match or is not possible */
    LW_ERROR_DTYPE = 5,            /* an element type is unknown, or this combination is not supported */
    LW_ERROR_OVERLAP = 6,          /* two buffers share bytes, or a buffer overlaps itself past the address space */
    LW_ERROR_DUPLICATE = 7,        /* a layer or tensor name, or a key, is given twice */
    LW_ERROR_NOT_FOUND = 8,        /* no layer or tensor has this index, or there is no such schedule */
    LW_ERROR_STALE_HANDLE = 9,     /* the optimizer or snapshot was destroyed, or the pointer never was one */
    LW_ERROR_BUSY = 10,            /* another thread is inside this optimizer */
    LW_ERROR_NONFINITE = 11,       /* a gradient holds NaN or infinity and the setting "nonfinite" is "raise" */
    LW_ERROR_OUT_OF_MEMORY = 12,   /* state could not be allocated */
    LW_ERROR_STRUCT_SIZE = 13,     /* struct_size is not one that this library knows: use the _INIT macro */
    LW_ERROR_FORKED = 14,          /* the process forked while another thread was inside this optimizer, or in a signal
                                      handler while worker threads had a part in this step */
    LW_ERROR_BUFFER_TOO_SMALL = 15,/* the caller's buffer or memory is too small; the needed size was written */
    LW_ERROR_IO = 16,              /* the operating system refused to read or write a file; the message says what and why */
    LW_ERROR_CORRUPT = 17,         /* a checkpoint is damaged, or is none */
    LW_ERROR_MISMATCH = 18,        /* a checkpoint or snapshot is of another optimizer; the message lists the differences */
    LW_ERROR_REDUCE = 19           /* the sums over processes failed (lw_step.reduce) */
};

#define LW_ERROR_MESSAGE_SIZE 512

/** What went wrong.  Initialise with LW_ERROR_INIT; every failing call overwrites it, a successful call leaves it. */
typedef struct lw_error {
    uint32_t struct_size;
    int32_t code;    /* an lw_code */
    int64_t layer;   /* index of the layer at fault, or -1 */
    int64_t tensor;  /* index of the tensor within the layer, or -1 */
    int64_t element; /* index of the element within the tensor, or -1 */
    char message[LW_ERROR_MESSAGE_SIZE]; /* one line, NUL-terminated UTF-8 */
} lw_error;

#define LW_ERROR_INIT {LW_SIZE_OF_(lw_error), 0, -1, -1, -1, {0}}

/** The enumerator's name, such as "LW_ERROR_SHAPE"; "LW_ERROR_UNKNOWN" for a code of a newer library.  Static. */
LW_API const char *lw_error_name(int32_t code);

/* ---- Products of matrices -------------------------------------------------------------------------------------- */

/* A BLAS for rules that multiply matrices ("muon").  None is in use unless it is asked for: the library's own kernels give the
 * same bits on any number of threads and any processor, and a BLAS rounds in an order of its own.  It serves all optimizers of
 * the process, from their next step on.  Where its library has LAPACK's dsyevd too, it computes the singular values that policies such
 * as "temp_balance" go by.  The environment variable LAYERWISE_BLAS names one too, in place of lw_use_blas; a step is refused where
 * that one cannot be used. */

/** cblas_sgemm, cblas_dgemm and cblas_sbgemm, whose factors are bfloat16 as bits, with integers of 32 bits.  Any thread may call them. */
typedef void (*lw_sgemm)(int32_t order, int32_t trans_a, int32_t trans_b, int32_t rows, int32_t columns, int32_t depth,
                         float alpha, const float *a, int32_t lda, const float *b, int32_t ldb, float beta, float *c,
                         int32_t ldc);
typedef void (*lw_dgemm)(int32_t order, int32_t trans_a, int32_t trans_b, int32_t rows, int32_t columns, int32_t depth,
                         double alpha, const double *a, int32_t lda, const double *b, int32_t ldb, double beta, double *c,
                         int32_t ldc);
typedef void (*lw_sbgemm)(int32_t order, int32_t trans_a, int32_t trans_b, int32_t rows, int32_t columns, int32_t depth,
                          float alpha, const uint16_t *a, int32_t lda, const uint16_t *b, int32_t ldb, float beta, float *c,
                          int32_t ldc);

/** Uses the CBLAS in a shared library: its path, a name that the loader finds, such as "libopenblas.so.0", or "auto" for the first
 *  of OpenBLAS, BLIS and MKL that it finds.  NULL goes back to the library's own kernels.  The functions cblas_sgemm, cblas_dgemm,
 *  cblas_ssyrk and cblas_dsyrk may have the prefix "scipy_", and the suffix "64_" where integers have 64 bits.  Where it has
 *  cblas_sbgemm, or MKL's cblas_gemm_bf16bf16f32, that multiplies matrices that were rounded to bfloat16.  The library is never
 *  unloaded.  INVALID_ARGUMENT where it cannot be loaded or lacks one of them; nothing changes then. */
LW_API int32_t lw_use_blas(const char *path, lw_error *error);

/** Uses these functions.  dgemm may be NULL: float64 is then left to the library's own kernels.  So may sbgemm: matrices that were
 *  rounded to bfloat16 are then multiplied by sgemm. */
LW_API int32_t lw_use_blas_functions(lw_sgemm sgemm, lw_dgemm dgemm, lw_sbgemm sbgemm, lw_error *error);

/** The path of the BLAS in use, "functions" for those of lw_use_blas_functions, or "" for the library's own kernels. */
LW_API int32_t lw_blas(char *text, int64_t capacity, int64_t *needed, lw_error *error);

/* ---- Settings ------------------------------------------------------------------------------------------------ */

/** One setting by its key.  Numbers and flags (0 or 1) use `number` and leave `choice` NULL; named options use `choice`.
 *  Keys are a rule's hyperparameters (lw_rule_describe lists them), and for the optimizer:
 *
 *      nonfinite          choice: "raise" (default) refuses the whole step, naming the element; "skip" leaves everything
 *                         as it was and counts the step as skipped; "propagate" does not look
 *      empty_step         choice: "raise" (default) refuses a step in which no layer that trains has a gradient, so that
 *                         neither counts nor schedules go on; "allow" takes it, and both go on
 *      clip_global_norm   > 0, infinity = off.  All gradients are scaled by min(1, limit / (norm + 1e-6))
 *      clip_layer_norm    > 0, infinity = off.  The same for each layer's own norm
 *      clip_value         > 0, infinity = off.  Every gradient element is clamped to [-limit, limit], before the norms
 *      clip_unit_ratio    > 0, infinity = off.  The gradients of each unit are scaled by
 *                         min(1, limit * max(norm(w), clip_unit_eps) / norm(g)), after the other clips.  A unit is what the
 *                         first axis of a tensor counts, such as a neuron or a filter; a tensor of rank 0 or 1 is one unit
 *      clip_unit_eps      > 0, 1e-3 by default: the least norm that the weights of a unit are taken to have
 *      centralize_gradients  flag: the mean of each unit is taken from its gradients, in tensors of rank 2 and more, after
 *                         all clips
 *      gradient_noise     >= 0, 0 = none: gradients get normal noise, whose variance after t steps is
 *                         gradient_noise / (1 + t)^gradient_noise_decay.  It follows from the seed, the names of layer and
 *                         tensor, the step and the place alone
 *      gradient_noise_decay  >= 0, 0.55 by default
 *      gradient_noise_seed  a whole number, 0 ... 2147483647.  Where a tensor is spread over processes, each needs its own
 *      average            choice: the average of the weights that is kept for evaluation (lw_optimizer_set_mode): "none" (default),
 *                         "ema" a = d * a + (1 - d) * w, "polynomial" a = (1 - c) * a + c * w with c = (y + 1) / (y + t) at its
 *                         t-th weights.  The first weights are its start.  4 bytes an element, 8 for float64
 *      average_decay      d of "ema", 0 <= d < 1, 0.999 by default
 *      average_warmup     flag: d is at most (1 + n) / (10 + n) after n weights
 *      average_gamma      y of "polynomial", >= 0, 8 by default; 0 is the mean of all
 *      average_start      a whole number >= 0: steps before the average takes in weights
 *      average_period     a whole number >= 1: steps from one time to the next
 *      lookahead_period   k, a whole number, 0 = off: every k steps, slow weights s = s + r * (w - s) replace the weights.  As
 *                         many bytes as an average
 *      lookahead_rate     r, 0 < r <= 1, 0.5 by default
 *      maximize           flag: ascend instead of descend
 *      telemetry          flag: keep norms per layer (lw_optimizer_get_telemetry)
 *      decay_follows      choice: what multiplies decoupled decay: "layer_lr" (default) the layer's effective rate; "base_lr"
 *                         the rate of a layer with scale 1; "independent" the schedule's factor alone
 *      dry_run            flag: layers have no memory (lw_tensor.parameters may be NULL), nothing can be stepped, and all
 *                         that would happen can be seen.  Before the first layer only
 *      threads            0 = lw_available_threads(), else the most threads that a step may use, 1 ... 1024
 *      memory             choice: "library" (default) allocates states; with "caller" they lie in memory that the caller gives
 *                         (lw_optimizer_set_memory), and steps start no thread.  Before the first layer only
 *
 *  and for one layer:
 *
 *      scale              >= 0: this layer's rate multiplier, in place of the policy's
 *      depth              0, 1, 2 ...: position from the input; by default the order of registration in its tower
 *      tower              text: the stack it belongs to ("vision", "decoder"), each of which has depths of its own
 *      role               choice: "stem", "block", "norm", "head"; "depth" (default): the lowest depth of a tower is its
 *                         stem, the highest its head
 *      start              0, 1, 2 ...: its schedules count their steps from here, and stand at their first until then
 *      frozen             choice: "plan" (default) as the freezing plan says, "yes", "no"
 *      maximize           flag: ascend or descend, in place of what the optimizer does
 *      rule               text: the name of the rule that steps this layer in place of the optimizer's; only when it is added.
 *                         It begins with its own defaults, its "lr" included, and the layer's other keys are its
 *                         hyperparameters.  Policy, schedules, freezing and clipping apply to it as to every layer.  A rule
 *                         that takes sums over all layers, as "prodigy" does, can only be the optimizer's
 *      part_of            text: the name of a layer registered before, of which this one is a part; only when it is added.
 *                         For a layer whose tensors need different hyperparameters: each part has its own values of the
 *                         rule, and its own "maximize", trust ratio, telemetry and state.  Policies and freezing plans see
 *                         one layer: its parts have the name, depth, tower and role of the whole, and none of their own.
 *                         "scale", "start", "frozen" and schedules that are set for the whole are set for its parts too;
 *                         a part may then be given others.  clip_layer_norm limits the norm of all parts that are stepped
 *
 *  Text is given as a choice.  A layer's value for any key of its rule takes precedence over the optimizer's. */
typedef struct lw_setting {
    const char *key;
    double number;
    const char *choice;
} lw_setting;

/* ---- Rules --------------------------------------------------------------------------------------------------- */

/** How many rules there are. */
LW_API int32_t lw_rule_count(void);

/** The name of the rule at `index` ("sgd", "adamw" ...), or NULL past the end.  Static. */
LW_API const char *lw_rule_name(int32_t index);

/** The declaration of the rule `name` as one line of JSON:
 *      {"name": ..., "title": ..., "summary": ..., "details": ..., "equation": ..., "source": ...,
 *       "hyperparameters": [{"key", "kind": "number"|"flag"|"choice", "default", "range" or "choices", "doc"}],
 *       "presets": {name: {key: value}}, "states": [name],
 *       "state_shapes": {name: "parameter"|"rows"|"columns"|"row_means"|"axes"|"strided"|"scalar"|"shared"},
 *       "state_strides": {name of a strided state: key of the hyperparameter that is the distance of its elements},
 *       "state_starts": {name: number, key of a hyperparameter, or "parameters"}, "default_states": [name],
 *       "needs_step": bool, "matrices_need_step": bool, "has_sums": bool, "steps_together": bool, "depends_on_axes": bool}
 *  "integer": true marks a hyperparameter that is a whole number, and "none" is the value that says that it is absent, for
 *  which NaN may be given too.  "default_states" are the states of a rule with its defaults.  "needs_step" says whether the
 *  rule needs the count of steps itself, and "matrices_need_step" whether it does for tensors of rank 2 and more; "has_sums"
 *  whether a step takes sums over elements or products of matrices, "steps_together" whether it takes sums over all layers,
 *  which then cannot be stepped one by one, and "depends_on_axes" whether the order of the elements in memory matters.
 *  A default of null is infinity.  A preset is chosen by the key "variant"; settings after it override what it set.
 *  Writes at most `capacity` bytes with the final NUL and, where `needed` is not NULL, the bytes needed. */
LW_API int32_t lw_rule_describe(const char *name, char *text, int64_t capacity, int64_t *needed, lw_error *error);

/* ---- Policies, schedules, freezing plans ---------------------------------------------------------------------- */

/** A policy, a schedule or a freezing plan in words.  Initialise with LW_SPEC_INIT.
 *
 *  Some have a list of numbers (milestones), some have parts; parts follow their whole at once, each with its own parts
 *  behind it.  A linear warm-up of 100 steps and then a cosine over 900:
 *
 *      lw_setting warmup[] = {{"steps", 100, NULL}};
 *      lw_setting cosine[] = {{"total_steps", 900, NULL}};
 *      lw_spec schedule[2] = {LW_SPEC_INIT, LW_SPEC_INIT};
 *      schedule[0].name = "warmup"; schedule[0].settings = warmup; schedule[0].setting_count = 1;
 *      schedule[0].part_count = 1;
 *      schedule[1].name = "cosine"; schedule[1].settings = cosine; schedule[1].setting_count = 1;
 *      lw_optimizer_set_schedule(optimizer, -1, "lr", schedule, 2, &error);
 *
 *  lw_policy_describe, lw_schedule_describe and lw_freeze_plan_describe list what each takes.  Settings or values that are
 *  given with a count of 0 are refused, since that is a count that was forgotten. */
typedef struct lw_spec {
    uint32_t struct_size;
    int32_t part_count;         /* how many parts it has */
    const char *name;           /* such as "cosine" */
    const lw_setting *settings; /* NULL if the count is 0 */
    int64_t setting_count;
    const double *values;       /* its list of numbers; NULL if the count is 0 */
    int64_t value_count;
} lw_spec;

#define LW_SPEC_INIT {LW_SIZE_OF_(lw_spec), 0, LW_NULL_, LW_NULL_, 0, LW_NULL_, 0}

/** How many policies there are. */
LW_API int32_t lw_policy_count(void);

/** The name of the policy at `index` ("layer_decay", "explicit" ...), or NULL past the end.  Static. */
LW_API const char *lw_policy_name(int32_t index);

/** The declaration of the policy `name` as one line of JSON; see lw_rule_describe for `capacity` and `needed`:
 *      {"name", "doc", "equation", "source", "settings": [as hyperparameters of rules; kind may be "text"; one without a
 *       "default" has none, and where the doc does not say otherwise must be given],
 *       "values": what its list of numbers is, or null, "parts": what its parts are, or null,
 *       "depends_on_depth": "always", "never", or "parts", where it does if one of its parts does} */
LW_API int32_t lw_policy_describe(const char *name, char *text, int64_t capacity, int64_t *needed, lw_error *error);

/** How many schedules there are. */
LW_API int32_t lw_schedule_count(void);

/** The name of the schedule at `index` ("cosine", "warmup" ...), or NULL past the end.  Static. */
LW_API const char *lw_schedule_name(int32_t index);

/** The declaration of the schedule `name`, as lw_policy_describe writes it but without "depends_on_depth". */
LW_API int32_t lw_schedule_describe(const char *name, char *text, int64_t capacity, int64_t *needed, lw_error *error);

/** How many freezing plans there are. */
LW_API int32_t lw_freeze_plan_count(void);

/** The name of the freezing plan at `index` ("gradual_unfreezing" ...), or NULL past the end.  Static. */
LW_API const char *lw_freeze_plan_name(int32_t index);

/** The declaration of the freezing plan `name`, as lw_policy_describe writes it. */
LW_API int32_t lw_freeze_plan_describe(const char *name, char *text, int64_t capacity, int64_t *needed,
                                       lw_error *error);

/** What a schedule makes of the rate `base` of a layer of scale 1 at the steps first, first + stride ...: `count` numbers
 *  are written to `values`.  `first` >= 0, `stride` >= 1. */
LW_API int32_t lw_schedule_evaluate(const lw_spec *specs, int64_t spec_count, double base, int64_t first, int64_t count,
                                    int64_t stride, double *values, lw_error *error);

/** The layers of a model from the names of its tensors ("encoder.layer.3.attention.self.query.weight"), as one line of JSON:
 *      [{"name", "depth", "tower", "role", "tensors": [indices], "reason", "guess": true where names do not tell all}]
 *  in the order of towers and depths.  Order of the names matters only where they say nothing. */
LW_API int32_t lw_infer_layers(const char *const *names, int64_t count, char *text, int64_t capacity, int64_t *needed,
                               lw_error *error);

/** What is said of some tensors of a model before their names tell anything.  Initialise with LW_LAYER_RULE_INIT. */
typedef struct lw_layer_rule {
    uint32_t struct_size;
    int32_t has_depth;      /* 1: `depth` is given */
    int32_t has_scale;      /* 1: `scale` is given */
    int32_t reserved;       /* 0 */
    const char *pattern;    /* compared with whole names; where `matched` is given, its name in messages */
    const char *syntax;     /* as in lw_match_names; NULL is "glob" */
    const uint8_t *matched; /* NULL, or for each name 1 where a matcher of the caller's has found it */
    const char *layer;      /* the layer that the tensors make together; NULL leaves each in its own */
    int64_t depth;          /* 0, 1, 2 ... */
    const char *tower;      /* NULL: as inferred */
    const char *role;       /* "stem", "block", "norm", "head", or "depth"; NULL: as inferred */
    double scale;           /* the layer's own rate multiplier, in [0, infinity) */
} lw_layer_rule;

#define LW_LAYER_RULE_INIT \
    {LW_SIZE_OF_(lw_layer_rule), 0, 0, 0, LW_NULL_, LW_NULL_, LW_NULL_, LW_NULL_, 0, LW_NULL_, LW_NULL_, 0.0}

/** The layers of a model as lw_infer_layers tells them, with "scale": a number or null, where rules go before the names.  The first
 *  rule that matches a tensor counts; one that matches none is refused with LW_ERROR_UNKNOWN_NAME.  Tensors that a rule calls one
 *  layer have one place: that of the inferred layer of this name, or the lowest of theirs.  Where a rule moves a part of a
 *  layer elsewhere, the layer becomes several, whose names end in numbers. */
LW_API int32_t lw_place_layers(const char *const *names, int64_t count, const lw_layer_rule *rules, int64_t rule_count,
                               char *text, int64_t capacity, int64_t *needed, lw_error *error);

/** Which of `names` a pattern matches as a whole: `matched[i]` becomes 1 or 0.  `syntax` is that of policies:
 *      "exact"   letter for letter
 *      "glob"    `*` any text, `?` any character, `[a-c]` one of these, `[!a-c]` none of these, `\` before a character
 *                that stands for itself; "/" and "." are characters like any other
 *      "regex"   a regular expression */
LW_API int32_t lw_match_names(const char *pattern, const char *syntax, const char *const *names, int64_t count,
                              uint8_t *matched, lw_error *error);

/* ---- Optimizer ----------------------------------------------------------------------------------------------- */

/** An optimizer: a rule, its settings, layers and their state.  The pointer is a ticket and is never dereferenced:
 *  a stale one is refused with LW_ERROR_STALE_HANDLE. */
typedef struct lw_optimizer lw_optimizer;

/** Creates an optimizer for `rule`, with defaults except for `settings`.  `settings` may be NULL if the count is 0.
 *  On failure `*out` is set to NULL. */
LW_API int32_t lw_optimizer_create(lw_optimizer **out, const char *rule, const lw_setting *settings,
                                   int64_t setting_count, lw_error *error);

/** Destroys an optimizer and its state.  NULL is a no-op.  Buffers of the caller are left alone. */
LW_API int32_t lw_optimizer_destroy(lw_optimizer *optimizer, lw_error *error);

/** Changes settings, all or none; they take effect at the next step.  Layers with a value of their own keep it. */
LW_API int32_t lw_optimizer_set(lw_optimizer *optimizer, const lw_setting *settings, int64_t setting_count,
                                lw_error *error);

/** The present value of a number or flag.  A choice is refused with LW_ERROR_INVALID_ARGUMENT: see _get_choice. */
LW_API int32_t lw_optimizer_get(lw_optimizer *optimizer, const char *key, double *number, lw_error *error);

/** The present value of a choice.  Static. */
LW_API int32_t lw_optimizer_get_choice(lw_optimizer *optimizer, const char *key, const char **choice, lw_error *error);

/** Sets the policy that computes every layer's scale; it takes effect at the next step.
 *  Since layers may still be added, names and patterns are matched when a scale is first needed: by a step, _get_info,
 *  _explain or _preview, which then answer LW_ERROR_UNKNOWN_NAME for a pattern that matches nothing and
 *  LW_ERROR_OUT_OF_RANGE for a layer that nothing or too much matches.  A regular expression that backtracks without end
 *  takes its time: patterns are trusted. */
LW_API int32_t lw_optimizer_set_policy(lw_optimizer *optimizer, const lw_spec *specs, int64_t spec_count,
                                       lw_error *error);

/** Sets a schedule for the rule's number `key` ("lr", "momentum", "weight_decay" ...), of the layer `layer`, or of all
 *  layers without one of their own if that is -1; a `spec_count` of 0 takes it away.
 *  Schedules are functions of t, which counts steps from 0 (lw_summary.next_step): a step of all layers counts one, and so
 *  does a round of steps of single layers; refused and skipped steps do not count.  A hyperparameter other than "lr" is
 *  value x factor; a step at which it leaves its range is refused with LW_ERROR_OUT_OF_RANGE.
 *
 *      rate = scale x base x factor(t)      with floors as the schedule's setting "floor" says */
LW_API int32_t lw_optimizer_set_schedule(lw_optimizer *optimizer, int64_t layer, const char *key, const lw_spec *specs,
                                         int64_t spec_count, lw_error *error);

/** Sets when each layer trains; a `spec_count` of 0 takes the plan away.  A layer frozen by a plan is as one frozen by
 *  lw_layer_freeze; moments and step counts are kept, so it goes on where it stopped.  Layers that were frozen or unfrozen
 *  by hand do not follow the plan until their setting "frozen" is "plan" again. */
LW_API int32_t lw_optimizer_set_freeze_plan(lw_optimizer *optimizer, const lw_spec *specs, int64_t spec_count,
                                            lw_error *error);

/** Tells schedules that follow a metric ("reduce_on_plateau") the latest one.  LW_ERROR_NOT_FOUND if there is none. */
LW_API int32_t lw_optimizer_report(lw_optimizer *optimizer, double metric, lw_error *error);

/** What reports have left behind in a schedule, to be saved with the parameters and put back.  `count` is written to
 *  `*needed` where that is not NULL; LW_ERROR_BUFFER_TOO_SMALL if `capacity` is less. */
LW_API int32_t lw_optimizer_get_schedule_state(lw_optimizer *optimizer, int64_t layer, const char *key, double *values,
                                               int64_t capacity, int64_t *needed, lw_error *error);

/** Puts back what lw_optimizer_get_schedule_state gave, into the same schedule of the same layer and key.
 *  LW_ERROR_NOT_FOUND if there is none, LW_ERROR_SHAPE if it has another number of values. */
LW_API int32_t lw_optimizer_set_schedule_state(lw_optimizer *optimizer, int64_t layer, const char *key,
                                               const double *values, int64_t count, lw_error *error);

/** The measurements of a policy or a freezing plan that measures layers ("relative_gradient_norm", "grades"), to be saved with the
 *  parameters and put back: for each layer, in order of registration, its average (NaN before the first value), the count of
 *  its values, its scale, and what else the policy keeps; then those of the plan, whose scale is 0 for a layer that it has
 *  frozen.  With other policies and plans there are none.  The number of values is written to `*needed` where that is not
 *  NULL; LW_ERROR_BUFFER_TOO_SMALL if `capacity` is less. */
LW_API int32_t lw_optimizer_get_measurements(lw_optimizer *optimizer, double *values, int64_t capacity, int64_t *needed,
                                             lw_error *error);

/** Puts back the values of lw_optimizer_get_measurements.  LW_ERROR_SHAPE if the optimizer has another number of layers, or a
 *  policy that does not measure. */
LW_API int32_t lw_optimizer_set_measurements(lw_optimizer *optimizer, const double *values, int64_t count,
                                             lw_error *error);

/** Forgets what policy and freezing plan have measured.  States of tensors stay. */
LW_API int32_t lw_optimizer_restart_measurements(lw_optimizer *optimizer, lw_error *error);

/** Makes the next step of all layers the one at t = `step` >= 0, for a run that is resumed. */
LW_API int32_t lw_optimizer_seek(lw_optimizer *optimizer, int64_t step, lw_error *error);

/** What the parameters hold, for rules whose weights differ between training and evaluation ("schedule_free_adamw"), and where
 *  an average of the weights is kept (the setting "average"). */
enum lw_mode {
    LW_MODE_TRAINING = 0,
    LW_MODE_EVALUATION = 1
};

/** Puts the weights for training or for evaluation (enum lw_mode) into the parameters; where both are the same nothing changes.
 *  An optimizer begins in training; a step while it evaluates is LW_ERROR_INVALID_ARGUMENT.  Each change rounds the
 *  parameters of such a rule once, in their own type, or in float32 where there is a master copy; from an average the weights
 *  for training come back bit by bit.  Checkpoints save the mode.  While an average is in the parameters, the state "average"
 *  holds the weights for training of float32 and float64 tensors, and "training_weights" those of 16-bit tensors without a
 *  master copy. */
LW_API int32_t lw_optimizer_set_mode(lw_optimizer *optimizer, int32_t mode, lw_error *error);

/** Says which weights the parameters hold, and changes none: for parameters that were loaded as they were saved. */
LW_API int32_t lw_optimizer_assume_mode(lw_optimizer *optimizer, int32_t mode, lw_error *error);

/** Which weights the parameters hold (enum lw_mode). */
LW_API int32_t lw_optimizer_get_mode(lw_optimizer *optimizer, int32_t *mode, lw_error *error);

/* ---- Layers and tensors -------------------------------------------------------------------------------------- */

enum lw_dtype {
    LW_FLOAT32 = 1,
    LW_FLOAT64 = 2,
    LW_FLOAT16 = 3,  /* IEEE binary16 */
    LW_BFLOAT16 = 4, /* the upper half of a float32 */
    LW_INT64 = 5,    /* only as a state: the step count */
    LW_INT8 = 6      /* only as a state: signs */
};

/** One contiguous buffer of parameters, its gradient and its shape.  Initialise with LW_TENSOR_INIT.
 *  Buffers need the alignment of their element only.  Rank 0 with no shape is one element; a shape with rank 0 is refused,
 *  since that is a rank that was forgotten.  A zero in the shape is legal. */
typedef struct lw_tensor {
    uint32_t struct_size;
    int32_t dtype;          /* an lw_dtype: type of the parameters */
    int32_t gradient_dtype; /* the same, or LW_FLOAT32; 0 = the same */
    int32_t rank;           /* 0 ... 16 */
    const char *name;       /* unique in the layer, 1 ... 255 bytes of UTF-8 */
    void *parameters;
    const void *gradients;  /* NULL: given with the step, or bound later */
    const int64_t *shape;   /* `rank` extents, row-major; NULL if and only if rank is 0 */
    int32_t master;         /* 1: keep a float32 master copy of float16 or bfloat16 parameters; else 0.  A step begins from
                               the master copy, but where a parameter is no longer what the last step stored, it was changed
                               from outside and the step begins from the parameter */
    int32_t reserved;       /* 0 */
    const int64_t *whole_shape; /* NULL: the tensor is whole.  Else `rank` extents of the tensor of which it is a part
                                   (lw_step.reduce); policies go by them */
} lw_tensor;

#define LW_TENSOR_INIT \
    {LW_SIZE_OF_(lw_tensor), LW_FLOAT32, 0, 0, LW_NULL_, LW_NULL_, LW_NULL_, LW_NULL_, 0, 0, LW_NULL_}

/** Adds a layer of `tensor_count` >= 1 tensors.  `name` is unique, 1 ... 255 bytes of UTF-8.  Its index, counted from 0
 *  in order of registration, is written to `*layer` unless that is NULL.  State is zero (a master copy: the parameters). */
LW_API int32_t lw_optimizer_add_layer(lw_optimizer *optimizer, const char *name, const lw_tensor *tensors,
                                      int64_t tensor_count, const lw_setting *settings, int64_t setting_count,
                                      int64_t *layer, lw_error *error);

/** How many layers the optimizer has, parts of layers included; indices go from 0 to one less. */
LW_API int32_t lw_optimizer_layer_count(lw_optimizer *optimizer, int64_t *count, lw_error *error);

/** The index of the layer called `name`. */
LW_API int32_t lw_optimizer_find_layer(lw_optimizer *optimizer, const char *name, int64_t *layer, lw_error *error);

/** Gives one layer values of its own, all or none. */
LW_API int32_t lw_layer_set(lw_optimizer *optimizer, int64_t layer, const lw_setting *settings, int64_t setting_count,
                            lw_error *error);

/** Gives several layers values of their own, all or none: `settings[i]` to the layer `layers[i]`. */
LW_API int32_t lw_optimizer_set_layers(lw_optimizer *optimizer, const int64_t *layers, const lw_setting *settings,
                                       int64_t count, lw_error *error);

/** Gives every layer a base rate of its own, in order of registration, as an outside schedule does at every step: each is
 *  its "lr" in place of the optimizer's; NaN takes one back.  `count` is the number of layers.  All or none. */
LW_API int32_t lw_optimizer_set_rates(lw_optimizer *optimizer, const double *rates, int64_t count, lw_error *error);

/** Takes a layer's own value for `key` back: it follows the optimizer (or the policy) again.  The settings that a "variant" stands
 *  for are taken back one by one. */
LW_API int32_t lw_layer_unset(lw_optimizer *optimizer, int64_t layer, const char *key, lw_error *error);

/** The value in force for one layer: its own or the optimizer's.  A choice or text is refused with
 *  LW_ERROR_INVALID_ARGUMENT: see _get_choice and _get_text. */
LW_API int32_t lw_layer_get(lw_optimizer *optimizer, int64_t layer, const char *key, double *number, lw_error *error);

/** The choice in force for one layer: its own or the optimizer's; "rule" is the name of its rule.  Static. */
LW_API int32_t lw_layer_get_choice(lw_optimizer *optimizer, int64_t layer, const char *key, const char **choice,
                                   lw_error *error);

/** The value of a text ("tower", "part_of"), NUL-terminated; see lw_rule_describe for `capacity` and `needed`. */
LW_API int32_t lw_layer_get_text(lw_optimizer *optimizer, int64_t layer, const char *key, char *text, int64_t capacity,
                                 int64_t *needed, lw_error *error);

/** Freezes a layer, whatever the freezing plan says.  A frozen layer is not updated, not decayed and not counted; its
 *  gradients are not read, its state is kept. */
LW_API int32_t lw_layer_freeze(lw_optimizer *optimizer, int64_t layer, lw_error *error);

/** Lets a layer train, whatever the freezing plan says, with the state and the counts that it had. */
LW_API int32_t lw_layer_unfreeze(lw_optimizer *optimizer, int64_t layer, lw_error *error);

/** Forgets a layer's state: moments and step counts are 0, a master copy is the parameters again. */
LW_API int32_t lw_layer_reset(lw_optimizer *optimizer, int64_t layer, lw_error *error);

/** Binds a tensor to other buffers of the same type and shape, keeping its state.  `gradients` may be NULL. */
LW_API int32_t lw_tensor_bind(lw_optimizer *optimizer, int64_t layer, int64_t tensor, void *parameters,
                              const void *gradients, lw_error *error);

/* ---- Memory of the caller's -------------------------------------------------------------------------------------- */

/* An optimizer with the setting "memory" = "caller" has everything that grows with its tensors in one piece of memory that the
 * caller gives: moments, master copies, what policies watch, the records of tensors and layers, and what a step works with.
 *
 *      create it with "memory" = "caller"; set policy, schedules and freezing plan; add the layers
 *      lw_optimizer_get_memory_size        how many bytes it needs
 *      lw_optimizer_set_memory             from now on it can step, save and load
 *
 * A step then allocates nothing, starts no thread and writes to no file or stream.  Names, settings, policies and schedules are
 * kept on the heap, which the calls before the first step use; so does the first step after a change of these, unless
 * lw_optimizer_prepare was called in between.  Saving, loading, snapshots, reports and lw_optimizer_measure_spectra allocate too.
 * A BLAS is not used. */

/** The bytes of memory that the optimizer needs, with the layers, rule, settings and policy that it has.  They are the same in
 *  every process of one version of the library.  LW_ERROR_INVALID_ARGUMENT where the setting "memory" is not "caller". */
LW_API int32_t lw_optimizer_get_memory_size(lw_optimizer *optimizer, int64_t *size, lw_error *error);

/** Gives the optimizer its memory, after the last layer was added; no layer can be added from then on.  It needs no alignment.  It
 *  must stay mapped, and is the optimizer's alone, until the optimizer is destroyed or has been given other memory, to which it
 *  then moves what it keeps.  LW_ERROR_BUFFER_TOO_SMALL, with nothing changed, if `size` is less than needed; the bytes needed are
 *  written to `*needed` where that is not NULL.  LW_ERROR_OVERLAP if it shares bytes with parameters, gradients, or the memory
 *  that the optimizer has.
 *
 *  Memory beyond the size needed is for changes of settings that need more later, such as a "momentum" that was 0.  One for which
 *  it does not suffice is refused with LW_ERROR_BUFFER_TOO_SMALL, by the call that makes it or by the next step, with nothing
 *  changed; the message says how many bytes are needed. */
LW_API int32_t lw_optimizer_set_memory(lw_optimizer *optimizer, void *memory, int64_t size, int64_t *needed,
                                       lw_error *error);

/** Does now what the next step would do first after a change of settings, policy, schedules, freezing or layers: the policy is asked
 *  and its patterns are compared, and memory is allocated.  The step then takes no longer than others.  Without effect on any
 *  result, for any optimizer. */
LW_API int32_t lw_optimizer_prepare(lw_optimizer *optimizer, lw_error *error);

/* ---- Step ---------------------------------------------------------------------------------------------------- */

/** Replaces each of `count` numbers by its sum over all processes; 0 if it could.  A step calls it on its own thread, in the
 *  same order in every process whose optimizers have the same layers and settings.  It must not use the optimizer. */
typedef int32_t (*lw_reduce)(double *sums, int64_t count, void *context);

/** How to take a step.  Initialise with LW_STEP_INIT.
 *
 *  Where tensors are spread over processes, each of which registers its part (which may be empty), `reduce` makes the check
 *  for NaN and infinity, clipping, trust ratios and telemetry those of the whole.  If it fails before anything was written,
 *  nothing was changed; if it fails for a trust ratio, moments are those after the step and the rest is as before. */
typedef struct lw_step {
    uint32_t struct_size;
    int32_t reserved;             /* 0 */
    int64_t layer;                /* step this layer only, or -1: all */
    double gradient_scale;        /* finite, > 0: every gradient is divided by it (loss scale, accumulated batches); clipping
                                     sees the quotient, which may be beyond the range of the gradient's type */
    const void *const *gradients; /* NULL: the bound buffers.  Else one address a tensor of the layers stepped, in order of
                                     registration; a NULL address skips the tensor */
    int64_t gradient_count;
    lw_reduce reduce;             /* NULL: tensors are whole */
    void *reduce_context;         /* passed on to `reduce` */
} lw_step;

#define LW_STEP_INIT {LW_SIZE_OF_(lw_step), 0, -1, 1.0, LW_NULL_, 0, LW_NULL_, LW_NULL_}

/** Takes one step.  `step` may be NULL: all layers, bound gradients, scale 1.
 *  A tensor without a gradient is skipped: value, state and count stay as they are.  A step in which no layer that trains has
 *  one is refused with LW_ERROR_INVALID_ARGUMENT unless the setting "empty_step" allows it; frozen layers do not train, and
 *  a step in which all are frozen is taken.  With `reduce` it is taken too, since another process may have gradients.
 *
 *  Finite parameters, gradients and states stay finite whatever their size: a result beyond the largest number of its type
 *  becomes that number, with its sign; Adam, AdamW and LAMB take a gradient whose square would overflow for the largest whose
 *  square does not; and a quotient whose divisor is 0 (eps = 0) is 0.  An infinite parameter stays as it is. */
LW_API int32_t lw_optimizer_step(lw_optimizer *optimizer, const lw_step *step, lw_error *error);

/** Says the loss of the next step, for rules that need it, such as "momo"; over processes the mean.  It is forgotten once a step was
 *  taken or skipped.  A step of such a rule is refused without a finite loss; other rules do not look at it. */
LW_API int32_t lw_optimizer_set_loss(lw_optimizer *optimizer, double loss, lw_error *error);

/** Measures the gradients of the micro-batches so far, before the step that takes their sum, for the policy "gradient_noise".  To
 *  be called after each micro-batch, the last one too, with the arguments of the step to come; `step` may be NULL.  The next
 *  step of all layers uses and forgets what was measured, which is in no checkpoint; nothing else changes.
 *  LW_ERROR_INVALID_ARGUMENT with another policy, or with one layer alone. */
LW_API int32_t lw_optimizer_measure_microbatch(lw_optimizer *optimizer, const lw_step *step, lw_error *error);

/** Computes the singular values of all weights, for the policies "temp_balance" and "alpha_decay", which then set their scales.  It takes
 *  about 4 n^3 + 2 n^2 m operations for an n x m matrix, n <= m.  With a `delay` of 0 it does so within the call.  Else it copies the
 *  weights, a thread computes, and the result is in force from the step on that comes `delay` steps after the next, which waits for the
 *  thread if need be, so that the thread's speed changes no result.  A layer whose weights are not finite then has no new value.
 *  Checkpoints and snapshots wait for the result, and have it.  LW_ERROR_INVALID_ARGUMENT with another policy, and while a measurement
 *  is under way. */
LW_API int32_t lw_optimizer_measure_spectra(lw_optimizer *optimizer, int64_t delay, lw_error *error);

/** Says that a step will follow within some hundred microseconds: the worker threads wake up meanwhile, if the step will
 *  use them.  Never needed, and without effect on any result.  It is for callers that have gradients to gather first. */
LW_API int32_t lw_optimizer_expect_step(lw_optimizer *optimizer, lw_error *error);

/* ---- Seeing what happens ------------------------------------------------------------------------------------- */

/** The last step.  Initialise with LW_SUMMARY_INIT. */
typedef struct lw_summary {
    uint32_t struct_size;
    int32_t reserved;
    int64_t steps;         /* steps taken */
    int64_t skipped_steps; /* steps skipped because of a non-finite gradient */
    double gradient_norm;  /* of all gradients of the last step, scaled, before clipping; NaN if it was not needed */
    double clip_factor;    /* of global-norm clipping at the last step; 1 without */
    int64_t next_step;     /* t of the next step of all layers: what schedules and freezing plans go by */
} lw_summary;

#define LW_SUMMARY_INIT {LW_SIZE_OF_(lw_summary), 0, 0, 0, 0.0, 0.0, 0}

/** Counters, and what the last step measured. */
LW_API int32_t lw_optimizer_get_summary(lw_optimizer *optimizer, lw_summary *summary, lw_error *error);

/** One layer at its last step.  Norms are Euclidean, over all tensors of the layer that were stepped. */
typedef struct lw_telemetry {
    uint32_t struct_size;
    int32_t reserved;
    double gradient_norm;    /* after the gradient scale, before clipping */
    double weight_norm;      /* before the update */
    double update_norm;      /* of what moved: for float16 and bfloat16 parameters without a master copy the difference of
                                the stored values, else the change before it is rounded to the parameter or master copy */
    double update_ratio;     /* update_norm / weight_norm; NaN if the weights are all zero */
    double trust_ratio;      /* mean over the layer's tensors; 1 where the rule has none */
    double clip_factor;      /* product of global and layer norm clipping */
    double effective_lr;     /* base rate as the schedule moved it x scale; 0 if it was frozen */
    int64_t nonfinite_count; /* gradient elements that were NaN or infinite, also of a skipped or refused step */
    int64_t lost_count;      /* elements of float16 and bfloat16 parameters without a master copy whose change was not zero
                                and that did not move, since it was less than half the spacing of stored values; those
                                of all other parameters are not counted */
} lw_telemetry;

#define LW_TELEMETRY_INIT {LW_SIZE_OF_(lw_telemetry), 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0}

/** The telemetry of one layer.  Zeros, with ratios of 1, before the first step with the setting "telemetry" on. */
LW_API int32_t lw_layer_get_telemetry(lw_optimizer *optimizer, int64_t layer, lw_telemetry *telemetry, lw_error *error);

/** All layers in one call: `rows` holds `row_count` structs, which must be the number of layers; each is initialised, and all
 *  have one struct_size. */
LW_API int32_t lw_optimizer_get_telemetry(lw_optimizer *optimizer, lw_telemetry *rows, int64_t row_count,
                                          lw_error *error);

/** What a layer is and what it will get at the next step.  Initialise with LW_LAYER_INFO_INIT. */
typedef struct lw_layer_info {
    uint32_t struct_size;
    int32_t frozen;             /* 1 or 0 */
    int64_t depth;
    int64_t tensor_count;
    int64_t parameter_count;
    int64_t state_bytes;
    int64_t steps;              /* the highest step count of its tensors */
    double scale;
    double effective_lr;        /* at the next step; 0 while the layer is frozen */
    double weight_decay;        /* the coefficient of the rule; 0 where it has none, or where no tensor decays */
    const char *scale_source;   /* "policy" or "layer".  Static */
    const char *role;           /* "stem", "block", "norm" or "head".  Static */
    const char *frozen_by;      /* "", "plan" or "layer".  Static */
    int64_t changes_at;         /* the step at which the freezing plan next freezes or thaws it; -1: never */
    double schedule_factor;     /* effective rate / (base rate x scale), were it not frozen; NaN where that is 0 / 0 */
    double measured_value;      /* what a measured policy has measured, in the mean; NaN where there is nothing (yet) */
    double measured_target;     /* the scale that it computes from that, before period, ramp and bounds; NaN likewise, and after a
                                   load until a step or a measurement has computed it */
    double measured_scale;      /* the scale of the rate, or of the decay, that it has put in force; NaN where none measures */
} lw_layer_info;

#define LW_LAYER_INFO_INIT \
    {LW_SIZE_OF_(lw_layer_info), 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, LW_NULL_, LW_NULL_, LW_NULL_, 0, 0.0, 0.0, 0.0, 0.0}

/** What the layer is and what it will get at the next step.  The policy is asked, so that a pattern which matches nothing is
 *  refused here as by a step (lw_optimizer_set_policy). */
LW_API int32_t lw_layer_get_info(lw_optimizer *optimizer, int64_t layer, lw_layer_info *info, lw_error *error);

/** The layer's name, NUL-terminated; see lw_rule_describe for `capacity` and `needed`. */
LW_API int32_t lw_layer_get_name(lw_optimizer *optimizer, int64_t layer, char *text, int64_t capacity, int64_t *needed,
                                 lw_error *error);

/** A text table, one row a layer: depth, tensors, parameters, scale and where it comes from, schedule, floor, effective
 *  rate, decay, state, and norms where telemetry is on.  `step` is the t to explain, or -1: the next. */
LW_API int32_t lw_optimizer_explain(lw_optimizer *optimizer, int64_t step, char *text, int64_t capacity,
                                    int64_t *needed, lw_error *error);

/** Explains as one line of JSON: {"rule", "base_lr", "policy", "schedule", "freezing", "step", "layers": [{"layer", "part_of",
 *  "depth", "tower", "role", "rule", "scale", "scale_from", "schedule_factor", "floor_lr", "effective_lr", "weight_decay", "frozen",
 *  "frozen_by", "changes_at", "apart": tensors that the policy treats apart from their layer, ...}]}. */
LW_API int32_t lw_optimizer_explain_json(lw_optimizer *optimizer, int64_t step, char *text, int64_t capacity,
                                         int64_t *needed, lw_error *error);

/** The effective rates that the steps first, first + stride ... will use, unless something is changed or a metric is
 *  reported: rates[layer * count + i], 0 where the layer is frozen, the same bits as in the step.  `rate_count` must be
 *  layers x count.  `first` >= 0, or -1: the next step; `stride` >= 1. */
LW_API int32_t lw_optimizer_preview(lw_optimizer *optimizer, int64_t first, int64_t count, int64_t stride,
                                    double *rates, int64_t rate_count, lw_error *error);

/* ---- Rates for another optimizer ------------------------------------------------------------------------------- */

/** Which tensors may share a param group of an optimizer elsewhere that takes the steps: those whose rate, decay and
 *  hyperparameters are equal at every step.  `groups[i]` becomes the number of the set of tensor i, in the order of registration;
 *  sets are numbered from 0 in the order of their first tensors.  `tensor_count` must be the number of tensors of all layers.
 *  The number of sets is written to `*group_count` where that is not NULL.  Freezing does not separate tensors. */
LW_API int32_t lw_optimizer_get_rate_groups(lw_optimizer *optimizer, int64_t *groups, int64_t tensor_count,
                                            int64_t *group_count, lw_error *error);

/** What tensors get at the steps first, first + stride ..., for an optimizer elsewhere that takes the steps: the same bits as a step
 *  here would use.  `tensors` are places in the order of registration, one of each set as a rule.
 *
 *      values[(step * tensor_count + tensor) * key_count + key]
 *      frozen[step * layers + layer]       1 where the layer is frozen, else 0
 *
 *  "lr" is the effective rate; for a frozen layer, what it would be.  "weight_decay" is the coefficient for a rule that
 *  multiplies it by its rate: the tensor's coefficient x rate of the decay / effective rate, as "decay_follows" says;
 *  LW_ERROR_OUT_OF_RANGE where that is a decay at a rate of 0.  "unscheduled_lr" is base x scale.  Other keys are numbers of the rule as schedules move them.
 *  `value_count` must be count x tensor_count x key_count, `frozen_count` count x layers.  `first` >= 0, or -1: the next step;
 *  `stride` >= 1.  On failure what `values` and `frozen` hold is unspecified. */
LW_API int32_t lw_optimizer_get_driven_values(lw_optimizer *optimizer, const char *const *keys, int64_t key_count,
                                              const int64_t *tensors, int64_t tensor_count, int64_t first, int64_t count,
                                              int64_t stride, double *values, int64_t value_count, uint8_t *frozen,
                                              int64_t frozen_count, lw_error *error);

/* ---- State --------------------------------------------------------------------------------------------------- */

/** One state of one tensor.  Initialise with LW_STATE_INFO_INIT. */
typedef struct lw_state_info {
    uint32_t struct_size;
    int32_t dtype;  /* an lw_dtype */
    int64_t count;  /* elements */
    char name[64];  /* such as "exp_avg" or "step" */
} lw_state_info;

#define LW_STATE_INFO_INIT {LW_SIZE_OF_(lw_state_info), 0, 0, {0}}

/** How many states the tensor has: its "step" count, the rule's moments, the "master" copy. */
LW_API int32_t lw_tensor_state_count(lw_optimizer *optimizer, int64_t layer, int64_t tensor, int64_t *count,
                                     lw_error *error);

/** Type, size and name of the tensor's state at `index`, from 0 to one less than lw_tensor_state_count tells.
 *  LW_ERROR_NOT_FOUND past the end. */
LW_API int32_t lw_tensor_get_state_info(lw_optimizer *optimizer, int64_t layer, int64_t tensor, int64_t index,
                                        lw_state_info *info, lw_error *error);

/** Copies the state `name` out.  `size` is in bytes and must be exactly that of the state, else LW_ERROR_SHAPE. */
LW_API int32_t lw_tensor_read_state(lw_optimizer *optimizer, int64_t layer, int64_t tensor, const char *name,
                                    void *buffer, int64_t size, lw_error *error);

/** Copies the state `name` in, as lw_tensor_read_state copies it out.  Values are not changed: any bits may be written, except
 *  a negative step count. */
LW_API int32_t lw_tensor_write_state(lw_optimizer *optimizer, int64_t layer, int64_t tensor, const char *name,
                                     const void *buffer, int64_t size, lw_error *error);

/** Where a moment or the master copy is kept.  It stays there until the optimizer is destroyed, and may be read and written
 *  between calls.  The step count has no lasting address: LW_ERROR_INVALID_ARGUMENT. */
LW_API int32_t lw_tensor_get_state_address(lw_optimizer *optimizer, int64_t layer, int64_t tensor, const char *name,
                                           void **address, lw_error *error);

/** The step count of every tensor, in order of registration.  `count` is the number of tensors of all layers. */
LW_API int32_t lw_optimizer_get_step_counts(lw_optimizer *optimizer, int64_t *counts, int64_t count, lw_error *error);

/** The singular values of a tensor's matrix: of its first two axes, at each place of the others.  Initialise with LW_SPECTRUM_INIT. */
typedef struct lw_spectrum {
    uint32_t struct_size;
    int32_t reserved;
    int64_t count;      /* singular values */
    double alpha;       /* exponent of the tail of their squares: Hill's estimate over the upper half; NaN where there are too few */
    double stable_rank; /* sum of the squares / the largest; NaN for zeros */
    double norm;        /* the largest: the spectral norm */
} lw_spectrum;

#define LW_SPECTRUM_INIT {LW_SIZE_OF_(lw_spectrum), 0, 0, 0.0, 0.0, 0.0}

/** Computes what the policies "temp_balance" and "alpha_decay" go by, of one tensor and with any policy.  Nothing changes.
 *  LW_ERROR_SHAPE for a tensor of fewer than two axes or spread over processes, LW_ERROR_NONFINITE where weights or their squares
 *  are not finite. */
LW_API int32_t lw_tensor_get_spectrum(lw_optimizer *optimizer, int64_t layer, int64_t tensor, lw_spectrum *spectrum,
                                      lw_error *error);

/* ---- Checkpoints --------------------------------------------------------------------------------------------- */

/** Saves everything that the next step depends on, so that a run which resumes goes on with the same bits: moments, master
 *  copies, step counts, rule, settings, policy, schedules and what reports left in them, freezing, counters.  The number of
 *  threads and the instruction set are not part of it.  docs/checkpoints.md has the format: a safetensors file with checksums.
 *
 *  Whatever happens meanwhile, a process killed or a disk full, the file at `path` is the old one or the new one, complete;
 *  when the call returns, the new one is on the disk.  The mode of an old file is kept, symbolic links are followed.
 *  LW_ERROR_IO says what the operating system refused; the old file is then unchanged.  Any number of threads and processes may
 *  save to one path.  SIGXFSZ is blocked on this thread meanwhile, so that a file-size limit is an error.  Options are settings:
 *
 *      parameters         flag: the parameters too (default 0)
 *      require_finite     flag: refuse to save a NaN or an infinity, with LW_ERROR_NONFINITE and its layer (default 0) */
LW_API int32_t lw_optimizer_save(lw_optimizer *optimizer, const char *path, const lw_setting *options,
                                 int64_t option_count, lw_error *error);

/** The same into memory.  The size is written to `*needed` where that is not NULL; LW_ERROR_BUFFER_TOO_SMALL if `capacity` is
 *  less. */
LW_API int32_t lw_optimizer_export(lw_optimizer *optimizer, void *buffer, int64_t capacity, int64_t *needed,
                                   const lw_setting *options, int64_t option_count, lw_error *error);

/** A layer of a checkpoint that has another name here. */
typedef struct lw_rename {
    const char *from; /* in the checkpoint */
    const char *to;   /* here */
} lw_rename;

/** Puts a checkpoint back into an optimizer that was set up as the one that saved it: same rule, settings, policy, schedules,
 *  freezing plan, and layers by name with their tensors, in any order.  Parameters are restored where the checkpoint has them.
 *  LW_ERROR_MISMATCH names what differs; lw_optimizer_get_load_report has the whole list.  Everything is checked before
 *  anything is changed; a damaged file is refused with LW_ERROR_CORRUPT.  Options are settings:
 *
 *      strict             flag: 0 loads what matches and leaves the rest as it is (default 1).  A tensor's step count and
 *                         moments are loaded together or not at all, and a master copy not without the parameters where the
 *                         checkpoint has them; parameters without their master copy become the master copy
 *      convert            flag: 1 takes states and parameters of another element type, rounded to nearest (default 0) */
LW_API int32_t lw_optimizer_load(lw_optimizer *optimizer, const char *path, const lw_setting *options,
                                 int64_t option_count, const lw_rename *renames, int64_t rename_count,
                                 lw_error *error);

/** Loads a checkpoint from memory, which needs no alignment. */
LW_API int32_t lw_optimizer_import(lw_optimizer *optimizer, const void *bytes, int64_t size, const lw_setting *options,
                                   int64_t option_count, const lw_rename *renames, int64_t rename_count,
                                   lw_error *error);

/** What the last load or import found, as one line of JSON: {"loaded": [keys], "missing": [keys that are here and
 *  were not loaded; where a strict load was refused, those that the checkpoint lacks], "absent": [those of them that the
 *  checkpoint lacks], "unexpected": [keys that are only in the checkpoint], "differences": [at most 10,000 texts, and then "and more"]}; lists are empty before the first. */
LW_API int32_t lw_optimizer_get_load_report(lw_optimizer *optimizer, char *text, int64_t capacity, int64_t *needed,
                                            lw_error *error);

/** Called with the number of bytes read so far, and of all bytes. */
typedef void (*lw_progress)(int64_t done, int64_t total, void *context);

/** What a checkpoint holds, all checksums verified, as one line of JSON: {"format_version", "layerwise_version", "bytes",
 *  "identity": {"rule", ...}, "progress": {...}, "steps": {layer: {tensor: count}},
 *  "tensors": [{"key", "dtype", "shape", "bytes", "crc32c"}]}.  All of it is of one file, whoever saves to the path meanwhile.
 *  `progress` may be NULL; it is called on this thread after every MiB.  It takes a buffer three times as large as the file's header. */
LW_API int32_t lw_checkpoint_describe(const char *path, lw_progress progress, void *context, char *text,
                                      int64_t capacity, int64_t *needed, lw_error *error);

/* ---- Snapshots ----------------------------------------------------------------------------------------------- */

/** An optimizer as it was at one moment, in memory.  It serves one thread at a time, as an optimizer does. */
typedef struct lw_snapshot lw_snapshot;

/** Copies everything that the results of later steps depend on: parameters, moments, master copies, step counts, rule, settings,
 *  policy, schedules, freezing plan, measurements and clocks.  `*out` becomes NULL on failure.  Large tensors are copied by
 *  several threads.  A snapshot is destroyed with lw_snapshot_destroy, before or after its optimizer. */
LW_API int32_t lw_optimizer_snapshot(lw_optimizer *optimizer, lw_snapshot **out, lw_error *error);

/** Puts everything back as it was when this optimizer made the snapshot, so that it goes on with the same bits; any number of
 *  times.  Parameters are written where they lie now.  Moments that the rule did not have yet begin again.  The settings
 *  "threads", "telemetry" and "empty_step" stay as they are.  LW_ERROR_MISMATCH, with nothing changed, if another optimizer
 *  made the snapshot, or layers were added since. */
LW_API int32_t lw_optimizer_restore(lw_optimizer *optimizer, lw_snapshot *snapshot, lw_error *error);

/** The bytes that a snapshot's copies of parameters and states take. */
LW_API int32_t lw_snapshot_get_size(lw_snapshot *snapshot, int64_t *size, lw_error *error);

/** Destroys a snapshot and frees its memory.  NULL is a no-op. */
LW_API int32_t lw_snapshot_destroy(lw_snapshot *snapshot, lw_error *error);

/* ---- Search -------------------------------------------------------------------------------------------------- */

/** The rates of a search, which rise from `lowest` with a constant ratio.  `kind` is "sweep", one run whose rate rises at every
 *  step, without `highest` itself as in fastai; or "trials", each from one snapshot, the last with `highest`.  `rate_count` >= 2. */
LW_API int32_t lw_search_rates(const char *kind, double lowest, double highest, double *rates, int64_t rate_count,
                               lw_error *error);

/** What a search has found, as one line of JSON: {"mean": [...], "spread": [...], "suggestions": {"valley", "slide", "minimum",
 *  "steep", "lightning", "spread"}}.  `losses[repeat * rate_count + i]` is the loss at rates[i], NaN where it was not reached.
 *  Losses of a sweep are smoothed before the mean.  "spread" is the standard deviation over repeats, each without its own median.
 *  A suggestion is null where the curve has too few points: "spread", the highest rate whose loss stays within the spread of
 *  the best, is of trials, and "lightning" of sweeps. */
LW_API int32_t lw_search_analyse(const char *kind, const double *rates, int64_t rate_count, const double *losses,
                                 int64_t repeat_count, char *text, int64_t capacity, int64_t *needed, lw_error *error);

/** Whether a sweep over `rate_count` rates that has seen these losses so far need not go on: 1 if its smoothed loss is not finite,
 *  or above 4 times the lowest, as in fastai. */
LW_API int32_t lw_search_has_diverged(const double *losses, int64_t loss_count, int64_t rate_count, int32_t *diverged,
                                      lw_error *error);

/** Whether `loss` is a spike after the losses before, of which there may be none: 1 if it is not finite, or beyond the `threshold`:
 *  "deviations", above their mean by more than `limit` of their standard deviations; or "ratio", above `limit` times their median.
 *  Fewer than two finite losses before tell nothing, and then only a loss that is not finite is a spike. */
LW_API int32_t lw_search_is_spike(const char *threshold, double limit, const double *losses, int64_t loss_count,
                                  double loss, int32_t *spikes, lw_error *error);

/** Divides factors by their geometric mean: how layers differ, at the level that all had.  A factor that is not above 0 and
 *  finite, of a layer for which none was found, is passed over and becomes 1.  `scales` has room for `count` numbers. */
LW_API int32_t lw_search_scales(const double *factors, int64_t count, double *scales, lw_error *error);

/** How candidates stand, as one line of JSON: {"mean": [...], "spread": [...], "order": [best first], "tied": [those that
 *  cannot be distinguished from the best, which is one of them, by Student's t over paired repeats at 95 %]}.
 *  `scores[candidate * repeat_count + i]`: less is better, and what is not finite is worst. */
LW_API int32_t lw_search_judge(const double *scores, int64_t candidate_count, int64_t repeat_count, char *text,
                               int64_t capacity, int64_t *needed, lw_error *error);

#if defined(__cplusplus)
}
#endif

#endif
