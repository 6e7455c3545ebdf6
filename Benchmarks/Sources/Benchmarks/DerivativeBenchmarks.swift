public import GuidedPolicySearch

extension BenchmarkRunner {
  /// Derivatives of tasks' known dynamics beside one plain step: exact ones of native systems, MuJoCo's
  /// finite differences of its models. Times are of one control period, at states along a rollout of
  /// random controls; `per_step` is the ratio to the plain step.
  public func timeDerivatives(of tasks: [any ControlTask]) async {
    for task in tasks { await timeDerivatives(of: task) }
  }

  private func timeDerivatives(of task: any ControlTask) async {
    do {
      guard let condition = task.conditions.first,
        let dynamics = try task.knownDynamics(in: condition)
      else { throw BenchmarkFailure("\(task.name) has no known dynamics") }
      try await timeDerivatives(
        of: dynamics, task.name, from: initialState(of: task, in: condition))
      guard let interface = (task as? MuJoCoTask)?.interface else { return }
      // The same model without sites in its state, as `mjd_transitionFD` knows it.
      let start = Condition(
        name: condition.name, initialPlantState: condition.initialPlantState)
      let joints = try MuJoCoTask(
        name: task.name + "_joints",
        interface: MuJoCoInterface(
          model: interface.model, substeps: interface.substeps,
          state: [.jointPositions(), .jointVelocities()]),
        horizon: 1, conditions: [start], cost: SumCost([]), success: SuccessCriterion.all([]))
      try await timeDerivatives(
        of: MuJoCoDynamics(joints.interface, in: start), joints.name,
        from: initialState(of: joints, in: start))
    } catch {
      var line = BenchmarkLine(.derivatives, task.name, sizes: [])
      line.failure = "\(error)"
      report(line)
    }
  }

  private func timeDerivatives<D: KnownDynamics>(
    of dynamics: D, _ name: String, from initialState: [Double]
  ) async throws {
    let (n, m, T) = (dynamics.state, dynamics.control, settings.horizon ?? 50)
    let d = n + m
    var stream = RandomStream(seed: 12)
    let controls = stream.normals(m * T).map { 0.3 * $0 }
    let costate = stream.normals(n)
    var workspace = try dynamics.makeWorkspace()
    var states = initialState + [Double](repeating: 0, count: n * T)
    for t in 0..<T {
      let x = Array(states[n * t..<n * (t + 1)])
      var all = states.mutableSpan
      var next = all._mutatingExtracting(n * (t + 1)..<n * (t + 2))
      try dynamics.step(
        x.span, controls.span.extracting(m * t..<m * (t + 1)), workspace: &workspace, into: &next)
    }
    let path = states

    /// One kind of call, at every step of the rollout.
    func time(
      _ kind: String, relativeTo step: BenchmarkLine? = nil,
      _ call:
        @escaping (
          Span<Double>, Span<Double>, inout D.Workspace, inout MutableSpan<Double>,
          inout MutableSpan<Double>
        ) throws -> Void
    ) async -> BenchmarkLine {
      let line = BenchmarkLine(
        .derivatives, name + "_" + kind,
        sizes: [BenchmarkSize("nx", n), BenchmarkSize("nu", m), BenchmarkSize("T", T)],
        units: BenchmarkUnits(name: "steps", count: 1))
      return await self.time(line) {
        var workspace = try dynamics.makeWorkspace()
        var next = [Double](repeating: 0, count: n)
        var matrix = [Double](repeating: 0, count: d * d)
        return PreparedWork(
          run: {
            for t in 0..<T {
              var x = next.mutableSpan
              var target = matrix.mutableSpan
              try call(
                path.span.extracting(n * t..<n * (t + 1)),
                controls.span.extracting(m * t..<m * (t + 1)), &workspace, &x, &target)
            }
          }, runsPerCall: Double(T))
      } annotate: { line in
        if let step, step.failure == nil {
          line.extras.append(("per_step", line.median / step.median))
        }
      }
    }

    let step = await time("step") { x, u, workspace, next, _ in
      try dynamics.step(x, u, workspace: &workspace, into: &next)
    }
    _ = await time("linearize", relativeTo: step) { x, u, workspace, next, matrix in
      var jacobian = matrix._mutatingExtracting(0..<n * d)
      try dynamics.linearize(x, u, workspace: &workspace, into: &next, jacobian: &jacobian)
    }
    if dynamics.hasSecondDerivatives {
      _ = await time("second", relativeTo: step) { x, u, workspace, _, matrix in
        try dynamics.contractSecondDerivatives(
          x, u, costate: costate.span, workspace: &workspace, into: &matrix)
      }
    }
  }
}
