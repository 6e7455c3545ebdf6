package import Configuration
import Differentiation
package import GPSCore

/// A formula of entries of the state, controls, coordinates of points and numbers of the goal:
/// ramp_t · f(x_t, u_t, p_t), with derivatives by automatic differentiation.
///
///     0.01 * torque_Nm ^ 2 * max(0, position_x_m - 0.5)
///     (tip.x - goal.0) ^ 2 + 0.1 * abs(tip.z)
///
/// A formula that names a control is not charged at step T, which has none. Points move with the state
/// along their Jacobians: their own curvature is left out. The Hessian may be indefinite.
public struct ExpressionCost: Sendable, Equatable {
  /// The formula: + − * / ^, parentheses, numbers, pi, names, and sin, cos, tan, atan, tanh, exp, log,
  /// sqrt, abs, square of one and min, max, atan2, hypot of two arguments.
  ///
  /// Names are those of entries of the state, those of controls, `point.x`, `point.y` and `point.z` of a
  /// point [m], and `goal.0`, `goal.1`, … of the condition's goal. One with other characters than letters,
  /// digits, "_" and "." stands in single quotes.
  public var formula: String
  /// The factor over time.
  public var ramp: Ramp
  /// Ready to be evaluated; nil before a task has resolved the names.
  private var compiled: Compiled?

  /// A cost by its formula.
  public init(_ formula: String, ramp: Ramp = .constant) {
    self.formula = formula
    self.ramp = ramp
  }

  private enum Variable: Sendable, Equatable {
    case state(Int)
    case control(Int)
    case point(Int)
    case goal(Int)
  }

  private struct Compiled: Sendable, Equatable {
    var formula: Formula
    /// Where each name of the formula is.
    var variables: [Variable]

    var namesControl: Bool {
      variables.contains { if case .control = $0 { true } else { false } }
    }
    var namesPoint: Bool {
      variables.contains { if case .point = $0 { true } else { false } }
    }
  }
}

extension ExpressionCost: CostKernel {
  package static let schema = Schema<ExpressionCost>(
    "expression", "A formula of states, controls, points and the goal.", ExpressionCost("")
  ) {
    Field(
      "formula", \.formula,
      "+ - * / ^, \(Formula.Function.allCases.map(\.rawValue).joined(separator: " ")), pi; names of "
        + "states and controls, point.x, goal.0."
    ).required
    Field("ramp", \.ramp, "The factor over time.")
  } rule: { cost throws(InvalidOption) in
    do throws(Formula.Failure) { _ = try Formula(cost.formula) } catch {
      throw cost.refusal(error)
    }
  }

  package static var canReward: Bool { true }
  package var readsPoints: Bool { compiled?.namesPoint ?? true }

  private func refusal(_ failure: Formula.Failure) -> InvalidOption {
    InvalidOption(
      key: "formula", value: "\"\(abbreviated(formula))\"",
      allowed: "a formula: at character \(failure.place + 1), \(failure.problem)")
  }

  package func resolved(in scope: Scope, key: String) throws(SimError) -> ExpressionCost {
    var cost = self
    do throws(Formula.Failure) {
      let formula = try Formula(formula)
      var variables: [Variable] = []
      for name in formula.names { variables.append(try Self.variable(name, in: scope)) }
      cost.compiled = Compiled(formula: formula, variables: variables)
    } catch {
      throw .option(refusal(error).within(key))
    }
    return cost
  }

  private static func variable(
    _ name: Formula.Name, in scope: Scope
  ) throws(Formula.Failure) -> Variable {
    if let index = scope.states.firstIndex(of: name.text) { return .state(index) }
    if let index = scope.controls.firstIndex(of: name.text) { return .control(index) }
    let parts = name.text.split(separator: ".", omittingEmptySubsequences: false)
    if let axis = ["x", "y", "z"].firstIndex(of: parts.last.map(String.init) ?? ""),
      let point = scope.points.firstIndex(of: parts.dropLast().joined(separator: "."))
    {
      return .point(3 * point + axis)
    }
    if parts.count == 2, parts[0] == "goal", let index = Int(parts[1]), index >= 0 {
      do { try scope.goal(index, 1, "") } catch {
        throw Formula.Failure(problem: "the goal has no number \(index)", place: name.place)
      }
      return .goal(index)
    }
    let all =
      scope.states + scope.controls
      + scope.points.flatMap { p in ["x", "y", "z"].map { "\(p).\($0)" } }
    let nearest = nearest(to: name.text.lowercased(), among: all).prefix(6)
    throw Formula.Failure(
      problem: "nothing is called \"\(abbreviated(name.text))\" (nearest: "
        + nearest.joined(separator: ", ") + ")", place: name.place)
  }

  private func ready() -> Compiled {
    guard let compiled else {
      preconditionFailure("the names in \"\(formula)\" mean nothing yet: a task resolves them")
    }
    return compiled
  }

  /// The steps that are charged.
  private func steps(_ compiled: Compiled, _ horizon: Int) -> Range<Int> {
    0..<(compiled.namesControl ? horizon : horizon + 1)
  }

  /// Calls `body` with room for the variables and the stack, and a function that says what a variable is.
  private func withRoom<S: DifferentiableScalar>(
    for compiled: Compiled, _ type: S.Type,
    _ body: (UnsafeMutableBufferPointer<S>, UnsafeMutableBufferPointer<S>) -> Void
  ) {
    withUnsafeTemporaryAllocation(of: S.self, capacity: compiled.variables.count) { variables in
      withUnsafeTemporaryAllocation(of: S.self, capacity: compiled.formula.depth) { stack in
        variables.initialize(repeating: S(0))
        stack.initialize(repeating: S(0))
        body(variables, stack)
      }
    }
  }

  private func number(
    _ variable: Variable, at t: Int, along view: TrajectoryView, in condition: Condition
  ) -> Double {
    switch variable {
    case .state(let i): view.states[i + view.n * t]
    case .control(let i): view.controls[i + view.m * t]
    case .point(let row): view.points[row + view.pointRows * t]
    case .goal(let i): condition.goal[i]
    }
  }

  package func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let compiled = ready()
    withRoom(for: compiled, Double.self) { variables, stack in
      for t in steps(compiled, trajectory.horizon) {
        let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
        if factor == 0 { continue }
        for (v, variable) in compiled.variables.enumerated() {
          variables[v] = number(variable, at: t, along: trajectory, in: condition)
        }
        values[t] += factor * compiled.formula.value(of: variables, stack: stack)
      }
    }
  }

  package func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    typealias Number = HyperDual<SIMD4<Double>>
    let compiled = ready()
    let count = compiled.variables.count
    // By the variables: gradient g and Hessian H (the lower triangle, column by column).
    var (g, H) = (
      [Double](repeating: 0, count: count), [Double](repeating: 0, count: count * count)
    )
    withRoom(for: compiled, Number.self) { variables, stack in
      for t in steps(compiled, trajectory.horizon) {
        let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
        if factor == 0 { continue }
        for column in 0..<max(1, count) {
          for first in stride(from: column / 4 * 4, to: max(1, count), by: 4) {
            for (v, variable) in compiled.variables.enumerated() {
              var scalar = Number(number(variable, at: t, along: trajectory, in: condition))
              if v == column { scalar.outer = 1 }
              if v >= first && v < first + 4 { scalar.inner[v - first] = 1 }
              variables[v] = scalar
            }
            let result = compiled.formula.value(of: variables, stack: stack)
            if column == 0 && first == 0 { expansion.values[t] += factor * result.value }
            if count == 0 { break }
            g[column] = result.outer
            for lane in 0..<min(4, count - first) where first + lane >= column {
              H[first + lane + count * column] = result.mixed[lane]
            }
          }
        }
        spread(g, H, of: compiled.variables, factor, at: t, along: trajectory, to: expansion)
      }
    }
  }

  /// The chain rule from the variables to y = [x; u].
  private func spread(
    _ g: [Double], _ H: [Double], of variables: [Variable], _ factor: Double, at t: Int,
    along view: TrajectoryView, to expansion: ExpansionView
  ) {
    let (d, count) = (expansion.d, variables.count)
    /// Every entry of y that moves a variable, with the derivative of the variable by it.
    func forEach(_ variable: Variable, _ body: (_ entry: Int, _ slope: Double) -> Void) {
      switch variable {
      case .state(let i): body(i, 1)
      case .control(let i): body(view.n + i, 1)
      case .goal: break
      case .point(let row):
        for j in 0..<view.n {
          let slope = view.jacobians[row + view.pointRows * (j + view.n * t)]
          if slope != 0 { body(j, slope) }
        }
      }
    }
    for v in 0..<count {
      forEach(variables[v]) { i, a in
        expansion.gradients[i + d * t] += factor * g[v] * a
        for w in v..<count where H[w + count * v] != 0 {
          forEach(variables[w]) { j, b in
            let entry = factor * H[w + count * v] * a * b
            expansion.hessians[i + d * (j + d * t)] += entry
            if v != w { expansion.hessians[j + d * (i + d * t)] += entry }
          }
        }
      }
    }
  }
}
