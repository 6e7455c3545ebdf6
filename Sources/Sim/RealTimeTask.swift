import Foundation
public import GPSCore

/// A simulated task that takes as long as a robot would: each step lasts a control period, or a fixed share of one.
///
/// All else is that of the task within, number for number. Plants wait on threads of their own
/// (`Plant.waitsForRealTime`).
public struct RealTimeTask<Base: ControlTask>: TaskWrapper {
  /// The task within.
  public let base: Base
  /// How many times faster than a robot: a rollout takes T · Δt / factor seconds.
  public let factor: Double

  private static var factors: ClosedRange<Double> { 1e-3...1e6 }

  /// A task in real time.
  ///
  /// - Throws: `InvalidOption` when the factor is not between 0.001 and 1000000.
  public init(_ base: Base, factor: Double) throws(InvalidOption) {
    if !Self.factors.contains(factor) {
      throw InvalidOption(
        key: "realTime", value: "\(factor)", allowed: "between 0.001 and 1000000")
    }
    (self.base, self.factor) = (base, factor)
  }

  /// A plant that takes its time.
  public func makePlant() throws -> RealTimePlant<Base.System> {
    RealTimePlant(try base.makePlant(), period: base.controlPeriod / factor)
  }
}

extension ControlTask {
  /// This task, in real time.
  ///
  /// - Parameter factor: how many times faster than a robot, from 0.001 to 1000000.
  /// - Returns: the same task, whose rollouts take T · Δt / factor seconds.
  /// - Throws: `InvalidOption` when the factor is out of range.
  public func inRealTime(factor: Double) throws(InvalidOption) -> any ControlTask {
    try RealTimeTask(self, factor: factor)
  }
}

/// A plant each step of which lasts a fixed time; one that computes for longer than that falls behind, and catches up
/// as soon as it can, as a robot's clock would not wait either.
public struct RealTimePlant<Base: Plant>: Plant {
  private var base: Base
  private let period: Double
  private let clock = ContinuousClock()
  private var start: ContinuousClock.Instant
  private var steps = 0

  /// A plant around another.
  ///
  /// - Parameters:
  ///   - base: the plant within.
  ///   - period: of a step [s].
  public init(_ base: consuming Base, period: Double) {
    (self.base, self.period) = (base, period)
    start = clock.now
  }

  /// It does.
  public static var waitsForRealTime: Bool { true }

  /// Starts the plant within, and the clock.
  public mutating func reset(to condition: Condition, plantState: Span<Double>) throws {
    try base.reset(to: condition, plantState: plantState)
    (start, steps) = (clock.now, 0)
  }

  /// Advances the plant within, and waits for the end of the step.
  public mutating func step(control: Span<Double>) throws {
    try base.step(control: control)
    steps += 1
    // From the start on, so that no step's lateness adds to the next one's.
    let end = start + .seconds(period * Double(steps))
    let rest = (end - clock.now).inSeconds
    if rest > 0 { Thread.sleep(forTimeInterval: rest) }
  }

  /// What the plant within says.
  public var record: RolloutRecord { base.record }

  /// Writes the present state of the plant within.
  public func readState(into state: inout MutableSpan<Double>) { base.readState(into: &state) }

  /// Writes the present observation of the plant within.
  public func readObservation(into observation: inout MutableSpan<Double>) {
    base.readObservation(into: &observation)
  }

  /// Writes the points of the plant within.
  public func readPoints(
    positions: inout MutableSpan<Double>, jacobians: inout MutableSpan<Double>
  ) {
    base.readPoints(positions: &positions, jacobians: &jacobians)
  }
}
