import Foundation
import Statistics

/// Spoils experiment files: what comes out may be no YAML, no UTF-8, or quite another experiment.
public struct ExperimentMutator {
  private let files: [[String]]
  private var stream: RandomStream

  /// - Parameters:
  ///   - files: the texts to spoil.
  ///   - seed: the same seed gives the same mutations.
  public init(files: [String], seed: UInt64) {
    self.files = files.map {
      $0.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }
    stream = RandomStream(seed: seed)
  }

  /// Numbers that may well be allowed.
  private static let numbers = [
    "0", "1", "2", "3", "7", "10", "40", "100", "1000", "1000000", "-1", "-0.5", "0.5", "0.001",
    "1e-6", "1e-12", "1e-300", "1e6", "1e12", "1e150", "1e300", "5e-324", "9223372036854775807",
  ]

  private static let words = [
    "", "null", "~", "[]", "{}", "[[]]", "[1, 2]", "[null]", "{a: 1}", "text", "\"text\"", "''",
    "true", "yes", "-1", "0", "1", "2", "0.5", "1e308", "-1e308", "1e-308", "5e-324", "1e999",
    ".nan", "nan", ".inf", "-inf", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "18446744073709551615", "99999999999999999999999999", "0x10", "1_000",
    "1000000", "65536", "2147483648", "-0.0", "1e5", "{goal: 9223372036854775807}", "goal",
    "{points: [nothing]}", "{last: 9223372036854775807}", "!!float 1",
    "!!python/object:os.system x",
    "&a 1", "*a", "|", ">", "@", "%", "`", "- - -", "? a", "<<: {a: 1}", "../../../etc/passwd",
    "/dev/zero", "/proc/self/mem", "\"\\0\"", "\"a\\nb\"", "[1e308, -1e308, 1e308, -1e308]",
  ]

  private static let scalars: [Unicode.Scalar] = [
    "\u{0}", "\u{7}", "\u{85}", "\u{A0}", "\u{301}", "\u{200B}", "\u{202E}", "\u{2028}", "\u{FEFF}",
    "\u{FFFD}", "\u{1F600}", "\u{10FFFF}", "é", "Ω", "漢", "\t", "\r", "\"", "'", ":", "#", "-", "{",
    "[", "&", "*",
  ]

  private mutating func index(_ count: Int) -> Int { stream.index(below: max(1, count)) }

  private mutating func word() -> String { Self.words[index(Self.words.count)] }

  /// The next mutation: which file it began as, and its bytes.
  public mutating func next() -> (file: Int, bytes: [UInt8]) {
    let file = index(files.count)
    var lines = files[file]
    // Half of them are one wrong number and nothing else.
    if index(2) == 0 {
      let rows = lines.indices.filter {
        !lines[$0].contains("#") && lines[$0].contains(/[0-9]/)
      }
      replaceNumber(&lines[rows[index(rows.count)]], with: Self.numbers[index(Self.numbers.count)])
      return (file, Array(lines.joined(separator: "\n").utf8))
    }
    for _ in 0...index(3) { mutate(&lines) }
    var bytes = Array(lines.joined(separator: "\n").utf8)
    switch index(12) {
    case 0: bytes = Array(bytes.prefix(index(bytes.count)))
    case 1:
      for _ in 0...index(4) where !bytes.isEmpty { bytes[index(bytes.count)] = UInt8(index(256)) }
    default: break
    }
    return (file, bytes)
  }

  private mutating func mutate(_ lines: inout [String]) {
    let i = index(lines.count)
    guard lines.indices.contains(i) else { return }
    switch index(17) {
    case 0: lines.remove(at: i)
    case 1: lines.insert(lines[i], at: i)
    case 2: lines.swapAt(i, index(lines.count))
    case 3:
      let other = files[index(files.count)]
      lines.insert(other[index(other.count)], at: i)
    case 4, 5: replaceValue(&lines[i], with: word())
    case 6, 7: replaceNumber(&lines[i], with: word())
    case 8: renameKey(&lines[i])
    case 9:
      let depth = [10, 45, 2_000, 100_000][index(4)]
      let (open, close) = index(2) == 0 ? ("[", "]") : ("{a: ", "}")
      replaceValue(
        &lines[i],
        with: String(repeating: open, count: depth)
          + (index(2) == 0 ? String(repeating: close, count: depth) : ""))
    case 10:
      replaceValue(&lines[i], with: String(repeating: "x", count: [101, 5_000, 1 << 20][index(3)]))
    case 11:
      let scalar = Self.scalars[index(Self.scalars.count)]
      var scalars = Array(lines[i].unicodeScalars)
      scalars.insert(scalar, at: index(scalars.count + 1))
      var text = String.UnicodeScalarView()
      text.append(contentsOf: scalars)
      lines[i] = String(text)
    case 12:
      var bomb = ["b0: &b0 [x, x, x, x, x, x, x, x, x, x]"]
      for level in 1...9 {
        bomb.append(
          "b\(level): &b\(level) ["
            + [String](repeating: "*b\(level - 1)", count: 10).joined(separator: ", ") + "]")
      }
      lines.insert(contentsOf: bomb, at: i)
    case 13:
      lines[i] = lines[i].replacingOccurrences(of: "  ", with: "\t")
    case 14: lines[i] = String(repeating: " ", count: index(4)) + lines[i]
    case 15: lines[i] = String(lines[i].drop { $0 == " " })
    default: lines.insert("---", at: i)
    }
  }

  private mutating func replaceValue(_ line: inout String, with value: String) {
    guard let colon = line.firstIndex(of: ":") else { return line += value }
    line = String(line[...colon]) + " " + value
  }

  private mutating func replaceNumber(_ line: inout String, with value: String) {
    let pattern = /-?[0-9][0-9.e-]*/
    let ranges = line.ranges(of: pattern)
    if ranges.isEmpty { return }
    line.replaceSubrange(ranges[index(ranges.count)], with: value)
  }

  private mutating func renameKey(_ line: inout String) {
    let pattern = /[A-Za-z0-9]+:/
    let ranges = line.ranges(of: pattern)
    if ranges.isEmpty { return }
    let range = ranges[index(ranges.count)]
    var key = Array(line[range].dropLast())
    switch index(4) {
    case 0: key.remove(at: index(key.count))
    case 1: key.insert("x", at: index(key.count))
    case 2: key = Array(String(key).uppercased())
    default: key = Array(word().filter { !$0.isNewline })
    }
    line.replaceSubrange(range, with: String(key) + ":")
  }
}
