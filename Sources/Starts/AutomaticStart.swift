package import Configuration
public import GPSCore
import Sim

extension InitialController {
  /// Settings of a start that follows from what is known of the task: searched where its dynamics are known
  /// (`optimize`), and the same control at every step where they are not (`constant`).
  public struct AutomaticOptions: Sendable, Equatable {
    /// Settings: there is nothing to set.
    public init() {}
  }

  /// What follows from the task.
  public static let automatic = InitialController(AutomaticOptions())

  /// The kind that is meant for a task: itself, unless it is automatic.
  ///
  /// - Parameter task: a plant of it is made and reset once.
  /// - Returns: the start, and why it was chosen; nil if it was not.
  /// - Throws: what making and resetting a plant throws.
  public func chosen<T: ControlTask>(for task: T) throws -> (start: InitialController, why: String?)
  {
    guard base is AutomaticOptions, let condition = task.conditions.first else {
      return (self, nil)
    }
    return AutomaticOptions.choice(try Start(of: task, in: condition))
  }
}

extension InitialController.AutomaticOptions: ControllerRule {
  package static let schema = Schema<Self>(
    "automatic", "optimize where the task's dynamics are known, constant where they are not.",
    Self()
  ) {}

  /// Numbers in a state and its controls up to which a search is worth its time: each linearisation takes twice
  /// as many steps of the model, and a seven-joint arm's search takes minutes.
  static var largest: Int { 20 }

  /// What is meant for a start, and why.
  static func choice(_ start: Start) -> (start: InitialController, why: String?) {
    if start.dynamics == nil {
      return (.constant(), start.dynamicsProblem ?? "the dynamics of this task are not known")
    }
    let size = start.dimensions.state + start.dimensions.control
    if size > largest {
      return (
        .constant(),
        "a search with \(size) numbers in state and controls would take long (at most \(largest))"
      )
    }
    return (.optimize(), "the dynamics are known")
  }

  func controller(_ start: Start) throws -> LinearGaussianController {
    try Self.choice(start).start.base.controller(start)
  }
}
