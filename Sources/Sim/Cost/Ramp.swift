package import Configuration

/// The factor on a cost term over time. The terminal state, step T, counts as the last step.
public struct Ramp: Sendable, Equatable {
  /// The course from step 0 to step T.
  public enum Shape: String, Sendable, CaseIterable {
    /// 1 at every step.
    case constant
    /// (t + 1) / (T + 1).
    case linear
    /// ((t + 1) / (T + 1))².
    case quadratic
    /// 1 at step T, 0 before it.
    case finalOnly
  }

  /// The course over time.
  public var shape: Shape
  /// A further factor at step T alone.
  public var finalMultiplier: Double

  /// A ramp.
  public init(_ shape: Shape = .constant, finalMultiplier: Double = 1) {
    self.shape = shape
    self.finalMultiplier = finalMultiplier
  }

  /// 1 at every step.
  public static let constant = Ramp(.constant)
  /// (t + 1) / (T + 1).
  public static let linear = Ramp(.linear)
  /// ((t + 1) / (T + 1))².
  public static let quadratic = Ramp(.quadratic)
  /// 1 at step T, 0 before it.
  public static let finalOnly = Ramp(.finalOnly)
  /// 1 before step T, `factor` at it.
  public static func finalMultiplier(_ factor: Double) -> Ramp {
    Ramp(.constant, finalMultiplier: factor)
  }

  /// The factor at step t of 0 … `horizon`.
  public func factor(at step: Int, horizon: Int) -> Double {
    let share = Double(step + 1) / Double(horizon + 1)
    let last = step == horizon
    let course =
      switch shape {
      case .constant: 1.0
      case .linear: share
      case .quadratic: share * share
      case .finalOnly: last ? 1.0 : 0.0
      }
    return last ? course * finalMultiplier : course
  }
}

extension Ramp.Shape: Setting {}

/// A word, or a mapping if step T has a factor of its own.
extension Ramp: Setting {
  package static var codec: Codec<Ramp> {
    let (word, schema) = (Shape.codec, schema)
    return Codec(
      expects: word.expects + ", or a mapping", entries: schema.codec.entries,
      read: { (tree, path) throws(SettingsError) in
        if case .mapping = tree.content { return try schema.read(tree, path) }
        return Ramp(try word.read(tree, path))
      },
      write: { $0.finalMultiplier == 1 ? word.write($0.shape) : schema.codec.write($0) })
  }

  private static let schema = Schema<Ramp>(Ramp()) {
    Field("shape", \.shape, "The course from step 0 to step T.")
    Field(
      "finalMultiplier", \.finalMultiplier, .notNegative, "A further factor at step T alone.")
  }
}
