import Statistics
import Testing

@testable import Configuration
@testable import Experiments
@testable import GPSCore
@testable import GuidedPolicySearch

@Suite struct CRC64Tests {
  @Test func checkValueOfTheCatalogue() {
    // CRC-64/XZ in the catalogue of parametrised CRC algorithms.
    #expect(CRC64.checksum(of: Array("123456789".utf8)[...]) == 0x995D_C9BB_DF19_39FA)
    #expect(CRC64.checksum(of: []) == 0)
  }

  /// Long division, a bit at a time, the lowest first.
  private func divided(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    var remainder = ~UInt64(0)
    for byte in bytes {
      for bit in 0..<8 {
        let carry = (remainder ^ UInt64(byte >> bit)) & 1
        remainder = (remainder >> 1) ^ (carry * 0xC96C_5795_D787_0F42)
      }
    }
    return ~remainder
  }

  @Test func anyLengthAtAnyOffsetAsByLongDivision() {
    var random = RandomStream(seed: 17)
    let bytes = (0..<5000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    for length in 0...70 {
      for start in 0..<17 {
        let part = bytes[start..<start + length]
        #expect(CRC64.checksum(of: part) == divided(part), "\(length) bytes from \(start)")
      }
    }
    for _ in 0..<200 {
      let start = random.index(below: bytes.count)
      let part = bytes[start..<start + random.index(below: bytes.count - start + 1)]
      #expect(CRC64.checksum(of: part) == divided(part), "\(part.count) bytes from \(start)")
    }
  }
}
