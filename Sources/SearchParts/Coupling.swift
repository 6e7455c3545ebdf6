package import Configuration
public import GPSCore
public import GlobalPolicy
public import Statistics

/// Which policy takes the training rollouts after iteration 0.
public enum Sampling: String, Sendable, CaseIterable {
  /// The global policy.
  case onPolicy
  /// The local controllers.
  case offPolicy
}

extension Sampling: Setting {}

/// How local controllers and the global policy hold each other.
public protocol Coupling: Sendable {
  /// What travels from iteration to iteration, one per condition.
  associatedtype Memory: Storable

  /// The numbers it reports of every condition.
  var columns: [Metric.Column] { get }
  /// Whether there is a global policy at the end.
  var learnsPolicy: Bool { get }
  /// Who rolls out after iteration 0.
  ///
  /// - Parameter asked: what the settings ask for; nil if they leave it open.
  /// - Returns: what is done.
  /// - Throws: `InvalidOption` with the reason when it cannot be as asked.
  func sampling(_ asked: Sampling?) throws(InvalidOption) -> Sampling

  /// How often local steps and distillation alternate on the same rollouts.
  var rounds: Int { get }

  /// Whether the policy is fitted in an iteration, counted from 0, of so many.
  func distills(in iteration: Int, of iterations: Int) -> Bool

  /// The memory before the first iteration.
  func initialMemory(_ dimensions: Dimensions) -> Memory

  /// What a condition's local step must stay close to.
  ///
  /// - Parameters:
  ///   - controller: the one in force when the iteration began.
  ///   - policy: the global policy; nil before the first.
  ///   - isBehind: whether the policy's own rollouts cost more than the controller's.
  ///   - samples: N > 0 rollouts of the condition.
  ///   - limits: of the controls, within which the policy acts; nil for none.
  ///   - memory: of the condition.
  ///   - stream: the source of all randomness of this call.
  /// - Returns: the reference of the KL bound, and a penalty.
  /// - Throws: a `NumericalFailure`.
  func anchor<P: DistillablePolicy>(
    of controller: LinearGaussianController, policy: P?, isBehind: Bool,
    about samples: [Trajectory], limits: ControlLimits?, memory: inout Memory, stream: RandomStream
  ) throws -> Anchor

  /// What the policy is to do in a condition, and how much each deviation costs: the controller itself, or
  /// one with shifted offsets and weighted precisions.
  ///
  /// - Throws: a `NumericalFailure`.
  func teacher(
    _ controller: LinearGaussianController, memory: Memory
  ) throws -> LinearGaussianController

  /// Takes in what the distillation came to.
  ///
  /// - Parameters:
  ///   - controller: the one in force.
  ///   - policy: as fitted just now.
  ///   - samples: N > 0 rollouts of the condition.
  ///   - memory: of the condition.
  ///   - isLastRound: whether these rollouts are done with.
  ///   - stream: the source of all randomness of this call.
  /// - Throws: a `NumericalFailure`.
  func settle<P: DistillablePolicy>(
    _ controller: LinearGaussianController, policy: P, about samples: [Trajectory],
    memory: inout Memory, isLastRound: Bool, stream: RandomStream
  ) throws

  /// By its own columns.
  func metrics(_ memory: Memory) -> [Metric]

  /// Whether a stored memory is one of a task of these sizes.
  func fits(_ memory: Memory, _ dimensions: Dimensions) -> Bool
}

extension Coupling {
  /// None unless a type says otherwise.
  public var columns: [Metric.Column] { [] }
  /// There is a policy unless a type says otherwise.
  public var learnsPolicy: Bool { true }
  /// As asked; the policy if it is left open.
  public func sampling(_ asked: Sampling?) -> Sampling { asked ?? .onPolicy }
  /// One unless a type says otherwise.
  public var rounds: Int { 1 }
  /// In every iteration unless a type says otherwise.
  public func distills(in iteration: Int, of iterations: Int) -> Bool { true }
  /// The controller itself unless a type says otherwise.
  public func teacher(
    _ controller: LinearGaussianController, memory: Memory
  ) throws -> LinearGaussianController { controller }
  /// Nothing unless a type says otherwise.
  public func settle<P: DistillablePolicy>(
    _ controller: LinearGaussianController, policy: P, about samples: [Trajectory],
    memory: inout Memory, isLastRound: Bool, stream: RandomStream
  ) throws {}
  /// None unless a type says otherwise.
  public func metrics(_ memory: Memory) -> [Metric] { [] }
}

/// Mirror descent (Montgomery & Levine 2016): the local step stays close to the linearised policy.
public struct MirrorDescent: Coupling {
  /// The linearisation of the policy about the rollouts.
  public let linearizer: PolicyLinearizer

  /// Mirror descent.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public init(
    linearization: PolicyLinearizer.Options = PolicyLinearizer.Options()
  ) throws(InvalidOption) {
    do { linearizer = PolicyLinearizer(options: try linearization.validated()) } catch {
      throw error.within("policyLinearization")
    }
  }

  /// A prior that knows nothing.
  public func initialMemory(_ dimensions: Dimensions) -> PolicyPrior { PolicyPrior() }

  /// The linearised policy. In iteration 0, and where the policy costs more, the controller itself: within
  /// the bound of a bad policy every controller is bad, and a smaller bound is the worse.
  public func anchor<P: DistillablePolicy>(
    of controller: LinearGaussianController, policy: P?, isBehind: Bool,
    about samples: [Trajectory], limits: ControlLimits?, memory: inout PolicyPrior,
    stream: RandomStream
  ) throws -> Anchor {
    guard let policy, !isBehind else { return Anchor(reference: controller) }
    let linearized = try linearizer.linearize(
      policy, about: samples, limits: limits, updating: memory, stream: stream)
    memory = linearized.prior
    return Anchor(reference: linearized.controller)
  }

  /// Whether the prior's states and observations are of these sizes.
  public func fits(_ memory: PolicyPrior, _ dimensions: Dimensions) -> Bool {
    memory.fits(dimensions)
  }
}

extension PolicyPrior {
  func fits(_ d: Dimensions) -> Bool {
    states.allSatisfy { $0.rows == d.state } && observations.allSatisfy { $0.rows == d.observation }
      && (mixture?.dimension ?? d.joint) == d.joint
  }
}

/// Local controllers alone, each close to its predecessor (Levine & Abbeel 2014); and, if asked for, one
/// distillation at the end: the control that any coupling has to beat.
public struct Uncoupled: Coupling {
  /// Whether the controllers of the last iteration are distilled into a policy.
  public let learnsPolicy: Bool

  /// No coupling.
  ///
  /// - Parameter distillsAtEnd: whether the last iteration ends with a distillation.
  public init(distillsAtEnd: Bool) { learnsPolicy = distillsAtEnd }

  /// The local controllers: there is no policy, or none before the end.
  public func sampling(_ asked: Sampling?) -> Sampling { .offPolicy }

  /// In the last iteration, or never.
  public func distills(in iteration: Int, of iterations: Int) -> Bool {
    learnsPolicy && iteration == iterations - 1
  }

  /// Nothing.
  public func initialMemory(_ dimensions: Dimensions) -> NoMemory { NoMemory() }

  /// The previous controller.
  public func anchor<P: DistillablePolicy>(
    of controller: LinearGaussianController, policy: P?, isBehind: Bool,
    about samples: [Trajectory], limits: ControlLimits?, memory: inout NoMemory,
    stream: RandomStream
  ) -> Anchor { Anchor(reference: controller) }

  /// There is nothing that might not fit.
  public func fits(_ memory: NoMemory, _ dimensions: Dimensions) -> Bool { true }
}
