package import Configuration
import GPSCore

/// Controls that place a mocap body, beside those of the actuators: a hand, say, to which a gripper is
/// welded.
///
/// Three controls are its position in world axes [m]. With a `rotationLimit`, three more are the rotation vector
/// [rad], in world axes, that turns it from the orientation which the start has it in. It is there for the
/// whole control period. What a start says of the body is where its controls hold it.
public struct MocapControl: Sendable, Equatable {
  /// The body.
  public var body: String
  /// Least x, y and z [m]; nil for no bounds.
  public var lower: [Double]?
  /// Largest x, y and z [m]; nil for no bounds.
  public var upper: [Double]?
  /// The largest component of the rotation vector [rad]; nil for a body that keeps its orientation.
  public var rotationLimit: Double?

  /// Controls of a body.
  public init(
    body: String, lower: [Double]? = nil, upper: [Double]? = nil, rotationLimit: Double? = nil
  ) {
    self.body = body
    self.lower = lower
    self.upper = upper
    self.rotationLimit = rotationLimit
  }

  /// How many controls it has.
  var count: Int { rotationLimit == nil ? 3 : 6 }

  /// Names of its controls, with units.
  var names: [String] {
    MuJoCoLayout.axes.map { "\(body).\($0)_m" }
      + (rotationLimit == nil ? [] : MuJoCoLayout.axes.map { "\(body).r\($0)_rad" })
  }

  /// Bounds of its controls.
  var limits: ControlLimits {
    var limits = ControlLimits.none(3)
    if let lower { limits.lower = lower }
    if let upper { limits.upper = upper }
    if let rotationLimit {
      limits.lower += [Double](repeating: -rotationLimit, count: 3)
      limits.upper += [Double](repeating: rotationLimit, count: 3)
    }
    return limits
  }
}

extension MocapControl: Configurable {
  package static let schema = Schema<Self>(Self(body: "")) {
    Field("body", \.body, "Name of a mocap body.").required
    Field(
      "lower", \.lower, .count(3, "numbers: x, y, z"), "Least position [m]; null for no bounds.")
    Field(
      "upper", \.upper, .count(3, "numbers: x, y, z"), "Largest position [m]; null for no bounds.")
    Field(
      "rotationLimit", \.rotationLimit,
      Check("more than 0 and at most 3.14") { 0 < $0 && $0 <= 3.14 },
      "Largest component of the rotation vector that turns the body from its orientation at the start "
        + "[rad]; null to leave the orientation as it is.")
  } rule: { control throws(InvalidOption) in
    guard let lower = control.lower, let upper = control.upper else { return }
    for (axis, bounds) in zip(lower, upper).enumerated() {
      try InvalidOption.require(
        bounds.0 < bounds.1, "lower", lower, "below upper in \(MuJoCoLayout.axes[axis])")
    }
  }
}

extension MuJoCoLayout {
  /// Adds a controlled mocap body, its controls beginning with that number.
  mutating func add(
    _ control: MocapControl, from first: Int, model: MuJoCoModel
  ) throws(MuJoCoError) {
    let what = "mocapControls of body '\(control.body)'"
    do throws(InvalidOption) {
      try MocapControl.schema.check(control)
    } catch {
      throw .invalidValue(of: "\(what), \(error.key)", value: error.value, allowed: error.allowed)
    }
    let mocap = try model.mocap(control.body)
    if mocaps.contains(where: { $0.mocap == mocap }) {
      throw .repeatedComponent(list: "list mocapControls", name: control.body)
    }
    mocaps.append(Mocap(mocap: mocap, control: first, rotates: control.rotationLimit != nil))
  }
}
