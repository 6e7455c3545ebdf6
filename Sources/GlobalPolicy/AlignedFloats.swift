/// Floats whose first lies at the head of a cache line, which an array's need not: a vector across two
/// lines costs two reads, and a network's parameters are read once per action.
///
/// A copy that is changed moves to other memory and keeps its place there, at the head of a line or not.
struct AlignedFloats: Sendable {
  /// The floats, with room before and behind.
  private var storage: [Float]
  /// Where in the storage the first float is.
  private let start: Int
  let count: Int

  /// Zeros.
  init(zeros count: Int) {
    let line = 64 / MemoryLayout<Float>.stride
    storage = [Float](repeating: 0, count: count + line - 1)
    start = storage.withUnsafeBufferPointer {
      (line - Int(bitPattern: $0.baseAddress) / MemoryLayout<Float>.stride % line) % line
    }
    self.count = count
  }

  /// A copy of `count` floats.
  init(copying source: UnsafePointer<Float>, count: Int) {
    self.init(zeros: count)
    for i in 0..<count { self[i] = source[i] }
  }

  func withUnsafeBufferPointer<Result>(
    _ body: (UnsafeBufferPointer<Float>) -> Result
  ) -> Result {
    storage.withUnsafeBufferPointer { body(.init(rebasing: $0[start..<start + count])) }
  }
}

extension AlignedFloats: RandomAccessCollection, MutableCollection {
  var startIndex: Int { 0 }
  var endIndex: Int { count }

  subscript(index: Int) -> Float {
    get { storage[start + index] }
    set { storage[start + index] = newValue }
  }
}

extension AlignedFloats: Equatable {
  static func == (a: AlignedFloats, b: AlignedFloats) -> Bool { a.elementsEqual(b) }
}
