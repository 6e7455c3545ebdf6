import CMuJoCo
import Foundation
import GPSCore
import GPSTestSupport
import Statistics
import Testing

@testable import Sim

/// Models that somebody has spoilt on purpose, as text and in archives.
@Suite struct MuJoCoForgeryTests {
  private func tries(default count: Int) -> Int {
    ProcessInfo.processInfo.environment["GPS_MODEL_FORGERIES"].flatMap { Int($0) } ?? count
  }

  private func inFolder(_ body: (URL) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "forged-models-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try body(folder)
  }

  /// A model is refused in a line, or one can be made use of: a plant of it, and a step or an error.
  ///
  /// - Returns: why it is refused; nil if it is not.
  private func refusal(_ path: String) throws -> String? {
    let model: MuJoCoModel
    do {
      model = try MuJoCoModel(contentsOf: path)
    } catch {
      let reason = "\(error)"
      #expect(!reason.contains("\n") && reason.count < 2500, "\(reason)")
      return reason
    }
    guard
      let interface = try? MuJoCoInterface(
        model: model, state: [.jointPositions(), .jointVelocities()]),
      let start = try? model.plantState(),
      let task = try? MuJoCoTask(
        name: "forged", interface: interface, horizon: 2,
        conditions: [Condition(name: "a", initialPlantState: start)], cost: NoCost(),
        success: GoalIsPositive())
    else { return nil }
    var plant = try? task.makePlant()
    _ = try? plant?.rollout(
      task.conditions[0], steps: 2, state: task.dimensions.state, control: task.dimensions.control)
    plant = nil
    return nil
  }

  // MARK: - Text

  /// Values that mean something to a reader, a compiler or `printf`.
  private static let values = [
    "", " ", "-1", "0", "1", "nan", "inf", "-inf", "1e308", "1e-308", "2147483647", "-2147483648",
    "4294967296", "1e9", "%s%s%s%n", "%x.%x", "&#37;s&#x25;n", "&amp;", "&#0;", "&#x1F;", "../../x",
    "/",
    "1 2 3", "1 1 1 1 1 1 1 1 1 1 1 1 1", "true", "world", "hinge", "\u{1B}[31m", "\u{202E}",
    String(repeating: "9 ", count: 2000), String(repeating: "x", count: 3000),
  ]

  private static let elements = [
    "<include file='model.xml'/>", "<body/>", "<body><joint/></body>", "<joint type='free'/>",
    "<geom size='-1'/>", "<size nuserdata='100000000'/>", "<size memory='1'/>",
    "<size nkey='99999999'/>",
    "<asset><hfield name='h' nrow='30000' ncol='30000' size='1 1 1 1'/></asset>",
    "<asset><texture name='t' type='2d' builtin='flat' width='30000' height='30000'/></asset>",
    "<asset><mesh name='m' vertex='0 0 0 1 0 0 0 1 0 0 0 1e30'/></asset>",
    "<sensor><user dim='99999999'/></sensor>", "<default class='%s%x'/>", "<compiler angle='%s'/>",
    "<option integrator='RK4' timestep='1e300'/>", "<keyframe><key qpos='nan'/></keyframe>",
    "<equality><weld body1='world' body2='world'/></equality>", "<!--", "]]>", "<![CDATA[", "\0",
    "text",
    "<replicate count='300' offset='1 0 0'><geom size='1'/></replicate>",
    "<composite type='cable' count='60 1 1'/>",
    "<actuator><general joint='hinge' dyntype='muscle' gainprm='%n'/></actuator>",
  ]

  private func forge(_ text: inout String, _ random: inout RandomStream) {
    var characters = Array(text.utf8)
    func places(_ byte: Character) -> [Int] {
      characters.indices.filter { characters[$0] == byte.asciiValue }
    }
    switch random.index(below: 8) {
    case 0, 1, 2:
      // Another value for an attribute.
      let quotes = places("\"")
      guard quotes.count > 1 else { return }
      let first = quotes[random.index(below: quotes.count / 2) * 2]
      guard let last = quotes.first(where: { $0 > first }) else { return }
      let value = Self.values[random.index(below: Self.values.count)]
      characters.replaceSubrange((first + 1)..<last, with: value.utf8)
    case 3, 4:
      // Something between two tags.
      let tags = places(">")
      guard !tags.isEmpty else { return }
      let element = Self.elements[random.index(below: Self.elements.count)]
      characters.insert(contentsOf: element.utf8, at: tags[random.index(below: tags.count)] + 1)
    case 5:
      // A tag less.
      let tags = places("<")
      guard !tags.isEmpty else { return }
      let first = tags[random.index(below: tags.count)]
      let last = characters[first...].firstIndex(of: UInt8(ascii: ">")) ?? characters.count - 1
      characters.removeSubrange(first...last)
    case 6:
      characters.removeLast(random.index(below: characters.count))
    default:
      guard !characters.isEmpty else { return }
      characters[random.index(below: characters.count)] = UInt8(truncatingIfNeeded: random.next())
    }
    text = String(decoding: characters, as: UTF8.self)
  }

  @Test("spoilt models are refused in a line, or can be simulated", .slow, .timeLimit(.minutes(60)))
  func texts() throws {
    try inFolder { folder in
      var random = RandomStream(seed: 41)
      var refused = 0
      let count = tries(default: 300)
      let path = folder.path + "/model.xml"
      for number in 0..<count {
        var text = number % 2 == 0 ? treeText : pendulumText
        for _ in 0...random.index(below: 2) { forge(&text, &random) }
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        if try refusal(path) != nil { refused += 1 }
      }
      #expect(refused > count / 4 && refused < count, "\(refused) refused of \(count)")
    }
  }

  // MARK: - Binary models

  /// Something of every kind that a model may have.
  private static let rich = """
    <mujoco>
    <size nuserdata="3"/>
    <asset><mesh name="m" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/><hfield name="h" nrow="3" ncol="3" size="1 1 1 1"/>
    <texture name="t" type="2d" builtin="flat" width="4" height="4"/><material name="mt" texture="t"/></asset>
    <worldbody><light/><camera name="c"/><geom type="hfield" hfield="h" pos="0 0 -3"/>
    <geom type="plane" size="3 3 .1" pos="0 0 -1"/>
    <body name="mo" mocap="true"><geom size=".05" contype="0" conaffinity="0"/></body>
    <body name="a" pos="0 0 1"><joint name="j" type="hinge" axis="0 1 0" range="-2 2"/><geom size=".1" material="mt"/>
    <site name="s1"/><body name="b" pos=".3 0 0"><joint name="k" type="ball"/><geom type="mesh" mesh="m" density="10"/>
    <site name="s2" pos=".1 0 0"/></body></body>
    <body name="f" pos="1 0 1"><freejoint name="fr"/><geom size=".1 .2" type="capsule"/></body>
    <body name="sl" pos="2 0 1"><joint name="sl" type="slide"/><geom size=".1 .2 .1" type="box"/></body></worldbody>
    <contact><exclude body1="a" body2="sl"/></contact>
    <tendon><spatial name="te"><site site="s1"/><site site="s2"/></spatial>
    <fixed name="fx"><joint joint="j" coef="1"/><joint joint="sl" coef="1"/></fixed></tendon>
    <equality><connect body1="f" body2="mo" anchor="0 0 0"/><joint joint1="j" joint2="sl"/></equality>
    <actuator><motor joint="j"/><position joint="sl" kp="3"/><general tendon="te" dyntype="filter" dynprm="1"/>
    <motor site="s2" gear="0 0 1 0 0 0"/><muscle tendon="fx" lengthrange="-1 1"/></actuator>
    <sensor><jointpos joint="j"/><framepos objtype="site" objname="s2"/><touch site="s1"/><user dim="2"/></sensor>
    <keyframe><key qpos="0.1 1 0 0 0 1 0 1 1 0 0 0 0"/></keyframe>
    </mujoco>
    """

  private func save(_ model: MuJoCoModel, _ path: String) {
    withExtendedLifetime(model) { mj_saveModel(model.pointer, path, nil, 0) }
  }

  @Test("numbers that no compiler writes are told by their field", .slow)
  func kinds() throws {
    try inFolder { folder in
      let path = folder.path + "/model.mjb"
      typealias Field = (name: String, numbers: (mjModel) -> UnsafeMutablePointer<Int32>?)
      let fields: [Field] = [
        ("jnt_type", { $0.jnt_type }), ("geom_type", { $0.geom_type }),
        ("site_type", { $0.site_type }),
        ("eq_type", { $0.eq_type }), ("wrap_type", { $0.wrap_type }),
        ("tendon_type", { $0.tendon_type }), ("cam_mode", { $0.cam_mode }),
        ("light_mode", { $0.light_mode }), ("actuator_trntype", { $0.actuator_trntype }),
        ("actuator_dyntype", { $0.actuator_dyntype }),
        ("actuator_gaintype", { $0.actuator_gaintype }),
        ("actuator_biastype", { $0.actuator_biastype }),
        ("actuator_ctrlnum", { $0.actuator_ctrlnum }),
        ("sensor_type", { $0.sensor_type }), ("sensor_datatype", { $0.sensor_datatype }),
        ("sensor_needstage", { $0.sensor_needstage }), ("dof_treeid", { $0.dof_treeid }),
        ("body_treeid", { $0.body_treeid }), ("sensor_dim", { $0.sensor_dim }),
        ("body_jntnum", { $0.body_jntnum }), ("body_dofnum", { $0.body_dofnum }),
        ("jnt_qposadr", { $0.jnt_qposadr }), ("jnt_dofadr", { $0.jnt_dofadr }),
        ("actuator_history", { $0.actuator_history }),
        ("sensor_history", { $0.sensor_history }),
        ("actuator_historyadr", { $0.actuator_historyadr }), ("dof_jntid", { $0.dof_jntid }),
        ("actuator_trnid", { $0.actuator_trnid }),
      ]
      let model = try MuJoCoModel(mjcf: Self.rich)
      for (name, numbers) in fields {
        let field = try #require(numbers(model.pointer.pointee))
        let right = field[0]
        for value: Int32 in [-7, 100, .max, .min] {
          field[0] = value
          save(model, path)
          field[0] = right
          let reason = try refusal(path)
          #expect(reason != nil, "\(name) of \(value)")
        }
      }
      // As it was written it is taken.
      save(model, path)
      #expect(try refusal(path) == nil)
      // A hinge that says it is a ball joint would share its positions with the next.
      model.pointer.pointee.jnt_type[0] = Int32(mjJNT_BALL.rawValue)
      save(model, path)
      #expect(try refusal(path)?.contains("holds what no compiled model can") == true)
    }
  }

  @Test(
    "spoilt binary models are refused in a line, or can be simulated", .slow,
    .timeLimit(.minutes(600)))
  func binaries() throws {
    try inFolder { folder in
      let path = folder.path + "/model.mjb"
      save(try MuJoCoModel(mjcf: Self.rich), path)
      let good = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
      var random = RandomStream(seed: 43)
      var refused = 0
      let count = tries(default: 300)
      let words: [Int32] = [-1, 0, 1, 2, 3, 5, 7, 36, 100, 1000, 65536, .max, .min]
      let numbers: [Double] = [.nan, .infinity, 1e308, -1, 0, 1e-308, 1e9]
      for _ in 0..<count {
        var bytes = good
        for _ in 0...random.index(below: 3) {
          // Sizes stand first.
          let range = random.index(below: 4) == 0 ? 1000 : bytes.count - 8
          let at = random.index(below: range) & ~3
          func put<T>(_ value: T) {
            withUnsafeBytes(of: value) { bytes.replaceSubrange(at..<at + $0.count, with: $0) }
          }
          switch random.index(below: 8) {
          case 0: put(numbers[random.index(below: numbers.count)])
          case 1: put(UInt8(truncatingIfNeeded: random.next()))
          case 2: bytes.removeLast(random.index(below: 50))
          default: put(words[random.index(below: words.count)])
          }
          if bytes.count < 1100 { break }
        }
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        if try refusal(path) != nil { refused += 1 }
      }
      #expect(refused > count / 10 && refused < count, "\(refused) refused of \(count)")
    }
  }

  // MARK: - Archives

  /// An archive of stored files.
  private func archive(_ files: [(name: String, text: String)]) -> [UInt8] {
    func bytes(_ numbers: [(Int, count: Int)]) -> [UInt8] {
      numbers.flatMap { number, count in (0..<count).map { UInt8(number >> (8 * $0) & 255) } }
    }
    func checksum(_ bytes: [UInt8]) -> Int {
      var sum: UInt32 = ~0
      for byte in bytes {
        sum ^= UInt32(byte)
        for _ in 0..<8 { sum = sum >> 1 ^ (sum & 1 == 1 ? 0xEDB8_8320 : 0) }
      }
      return Int(~sum)
    }
    var (all, list): ([UInt8], [UInt8]) = ([], [])
    for (name, text) in files {
      let (name, data) = (Array(name.utf8), Array(text.utf8))
      // Version, flags, method, time and date, checksum, both sizes, lengths of the name and of more.
      let common = bytes([
        (20, 2), (0, 2), (0, 2), (0x21_0000, 4), (checksum(data), 4), (data.count, 4),
        (data.count, 4),
        (name.count, 2), (0, 2),
      ])
      list += bytes([(0x0201_4B50, 4), (20, 2)]) + common
      list += bytes([(0, 2), (0, 2), (0, 2), (0, 4), (all.count, 4)]) + name
      all += bytes([(0x0403_4B50, 4)]) + common + name + data
    }
    let end = bytes([
      (0x0605_4B50, 4), (0, 4), (files.count, 2), (files.count, 2), (list.count, 4), (all.count, 4),
      (0, 2),
    ])
    return all + list + end
  }

  private static func model(class name: String) -> String {
    """
    <mujoco><worldbody><body><joint name="j"/><geom size=".1"/></body></worldbody>
    <actuator><motor joint="j" class="\(name)"/></actuator></mujoco>
    """
  }

  @Test("formats in archives, names and folders are text", .slow)
  func formats() throws {
    try inFolder { folder in
      let hostile = "%s%s%s%n%x"
      let inner = folder.appendingPathComponent("d" + hostile)
      try FileManager.default.createDirectory(at: inner, withIntermediateDirectories: true)
      func expect(_ name: String, _ contents: [UInt8], _ words: String) throws {
        let url = inner.appendingPathComponent(name)
        try Data(contents).write(to: url)
        let reason = try refusal(url.path) ?? "not refused"
        #expect(reason.contains(words), "\(reason)")
      }
      let text = Self.model(class: hostile)
      let unknown = "unknown default class name '\(hostile)'"
      try expect("m.xml", Array(text.utf8), unknown)
      try expect("text.xml", Array(("hello " + text).utf8), unknown)
      try expect("zero.xml", Array((text + "\0").utf8), unknown)
      try expect("m.mjz", archive([("m.xml", text)]), unknown)
      try expect("m.zip", archive([("m.xml", text)]), unknown)
      try expect(
        "\(hostile).mjz", archive([("\(hostile).xml", Self.model(class: "none"))]),
        "unknown default class name 'none'")
      let includes = "<mujoco><include file=\"\(hostile).txt\"/></mujoco>"
      try expect("i.mjz", archive([("i.xml", includes), ("\(hostile).txt", text)]), unknown)
      try expect("i.xml", Array(includes.utf8), "\(hostile).txt")
      let mesh = """
        <mujoco><asset><mesh name="\(hostile)" file="\(hostile).obj"/></asset>
        <worldbody><geom type="mesh" mesh="\(hostile)"/></worldbody></mujoco>
        """
      try expect("mesh.mjz", archive([("mesh.xml", mesh)]), "\(hostile).obj")
      try expect("mesh.xml", Array(mesh.utf8), "\(hostile).obj")
    }
  }

  @Test("spoilt archives are refused in a line, or hold a model", .slow, .timeLimit(.minutes(60)))
  func archives() throws {
    try inFolder { folder in
      let path = folder.path + "/arm.mjz"
      let good = archive([("arm.xml", treeText), ("more/notes.txt", "100 % of it")])
      try Data(good).write(to: URL(fileURLWithPath: path))
      #expect(try refusal(path) == nil)
      var random = RandomStream(seed: 42)
      var refused = 0
      let count = tries(default: 200)
      for _ in 0..<count {
        var bytes = good
        for _ in 0...random.index(below: 3) where !bytes.isEmpty {
          // Most of what tells how to read it stands at the end.
          let at =
            random.index(below: 2) == 0
            ? random.index(below: bytes.count)
            : bytes.count - 1 - random.index(below: min(200, bytes.count))
          switch random.index(below: 5) {
          case 0: bytes[at] ^= UInt8(1 << random.index(below: 8))
          case 1: bytes[at] = random.index(below: 2) == 0 ? 0xFF : 0
          case 2: bytes.remove(at: at)
          case 3: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: at)
          default: bytes.removeLast(random.index(below: min(100, bytes.count)))
          }
        }
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        if try refusal(path) != nil { refused += 1 }
      }
      #expect(refused > count / 4 && refused < count, "\(refused) refused of \(count)")
    }
  }
}
