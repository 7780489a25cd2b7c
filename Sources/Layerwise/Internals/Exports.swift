// SPDX-License-Identifier: Apache-2.0

// Rules are part of what a user of the library imports.
@_exported import LayerwiseRules
