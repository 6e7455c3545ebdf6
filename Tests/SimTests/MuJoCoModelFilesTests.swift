import CMuJoCo
import Foundation
import GPSCore
import Testing

@testable import Sim

/// A model in parts, in a folder of its own that is deleted with this.
///
/// The parts, by what MuJoCo finds them with: an include in an include, a mesh by `meshdir`, one by a path
/// that leaves the folder, one by an absolute path, six sides of a cube by `texturedir`, a height field and
/// an attached model with a mesh of its own. A file that nothing refers to lies among them.
final class ModelInParts {
  let folder: URL
  /// Names of all parts, relative to the folder that holds them all.
  static let parts: Set = [
    "project/main.xml", "project/parts/a.xml", "project/parts/inner/b.xml",
    "project/meshes/tetra.obj", "shared/outside.obj", "shared/absolute.obj",
    "project/pictures/right.png", "project/pictures/other.png", "project/meshes/ground.bin",
    "project/attached/hook.xml", "project/attached/deep/hook.obj",
  ]

  var main: String { folder.path + "/project/main.xml" }

  init() throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "parts-\(UUID().uuidString)")
    try write(
      """
      <mujoco>
        <compiler meshdir="meshes" texturedir="pictures"/>
        <option timestep="0.01" integrator="implicitfast"/>
        <include  file = "parts/a.xml" />
        <asset>
          <mesh name="tetra" file = 'tetra.obj'/>
          <mesh name="outside" file="../../shared/outside.obj"/>
          <mesh name="absolute" file="\(folder.path)/shared/absolute.obj"/>
          <texture name="sky" type="cube" fileright="right.png" fileleft="other.png"
            fileup="other.png" filedown="other.png" filefront="other.png" fileback="other.png"/>
          <hfield name="ground" file="ground.bin" size="1 1 0.1 0.1"/>
          <model name="hook" file="attached/hook.xml"/>
        </asset>
        <worldbody>
          <geom type="hfield" hfield="ground"/>
          <frame pos="0 0 5"><attach model="hook" body="hook" prefix="hook_"/></frame>
        </worldbody>
      </mujoco>
      """, to: "project/main.xml")
    try write(
      "<mujoco><include file=\"parts/inner/b.xml\"/></mujoco>", to: "project/parts/a.xml")
    try write(
      """
      <mujoco>
        <worldbody>
          <body pos="0 0 2">
            <joint name="hinge" axis="0 1 0" damping="0.5"/>
            <geom type="mesh" mesh="tetra"/><geom type="mesh" mesh="outside" pos="1 0 0"/>
            <geom type="mesh" mesh="absolute" pos="0 1 0"/>
            <site name="tip" pos="1 0 0"/>
          </body>
        </worldbody>
        <actuator><motor name="m" joint="hinge"/></actuator>
      </mujoco>
      """, to: "project/parts/inner/b.xml")
    try write(
      """
      <mujoco>
        <compiler meshdir="deep"/>
        <asset><mesh name="hook" file="hook.obj"/></asset>
        <worldbody><body name="hook"><geom type="mesh" mesh="hook"/></body></worldbody>
      </mujoco>
      """, to: "project/attached/hook.xml")
    for name in [
      "project/meshes/tetra.obj", "shared/outside.obj", "shared/absolute.obj",
      "project/attached/deep/hook.obj", "project/meshes/unused.obj",
    ] {
      try write(Self.tetrahedron(1), to: name)
    }
    for name in ["project/pictures/right.png", "project/pictures/other.png"] {
      try write(#require(Data(base64Encoded: Self.picture)), to: name)
    }
    var ground = Data()
    for number in [Int32(2), 2] { withUnsafeBytes(of: number) { ground.append(contentsOf: $0) } }
    for number in [Float(0), 1, 1, 0] {
      withUnsafeBytes(of: number) { ground.append(contentsOf: $0) }
    }
    try write(ground, to: "project/meshes/ground.bin")
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  static func tetrahedron(_ size: Double) -> String {
    "v 0 0 0\nv \(size) 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
  }

  /// Two by two grey pixels as PNG, in base 64.
  private static let picture =
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAADklEQVR4nGNIAQMGCAUAIN4EsWejomQA"
    + "AAAASUVORK5CYII="

  func write(_ text: String, to name: String) throws { try write(Data(text.utf8), to: name) }

  func write(_ data: Data, to name: String) throws {
    let url = folder.appendingPathComponent(name)
    try FileManager.default.createDirectory(
      at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try data.write(to: url)
  }
}

/// Writes a copy of a model's files as a run directory holds it.
func writeCopy(of files: MuJoCoModelFiles, to folder: URL) throws {
  for (name, data) in files.copy {
    let url = folder.appendingPathComponent(name)
    try FileManager.default.createDirectory(
      at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try data.write(to: url)
  }
}

@Suite("Files of a MuJoCo model") struct MuJoCoModelFilesTests {
  private let scratch = FileManager.default.temporaryDirectory.appendingPathComponent(
    "model-files-\(UUID().uuidString)")

  private func inScratch(_ body: (URL) throws -> Void) throws {
    try FileManager.default.createDirectory(at: scratch, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: scratch) }
    try body(scratch)
  }

  /// States of a rollout with all numbers that the model has an opinion on.
  private func states(_ model: MuJoCoModel) throws -> [[Double]] {
    let interface = try MuJoCoInterface(
      model: model, substeps: 2, state: [.jointPositions(), .jointVelocities()])
    return try interface.makePlant().rollout(
      Condition(name: "c", initialPlantState: try model.plantState()), steps: 20, state: 2,
      control: 1, scale: 3)
  }

  @Test("All files that MuJoCo reads are known, and no other")
  func allFiles() throws {
    let parts = try ModelInParts()
    let files = try MuJoCoModel(contentsOf: parts.main).files
    #expect(Set(files.contents.keys) == ModelInParts.parts)
    #expect(files.main == "project/main.xml" && files.folder == parts.folder.path)
    for (name, bytes) in files.contents {
      #expect(Data(bytes) == (try Data(contentsOf: parts.folder.appendingPathComponent(name))))
    }
    let names = files.identity.split(separator: "\n").map { $0.split(separator: " ")[1] }
    #expect(
      names == ["project/main.xml"]
        + ModelInParts.parts.map { $0[...] }.sorted().filter { $0 != files.main })
    // Another timestep is no other file.
    let slower = try MuJoCoModel(contentsOf: parts.main).withTimestep(0.02)
    #expect(slower.files.identity == files.identity)
  }

  @Test("A model is another one when any of its files is")
  func identity() throws {
    let parts = try ModelInParts()
    let before = try MuJoCoModel(contentsOf: parts.main).files.identity
    try parts.write("nothing reads this", to: "project/meshes/unused.obj")
    #expect(try MuJoCoModel(contentsOf: parts.main).files.identity == before)
    let mass = try states(MuJoCoModel(contentsOf: parts.main))
    for name in ModelInParts.parts {
      let url = parts.folder.appendingPathComponent(name)
      let old = try Data(contentsOf: url)
      var new = old
      switch url.pathExtension {
      case "obj": new = Data(ModelInParts.tetrahedron(2).utf8)
      case "bin": new[new.count - 1] = 0x3f
      case "png": new = try Data(contentsOf: url) + Data([0])
      default: new.append(contentsOf: Data("<!-- -->".utf8))
      }
      try new.write(to: url)
      let model = try MuJoCoModel(contentsOf: parts.main)
      let changed = Set(model.files.identity.split(separator: "\n"))
        .subtracting(before.split(separator: "\n"))
      #expect(changed.count == 1 && changed.first?.hasSuffix(" " + name) == true, "\(name)")
      // What is compiled is what is read, even within a second of another version of the file.
      if name.hasSuffix("tetra.obj") { #expect(try states(model) != mass) }
      try old.write(to: url)
    }
    #expect(try MuJoCoModel(contentsOf: parts.main).files.identity == before)
  }

  @Test("A copy is compiled without the original, absolute paths included, and is the same model")
  func copy() throws {
    try inScratch { scratch in
      let parts = try ModelInParts()
      let original = try MuJoCoModel(contentsOf: parts.main)
      let run = scratch.appendingPathComponent("run")
      try writeCopy(of: original.files, to: run)
      try FileManager.default.removeItem(at: parts.folder)
      let moved = scratch.appendingPathComponent("moved")
      try FileManager.default.moveItem(at: run, to: moved)
      let copy = try MuJoCoModel(
        contentsOf: moved.path + "/" + original.files.copiedMain)
      #expect(copy.files.identity == original.files.identity)
      #expect(copy.files.origin == parts.folder.path && copy.files.folder == moved.path + "/model")
      #expect(copy.files.changedSinceCopied.isEmpty)
      #expect(try states(copy) == states(original))
      // A copy of the copy knows where it all began.
      let again = scratch.appendingPathComponent("again")
      try writeCopy(of: copy.files, to: again)
      try FileManager.default.removeItem(at: moved)
      let second = try MuJoCoModel(contentsOf: again.path + "/" + copy.files.copiedMain)
      #expect(second.files.identity == original.files.identity)
      #expect(second.files.origin == parts.folder.path)
    }
  }

  @Test("A copy is read from its own folder even while the original is there")
  func copyBesideTheOriginal() throws {
    try inScratch { scratch in
      let parts = try ModelInParts()
      let original = try MuJoCoModel(contentsOf: parts.main)
      try writeCopy(of: original.files, to: scratch)
      try parts.write(ModelInParts.tetrahedron(3), to: "shared/absolute.obj")
      try parts.write(ModelInParts.tetrahedron(3), to: "project/meshes/tetra.obj")
      let copy = try MuJoCoModel(contentsOf: scratch.path + "/" + original.files.copiedMain)
      #expect(copy.files.identity == original.files.identity)
      #expect(
        copy.files.changedSinceCopied == ["project/meshes/tetra.obj", "shared/absolute.obj"])
      #expect(try states(copy) == states(original))
    }
  }

  @Test("A list that is none of ours, or is damaged, changes nothing")
  func foreignList() throws {
    try inScratch { scratch in
      let folder = scratch.appendingPathComponent("model")
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      let path = folder.path + "/pendulum.xml"
      try pendulumText.write(toFile: path, atomically: true, encoding: .utf8)
      for list in [
        "", "{}", "[1]", #"{"model": "other.xml", "origin": "/", "files": ["other.xml"]}"#,
      ] {
        try list.write(
          toFile: scratch.path + "/model.json", atomically: true, encoding: .utf8)
        let files = try MuJoCoModel(contentsOf: path).files
        #expect(Set(files.contents.keys) == ["pendulum.xml"] && files.origin == folder.path)
      }
    }
  }

  @Test("Binary models and archives are whole as they are", arguments: ["mjb", "mjz", "zip"])
  func wholeFiles(_ ending: String) throws {
    try inScratch { scratch in
      let parts = try ModelInParts()
      let original = try MuJoCoModel(contentsOf: parts.main)
      let path = scratch.path + "/arm." + ending
      if ending == "mjb" {
        mj_saveModel(original.pointer, path, nil, 0)
      } else {
        var text = [CChar](repeating: 0, count: 1000)
        let written = scratch.path + "/arm.mjz"
        let spec = try #require(mj_parseXML(parts.main, nil, &text, 1000))
        defer { mj_deleteSpec(spec) }
        let model = try #require(mj_compile(spec, nil))
        defer { mj_deleteModel(model) }
        let length = mj_encode(spec, model, written, nil, nil, &text, 1000)
        let characters = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        #expect(length > 0, "\(String(decoding: characters, as: UTF8.self))")
        if ending == "zip" { try FileManager.default.moveItem(atPath: written, toPath: path) }
      }
      try FileManager.default.removeItem(at: parts.folder)
      let whole = try MuJoCoModel(contentsOf: path)
      #expect(Set(whole.files.contents.keys) == ["arm." + ending])
      #expect(
        whole.files.contents["arm." + ending].map { Data($0) }
          == (try Data(contentsOf: URL(fileURLWithPath: path))))
      // An archive's numbers have gone through text, those of the geometry in single precision.
      let tolerance = ending == "mjb" ? 0 : 1e-4
      for (a, b) in zip(try states(whole), try states(original)) {
        #expect(expectClose(a, b, within: tolerance), "\(a) \(b)")
      }
    }
  }

  @Test(
    "A damaged binary model or archive is refused with a reason", arguments: ["mjb", "mjz", "zip"])
  func damaged(_ ending: String) throws {
    try inScratch { scratch in
      let path = scratch.path + "/arm." + ending
      for text in ["", "PK\u{3}\u{4}", String(repeating: "nonsense", count: 100)] {
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        let error = #expect(throws: MuJoCoError.self) { try MuJoCoModel(contentsOf: path) }
        guard case .invalidModel(_, let reason)? = error else {
          Issue.record("\(String(describing: error))")
          continue
        }
        #expect(!reason.isEmpty && reason != "unknown error")
      }
    }
  }

  @Test("Files of a model given as text are sought in the working folder, and are known")
  func text() throws {
    let parts = try ModelInParts()
    let model = try MuJoCoModel(
      mjcf: """
        <mujoco>
          <asset><mesh name="m" file="\(parts.folder.path)/shared/outside.obj"/></asset>
          <worldbody><body><joint name="j"/><geom type="mesh" mesh="m"/></body></worldbody>
          <actuator><motor joint="j"/></actuator>
        </mujoco>
        """)
    #expect(model.files.contents.count == 2)
    #expect(model.files.main.hasSuffix("model.xml"))
    #expect(model.files.contents.keys.contains { $0.hasSuffix("shared/outside.obj") })
  }
}
