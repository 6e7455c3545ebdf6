public import GPSCore
import LinearAlgebra

/// An environment in a process of its own: whole rollouts in one message where the program can evaluate the policy,
/// one message a step otherwise.
public struct ProcessPlant: Plant {
  private let system: ProcessSystem
  private let horizon: Int
  private let endCost: Double
  private let process: ProcessLease
  private var present: ProcessSystem.Present
  private var rewards: [Double] = []
  private var endStep: Int?

  init(_ system: ProcessSystem, horizon: Int, endCost: Double) throws {
    self.system = system
    self.horizon = horizon
    self.endCost = endCost
    process = try ProcessLease(system.pool)
    present = ProcessSystem.Present(
      state: system.stateNames.map { _ in 0 }, observation: system.observationNames.map { _ in 0 })
  }

  /// It waits for a process.
  public static var waitsForRealTime: Bool { true }

  /// Resets the environment, and puts it into a state if the numbers say one.
  public mutating func reset(to condition: Condition, plantState: Span<Double>) throws {
    present = try system.present(
      process.answer(to: system.start("reset", in: condition, plantState)))
    (rewards, endStep) = ([], nil)
  }

  /// One step; none after the end of the episode, where everything stays as it is.
  public mutating func step(control: Span<Double>) throws {
    if endStep != nil { return rewards.append(rewardAfterEnd) }
    var message = Safetensors(metadata: ["message": "step"])
    message.tensors["control"] = Safetensors.Tensor(control.copied, shape: [control.count])
    present = try system.present(process.answer(to: message))
    rewards.append(present.reward)
    if present.end != .none { endStep = rewards.count }
  }

  /// Of each step after the end. What was cut short is taken to have gone on as it was.
  private var rewardAfterEnd: Double {
    present.end == .terminated ? -endCost : present.reward
  }

  /// Rewards, and where the environment ended the rollout.
  public var record: RolloutRecord {
    RolloutRecord(
      rewards: system.paysRewards ? rewards : [],
      // Cut short after the last step it is as long as it should be.
      endStep: present.end == .truncated && endStep == horizon ? nil : endStep)
  }

  /// The environment's state, or what it shows if it does not tell its state.
  public func readState(into state: inout MutableSpan<Double>) {
    for i in present.state.indices { state[i] = present.state[i] }
  }

  /// What the environment shows.
  public func readObservation(into observation: inout MutableSpan<Double>) {
    for i in present.observation.indices { observation[i] = present.observation[i] }
  }

  /// A rollout in one message, for policies that the program can evaluate.
  public mutating func wholeRollout(
    under policy: some Policy, in condition: Condition, plantState: [Double], noise: [Double],
    timeLimit: Double?
  ) throws -> Trajectory? {
    guard let portable = policy as? any PortablePolicy, system.policies.contains(portable.kind)
    else { return nil }
    let (n, m, o) = (
      system.stateNames.count, system.controlNames.count, system.observationNames.count
    )
    var writer = ValueWriter()
    writer.within("policy") { portable.writeForEvaluation(in: &$0) }
    var message = system.start("rollout", in: condition, plantState.span)
    message.metadata.merge(writer.file.metadata) { $1 }
    message.metadata["policy"] = portable.kind
    message.tensors.merge(writer.file.tensors) { $1 }
    message.tensors["noise"] = Safetensors.Tensor(noise, shape: [horizon, m])
    let said = try process.answer(to: message, timeLimit: timeLimit)

    let taken = said.file.tensors["rewards"]?.count ?? 0
    guard (1...horizon).contains(taken) else {
      throw PlantFailure("the process took \(taken) steps instead of \(horizon)")
    }
    present.end = try system.end(said)
    guard taken == horizon || present.end != .none else {
      throw PlantFailure("the process took \(taken) steps instead of \(horizon), without an end")
    }
    var states = try system.numbers("states", said, n * (taken + 1))
    var observations = try system.numbers("observations", said, o * (taken + 1))
    var controls = try system.numbers("controls", said, m * taken)
    rewards = try system.numbers("rewards", said, taken)
    present.reward = rewards[taken - 1]
    endStep = present.end == .none ? nil : taken
    // Everything stays as it is.
    for _ in taken..<horizon {
      states += states.suffix(n)
      observations += observations.suffix(o)
      controls += [Double](repeating: 0, count: m)
      rewards.append(rewardAfterEnd)
    }
    present.state = Array(states.suffix(n))
    present.observation = Array(observations.suffix(o))
    var trajectory = Trajectory(
      states: Matrix(rows: n, columns: horizon + 1, columnMajor: states),
      controls: Matrix(rows: m, columns: horizon, columnMajor: controls),
      observations: Matrix(rows: o, columns: horizon + 1, columnMajor: observations))
    (trajectory.rewards, trajectory.endStep) = (record.rewards, record.endStep)
    return trajectory
  }
}
