import Configuration
import Foundation
public import GPSCore
import LinearAlgebra

/// An environment in another program, and what that says of it: the program is started once for every worker that
/// rolls out, and kept.
///
/// Documentation/Python.md has the protocol, `Examples/ProcessEnvironment` a program of fifty lines that speaks it.
public struct ProcessSystem: Sendable {
  /// The version of the protocol.
  public static let protocolVersion = 1

  /// The program.
  public let program: ProcessProgram
  /// n names, with units where they have one.
  public let stateNames: [String]
  /// o names.
  public let observationNames: [String]
  /// m names.
  public let controlNames: [String]
  /// What controls are brought within; nil for no bounds.
  public let controlLimits: ControlLimits?
  /// Seconds between two controls.
  public let controlPeriod: Double
  /// Whether it can be put into a state.
  public let setsState: Bool
  /// Whether it pays for each control.
  public let paysRewards: Bool
  /// What it is, with versions, for people.
  public let title: String
  /// Policies that the program evaluates itself (`PortablePolicy.kind`).
  let policies: Set<String>
  let pool: ProcessPool

  /// Starts a program and asks it what it serves.
  ///
  /// - Parameters:
  ///   - program: what is started.
  ///   - horizon: T, the longest rollout.
  ///   - controlPeriod: seconds between two controls; nil for what the program says.
  /// - Throws: `PlantFailure` with the reason.
  public init(
    _ program: ProcessProgram, horizon: Int, controlPeriod: Double? = nil
  ) throws(PlantFailure) {
    let greeting = Safetensors(metadata: [
      "message": "hello", "protocol": "\(Self.protocolVersion)", "settings": program.settings,
      "horizon": "\(horizon)",
    ])
    pool = ProcessPool(program, greeting: greeting)
    do {
      let (process, said) = try pool.start()
      // Kept whatever it says: it ends with the pool.
      pool.giveBack(process)
      let version = try said.text("protocol")
      guard version == "\(Self.protocolVersion)" else {
        throw PlantFailure(
          "it speaks version \(visible(version, limit: 20)) of the protocol, this program version "
            + "\(Self.protocolVersion)")
      }
      stateNames = try Self.names("state_names", said)
      observationNames = try Self.names("observation_names", said)
      controlNames = try Self.names("control_names", said)
      controlLimits =
        said.holds("control_lower")
        ? try ControlLimits(
          lower: Self.bounds("control_lower", said), upper: Self.bounds("control_upper", said)
        ).validated(controls: controlNames.count) : nil
      guard let period = controlPeriod ?? said.file.tensors["control_period"]?.doubles?.first else {
        throw StoredValueError("the array \"control_period\" of float64 is missing")
      }
      guard period > 0 else { throw PlantFailure("its control period is \(period) s") }
      self.controlPeriod = period
      setsState = said.isTrue("sets_state")
      paysRewards = said.isTrue("pays_rewards")
      title = visible(try said.text("title"), limit: 200)
      policies = Set(try said.text("policies").split(separator: ",").map(String.init))
    } catch let error as PlantFailure {
      throw error
    } catch let error as RolloutFailure {
      throw PlantFailure(error.reason)
    } catch {
      throw PlantFailure("the process does not keep to the protocol: \(error)")
    }
    self.program = program
  }

  /// A JSON list of texts, none of them empty.
  private static func names(_ key: String, _ said: ValueReader) throws -> [String] {
    let names = try JSONDecoder().decode([String].self, from: Data(said.text(key).utf8))
    guard !names.isEmpty, !names.contains("") else {
      throw StoredValueError("\"\(key)\" names nothing")
    }
    return names.map { visible($0, limit: 100) }
  }

  /// Numbers that may be infinite.
  private static func bounds(_ key: String, _ said: ValueReader) throws -> [Double] {
    guard let numbers = said.file.tensors[key]?.doubles else {
      throw StoredValueError("the array \"\(key)\" of float64 is missing")
    }
    return numbers
  }
}

extension ValueReader {
  fileprivate func isTrue(_ key: String) -> Bool { file.metadata[key] == "true" }
}

extension ProcessSystem {
  /// What is asked of the program at the beginning of a rollout.
  func start(_ message: String, in condition: Condition, _ plantState: Span<Double>) -> Safetensors
  {
    let reset = condition.environmentReset ?? EnvironmentReset()
    var start = Safetensors(metadata: [
      "message": message, "seed": "\(reset.seed)", "options": reset.options,
    ])
    if !plantState.isEmpty {
      start.tensors["state"] = Safetensors.Tensor(
        plantState.copied, shape: [plantState.count])
    }
    return start
  }

  /// Where the environment begins after a reset.
  ///
  /// - Throws: `PlantFailure` or `RolloutFailure`.
  package func initialState(after reset: EnvironmentReset) throws -> [Double] {
    var condition = Condition(name: "", initialPlantState: [])
    condition.environmentReset = reset
    return try present(
      ProcessLease(pool).answer(
        to: start("reset", in: condition, condition.initialPlantState.span))
    ).state
  }

  /// What the program shows after a reset or a step.
  struct Present: Equatable {
    var state: [Double]
    var observation: [Double]
    var reward = 0.0
    var end = End.none
  }

  /// How a rollout went on in its last step.
  enum End: String {
    /// As ever.
    case none = ""
    /// It ended of its own accord: a fall, a goal.
    case terminated
    /// It was cut short, which says nothing of where it was.
    case truncated
  }

  /// Reads what the program shows.
  func present(_ said: ValueReader) throws -> Present {
    Present(
      state: try numbers("state", said, stateNames.count),
      observation: try numbers("observation", said, observationNames.count),
      reward: said.file.tensors["reward"]?.doubles?.first ?? 0, end: try end(said))
  }

  func end(_ said: ValueReader) throws -> End {
    let word = said.file.metadata["end"] ?? ""
    guard let end = End(rawValue: word) else {
      throw PlantFailure(
        "the process does not keep to the protocol: the end \"\(visible(word, limit: 50))\" is none of "
          + "\"\", terminated, truncated")
    }
    return end
  }

  /// An array of float64 with so many numbers in all, some of which may not be finite: that is for the rollout to
  /// refuse, which knows the step.
  func numbers(_ name: String, _ said: ValueReader, _ count: Int) throws -> [Double] {
    guard let numbers = said.file.tensors[name]?.doubles, numbers.count == count else {
      let shape = said.file.tensors[name].map { "has shape \($0.shape)" } ?? "is missing"
      throw PlantFailure(
        "the process does not keep to the protocol: the array \"\(name)\" of float64 \(shape), "
          + "\(count) numbers are expected")
    }
    return numbers
  }
}

extension Span<Double> {
  /// Its numbers in an array of their own.
  var copied: [Double] {
    var numbers = [Double](repeating: 0, count: count)
    for i in 0..<count { numbers[i] = self[i] }
    return numbers
  }
}
