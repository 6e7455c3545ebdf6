import Configuration
import GPSCore
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

/// A point mass that glides along x at 1 m/s, charged x²; beyond 0.35 m it has fallen.
private func task(
  _ termination: Termination?, horizon: Int = 6
) throws -> NativeTask<PointMass> {
  try NativeTask(
    name: "t", model: PointMass(), controlPeriod: 0.1, horizon: horizon,
    conditions: [Condition(name: "a", initialPlantState: [0, 0, 1, 0])],
    cost: SumCost(
      .state(StateCost(entries: ["position_x_m"], target: .numbers([0]), norm: Norm(l2: 2)))),
    success: .stateAbove(entries: ["position_x_m"], target: .numbers([0.1]), at: .final),
    termination: termination)
}

private let beyond = SuccessCriterion.stateAbove(
  entries: ["position_x_m"], target: .numbers([0.35]), at: .final)

private func glide(_ task: NativeTask<PointMass>) async throws -> Trajectory {
  let policy = try LinearGaussianController(
    gains: MatrixSequence(rows: 2, columns: 4, count: 6), offsets: Matrix(rows: 2, columns: 6),
    covariances: MatrixSequence(repeating: Matrix.identity(2), count: 6))
  let batch = try await collectRollouts(
    of: task, in: task.conditions, under: [policy],
    plan: RolloutPlan(iteration: 0, samples: 1, noise: nil, workers: 1),
    stream: RandomStream(seed: 1))
  return try #require(batch[0].trajectories.first)
}

@Suite struct TerminationTests {
  @Test("From the end on every step costs its price, and nothing of the plant changes")
  func price() async throws {
    let free = try task(nil)
    let ended = try task(Termination(when: beyond, cost: 5))
    let (whole, cut) = (try await glide(free), try await glide(ended))
    #expect(whole.endStep == nil)
    let x = (0...6).map { whole.states[0, $0] }
    let end = try #require(x.firstIndex { $0 > 0.35 })
    #expect(end > 1 && end < 6)
    #expect(cut.endStep == end && cut.states == whole.states && cut.controls == whole.controls)

    let condition = free.conditions[0]
    let (all, own) = (
      free.cost.values(along: whole, in: condition), ended.cost.values(along: cut, in: condition)
    )
    #expect(own == all[..<end] + [Double](repeating: 5, count: 7 - end))
    #expect(ended.verdict(on: cut, in: condition).cost == own.reduce(0, +))
    let (slopes, cutSlopes) = (
      free.cost.expansion(along: whole, in: condition),
      ended.cost.expansion(along: cut, in: condition)
    )
    #expect(cutSlopes.values == own)
    for t in 0...6 {
      #expect(
        cutSlopes.gradients.column(t)
          == (t < end ? slopes.gradients.column(t) : [0, 0, 0, 0, 0, 0]))
      #expect(cutSlopes.hessians[t] == (t < end ? slopes.hessians[t] : Matrix(rows: 6, columns: 6)))
    }
    // Whatever stood in the sums before stays there.
    var sums = [Double](repeating: 1, count: 7)
    ended.cost.addValues(to: &sums, along: cut, in: condition)
    #expect(zip(sums, own).allSatisfy { abs($0 - $1 - 1) < 1e-12 })
  }

  @Test("A rollout that ended is no success, by as much as it went too far")
  func success() async throws {
    let free = try task(nil)
    let whole = try await glide(free)
    let condition = free.conditions[0]
    let last = whole.states[0, 6]
    #expect(abs((free.verdict(on: whole, in: condition).margin ?? 0) - (last - 0.1)) < 1e-12)
    let ended = try task(Termination(when: beyond, cost: 5)).verdict(on: whole, in: condition)
    #expect(ended.isSuccess == false && abs((ended.margin ?? 0) - (0.35 - last)) < 1e-12)
    // An end that is never reached changes nothing but the margin, where it was near.
    let far = SuccessCriterion.stateAbove(
      entries: ["position_x_m"], target: .numbers([last + 0.01]), at: .final)
    let near = try task(Termination(when: far)).verdict(on: whole, in: condition)
    #expect(near.isSuccess == true && abs((near.margin ?? 0) - 0.01) < 1e-12)
    #expect(near.cost == free.verdict(on: whole, in: condition).cost)
  }

  @Test("Any and all of several criteria end a rollout, at the first step at which they hold")
  func several() async throws {
    let whole = try await glide(task(nil))
    let x = (0...6).map { whole.states[0, $0] }
    let late = SuccessCriterion.stateAbove(
      entries: ["position_x_m"], target: .numbers([x[4] + 1e-9]), at: .always)
    let any = try task(Termination(when: .any([late, beyond])))
    let all = try task(Termination(when: .all([late, beyond])))
    #expect(any.endStep(of: whole, in: any.conditions[0]) == x.firstIndex { $0 > 0.35 })
    #expect(all.endStep(of: whole, in: all.conditions[0]) == 5)
    let never = try task(Termination(when: .any([])))
    #expect(never.endStep(of: whole, in: never.conditions[0]) == nil)
  }

  @Test("Settings read as they are written; what does not fit is refused by name")
  func files() throws {
    let termination = Termination(
      when: .pointBelow(point: "head", height: 0.5, at: .final), cost: 2.5)
    #expect(try writtenAndRead(termination) == termination)
    let error = #expect(throws: SimError.self) {
      try task(
        Termination(when: .stateAbove(entries: ["height"], target: .numbers([0]), at: .any)))
    }
    #expect(
      error.map { "\($0)".hasPrefix("termination.when.stateAbove.entries[0]: height is not") }
        == true)
    #expect(throws: SimError.self) { try task(Termination(when: beyond, cost: -1)) }
  }
}
