// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Layerwise
import XCTest

/// A file that is replaced as a whole: where it lands, with which rights, and what is left beside it, which is nothing.
final class AtomicFileTests: XCTestCase {
    private var folder: URL!
    private var model: Model!

    override func setUpWithError() throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        model = try smallCheckpointModel()
    }

    override func tearDownWithError() throws {
        chmod(folder.path, 0o755)
        try FileManager.default.removeItem(at: folder)
    }

    private func path(_ name: String) -> String { folder.appendingPathComponent(name).path }

    private func contents() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    }

    private func mode(_ path: String) -> mode_t {
        var status = stat()
        XCTAssertEqual(stat(path, &status), 0)
        return status.st_mode & 0o7777
    }

    private func assertSaved(_ path: String, file: StaticString = #filePath, line: UInt = #line) throws {
        XCTAssertEqual(
            Array(try Data(contentsOf: URL(fileURLWithPath: path))), try model.optimizer.exported(), file: file,
            line: line)
    }

    func testNewAndOldFile() throws {
        let mask = umask(0o027)
        defer { umask(mask) }
        try model.optimizer.save(to: path("new"))
        try assertSaved(path("new"))
        XCTAssertEqual(mode(path("new")), 0o640)
        for mode: mode_t in [0o600, 0o644, 0o666, 0o444, 0o400, 0o755, 0o4711] {
            XCTAssertEqual(chmod(path("new"), mode), 0)
            try model.optimizer.step()
            try model.optimizer.save(to: path("new"))
            try assertSaved(path("new"))
            XCTAssertEqual(self.mode(path("new")), mode)
        }
        XCTAssertEqual(try contents(), ["new"])
    }

    /// A reader that has the old file open keeps it.
    func testOpenFileStays() throws {
        try model.optimizer.save(to: path("run"))
        let old = try model.optimizer.exported()
        let reader = try FileHandle(forReadingFrom: URL(fileURLWithPath: path("run")))
        defer { try? reader.close() }
        try model.optimizer.step()
        try model.optimizer.save(to: path("run"))
        XCTAssertEqual(Array(try XCTUnwrap(reader.readToEnd())), old)
        try assertSaved(path("run"))
    }

    func testLinksAreFollowed() throws {
        try FileManager.default.createDirectory(atPath: path("deep"), withIntermediateDirectories: true)
        XCTAssertEqual(symlink("deep/target", path("relative")), 0)
        XCTAssertEqual(symlink(path("relative"), path("absolute")), 0)
        // First with no file behind them, then with one.
        for link in ["relative", "absolute"] {
            for _ in 0..<2 {
                try model.optimizer.step()
                try model.optimizer.save(to: path(link))
                try assertSaved(path("deep/target"))
                var status = stat()
                XCTAssertEqual(lstat(path(link), &status), 0)
                XCTAssertEqual(status.st_mode & S_IFMT, S_IFLNK, link)
            }
            unlink(path("deep/target"))
        }
        XCTAssertEqual(try contents(), ["absolute", "deep", "relative"])
        XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: path("deep")), [])
    }

    func testRefusedPlaces() throws {
        XCTAssertEqual(symlink(path("loop"), path("loop")), 0)
        XCTAssertEqual(mkfifo(path("pipe"), 0o600), 0)
        try FileManager.default.createDirectory(atPath: path("deep"), withIntermediateDirectories: true)
        try model.optimizer.save(to: path("file"))
        let before = try contents()
        for (place, message) in [
            ("", "cannot save to a path without a name: No such file or directory"),
            (path("missing/run"), nil), (path("file/run"), nil), (path("loop"), nil),
            (path("deep"), "cannot replace \(path("deep")): not a regular file"),
            (path("deep") + "/", "cannot replace \(path("deep")): not a regular file"),
            (path("pipe"), "cannot replace \(path("pipe")): not a regular file"),
            ("/dev/null", "cannot replace /dev/null: not a regular file"),
            (path(String(repeating: "n", count: 256)), nil), (path(String(repeating: "d/", count: 2100) + "x"), nil),
        ] {
            XCTAssertThrowsError(try model.optimizer.save(to: place), place) {
                XCTAssertEqual(($0 as? LayerwiseError)?.code, .io, "\($0)")
                XCTAssertTrue("\($0)".hasPrefix("cannot "), "\($0)")
                if let message { XCTAssertEqual("\($0)", message) }
            }
            XCTAssertEqual(try contents(), before, place)
        }
        try assertSaved(path("file"))
    }

    /// Names as long as they may be, and of any kind; a temporary name is never longer than they are allowed to be.
    func testNames() throws {
        let names = [
            String(repeating: "n", count: 255), "a b", "\u{e9}\u{1f642}", "\u{301}", ".hidden", "-", "x.tmp",
            ".layerwise-1-2-3.tmp", "%2F",
        ]
        for name in names {
            try model.optimizer.save(to: path(name))
            try assertSaved(path(name))
        }
        XCTAssertEqual(try contents(), names.sorted())
    }

    func testRelativePath() throws {
        let name = "\(UUID().uuidString).checkpoint"
        defer { unlink(name) }
        try model.optimizer.save(to: name)
        try assertSaved(name)
        try model.optimizer.save(to: "./\(name)")
        try assertSaved(name)
    }

    /// What a killed process left behind goes with the next save to the same path; what another is writing, and what only
    /// looks alike, stays.
    func testAbandonedFilesAreRemoved() throws {
        // The second is one character together with the slash before it, for who counts characters.
        for name in [String(repeating: "n", count: 250), "\u{301}"] {
            try checkAbandonedFiles(of: name)
            try FileManager.default.removeItem(at: folder)
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        }
    }

    private func checkAbandonedFiles(of name: String) throws {
        let prefix = ".layerwise-\(checksumText(name.utf8))-"
        let stays = [
            ".layerwise-\(checksumText("other".utf8))-77-0.tmp", "\(prefix)77-0.tmp.bak", "x\(prefix)77-0.tmp",
            "\(prefix)77-9.temp",
        ]
        for other in stays { XCTAssertTrue(FileManager.default.createFile(atPath: path(other), contents: Data([1]))) }
        for number in 0..<5 {
            XCTAssertTrue(
                FileManager.default.createFile(atPath: path("\(prefix)77-\(number).tmp"), contents: Data([1])))
        }
        let writing = path("\(prefix)\(getpid())-0.tmp")
        let other = open(writing, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        XCTAssertGreaterThanOrEqual(other, 0)
        defer { close(other) }
        XCTAssertEqual(flock(other, LOCK_EX), 0)
        // A link to a file elsewhere is neither followed nor removed.
        XCTAssertEqual(symlink(path(stays[0]), path("\(prefix)77-6.tmp")), 0)
        try model.optimizer.save(to: path(name))
        try assertSaved(path(name))
        XCTAssertEqual(
            try contents(), (stays + [name, "\(prefix)77-6.tmp", "\(prefix)\(getpid())-0.tmp"]).sorted())
        XCTAssertEqual(flock(other, LOCK_UN), 0)
        try model.optimizer.save(to: path(name))
        XCTAssertEqual(try contents(), (stays + [name, "\(prefix)77-6.tmp"]).sorted())
    }

    /// A folder in which nothing can be created: the old file stays as it is.
    func testFolderThatCannotBeWritten() throws {
        try model.optimizer.save(to: path("run"))
        let old = try Data(contentsOf: URL(fileURLWithPath: path("run")))
        try model.optimizer.step()
        XCTAssertEqual(chmod(folder.path, 0o555), 0)
        // The superuser may write everywhere.
        if geteuid() != 0 {
            XCTAssertThrowsError(try model.optimizer.save(to: path("run"))) {
                XCTAssertEqual(($0 as? LayerwiseError)?.code, .io)
                XCTAssertTrue("\($0)".hasSuffix("Permission denied"), "\($0)")
            }
            XCTAssertEqual(try Data(contentsOf: URL(fileURLWithPath: path("run"))), old)
        }
        XCTAssertEqual(try contents(), ["run"])
    }

    /// A disk that is full from the first byte on: the error says so, and nothing is left.
    func testFileSizeLimit() throws {
        try model.optimizer.save(to: path("run"))
        let old = try Data(contentsOf: URL(fileURLWithPath: path("run")))
        try model.optimizer.step()
        var limit = rlimit()
        XCTAssertEqual(getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit), 0)
        // The signal's action is the default, which would end this process.
        XCTAssertFalse(isBlockedOrPending())
        for room in [0, 1, 100, old.count - 1] {
            var small = rlimit(rlim_cur: rlim_t(room), rlim_max: limit.rlim_max)
            XCTAssertEqual(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &small), 0)
            let result = Result { try model.optimizer.save(to: path("run")) }
            XCTAssertEqual(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit), 0)
            XCTAssertThrowsError(try result.get(), "\(room) bytes") {
                XCTAssertEqual(($0 as? LayerwiseError)?.code, .io)
                XCTAssertTrue("\($0)".hasPrefix("cannot write "), "\($0)")
                XCTAssertTrue("\($0)".hasSuffix("File too large"), "\($0)")
            }
            XCTAssertEqual(try Data(contentsOf: URL(fileURLWithPath: path("run"))), old)
            XCTAssertEqual(try contents(), ["run"])
        }
        XCTAssertFalse(isBlockedOrPending())
        // One that the caller has blocked, and that waits for it, stays.
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGXFSZ)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        pthread_kill(pthread_self(), SIGXFSZ)
        var small = rlimit(rlim_cur: 1, rlim_max: limit.rlim_max)
        XCTAssertEqual(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &small), 0)
        let result = Result { try model.optimizer.save(to: path("run")) }
        XCTAssertEqual(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit), 0)
        XCTAssertThrowsError(try result.get())
        var (none, pending) = (timespec(), sigset_t())
        sigpending(&pending)
        XCTAssertEqual(sigismember(&pending, SIGXFSZ), 1)
        XCTAssertEqual(sigtimedwait(&signals, nil, &none), SIGXFSZ)
        pthread_sigmask(SIG_UNBLOCK, &signals, nil)
        try model.optimizer.save(to: path("run"))
        try assertSaved(path("run"))
    }

    private func isBlockedOrPending() -> Bool {
        var (blocked, pending) = (sigset_t(), sigset_t())
        pthread_sigmask(SIG_BLOCK, nil, &blocked)
        sigpending(&pending)
        return sigismember(&blocked, SIGXFSZ) == 1 || sigismember(&pending, SIGXFSZ) == 1
    }

    /// No descriptor is left open, by what succeeds or fails.
    func testDescriptors() throws {
        func open() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }
        let before = try open()
        for _ in 0..<20 {
            try model.optimizer.save(to: path("run"))
            try model.optimizer.load(from: path("run"))
            _ = try describeCheckpoint(at: path("run"))
            XCTAssertThrowsError(try model.optimizer.save(to: folder.path))
            XCTAssertThrowsError(try model.optimizer.load(from: folder.path))
            XCTAssertThrowsError(try model.optimizer.save(to: path("missing/run")))
        }
        XCTAssertEqual(try open(), before)
    }
}
