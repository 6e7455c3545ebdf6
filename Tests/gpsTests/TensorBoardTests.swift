import Foundation
import GPSTestSupport
import GuidedPolicySearch
import Testing

/// `--tensorboard`: where event files are, and when they go. What is in them is read by TensorBoard itself
/// (`scripts/check-tensorboard`).
@Suite struct TensorBoardTests {
  @Test func filesComeAndGoWithTheRun() throws {
    let here = try testFolder("tensorboard")
    let outcome = try shell(
      """
      run() { "$GPS" \(tinyRun) --output run "$@" >/dev/null; }
      run && [ ! -e run/tensorboard ] || exit 1
      run --force --tensorboard && [ $(ls run/tensorboard | wc -l) = 1 ] || exit 2
      ls run/tensorboard | grep -q '^events\\.out\\.tfevents\\.[0-9]\\{10\\}\\.' || exit 3
      "$GPS" resume run --iterations 2 --tensorboard --quiet >/dev/null && [ $(ls run/tensorboard | wc -l) = 2 ] || exit 4
      for f in run/tensorboard/*; do "$GPS" evaluate run --rollouts 1 --actions $f 2>err; [ $? = 64 ] || exit 5; done
      grep -q 'it is an input' err || exit 6
      # What somebody else has put there stays.
      echo mine >run/tensorboard/notes; run --force && [ "$(ls run/tensorboard)" = notes ] || exit 7
      rm run/tensorboard/notes; run --force --tensorboard && run --force && [ ! -e run/tensorboard ] || exit 8
      # The same numbers with and without.
      run --force --tensorboard; cp -r run with; run --force
      for f in policy.safetensors trajectories.csv rollouts.csv; do cmp run/$f with/$f || exit 9; done
      """, in: here)
    #expect(outcome.status == 0, "\(outcome.errors)")
  }

  /// A run goes on where its event file cannot be written, and says so.
  @Test func aFullDiskEndsTheFileAlone() throws {
    let here = try testFolder("tensorboard")
    let outcome = try shell(
      """
      # Pictures make event files the largest by far where rollouts are short.
      (ulimit -f 200; "$GPS" run point-mass --iterations 30 --samples 1 --set training.steps=3 --set horizon=2 --set success=null \\
        --quiet --tensorboard --output run)
      """, in: here)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(
      outcome.errors.contains("File too large (")
        && outcome.errors.contains("; nothing more is written for TensorBoard"),
      "\(outcome.errors)")
  }

  @Test func noPlaceForIt() throws {
    let here = try testFolder("tensorboard")
    let outcome = try shell(
      """
      "$GPS" \(tinyRun) --output run >/dev/null || exit 1; echo mine >run/tensorboard
      "$GPS" \(tinyRun) --output run --force --tensorboard; code=$?; [ "$(cat run/tensorboard)" = mine ] && exit $code
      """, in: here)
    #expect(outcome.status == 70, "\(outcome.errors)")
    #expect(outcome.errors.contains("run/tensorboard/events.out.tfevents."), "\(outcome.errors)")
    #expect(outcome.errors.contains("Not a directory"), "\(outcome.errors)")
  }
}
