// SPDX-License-Identifier: Apache-2.0
import CLayerwise
import Layerwise

@_cdecl("lw_use_blas") @implementation
public func lw_use_blas(_ path: UnsafePointer<CChar>!, _ error: UnsafeMutablePointer<lw_error>!) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        try BLAS.use(path: path == nil ? nil : try string(path, "path"))
    }
}

@_cdecl("lw_use_blas_functions") @implementation
public func lw_use_blas_functions(
    _ sgemm: lw_sgemm!, _ dgemm: lw_dgemm!, _ sbgemm: lw_sbgemm!, _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in
        guard let sgemm else { throw LayerwiseError(.invalidArgument, "sgemm is NULL") }
        BLAS.use(sgemm: sgemm, dgemm: dgemm, sbgemm: sbgemm)
    }
}

@_cdecl("lw_blas") @implementation
public func lw_blas(
    _ text: UnsafeMutablePointer<CChar>!, _ capacity: Int64, _ needed: UnsafeMutablePointer<Int64>!,
    _ error: UnsafeMutablePointer<lw_error>!
) -> Int32 {
    boundary(error) { () throws(LayerwiseError) in try copy(BLAS.name, text, capacity, needed) }
}
