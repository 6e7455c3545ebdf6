import Foundation
import GPSTestSupport
import GuidedPolicySearch
import Testing

/// Places that cannot be written to, paths that lead through links, and a machine without what programs take for
/// granted.
@Suite struct PlacesTests {
  private let here: URL

  init() throws {
    here = try testFolder("places")
    let made = try shell(
      """
      cat >model.xml <<'END'
      \(Self.model)
      END
      cat >tiny.yaml <<'END'
      \(Self.tiny)
      END
      "$GPS" run tiny.yaml --quiet --output run
      """, in: here)
    #expect(made.status == 0, "\(made.errors)")
  }

  private func sh(_ script: String) throws -> Outcome { try shell(script, in: here) }

  private static let model = """
    <mujoco><worldbody><body><joint name="j"/><geom size=".1"/></body></worldbody>
    <actuator><motor joint="j"/></actuator></mujoco>
    """

  private static let tiny = """
    task: tiny
    system: {native: {model: {pointMass: {mass: 1, damping: 0.5, forceLimit: 10}}, controlPeriod: 0.05}}
    horizon: 6
    conditions: {common: {goal: [2, 0, 0]}, train: [{name: a, state: [0, -0.2, 0, 0]}]}
    cost: [{control: {weights: 0.01}}, {point: {points: [mass], target: goal, l2: 1, log: 0.1, alpha: 1e-3}}]
    initialController: {lqr: {gains: 1, stiffness: 0.5, velocityStiffness: 0.5}}
    network: {hiddenLayers: [4]}
    training: {steps: 3}
    algorithm: {iterations: 2, samples: 2}
    """

  // MARK: - What cannot be written

  /// Each place by each command that writes: a path, why, and what helps.
  @Test("a place that cannot be written to is told with its reason and what helps", .slow)
  func unwritable() throws {
    let outcome = try sh(
      """
      # Who may do all tries as nobody.
      if [ $(id -u) = 0 ]; then nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
      else nobody() { "$@"; }; fi
      chmod 755 .; nobody test -r "$GPS" -a -x "$PWD" || nobody() { "$@"; }
      mkdir closed open; chmod 555 closed; chmod 777 open; : >flat; ln -s turn turn
      long=open/$(printf 'x%.0s' $(seq 300)); cp -r run locked; chmod -R a+rX,a-w locked
      tell() { # PLACE COMMAND…
        place=$1; shift
        nobody "$GPS" "$@" >/dev/null 2>err; code=$?
        case $code in 64 | 70) ;; *) echo "$*: exit code $code"; cat err ;; esac
        [ $(grep -vc '^gps: warning: iteration ' err) = 1 ] && grep -qE "cannot write .*$place.*: .+ [(].+[)]" err ||
          { echo "$*: $(cat err)"; }
      }
      places="flat/deep /proc/none $long turn/x"
      if [ "$(nobody id -u)" != 0 ]; then places="$places closed/sub"; fi
      for place in $places; do
        tell $place run tiny.yaml --quiet --output $place
        tell $place run tiny.yaml --quiet --output $place --force
        tell $place optimize tiny.yaml --quiet --output $place
        tell $place evaluate run --rollouts 1 --actions $place
        tell $place init model.xml --output $place.yaml
        tell $place export run --onnx $place
        tell $place report run --output $place
      done
      tell flat run tiny.yaml --quiet --output flat
      tell open/no evaluate run --rollouts 1 --actions open/no/actions.csv
      tell open/no init model.xml --output open/no/model.yaml
      if [ "$(nobody id -u)" != 0 ]; then
        tell locked resume locked --iterations 3 --quiet
        tell locked run tiny.yaml --quiet --output locked --force
        tell locked report locked
        cd closed; tell runs run ../tiny.yaml --quiet; cd ..
      fi
      exit 0
      """)
    #expect(outcome.status == 0 && outcome.output.isEmpty, "\(outcome.output)\(outcome.errors)")
  }

  @Test("a file system that can only be read, and one that is full", .slow, .enabled(if: canMount))
  func fileSystems() throws {
    let script = """
      mkdir fixed full
      mount -t tmpfs -o size=64k none full && head -c 1M /dev/zero >full/most 2>/dev/null
      mount -t tmpfs none fixed && cp -r run fixed && mkdir fixed/empty && mount -o remount,ro none fixed || exit 1
      tell() { # REASON PLACE COMMAND…
        reason=$1; place=$2; shift 2
        "$GPS" "$@" >/dev/null 2>err; code=$?
        case $code in 64 | 70) ;; *) echo "$*: exit code $code" ;; esac
        grep -qE "cannot write .*$place.*: $reason [(].+[)]" err || { echo "$*: $(cat err)"; }
      }
      for reason in Read-only No.space; do
        place=fixed; [ $reason = Read-only ] || place=full
        tell $reason.* $place run tiny.yaml --quiet --output $place/out
        tell $reason.* $place optimize tiny.yaml --quiet --output $place/out2
        tell $reason.* $place evaluate run --rollouts 1 --actions $place/actions.csv
        tell $reason.* $place init model.xml --output $place/model.yaml
        tell $reason.* $place export run --c $place/policy.h
        tell $reason.* $place report run --output $place/page.html
      done
      tell Read-only.* fixed run tiny.yaml --quiet --output fixed/empty
      tell Read-only.* fixed run tiny.yaml --quiet --output fixed/run --force
      tell Read-only.* fixed resume fixed/run --iterations 3 --quiet
      "$GPS" evaluate fixed/run --rollouts 1 >/dev/null || echo "a run that can only be read is not evaluated"
      "$GPS" check fixed/run/experiment.yaml >/dev/null || echo "nor checked"
      exit 0
      """
    let outcome = try sh(
      "unshare -m /bin/bash -c '\(script.replacingOccurrences(of: "'", with: "'\\''"))'")
    #expect(outcome.status == 0 && outcome.output.isEmpty, "\(outcome.output)\(outcome.errors)")
  }

  private static let canMount: Bool = {
    let outcome = try? shell("unshare -m mount -t tmpfs none .", in: testFolder("mount"))
    return outcome?.status == 0
  }()

  // MARK: - Links

  /// Above a link is what is above the place that it leads to.
  @Test("two dots behind a link lead where the system goes")
  func links() throws {
    let outcome = try sh(
      """
      mkdir -p a/b; ln -s a/b link; cp model.xml a/m.xml
      # What lies where the text alone would lead is another thing.
      sed 's/^horizon: 6/horizon: 5/' tiny.yaml >a/x.yaml; sed 's/^horizon: 6/horizon: 7/' tiny.yaml >x.yaml
      echo '<mujoco/>' >m.xml
      "$GPS" run link/../x.yaml --quiet --output link/../out >told || exit 1
      [ -d a/out ] && [ ! -e out ] && grep -qx 'horizon: 5' a/out/experiment.yaml || exit 2
      grep -qx 'run directory: link/../out' told || exit 3
      "$GPS" resume link/../out --iterations 3 --quiet >/dev/null || exit 4
      "$GPS" evaluate link/../out --rollouts 1 --actions link/../actions.csv >/dev/null && [ -f a/actions.csv ] || exit 5
      "$GPS" evaluate link/../out/policy.safetensors --rollouts 1 --conditions link/../x.yaml >/dev/null || exit 6
      "$GPS" optimize link/../x.yaml --quiet --iterations 1 --output "$PWD/link/../best" >/dev/null 2>&1 || exit 7
      [ -d a/best ] && [ ! -e best ] || exit 8
      "$GPS" run link/../x.yaml --quiet --output link/../out --force >/dev/null || exit 9
      "$GPS" export link/../out --c link/../p.h && "$GPS" report link/../out >/dev/null || exit 15
      [ -f a/p.h ] && [ -f a/out/report.html ] && "$GPS" watch link/../out --once >/dev/null || exit 16
      # A model and demonstrations, seen from an experiment.
      cat >model.yaml <<'END'
      task: model
      system: {mujoco: {model: link/../m.xml, state: [jointPositions, jointVelocities]}}
      horizon: 4
      conditions: {train: [{name: a}]}
      cost: [{control: {weights: 1}}]
      initialController: {constant: {deviation: 0.3}}
      END
      "$GPS" check model.yaml >/dev/null || exit 10
      "$GPS" run tiny.yaml --quiet --output shown >/dev/null 2>&1
      "$GPS" check tiny.yaml --set 'initialController={demonstrations: {file: link/../../shown/trajectories.csv}}' \
        >/dev/null || exit 11
      # A draft names its model by a path that leads there.
      "$GPS" init link/../m.xml --output link/new.yaml >/dev/null && [ -f a/b/new.yaml ] || exit 12
      "$GPS" check link/new.yaml >/dev/null && "$GPS" check a/b/new.yaml >/dev/null || exit 13
      "$GPS" init model.xml --output link/../../top.yaml >/dev/null && "$GPS" check top.yaml >/dev/null || exit 14
      """)
    #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
  }

  @Test("a path that begins with ~ is a name like any other")
  func tilde() throws {
    let outcome = try sh(
      "\"$GPS\" run tiny.yaml --quiet --output '~' >/dev/null && [ -f '~/policy.safetensors' ] && cp tiny.yaml '~.yaml' "
        + "&& HOME=$PWD/home \"$GPS\" check '~.yaml' >/dev/null && [ ! -e home ]")
    #expect(outcome.status == 0, "\(outcome.errors)")
  }

  // MARK: - A strange machine

  @Test("without a home, a place for temporary files, a terminal or a user's name")
  func bareEnvironment() throws {
    let outcome = try sh(
      """
      for temporary in "" "TMPDIR=" "TMPDIR=$PWD/none" "TMPDIR=relative" "TMPDIR=/dev/null" "TMPDIR=/proc"; do
        rm -rf copy out; cp -r run copy
        bare() { env -i PATH="$PATH" LD_LIBRARY_PATH="$LD_LIBRARY_PATH" $temporary "$GPS" "$@" >told 2>err || {
          echo "$temporary $*"; cat err; }; }
        bare run tiny.yaml --quiet --output out; cmp -s out/policy.safetensors run/policy.safetensors || echo differs
        bare resume copy --iterations 3 --quiet
        bare evaluate run --rollouts 1 --actions actions.csv; bare init model.xml --force
        bare check model.yaml
      done
      # Archives with percent signs alone need such a place, and say so.
      sed 's/"j"/"j%s"/g' model.xml >percent.xml
      python3 -c 'import zipfile; zipfile.ZipFile("percent.mjz", "w").write("percent.xml")'
      TMPDIR=$PWD "$GPS" init percent.mjz >/dev/null || exit 2
      [ -z "$(ls | grep gps-archive)" ] || exit 3
      for folder in $PWD/none /proc /dev/null; do
        TMPDIR=$folder "$GPS" init percent.mjz --force >told 2>err; [ $? = 64 ] || exit 4
        grep -q "no temporary folder $folder/gps-archive-.*: .* (set TMPDIR to a folder that takes one)" err || exit 5
      done
      """)
    #expect(outcome.status == 0 && outcome.output.isEmpty, "\(outcome.output)\(outcome.errors)")
  }
}
