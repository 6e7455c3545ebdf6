import Configuration
import Dynamics
import Foundation
import GPSCore
import GlobalPolicy
import PolicySearch
import Sim
import Statistics
import Testing

@testable import Experiments

/// A complete experiment; tests break it in one place.
private let good = """
  task: demo
  system:
    native:
      model: pointMass
  horizon: 20
  conditions:
    train:
      - {name: left, state: [0, -1, 0, 0], goal: [1, 0, 0]}
      - {name: right, state: [0, 1, 0, 0], goal: [1, 0, 0]}
  cost:
    - control: {weights: [0.01, 0.02]}
    - point: {points: [mass], target: goal, l1: 1}
  success:
    pointDistance: {point: mass, target: goal, below: 0.1}
  initialController:
    lqr: {gains: 1}
  algorithm:
    klStep: 0.5

  """

private let nowhere = FileManager.default.temporaryDirectory.appendingPathComponent(
  "gps-missing-\(UUID().uuidString)", isDirectory: true)

private func problem(_ text: String, _ overrides: [Experiment.Override] = []) -> String {
  do {
    _ = try Experiment.load(yaml: text, name: "demo.yaml", folder: nowhere, overrides: overrides)
    return "no error"
  } catch {
    return "\(error)"
  }
}

private let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
  .deletingLastPathComponent().appendingPathComponent("Fixtures/experiments")

@Suite struct ExperimentFileTests {
  @Test func goodFileLoads() throws {
    let loaded = try Experiment.load(yaml: good, folder: nowhere)
    #expect(loaded.experiment.search.klStep == 0.5)
    #expect(
      loaded.task.dimensions
        == Dimensions(state: 4, control: 2, observation: 7, horizon: 20, points: 1))
    #expect(loaded.task.conditions.map(\.name) == ["left", "right"])
    #expect(loaded.initialControllers.count == 2)
    // The controller holds the initial position: K x_0 + k = 0.
    let controller = loaded.initialControllers[0]
    #expect(controller.gains[0][1, 1] < 0)
    #expect(abs(-controller.gains[0][1, 1] + controller.offsets[1, 0]) < 1e-12)
  }

  struct Mistake: Sendable, CustomTestStringConvertible {
    var find: String
    var replace: String
    var message: String
    var testDescription: String { replace }
  }

  @Test(arguments: [
    Mistake(
      find: "horizon: 20", replace: "horizn: 20",
      message:
        "demo.yaml:5:1: unknown key \"horizn\" (did you mean \"horizon\"? allowed: horizon, noise, cost, task, seed, system, memory, algorithm, badmm, training, conditions, success, rollouts, dynamics, network, description, termination, optimization, asynchronous, pathIntegral, localOptimization, policyLinearization, initialController)"
    ),
    Mistake(
      find: "klStep: 0.5", replace: "klstep: 0.5",
      message:
        "demo.yaml:18:3: algorithm: unknown key \"klstep\" (did you mean \"klStep\"? allowed: klStep, localStep, name, klStepDecay, samples, retries, takeBack, schedule, sampling, reference, iterations, modelSamples, minStepMultiplier, maxStepMultiplier, explorationFloor)"
    ),
    Mistake(
      find: "klStep: 0.5", replace: "klStep: -1",
      message: "demo.yaml:18:11: algorithm.klStep: -1 is not allowed (must be more than 0)"),
    Mistake(
      find: "klStep: 0.5", replace: "klStep: \"1\"",
      message: "demo.yaml:18:11: algorithm.klStep: \"1\" is not allowed (must be a number)"),
    Mistake(
      find: "klStep: 0.5", replace: "klStep: .nan",
      message: "demo.yaml:18:11: algorithm.klStep: .nan is not allowed (must be a number)"),
    Mistake(
      find: "klStep: 0.5", replace: "klStep: nan",
      message: "demo.yaml:18:11: algorithm.klStep: nan is not allowed (must be a number)"),
    Mistake(
      find: "klStep: 0.5", replace: "klStep: 1e999",
      message: "demo.yaml:18:11: algorithm.klStep: 1e999 is not allowed (must be a finite number)"),
    Mistake(
      find: "klStep: 0.5", replace: "klStep: 0x10",
      message: "demo.yaml:18:11: algorithm.klStep: 0x10 is not allowed (must be a number)"),
    Mistake(
      find: "klStep: 0.5", replace: "klStep:",
      message: "demo.yaml:18:10: algorithm.klStep: nothing is not allowed (must be a number)"),
    Mistake(
      find: "klStep: 0.5", replace: "name: gradientDescent",
      message:
        "demo.yaml:18:9: algorithm.name: gradientDescent is not allowed (must be one of mirrorDescent, badmm, trajectoryOptimization, distillation)"
    ),
    Mistake(
      find: "klStep: 0.5", replace: "klStep: 0.5\n  klStep: 1",
      message: "demo.yaml:18:3: \"klStep\" is set twice"),
    Mistake(
      find: "horizon: 20", replace: "horizon: 2.5",
      message: "demo.yaml:5:10: horizon: 2.5 is not allowed (must be a whole number)"),
    Mistake(
      find: "horizon: 20", replace: "horizon: [20]",
      message: "demo.yaml:5:10: horizon: a list of 1 is not allowed (must be a whole number)"),
    Mistake(
      find: "task: demo", replace: "seed: -1\ntask: demo",
      message:
        "demo.yaml:1:7: seed: -1 is not allowed (must be a whole number from 0 to 18446744073709551615)"
    ),
    Mistake(
      find: "task: demo", replace: "task: 12",
      message: "demo.yaml:1:7: task: 12 is not allowed (must be a text; write it in quotes)"),
    Mistake(
      find: "task: demo\n", replace: "",
      message: "demo.yaml:1:1: the key \"task\" is missing"),
    Mistake(
      find: "model: pointMass", replace: "model: pointMas",
      message:
        "demo.yaml:4:12: system.native.model: pointMas is not allowed (must be a model: one of pointMass, cartPole, twoLinkArm, pendulum, mountainCar, acrobot)"
    ),
    Mistake(
      find: "model: pointMass", replace: "model: {pointMass: {mass: 0}}",
      message:
        "demo.yaml:4:31: system.native.model.pointMass.mass: 0 is not allowed (must be positive)"),
    Mistake(
      find: "model: pointMass", replace: "model: {pointMass: {}, cartPole: {}}",
      message:
        "demo.yaml:4:12: system.native.model: pointMass and cartPole is not allowed (must be a model: one of pointMass, cartPole, twoLinkArm, pendulum, mountainCar, acrobot)"
    ),
    Mistake(
      find: "state: [0, -1, 0, 0]", replace: "state: [0, -1]",
      message:
        "demo.yaml:8:27: conditions.train.0.state: a list of 2 is not allowed (must be 4 numbers (position_x_m, position_y_m, velocity_x_m_per_s, velocity_y_m_per_s))"
    ),
    Mistake(
      find: "name: right", replace: "name: left",
      message:
        "demo.yaml:9:14: conditions.train.1.name: left is not allowed (must be a name that no other condition of the list has)"
    ),
    Mistake(
      find: "name: right, state: [0, 1, 0, 0], goal: [1, 0, 0]", replace: "name: right",
      message:
        "demo.yaml:9:7: conditions.train.1.goal: a list of 0 is not allowed (must be 3 numbers, as in the first condition)"
    ),
    Mistake(
      find: "weights: [0.01, 0.02]", replace: "weights: [0.01, 0.02, 0.03]",
      message:
        "demo.yaml:11:24: cost.0.control.weights: a list of 3 is not allowed (must be one number, or 2 (one per control: force_x_N, force_y_N))"
    ),
    Mistake(
      find: "weights: [0.01, 0.02]", replace: "weights: [0.01, -0.02]",
      message:
        "demo.yaml:11:24: cost.0.control.weights: -0.02 is not allowed (must be at least 0)"),
    Mistake(
      find: "points: [mass]", replace: "points: [mas]",
      message: "demo.yaml:12:22: cost.1.point.points.0: mas is not allowed (must be a point: mass)"),
    Mistake(
      find: "target: goal, l1: 1", replace: "target: {goal: 1}",
      message:
        "demo.yaml:12:37: cost.1.point.target: 3 numbers of the goal from number 1 on are needed, but goals have 3 numbers"
    ),
    Mistake(
      find: "below: 0.1", replace: "below: 0.1, at: {last: 22}",
      message:
        "demo.yaml:14:69: success.pointDistance.at.last: 22 is not allowed (must be between 1 and 21)"
    ),
    Mistake(
      find: "gains: 1", replace: "gains: [1, 2, 3]",
      message:
        "demo.yaml:16:16: initialController.lqr.gains: a list of 3 is not allowed (must be 1 or 2 numbers)"
    ),
    Mistake(
      find: "  klStep: 0.5", replace: "  klStep: 0.5\nnetwork: {hiddenLayers: [8, 0]}",
      message:
        "demo.yaml:19:29: network.hiddenLayers.1: 0 is not allowed (must be between 1 and 65536)"),
    Mistake(
      find: "  klStep: 0.5",
      replace: "  klStep: 0.5\ndynamics:\n  mixture:\n    maxClusters: 0",
      message:
        "demo.yaml:21:18: dynamics.mixture.maxClusters: 0 is not allowed (must be at least 1)"),
  ])
  func mistakesAreRefusedWithTheirPlace(_ mistake: Mistake) {
    #expect(good.contains(mistake.find))
    let text = good.replacingOccurrences(of: mistake.find, with: mistake.replace)
    #expect(problem(text) == mistake.message)
  }

  @Test(arguments: [
    ("", "demo.yaml:1:1: the file is empty"),
    ("# nothing\n", "demo.yaml:1:1: the file is empty"),
    ("- a\n", "demo.yaml:1:1: a list of 1 is not allowed (must be a mapping of settings)"),
    ("a: 1\n---\nb: 1\n", "demo.yaml:2:1: a second document begins (one experiment per file)"),
    ("a: &x [1]\nb: *x\n", "demo.yaml:2:4: anchors and aliases are not supported"),
    ("a: &x [1]\nb: 2\n", "demo.yaml:1:4: anchors and aliases are not supported"),
    ("{*a : 1, b: &a 2}\n", "demo.yaml:1:2: anchors and aliases are not supported"),
    ("task: !!str 3\n", "demo.yaml:1:7: tags such as !! are not supported"),
    ("[a]: 1\n", "demo.yaml:1:1: a key must be a word"),
    ("a: [1\n", "demo.yaml:2:1: not valid YAML: did not find expected ',' or ']'"),
    (
      "a: " + String(repeating: "[", count: 60) + String(repeating: "]", count: 60),
      "demo.yaml:1:44: nested more than 40 levels deep"
    ),
  ])
  func shapesThatAreNoExperiment(_ text: String, _ message: String) {
    #expect(problem(text).hasPrefix(message))
  }

  /// No argument of the test above: the log shows arguments.
  @Test func aHundredThousandLevelsAreRefused() {
    let message = problem(String(repeating: "[", count: 100_000))
    #expect(message.hasPrefix("demo.yaml:1:1: nested too deeply"))
  }

  @Test func aliasBombIsRefusedAtOnce() {
    // Ten levels of ten aliases: 10^10 values, and as a key they would have to be hashed.
    var text = "a0: &a0 [x, x]\n"
    for level in 1...10 {
      text += "a\(level): &a\(level) ["
      text += [String](repeating: "*a\(level - 1)", count: 10).joined(separator: ", ") + "]\n"
    }
    #expect(
      problem(text + "? *a10\n: 1\n") == "demo.yaml:2:10: anchors and aliases are not supported")
  }

  @Test func overridesAreJudgedLikeTheFile() throws {
    let experiment = try Experiment(
      yaml: good,
      overrides: [
        "algorithm.klStep=2", "training.steps=10", "conditions.train.1.name=other",
        "network={hiddenLayers: [3]}", "seed=18446744073709551615", "noise.smoothing=1.5",
      ])
    #expect(experiment.search.klStep == 2)
    #expect(experiment.training.steps == 10)
    #expect(experiment.network.hiddenLayers == [3])
    #expect(experiment.seed == .max)
    #expect(experiment.conditions.train[1].name == "other")

    #expect(
      problem(good, ["algorithm.klStep=-1"])
        == "--set algorithm.klStep=-1: algorithm.klStep: -1 is not allowed (must be more than 0)")
    #expect(
      problem(good, [Experiment.Override("algorithm.samples=0", source: "--samples 0")])
        == "--samples 0: algorithm.samples: 0 is not allowed (must be at least 1)")
    #expect(
      problem(good, ["conditions.train.2.name=x"])
        == "--set conditions.train.2.name=x: conditions.train.2: no such item (the list has items 0 to 1)"
    )
    #expect(
      problem(good, ["horizon"]) == "--set horizon: must have the form key.path=value")
    #expect(problem(good, ["a..b=1"]) == "--set a..b=1: must have the form key.path=value")
    #expect(problem(good, ["cost=[1"]).hasPrefix("--set cost=[1: not valid YAML"))
    #expect(
      problem(good, ["horizon="])
        == "--set horizon=: horizon: nothing is not allowed (must be a whole number)")
  }

  /// A key left out of a section keeps the default of the struct that holds the section, not that of
  /// the section's own type, in files and in the reference alike.
  @Test func partOfASectionKeepsTheRestOfItsDefaults() throws {
    let standard = PolicyLinearizer.Options()
    #expect(standard.regression != LinearGaussianRegression.Options())
    let experiment = try Experiment(
      yaml: good,
      overrides: [
        "policyLinearization={regression: {covarianceFloor: 0.01}, mixture: {maxClusters: 3}}"
      ])
    var expected = standard
    expected.regression.covarianceFloor = 0.01
    expected.mixture.maxClusters = 3
    #expect(experiment.policyLinearization == expected)

    let reference = try #require(Experiment.reference(of: "policyLinearization"))
    let line = try #require(
      reference.split(separator: "\n").first { $0.contains("strength") })
    #expect(line.contains("\(Int(standard.regression.strength))"))
    #expect(standard.regression.strength == 5)
  }

  @Test func knownDynamicsTakeThePlaceOfAFit() throws {
    #expect(try Experiment(yaml: good).dynamics == .fitted(.init()))
    for (text, noise) in [
      ("dynamics=known", DynamicsLinearizer.Options().processNoise),
      ("dynamics={known: {processNoise: 0.01}}", 0.01),
    ] {
      let override = Experiment.Override(text, source: "--set")
      let experiment = try Experiment(yaml: good, overrides: [override])
      #expect(experiment.dynamics.known?.processNoise == noise)
      #expect(try Experiment(yaml: experiment.yaml) == experiment)
      #expect(problem(good, [override]) == "no error")
    }
    #expect(
      problem(good, ["dynamics={known: {processNoise: 0}}"])
        == "--set dynamics={known: {processNoise: 0}}: dynamics.known.processNoise: 0 is not allowed "
        + "(must be in (0, 1])")
    #expect(problem(good, ["dynamics={known: {prior: none}}"]).contains("dynamics.known"))
    #expect(problem(good, ["dynamics=guessed"]).contains("known"))
    #expect(Experiment.reference(of: "dynamics")?.contains("processNoise") == true)
  }

  @Test func settingsAnswerForTheirStages() throws {
    _ = try SearchSettings().validated()
    for (key, change) in [
      ("samples", { $0.samples = 0 }),
      ("klStepDecay", { $0.klStepDecay = 0 }),
      ("klStepDecay", { $0.klStepDecay = 1.1 }),
      ("noise.scale", { $0.noise.scale = -1 }),
    ] as [(String, (inout SearchSettings) -> Void)] {
      var settings = SearchSettings()
      change(&settings)
      let error = try #require(throws: InvalidOption.self) { try settings.validated() }
      #expect(error.key == key)
    }
  }

  @Test func commonConditionIsTheDefaultOfEach() throws {
    let experiment = try Experiment(
      yaml: good, overrides: ["conditions.common={positionDeviation: 0.1, goal: [2, 2, 2]}"])
    #expect(experiment.conditions.train.allSatisfy { $0.positionDeviation == [0.1] })
    #expect(experiment.conditions.train[0].goal == [1, 0, 0])
  }

  /// The good file with other conditions.
  private func conditions(_ train: String, _ test: String = "[]") -> String {
    let lines = good.split(separator: "\n", omittingEmptySubsequences: false)
    let start = lines.firstIndex { $0.hasPrefix("conditions:") } ?? 0
    return (lines[...start] + ["  train: \(train)", "  test: \(test)"] + lines[(start + 4)...])
      .joined(separator: "\n")
  }

  @Test("A condition may stand for many, drawn once, the same for every seed of the run")
  func manyConditionsOfOne() throws {
    let text = conditions(
      "[{name: disk, count: 12, goal: [1, 2, 0], draw: {goal: {disk: {radius: 0.5}}}}, "
        + "{name: fixed, goal: [0, 0, 0]}]",
      "[{count: 3, draw: {goal: {box: {lower: [0, 0, 1], upper: [1, 1, 1]}}, "
        + "state: {normal: {deviation: [0.1, 0, 0, 0]}}}}]")
    let task = try Experiment.load(yaml: text, folder: nowhere).task
    #expect(task.conditions.map(\.name) == (0..<12).map { "disk-\($0)" } + ["fixed"])
    #expect(task.testConditions.map(\.name) == ["0-0", "0-1", "0-2"])
    #expect((task.conditions + task.testConditions).allSatisfy { $0.draws == nil })
    for condition in task.conditions.prefix(12) {
      let (x, y) = (condition.goal[0] - 1, condition.goal[1] - 2)
      #expect((x * x + y * y).squareRoot() <= 0.5 && condition.goal[2] == 0)
    }
    #expect(Set(task.conditions.map(\.goal)).count == 13)
    for condition in task.testConditions {
      #expect(condition.goal[2] == 1 && (0...1).contains(condition.goal[0]))
      #expect(condition.initialPlantState[0] != 0 && condition.initialPlantState[1] == 0)
    }
    let again = try Experiment.load(yaml: text, folder: nowhere, overrides: ["seed=7"]).task
    #expect(again.conditions == task.conditions && again.testConditions == task.testConditions)
    let other = try Experiment.load(
      yaml: text, folder: nowhere, overrides: ["conditions.train.0.draw.seed=1"]
    ).task
    #expect(other.conditions.prefix(12).allSatisfy { !task.conditions.contains($0) })
    // The file that a run keeps stands for the same conditions.
    let effective = try Experiment(yaml: text).yaml
    #expect(
      try Experiment.load(yaml: effective, folder: nowhere).task.conditions == task.conditions)
  }

  @Test("What is drawn for every rollout or iteration stays with the condition")
  func drawnConditions() throws {
    let text = conditions(
      "[{goal: [1, 2, 0], draw: {every: rollout, goal: {disk: {radius: 0.5}}}}, "
        + "{count: 2, goal: [1, 2, 0], draw: {every: iteration, state: {box: {lower: 0, upper: 1}}}}]"
    )
    let task = try Experiment.load(yaml: text, folder: nowhere).task
    #expect(task.conditions.map(\.name) == ["0", "1-0", "1-1"])
    #expect(task.conditions.map(\.draws?.every) == [.rollout, .iteration, .iteration])
    #expect(task.conditions.allSatisfy { $0.goal == [1, 2, 0] })
    #expect(
      task.conditions[1].draws?.starts
        == [.init(first: 0, count: 4, distribution: .box(lower: [0], upper: [1]))])
  }

  @Test("A trial may take other conditions and draw anew what was drawn once")
  func trials() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("trial-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = folder.appendingPathComponent("other.yaml")
    try "conditions: {train: [{name: far, goal: [9, 0, 0]}]}\n".write(
      to: file, atomically: true, encoding: .utf8)
    var trial = Experiment.Trial()
    trial.conditions = file
    let other = try Experiment.load(
      yaml: good, folder: nowhere, overrides: ["conditions.train.0.goal=[8, 0, 0]"], trial: trial)
    #expect(other.task.conditions.map(\.name) == ["far"])
    #expect(other.task.conditions[0].goal == [8, 0, 0])

    var redrawing = Experiment.Trial()
    redrawing.redraws = true
    let text = conditions(
      "[{name: disk, count: 12, goal: [1, 2, 0], draw: {goal: {disk: {radius: 0.5}}}}, "
        + "{name: fixed, goal: [0, 0, 0]}]")
    let redrawn = try Experiment.load(yaml: text, folder: nowhere, trial: redrawing).task
    #expect(redrawn.conditions.map(\.name) == ["disk", "fixed"])
    #expect(redrawn.conditions[0].draws?.goal == .disk(radius: 0.5))
    #expect(redrawn.conditions[1].draws == nil)

    try "goals: 3\n".write(to: file, atomically: true, encoding: .utf8)
    let error = #expect(throws: SettingsError.self) {
      try Experiment.load(yaml: good, folder: nowhere, trial: trial)
    }
    #expect(error.map { "\($0)" } == "other.yaml:1:1: the key \"conditions\" is missing")
  }

  @Test(
    "Draws that do not fit are refused by name",
    arguments: [
      (
        "[{goal: [1, 2, 0], count: 2}]",
        "conditions.train.0.count: 2 is not allowed (must be 1 where"
      ),
      (
        "[{goal: [1, 2, 0], draw: {goal: {normal: {deviation: [1, 2]}}}}]",
        "conditions.train.0.draw.goal: of another length is not allowed (must be 3 deviations)"
      ),
      (
        "[{goal: [1, 2, 0], draw: {state: {disk: {radius: 1, axes: [0, 4]}}}}]",
        "conditions.train.0.draw.state: of another length is not allowed (must be two axes below 4)"
      ),
      (
        "[{goal: [1, 2, 0], draw: {joints: {a: {ball: {radius: 1}}}}}]",
        "conditions.train.0.draw.joints: is for MuJoCo models; a native system has draw.state"
      ),
      (
        "[{goal: [1, 2, 0], modelFactors: {mass: {a: 1}}}]",
        "conditions.train.0.modelFactors: is for MuJoCo models"
      ),
      (
        "[{goal: [1, 2, 0], modelFactors: {weight: {a: 1}}}]",
        "conditions.train.0.modelFactors.weight: weight is not allowed (must be one of mass, friction"
      ),
      (
        "[{goal: [1, 2, 0], modelFactors: {mass: {a: 0}}}]",
        "conditions.train.0.modelFactors.mass.a: 0 is not allowed (must be more than 0)"
      ),
      (
        "[{goal: [1, 2, 0], draw: {modelFactors: {mass: {a: [2, 1]}}}}]",
        "conditions.train.0.draw.modelFactors.mass.a: "
      ),
      (
        "[{goal: [1, 2, 0], draw: {goal: {circle: {radius: 1}}}}, {name: x, goal: [1]}]",
        "conditions.train.1.goal: a list of 1 is not allowed (must be 3 numbers"
      ),
      (
        "[{name: a-0, goal: [1, 2, 0]}, "
          + "{name: a, count: 2, goal: [1, 2, 0], draw: {goal: {ball: {radius: 1}}}}]",
        "conditions.train.1.name: a is not allowed (must be a name that no other"
      ),
    ])
  func drawsThatDoNotFit(_ train: String, _ words: String) {
    let message = problem(conditions(train))
    #expect(message.contains(words), "\(message)")
  }

  @Test("Joints, bodies and parameters are drawn by name in MuJoCo models")
  func drawsOfModels() throws {
    let task = try Experiment.load(
      fixtures.appendingPathComponent("mdgps-peg.yaml"),
      overrides: [
        .init(
          "conditions.test=[{name: t, count: 3, "
            + "draw: {joints: {j1: {box: {lower: 0.1, upper: 0.2}}}, "
            + "bodyOffsets: {hole: {box: {lower: [0.1, 0, 0], upper: [0.2, 0, 0]}}}, "
            + "modelFactors: {damping: {j2: [0.5, 2]}}}}]")
      ]
    ).task
    let start = task.conditions[4].initialPlantState
    #expect(task.testConditions.count == 3)
    for condition in task.testConditions {
      #expect((0.1...0.2).contains(condition.initialPlantState[1] - start[1]))
      #expect(condition.initialPlantState[0] == start[0])
      #expect((0.1...0.2).contains(condition.bodyOffsets["hole"]?[0] ?? 0))
      #expect((0.5...2).contains(condition.modelFactors[ModelParameter(.damping, of: "j2")] ?? 0))
    }
    let error = #expect(throws: SettingsError.self) {
      try Experiment.load(
        fixtures.appendingPathComponent("mdgps-peg.yaml"),
        overrides: ["conditions.train.0.draw={joints: {elbow: {ball: {radius: 1}}}}"])
    }
    #expect(error.map { "\($0)".contains("the model has no joint \"elbow\"") } == true)
    let known = #expect(throws: SettingsError.self) {
      try Experiment.load(
        fixtures.appendingPathComponent("mdgps-peg.yaml"),
        overrides: [
          "dynamics=known",
          "conditions.common.draw={every: rollout, bodyOffsets: {hole: {ball: {radius: 0.1}}}}",
        ])
    }
    #expect(known.map { "\($0)".contains("drawn anew in every rollout") } == true)
  }

  @Test func effectiveFileReadsBackAsTheSame() throws {
    var texts = [good]
    for name in ["mdgps-peg", "mdgps-obstacle-course"] {
      texts.append(
        try String(contentsOf: fixtures.appendingPathComponent(name + ".yaml"), encoding: .utf8))
    }
    for text in texts {
      let experiment = try Experiment(
        yaml: text, overrides: ["description=\"quotes \\\" # : and\\nlines, ünïcode\""])
      #expect(try Experiment(yaml: experiment.yaml) == experiment)
      #expect(try Experiment(yaml: experiment.yaml).yaml == experiment.yaml)
      // Every default is spelled out.
      #expect(experiment.yaml.contains("secondMomentum: 0.999"))
    }
  }

  @Test func everySettingIsExplained() throws {
    let reference = try #require(Experiment.reference())
    for word in ["klStep", "minSamplesPerCluster", "finalMultiplier", "bodyOffsets", "l1"] {
      #expect(reference.contains("\(word)  ("))
    }
    #expect(Experiment.reference(of: "training")?.contains("batchSize") == true)
    #expect(Experiment.reference(of: "nonsense") == nil)
  }

  /// The test of expressiveness: the experiments of the mirror-descent paper, one file each.
  @Test func pegExperimentOfTheMirrorDescentPaper() throws {
    let loaded = try Experiment.load(fixtures.appendingPathComponent("mdgps-peg.yaml"))
    #expect(
      loaded.task.dimensions
        == Dimensions(state: 26, control: 7, observation: 26, horizon: 100, points: 4))
    #expect(loaded.task.conditions.count == 9)
    #expect(loaded.task.conditions[5].bodyOffsets == ["hole": [0.1, 0, 0]])
    #expect(loaded.task.conditions[4].initialPlantState[..<7] == [0, 0.3, 0, 0.6, 0, 0.4, 0])
    #expect(loaded.task.controlPeriod == 0.05)
    let cost = try #require(loaded.task.cost as? SumCost)
    #expect(cost.entries.count == 3)
    let final = try #require(cost.entries[2].term.base as? PointCost)
    #expect(final.ramp == Ramp(.finalOnly, finalMultiplier: 10))
    #expect(final.points == [0, 1])
    #expect(final.target == .points([2, 3]))
    #expect(final.norm == Norm(l2: 0, l1: 1, log: 1, alpha: 1e-5))
    let search = loaded.experiment.search
    #expect(search.klStep == 1 && search.minStepMultiplier == 0.1 && search.maxStepMultiplier == 3)
    let experiment = loaded.experiment
    guard case .fitted(let dynamics) = experiment.dynamics else {
      Issue.record("the dynamics are not fitted")
      return
    }
    #expect(dynamics.mixture.maxClusters == 20)
    #expect(experiment.policyLinearization.mixture.minSamplesPerCluster == 40)
    #expect(experiment.training.steps == 4000 && experiment.training.batchSize == 25)
    #expect(experiment.network.hiddenLayers == [42, 42] && experiment.network.activation == .relu)
  }

  @Test func obstacleCourseOfTheMirrorDescentPaper() throws {
    let loaded = try Experiment.load(fixtures.appendingPathComponent("mdgps-obstacle-course.yaml"))
    #expect(
      loaded.task.dimensions
        == Dimensions(state: 20, control: 7, observation: 18, horizon: 100, points: 2))
    #expect(loaded.task.conditions.count == 4 && loaded.task.testConditions.count == 2)
    #expect(loaded.task.conditions[0].name == "0")
    #expect(
      loaded.task.conditions[0].initialPlantStateDeviation.prefix(8) == [
        0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0,
      ])
    let cost = try #require(loaded.task.cost as? SumCost)
    let velocities = try #require(cost.entries[4].term.base as? StateCost)
    #expect(velocities.entries == (7..<14).map { .index($0) })
    #expect(loaded.experiment.search.sampling == .offPolicy)
  }

  @Test(arguments: [
    (
      "conditions.train.0.bodyOffsets={hol: [0, 0, 0]}", "conditions.train.0.bodyOffsets.hol",
      "the model has no body \"hol\" (it has hole, "
    ),
    ("conditions.common.keyframe=begin", "conditions.common.keyframe", "the model has no keyframe"),
    ("system.mujoco.points=[peg_tip, peg_tp]", "system.mujoco.points.1", "the model has no site"),
    (
      "system.mujoco.state=[jointPositions, {sensors: [elbw]}]",
      "system.mujoco.state.1.sensors.0", "the model has no sensor \"elbw\" (it has elbow)"
    ),
    (
      "system.mujoco.observation=[goal]", "system.mujoco.observation.0",
      "the conditions have no goal"
    ),
    ("system.mujoco.model=none.xml", "system.mujoco.model", "no such file: "),
    ("system.mujoco.model=mdgps-peg.yaml", "system.mujoco.model", ""),
    ("system.mujoco.timestep=0", "system.mujoco.timestep", "0 is not allowed (must be more than 0"),
    (
      "conditions.train.3.jointPositions=[1]", "conditions.train.3.jointPositions",
      "a list of 1 is not allowed (must be 7 numbers (the joints are j0, "
    ),
    ("conditions.train.0.state=[1]", "conditions.train.0.state", "a MuJoCo model starts from"),
    (
      "cost.1.point.target.points=[hole_bottom]", "cost.1.point.target.points",
      "a list of 1 is not allowed (must be 2, one for each point)"
    ),
  ])
  func modelsAndNamesThatDoNotFit(_ assignment: String, _ path: String, _ message: String) throws {
    let error = try #require(throws: SettingsError.self) {
      try Experiment.load(
        fixtures.appendingPathComponent("mdgps-peg.yaml"), overrides: [.init(assignment)])
    }
    #expect(error.path == path)
    #expect(error.origin == .override("--set \(assignment)"))
    #expect(error.problem.hasPrefix(message))
    #expect(!"\(error)".contains("\n"))
  }

  /// Random damage to a file leads to an experiment or to an error, never to anything else.
  @Test func damagedFilesNeverCrash() throws {
    let files =
      try ["mdgps-peg", "mdgps-obstacle-course"].map {
        try String(contentsOf: fixtures.appendingPathComponent($0 + ".yaml"), encoding: .utf8)
      } + [good]
    var random = RandomStream(seed: 7)
    let pieces = [
      "-", ":", "[", "]", "{", "}", "\"", "\n", "  ", "#", "&a", "*a", "!!x", "1e999", "-1", "0",
      ".nan", "null", "~", "9999999999999999999999", "\t", "|", ">", "%", "\u{0}", "\u{FEFF}", "é",
    ]
    var refused = 0
    for _ in 0..<600 {
      var text = Array(files[random.index(below: files.count)].unicodeScalars)
      for _ in 0..<(1 + random.index(below: 3)) {
        let at = random.index(below: text.count)
        switch random.index(below: 3) {
        case 0: text.remove(at: at)
        case 1:
          text.insert(contentsOf: pieces[random.index(below: pieces.count)].unicodeScalars, at: at)
        default:
          let other = random.index(below: text.count)
          text.swapAt(at, other)
        }
      }
      var string = String.UnicodeScalarView()
      string.append(contentsOf: text)
      do {
        _ = try Experiment.load(yaml: String(string), folder: fixtures)
      } catch {
        refused += 1
        #expect(!error.problem.isEmpty)
      }
    }
    #expect(refused > 200)
  }
}

extension DynamicsSource {
  fileprivate var known: DynamicsLinearizer.Options? {
    if case .known(let options) = self { options } else { nil }
  }
}
