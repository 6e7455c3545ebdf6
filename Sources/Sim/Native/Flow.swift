// A system's flow over one control period, and its derivatives.
//
//   x, u      state and control                       n, m numbers
//   x'        the state one control period later
//   F         [∂x'/∂x ∂x'/∂u]                         n × d, d = n + m
//   λ         a costate                               n numbers
//   H         Σ_i λ_i ∂²x'_i/∂y², y = [x; u]          d × d
//
// All of it is generic over the system and inlinable, and what takes a system's functions as closures
// is always inlined: the module in which a system is declared gets loops specialised to it, with
// direct calls of its functions.

public import Differentiation

/// State and control of a system in one type of scalar, with the integrator's scratch.
@frozen
public struct Flow<S: DifferentiableScalar> {
  /// x, n numbers; after advancing, x'.
  public var x: [S]
  /// u, m numbers.
  public var u: [S]
  /// f(x, u), n numbers.
  @usableFromInline var rate: [S]
  /// Where a stage of the integrator evaluates f, n numbers.
  @usableFromInline var trial: [S]
  /// The weighted sum of a Runge-Kutta step's slopes, n numbers.
  @usableFromInline var sum: [S]

  /// A flow at x = 0, u = 0.
  public init(state n: Int, control m: Int) {
    x = [S](repeating: S(0), count: n)
    u = [S](repeating: S(0), count: m)
    (rate, trial, sum) = (x, x, x)
  }

  /// Replaces x by x', given what writes it.
  ///
  /// - Parameters:
  ///   - constrain: mends x'.
  ///   - step: writes x'.
  @inlinable @inline(__always)
  public mutating func replace(
    constrain: (inout MutableSpan<S>) -> Void,
    _ step: (_ x: Span<S>, _ u: Span<S>, _ next: inout MutableSpan<S>) -> Void
  ) {
    Self.write(x, u, &trial) { x, u, next in
      step(x, u, &next)
      constrain(&next)
    }
    swap(&x, &trial)
  }

  @inlinable @inline(__always)
  static func write(
    _ x: [S], _ u: [S], _ next: inout [S],
    _ step: (_ x: Span<S>, _ u: Span<S>, _ next: inout MutableSpan<S>) -> Void
  ) {
    var target = next.mutableSpan
    step(x.span, u.span, &target)
  }

  /// Integrates ẋ = f(x, u) over a control period.
  ///
  /// - Parameters:
  ///   - step: method, length and number of the integration steps.
  ///   - derivative: writes f.
  ///   - constrain: mends x after each integration step.
  @inlinable @inline(__always)
  public mutating func integrate(
    by step: TimeStep,
    _ derivative: (_ x: Span<S>, _ u: Span<S>, _ rate: inout MutableSpan<S>) -> Void,
    constrain: (inout MutableSpan<S>) -> Void
  ) {
    Self.integrate(&x, u, &trial, &rate, &sum, by: step, derivative, constrain)
  }

  @inlinable @inline(__always)
  static func integrate(
    _ x: inout [S], _ u: [S], _ trial: inout [S], _ rate: inout [S], _ sum: inout [S],
    by step: TimeStep,
    _ derivative: (_ x: Span<S>, _ u: Span<S>, _ rate: inout MutableSpan<S>) -> Void,
    _ constrain: (inout MutableSpan<S>) -> Void
  ) {
    let (n, h) = (x.count, step.substep)
    var x = x.mutableSpan
    let u = u.span
    var trial = trial.mutableSpan
    var rate = rate.mutableSpan
    var sum = sum.mutableSpan
    let isSemiImplicit = step.integrator == .semiImplicitEuler
    let stages =
      switch step.integrator {
      case .euler: 1
      case .midpoint, .semiImplicitEuler: 2
      case .rungeKutta4: 4
      }
    for _ in 0..<step.substeps {
      for i in 0..<n { trial[i] = x[i] }
      // One place where f is called, so that it can be inlined there. Runge-Kutta:
      // h/6 (k₁ + 2 k₂ + 2 k₃ + k₄), with k₂ and k₃ half a step ahead and k₄ a whole one. Checked
      // subscripts keep these loops scalar: vectors would wait for the single numbers that f wrote.
      for stage in 1...stages {
        derivative(trial.span, u, &rate)
        if isSemiImplicit {
          // The velocities first, then the positions with them.
          if stage == 1 {
            for i in n / 2..<n { trial[i] = x[i] + h * rate[i] }
          } else {
            for i in 0..<n { x[i] = i < n / 2 ? x[i] + h * rate[i] : trial[i] }
          }
        } else if stage == stages {
          let share = stages == 4 ? h / 6 : h
          for i in 0..<n {
            x[i] = x[i] + share * (stages == 4 ? sum[i] + rate[i] : rate[i])
          }
        } else {
          let reach = stage == 3 ? h : 0.5 * h
          let weight = stage == 1 ? 1.0 : 2.0
          for i in 0..<n {
            trial[i] = x[i] + reach * rate[i]
            sum[i] = stage == 1 ? rate[i] : sum[i] + weight * rate[i]
          }
        }
      }
      constrain(&x)
    }
  }
}

/// Scratch for a system's flow and its derivatives, reused from step to step.
@frozen
public struct FlowScratch {
  /// Where x and u are set.
  public var doubles: Flow<Double>
  /// Derivatives in up to 4 directions at once.
  @usableFromInline var four: Flow<Dual<SIMD4<Double>>>
  /// Derivatives in up to 8 directions at once.
  @usableFromInline var eight: Flow<Dual<SIMD8<Double>>>
  /// Second derivatives: the flow as it is recorded, and where.
  @usableFromInline var recorded: Flow<TapeScalar>
  @usableFromInline let tape = Tape()
  /// x, u and a system's own Jacobian about a stage of the integrator.
  @usableFromInline var values: Flow<Double>
  @usableFromInline var jacobian: [Double]
  /// The points and their derivatives.
  public var points: PointScratch

  /// Scratch for n states, m controls and P points.
  public init(state n: Int, control m: Int, points P: Int = 0) {
    points = PointScratch(state: n, points: P)
    doubles = Flow(state: n, control: m)
    four = Flow(state: n, control: m)
    eight = Flow(state: n, control: m)
    recorded = Flow(state: n, control: m)
    values = Flow(state: n, control: m)
    jacobian = [Double](repeating: 0, count: n * (n + m))
  }
}

/// Scratch for the positions of a system's points and their derivatives.
@frozen
public struct PointScratch {
  /// x once for each four directions, with unit tangents in them: ⌈n / 4⌉ times n numbers.
  @usableFromInline var x: [Dual<SIMD4<Double>>] = []
  @usableFromInline var positions: [Dual<SIMD4<Double>>]

  /// Scratch for P points of a system of n states.
  public init(state n: Int, points P: Int) {
    positions = [Dual<SIMD4<Double>>](repeating: Dual(0), count: 3 * P)
    for first in stride(from: 0, to: n, by: 4) {
      for i in 0..<n { x.append(Dual(0, tangent: Flow<Dual<SIMD4<Double>>>.unit(i - first))) }
    }
  }
}

/// The state of a plant: that of its system, and its points there.
@frozen
public struct PlantState {
  /// State and control.
  public var flow: Flow<Double>
  /// Positions of the points [m]: 3 P numbers.
  public var positions: [Double]
  /// Their derivatives by the state: 3 P × n.
  public var jacobians: [Double]
  @usableFromInline var scratch: PointScratch

  /// The state zero of a system with n states, m controls and P points.
  public init(state n: Int, control m: Int, points P: Int) {
    flow = Flow(state: n, control: m)
    positions = [Double](repeating: 0, count: 3 * P)
    jacobians = [Double](repeating: 0, count: 3 * P * n)
    scratch = PointScratch(state: n, points: P)
  }
}

// MARK: - Linearisation

extension Flow {
  /// Sets x and u with unit tangents in the directions `first ..< first + Lanes.scalarCount` of y.
  @inlinable
  mutating func seed<Lanes>(_ values: Flow<Double>, first: Int) where S == Dual<Lanes> {
    let n = x.count
    for i in 0..<n { x[i] = Dual(values.x[i], tangent: Self.unit(i - first)) }
    for i in 0..<u.count { u[i] = Dual(values.u[i], tangent: Self.unit(n + i - first)) }
  }

  @inlinable
  static func unit<Lanes>(_ lane: Int) -> Lanes where S == Dual<Lanes> {
    var tangent = Lanes.zero
    if lane >= 0 && lane < Lanes.scalarCount { tangent[lane] = 1 }
    return tangent
  }

  /// Writes x' and the columns of F in the directions seeded.
  @inlinable
  func read<Lanes>(
    into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>, first: Int
  ) where S == Dual<Lanes> {
    let n = x.count
    for i in 0..<n { next[i] = x[i].value }
    for lane in 0..<Swift.min(Lanes.scalarCount, n + u.count - first) {
      for i in 0..<n { jacobian[i + n * (first + lane)] = x[i].tangent[lane] }
    }
  }
}

extension DynamicSystem {
  /// F by sweeps of dual numbers: 8 directions at a time while more than 4 are left; the closures are
  /// the flow in 4 and in 8 directions.
  @inlinable @inline(__always)
  func sweep(
    _ scratch: inout FlowScratch, into next: inout MutableSpan<Double>,
    jacobian: inout MutableSpan<Double>,
    _ advanceFour: (inout Flow<Dual<SIMD4<Double>>>) -> Void,
    _ advanceEight: (inout Flow<Dual<SIMD8<Double>>>) -> Void
  ) {
    let d = scratch.doubles.x.count + scratch.doubles.u.count
    var first = 0
    while first < d {
      if d - first <= 4 {
        scratch.four.seed(scratch.doubles, first: first)
        advanceFour(&scratch.four)
        scratch.four.read(into: &next, jacobian: &jacobian, first: first)
        first += 4
      } else {
        scratch.eight.seed(scratch.doubles, first: first)
        advanceEight(&scratch.eight)
        scratch.eight.read(into: &next, jacobian: &jacobian, first: first)
        first += 8
      }
    }
  }

  /// F by central differences of the whole flow, with steps that balance truncation and rounding.
  @inlinable
  func linearizeByDifferences(
    _ scratch: inout FlowScratch, by step: TimeStep, into next: inout MutableSpan<Double>,
    jacobian: inout MutableSpan<Double>
  ) {
    let (n, m) = (scratch.doubles.x.count, scratch.doubles.u.count)
    for j in 0..<n + m {
      let y = j < n ? scratch.doubles.x[j] : scratch.doubles.u[j - n]
      let h = 6e-6 * Swift.max(1, Swift.abs(y))
      for sign in [1.0, -1.0] {
        for i in 0..<n { scratch.values.x[i] = scratch.doubles.x[i] + (i == j ? sign * h : 0) }
        for i in 0..<m {
          scratch.values.u[i] = scratch.doubles.u[i] + (n + i == j ? sign * h : 0)
        }
        advance(&scratch.values, by: step)
        for i in 0..<n {
          let end = scratch.values.x[i]
          jacobian[i + n * j] = sign > 0 ? end : (jacobian[i + n * j] - end) / (2 * h)
        }
      }
    }
    advance(&scratch.doubles, by: step)
    for i in 0..<n { next[i] = scratch.doubles.x[i] }
  }

  /// F of an integrated ẋ = f(x, u) whose Jacobian J the system gives: at every stage the tangents of
  /// the rate are J times those of x and u.
  @inlinable
  func linearizeAnalytically(
    _ scratch: inout FlowScratch, by step: TimeStep, into next: inout MutableSpan<Double>,
    jacobian: inout MutableSpan<Double>,
    derivative: (Span<Double>, Span<Double>, inout MutableSpan<Double>) -> Void
  ) {
    // Taken out, so that the sweeps may have the rest of the scratch.
    var values = Flow<Double>(state: 0, control: 0)
    var own: [Double] = []
    swap(&values, &scratch.values)
    swap(&own, &scratch.jacobian)
    sweep(
      &scratch, into: &next, jacobian: &jacobian,
      {
        $0.integrate(
          by: step, { propagate($0, $1, &$2, &values, &own, derivative) },
          constrain: { constrain(&$0) })
      },
      {
        $0.integrate(
          by: step, { propagate($0, $1, &$2, &values, &own, derivative) },
          constrain: { constrain(&$0) })
      })
    swap(&values, &scratch.values)
    swap(&own, &scratch.jacobian)
  }

  /// Writes f(x, u) with tangents J times those of x and u.
  @inlinable @inline(__always)
  func propagate<Lanes>(
    _ x: Span<Dual<Lanes>>, _ u: Span<Dual<Lanes>>, _ rate: inout MutableSpan<Dual<Lanes>>,
    _ values: inout Flow<Double>, _ jacobian: inout [Double],
    _ function: (Span<Double>, Span<Double>, inout MutableSpan<Double>) -> Void
  ) {
    let (n, m) = (x.count, u.count)
    for i in 0..<n { values.x[i] = x[i].value }
    for i in 0..<m { values.u[i] = u[i].value }
    Flow<Double>.write(values.x, values.u, &values.rate, function)
    writeAnalyticJacobian(values.x, values.u, &jacobian)
    for i in 0..<n {
      var tangent = Lanes.zero
      for j in 0..<n { tangent += jacobian[i + n * j] * x[j].tangent }
      for j in 0..<m { tangent += jacobian[i + n * (n + j)] * u[j].tangent }
      rate[i] = Dual(values.rate[i], tangent: tangent)
    }
  }

  @inlinable
  func writeAnalyticJacobian(_ x: [Double], _ u: [Double], _ jacobian: inout [Double]) {
    for i in jacobian.indices { jacobian[i] = 0 }
    Flow<Double>.write(x, u, &jacobian) { analyticJacobian($0, $1, into: &$2) }
  }

  /// F of a step whose Jacobian J the system gives: the tangents of f(x, u), which `constrain` then
  /// mends with the state.
  @inlinable
  func stepAnalytically(
    _ scratch: inout FlowScratch, into next: inout MutableSpan<Double>,
    jacobian: inout MutableSpan<Double>,
    step: (Span<Double>, Span<Double>, inout MutableSpan<Double>) -> Void
  ) {
    var values = Flow<Double>(state: 0, control: 0)
    var own: [Double] = []
    swap(&values, &scratch.values)
    swap(&own, &scratch.jacobian)
    sweep(
      &scratch, into: &next, jacobian: &jacobian,
      {
        $0.replace(constrain: { constrain(&$0) }) {
          propagate($0, $1, &$2, &values, &own, step)
        }
      },
      {
        $0.replace(constrain: { constrain(&$0) }) {
          propagate($0, $1, &$2, &values, &own, step)
        }
      })
    swap(&values, &scratch.values)
    swap(&own, &scratch.jacobian)
  }
}

extension DynamicSystem {
  /// A system over doubles alone has first derivatives only.
  @inlinable public var hasSecondDerivatives: Bool { false }

  /// Never called while `hasSecondDerivatives` is false.
  public func contractSecondDerivatives(
    _ scratch: inout FlowScratch, by step: TimeStep, costate: Span<Double>,
    into hessian: inout MutableSpan<Double>
  ) { preconditionFailure("\(Self.self) has no second derivatives to give") }

  /// Writes the points' positions, and their derivatives by automatic differentiation.
  @inlinable
  public func locatePoints(
    _ x: Span<Double>, scratch: inout PointScratch, positions: inout MutableSpan<Double>,
    jacobians: inout MutableSpan<Double>
  ) {
    locatePoints(
      x, &scratch.x, &scratch.positions, positions: &positions, jacobians: &jacobians)
  }

  /// Advances by one control period and locates the points.
  @inlinable
  public func advance(_ plant: inout PlantState, under control: Span<Double>, by step: TimeStep) {
    for i in plant.flow.u.indices { plant.flow.u[i] = control[i] }
    advance(&plant.flow, by: step)
    if !plant.positions.isEmpty { locatePoints(&plant) }
  }

  @inlinable
  func locatePoints(_ plant: inout PlantState) {
    locatePoints(plant.flow.x, &plant.scratch, &plant.positions, &plant.jacobians)
  }

  @inlinable @inline(__always)
  func locatePoints(
    _ x: [Double], _ scratch: inout PointScratch, _ positions: inout [Double],
    _ jacobians: inout [Double]
  ) {
    var p = positions.mutableSpan
    var J = jacobians.mutableSpan
    locatePoints(x.span, scratch: &scratch, positions: &p, jacobians: &J)
  }

  @inlinable @inline(__always)
  func locatePoints(
    _ x: Span<Double>, _ seeded: inout [Dual<SIMD4<Double>>],
    _ points: inout [Dual<SIMD4<Double>>], positions: inout MutableSpan<Double>,
    jacobians: inout MutableSpan<Double>
  ) {
    let (n, rows) = (x.count, points.count)
    var seeded = seeded.mutableSpan
    var points = points.mutableSpan
    for first in stride(from: 0, to: n, by: 4) {
      let base = first / 4 * n
      for i in 0..<n { seeded[base + i].value = x[i] }
      self.points(seeded.span.extracting(base..<base + n), positions: &points)
      for row in 0..<rows {
        positions[row] = points[row].value
        for lane in 0..<Swift.min(4, n - first) {
          jacobians[row + rows * (first + lane)] = points[row].tangent[lane]
        }
      }
    }
  }
}

// MARK: - The four kinds of system

extension DifferentiableSystem {
  /// Advances by one control period.
  @inlinable
  public func advance(_ flow: inout Flow<Double>, by step: TimeStep) {
    advance(differentiably: &flow, by: step)
  }

  /// F by automatic differentiation.
  @inlinable
  func linearizeAutomatically(
    _ scratch: inout FlowScratch, by step: TimeStep, into next: inout MutableSpan<Double>,
    jacobian: inout MutableSpan<Double>
  ) {
    sweep(
      &scratch, into: &next, jacobian: &jacobian, { advance(differentiably: &$0, by: step) },
      { advance(differentiably: &$0, by: step) })
  }

  /// Writes x' and F by automatic differentiation.
  @inlinable
  public func linearize(
    _ scratch: inout FlowScratch, by step: TimeStep, into next: inout MutableSpan<Double>,
    jacobian: inout MutableSpan<Double>
  ) {
    linearizeAutomatically(&scratch, by: step, into: &next, jacobian: &jacobian)
  }

  /// Automatic differentiation goes on to second derivatives.
  @inlinable public var hasSecondDerivatives: Bool { true }

  /// Writes H, from a record of the flow.
  @inlinable
  public func contractSecondDerivatives(
    _ scratch: inout FlowScratch, by step: TimeStep, costate: Span<Double>,
    into hessian: inout MutableSpan<Double>
  ) {
    let tape = scratch.tape
    tape.restart()
    for i in scratch.doubles.x.indices { scratch.recorded.x[i] = tape.input(scratch.doubles.x[i]) }
    for i in scratch.doubles.u.indices { scratch.recorded.u[i] = tape.input(scratch.doubles.u[i]) }
    advance(differentiably: &scratch.recorded, by: step)
    tape.contractSecondDerivatives(
      of: scratch.recorded.x.span, weights: costate, into: &hessian)
  }
}

extension ContinuousSystem {
  /// Integrates over a control period.
  @inlinable
  public func advance<S: DifferentiableScalar>(
    differentiably flow: inout Flow<S>, by step: TimeStep
  ) {
    flow.integrate(
      by: step, { derivative($0, $1, into: &$2) }, constrain: { constrain(&$0) })
  }

  /// Writes x' and F, by the system's own Jacobian if it gives one, else by automatic differentiation.
  @inlinable
  public func linearize(
    _ scratch: inout FlowScratch, by step: TimeStep, into next: inout MutableSpan<Double>,
    jacobian: inout MutableSpan<Double>
  ) {
    if hasAnalyticJacobian {
      linearizeAnalytically(&scratch, by: step, into: &next, jacobian: &jacobian) {
        derivative($0, $1, into: &$2)
      }
    } else {
      linearizeAutomatically(&scratch, by: step, into: &next, jacobian: &jacobian)
    }
  }
}

extension DiscreteSystem {
  /// Takes the step.
  @inlinable
  public func advance<S: DifferentiableScalar>(
    differentiably flow: inout Flow<S>, by step: TimeStep
  ) {
    flow.replace(constrain: { constrain(&$0) }) { self.step($0, $1, into: &$2) }
  }

  /// Writes x' and F, by the system's own Jacobian if it gives one, else by automatic differentiation.
  @inlinable
  public func linearize(
    _ scratch: inout FlowScratch, by step: TimeStep, into next: inout MutableSpan<Double>,
    jacobian: inout MutableSpan<Double>
  ) {
    if hasAnalyticJacobian {
      stepAnalytically(&scratch, into: &next, jacobian: &jacobian) { self.step($0, $1, into: &$2) }
    } else {
      linearizeAutomatically(&scratch, by: step, into: &next, jacobian: &jacobian)
    }
  }
}

extension OpaqueContinuousSystem {
  /// Integrates over a control period.
  @inlinable
  public func advance(_ flow: inout Flow<Double>, by step: TimeStep) {
    flow.integrate(
      by: step, { derivative($0, $1, into: &$2) }, constrain: { constrain(&$0) })
  }

  /// Writes x' and F, by the system's own Jacobian if it gives one, else by central differences.
  @inlinable
  public func linearize(
    _ scratch: inout FlowScratch, by step: TimeStep, into next: inout MutableSpan<Double>,
    jacobian: inout MutableSpan<Double>
  ) {
    if hasAnalyticJacobian {
      linearizeAnalytically(&scratch, by: step, into: &next, jacobian: &jacobian) {
        derivative($0, $1, into: &$2)
      }
    } else {
      linearizeByDifferences(&scratch, by: step, into: &next, jacobian: &jacobian)
    }
  }
}

extension OpaqueDiscreteSystem {
  /// Takes the step.
  @inlinable
  public func advance(_ flow: inout Flow<Double>, by step: TimeStep) {
    flow.replace(constrain: { constrain(&$0) }) { self.step($0, $1, into: &$2) }
  }

  /// Writes x' and F, by the system's own Jacobian if it gives one, else by central differences.
  @inlinable
  public func linearize(
    _ scratch: inout FlowScratch, by step: TimeStep, into next: inout MutableSpan<Double>,
    jacobian: inout MutableSpan<Double>
  ) {
    if hasAnalyticJacobian {
      stepAnalytically(&scratch, into: &next, jacobian: &jacobian) { self.step($0, $1, into: &$2) }
    } else {
      linearizeByDifferences(&scratch, by: step, into: &next, jacobian: &jacobian)
    }
  }
}
