import ArgumentParser
import Foundation
import GuidedPolicySearch

/// `gps work`.
struct Work: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Works for a run that is led elsewhere (gps run --cluster).",
    discussion: """
      Workers may join and leave at any time, on any machine that reaches the server. They learn the experiment from the
      run, and wait for the next one when it has ended. Documentation/Cluster.md has more.
      """)

  @Option(
    help: ArgumentHelp(
      "The Redis server of the run: redis://[:password@]host[:port][/database].", valueName: "url"))
  var cluster: String

  @Option(help: ArgumentHelp("Work items at the same time; default: one per core.", valueName: "n"))
  var workers: Int?

  @Option(
    help: ArgumentHelp(
      "End after so long without work; default: wait for ever.", valueName: "seconds"))
  var idle: Double?

  @Flag(
    help:
      "Work for runs that are led on a processor with other kernels; results then differ in their last digits."
  )
  var allowOtherKernels = false

  @Flag(
    help:
      "Start programs that a run's experiment names (system.process, system.gymnasium): whoever leads runs what they like here."
  )
  var allowPrograms = false

  @OptionGroup var address: ClusterAddressOptions

  @OptionGroup var pace: PaceOptions

  func validate() throws {
    if let workers, !(1...4096).contains(workers) {
      throw ValidationError("--workers: \(workers) is not allowed (must be between 1 and 4096)")
    }
    if let idle, !(0...1e9).contains(idle) {
      throw ValidationError("--idle: \(idle) is not allowed (must be between 0 and 1000000000)")
    }
  }

  func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    let count = workers ?? max(1, ProcessInfo.processInfo.activeProcessorCount)
    let experiments = LoadedRuns()
    let (pace, allowOtherKernels, allowPrograms) = (pace, allowOtherKernels, allowPrograms)
    let host = ProcessInfo.processInfo.hostName
    let workers = try (0..<count).map { number in
      var worker = ClusterWorker(
        "\(host)-\(getpid())-\(number)", over: try address.channel(at: cluster),
        tell: { printToStandardError("gps: worker \(number): \($0)") },
        prepare: { notice, files in
          try experiments.loaded(notice) {
            let loaded = try LoadedExperiment.load(
              notice, files, allowsOtherKernels: allowOtherKernels, allowsPrograms: allowPrograms)
            try loaded.requireMemory(workers: count)
            return try pace.applied(to: loaded)
          }.makePerformer()
        })
      worker.patience = address.patience
      worker.idle = idle
      worker.beat = address.lease / 3
      return worker
    }
    let (outcome, number) = await interruptible { () -> Result<Void, any Error> in
      // Work and waiting for it block: each worker has a thread of its own.
      let executor = ThreadExecutor(threads: workers.count)
      defer { executor.stop() }
      do {
        try await withThrowingTaskGroup(of: Void.self) { group in
          for worker in workers {
            group.addTask(executorPreference: executor) { try worker.work() }
          }
          try await group.waitForAll()
        }
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    if let number { throw ExitCode(128 + number) }
    do { try outcome.get() } catch {
      throw CommandFailure(error, otherwise: error is ClusterError ? .runFailed : .badInput)
    }
  }
}

/// The experiment of the present run, for all workers of this process.
private final class LoadedRuns: Sendable {
  private let present = Locked<(files: [RunNotice.File], loaded: LoadedExperiment)?>(nil)

  func loaded(
    _ notice: RunNotice, _ load: () throws -> LoadedExperiment
  ) throws -> LoadedExperiment {
    try present.withLock { present in
      if let present, present.files == notice.files { return present.loaded }
      let loaded = try load()
      present = (notice.files, loaded)
      return loaded
    }
  }
}
