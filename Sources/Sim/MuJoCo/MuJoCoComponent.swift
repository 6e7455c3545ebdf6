/// One part of a state or of an observation of a MuJoCo plant.
///
/// In files its name where it needs nothing else (`jointPositions`), otherwise a mapping with that one
/// key: `sitePositions: {sites: [tip], relativeTo: hole}`.
///
/// Everything is told in world axes, but for the angular velocities among `jointVelocities`. What is
/// relative to something is a difference: it stays in world axes too, apart from orientations.
public enum MuJoCoComponent: Sendable, Equatable {
  /// Positions of the named joints, or of all, one number for each degree of freedom: hinge [rad],
  /// slide [m], x, y, z of a free joint [m], and of a free or ball joint the rotation vector [rad] from
  /// the orientation in the model's reference configuration, r with q = q_ref exp(r).
  ///
  /// A rotation vector is continuous along a rollout: it may grow past half a turn, up to a whole one
  /// from the reference.
  case jointPositions(joints: [String]? = nil)
  /// Velocities of the named joints, or of all: hinge [rad/s], slide [m/s]; of a free joint x, y, z in
  /// world axes [m/s]; of a free or ball joint the angular velocity in the body's own axes [rad/s].
  case jointVelocities(joints: [String]? = nil)
  /// Sine and cosine of the named hinges' angles, or of all hinges'.
  case sinCos(joints: [String]? = nil)
  /// Positions of sites, bodies or geoms [m]; less that of another site, body or geom if one is named.
  case positions(MuJoCoFrame, [String], relativeTo: String? = nil)
  /// Orientations of sites, bodies or geoms; relative to that of another if one is named, then told in its
  /// axes.
  case orientations(
    MuJoCoFrame, [String], relativeTo: String? = nil, as: OrientationForm = .rotationVector)
  /// Linear velocities of sites, bodies or geoms [m/s]; less that of another if one is named.
  case velocities(MuJoCoFrame, [String], relativeTo: String? = nil)
  /// Angular velocities of sites, bodies or geoms [rad/s]; less that of another if one is named.
  case angularVelocities(MuJoCoFrame, [String], relativeTo: String? = nil)
  /// Centres of mass of bodies with all that hangs on them [m].
  case centersOfMass(bodies: [String])
  /// Linear momenta of bodies with all that hangs on them [kg m/s].
  case linearMomenta(bodies: [String])
  /// Angular momenta of bodies with all that hangs on them, about their common centre of mass [kg m²/s].
  case angularMomenta(bodies: [String])
  /// The sum of the forces of all contacts on the named bodies [N], each body without what hangs on it;
  /// under the control that led to the state, as with sensors.
  case contactForces(bodies: [String])
  /// Readings of sensors. Those that need forces or accelerations are read under the control that led
  /// to the state (at the start of a rollout the keyframe's, or zero).
  case sensors([String])
  /// Activations of the actuators that have them; always part of the state.
  case actuatorActivations
  /// The condition's goal.
  case goal

  /// Positions of sites [m]; less that of another site, body or geom if one is named.
  public static func sitePositions(sites: [String], relativeTo other: String? = nil) -> Self {
    .positions(.site, sites, relativeTo: other)
  }

  /// Linear velocities of sites [m/s]; less that of another site, body or geom if one is named.
  public static func siteVelocities(sites: [String], relativeTo other: String? = nil) -> Self {
    .velocities(.site, sites, relativeTo: other)
  }
}

/// By which numbers an orientation is told.
public enum OrientationForm: String, Sendable, CaseIterable {
  /// Angle times axis: 3 numbers [rad], from the world's axes, or from those that it is relative to;
  /// continuous along a rollout.
  case rotationVector
  /// The directions of all three axes, columns of the rotation matrix: 9 numbers.
  case axes
  /// The directions of the first two axes: 6 numbers that tell all and never jump.
  case twoAxes
  /// The direction of the first axis: 3 numbers.
  case xAxis
  /// The direction of the second axis: 3 numbers.
  case yAxis
  /// The direction of the third axis: 3 numbers.
  case zAxis

  /// Which axes are told, from 0; none for a rotation vector.
  var axisNumbers: [Int] {
    switch self {
    case .rotationVector: []
    case .axes: [0, 1, 2]
    case .twoAxes: [0, 1]
    case .xAxis: [0]
    case .yAxis: [1]
    case .zAxis: [2]
    }
  }
}
