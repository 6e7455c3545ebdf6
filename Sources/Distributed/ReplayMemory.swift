public import GPSCore
public import GlobalPolicy
import LinearAlgebra

/// What the network learns from in an asynchronous search: the last local steps of each condition, with what its
/// controllers do along their rollouts.
public struct ReplayMemory: Storable {
  /// One local step.
  public struct Entry: Sendable, Equatable {
    /// The condition's number.
    public var condition: Int
    /// How many local steps of the condition came before it.
    public var step: Int
    /// What the network is to do there.
    public var share: DistillationSet.Share
  }

  /// In the order of the conditions, and of the steps in each.
  public private(set) var entries: [Entry] = []
  /// Local steps of a condition that are kept.
  public let capacity: Int

  /// A memory of nothing.
  ///
  /// - Parameter capacity: local steps of a condition that are kept, at least 1.
  public init(capacity: Int) {
    precondition(capacity >= 1, "a memory of \(capacity) local steps")
    self.capacity = capacity
  }

  /// Takes in a local step, and lets go of the oldest of its condition where there is no more room.
  ///
  /// - Parameters:
  ///   - share: what the network is to do there.
  ///   - step: how many local steps of its condition came before, more than of any that is here.
  public mutating func add(_ share: DistillationSet.Share, step: Int) {
    let entry = Entry(condition: share.condition, step: step, share: share)
    let end = entries.firstIndex { $0.condition > share.condition } ?? entries.count
    entries.insert(entry, at: end)
    let own = entries.indices.filter { entries[$0].condition == share.condition }
    if own.count > capacity { entries.remove(at: own[0]) }
  }

  /// What was there before some step of every condition.
  func before(step: Int) -> ReplayMemory {
    var copy = self
    copy.entries.removeAll { $0.step >= step }
    return copy
  }

  /// What the network learns from.
  ///
  /// - Parameter ageWeight: a factor on the weight of a step for each newer one of its condition.
  /// - Returns: the entries' shares, weighted by age.
  public func shares(ageWeight: Double) -> [DistillationSet.Share] {
    entries.indices.map { i in
      var share = entries[i].share
      let newer = entries[(i + 1)...].count { $0.condition == share.condition }
      var factor = 1.0
      for _ in 0..<newer { factor *= ageWeight }
      if factor != 1 {
        share.weights = (share.weights ?? [Double](repeating: 1, count: share.precisions.count)).map
        {
          factor * $0
        }
      }
      return share
    }
  }

  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    writer.put("capacity", text: capacity)
    writer.put("entries", text: entries.count)
    for (index, entry) in entries.enumerated() {
      writer.within("entries.\(index)") { writer in
        writer.put("condition", text: entry.condition)
        writer.put("step", text: entry.step)
        writer.put("precisions", entry.share.precisions)
        if let weights = entry.share.weights { writer.put("weights", weights) }
        writer.put("parts", entry.share.parts)
      }
    }
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    let capacity = try reader.count("capacity")
    if !(1...1000).contains(capacity) {
      throw StoredValueError("a replay memory of \(capacity) local steps is not usable")
    }
    self.init(capacity: capacity)
    for index in 0..<(try reader.count("entries", of: "local steps")) {
      let own = reader.within("entries.\(index)")
      let precisions = try own.sequence("precisions")
      if precisions.rows != precisions.columns {
        throw StoredValueError("a precision is of \(precisions.rows) × \(precisions.columns)")
      }
      let weights =
        own.holds("weights") ? try own.numbers("weights", precisions.count) : nil
      let entry = Entry(
        condition: try own.count("condition"), step: try own.count("step"),
        share: DistillationSet.Share(
          condition: try own.count("condition"),
          parts: try own.parts("parts", controls: precisions.rows, steps: precisions.count),
          precisions: precisions, weights: weights))
      if let last = entries.last,
        (last.condition, last.step) >= (entry.condition, entry.step)
      {
        throw StoredValueError("its local steps are not in order")
      }
      entries.append(entry)
    }
  }

  /// Why it is not one of a task of these sizes, as a clause; nil if it is.
  func mismatch(with dimensions: Dimensions, conditions: Int) -> String? {
    let fits = entries.allSatisfy { entry in
      entry.condition < conditions && entry.share.precisions.rows == dimensions.control
        && entry.share.precisions.count <= dimensions.horizon
        && entry.share.parts.allSatisfy { $0.observations.rows == dimensions.observation }
    }
    return fits ? nil : "its replay memory is of another task"
  }
}
