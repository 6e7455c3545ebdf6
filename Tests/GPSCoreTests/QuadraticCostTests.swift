import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

/// ½ yᵀ A y + bᵀ y + c at every step, as a `Cost`.
private struct ExactQuadratic: Cost {
  let A: Matrix
  let b: [Double]
  let c: Double
  let n: Int

  private func y(_ trajectory: Trajectory, _ t: Int) -> [Double] {
    trajectory.states.column(t)
      + (t < trajectory.horizon
        ? trajectory.controls.column(t)
        : [Double](repeating: 0, count: trajectory.controls.rows))
  }

  func addValues(to values: inout [Double], along trajectory: Trajectory, in condition: Condition) {
    for t in values.indices {
      let y = y(trajectory, t)
      values[t] += 0.5 * A.bilinear(y, y) + zip(b, y).reduce(c) { $0 + $1.0 * $1.1 }
    }
  }

  func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    addValues(to: &expansion.values, along: trajectory, in: condition)
    for t in 0...expansion.horizon {
      let gradient = zip(A * y(trajectory, t), b).map(+)
      expansion.gradients.setColumn(t, to: zip(expansion.gradients.column(t), gradient).map(+))
      expansion.hessians[t] = expansion.hessians[t] + A
    }
  }
}

@Suite("Quadratic cost") struct QuadraticCostTests {
  let condition = Condition(name: "only", initialPlantState: [0, 0])

  private func trajectory(_ stream: inout RandomStream) -> Trajectory {
    Trajectory(
      states: RandomProblem.matrix(2, 4, &stream), controls: RandomProblem.matrix(1, 3, &stream),
      observations: Matrix(rows: 0, columns: 4))
  }

  @Test("a cost that is quadratic comes back exactly, whatever the samples")
  func exact() throws {
    var stream = RandomStream(seed: 5)
    let A = RandomProblem.positiveDefinite(3, &stream)
    let cost = ExactQuadratic(A: A, b: [1, -2, 3], c: 7, n: 2)
    let quadratic = try cost.quadratic(
      over: [trajectory(&stream), trajectory(&stream), trajectory(&stream)], in: condition)
    for t in 0...3 {
      #expect((quadratic.hessians[t] - A).largestMagnitude < 1e-12)
      #expect(abs(quadratic.constants[t] - 7) < 1e-12)
      for (value, exact) in zip(quadratic.gradients.column(t), [1.0, -2, 3]) {
        #expect(abs(value - exact) < 1e-12)
      }
    }
  }

  @Test("a cost that is not finite is an error with sample and step")
  func notFinite() {
    var stream = RandomStream(seed: 6)
    let good = trajectory(&stream)
    var bad = good
    bad.states[1, 2] = .infinity
    let cost = ExactQuadratic(A: .identity(3), b: [0, 0, 0], c: 0, n: 2)
    #expect(throws: CostError.notFinite(sample: 1, step: 2)) {
      try cost.quadratic(over: [good, bad], in: condition)
    }
  }
}

@Suite("Parallel map") struct ParallelMapTests {
  struct Failure: Error, Equatable { let index: Int }

  @Test("results land by index for any number of workers", arguments: [1, 2, 5, 16])
  func order(_ workers: Int) async throws {
    let results = try await parallelMap(50, workers: workers) { index in
      if index % 7 == 0 { await Task.yield() }
      return index * index
    }
    #expect(results == (0..<50).map { $0 * $0 })
  }

  @Test("the failure with the lowest index is thrown", arguments: [1, 2, 5])
  func failures(_ workers: Int) async {
    await #expect(throws: Failure(index: 3)) {
      try await parallelMap(20, workers: workers) { index in
        if index >= 3 { throw Failure(index: index) }
        for _ in 0..<index { await Task.yield() }
      }
    }
  }

  @Test("each worker makes one context and keeps it")
  func contexts() async throws {
    let counts = try await parallelMap(30, workers: 1, makeContext: { 0 }) { _, context in
      context += 1
      return context
    }
    #expect(counts == Array(1...30))
  }

  @Test("a cancelled map throws and starts nothing new")
  func cancellation() async {
    let task = Task {
      try await parallelMap(1_000_000, workers: 2) { _ in await Task.yield() }
    }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test("a map that fails early makes no room for results that never come")
  func failureOfManyTakesNoMemory() async {
    for workers in [1, 4] {
      await #expect(throws: Failure(index: 2)) {
        try await parallelMap(1 << 50, workers: workers) { index -> Int? in
          // A result that is nothing is no failure.
          if index == 2 { throw Failure(index: index) }
          for _ in 0..<20 where index > 2 { await Task.yield() }
          return nil
        }
      }
    }
  }
}
