import CMatrixKernels
import Foundation
import LinearAlgebra
import Testing

@testable import Statistics

@Suite struct RandomStreamTests {
  @Test func wordsAreThoseOfNumPy() throws {
    for reference in try StatisticsFixture.load().philox {
      let key = reference.key.map { UInt64($0) ?? 0 }
      var counter = reference.counter.map { UInt64($0) ?? 0 }
      var words: [UInt64] = []
      for _ in 0..<3 {
        for i in 0..<4 {
          counter[i] &+= 1
          if counter[i] != 0 { break }
        }
        let block = RandomStream.philox(
          SIMD4(counter[0], counter[1], counter[2], counter[3]), key: SIMD2(key[0], key[1]))
        words += (0..<4).map { block[$0] }
      }
      #expect(words == reference.words.map { UInt64($0) ?? 0 })
    }
  }

  @Test func aSeedDrawsWhatNumPyDraws() throws {
    let reference = try StatisticsFixture.load().philox[1]  // key 1, counter 0
    var stream = RandomStream(seed: 1)
    #expect((0..<12).map { _ in stream.next() } == reference.words.map { UInt64($0) ?? 0 })
  }

  /// The known answers published with Random123 (kat_vectors, philox4x64 10).
  @Test func knownAnswers() {
    let ones = UInt64.max
    #expect(
      RandomStream.philox(.zero, key: .zero)
        == SIMD4(
          0x1655_4d9e_ca36_314c, 0xdb20_fe9d_672d_0fdc, 0xd7e7_72ce_e186_176b, 0x7e68_b68a_ec7b_a23b
        ))
    #expect(
      RandomStream.philox(SIMD4(ones, ones, ones, ones), key: SIMD2(ones, ones))
        == SIMD4(
          0x87b0_92c3_013f_e90b, 0x438c_3c67_be8d_0224, 0x9cc7_d7c6_9cd7_77b6, 0xa09c_aebf_594f_0ba0
        ))
  }

  @Test func seedsPurposesAndPathsGiveDistinctStreams() {
    var seen = Set<[UInt64]>()
    var count = 0
    func take(_ stream: RandomStream) {
      var stream = stream
      seen.insert((0..<4).map { _ in stream.next() })
      count += 1
    }
    for seed in 0..<20 as Range<UInt64> {
      let root = RandomStream(seed: seed)
      take(root)
      for purpose in [RandomStream.Purpose.rollout, .evaluation, .mixture] {
        take(root.child(purpose))
        for i in 0..<5 {
          take(root.child(purpose, i))
          for j in 0..<5 { take(root.child(purpose, i, j)) }
        }
      }
    }
    #expect(seen.count == count)
  }

  @Test func childDoesNotDependOnDrawsTaken() {
    let fresh = RandomStream(seed: 3)
    var used = fresh
    for _ in 0..<7 { _ = used.normal() }
    #expect(used.child(.rollout, 1, 2) == fresh.child(.rollout, 1, 2))
    #expect(used.child(.rollout, 1, 2) != fresh.child(.rollout, 2, 1))
  }

  @Test func aStoredStreamGoesOnWhereItWas() throws {
    var stream = RandomStream(seed: .max)
    _ = stream.normals(5)
    var restored = try JSONDecoder().decode(RandomStream.self, from: JSONEncoder().encode(stream))
    #expect(restored.normals(9) == stream.normals(9))
  }

  @Test func uniformStaysInsideItsInterval() {
    // The smallest and largest word that a generator can give.
    #expect((Double(UInt64.min >> 12) + 0.5) * 0x1p-52 > 0)
    #expect((Double(UInt64.max >> 12) + 0.5) * 0x1p-52 < 1)
    var stream = RandomStream(seed: 4)
    let draws = (0..<100_000).map { _ in stream.uniform() }
    #expect(draws.allSatisfy { $0 > 0 && $0 < 1 })
    let mean = draws.reduce(0, +) / 1e5
    #expect(abs(mean - 0.5) < 5 * (1 / 12.0 / 1e5).squareRoot())
  }

  /// Sample moments of 4·10⁵ draws, each within five of its standard errors.
  @Test func normalMoments() {
    var stream = RandomStream(seed: 5)
    let N = 400_000.0
    let draws = stream.normals(Int(N))
    func moment(_ power: Int) -> Double {
      draws.reduce(0) { $0 + pow($1, Double(power)) } / N
    }
    // Variances of x, x², x³, x⁴ are 1, 2, 15, 96.
    for (power, expected, variance) in [(1, 0.0, 1.0), (2, 1, 2), (3, 0, 15), (4, 3, 96)] {
      #expect(abs(moment(power) - expected) < 5 * (variance / N).squareRoot(), "moment \(power)")
    }
    // Neighbours (the two of one Box–Muller pair, and of different pairs) do not correlate.
    for lag in 1...3 {
      let sum = zip(draws, draws.dropFirst(lag)).reduce(0) { $0 + $1.0 * $1.1 }
      #expect(abs(sum / N) < 5 / N.squareRoot(), "lag \(lag)")
    }
  }

  /// Box and Muller's formula by the C library, for the words of NumPy's generator.
  @Test func normalsFollowTheFormula() {
    var (stream, words) = (RandomStream(seed: 8), RandomStream(seed: 8))
    let draws = stream.normals(20_000)
    for i in stride(from: 0, to: draws.count, by: 2) {
      let radius = (-2 * log(words.uniform())).squareRoot()
      let angle = 2 * Double.pi * words.uniform()
      #expect(abs(draws[i] - radius * cos(angle)) < 2e-15 * radius)
      #expect(abs(draws[i + 1] - radius * sin(angle)) < 2e-15 * radius)
    }
  }

  /// However the numbers are asked for, they are one sequence.
  @Test func normalsAreOneSequence() {
    var (one, many) = (RandomStream(seed: 9), RandomStream(seed: 9))
    for count in [1, 2, 0, 3, 64, 1, 65, 66, 7, 200, 129] {
      let (all, single) = (many.normals(count), (0..<count).map { _ in one.normal() })
      #expect(all == single)
      #expect(many.next() == one.next())
    }
  }

  /// The least and the greatest words included, and every number of pairs that a vector can end at.
  @Test func normalsAreTheSameBitsWithEveryInstructionSet() {
    var stream = RandomStream(seed: 10)
    let edges: [UInt64] = [0, .max, 1 << 63, 1 << 62, 3 << 62, 1 << 12, (1 << 61) - 1]
    var words = edges.flatMap { a in edges.flatMap { [a, $0] } }
    words += (0..<4000).map { _ in stream.next() }
    func normals(_ variant: Kernels.Variant, _ pairs: Int) -> [Double] {
      var numbers = [Double](repeating: .nan, count: 2 * pairs)
      mk_normals(variant.rawValue, Int64(pairs), words, &numbers)
      return numbers
    }
    for pairs in Array(0...20) + [words.count / 2] {
      let plain = normals(.plain, pairs)
      #expect(plain.allSatisfy { $0.isFinite })
      for variant in Kernels.Variant.allCases where variant.isSupported {
        #expect(normals(variant, pairs) == plain)
      }
    }
  }

  @Test func indicesAndPermutations() {
    var stream = RandomStream(seed: 6)
    var counts = [Int](repeating: 0, count: 7)
    for _ in 0..<70_000 { counts[stream.index(below: 7)] += 1 }
    #expect(counts.allSatisfy { abs(Double($0) - 10_000) < 5 * (10_000 * 6 / 7.0).squareRoot() })
    let order = stream.permutation(100)
    #expect(order.sorted() == Array(0..<100) && order != Array(0..<100))
  }
}
