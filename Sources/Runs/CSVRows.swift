import Configuration
package import GPSCore

/// Rows of comma-separated values (RFC 4180, with line feeds), built in one buffer.
package struct CSVRows {
  package private(set) var bytes: [UInt8] = []
  private var isRowEmpty = true

  /// No rows.
  package init() {}

  /// One row of names.
  package init(header: [String]) {
    for name in header { append(name) }
    endRow()
  }

  private mutating func beginField() {
    if !isRowEmpty { bytes.append(UInt8(ascii: ",")) }
    isRowEmpty = false
  }

  /// A text, quoted only where it must be.
  package mutating func append(_ text: String) {
    beginField()
    let mustQuote = text.utf8.contains {
      $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "\"") || $0 == 10 || $0 == 13
    }
    if !mustQuote {
      bytes.append(contentsOf: text.utf8)
      return
    }
    bytes.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      if byte == UInt8(ascii: "\"") { bytes.append(byte) }
      bytes.append(byte)
    }
    bytes.append(UInt8(ascii: "\""))
  }

  /// A whole number.
  package mutating func append(_ number: Int) {
    beginField()
    bytes.append(contentsOf: number.description.utf8)
  }

  /// The shortest text that reads back as the same number; an empty field for nil, and for NaN and
  /// infinities, which stand for the mean of nothing.
  package mutating func append(_ number: Double?) {
    beginField()
    if let number, number.isFinite { bytes.append(contentsOf: shortest(number).utf8) }
  }

  /// A field with nothing in it.
  package mutating func appendEmpty() { beginField() }

  /// A field for each column; empty where there is no metric of its name.
  package mutating func append(_ metrics: [Metric], by columns: [Metric.Column]) {
    precondition(
      metrics.allSatisfy { metric in columns.contains { $0.name == metric.name } },
      "metrics \(metrics.map(\.name)) for columns \(columns.map(\.name))")
    for column in columns {
      switch metrics.first(where: { $0.name == column.name })?.value {
      case .number(let number): append(number)
      case .word(let word): append(word)
      case nil: appendEmpty()
      }
    }
  }

  /// Ends the row.
  package mutating func endRow() {
    bytes.append(UInt8(ascii: "\n"))
    isRowEmpty = true
  }
}
