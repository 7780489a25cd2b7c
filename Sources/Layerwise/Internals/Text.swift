// SPDX-License-Identifier: Apache-2.0

/// Columns side by side: names and words to the left, numbers to the right.
func table(_ rows: [[String]]) -> String {
    let left: Set<String> = ["layer", "tower", "from", "state"]
    let header = rows.first ?? []
    let widths = header.indices.map { column in rows.map { $0[column].unicodeScalars.count }.max() ?? 0 }
    return rows.map { row in
        let cells = row.indices.map { column in
            let space = String(repeating: " ", count: widths[column] - row[column].unicodeScalars.count)
            return left.contains(header[column]) ? row[column] + space : space + row[column]
        }
        var line = cells.joined(separator: "  ")
        while line.last == " " { line.removeLast() }
        return line
    }.joined(separator: "\n") + "\n"
}

/// A number to four significant digits.
func text(_ x: Double) -> String {
    if x.isNaN { return "nan" }
    if x.isInfinite { return x > 0 ? "inf" : "-inf" }
    if x == 0 { return "0" }
    var exponent = 0
    var mantissa = x.magnitude
    while mantissa >= 10 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
    while mantissa < 1 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
    var digits = Int((mantissa * 1000).rounded())
    if digits == 10000 { (digits, exponent) = (1000, exponent + 1) }
    let sign = x < 0 ? "-" : ""
    let all = String(digits)
    func trimmed(_ whole: String, _ fraction: String) -> String {
        var fraction = Substring(fraction)
        while fraction.last == "0" { fraction.removeLast() }
        return fraction.isEmpty ? whole : "\(whole).\(fraction)"
    }
    if exponent < -4 || exponent > 5 {
        let magnitude = exponent.magnitude < 10 ? "0\(exponent.magnitude)" : "\(exponent.magnitude)"
        return sign + trimmed(String(all.prefix(1)), String(all.dropFirst())) + "e" + (exponent < 0 ? "-" : "+")
            + magnitude
    }
    if exponent < 0 { return sign + trimmed("0", String(repeating: "0", count: -exponent - 1) + all) }
    if exponent >= 3 { return sign + all + String(repeating: "0", count: exponent - 3) }
    return sign + trimmed(String(all.prefix(exponent + 1)), String(all.dropFirst(exponent + 1)))
}
