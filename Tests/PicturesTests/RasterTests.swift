import Foundation
import Statistics
import Testing

@testable import Pictures

@Suite struct RasterTests {
  /// Python's zlib and its plain bytes: what is packed here is unpacked there.
  private func unpacked(_ bytes: [UInt8], by script: String) throws -> [UInt8] {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try Data(bytes).write(to: url)
    defer { try? FileManager.default.removeItem(at: url) }
    let (process, pipe) = (Process(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", "-c", script, url.path]
    process.standardOutput = pipe
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return [UInt8](output)
  }

  @Test func pythonInflatesIt() throws {
    var draws = RandomStream(seed: 1)
    var bytes: [UInt8] = []
    // Runs of every length that has a code of its own, of bytes of both lengths of code.
    for length in 1...600 { bytes += [UInt8](repeating: UInt8(length * 37 % 256), count: length) }
    for _ in 0..<2000 { bytes.append(UInt8(draws.uniform() * 256)) }
    let script =
      "import sys, zlib; sys.stdout.buffer.write(zlib.decompress(open(sys.argv[1], 'rb').read()))"
    for content in [bytes, [], [7], [7, 7, 7, 7]] {
      #expect(try unpacked(Deflate.zlib(content), by: script) == content)
    }
    #expect(Deflate.zlib([UInt8](repeating: 255, count: 100_000)).count < 1000)
  }

  /// A reader of chunks, with the checksums of Python's zlib, gets every pixel back.
  @Test func pythonReadsPNG() throws {
    var picture = Raster(width: 61, height: 33, Raster.Colour(250, 250, 250))
    picture.line(SIMD2(3, 4), SIMD2(50, 30), Raster.Colour(0, 114, 178))
    picture.disc(SIMD2(20, 20), radius: 6, Raster.Colour(230, 159, 0))
    picture.write("x-1.5e+3%", x: 1, y: 20, Raster.Colour(0, 0, 0))
    let script = """
      import struct, sys, zlib
      data = open(sys.argv[1], "rb").read()
      assert data[:8] == b"\\x89PNG\\r\\n\\x1a\\n"
      at, packed, names = 8, b"", []
      while at < len(data):
          size, name = struct.unpack(">I4s", data[at:at + 8])
          body = data[at + 8:at + 8 + size]
          assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(name + body)
          names.append(name)
          if name == b"IHDR":
              width, height, depth, kind, method, filtering, interlace = struct.unpack(">IIBBBBB", body)
              assert (depth, kind, method, filtering, interlace) == (8, 2, 0, 0, 0)
          if name == b"IDAT":
              packed += body
          at += 12 + size
      assert names == [b"IHDR", b"IDAT", b"IEND"], names
      rows, above = zlib.decompress(packed), bytes(3 * width)
      assert len(rows) == height * (3 * width + 1)
      for y in range(height):
          row = rows[y * (3 * width + 1):(y + 1) * (3 * width + 1)]
          assert row[0] == 2
          above = bytes((a + b) % 256 for a, b in zip(row[1:], above))
          sys.stdout.buffer.write(above)
      """
    #expect(try unpacked(picture.png, by: script) == picture.pixels)
  }

  @Test func linesCoverWhatTheyShould() {
    let (white, black) = (Raster.Colour(255, 255, 255), Raster.Colour(0, 0, 0))
    var picture = Raster(width: 20, height: 20)
    picture.line(SIMD2(2.5, 10.5), SIMD2(16.5, 10.5), width: 3, black)
    for x in 0..<20 {
      #expect((picture[x, 10] == black) == (1...17).contains(x), "\(x)")
      #expect(picture[x, 13] == white && picture[x, 7] == white)
    }
    // The ink of a line is its area, whatever its direction.
    for angle in [0.0, 0.3, 0.8, 1.2] {
      var picture = Raster(width: 100, height: 100)
      let half = SIMD2(30 * cos(angle), 30 * sin(angle))
      picture.line(SIMD2(50, 50) - half, SIMD2(50, 50) + half, width: 4, black)
      let ink = picture.pixels.reduce(0.0) { $0 + (255 - Double($1)) / (3 * 255) }
      #expect(abs(ink - (240 + Double.pi * 4)) < 8, "\(angle): \(ink)")
    }
  }

  /// What lies outside, or nowhere, changes nothing and ends nothing.
  @Test func whatDoesNotFitIsLeftOut() {
    let blank = Raster(width: 10, height: 10)
    var picture = blank
    let ink = Raster.Colour(1, 2, 3)
    picture.line(SIMD2(-50, -50), SIMD2(-20, 90), ink)
    picture.line(SIMD2(.nan, 1), SIMD2(4, .infinity), ink)
    picture.disc(SIMD2(1e18, 1e18), radius: 3, ink)
    picture.rectangle(x: 10..<20, y: -8..<0, ink)
    picture.write("off", x: -60, y: 3, ink)
    picture.write("\u{1F600} é", x: 0, y: 0, ink)
    picture.put(Raster(width: 5, height: 5, ink), x: 12, y: -3)
    #expect(picture == blank)
    #expect(blank.part(x: 20, y: -7, width: 3, height: 3) == Raster(width: 3, height: 3))
    picture.put(Raster(width: 5, height: 5, ink), x: 8, y: -3)
    let corner = picture.part(x: 7, y: 0, width: 3, height: 2)
    #expect(
      corner[0, 0] == Raster.Colour(255, 255, 255) && corner[1, 0] == ink && corner[2, 1] == ink)
    #expect(picture.pixels.count { $0 != 255 } == 3 * 2 * 2)
  }
}
