public import LinearAlgebra

/// One complete rollout: T controls, T + 1 states. Exists only when every number in it is finite.
public struct Trajectory: Sendable, Equatable {
  /// States x_0 … x_T: n × (T + 1), column t is x_t.
  public var states: Matrix
  /// Controls u_0 … u_{T-1}: m × T, as they were applied: within the task's limits.
  public var controls: Matrix
  /// Observations o_0 … o_T: o × (T + 1).
  public var observations: Matrix
  /// Positions of the points: 3 P × (T + 1) [m].
  public var points: Matrix
  /// Derivatives of the points by the state: T + 1 matrices, 3 P × n; 0 × n if the cost does not need
  /// them.
  public var pointJacobians: MatrixSequence
  /// What the system itself paid for each control, T numbers; empty for a system that pays nothing.
  public var rewards: [Double] = []
  /// The step at which the rollout ended before its time; nil if it did not. The numbers after it are what
  /// the plant did all the same.
  public var endStep: Int?
  /// The condition that was drawn for this rollout alone; nil where it is that of the batch.
  public var condition: Condition?

  /// T, the number of control steps.
  public var horizon: Int { controls.columns }
  /// How many of its control steps lead to a state before or at its end: T if it did not end before its time.
  public var stepsToEnd: Int { min(horizon, endStep ?? .max) }

  /// A trajectory from its parts; points may be left out for a plant that has none.
  public init(
    states: Matrix, controls: Matrix, observations: Matrix, points: Matrix? = nil,
    pointJacobians: MatrixSequence? = nil
  ) {
    precondition(
      states.columns == controls.columns + 1 && observations.columns == states.columns,
      "\(states.columns) states and \(observations.columns) observations for "
        + "\(controls.columns) controls")
    self.states = states
    self.controls = controls
    self.observations = observations.sharing(states)
    self.points = points ?? Matrix(rows: 0, columns: states.columns)
    self.pointJacobians =
      pointJacobians ?? MatrixSequence(rows: 0, columns: states.rows, count: states.columns)
  }
}

extension Trajectory {
  /// A part of it, from one step to another, as a trajectory of its own.
  package func steps(_ steps: ClosedRange<Int>) -> Trajectory {
    let (a, b) = (steps.lowerBound, steps.upperBound)
    let J = pointJacobians
    let size = J.rows * J.columns
    var part = Trajectory(
      states: states[0..<states.rows, a..<b + 1], controls: controls[0..<controls.rows, a..<b],
      observations: observations[0..<observations.rows, a..<b + 1],
      points: points[0..<points.rows, a..<b + 1],
      pointJacobians: MatrixSequence(
        rows: J.rows, columns: J.columns, count: b - a + 1,
        columnMajor: Array(J.storage[size * a..<size * (b + 1)])))
    if !rewards.isEmpty { part.rewards = Array(rewards[a..<b]) }
    return part
  }
}

extension [Trajectory] {
  /// Steps beyond which the same rollouts go on, in order, and which ones: all steps and all rollouts where none
  /// ends before its time.
  package var spansToEnds: [(steps: Range<Int>, going: [Int])] {
    let T = first?.horizon ?? 0
    let ends = Set(map(\.stepsToEnd) + [T]).subtracting([0]).sorted()
    return zip([0] + ends, ends).map { first, last in
      (first..<last, indices.filter { self[$0].stepsToEnd >= last })
    }
  }
}

/// The rollouts of one condition in one iteration.
public struct RolloutBatch: Sendable {
  /// Index of the condition in the task's list.
  public var condition: Int
  /// The complete rollouts, in the order of their sample numbers.
  public var trajectories: [Trajectory]
  /// The sample number of each of them: one is missing for a rollout that was given up.
  public var samples: [Int]
  /// What each rollout came to, where that alone was asked for: there are then no trajectories.
  public var verdicts: [Verdict] = []
  /// The rollouts that failed and were drawn again or given up, with their reasons.
  public var discarded: [DiscardedRollout]
  /// Wall-clock seconds spent on these rollouts, summed over them, discarded ones included.
  public var seconds: Double

  /// A batch of rollouts.
  public init(
    condition: Int, trajectories: [Trajectory], samples: [Int]? = nil,
    discarded: [DiscardedRollout] = [], seconds: Double = 0
  ) {
    precondition(
      samples.map { $0.count == trajectories.count } ?? true,
      "\(samples?.count ?? 0) sample numbers for \(trajectories.count) rollouts")
    self.condition = condition
    self.trajectories = trajectories
    self.samples = samples ?? Array(trajectories.indices)
    self.discarded = discarded
    self.seconds = seconds
  }
}

/// A rollout that failed.
public struct DiscardedRollout: Sendable, Equatable {
  /// The sample number within its condition.
  public var sample: Int
  /// Which try it was, from 0.
  public var attempt: Int
  /// The control step at which it failed.
  public var step: Int
  /// One sentence.
  public var reason: String

  /// A rollout that failed.
  public init(sample: Int, attempt: Int, step: Int, reason: String) {
    self.sample = sample
    self.attempt = attempt
    self.step = step
    self.reason = reason
  }
}
