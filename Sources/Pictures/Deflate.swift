/// Compressed bytes (RFC 1950 and 1951) with the fixed codes, where all that is found again is a run of one byte: enough
/// for drawings, most of which is background.
package enum Deflate {
  /// A stream of zlib's format.
  package static func zlib(_ bytes: [UInt8]) -> [UInt8] {
    var writer = BitWriter()
    writer.put(0b1, 1)  // the last block
    writer.put(0b01, 2)  // with fixed codes
    var index = 0
    while index < bytes.count {
      writer.putLiteral(Int(bytes[index]))
      // How often the byte is repeated, from one before on.
      var run = 0
      while index + 1 + run < bytes.count && bytes[index + 1 + run] == bytes[index] { run += 1 }
      index += 1 + run
      while run >= 3 {
        // A rest of one or two is put as literals.
        let length = min(run, 258)
        writer.putLength(length)
        writer.put(0, 5)  // distance 1
        run -= length
      }
      for _ in 0..<run { writer.putLiteral(Int(bytes[index - 1])) }
    }
    writer.putLiteral(256)
    return [0x78, 0x01] + writer.finished() + adler32(bytes)
  }

  /// Sums modulo 65521, big-endian.
  private static func adler32(_ bytes: [UInt8]) -> [UInt8] {
    var (a, b) = (UInt32(1), UInt32(0))
    for byte in bytes {
      a = (a + UInt32(byte)) % 65521
      b = (b + a) % 65521
    }
    return withUnsafeBytes(of: (b << 16 | a).bigEndian) { Array($0) }
  }

  private struct BitWriter {
    private var bytes: [UInt8] = []
    private var bits: UInt64 = 0
    private var count = 0

    /// The lowest bits of a number, the lowest first.
    mutating func put(_ value: Int, _ width: Int) {
      bits |= UInt64(value) << UInt64(count)
      count += width
      while count >= 8 {
        bytes.append(UInt8(truncatingIfNeeded: bits))
        bits >>= 8
        count -= 8
      }
    }

    /// A code, whose highest bit comes first.
    private mutating func putCode(_ code: Int, _ width: Int) {
      var reversed = 0
      for bit in 0..<width where code >> bit & 1 == 1 { reversed |= 1 << (width - 1 - bit) }
      put(reversed, width)
    }

    /// A byte, the end (256), or the symbol of a length (257 to 285): RFC 1951, 3.2.6.
    mutating func putLiteral(_ symbol: Int) {
      switch symbol {
      case ..<144: putCode(0x30 + symbol, 8)
      case ..<256: putCode(0x190 + symbol - 144, 9)
      case ..<280: putCode(symbol - 256, 7)
      default: putCode(0xC0 + symbol - 280, 8)
      }
    }

    /// A length from 3 to 258: groups of four symbols have one extra bit more each (3.2.5).
    mutating func putLength(_ length: Int) {
      if length == 258 { return putLiteral(285) }
      let rest = length - 3
      if rest < 8 { return putLiteral(257 + rest) }
      let extra = Int.bitWidth - 1 - rest.leadingZeroBitCount - 2
      putLiteral(257 + 4 * (extra + 1) + rest >> extra - 4)
      put(rest & (1 << extra - 1), extra)
    }

    consuming func finished() -> [UInt8] {
      count > 0 ? bytes + [UInt8(truncatingIfNeeded: bits)] : bytes
    }
  }
}
