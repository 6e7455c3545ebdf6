extension CostChecker {
  /// Checks all that a cost promises about one rollout.
  package func checkContract(
    of cost: some Cost, along trajectory: Trajectory, in condition: Condition
  ) -> TaskReport {
    var report = TaskReport()
    checkContract(of: cost, along: trajectory, in: condition, &report)
    return report
  }

  /// Checks all that a cost promises about one rollout: that it adds to what is there and changes
  /// no shape, that values and derivatives are finite, Hessians symmetric, and derivatives those of
  /// the values.
  ///
  /// - Parameters:
  ///   - cost: what is checked.
  ///   - trajectory: n states and m controls, as many as there are names, with the points'
  ///     Jacobians.
  ///   - condition: where the cost's goal comes from.
  ///   - report: gets the problems.
  func checkContract(
    of cost: some Cost, along trajectory: Trajectory, in condition: Condition,
    _ report: inout TaskReport
  ) {
    let T = trajectory.horizon
    let place = condition.name
    // Added to zeros and to ones: a cost that sets instead of adding gives the same twice.
    var values = [Double](repeating: 0, count: T + 1)
    var shifted = [Double](repeating: 1, count: T + 1)
    cost.addValues(to: &values, along: trajectory, in: condition)
    cost.addValues(to: &shifted, along: trajectory, in: condition)
    guard values.count == T + 1, shifted.count == T + 1 else {
      report.add(
        .cost,
        "the cost makes \(values.count) values out of \(T + 1): one per step and one for the last state",
        condition: place)
      return
    }
    if let step = values.firstNonFinite {
      report.addFirst(
        .notFinite, "the cost is \(values[step])", condition: place, step: step)
      return
    }
    if let step = Self.firstNotAdded(values, shifted) {
      report.addFirst(
        .cost, "the cost's value is written over what was there instead of added to it",
        condition: place, step: step)
    }

    let expansion = cost.expansion(along: trajectory, in: condition)
    let d = trajectory.states.rows + trajectory.controls.rows
    guard expansion.values.count == T + 1, expansion.gradients.rows == d,
      expansion.gradients.columns == T + 1, expansion.hessians.rows == d,
      expansion.hessians.columns == d, expansion.hessians.count == T + 1
    else {
      report.add(
        .cost, "the expansion of the cost changes the shape of what it is to add to",
        condition: place)
      return
    }
    if let step = expansion.firstNonFiniteStep {
      report.addFirst(
        .notFinite, "a derivative of the cost is not finite", condition: place, step: step)
      return
    }
    checkShapeOfDerivatives(expansion, place, &report)
    var onto = CostExpansion(state: expansion.state, control: expansion.control, horizon: T)
    for t in onto.values.indices { onto.values[t] = 1 }
    for i in onto.gradients.storage.indices { onto.gradients.storage[i] = 1 }
    for i in onto.hessians.storage.indices { onto.hessians.storage[i] = 1 }
    cost.addExpansion(to: &onto, along: trajectory, in: condition)
    for (what, first, second) in [
      ("value", expansion.values, onto.values),
      ("gradient", expansion.gradients.storage, onto.gradients.storage),
      ("Hessian", expansion.hessians.storage, onto.hessians.storage),
    ] {
      guard let i = Self.firstNotAdded(first, second) else { continue }
      report.addFirst(
        .cost,
        "the \(what) of the cost's expansion is written over what was there instead of added to it",
        condition: place, step: i / (first.count / (T + 1)))
    }
    // What is not added or not symmetric has no derivatives to speak of.
    guard !report.problems.contains(where: { $0.kind == .cost }) else { return }
    report.add(
      .costDerivatives, check(cost, along: trajectory, in: condition), condition: place)
  }

  /// Symmetric Hessians, and nothing for the controls after the last step.
  private func checkShapeOfDerivatives(
    _ expansion: CostExpansion, _ place: String, _ report: inout TaskReport
  ) {
    let (n, d, T) = (expansion.state, expansion.state + expansion.control, expansion.horizon)
    let names = stateNames + controlNames
    for t in 0...T {
      let H = expansion.hessians[t]
      let scale = H.largestMagnitude
      for j in 0..<d {
        for i in 0..<j where (H[i, j] - H[j, i]).magnitude > 1e-9 * scale {
          report.addFirst(
            .cost,
            "the Hessian of the cost is not symmetric: \(H[i, j]) for \(names[i]) and \(names[j]), "
              + "\(H[j, i]) the other way round", condition: place, step: t)
        }
        if t == T, j >= n,
          expansion.gradients[j, T] != 0 || H.column(j).contains(where: { $0 != 0 })
        {
          report.addFirst(
            .cost, "the cost depends on \(names[j]) after the last step, where there is no control",
            condition: place, step: T)
        }
      }
    }
  }

  /// The first number that is not larger by 1 in the second list.
  private static func firstNotAdded(_ first: [Double], _ second: [Double]) -> Int? {
    first.indices.first {
      !((second[$0] - first[$0] - 1).magnitude <= 1e-9 * max(1, first[$0].magnitude))
    }
  }
}
