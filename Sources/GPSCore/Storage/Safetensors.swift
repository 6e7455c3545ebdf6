import Configuration
import Foundation

/// Named arrays of numbers in one file, readable by other programs and free of code.
///
/// The format of https://github.com/huggingface/safetensors: eight bytes with the header's length
/// (little-endian), a JSON header that gives each array's element type, shape and byte range, then
/// the arrays' bytes (little-endian, row-major), one after the other without gaps.
public struct Safetensors: Sendable, Equatable {
  /// The type of an array's elements.
  public enum ElementType: String, Sendable, CaseIterable {
    /// IEEE 754, four bytes.
    case f32 = "F32"
    /// IEEE 754, eight bytes.
    case f64 = "F64"
    /// Two's complement, eight bytes.
    case i64 = "I64"
    /// Unsigned, eight bytes.
    case u64 = "U64"

    /// Bytes per element.
    public var size: Int { self == .f32 ? 4 : 8 }
  }

  /// An array of any rank.
  public struct Tensor: Sendable, Equatable {
    /// The type of its elements.
    public let elementType: ElementType
    /// Its extents, the slowest first (row-major).
    public let shape: [Int]
    private let content: Content

    private enum Content: Sendable {
      /// Little-endian, row-major.
      case bytes([UInt8])
      /// Matrices one after the other, each column by column: shared with whoever made them, and
      /// turned into bytes only when those are asked for.
      case columnMajor([Double], rows: Int, columns: Int)
    }

    /// Its elements, little-endian and row-major.
    public var bytes: [UInt8] {
      switch content {
      case .bytes(let bytes): bytes
      case .columnMajor(let values, let rows, let columns):
        littleEndian(transposed(values, rows, columns), bits: \.bitPattern)
      }
    }

    /// Elements of the array.
    public var count: Int { shape.reduce(1, *) }

    fileprivate var size: Int { count * elementType.size }

    fileprivate init(elementType: ElementType, shape: [Int], bytes: [UInt8]) {
      self.elementType = elementType
      self.shape = shape
      content = .bytes(bytes)
    }

    /// An array of matrices that are stored column by column: shape [rows, columns], or [count, rows,
    /// columns].
    package init(columnMajor values: [Double], shape: [Int]) {
      precondition(
        shape.count >= 2 && shape.allSatisfy { $0 >= 0 } && shape.reduce(1, *) == values.count,
        "\(values.count) numbers for matrices of shape \(shape)")
      elementType = .f64
      self.shape = shape
      content = .columnMajor(values, rows: shape[shape.count - 2], columns: shape[shape.count - 1])
    }

    /// Whether elements, their type and the shape are the same.
    public static func == (a: Tensor, b: Tensor) -> Bool {
      a.elementType == b.elementType && a.shape == b.shape && a.bytes == b.bytes
    }

    private init<Element, Word: FixedWidthInteger>(
      _ values: [Element], shape: [Int], elementType: ElementType, bits: (Element) -> Word
    ) {
      precondition(
        shape.allSatisfy { $0 >= 0 } && shape.reduce(1, *) == values.count,
        "\(values.count) numbers for an array of shape \(shape)")
      self.init(
        elementType: elementType, shape: shape, bytes: littleEndian(values, bits: bits))
    }

    /// An array of single-precision numbers.
    public init(_ values: [Float], shape: [Int]) {
      self.init(values, shape: shape, elementType: .f32, bits: \.bitPattern)
    }

    /// An array of double-precision numbers.
    public init(_ values: [Double], shape: [Int]) {
      self.init(values, shape: shape, elementType: .f64, bits: \.bitPattern)
    }

    /// An array of whole numbers.
    public init(_ values: [Int64], shape: [Int]) {
      self.init(values, shape: shape, elementType: .i64, bits: { $0 })
    }

    /// An array of unsigned whole numbers.
    public init(_ values: [UInt64], shape: [Int]) {
      self.init(values, shape: shape, elementType: .u64, bits: { $0 })
    }

    private func words<Word: FixedWidthInteger>(_ type: Word.Type) -> [Word] {
      let count = count
      return bytes.withUnsafeBytes { buffer in
        (0..<count).map {
          Word(littleEndian: buffer.loadUnaligned(fromByteOffset: $0 * elementType.size, as: type))
        }
      }
    }

    /// The elements, if they are single-precision numbers.
    public var floats: [Float]? {
      elementType == .f32 ? words(UInt32.self).map(Float.init(bitPattern:)) : nil
    }
    /// The elements, if they are double-precision numbers.
    public var doubles: [Double]? {
      elementType == .f64 ? words(UInt64.self).map(Double.init(bitPattern:)) : nil
    }
    /// The elements, if they are whole numbers.
    public var signedIntegers: [Int64]? { elementType == .i64 ? words(Int64.self) : nil }
    /// The elements, if they are unsigned whole numbers.
    public var unsignedIntegers: [UInt64]? { elementType == .u64 ? words(UInt64.self) : nil }
  }

  /// Texts kept in the header.
  public var metadata: [String: String]
  /// The arrays by name.
  public var tensors: [String: Tensor]

  /// Arrays and texts.
  public init(metadata: [String: String] = [:], tensors: [String: Tensor] = [:]) {
    self.metadata = metadata
    self.tensors = tensors
  }
}

/// Why bytes are not a safetensors file that can be used.
public enum SafetensorsError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The file is shorter than its header says.
  case truncated(bytes: Int, needed: Int)
  /// The header is longer than any that makes sense.
  case headerTooLong(UInt64)
  /// The header is not JSON of the right form.
  case header(String)
  /// An array's entry contradicts itself or the file.
  case tensor(name: String, problem: String)
  /// Bytes that belong to no array, or to two.
  case layout(String)
  /// A sealed file's checksum is missing or another.
  case checksum

  /// One sentence for people.
  public var description: String {
    switch self {
    case .truncated(let bytes, let needed):
      "not a safetensors file, or cut off: \(bytes) bytes where \(needed) are needed"
    case .headerTooLong(let length):
      "not a safetensors file: a header of \(length) bytes (at most \(Safetensors.maximumHeader))"
    case .header(let problem): "the safetensors header is not usable: \(problem)"
    case .tensor(let name, let problem): "array \"\(abbreviated(name))\": \(problem)"
    case .layout(let problem): "the arrays do not fill the file: \(problem)"
    case .checksum: "its checksum does not agree with its contents: it is damaged"
    }
  }
}

extension Safetensors {
  /// Headers above this size, in bytes, are refused; the format allows 100 million.
  public static let maximumHeader = 1 << 25
  /// Files above this size, in bytes, are refused.
  package static let maximumBytes = 8 << 30
  /// The extents of an array without elements may multiply to this much, zeros left out.
  private static let maximumEmpty = 1 << 27

  private struct Entry: Codable {
    var dtype: String
    var shape: [Int]
    var data_offsets: [Int]
  }

  /// The header: entries by name, with one name reserved for texts.
  private struct Header: Codable {
    var metadata: [String: String] = [:]
    var entries: [String: Entry] = [:]

    struct Key: CodingKey {
      var stringValue: String
      var intValue: Int? { nil }
      init(_ text: String) { stringValue = text }
      init?(stringValue: String) { self.init(stringValue) }
      init?(intValue: Int) { nil }
    }

    init() {}

    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Key.self)
      for key in container.allKeys {
        if key.stringValue == "__metadata__" {
          metadata = try container.decode([String: String].self, forKey: key)
        } else {
          entries[key.stringValue] = try container.decode(Entry.self, forKey: key)
        }
      }
    }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Key.self)
      if !metadata.isEmpty { try container.encode(metadata, forKey: Key("__metadata__")) }
      for (name, entry) in entries { try container.encode(entry, forKey: Key(name)) }
    }
  }

  /// The file's bytes; the same for equal values.
  public func encoded() -> [UInt8] { collected(isSealed: false) }

  /// The file's bytes with one more array at the end, `checksum`: the CRC-64 of all bytes before it.
  public func sealed() -> [UInt8] { collected(isSealed: true) }

  private func collected(isSealed: Bool) -> [UInt8] {
    var bytes: [UInt8] = []
    forEachPiece(isSealed: isSealed) { bytes += $0 }
    return bytes
  }

  private static let seal = "checksum"
  private static let sealSize = 8
  /// Bytes that are handed on together.
  private static let pieceSize = 1 << 20

  /// Hands on the file's bytes piece by piece, so that they are nowhere all at once.
  package func forEachPiece<Failure: Error>(
    isSealed: Bool, _ body: ([UInt8]) throws(Failure) -> Void
  ) throws(Failure) {
    precondition(tensors["__metadata__"] == nil, "an array cannot be called __metadata__")
    precondition(
      !isSealed || tensors[Self.seal] == nil, "an array of a sealed file cannot be called checksum")
    // Widest elements first, so that every array is aligned to its element.
    let sorted = tensors.sorted {
      ($1.value.elementType.size, $0.key) < ($0.value.elementType.size, $1.key)
    }
    var piece = header(of: sorted, isSealed: isSealed)
    var checksum = CRC64()
    for (_, tensor) in sorted {
      piece += tensor.bytes
      if piece.count >= Self.pieceSize {
        checksum.add(piece[...])
        try body(piece)
        piece.removeAll(keepingCapacity: true)
      }
    }
    if isSealed {
      checksum.add(piece[...])
      withUnsafeBytes(of: checksum.value.littleEndian) { piece.append(contentsOf: $0) }
    }
    try body(piece)
  }

  /// The length and the header, padded to whole words.
  private func header(of sorted: [(key: String, value: Tensor)], isSealed: Bool) -> [UInt8] {
    var header = Header()
    header.metadata = metadata
    var offset = 0
    for (name, tensor) in sorted {
      header.entries[name] = Entry(
        dtype: tensor.elementType.rawValue, shape: tensor.shape,
        data_offsets: [offset, offset + tensor.size])
      offset += tensor.size
    }
    if isSealed {
      header.entries[Self.seal] = Entry(
        dtype: ElementType.u64.rawValue, shape: [1], data_offsets: [offset, offset + Self.sealSize])
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Strings and whole numbers alone: encoding them cannot fail.
    var json = Array((try? encoder.encode(header)) ?? Data("{}".utf8))
    while json.count % 8 != 0 { json.append(UInt8(ascii: " ")) }
    return withUnsafeBytes(of: UInt64(json.count).littleEndian) { Array($0) } + json
  }

  /// Reads the bytes of a sealed file.
  ///
  /// - Throws: `SafetensorsError`, `.checksum` if any byte is not what was written.
  public init(sealed bytes: [UInt8]) throws(SafetensorsError) {
    try self.init(bytes: bytes)
    let body = bytes.dropLast(Self.sealSize)
    guard let seal = tensors.removeValue(forKey: Self.seal), seal.elementType == .u64,
      seal.bytes.elementsEqual(bytes.suffix(Self.sealSize)),
      seal.unsignedIntegers == [CRC64.checksum(of: body)]
    else { throw .checksum }
  }

  /// Reads a file's bytes; every count and range is checked before it is used.
  ///
  /// - Throws: `SafetensorsError`.
  public init(bytes: [UInt8]) throws(SafetensorsError) {
    let start = try Self.headerEnd(bytes[...])
    if bytes.count < start { throw .truncated(bytes: bytes.count, needed: start) }
    let (metadata, places) = try Self.places(header: bytes[8..<start], data: bytes.count - start)
    self.init(metadata: metadata)
    for place in places {
      tensors[place.name] = Tensor(
        elementType: place.type, shape: place.shape,
        bytes: Array(bytes[(start + place.range.lowerBound)..<(start + place.range.upperBound)]))
    }
  }

  /// The bytes of a file that is a regular one and whose header agrees with its size; no more than the
  /// header is read of any other.
  ///
  /// - Throws: `FileProblem` or `SafetensorsError`.
  package static func bytes(ofFile path: String) throws -> [UInt8] {
    let descriptor = try RegularFile.open(path)
    let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    var status = stat()
    if fstat(descriptor, &status) != 0 { throw FileProblem(systemReason(errno)) }
    let size = Int(status.st_size)
    let whole = [UInt8](unsafeUninitializedCapacity: 8) { buffer, count in
      count = max(0, Foundation.read(descriptor, buffer.baseAddress, 8))
    }
    let start = try headerEnd(whole[...])
    // The files of /proc tell no size.
    if size > 0 {
      if size < start { throw SafetensorsError.truncated(bytes: size, needed: start) }
      let header = [UInt8](try handle.read(upToCount: start - 8) ?? Data())
      if header.count < start - 8 {
        throw SafetensorsError.truncated(bytes: header.count + 8, needed: start)
      }
      _ = try places(header: header[...], data: size - start)
    }
    return try RegularFile.read(path, atMost: maximumBytes)
  }

  /// Where the header ends, in bytes from the beginning of the file.
  private static func headerEnd(_ bytes: ArraySlice<UInt8>) throws(SafetensorsError) -> Int {
    if bytes.count < 8 { throw .truncated(bytes: bytes.count, needed: 8) }
    let length = bytes.withUnsafeBytes {
      UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
    }
    if length > UInt64(maximumHeader) { throw .headerTooLong(length) }
    return 8 + Int(length)
  }

  /// An array's place among the data.
  private struct Place {
    var name: String
    var type: ElementType
    var shape: [Int]
    var range: Range<Int>
  }

  /// The texts and arrays that a header speaks of, checked against the bytes of data after it.
  private static func places(
    header bytes: ArraySlice<UInt8>, data size: Int
  ) throws(SafetensorsError) -> (metadata: [String: String], places: [Place]) {
    if bytes.count < 2 || bytes.first != UInt8(ascii: "{") {
      throw .header("it is not a JSON object")
    }
    let header: Header
    do {
      header = try JSONDecoder().decode(Header.self, from: Data(bytes))
    } catch {
      throw .header("it is not JSON, or an array lacks dtype, shape or data_offsets")
    }
    var places: [Place] = []
    for (name, entry) in header.entries.sorted(by: { $0.key < $1.key }) {
      guard let type = ElementType(rawValue: entry.dtype) else {
        throw .tensor(
          name: name,
          problem: "unknown element type \"\(abbreviated(entry.dtype))\" (known: "
            + "\(ElementType.allCases.map(\.rawValue).joined(separator: ", ")))")
      }
      guard entry.data_offsets.count == 2, entry.data_offsets[0] >= 0,
        entry.data_offsets[0] <= entry.data_offsets[1], entry.data_offsets[1] <= size
      else {
        throw .tensor(
          name: name,
          problem: "its byte range \(abbreviated("\(entry.data_offsets)")) is not within the "
            + "\(size) bytes of data")
      }
      // An array without elements has a shape too, of which readers multiply parts.
      var (needed, extents) = (type.size, 1)
      for extent in entry.shape {
        let (product, overflow) = extents.multipliedReportingOverflow(by: max(1, extent))
        if extent < 0 || overflow || product > max(maximumEmpty, size) {
          throw .tensor(
            name: name, problem: "its shape \(abbreviated("\(entry.shape)")) is not possible")
        }
        extents = product
        needed *= extent
      }
      let range = entry.data_offsets[0]..<entry.data_offsets[1]
      if needed != range.count {
        throw .tensor(
          name: name,
          problem:
            "shape \(abbreviated("\(entry.shape)")) of \(entry.dtype) needs \(needed) bytes, "
            + "its range has \(range.count)")
      }
      places.append(Place(name: name, type: type, shape: entry.shape, range: range))
    }
    var end = 0
    for place in places.sorted(by: {
      ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
    }) {
      if place.range.lowerBound != end {
        throw .layout(
          place.range.lowerBound < end
            ? "\"\(abbreviated(place.name))\" overlaps another"
            : "a gap before \"\(abbreviated(place.name))\"")
      }
      end = place.range.upperBound
    }
    if end != size { throw .layout("\(size - end) bytes at the end belong to none") }
    return (header.metadata, places)
  }
}

private func littleEndian<Element, Word: FixedWidthInteger>(
  _ values: [Element], bits: (Element) -> Word
) -> [UInt8] {
  let size = MemoryLayout<Word>.size
  return [UInt8](unsafeUninitializedCapacity: size * values.count) { bytes, count in
    let words = UnsafeMutableRawBufferPointer(bytes)
    for (i, value) in values.enumerated() {
      words.storeBytes(of: bits(value).littleEndian, toByteOffset: size * i, as: Word.self)
    }
    count = size * values.count
  }
}

/// Matrices stored one after the other, row by row instead of column by column.
package func transposed(_ values: [Double], _ rows: Int, _ columns: Int) -> [Double] {
  let stride = rows * columns
  if stride == 0 || rows == 1 || columns == 1 { return values }
  return [Double](unsafeUninitializedCapacity: values.count) { result, count in
    values.withUnsafeBufferPointer { values in
      for start in Swift.stride(from: 0, to: values.count, by: stride) {
        for i in 0..<rows {
          for j in 0..<columns { result[start + i * columns + j] = values[start + i + rows * j] }
        }
      }
    }
    count = values.count
  }
}
