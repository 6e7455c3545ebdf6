import Foundation

/// Numbers as people read them.
package enum Written {
  /// Four significant digits, or a dash for nothing.
  package static func number(_ value: Double?) -> String {
    guard let value, value.isFinite else { return "-" }
    return String(format: "%.4g", value)
  }

  /// A share as a percentage, or a dash for nothing.
  package static func percent(_ value: Double?) -> String {
    // Beyond what is a share at all.
    guard let value, abs(value) < 1e15 else { return "-" }
    return "\(Int((100 * value).rounded())) %"
  }

  /// Seconds in the unit that suits them.
  package static func duration(_ value: Double) -> String {
    if value < 60 { return String(format: "%.0f s", value) }
    if value < 3600 { return String(format: "%.0f min", value / 60) }
    return String(format: "%.1f h", value / 3600)
  }
}

func number(_ value: Double?) -> String { Written.number(value) }
func percent(_ value: Double?) -> String { Written.percent(value) }
func duration(_ value: Double) -> String { Written.duration(value) }

/// "1 run", "2 runs".
func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
