// A first guess for tasks whose cost has a barrier before the goal, such as a swing-up under a cost of the angle: a
// tree of controls, each constant for a while, that reaches into all corners of the states that can be reached. Costs
// decide only between paths to the same place (stable sparse trees; Li, Littlefield, Bekris 2016).

import GPSCore
import LinearAlgebra
import Statistics

/// A path from the initial state, as its last piece.
private struct TreeNode: Sendable {
  /// Its beginning: which node of the stage before.
  var parent: Int
  /// What is done along the last piece.
  var control: [Double]
  /// Where it goes: the state after each of its steps.
  var states: [[Double]]
  /// Σ ℓ_t along it.
  var cost: Double
  /// What the rest costs if the state stays what it is: it tells where it is good to arrive, whether the
  /// system can stay there or not.
  var rest: Double

  /// Where it ends.
  var end: [Double] { states[states.count - 1] }

  /// J of the path with a rest where it ends.
  var total: Double { cost + rest }
}

extension GuessSearch {
  /// Pieces of a whole path, at most.
  private static var stages: Int { 30 }
  /// Paths that each stage tries, for one that it keeps.
  private static var children: Int { 4 }
  /// Directions of the state that tell places apart, at most.
  private static var directions: Int { 4 }

  /// For each time of arrival, controls with the states that they lead to until the path arrives where resting is best,
  /// and from then on states that stay what they are: feedback about them tells whether the system can stay there.
  ///
  /// - Parameters:
  ///   - paths: that each stage tries: as many rollouts are taken in all.
  ///   - stream: of the controls.
  ///   - workers: how much runs at once; the result does not depend on it.
  /// - Returns: the best arrival at the end of each stage, and how many rollouts it took.
  /// - Throws: an error of the dynamics' `makeWorkspace`, or `CancellationError`.
  func grown(
    paths: Int, stream: RandomStream, workers: Int
  ) async throws -> (guesses: [ILQR.Guess], rollouts: Int) {
    let T = controls.columns
    let count = min(T, Self.stages)
    let bounds = (0...count).map { $0 * T / count }
    var kept = [TreeNode(parent: 0, control: [], states: [initialState], cost: 0, rest: 0)]
    var levels: [[TreeNode]] = []
    for stage in 0..<count {
      try Task.checkCancellation()
      let (parents, steps) = (kept, bounds[stage]..<bounds[stage + 1])
      let found = try await parallelMap(
        paths, workers: workers, makeContext: { try dynamics.makeWorkspace() }
      ) { index, workspace in
        let parent = index % parents.count
        var stream = stream.child(.custom, stage, index)
        return try extended(
          parents[parent], parent, by: drawn(at: steps.lowerBound, &stream), along: steps,
          &workspace)
      }
      let nodes = found.compactMap { $0 }
      if nodes.isEmpty { break }
      kept = try Self.spread(nodes, over: max(1, paths / Self.children))
      levels.append(kept)
    }
    // The best arrival of each stage.
    let arrivals = levels.enumerated().compactMap { stage, nodes in
      nodes.min { $0.total < $1.total }.map { (stage: stage, node: $0) }
    }
    let guesses = arrivals.map { arrival in
      var (guess, states) = (controls, Matrix(rows: dynamics.state, columns: T + 1))
      states.setColumn(0, to: initialState)
      for t in bounds[arrival.stage + 1]...T { states.setColumn(t, to: arrival.node.end) }
      var node = arrival.node
      for stage in (0...arrival.stage).reversed() {
        for (offset, t) in (bounds[stage]..<bounds[stage + 1]).enumerated() {
          guess.setColumn(t, to: node.control)
          states.setColumn(t + 1, to: node.states[offset])
        }
        if stage > 0 { node = levels[stage - 1][node.parent] }
      }
      return ILQR.Guess(states: states, controls: guess, cost: arrival.node.total)
    }
    return (guesses, paths)
  }

  /// A control: at a limit or anywhere between, each half of the time; without limits, about the guess.
  private func drawn(at step: Int, _ stream: inout RandomStream) -> [Double] {
    (0..<controls.rows).map { i in
      let (choice, place) = (stream.uniform(), stream.uniform())
      if let limits, limits.halfRange(of: i) != nil {
        let (lower, upper) = (limits.lower[i], limits.upper[i])
        if choice < 0.25 { return lower }
        return choice < 0.5 ? upper : lower + place * (upper - lower)
      }
      let free = controls[i, step] + 2 * deviations[i] * stream.normal()
      return limits?.clamped(free, i) ?? free
    }
  }

  /// A path that goes on with one control; nil if the dynamics fail, or a number is not finite.
  private func extended(
    _ node: TreeNode, _ parent: Int, by control: [Double], along steps: Range<Int>,
    _ workspace: inout D.Workspace
  ) throws -> TreeNode? {
    let (n, T) = (dynamics.state, controls.columns)
    // Costs are of whole trajectories: those of the steps before are not read.
    var states = Matrix(rows: n, columns: T + 1)
    var applied = Matrix(rows: control.count, columns: T)
    for t in 0...steps.lowerBound { states.setColumn(t, to: node.end) }
    var (path, next) = ([[Double]](), node.end)
    for t in steps {
      try Task.checkCancellation()
      applied.setColumn(t, to: control)
      var span = next.mutableSpan
      do throws(PlantFailure) {
        try dynamics.step(
          states.storage.span.extracting(n * t..<n * (t + 1)), control.span, workspace: &workspace,
          into: &span)
      } catch {
        return nil
      }
      if !next.isFinite { return nil }
      path.append(next)
      states.setColumn(t + 1, to: next)
    }
    for t in steps.upperBound..<T {
      states.setColumn(t + 1, to: next)
      applied.setColumn(t, to: controls.column(t))
    }
    let rows = 3 * dynamics.points
    var points = Matrix(rows: rows, columns: T + 1)
    if rows > 0 {
      var jacobians = [Double](repeating: 0, count: rows * n)
      for t in steps.lowerBound...steps.upperBound {
        var p = points.storage.mutableSpan
        var position = p._mutatingExtracting(rows * t..<rows * (t + 1))
        var J = jacobians.mutableSpan
        do throws(PlantFailure) {
          try dynamics.locatePoints(
            states.storage.span.extracting(n * t..<n * (t + 1)), workspace: &workspace,
            positions: &position, jacobians: &J)
        } catch {
          return nil
        }
      }
      for t in steps.upperBound..<T { points.setColumn(t + 1, to: points.column(steps.upperBound)) }
    }
    let values = cost.values(
      along: Trajectory(
        states: states, controls: applied, observations: Matrix(rows: 0, columns: T + 1),
        points: points), in: condition)
    let found = TreeNode(
      parent: parent, control: control, states: path,
      cost: values[steps].reduce(node.cost, +), rest: values[steps.upperBound...].reduce(0, +))
    return found.total.isFinite ? found : nil
  }

  /// The cheapest path to each place, with places as small as leave no more than `count`, and half as many that end
  /// where resting is best.
  private static func spread(_ nodes: [TreeNode], over count: Int) throws -> [TreeNode] {
    if nodes.count <= count { return nodes }
    let places = try coordinates(of: nodes)
    // The best of each cell, in the order of the nodes.
    func best(_ width: Double) -> [Int] {
      var cells: [[Int]: Int] = [:]
      for (i, place) in places.enumerated() {
        let cell = place.map { Int(($0 / width).rounded(.down)) }
        if let other = cells[cell], nodes[other].cost <= nodes[i].cost { continue }
        cells[cell] = i
      }
      return cells.values.sorted()
    }
    // In deviations: from one cell for all to cells that hold one each.
    var (fine, coarse) = (1e-3, 1e3)
    for _ in 0..<20 {
      let middle = (fine * coarse).squareRoot()
      if best(middle).count > count { fine = middle } else { coarse = middle }
    }
    let rests = nodes.indices.sorted { (nodes[$0].total, $0) < (nodes[$1].total, $1) }
    return Set(best(coarse)).union(rests.prefix(count / 2)).sorted().map { nodes[$0] }
  }

  /// Where paths end: along the directions in which their ends differ most, each entry of the state in its
  /// deviations.
  private static func coordinates(of nodes: [TreeNode]) throws -> [[Double]] {
    let (n, count) = (nodes[0].end.count, Double(nodes.count))
    var whitened = nodes.map(\.end)
    for i in 0..<n {
      let mean = whitened.reduce(0) { $0 + $1[i] } / count
      let square = whitened.reduce(0) { $0 + ($1[i] - mean) * ($1[i] - mean) } / count
      // What does not move tells nothing.
      let scale = square > 1e-24 * (1 + mean * mean) ? 1 / square.squareRoot() : 0
      for k in whitened.indices { whitened[k][i] = (whitened[k][i] - mean) * scale }
    }
    if n <= directions { return whitened }
    var correlation = Matrix(rows: n, columns: n)
    for state in whitened {
      for i in 0..<n { for j in 0..<n { correlation[i, j] += state[i] * state[j] / count } }
    }
    let (_, vectors) = try correlation.symmetricEigen()
    return whitened.map { state in
      (n - directions..<n).map { column in
        (0..<n).reduce(0) { $0 + vectors[$1, column] * state[$1] }
      }
    }
  }
}
