/* Layerwise: functions that the library's own wrappers need and other programs hardly do.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * EXPERIMENTAL
 *   The library exports these functions, and they check their arguments and report errors as those of layerwise.h do.  But any
 *   release may change or remove them, with an entry in CHANGELOG.md and without a change of LW_ABI_VERSION.  The wrapper of Python
 *   and the library that comes with it are always of one release.  A program that uses a function of this header must be compiled
 *   for the release that it runs with, and says so by including it: layerwise.h does not.
 */
#ifndef LAYERWISE_EXPERIMENTAL_H
#define LAYERWISE_EXPERIMENTAL_H

#include "layerwise.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* ---- Gradients of a framework -------------------------------------------------------------------------------- */

/** A tensor, with the layout of DLTensor in DLPack 1.x, so that a view of DLPack's fills it. */
typedef struct lw_dlpack_tensor {
    void *data;
    int32_t device_type;  /* 1: the CPU */
    int32_t device_id;
    int32_t rank;
    uint8_t type_code;    /* 2: LW_FLOAT16, LW_FLOAT32, LW_FLOAT64; 4: LW_BFLOAT16 */
    uint8_t type_bits;    /* of one element */
    uint16_t type_lanes;  /* 1 */
    int64_t *shape;       /* `rank` extents */
    int64_t *strides;     /* `rank` strides, in elements */
    uint64_t byte_offset; /* of the first element from `data` */
} lw_dlpack_tensor;

/** The object at a position of a list, or NULL.  CPython's PyList_GetItem is one. */
typedef void *(*lw_dlpack_item)(void *list, intptr_t position);

/** Describes an object where it lies; 0 if it could.  DLPackExchangeAPI.dltensor_from_py_object_no_sync is one. */
typedef int (*lw_dlpack_view)(void *object, lw_dlpack_tensor *tensor);

/** Where to find parameters and their gradients.  Initialise with LW_DLPACK_LISTS_INIT; only members that say so may be NULL.
 *
 *  A framework that makes new gradients at every step has objects, and the step wants addresses (lw_step.gradients).  Asking
 *  each object for them in Python takes longer than a step of many small tensors. */
typedef struct lw_dlpack_lists {
    uint32_t struct_size;
    int32_t reserved;                 /* 0 */
    void *parameters;                 /* two lists of `count` objects each, in the same order */
    void *gradients;
    int64_t count;
    lw_dlpack_item item;
    lw_dlpack_view view;
    const void *absent;               /* the object that stands for no gradient (in CPython: None), or NULL */
    const lw_dlpack_tensor *expected; /* `count` parameters as they were when they were registered */
    const int32_t *gradient_dtypes;   /* `count` lw_dtype; NULL: those of the parameters */
} lw_dlpack_lists;

#define LW_DLPACK_LISTS_INIT \
    {LW_SIZE_OF_(lw_dlpack_lists), 0, LW_NULL_, LW_NULL_, 0, LW_NULL_, LW_NULL_, LW_NULL_, LW_NULL_, LW_NULL_}

/** Writes the addresses of gradients from `*position` on, and stops at the first pair that is not as usual: `*position` is
 *  then its position, else `count`.  The caller sees to that pair, writes its address and goes on behind it.
 *
 *  Usual is a parameter that is as `expected`: on the CPU, its address, type, shape and strides; and a gradient on the CPU
 *  with the same shape and strides, of the expected type and with an address, or the absent one, for which NULL is written.
 *  How many were absent is added to `*absent_count`, unless that is NULL.  Strides of extents of 1 do not count.  NULL in
 *  place of an object, one that has no view, and one without elements, which has no address, are not usual.
 *
 *  `item` and `view` are called on this thread; neither is called again after one that failed, so that an error which they
 *  leave in an interpreter stays theirs.  The caller holds what they need (in CPython: the GIL). */
LW_API int32_t lw_dlpack_find_gradients(const lw_dlpack_lists *lists, const void **addresses, int64_t *position,
                                        int64_t *absent_count, lw_error *error);

/* ---- The run state in a format of the caller's --------------------------------------------------------------- */

/** How lw_optimizer_set_run_state takes a text.  Flags, to be combined with |. */
enum lw_run_state_flags {
    LW_RUN_STATE_KNOWN = 1, /* leave out what the text says of layers and schedules that are not here */
    LW_RUN_STATE_CHECK = 2  /* refuse what would be refused, and change nothing */
};

/** The run state as one line of JSON, for a program that keeps tensors, rates and hyperparameters in a format of its own, as torch's
 *  state dicts do: the clock, counts of steps, the mode, what reports have left in schedules, measurements, numbers that rules keep
 *  for all tensors or for each layer, layers that were frozen or unfrozen by hand.  These are the words of a checkpoint's progress,
 *  without what is as an optimizer begins; "{}" where no step was taken and all is so.  `text`, `capacity` and `needed` are as in
 *  lw_optimizer_explain. */
LW_API int32_t lw_optimizer_get_run_state(lw_optimizer *optimizer, char *text, int64_t capacity, int64_t *needed,
                                          lw_error *error);

/** Puts back what lw_optimizer_get_run_state gave, or what the wrapper of version 0.1.0 wrote.  `length`: the bytes of `text`, which
 *  needs no NUL; `flags`: of enum lw_run_state_flags, or 0.
 *
 *  `steps` is t of the next step if the text says none, as "{}" and the empty text.  t as the text says it is written to `*said`, or
 *  -1, unless that is NULL.  An empty text, from a program that keeps no run state, leaves counts of steps, states of schedules and
 *  frozen layers as they are; any other replaces all but the states of schedules that it does not name.
 *
 *  LW_ERROR_INVALID_ARGUMENT, with nothing changed, for a text that is no run state, or is not of these layers, schedules, policy and
 *  freezing plan; the message, and `error->layer`, say of which layer. */
LW_API int32_t lw_optimizer_set_run_state(lw_optimizer *optimizer, const char *text, int64_t length, int32_t flags,
                                          int64_t steps, int64_t *said, lw_error *error);

#if defined(__cplusplus)
}
#endif

#endif
