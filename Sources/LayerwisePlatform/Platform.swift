// SPDX-License-Identifier: Apache-2.0

// The C library of the platform, under one name for the other targets of this package.

#if canImport(Darwin)
@_exported import Darwin
#elseif canImport(Android)
@_exported import Android
#elseif canImport(Musl)
@_exported import Musl
#else
@_exported import Glibc
#endif
