/// Which rows of each op's parameters belong to which worker, in blocks, so that every worker has about
/// the same number of parameters.
struct RowShares: Sendable {
  /// Rows whose squares are summed together; shares begin where blocks do, so that sums are the same for
  /// any number of workers.
  static let block = 4

  /// `rows[worker][step]`.
  let rows: [[Range<Int>]]
  /// Where each step's blocks begin among all, and how many there are.
  let blockOffsets: [Int]
  let blockCount: Int

  init(_ plan: Plan, workers: Int) {
    var blocks = 0
    blockOffsets = plan.steps.map { step in
      defer { blocks += (step.rows + Self.block - 1) / Self.block }
      return blocks
    }
    blockCount = blocks
    var shares = [[Range<Int>]](repeating: plan.steps.map { _ in 0..<0 }, count: workers)
    var done = 0
    for (s, step) in plan.steps.enumerated() {
      for row in stride(from: 0, to: step.rows, by: Self.block) {
        let end = min(row + Self.block, step.rows)
        // The worker in whose share the block's middle lies.
        let middle = done + (end - row) * step.outputsPadded / 2
        let worker = min(workers - 1, middle * workers / max(1, plan.parameterCount))
        let range = shares[worker][s]
        shares[worker][s] = range.isEmpty ? row..<end : range.lowerBound..<end
        done += (end - row) * step.outputsPadded
      }
    }
    rows = shares
  }
}
