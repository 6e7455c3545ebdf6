/// One number, or word, that a learner reports of an iteration or of one of its conditions: a cell of
/// `progress.csv` or `conditions.csv`.
public struct Metric: Sendable, Equatable {
  /// What stands in a cell.
  public enum Value: Sendable, Equatable {
    /// A number; nil, NaN and infinities stand for the mean of nothing and leave the cell empty.
    case number(Double?)
    /// One word of a closed set, such as a status.
    case word(String)
  }

  /// A column: the learner declares all of them before the first iteration.
  public struct Column: Sendable, Equatable {
    /// The heading in CSV files, in snake case, with the unit where there is one: "seconds_rollouts".
    public let name: String
    /// The heading in the progress table; nil if it is not shown there.
    public let title: String?

    /// A column.
    public init(_ name: String, title: String? = nil) {
      self.name = name
      self.title = title
    }
  }

  /// The column's name.
  public let name: String
  /// What stands in it.
  public let value: Value

  /// A number.
  public init(_ name: String, _ value: Double?) {
    self.name = name
    self.value = .number(value)
  }

  /// A count.
  public init(_ name: String, _ value: Int) { self.init(name, Double(value)) }

  /// A word of a closed set.
  public init(_ name: String, _ word: some RawRepresentable<String>) {
    self.name = name
    value = .word(word.rawValue)
  }

  /// The number; nil for a word, and for a number that is not finite.
  public var number: Double? {
    if case .number(let number?) = value, number.isFinite { number } else { nil }
  }
}

extension [Metric] {
  /// The finite number of that name; nil without one.
  public subscript(name: String) -> Double? { first { $0.name == name }?.number }
}
