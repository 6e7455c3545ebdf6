import Foundation
import GPSTestSupport
import Statistics
import Testing

/// Random surroundings: what stands in the place of files, what is short, which streams are closed, when somebody
/// interrupts. Each try is a command that ends by itself, with one of the exit codes of the program and a word
/// where it fails.
@Suite struct SurroundingsFuzzTests {
  /// `GPS_SURROUNDINGS=1000` makes more tries than an ordinary test, `GPS_SURROUNDINGS=500-1000` those that 1000
  /// have and 500 have not: a try is the same whatever was tried before it.
  private static func numbers() throws -> Range<Int> {
    let text = ProcessInfo.processInfo.environment["GPS_SURROUNDINGS"] ?? "30"
    let bounds = text.split(separator: "-").map { Int($0) }
    switch (bounds.first ?? nil, bounds.last ?? nil, bounds.count) {
    case (let last?, _, 1): return 0..<last
    case (let first?, let last?, 2) where first <= last: return first..<last
    default: throw NoRange(text: text)
    }
  }

  /// What takes no longer than a program's start: an experiment of 6 steps from one state, `tiny.yaml`, a run of it,
  /// `run`, and one with a model, `mujoco.yaml`.
  private func folderWithRun() throws -> URL {
    let here = try testFolder("surroundings")
    try """
    task: tiny
    system: {native: {model: {pointMass: {mass: 1, damping: 0.5, forceLimit: 10}}, controlPeriod: 0.05}}
    horizon: 6
    conditions: {common: {goal: [2, 0, 0]}, train: [{name: a, state: [0, -0.2, 0, 0]}]}
    cost: [{control: {weights: 0.01}}, {point: {points: [mass], target: goal, l2: 1, log: 0.1, alpha: 1e-3}}]
    initialController: {lqr: {gains: 1, stiffness: 0.5, velocityStiffness: 0.5}}
    network: {hiddenLayers: [4]}
    training: {steps: 3}
    algorithm: {iterations: 2, samples: 2}
    """.write(to: here.appendingPathComponent("tiny.yaml"), atomically: true, encoding: .utf8)
    try """
    <mujoco><worldbody><body><joint name="j"/><geom size=".1"/></body></worldbody>
    <actuator><motor joint="j"/></actuator></mujoco>
    """.write(to: here.appendingPathComponent("model.xml"), atomically: true, encoding: .utf8)
    try """
    task: mujoco
    system: {mujoco: {model: model.xml, state: [jointPositions, jointVelocities]}}
    horizon: 4
    conditions: {train: [{name: a}]}
    cost: [{control: {weights: 1}}]
    initialController: {constant: {deviation: 0.3}}
    network: {hiddenLayers: [4]}
    training: {steps: 3}
    algorithm: {iterations: 1, samples: 2}
    """.write(to: here.appendingPathComponent("mujoco.yaml"), atomically: true, encoding: .utf8)
    let runs = try shell(
      """
      echo kept >keep; chmod a+rwx .
      "$GPS" run tiny.yaml --quiet --output run && "$GPS" run mujoco.yaml --quiet --output arm
      """, in: here)
    #expect(runs.status == 0, "\(runs.errors)")
    return here
  }

  private func random(_ part: UInt64, _ number: Int) -> RandomStream {
    RandomStream(seed: part).child(.custom, number)
  }

  private struct NoRange: Error { var text: String }

  private func pick<T>(_ items: [T], _ random: inout RandomStream) -> T {
    items[random.index(below: items.count)]
  }

  /// Ends a script in which `$code` is what a command ended with, and `err` what it said.
  private static let verdict = """
    case $code in
      0) ;;
      64 | 70) [ -s err ] || { echo "no word"; exit 90; } ;;
      *) echo "exit code $code"; exit 91 ;;
    esac
    """

  // MARK: - Special files

  @Test(
    "whatever stands in the place of a run's files", .slow, .timeLimit(.minutes(600)))
  func specialFiles() throws {
    let here = try folderWithRun()
    let names = [
      "experiment.yaml", "progress.csv", "conditions.csv", "rollouts.csv", "trajectories.csv",
      "policy.safetensors", "policy-last.safetensors", "summary.json", "log.txt", ".lock",
      "checkpoints", "checkpoints/best.safetensors", "checkpoints/iteration-000001.safetensors",
      "checkpoints/iteration-000002.safetensors", "checkpoints/iteration-000003.safetensors", "",
    ]
    let makers = [
      "mkfifo $f", "mkdir $f", "ln -s /dev/zero $f", "ln -s /dev/full $f", "ln -s /dev/null $f",
      "ln -s missing/x $f", "ln -s $(basename $f) $f", "ln -s . $f", "ln -s / $f",
      "truncate -s 1T $f",
      ": >$f", "printf '\\xff\\xfe\\0' >$f", "head -c 100000 /dev/zero >$f",
      "ln -s /proc/self/mem $f",
      "head -c 3000 ../run/policy.safetensors >$f", "seq 100000 | tr '\\n' ',' >$f",
      "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('$f')\"",
      "ln ../keep $f", "cp ../run/progress.csv $f", "cp ../run/checkpoints/best.safetensors $f",
    ]
    let commands = [
      "evaluate bad --rollouts 1", "evaluate bad/$n --rollouts 1",
      "resume bad --iterations 3 --quiet", "run tiny.yaml --quiet --output bad --force",
      "run tiny.yaml --quiet --output bad --resume", "run tiny.yaml --quiet --output bad/$n",
      "run bad/$n --output out --quiet", "check bad/experiment.yaml",
      "evaluate run --rollouts 1 --actions bad/$n",
      "evaluate run --rollouts 1 --conditions ./bad/$n", "init bad/$n --output out.yaml --force",
      "init run/experiment.yaml --output bad/x.yaml",
      "optimize tiny.yaml --iterations 1 --quiet --output bad --force",
      "run mujoco.yaml --set system.mujoco.model=bad/$n --quiet --output out",
      "report bad", "report run --output bad/$n", "watch bad --once", "export bad --c policy.h",
      "export run --onnx bad/$n", "run tiny.yaml --quiet --output bad --force --tensorboard",
    ]
    for number in try Self.numbers() {
      var random = random(61, number)
      let (name, make) = (pick(names, &random), pick(makers, &random))
      let command = pick(commands, &random)
      let script = """
        rm -rf bad out out.yaml; cp -r run bad; n='\(name)'
        if [ -n "$n" ]; then
          rm -rf "bad/$n"; (cd bad; f=$n; \(make)) 2>/dev/null
        else
          rm -rf bad; n=x; f=bad; \(make.replacingOccurrences(of: "../", with: "")) 2>/dev/null
        fi
        timeout -s KILL 100 "$GPS" \(command) >/dev/null 2>err; code=$?
        read -r kept <keep; [ "$kept" = kept ] || { echo "a file of others' has changed"; exit 92; }
        [ -c /dev/null ] && [ -c /dev/full ] || exit 93
        \(Self.verdict)
        """
      let outcome = try shell(script, in: here)
      #expect(
        outcome.status == 0, "try \(number): \(make) at '\(name)', \(command): \(outcome.output)")
    }
  }

  // MARK: - Want

  @Test("limits of all kinds at once", .slow, .timeLimit(.minutes(600)))
  func limits() throws {
    let here = try folderWithRun()
    let commands = [
      "run tiny.yaml --quiet --output out", "evaluate run --rollouts 3",
      "resume copy --iterations 3 --quiet", "check mujoco.yaml", "tasks",
      "optimize tiny.yaml --iterations 2 --quiet --output out",
      "evaluate run --rollouts 1 --actions out.csv", "run mujoco.yaml --quiet --output out",
      "evaluate arm --rollouts 2", "init model.xml --output out.csv",
    ]
    // The limit on processes is nobody's who may do all: it is tried as somebody else.
    let other = geteuid() == 0 ? "setpriv --reuid 65534 --regid 65534 --clear-groups" : ""
    for number in try Self.numbers() {
      var random = random(62, number)
      var limits: [String] = []
      var isOther = false
      for _ in 0...random.index(below: 2) {
        switch random.index(below: 6) {
        case 0: limits.append("ulimit -n \(random.index(below: 30))")
        case 1: limits.append("ulimit -v \(20_000 + random.index(below: 1_500_000))")
        case 2: limits.append("ulimit -d \(5_000 + random.index(below: 400_000))")
        case 3: limits.append("ulimit -f \(1 + random.index(below: 399))")
        case 4: limits.append("ulimit -s \(64 + random.index(below: 8000))")
        default:
          limits.append("ulimit -u \(1 + random.index(below: 12))")
          isOther = true
        }
      }
      let command = pick(commands, &random)
      let script = """
        rm -rf out out.csv copy; \(command.contains("copy") ? "cp -r run copy; chmod -R a+rwX copy" : "")
        (\(limits.joined(separator: "; "))
          exec timeout -s KILL 200 \(isOther ? other : "") "$GPS" \(command)) >out.txt 2>err
        code=$?
        # The system could not even load the program, and said so.
        case $code in 125 | 126 | 127) exit 0 ;; esac
        \(Self.verdict)
        """
      let outcome = try shell(script, in: here)
      #expect(
        outcome.status == 0,
        "try \(number): \(limits.joined(separator: "; ")); \(command): \(outcome.output)")
    }
  }

  // MARK: - Descriptors

  @Test("streams closed, full, or other than they should be", .slow, .timeLimit(.minutes(600)))
  func descriptors() throws {
    let here = try folderWithRun()
    let inputs = ["<&-", "</dev/null", "</", "<>/dev/full", "</dev/zero", "0>/dev/null", ""]
    let outputs = [
      ">&-", ">/dev/full", ">/dev/null", "1<run/log.txt", "1</", ">told", "> >(exit)",
      "1<>/dev/zero",
    ]
    let errors = [
      "2>&-", "2>/dev/full", "2>/dev/null", "2<run/log.txt", "2</", "2>&1", "2> >(exit)",
    ]
    let extras = ["", "3>&-", "3</ 4<&3", "5>/dev/full", "9<run/log.txt 7>&9"]
    let files = "conditions.csv rollouts.csv trajectories.csv policy.safetensors experiment.yaml"
    // A resumed run adds to tables and replaces what has one content.
    let tables = "conditions.csv rollouts.csv trajectories.csv"
    let commands = [
      "run tiny.yaml --output out", "evaluate run --rollouts 2", "check tiny.yaml", "tasks",
      "--help", "resume copy --iterations 3 --quiet", "evaluate missing",
      "optimize tiny.yaml --iterations 1 --output other", "run mujoco.yaml --output other",
      "check mujoco.yaml", "evaluate arm --rollouts 2 --actions /dev/stdout",
    ]
    for number in try Self.numbers() {
      var random = random(63, number)
      let workers = pick([1, 2, 8], &random)
      var command = pick(commands, &random)
      if !["tasks", "--help"].contains(command) { command += " --workers \(workers)" }
      let redirections = [
        pick(inputs, &random), pick(errors, &random), pick(outputs, &random), pick(extras, &random),
      ].joined(separator: " ")
      let script = """
        rm -rf out other copy told; \(command.contains("copy") ? "cp -r run copy" : "")
        (exec timeout -s KILL 100 "$GPS" \(command) \(redirections)); code=$?
        # 141: nobody reads, as `gps tasks | head` ends.
        case $code in 0 | 64 | 70 | \(redirections.contains("(exit)") ? 141 : 0)) ;;
          *) echo "exit code $code"; exit 91 ;;
        esac
        if [ -d out ] && [ -f out/policy.safetensors ]; then
          for f in \(files); do cmp -s out/$f run/$f || { echo "$f differs"; exit 92; }; done
          [ ! -s out/.lock ] || exit 93
        fi
        if [ -d copy ]; then for f in \(tables); do
          cmp -s -n $(stat -c %s run/$f) copy/$f run/$f || { echo "$f of the copy differs"; exit 94; }
        done; fi
        """
      let outcome = try shell(script, in: here)
      #expect(
        outcome.status == 0, "try \(number): \(command) \(redirections): \(outcome.output)")
    }
  }

  // MARK: - Signals

  @Test("one or two signals at any moment, at 1, 2 and 8 workers", .slow, .timeLimit(.minutes(600)))
  func signals() throws {
    let here = try folderWithRun()
    let commands = [
      "run tiny.yaml --quiet --output out", "resume copy --iterations 4 --quiet",
      "evaluate run --rollouts 200", "check tiny.yaml",
      "optimize tiny.yaml --iterations 30 --quiet --output out",
      "init model.xml --output out.yaml --force", "evaluate run --rollouts 20 --actions out.csv",
      "check mujoco.yaml", "run mujoco.yaml --quiet --output out",
    ]
    let whole = try shell(
      "cp -r run whole && \"$GPS\" resume whole --iterations 4 --quiet", in: here)
    #expect(whole.status == 0, "\(whole.errors)")
    // How long each takes on this machine, loaded as it is: a moment is drawn from that.
    var lives: [String: Double] = [:]
    for number in try Self.numbers() {
      var random = random(64, number)
      let workers = [1, 2, 8][number % 3]
      var command = pick(commands, &random)
      if !command.hasPrefix("init") { command += " --workers \(workers)" }
      let signal = pick(["INT", "TERM"], &random)
      let moments = (0...random.index(below: 2)).map { _ in random.uniform() }
      let life: Double
      if let known = lives[command] {
        life = known
      } else {
        let clock = ContinuousClock()
        let start = clock.now
        let outcome = try shell(
          "rm -rf out out.csv out.yaml copy; cp -r run copy; \"$GPS\" \(command)", in: here)
        #expect(outcome.status == 0, "\(command): \(outcome.errors)")
        life = (clock.now - start) / .seconds(1)
        lives[command] = life
      }
      let delays = moments.map { 1.2 * life * $0 / Double(moments.count) }
      let script = """
        rm -rf out out.csv out.yaml copy; \(command.contains("copy") ? "cp -r run copy" : "")
        env --default-signal=INT,TERM "$GPS" \(command) >/dev/null 2>err & pid=$!
        for d in \(delays.map { "\($0)" }.joined(separator: " ")); do
          sleep $d; kill -\(signal) $pid 2>/dev/null || break
        done
        wait $pid; code=$?
        case $code in 0 | \(signal == "INT" ? 130 : 143)) ;; *) echo "exit code $code"; exit 91 ;; esac
        case "\(command)" in
          run*)
            "$GPS" \(command) --resume >/dev/null 2>err || { cat err; exit 92; }
            case "\(command)" in *tiny*) same=run ;; *) same=arm ;; esac
            for f in conditions.csv rollouts.csv trajectories.csv policy.safetensors experiment.yaml; do
              cmp -s out/$f $same/$f || { echo "$f differs"; exit 93; }; done ;;
          resume*)
            "$GPS" resume copy --iterations 4 --quiet >/dev/null 2>err || { cat err; exit 92; }
            for f in conditions.csv rollouts.csv trajectories.csv policy.safetensors; do
              cmp -s copy/$f whole/$f || { echo "$f differs"; exit 93; }; done ;;
        esac
        """
      let outcome = try shell(script, in: here)
      #expect(
        outcome.status == 0,
        "try \(number): \(command), \(signal) after \(delays): \(outcome.output)")
    }
  }
}
