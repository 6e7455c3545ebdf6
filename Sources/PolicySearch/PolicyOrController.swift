package import GPSCore

/// Whoever rolls out in a condition: the policy, or the condition's local controller.
package enum PolicyOrController<Student: Policy>: Policy {
  case policy(Student)
  case controller(LinearGaussianController)

  /// Scratch of the policy; a controller needs none.
  package typealias Workspace = Student.Workspace?

  package var control: Int {
    switch self {
    case .policy(let policy): policy.control
    case .controller(let controller): controller.control
    }
  }

  package func makeWorkspace() -> Workspace {
    switch self {
    case .policy(let policy): policy.makeWorkspace()
    case .controller: nil
    }
  }

  package func beginRollout(workspace: inout Workspace) {
    guard case .policy(let policy) = self, var own = workspace.take() else { return }
    policy.beginRollout(workspace: &own)
    workspace = consume own
  }

  package func act(
    step: Int, state: Span<Double>, observation: Span<Double>, noise: Span<Double>,
    workspace: inout Workspace, action: inout MutableSpan<Double>
  ) {
    switch self {
    case .policy(let policy):
      // Taken out and put back, so that it is written where it is and not copied.
      guard var own = workspace.take() else {
        preconditionFailure("a workspace that a controller made")
      }
      policy.act(
        step: step, state: state, observation: observation, noise: noise, workspace: &own,
        action: &action)
      workspace = consume own
    case .controller(let controller):
      var none = controller.makeWorkspace()
      controller.act(
        step: step, state: state, observation: observation, noise: noise, workspace: &none,
        action: &action)
    }
  }
}

extension PolicyOrController: PortablePolicy {
  private var acting: any Policy {
    switch self {
    case .policy(let policy): policy
    case .controller(let controller): controller
    }
  }

  /// That of the one that acts; empty if it is not portable.
  package var kind: String { (acting as? any PortablePolicy)?.kind ?? "" }

  package func writeForEvaluation(in writer: inout ValueWriter) {
    (acting as? any PortablePolicy)?.writeForEvaluation(in: &writer)
  }
}
