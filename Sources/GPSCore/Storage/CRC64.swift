/// CRC-64/XZ (ECMA-182, reflected), the checksum of stored files.
///
/// It finds every error within 64 neighbouring bits, and any other but one in 2⁶⁴. It guards against
/// accidents, not against forgers, which a cryptographic hash beside the data would not stop either.
///
/// Bytes are taken sixteen at a time. The remainder is linear in what it is the remainder of, so each
/// of the sixteen is looked up alone, in the table of the bytes that still follow it ("slicing",
/// Kounavis and Berry 2008), and the processor does all look-ups at once.
package struct CRC64 {
  private static let width = 16

  private var remainder = ~UInt64(0)

  /// 256 remainders for each of 0 … 15 bytes that follow.
  private static let tables: [UInt64] = {
    var tables: [UInt64] = []
    for byte in 0..<UInt64(256) {
      var value = byte
      for _ in 0..<8 { value = (value >> 1) ^ (value & 1 == 1 ? 0xC96C_5795_D787_0F42 : 0) }
      tables.append(value)
    }
    for i in 0..<256 * (width - 1) {
      tables.append(tables[Int(tables[i] & 255)] ^ (tables[i] >> 8))
    }
    return tables
  }()

  /// The checksum of some bytes.
  package static func checksum(of bytes: ArraySlice<UInt8>) -> UInt64 {
    var checksum = CRC64()
    checksum.add(bytes)
    return checksum.value
  }

  /// The checksum of all bytes added so far.
  package var value: UInt64 { ~remainder }

  /// Goes on with more bytes.
  package mutating func add(_ bytes: ArraySlice<UInt8>) {
    Self.tables.withUnsafeBufferPointer { tables in
      bytes.withUnsafeBytes { bytes in remainder = Self.remainder(after: bytes, remainder, tables) }
    }
  }

  private static func remainder(
    after bytes: UnsafeRawBufferPointer, _ before: UInt64, _ tables: UnsafeBufferPointer<UInt64>
  ) -> UInt64 {
    var remainder = before
    let whole = bytes.count / width * width
    for start in stride(from: 0, to: whole, by: width) {
      var first = remainder ^ word(bytes, start)
      var second = word(bytes, start + 8)
      remainder = 0
      for i in 0..<8 {
        remainder ^= tables[(15 - i) * 256 + Int(first & 255)]
        remainder ^= tables[(7 - i) * 256 + Int(second & 255)]
        first >>= 8
        second >>= 8
      }
    }
    for byte in bytes[whole...] {
      remainder = tables[Int((remainder ^ UInt64(byte)) & 255)] ^ (remainder >> 8)
    }
    return remainder
  }

  private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
    UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
}
