/// One part of a state or of an observation of a MuJoCo plant.
///
/// Encoded as its name where it needs nothing else ("jointPositions"), otherwise as an object with
/// that one key: `{"sitePositions": {"sites": ["tip"], "relativeTo": "hole"}}`.
public enum MuJoCoComponent: Sendable, Equatable, Codable {
  /// Positions of the named joints, or of all: hinge [rad], slide [m], ball and free joints with their
  /// quaternions (w, x, y, z).
  case jointPositions(joints: [String]? = nil)
  /// Velocities of the named joints, or of all: hinge [rad/s], slide [m/s].
  case jointVelocities(joints: [String]? = nil)
  /// Positions of sites [m] in world axes; less that of another site if one is named.
  case sitePositions(sites: [String], relativeTo: String? = nil)
  /// Linear velocities of sites [m/s] in world axes; less that of another site if one is named.
  case siteVelocities(sites: [String], relativeTo: String? = nil)
  /// Readings of sensors. Those that need forces or accelerations are read under the control that led
  /// to the state (at the start of a rollout the keyframe's, or zero).
  case sensors([String])
  /// Activations of the actuators that have them.
  case actuatorActivations
  /// The condition's goal.
  case goal

  private enum Key: String, CodingKey {
    case jointPositions, jointVelocities, sitePositions, siteVelocities, sensors
    case actuatorActivations, goal
  }

  private struct Joints: Codable { var joints: [String]? }

  private struct Sites: Codable {
    var sites: [String]
    var relativeTo: String?
  }

  /// Reads a component.
  public init(from decoder: any Decoder) throws {
    if let name = try? decoder.singleValueContainer().decode(String.self) {
      switch Key(rawValue: name) {
      case .jointPositions: self = .jointPositions()
      case .jointVelocities: self = .jointVelocities()
      case .actuatorActivations: self = .actuatorActivations
      case .goal: self = .goal
      case .sitePositions, .siteVelocities, .sensors, nil:
        throw DecodingError.dataCorrupted(
          .init(
            codingPath: decoder.codingPath,
            debugDescription: "'\(name)' alone is no component; allowed are jointPositions, "
              + "jointVelocities, actuatorActivations, goal, and sitePositions, siteVelocities and "
              + "sensors with their names"))
      }
      return
    }
    let container = try decoder.container(keyedBy: Key.self)
    guard container.allKeys.count == 1, let key = container.allKeys.first else {
      throw DecodingError.dataCorrupted(
        .init(
          codingPath: decoder.codingPath,
          debugDescription: "a component has one key of jointPositions, jointVelocities, "
            + "sitePositions, siteVelocities, sensors, actuatorActivations, goal"))
    }
    switch key {
    case .jointPositions:
      self = .jointPositions(joints: try container.decode(Joints.self, forKey: key).joints)
    case .jointVelocities:
      self = .jointVelocities(joints: try container.decode(Joints.self, forKey: key).joints)
    case .sitePositions:
      let value = try container.decode(Sites.self, forKey: key)
      self = .sitePositions(sites: value.sites, relativeTo: value.relativeTo)
    case .siteVelocities:
      let value = try container.decode(Sites.self, forKey: key)
      self = .siteVelocities(sites: value.sites, relativeTo: value.relativeTo)
    case .sensors: self = .sensors(try container.decode([String].self, forKey: key))
    case .actuatorActivations: self = .actuatorActivations
    case .goal: self = .goal
    }
  }

  /// Writes the component as `init(from:)` reads it.
  public func encode(to encoder: any Encoder) throws {
    func encodeName(_ key: Key) throws {
      var container = encoder.singleValueContainer()
      try container.encode(key.rawValue)
    }
    func encode(_ value: some Encodable, as key: Key) throws {
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(value, forKey: key)
    }
    switch self {
    case .jointPositions(nil): try encodeName(.jointPositions)
    case .jointVelocities(nil): try encodeName(.jointVelocities)
    case .jointPositions(let joints): try encode(Joints(joints: joints), as: .jointPositions)
    case .jointVelocities(let joints): try encode(Joints(joints: joints), as: .jointVelocities)
    case .sitePositions(let sites, let other):
      try encode(Sites(sites: sites, relativeTo: other), as: .sitePositions)
    case .siteVelocities(let sites, let other):
      try encode(Sites(sites: sites, relativeTo: other), as: .siteVelocities)
    case .sensors(let names): try encode(names, as: .sensors)
    case .actuatorActivations: try encodeName(.actuatorActivations)
    case .goal: try encodeName(.goal)
    }
  }
}
