import Foundation
import GPSTestSupport
import GuidedPolicySearch
import Testing

/// Whatever stands where something is to be written stays what it is, and nothing of others' is lost.
@Suite struct OutputTests {
  private let here: URL

  init() throws {
    here = try testFolder("output")
    let run = try shell("\"$GPS\" \(tinyRun) --output run", in: here)
    #expect(run.status == 0, "\(run.errors)")
  }

  private func sh(_ script: String) throws -> Outcome { try shell(script, in: here) }

  @Test func filesAndLinks() throws {
    let script = """
      umask 027; evaluate() { "$GPS" evaluate run --rollouts 1 --actions "$1" >/dev/null; }
      for name in x é - " " a/b; do mkdir -p a; evaluate "$name" && [ -s "$name" ] && rm -r "$name" || exit 4; done; rmdir a
      evaluate new.csv && evaluate new.csv && [ "$(stat -c %a new.csv)" = 640 ] || exit 1
      echo old >target; chmod 600 target; ln -s target link
      evaluate link && [ -L link ] && cmp -s target new.csv && [ "$(stat -c %a target)" = 600 ] || exit 2
      [ "$(ls | tr '\\n' ' ')" = "link new.csv run target " ] || exit 3
      """
    let outcome = try sh(script)
    #expect(outcome.status == 0, "\(outcome.errors)")
  }

  @Test func pipesAndDevices() throws {
    let outcome = try sh(
      """
      "$GPS" evaluate run --rollouts 1 --actions file.csv >/dev/null || exit 1
      mkfifo pipe; cat pipe >got & "$GPS" evaluate run --rollouts 1 --actions pipe >/dev/null || exit 2
      wait; [ -p pipe ] && cmp -s got file.csv || exit 3
      "$GPS" evaluate run --rollouts 1 --actions >(cat >got2) >/dev/null || exit 4
      "$GPS" evaluate run --rollouts 1 --actions /dev/null >/dev/null || exit 5
      [ -c /dev/null ] || exit 6
      "$GPS" evaluate run --rollouts 1 --actions /dev/stdout | cmp -s -n 200 - file.csv || exit 7
      "$GPS" evaluate run --rollouts 1 --actions /dev/full >/dev/null 2>err; [ $? = 70 ] || exit 8
      grep -q 'cannot write /dev/full: No space left' err && [ -c /dev/full ] || exit 9
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
  }

  @Test(arguments: [
    (".", "it is a folder"), ("run/policy.safetensors", "it is an input"),
    ("run/experiment.yaml", "it is an input"), ("run/progress.csv", "it is an input"),
    ("run/checkpoints/best.safetensors", "it is an input"), ("hard", "it is an input"),
    ("soft", "it is an input"), ("dangling", "a link that leads nowhere"),
    ("missing/file", "No such file or directory"), ("", "an empty path"),
    ("nobody", "nobody reads from this pipe"),
  ])
  func refused(_ path: String, _ words: String) throws {
    let outcome = try sh(
      """
      ln run/policy.safetensors hard; ln -s run/experiment.yaml soft; ln -s missing/x dangling
      mkfifo nobody; cp -r run before
      "$GPS" evaluate run --rollouts 1 --actions "\(path)"; code=$?
      diff -r run before && [ -L dangling ] && [ -p nobody ] && exit $code
      exit 1
      """)
    #expect(outcome.status == (path == "nobody" ? 70 : 64), "\(outcome.errors)")
    #expect(outcome.errors.contains(words), "\(outcome.errors)")
  }

  @Test func forceNeedsARun() throws {
    let outcome = try sh(
      """
      mkdir mine; sed 's/^task: .*/task: mine # hours of work/' run/experiment.yaml >mine/experiment.yaml
      echo "my own notes" >mine/log.txt; : >mine/.lock; cp -r mine before
      "$GPS" run mine/experiment.yaml --output mine --force --quiet 2>err; [ $? = 64 ] || exit 1
      "$GPS" run run/experiment.yaml --output mine --force --quiet 2>err; [ $? = 64 ] || exit 1
      grep -q 'no run of this program' err || exit 2
      "$GPS" run mine/experiment.yaml --output mine --resume --quiet 2>/dev/null && exit 3
      diff -r mine before || exit 4
      # What a run is made from is not what it replaces.
      cp -r run before-run
      "$GPS" run run/experiment.yaml --output run --force --quiet 2>err; [ $? = 64 ] || exit 5
      grep -q 'copy it elsewhere first' err && diff -r run before-run || exit 6
      cp run/experiment.yaml copy.yaml; "$GPS" run copy.yaml --output run --force --quiet || exit 7
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
  }

  @Test func allThatIsReadIsAnInput() throws {
    let outcome = try sh(
      """
      cp run/experiment.yaml conditions.yaml; cp conditions.yaml kept
      cp run/policy.safetensors alone.safetensors
      for path in conditions.yaml ./conditions.yaml "$PWD/conditions.yaml"; do
        "$GPS" evaluate alone.safetensors --rollouts 1 --conditions conditions.yaml --actions "$path" 2>err
        [ $? = 64 ] && grep -q 'it is an input' err && cmp -s conditions.yaml kept || exit 1
      done
      # Demonstrations in the run that their learner would replace.
      start="initialController={demonstrations: {file: $PWD/run/trajectories.csv}}"
      "$GPS" \(tinyRun) --output shown --set "$start" || exit 2
      cp -r run before
      "$GPS" \(tinyRun) --output run --force --set "$start" 2>err
      [ $? = 64 ] && grep -q 'copy it elsewhere first' err && diff -r run before || exit 3
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
  }

  @Test func standardStreams() throws {
    // Full: told, and no success.
    for command in ["tasks", "options", "--help", "--version", "evaluate run --rollouts 1"] {
      let outcome = try sh("\"$GPS\" \(command) >/dev/full")
      #expect(outcome.status == 70, "\(command)")
      #expect(outcome.errors.contains("cannot write to standard output: No space left on device"))
    }
    // A file that may not grow.
    for command in ["tasks", "check point-mass", "evaluate run --rollouts 1"] {
      let outcome = try sh(
        """
        (ulimit -f 0; exec "$GPS" \(command) >limited 2>&3) 3> >(cat >told); code=$?
        for i in $(seq 50); do [ -s told ] && break; sleep 0.1; done; cat told; exit $code
        """)
      #expect(outcome.status == 70 && outcome.output.contains("standard output: File too large"))
    }
    let full = try sh("\"$GPS\" \(tinyRun) --output full >/dev/full; echo $?; ls full")
    #expect(full.output.hasPrefix("70\n") && full.output.contains("summary.json"))
    // A reader that goes away is none of a run's business.
    let read = try sh("set -o pipefail; \"$GPS\" \(tinyRun) --output read | true; echo $?")
    #expect(read.output == "0\n", "\(read.errors)")
  }

  /// Whatever is closed, files of the run hold what they always do.
  @Test(.slow) func closedStreams() throws {
    for closed in 1..<8 {
      let redirections =
        (closed & 1 != 0 ? "<&- " : "") + (closed & 2 != 0 ? ">&- " : "")
        + (closed & 4 != 0 ? "2>&-" : "")
      for command in [tinyRun, tinyRun + " --workers 8"] {
        let outcome = try sh(
          """
          rm -rf closed; "$GPS" \(command) --output closed \(redirections); code=$?
          [ $code = 0 ] || exit 1
          for f in conditions.csv rollouts.csv trajectories.csv policy.safetensors experiment.yaml; do
            cmp -s closed/$f run/$f || exit 2; done
          [ ! -s closed/.lock ] || exit 3
          """)
        #expect(outcome.status == 0, "\(command) \(redirections): \(outcome.errors)")
      }
    }
  }
}
