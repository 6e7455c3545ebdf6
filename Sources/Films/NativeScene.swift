import Foundation
import GPSCore
import LinearAlgebra
import Pictures
import Sim

/// Plain drawings of the systems that experiment files can name, in the plane that they move in.
struct NativeScene: Scene {
  struct Reel {
    var trajectory: Trajectory
    var condition: Condition
  }

  /// One of the systems.
  enum Kind {
    case pointMass(PointMass)
    case cartPole(CartPole)
    case twoLinkArm(TwoLinkArm)
    case pendulum(Pendulum)
    case mountainCar(MountainCar)
    case acrobot(Acrobot)

    /// Nil for a system of another kind.
    init?(_ task: any ControlTask) {
      if let task = task.underlying(NativeTask<PointMass>.self) {
        self = .pointMass(task.model)
      } else if let task = task.underlying(NativeTask<CartPole>.self) {
        self = .cartPole(task.model)
      } else if let task = task.underlying(NativeTask<TwoLinkArm>.self) {
        self = .twoLinkArm(task.model)
      } else if let task = task.underlying(NativeTask<Pendulum>.self) {
        self = .pendulum(task.model)
      } else if let task = task.underlying(NativeTask<MountainCar>.self) {
        self = .mountainCar(task.model)
      } else if let task = task.underlying(NativeTask<Acrobot>.self) {
        self = .acrobot(task.model)
      } else {
        return nil
      }
    }
  }

  private static let (ink, blue, orange, pale) = (
    Raster.Colour(60, 60, 60), Raster.Colour(0, 114, 178), Raster.Colour(213, 94, 0),
    Raster.Colour(225, 225, 225)
  )

  let kind: Kind
  private let (width, height): (Int, Int)
  /// Regions that cost something, as discs and boxes in the plane.
  private let regions: [Region]
  /// What is seen [m].
  private let (low, high): (SIMD2<Double>, SIMD2<Double>)

  /// A scene about some rollouts, all of which are seen.
  init(
    _ kind: Kind, cost: any Cost, _ rollouts: [(Trajectory, Condition)], width: Int, height: Int
  ) {
    self.kind = kind
    (self.width, self.height) = (width, height)
    regions = (cost as? SumCost)?.entries.compactMap { ($0.term.base as? RegionCost)?.region } ?? []
    var low = SIMD2(repeating: Double.infinity)
    var high = -low
    func see(_ x: Double, _ y: Double) {
      low = SIMD2(min(low.x, x), min(low.y, y))
      high = SIMD2(max(high.x, x), max(high.y, y))
    }
    for (trajectory, condition) in rollouts {
      for step in 0...trajectory.horizon {
        for joint in Self.joints(of: kind, trajectory.states.column(step)) { see(joint.x, joint.y) }
      }
      if let goal = Self.goal(condition) { see(goal.x, goal.y) }
    }
    let reach: Double? =
      switch kind {
      case .twoLinkArm(let arm): arm.lengths.reduce(0, +)
      case .pendulum(let pendulum): pendulum.length
      case .acrobot(let acrobot): acrobot.lengths.reduce(0, +)
      case .pointMass, .cartPole, .mountainCar: nil
      }
    if let reach {
      see(-reach, -reach)
      see(reach, reach)
    }
    if case .cartPole(let cart) = kind {
      see(low.x, -1.1 * cart.poleLength)
      see(high.x, 1.1 * cart.poleLength)
    }
    if case .mountainCar(let car) = kind { for p in Self.road(of: car) { see(p.x, p.y) } }
    if !(low.x.isFinite && high.x.isFinite && low.y.isFinite && high.y.isFinite) {
      (low, high) = (SIMD2(-1, -1), SIMD2(1, 1))
    }
    let room = 0.1 * max(high.x - low.x, high.y - low.y, 0.1)
    self.low = low - SIMD2(room, room)
    self.high = high + SIMD2(room, room)
  }

  func begin(_ trajectory: Trajectory, in condition: Condition) -> Reel {
    Reel(trajectory: trajectory, condition: condition)
  }

  /// The ends of what moves, from where it is held [m].
  static func joints(of kind: Kind, _ x: [Double]) -> [SIMD2<Double>] {
    switch kind {
    case .pointMass: return [SIMD2(x[0], x[1])]
    case .cartPole(let cart):
      return [
        SIMD2(x[0], 0), SIMD2(x[0] + cart.poleLength * sin(x[1]), cart.poleLength * cos(x[1])),
      ]
    case .twoLinkArm(let arm): return chain(arm.lengths, from: x[0], bentBy: x[1])
    case .pendulum(let pendulum):
      return [SIMD2(0, 0), SIMD2(pendulum.length * sin(x[0]), pendulum.length * cos(x[0]))]
    case .mountainCar: return [SIMD2(x[0], sin(3 * x[0]) / 3)]
    case .acrobot(let acrobot): return chain(acrobot.lengths, from: x[0] - .pi / 2, bentBy: x[1])
    }
  }

  /// Two rods, the first at an angle to the x axis, the second at another to the first.
  private static func chain(
    _ lengths: [Double], from first: Double, bentBy second: Double
  ) -> [SIMD2<Double>] {
    let (angle, elbow) = (first + second, lengths[0] * SIMD2(cos(first), sin(first)))
    return [SIMD2(0, 0), elbow, elbow + lengths[1] * SIMD2(cos(angle), sin(angle))]
  }

  /// The valley.
  private static func road(of car: MountainCar) -> [SIMD2<Double>] {
    (0...100).map { i in
      let p = car.ends[0] + Double(i) / 100 * (car.ends[1] - car.ends[0])
      return SIMD2(p, sin(3 * p) / 3)
    }
  }

  private static func goal(_ condition: Condition) -> SIMD2<Double>? {
    condition.goal.count >= 2 ? SIMD2(condition.goal[0], condition.goal[1]) : nil
  }

  /// Pixels of a metre.
  private var scale: Double {
    min(Double(width) / (high.x - low.x), Double(height) / (high.y - low.y))
  }

  private func pixel(_ point: SIMD2<Double>) -> SIMD2<Double> {
    let middle = (low + high) / 2
    return SIMD2(
      Double(width) / 2 + scale * (point.x - middle.x),
      Double(height) / 2 - scale * (point.y - middle.y))
  }

  func picture(of reel: inout Reel, at step: Int) -> Raster {
    var picture = Raster(width: width, height: height)
    let joints = Self.joints(of: kind, reel.trajectory.states.column(step))
    for region in regions { draw(region, in: reel.condition, on: &picture) }
    switch kind {
    case .pointMass(let mass):
      if let walls = mass.walls { outline(walls.lower, walls.upper, on: &picture) }
      for t in 0..<step {
        picture.line(
          pixel(Self.joints(of: kind, reel.trajectory.states.column(t))[0]),
          pixel(Self.joints(of: kind, reel.trajectory.states.column(t + 1))[0]), Self.pale)
      }
    case .cartPole:
      picture.line(pixel(SIMD2(low.x, 0)), pixel(SIMD2(high.x, 0)), width: 2, Self.pale)
      let cart = pixel(joints[0])
      let (w, h) = (0.15 * scale, 0.08 * scale)
      picture.rectangle(x: cart.x - w..<cart.x + w, y: cart.y - h..<cart.y + h, Self.ink)
    case .mountainCar(let car):
      let road = Self.road(of: car).map(pixel)
      for (a, b) in zip(road, road.dropFirst()) { picture.line(a, b, width: 2, Self.pale) }
    case .twoLinkArm, .pendulum, .acrobot: break
    }
    if let goal = Self.goal(reel.condition) {
      let at = pixel(goal)
      picture.line(at - SIMD2(8, 8), at + SIMD2(8, 8), width: 2.5, Self.orange)
      picture.line(at - SIMD2(8, -8), at + SIMD2(8, -8), width: 2.5, Self.orange)
    }
    for (a, b) in zip(joints, joints.dropFirst()) {
      picture.line(pixel(a), pixel(b), width: 7, Self.blue)
    }
    for joint in joints { picture.disc(pixel(joint), radius: joints.count > 1 ? 6 : 9, Self.ink) }
    return picture
  }

  private func outline(_ lower: [Double], _ upper: [Double], on picture: inout Raster) {
    let corners = [
      SIMD2(lower[0], lower[1]), SIMD2(upper[0], lower[1]), SIMD2(upper[0], upper[1]),
      SIMD2(lower[0], upper[1]),
    ].map(pixel)
    for (a, b) in zip(corners, corners.dropFirst() + [corners[0]]) {
      picture.line(a, b, width: 2, Self.ink)
    }
  }

  private func draw(_ region: Region, in condition: Condition, on picture: inout Raster) {
    let place: [Double]
    switch region.center {
    case .position(let position): place = position
    default: return
    }
    guard place.count >= 2 else { return }
    let at = pixel(SIMD2(place[0], place[1]))
    switch region {
    case .ball(_, let radius): picture.disc(at, radius: radius * scale, Self.pale)
    case .box(_, let extents):
      guard let x = extents[0], let y = extents[1] else { return }
      picture.rectangle(
        x: at.x - x * scale..<at.x + x * scale, y: at.y - y * scale..<at.y + y * scale, Self.pale)
    }
  }
}
