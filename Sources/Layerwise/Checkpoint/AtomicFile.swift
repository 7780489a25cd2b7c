// SPDX-License-Identifier: Apache-2.0
import Glibc

/// A file that is replaced as a whole: whoever looks finds the old one or the new one, complete, also after a crash.
///
///     temporary sibling → write → fsync → rename over the old file → fsync of the folder
///
/// A failed fsync is not tried again: the kernel may have dropped what it could not write, and would not say so twice.  Where
/// anything fails before the rename, the old file is as it was and the temporary one is gone.  What a killed process leaves
/// behind is removed by the next save to the same path: temporary files are locked, and one whose lock is free is nobody's.
struct AtomicFile: ~Copyable {
    /// Where the file really is, symbolic links followed.
    private let path: String
    private let temporary: String
    private var descriptor: Int32

    private init(path: String, temporary: String, descriptor: Int32) {
        self.path = path
        self.temporary = temporary
        self.descriptor = descriptor
    }

    /// Opens a temporary file beside `path`, with the mode and the owner of the file that is there.
    static func replacing(_ path: String) throws(LayerwiseError) -> AtomicFile {
        let target = try resolve(path)
        var old = stat()
        let exists = stat(target, &old) == 0
        if !exists && errno != ENOENT { throw .io("look at \(target)", errno) }
        if exists && old.st_mode & S_IFMT != S_IFREG {
            throw LayerwiseError(.io, "cannot replace \(target): not a regular file")
        }
        let (folder, name) = split(target)
        removeAbandoned(in: folder, prefix: prefix(name))
        let (descriptor, temporary) = try create(folder, prefix(name), exists ? old.st_mode & 0o777 : 0o666)
        var file = AtomicFile(path: target, temporary: temporary, descriptor: descriptor)
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
    }

    deinit {
        if descriptor >= 0 {
            close(descriptor)
            unlink(temporary)
        }
    }

    mutating func write(_ bytes: UnsafeRawBufferPointer) throws(LayerwiseError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            // Linux writes at most about 2 GiB at once.
            let part = UnsafeRawBufferPointer(rebasing: rest.prefix(1 << 30))
            let count = Self.retry { Glibc.write(descriptor, part.baseAddress, part.count) }
            if count < 0 { throw abandon("write", errno) }
            if count == 0 { throw abandon("write", ENOSPC) }
            rest = rest.dropFirst(count)
        }
    }

    /// Puts the new file in place.
    mutating func commit() throws(LayerwiseError) {
        if fsync(descriptor) != 0 { throw abandon("sync", errno) }
        if rename(temporary, path) != 0 { throw abandon("rename", errno) }
        // From here on the new file stands there, and all that can fail is to be sure of it.
        let closing = close(descriptor)
        let reason = errno
        descriptor = -1
        // Linux has closed it also where it says EINTR.
        if closing != 0 && reason != EINTR { throw .io("close \(path), which is the new one", reason) }
        try syncFolder()
    }

    private func syncFolder() throws(LayerwiseError) {
        let (name, _) = Self.split(path)
        let folder = Self.retry { open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        if folder < 0 { throw .io("open the folder \(name), where the new file stands", errno) }
        let synced = fsync(folder)
        let reason = errno
        close(folder)
        // Some file systems cannot sync a folder, and say so.
        if synced != 0 && reason != EINVAL { throw .io("sync the folder \(name), where the new file stands", reason) }
    }

    /// Removes the temporary file and says why.
    private mutating func abandon(_ what: String, _ reason: Int32) -> LayerwiseError {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        unlink(temporary)
        return .io("\(what) \(temporary)", reason)
    }

    // MARK: - Names

    /// Temporary files of a file begin like this, whatever the length of its name.
    private static func prefix(_ name: String) -> String {
        ".layerwise-\(Checksum.text(Checksum.crc32c(of: name)))-"
    }

    /// Creates a locked file of a new name.
    private static func create(
        _ folder: String, _ prefix: String, _ mode: mode_t
    ) throws(LayerwiseError) -> (Int32, String) {
        var attempt = 0
        while true {
            let name = "\(folder)/\(prefix)\(getpid())-\(attempt).tmp"
            attempt += 1
            let descriptor = retry { open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode) }
            if descriptor < 0 {
                if errno == EEXIST && attempt < 1000 { continue }
                throw .io("create \(name)", errno)
            }
            // Where locks are not supported, abandoned files are not told from others, and stay.
            _ = retry { flock(descriptor, LOCK_EX) }
            var status = stat()
            let isKnown = fstat(descriptor, &status) == 0
            if isKnown && status.st_nlink > 0 { return (descriptor, name) }
            // Another process took it for abandoned before it was locked.
            let reason = isKnown ? EAGAIN : errno
            close(descriptor)
            unlink(name)
            if !isKnown || attempt >= 1000 { throw .io("look at \(name)", reason) }
        }
    }

    /// Removes the temporary files of processes that are gone.  What cannot be removed stays.
    private static func removeAbandoned(in folder: String, prefix: String) {
        guard let listing = opendir(folder) else { return }
        defer { closedir(listing) }
        while let entry = readdir(listing) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard name.hasPrefix(prefix), name.hasSuffix(".tmp") else { continue }
            let path = "\(folder)/\(name)"
            let descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
            if descriptor < 0 { continue }
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { unlink(path) }
            close(descriptor)
        }
    }

    /// The file that a path leads to; where there is none yet, the place for it.
    private static func resolve(_ path: String) throws(LayerwiseError) -> String {
        if path.isEmpty { throw .io("save to a path without a name", ENOENT) }
        var path = path
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

    private static func retry<Result: SignedInteger>(_ call: () -> Result) -> Result {
        while true {
            let result = call()
            if result >= 0 || errno != EINTR { return result }
        }
    }
}

extension LayerwiseError {
    /// What the operating system said.
    static func io(_ what: String, _ reason: Int32) -> LayerwiseError {
        LayerwiseError(.io, "cannot \(what): \(String(cString: strerror(reason)))")
    }
}
