import Configuration
package import Distributed
import Foundation
package import GPSCore
import LinearAlgebra
package import PolicySearch
import Runs

extension LoadedExperiment {
  /// What a worker has to have the same of, by name.
  private var clusterVersions: [String: String] {
    let own = Summary.Versions.current(mujoco: simulatorVersion)
    return [
      "gps": own.gps, "Swift": own.swift, "MuJoCo": own.mujoco, "OpenBLAS": own.openblas,
      Self.kernels: "\(own.kernels), \(Kernels.Variant.best)",
    ]
  }

  /// What differs between processors alone.
  private static var kernels: String { "kernels" }

  /// Takes the lead of a run of this experiment over a channel.
  ///
  /// - Parameters:
  ///   - channel: where workers are, or will be.
  ///   - patience: how long nobody may answer [s].
  ///   - warn: told what is out of the ordinary.
  /// - Returns: who leads, until it ends.
  /// - Throws: `ChannelError`.
  package func lead(
    over channel: any Channel, patience: Double, warn: @escaping @Sendable (String) -> Void
  ) throws -> ClusterLeader {
    try ClusterLeader(
      over: channel, versions: clusterVersions, model: modelIdentity,
      files: [(RunDirectory.FileName.experiment, Array(archivedYAML.utf8))]
        + attachments.sorted { $0.key < $1.key }.map { ($0.key, Array($0.value)) },
      patience: patience, warn: warn)
  }

  /// What the experiment is learned with where others do the work.
  ///
  /// - Parameters:
  ///   - workers: how much runs at once here: the training of the network, and what robots leave over.
  ///   - crew: who does the work.
  /// - Returns: a learner of the task.
  /// - Throws: as `learner(workers:)`, and `InvalidOption` for a schedule that cannot be shared.
  package func learner(workers: Int, led crew: any Crew) throws -> any Learner {
    try shared(workers: workers).led(with: crew)
  }

  /// Somebody who does the work items of this experiment.
  package func makePerformer() throws -> any WorkPerformer {
    try shared(workers: 1).makePerformer()
  }

  private func shared(workers: Int) throws -> any SharedLearner {
    guard let shared = try learner(workers: workers) as? any SharedLearner else {
      throw InvalidOption(
        key: "algorithm.schedule", value: experiment.schedule.rawValue,
        allowed: "synchronous, where workers of other machines take part (--cluster)")
    }
    return shared
  }

  /// Loads the experiment of a run that is led elsewhere.
  ///
  /// - Parameters:
  ///   - notice: what the run says of itself.
  ///   - files: what it needs, by their paths in its directory.
  ///   - allowsOtherKernels: whether the run may be led on a machine that computes with other kernels, so that results
  ///     differ in their last digits.
  ///   - allowsPrograms: whether its system may be a program, which is started here.
  /// - Returns: the experiment.
  /// - Throws: `ClusterError.mismatch` naming what is not the same; `SettingsError`.
  package static func load(
    _ notice: RunNotice, _ files: [String: [UInt8]], allowsOtherKernels: Bool,
    allowsPrograms: Bool = false
  ) throws -> LoadedExperiment {
    let main = notice.files[0].path
    let system = try Experiment(yaml: String(decoding: files[main] ?? [], as: UTF8.self)).system
    if !allowsPrograms && (system.process != nil || system.gymnasium != nil) {
      throw ClusterError.mismatch(
        "the run's system is a program that would be started here: --allow-programs allows that, where whoever "
          + "can lead a run is trusted")
    }
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "gps-work-\(UUID().uuidString)", isDirectory: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    for (path, bytes) in files {
      let url = folder.appendingPathComponent(path)
      try FileManager.default.createDirectory(
        at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(bytes).write(to: url)
    }
    let loaded = try Experiment.load(folder.appendingPathComponent(main))
    let own = loaded.clusterVersions
    for (name, version) in own.sorted(by: { $0.key < $1.key }) {
      let theirs = notice.versions[name] ?? "unknown"
      if theirs == version || name == kernels && allowsOtherKernels { continue }
      throw ClusterError.mismatch(
        "the run is led by a program with \(name) \(theirs), this one has \(version)"
          + (name == kernels
            ? ": results would differ in their last digits (--allow-other-kernels allows that)"
            : ": use the same version on all machines"))
    }
    if loaded.modelIdentity != notice.model {
      throw ClusterError.mismatch("the model that was sent is not the one that the run is led with")
    }
    let outside = loaded.inputs.first { !$0.hasPrefix(folder.path + "/") }
    if let outside {
      throw ClusterError.mismatch(
        "the run's experiment refers to \"\(visible(outside, limit: 60))\", which was not sent")
    }
    return loaded
  }
}
