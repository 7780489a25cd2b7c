// SPDX-License-Identifier: Apache-2.0
import Layerwise

/// Settings drawn from what recipes declare of them: valid ones, and each kind of invalid one.
struct RandomRecipes {
    private var random: Random

    init(seed: UInt64) { random = Random(seed: seed) }

    // MARK: - Valid

    /// A schedule of this kind, with parts of any kind where it takes some.
    mutating func schedule(_ kind: any DeclaredSchedule.Type, depth: Int = 0) -> any DeclaredSchedule {
        while true {
            let spec = spec(kind, depth: depth)
            if let schedule = try? Layerwise.schedule(spec) { return schedule }
        }
    }

    mutating func schedule(depth: Int = 0) -> any DeclaredSchedule {
        let simple = depth < 2 ? allSchedules : allSchedules.filter { $0.declaration.parts == nil }
        return schedule(pick(simple), depth: depth)
    }

    /// A spec that may be valid: each setting is, for itself.
    private mutating func spec(_ kind: any DeclaredSchedule.Type, depth: Int) -> Spec {
        let declaration = kind.declaration
        var spec = Spec(declaration.name, settings(kind))
        switch declaration.name {
        case "sequential", "product":
            for _ in 0..<Int.random(in: 2...3, using: &random) { spec.parts.append(schedule(depth: depth + 1).spec) }
            if declaration.name == "sequential" { spec.values = rising(spec.parts.count - 1) }
        case "warmup" where Bool.random(using: &random): spec.parts = [schedule(depth: depth + 1).spec]
        case "multi_step": spec.values = rising(Int.random(in: 1...4, using: &random))
        case "piecewise":
            spec.values = rising(Int.random(in: 1...4, using: &random)).flatMap {
                [$0, 2 * random.uniform().magnitude]
            }
        case "factor_table":
            spec.values = (0..<Int.random(in: 1...40, using: &random)).map { _ in random.uniform().magnitude }
        default: break
        }
        return spec
    }

    /// Every setting, or some of them.
    mutating func settings<R: Component>(_: R.Type) -> [Setting] {
        let all = Int.random(in: 0..<3, using: &random) == 0
        return R.parameters.compactMap { parameter in
            if !all && Bool.random(using: &random) && (try? parameter.check(parameter.read(R()))) != nil { return nil }
            return setting(parameter)
        }
    }

    private mutating func setting<R: Component>(_ parameter: Parameter<R>) -> Setting {
        switch parameter.kind {
        case .number(let range):
            while true {
                let x = pick([0, 1, 0.5, 0.1, 0.9, 1e-9, 2, 25, 1e4, random.uniform(), 10 * random.uniform()])
                if range.contains(x) { return Setting(parameter.key, x) }
            }
        case .integer(let range):
            let magnitude = Int.random(in: 0...10, using: &random)
            let n = min(range.upperBound, range.lowerBound + Int.random(in: 0...(1 << magnitude), using: &random))
            return Setting(parameter.key, Double(n))
        case .flag: return Setting(parameter.key, Bool.random(using: &random) ? 1 : 0)
        case .choice(let names): return Setting(parameter.key, pick(names))
        case .text: return Setting(parameter.key, "*")
        }
    }

    private mutating func rising(_ count: Int) -> [Double] {
        var last = 0
        return (0..<count).map { _ in
            last += Int.random(in: 1...60, using: &random)
            return Double(last)
        }
    }

    mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: 0..<elements.count, using: &random)]
    }

    /// Steps from the first to the largest that there are, most of them small.
    mutating func steps() -> [Int64] {
        [0, 1, 2, 1 << 52, 1 << 53 - 1, 1 << 53]
            + (0..<60).map { _ in Int64.random(in: 0...(1 << Int64.random(in: 2...53, using: &random)), using: &random)
            }
            + (0..<60).map { Int64($0) }
    }

    // MARK: - Invalid

    /// Values that a setting refuses, each with what its message says of the valid ones.
    static func invalid<R: Component>(_ parameter: Parameter<R>) -> [(Setting, String)] {
        switch parameter.kind {
        case .number(let range):
            let bad = [.nan, .infinity, -.infinity, -1, -1e-300, 0, 1, 1 + 0x1p-52, 2, 1e300].filter {
                !range.contains($0)
            }
            return bad.map { (Setting(parameter.key, $0), "must be in \(range)") }
                + [(Setting(parameter.key, "high"), "takes a number")]
        case .integer(let range):
            let bad = [.nan, .infinity, 0.5, Double(range.lowerBound) - 1, 2 * Double(range.upperBound) + 2, -1e300]
            return bad.map {
                (Setting(parameter.key, $0), "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
            } + [(Setting(parameter.key, "high"), "takes a number")]
        case .flag:
            return [-1, 2, 0.5, .nan].map { (Setting(parameter.key, $0), "must be 0 or 1") }
                + [(Setting(parameter.key, "yes"), "takes a number")]
        case .choice(let names):
            let list = names.joined(separator: ", ")
            return [
                (Setting(parameter.key, "nonsense"), "must be one of \(list)"),
                (Setting(parameter.key, names[0].uppercased()), "must be one of \(list)"),
                (Setting(parameter.key, 0), "takes a name, one of \(list)"),
            ]
        case .text:
            return [
                (Setting(parameter.key, 1), "takes text"),
                (Setting(parameter.key, String(repeating: "x", count: 256)), "must have at most 255 bytes"),
                (Setting(parameter.key, "a\nb"), "must not hold control characters"),
            ]
        }
    }
}
