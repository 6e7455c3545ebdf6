public import LinearAlgebra

/// Samples as the kernels read them: one row each, padded with zeros to a multiple of 16 floats.
public struct Rows: Sendable, Equatable {
  /// How many samples.
  public let count: Int
  /// Numbers in each.
  public let width: Int
  /// Floats from one row to the next.
  public let stride: Int
  package private(set) var floats: AlignedFloats

  /// Rows of zeros.
  public init(count: Int, width: Int) {
    precondition(count >= 0 && width > 0, "\(count) rows of \(width) numbers")
    (self.count, self.width) = (count, width)
    stride = padded(width)
    floats = AlignedFloats(zeros: count * stride)
  }

  /// The columns of a matrix, one sample each.
  public init(_ samples: Matrix) {
    self.init(count: samples.columns, width: samples.rows)
    fill(0..<count) { samples[$1, $0] }
  }

  /// Sets every number of some samples.
  ///
  /// - Parameters:
  ///   - samples: which.
  ///   - value: of a sample and an entry.
  public mutating func fill(
    _ samples: Range<Int>, _ value: (_ sample: Int, _ entry: Int) -> Double
  ) {
    precondition(
      samples.lowerBound >= 0 && samples.upperBound <= count,
      "samples \(samples) of \(count)")
    let (width, stride) = (width, stride)
    floats.withUnsafeMutableBufferPointer { floats in
      for s in samples { for i in 0..<width { floats[s * stride + i] = Float(value(s, i)) } }
    }
  }

  /// A number of a sample.
  public subscript(sample: Int, entry: Int) -> Double {
    get { Double(floats[sample * stride + entry]) }
    set { floats[sample * stride + entry] = Float(newValue) }
  }
}
