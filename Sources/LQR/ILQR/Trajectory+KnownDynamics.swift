package import GPSCore
package import LinearAlgebra

extension Trajectory {
  /// States and controls with their points, without observations.
  ///
  /// - Parameters:
  ///   - states: n × (T + 1).
  ///   - controls: m × T.
  ///   - dynamics: locate the points.
  ///   - workspace: the dynamics'.
  /// - Throws: `PlantFailure` when the system cannot be in a state.
  package init<D: KnownDynamics>(
    _ states: Matrix, _ controls: Matrix, of dynamics: D, _ workspace: inout D.Workspace
  ) throws(PlantFailure) {
    let (n, T, rows) = (dynamics.state, controls.columns, 3 * dynamics.points)
    let observations = Matrix(rows: 0, columns: T + 1)
    if rows == 0 {
      self.init(states: states, controls: controls, observations: observations)
      return
    }
    var positions = Matrix(rows: rows, columns: T + 1)
    var jacobians = MatrixSequence(rows: rows, columns: n, count: T + 1)
    var allPositions = positions.storage.mutableSpan
    var allJacobians = jacobians.storage.mutableSpan
    for t in 0...T {
      var p = allPositions._mutatingExtracting(rows * t..<rows * (t + 1))
      var J = allJacobians._mutatingExtracting(rows * n * t..<rows * n * (t + 1))
      try dynamics.locatePoints(
        states.storage.span.extracting(n * t..<n * (t + 1)), workspace: &workspace, positions: &p,
        jacobians: &J)
    }
    self.init(
      states: states, controls: controls, observations: observations, points: positions,
      pointJacobians: jacobians)
  }
}
