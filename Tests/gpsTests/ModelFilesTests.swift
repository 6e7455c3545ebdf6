import Foundation
import GPSTestSupport
import GuidedPolicySearch
import Testing

@testable import Runs

/// A run directory holds its model, whole.
@Suite("Models in run directories") struct ModelFilesTests {
  /// A project whose model is in parts: an include, a mesh by `meshdir`, one by an absolute path.
  private func makeProject() throws -> URL {
    let project = folder.appendingPathComponent("project-\(UUID().uuidString)", isDirectory: true)
    func write(_ text: String, _ name: String) throws {
      let url = project.appendingPathComponent(name)
      try FileManager.default.createDirectory(
        at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
      try text.write(to: url, atomically: true, encoding: .utf8)
    }
    try write(
      """
      <mujoco>
        <compiler meshdir="meshes"/>
        <option timestep="0.01" integrator="implicitfast"/>
        <asset>
          <mesh name="link" file="link.obj"/>
          <mesh name="far" file="\(project.path)/far/far.obj"/>
        </asset>
        <include file="parts/arm.xml"/>
      </mujoco>
      """, "scene.xml")
    try write(
      """
      <mujoco>
        <worldbody>
          <body>
            <joint name="hinge" axis="0 1 0" damping="0.5"/>
            <geom type="mesh" mesh="link"/><geom type="mesh" mesh="far" pos="1 0 0"/>
          </body>
        </worldbody>
        <actuator><motor name="m" joint="hinge"/></actuator>
      </mujoco>
      """, "parts/arm.xml")
    let mesh = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    try write(mesh, "meshes/link.obj")
    try write(mesh, "far/far.obj")
    try write(
      """
      task: parts
      system: {mujoco: {model: scene.xml, state: [jointPositions, jointVelocities]}}
      horizon: 15
      conditions: {train: [{name: a}]}
      cost: [{control: {weights: 0.01}}, {state: {entries: [jointPositions], target: 0.2}}]
      success: {stateWithin: {entries: [jointPositions], target: 0.2, tolerance: 0.1, at: final}}
      initialController: {pd: {positionGains: 1, velocityGains: 0.1, variance: 0.1}}
      algorithm: {iterations: 1, samples: 3}
      training: {steps: 5}
      """, "task.yaml")
    return project
  }

  private func rows(_ run: URL) throws -> String {
    try String(contentsOf: run.appendingPathComponent("trajectories.csv"), encoding: .utf8)
  }

  @Test("Moved, and the original gone, a run is evaluated and resumed as if nothing had happened")
  func moved() throws {
    let project = try makeProject()
    let here = project.appendingPathComponent("here")
    let start = try gps(["run", "task.yaml", "--output", "here", "--quiet"], in: project)
    #expect(start.status == 0, "\(start.errors)")
    let whole = try gps(
      ["run", "task.yaml", "--output", "whole", "--quiet", "--iterations", "2"], in: project)
    #expect(whole.status == 0, "\(whole.errors)")
    let moved = folder.appendingPathComponent("moved-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.moveItem(at: here, to: moved)
    let expected = try rows(project.appendingPathComponent("whole"))
    let before = try gps(["evaluate", moved.path])
    try FileManager.default.removeItem(at: project)
    let after = try gps(["evaluate", moved.path])
    #expect(after.status == 0 && after.output == before.output, "\(after.errors)")
    let resumed = try gps(["resume", moved.path, "--iterations", "2", "--quiet"])
    #expect(resumed.status == 0 && resumed.faults.isEmpty, "\(resumed.errors)")
    #expect(try rows(moved) == expected)
  }

  @Test(
    "A part that changes in a run directory is named by who resumes",
    arguments: ["meshes/link.obj", "parts/arm.xml", "far/far.obj", "scene.xml"])
  func changedInTheRun(_ name: String) throws {
    let project = try makeProject()
    let start = try gps(["run", "task.yaml", "--output", "out", "--quiet"], in: project)
    #expect(start.status == 0, "\(start.errors)")
    let file = project.appendingPathComponent("out/model/" + name)
    let text = try String(contentsOf: file, encoding: .utf8)
    let comment = name.hasSuffix("obj") ? "\n# changed\n" : "<!-- changed -->"
    try (text + comment).write(to: file, atomically: true, encoding: .utf8)
    let resumed = try gps(["resume", "out", "--iterations", "2"], in: project)
    #expect(resumed.status == 64)
    #expect(
      resumed.errors.contains("the model has changed since: '\(name)' is not what it was"),
      "\(resumed.errors)")
  }

  @Test("That the original has changed is a warning: a run goes on with its own copy")
  func changedInTheProject() throws {
    let project = try makeProject()
    let start = try gps(["run", "task.yaml", "--output", "out", "--quiet"], in: project)
    #expect(start.status == 0, "\(start.errors)")
    let file = project.appendingPathComponent("parts/arm.xml")
    let text = try String(contentsOf: file, encoding: .utf8)
    try text.replacing("damping=\"0.5\"", with: "damping=\"50\"")
      .write(to: file, atomically: true, encoding: .utf8)
    let resumed = try gps(["resume", "out", "--iterations", "2", "--quiet"], in: project)
    #expect(resumed.status == 0)
    #expect(
      resumed.errors.contains("warning: the model has changed since in \(project.path)")
        && resumed.errors.contains("'parts/arm.xml'"), "\(resumed.errors)")
    // Begun from the project's file, it is another model.
    let other = try gps(
      ["run", "task.yaml", "--output", "out", "--resume", "--iterations", "3"], in: project)
    #expect(other.status == 64 && other.errors.contains("'parts/arm.xml' is not what it was"))
  }

  @Test("A replaced run takes its model's files along, and nobody else's")
  func replaced() throws {
    let project = try makeProject()
    let out = project.appendingPathComponent("out")
    let start = try gps(["run", "task.yaml", "--output", "out", "--quiet"], in: project)
    #expect(start.status == 0, "\(start.errors)")
    func exists(_ name: String) -> Bool {
      FileManager.default.fileExists(atPath: out.appendingPathComponent(name).path)
    }
    for name in ["model/scene.xml", "model/parts/arm.xml", "model/meshes/link.obj", "model.json"] {
      #expect(exists(name), "\(name)")
    }
    try Data("mine".utf8).write(to: out.appendingPathComponent("model/parts/notes.txt"))
    // A folder that has become a link leads to what is not the run's.
    let elsewhere = project.appendingPathComponent("elsewhere")
    try FileManager.default.moveItem(at: out.appendingPathComponent("model/meshes"), to: elsewhere)
    try FileManager.default.createSymbolicLink(
      at: out.appendingPathComponent("model/meshes"), withDestinationURL: elsewhere)
    let native = try gps(
      [
        "run", "point-mass", "--output", out.path, "--force", "--quiet", "--iterations", "1",
        "--samples", "2", "--set", "training.steps=3",
      ])
    #expect(native.status == 0, "\(native.errors)")
    for name in ["model/scene.xml", "model/parts/arm.xml", "model/far", "model.json"] {
      #expect(!exists(name), "\(name)")
    }
    #expect(exists("model/parts/notes.txt"))
    #expect(
      FileManager.default.fileExists(atPath: elsewhere.appendingPathComponent("link.obj").path))
    let again = try gps(["run", "task.yaml", "--output", "out", "--force", "--quiet"], in: project)
    #expect(again.status == 0, "\(again.errors)")
    let type = try FileManager.default.attributesOfItem(
      atPath: out.appendingPathComponent("model/meshes").path)[.type]
    #expect(type as? FileAttributeType == .typeDirectory)
  }

  @Test("A run may be begun elsewhere from its experiment and model, but does not replace them")
  func fromItself() throws {
    let project = try makeProject()
    let start = try gps(["run", "task.yaml", "--output", "out", "--quiet"], in: project)
    #expect(start.status == 0, "\(start.errors)")
    let first = try rows(project.appendingPathComponent("out"))
    try FileManager.default.removeItem(at: project.appendingPathComponent("scene.xml"))
    try FileManager.default.removeItem(at: project.appendingPathComponent("far"))
    for output in ["out", "other"] {
      let again = try gps(
        ["run", "out/experiment.yaml", "--output", output, "--force", "--quiet"], in: project)
      #expect(again.status == (output == "out" ? 64 : 0), "\(again.errors)")
      #expect(try rows(project.appendingPathComponent(output)) == first)
    }
  }

  // MARK: - The lock

  @Test(
    "A lock that is taken by another costs no descriptor, and closes none of another file", .slow)
  func lockClosesOnce() throws {
    let directory = folder.appendingPathComponent("lock-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    let lock = try RunLock(in: directory)
    func openDescriptors() throws -> Int {
      try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
    }
    // Another opens and closes files all the while: a number that is closed twice is soon one of its own.
    let lost = Counter()
    let isDone = Counter()
    let other = Thread {
      while isDone.value == 0 {
        let descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC)
        if descriptor >= 0 && close(descriptor) != 0 { lost.add() }
      }
    }
    other.start()
    let tries = 1000
    var refused = 0
    for _ in 0..<tries {
      do {
        _ = try RunLock(in: directory)
      } catch {
        if error == .inUse(path: directory.path) { refused += 1 }
      }
    }
    isDone.add()
    while !other.isFinished { usleep(1000) }
    #expect(refused == tries && lost.value == 0)
    let before = try openDescriptors()
    for _ in 0..<100 { _ = try? RunLock(in: directory) }
    #expect(try openDescriptors() < before + 50)
    withExtendedLifetime(lock) {}
  }
}

/// A number that threads add to.
private final class Counter: @unchecked Sendable {
  // Sendable: the number is read and written with the lock alone.
  private let lock = NSLock()
  private var count = 0
  var value: Int { lock.withLock { count } }
  func add() { lock.withLock { count += 1 } }
}
