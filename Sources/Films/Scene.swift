import GPSCore
import Pictures

/// What draws rollouts of one task.
protocol Scene {
  /// A rollout on its way to be drawn.
  associatedtype Reel

  /// Begins with a rollout.
  ///
  /// - Parameters:
  ///   - trajectory: a rollout of the task without noise in its start.
  ///   - condition: the one it started from.
  /// - Returns: the rollout at its first step.
  /// - Throws: what the simulator says that cannot be made ready.
  func begin(_ trajectory: Trajectory, in condition: Condition) throws -> Reel

  /// The picture of a step; steps are asked for in their order.
  ///
  /// - Parameters:
  ///   - reel: the rollout, which is brought to that step.
  ///   - step: from 0 to T, not before the last one.
  /// - Returns: the picture.
  /// - Throws: `FilmError`, or what the simulator says.
  func picture(of reel: inout Reel, at step: Int) throws -> Raster
}
