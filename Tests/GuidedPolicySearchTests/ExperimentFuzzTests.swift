import Foundation
import GPSTestSupport
import Statistics
import Testing

@testable import GuidedPolicySearch

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
private func shortened(_ settings: SearchSettings) -> SearchSettings {
  var settings = settings
  settings.iterations = 1
  settings.samples = min(settings.samples, 2)
  settings.modelSamples = min(settings.modelSamples, 2)
  settings.rollouts = RolloutOptions(maxAttempts: 1, timeLimit: 1)
  settings.training.steps = min(settings.training.steps, 5)
  settings.training.batchSize = min(settings.training.batchSize, 64)
  settings.dynamics.mixture.maxClusters = min(settings.dynamics.mixture.maxClusters, 3)
  settings.policyLinearization.mixture.maxClusters = min(
    settings.policyLinearization.mixture.maxClusters, 3)
  if settings.network.hiddenLayers.reduce(1, *) > 10_000 { settings.network.hiddenLayers = [4] }
  return settings
}

@Suite struct ExperimentFuzzTests {
  @Test("spoilt files are refused with key and reason, or can be run", .timeLimit(.minutes(10)))
  func mutations() async throws {
    let count =
      ProcessInfo.processInfo.environment["GPS_FUZZ_MUTATIONS"].flatMap { Int($0) } ?? 2400
    let copies = try Copies()
    defer { copies.remove() }
    #expect(copies.folders.count == 6)
    let before = try FileManager.default.subpathsOfDirectory(atPath: copies.root.path).sorted()
    var mutator = ExperimentMutator(files: copies.texts, seed: 4)
    var (refused, accepted, ran, failed) = (0, 0, 0, 0)
    for number in 0..<count {
      let (file, bytes) = mutator.next()
      let url = copies.folders[file].appendingPathComponent("experiment.yaml")
      try Data(bytes).write(to: url)
      do {
        let loaded = try Experiment.load(url)
        accepted += 1
        let settings = shortened(loaded.experiment.search)
        // A file that is accepted writes itself out so that it is the same when read again.
        let again = try Experiment(yaml: loaded.experiment.yaml)
        #expect(again == loaded.experiment, "mutation \(number)")
        if loaded.task.dimensions.horizon <= 200 && number % 4 == 0 {
          do {
            try await iterate(loaded.task, settings, loaded.initialControllers)
            ran += 1
          } catch is SearchError {
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
      "mutations: \(count), refused \(refused), accepted \(accepted), of which tried \(ran + failed)"
    )
    #expect(refused > count / 2 && accepted > count / 4 && ran > count / 20)
    #expect(
      try FileManager.default.subpathsOfDirectory(atPath: copies.root.path).sorted() == before)
  }

  private func iterate(
    _ task: some ControlTask, _ settings: SearchSettings,
    _ controllers: [LinearGaussianController]
  ) async throws {
    let search = PolicySearch(
      task: task, settings: try settings.validated(), initialControllers: controllers, seed: 0)
    let (state, report) = try await search.advancing(search.initialState)
    #expect(notFinite(state, [report]) == [])
  }
}
