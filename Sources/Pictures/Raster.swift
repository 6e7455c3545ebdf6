import Foundation

/// A picture of so many pixels in red, green and blue, of eight bits each, row by row from the top.
///
/// Coordinates are in pixels, x to the right and y down, from the upper left corner; the middle of the first pixel is
/// at (0.5, 0.5).
package struct Raster: Sendable, Equatable {
  /// Red, green and blue, from 0 to 255.
  package typealias Colour = SIMD3<UInt8>

  package let width: Int
  package let height: Int
  /// 3 × width × height bytes.
  package private(set) var pixels: [UInt8]

  /// A picture of one colour.
  package init(width: Int, height: Int, _ colour: Colour = Colour(255, 255, 255)) {
    precondition(width > 0 && height > 0, "a picture of \(width) × \(height) pixels")
    self.width = width
    self.height = height
    pixels = [UInt8](unsafeUninitializedCapacity: 3 * width * height) { buffer, count in
      count = 3 * width * height
      for pixel in 0..<width * height {
        for i in 0..<3 { buffer[3 * pixel + i] = colour[i] }
      }
    }
  }

  /// A picture of given pixels, row by row from the top.
  package init(width: Int, height: Int, pixels: [UInt8]) {
    precondition(
      pixels.count == 3 * width * height, "\(pixels.count) bytes for \(width) × \(height) pixels")
    self.width = width
    self.height = height
    self.pixels = pixels
  }

  /// The colour of a pixel.
  package subscript(x: Int, y: Int) -> Colour {
    let at = 3 * (y * width + x)
    return Colour(pixels[at], pixels[at + 1], pixels[at + 2])
  }

  /// Mixes a colour into a pixel.
  private mutating func mix(_ colour: Colour, _ x: Int, _ y: Int, share: Double) {
    let at = 3 * (y * width + x)
    for i in 0..<3 {
      let old = Double(pixels[at + i])
      pixels[at + i] = UInt8(old + (Double(colour[i]) - old) * share)
    }
  }

  /// The pixels of a range of coordinates that lie within.
  private static func pixels(_ low: Double, _ high: Double, within count: Int) -> Range<Int> {
    // What is not a number is nowhere.
    guard low < Double(count), high > 0 else { return 0..<0 }
    return Int(max(0, low.rounded(.down)))..<Int(min(Double(count), high.rounded(.up)))
  }

  /// Fills what lies nearer to something than a distance, with soft edges.
  private mutating func fill(
    _ colour: Colour, x: ClosedRange<Double>, y: ClosedRange<Double>, reach: Double,
    distance: (_ x: Double, _ y: Double) -> Double
  ) {
    for row in Self.pixels(y.lowerBound - reach - 1, y.upperBound + reach + 1, within: height) {
      for column in Self.pixels(x.lowerBound - reach - 1, x.upperBound + reach + 1, within: width) {
        let share = reach + 0.5 - distance(Double(column) + 0.5, Double(row) + 0.5)
        if share > 0 { mix(colour, column, row, share: min(1, share)) }
      }
    }
  }

  /// A straight line with round ends.
  package mutating func line(
    _ a: SIMD2<Double>, _ b: SIMD2<Double>, width thickness: Double = 1.5, _ colour: Colour
  ) {
    let (dx, dy) = (b.x - a.x, b.y - a.y)
    let square = dx * dx + dy * dy
    guard square.isFinite else { return }
    fill(
      colour, x: min(a.x, b.x)...max(a.x, b.x), y: min(a.y, b.y)...max(a.y, b.y),
      reach: thickness / 2
    ) { x, y in
      let along = square > 0 ? min(1, max(0, ((x - a.x) * dx + (y - a.y) * dy) / square)) : 0
      return hypot(x - a.x - along * dx, y - a.y - along * dy)
    }
  }

  /// A disc.
  package mutating func disc(_ centre: SIMD2<Double>, radius: Double, _ colour: Colour) {
    line(centre, centre, width: 2 * radius, colour)
  }

  /// A rectangle.
  package mutating func rectangle(x: Range<Double>, y: Range<Double>, _ colour: Colour) {
    for row in Self.pixels(y.lowerBound, y.upperBound, within: height) {
      for column in Self.pixels(x.lowerBound, x.upperBound, within: width) {
        mix(colour, column, row, share: 1)
      }
    }
  }

  /// Writes letters of 5 × 7 dots; capitals as small ones, and a dot's width for what has no form here.
  ///
  /// - Parameters:
  ///   - text: one line.
  ///   - x: the left end of the first letter.
  ///   - y: the upper end.
  ///   - scale: pixels of a dot.
  ///   - colour: of the letters.
  package mutating func write(_ text: String, x: Int, y: Int, scale: Int = 1, _ colour: Colour) {
    var x = x
    for character in text.lowercased() {
      for (row, bits) in (Self.glyphs[character] ?? []).enumerated() {
        for column in 0..<5 where bits & (16 >> UInt8(column)) != 0 {
          for dy in 0..<scale {
            for dx in 0..<scale {
              let (px, py) = (x + column * scale + dx, y + row * scale + dy)
              if (0..<width).contains(px) && (0..<height).contains(py) {
                mix(colour, px, py, share: 1)
              }
            }
          }
        }
      }
      x += 6 * scale
    }
  }

  /// The pixels that a text is wide.
  package static func width(of text: String, scale: Int = 1) -> Int {
    max(0, (6 * text.count - 1) * scale)
  }

  /// Puts another picture on this one; what does not fit is left out.
  package mutating func put(_ other: Raster, x: Int, y: Int) {
    copy(other, from: (0, 0), to: (x, y), width: other.width, height: other.height)
  }

  /// A row at a time.
  private mutating func copy(
    _ other: Raster, from: (x: Int, y: Int), to: (x: Int, y: Int), width: Int, height: Int
  ) {
    let first = max(0, -from.x, -to.x)
    let last = min(width, other.width - from.x, self.width - to.x)
    if last <= first { return }
    let (own, tall) = (self.width, self.height)
    pixels.withUnsafeMutableBufferPointer { target in
      other.pixels.withUnsafeBufferPointer { source in
        guard let target = target.baseAddress, let source = source.baseAddress else { return }
        for row in max(
          0, -from.y, -to.y)..<max(
            0, -from.y, -to.y, min(height, other.height - from.y, tall - to.y))
        {
          let (a, b) = (
            3 * ((from.y + row) * other.width + from.x + first),
            3 * ((to.y + row) * own + to.x + first)
          )
          (target + b).update(from: source + a, count: 3 * (last - first))
        }
      }
    }
  }

  /// A part of it.
  package func part(x: Int, y: Int, width: Int, height: Int) -> Raster {
    var part = Raster(width: width, height: height)
    part.copy(self, from: (x, y), to: (0, 0), width: width, height: height)
    return part
  }

  /// Five bits a row, from the top, the left one first.
  private static let glyphs: [Character: [UInt8]] = [
    "0": [14, 17, 19, 21, 25, 17, 14],
    "1": [4, 12, 4, 4, 4, 4, 14],
    "2": [14, 17, 1, 6, 8, 16, 31],
    "3": [14, 17, 1, 6, 1, 17, 14],
    "4": [2, 6, 10, 18, 31, 2, 2],
    "5": [31, 16, 30, 1, 1, 17, 14],
    "6": [6, 8, 16, 30, 17, 17, 14],
    "7": [31, 1, 2, 2, 4, 4, 4],
    "8": [14, 17, 17, 14, 17, 17, 14],
    "9": [14, 17, 17, 15, 1, 2, 12],
    "a": [0, 0, 14, 1, 15, 17, 15],
    "b": [16, 16, 30, 17, 17, 17, 30],
    "c": [0, 0, 15, 16, 16, 16, 15],
    "d": [1, 1, 15, 17, 17, 17, 15],
    "e": [0, 0, 14, 17, 31, 16, 14],
    "f": [6, 9, 8, 28, 8, 8, 8],
    "g": [0, 15, 17, 17, 15, 1, 14],
    "h": [16, 16, 22, 25, 17, 17, 17],
    "i": [4, 0, 12, 4, 4, 4, 14],
    "j": [2, 0, 6, 2, 2, 18, 12],
    "k": [16, 16, 18, 20, 24, 20, 18],
    "l": [12, 4, 4, 4, 4, 4, 14],
    "m": [0, 0, 26, 21, 21, 21, 21],
    "n": [0, 0, 30, 17, 17, 17, 17],
    "o": [0, 0, 14, 17, 17, 17, 14],
    "p": [0, 30, 17, 17, 30, 16, 16],
    "q": [0, 15, 17, 17, 15, 1, 1],
    "r": [0, 0, 22, 25, 16, 16, 16],
    "s": [0, 0, 15, 16, 14, 1, 30],
    "t": [8, 8, 30, 8, 8, 9, 6],
    "u": [0, 0, 17, 17, 17, 17, 15],
    "v": [0, 0, 17, 17, 17, 10, 4],
    "w": [0, 0, 21, 21, 21, 21, 10],
    "x": [0, 0, 17, 10, 4, 10, 17],
    "y": [0, 17, 17, 17, 15, 1, 14],
    "z": [0, 0, 31, 2, 4, 8, 31],
    "-": [0, 0, 0, 31, 0, 0, 0],
    "+": [0, 4, 4, 31, 4, 4, 0],
    ".": [0, 0, 0, 0, 0, 12, 12],
    ",": [0, 0, 0, 0, 12, 4, 8],
    ":": [0, 12, 12, 0, 12, 12, 0],
    "/": [1, 2, 2, 4, 8, 8, 16],
    "_": [0, 0, 0, 0, 0, 0, 31],
    "%": [25, 26, 2, 4, 8, 11, 19],
    "(": [2, 4, 8, 8, 8, 4, 2],
    ")": [8, 4, 2, 2, 2, 4, 8],
  ]
}

extension Raster {
  /// The picture as a PNG file (https://www.w3.org/TR/png).
  package var png: [UInt8] {
    var bytes: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
    func bigEndian(_ value: UInt32) -> [UInt8] {
      withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }
    func append(_ kind: String, _ content: [UInt8]) {
      let body = Array(kind.utf8) + content
      bytes += bigEndian(UInt32(content.count)) + body + bigEndian(CRC32.checksum(of: body))
    }
    // Eight bits of red, green and blue each; no interlacing.
    append("IHDR", bigEndian(UInt32(width)) + bigEndian(UInt32(height)) + [8, 2, 0, 0, 0])
    // Each row is told as differences from the one above, of which most are zero in drawings.
    var filtered: [UInt8] = []
    filtered.reserveCapacity(height * (3 * width + 1))
    for row in 0..<height {
      filtered.append(2)
      let at = 3 * width * row
      for i in at..<at + 3 * width {
        filtered.append(pixels[i] &- (row > 0 ? pixels[i - 3 * width] : 0))
      }
    }
    append("IDAT", Deflate.zlib(filtered))
    append("IEND", [])
    return bytes
  }
}

/// The checksum of PNG's chunks (reflected, 0xEDB88320).
private enum CRC32 {
  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in
      value & 1 == 1 ? 0xEDB8_8320 ^ value >> 1 : value >> 1
    }
  }

  static func checksum(of bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(~UInt32(0)) { table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 }
  }
}
