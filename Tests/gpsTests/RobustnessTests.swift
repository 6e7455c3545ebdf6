import Foundation
import GPSTestSupport
import GuidedPolicySearch
import Testing

@testable import GPSCore
@testable import Runs

/// Files, names, limits and habits that are not what the program hopes for.
@Suite struct RobustnessTests {
  private let here: URL

  init() throws {
    here = try testFolder("robust")
    let run = try shell("\"$GPS\" \(tinyRun) --output run", in: here)
    #expect(run.status == 0, "\(run.errors)")
  }

  private func sh(_ script: String) throws -> Outcome { try shell(script, in: here) }

  // MARK: - Special files

  /// Every file of a run in turn becomes a pipe, a device, a folder or a link that leads nowhere: each
  /// command ends by itself, and the disk fills with nothing.
  @Test(
    "special files in the place of a run's own end no command in a hang", .slow,
    .timeLimit(.minutes(20)))
  func specialFiles() throws {
    let names = [
      "experiment.yaml", "progress.csv", "conditions.csv", "rollouts.csv", "trajectories.csv",
      "policy.safetensors", "summary.json", "log.txt", ".lock", "checkpoints/best.safetensors",
      "checkpoints/iteration-000001.safetensors",
    ]
    for name in names {
      for make in ["mkfifo", "ln -s /dev/zero", "ln -s /dev/full", "mkdir", "ln -s missing/x"] {
        let outcome = try sh(
          """
          for command in "evaluate bad --rollouts 1" "resume bad --iterations 2 --quiet" \\
            "\(tinyRun) --output bad --force"; do
            rm -rf bad; cp -r run bad; rm -f bad/\(name); \(make) bad/\(name)
            "$GPS" $command >/dev/null 2>err; code=$?
            case $code in 0) ;; 64 | 70) [ "$(grep -c . err)" -ge 1 ] || exit 1 ;; *) exit 2 ;; esac
          done
          """)
        #expect(outcome.status == 0, "\(make) \(name): \(outcome.errors)")
      }
    }
  }

  @Test func specialFilesAsArguments() throws {
    for path in ["pipe", "/dev/zero", "/dev/null", "run/checkpoints", "sparse", "missing"] {
      let outcome = try sh(
        """
        [ -p pipe ] || mkfifo pipe; truncate -s 1T sparse
        for command in "evaluate" "resume" "run"; do
          cp -f /dev/null err; "$GPS" $command ./\(path.hasPrefix("/") ? ".." + path : path) >/dev/null 2>>err
          [ $? = 64 ] && [ $(grep -c 'NSCocoa' err) = 0 ] || { cat err; exit 1; }
        done
        """.replacingOccurrences(of: "./..", with: ""))
      #expect(outcome.status == 0, "\(path): \(outcome.output)")
    }
    let folder = try sh("\"$GPS\" resume run/checkpoints/best.safetensors")
    #expect(folder.status == 64 && folder.errors.contains("wants the run's folder (run)"))
  }

  // MARK: - Names and messages

  private func written(_ change: (String, String), as name: String) throws {
    var text = try String(
      contentsOf: here.appendingPathComponent("run/experiment.yaml"), encoding: .utf8)
    let range = try #require(text.range(of: change.0))
    text.replaceSubrange(range, with: change.1)
    try text.write(to: here.appendingPathComponent(name), atomically: true, encoding: .utf8)
  }

  @Test(arguments: [
    #"\e[31mred\e[0m\nforged line"#, #"\x9b31m\x85\u2028next"#, #"\u202Egnp.exe\u2066"#,
    #"\uE000\u0378\U000E0001"#, #"a,\"b\"\r\n0,forged"#, #"\0\a\b\t"#, #"$x^2$ \\alpha"#,
    #"\ud7ff\ufffd\ufffe\uffff\U0010FFFF"#, #"~"#, #"null"#, #" lead and trail "#, #"- a: b # c"#,
  ])
  func namesForgeNothing(_ name: String) throws {
    try written(("task: point-mass", "task: \"\(name)\""), as: "named.yaml")
    var decoded = ""
    do {
      decoded = try Experiment.read(here.appendingPathComponent("named.yaml")).task
    } catch {
      #expect("\(error)".isPlain)
      return
    }
    let run = try sh("\"$GPS\" run named.yaml --output named")
    #expect(run.status == 0, "\(run.errors)")
    #expect(run.output.isPlain && run.errors.isPlain)
    #expect(run.output.split(separator: "\n").count == 4, "\(run.output)")
    let resumed = try sh("\"$GPS\" resume named --iterations 2 --quiet")
    #expect(resumed.status == 0 && resumed.output.isPlain, "\(resumed.errors)")
    let log = try String(contentsOf: here.appendingPathComponent("named/log.txt"), encoding: .utf8)
    #expect(log.isPlain)
    let evaluation = try sh("\"$GPS\" evaluate named --rollouts 1")
    #expect(evaluation.status == 0 && evaluation.output.isPlain)
    let summary = try JSONDecoder().decode(
      Summary.self, from: Data(contentsOf: here.appendingPathComponent("named/summary.json")))
    // Scalar by scalar: Swift takes some texts that differ for the same.
    #expect(Array(summary.task.unicodeScalars) == Array(decoded.unicodeScalars))
  }

  @Test func messagesAreShortAndNameTheirPlace() throws {
    try written(
      ("task: point-mass", "task: \"" + String(repeating: "x", count: 20_000) + "\"\nx: 1"),
      as: "long.yaml")
    for arguments in [
      "run long.yaml", "run point-mass --set \"$(printf 'x%.0s' $(seq 20000))=1\"",
      "run \"$(printf 'x%.0s' $(seq 20000))\"", "evaluate \"$(printf 'x/%.0s' $(seq 9000))\"",
      "run point-mass --\"$(printf 'x%.0s' $(seq 20000))\"",
    ] {
      let outcome = try sh("\"$GPS\" \(arguments)")
      #expect(outcome.status == 64, "\(arguments)")
      for line in outcome.errors.split(separator: "\n") { #expect(line.count < 2100) }
      #expect(outcome.errors.isPlain)
    }
    try (Data("task: a\n  # gr".utf8) + Data([0xC3, 0x28]) + Data("\n".utf8)).write(
      to: here.appendingPathComponent("latin.yaml"))
    let latin = try sh("\"$GPS\" run latin.yaml")
    #expect(latin.status == 64 && latin.errors.contains("latin.yaml:2:7: not UTF-8 text"))
  }

  @Test(arguments: [
    "--set algorithm.iterations=2 --iterations 3", "--set seed=1 --set seed=2",
    "--seed 4 --set seed=5", "--set training.steps=5 --set training={}",
    "--iterations 2 --iterations 3", "--seed=1 --seed 2", "--workers 1 --quiet --workers=2",
    "--output other",
    "--set conditions.train.0.name=a --set conditions.train.00.name=b",
  ])
  func contradictionsAreRefused(_ options: String) throws {
    let outcome = try sh("\"$GPS\" run point-mass --output out \(options)")
    #expect(outcome.status == 64 && outcome.errors.contains("contradict each other"))
    #expect(!FileManager.default.fileExists(atPath: here.appendingPathComponent("out").path))
  }

  private struct Arguments: Decodable {
    struct Command: Decodable {
      var commandName: String
      var arguments: [Argument]?
      var subcommands: [Command]?
    }
    struct Argument: Decodable {
      struct Name: Decodable { var name: String }
      var kind: String
      var isRepeating: Bool
      var preferredName: Name?
    }
    var command: Command
  }

  /// Of all options of all commands that take one value, no first one is lost without a word.
  @Test func noOptionTakesTheLastOfTwoValues() throws {
    let help = try gps(["--experimental-dump-help"])
    let commands =
      try JSONDecoder().decode(Arguments.self, from: Data(help.output.utf8)).command
      .subcommands ?? []
    var count = 0
    for command in commands {
      for argument in command.arguments ?? []
      where argument.kind == "option" && !argument.isRepeating {
        let name = "--" + (argument.preferredName?.name ?? "")
        let values = command.commandName == "init" ? ["a.yaml", "b.yaml"] : ["1", "2"]
        let more = name == "--output" && command.commandName == "run" ? ["--resume"] : []
        // The one that works for others takes no task.
        let what =
          command.commandName != "work" ? ["x"] : name == "--cluster" ? [] : ["--cluster", "x"]
        let twice = try gps(
          [command.commandName] + what + more + [name, values[0], name + "=" + values[1]], in: here)
        #expect(
          twice.status == 64 && twice.errors.contains("contradict each other"),
          "\(command.commandName) \(name): \(twice.errors)")
        count += 1
      }
    }
    #expect(count > 15)
    let flags = try gps(
      ["optimize", "point-mass", "--second-derivatives", "--no-second-derivatives"], in: here)
    #expect(flags.status == 64, "\(flags.errors)")
    for options in ["--horizon 5 --set horizon=6", "--set horizon=5 --set horizon=6"] {
      let outcome = try sh("\"$GPS\" evaluate run --rollouts 1 \(options)")
      #expect(outcome.status == 64 && outcome.errors.contains("contradict each other"))
    }
  }

  @Test func agreementIsNoContradiction() throws {
    let outcome = try sh(
      "\"$GPS\" \(tinyRun) --samples=1 --set algorithm.iterations=1 "
        + "--set algorithm.samples=1.0 --output out; "
        + "\"$GPS\" run point-mass --output '' && exit 1; [ -d runs ] && exit 2; true")
    #expect(outcome.status == 0, "\(outcome.errors)")
  }

  // MARK: - Want

  /// Whatever is short, the program ends by itself and says why.
  @Test(
    "too little memory, too few descriptors: a sentence and an exit", .slow,
    .timeLimit(.minutes(20)))
  func want() throws {
    let limits =
      (3..<24).map { "ulimit -n \($0)" }
      + stride(from: 60_000, to: 1_200_000, by: 40_000).map { "ulimit -v \($0)" }
      + stride(from: 10_000, to: 200_000, by: 10_000).map { "ulimit -d \($0)" }
    for limit in limits {
      // The last of them starts another process.
      for command in [
        tinyRun + " --output out", "evaluate run --rollouts 3", "tasks", "check reacher",
      ] {
        let outcome = try sh(
          "rm -rf out; (\(limit); exec timeout -s KILL 300 \"$GPS\" \(command)) >out.txt 2>err.txt; code=$?; "
            + "[ $code = 0 ] || [ -s err.txt ] || exit 1; exit $code")
        // 127: the system could not even load the program, and said so.
        #expect([0, 64, 70, 127].contains(outcome.status), "\(limit); \(command)")
      }
    }
  }

  /// OpenBLAS ends a program without threads as if somebody had interrupted it.
  @Test func noThreadAtAll() throws {
    let other = geteuid() == 0 ? "setpriv --reuid 65534 --regid 65534 --clear-groups" : ""
    for limit in 1..<5 {
      let outcome = try sh("chmod -R a+rX . ..; ulimit -u \(limit); exec \(other) \"$GPS\" tasks")
      // A user with other programs at work has no process left for any.
      if outcome.status == 126 || outcome.errors.contains("fork") { continue }
      #expect(
        outcome.status == 0
          || outcome.status == 70 && outcome.errors.contains("gps: the system allows no thread"),
        "\(limit): \(outcome.status) \(outcome.errors)")
    }
  }

  @Test func argumentsAreText() throws {
    for bytes in [#"\xff"#, #"a\xc3("#, #"\xed\xa0\x80"#] {
      for command in ["run", "evaluate run --actions", "run point-mass --output", "check"] {
        let outcome = try sh(
          "\"$GPS\" \(command) \"$(printf '\(bytes)')\"; code=$?; ls | wc -l; exit $code")
        #expect(outcome.status == 64 && outcome.errors.contains("is not UTF-8 text"))
        #expect(outcome.output == "1\n", "\(outcome.output)")
      }
    }
  }

  @Test(arguments: [
    ("--samples 100000 --set horizon=20000", "algorithm.samples: too much memory"),
    ("--set network.hiddenLayers=[9000,9000]", "network.hiddenLayers: too much memory"),
    (
      "--set horizon=1000000",
      "horizon: too much memory: 1000000 steps of 4 conditions with 4 states and 2 controls make "
        + "1.44e+08 numbers for each matrix that is kept (at most 1e8)"
    ),
  ])
  func memoryIsComputedBeforehand(_ options: String, _ words: String) throws {
    let outcome = try sh(
      "ulimit -v 2000000; \"$GPS\" run point-mass --output out \(options)")
    #expect(outcome.status == 64 && outcome.errors.contains(words), "\(outcome.errors)")
    let settings = options.replacingOccurrences(of: "--samples ", with: "--set algorithm.samples=")
    let check = try sh("ulimit -v 2000000; \"$GPS\" check point-mass \(settings)")
    #expect(check.status == 64 && check.errors.contains(words), "\(check.errors)")
    #expect(!FileManager.default.fileExists(atPath: here.appendingPathComponent("out").path))
  }

  @Test(arguments: [
    ("--rollouts 1000000", "--rollouts 1000000: too much memory: an evaluation takes about 0.8 GB"),
    ("--draws 1000000", "--draws 1000000: too much memory: an evaluation takes about 0.8 GB"),
    (
      "--rollouts 1 --horizon 100000 --set memory.history=1000 --workers 4",
      "horizon: too much memory: an evaluation takes about"
    ),
    (
      "--rollouts 100000 --actions actions.csv",
      "--rollouts 100000: too much memory: an evaluation takes about"
    ),
  ])
  func whatAnEvaluationKeepsIsComputedBeforehand(_ options: String, _ words: String) throws {
    let outcome = try sh("ulimit -d 600000; \"$GPS\" evaluate run \(options)")
    #expect(outcome.status == 64, "\(outcome.errors)")
    #expect(outcome.errors.contains(words), "\(outcome.errors)")
    #expect(outcome.errors.contains("; this machine allows 0.6 GB"), "\(outcome.errors)")
  }

  /// What searches on known dynamics keep, and what a policy learns from after one.
  @Test(arguments: [
    (
      "optimize cart-pole --set optimization.sampling.samples=1000000",
      "optimization.sampling.samples: too much memory: a run takes about"
    ),
    (
      "run cart-pole --set 'initialController={optimize: {sampling: {samples: 1000000}}}'",
      "initialController.optimize.sampling.samples: too much memory: a run takes about"
    ),
    (
      "run cart-pole --iterations 40 --set memory.history=1000 --set horizon=100",
      "algorithm.iterations: too much memory: a run takes about"
    ),
    (
      "run point-mass --samples 1000 --set dynamics.maxTrajectories=1000000 --iterations 1000 "
        + "--set dynamics.mixture.maxClusters=1000000 --set dynamics.mixture.minSamplesPerCluster=1",
      "dynamics.mixture: too much memory: a run takes about"
    ),
    (
      "run point-mass --set training.batchSize=16777216 --samples 5000 --set horizon=1000 "
        + "--set network.hiddenLayers=[600,600]",
      "training.batchSize: too much memory: a run takes about"
    ),
  ])
  func whatSearchesKeepIsComputedBeforehand(_ command: String, _ words: String) throws {
    let outcome = try sh("ulimit -v 3000000; \"$GPS\" \(command) --output searching")
    #expect(outcome.status == 64 && outcome.errors.contains(words), "\(outcome.errors)")
    #expect(
      !FileManager.default.fileExists(atPath: here.appendingPathComponent("searching").path))
  }

  /// Each worker simulates with data of its own.
  @Test(.slow) func whatWorkersSimulateWithIsComputedBeforehand() throws {
    let conditions = (0..<16).map { "{name: c\($0)}" }.joined(separator: ", ")
    let outcome = try sh(
      """
      cat >large.xml <<'END'
      <mujoco><size nuserdata="5000000"/><worldbody><body><joint name="j"/><geom size=".1"/></body></worldbody>
      <actuator><motor joint="j"/></actuator></mujoco>
      END
      cat >large.yaml <<'END'
      task: large
      system: {mujoco: {model: large.xml, state: [jointPositions, jointVelocities]}}
      horizon: 4
      conditions: {train: [\(conditions)]}
      cost: [{control: {weights: 1}}]
      initialController: {constant: {deviation: 0.3}}
      algorithm: {samples: 1}
      END
      ulimit -d 650000
      for command in "run large.yaml --samples 2 --output large" "check large.yaml --set algorithm.samples=2"; do
        "$GPS" $command --workers 4096 2>err; [ $? = 64 ] && [ ! -e large ] || exit 1
        grep -q 'workers 4096: too much memory: a run takes about .* the model.s data for [1-9][0-9] workers' err ||
          { cat err >&2; exit 2; }
      done
      "$GPS" run large.yaml --iterations 1 --output large --workers 1 --quiet >/dev/null || exit 3
      "$GPS" evaluate large --rollouts 2 --workers 4096 2>err; [ $? = 64 ] && grep -q "an evaluation takes" err || exit 4
      "$GPS" evaluate large --rollouts 2 --workers 1 >/dev/null || exit 5
      """)
    #expect(outcome.status == 0, "\(outcome.status): \(outcome.errors)")
  }

  @Test(arguments: [64, 98, 150, 300])
  func aSmallStackIsASentence(_ kilobytes: Int) throws {
    for command in ["evaluate run", "resume run", "check reacher", "init m.xml"] {
      let outcome = try sh("ulimit -s \(kilobytes); \"$GPS\" \(command)")
      #expect(outcome.status == 70, "\(command): \(outcome.errors)")
      #expect(
        outcome.errors.contains(
          "a stack of \(kilobytes) kB where 512 are needed; raise its limit (ulimit -s)"))
    }
  }

  /// What benchmarks need is looked for before another program takes this one's place.
  @Test func aBenchmarkWithoutMemoryIsASentence() throws {
    let outcome = try sh(
      """
      mkdir -p Benchmarks scripts; : >Benchmarks/Package.swift; printf '#!/bin/sh\necho begun\n' >scripts/gps
      chmod 755 scripts/gps; export GPS_ROOT=$PWD; "$GPS" bench lqr; ulimit -d 100000; "$GPS" bench lqr
      """)
    #expect(outcome.status == 70 && outcome.output == "begun\n", "\(outcome.output)")
    #expect(outcome.errors.contains("MB more memory, which OpenBLAS needs"), "\(outcome.errors)")
  }

  /// Folders that may not be read or searched are no empty ones.
  @Test func whatMayNotBeReadIsToldAsThat() throws {
    let outcome = try sh(
      """
      cp -r run closed
      # Who may do all tries as nobody.
      run() { if [ $(id -u) = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi; }
      [ $(id -u) = 0 ] && chown -R 65534:65534 closed && chmod 755 .
      run test -r "$GPS" -a -x "$PWD" || { echo skipped; exit 0; }
      before=$(cat closed/*.csv | cksum)
      chmod 000 closed/checkpoints
      run "$GPS" resume closed; echo $?
      run "$GPS" \(tinyRun) --output closed --resume; echo $?
      run "$GPS" \(tinyRun) --output closed --force; echo $?
      [ "$before" = "$(cat closed/*.csv | cksum)" ]; echo kept $?
      chmod 755 closed/checkpoints; chmod 000 closed
      run "$GPS" evaluate closed; echo $?
      run "$GPS" resume closed; echo $?
      run "$GPS" evaluate closed/policy.safetensors; echo $?
      run "$GPS" init closed/model.xml --output new.yaml; echo $?
      chmod 755 closed
      """)
    if outcome.output == "skipped\n" { return }
    #expect(
      outcome.output == "64\n64\n70\nkept 0\n64\n64\n64\n64\n",
      "\(outcome.output)\(outcome.errors)")
    #expect(
      outcome.faults.count == 7 && outcome.faults.allSatisfy { !$0.contains("no such") }
        && outcome.faults.dropLast().allSatisfy { $0.contains(": Permission denied") },
      "\(outcome.errors)")
  }

  // MARK: - On record

  @Test func failuresAreOnRecord() throws {
    // The cost of the first rollout already is infinite.
    try written(("iterations: 1", "iterations: 3"), as: "failing.yaml")
    let outcome = try sh(
      "\"$GPS\" run failing.yaml --set 'conditions.train.1.state=[1e300, 0, 0, 0]' "
        + "--set 'conditions.train.0.state=[1e300, 0, 0, 0]' --set 'conditions.train.2.state=[1e300, 0, 0, 0]' "
        + "--set 'conditions.train.3.state=[1e300, 0, 0, 0]' --output failed")
    #expect(outcome.status == 70, "\(outcome.errors)")
    let rows = try String(
      contentsOf: here.appendingPathComponent("failed/rollouts.csv"), encoding: .utf8
    ).split(separator: "\n").dropFirst()
    #expect(
      rows.count == 12 && rows.allSatisfy { $0.contains(",discarded,") && $0.contains("step ") })
    let conditions = try String(
      contentsOf: here.appendingPathComponent("failed/conditions.csv"), encoding: .utf8
    ).split(separator: "\n").dropFirst()
    #expect(conditions.count == 4)
    let summary = try JSONDecoder().decode(
      Summary.self, from: Data(contentsOf: here.appendingPathComponent("failed/summary.json")))
    #expect(
      summary.outcome == .failed && summary.discardedRollouts == 12 && summary.iterations == 0)
    #expect(summary.failure?.contains("no rollout of iteration 0 succeeded") == true)
  }

  @Test func aPolicyThatCannotBeUsedIsNoSuccess() throws {
    for goal in ["1e30", "1e100", "1e155", "1e200"] {
      let outcome = try sh(
        "rm -rf out; \"$GPS\" \(tinyRun) --set 'conditions.train.1.goal=[\(goal), 0]' --output out "
          + "|| exit 0; \"$GPS\" evaluate out --rollouts 1")
      #expect(outcome.status == 0, "\(goal): \(outcome.errors)")
    }
  }

  @Test func missingRowsAndOtherModelsAreNoticed() throws {
    let outcome = try sh(
      """
      "$GPS" run point-mass --iterations 4 --samples 1 --set training.steps=3 --quiet --output long
      for line in 2 3 4 5; do for file in progress conditions; do
        rm -rf copy; cp -r long copy; sed -i ${line}d copy/$file.csv
        "$GPS" resume copy --iterations 5 --quiet >/dev/null 2>err || exit 1
        grep -q "$file.csv lacks rows of the iterations before 4" err || exit 2
      done; done
      cp -r long copy2; "$GPS" resume copy2 --iterations 5 --quiet 2>err >/dev/null; grep -q lacks err && exit 3
      "$GPS" run cart-pole --iterations 1 --samples 1 --set training.steps=3 --quiet --output arm 2>/dev/null
      cp -r run mixed; cp arm/policy.safetensors mixed
      "$GPS" evaluate mixed --rollouts 1 >/dev/null 2>err; [ $? = 64 ] || exit 4
      "$GPS" \(tinyRun) --set 'network.hiddenLayers=[7]' --output other
      cp -r run mixed2; cp other/policy.safetensors mixed2
      "$GPS" evaluate mixed2 --rollouts 1 >/dev/null 2>err || exit 5
      grep -q "warning: the policy is not this run's" err || exit 6
      sed -i 's/^horizon: 10/horizon: 12/' run/experiment.yaml
      "$GPS" evaluate run --rollouts 1 >/dev/null 2>err || exit 7
      grep -q 'warning: this is not what the run learned on' err || exit 8
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
  }
}
