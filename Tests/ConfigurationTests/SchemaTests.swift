import Configuration
import Testing

private enum Color: String, Setting, CaseIterable, Equatable { case red, green }

private struct Wheel: Configurable, Equatable {
  var radius = 0.5
  var spokes: Int?

  static let schema = Schema<Wheel>("wheel", "It turns.", Wheel()) {
    Field("radius", \.radius, .above(0), "Radius [m].")
    Field("spokes", \.spokes, .between(3, 40), "Spokes; null for a disc.")
  }
}

private struct Sledge: Configurable, Equatable {
  var lengths = [1.0]

  static let schema = Schema<Sledge>("sledge", "It slides.", Sledge()) {
    Field("lengths", \.lengths, .numberOrNumbers, .each(.notNegative), "Of its runners [m].")
      .required
  }
}

/// A value of one of three kinds: two structs and a word.
private struct Support: OneOfKinds, Equatable {
  var base: any Configurable & Equatable

  static let noun = "a support"
  static let kinds = [
    kind(Wheel.self), kind(Sledge.self),
    Kind(word: "none", "It lies.", Support(base: Nothing())),
  ]

  private static func kind<Value: Configurable & Equatable>(_ type: Value.Type) -> Kind<Support> {
    Kind(type, make: { Support(base: $0) }, payload: { $0.base as? Value })
  }

  static func == (a: Support, b: Support) -> Bool { areEqual(a.base, b.base) }
}

private struct Nothing: Configurable, Equatable {
  static let schema = Schema<Nothing>(Nothing()) {}
}

private struct Engine: Configurable, Equatable {
  var power = 3.0
  var torque = 1.0

  static let schema = Schema<Engine>(Engine()) {
    Field("power", \.power, .positive, "Power [W].")
    Field("torque", \.torque, "Torque [N m].")
  } rule: { engine throws(InvalidOption) in
    try InvalidOption.require(engine.torque < engine.power, "torque", engine.torque, "below power")
  }
}

private struct Vehicle: Configurable, Equatable {
  var name = ""
  var color = Color.red
  var strong = Vehicle.strong
  var supports: [Support] = []
  var offsets: [String: [Double]] = [:]

  static let strong = { () -> Engine in
    var engine = Engine()
    engine.power = 9
    return engine
  }()

  static let schema = Schema<Vehicle>(Vehicle()) {
    Field("name", \.name, "Its name.").required
    Field("color", \.color, "Its color.")
    Field("strong", \.strong, "An engine that is stronger than others.")
    Field("supports", \.supports, .some("support"), "What it stands on.")
    Field("offsets", \.offsets, .table("a mapping from parts to numbers"), "Displacements.")
  }
}

private func read(_ text: String) throws(SettingsError) -> Vehicle {
  try Vehicle.schema.read(SettingsTree(yaml: text, name: "v"), "")
}

private func problem(_ text: String) -> String {
  do {
    _ = try read(text)
    return "none"
  } catch { return "\(error)" }
}

@Suite struct SchemaTests {
  @Test func writtenSettingsReadBack() throws {
    var vehicle = Vehicle()
    vehicle.name = "a \"b\""
    vehicle.color = .green
    vehicle.strong.torque = 1e-300
    vehicle.supports = [
      Support(base: Wheel(radius: 2, spokes: 7)), Support(base: Sledge(lengths: [1, 2.5])),
      Support(base: Nothing()), Support(base: Wheel()),
    ]
    vehicle.offsets = ["b": [1, 2], "a": []]
    let text = SettingsTree(Vehicle.codec.write(vehicle)).yaml
    #expect(try read(text) == vehicle)
    #expect(
      text
        == """
        name: "a \\"b\\""
        color: green
        strong:
          power: 9
          torque: 1e-300
        supports:
          - wheel:
              radius: 2
              spokes: 7
          - sledge:
              lengths: [1, 2.5]
          - "none"
          - wheel:
              radius: 0.5
              spokes: null
        offsets:
          a: []
          b: [1, 2]

        """.replacing("- \"none\"", with: "- none"))
  }

  /// What a file leaves out has the default of the struct around it, not of its own type.
  @Test func sectionsKeepTheirDefaults() throws {
    let vehicle = try read("name: x\nstrong: {torque: 2}\nsupports: [wheel, none]")
    #expect(vehicle.strong.power == 9 && vehicle.strong.torque == 2)
    #expect(Engine().power == 3)
    #expect(vehicle.supports == [Support(base: Wheel()), Support(base: Nothing())])
    let line = try #require(
      Vehicle.codec.entries.lines().first { $0.contains("power") })
    #expect(line == "  power  (a number; default 9)")
  }

  @Test(arguments: [
    ("color: red", "v:1:1: the key \"name\" is missing"),
    ("nane: x", "v:1:1: unknown key \"nane\" (did you mean \"name\"? allowed: name, "),
    ("name: x\ncolor: blue", "v:2:8: color: blue is not allowed (must be one of red, green)"),
    ("name: x\nstrong: {power: 0}", "v:2:17: strong.power: 0 is not allowed (must be positive)"),
    (
      "name: x\nstrong: {torque: 10}",
      "v:2:18: strong.torque: 10 is not allowed (must be below power)"
    ),
    (
      "name: x\nsupports: []",
      "v:2:11: supports: an empty list is not allowed (must be at least one support)"
    ),
    (
      "name: x\nsupports: [{wheel: {spokes: 2}}]",
      "v:2:29: supports.0.wheel.spokes: 2 is not allowed (must be between 3 and 40, or null)"
    ),
    (
      "name: x\nsupports: [sledge]",
      "v:2:12: supports.0.sledge: the key \"lengths\" is missing"
    ),
    (
      "name: x\nsupports: [{sledge: {lengths: [1, -2]}}]",
      "v:2:31: supports.0.sledge.lengths: -2 is not allowed (must be at least 0)"
    ),
    (
      "name: x\nsupports: [ski]",
      "v:2:12: supports.0: ski is not allowed (must be a support: one of wheel, sledge, none)"
    ),
    (
      "name: x\nsupports: [{wheal: {}}]",
      "v:2:13: supports.0: unknown key \"wheal\" (did you mean \"wheel\"? allowed: wheel, sledge, none)"
    ),
    (
      "name: x\nsupports: [{none: {}}]",
      "v:2:19: supports.0.none: a mapping is not allowed (must be left out: \"none\" stands alone)"
    ),
    (
      "name: x\noffsets: [1]",
      "v:2:10: offsets: a list of 1 is not allowed (must be a mapping from parts to numbers)"
    ),
  ])
  func mistakesNamePlaceValueAndWhatIsAllowed(_ text: String, _ message: String) {
    let found = problem(text)
    #expect(found.hasPrefix(message), "\(found)")
  }

  /// One range serves values made in code too.
  @Test func codeIsHeldToTheSameRanges() throws {
    #expect(try Vehicle.schema.standard.strong.checked() == Vehicle.strong)
    var vehicle = Vehicle()
    vehicle.supports = [Support(base: Wheel())]
    for (key, change) in [
      ("strong.power", { $0.strong.power = -.infinity }),
      ("strong.power", { $0.strong.power = .nan }),
      ("strong.torque", { $0.strong.torque = 9 }), ("supports", { $0.supports = [] }),
    ] as [(String, (inout Vehicle) -> Void)] {
      var wrong = vehicle
      change(&wrong)
      let error = #expect(throws: InvalidOption.self) { try wrong.checked() }
      #expect(error?.key == key)
    }
    #expect(throws: InvalidOption(key: "spokes", value: "41", allowed: "between 3 and 40, or null"))
    {
      try Wheel(spokes: 41).checked()
    }
  }

  @Test func partsStandBesideTheWhole() throws {
    struct Whole: Configurable, Equatable {
      var engine = Engine()
      var doors = 4

      static let schema = Schema<Whole>(Whole()) {
        Engine.schema.fields(in: \.engine)
        Field("doors", \.doors, .atLeast(1), "Doors.")
      }
    }
    let whole = try Whole.codec.read(SettingsTree(yaml: "{power: 5, doors: 2}", name: "w"), "")
    #expect(whole.engine.power == 5 && whole.doors == 2)
    let error = #expect(throws: SettingsError.self) {
      try Whole.codec.read(SettingsTree(yaml: "{power: -5}", name: "w"), "")
    }
    #expect(error?.path == "power")
  }
}
