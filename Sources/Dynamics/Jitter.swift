import GPSCore
import LinearAlgebra

// A body that slides over a table has height, roll and pitch in the state, which jitter: by thousandths of what its
// place and yaw do, and anew in every control period. A regression has as many unknowns for such an entry as for
// any other, whatever its scale, and takes what a few rollouts say of the entries that matter for its jitter; a
// mixture's clusters come to tell jitters apart. No controller can act on what has passed when it acts. Such entries
// are left out of the fit and predicted as what they are: noise about their mean, of no effect on anything else.

extension [Trajectory] {
  /// The most by which a coordinate that jitters scatters, as a share of its vector's largest.
  private static var mostScatter: Double { 0.1 }
  /// The most that is left of a deviation after one control period, as a correlation.
  private static var mostMemory: Double { 0.8 }

  /// Entries of the state that jitter: coordinates of a vector whose scatter from rollout to rollout, over all steps
  /// to their ends, is small beside the vector's largest and does not outlast a control period; and their rates.
  ///
  /// - Parameter vectors: the entries of each vector.
  /// - Returns: entries, ascending.
  func jitter(in vectors: [StateVector]) -> [Int] {
    if vectors.isEmpty || count < 2 { return [] }
    var found: Set<Int> = []
    for vector in vectors {
      let scatters = vector.entries.map(scatter)
      let largest = scatters.map(\.now).max() ?? 0
      for (k, scatter) in scatters.enumerated()
      where scatter.now < Self.mostScatter * Self.mostScatter * largest
        && scatter.kept <= Self.mostMemory * (scatter.before * scatter.now).squareRoot()
      {
        found.insert(vector.entries.lowerBound + k)
        if let rates = vector.rates { found.insert(rates.lowerBound + k) }
      }
    }
    return found.sorted()
  }

  /// Sums over steps and rollouts of the squared deviations of state i from its mean over the rollouts, before and
  /// after each step, and of their products.
  private func scatter(_ i: Int) -> (before: Double, now: Double, kept: Double) {
    var (before, now, kept) = (0.0, 0.0, 0.0)
    for (steps, going) in spansToEnds where going.count > 1 {
      for t in steps {
        var means = (0.0, 0.0)
        for n in going {
          means.0 += self[n].states[i, t] / Double(going.count)
          means.1 += self[n].states[i, t + 1] / Double(going.count)
        }
        for n in going {
          let (x, next) = (self[n].states[i, t] - means.0, self[n].states[i, t + 1] - means.1)
          before += x * x
          now += next * next
          kept += x * next
        }
      }
    }
    return (before, now, kept)
  }
}

extension Trajectory {
  /// This rollout with entries of the state that stand still, at 0.
  func fixing(_ entries: [Int]) -> Trajectory {
    if entries.isEmpty { return self }
    var fixed = self
    for t in 0...horizon { for i in entries { fixed.states[i, t] = 0 } }
    return fixed
  }
}
