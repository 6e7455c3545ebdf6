import GPSCore
public import LinearAlgebra
public import Statistics

/// What earlier iterations say about a condition's dynamics: the points z = [x_t; u_t; x_{t+1}] of
/// its last trajectories, and the mixture last fitted to such points.
public struct DynamicsPrior: Sendable, Codable, Equatable {
  /// The points of each trajectory kept, oldest first: d × T each, d = 2 n + m.
  public private(set) var history: [Matrix] = []
  /// The mixture of the last fit, from which the next one starts.
  public internal(set) var mixture: MixturePrior?

  /// A prior that knows nothing.
  public init() {}

  /// A prior from its parts.
  ///
  /// - Parameters:
  ///   - history: the points of each trajectory kept, oldest first: d × T each.
  ///   - mixture: in d dimensions, or nil.
  public init(history: [Matrix], mixture: MixturePrior?) {
    let sizes = Set(history.map(\.rows) + (mixture.map { [$0.dimension] } ?? []))
    precondition(sizes.count <= 1, "points and mixture of different dimensions \(sizes.sorted())")
    self.history = history
    self.mixture = mixture
  }

  /// Takes in trajectories and forgets all but the last `maxTrajectories`.
  mutating func remember(_ trajectories: [Trajectory], maxTrajectories: Int) {
    history.append(contentsOf: trajectories.map(Self.points))
    history.removeFirst(max(0, history.count - maxTrajectories))
  }

  /// All points of the history, d × (trajectories × T).
  var points: Matrix {
    Matrix(
      rows: history.first?.rows ?? 0, columns: history.reduce(0) { $0 + $1.columns },
      columnMajor: history.flatMap(\.storage))
  }

  /// The points [x_t; u_t; x_{t+1}] of a trajectory: (2 n + m) × T.
  static func points(of trajectory: Trajectory) -> Matrix {
    let (n, m, T) = (
      trajectory.states.rows, trajectory.controls.rows, trajectory.horizon
    )
    var points = Matrix(rows: 2 * n + m, columns: T)
    for t in 0..<T {
      for i in 0..<n {
        points[i, t] = trajectory.states[i, t]
        points[n + m + i, t] = trajectory.states[i, t + 1]
      }
      for i in 0..<m { points[n + i, t] = trajectory.controls[i, t] }
    }
    return points
  }
}
