import Configuration
public import Foundation

/// A film in a file, by ffmpeg: pictures go in as they are, a film comes out.
public struct MovieFile: Sendable {
  /// Endings of names that are films, each with what ffmpeg is told.
  private static let formats = [
    "mp4": [
      "-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p", "-movflags",
      "+faststart",
    ],
    "webm": [
      "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-pix_fmt", "yuv420p",
    ],
    "gif": [],
  ]

  /// The endings of names that are films.
  public static var endings: [String] { formats.keys.sorted() }

  private let ffmpeg: URL
  private let arguments: [String]
  private let ending: String

  /// The program, if it is on the path; nil without it.
  public static var program: URL? {
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").lazy
      .map { URL(fileURLWithPath: String($0)).appendingPathComponent("ffmpeg") }
      .first { FileManager.default.isExecutableFile(atPath: $0.path) }
  }

  /// A film to be made.
  ///
  /// - Parameters:
  ///   - ending: one of `endings`.
  ///   - width: pixels across, even.
  ///   - height: pixels down, even.
  ///   - rate: pictures a second.
  /// - Throws: `FilmError.encoder` without ffmpeg.
  public init(ending: String, width: Int, height: Int, rate: Double) throws(FilmError) {
    guard let program = Self.program else { throw .encoder(reason: "there is no such program") }
    ffmpeg = program
    self.ending = ending
    arguments =
      [
        "-nostdin", "-loglevel", "error", "-y", "-f", "rawvideo", "-pixel_format", "rgb24",
        "-video_size", "\(width)x\(height)", "-framerate", shortest(rate), "-i", "pipe:0", "-an",
      ] + (Self.formats[ending] ?? [])
  }

  /// Makes it.
  ///
  /// - Parameter shoot: hands pictures over, one after the other.
  /// - Returns: the file's bytes.
  /// - Throws: `FilmError.encoder`, or what `shoot` throws.
  public func made(by shoot: (_ show: (_ pixels: [UInt8]) throws -> Void) throws -> Void) throws
    -> [UInt8]
  {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "gps-film-\(UUID().uuidString)", isDirectory: true)
    do {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    } catch { throw FilmError.encoder(reason: "cannot make \(folder.path)") }
    defer { try? FileManager.default.removeItem(at: folder) }
    // A file: what a film begins with is known at its end.
    let (film, said) = (
      folder.appendingPathComponent("film.\(ending)"), folder.appendingPathComponent("errors")
    )
    _ = FileManager.default.createFile(atPath: said.path, contents: nil)
    let (process, pipe) = (Process(), Pipe())
    process.executableURL = ffmpeg
    process.arguments = arguments + [film.path]
    process.standardInput = pipe
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle(forWritingAtPath: said.path)
    do { try process.run() } catch { throw FilmError.encoder(reason: "\(error)") }
    try? pipe.fileHandleForReading.close()
    // An encoder that goes away is an error here, not a signal.
    signal(SIGPIPE, SIG_IGN)
    var isTaken = true
    do {
      try shoot { pixels in
        guard isTaken else { return }
        isTaken = Self.write(pixels, to: pipe.fileHandleForWriting.fileDescriptor)
      }
    } catch {
      process.terminate()
      try? pipe.fileHandleForWriting.close()
      process.waitUntilExit()
      throw error
    }
    try? pipe.fileHandleForWriting.close()
    process.waitUntilExit()
    guard process.terminationStatus == 0, isTaken,
      let bytes = try? RegularFile.read(film.path, atMost: 1 << 31), !bytes.isEmpty
    else {
      let text = String(decoding: (try? Data(contentsOf: said)) ?? Data(), as: UTF8.self)
      let line = text.split(separator: "\n").last.map { visible(String($0), limit: 300) }
      throw FilmError.encoder(reason: line ?? "it ended with code \(process.terminationStatus)")
    }
    return bytes
  }

  private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    var offset = 0
    while offset < bytes.count {
      let count = bytes.withUnsafeBytes {
        Foundation.write(descriptor, $0.baseAddress?.advanced(by: offset), bytes.count - offset)
      }
      if count < 0 && errno == EINTR { continue }
      if count < 0 { return false }
      offset += count
    }
    return true
  }
}
