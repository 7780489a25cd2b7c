// SPDX-License-Identifier: Apache-2.0
import LayerwiseRules

/// What a checkpoint holds.
public struct SaveOptions: Configurable {
    /// The parameters too.
    public var parameters: Bool
    /// Refuse to save a NaN or an infinity.
    public var requireFinite: Bool

    /// Creates the options.
    public init(parameters: Bool = false, requireFinite: Bool = false) {
        self.parameters = parameters
        self.requireFinite = requireFinite
    }

    package static let parameters: [Parameter<Self>] = [
        .flag("parameters", \.parameters, "the parameters too"),
        .flag("require_finite", \.requireFinite, "refuse to save a NaN or an infinity"),
    ]
}

// Tensors are written straight from the memory in which they are kept, so a save takes no second copy of the state.

extension Optimizer {
    /// Saves everything that the next step depends on, so that a run which resumes goes on with the same bits.
    ///
    /// The file at `path` is the old one or the new one, complete, whatever happens meanwhile; when the call returns, the new
    /// one is on the disk.
    public func save(to path: String, _ options: SaveOptions = SaveOptions()) throws(LayerwiseError) {
        try requireMemory()
        let pieces = try piecesToSave(options)
        let header = try header(of: pieces, checksums: pieces.map { Checksum.crc32c($0.bytes) })
        var file = try AtomicFile.replacing(path)
        try header.withBytes { bytes throws(LayerwiseError) in try file.write(bytes) }
        for piece in pieces { try file.write(piece.bytes) }
        try file.commit()
    }

    /// Writes into memory what `save` writes into a file, if it is large enough; returns the bytes that it takes.
    public func export(
        into target: UnsafeMutableRawBufferPointer, _ options: SaveOptions = SaveOptions()
    ) throws(LayerwiseError) -> Int {
        try requireMemory()
        let pieces = try piecesToSave(options)
        let data = pieces.reduce(0) { $0 + $1.bytes.count }
        // All checksums are equally long.
        let size = try header(of: pieces, checksums: pieces.map { _ in 0 }).size + data
        if target.count < size { return size }
        var rest = target[...]
        func put(_ bytes: UnsafeRawBufferPointer) {
            UnsafeMutableRawBufferPointer(rebasing: rest.prefix(bytes.count)).copyMemory(from: bytes)
            rest = rest.dropFirst(bytes.count)
        }
        let header = try header(of: pieces, checksums: pieces.map { Checksum.crc32c($0.bytes) })
        try header.withBytes { bytes throws(LayerwiseError) in put(bytes) }
        for piece in pieces { put(piece.bytes) }
        return size
    }

    /// Refuses a save or load if there is no memory for a header and what it is made of.
    ///
    /// To make one takes up to 13.5 times its bytes, and to refuse another optimizer's as much: measured at 5 to 5,000 tensors,
    /// with names of 1 to 255 bytes and two to four states.
    func requireMemory() throws(LayerwiseError) {
        var header = 4096
        for (layer, entry) in entries.enumerated() {
            let states = declaredStates(of: layer).count + 5
            header += 512
            for tensor in entry.tensors {
                // Each key stands there twice, with escapes.
                header += states * (4 * (entry.name.utf8.count + tensor.name.utf8.count) + 256)
            }
        }
        try Memory.require(16 * header)
    }

    private func piecesToSave(_ options: SaveOptions) throws(LayerwiseError) -> [CheckpointEntry] {
        let pieces = try pieces(parameters: options.parameters)
        for piece in pieces where piece.count == 0 {
            // Readers multiply all extents, whatever the product.
            var bytes = piece.dtype.size
            for extent in piece.shape where extent > 0 {
                let (product, overflow) = bytes.multipliedReportingOverflow(by: extent)
                if overflow {
                    throw LayerwiseError(
                        .shape, "\(subject(piece.layer, piece.tensor)): no file can hold the shape \(piece.shape)",
                        layer: piece.layer, tensor: piece.tensor)
                }
                bytes = product
            }
        }
        if options.requireFinite {
            for piece in pieces where piece.dtype.isFloatingPoint && Self.holdsNonFinite(piece) {
                throw LayerwiseError(
                    .nonfinite,
                    "\(subject(piece.layer, piece.tensor)): \(piece.key) holds a NaN or an infinity; "
                        + "nothing was saved", layer: piece.layer, tensor: piece.tensor)
            }
        }
        return pieces
    }

    private static func holdsNonFinite(_ piece: CheckpointEntry) -> Bool {
        let sum = piece.dtype.kernels(in: InstructionSet.kernels).squareSum(piece.start, piece.count, 1, .infinity)
        if sum.isFinite { return false }
        // Squares of float64 may overflow though the numbers do not.
        guard piece.dtype == .float64 else { return true }
        return (0..<piece.count).contains { !piece.start.load(fromByteOffset: 8 * $0, as: Double.self).isFinite }
    }

    private func header(of pieces: [CheckpointEntry], checksums: [UInt32]) throws(LayerwiseError) -> HeaderBytes {
        refreshPlaces()
        // The numbers of JSON are read as Doubles, and rounds are no later than the clock.
        for count in [clock.next, summary.steps, summary.skippedSteps] where count > mostSteps {
            throw LayerwiseError(.outOfRange, "a checkpoint counts steps up to 2^53, found \(count)")
        }
        var header = SafetensorsHeader()
        var offset = 0
        for piece in pieces {
            let range = offset..<offset + piece.bytes.count
            header.entries.append(.init(name: piece.key, dtype: piece.dtype, shape: piece.shape, range: range))
            offset = range.upperBound
        }
        let sums = zip(pieces, checksums).map { ($0.key, JSON.quoted(Checksum.text($1))) }
        header.metadata = [
            "format": Checkpoint.format, "format_version": Checkpoint.version, "layerwise_version": layerwiseVersion,
            "identity": identity(), "progress": progress(), "crc32c": JSON.object(sums),
            "header_crc32c": Checkpoint.noChecksum,
        ]
        return try HeaderBytes(header)
    }
}

/// A header as it is written: its length, and its JSON with the checksum in place.
private struct HeaderBytes {
    private var bytes: [UInt8]

    var size: Int { bytes.count }

    init(_ header: SafetensorsHeader) throws(LayerwiseError) {
        let json = header.json()
        if json.utf8.count > SafetensorsHeader.longest {
            throw LayerwiseError(
                .shape,
                "the header takes \(json.utf8.count) bytes, of which no reader takes more than "
                    + "\(SafetensorsHeader.longest)")
        }
        bytes = withUnsafeBytes(of: UInt64(json.utf8.count).littleEndian) { Array($0) }
        bytes.append(contentsOf: json.utf8)
        // In texts of callers a quote is written with a backslash, so this stands in one place only.
        let field = Array("\"header_crc32c\": \"".utf8)
        let sum = Checksum.text(Checksum.crc32c(of: json))
        for start in 8...max(8, bytes.count - field.count) where bytes[start...].starts(with: field) {
            bytes.replaceSubrange(start + field.count..<start + field.count + sum.utf8.count, with: sum.utf8)
            break
        }
    }

    func withBytes(_ body: (UnsafeRawBufferPointer) throws(LayerwiseError) -> Void) throws(LayerwiseError) {
        let result = bytes.withUnsafeBytes { buffer -> Result<Void, LayerwiseError> in
            do throws(LayerwiseError) { return .success(try body(buffer)) } catch { return .failure(error) }
        }
        try result.get()
    }
}
