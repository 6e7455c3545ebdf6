import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

/// u = factor · noise, more or less.
private struct Wrong: Policy {
  enum Fault: String, CaseIterable {
    case forgets = "not written or not finite"
    case remembers = "a used workspace acts otherwise"
    case bends = "not affine in the noise"
  }
  let fault: Fault
  let control = 2

  func makeWorkspace() -> Double { 0 }

  func act(
    step: Int, state: Span<Double>, observation: Span<Double>, noise: Span<Double>,
    workspace: inout Double, action: inout MutableSpan<Double>
  ) {
    action[0] = noise[0]
    if fault != .forgets || step != 2 {
      action[1] = fault == .bends ? noise[1] * noise[1] : noise[1]
    }
    if fault == .remembers {
      workspace += 1
      action[0] += workspace
    }
  }
}

@Suite("Conformance checkers") struct ConformanceTests {
  @Test("policies that break a promise are found", arguments: Wrong.Fault.allCases)
  private func wrongPolicies(_ fault: Wrong.Fault) {
    withKnownIssue {
      checkPolicy(Wrong(fault: fault), state: 1, observation: 1, horizon: 4)
    } matching: { issue in
      issue.comments.contains { $0.rawValue.contains(fault.rawValue) }
    }
  }

  @Test("local controllers keep what a policy promises")
  func controllers() throws {
    var stream = RandomStream(seed: 5)
    checkPolicy(
      try RandomProblem.controller(state: 4, control: 3, horizon: 6, &stream), state: 4,
      observation: 2, horizon: 6)
  }

  @Test("an action on arrays is that of act")
  func arrays() throws {
    var stream = RandomStream(seed: 6)
    let controller = try RandomProblem.controller(state: 3, control: 2, horizon: 4, &stream)
    let (x, noise) = (stream.normals(3), stream.normals(2))
    let mean = zip(controller.gains[2] * x, controller.offsets.column(2)).map(+)
    let action = controller.action(step: 2, state: x)
    #expect(relativeError(action, mean) < 1e-14)
    let noisy = controller.action(step: 2, state: x, noise: noise)
    let shift = controller.covarianceFactors[2] * noise
    #expect(relativeError(zip(noisy, action).map(-), shift) < 1e-12)
  }
}
