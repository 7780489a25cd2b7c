// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

extension Optimizer {
    /// A text table, one row a layer: what it is, what it will get at the next step and why, and its norms at the last step
    /// where telemetry is on.
    public func explain() throws(LayerwiseError) -> String {
        var header = ["layer", "depth", "tensors", "parameters", "scale", "from", "rate", "decay", "steps", "state"]
        if settings.telemetry { header += ["|g|", "|w|", "|dw|/|w|", "trust"] }
        var rows = [header]
        for layer in 0..<entries.count {
            let info = try info(layer)
            var row = [
                info.name, String(info.depth), String(info.tensorCount), String(info.parameterCount), text(info.scale),
                info.scaleSource.rawValue, text(info.effectiveRate), text(info.weightDecay), String(info.steps),
                info.frozen ? "frozen" : "active",
            ]
            if settings.telemetry {
                let telemetry = layers.elements[layer].telemetry
                row += [
                    text(telemetry.gradientNorm), text(telemetry.weightNorm), text(telemetry.updateRatio),
                    text(telemetry.trustRatio),
                ]
            }
            rows.append(row)
        }
        let title =
            "\(type(of: rule).declaration.title), base rate \(text(rule.learningRate)), policy \(type(of: policy).name), "
            + "step \(summary.steps)"
        return title + "\n" + table(rows)
    }
}

/// Columns side by side: names and words to the left, numbers to the right.
private func table(_ rows: [[String]]) -> String {
    let left: Set<String> = ["layer", "from", "state"]
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
