public import Differentiation
public import GPSCore
public import LinearAlgebra

/// When and under what condition a cost is asked for.
public struct CostMoment: Sendable {
  /// t, from 0 to T.
  public let step: Int
  /// T.
  public let horizon: Int
  /// Where the goal comes from.
  public let condition: Condition

  /// A moment.
  public init(step: Int, horizon: Int, condition: Condition) {
    self.step = step
    self.horizon = horizon
    self.condition = condition
  }
}

/// A cost of one's own, written once and generic over the scalar; gradients and Hessians come by
/// automatic differentiation.
///
/// Points move with the state along their Jacobians: their own curvature is left out.
public protocol DifferentiableCost: Cost {
  /// ℓ_t(x_t, u_t) for t < T.
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - u: m numbers.
  ///   - points: 3 P numbers [m].
  ///   - moment: t, T and the condition.
  /// - Returns: the cost of the step.
  func running<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, points: Span<S>, at moment: CostMoment
  ) -> S

  /// ℓ_T(x_T); by default 0.
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - points: 3 P numbers [m].
  ///   - moment: T and the condition.
  /// - Returns: the cost of the end.
  func final<S: DifferentiableScalar>(
    _ x: Span<S>, points: Span<S>, at moment: CostMoment
  ) -> S
}

extension DifferentiableCost {
  /// Nothing is charged at the end.
  @inlinable
  public func final<S: DifferentiableScalar>(
    _ x: Span<S>, points: Span<S>, at moment: CostMoment
  ) -> S { .zero }

  @inlinable
  func evaluate<S: DifferentiableScalar>(
    _ x: [S], _ u: [S], _ points: [S], _ moment: CostMoment
  ) -> S {
    moment.step < moment.horizon
      ? running(x.span, u.span, points: points.span, at: moment)
      : final(x.span, points: points.span, at: moment)
  }

  /// Adds ℓ_t for every step.
  @inlinable
  public func addValues(
    to values: inout [Double], along trajectory: Trajectory, in condition: Condition
  ) {
    let T = trajectory.horizon
    var buffer = CostBuffer<Double>(trajectory)
    for t in 0...T {
      buffer.set(trajectory, t) { _, value in value }
      values[t] += evaluate(
        buffer.x, buffer.u, buffer.points,
        CostMoment(step: t, horizon: T, condition: condition))
    }
  }

  /// Adds values, gradients and Hessians: one column and four rows of a Hessian at a time.
  @inlinable
  public func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    typealias Number = HyperDual<SIMD4<Double>>
    let (n, m, T) = (trajectory.states.rows, trajectory.controls.rows, trajectory.horizon)
    let (d, rows) = (n + m, trajectory.points.rows)
    var buffer = CostBuffer<Number>(trajectory)
    for t in 0...T {
      let moment = CostMoment(step: t, horizon: T, condition: condition)
      let count = t < T ? d : n
      for column in 0..<count {
        for first in stride(from: column / 4 * 4, to: count, by: 4) {
          buffer.set(trajectory, t) { i, value in
            var number = Number(value)
            if i == column { number.outer = 1 }
            if i >= first && i < first + 4 { number.inner[i - first] = 1 }
            return number
          }
          for row in 0..<rows {
            let base = t * rows * n + row
            var point = Number(trajectory.points.storage[row + rows * t])
            if column < n { point.outer = trajectory.pointJacobians.storage[base + rows * column] }
            for j in first..<Swift.min(first + 4, n) where j < n {
              point.inner[j - first] = trajectory.pointJacobians.storage[base + rows * j]
            }
            buffer.points[row] = point
          }
          let result = evaluate(buffer.x, buffer.u, buffer.points, moment)
          if column == 0 && first == 0 { expansion.values[t] += result.value }
          if first == column / 4 * 4 { expansion.gradients[column, t] += result.outer }
          for lane in 0..<Swift.min(4, count - first) where first + lane >= column {
            let (i, j) = (first + lane, column)
            expansion.hessians.storage[t * d * d + i + d * j] += result.mixed[lane]
            if i != j { expansion.hessians.storage[t * d * d + j + d * i] += result.mixed[lane] }
          }
        }
      }
    }
  }
}

/// The arguments of a cost at one step.
@frozen
@usableFromInline
struct CostBuffer<S: DifferentiableScalar> {
  @usableFromInline var x: [S]
  @usableFromInline var u: [S]
  @usableFromInline var points: [S]

  @inlinable
  init(_ trajectory: Trajectory) {
    x = [S](repeating: S(0), count: trajectory.states.rows)
    u = [S](repeating: S(0), count: trajectory.controls.rows)
    points = [S](repeating: S(0), count: trajectory.points.rows)
  }

  /// Sets x, u (0 at the end) and the points' values at step t.
  @inlinable
  mutating func set(_ trajectory: Trajectory, _ t: Int, _ scalar: (Int, Double) -> S) {
    let n = x.count
    for i in 0..<n { x[i] = scalar(i, trajectory.states[i, t]) }
    for i in 0..<u.count {
      u[i] = scalar(n + i, t < trajectory.horizon ? trajectory.controls[i, t] : 0)
    }
    for i in 0..<points.count { points[i] = S(trajectory.points[i, t]) }
  }
}

/// A cost of one's own over doubles alone: only its value is given, derivatives come by central
/// differences.
///
/// Second differences of a cost that is not smooth are noise: prefer `DifferentiableCost`, or give the
/// expansion by conforming to `Cost` itself.
public protocol OpaqueCost: Cost {
  /// ℓ_t(x_t, u_t) for t < T; arguments as for `DifferentiableCost`.
  func running(
    _ x: Span<Double>, _ u: Span<Double>, points: Span<Double>, at moment: CostMoment
  ) -> Double

  /// ℓ_T(x_T); by default 0.
  func final(_ x: Span<Double>, points: Span<Double>, at moment: CostMoment) -> Double
}

extension OpaqueCost {
  /// Nothing is charged at the end.
  public func final(_ x: Span<Double>, points: Span<Double>, at moment: CostMoment) -> Double { 0 }

  private func evaluate(_ buffer: CostBuffer<Double>, _ moment: CostMoment) -> Double {
    moment.step < moment.horizon
      ? running(buffer.x.span, buffer.u.span, points: buffer.points.span, at: moment)
      : final(buffer.x.span, points: buffer.points.span, at: moment)
  }

  /// Adds ℓ_t for every step.
  public func addValues(
    to values: inout [Double], along trajectory: Trajectory, in condition: Condition
  ) {
    let T = trajectory.horizon
    var buffer = CostBuffer<Double>(trajectory)
    for t in 0...T {
      buffer.set(trajectory, t) { _, value in value }
      values[t] += evaluate(buffer, CostMoment(step: t, horizon: T, condition: condition))
    }
  }

  /// Adds values, and gradients and Hessians by central differences.
  public func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    let (n, m, T) = (trajectory.states.rows, trajectory.controls.rows, trajectory.horizon)
    let (d, rows) = (n + m, trajectory.points.rows)
    var buffer = CostBuffer<Double>(trajectory)
    for t in 0...T {
      let moment = CostMoment(step: t, horizon: T, condition: condition)
      let count = t < T ? d : n
      buffer.set(trajectory, t) { _, value in value }
      let center = buffer
      func h(_ j: Int) -> Double {
        1e-4 * max(1, (j < n ? center.x[j] : center.u[j - n]).magnitude)
      }
      /// ℓ with number i moved by a and number j by b.
      func value(_ i: Int, _ a: Double, _ j: Int, _ b: Double) -> Double {
        buffer = center
        for (k, reach) in [(i, a), (j, b)] {
          if k >= n {
            buffer.u[k - n] += reach
            continue
          }
          buffer.x[k] += reach
          for row in 0..<rows {
            buffer.points[row] +=
              reach * trajectory.pointJacobians.storage[t * rows * n + row + rows * k]
          }
        }
        return evaluate(buffer, moment)
      }
      let middle = evaluate(center, moment)
      expansion.values[t] += middle
      for i in 0..<count {
        let (up, down) = (value(i, h(i), i, 0), value(i, -h(i), i, 0))
        expansion.gradients[i, t] += (up - down) / (2 * h(i))
        expansion.hessians.storage[t * d * d + i + d * i] +=
          (up - 2 * middle + down) / (h(i) * h(i))
        for j in 0..<i {
          let mixed =
            (value(i, h(i), j, h(j)) - value(i, h(i), j, -h(j)) - value(i, -h(i), j, h(j))
              + value(i, -h(i), j, -h(j))) / (4 * h(i) * h(j))
          expansion.hessians.storage[t * d * d + i + d * j] += mixed
          expansion.hessians.storage[t * d * d + j + d * i] += mixed
        }
      }
    }
  }
}
