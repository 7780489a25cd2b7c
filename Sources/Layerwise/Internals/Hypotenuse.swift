// SPDX-License-Identifier: Apache-2.0

/// √(x² + y²) of numbers that are not negative, also where their squares leave the range of numbers.
///
/// The C library's `hypot` would bind the library to glibc 2.35.
func hypotenuse(_ x: Double, _ y: Double) -> Double {
    let (largest, smallest) = (max(x, y), min(x, y))
    if !(largest > 0 && largest < .infinity) { return x + y }
    let ratio = smallest / largest
    return largest * (1 + ratio * ratio).squareRoot()
}
