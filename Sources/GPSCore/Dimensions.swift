/// The sizes of a control problem.
///
/// Conventions of the whole toolkit: a trajectory of horizon T has T controls and T + 1 states;
/// matrices are column-major doubles; costs are minimised; units are seconds, radians, metres.
public struct Dimensions: Sendable, Equatable, Codable {
  /// n, the numbers in a state x.
  public var state: Int
  /// m, the numbers in a control u.
  public var control: Int
  /// o, the numbers in an observation.
  public var observation: Int
  /// T, the number of control steps.
  public var horizon: Int
  /// P, the number of points in space (sites, end-effectors) that costs may refer to.
  public var points: Int

  /// n + m, the numbers in y = [x; u].
  public var joint: Int { state + control }

  /// The sizes of a control problem.
  public init(state: Int, control: Int, observation: Int, horizon: Int, points: Int = 0) {
    self.state = state
    self.control = control
    self.observation = observation
    self.horizon = horizon
    self.points = points
  }
}
