import Benchmarks
import Foundation
import GuidedPolicySearch
import Synchronization
import Testing

@Suite struct BenchmarkTests {
  private static let pendulum = """
    <mujoco>
      <worldbody>
        <body pos="0 0 1">
          <joint name="hinge" axis="0 1 0" damping="0.1"/>
          <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.02"/>
        </body>
      </worldbody>
      <actuator><motor joint="hinge" ctrlrange="-1 1" ctrllimited="true"/></actuator>
    </mujoco>
    """

  @Test func everyStageRunsAtSmallSizes() async throws {
    var settings = BenchmarkSettings()
    (settings.repetitions, settings.workers) = (1, 1)
    (settings.states, settings.controls, settings.horizon) = (3, 2, 20)
    (settings.samples, settings.conditions) = (20, 2)
    (settings.batch, settings.hidden) = (16, [8])
    let model = FileManager.default.temporaryDirectory.appendingPathComponent(
      "bench-\(UUID().uuidString).xml")
    try Data(Self.pendulum.utf8).write(to: model)
    defer { try? FileManager.default.removeItem(at: model) }
    let task = try BenchmarkRunner.task(model: model, horizon: 20)
    var all: [BenchmarkLine] = []
    var runner = BenchmarkRunner(settings: settings, cores: 1) { all.append($0) }
    await runner.timeLQR()
    await runner.timeDynamics()
    await runner.timeMixture()
    await runner.timePolicy()
    await runner.timeRollouts(of: task)
    await runner.timeDerivatives(of: [task])
    #expect(all.compactMap(\.failure) == [])
    let names = all.map(\.name)
    let linearization = try #require(all.first { $0.name == task.name + "_linearize" })
    #expect(linearization.extras.contains { $0.name == "per_step" && $0.value > 0 })
    for name in [
      "product_double", "product_single", "riccati", "marginals", "kl_step", "fit",
      "fit_mixture_prior", "fit_with_em", "em", "training", "action", "local_controller",
      "network", "bare_steps_local_controller", "bare_steps_network",
    ] {
      #expect(names.contains(name), "\(name)")
    }
    // The same work elsewhere: scripts/peers/lqr.py numpy, dynamics.py and mixture.py (scikit-learn), at
    // these sizes.
    let elsewhere = [
      "riccati": 14.65556044695618, "marginals": 17.69605399336057, "em": -10.176107646215327,
      "fit": 136.90208531198658, "fit_mixture_prior": 124.43617822603699,
    ]
    for (name, value) in elsewhere {
      let check = try #require(all.first { $0.name == name }?.check)
      // The covariance floor of EM is not quite that of scikit-learn.
      let tolerance = name == "em" ? 1e-6 : 1e-9
      #expect(abs(check - value) <= tolerance * abs(value), "\(name)")
    }
    for line in all {
      #expect(line.repetitions == 1 && line.minimum > 0 && line.minimum <= line.median)
      #expect(line.flopsPerSecond != nil || line.unitsPerSecond != nil || line.name == "kl_step")
    }
  }

  @Test func iterativeLQRIsTimedOnProblemsThatConverge() async throws {
    var settings = BenchmarkSettings()
    settings.repetitions = 1
    settings.budget = 0.01
    var lines: [BenchmarkLine] = []
    await BenchmarkRunner(settings: settings, cores: 1) { lines.append($0) }.timeILQR()
    #expect(lines.compactMap(\.failure) == [])
    // The cost of given controls under the same equations in scripts/peers/ilqr.cpp.
    let elsewhere: [(name: String, check: Double)] = [
      ("pendulum", 521.354550596229),
      ("cart-pole", 499.723325309503),
      ("acrobot", 549.236281624378),
      ("quadrotor", 391638.13271785),
      ("car", 6.166722780379),
    ]
    #expect(lines.map(\.name) == elsewhere.flatMap { [$0.name, $0.name + "_first_order"] })
    for (index, line) in lines.enumerated() {
      let (name, value) = elsewhere[index / 2]
      let check = try #require(line.check)
      #expect(abs(check - value) <= 1e-9 * abs(value), "\(name): \(check)")
      let numbers = Dictionary(uniqueKeysWithValues: line.extras.map { ($0.name, $0.value) })
      #expect(numbers["converged"] == 1, "\(name)")
      // Far better than the wave, which stays near the guess.
      #expect(try #require(numbers["cost"]) < 0.5 * check, "\(name)")
      #expect(line.minimum > 0 && line.minimum <= line.median)
    }
  }

  @Test func failedCaseHasNoFigures() async throws {
    var line: BenchmarkLine?
    let runner = BenchmarkRunner(settings: BenchmarkSettings(), cores: 1) { line = $0 }
    _ = await runner.time(BenchmarkLine(.lqr, "broken", sizes: [], flops: 1)) {
      PreparedWork(run: {}, check: { throw BenchmarkFailure("it \"broke\",\n really") })
    }
    let failed = try #require(line)
    #expect(failed.failure == "it \"broke\",\n really")
    #expect(failed.repetitions == 0 && failed.flopsPerSecond == nil)
    let object = try #require(
      try JSONSerialization.jsonObject(
        with: Data(BenchmarkWriter(format: .json, version: "1").text(failed).utf8))
        as? [String: Any])
    #expect(object["error"] as? String == failed.failure)
    #expect(object["median_s"] == nil)
    #expect(
      BenchmarkWriter(format: .csv, version: "1").text(failed).hasSuffix(
        ",\"it \"\"broke\"\",\n really\""))
    #expect(BenchmarkWriter(format: .table, version: "1").text(failed).contains("failed: it"))
  }

  @Test func resultsThatAreNotFiniteFail() async throws {
    let runner = BenchmarkRunner(settings: BenchmarkSettings(), cores: 1) { _ in }
    let line = await runner.time(BenchmarkLine(.lqr, "nan", sizes: [])) {
      PreparedWork(run: {}, check: { .nan })
    }
    #expect(line.failure == "the result is nan")
  }

  @Test(arguments: [1, 3, 17]) func repetitionsAreAsAsked(_ count: Int) async throws {
    let calls = Atomic(0)
    let timer = BenchmarkTimer(repetitions: count, budget: 0.001)
    let seconds = try await timer.seconds(
      of: PreparedWork(
        run: {
          usleep(6000)
          calls.add(1, ordering: .relaxed)
        }, runsPerCall: 2))
    #expect(seconds.count == count)
    // One more to warm up; each of them is longer than the shortest measurement.
    #expect(calls.load(ordering: .relaxed) == count + 1)
    #expect(seconds.allSatisfy { $0 > 0.003 })
  }

  @Test func worksTakeTurns() async throws {
    let order = Mutex<[String]>([])
    func work(_ name: String) -> PreparedWork {
      PreparedWork(run: {
        usleep(6000)
        order.withLock { $0.append(name) }
      })
    }
    let timer = BenchmarkTimer(repetitions: 3, budget: 0.001)
    let seconds = try await timer.seconds(ofEach: [work("a"), work("b")])
    #expect(seconds.map(\.count) == [3, 3])
    // Each warms up alone.
    #expect(order.withLock { $0 } == ["a", "b"] + ["a", "b", "a", "b", "a", "b"])
  }

  /// A case that cannot be prepared fails alone; the others are timed.
  @Test func casesInTurnsFailAlone() async throws {
    let runner = BenchmarkRunner(settings: BenchmarkSettings(), cores: 1) { _ in }
    let lines = await runner.time(inTurns: [
      (BenchmarkLine(.lqr, "broken", sizes: []), { throw BenchmarkFailure("no such model") }),
      (BenchmarkLine(.lqr, "sound", sizes: []), { PreparedWork(run: { usleep(100) }) }),
      (BenchmarkLine(.lqr, "wrong", sizes: []), { PreparedWork(run: {}, check: { .infinity }) }),
    ])
    #expect(lines.map(\.failure) == ["no such model", nil, "the result is inf"])
    #expect(lines[1].median > 0 && lines[1].repetitions >= BenchmarkTimer.fewest)
    #expect(lines[0].repetitions == 0 && lines[2].repetitions == 0)
  }

  @Test func medians() {
    #expect(median([3, 1, 2]) == 2)
    #expect(median([4, 1, 2, 3]) == 2.5)
    #expect(median([]).isNaN)
  }

  /// Multiplications and additions counted one by one, in the loops that the formula speaks of.
  @Test(arguments: [(1, 1), (3, 2), (10, 4)])
  func operationsOfAStepAreCounted(_ n: Int, _ m: Int) {
    let d = n + m
    func product(_ rows: Int, _ columns: Int, _ inner: Int, triangle: Bool = false) -> Int {
      var count = 0
      for j in 0..<columns {
        for i in 0..<rows where !triangle || i >= j { _ = (i, j); count += 2 * inner }
      }
      return count
    }
    var backward = product(n, d, n) + product(d, d, n, triangle: true)
    backward += product(n, 1, n) + product(d, 1, n)
    for _ in 0..<2 { for i in 0..<m { backward += (n + 1) * (2 * i + 1) } }  // solves with L
    backward += product(n, n, m, triangle: true) + product(n, 1, m)
    let cholesky = Double(m * m * m) / 3
    #expect(abs(LQRFlops.backward(n, m) - cholesky - Double(backward)) < 1e-9 * Double(backward))
    #expect(LQRFlops.forward(n, m) == Double(product(m, 1, n) + product(n, 1, d)))
    var marginals = product(m, 1, n) + product(n, 1, d) + product(n, n, m) + product(n, n, n)
    marginals += product(n, n, n, triangle: true) + product(n, n, m, triangle: true)
    for j in 0..<m { marginals += 2 * n * (m - j) }  // B L, L lower triangular
    #expect(LQRFlops.marginals(n, m) == Double(marginals))
  }

  @Test func conditionsFillTheBoxOfTheirOwn() throws {
    let corners = [(-0.08, 0.08), (0.08, -0.08)].map { x, y in
      Condition(
        name: "c", initialPlantState: [], bodyOffsets: ["hole": [x, y, 0]], goal: [x, 1])
    }
    let places = BenchmarkRunner.spread(corners, over: 64)
    #expect(places.count == 64 && Set(places).count == 64)
    var cells = Set<Int>()
    for place in places {
      let offsets = place.drop { $0 != "," }
      let numbers = offsets.split { !"-0123456789.e".contains($0) }.compactMap { Double($0) }
      let (x, y, z, goal) = (numbers[0], numbers[1], numbers[2], numbers[4])
      #expect(abs(x) <= 0.08 && abs(y) <= 0.08 && z == 0 && goal == 1)
      cells.insert(4 * Int((x + 0.08) / 0.0401) + Int((y + 0.08) / 0.0401))
    }
    // Each sixteenth of the square is visited.
    #expect(cells.count == 16)
  }
}
