/// A task around another.
package protocol TaskWrapper {
  /// The task within.
  var wrapped: any ControlTask { get }
}

extension ControlTask {
  /// This task, or the one within it, if it is of a certain type.
  package func underlying<Task: ControlTask>(_ type: Task.Type) -> Task? {
    self as? Task ?? (self as? any TaskWrapper)?.wrapped.underlying(type)
  }
}
