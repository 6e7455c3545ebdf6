import Configuration
public import Differentiation

/// What an actuator with a symmetric limit delivers.
@inlinable
func limited<S: DifferentiableScalar>(_ command: S, to limit: Double?) -> S {
  guard let limit else { return command }
  return command.clamped(to: -limit...limit)
}

/// What an actuator delivers that knows so many evenly spaced levels within its limit, if it knows no others: the
/// range of commands is cut into as many equal parts. Its derivative by the command is 0.
@inlinable
func delivered<S: DifferentiableScalar>(_ command: S, limit: Double?, levels: Int?) -> S {
  let command = limited(command, to: limit)
  guard let limit, let levels else { return command }
  let parts = Double(levels)
  let part = Swift.min((0.5 * (command.value / limit + 1) * parts).rounded(.down), parts - 1)
  return S(limit * (2 * part / (parts - 1) - 1))
}

/// Refuses levels without a limit that they are within.
func checkLevels(
  _ levels: Int?, _ key: String, of limit: Double?, _ limitKey: String
) throws(InvalidOption) {
  guard let levels else { return }
  try InvalidOption.require(limit != nil, key, levels, "null while \(limitKey) is null")
}

extension DynamicSystem {
  /// The system whose actuators know all levels, where its own know a few.
  func without(_ levels: WritableKeyPath<Self, Int?>) -> Self? {
    if self[keyPath: levels] == nil { return nil }
    var system = self
    system[keyPath: levels] = nil
    return system
  }
}
