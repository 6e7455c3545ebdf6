import Configuration

/// A table of a run, `progress.csv` and its like: the whole rows that stand in it.
public struct RunTable: Sendable, Equatable {
  /// The headings.
  public let columns: [String]
  /// The cells of each row, as many as there are columns.
  public let rows: [[String]]

  /// No rows.
  static let empty = RunTable(columns: [], rows: [])

  private init(columns: [String], rows: [[String]]) {
    self.columns = columns
    self.rows = rows
  }

  /// Reads comma-separated values (RFC 4180). A last row without its end is one that is just being written, and is
  /// left out, as are rows that are longer or shorter than the headings.
  ///
  /// - Parameter bytes: UTF-8.
  public init(csv bytes: [UInt8]) {
    var rows: [[String]] = []
    var (row, field) = ([String](), [UInt8]())
    var (isQuoted, wasQuote) = (false, false)
    for byte in bytes {
      if isQuoted {
        if byte == UInt8(ascii: "\"") {
          (isQuoted, wasQuote) = (false, true)
        } else {
          field.append(byte)
        }
        continue
      }
      switch byte {
      case UInt8(ascii: "\""):
        // Two in a row are one that belongs to the text.
        if wasQuote { field.append(byte) }
        isQuoted = true
      case UInt8(ascii: ","), UInt8(ascii: "\n"):
        row.append(String(decoding: field, as: UTF8.self))
        field.removeAll(keepingCapacity: true)
        if byte == UInt8(ascii: "\n") {
          if rows.isEmpty || row.count == rows[0].count { rows.append(row) }
          row.removeAll(keepingCapacity: true)
        }
      case UInt8(ascii: "\r"): break
      default: field.append(byte)
      }
      wasQuote = false
    }
    columns = rows.first ?? []
    self.rows = Array(rows.dropFirst())
  }

  /// Whether there is a column of that name.
  public func has(_ column: String) -> Bool { columns.contains(column) }

  /// The cells of a column; empty texts where there is none of that name.
  public func texts(_ column: String) -> [String] {
    guard let index = columns.firstIndex(of: column) else { return rows.map { _ in "" } }
    return rows.map { $0[index] }
  }

  /// The numbers of a column; nil for an empty cell, and for what is no finite number.
  public func numbers(_ column: String) -> [Double?] {
    texts(column).map { text in Double(text).flatMap { $0.isFinite ? $0 : nil } }
  }

  /// The rows in which a column has a certain text.
  public func rows(where column: String, is text: String) -> RunTable {
    RunTable(columns: columns, rows: zip(rows, texts(column)).filter { $0.1 == text }.map(\.0))
  }
}
