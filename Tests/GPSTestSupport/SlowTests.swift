import Foundation
public import Testing

extension Trait where Self == ConditionTrait {
  /// Left out where `GPS_FAST_TESTS` is set, as `scripts/test --fast` does: for what takes more than a
  /// second. (The command line of Swift Testing cannot choose by tags.)
  public static var slow: Self {
    .enabled(
      if: ProcessInfo.processInfo.environment["GPS_FAST_TESTS"] == nil,
      "slow tests are left out where GPS_FAST_TESTS is set")
  }
}
