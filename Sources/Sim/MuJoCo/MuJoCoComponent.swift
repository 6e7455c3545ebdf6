/// One part of a state or of an observation of a MuJoCo plant.
///
/// In files its name where it needs nothing else (`jointPositions`), otherwise a mapping with that one
/// key: `sitePositions: {sites: [tip], relativeTo: hole}`.
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
  /// Positions of sites [m] in world axes; less that of another site if one is named.
  case sitePositions(sites: [String], relativeTo: String? = nil)
  /// Linear velocities of sites [m/s] in world axes; less that of another site if one is named.
  case siteVelocities(sites: [String], relativeTo: String? = nil)
  /// Readings of sensors. Those that need forces or accelerations are read under the control that led
  /// to the state (at the start of a rollout the keyframe's, or zero).
  case sensors([String])
  /// Activations of the actuators that have them; always part of the state.
  case actuatorActivations
  /// The condition's goal.
  case goal
}
