/// Entries of a state that are the coordinates of one vector in space: a free body's place or rotation vector.
///
/// How the vector is shared among them is a matter of the axes, and a body that lies on a table has all of them
/// although some only jitter.
public struct StateVector: Sendable, Equatable {
  /// The coordinates.
  public let entries: Range<Int>
  /// The entries of their rates of change, one for each; nil if the state does not have them.
  public let rates: Range<Int>?

  /// A vector and its rates.
  public init(_ entries: Range<Int>, rates: Range<Int>? = nil) {
    precondition(
      rates.map { $0.count == entries.count } ?? true,
      "\(rates?.count ?? 0) rates of \(entries.count) coordinates")
    (self.entries, self.rates) = (entries, rates)
  }
}
