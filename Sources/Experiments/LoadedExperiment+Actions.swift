import Foundation
public import GPSCore
public import Runs

extension LoadedExperiment {
  /// Writes what a policy saw and did, for checking another implementation of it: one row per rollout
  /// and control, with the condition, sample, step, time [s], every number of the observation and
  /// every control by name.
  ///
  /// - Parameters:
  ///   - evaluations: from `evaluate`.
  ///   - file: where to.
  /// - Throws: `RunDirectoryError.cannotWrite`.
  public func writeActions(
    of evaluations: [Evaluation], to file: OutputFile
  ) throws(RunDirectoryError) {
    var rows = CSVRows(
      header: ["condition", "sample", "step", "time_s"]
        + (0..<task.dimensions.observation).map { "observation.\($0)" }
        + task.controlNames.map { "control." + $0 })
    for entry in evaluations.flatMap(\.entries) {
      for (sample, trajectory) in entry.batch.trajectories.enumerated() {
        for step in 0..<trajectory.horizon {
          rows.append(entry.condition)
          rows.append(sample)
          rows.append(step)
          rows.append(Double(step) * task.controlPeriod)
          for number in trajectory.observations.column(step) { rows.append(number) }
          for number in trajectory.controls.column(step) { rows.append(number) }
          rows.endRow()
        }
      }
    }
    try file.write(rows.bytes)
  }
}
