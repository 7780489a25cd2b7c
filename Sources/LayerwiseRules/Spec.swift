// SPDX-License-Identifier: Apache-2.0

/// A component in words, as it crosses the border of the library: from C and Python, and to and from checkpoints.
///
///     Spec("sequential", values: [100], parts: [Spec("linear", …), Spec("cosine", [Setting("total_steps", 900)])])
package struct Spec: Sendable, Hashable {
    /// The name of its kind, such as "cosine".
    package var name: String
    /// Its settings; what is not given is at its default.
    package var settings: [Setting]
    /// Its list of numbers, such as milestones, where its kind has one.
    package var values: [Double]
    /// What it is made of, where its kind has parts.
    package var parts: [Spec]

    /// Creates the description of a component.
    package init(_ name: String, _ settings: [Setting] = [], values: [Double] = [], parts: [Spec] = []) {
        self.name = name
        self.settings = settings
        self.values = values
        self.parts = parts
    }
}
