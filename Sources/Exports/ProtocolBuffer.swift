/// A message of protocol buffers, field by field (https://protobuf.dev/programming-guides/encoding): what the
/// formats of other programs are made of.
struct ProtocolBuffer: Sendable {
  private(set) var bytes: [UInt8] = []

  /// How a field's value is laid out.
  private enum WireType: UInt64 {
    case varint = 0
    case fixed64 = 1
    case lengthDelimited = 2
    case fixed32 = 5
  }

  private mutating func append(varint value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  private mutating func begin(_ field: Int, _ type: WireType) {
    append(varint: UInt64(field) << 3 | type.rawValue)
  }

  private mutating func append<Word: FixedWidthInteger>(littleEndian word: Word) {
    withUnsafeBytes(of: word.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// A whole number, a truth value or an enumeration's member.
  mutating func put(_ field: Int, _ value: Int) {
    begin(field, .varint)
    append(varint: UInt64(bitPattern: Int64(value)))
  }

  mutating func put(_ field: Int, _ value: Double) {
    begin(field, .fixed64)
    append(littleEndian: value.bitPattern)
  }

  mutating func put(_ field: Int, _ value: Float) {
    begin(field, .fixed32)
    append(littleEndian: value.bitPattern)
  }

  mutating func put(_ field: Int, bytes content: [UInt8]) {
    begin(field, .lengthDelimited)
    append(varint: UInt64(content.count))
    bytes.append(contentsOf: content)
  }

  mutating func put(_ field: Int, _ text: String) { put(field, bytes: Array(text.utf8)) }

  /// A message within this one.
  mutating func put(_ field: Int, _ make: (inout ProtocolBuffer) -> Void) {
    var message = ProtocolBuffer()
    make(&message)
    put(field, bytes: message.bytes)
  }
}
