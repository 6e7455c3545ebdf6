import Foundation

/// A counter-based random stream: Philox 4×32-10 (Salmon et al. 2011, "Parallel random numbers: as
/// easy as 1, 2, 3").
///
/// A stream is a key and a counter. `child` derives a stream from its path (purpose, iteration,
/// condition, sample …), never from the order of calls, so that any rollout can be replayed alone
/// and no result depends on scheduling. The raw output for a key and counter equals NumPy's
/// `Philox(key:, counter:)` restricted to 4×32.
public struct RandomStream: Sendable, Codable, Equatable, RandomNumberGenerator {
  /// The two words of the key.
  public let key: SIMD2<UInt32>
  var counter: UInt64
  var buffer: SIMD4<UInt32>
  var used: Int
  var spareNormal: Double?

  /// The root stream of a seed.
  public init(seed: UInt64) {
    self.init(
      key: SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32)))
  }

  init(key: SIMD2<UInt32>) {
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

  /// The stream at a path below this one.
  ///
  /// Each component of the path is mixed into the key by one Philox block whose counter holds the
  /// component and whose last word is not zero, which no draw of a stream ever uses.
  public func child(_ purpose: Purpose, _ path: Int...) -> RandomStream {
    var key = self.key
    var depth: UInt32 = 1
    func descend(_ component: UInt64) {
      let block = Self.philox(
        SIMD4(
          UInt32(truncatingIfNeeded: component), UInt32(truncatingIfNeeded: component >> 32), 0,
          depth),
        key: key)
      key = SIMD2(block.x, block.y)
      depth += 1
    }
    descend(UInt64(purpose.rawValue))
    for component in path { descend(UInt64(bitPattern: Int64(component))) }
    return RandomStream(key: key)
  }

  /// The next 32 random bits.
  public mutating func nextWord() -> UInt32 {
    if used == 4 {
      buffer = Self.philox(
        SIMD4(
          UInt32(truncatingIfNeeded: counter), UInt32(truncatingIfNeeded: counter >> 32), 0, 0),
        key: key)
      counter += 1
      used = 0
    }
    used += 1
    return buffer[used - 1]
  }

  /// The next 64 random bits, low word first.
  public mutating func next() -> UInt64 {
    let low = UInt64(nextWord())
    return low | UInt64(nextWord()) << 32
  }

  /// A number in the open interval (0, 1): never 0, so that its logarithm is finite.
  public mutating func uniform() -> Double { (Double(next() >> 12) + 0.5) * 0x1p-52 }

  /// A standard-normal number (Box and Muller 1958).
  public mutating func normal() -> Double {
    if let spare = spareNormal {
      spareNormal = nil
      return spare
    }
    let radius = (-2 * log(uniform())).squareRoot()
    let angle = 2 * Double.pi * uniform()
    spareNormal = radius * sin(angle)
    return radius * cos(angle)
  }

  /// A whole number in `0..<bound`, without bias.
  public mutating func index(below bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }

  /// `count` standard-normal numbers.
  public mutating func normals(_ count: Int) -> [Double] { (0..<count).map { _ in normal() } }

  /// A uniformly random order of `0..<count`.
  public mutating func permutation(_ count: Int) -> [Int] {
    var order = Array(0..<count)
    order.shuffle(using: &self)
    return order
  }

  /// One block of Philox 4×32 with ten rounds.
  public static func philox(_ counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
    var c = counter
    var k = key
    for round in 0..<10 {
      if round > 0 { k &+= SIMD2(0x9E37_79B9, 0xBB67_AE85) }
      let p0 = UInt64(c.x) * 0xD251_1F53
      let p1 = UInt64(c.z) * 0xCD9E_8D57
      c = SIMD4(
        UInt32(truncatingIfNeeded: p1 >> 32) ^ c.y ^ k.x, UInt32(truncatingIfNeeded: p1),
        UInt32(truncatingIfNeeded: p0 >> 32) ^ c.w ^ k.y, UInt32(truncatingIfNeeded: p0))
    }
    return c
  }
}
