import GPSCore
public import LinearAlgebra
public import Statistics

/// What earlier iterations say about a condition's dynamics: its last trajectories, whose points are
/// z = [x_t; u_t; x_{t+1}], and the mixture last fitted to such points.
///
/// The points are formed when a fit needs them: what is kept shares the trajectories' storage.
public struct DynamicsPrior: Sendable, Codable, Equatable {
  /// States x_0 … x_T of each trajectory kept, oldest first: n × (T + 1) each, T the step of its end if that
  /// came before its time.
  public private(set) var states: [Matrix] = []
  /// Its controls u_0 … u_{T-1}: m × T each.
  public private(set) var controls: [Matrix] = []
  /// The mixture of the last fit, from which the next one starts.
  public internal(set) var mixture: MixturePrior?
  /// Entries of the state that jittered in the last fit: the mixture knows them as standing still.
  public internal(set) var jitter: [Int] = []
  /// The number of samples that the mixture counted for in the last fit; nil before the first.
  public internal(set) var strength: Double?

  /// A prior that knows nothing.
  public init() {}

  /// A prior from its parts.
  ///
  /// - Parameters:
  ///   - states: x_0 … x_T of each trajectory kept, oldest first: n × (T + 1) each.
  ///   - controls: u_0 … u_{T-1} of the same: m × T each.
  ///   - mixture: in d = 2 n + m dimensions, or nil.
  public init(states: [Matrix], controls: [Matrix], mixture: MixturePrior?) {
    precondition(
      states.map(\.columns) == controls.map { $0.columns + 1 },
      "states of shapes \(states.map { [$0.rows, $0.columns] }) for controls of "
        + "\(controls.map { [$0.rows, $0.columns] })")
    let sizes = Set(
      zip(states, controls).map { 2 * $0.rows + $1.rows } + (mixture.map { [$0.dimension] } ?? []))
    precondition(sizes.count <= 1, "points and mixture of different dimensions \(sizes.sorted())")
    self.states = states
    self.controls = controls
    self.mixture = mixture
  }

  /// Takes in trajectories, up to their ends, and forgets all but the last `maxTrajectories`.
  mutating func remember(_ trajectories: [Trajectory], maxTrajectories: Int) {
    for trajectory in trajectories {
      let count = trajectory.stepsToEnd
      if count == trajectory.horizon {
        states.append(trajectory.states)
        controls.append(trajectory.controls)
      } else if count > 0 {
        states.append(trajectory.states[0..<trajectory.states.rows, 0..<count + 1])
        controls.append(trajectory.controls[0..<trajectory.controls.rows, 0..<count])
      }
    }
    let surplus = max(0, states.count - maxTrajectories)
    states.removeFirst(surplus)
    controls.removeFirst(surplus)
  }

  /// All points of the trajectories kept, one trajectory after the other: d × (trajectories × T).
  var points: Matrix {
    let (n, m) = (states.first?.rows ?? 0, controls.first?.rows ?? 0)
    let d = 2 * n + m
    var points = Matrix(rows: d, columns: controls.reduce(0) { $0 + $1.columns })
    points.storage.withUnsafeMutableBufferPointer { z in
      var base = 0
      for (states, controls) in zip(states, controls) {
        states.storage.withUnsafeBufferPointer { x in
          controls.storage.withUnsafeBufferPointer { u in
            for t in 0..<controls.columns {
              for i in 0..<n {
                z[base + i] = x[t * n + i]
                z[base + n + m + i] = x[(t + 1) * n + i]
              }
              for i in 0..<m { z[base + n + i] = u[t * m + i] }
              for i in jitter { (z[base + i], z[base + n + m + i]) = (0, 0) }
              base += d
            }
          }
        }
      }
    }
    return points
  }
}
