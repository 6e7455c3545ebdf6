import Foundation
import GPSCore
import LinearAlgebra
import Sim
import Testing

@testable import Films

@Suite struct FilmTests {
  /// Where what moves is drawn is where the system itself says that it is.
  @Test func jointsAreThePoints() throws {
    let states = [[0.3, -0.7, 1, 2], [2, 3, 0, 0], [-1, 0.5, -3, 1]]
    func check<Model: DynamicSystem>(_ model: Model, _ kind: NativeScene.Kind, axes: [Int]) throws {
      let task = try NativeTask(
        name: "t", model: model, controlPeriod: 0.1, horizon: 1,
        conditions: [
          Condition(name: "c", initialPlantState: Array(states[0].prefix(model.stateCount)))
        ],
        cost: SumCost([SumCost.Entry]()), success: nil)
      var plant = try task.makePlant()
      for state in states {
        let start = Array(state.prefix(model.stateCount))
        try plant.reset(to: task.conditions[0], plantState: start.span)
        var positions = [Double](repeating: 0, count: 3)
        var jacobians = [Double](repeating: 0, count: 3 * model.stateCount)
        do {
          var place = positions.mutableSpan
          var slopes = jacobians.mutableSpan
          plant.readPoints(positions: &place, jacobians: &slopes)
        }
        let end = try #require(NativeScene.joints(of: kind, start).last)
        #expect(abs(end.x - positions[axes[0]]) < 1e-12)
        #expect(abs(end.y - positions[axes[1]]) < 1e-12)
      }
    }
    try check(PointMass(), .pointMass(PointMass()), axes: [0, 1])
    let cart = CartPole(poleLength: 0.7)
    try check(cart, .cartPole(cart), axes: [0, 2])
    let arm = TwoLinkArm(lengths: [0.4, 0.9])
    try check(arm, .twoLinkArm(arm), axes: [0, 1])
    let pendulum = Pendulum(length: 0.6)
    try check(pendulum, .pendulum(pendulum), axes: [0, 2])
    let car = MountainCar(ends: [-3, 3])
    try check(car, .mountainCar(car), axes: [0, 2])
    let acrobot = Acrobot(lengths: [0.4, 0.9])
    try check(acrobot, .acrobot(acrobot), axes: [0, 2])
  }
}
