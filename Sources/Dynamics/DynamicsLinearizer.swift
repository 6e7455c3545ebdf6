package import Configuration
public import GPSCore
import LinearAlgebra

/// Time-varying linear-Gaussian dynamics from dynamics that are known: their linearisation about the
/// mean of a batch of rollouts.
///
///     F_t = ∂f/∂y (x̄_t, ū_t),   f_t = f(x̄_t, ū_t) − F_t ȳ_t,   Σ_t = diag(σ² s_i²)
///
/// where s_i is the standard deviation of state i over all steps of the batch and σ the floor below:
/// known dynamics have no noise, but a covariance must not be singular.
public struct DynamicsLinearizer: Sendable {
  /// How dynamics are linearised.
  public struct Options: Sendable, Equatable {
    /// σ, the standard deviation of the process noise as a share of each state's over the batch.
    public var processNoise = 1e-3
    /// What is added to the variance of each number of the initial state, as a share of its variance
    /// over the rollouts.
    public var initialCovarianceFloor = 1e-8

    /// The defaults.
    public init() {}

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options { try checked() }
  }

  /// How to linearise.
  public var options: Options

  /// A linearizer.
  public init(options: Options = Options()) { self.options = options }

  /// The dynamics about a batch of rollouts, of which those count that have not come to their end; where all
  /// have, all of them.
  ///
  /// - Parameters:
  ///   - dynamics: what is known.
  ///   - trajectories: N > 0 rollouts of one shape.
  ///   - condition: its index, for errors.
  /// - Returns: F_t, f_t and Σ_t, and the distribution of the rollouts' first states.
  /// - Throws: `DynamicsError` with sample and step, or what `makeWorkspace` throws.
  public func linearize<Known: KnownDynamics>(
    _ dynamics: Known, about trajectories: [Trajectory], condition: Int?
  ) throws -> LinearGaussianDynamics {
    guard let first = trajectories.first else {
      throw DynamicsError.noTrajectories(condition: condition)
    }
    let (n, m, T) = (first.states.rows, first.controls.rows, first.horizon)
    precondition(
      dynamics.state == n && dynamics.control == m,
      "dynamics of \(dynamics.state) states and \(dynamics.control) controls for rollouts of "
        + "\(n) and \(m)")
    for (sample, trajectory) in trajectories.enumerated() {
      for (numbers, size, first) in [
        (trajectory.states.storage, n, 0), (trajectory.controls.storage, m, n),
      ] {
        guard let entry = numbers.firstNonFinite else { continue }
        throw DynamicsError.unusableValue(
          condition: condition, sample: sample, step: entry / size,
          dimension: first + entry % size, value: numbers[entry])
      }
    }
    let share = 1 / Double(trajectories.count)
    var states = Matrix(rows: n, columns: T + 1)
    var controls = Matrix(rows: m, columns: T)
    for trajectory in trajectories {
      states += share * trajectory.states
      controls += share * trajectory.controls
    }
    for (steps, going) in trajectories.spansToEnds
    where !going.isEmpty && going.count < trajectories.count {
      for t in steps {
        func mean(_ numbers: (Trajectory) -> Matrix) -> [Double] {
          let columns = going.map { numbers(trajectories[$0]).column(t) }
          return columns[0].indices.map { i in
            columns.reduce(0) { $0 + $1[i] } / Double(columns.count)
          }
        }
        states.setColumn(t, to: mean(\.states))
        controls.setColumn(t, to: mean(\.controls))
      }
    }

    var workspace = try dynamics.makeWorkspace()
    var transitions = MatrixSequence(rows: n, columns: n + m, count: T)
    var offsets = Matrix(rows: n, columns: T)
    for t in 0..<T {
      do throws(PlantFailure) {
        try Self.linearize(dynamics, states, controls, t, &workspace, &transitions, &offsets)
      } catch {
        throw DynamicsError.linearization(condition: condition, step: t, reason: error.reason)
      }
      for j in 0..<n + m {
        let y = j < n ? states[j, t] : controls[j - n, t]
        for i in 0..<n { offsets[i, t] -= transitions.storage[(t * (n + m) + j) * n + i] * y }
      }
      let numbers = transitions.storage[t * n * (n + m)..<(t + 1) * n * (n + m)]
      guard numbers.allSatisfy(\.isFinite), offsets.column(t).allSatisfy(\.isFinite) else {
        throw DynamicsError.linearization(
          condition: condition, step: t, reason: "a derivative is not finite")
      }
    }

    var noise = Matrix(rows: n, columns: n)
    for i in 0..<n {
      noise[i, i] = options.processNoise * options.processNoise * Self.variance(i, trajectories)
    }
    let (mean, covariance) = LinearGaussianFitter.initialState(
      trajectories, floor: options.initialCovarianceFloor)
    return LinearGaussianDynamics(
      transitions: transitions, offsets: offsets,
      covariances: MatrixSequence(repeating: noise, count: T), initialMean: mean,
      initialCovariance: covariance)
  }

  /// Writes F_t and f(x̄_t, ū_t).
  private static func linearize<Known: KnownDynamics>(
    _ dynamics: Known, _ states: Matrix, _ controls: Matrix, _ t: Int,
    _ workspace: inout Known.Workspace, _ transitions: inout MatrixSequence,
    _ offsets: inout Matrix
  ) throws(PlantFailure) {
    let (n, m) = (states.rows, controls.rows)
    let size = n * (n + m)
    var jacobian = transitions.storage.mutableSpan
    var F = jacobian._mutatingExtracting(t * size..<(t + 1) * size)
    var next = offsets.storage.mutableSpan
    var column = next._mutatingExtracting(t * n..<(t + 1) * n)
    try dynamics.linearize(
      states.storage.span.extracting(t * n..<(t + 1) * n),
      controls.storage.span.extracting(t * m..<(t + 1) * m), workspace: &workspace,
      into: &column, jacobian: &F)
  }

  /// The variance of state i over all rollouts and steps; 1 for a state that never moves.
  private static func variance(_ i: Int, _ trajectories: [Trajectory]) -> Double {
    let origin = trajectories[0].states[i, 0]
    var (sum, squares, count) = (0.0, 0.0, 0.0)
    for states in trajectories.map(\.states) {
      for t in 0..<states.columns {
        let gap = states[i, t] - origin
        sum += gap
        squares += gap * gap
        count += 1
      }
    }
    let variance = squares / count - (sum / count) * (sum / count)
    return variance > 1e-12 * (squares / count) && variance > 0 ? variance : 1
  }
}

extension DynamicsLinearizer.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "processNoise", \.processNoise, .positiveShare,
      "Standard deviation of the noise, as a share of each state's over the rollouts.")
    Field(
      "initialCovarianceFloor", \.initialCovarianceFloor, .share,
      "Added to the initial state's variance, as a share of that over the rollouts.")
  }
}
