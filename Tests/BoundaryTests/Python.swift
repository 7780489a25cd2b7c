// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc

/// The interpreter of the system's python3, inside this process.
struct Python {
    struct Missing: Error, CustomStringConvertible {
        let description: String
    }

    /// There can be one only, and it stays.
    static let shared = Result { try Python() }

    private let runString: @convention(c) (UnsafePointer<CChar>) -> Int32

    private init() throws {
        let version = try Checkout.run(
            ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
        let name = version.output.trimmingCharacters(in: .whitespacesAndNewlines)
        let library = "libpython\(name).so.1.0"
        // The interpreter's own extension modules look for its symbols among those that are open to all.
        guard version.status == 0, let handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL) else {
            throw Missing(
                description: "\(library) cannot be loaded: install the Debian package libpython\(name).  "
                    + String(cString: dlerror()))
        }
        guard let initialize = dlsym(handle, "Py_InitializeEx"), let run = dlsym(handle, "PyRun_SimpleString") else {
            throw Missing(description: "\(library) lacks Py_InitializeEx or PyRun_SimpleString")
        }
        runString = unsafeBitCast(run, to: (@convention(c) (UnsafePointer<CChar>) -> Int32).self)
        // Without Python's signal handlers.
        unsafeBitCast(initialize, to: (@convention(c) (Int32) -> Void).self)(0)
    }

    /// Runs a script; false where it raised, and then its traceback went to the standard error output.
    func run(_ script: String) -> Bool { runString(script) == 0 }
}
