/// CRC-64/XZ (ECMA-182, reflected), the checksum of stored files.
///
/// It finds every error within 64 neighbouring bits, and any other but one in 2⁶⁴. It guards against
/// accidents, not against forgers, which a cryptographic hash beside the data would not stop either.
enum CRC64 {
  private static let table: [UInt64] = (0..<256).map { byte in
    (0..<8).reduce(UInt64(byte)) { value, _ in
      value & 1 == 1 ? (value >> 1) ^ 0xC96C_5795_D787_0F42 : value >> 1
    }
  }

  /// The checksum of some bytes.
  static func checksum(of bytes: ArraySlice<UInt8>) -> UInt64 {
    table.withUnsafeBufferPointer { table in
      bytes.withUnsafeBufferPointer { bytes in
        ~bytes.reduce(~0) { table[Int(truncatingIfNeeded: $0 ^ UInt64($1)) & 255] ^ ($0 >> 8) }
      }
    }
  }
}
