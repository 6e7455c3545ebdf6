extension DynamicSystem {
  /// Those of the state.
  public var observationNames: [String] { stateNames }

  /// Writes x.
  @inlinable
  public func observe(
    _ x: Span<Double>, goal: Span<Double>, into observation: inout MutableSpan<Double>
  ) {
    for i in 0..<x.count { observation[i] = x[i] }
  }
}
