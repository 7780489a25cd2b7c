// SPDX-License-Identifier: Apache-2.0
import LayerwisePlatform

/// The eigenvalues of a symmetric matrix, in float64 and without vectors: Householder's reduction to three diagonals, and implicit QL
/// steps with Wilkinson's shifts (Wilkinson and Reinsch 1971, II/2 and II/3).
enum Eigenvalues {
    /// The eigenvalues of the n × n matrix in `matrix`, which is overwritten, rising; nil if they do not converge, as where numbers
    /// are not finite, or if it is cancelled.
    static func of(
        _ matrix: UnsafeMutablePointer<Double>, _ n: Int, isCancelled: () -> Bool = { false }
    ) -> [Double]? {
        if n == 0 { return [] }
        var diagonal = [Double](repeating: 0, count: n)
        var beside = [Double](repeating: 0, count: n)
        if !reduce(matrix, n, &diagonal, &beside, isCancelled) { return nil }
        return solve(&diagonal, &beside) ? diagonal.sorted() : nil
    }

    /// Leaves the diagonal, and in `beside[j]` what is beside it in rows j and j + 1; false if it was cancelled.
    private static func reduce(
        _ a: UnsafeMutablePointer<Double>, _ n: Int, _ diagonal: inout [Double], _ beside: inout [Double],
        _ isCancelled: () -> Bool
    ) -> Bool {
        var v = [Double](repeating: 0, count: n)
        var w = [Double](repeating: 0, count: n)
        for column in 0..<max(0, n - 2) {
            if column % 16 == 0 && isCancelled() { return false }
            var square = 0.0
            for row in column + 1..<n {
                v[row] = a[row * n + column]
                square += v[row] * v[row]
            }
            let norm = square.squareRoot()
            if norm == 0 { continue }
            let edge = v[column + 1] > 0 ? -norm : norm
            v[column + 1] -= edge
            // v·v = 2 · (square − edge · first)
            let beta = 1 / (square - edge * (v[column + 1] + edge))
            for row in column + 1..<n { w[row] = 0 }
            v.withUnsafeBufferPointer { v in
                w.withUnsafeMutableBufferPointer { w in
                    for row in column + 1..<n {
                        let factor = beta * v[row]
                        let own = a + row * n
                        for other in column + 1..<n { w[other] += factor * own[other] }
                    }
                    var product = 0.0
                    for row in column + 1..<n { product += v[row] * w[row] }
                    let half = 0.5 * beta * product
                    for row in column + 1..<n { w[row] -= half * v[row] }
                    for row in column + 1..<n {
                        let own = a + row * n
                        let (x, y) = (v[row], w[row])
                        for other in column + 1..<n { own[other] -= x * w[other] + y * v[other] }
                    }
                }
            }
            beside[column] = edge
        }
        for row in 0..<n { diagonal[row] = a[row * n + row] }
        if n > 1 { beside[n - 2] = a[(n - 1) * n + n - 2] }
        return true
    }

    private static func solve(_ d: inout [Double], _ e: inout [Double]) -> Bool {
        let n = d.count
        for first in 0..<n {
            var rounds = 0
            while true {
                var m = first
                while m < n - 1 {
                    let size = d[m].magnitude + d[m + 1].magnitude
                    if e[m].magnitude <= 0x1p-53 * size { break }
                    m += 1
                }
                if m == first { break }
                rounds += 1
                // Far more than any finite matrix needs; NaN never ends otherwise.
                if rounds > 60 { return false }
                step(&d, &e, first, m)
            }
            if !d[first].isFinite { return false }
        }
        return true
    }

    /// One implicit QL step on rows `first` to `m`.
    private static func step(_ d: inout [Double], _ e: inout [Double], _ first: Int, _ m: Int) {
        var g = (d[first + 1] - d[first]) / (2 * e[first])
        var r = hypotenuse(g.magnitude, 1)
        g = d[m] - d[first] + e[first] / (g + (g < 0 ? -r : r))
        var (s, c, p) = (1.0, 1.0, 0.0)
        var row = m - 1
        while row >= first {
            let f = s * e[row]
            let b = c * e[row]
            r = hypotenuse(f.magnitude, g.magnitude)
            e[row + 1] = r
            if r == 0 {
                d[row + 1] -= p
                e[m] = 0
                return
            }
            s = f / r
            c = g / r
            g = d[row + 1] - p
            r = (d[row] - g) * s + 2 * c * b
            p = s * r
            d[row + 1] = g + p
            g = c * r - b
            row -= 1
        }
        d[first] -= p
        e[first] = g
        e[m] = 0
    }
}
