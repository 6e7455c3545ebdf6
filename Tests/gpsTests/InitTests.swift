import Foundation
import GPSTestSupport
import GuidedPolicySearch
import Testing

/// `gps init`: a first experiment that runs, whatever drives the model.
@Suite("First experiments") struct InitTests {
  static let models: [String: String] = [
    "motors": """
    <mujoco>
      <worldbody>
        <body><joint name="shoulder" axis="0 1 0" damping="0.5"/><geom size="0.05" fromto="0 0 0 0 0 -0.5" type="capsule"/></body>
      </worldbody>
      <actuator><motor name="m" joint="shoulder" ctrllimited="true" ctrlrange="-2 2"/></actuator>
    </mujoco>
    """,
    "unlimited, unnamed": """
    <mujoco>
      <worldbody>
        <body><joint type="slide" axis="1 0 0" damping="1"/><geom size="0.1"/></body>
      </worldbody>
      <actuator><motor joint="0"/></actuator>
    </mujoco>
    """.replacingOccurrences(of: "joint=\"0\"", with: "joint=\"j\"").replacingOccurrences(
      of: "<joint type", with: "<joint name=\"j\" type"),
    "servos": """
    <mujoco>
      <option gravity="0 0 0"/>
      <worldbody>
        <body><joint name="a b" axis="0 1 0" damping="0.5"/><geom size="0.05" fromto="0 0 0 0 0 -0.5" type="capsule"/></body>
      </worldbody>
      <actuator><position name="servo: 1" joint="a b" kp="5" ctrllimited="true" ctrlrange="-2 2"/></actuator>
      <keyframe><key name="home &amp; rest" qpos="0.7" ctrl="0.7"/><key qpos="-0.4" ctrl="-0.4"/></keyframe>
    </mujoco>
    """,
    "tendon": """
    <mujoco>
      <worldbody>
        <site name="root" pos="0.1 0 0.2"/>
        <body>
          <joint name="elbow" axis="0 1 0" damping="0.5"/><geom size="0.05" fromto="0 0 0 0 0 -0.5" type="capsule"/>
          <site name="hand" pos="0 0 -0.4"/>
        </body>
      </worldbody>
      <tendon><spatial name="t"><site site="root"/><site site="hand"/></spatial></tendon>
      <actuator><muscle name="biceps" tendon="t" force="20" lengthrange="0.1 1"/></actuator>
      <sensor><tendonpos name="length" tendon="t"/></sensor>
    </mujoco>
    """,
    "free, thrusters": """
    <mujoco>
      <worldbody>
        <body pos="0 0 1"><freejoint name="root"/><geom size="0.1" mass="1"/><site name="t1" pos="0.1 0 0"/><site name="t2" pos="-0.1 0 0"/></body>
      </worldbody>
      <actuator>
        <motor name="f1" site="t1" gear="0 0 1 0 0 0" ctrllimited="true" ctrlrange="0 10"/>
        <motor name="f2" site="t2" gear="0 0 1 0 0 0" ctrllimited="true" ctrlrange="0 10"/>
      </actuator>
    </mujoco>
    """,
  ]

  /// A palm that hangs on a mocap body, and a finger on it with a motor.
  private static let hand = """
    <mujoco>
      <worldbody>
        <body name="hand" mocap="true" pos="0 0 0.5"/>
        <body name="idle" mocap="true" pos="1 1 1"/>
        <body name="palm" pos="0 0 0.5"><freejoint name="palm"/><geom size="0.05" mass="0.5"/>
          <body pos="0 0 -0.05"><joint name="finger" axis="1 0 0" damping="0.1"/>
            <geom type="capsule" fromto="0 0 0 0 0 -0.1" size="0.01" mass="0.05"/></body>
        </body>
      </worldbody>
      <equality><weld body1="hand" body2="palm"/></equality>
      <actuator><motor name="finger" joint="finger" ctrlrange="-1 1"/></actuator>
    </mujoco>
    """

  @Test("Mocap bodies that others are welded to are controls, within bounds about where they start")
  func mocaps() async throws {
    let project = try Self.project(Self.hand)
    #expect(try gps(["init", "models/robot.xml"], in: project).status == 0)
    let loaded = try Experiment.load(project.appendingPathComponent("robot.yaml"))
    #expect(loaded.task.controlNames == ["finger", "hand.x_m", "hand.y_m", "hand.z_m"])
    let limits = try #require(loaded.task.controlLimits)
    for (i, start) in [0, 0, 0.5].enumerated() {
      let (below, above) = (start - limits.lower[1 + i], limits.upper[1 + i] - start)
      #expect(0.01 < below && below < 0.5 && abs(below - above) < 1e-6)
      #expect(loaded.initialControllers[0].offsets[1 + i, 0] == start)
    }
    #expect(try await loaded.check().problems.isEmpty)
    // Without actuators every mocap body may drive what it touches.
    let bare = Self.hand.replacing(/<actuator>.*<\/actuator>/, with: "")
    let other = try Self.project(bare)
    #expect(try gps(["init", "models/robot.xml"], in: other).status == 0)
    let driven = try Experiment.load(other.appendingPathComponent("robot.yaml"))
    #expect(driven.task.controlNames.count == 6 && driven.task.controlNames[3] == "idle.x_m")
  }

  @Test("Long lists of weights stand on lines of their own, and are read as one")
  func longLists() throws {
    let joints = (0..<40).map {
      "<body><joint name=\"joint_number_\($0)\" axis=\"0 1 0\" damping=\"0.5\"/><geom size=\"0.05\" contype=\"0\"/>"
    }
    let motors = (0..<40).map {
      "<motor name=\"m\($0)\" joint=\"joint_number_\($0)\" ctrlrange=\"-\($0 + 1) \($0 + 1)\"/>"
    }
    let project = try Self.project(
      "<mujoco><option gravity=\"0 0 0\"/><worldbody>" + joints.joined()
        + String(repeating: "</body>", count: 40)
        + "</worldbody><actuator>" + motors.joined() + "</actuator></mujoco>")
    #expect(try gps(["init", "models/robot.xml"], in: project).status == 0)
    let file = project.appendingPathComponent("robot.yaml")
    let text = try String(contentsOf: file, encoding: .utf8)
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 125 })
    #expect(try Experiment.load(file).task.dimensions.control == 40)
  }

  /// A folder of its own with a model in it.
  static func project(_ mjcf: String, _ name: String = "robot.xml") throws -> URL {
    let project = folder.appendingPathComponent("init-\(UUID().uuidString)", isDirectory: true)
    let models = project.appendingPathComponent("models", isDirectory: true)
    try FileManager.default.createDirectory(at: models, withIntermediateDirectories: true)
    try mjcf.write(to: models.appendingPathComponent(name), atomically: true, encoding: .utf8)
    return project
  }

  @Test("It runs as it is, and no rollout fails", .slow, arguments: models.keys.sorted())
  func runs(_ name: String) throws {
    let project = try Self.project(try #require(Self.models[name]))
    let draft = try gps(["init", "models/robot.xml", "--output", "my task.yaml"], in: project)
    #expect(draft.status == 0 && draft.errors.isEmpty, "\(draft.errors)")
    #expect(draft.output.hasPrefix("wrote my task.yaml: "))
    try Self.expectRuns("my task.yaml", in: project)
  }

  @Test("Servos are told to stay where their starts are")
  func servos() async throws {
    let project = try Self.project(try #require(Self.models["servos"]))
    #expect(try gps(["init", "models/robot.xml"], in: project).status == 0)
    let file = project.appendingPathComponent("robot.yaml")
    let loaded = try Experiment.load(file)
    #expect(loaded.task.conditions.map(\.name) == ["home & rest", "keyframe_1"])
    #expect(loaded.task.conditions.map(\.goal) == [[0.7], [-0.4]])
    let means = loaded.initialControllers.map { $0.offsets[0, 0] }
    #expect(means == [0.7, -0.4])
    // A model without keyframes says nothing of controls: they follow from where the joints are.
    let other = try Self.project(
      """
      <mujoco>
        <compiler angle="radian"/><option gravity="0 0 0"/>
        <worldbody>
          <body><joint name="j" axis="0 1 0" ref="0.5"/><geom size="0.1" pos="0 0 1"/></body>
        </worldbody>
        <actuator><position name="servo" joint="j" kp="5" gear="2"/></actuator>
      </mujoco>
      """)
    #expect(try gps(["init", "models/robot.xml"], in: other).status == 0)
    let resting = try Experiment.load(other.appendingPathComponent("robot.yaml"))
    // The length of the actuator is gear times angle.
    #expect(resting.initialControllers[0].offsets[0, 0] == 1)
    let check = try await resting.check()
    let state = try #require(check.tables.first { $0.columns[0] == "state" })
    #expect(state.rows.map { Array($0[1...2]) } == [["0.5", "0.5"], ["0", "0"]])
  }

  @Test("Where loud exploration fails there is less of it, and the file says why")
  func unstable() throws {
    // An angular acceleration of 3e7 rad/s² in half the range: 0.3 of it passes the limit of 1e6 rad/s soon.
    let project = try Self.project(
      """
      <mujoco>
        <option timestep="0.02"/>
        <worldbody>
          <body><joint name="j" axis="0 1 0"/><geom size="0.1" pos="0 0 0.3" mass="0.01"/></body>
        </worldbody>
        <actuator><motor name="m" joint="j" ctrllimited="true" ctrlrange="-200000 200000"/></actuator>
      </mujoco>
      """)
    let draft = try gps(["init", "models/robot.xml"], in: project)
    #expect(draft.status == 0, "\(draft.errors)")
    let file = project.appendingPathComponent("robot.yaml")
    let text = try String(contentsOf: file, encoding: .utf8)
    #expect(text.contains("# With more of it rollouts fail: "))
    #expect(!text.contains("deviation: 0.3"))
    #expect(try gps(["check", "robot.yaml"], in: project).status == 0)
  }

  @Test("Where a model itself grows without bounds, rollouts are short and as loud as ever")
  func grows() throws {
    // Positive feedback of 5 N m s/rad on 0.0168 kg m²: e times as fast every 3 ms. (The 1 tells it from a servo.)
    let project = try Self.project(
      """
      <mujoco>
        <worldbody><body><joint name="j"/><geom type="sphere" size="0.1"/></body></worldbody>
        <actuator>
          <motor joint="j" ctrlrange="-1 1"/>
          <general joint="j" gainprm="0" biastype="affine" biasprm="0 1 5"/>
        </actuator>
        <keyframe><key qvel="0.2"/></keyframe>
      </mujoco>
      """)
    let draft = try gps(["init", "models/robot.xml"], in: project)
    #expect(draft.status == 0 && draft.errors.isEmpty, "\(draft.errors)")
    let file = project.appendingPathComponent("robot.yaml")
    let text = try String(contentsOf: file, encoding: .utf8)
    #expect(text.contains("s; longer rollouts fail"))
    #expect(text.contains("deviation: 0.3}") && !text.contains("With more of it"))
    let loaded = try Experiment.load(file)
    #expect(loaded.task.dimensions.horizon == 10 && loaded.task.controlPeriod < 0.02)
    // Finer steps of the simulation do not help, and are not taken.
    #expect(!text.contains("timestep:"))
    try Self.expectRuns(in: project)
  }

  @Test("Where an inertia is singular the noise is as faint as it must be, and the file says so")
  func singular() throws {
    // Three slides in a plane: one of them has no mass of its own.
    let project = try Self.project(
      """
      <mujoco>
        <worldbody>
          <body>
            <joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
            <joint name="xy" type="slide" axis="1 1 0"/><geom type="box" size="0.05 0.05 0.05" mass="1"/>
          </body>
        </worldbody>
        <actuator><motor joint="x"/><motor joint="y"/><motor joint="xy"/></actuator>
      </mujoco>
      """)
    let draft = try gps(["init", "models/robot.xml"], in: project)
    #expect(draft.status == 0 && draft.errors.contains("nearly singular"), "\(draft.errors)")
    #expect(!draft.errors.contains("a rollout fails even so"), "\(draft.errors)")
    let text = try String(
      contentsOf: project.appendingPathComponent("robot.yaml"), encoding: .utf8)
    #expect(text.contains("# With more of it rollouts fail: "))
    try Self.expectRuns(in: project)
  }

  @Test("Of very many joints the state holds those that are driven and some others, and says so")
  func manyJoints() throws {
    let project = try Self.project(
      """
      <mujoco>
        <option gravity="0 0 0"><flag contact="disable"/></option>
        <worldbody>
          <replicate count="400" offset="0.3 0 0">
            <body><joint name="loose" type="slide" axis="0 0 1"/><geom size="0.1"/></body>
          </replicate>
          <body>
            <joint name="driven" axis="0 1 0" damping="1"/><geom size="0.1" pos="0 0 0.5"/>
            <body><joint name="hanging" type="ball"/><geom size="0.1"/></body>
          </body>
        </worldbody>
        <actuator><motor joint="driven" ctrlrange="-1 1"/></actuator>
        <keyframe><key name="one"/><key name="other"/></keyframe>
      </mujoco>
      """)
    let draft = try gps(["init", "models/robot.xml"], in: project)
    #expect(draft.status == 0, "\(draft.errors)")
    #expect(draft.errors.contains("of 402 joints"), "\(draft.errors)")
    let loaded = try Experiment.load(project.appendingPathComponent("robot.yaml"))
    let names = loaded.task.stateNames
    #expect(names.count <= 120 && names.contains("joint_positions.driven_rad"))
    #expect(names.contains("joint_velocities.hanging.wx_rad_per_s"))
    #expect(names.count { $0.contains("loose") } > 50)
    #expect(loaded.task.conditions[0].goal.count == names.count / 2)
    try Self.expectRuns(in: project)
  }

  /// A draft is without fault, and one iteration of it completes with no rollout discarded.
  private static func expectRuns(_ draft: String = "robot.yaml", in project: URL) throws {
    let check = try gps(["check", draft], in: project)
    #expect(check.status == 0, "\(check.errors)")
    #expect(check.output.contains("it can run"))
    let run = try gps(
      ["run", draft, "--iterations", "1", "--output", "run", "--set", "training.steps=5"],
      in: project)
    #expect(run.status == 0, "\(run.errors)")
    let rollouts = try String(
      contentsOf: project.appendingPathComponent("run/rollouts.csv"), encoding: .utf8)
    #expect(rollouts.contains("training") && !rollouts.contains("discarded"))
  }

  @Test("A file is replaced only if asked for")
  func overwrites() throws {
    let project = try Self.project(try #require(Self.models["motors"]))
    let file = project.appendingPathComponent("robot.yaml")
    try "mine".write(to: file, atomically: true, encoding: .utf8)
    let refused = try gps(["init", "models/robot.xml"], in: project)
    #expect(refused.status == 64)
    #expect(refused.errors.contains("robot.yaml: it exists already"))
    // What gps init has not written stays, whatever is asked for; so do links, pipes and the model.
    let forced = try gps(["init", "models/robot.xml", "--force"], in: project)
    #expect(forced.status == 64 && forced.errors.contains("not made by this program"))
    #expect(try String(contentsOf: file, encoding: .utf8) == "mine")
    try "# mine".write(
      to: project.appendingPathComponent("robot.yaml.tmp"), atomically: true, encoding: .utf8)
    let outcome = try shell(
      """
      mkfifo pipe.yaml; ln -s models/robot.xml link.yaml; ln models/robot.xml hard.yaml; ln -s gone dead.yaml
      mkdir folder.yaml
      for name in pipe link hard dead folder; do
        "$GPS" init models/robot.xml --force --output $name.yaml 2>>err && exit 1
      done
      [ -p pipe.yaml ] && [ -L link.yaml ] && [ -L dead.yaml ] || exit 2
      cmp hard.yaml models/robot.xml && grep -q mujoco models/robot.xml || exit 3
      rm robot.yaml; "$GPS" init models/robot.xml && cp robot.yaml first.yaml || exit 4
      sed -i 's/seed: 0/seed: 1/' robot.yaml; "$GPS" init models/robot.xml && exit 5
      "$GPS" init models/robot.xml --force && cmp robot.yaml first.yaml || exit 6
      grep -q mine robot.yaml.tmp && [ $(ls robot.yaml* | wc -l) = 2 ] || exit 7
      """, in: project)
    #expect(outcome.status == 0, "\(outcome.errors)")
  }

  @Test("What is no model is one sentence, and nothing is written")
  func badModels() throws {
    let project = try Self.project("<mujoco><worldbody/></mujoco>", "empty.xml")
    try "hello".write(
      to: project.appendingPathComponent("text.xml"), atomically: true, encoding: .utf8)
    for (arguments, message) in [
      (["nosuch.xml"], "nosuch.xml: no such model file"),
      (["text.xml"], "MuJoCo does not accept this model"),
      (["models/empty.xml"], "the model has no actuators"),
      (["models"], "cannot be read as a model"),
      (["models/empty.xml", "--output", "x.txt"], "\"x.txt\" is not allowed"),
      (["models/empty.xml", "--output", "nosuch/x.yaml"], "cannot write nosuch/x.yaml"),
    ] {
      let outcome = try gps(["init"] + arguments, in: project)
      #expect(outcome.status == 64 && outcome.output.isEmpty)
      #expect(outcome.errors.contains(message), "\(outcome.errors)")
    }
    let files = try FileManager.default.contentsOfDirectory(atPath: project.path).sorted()
    #expect(files == ["models", "text.xml"])
  }
}
