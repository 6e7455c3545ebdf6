package import Configuration

/// The registry of components.
extension MuJoCoComponent: OneOfKinds {
  package static let noun = "a component"
  package static let plural = "components"
  package static let kinds = [
    Kind<Self>(
      "jointPositions", "Joint positions [rad, m]; orientations as rotation vectors [rad].",
      Joints.codec
    ) {
      .jointPositions(joints: $0.joints)
    } payload: {
      if case .jointPositions(let joints) = $0 { Joints(joints: joints) } else { nil }
    },
    Kind("jointVelocities", "Joint velocities [rad/s, m/s].", Joints.codec) {
      .jointVelocities(joints: $0.joints)
    } payload: {
      if case .jointVelocities(let joints) = $0 { Joints(joints: joints) } else { nil }
    },
    Kind("sitePositions", "Positions of sites [m].", Sites.codec) {
      .sitePositions(sites: $0.sites, relativeTo: $0.relativeTo)
    } payload: {
      if case .sitePositions(let s, let other) = $0 {
        Sites(sites: s, relativeTo: other)
      } else {
        nil
      }
    },
    Kind("siteVelocities", "Linear velocities of sites [m/s].", Sites.codec) {
      .siteVelocities(sites: $0.sites, relativeTo: $0.relativeTo)
    } payload: {
      if case .siteVelocities(let s, let other) = $0 {
        Sites(sites: s, relativeTo: other)
      } else {
        nil
      }
    },
    Kind("sensors", "Readings of the model's sensors.", [String].codec) {
      .sensors($0)
    } payload: {
      if case .sensors(let names) = $0 { names } else { nil }
    },
    Kind(
      word: "actuatorActivations", "Activations of actuators that have them; always in the state.",
      .actuatorActivations),
    Kind(word: "goal", "The condition's goal.", .goal),
  ]

  private struct Joints: Configurable {
    var joints: [String]?

    static let schema = Schema<Joints>(Joints()) {
      Field("joints", \.joints, "Names of joints; null for all, in the model's order.")
    }
  }

  /// Sites of a component and what their values are taken relative to.
  private struct Sites: Configurable {
    var sites: [String] = []
    var relativeTo: String?

    static let schema = Schema<Sites>(Sites()) {
      Field("sites", \.sites, .some("site"), "Names of sites.").required
      Field(
        "relativeTo", \.relativeTo,
        "A site whose values are subtracted; null for world coordinates.")
    }
  }
}
