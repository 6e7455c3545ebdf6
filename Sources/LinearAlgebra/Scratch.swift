/// Uninitialised scratch for hot loops: `count` doubles, aligned to a cache line, freed with its owner.
///
/// Not copyable, hence owned by one computation; reaching into it costs nothing.
public struct Scratch: ~Copyable {
  /// The first double.
  public let pointer: UnsafeMutablePointer<Double>
  /// Number of doubles.
  public let count: Int

  /// Scratch for `count` doubles, all zero.
  public init(_ count: Int) {
    let bytes = UnsafeMutableRawPointer.allocate(
      byteCount: max(1, count) * MemoryLayout<Double>.stride, alignment: 64)
    pointer = bytes.initializeMemory(as: Double.self, repeating: 0, count: max(1, count))
    self.count = count
  }

  deinit { UnsafeMutableRawPointer(pointer).deallocate() }
}

extension MatrixSequence {
  /// `count` matrices copied from a buffer laid out like `storage`.
  public init(
    rows: Int, columns: Int, count: Int, copying source: UnsafePointer<Double>
  ) {
    self.init(rows: rows, columns: columns, count: count)
    storage.withUnsafeMutableBufferPointer { target in
      target.baseAddress?.update(from: source, count: target.count)
    }
  }
}

extension Matrix {
  /// A matrix copied from a column-major buffer.
  public init(rows: Int, columns: Int, copying source: UnsafePointer<Double>) {
    self.init(
      rows: rows, columns: columns,
      columnMajor: Array(UnsafeBufferPointer(start: source, count: rows * columns)))
  }
}
