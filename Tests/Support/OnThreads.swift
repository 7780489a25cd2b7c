// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Calls `body` with 0, 1 … `count` − 1, each on a thread of its own, and returns when all are done.
///
/// `DispatchQueue.concurrentPerform` makes as many threads as there are processors, so that on one processor calls that
/// wait for each other would never return.
func onThreads(_ count: Int, _ body: @escaping @Sendable (_ index: Int) -> Void) {
    let done = DispatchGroup()
    for index in 0..<count {
        done.enter()
        Thread.detachNewThread {
            body(index)
            done.leave()
        }
    }
    done.wait()
}
