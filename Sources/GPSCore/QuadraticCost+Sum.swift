public import LinearAlgebra

extension QuadraticCost {
  /// Adds another cost of the same shape, step by step: Hessians, gradients and constants add up.
  public mutating func add(_ other: QuadraticCost) {
    precondition(
      other.state == state && other.control == control && other.horizon == horizon,
      "a cost of \(other.state) states, \(other.control) controls and \(other.horizon) steps added "
        + "to one of \(state), \(control) and \(horizon)")
    for i in hessians.storage.indices { hessians.storage[i] += other.hessians.storage[i] }
    for i in gradients.storage.indices { gradients.storage[i] += other.gradients.storage[i] }
    for t in constants.indices { constants[t] += other.constants[t] }
  }

  /// The sum of two costs of one shape.
  public static func + (a: QuadraticCost, b: QuadraticCost) -> QuadraticCost {
    var sum = a
    sum.add(b)
    return sum
  }

  /// ½ yᵀ C y + cᵀ y + constant along states and controls.
  ///
  /// - Parameters:
  ///   - states: x_0 … x_T, n × (T + 1).
  ///   - controls: u_0 … u_{T−1}, m × T.
  /// - Returns: T + 1 numbers; the last is that of the last state alone.
  public func values(states: Matrix, controls: Matrix) -> [Double] {
    precondition(
      states.rows == state && controls.rows == control && states.columns == horizon + 1
        && controls.columns == horizon,
      "states of \(states.rows) × \(states.columns) and controls of \(controls.rows) × "
        + "\(controls.columns) for a cost of \(state) states, \(control) controls and \(horizon) "
        + "steps")
    let (n, d) = (state, state + control)
    var values = constants
    hessians.storage.withUnsafeBufferPointer { C in
      gradients.storage.withUnsafeBufferPointer { c in
        withUnsafeTemporaryAllocation(of: Double.self, capacity: d) { y in
          for t in 0...horizon {
            let size = t < horizon ? d : n
            for i in 0..<n { y[i] = states.storage[i + n * t] }
            for i in n..<max(n, size) { y[i] = controls.storage[i - n + (d - n) * t] }
            for j in 0..<size {
              var product = 0.0
              for i in 0..<size { product += C[i + d * (j + d * t)] * y[i] }
              values[t] += y[j] * (0.5 * product + c[j + d * t])
            }
          }
        }
      }
    }
    return values
  }

  /// The same along a rollout.
  public func values(along trajectory: Trajectory) -> [Double] {
    values(states: trajectory.states, controls: trajectory.controls)
  }
}
