// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwisePlatform
import Synchronization

/// The worker threads of the process.
///
/// Dispatch is not used: on Linux it does not know fork(), and it waits without end if a thread cannot be made.  Here
/// threads are made when first needed, block all signals, and stay; where one cannot be made the step runs on fewer; a
/// forked child starts with none.  One job runs at a time: whoever finds the pool taken works alone.  Who works on which
/// item never changes a result.
final class ThreadPool: Sendable {
    static let shared = ThreadPool()

    /// Does item `item` of the job that `context` describes, with the scratch memory of `slot`.
    typealias Job = @convention(c) (_ context: UnsafeMutableRawPointer, _ item: Int, _ slot: Int) -> Void

    /// Raised in the child by every fork().
    static let forks = Atomic<Int>(0)

    /// Shared by all threads, and guarded by its own mutex and atomics.
    private nonisolated(unsafe) let state: UnsafeMutablePointer<State>
    private nonisolated(unsafe) let parts: UnsafeMutablePointer<Part>

    static let mostThreads = 1024

    /// How long a worker looks for the next job before it sleeps: about the pause between the passes of a step.
    private static let spins = 1000
    /// Spins after a call to be ready: about the time in which some hundreds of gradients are found from Python.
    private static let readySpins = 8000

    /// The part of a job's items that one slot begins with, on a cache line of its own.
    private struct Part: ~Copyable {
        let next = Atomic<Int>(0)
        var end = 0
        let padding = (0, 0, 0, 0, 0, 0)
    }

    private struct State: ~Copyable {
        var mutex = pthread_mutex_t()
        var wake = pthread_cond_t()
        var job: Job?
        var context: UnsafeMutableRawPointer?
        var slots = 0
        var joined = 0
        var workers = 0
        let taken = Atomic<Bool>(false)
        /// Odd while a job is open.
        let epoch = Atomic<Int>(0)
        /// How often workers were called to be ready.
        var calls = 0
        let inside = Atomic<Int>(0)
    }

    private init() {
        state = .allocate(capacity: 1)
        parts = .allocate(capacity: Self.mostThreads)
        for part in 0..<Self.mostThreads { (parts + part).initialize(to: Part()) }
        prepare()
        pthread_atfork(nil, nil) { ThreadPool.shared.startAnew() }
    }

    private func prepare() {
        state.initialize(to: State())
        pthread_mutex_init(&state.pointee.mutex, nil)
        pthread_cond_init(&state.pointee.wake, nil)
    }

    /// In a forked child: the workers and whatever they held are gone.
    private func startAnew() {
        prepare()
        Self.forks.add(1, ordering: .relaxed)
    }

    /// Does `count` items of `job` on up to `threads` threads, of which the caller is one, and returns when all are done.
    ///
    /// Each thread begins with a part of its own, the same one at every step, whose data are then in its cache, and helps
    /// the others when it is done.  Workers that look out for a job always join; those that sleep are woken only if `wakes`.
    ///
    /// Returns false where items may not be done: a signal handler on this thread forked meanwhile, and this is the child,
    /// in which the workers and what they had taken do not exist.
    func run(_ job: Job, _ context: UnsafeMutableRawPointer, count: Int, threads: Int, wakes: Bool) -> Bool {
        if threads > 1, count > 1, !state.pointee.taken.exchange(true, ordering: .acquiring) {
            let forks = Self.forks.load(ordering: .relaxed)
            let helpers = makeWorkers(min(threads, count, Self.mostThreads) - 1)
            if helpers > 0 {
                open(job, context, count, helpers, wakes)
                work(job, context, slot: 0)
                close()
            }
            state.pointee.taken.store(false, ordering: .releasing)
            if helpers > 0 { return Self.forks.load(ordering: .relaxed) == forks }
        }
        for item in 0..<count { job(context, item, 0) }
        return true
    }

    /// Wakes the workers there are, which then look out for a job: one will be there soon.  To wake takes a thread tens of
    /// microseconds, which so pass while the caller still has other things to do.
    func callWorkers() {
        let state = state
        pthread_mutex_lock(&state.pointee.mutex)
        state.pointee.calls &+= 1
        pthread_cond_broadcast(&state.pointee.wake)
        pthread_mutex_unlock(&state.pointee.mutex)
    }

    private func open(
        _ job: Job, _ context: UnsafeMutableRawPointer, _ count: Int, _ helpers: Int, _ wakes: Bool
    ) {
        let state = state
        pthread_mutex_lock(&state.pointee.mutex)
        state.pointee.job = job
        state.pointee.context = context
        state.pointee.slots = helpers
        state.pointee.joined = 0
        let partCount = helpers + 1
        for part in 0..<partCount {
            parts[part].next.store(part * count / partCount, ordering: .relaxed)
            parts[part].end = (part + 1) * count / partCount
        }
        state.pointee.epoch.add(1, ordering: .releasing)
        if wakes { pthread_cond_broadcast(&state.pointee.wake) }
        pthread_mutex_unlock(&state.pointee.mutex)
    }

    /// Lets no further worker in, and waits for those inside.
    private func close() {
        pthread_mutex_lock(&state.pointee.mutex)
        // In a child that a signal handler forked since the job was opened, it is even already.
        if state.pointee.epoch.load(ordering: .relaxed) % 2 == 1 { state.pointee.epoch.add(1, ordering: .releasing) }
        pthread_mutex_unlock(&state.pointee.mutex)
        var patience = Self.spins
        while state.pointee.inside.load(ordering: .acquiring) > 0 {
            patience -= 1
            if patience <= 0 { sched_yield() } else { lwk_pause() }
        }
    }

    private func work(_ job: Job, _ context: UnsafeMutableRawPointer, slot: Int) {
        let parts = parts
        let count = state.pointee.slots + 1
        for turn in 0..<count {
            let part = parts + (slot + turn) % count
            while true {
                let item = part.pointee.next.add(1, ordering: .relaxed).oldValue
                if item >= part.pointee.end { break }
                job(context, item, slot)
            }
        }
    }

    /// Makes workers up to `wanted`; returns how many there are for this job.
    private func makeWorkers(_ wanted: Int) -> Int {
        if state.pointee.workers >= wanted { return wanted }
        var all = sigset_t()
        var previous = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &previous)
        defer { pthread_sigmask(SIG_SETMASK, &previous, nil) }
        while state.pointee.workers < wanted {
            #if canImport(Darwin)
            var thread: pthread_t?
            guard pthread_create(&thread, nil, { _ in ThreadPool.shared.serve() }, nil) == 0 else { break }
            if let thread { pthread_detach(thread) }
            #else
            var thread = pthread_t()
            guard pthread_create(&thread, nil, { _ in ThreadPool.shared.serve() }, nil) == 0 else { break }
            pthread_detach(thread)
            #endif
            state.pointee.workers += 1
        }
        return min(wanted, state.pointee.workers)
    }

    /// A worker's life.
    private func serve() -> Never {
        // A thread begins with the modes of the one that makes it, which may round otherwise just then.
        lwk_use_default_floating_point()
        let state = state
        var seen = 0
        var heard = 0
        var patience = Self.spins
        while true {
            while patience > 0 && state.pointee.epoch.load(ordering: .acquiring) == seen {
                patience -= 1
                lwk_pause()
            }
            pthread_mutex_lock(&state.pointee.mutex)
            while state.pointee.epoch.load(ordering: .relaxed) == seen && state.pointee.calls == heard {
                pthread_cond_wait(&state.pointee.wake, &state.pointee.mutex)
            }
            patience = state.pointee.calls == heard ? Self.spins : Self.readySpins
            heard = state.pointee.calls
            let epoch = state.pointee.epoch.load(ordering: .relaxed)
            let joins = epoch != seen && epoch % 2 == 1 && state.pointee.joined < state.pointee.slots
            seen = epoch
            if joins { state.pointee.joined += 1 }
            let slot = state.pointee.joined
            let (job, context) = (state.pointee.job, state.pointee.context)
            if joins { state.pointee.inside.add(1, ordering: .acquiring) }
            pthread_mutex_unlock(&state.pointee.mutex)
            if joins, let job, let context { work(job, context, slot: slot) }
            if joins { state.pointee.inside.subtract(1, ordering: .releasing) }
        }
    }
}
