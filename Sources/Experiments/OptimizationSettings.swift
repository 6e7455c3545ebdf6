public import LQR

/// What `optimize` does with an experiment whose dynamics are known.
public struct OptimizationSettings: Sendable, Equatable {
  /// How iterative LQR goes.
  public var ilqr = ILQR.Options()
  /// Bounds on the controls; nil for none but those of the plant itself.
  public var controlLimits: ControlLimits?

  /// The defaults.
  public init() {}
}
