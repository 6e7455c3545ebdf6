// Runs a trained policy at 1 kHz and reports how long its actions take.
//
//   run-policy [policy.safetensors [seconds]]
//
// Without a policy, a small one is trained first.

import Foundation
import GuidedPolicySearch

do {
  let arguments = Array(CommandLine.arguments.dropFirst())
  guard let seconds = arguments.count > 1 ? Double(arguments[1]) : 2,
    (0.001...3600).contains(seconds)
  else {
    throw Complaint("\(arguments[1]) is not a number of seconds from 0.001 to 3600")
  }
  let file: PolicyFile<NeuralPolicy>
  var folder = URL(fileURLWithPath: ".")
  if let path = arguments.first {
    let url = URL(fileURLWithPath: path)
    folder = url.deletingLastPathComponent()
    file = try PolicyFile(contentsOf: url)
  } else {
    print("no policy given: training a small one on a point mass")
    file = try await trainSmallPolicy()
  }
  // A policy file holds the experiment that it was trained in: the plant comes from there.
  let task = try Experiment.load(yaml: file.experiment, folder: folder).task
  let dimensions = task.dimensions
  guard file.policy.observation == dimensions.observation, file.policy.control == dimensions.control
  else {
    throw Complaint(
      "the policy takes \(file.policy.observation) observations and gives \(file.policy.control) "
        + "controls, but its experiment has \(dimensions.observation) and \(dimensions.control)")
  }
  let layers = [file.policy.observation] + file.policy.options.hiddenLayers + [file.policy.control]
  print(
    "policy of \(file.task): \(layers.map { "\($0)" }.joined(separator: "-")) "
      + "\(file.policy.options.activation) network, control period \(task.controlPeriod) s")
  print(try control(task, by: file.policy, rate: 1000, seconds: seconds))
} catch {
  FileHandle.standardError.write(Data("run-policy: \(error)\n".utf8))
  exit(1)
}

/// What cannot be done, in one sentence.
struct Complaint: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}
