/// One part of a state or of an observation of a MuJoCo plant.
///
/// In files its name where it needs nothing else (`jointPositions`), otherwise a mapping with that one
/// key: `sitePositions: {sites: [tip], relativeTo: hole}`.
public enum MuJoCoComponent: Sendable, Equatable {
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
}
