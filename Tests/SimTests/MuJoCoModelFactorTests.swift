import GPSCore
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

/// A box that is pushed along the floor by a springy, damped slide, and a ball that falls beside it. Every
/// number that a factor can scale stands for itself.
private func text(
  mass: Double = 1, friction: Double = 1, size: Double = 1, damping: Double = 1,
  armature: Double = 1, frictionLoss: Double = 1, stiffness: Double = 1
) -> String {
  """
  <mujoco>
    <option timestep="0.002"/>
    <worldbody>
      <geom name="floor" type="plane" size="5 5 0.1" friction="\(0.001) 0.005 0.0001"/>
      <body name="box" pos="0 0 0.1">
        <joint name="slide" type="slide" axis="1 0 0" damping="\(2 * damping)"
          armature="\(0.5 * armature)" frictionloss="\(0.3 * frictionLoss)"
          stiffness="\(8 * stiffness)"/>
        <joint name="drop" type="slide" axis="0 0 1"/>
        <inertial pos="0 0 0" mass="\(1.5 * mass)"
          diaginertia="\(0.01 * mass) \(0.01 * mass) \(0.01 * mass)"/>
        <geom name="block" type="box" size="\(0.1 * size) \(0.1 * size) \(0.1 * size)"
          friction="\(0.7 * friction) \(0.01 * friction) \(0.001 * friction)"/>
        <geom name="knob" type="sphere" size="0.02" pos="0 0 0.1"/>
      </body>
      <body name="ball" pos="0 1 \(0.3)">
        <freejoint name="flight"/>
        <inertial pos="0 0 0" mass="0.2" diaginertia="0.001 0.001 0.001"/>
        <geom name="shell" type="sphere" size="\(0.05 * size)"/>
      </body>
    </worldbody>
    <actuator><motor name="push" joint="slide" gear="10"/></actuator>
  </mujoco>
  """
}

private func interface(_ text: String) throws -> MuJoCoInterface {
  try MuJoCoInterface(
    model: MuJoCoModel(mjcf: text), substeps: 5, state: [.jointPositions(), .jointVelocities()])
}

private func rollout(
  _ interface: MuJoCoInterface, _ factors: [ModelParameter: Double] = [:],
  on plant: MuJoCoPlant? = nil
) throws -> [[Double]] {
  var condition = Condition(name: "a", initialPlantState: try interface.model.plantState())
  condition.modelFactors = factors
  let plant = try plant ?? interface.makePlant()
  return try plant.rollout(
    condition, steps: 40, state: interface.stateNames.count, control: 1, scale: 2)
}

@Suite struct MuJoCoModelFactorTests {
  /// A model written with the scaled numbers is the independent twin.
  @Test(
    "A scaled model moves as one that was written so",
    arguments: [
      ([.mass], ["box"], text(mass: 1.7)), ([.friction], ["block"], text(friction: 1.7)),
      ([.size, .size], ["block", "shell"], text(size: 1.7)),
      ([.damping], ["slide"], text(damping: 1.7)), ([.armature], ["slide"], text(armature: 1.7)),
      ([.frictionLoss], ["slide"], text(frictionLoss: 1.7)),
      ([.stiffness], ["slide"], text(stiffness: 1.7)),
    ] as [([ModelParameter.Quantity], [String], String)])
  func twins(_ quantities: [ModelParameter.Quantity], _ names: [String], _ twin: String) throws {
    let shared = try interface(text())
    let factors = Dictionary(
      uniqueKeysWithValues: zip(quantities, names).map { (ModelParameter($0, of: $1), 1.7) })
    let scaled = try rollout(shared, factors)
    let written = try rollout(interface(twin))
    for (a, b) in zip(scaled, written) { #expect(expectClose(a, b, within: 1e-9)) }
    #expect(try scaled != rollout(shared))

    // Factors never come on top of others, and leave the shared model alone.
    let plant = try shared.makePlant()
    let before = try rollout(shared, on: plant)
    #expect(try rollout(shared, factors, on: plant) == scaled)
    #expect(try rollout(shared, factors, on: plant) == scaled)
    #expect(try rollout(shared, on: plant) == before)
  }

  @Test("What has no such parameter is refused by name")
  func refusals() throws {
    let shared = try interface(text())
    func refusal(_ quantity: ModelParameter.Quantity, _ name: String, _ factor: Double) -> String {
      var condition = Condition(
        name: "a", initialPlantState: (try? shared.model.plantState()) ?? [])
      condition.modelFactors = [ModelParameter(quantity, of: name): factor]
      do {
        try shared.validate(condition)
        return ""
      } catch { return "\(error)" }
    }
    #expect(refusal(.mass, "box", 0.5).isEmpty)
    #expect(refusal(.mass, "bix", 0.5).contains("box"))
    #expect(refusal(.mass, "world", 0.5).contains("the world has no mass"))
    #expect(refusal(.size, "floor", 2).contains("only spheres, capsules"))
    #expect(refusal(.damping, "slide", 0).contains("more than 0"))
    #expect(refusal(.damping, "slide", .infinity).contains("more than 0"))
    #expect(refusal(.friction, "slide", 1).contains("geom"))
    var condition = Condition(name: "a", initialPlantState: try shared.model.plantState())
    var draws = ConditionDraws()
    draws.modelFactors = [ModelParameter(.stiffness, of: "spring"): [1, 2]]
    condition.draws = draws
    #expect(throws: MuJoCoError.self) { try shared.validate(condition) }
  }

  @Test("Drawn factors and displacements reach the plant")
  func drawn() throws {
    let shared = try interface(text())
    var condition = Condition(name: "a", initialPlantState: try shared.model.plantState())
    var draws = ConditionDraws()
    draws.modelFactors = [ModelParameter(.mass, of: "box"): [1.7, 1.7]]
    condition.draws = draws
    var stream = RandomStream(seed: 1)
    let drawn = condition.drawn(from: &stream)
    #expect(
      try rollout(shared, drawn.modelFactors)
        == rollout(shared, [ModelParameter(.mass, of: "box"): 1.7]))
  }
}
