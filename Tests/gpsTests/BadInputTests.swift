import Foundation
import GPSTestSupport
import GuidedPolicySearch
import ShippedExperiments
import Testing

/// Bad input is one line and exit code 64; nothing is written but what was asked for.
@Suite struct BadInputTests {
  /// A folder of its own for each test.
  private let here: URL

  init() throws {
    here = folder.appendingPathComponent("bad-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: here, withIntermediateDirectories: true)
  }

  private func entries(_ url: URL) throws -> [String] {
    try FileManager.default.subpathsOfDirectory(atPath: url.path).sorted()
  }

  /// A run that is refused: one line that contains the words, nothing else.
  private func expectRefusal(
    _ arguments: [String], _ words: [String], lines: Int = 1, shellPrefix: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let before = try entries(here)
    let outcome = try gps(
      arguments + ["--output", "out"], shellPrefix: shellPrefix, in: here)
    #expect(outcome.status == 64, "\(outcome.errors)", sourceLocation: sourceLocation)
    #expect(outcome.output.isEmpty, sourceLocation: sourceLocation)
    #expect(
      outcome.errors.split(separator: "\n").last?.hasPrefix("gps: ") == true
        && outcome.errors.count { $0.isNewline } == lines, "\(outcome.errors)",
      sourceLocation: sourceLocation)
    for word in words {
      #expect(outcome.errors.contains(word), "\(outcome.errors)", sourceLocation: sourceLocation)
    }
    // No run directory, no MUJOCO_LOG.TXT.
    #expect(try entries(here) == before, sourceLocation: sourceLocation)
  }

  // MARK: - Experiment files

  @Test func spoiltExperimentsExit64AndLeaveNothing() throws {
    var texts: [String] = []
    for name in try ShippedExperiments.names() {
      let url = try #require(try ShippedExperiments.file(named: name))
      texts.append(try String(contentsOf: url, encoding: .utf8))
    }
    var mutator = ExperimentMutator(files: texts, seed: 12)
    let file = here.appendingPathComponent("spoilt.yaml")
    var refused = 0
    while refused < 40 {
      try Data(mutator.next().bytes).write(to: file)
      do {
        _ = try Experiment.load(file)
      } catch {
        refused += 1
        // The program says what the library says; the folder has no models, which is one reason.
        let text = "\(error)"
        try expectRefusal(["run", "spoilt.yaml"], [String(text.suffix(40))])
      }
    }
  }

  // MARK: - Models

  private static let arm = """
    <body name="arm" pos="0 0 1"><joint name="hinge" axis="0 1 0"/>
    <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02"/><site name="tip" pos="0.3 0 0"/></body>
    """
  private static let motor = "<actuator><motor name='torque' joint='hinge'/></actuator>"

  private static func model(
    _ head: String = "", body: String = "", actuator: String = motor, tail: String = ""
  ) -> String {
    "<mujoco>\(head)<worldbody>\(arm)\(body)</worldbody>\(actuator)\(tail)</mujoco>"
  }

  private func experiment(_ path: String, _ changes: [(String, String)] = []) throws {
    var text = """
      task: arm
      system:
        mujoco:
          model: "\(path)"
          state: [jointPositions, jointVelocities]
          points: [tip]
      horizon: 10
      conditions: {train: [{name: a}]}
      cost: [control: {weights: 1}]
      success: {stateWithin: {entries: [jointPositions], tolerance: 1}}
      initialController: {lqr: {gains: 1}}
      algorithm: {iterations: 1, samples: 2}
      training: {steps: 3}

      """
    for (find, replace) in changes {
      #expect(text.contains(find))
      text = text.replacingOccurrences(of: find, with: replace)
    }
    try text.write(
      to: here.appendingPathComponent("arm.yaml"), atomically: true, encoding: .utf8)
  }

  struct BadModel: Sendable, CustomTestStringConvertible {
    var name: String
    var text: String
    var words: [String]
    /// Two where MuJoCo's C++ library has said something first.
    var lines = 1
    var testDescription: String { name }
  }

  private static func nest(_ count: Int) -> String {
    String(repeating: "<body pos='0 0 1'><joint/><geom size='0.1'/>", count: count)
      + String(repeating: "</body>", count: count)
  }

  static let badModels: [BadModel] = [
    BadModel(name: "empty", text: "", words: ["empty file"]),
    BadModel(name: "broken", text: "<mujoco><worldbody>", words: ["XML_ERROR_MISMATCHED"]),
    BadModel(name: "no XML", text: "PK\u{3}\u{4}", words: ["XML"]),
    BadModel(name: "other XML", text: "<html></html>", words: ["html"]),
    BadModel(name: "no actuators", text: model(actuator: ""), words: ["no actuators"]),
    BadModel(
      name: "unknown joint", text: model(actuator: "<actuator><motor joint='knee'/></actuator>"),
      words: ["knee"]),
    BadModel(
      name: "unknown element", text: model(body: "<bodi/>"), words: ["bodi", "line"]),
    BadModel(
      name: "missing include", text: model("<include file='no.xml'/>"), words: ["no.xml"]),
    BadModel(
      name: "includes itself", text: model("<include file='model.xml'/>"),
      words: ["already included"]),
    BadModel(
      name: "missing mesh", text: model("<asset><mesh name='m' file='no.stl'/></asset>"),
      words: ["no.stl"]),
    BadModel(
      name: "NaN position",
      text: model(body: "<body pos='nan 0 0'><joint/><geom size='1'/></body>"),
      words: ["contains a NaN"]),
    BadModel(
      name: "infinite position",
      text: model(body: "<body pos='0 inf 0'><joint/><geom size='1'/></body>"),
      words: ["a body's position is not finite"]),
    BadModel(
      name: "NaN size", text: model(body: "<geom size='nan'/>"), words: ["nan"]),
    BadModel(
      name: "NaN mass", text: model(body: "<body><joint/><geom size='1' mass='nan'/></body>"),
      words: ["contains a NaN"]),
    BadModel(
      name: "NaN gear",
      text: model(actuator: "<actuator><motor joint='hinge' gear='nan'/></actuator>"),
      words: ["contains a NaN"]),
    BadModel(
      name: "NaN timestep", text: model("<option timestep='nan'/>"), words: ["contains a NaN"]),
    BadModel(
      name: "no timestep", text: model("<option timestep='0'/>"), words: ["the timestep is 0.0"]),
    BadModel(
      name: "3000 bodies",
      text: model(
        body: (0..<3000).map { "<body pos='\($0) 0 0'><joint/><geom size='0.1'/></body>" }
          .joined()), words: ["horizon", "too much memory", "6002 states"]),
    BadModel(name: "a tower of 3000 bodies", text: model(body: nest(3000)), words: ["too deep"]),
    BadModel(
      name: "an exabyte", text: model("<size memory='1E'/>"), words: ["memory"]),
    BadModel(
      name: "a byte", text: model("<size memory='1'/>"), words: ["out of memory"]),
    BadModel(
      name: "no number of bytes", text: model("<size memory='much'/>"), words: ["memory"]),
    BadModel(
      name: "numbers for users beyond memory", text: model("<size nuser_body='2000000000'/>"),
      words: ["the size nuser_body would take", "(at most 512)"]),
    BadModel(
      name: "user data beyond memory", text: model("<size nuserdata='2147483647'/>"),
      words: ["the size nuserdata would take", "(at most 512)"]),
    BadModel(
      name: "much user data", text: model("<size nuserdata='40000000'/>"),
      words: ["the data of each worker would take", "(at most 256)"]),
    BadModel(
      name: "keyframes beyond memory", text: model("<size nkey='2000000000'/>"),
      words: ["the size nkey would take", "(at most 512)"]),
    BadModel(
      name: "an arena beyond memory", text: model("<size memory='30G'/>"),
      words: ["the size memory is 30720 MB (at most 8192)"]),
    BadModel(
      name: "a texture beyond memory",
      text: model(
        "<asset><texture name='t' type='2d' builtin='flat' width='100000' height='100000'/></asset>"
      ), words: ["a texture of 100000 x 100000 would take", "(at most 512)"]),
    BadModel(
      name: "a height field beyond memory",
      text: model("<asset><hfield name='h' nrow='100000' ncol='100000' size='1 1 1 1'/></asset>"),
      // Denied, not taken first.
      words: ["its compiler gave up", "1536 MB"]),
    BadModel(
      name: "a cube of textures beyond memory",
      text: model("<asset><texture name='t' type='cube' builtin='flat' width='20000'/></asset>"),
      words: ["a texture of 20000 x 120000 would take", "(at most 512)"]),
    BadModel(
      name: "textures beyond memory together",
      text: model(
        "<asset>"
          + (0..<3).map {
            "<texture name='t\($0)' type='2d' builtin='flat' width='8000' height='8000'/>"
          }.joined() + "</asset>"), words: ["up to a texture of 8000 x 8000 would take 549 MB"]),
    BadModel(
      name: "a sensor beyond memory",
      text: model(tail: "<sensor><user dim='2000000000'/></sensor>"),
      words: ["Could not allocate memory (at most 1536 MB)"]),
    BadModel(
      name: "a format for a class", text: model(body: "<geom class='%s%s%s%s%s%s%n' size='1'/>"),
      words: ["'%s%s%s%s%s%s%n'"]),
    BadModel(
      name: "a format that shows the stack", text: model(body: "<geom class='%x.%x.%x' size='1'/>"),
      words: ["'%x.%x.%x'"]),
    BadModel(
      name: "a format in character references",
      text: model(body: "<geom class='&#37;s&#x25;s&#x0025;n&#037;n' size='1'/>"),
      words: ["'%s%s%n%n'"]),
    BadModel(
      name: "a format for a mesh", text: model(body: "<geom type='mesh' mesh='%s%n%s'/>"),
      words: ["'%s%n%s'"]),
    BadModel(
      name: "a format for a joint",
      text: model(actuator: "<actuator><motor joint='%s%s%s%n'/></actuator>"),
      words: ["%s%s%s%n"]),
    BadModel(
      name: "a format for a file",
      text: model("<asset><mesh name='m' file='%s%s%n.stl'/></asset>"), words: ["%s%s%n.stl"]),
    BadModel(
      name: "a format for an include", text: model("<include file='%s%s%n.xml'/>"),
      words: ["%s%s%n.xml"]),
    BadModel(
      name: "a missing plugin",
      text: model("<extension><plugin plugin='no.such'/></extension>"), words: ["no.such"]),
  ]

  @Test(arguments: badModels)
  func badModelIsOneLine(_ bad: BadModel) throws {
    try bad.text.write(
      to: here.appendingPathComponent("model.xml"), atomically: true, encoding: .utf8)
    try experiment("model.xml")
    // Of the address space there shall be an end, whatever the machine has.
    try expectRefusal(
      ["run", "arm.yaml"], ["arm.yaml:"] + bad.words,
      shellPrefix: "ulimit -v 8000000;")
  }

  @Test func modelThatCannotBeReadIsOneLine() throws {
    try experiment("missing.xml")
    try expectRefusal(["run", "arm.yaml"], ["arm.yaml:4:12: system.mujoco.model: no such file"])
    // A folder, a pipe that never ends, a device that never ends, a file that may not be read.
    #expect(mkfifo(here.appendingPathComponent("pipe").path, 0o600) == 0)
    for path in [".", "pipe", "/dev/zero", "/proc/self/mem", "/dev/null"] {
      try experiment(path)
      try expectRefusal(["run", "arm.yaml"], ["arm.yaml:4:12: system.mujoco.model: "])
    }
    if geteuid() != 0 {
      let locked = here.appendingPathComponent("locked.xml").path
      #expect(
        FileManager.default.createFile(
          atPath: locked, contents: Data(), attributes: [.posixPermissions: 0]))
      try experiment("locked.xml")
      try expectRefusal(["run", "arm.yaml"], ["cannot be read as a model"])
    }
  }

  /// Percent signs are no harm where nothing is wrong.
  @Test func percentSignsInNamesAndPaths() throws {
    try "<mujocoinclude><site name='100%n' pos='0 0 1'/></mujocoinclude>".write(
      to: here.appendingPathComponent("50%s.xml"), atomically: true, encoding: .utf8)
    try Self.model(body: "<!-- %n --><include file='50%s.xml'/>").write(
      to: here.appendingPathComponent("model.xml"), atomically: true, encoding: .utf8)
    try experiment("model.xml", [("points: [tip]", "points: [\"100%n\"]")])
    let outcome = try gps(["run", "arm.yaml", "--quiet", "--output", "out"], in: here)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(
      FileManager.default.fileExists(atPath: here.appendingPathComponent("out/model/50%s.xml").path)
    )
  }

  /// Wherever a model may name a file, a pipe or a device is refused.
  @Test(arguments: [
    "<include file='PATH'/>", "<asset><mesh name='m' file='PATH'/></asset>",
    "<asset><hfield name='h' file='PATH' size='1 1 1 1'/></asset>",
    "<asset><texture name='t' type='2d' file='PATH'/></asset>",
    "<asset><model name='m' file='PATH'/></asset>",
  ])
  func modelsNameFilesAlone(_ head: String) throws {
    for name in ["pipe.xml", "pipe.stl", "pipe.png"] {
      #expect(mkfifo(here.appendingPathComponent(name).path, 0o600) == 0)
      try FileManager.default.createSymbolicLink(
        atPath: here.appendingPathComponent("zero-" + name).path, withDestinationPath: "/dev/zero")
    }
    let ending =
      head.contains("mesh")
      ? "stl" : head.contains("texture") || head.contains("hfield") ? "png" : "xml"
    for path in ["pipe." + ending, "zero-pipe." + ending] {
      try Self.model(head.replacingOccurrences(of: "PATH", with: path)).write(
        to: here.appendingPathComponent("model.xml"), atomically: true, encoding: .utf8)
      try experiment("model.xml")
      try expectRefusal(["run", "arm.yaml"], ["arm.yaml:4:12: system.mujoco.model: "])
    }
  }

  @Test func unknownNamesAreOneLine() throws {
    try Self.model(tail: "<sensor><jointpos name='angle' joint='hinge'/></sensor>").write(
      to: here.appendingPathComponent("model.xml"), atomically: true, encoding: .utf8)
    let state = "[jointPositions, jointVelocities]"
    for (find, replace, words) in [
      ("points: [tip]", "points: [tap]", ["no site \"tap\"", "it has tip"]),
      (state, "[jointPositions: {joints: [knee]}]", ["no joint \"knee\"", "it has hinge"]),
      (state, "[sitePositions: {sites: [nib]}]", ["no site \"nib\""]),
      (state, "[sensors: [force]]", ["no sensor \"force\"", "it has angle"]),
      (
        "{name: a}", "{name: a, bodyOffsets: {leg: [0, 0, 0]}}", ["no body \"leg\"", "arm"]
      ),
      ("{name: a}", "{name: a, keyframe: home}", ["no keyframe \"home\""]),
    ] as [(String, String, [String])] {
      try experiment("model.xml", [(find, replace)])
      try expectRefusal(["run", "arm.yaml"], ["arm.yaml:"] + words)
    }
    // And without any of it, it runs.
    try experiment("model.xml")
    #expect(try gps(["run", "arm.yaml", "--quiet", "--output", "out"], in: here).status == 0)
  }

  // MARK: - Paths

  private let short = [
    "--iterations", "1", "--samples", "2", "--set", "training.steps=3", "--quiet",
  ]

  @Test func nothingIsWrittenOutsideTheRunDirectory() throws {
    // /proc/self is a folder in which not even root can make a file.
    let out = here.appendingPathComponent("deep/er/out")
    let outcome = try gps(
      ["run", "peg-insertion", "--output", out.path] + short,
      environment: ["HOME": here.path, "TMPDIR": here.path],
      in: URL(fileURLWithPath: "/proc/self"))
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(
      try entries(here).filter { !$0.hasPrefix("deep/er/out/") }
        == ["deep", "deep/er", "deep/er/out"])
    // Without an output folder there is no place for a run.
    let homeless = try gps(["run", "point-mass"] + short, in: URL(fileURLWithPath: "/proc/self"))
    #expect(homeless.status == 70 && homeless.errors.hasPrefix("gps: cannot write "))
    #expect(homeless.errors.count { $0.isNewline } == 1)
  }

  @Test(arguments: [
    "../evil", "../../evil", "/tmp/evil", "..", ".", "a/b", "a\\\\b", "a\\nb", "a\\0b", ".hidden",
    "~", "$HOME", "-rf", "a b", "\\u202Eabc", "漢字",
    String(repeating: "漢", count: 100),
  ])
  func taskNamesLeadNowhere(_ name: String) throws {
    let outcome = try gps(
      ["run", "point-mass", "--set", "task=\"\(name)\""] + short, in: here)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let found = try FileManager.default.contentsOfDirectory(atPath: here.path)
    #expect(found == ["runs"])
    let runs = try FileManager.default.contentsOfDirectory(
      atPath: here.appendingPathComponent("runs").path)
    #expect(runs.count == 1 && !runs[0].hasPrefix(".") && runs[0].utf8.count < 200)
    #expect(
      FileManager.default.fileExists(
        atPath: here.appendingPathComponent("runs/\(runs[0])/summary.json").path))
  }

  @Test func aRunIsNotOverwrittenWithoutForce() throws {
    let run = ["run", "point-mass", "--output", "out"] + short
    #expect(try gps(run, in: here).status == 0)
    func contents() throws -> [String: Data] {
      let out = here.appendingPathComponent("out")
      return try Dictionary(
        uniqueKeysWithValues: entries(out).map {
          ($0, (try? Data(contentsOf: out.appendingPathComponent($0))) ?? Data())
        })
    }
    let before = try contents()
    let again = try gps(run, in: here)
    #expect(again.status == 64 && again.errors.contains("exists and is not empty"))
    #expect(try contents() == before)
    // A file in its place, or a link that leads nowhere, is no folder.
    for (name, make) in [
      ("file", { try Data("mine".utf8).write(to: $0) }),
      (
        "link",
        {
          try FileManager.default.createSymbolicLink(
            atPath: $0.path,
            withDestinationPath: folder.appendingPathComponent("missing/place").path)
        }
      ),
    ] as [(String, (URL) throws -> Void)] {
      try make(here.appendingPathComponent(name))
      for force in [[], ["--force"]] {
        let outcome = try gps(["run", "point-mass", "--output", name] + short + force, in: here)
        #expect(outcome.status == 70 && outcome.errors.hasPrefix("gps: cannot write "))
        #expect(outcome.errors.count { $0.isNewline } == 1)
      }
    }
    #expect(
      try String(contentsOf: here.appendingPathComponent("file"), encoding: .utf8) == "mine")
  }

  @Test func linksInARunDirectoryAreReplacedNotFollowed() throws {
    let run = ["run", "peg-insertion", "--output", "out"] + short
    #expect(try gps(run, in: here).status == 0)
    let out = here.appendingPathComponent("out")
    let names = try FileManager.default.contentsOfDirectory(atPath: out.path).filter { name in
      var isFolder: ObjCBool = false
      _ = FileManager.default.fileExists(
        atPath: out.appendingPathComponent(name).path, isDirectory: &isFolder)
      // A lock that is a link is refused.
      return !isFolder.boolValue && name != RunDirectory.FileName.lock
    }
    #expect(names.count >= 9 && names.contains("model.json"))
    for name in names + ["policy.safetensors.tmp", "summary.json.tmp"] {
      let victim = here.appendingPathComponent("victim-\(name)")
      try Data("mine".utf8).write(to: victim)
      let link = out.appendingPathComponent(name)
      try? FileManager.default.removeItem(at: link)
      try FileManager.default.createSymbolicLink(at: link, withDestinationURL: victim)
    }
    let forced = try gps(run + ["--force"], in: here)
    #expect(forced.status == 0, "\(forced.errors)")
    for name in names {
      let victim = here.appendingPathComponent("victim-\(name)")
      #expect(try String(contentsOf: victim, encoding: .utf8) == "mine", "\(name)")
      let type = try FileManager.default.attributesOfItem(
        atPath: out.appendingPathComponent(name).path)[.type]
      #expect(type as? FileAttributeType == .typeRegular, "\(name)")
    }
  }
}
