public import GPSCore
public import GlobalPolicy
public import PolicySearch
import Synchronization

/// All that travels from one cut of an asynchronous search to the next.
///
/// It is a consistent cut: every condition is where it was after the same number of local steps, and the network has learned
/// from all of them. What was on its way then is not here, and is done again by whoever goes on from it.
public struct AsynchronousState<
  Local: Storable, Link: Storable, Product: DistillablePolicy, Training: Storable
>: LearnerState {
  /// The search itself.
  public var search: SearchState<Local, Link, Product, Training>
  /// What the network learns from.
  public var replay: ReplayMemory
  /// Updates of the network so far.
  public var updates = 0
  /// Trainings so far.
  public var trainings = 0
  /// Which cut of this process it is; 0 for one of another. Not part of its value.
  var cut = 0

  /// Iterations done.
  public var iteration: Int { search.iteration }
  /// Rollouts that were learned from or decided anything, discarded ones aside.
  public var rollouts: Int { search.rollouts }

  /// A state from its parts.
  public init(
    search: SearchState<Local, Link, Product, Training>, replay: ReplayMemory
  ) {
    self.search = search
    self.replay = replay
  }

  /// Writes the parts, those of the search under the names that they have there.
  public func store(in writer: inout ValueWriter) {
    search.store(in: &writer)
    writer.within("replay") { replay.store(in: &$0) }
    writer.put("updates", text: updates)
    writer.put("trainings", text: trainings)
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    search = try SearchState(stored: reader)
    replay = try ReplayMemory(stored: reader.within("replay"))
    updates = try reader.count("updates")
    trainings = try reader.count("trainings")
  }

  /// Two are the same if all their parts are.
  public static func == (a: AsynchronousState, b: AsynchronousState) -> Bool {
    a.search == b.search && a.replay == b.replay && a.updates == b.updates
      && a.trainings == b.trainings
  }
}

/// Numbers for the cuts of a process.
enum Cuts {
  private static let last = Atomic(0)

  /// One that no other cut has; more than 0.
  static func number() -> Int { last.wrappingAdd(1, ordering: .relaxed).newValue }
}
