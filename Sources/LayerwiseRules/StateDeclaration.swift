// SPDX-License-Identifier: Apache-2.0

/// One state that a rule may keep between steps.
///
/// The library allocates, starts, lists, reads, writes, saves, loads and converts a state by its declaration alone.
package struct StateDeclaration: Sendable, Equatable {
    /// How many numbers a state has.
    package enum Shape: String, Sendable {
        /// One for each number of the parameter, in the shape of the parameter and in the type of its lanes.
        case parameter
        /// One for each row of a tensor of rank 2 and more, in the type of its lanes: shape […, R, 1] for […, R, C].  With the
        /// `columns` it stands for a state of the parameter's shape, which is their product over the mean of the rows.
        case rows
        /// One for each column of each matrix: shape […, 1, C].
        case columns
        /// An average for each row, of a tensor of any rank, which stands for a state of the parameter's shape: shape […, R, 1] for
        /// […, R, C].  A tensor of rank 0 or 1 is one row.
        case rowMeans = "row_means"
        /// One for each place along each axis, side by side from the first axis to the last, and one for a tensor of rank 0.  It
        /// stands for a state of the parameter's shape: the least of an element's axes.
        case axes
        /// One for every p-th number of the parameter in row-major order, from the first on, where p is a hyperparameter:
        /// shape [ceil(n / p)], or the parameter's where p is 1.
        case strided
        /// One float64 for each tensor, which the rule's `advance` computes.
        case scalar
        /// One float64 for the optimizer, which the rule's `advance` computes when a stage over the optimizer is done.
        case shared

        /// Whether it is an array in the type of the parameter's lanes, and not one number.
        package var isArray: Bool { hasSlot || standsForWhole }

        /// Whether it is an array that kernels read as it lies in memory.
        package var hasSlot: Bool { self == .parameter || self == .strided }

        /// Whether it stands, alone or with another, for a state of the parameter's shape.
        package var standsForWhole: Bool {
            switch self {
            case .rows, .columns, .rowMeans, .axes: true
            case .parameter, .strided, .scalar, .shared: false
            }
        }
    }

    /// What a state is before the first step, and after a reset.
    package enum Start: Sendable, Equatable {
        case value(Double)
        /// The value of the rule's hyperparameter of this key.
        case setting(String)
        /// The parameters, as they are at the tensor's first step.
        case parameters
    }

    /// The key in checkpoints and in the C API, such as "exp_avg".
    package let name: String
    /// Whether it has the parameter's shape, rows or columns of it, or is one number.
    package let shape: Shape
    /// What it starts at.
    package let start: Start
    /// The state's place among the rule's states of this kind of memory: `lwk_tile.states` for `parameter` and `strided`, and
    /// `StateScalars` for `scalar`, `SharedScalars` for `shared`.  `rows` and `columns` have the place of what they stand for.
    package fileprivate(set) var slot = 0
    /// Of strided states: the hyperparameter that is the distance of their elements in the parameter.
    package private(set) var strideKey: String?
    /// Of rows and columns: whether they are the rule's first pair, 0, or its second, 1.
    package fileprivate(set) var pair = 0

    /// Whether rows stand for no declared state of the parameter's shape, and have a slot of their own.
    private var opensSlot = false

    private init(_ name: String, _ shape: Shape, _ start: Start) {
        self.name = name
        self.shape = shape
        self.start = start
    }

    /// As many numbers as the parameter has, which start at `value`.
    package static func parameter(_ name: String, start value: Double = 0) -> Self {
        Self(name, .parameter, .value(value))
    }

    /// A number for every p-th of the parameters, which starts at 0.  p is the hyperparameter `key`, the same for all such states of a
    /// rule; it cannot change once a tensor has them.
    package static func strided(_ name: String, by key: String) -> Self { strided(name, .value(0), key) }

    /// A copy of every p-th of the parameters.
    package static func stridedCopy(_ name: String, by key: String) -> Self { strided(name, .parameters, key) }

    private static func strided(_ name: String, _ start: Start, _ key: String) -> Self {
        var state = Self(name, .strided, start)
        state.strideKey = key
        return state
    }

    /// A copy of the parameters.
    package static func parameterCopy(_ name: String) -> Self { Self(name, .parameter, .parameters) }

    /// An average of squares: as many numbers as the parameter has, called `whole`, or rows and columns in their place.  A rule
    /// has at most two; its `states(of:)` says which tensors have rows and columns.
    package static func factored(_ whole: String, rows: String, columns: String) -> [Self] {
        [.parameter(whole), Self(rows, .rows, .value(0)), Self(columns, .columns, .value(0))]
    }

    /// Rows and columns for an average of numbers that only tensors of rank 2 and more have.
    package static func factored(rows: String, columns: String) -> [Self] {
        var first = Self(rows, .rows, .value(0))
        first.opensSlot = true
        return [first, Self(columns, .columns, .value(0))]
    }

    /// An average of squares that the elements of each row share.
    package static func rowMeans(_ name: String) -> Self {
        var state = Self(name, .rowMeans, .value(0))
        state.opensSlot = true
        return state
    }

    /// A largest number for each place along each axis.
    package static func axes(_ name: String) -> Self {
        var state = Self(name, .axes, .value(0))
        state.opensSlot = true
        return state
    }

    /// One number for each tensor, which starts at `value`.
    package static func scalar(_ name: String, start value: Double) -> Self { Self(name, .scalar, .value(value)) }

    /// One number for the optimizer, which starts at `value`.
    package static func shared(_ name: String, start value: Double) -> Self { Self(name, .shared, .value(value)) }

    /// One number for the optimizer, which starts at a hyperparameter.
    package static func shared(_ name: String, startKey key: String) -> Self { Self(name, .shared, .setting(key)) }

    /// Each declaration with its slot.
    static func slotted(_ states: [StateDeclaration]) -> [StateDeclaration] {
        var next: [Shape: Int] = [:]
        return states.map { state in
            var state = state
            if state.shape.standsForWhole {
                if state.opensSlot { next[.parameter, default: 0] += 1 }
                state.slot = next[.parameter, default: 1] - 1
                state.pair = next[state.shape, default: 0]
                next[state.shape] = state.pair + 1
            } else {
                let memory = state.shape.hasSlot ? Shape.parameter : state.shape
                state.slot = next[memory, default: 0]
                next[memory] = state.slot + 1
            }
            return state
        }
    }
}

/// The optimizer's states of shape `shared`, by slot.
package typealias SharedScalars = SIMD8<Double>

/// A tensor's states of shape `scalar`, by slot.
package typealias StateScalars = SIMD2<Double>

/// Which of the states that a rule declares a tensor has: bit i stands for the i-th declaration.
package struct StateSet: OptionSet, Sendable, BitwiseCopyable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The `index`-th declared state alone.
    package static func state(_ index: Int) -> Self { Self(rawValue: 1 << UInt32(truncatingIfNeeded: index)) }

    /// The first `count` declared states.
    package static func first(_ count: Int) -> Self { Self(rawValue: 1 << UInt32(truncatingIfNeeded: count) - 1) }
}
