import GuidedPolicySearch
import ShippedExperiments
import Testing

@Suite struct ShippedTaskTests {
  private func report(on task: some ControlTask) -> TaskReport { TaskChecker(task).check() }

  @Test("Every shipped task does what it says")
  func shippedTasks() throws {
    for name in try ShippedExperiments.names() {
      let file = try #require(try ShippedExperiments.file(named: name))
      let found = report(on: try Experiment.load(file).task)
      #expect(found.isCorrect, "\(name): \(found)")
      #expect(found.rollouts > 0)
    }
  }
}
