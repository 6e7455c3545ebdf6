/// Scratch for hot loops: `count` numbers, aligned to a cache line, freed with its owner.
///
/// Not copyable and not `Sendable`, hence owned by one computation; reaching into it costs nothing.
@frozen
public struct Scratch<Element: BitwiseCopyable>: ~Copyable {
  /// The first number; there is room for one even if `count` is 0.
  public let pointer: UnsafeMutablePointer<Element>
  /// Number of elements.
  public let count: Int

  /// Scratch for `count` numbers, all equal to `value`.
  @inlinable
  public init(_ count: Int, repeating value: Element) {
    let capacity = max(1, count)
    let bytes = UnsafeMutableRawPointer.allocate(
      byteCount: capacity * MemoryLayout<Element>.stride, alignment: 64)
    pointer = bytes.initializeMemory(as: Element.self, repeating: value, count: capacity)
    self.count = count
  }

  @inlinable
  deinit { UnsafeMutableRawPointer(pointer).deallocate() }
}

extension Scratch where Element == Double {
  /// Scratch for `count` doubles, all zero.
  @inlinable
  public init(_ count: Int) { self.init(count, repeating: 0) }
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
