public import GPSCore
import Statistics
public import Testing

// What every plant, cost and policy promises, recorded as issues of the test that calls.

/// Checks that a task's plants keep what `Plant` promises: all that is declared is written and
/// finite, the same controls give the same numbers again, on another plant, and while another
/// moves.
///
/// - Parameters:
///   - task: makes the plants, and says where they start.
///   - controlDeviation: standard deviation of the controls, in their own units.
///   - location: the caller.
public func checkPlant(
  _ task: some ControlTask, controlDeviation: Double = 1,
  at location: SourceLocation = #_sourceLocation
) {
  var checker = TaskChecker(task)
  checker.controlDeviation = controlDeviation
  record(checker.checkPlants(), of: task.name, at: location)
}

/// Checks that a cost keeps what `Cost` promises about a rollout: it adds to what is there, is
/// finite, has symmetric Hessians, nothing for a control after the last step, and derivatives that
/// agree with differences.
///
/// - Parameters:
///   - cost: what is checked.
///   - trajectory: the rollout, with the points' Jacobians.
///   - condition: where the cost's goal comes from.
///   - checksHessians: whether Hessians are exact, not Gauss-Newton's.
///   - name: what the cost is called in an issue.
///   - location: the caller.
public func checkCost(
  _ cost: some Cost, along trajectory: Trajectory, in condition: Condition,
  checksHessians: Bool = true, name: String = "", at location: SourceLocation = #_sourceLocation
) {
  var checker = CostChecker(
    stateNames: (0..<trajectory.states.rows).map { "x\($0)" },
    controlNames: (0..<trajectory.controls.rows).map { "u\($0)" })
  checker.checksHessians = checksHessians
  record(
    checker.checkContract(of: cost, along: trajectory, in: condition),
    of: name.isEmpty ? "\(type(of: cost))" : name, at: location)
}

/// Checks that a policy keeps what `Policy` promises over a rollout of random states, observations
/// and noise: all m numbers are written and finite, a used workspace acts as a new one once a
/// rollout begins, and the action is affine in the noise, with a factor that does not depend on the
/// noise.
///
/// - Parameters:
///   - policy: what is checked.
///   - state: n.
///   - observation: o.
///   - horizon: T.
///   - location: the caller.
public func checkPolicy<P: Policy>(
  _ policy: P, state: Int, observation: Int, horizon: Int,
  at location: SourceLocation = #_sourceLocation
) {
  let m = policy.control
  var stream = RandomStream(seed: 17)
  let inputs = (0..<horizon).map { _ in
    (x: stream.normals(state), o: stream.normals(observation), noise: stream.normals(m))
  }
  func actions(scale: Double, _ workspace: inout P.Workspace) -> [[Double]] {
    policy.beginRollout(workspace: &workspace)
    return inputs.enumerated().map { t, input in
      var action = [Double](repeating: .nan, count: m)
      let noise = input.noise.map { scale * $0 }
      var target = action.mutableSpan
      policy.act(
        step: t, state: input.x.span, observation: input.o.span, noise: noise.span,
        workspace: &workspace, action: &target)
      return action
    }
  }
  func complain(_ words: String) {
    Issue.record("\(P.self): \(words)", sourceLocation: location)
  }
  var used = policy.makeWorkspace()
  var new = policy.makeWorkspace()
  let (mean, noisy, loud) = (
    actions(scale: 0, &used), actions(scale: 1, &used), actions(scale: 2, &used)
  )
  let again = actions(scale: 1, &new)
  for t in 0..<horizon {
    let all = mean[t] + noisy[t] + loud[t]
    guard all.allSatisfy(\.isFinite) else {
      complain("an action at step \(t) is not written or not finite: \(mean[t]), \(noisy[t])")
      return
    }
    if again[t] != noisy[t] {
      complain("a used workspace acts otherwise than a new one, after the beginning of a rollout")
      return
    }
    let scale = all.reduce(0) { max($0, $1.magnitude) }
    for i in 0..<m {
      let bend = loud[t][i] - 2 * noisy[t][i] + mean[t][i]
      if bend.magnitude > 1e-12 * scale {
        complain("control \(i) at step \(t) is not affine in the noise")
        return
      }
    }
  }
}

private func record(_ report: TaskReport, of name: String, at location: SourceLocation) {
  for problem in report.problems {
    Issue.record("\(name): \(problem)", sourceLocation: location)
  }
}
