import Foundation
import GPSTestSupport
import Statistics
import Testing

@testable import Configuration
@testable import Experiments
@testable import GPSCore
@testable import GuidedPolicySearch
@testable import Starts

/// The shipped experiments' folders, copied to where they may be spoilt.
private struct Copies {
  let root: URL
  let folders: [URL]
  let texts: [String]

  init() throws {
    let manager = FileManager.default
    let experiments = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Experiments")
    root = manager.temporaryDirectory.appendingPathComponent("gps-fuzz-\(UUID().uuidString)")
    try manager.createDirectory(at: root, withIntermediateDirectories: true)
    var (folders, texts): ([URL], [String]) = ([], [])
    for name in try manager.contentsOfDirectory(atPath: experiments.path).sorted() {
      let from = experiments.appendingPathComponent(name)
      let file = from.appendingPathComponent("experiment.yaml")
      guard manager.fileExists(atPath: file.path) else { continue }
      let to = root.appendingPathComponent(name)
      try manager.copyItem(at: from, to: to)
      folders.append(to)
      texts.append(try String(contentsOf: file, encoding: .utf8))
    }
    (self.folders, self.texts) = (folders, texts)
  }

  func remove() { try? FileManager.default.removeItem(at: root) }
}

/// Everything that may take long is cut short; what remains is the file's own.
private func shortened(_ loaded: LoadedExperiment) -> LoadedExperiment {
  var loaded = loaded
  var experiment = loaded.experiment
  experiment.search.iterations = 1
  experiment.search.samples = min(experiment.search.samples, 2)
  experiment.search.modelSamples = min(experiment.search.modelSamples, 2)
  experiment.search.rollouts = RolloutOptions(maxAttempts: 1, timeLimit: 1)
  experiment.training.steps = min(experiment.training.steps, 5)
  experiment.training.batchSize = min(experiment.training.batchSize, 64)
  if case .fitted(var options) = experiment.dynamics {
    options.mixture.maxClusters = min(options.mixture.maxClusters, 3)
    experiment.dynamics = .fitted(options)
  }
  experiment.policyLinearization.mixture.maxClusters = min(
    experiment.policyLinearization.mixture.maxClusters, 3)
  if var options = loaded.start.made.base as? InitialController.OptimizedOptions {
    options.optimization.maxIterations = min(options.optimization.maxIterations, 1)
    // A rollout of a model may take a thousand times as long as one of a native system.
    let tries = experiment.system.mujoco == nil ? 1 : 0
    options.sampling.tries = min(options.sampling.tries ?? tries, tries)
    options.sampling.generations = min(options.sampling.generations, 2)
    options.sampling.samples = min(options.sampling.samples, 4)
    loaded.start.made = InitialController(options)
  }
  if experiment.network.hiddenLayers.reduce(1, *) > 10_000 { experiment.network.hiddenLayers = [4] }
  loaded.experiment = experiment
  return loaded
}

@Suite struct ExperimentFuzzTests {
  /// How many go on side by side: one alone would be the last test for a minute.
  private static let parts = 4

  @Test(
    "spoilt files are refused with key and reason, or can be run", .slow, .timeLimit(.minutes(180)),
    arguments: 0..<parts)
  func mutations(part: Int) async throws {
    let all = ProcessInfo.processInfo.environment["GPS_FUZZ_MUTATIONS"].flatMap { Int($0) } ?? 2400
    let count = all / Self.parts
    let copies = try Copies()
    defer { copies.remove() }
    #expect(copies.folders.count == 9)
    let before = try FileManager.default.subpathsOfDirectory(atPath: copies.root.path).sorted()
    var mutator = ExperimentMutator(files: copies.texts, seed: 4 + UInt64(part))
    var (refused, accepted, ran, failed) = (0, 0, 0, 0)
    for number in 0..<count {
      let (file, bytes) = mutator.next()
      let url = copies.folders[file].appendingPathComponent("experiment.yaml")
      try Data(bytes).write(to: url)
      do {
        let loaded = try Experiment.load(url)
        accepted += 1
        // A file that is accepted writes itself out so that it is the same when read again.
        let again = try Experiment(yaml: loaded.experiment.yaml)
        #expect(again == loaded.experiment, "mutation \(number)")
        if loaded.task.dimensions.horizon <= 200 && number % 4 == 0 {
          do {
            try await iterate(shortened(loaded).learner())
            ran += 1
          } catch is SearchError {
            failed += 1
          } catch is StartError {
            // What the file describes has numbers, but no start can be searched in it.
            failed += 1
          }
        }
      } catch {
        refused += 1
        let text = "\(error)"
        #expect(!text.contains("\n") && text.count < 2000, "mutation \(number): \(text)")
        // Its place in the file, or (for a file that cannot be read as text) the file.
        let isPlaced = text.wholeMatch(of: /experiment\.yaml:[0-9]+:[0-9]+: .+/) != nil
        let isWhole = text.hasPrefix(url.path + ": ")
        #expect(isPlaced || isWhole, "mutation \(number): \(text)")
      }
    }
    print(
      "part \(part): mutations: \(count), refused \(refused), accepted \(accepted), of which tried \(ran + failed)"
    )
    #expect(refused > count / 2 && accepted > count / 4 && ran > count / 20)
    #expect(
      try FileManager.default.subpathsOfDirectory(atPath: copies.root.path).sorted() == before)
  }

  private func iterate<L: Learner>(_ learner: L) async throws {
    let (state, report) = try await learner.advancing(learner.initialState)
    var writer = ValueWriter()
    state.store(in: &writer)
    #expect(writer.notFinite == nil)
    if let state = state as? State { #expect(notFinite(state, [report]) == []) }
  }
}
