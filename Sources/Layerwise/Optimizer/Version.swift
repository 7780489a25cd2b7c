// SPDX-License-Identifier: Apache-2.0

/// The version of the library.
public let layerwiseVersion = "0.1.0"

/// How often this process descends from a fork() since this was first asked.
package func processForks() -> Int {
    _ = ThreadPool.shared
    return ThreadPool.forks.load(ordering: .relaxed)
}
