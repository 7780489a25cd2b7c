// SPDX-License-Identifier: Apache-2.0
//
// Memory set aside for Swift's run time, which ends the process where malloc has none.  Where the linker was told to wrap
// malloc and its companions (Package.swift, for the shared library), they fall back on what the calling thread set aside.
#ifndef LAYERWISE_RESERVE_H
#define LAYERWISE_RESERVE_H

#include <stddef.h>
#include <stdint.h>

/// Sets at least `bytes` aside for this thread until `lwr_close`.  A ticket, or -1 if there is no memory.
int32_t lwr_open(size_t bytes);

/// What is still in use stays until it is freed.  -1 is a no-op.
void lwr_close(int32_t ticket);

#endif
