// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels

// Products of matrices, by blocks that stay in cache.  Each number of a product is one sum of fused multiply-adds in the order of
// the depth, so that its bits depend on neither the threads nor the instruction set.

/// Rows that are worked on together: with a group of lanes each they fill the registers of AVX2.
private let strip = 6

/// The part of a product that `source` describes.  `scratch` holds parts of both factors and the sums.
@inline(__always)
func multiplyMatrices<V: Lanes>(
    _: V.Type, _ source: UnsafePointer<lwk_product>, _ scratch: UnsafeMutableRawPointer
) {
    let product = source.pointee
    let laneBytes = groupBytes / V.count
    let (rows, columns) = (Int(truncatingIfNeeded: product.rows), Int(truncatingIfNeeded: product.columns))
    let depth = Int(truncatingIfNeeded: product.depth)
    let (strips, groups) = ((rows &+ strip &- 1) / strip, (columns &+ V.count &- 1) / V.count)
    let packedA = scratch
    let packedB = packedA + Int(LWK_PRODUCT_ROWS * LWK_PRODUCT_DEPTH) &* laneBytes
    let sums = packedB + Int(LWK_PRODUCT_DEPTH * LWK_PRODUCT_COLUMNS) &* laneBytes
    var start = 0
    while start < depth {
        let count = min(Int(LWK_PRODUCT_DEPTH), depth &- start)
        packRows(V.self, product, start, count, strips, packedA)
        packColumns(V.self, product, start, count, groups, packedB)
        for group in 0..<groups {
            let b = packedB + group &* count &* groupBytes
            for index in 0..<strips {
                let a = packedA + index &* count &* strip &* laneBytes
                let target = sums + (group &* strips &+ index) &* strip &* groupBytes
                multiplyStrip(V.self, a, b, count, isFirst: start == 0, target)
            }
        }
        start &+= count
    }
    for group in 0..<groups {
        for row in 0..<rows {
            let sum = V.load(sums, (group &* strips &* strip &+ row) &* groupBytes)
            finishProduct(product, sum, row, group &* V.count)
        }
    }
}

/// Adds the products of one strip of rows and one group of columns over `count` of the depth to their sums.
@inline(__always)
private func multiplyStrip<V: Lanes>(
    _: V.Type, _ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ count: Int, isFirst: Bool,
    _ sums: UnsafeMutableRawPointer
) {
    var (s0, s1, s2, s3, s4, s5) = (V(0), V(0), V(0), V(0), V(0), V(0))
    if !isFirst {
        (s0, s1, s2) = (V.load(sums, 0), V.load(sums, groupBytes), V.load(sums, 2 &* groupBytes))
        (s3, s4) = (V.load(sums, 3 &* groupBytes), V.load(sums, 4 &* groupBytes))
        s5 = V.load(sums, 5 &* groupBytes)
    }
    var index = 0
    while index < count {
        let values = V.load(b, index &* groupBytes)
        let place = index &* strip
        s0 = V.fma(V.broadcast(a, place), values, s0)
        s1 = V.fma(V.broadcast(a, place &+ 1), values, s1)
        s2 = V.fma(V.broadcast(a, place &+ 2), values, s2)
        s3 = V.fma(V.broadcast(a, place &+ 3), values, s3)
        s4 = V.fma(V.broadcast(a, place &+ 4), values, s4)
        s5 = V.fma(V.broadcast(a, place &+ 5), values, s5)
        index &+= 1
    }
    s0.store(sums, 0)
    s1.store(sums, groupBytes)
    s2.store(sums, 2 &* groupBytes)
    s3.store(sums, 3 &* groupBytes)
    s4.store(sums, 4 &* groupBytes)
    s5.store(sums, 5 &* groupBytes)
}

/// A's rows by strips, and in each the numbers of one column side by side; rows behind the last are 0.
@inline(__always)
private func packRows<V: Lanes>(
    _: V.Type, _ product: lwk_product, _ start: Int, _ count: Int, _ strips: Int, _ target: UnsafeMutableRawPointer
) {
    let rows = Int(truncatingIfNeeded: product.rows)
    let (rowStep, columnStep) = (
        Int(truncatingIfNeeded: product.a_row_step), Int(truncatingIfNeeded: product.a_column_step)
    )
    let laneBytes = groupBytes / V.count
    for row in 0..<strips &* strip {
        let own = target + (row / strip &* count &* strip &+ row % strip) &* laneBytes
        if row >= rows {
            for index in 0..<count { copyZero(V.self, own + index &* strip &* laneBytes) }
            continue
        }
        let source = product.a + (row &* rowStep &+ start &* columnStep) &* laneBytes
        for index in 0..<count {
            copyNumber(V.self, source + index &* columnStep &* laneBytes, own + index &* strip &* laneBytes)
        }
    }
}

/// B's columns by groups of lanes, and in each one row behind the other; columns behind the last are 0.
@inline(__always)
private func packColumns<V: Lanes>(
    _: V.Type, _ product: lwk_product, _ start: Int, _ count: Int, _ groups: Int, _ target: UnsafeMutableRawPointer
) {
    let columns = Int(truncatingIfNeeded: product.columns)
    let (rowStep, columnStep) = (
        Int(truncatingIfNeeded: product.b_row_step), Int(truncatingIfNeeded: product.b_column_step)
    )
    let laneBytes = groupBytes / V.count
    for group in 0..<groups {
        let own = target + group &* count &* groupBytes
        let first = group &* V.count
        let source = product.b + (start &* rowStep &+ first &* columnStep) &* laneBytes
        if columnStep == 1 && first &+ V.count <= columns {
            for index in 0..<count { V.load(source, index &* rowStep &* laneBytes).store(own, index &* groupBytes) }
            continue
        }
        for lane in 0..<V.count {
            let place = own + lane &* laneBytes
            if first &+ lane >= columns {
                for index in 0..<count { copyZero(V.self, place + index &* groupBytes) }
                continue
            }
            let column = source + lane &* columnStep &* laneBytes
            for index in 0..<count {
                copyNumber(V.self, column + index &* rowStep &* laneBytes, place + index &* groupBytes)
            }
        }
    }
}

/// Writes alpha · sum + beta · D for one row and one group of columns.
@inline(__always)
private func finishProduct<V: Lanes>(_ product: lwk_product, _ sum: V, _ row: Int, _ column: Int) {
    let laneBytes = groupBytes / V.count
    let step = Int(truncatingIfNeeded: product.c_row_step)
    let count = min(V.count, Int(truncatingIfNeeded: product.columns) &- column)
    let place = (row &* step &+ column) &* laneBytes
    var result = sum
    if let d = product.d {
        var own = V(0)
        if count == V.count {
            own = V.load(d, place)
        } else {
            withUnsafeMutableBytes(of: &own) { memory in
                guard let memory = memory.baseAddress else { return }
                for lane in 0..<count {
                    copyNumber(V.self, d + (place &+ lane &* laneBytes), memory + lane &* laneBytes)
                }
            }
        }
        result = V.fma(V(product.alpha), sum, V(product.beta) * own)
    } else if product.alpha != 1 {
        result = V(product.alpha) * sum
    }
    if count == V.count && product.mirror == nil { return result.store(product.c, place) }
    withUnsafeBytes(of: &result) { memory in
        guard let memory = memory.baseAddress else { return }
        for lane in 0..<count {
            let number = memory + lane &* laneBytes
            copyNumber(V.self, number, product.c + (place &+ lane &* laneBytes))
            if let mirror = product.mirror {
                copyNumber(V.self, number, mirror + ((column &+ lane) &* step &+ row) &* laneBytes)
            }
        }
    }
}

@inline(__always)
private func copyNumber<V: Lanes>(_: V.Type, _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer) {
    if V.count == 16 {
        target.storeBytes(of: source.loadUnaligned(as: UInt32.self), as: UInt32.self)
    } else {
        target.storeBytes(of: source.loadUnaligned(as: UInt64.self), as: UInt64.self)
    }
}

@inline(__always)
private func copyZero<V: Lanes>(_: V.Type, _ target: UnsafeMutableRawPointer) {
    if V.count == 16 {
        target.storeBytes(of: 0, as: UInt32.self)
    } else {
        target.storeBytes(of: 0, as: UInt64.self)
    }
}
