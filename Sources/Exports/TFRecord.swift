/// The checksum of event files (Castagnoli's polynomial, reflected 0x82F63B78).
enum CRC32C {
  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in
      value & 1 == 1 ? 0x82F6_3B78 ^ value >> 1 : value >> 1
    }
  }

  static func checksum(of bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(~UInt32(0)) { table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 }
  }

  /// A checksum as it is stored beside what it is of: turned, and with a constant added.
  static func masked(_ bytes: [UInt8]) -> UInt32 {
    let sum = checksum(of: bytes)
    return (sum >> 15 | sum << 17) &+ 0xA282_EAD8
  }
}

/// A record of TensorFlow's: its length, a checksum of that, the bytes, a checksum of these, all little-endian.
enum TFRecord {
  static func bytes(of content: [UInt8]) -> [UInt8] {
    func littleEndian(_ word: some FixedWidthInteger) -> [UInt8] {
      withUnsafeBytes(of: word.littleEndian) { Array($0) }
    }
    let length = littleEndian(UInt64(content.count))
    return length + littleEndian(CRC32C.masked(length)) + content
      + littleEndian(CRC32C.masked(content))
  }
}
