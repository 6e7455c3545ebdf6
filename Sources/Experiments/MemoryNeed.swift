package import Configuration
import Foundation
import GPSCore
import Runs

/// What a run takes of memory, known before any of it is taken.
///
/// The sum of what grows with the settings: numbers that are held at the same time, each counted once.
/// The program itself, models and short-lived scratch are left out.
struct MemoryNeed {
  /// Bytes of each part, with the setting that it grows with most and what it is.
  var parts: [(key: String, what: String, bytes: Double)] = []

  var bytes: Double { parts.reduce(0) { $0 + $1.bytes } }

  /// - Parameters:
  ///   - loaded: what is run.
  ///   - isSampled: whether it is learned from rollouts.
  ///   - workers: how many the run uses.
  init(of loaded: LoadedExperiment, isSampled: Bool, workers: Int) {
    let (experiment, task) = (loaded.experiment, loaded.task)
    let search = experiment.search
    let d = task.dimensions
    let (n, m, o, T) = (
      Double(d.state), Double(d.control), Double(d.observation), Double(d.horizon)
    )
    let points = 3 * Double(d.points)
    let (conditions, tests) = (Double(task.conditions.count), Double(task.testConditions.count))
    let (samples, imagined) = (Double(search.samples), Double(search.modelSamples))
    let number = 8.0

    let jacobians = task.cost.needsPointJacobians ? points * n : 0
    let trajectory = number * ((T + 1) * (n + o + points + jacobians) + T * m)
    parts.append(
      (
        "horizon", "controllers and dynamics of \(task.conditions.count) conditions",
        // Controllers before and after, the anchor; dynamics and a quadratic expansion.
        number * T * conditions * (3 * (m * n + m + 3 * m * m) + n * (n + m + 1) + n * n)
      ))
    parts.append(
      (
        "horizon", "expansions of the cost",
        number * T * (n + m) * (n + m) * Double(min(workers, task.conditions.count)) * 2
      ))
    parts.append(
      (
        "conditions",
        "evaluations of \(task.conditions.count + task.testConditions.count) conditions",
        trajectory * (conditions + tests)
      ))
    if !isSampled { return }
    parts.append(
      (
        "algorithm.samples", "\(search.samples) rollouts of \(task.conditions.count) conditions",
        trajectory * conditions * samples
      ))
    // A row per step as text, for a condition at a time.
    parts.append(
      (
        "algorithm.samples", "the rows of a condition's \(search.samples) rollouts",
        20 * (n + m + 6) * T * samples
      ))
    if experiment.algorithm == "trajectoryOptimization" { return }
    parts.append(
      (
        "algorithm.modelSamples",
        "what the network learns from: \(search.samples) and \(search.modelSamples) trajectories of "
          + "\(task.conditions.count) conditions",
        conditions * (samples + imagined) * T * (number * (n + o + m) + 4 * (o + m + m * m))
      ))
    let sizes = [o] + experiment.network.hiddenLayers.map(Double.init) + [m]
    let parameters = zip(sizes, sizes.dropFirst()).reduce(0) { $0 + ($1.0 + 1) * $1.1 }
    // Weights, the last good ones, the optimizer's two averages, a gradient per worker, a file.
    parts.append(
      (
        "network.hiddenLayers", "a network of \(Int(min(parameters, 1e15))) parameters",
        4 * parameters * (6 + Double(workers))
      ))
  }
}

extension LoadedExperiment {
  /// Checks that this machine has the memory that a run will take.
  ///
  /// - Parameters:
  ///   - isSampled: whether it is learned from rollouts; false for iterative LQR.
  ///   - workers: how many the run will use.
  /// - Throws: `SettingsError` that names the setting that takes most.
  package func requireMemory(isSampled: Bool = true, workers: Int) throws(SettingsError) {
    let need = MemoryNeed(of: self, isSampled: isSampled, workers: workers)
    let available = machineMemory()
    guard need.bytes > Double(available), let most = need.parts.max(by: { $0.bytes < $1.bytes })
    else {
      return
    }
    throw SettingsError(
      origin: .wholeFile(name: file?.lastPathComponent ?? experiment.task), path: most.key,
      problem: "too much memory: a run takes about \(gigabytes(need.bytes)), most of it for "
        + "\(most.what); this machine allows \(gigabytes(Double(available)))")
  }

  /// Checks that this machine has the memory for what an evaluation has to keep.
  ///
  /// - Parameters:
  ///   - rollouts: per condition.
  ///   - keepsRollouts: whether their trajectories are kept; otherwise a verdict for each.
  /// - Throws: `SettingsError`.
  package func requireMemory(
    evaluating rollouts: Int, keepsRollouts: Bool
  ) throws(SettingsError) {
    let d = task.dimensions
    let all = Double(task.conditions.count + task.testConditions.count) * Double(rollouts)
    // In memory, and once more as text.
    let numbers = Double(d.state + d.observation + d.control + 3 * d.points) * Double(d.horizon + 1)
    let need = all * (200 + (keepsRollouts ? numbers * (8 + 20) : 0))
    if need <= Double(machineMemory()) { return }
    throw SettingsError(
      origin: .override("--rollouts \(rollouts)"), path: "",
      problem: "too much memory: what \(rollouts) rollouts per condition "
        + (keepsRollouts ? "saw and did takes about " : "cost takes about ")
        + "\(gigabytes(need)); this machine allows \(gigabytes(Double(machineMemory())))")
  }
}

private func gigabytes(_ bytes: Double) -> String {
  let tenths = (bytes / 1e8).rounded()
  return tenths < 1e4 ? "\(tenths / 10) GB" : String(format: "%.3g GB", bytes / 1e9)
}

/// Bytes that this process may have at most: what the machine has, or the limits that it runs under.
func machineMemory() -> Int {
  var least = Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE)))
  for resource in [RLIMIT_AS, RLIMIT_DATA] {
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0,
      limit.rlim_cur < rlim_t(Int.max)
    {
      least = min(least, Int(limit.rlim_cur))
    }
  }
  // The limit of a container, in either version of control groups.
  for path in ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"] {
    guard let bytes = try? RegularFile.read(path, atMost: 4096) else { continue }
    let text = String(decoding: bytes, as: UTF8.self)
    if let limit = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)), limit > 0 {
      least = min(least, limit)
    }
  }
  return least
}
