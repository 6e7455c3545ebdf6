@_spi(Programs) public import GuidedPolicySearch

extension BenchmarkRunner {
  /// What a stage takes of memory, its largest case's.
  ///
  /// - Parameters:
  ///   - stage: which.
  ///   - task: that is rolled out, if the stage does that.
  ///   - loaded: what is searched, if the stage does that.
  /// - Returns: its parts, with the options that they grow with.
  @_spi(Programs) public func memoryNeed(
    of stage: BenchmarkStage, rolling task: (any ControlTask)? = nil,
    searching loaded: LoadedExperiment? = nil
  ) -> MemoryNeed {
    var need = MemoryNeed()
    let workers = threadCounts.max() ?? 1
    func count(_ setting: Int?, _ usual: Int) -> Double { Double(setting ?? usual) }
    switch stage {
    case .lqr:
      let size = stateControlSizes(default: [(100, 30)])[0]
      let (n, m, T) = (Double(size.n), Double(size.m), count(settings.horizon, 100))
      let d = n + m
      // Costs, those of a step with its dual, expansions; dynamics; values, covariances, controllers.
      need.add(
        "--horizon", "problems of \(Int(T)) steps with \(size.n) states and \(size.m) controls",
        T * (3 * d * d + 3 * n * d + 4 * n * n + 6 * m * d))
    case .dynamics:
      let size = stateControlSizes(default: [(26, 7)])[0]
      let (n, m, T) = (Double(size.n), Double(size.m), count(settings.horizon, 100))
      let (N, M) = (count(settings.samples, 10), count(settings.conditions, 4))
      let z = 2 * n + m
      need.add(
        "--samples", "\(Int(M * N)) rollouts of \(Int(T)) steps", M * N * T * (z + 2 * n + m))
      need.add(
        "--conditions", "dynamics of \(Int(M)) conditions and \(Int(T)) steps",
        M * T * (n * (n + m) + 2 * n * n))
      addMixture(to: &need, points: 20 * T, dimension: z, fits: min(M, Double(workers)))
      need.add("--horizon", "the system that they are drawn from", T * n * (n + m))
    case .mixture:
      let size = stateControlSizes(default: [(26, 7)])[0]
      let points = count(settings.samples, 20) * count(settings.horizon, 100)
      let d = Double(2 * size.n + size.m)
      need.add("--samples", "\(Int(points)) points of \(Int(d)) numbers", 2 * points * d)
      addMixture(to: &need, points: points, dimension: d, fits: Double(workers))
    case .policy:
      let size = stateControlSizes(default: [(26, 7)])[0]
      let (o, m) = (Double(size.n), Double(size.m))
      let (M, T) = (count(settings.conditions, 4), count(settings.horizon, 100))
      let samples = M * T * count(settings.samples, 20)
      // In double precision, and once more in single.
      need.add(
        "--samples", "\(Int(samples)) samples of \(size.n) observations and \(size.m) controls",
        samples * (o + 2 * m + 2) + samples * (o + m + 32) / 2)
      need.add(
        "--controls", "precisions of \(Int(M)) conditions and \(Int(T)) steps",
        1.5 * M * T * m * m)
      addNetwork(
        to: &need, settings.hidden ?? [256, 256], from: o, to: m,
        batch: min(samples, count(settings.batch, 1024)), workers: workers)
    case .rollout:
      guard let task else { break }
      let d = task.dimensions
      let M = count(settings.conditions, task.conditions.count)
      let rollouts = M * count(settings.samples, max(1, 40 / task.conditions.count))
      let numbers = Double(d.state + d.observation + d.control + 3 * d.points)
      let T = Double(d.horizon) + 1
      // Those of the case at hand and of the one before.
      need.add(
        "--samples", "\(Int(rollouts)) rollouts of \(d.horizon) steps", 2 * rollouts * T * numbers)
      need.add(
        "--conditions", "controllers of \(Int(M)) conditions and \(d.horizon) steps",
        M * T * Double(d.control * (d.state + 2 * d.control + 1)))
      addNetwork(
        to: &need, settings.hidden ?? [64, 64], from: Double(d.observation), to: Double(d.control),
        batch: 25, workers: 1)
    case .iteration:
      if let loaded { need = MemoryNeed(of: loaded, workers: workers) }
    case .derivatives, .ilqr:
      // A state of six numbers and two controls at most, expansions and all.
      need.add(
        "--horizon", "problems of \(settings.horizon ?? 500) steps",
        1000 * count(settings.horizon, 500))
    }
    return need
  }

  private func addMixture(
    to need: inout MemoryNeed, points: Double, dimension d: Double, fits: Double
  ) {
    let K = Double(GaussianMixture.Options().clusters(forPoints: Int(points)))
    // Points, shares by point and by cluster, scatters of 128 points each.
    need.add(
      "--workers", "\(Int(fits)) fits of mixtures at the same time",
      fits * (points * (2 * d + 3 * K) + d * d * (points / 128 + 5 * K)))
  }

  private func addNetwork(
    to need: inout MemoryNeed, _ hidden: [Int], from inputs: Double, to outputs: Double,
    batch: Double, workers: Int
  ) {
    let layers = [inputs] + hidden.map(Double.init) + [outputs]
    let parameters = zip(layers, layers.dropFirst()).reduce(0) { $0 + ($1.0 + 1) * $1.1 }
    // Weights, the last good ones, the optimizer's two averages, a gradient per worker.
    need.add(
      "--hidden", "a network of \(Int(parameters)) parameters", parameters * (5 + Double(workers)),
      of: 4)
    need.add(
      "--batch", "minibatches of \(Int(batch)) samples", 3 * batch * layers.reduce(0, +), of: 4)
  }
}
