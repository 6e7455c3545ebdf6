public import GPSCore

/// A system of ordinary differential equations with controls held over each period: ẋ = f(x, u).
///
/// The value itself holds the system's parameters, and `derivative` is a static function of state,
/// control and parameters alone.
public protocol NativeSystem: Codable, Sendable, Equatable {
  /// n names with units.
  static var stateNames: [String] { get }
  /// m names with units.
  static var controlNames: [String] { get }
  /// P names.
  static var pointNames: [String] { get }
  /// Which entries of the state each control accelerates.
  static var actuatedCoordinates: [ActuatedCoordinate] { get }

  /// Writes f(x, u).
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - u: m numbers.
  ///   - parameters: masses, lengths and the like.
  ///   - derivative: the first n numbers are written.
  static func derivative(
    _ x: Span<Double>, _ u: Span<Double>, _ parameters: Self,
    into derivative: inout MutableSpan<Double>)

  /// Writes the positions of the points and their derivatives by the state.
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - parameters: lengths and the like.
  ///   - positions: 3 P numbers [m], all written.
  ///   - jacobians: 3 P × n numbers, column-major; zero on entry, only what is not zero is written.
  static func points(
    _ x: Span<Double>, _ parameters: Self, positions: inout MutableSpan<Double>,
    jacobians: inout MutableSpan<Double>)

  /// Mends a state that the system's walls do not allow; called after every integration step.
  static func constrain(_ x: inout MutableSpan<Double>, _ parameters: Self)

  /// Advances x by `substeps` steps of `substep` seconds each, with u held.
  ///
  /// The default is the classical Runge-Kutta method of fourth order. It is a requirement, so that
  /// every conforming type gets a copy of the loop made for its own `derivative`.
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - u: m numbers.
  ///   - parameters: masses, lengths and the like.
  ///   - substep: h [s].
  ///   - substeps: how many.
  ///   - trial: n numbers of scratch.
  ///   - slopes: 2 n numbers of scratch.
  static func integrate(
    _ x: inout MutableSpan<Double>, _ u: Span<Double>, _ parameters: Self, substep: Double,
    substeps: Int, trial: inout MutableSpan<Double>, slopes: inout MutableSpan<Double>)

  /// Refuses parameters out of range.
  ///
  /// - Throws: `SimError.option`.
  func validate() throws(SimError)
}

extension NativeSystem {
  /// Most systems have no walls.
  public static func constrain(_ x: inout MutableSpan<Double>, _ parameters: Self) {}

  /// x ← x + h/6 (k₁ + 2 k₂ + 2 k₃ + k₄), with k₁ = f(x), k₂ = f(x + h/2 k₁), k₃ = f(x + h/2 k₂),
  /// k₄ = f(x + h k₃).
  @inlinable
  public static func integrate(
    _ x: inout MutableSpan<Double>, _ u: Span<Double>, _ parameters: Self, substep: Double,
    substeps: Int, trial: inout MutableSpan<Double>, slopes: inout MutableSpan<Double>
  ) {
    let n = x.count
    for _ in 0..<substeps {
      for stage in 0..<4 {
        // Slopes: [0, n) holds k_i, [n, 2n) the weighted sum so far.
        let reach = stage == 0 ? 0 : stage == 3 ? substep : 0.5 * substep
        for i in 0..<n { trial[i] = stage == 0 ? x[i] : x[i] + reach * slopes[i] }
        derivative(trial.span, u, parameters, into: &slopes)
        let weight = stage == 0 || stage == 3 ? 1.0 : 2.0
        for i in 0..<n {
          slopes[n + i] = (stage == 0 ? 0 : slopes[n + i]) + weight * slopes[i]
        }
      }
      for i in 0..<n { x[i] += substep / 6 * slopes[n + i] }
      constrain(&x, parameters)
    }
  }
}

/// A native system stepped by the classical Runge-Kutta method of fourth order.
public struct NativePlant<System: NativeSystem>: Plant {
  private let system: System
  private let observation: NativeObservation
  private let substep: Double
  private let substeps: Int
  private var goal: [Double] = []
  private var state: [Double]
  private var slopes: [Double]
  private var trial: [Double]
  private var positions: [Double]
  private var jacobians: [Double]

  /// A plant at the state zero.
  public init(
    _ system: System, controlPeriod: Double, substeps: Int, observation: NativeObservation
  ) {
    let n = System.stateNames.count
    self.system = system
    self.observation = observation
    self.substeps = substeps
    substep = controlPeriod / Double(substeps)
    state = [Double](repeating: 0, count: n)
    slopes = [Double](repeating: 0, count: 2 * n)
    trial = state
    positions = [Double](repeating: 0, count: 3 * System.pointNames.count)
    jacobians = [Double](repeating: 0, count: 3 * System.pointNames.count * n)
  }

  /// Puts the system at `plantState` (n numbers).
  public mutating func reset(to condition: Condition, plantState: Span<Double>) throws {
    precondition(
      plantState.count == state.count, "\(plantState.count) numbers for a state of \(state.count)")
    for i in state.indices { state[i] = plantState[i] }
    goal = condition.goal
    let system = system
    var x = state.mutableSpan
    System.constrain(&x, system)
    locatePoints()
  }

  /// Advances by one control period.
  public mutating func step(control: Span<Double>) throws {
    Self.integrate(
      &state, control, system, substep: substep, substeps: substeps, trial: &trial,
      slopes: &slopes)
    locatePoints()
  }

  /// The points at the present state.
  private mutating func locatePoints() {
    if !positions.isEmpty { Self.locatePoints(state, system, &positions, &jacobians) }
  }

  private static func locatePoints(
    _ state: [Double], _ system: System, _ positions: inout [Double], _ jacobians: inout [Double]
  ) {
    for i in jacobians.indices { jacobians[i] = 0 }
    var p = positions.mutableSpan
    var J = jacobians.mutableSpan
    System.points(state.span, system, positions: &p, jacobians: &J)
  }

  private static func integrate(
    _ state: inout [Double], _ u: Span<Double>, _ system: System, substep: Double, substeps: Int,
    trial: inout [Double], slopes: inout [Double]
  ) {
    var x = state.mutableSpan
    var y = trial.mutableSpan
    var k = slopes.mutableSpan
    System.integrate(
      &x, u, system, substep: substep, substeps: substeps, trial: &y, slopes: &k)
  }

  /// Writes x.
  public func readState(into target: inout MutableSpan<Double>) {
    for i in state.indices { target[i] = state[i] }
  }

  /// Writes the chosen entries of the state, then the chosen points, then the goal.
  public func readObservation(into target: inout MutableSpan<Double>) {
    var next = 0
    if let entries = observation.stateEntries {
      for entry in entries {
        target[next] = state[entry]
        next += 1
      }
    } else {
      for value in state {
        target[next] = value
        next += 1
      }
    }
    for point in observation.points {
      for axis in 0..<3 {
        target[next] = positions[3 * point + axis]
        next += 1
      }
    }
    if observation.goal {
      for value in goal {
        target[next] = value
        next += 1
      }
    }
  }

  /// Writes the points and their Jacobians.
  public func readPoints(
    positions target: inout MutableSpan<Double>, jacobians derivatives: inout MutableSpan<Double>
  ) {
    for i in positions.indices { target[i] = positions[i] }
    for i in jacobians.indices { derivatives[i] = jacobians[i] }
  }
}
