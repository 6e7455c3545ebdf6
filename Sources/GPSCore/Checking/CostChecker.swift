import LinearAlgebra

/// Checks the expansion of a cost against central differences of its values and of its gradients.
///
/// Points move with the state along their Jacobians, as the expansion takes them to.
public struct CostChecker: Sendable {
  /// Largest relative error that passes, beyond what the differences themselves may be off by.
  public var tolerance = 1e-5
  /// Whether Hessians are checked: a Gauss-Newton approximation is not the Hessian.
  public var checksHessians = true
  /// n names for the report.
  public var stateNames: [String]
  /// m names for the report.
  public var controlNames: [String]

  /// A checker that calls numbers by these names.
  public init(stateNames: [String], controlNames: [String]) {
    self.stateNames = stateNames
    self.controlNames = controlNames
  }

  /// A checker that calls numbers as the task does.
  public init(_ task: some ControlTask) {
    self.init(stateNames: task.stateNames, controlNames: task.controlNames)
  }

  /// Checks values, gradients and Hessians at every step of a trajectory.
  ///
  /// - Parameters:
  ///   - cost: what is checked.
  ///   - trajectory: n states and m controls, as many as there are names.
  ///   - condition: where the cost's goal comes from.
  /// - Returns: the entries that are off by more than `tolerance`, named, the worst first.
  public func check(
    _ cost: some Cost, along trajectory: Trajectory, in condition: Condition
  ) -> DerivativeReport {
    let (n, m, T) = (trajectory.states.rows, trajectory.controls.rows, trajectory.horizon)
    let d = n + m
    precondition(
      stateNames.count == n && controlNames.count == m,
      "\(stateNames.count) + \(controlNames.count) names for \(n) states and \(m) controls")
    let names = stateNames + controlNames
    let expansion = cost.expansion(along: trajectory, in: condition)
    let values = cost.values(along: trajectory, in: condition)
    var comparison = DerivativeComparison(tolerance: tolerance)
    for t in 0...T {
      comparison.compare(
        "value of the expansion", given: [expansion.values[t]], near: [values[t]],
        far: [values[t]], step: t
      ) { _ in ("cost", "", 0) }
    }

    // The cost is a sum over steps: one displacement of all of them at once differentiates each.
    let h = (0..<d).map { j in
      DerivativeComparison.difference(
        at: (j < n ? trajectory.states : trajectory.controls).largestMagnitude(
          inRow: j < n ? j : j - n))
    }
    var slopes = [[[Double]]](repeating: [], count: 2)
    var bends = [[MatrixColumns]](repeating: [], count: 2)
    for (k, factor) in [1.0, 2.0].enumerated() {
      for j in 0..<d {
        let reach = factor * h[j]
        let up = trajectory.displaced(j, by: reach)
        let down = trajectory.displaced(j, by: -reach)
        slopes[k].append(
          zip(cost.values(along: up, in: condition), cost.values(along: down, in: condition)).map {
            ($0 - $1) / (2 * reach)
          })
        if checksHessians {
          let high = cost.expansion(along: up, in: condition).gradients
          let low = cost.expansion(along: down, in: condition).gradients
          bends[k].append(MatrixColumns((1 / (2 * reach)) * (high - low)))
        }
      }
    }
    for t in 0...T {
      let count = t < T ? d : n
      func gradient(_ k: Int) -> [Double] { (0..<count).map { slopes[k][$0][t] } }
      comparison.compare(
        "cost gradient", given: Array(expansion.gradients.column(t)[..<count]), near: gradient(0),
        far: gradient(1), step: t
      ) { ("cost", names[$0], h[$0]) }
      guard checksHessians else { continue }
      let H = expansion.hessians[t]
      func hessian(_ k: Int) -> [Double] {
        (0..<count).flatMap { j in bends[k][j].columns[t][..<count] }
      }
      comparison.compare(
        "cost Hessian", given: H[0..<count, 0..<count].storage, near: hessian(0), far: hessian(1),
        step: t
      ) { ("cost by \(names[$0 % count])", names[$0 / count], h[$0 / count]) }
    }
    return comparison.finished()
  }
}

private struct MatrixColumns {
  let columns: [[Double]]
  init(_ matrix: Matrix) { columns = (0..<matrix.columns).map { matrix.column($0) } }
}

extension Matrix {
  fileprivate func largestMagnitude(inRow i: Int) -> Double {
    (0..<columns).reduce(0) { max($0, self[i, $1].magnitude) }
  }
}

extension Trajectory {
  /// The trajectory with number j of y moved at every step, and the points with it.
  fileprivate func displaced(_ j: Int, by reach: Double) -> Trajectory {
    var result = self
    let n = states.rows
    for t in 0...horizon {
      if j >= n {
        if t < horizon { result.controls[j - n, t] += reach }
        continue
      }
      result.states[j, t] += reach
      let rows = points.rows
      for row in 0..<rows {
        result.points[row, t] +=
          reach * pointJacobians.storage[t * pointJacobians.stride + row + rows * j]
      }
    }
    return result
  }
}
