import ArgumentParser
import Foundation
import GuidedPolicySearch

/// Where a run and its workers meet.
struct ClusterAddressOptions: ParsableArguments {
  @Flag(
    help: "Use a server that asks for no password although it is on another machine.")
  var allowWithoutPassword = false

  @Option(
    help: ArgumentHelp(
      "How long the server may be out of reach before the program ends.", valueName: "seconds"))
  var patience = 60.0

  @Option(
    help: ArgumentHelp(
      "How long a worker that has gone silent keeps its work; the same for a run and all its workers.",
      valueName: "seconds"))
  var lease = ChannelTimes().lease

  func validate() throws {
    if !(0.5...1e6).contains(lease) {
      throw ValidationError("--lease: \(lease) is not allowed (must be between 0.5 and 1000000)")
    }
    if !(1...1e6).contains(patience) {
      throw ValidationError(
        "--patience: \(patience) is not allowed (must be between 1 and 1000000)")
    }
  }

  /// A channel at an address.
  func channel(at text: String) throws -> RedisChannel {
    let address: RedisAddress
    do {
      address = try RedisAddress(
        text, password: ProcessInfo.processInfo.environment["REDISCLI_AUTH"])
    } catch {
      throw CommandFailure("--cluster: \(error)", .badInput)
    }
    if !address.isLoopback && address.password == nil && !allowWithoutPassword {
      throw CommandFailure(
        "\(address.place) is on another machine, and without a password anybody there can send work and results: "
          + "use redis://:PASSWORD@\(address.host)/ or REDISCLI_AUTH, or allow it by --allow-without-password",
        .badInput)
    }
    var times = ChannelTimes()
    times.lease = lease
    return RedisChannel(address, times: times)
  }
}

/// Other machines to do the work of a run.
struct ClusterOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Lead workers (gps work) that meet at this Redis server, instead of rolling out here: "
        + "redis://[:password@]host[:port][/database].", valueName: "url"))
  var cluster: String?

  @OptionGroup var address: ClusterAddressOptions

  /// What an experiment is learned with, here or by others, and what is to be done when it has ended.
  func learner(
    of loaded: LoadedExperiment, workers: Int
  ) throws -> (learner: any Learner, end: @Sendable () -> Void) {
    guard let cluster else { return (try gps.learner(of: loaded, workers: workers), {}) }
    do {
      // Settings that cannot be shared are told before anybody is asked to work.
      _ = try loaded.makePerformer()
      try loaded.requireMemory(workers: workers)
      let leader = try loaded.lead(
        over: address.channel(at: cluster), patience: address.patience
      ) { printToStandardError("gps: warning: \($0)", afterBreak: true) }
      return (try loaded.learner(workers: workers, led: leader), { leader.end() })
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
  }
}
