import GPSCore
import LinearAlgebra

/// u = ū + K (x − x̄), or ū alone.
struct TrajectoryLaw: Sendable {
  /// ū: m × T.
  let controls: Matrix
  /// x̄: n × T or more; nil for zeros.
  let states: Matrix?
  /// K: T matrices m × n; nil for none.
  let gains: MatrixSequence?

  init(controls: Matrix, states: Matrix? = nil, gains: MatrixSequence? = nil) {
    self.controls = controls
    self.states = states
    self.gains = gains
  }

  init(_ controller: LinearGaussianController) {
    self.init(controls: controller.offsets, gains: controller.gains)
  }

  /// What it does on some dynamics.
  ///
  /// - Parameters:
  ///   - dynamics: f.
  ///   - start: x_0.
  ///   - noise: added to ū: m × T; nil for none.
  ///   - limits: what clips controls when they are applied.
  ///   - workspace: the dynamics'.
  /// - Returns: x_0 … x_T and u_0 … u_{T−1}; nil if the dynamics fail on the way, a number is not finite or the task
  ///   is cancelled.
  func rolledOut<D: KnownDynamics>(
    on dynamics: D, from start: [Double], noise: Matrix? = nil, within limits: ControlLimits?,
    _ workspace: inout D.Workspace
  ) -> (states: Matrix, controls: Matrix)? {
    let (n, m, T) = (dynamics.state, dynamics.control, controls.columns)
    var (path, applied) = (Matrix(rows: n, columns: T + 1), controls)
    var next = start
    path.setColumn(0, to: next)
    for t in 0..<T {
      if isTimeToAsk(t) && Task.isCancelled { return nil }
      for a in 0..<m {
        if let noise { applied[a, t] += noise[a, t] }
        if let gains {
          for b in 0..<n { applied[a, t] += gains[t][a, b] * (path[b, t] - (states?[b, t] ?? 0)) }
        }
        if let limits { applied[a, t] = limits.clamped(applied[a, t], a) }
      }
      var span = next.mutableSpan
      do throws(PlantFailure) {
        try dynamics.step(
          path.storage.span.extracting(t * n..<(t + 1) * n),
          applied.storage.span.extracting(t * m..<(t + 1) * m), workspace: &workspace, into: &span)
      } catch {
        return nil
      }
      if !next.isFinite { return nil }
      path.setColumn(t + 1, to: next)
    }
    return (path, applied)
  }
}

/// Whether a rollout asks at a step if it is given up: at every eighth, because asking takes a twentieth of what a step
/// of a small system does.
func isTimeToAsk(_ step: Int) -> Bool { step & 7 == 0 }
