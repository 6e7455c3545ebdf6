import CMatrixKernels
import LinearAlgebra

/// A counter-based random stream: Philox 4×64 with ten rounds (Salmon et al. 2011, "Parallel random
/// numbers: as easy as 1, 2, 3").
///
/// A stream is a key and a counter. `child` derives a stream from its path (purpose, iteration,
/// condition, sample …), never from the order of calls, so that any rollout can be replayed alone
/// and no result depends on scheduling. The words are those of NumPy's generator of the same name:
/// `RandomStream(seed: s)` draws what `numpy.random.Philox(key=s).random_raw()` draws. (That is why
/// the words have 64 bits: NumPy has no 4×32.)
public struct RandomStream: Sendable, Codable, Equatable, RandomNumberGenerator {
  /// The two words of the key.
  public let key: SIMD2<UInt64>
  var counter: UInt64
  var buffer: SIMD4<UInt64>
  var used: Int
  var spareNormal: Double?

  /// The root stream of a seed.
  public init(seed: UInt64) { self.init(key: SIMD2(seed, 0)) }

  init(key: SIMD2<UInt64>) {
    self.key = key
    counter = 0
    buffer = .zero
    used = 4
  }

  /// What a stream is for. Raw values are part of the reproducibility promise: never reuse one.
  public enum Purpose: UInt32, Sendable, Codable {
    /// Exploration noise and initial states of training rollouts.
    case rollout = 1
    /// Initial states and noise of evaluation rollouts.
    case evaluation = 2
    /// Initial weights of a network.
    case networkInitialization = 3
    /// Order of minibatches.
    case minibatches = 4
    /// Seeding of mixture models.
    case mixture = 5
    /// Anything a user or test derives.
    case custom = 6
  }

  /// The stream at a path below this one, whatever was drawn from this one before.
  ///
  /// Each component of the path is mixed into the key by one Philox block whose counter holds the
  /// component and whose last word is not zero, which no draw of a stream ever uses.
  public func child(_ purpose: Purpose, _ path: Int...) -> RandomStream {
    var key = self.key
    var depth: UInt64 = 1
    func descend(_ component: UInt64) {
      let block = Self.philox(SIMD4(component, 0, 0, depth), key: key)
      key = SIMD2(block.x, block.y)
      depth += 1
    }
    descend(UInt64(purpose.rawValue))
    for component in path { descend(UInt64(bitPattern: Int64(component))) }
    return RandomStream(key: key)
  }

  /// The next 64 random bits.
  public mutating func next() -> UInt64 {
    if used == 4 {
      // NumPy increments before it draws: block 0 is never used.
      counter &+= 1
      buffer = Self.philox(SIMD4(counter, 0, 0, 0), key: key)
      used = 0
    }
    used += 1
    return buffer[used - 1]
  }

  /// A number in the open interval (0, 1): never 0, so that its logarithm is finite.
  public mutating func uniform() -> Double { (Double(next() >> 12) + 0.5) * 0x1p-52 }

  /// A standard-normal number (Box and Muller 1958); the same bits on every machine.
  public mutating func normal() -> Double {
    if let spare = spareNormal {
      spareNormal = nil
      return spare
    }
    var pair = (0.0, 0.0)
    withUnsafeMutableBytes(of: &pair) { pair in
      let words = (next(), next())
      withUnsafeBytes(of: words) { words in
        mk_normals(
          Kernels.Variant.best.rawValue, 1, words.assumingMemoryBound(to: UInt64.self).baseAddress,
          pair.assumingMemoryBound(to: Double.self).baseAddress)
      }
    }
    spareNormal = pair.1
    return pair.0
  }

  /// Fills a buffer with the numbers that as many calls of `normal` would give, sooner.
  public mutating func fillNormals(_ numbers: UnsafeMutableBufferPointer<Double>) {
    var rest = numbers[...]
    if !rest.isEmpty, let spare = spareNormal {
      spareNormal = nil
      rest[rest.startIndex] = spare
      rest = rest.dropFirst()
    }
    let most = 32
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 2 * most) { words in
      while rest.count > 1 {
        let pairs = min(most, rest.count / 2)
        for i in 0..<2 * pairs { words[i] = next() }
        mk_normals(
          Kernels.Variant.best.rawValue, Int64(pairs), words.baseAddress,
          UnsafeMutableBufferPointer(rebasing: rest).baseAddress)
        rest = rest.dropFirst(2 * pairs)
      }
    }
    if !rest.isEmpty { rest[rest.startIndex] = normal() }
  }

  /// A whole number in `0..<bound`, without bias.
  public mutating func index(below bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }

  /// `count` standard-normal numbers.
  public mutating func normals(_ count: Int) -> [Double] {
    var numbers = [Double](repeating: 0, count: count)
    numbers.withUnsafeMutableBufferPointer { fillNormals($0) }
    return numbers
  }

  /// A uniformly random order of `0..<count`.
  public mutating func permutation(_ count: Int) -> [Int] {
    var order = Array(0..<count)
    order.shuffle(using: &self)
    return order
  }

  /// One block of Philox 4×64 with ten rounds.
  public static func philox(_ counter: SIMD4<UInt64>, key: SIMD2<UInt64>) -> SIMD4<UInt64> {
    // In scalars: SIMD of the baseline has no product of 64-bit words.
    var (a, b, c, d) = (counter.x, counter.y, counter.z, counter.w)
    var (k, l) = (key.x, key.y)
    for round in 0..<10 {
      if round > 0 {
        k &+= 0x9E37_79B9_7F4A_7C15
        l &+= 0xBB67_AE85_84CA_A73B
      }
      let p = a.multipliedFullWidth(by: 0xD2E7_470E_E14C_6C93)
      let q = c.multipliedFullWidth(by: 0xCA5A_8263_9512_1157)
      (a, b, c, d) = (q.high ^ b ^ k, q.low, p.high ^ d ^ l, p.low)
    }
    return SIMD4(a, b, c, d)
  }
}
