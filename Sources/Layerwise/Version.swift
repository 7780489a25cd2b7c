// SPDX-License-Identifier: Apache-2.0

/// The version of the library.
public let layerwiseVersion = "0.1.0"

/// How often this process descends from a fork() since the library began to use threads.
public func processForks() -> Int { ThreadPool.forks.load(ordering: .relaxed) }
