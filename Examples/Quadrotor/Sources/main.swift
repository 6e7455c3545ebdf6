// A planar quadrotor finds its way between obstacles by iterative LQR, within the limits of its
// rotors. With an argument, writes a picture of the flight to that file (SVG).

import Foundation
import GuidedPolicySearch

let quadrotor = Quadrotor()
let obstacles = [
  Disc(x: 1.3, z: 0.7, radius: 0.5), Disc(x: 2.6, z: 1.9, radius: 0.5),
  Disc(x: 3.9, z: 0.7, radius: 0.5),
]
let task = try NativeTask(
  name: "quadrotor", model: quadrotor, controlPeriod: 0.03, horizon: 70,
  conditions: [
    Condition(name: "flight", initialPlantState: [0, 1, 0, 0, 0, 0], goal: [5.2, 1])
  ],
  cost: Flight(obstacles: obstacles, clearance: 0.25, hoverThrust: quadrotor.hoverThrust))
let condition = task.conditions[0]
let limits = ControlLimits(lower: [0, 0], upper: [4.5, 4.5])

// The first guess hovers at the start.
let guess = Matrix(
  rows: 2, columns: task.dimensions.horizon, repeating: quadrotor.hoverThrust)
print("iteration      cost  step  regularization")
let solution = try await ILQR().optimize(
  NativeDynamics(quadrotor, timeStep: task.timeStep), cost: task.cost, in: condition,
  from: condition.initialPlantState, controls: guess, limits: limits
) { line in
  print(
    String(
      format: "%9d  %8.2f  %4.2f  %.1e", line.iteration, line.cost, line.step, line.regularization))
}

let flight = Flightpath(solution.trajectory, arm: quadrotor.arm)
print("\(solution.status) after \(solution.iterations.count) iterations\n")
print(flight.text(around: obstacles))
let thrusts = solution.trajectory.controls.storage
let atLimit = thrusts.count { $0 <= limits.lower[0] || $0 >= limits.upper[0] }
print(
  String(
    format: """

      end %.3f m from the goal, %.3f m/s; at least %.2f m between a rotor and an obstacle
      thrusts from %.2f to %.2f N (limits %.2f and %.2f N), %d %% of them at a limit
      """, flight.distance(to: condition.goal), flight.finalSpeed,
    flight.leastGap(to: obstacles), thrusts.min() ?? 0, thrusts.max() ?? 0, limits.lower[0],
    limits.upper[0], 100 * atLimit / thrusts.count))
if CommandLine.arguments.count > 1 {
  let url = URL(fileURLWithPath: CommandLine.arguments[1])
  try Data(flight.svg(around: obstacles, goal: condition.goal).utf8).write(to: url)
  print("picture: \(url.relativePath)")
}
