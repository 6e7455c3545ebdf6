public import LinearAlgebra
public import Statistics

/// Numbers that a stage could not work with. A search survives it: the condition keeps its controller, or
/// the network its weights, and a note says why. Every other error, such as an option that is not
/// allowed, ends the search.
public protocol NumericalFailure: Error, CustomStringConvertible {
  /// Whether it comes from this iteration's numbers, so that the next may fare better.
  var isNumerical: Bool { get }
}

extension NumericalFailure {
  /// True unless a type says otherwise.
  public var isNumerical: Bool { true }
}

extension LinearAlgebraError: NumericalFailure {}
extension StatisticsError: NumericalFailure {}
extension CostError: NumericalFailure {}
extension ControllerError: NumericalFailure {}
