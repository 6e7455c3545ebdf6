package import Configuration

extension OrientationForm: Setting {}

/// The registry of components.
extension MuJoCoComponent: OneOfKinds {
  package static let noun = "a component"
  package static let plural = "components"
  package static let kinds: [Kind<MuJoCoComponent>] =
    [
      joints("jointPositions", "Joint positions [rad, m]; orientations as rotation vectors [rad].")
      {
        .jointPositions(joints: $0)
      } names: {
        if case .jointPositions(let joints) = $0 { .some(joints) } else { nil }
      },
      joints("jointVelocities", "Joint velocities [rad/s, m/s].") {
        .jointVelocities(joints: $0)
      } names: {
        if case .jointVelocities(let joints) = $0 { .some(joints) } else { nil }
      },
      joints("sinCos", "Sine and cosine of hinges' angles.") {
        .sinCos(joints: $0)
      } names: {
        if case .sinCos(let joints) = $0 { .some(joints) } else { nil }
      },
    ]
    + MuJoCoFrame.allCases.flatMap { frame in
      let (one, many) = (frame.rawValue, frame.plural)
      return [
        of("\(one)Positions", "Positions of \(many) [m].", frame) {
          .positions(frame, $0, relativeTo: $1)
        } payload: {
          if case .positions(frame, let names, let other) = $0 { (names, other) } else { nil }
        },
        orientations(frame),
        of("\(one)Velocities", "Linear velocities of \(many) [m/s].", frame) {
          .velocities(frame, $0, relativeTo: $1)
        } payload: {
          if case .velocities(frame, let names, let other) = $0 { (names, other) } else { nil }
        },
        of("\(one)AngularVelocities", "Angular velocities of \(many) [rad/s].", frame) {
          .angularVelocities(frame, $0, relativeTo: $1)
        } payload: {
          if case .angularVelocities(frame, let names, let other) = $0 {
            (names, other)
          } else {
            nil
          }
        },
      ]
    } + [
      bodies("centersOfMass", "Centres of mass of bodies and all that hangs on them [m].") {
        .centersOfMass(bodies: $0)
      } names: {
        if case .centersOfMass(let names) = $0 { names } else { nil }
      },
      bodies("linearMomenta", "Linear momenta of bodies and all that hangs on them [kg m/s].") {
        .linearMomenta(bodies: $0)
      } names: {
        if case .linearMomenta(let names) = $0 { names } else { nil }
      },
      bodies(
        "angularMomenta",
        "Angular momenta of bodies and all that hangs on them, about its centre of mass [kg m2/s]."
      ) {
        .angularMomenta(bodies: $0)
      } names: {
        if case .angularMomenta(let names) = $0 { names } else { nil }
      },
      bodies("contactForces", "Sums of the contact forces on bodies [N].") {
        .contactForces(bodies: $0)
      } names: {
        if case .contactForces(let names) = $0 { names } else { nil }
      },
      Kind("sensors", "Readings of the model's sensors.", [String].codec) {
        .sensors($0)
      } payload: {
        if case .sensors(let names) = $0 { names } else { nil }
      },
      Kind(
        word: "actuatorActivations",
        "Activations of actuators that have them; always in the state.",
        .actuatorActivations),
      Kind(word: "goal", "The condition's goal.", .goal),
    ]

  private static func joints(
    _ name: String, _ text: String, make: @escaping @Sendable ([String]?) -> Self,
    names: @escaping @Sendable (Self) -> [String]??
  ) -> Kind<Self> {
    Kind(name, text, Joints.codec) {
      make($0.joints)
    } payload: {
      names($0).map { Joints(joints: $0) }
    }
  }

  private static func of(
    _ name: String, _ text: String, _ frame: MuJoCoFrame,
    make: @escaping @Sendable ([String], String?) -> Self,
    payload: @escaping @Sendable (Self) -> ([String], String?)?
  ) -> Kind<Self> {
    Kind(name, text, Elements.schema(frame).codec) {
      make($0.names, $0.relativeTo)
    } payload: {
      payload($0).map { Elements(names: $0, relativeTo: $1) }
    }
  }

  private static func orientations(_ frame: MuJoCoFrame) -> Kind<Self> {
    let name = "\(frame.rawValue)Orientations"
    return Kind(name, "Orientations of \(frame.plural).", Orientations.schema(frame).codec) {
      .orientations(frame, $0.of.names, relativeTo: $0.of.relativeTo, as: $0.form)
    } payload: {
      if case .orientations(frame, let names, let other, let form) = $0 {
        Orientations(of: Elements(names: names, relativeTo: other), form: form)
      } else {
        nil
      }
    }
  }

  private static func bodies(
    _ name: String, _ text: String, make: @escaping @Sendable ([String]) -> Self,
    names: @escaping @Sendable (Self) -> [String]?
  ) -> Kind<Self> {
    Kind(name, text, Bodies.codec) {
      make($0.bodies)
    } payload: {
      names($0).map { Bodies(bodies: $0) }
    }
  }

  private struct Joints: Configurable {
    var joints: [String]?

    static let schema = Schema<Joints>(Joints()) {
      Field("joints", \.joints, "Names of joints; null for all, in the model's order.")
    }
  }

  private struct Bodies: Configurable {
    var bodies: [String] = []

    static let schema = Schema<Bodies>(Bodies()) {
      Field("bodies", \.bodies, .some("body"), "Names of bodies.").required
    }
  }

  /// Sites, bodies or geoms of a component and what their values are taken relative to.
  private struct Elements {
    var names: [String] = []
    var relativeTo: String?

    static func schema(_ frame: MuJoCoFrame) -> Schema<Elements> {
      Schema(Elements()) {
        Field(frame.plural, \.names, .some(frame.rawValue), "Names of \(frame.plural).").required
        Field(
          "relativeTo", \.relativeTo,
          "A \(frame.rawValue) whose values are subtracted (or a site, body or geom, if no "
            + "\(frame.rawValue) is called so); null for world coordinates.")
      }
    }
  }

  private struct Orientations {
    var of = Elements()
    var form = OrientationForm.rotationVector

    static func schema(_ frame: MuJoCoFrame) -> Schema<Orientations> {
      Schema(Orientations()) {
        Elements.schema(frame).fields(in: \.of)
        Field(
          "as", \.form,
          "By which numbers: a rotation vector (3, rad), directions of all axes (9), of the first two "
            + "(6), or of one (3).")
      }
    }
  }
}
