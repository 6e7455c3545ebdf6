extension SumCost {
  /// What files call each term, in their order.
  package var termNames: [String] { entries.map { $0.term.base.kindName } }
}
