import Foundation
import GPSCore
import Sim
import Testing

@testable import Experiments

@Suite("Environments in other programs, in files") struct ProcessSettingsTests {
  private static let root = URL(filePath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("../..").standardizedFileURL

  private func file(_ system: String, train: String = "{}") -> String {
    """
    task: demo
    system: \(system)
    horizon: 5
    conditions: {train: [\(train)]}
    cost: [{reward: {}}]
    """
  }

  @Test(
    "What a program is told is JSON of what the file says, and comes back from an effective file")
  func freeSettings() throws {
    let experiment = try Experiment(
      yaml: file(
        "{process: {command: [a, b c], settings: {mass: 1.5, deep: {on: true, off: null}, list: [1, x, \"2\"], big: 1e3, odd: .5, name: \"a \\\"b\\\" ä\"}}}"
      ))
    let settings = try #require(experiment.system.process)
    #expect(settings.command == ["a", "b c"])
    let object = try #require(
      JSONSerialization.jsonObject(with: Data(settings.settings.json.utf8)) as? [String: Any])
    #expect(object["mass"] as? Double == 1.5 && object["big"] as? Double == 1000)
    #expect(object["odd"] as? String == ".5" && object["name"] as? String == "a \"b\" ä")
    #expect((object["deep"] as? [String: Any])?["on"] as? Bool == true)
    #expect((object["deep"] as? [String: Any])?["off"] is NSNull)
    let list = try #require(object["list"] as? [Any])
    #expect(list[0] as? Int == 1 && list[1] as? String == "x" && list[2] as? String == "2")
    #expect(try Experiment(yaml: experiment.yaml) == experiment)
  }

  @Test("The example's conditions begin where they should")
  func example() throws {
    let url = Self.root.appendingPathComponent("Examples/ProcessEnvironment/point.yaml")
    let loaded = try Experiment.load(url)
    let conditions = loaded.task.conditions
    #expect(conditions.map(\.name) == ["drawn", "shifted", "placed"])
    #expect(conditions[1].environmentReset == EnvironmentReset(seed: 1, options: #"{"shift": 2}"#))
    #expect(conditions[2].initialPlantState == [-2, 0])
    let counted = try Experiment.load(
      url,
      overrides: [
        Experiment.Override("conditions.train=[{name: c, resetSeed: 7, count: 3}]")
      ])
    #expect(counted.task.conditions.map(\.name) == ["c-0", "c-1", "c-2"])
    #expect(counted.task.conditions.map { $0.environmentReset?.seed } == [7, 8, 9])
    // A run that is moved finds the program where it was.
    let archived = try Experiment(yaml: loaded.archivedYAML)
    #expect(archived.system.process?.options.folder == url.deletingLastPathComponent().path)
  }

  @Test(
    "What does not fit is refused at its place",
    arguments: [
      ("{gymnasium: {}}", "{}", "system.gymnasium.id"),
      ("{gymnasium: {id: A-v1, class: \"a.py:A\"}}", "{}", "system.gymnasium.id"),
      ("{gymnasium: {class: nothing}}", "{}", "system.gymnasium.class"),
      ("{process: {command: []}}", "{}", "system.process.command"),
      ("{process: {command: [x], settings: 3}}", "{}", "system.process.settings"),
      ("{process: {command: [no-such-program-anywhere]}}", "{}", "system.process.command"),
      ("{native: {model: pointMass}}", "{resetSeed: 1}", "conditions.train.0.resetSeed"),
      ("{native: {model: pointMass}}", "{}", "cost.0.reward"),
    ])
  func refusals(_ system: String, _ train: String, _ place: String) throws {
    #expect {
      _ = try Experiment.load(yaml: file(system, train: train), folder: Self.root)
    } throws: {
      "\($0)".contains(place)
    }
  }

  @Test("A condition of a program has no joints, and an unset state is not noisy")
  func conditions() throws {
    let url = Self.root.appendingPathComponent("Examples/ProcessEnvironment/point.yaml")
    for (train, place) in [
      ("{jointPositions: [1]}", "conditions.train.0.jointPositions"),
      ("{state: [1]}", "conditions.train.0.state"),
      ("{count: 2}", "conditions.train.0.count"),
    ] {
      #expect {
        _ = try Experiment.load(
          url, overrides: [Experiment.Override("conditions.train=[\(train)]")])
      } throws: {
        "\($0)".contains(place)
      }
    }
    // Noise about where the seed puts it.
    let noisy = try Experiment.load(
      url,
      overrides: [
        Experiment.Override("conditions.train=[{resetSeed: 1, positionDeviation: 0.1}]")
      ]
    ).task.conditions[0]
    #expect(noisy.initialPlantState.count == 2 && noisy.initialPlantState[0] != 0)
    #expect(noisy.initialPlantStateDeviation == [0.1, 0.1])
  }
}
