public import GPSCore
import LinearAlgebra
public import Statistics

extension LinearGaussianDynamics {
  /// A trajectory drawn from the model: x_0, then u_t from the controller and x_{t+1} from the dynamics.
  ///
  /// - Parameters:
  ///   - controller: chooses the controls.
  ///   - observations: what is observed in each state.
  ///   - stream: the source of all noise.
  /// - Returns: a trajectory without points; nil if a number in it is not finite.
  /// - Throws: `LinearAlgebraError` when a covariance has no factor even with jitter.
  public func sampleTrajectory(
    under controller: LinearGaussianController, observations: ObservationModel,
    stream: inout RandomStream
  ) throws -> Trajectory? {
    let (n, m, T) = (state, control, horizon)
    var states = Matrix(rows: n, columns: T + 1)
    var controls = Matrix(rows: m, columns: T)
    func drawn(_ mean: [Double], _ covariance: Matrix) throws -> [Double] {
      if covariance.largestMagnitude == 0 { return mean }
      let factor = try CholeskyFactor.regularizing(covariance).factor.lower
      return zip(mean, factor * stream.normals(mean.count)).map(+)
    }
    var x = try drawn(initialMean, initialCovariance)
    states.setColumn(0, to: x)
    for t in 0..<T {
      let noise = controller.covarianceFactors[t] * stream.normals(m)
      let mean = controller.gains[t] * x
      let u = (0..<m).map { mean[$0] + controller.offsets[$0, t] + noise[$0] }
      let next = transitions[t] * (x + u)
      x = try drawn((0..<n).map { next[$0] + offsets[$0, t] }, covariances[t])
      controls.setColumn(t, to: u)
      states.setColumn(t + 1, to: x)
    }
    guard states.isFinite && controls.isFinite else { return nil }
    let observed = (0...T).map { observations.observation(in: states.column($0), at: $0) }
    return Trajectory(
      states: states, controls: controls,
      observations: Matrix(
        rows: observed.first?.count ?? 0, columns: T + 1, columnMajor: observed.flatMap { $0 }))
  }
}
