import Foundation
import GuidedPolicySearch

/// A network policy with the limits of its controls, and room to act.
final class PolicyHandle {
  private let policy: NeuralPolicy
  private let limits: ControlLimits?
  private var workspace: NeuralPolicy.Workspace
  private let noNoise: [Double]
  private let facts: Facts

  /// What a caller may know.
  private struct Facts: Encodable {
    var task: String
    var observations: Int
    var controls: Int
    var observationNames: [String]
    var controlNames: [String]
    var lower: [Double]?
    var upper: [Double]?
    var controlPeriod: Double?
  }

  /// The policy of a run directory with the limits of its experiment, or of a policy file or checkpoint alone,
  /// without limits.
  init(path: String) throws {
    let url = URL(fileURLWithPath: path)
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
      throw PolicyFileError.unreadable(path: path, reason: "no such run directory or policy file")
    }
    let file = isFolder.boolValue ? url.appendingPathComponent(RunDirectory.FileName.policy) : url
    let stored = try PolicyFile<NeuralPolicy>(contentsOf: file)
    policy = stored.policy
    var facts = Facts(
      task: stored.task, observations: stored.policy.observation, controls: stored.policy.control,
      observationNames: [], controlNames: [])
    if isFolder.boolValue {
      let task = try Experiment.load(
        url.appendingPathComponent(RunDirectory.FileName.experiment)
      ).task
      if let problem = policy.mismatch(with: task.dimensions) {
        throw PolicyFileError.invalid(path: path, reason: problem)
      }
      limits = task.controlLimits
      facts.observationNames = task.observationNames
      facts.controlNames = task.controlNames
      facts.controlPeriod = task.controlPeriod
      (facts.lower, facts.upper) = (limits?.lower, limits?.upper)
    } else {
      limits = nil
    }
    self.facts = facts
    workspace = policy.makeWorkspace()
    noNoise = [Double](repeating: 0, count: policy.control)
  }

  var description: UnsafeMutablePointer<CChar>? { json(facts) }

  /// Acts for `count` observations, one after the other.
  func act(
    _ count: Int, _ observations: UnsafePointer<Double>, _ noise: UnsafePointer<Double>?,
    _ controls: UnsafeMutablePointer<Double>
  ) {
    let (o, m) = (policy.observation, policy.control)
    let all = UnsafeMutableBufferPointer(start: controls, count: count * m)
    noNoise.withUnsafeBufferPointer { none in
      for i in 0..<count {
        let seen = UnsafeBufferPointer(start: observations + i * o, count: o)
        let drawn = noise.map { UnsafeBufferPointer(start: $0 + i * m, count: m) } ?? none
        var action = UnsafeMutableBufferPointer(rebasing: all[i * m..<(i + 1) * m]).mutableSpan
        policy.act(
          step: 0, state: seen.span.extracting(0..<0), observation: seen.span, noise: drawn.span,
          workspace: &workspace, action: &action)
        limits?.clamp(&action)
      }
    }
  }
}

/// Reads the policy of a run directory, a policy file or a checkpoint.
///
/// - Returns: a handle, to be given back by `gps_release`; null with the reason in `problem`.
@c(gps_policy_load) public func gpsPolicyLoad(
  _ path: UnsafePointer<CChar>,
  _ problem: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
) -> UnsafeMutableRawPointer? {
  attempt(problem) { given(try PolicyHandle(path: string(path))) }
}

/// Sizes, names and limits of a policy, as JSON.
@c(gps_policy_describe) public func gpsPolicyDescribe(
  _ handle: UnsafeMutableRawPointer
) -> UnsafeMutablePointer<CChar>? { object(handle, PolicyHandle.self).description }

/// Writes the controls for observations.
///
/// - Parameters:
///   - handle: from `gps_policy_load`; one thread at a time.
///   - count: how many observations.
///   - observations: count × o numbers.
///   - noise: count × m standard-normal numbers, or null for the policy's mean controls.
///   - controls: count × m numbers, written.
@c(gps_policy_act) public func gpsPolicyAct(
  _ handle: UnsafeMutableRawPointer, _ count: Int, _ observations: UnsafePointer<Double>,
  _ noise: UnsafePointer<Double>?, _ controls: UnsafeMutablePointer<Double>
) {
  object(handle, PolicyHandle.self).act(count, observations, noise, controls)
}
