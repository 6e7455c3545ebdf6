import Foundation
import GPSTestSupport
import Testing

@testable import GuidedPolicySearch
@testable import PolicySearch
@testable import SearchParts

/// An iteration of which nothing is to be said, on the way to a success.
private func healthy() -> IterationFacts {
  let facts = ConditionFacts(
    saturatedShare: 0.01, saturatedShares: [0.02, 0], largestCommand: 1.1, largestCommandOf: 0,
    exploration: 0.5, explorationOfRange: 0.05, splitShare: 0.8, growth: nil, drawn: 10)
  let entries = ["left", "right"].map {
    IterationFacts.Entry(
      name: $0, facts: facts, costs: [4, 5, 6, 7, 8],
      successes: [true, false, true, false, false], isSolved: false, predicted: 10, actual: 8,
      deviation: 1.6, multiplier: 1, imagined: 9)
  }
  var settings = SearchSettings()
  settings.minStepMultiplier = 0.3
  settings.explorationFloor = 0
  return IterationFacts(
    entries: entries, isPolicys: true, unexplainedShare: 0.1, age: 0,
    controlNames: ["force_N", "torque_Nm"], horizon: 60, settings: settings)
}

/// What makes each symptom show, and what its sentence must name: the fact, the place and the settings.
private let provocations:
  [Symptom: (change: @Sendable (inout IterationFacts) -> Void, words: [String])] = [
    .saturation: (
      {
        for i in 0..<2 {
          ($0.entries[i].facts.saturatedShare, $0.entries[i].facts.saturatedShares) = (
            0.3, [0.5, 0.1]
          )
        }
      }, ["30 %", "50 % of force_N", "`cost`", "`initialController`"]
    ),
    .excessiveCommands: (
      { ($0.entries[1].facts.largestCommand, $0.entries[1].facts.largestCommandOf) = (93.7, 1) },
      ["in right the network", "torque_Nm 93.7 times", "`algorithm.klStep`", "`training.steps`"]
    ),
    .deadExploration: (
      { ($0.entries[0].facts.exploration, $0.entries[0].facts.explorationOfRange) = (0.06, 0.006) },
      [
        "controllers of left explore with 6 %", "0.6 % of half",
        "`algorithm.explorationFloor`, which is 0",
      ]
    ),
    .twoKinds: (
      {
        $0.entries[1].costs = [50, 5, 52, 6, 51]
        $0.entries[1].successes = [false, true, false, true, false]
      },
      [
        "rollouts of right", "2 at a cost of about 5.5 and 3 of about 51",
        "`algorithm.klStepDecay: 0.9`",
      ]
    ),
    .looseFit: (
      { $0.unexplainedShare = 0.62 }, ["62 %", "`training.steps`", "`network.hiddenLayers`"]
    ),
    .brokenPromises: (
      { for i in 0..<2 { ($0.entries[i].predicted, $0.entries[i].actual) = (120, -30) } },
      ["120 predicted", "-30 measured", "`algorithm.samples`", "`dynamics: known`"]
    ),
    .smallestSteps: (
      { $0.entries[0].multiplier = 0.3 },
      ["multiplier of left", "0.3", "`algorithm.minStepMultiplier`", "`algorithm.samples`"]
    ),
    .longestSteps: (
      { for i in 0..<2 { ($0.entries[i].predicted, $0.entries[i].actual) = (10, 9.5) } },
      [
        "steps of left and right", "10 predicted", "9.5 measured", "`algorithm.klStep`, which is 1",
        "`algorithm.maxStepMultiplier`, which is 1",
      ]
    ),
    .takenBack: (
      {
        $0.isTakenBack = true
        $0.age = 7
      },
      [
        "4 iterations in a row", "7 iterations ago", "`algorithm.retries`",
        "`algorithm.takeBack`, which is 2",
      ]
    ),
    .unreachableBound: (
      { $0.entries[1].facts.growth = 1.56 },
      ["right", "1.56 times per step", "`initialController: linearized`"]
    ),
    .lostModelSamples: (
      { for i in 0..<2 { $0.entries[i].imagined = 0 } },
      ["0 of 20", "left and right", "`algorithm.modelSamples: 0`"]
    ),
    .unseenGoals: (
      { $0.entries[1].facts.hidesGoals = true },
      ["each rollout of right", "`conditions.train.0.draw.every: once`"]
    ),
  ]

@Suite("What keeps a search from learning") struct DiagnosisTests {
  @Test("is named in one sentence with its fact and its setting, once", arguments: Symptom.allCases)
  func sentences(symptom: Symptom) throws {
    let (change, words) = try #require(provocations[symptom])
    var (diagnosis, facts) = (Diagnosis(), healthy())
    change(&facts)
    // Not before it has shown for long enough.
    for _ in 1..<symptom.patience {
      #expect(diagnosis.remarks(on: facts) == [])
      try checkStorable(diagnosis)
    }
    let remarks = diagnosis.remarks(on: facts)
    try #require(remarks.count == 1, "\(remarks)")
    for word in words { #expect(remarks[0].contains(word), "\(word): \(remarks[0])") }
    #expect(!remarks[0].contains("nan") && !remarks[0].contains("no finite number"))
    // And never again.
    for _ in 0..<6 { #expect(diagnosis.remarks(on: facts) == []) }
    #expect(diagnosis.said == [symptom])
    try checkStorable(diagnosis)
  }

  @Test("is not seen in an iteration that goes well, nor in one that is followed by such a one")
  func silence() {
    var diagnosis = Diagnosis()
    for _ in 0..<20 { #expect(diagnosis.remarks(on: healthy()) == []) }
    for symptom in Symptom.allCases where symptom.patience > 1 {
      for _ in 0..<6 {
        var facts = healthy()
        provocations[symptom]?.change(&facts)
        for _ in 1..<symptom.patience { #expect(diagnosis.remarks(on: facts) == []) }
        #expect(diagnosis.remarks(on: healthy()) == [])
      }
    }
    #expect(diagnosis == Diagnosis())
  }

  @Test("is nothing to speak of once the task is solved", arguments: Symptom.allCases)
  func solved(symptom: Symptom) {
    var (diagnosis, facts) = (Diagnosis(), healthy())
    provocations[symptom]?.change(&facts)
    for i in 0..<2 { facts.entries[i].isSolved = true }
    let remarks = (0..<8).flatMap { _ in diagnosis.remarks(on: facts) }
    // But a policy that comes and goes, and numbers that fail, are.
    #expect(remarks.isEmpty == ![.twoKinds, .unreachableBound].contains(symptom), "\(remarks)")
  }

  @Test("depends neither on the zero nor on the scale of the cost", arguments: Symptom.allCases)
  func invariance(symptom: Symptom) {
    for provoked in [true, false] {
      var facts = healthy()
      if provoked { provocations[symptom]?.change(&facts) }
      for (factor, constant) in [(10.0, 0.0), (1, 1000), (0.01, -7)] {
        var moved = facts
        for i in 0..<2 {
          moved.entries[i].costs = facts.entries[i].costs.map { factor * $0 + constant }
          moved.entries[i].predicted = facts.entries[i].predicted.map { factor * $0 }
          moved.entries[i].actual = facts.entries[i].actual.map { factor * $0 }
          moved.entries[i].deviation *= factor
        }
        for other in Symptom.allCases { #expect(moved.shows(other) == facts.shows(other)) }
      }
    }
  }

  @Test("where no success is judged: exploration counts as dead only when nothing gets better")
  func unjudged() {
    var (diagnosis, facts) = (Diagnosis(), healthy())
    for i in 0..<2 {
      facts.entries[i].isSolved = nil
      facts.entries[i].successes = []
      facts.entries[i].facts.exploration = 0.06
    }
    for _ in 0..<8 { #expect(diagnosis.remarks(on: facts) == []) }
    facts.age = 6
    #expect((0..<3).flatMap { _ in diagnosis.remarks(on: facts) }.count == 1)
    // Costs alone tell of two kinds when the gap is wide.
    facts.entries[0].costs = [1, 9, 1.1, 9.1, 8.9]
    #expect((0..<3).flatMap { _ in diagnosis.remarks(on: facts) }.count == 1)
  }

  @Test("a bound out of reach where nothing grows is the bound's own fault")
  func tinyBound() {
    var facts = healthy()
    facts.entries[0].facts.growth = 1.03
    let sentence = facts.sentence(on: .unreachableBound, in: [0])
    #expect(
      sentence.contains("raise `algorithm.klStep`, which is 1") && !sentence.contains("grows"))
  }

  @Test("of promises that differ by chance is not said")
  func noise() {
    var (diagnosis, facts) = (Diagnosis(), healthy())
    for i in 0..<2 { (facts.entries[i].predicted, facts.entries[i].actual) = (1, -1) }
    // Two standard errors: 2 √(2 · 1.6² / 5 / 2) = 1.4 for one deviation, and more for four.
    for i in 0..<2 { facts.entries[i].deviation = 6.4 }
    for _ in 0..<8 { #expect(diagnosis.remarks(on: facts) == []) }
    for i in 0..<2 { facts.entries[i].deviation = 1.6 }
    #expect((0..<3).flatMap { _ in diagnosis.remarks(on: facts) }.count == 1)
  }

  @Test("settings that sentences name can be set")
  func settingsExist() throws {
    let values = [
      "algorithm.klStep": "0.5", "algorithm.samples": "8", "algorithm.explorationFloor": "0.1",
      "algorithm.klStepDecay": "0.9", "algorithm.minStepMultiplier": "0.1",
      "algorithm.maxStepMultiplier": "3",
      "algorithm.retries": "1", "algorithm.takeBack": "3", "algorithm.modelSamples": "0",
      "training.steps": "10", "network.hiddenLayers": "[8]", "dynamics": "known",
      "initialController": "linearized", "localOptimization.maxDual": "1e15",
      "cost": "[{control: {weights: 1}}]",
    ]
    let file = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../../Experiments/point-mass/experiment.yaml").standardized
    for symptom in Symptom.allCases {
      var facts = healthy()
      provocations[symptom]?.change(&facts)
      for isPolicys in [true, false] {
        facts.isPolicys = isPolicys
        if symptom == .unreachableBound, !isPolicys { facts.entries[1].facts.growth = 1 }
        let sentence = facts.sentence(on: symptom, in: [1])
        let quoted = sentence.split(separator: "`", omittingEmptySubsequences: false).enumerated()
          .filter { $0.offset % 2 == 1 }.map { String($0.element) }
        #expect(!quoted.isEmpty)
        for setting in quoted {
          let parts = setting.components(separatedBy: ": ")
          let value = try #require(parts.count > 1 ? parts[1] : values[parts[0]], "\(setting)")
          _ = try Experiment.load(file, overrides: [.init("\(parts[0])=\(value)")])
        }
      }
    }
  }

  @Test("has a row of its own on the page that a user reads when it does not learn")
  func pageNamesAll() throws {
    let url = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../../Documentation/DoesNotLearn.md").standardized
    let page = try String(contentsOf: url, encoding: .utf8)
    for symptom in Symptom.allCases {
      var facts = healthy()
      provocations[symptom]?.change(&facts)
      let sentence = facts.sentence(on: symptom, in: [1])
      // A row begins with the sentence, what is measured left out: `… of … rollouts' …`.
      let rows = page.split(separator: "\n").filter { $0.hasPrefix("| `") }.map { row in
        row.split(separator: "`")[1].components(separatedBy: "…").map {
          $0.trimmingCharacters(in: .whitespaces)
        }.filter { !$0.isEmpty }
      }
      #expect(
        rows.count { $0.allSatisfy { sentence.contains($0) } } == 1, "\(symptom): \(sentence)")
    }
  }

  @Test("a forged memory of it is refused")
  func forged() {
    for (name, text) in [
      ("saturation", "yes"), ("saturation", "0"), ("twoKinds", "0,7"), ("twoKinds", "1,,1"),
      ("looseFit", "-1"), ("looseFit", ""), ("smallestSteps", "99999999999999999999"),
    ] {
      var writer = ValueWriter()
      writer.put(name, text: text)
      #expect(throws: StoredValueError.self, "\(name): \(text)") {
        try Diagnosis(stored: ValueReader(Safetensors(sealed: writer.file.sealed())))
      }
    }
  }
}

@Suite("The facts of an iteration") struct IterationFactsTests {
  @Test("limits: how many controls are at them, and how far mean controls lie beyond")
  func limits() {
    let controls = Matrix([[1, -1, 0.5, 1], [3, 5, 4, 4]])
    let states = Matrix(rows: 1, columns: 5)
    let batch = RolloutBatch(
      condition: 0,
      trajectories: [Trajectory(states: states, controls: controls, observations: states)])
    var facts = ConditionFacts()
    facts.observe(batch, commands: [controls], limits: nil)
    #expect(facts == ConditionFacts())
    // The second control goes from 3 to 5, its middle is 4.
    facts.observe(
      batch, commands: [Matrix([[0, 0.2, 0, -1.5], [4, 4, 14, 4]])],
      limits: ControlLimits(lower: [-1, 3], upper: [1, 5]))
    #expect(facts.saturatedShare == 5.0 / 8 && facts.saturatedShares == [0.75, 0.5])
    #expect(facts.largestCommand == 10 && facts.largestCommandOf == 1)
    // What is done after a rollout ended counts for nothing.
    var ended = batch
    ended.trajectories[0].endStep = 2
    facts = ConditionFacts()
    facts.observe(
      ended, commands: [Matrix([[0, 0.2, 0, -1.5], [4, 4, 14, 4]])],
      limits: ControlLimits(lower: [-1, 3], upper: [1, 5]))
    #expect(facts.saturatedShare == 1 && facts.largestCommand == 0.2)
  }

  @Test(
    "goals of each rollout's own: hidden if all begin in the same state",
    arguments: [nil, false, true])
  func goals(hidden: Bool?) {
    func rollout(_ goal: Double) -> Trajectory {
      let start = hidden == false ? goal : 0
      let states = Matrix([[start, 1], [2, 3 * goal]])
      var trajectory = Trajectory(
        states: states, controls: Matrix(rows: 1, columns: 1), observations: states)
      trajectory.condition = Condition(
        name: "drawn", initialPlantState: [start], goal: [hidden == nil ? 5 : goal])
      return trajectory
    }
    var facts = ConditionFacts()
    facts.observe(
      RolloutBatch(condition: 0, trajectories: [rollout(1), rollout(2), rollout(1)]), commands: [],
      limits: nil)
    #expect(facts.hidesGoals == hidden)
  }

  @Test("exploration: the root of the covariances' determinants")
  func exploration() throws {
    let gains = MatrixSequence(rows: 2, columns: 1, count: 2)
    func controller(_ a: Matrix, _ b: Matrix) throws -> LinearGaussianController {
      try LinearGaussianController(
        gains: gains, offsets: Matrix(rows: 2, columns: 2),
        covariances: MatrixSequence(
          rows: 2, columns: 2, count: 2, columnMajor: a.storage + b.storage))
    }
    let initial = try controller(Matrix([[4, 0], [0, 4]]), Matrix([[4, 0], [0, 4]]))
    // Determinants 1 and 1/16 against 16: deviations of 1/2 and 1/4.
    let later = try controller(
      Matrix([[2, 1], [1, 1]]), Matrix([[0.25, 0], [0, 0.25]]))
    var facts = ConditionFacts()
    facts.compare(later, with: initial, limits: ControlLimits(magnitudes: [10, 40]))
    // √(1/2 · 1/4) of the deviation, which is √(1 · 1/2) in numbers, √(10 · 40) being half the range.
    #expect(abs((facts.exploration ?? .nan) - 0.125.squareRoot()) < 1e-12)
    #expect(abs((facts.explorationOfRange ?? .nan) - 0.5.squareRoot() / 20) < 1e-12)
    facts.compare(initial, with: initial, limits: nil)
    #expect(facts.exploration == 1)
  }

  @Test("two groups: the share of the variance between them is the largest of any two")
  func splits() throws {
    var stream = RandomStream(seed: 5)
    for count in [4, 5, 7] {
      let costs = stream.normals(count)
      // All subsets, sorted or not.
      let total = costs.reduce(0, +) / Double(count)
      var best = 0.0
      for mask in 1..<(1 << count) - 1 {
        let groups = [0, 1].map { bit in
          costs.indices.filter { (mask >> $0) & 1 == bit }.map { costs[$0] }
        }
        if groups.contains(where: { $0.count < 2 }) { continue }
        best = max(
          best,
          groups.reduce(0) {
            let mean = $1.reduce(0, +) / Double($1.count)
            return $0 + Double($1.count) * (mean - total) * (mean - total)
          })
      }
      let variance = costs.reduce(0) { $0 + ($1 - total) * ($1 - total) }
      let found = try #require(split(of: costs))
      #expect(abs(found.share - best / variance) < 1e-12)
    }
    #expect(split(of: [1, 2, 3]) == nil && split(of: [2, 2, 2, 2]) == nil)
    #expect(split(of: [1, 1, 8, 8, 8])?.cheaper == 2)
  }

  @Test("growth under the fitted dynamics is that of the closed loop")
  func growth() throws {
    // x' = A x + B u with u = K x: A + B K has eigenvalues 1.56 and 0.5, rotated.
    let (c, s) = (cos(0.3), sin(0.3))
    let R = Matrix([[c, -s], [s, c]])
    let loop = R * Matrix([[1.56, 0], [0, 0.5]]) * R.transposed
    let (B, K) = (Matrix([[0.2], [1]]), Matrix([[0.7, -0.3]]))
    let A = loop - B * K
    let T = 60
    let F = Matrix([[A[0, 0], A[0, 1], B[0, 0]], [A[1, 0], A[1, 1], B[1, 0]]])
    let controller = try LinearGaussianController(
      gains: MatrixSequence(repeating: K, count: T), offsets: Matrix(rows: 1, columns: T),
      covariances: MatrixSequence(repeating: .identity(1), count: T))
    let dynamics = LinearGaussianDynamics(
      transitions: MatrixSequence(repeating: F, count: T), offsets: Matrix(rows: 2, columns: T),
      covariances: MatrixSequence(repeating: .identity(2), count: T), initialMean: [0, 0],
      initialCovariance: .identity(2))
    // The norm over √2 of 1.56^T and nearly nothing.
    let expected = pow(pow(1.56, Double(T)) / 2.0.squareRoot(), 1 / Double(T))
    #expect(abs(controller.growth(under: dynamics) - expected) < 1e-9)

    // A step whose numbers fail for it knows; one that fails for another reason does not.
    typealias Step = LocalStep<KLStep, MirrorDescent>
    let condition = Condition(name: "one", initialPlantState: [0, 0])
    var step = Step(
      RolloutBatch(condition: 0, trajectories: []),
      from: ConditionState(
        controller: controller, local: KLStep.Memory(), link: PolicyPrior()), in: condition,
      byPolicy: false)
    step.evidence = KLStep.Evidence(
      dynamics: dynamics, cost: QuadraticCost(state: 2, control: 1, horizon: T))
    try step.attempt { _ in throw LQRError.notPositiveDefinite(step: 3, eigenvalue: -1, dual: 1) }
    #expect(step.facts.growth == nil && step.notes.count == 1)
    try step.attempt { _ in throw LQRError.boundNotReached(bound: 30, divergence: 46, dual: 1e7) }
    #expect(abs((step.facts.growth ?? .nan) - expected) < 1e-9)
  }
}

@Suite("Numbers of a sentence") struct SentenceNumberTests {
  /// A share can be anything that a damaged or exploding run leaves.
  @Test(arguments: [
    (0.5, "50 %"), (0.004, "0.4 %"), (12, "1200 %"), (1e17, "1e+19 %"), (-1e300, "-1e+302 %"),
    (.infinity, "an unknown share"), (.nan, "an unknown share"), (1.7e308, "an unknown share"),
  ])
  func percents(share: Double, text: String) { #expect(percent(share) == text) }
}

@Suite("A run says why it does not learn") struct DiagnosedRunTests {
  /// Point masses that can hardly be pushed.
  private func weakTask(_ forceLimit: Double?) throws -> NativeTask<PointMass> {
    let base = try smallTask()
    return try NativeTask(
      name: "weak", model: PointMass(forceLimit: forceLimit), controlPeriod: 0.1, horizon: 15,
      conditions: base.conditions, cost: base.cost,
      success: .stateWithin(
        entries: [0, 1], target: .goal(first: 0), tolerance: [0.2, 0.2], at: .final))
  }

  private func learner(
    _ task: NativeTask<PointMass>, change: (inout TestSettings) -> Void = { _ in }
  ) throws -> GuidedSearch<NativeTask<PointMass>, KLStep, MirrorDescent, NeuralDistiller> {
    var settings = smallSettings()
    settings.iterations = 4
    change(&settings)
    return try search(
      task,
      from: loosely(task), settings, link: MirrorDescent(), seed: 1)
  }

  @Test("saturation, in its words and in its columns; a resumed run repeats nothing")
  func saturation() async throws {
    let search = try learner(weakTask(0.5))
    var (state, reports, states) = (search.initialState, [Report](), [search.initialState])
    for _ in 0..<4 {
      let (next, report) = try await search.advancing(state)
      (state, reports) = (next, reports + [report])
      states.append(next)
      try checkStorable(next, fits: search)
    }
    let said = reports.flatMap { report in
      report.notes.filter { $0.contains("at their limits") }.map { (report.iteration, $0) }
    }
    try #require(said.count == 1, "\(reports.flatMap(\.notes))")
    #expect(said[0].0 == 1 && state.diagnosis.said.contains(.saturation))
    // The share is that of the batches, counted here.
    let limited = reports[1].batches.flatMap(\.trajectories).flatMap(\.controls.storage)
    let share = Double(limited.count { abs($0) >= 0.5 }) / Double(limited.count)
    #expect(abs((reports[1].metrics["saturated_share"] ?? .nan) - share) < 1e-12)
    #expect(
      share > 0.05 && said[0].1.hasPrefix("\(Int((100 * share).rounded())) % of the rollouts'"))
    for report in reports {
      for condition in report.conditions {
        #expect(condition.metrics["largest_command"] ?? -1 >= 0)
        #expect(condition.metrics["exploration"] ?? -1 > 0)
      }
    }
    // From any state, stored and read again, the same is said and the same bytes are left.
    for iteration in 1..<4 {
      var writer = ValueWriter()
      states[iteration].store(in: &writer)
      let read = try State(stored: ValueReader(Safetensors(sealed: writer.file.sealed())))
      let (next, report) = try await search.advancing(read)
      #expect(report.notes == reports[iteration].notes)
      let isSame = next == states[iteration + 1]
      #expect(isSame)
    }
    // With forces enough nothing is said.
    let (_, free) = try await run(learner(weakTask(50)))
    #expect(free.flatMap(\.notes).filter { $0.contains("limits") } == [])
    #expect(free.allSatisfy { $0.metrics["saturated_share"] == 0 })
    // And without limits nothing is known.
    let (_, unlimited) = try await run(learner(weakTask(nil)))
    #expect(unlimited.allSatisfy { $0.metrics["saturated_share"] == nil })
    #expect(unlimited.allSatisfy { $0.metrics["largest_command"] == nil })
  }

  @Test("a network that was hardly trained")
  func looseFit() async throws {
    func notes(_ steps: Int) async throws -> [String] {
      let (_, reports) = try await run(
        learner(weakTask(50)) { $0.training.steps = steps })
      return reports.flatMap(\.notes).filter { $0.contains("variance unexplained") }
    }
    let (hardly, well) = (try await notes(2), try await notes(400))
    #expect(hardly.count == 1 && well == [], "\(hardly) \(well)")
  }

  @Test("exploration that dies before the goal is reached")
  func deadExploration() async throws {
    let base = try smallTask()
    // Nobody is so precise.
    let task = try NativeTask(
      name: "precise", model: PointMass(), controlPeriod: 0.1, horizon: 15,
      conditions: base.conditions, cost: base.cost,
      success: .stateWithin(
        entries: [0], target: .goal(first: 0), tolerance: [1e-12], at: .final))
    func result(_ floor: Double) async throws -> ([String], [Double]) {
      let (_, reports) = try await run(
        learner(task) {
          $0.iterations = 7
          $0.klStep = 30
          $0.explorationFloor = floor
        })
      return (
        reports.flatMap(\.notes).filter { $0.contains("explore with") },
        reports.map { $0.metrics["exploration"] ?? .nan }
      )
    }
    let (dead, alive) = (try await result(0), try await result(0.5))
    #expect(dead.0.count == 1 && dead.1.last ?? 1 < 0.2, "\(dead)")
    #expect(alive.0 == [] && alive.1.allSatisfy { $0 >= 0.5 - 1e-9 }, "\(alive)")
  }

  @Test("controllers far beyond what the actuators can do")
  func commands() async throws {
    let task = try weakTask(0.05)
    // Held where it stands by a spring that asks for a hundred times the force at a displacement of a meter or two.
    let (_, report) = try await learner(task).advancing(
      learner(task).initialState)
    let firm = try search(
      task,
      from: task.conditions.map { condition in
        try LinearGaussianController(
          gains: MatrixSequence(
            repeating: Matrix([[-5, 0, 0, 0], [0, -5, 0, 0]]), count: 15),
          offsets: Matrix(rows: 2, columns: 15),
          covariances: MatrixSequence(repeating: .identity(2), count: 15))
      }, smallSettings(), link: MirrorDescent(), seed: 1)
    let (_, loud) = try await firm.advancing(firm.initialState)
    func said(_ report: Report) -> [String] {
      report.notes.filter { $0.contains("mean control") }
    }
    #expect(said(report) == [] && said(loud).count == 1, "\(loud.notes)")
    // u = −5 x at x = 1.5 ± 0.05, in limits of 0.05.
    let largest = loud.metrics["largest_command"] ?? .nan
    #expect((135..<170).contains(largest) && said(loud)[0].contains("in right the controller asks"))
  }
}
