import Synchronization
import Testing

@testable import Networks

@Suite struct SpinBarrierTests {
  private final class Counts: Sendable {
    let arrivals = Atomic(0)
    let early = Atomic(0)
  }

  /// Nobody leaves a meeting before all have come to it, whether they spin or give way
  /// because one of them is late.
  @Test(arguments: [1, 2, 5])
  func nobodyLeavesBeforeAllHaveCome(parties: Int) async {
    let barrier = SpinBarrier(parties: parties)
    let counts = Counts()
    let rounds = 400
    await withTaskGroup(of: Void.self) { group in
      for party in 0..<parties {
        group.addTask {
          for round in 0..<rounds {
            if round % 20 == 0, party == round / 20 % parties {
              try? await Task.sleep(for: .milliseconds(2))
            }
            counts.arrivals.add(1, ordering: .relaxed)
            await barrier.wait()
            if counts.arrivals.load(ordering: .relaxed) < parties * (round + 1) {
              counts.early.add(1, ordering: .relaxed)
            }
            await barrier.wait()
          }
        }
      }
    }
    #expect(counts.arrivals.load(ordering: .relaxed) == parties * rounds)
    #expect(counts.early.load(ordering: .relaxed) == 0)
  }
}
