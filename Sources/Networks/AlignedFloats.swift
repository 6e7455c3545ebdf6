/// Floats whose first lies at the head of a cache line, which an array's need not: a vector across two
/// lines costs two reads, and a network's parameters are read once per action.
///
/// A copy that is changed moves to other memory and keeps its place there, at the head of a line or not.
public struct AlignedFloats: Sendable {
  /// The floats, with room before and behind.
  private var storage: [Float]
  /// Where in the storage the first float is.
  private let start: Int
  /// How many.
  public let count: Int

  /// Zeros.
  public init(zeros count: Int) {
    let line = 64 / MemoryLayout<Float>.stride
    storage = [Float](repeating: 0, count: count + line - 1)
    start = storage.withUnsafeBufferPointer {
      (line - Int(bitPattern: $0.baseAddress) / MemoryLayout<Float>.stride % line) % line
    }
    self.count = count
  }

  /// A copy of `count` floats.
  package init(copying source: UnsafePointer<Float>, count: Int) {
    self.init(zeros: count)
    withUnsafeMutableBufferPointer { target in
      for i in 0..<count { target[i] = source[i] }
    }
  }

  /// A copy of an array.
  public init(_ values: [Float]) {
    self.init(zeros: values.count)
    withUnsafeMutableBufferPointer { _ = $0.update(from: values) }
  }

  /// Calls `body` with the floats.
  package func withUnsafeBufferPointer<Result>(
    _ body: (UnsafeBufferPointer<Float>) -> Result
  ) -> Result {
    storage.withUnsafeBufferPointer { body(.init(rebasing: $0[start..<start + count])) }
  }

  /// Calls `body` with the floats, which it may change.
  package mutating func withUnsafeMutableBufferPointer<Result>(
    _ body: (UnsafeMutableBufferPointer<Float>) -> Result
  ) -> Result {
    let (start, count) = (start, count)
    return storage.withUnsafeMutableBufferPointer {
      body(.init(rebasing: $0[start..<start + count]))
    }
  }
}

extension AlignedFloats: RandomAccessCollection, MutableCollection {
  /// 0.
  public var startIndex: Int { 0 }
  /// The count.
  public var endIndex: Int { count }

  /// One of the floats.
  public subscript(index: Int) -> Float {
    get { storage[start + index] }
    set { storage[start + index] = newValue }
  }
}

extension AlignedFloats: Equatable {
  /// Compares the floats, wherever they are.
  public static func == (a: AlignedFloats, b: AlignedFloats) -> Bool { a.elementsEqual(b) }
}
