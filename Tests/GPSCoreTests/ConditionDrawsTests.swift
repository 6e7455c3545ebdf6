import Configuration
import Foundation
import GPSCore
import Statistics
import Testing

@Suite struct ConditionDrawsTests {
  private func sample(
    _ distribution: VectorDistribution, _ count: Int, draws: Int = 4000
  ) -> [[Double]] {
    var stream = RandomStream(seed: 21)
    return (0..<draws).map { _ in distribution.draw(count, from: &stream) }
  }

  private func mean(_ list: [[Double]], _ f: ([Double]) -> Double) -> Double {
    list.reduce(0) { $0 + f($1) } / Double(list.count)
  }

  @Test("A box is uniform between its bounds")
  func box() {
    let drawn = sample(.box(lower: [-1, 0, 2], upper: [1, 3, 2]), 3)
    #expect(drawn.allSatisfy { (-1...1).contains($0[0]) && (0...3).contains($0[1]) && $0[2] == 2 })
    // Mean and variance of a uniform number: (a + b) / 2 and (b − a)² / 12; five standard errors.
    #expect(abs(mean(drawn) { $0[0] }) < 5 * 0.577 / 63)
    #expect(abs(mean(drawn) { $0[1] } - 1.5) < 5 * 0.866 / 63)
    #expect(abs(mean(drawn) { ($0[1] - 1.5) * ($0[1] - 1.5) } - 0.75) < 5 * 0.68 / 63)
    #expect(sample(.box(lower: [0.5], upper: [0.5]), 2, draws: 1) == [[0.5, 0.5]])
  }

  @Test("A normal distribution has its deviations")
  func normal() {
    let drawn = sample(.normal(deviation: [2, 0]), 2)
    #expect(abs(mean(drawn) { $0[0] * $0[0] } - 4) < 5 * 4 * 1.414 / 63)
    #expect(drawn.allSatisfy { $0[1] == 0 })
  }

  @Test("A disk is uniform by its area, a ring and an arc are parts of it, a circle is its rim")
  func disks() {
    let disk = sample(.disk(radius: 2), 3)
    #expect(disk.allSatisfy { hypot($0[0], $0[1]) <= 2 && $0[2] == 0 })
    // A quarter of the area lies within half the radius.
    #expect(abs(mean(disk) { hypot($0[0], $0[1]) < 1 ? 1 : 0 } - 0.25) < 5 * 0.433 / 63)
    #expect(abs(mean(disk) { $0[0] > 0 && $0[1] > 0 ? 1 : 0 } - 0.25) < 5 * 0.433 / 63)
    var ring = VectorDistribution.Ring()
    (ring.radius, ring.innerRadius, ring.axes) = (2, 1.5, [2, 0])
    (ring.from, ring.until) = (0, .pi / 2)
    #expect(
      sample(.ring(ring), 3).allSatisfy {
        (1.5...2).contains(hypot($0[0], $0[2])) && $0[0] >= 0 && $0[2] >= 0 && $0[1] == 0
      })
    #expect(sample(.circle(radius: 0.5), 2).allSatisfy { abs(hypot($0[0], $0[1]) - 0.5) < 1e-12 })
  }

  @Test("A ball is uniform by its volume")
  func ball() {
    let drawn = sample(.ball(radius: 3), 3)
    func length(_ v: [Double]) -> Double { v.reduce(0) { $0 + $1 * $1 }.squareRoot() }
    #expect(drawn.allSatisfy { length($0) <= 3 })
    #expect(abs(mean(drawn) { length($0) < 1.5 ? 1 : 0 } - 0.125) < 5 * 0.331 / 63)
    #expect(abs(mean(drawn) { $0[2] }) < 5 * 1.34 / 63)
  }

  @Test("Distributions read as they are written; what is none is refused by name")
  func files() throws {
    var arc = VectorDistribution.Ring()
    (arc.radius, arc.innerRadius, arc.axes, arc.until) = (2, 2, [1, 2], 1.5)
    for distribution in [
      VectorDistribution.box(lower: [0, 1], upper: [2]), .normal(deviation: [0.5]),
      .disk(radius: 2), .circle(radius: 3), .ball(radius: 1), .ring(arc),
    ] {
      let tree = SettingsTree(VectorDistribution.codec.write(distribution))
      let read = try VectorDistribution.codec.read(
        SettingsTree(yaml: tree.yaml, name: "f"), "goal")
      #expect(read == distribution)
    }
    for (text, words) in [
      (
        "{box: {lower: 1, upper: 0}}",
        "goal.box.upper: 0 is not allowed (must be no less than lower, 1"
      ),
      ("{box: {lower: [0, 0], upper: [1, 1, 1]}}", "must be one number, or 2, as lower has"),
      ("{box: {lower: [], upper: 1}}", "at least one number"),
      ("{disk: {radius: 1, innerRadius: 2}}", "must be at most radius, 1"),
      ("{disk: {radius: 1, axes: [0, 0]}}", "two different numbers"),
      ("{disk: {radius: -1}}", "at least 0"),
      ("{circle: {radius: 1, innerRadius: 1}}", "unknown key"),
      ("{normal: {deviation: -1}}", "at least 0"), ("{sphere: {}}", "unknown key \"sphere\""),
    ] {
      let error = #expect(throws: SettingsError.self, "\(text)") {
        try VectorDistribution.codec.read(SettingsTree(yaml: text, name: "f"), "goal")
      }
      #expect(error.map { "\($0)".contains(words) } == true, "\(error.map { "\($0)" } ?? "")")
    }
  }

  @Test("What is drawn is added, bodies go with the goal, and nothing is left to draw")
  func conditions() throws {
    var condition = Condition(
      name: "a", initialPlantState: [1, 2, 3], bodyOffsets: ["marker": [1, 1, 1]], goal: [5, 6, 7])
    condition.modelFactors = [ModelParameter(.mass, of: "b"): 2]
    var stream = RandomStream(seed: 3)
    #expect(condition.drawn(from: &stream) == condition)
    #expect(stream == RandomStream(seed: 3))

    var draws = ConditionDraws()
    draws.starts = [.init(first: 1, count: 2, distribution: .box(lower: [0.25], upper: [0.5]))]
    draws.goal = .box(lower: [0, 0, 0.5], upper: [1, 0, 0.5])
    draws.goalBodies = ["marker", "other"]
    draws.bodyOffsets = ["other": .normal(deviation: [0, 0, 1])]
    draws.modelFactors = [
      ModelParameter(.mass, of: "b"): [0.5, 0.75], ModelParameter(.size, of: "g"): [1, 1],
    ]
    condition.draws = draws
    let drawn = condition.drawn(from: &stream)
    #expect(drawn.draws == nil && condition.nominal.draws == nil)
    #expect(drawn.initialPlantState[0] == 1)
    #expect((2.25...2.5).contains(drawn.initialPlantState[1]))
    #expect((3.25...3.5).contains(drawn.initialPlantState[2]))
    #expect((5...6).contains(drawn.goal[0]) && drawn.goal[1] == 6 && drawn.goal[2] == 7.5)
    let moved = drawn.goal[0] - 5
    let marker = try #require(drawn.bodyOffsets["marker"])
    #expect(abs(marker[0] - 1 - moved) < 1e-14 && marker[1] == 1 && marker[2] == 1.5)
    let other = try #require(drawn.bodyOffsets["other"])
    #expect(abs(other[0] - moved) < 1e-14 && other[1] == 0 && other[2] != 0.5)
    #expect((1...1.5).contains(drawn.modelFactors[ModelParameter(.mass, of: "b")] ?? 0))
    #expect(drawn.modelFactors[ModelParameter(.size, of: "g")] == 1)
    var again = RandomStream(seed: 3)
    #expect(condition.drawn(from: &again) == drawn)
    #expect(condition.drawn(from: &again) != drawn)
  }
}
