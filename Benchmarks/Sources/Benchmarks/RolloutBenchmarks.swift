public import Foundation
@_spi(Benchmarks) public import GuidedPolicySearch

extension BenchmarkRunner {
  /// Steps of MuJoCo per control.
  static let substeps = 5

  /// A task on any MuJoCo model: joint positions and velocities, from the model's own start.
  ///
  /// - Parameters:
  ///   - model: an MJCF file.
  ///   - horizon: T.
  /// - Returns: a task without a cost.
  /// - Throws: `MuJoCoError`.
  public static func task(model: URL, horizon: Int) throws -> any ControlTask {
    let interface = try MuJoCoInterface(
      model: MuJoCoModel(contentsOf: model.path), substeps: substeps,
      state: [.jointPositions(), .jointVelocities()])
    return try MuJoCoTask(
      name: model.deletingPathExtension().lastPathComponent, interface: interface,
      horizon: horizon,
      conditions: [
        Condition(name: "start", initialPlantState: interface.model.plantState())
      ], cost: SumCost([]), success: SuccessCriterion.all([]))
  }

  /// Rollouts under local controllers and under a network, beside MuJoCo's bare loop on the same controls.
  public func timeRollouts(of task: any ControlTask) async { await timeRollouts(task: task) }

  private func timeRollouts(task: some ControlTask) async {
    let conditions = Self.conditions(of: task, count: settings.conditions)
    let dimensions = task.dimensions
    let samples = settings.samples ?? max(1, 40 / conditions.count)
    let interface = (task as? MuJoCoTask)?.interface
    let substeps = interface?.substeps ?? 1
    let rollouts = conditions.count * samples
    let sizes = [
      BenchmarkSize("model", task.name), BenchmarkSize("nx", dimensions.state),
      BenchmarkSize("nu", dimensions.control), BenchmarkSize("T", dimensions.horizon),
      BenchmarkSize("substeps", substeps), BenchmarkSize("rollouts", rollouts),
    ]
    let units = BenchmarkUnits(
      name: "steps", count: Double(rollouts * dimensions.horizon * substeps))
    let stream = RandomStream(seed: 0)

    /// One policy: its rollouts on one thread and more, in turns with the bare loop on the same controls.
    func time<P: Policy>(
      _ name: String, _ policies: @escaping () async throws -> [P]
    ) async {
      func collect(_ policies: [P], workers: Int) async throws -> [RolloutBatch] {
        let batches = try await collectRollouts(
          of: task, in: conditions, under: policies,
          plan: RolloutPlan(
            iteration: 0, samples: samples, options: RolloutOptions(maxAttempts: 1),
            workers: workers),
          stream: stream)
        if let failed = batches.lazy.compactMap(\.discarded.first).first {
          throw BenchmarkFailure("a rollout failed at step \(failed.step): \(failed.reason)")
        }
        return batches
      }
      var cases: [(line: BenchmarkLine, prepare: () async throws -> PreparedWork)] = []
      for workers in threadCounts {
        cases.append(
          (
            BenchmarkLine(.rollout, name, sizes: sizes, threads: workers, units: units),
            {
              let policies = try await policies()
              return PreparedWork(run: { _ = try await collect(policies, workers: workers) })
            }
          ))
      }
      if let interface {
        let line = BenchmarkLine(.rollout, "bare_steps_" + name, sizes: sizes, units: units)
        cases.append(
          (
            line,
            {
              let batches = try await collect(try await policies(), workers: 1)
              return try Self.bareSteps(of: interface, in: conditions, along: batches)
            }
          ))
      }
      _ = await self.time(inTurns: cases) { lines in
        guard let bare = lines.last, interface != nil, bare.failure == nil else { return }
        for i in lines.indices.dropLast() where lines[i].failure == nil {
          let perThread = bare.median / lines[i].median / Double(lines[i].threads)
          lines[i].extras.append(("share_of_bare_steps", perThread))
        }
      }
    }

    func controllers() throws -> [LinearGaussianController] {
      try conditions.map { try Self.controller(for: task, in: $0) }
    }
    await time("local_controller") { try controllers() }
    await time("network") {
      // Trained on the controllers' own rollouts, so that it acts as they do.
      let controllers = try controllers()
      let batches = try await collectRollouts(
        of: task, in: conditions, under: controllers,
        plan: RolloutPlan(
          iteration: 0, samples: 1, options: RolloutOptions(maxAttempts: 1), workers: 1),
        stream: stream)
      var network = NetworkOptions()
      network.hiddenLayers = settings.hidden ?? [64, 64]
      var training = PolicyDistiller.Options()
      training.steps = 500
      let policy = try await PolicyDistiller(options: training).distill(
        .initial(
          observation: dimensions.observation, control: dimensions.control, options: network,
          stream: stream.child(.networkInitialization)),
        onto: DistillationSet(batches: batches, controllers: controllers), stream: stream,
        workers: 1
      ).policy
      return [NeuralPolicy](repeating: policy, count: conditions.count)
    }
  }

  /// MuJoCo's bare loop on the controls of rollouts, one batch per condition.
  private static func bareSteps(
    of interface: MuJoCoInterface, in conditions: [Condition], along batches: [RolloutBatch]
  ) throws -> PreparedWork {
    let loops = try zip(conditions, batches).map { condition, batch in
      (try BareSteps(interface, condition: condition), batch.trajectories)
    }
    return PreparedWork(
      run: {
        for (loop, trajectories) in loops {
          for trajectory in trajectories { loop.run(trajectory.controls) }
        }
      },
      check: {
        var largestGap = 0.0
        for (loop, trajectories) in loops {
          guard let last = trajectories.last else { continue }
          largestGap = max(largestGap, loop.largestGap(to: last.states.column(last.horizon)) ?? 0)
        }
        // Rounding grows along a rollout; another trajectory would be metres away.
        if largestGap > 1e-6 {
          throw BenchmarkFailure("the bare loop ends \(largestGap) from the rollout's end")
        }
        return largestGap
      })
  }

  /// As many of the task's conditions as asked for, from the first again when there are too few.
  static func conditions(of task: some ControlTask, count: Int?) -> [Condition] {
    let own = task.conditions
    guard let count else { return own }
    return (0..<count).map { own[$0 % own.count] }
  }

  /// Holds the initial position softly, where the state tells how; otherwise zero gains.
  private static func controller(
    for task: some ControlTask, in condition: Condition
  ) throws -> LinearGaussianController {
    let pd = InitialController.pd(
      .init(positionGains: [1], velocityGains: [0.1], variance: [0.01]))
    if let controller = try? pd.controller(for: task, in: condition) { return controller }
    let dimensions = task.dimensions
    let (n, m, T) = (dimensions.state, dimensions.control, dimensions.horizon)
    return try LinearGaussianController(
      gains: MatrixSequence(rows: m, columns: n, count: T), offsets: Matrix(rows: m, columns: T),
      covariances: MatrixSequence(repeating: 0.01 * .identity(m), count: T))
  }
}
