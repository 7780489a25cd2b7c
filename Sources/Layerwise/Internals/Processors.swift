// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwisePlatform

/// How many threads this process may use: the processors that it may run on, limited by the cgroup's quota.
///
/// OpenMP and TBB ignore the quota, and a container that grants two of 96 processors then runs 96 threads in lockstep.
public func availableThreads() -> Int {
    max(1, min(schedulableProcessors(), cgroupQuota() ?? Int.max))
}

private func schedulableProcessors() -> Int {
    let count = Int(lwk_schedulable_processors())
    return count > 0 ? count : max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
}

/// The whole processors that the cgroup grants: version 2's cpu.max, or version 1's quota and period.
private func cgroupQuota() -> Int? {
    if let text = readSmallFile("/sys/fs/cgroup/cpu.max") {
        let fields = text.split(whereSeparator: \.isWhitespace)
        guard fields.count == 2, let quota = Int(fields[0]), let period = Int(fields[1]), period > 0 else { return nil }
        return max(1, quota / period)
    }
    guard let quota = readSmallFile("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").flatMap(firstInteger), quota > 0,
        let period = readSmallFile("/sys/fs/cgroup/cpu/cpu.cfs_period_us").flatMap(firstInteger), period > 0
    else { return nil }
    return max(1, quota / period)
}

private func firstInteger(_ text: String) -> Int? {
    text.split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) }
}

private func readSmallFile(_ path: String) -> String? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 256)
    let count = read(file, &bytes, bytes.count)
    return count > 0 ? String(decoding: bytes.prefix(count), as: UTF8.self) : nil
}
