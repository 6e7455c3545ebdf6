import Foundation
import Testing

@testable import Exports

@Suite struct EventFileTests {
  /// The check value of the polynomial, and those of RFC 3720, B.4.
  @Test func checksums() {
    #expect(CRC32C.checksum(of: Array("123456789".utf8)) == 0xE306_9283)
    #expect(CRC32C.checksum(of: [UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
    #expect(CRC32C.checksum(of: [UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
    #expect(CRC32C.checksum(of: (0..<32).map { UInt8($0) }) == 0x46DD_794E)
  }

  /// Examples of the encoding's own documentation: 150, and the text "testing".
  @Test func messages() {
    var message = ProtocolBuffer()
    message.put(1, 150)
    #expect(message.bytes == [0x08, 0x96, 0x01])
    message = ProtocolBuffer()
    message.put(2, "testing")
    #expect(message.bytes == [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6E, 0x67])
    var outer = ProtocolBuffer()
    outer.put(3) { $0.put(1, 150) }
    #expect(outer.bytes == [0x1A, 0x03, 0x08, 0x96, 0x01])
    message = ProtocolBuffer()
    message.put(1, -1)
    #expect(message.bytes == [0x08] + [UInt8](repeating: 0xFF, count: 9) + [0x01])
    message = ProtocolBuffer()
    message.put(1, Float(1))
    message.put(2, -2.0)
    #expect(message.bytes == [0x0D, 0, 0, 0x80, 0x3F, 0x11, 0, 0, 0, 0, 0, 0, 0, 0xC0])
  }
}
