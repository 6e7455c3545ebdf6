import Foundation
import GuidedPolicySearch

/// A quadrotor's way through the plane, measured and drawn.
struct Flightpath {
  let trajectory: Trajectory
  /// From the middle to each rotor [m].
  let arm: Double

  init(_ trajectory: Trajectory, arm: Double) {
    self.trajectory = trajectory
    self.arm = arm
  }

  private var steps: ClosedRange<Int> { 0...trajectory.horizon }

  /// The middle at step t, or a point on the body `offset` to the right of it.
  private func position(_ t: Int, offset: Double = 0) -> (x: Double, z: Double) {
    let states = trajectory.states
    return (states[0, t] + offset * cos(states[2, t]), states[1, t] + offset * sin(states[2, t]))
  }

  func distance(to goal: [Double]) -> Double {
    let (x, z) = position(trajectory.horizon)
    return hypot(x - goal[0], z - goal[1])
  }

  var finalSpeed: Double {
    hypot(trajectory.states[3, trajectory.horizon], trajectory.states[4, trajectory.horizon])
  }

  /// The least distance of a rotor or the middle from an obstacle's edge [m]; negative inside one.
  func leastGap(to obstacles: [Disc]) -> Double {
    let gaps = steps.flatMap { t in
      [-arm, 0, arm].flatMap { offset -> [Double] in
        let (x, z) = position(t, offset: offset)
        return obstacles.map { hypot(x - $0.x, z - $0.z) - $0.radius }
      }
    }
    return gaps.min() ?? .infinity
  }

  /// A picture in characters, of the plane from (−0.4, 0) to (5.6, 2.6) m.
  func text(around obstacles: [Disc]) -> String {
    let (columns, rows) = (72, 16)
    let (width, height) = (6.0 / Double(columns), 2.6 / Double(rows))
    var picture = (0..<rows).map { row in
      (0..<columns).map { column -> Character in
        let x = -0.4 + (Double(column) + 0.5) * width
        let z = 2.6 - (Double(row) + 0.5) * height
        return obstacles.contains { hypot(x - $0.x, z - $0.z) < $0.radius } ? "#" : " "
      }
    }
    for t in steps {
      let (x, z) = position(t)
      let (row, column) = (Int((2.6 - z) / height), Int((x + 0.4) / width))
      if (0..<rows).contains(row) && (0..<columns).contains(column) {
        picture[row][column] = t == 0 ? "S" : t == trajectory.horizon ? "G" : "●"
      }
    }
    let border = "+" + String(repeating: "-", count: columns) + "+"
    return ([border] + picture.map { "|" + String($0) + "|" } + [border]).joined(separator: "\n")
  }

  /// A picture of the obstacles, the path, the body at every fifth step and at the last one, its rotors'
  /// thrusts, and the length of a metre.
  func svg(around obstacles: [Disc], goal: [Double]) -> String {
    let scale = 150.0
    func point(_ position: (x: Double, z: Double)) -> (x: Double, y: Double) {
      (scale * (position.x + 0.4), scale * (2.6 - position.z))
    }
    func line(
      _ a: (x: Double, z: Double), _ b: (x: Double, z: Double), color: String, width: Double
    ) -> String {
      let (a, b) = (point(a), point(b))
      return String(
        format: "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' ", a.x, a.y, b.x, b.y)
        + "stroke='\(color)' stroke-width='\(width)' stroke-linecap='round'/>"
    }
    var elements = obstacles.map { disc in
      let center = point((disc.x, disc.z))
      return String(
        format: "<circle cx='%.1f' cy='%.1f' r='%.1f' fill='#c8c8c8'/>", center.x, center.y,
        scale * disc.radius)
    }
    let target = point((goal[0], goal[1]))
    elements.append(
      String(
        format: "<circle cx='%.1f' cy='%.1f' r='9' fill='none' stroke='#2a7f3f' stroke-width='3'/>",
        target.x, target.y))
    let path = steps.map { t in
      let (x, y) = point(position(t))
      return String(format: "%.1f,%.1f", x, y)
    }
    elements.append(
      "<polyline points='\(path.joined(separator: " "))' fill='none' stroke='#7aa6d8' "
        + "stroke-width='2'/>")
    for t in Array(stride(from: 0, to: trajectory.horizon, by: 5)) + [trajectory.horizon] {
      let roll = trajectory.states[2, t]
      for (rotor, offset) in [-arm, arm].enumerated() where t < trajectory.horizon {
        // Drawn 5 cm long for each newton, along the body's axis.
        let base = position(t, offset: offset)
        let length = 0.05 * trajectory.controls[rotor, t]
        let tip = (x: base.x - length * sin(roll), z: base.z + length * cos(roll))
        elements.append(line(base, tip, color: "#d0582a", width: 2))
      }
      elements.append(
        line(position(t, offset: -arm), position(t, offset: arm), color: "#22354d", width: 4))
    }
    elements.append(line((x: -0.2, z: 0.15), (x: 0.8, z: 0.15), color: "#555555", width: 2))
    elements.append(
      "<text x='105' y='360' font-family='sans-serif' font-size='14' fill='#555555' "
        + "text-anchor='middle'>1 m</text>")
    return """
      <svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 900 390'>
      <rect width='900' height='390' fill='white'/>
      \(elements.joined(separator: "\n"))
      </svg>

      """
  }
}
