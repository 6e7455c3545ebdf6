import Foundation

/// Reference figures that a script in scripts/fixtures wrote to Tests/Fixtures.
public enum Fixture {
  /// The contents of `Tests/Fixtures/NAME.json`.
  public static func load<Contents: Decodable>(
    _ name: String, as type: Contents.Type = Contents.self
  ) throws -> Contents {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent()
    let file = tests.appendingPathComponent("Fixtures/\(name).json")
    return try JSONDecoder().decode(type, from: Data(contentsOf: file))
  }
}

/// The largest |a − b| relative to the largest |b|; infinity if the lengths differ or a is not finite.
public func relativeError(_ a: [Double], _ b: [Double]) -> Double {
  guard a.count == b.count, a.allSatisfy(\.isFinite) else { return .infinity }
  let scale = b.reduce(0) { max($0, abs($1)) }
  let gap = zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) }
  return scale > 0 ? gap / scale : gap
}
