// The registry of what an experiment can be learned with: one line for each member of the family.

import Configuration
import Distributed
public import GPSCore
import GlobalPolicy
import PolicySearch
import SearchParts
import Sim
import TrajectoryOptimization

/// A member of the family: what a word in a file makes of an experiment.
struct Member<Product>: Sendable {
  /// The word.
  let name: String
  /// What it is.
  let text: String
  /// Makes it of an experiment's settings.
  let make: @Sendable (Experiment) throws -> Product

  init(_ name: String, _ text: String, _ make: @escaping @Sendable (Experiment) throws -> Product) {
    self.name = name
    self.text = text
    self.make = make
  }
}

/// How local controllers and network hold each other (`algorithm.name`).
let couplings: [Member<any Coupling>] = [
  Member("mirrorDescent", "the local step stays close to the linearised network") {
    try MirrorDescent(linearization: $0.policyLinearization)
  },
  Member("badmm", "Bregman ADMM: multipliers pull controllers and network together") {
    try BADMM(options: $0.badmm, linearization: $0.policyLinearization)
  },
  Member("trajectoryOptimization", "local controllers alone, each close to its predecessor") { _ in
    Uncoupled(distillsAtEnd: false)
  },
  Member("distillation", "trajectory optimisation, and one distillation at the end") { _ in
    Uncoupled(distillsAtEnd: true)
  },
]

/// How a local controller is improved (`algorithm.localStep`).
let localSteps: [Member<any LocalImprovement>] = [
  Member("klLQR", "LQR on fitted dynamics within a bound on the KL divergence") {
    try KLStep(dynamics: $0.dynamics, search: $0.localOptimization)
  },
  Member("pathIntegral", "PI²: no model; the rollouts weighted by their costs") {
    try PathIntegralStep(options: $0.pathIntegral)
  },
  Member("pilqr", "LQR on the model, then PI² on what the model does not explain") {
    try PILQRStep(
      lqr: KLStep(dynamics: $0.dynamics, search: $0.localOptimization), options: $0.pathIntegral)
  },
]

extension Codec where Value == String {
  /// One word of a registry.
  static func word<Product>(of registry: [Member<Product>]) -> Codec {
    word(
      of: registry.map(\.name),
      registry.map { ReferenceEntry(key: $0.name, expects: "a word", text: $0.text) })
  }
}

extension Experiment {
  /// The words that `algorithm.name` may be.
  public static var algorithms: [String] { couplings.map(\.name) }
}

extension LoadedExperiment {
  /// What the experiment is learned with.
  ///
  /// - Parameter workers: how much runs at once; results do not depend on it.
  /// - Returns: a learner of the task.
  /// - Throws: `InvalidOption`, or what a part throws when the task cannot give what is asked of it.
  public func learner(workers: Int = 1) throws -> any Learner {
    guard let coupling = couplings.first(where: { $0.name == experiment.algorithm }),
      let localStep = localSteps.first(where: { $0.name == experiment.localStep })
    else {
      throw InvalidOption(
        key: "algorithm", value: "\(experiment.algorithm) with \(experiment.localStep)",
        allowed: "one of \(couplings.map(\.name)) with one of \(localSteps.map(\.name))")
    }
    return try search(
      task, try localStep.make(experiment), try coupling.make(experiment), workers: workers)
  }

  private func search(
    _ task: some ControlTask, _ local: some LocalImprovement, _ link: some Coupling, workers: Int
  ) throws -> any Learner {
    var settings = experiment.search
    settings.workers = workers
    let name =
      experiment.localStep == localSteps[0].name
      ? experiment.algorithm : "\(experiment.algorithm)-\(experiment.localStep)"
    let search = try GuidedSearch(
      task, from: initialControllers, start: start.made, settings: settings,
      local: local, link: link,
      student: NeuralDistiller(
        network: experiment.network,
        training: experiment.training.derived(from: start.made),
        seed: experiment.seed),
      seed: experiment.seed, name: name)
    return switch experiment.schedule {
    case .synchronous: search
    case .asynchronous: try AsynchronousSearch(search, options: experiment.asynchronous)
    }
  }

  /// Iterative LQR on the task's known dynamics.
  ///
  /// - Parameter workers: how much runs at once; results do not depend on it.
  /// - Returns: a learner of the task.
  /// - Throws: `UnknownDynamics` for a task whose dynamics can only be fitted, `InvalidOption`.
  public func optimizer(workers: Int = 1) throws -> any Learner {
    try optimizer(of: task, workers: workers)
  }

  private func optimizer(of task: some ControlTask, workers: Int) throws -> any Learner {
    try TrajectoryOptimizer(
      task, from: initialControllers, options: experiment.ilqr, sampling: experiment.sampling,
      seed: experiment.seed, workers: workers)
  }
}
