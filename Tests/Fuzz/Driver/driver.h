/* What libFuzzer offers to a program that has a main of its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DRIVER_H
#define DRIVER_H

#include <stddef.h>
#include <stdint.h>

/** Calls `offer` with one input after another until its time is over; returns the exit status. */
int LLVMFuzzerRunDriver(int *argument_count, char ***arguments, int (*offer)(const uint8_t *bytes, size_t size));

/** Changes bytes without knowing what they are; returns how many there are then. */
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t capacity);

#endif
