// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform
import LayerwiseRules
import Synchronization

/// A file that is replaced as a whole: whoever looks finds the old one or the new one, complete, also after a crash.
///
///     temporary sibling → write → fsync → rename over the old file → fsync of the folder
///
/// A failed fsync is not tried again: the kernel may have dropped what it could not write, and would not say so twice.  Where
/// anything fails before the rename, the old file is as it was and the temporary one is gone.
///
/// Any number of threads and processes may save to one path, also where their process ids are equal, as in containers on one
/// volume: a temporary name is made of 64 random bits and a count, and is never used again, so that no file but the one that was
/// created under it is written, renamed or removed by it.  What a killed process leaves behind is removed by the next save to the
/// same path: a temporary file is locked while it is written, so one whose lock is free is nobody's.
///
/// The folder is opened once, so that the process may change its working directory meanwhile.  A value belongs to the thread that
/// made it, on which SIGXFSZ is blocked while the value lives.
struct AtomicFile: ~Copyable {
    private let folder: Folder
    private let name: String
    private let temporary: String
    private var descriptor: Int32
    /// The mode of the file that is replaced, where it has bits that a write takes away.
    private var privilegedMode: mode_t?
    private let sizeSignal = FileSizeSignal()

    private init(_ folder: consuming Folder, _ name: String, _ created: (descriptor: Int32, name: String)) {
        self.folder = folder
        self.name = name
        (descriptor, temporary) = created
    }

    /// Opens a temporary file beside `path`, with the mode and the owner of the file that is there.
    static func replacing(_ path: String) throws(LayerwiseError) -> AtomicFile {
        let target = try resolve(path)
        let (folderPath, name) = split(target)
        let folder = try Folder(folderPath, of: target)
        var old = stat()
        let exists = fstatat(folder.descriptor, name, &old, 0) == 0
        if !exists && errno != ENOENT { throw .io("look at \(target)", errno) }
        if exists && old.st_mode & S_IFMT != S_IFREG {
            throw LayerwiseError(.io, "cannot replace \(target): not a regular file")
        }
        let prefix = prefix(name)
        folder.removeAbandoned(prefix)
        let created = try folder.create(prefix, exists ? old.st_mode & 0o777 : 0o666)
        var file = AtomicFile(folder, name, created)
        if exists { try file.inherit(old) }
        return file
    }

    private mutating func inherit(_ old: stat) throws(LayerwiseError) {
        // A process without the right to give files away keeps its own as owner.
        if (old.st_uid != geteuid() || old.st_gid != getegid()) && fchown(descriptor, old.st_uid, old.st_gid) != 0
            && errno != EPERM
        {
            throw abandon("set the owner of", errno)
        }
        // open() takes the umask away from the mode; a file that was there keeps its own.
        if fchmod(descriptor, old.st_mode & 0o7777) != 0 { throw abandon("set the mode of", errno) }
        if old.st_mode & 0o7000 != 0 { privilegedMode = old.st_mode & 0o7777 }
    }

    deinit {
        if descriptor >= 0 {
            close(descriptor)
            folder.remove(temporary)
        }
    }

    mutating func write(_ bytes: UnsafeRawBufferPointer) throws(LayerwiseError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            // Linux writes at most about 2 GiB at once.
            let part = UnsafeRawBufferPointer(rebasing: rest.prefix(1 << 30))
            let count = retry { LayerwisePlatform.write(descriptor, part.baseAddress, part.count) }
            if count < 0 {
                let reason = errno
                if reason == EFBIG { sizeSignal.take() }
                throw abandon("write", reason)
            }
            if count == 0 { throw abandon("write", ENOSPC) }
            rest = rest.dropFirst(count)
        }
    }

    /// Puts the new file in place.
    mutating func commit() throws(LayerwiseError) {
        // A write by an ordinary user clears the set-user-ID and set-group-ID bits.
        if let mode = privilegedMode, fchmod(descriptor, mode) != 0 { throw abandon("set the mode of", errno) }
        if fsync(descriptor) != 0 { throw abandon("sync", errno) }
        if renameat(folder.descriptor, temporary, folder.descriptor, name) != 0 { throw abandon("rename", errno) }
        // From here on the new file stands there, and all that can fail is to be sure of it.
        let closing = close(descriptor)
        let reason = errno
        descriptor = -1
        // Linux has closed it also where it says EINTR.
        if closing != 0 && reason != EINTR { throw .io("close \(folder.path(name)), which is the new one", reason) }
        try folder.sync()
    }

    /// Removes the temporary file and says why.
    private mutating func abandon(_ what: String, _ reason: Int32) -> LayerwiseError {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        folder.remove(temporary)
        return .io("\(what) \(folder.path(temporary))", reason)
    }

    // MARK: - Names

    /// Temporary files of a file begin like this, whatever the length of its name.
    private static func prefix(_ name: String) -> String {
        ".layerwise-\(Checksum.text(Checksum.crc32c(of: name)))-"
    }

    /// The file that a path leads to; where there is none yet, the place for it.
    private static func resolve(_ path: String) throws(LayerwiseError) -> String {
        if path.isEmpty { throw .io("save to a path without a name", ENOENT) }
        var path = path
        if path.utf8.first != UInt8(ascii: "/") {
            // The working directory is looked at once; another thread may change it at any time.
            let (folder, name) = split(path)
            guard let resolved = realpath(folder, nil) else { throw .io("look at \(path)", errno) }
            defer { free(resolved) }
            // A folder whose name is not UTF-8 is reached by the relative path only.
            if let folder = String(validatingCString: resolved) { path = "\(folder)/\(name)" }
        }
        for _ in 0..<40 {
            if let resolved = realpath(path, nil) {
                defer { free(resolved) }
                return String(cString: resolved)
            }
            if errno != ENOENT { throw .io("look at \(path)", errno) }
            // A link to a file that is not there yet.
            var target = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
            let length = readlink(path, &target, target.count - 1)
            if length < 0 {
                // There is nothing, or no link.
                if errno == ENOENT || errno == EINVAL { return path }
                throw .io("look at \(path)", errno)
            }
            let text = String(decoding: target[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            path = text.utf8.first == UInt8(ascii: "/") ? text : "\(split(path).folder)/\(text)"
        }
        throw .io("look at \(path)", ELOOP)
    }

    private static func split(_ path: String) -> (folder: String, name: String) {
        // Bytes and not characters, one of which may be a slash with an accent.
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return (".", path) }
        let name = String(path[path.utf8.index(after: slash)...])
        return slash == path.startIndex ? ("/", name) : (String(path[..<slash]), name)
    }
}

/// The folder in which a file is replaced, kept open.
private struct Folder: ~Copyable {
    let descriptor: Int32
    private let text: String

    /// `file`: what is replaced there, in messages.
    init(_ text: String, of file: String) throws(LayerwiseError) {
        descriptor = retry { open(text, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        self.text = text
        if descriptor < 0 { throw .io("open the folder of \(file)", errno) }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// The path of a file in it, for messages.
    func path(_ name: String) -> String { text == "/" ? "/\(name)" : "\(text)/\(name)" }

    func sync() throws(LayerwiseError) {
        // Some file systems cannot sync a folder, and say so.
        if fsync(descriptor) != 0 && errno != EINVAL {
            throw .io("sync the folder \(text), where the new file stands", errno)
        }
    }

    /// Removes a file of a name that `create` has made.
    func remove(_ name: String) { unlinkat(descriptor, name, 0) }

    /// Creates a locked file of a name that there never was.
    func create(_ prefix: String, _ mode: mode_t) throws(LayerwiseError) -> (descriptor: Int32, name: String) {
        var attempt = 0
        while true {
            let name = "\(prefix)\(TemporaryNames.next()).tmp"
            attempt += 1
            let file = retry { openat(descriptor, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode) }
            if file < 0 {
                if errno == EEXIST && attempt < 1000 { continue }
                throw .io("create \(path(name))", errno)
            }
            // Without locks, abandoned files cannot be distinguished from others, and stay.
            _ = retry { flock(file, LOCK_EX) }
            var status = stat()
            let isKnown = fstat(file, &status) == 0
            if isKnown && status.st_nlink > 0 { return (file, name) }
            // Another process took it for abandoned before it was locked.
            let reason = isKnown ? EAGAIN : errno
            close(file)
            remove(name)
            if !isKnown || attempt >= 1000 { throw .io("look at \(path(name))", reason) }
        }
    }

    /// Removes the temporary files of processes that are gone.  What cannot be removed stays.
    func removeAbandoned(_ prefix: String) {
        // Listing moves the descriptor's position, so it has one of its own.
        let own = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if own < 0 { return }
        guard let listing = fdopendir(own) else {
            close(own)
            return
        }
        defer { closedir(listing) }
        while let entry = readdir(listing) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard name.utf8.starts(with: prefix.utf8), name.hasUTF8Suffix(".tmp") else { continue }
            let file = openat(descriptor, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
            if file < 0 { continue }
            if flock(file, LOCK_EX | LOCK_NB) == 0 && isStill(file, name) { remove(name) }
            close(file)
        }
    }

    /// Whether the name still leads to the file that is open.  Its owner may have renamed it over the old file, and closed it,
    /// before it could be locked here.
    private func isStill(_ file: Int32, _ name: String) -> Bool {
        var (opened, named) = (stat(), stat())
        return fstat(file, &opened) == 0 && fstatat(descriptor, name, &named, AT_SYMLINK_NOFOLLOW) == 0
            && opened.st_dev == named.st_dev && opened.st_ino == named.st_ino
    }
}

/// Names that never come back.
private enum TemporaryNames {
    private static let count = Atomic<UInt64>(0)

    /// 64 random bits, and how many names this process has made.  A forked child goes on from its parent's count, but not from
    /// its random bits.
    static func next() -> String {
        let count = count.wrappingAdd(1, ordering: .relaxed).newValue
        var random: UInt64 = 0
        if getentropy(&random, MemoryLayout<UInt64>.size) != 0 {
            // A kernel without it: what differs from process to process and from moment to moment.
            var time = timespec()
            clock_gettime(CLOCK_REALTIME, &time)
            random =
                UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_007 ^ UInt64(truncatingIfNeeded: time.tv_nsec)
                << 32
                ^ UInt64(truncatingIfNeeded: getpid())
        }
        let digits = String(random, radix: 16)
        return "\(String(repeating: "0", count: 16 - digits.utf8.count))\(digits)-\(count)"
    }
}

/// Blocks SIGXFSZ on this thread while it lives: a write beyond RLIMIT_FSIZE is then an error, EFBIG, and does not end the process.
private struct FileSizeSignal: ~Copyable {
    private let before: sigset_t
    /// It was blocked, and waits for the caller.
    private let isPending: Bool

    init() {
        var (own, before, pending) = (Self.only, sigset_t(), sigset_t())
        pthread_sigmask(SIG_BLOCK, &own, &before)
        sigpending(&pending)
        self.before = before
        isPending = sigismember(&pending, SIGXFSZ) == 1
    }

    deinit {
        var before = before
        pthread_sigmask(SIG_SETMASK, &before, nil)
    }

    private static var only: sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGXFSZ)
        return signals
    }

    /// Takes the signal that a write has raised.  One that was pending before stays.
    func take() {
        if isPending { return }
        var (own, now) = (Self.only, timespec())
        sigtimedwait(&own, nil, &now)
    }
}

private func retry<Result: SignedInteger>(_ call: () -> Result) -> Result {
    while true {
        let result = call()
        if result >= 0 || errno != EINTR { return result }
    }
}

extension LayerwiseError {
    /// What the operating system said.
    static func io(_ what: String, _ reason: Int32) -> LayerwiseError {
        LayerwiseError(.io, "cannot \(what): \(String(cString: strerror(reason)))")
    }
}
