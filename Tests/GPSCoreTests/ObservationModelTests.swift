import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@Suite("Observation model") struct ObservationModelTests {
  let G = Matrix([[1, -2, 0.5], [0, 3, 1]])

  /// N rollouts of 3 states with what `observe` sees of them.
  func rollouts(
    _ count: Int, seed: UInt64 = 3, observe: ([Double], Int) -> [Double]
  ) -> [Trajectory] {
    var stream = RandomStream(seed: seed)
    return (0..<count).map { _ in
      let states = RandomProblem.matrix(3, 8, scale: 2, &stream)
      let observed = (0..<8).map { observe(states.column($0), $0) }
      return Trajectory(
        states: states, controls: Matrix(rows: 1, columns: 7),
        observations: Matrix(
          rows: observed[0].count, columns: 8, columnMajor: observed.flatMap { $0 }))
    }
  }

  @Test("numbers of the state are copied, exactly and however far away")
  func copies() throws {
    let model = try ObservationModel(about: rollouts(4) { x, _ in [x[2], x[0]] })
    let far = [1e9 / 3, -7.0, 0.1]
    #expect(model.observation(in: far, at: 5) == [0.1, 1e9 / 3])
  }

  @Test("an observation that equals a state at all steps but one is not a copy")
  func nearCopy() throws {
    let model = try ObservationModel(
      about: rollouts(4) { x, t in [t == 7 ? x[0] + 1 : x[0]] })
    let x = [5.0, 1, 2]
    #expect(abs(model.observation(in: x, at: 3)[0] - 5) < 1e-4)
    #expect(abs(model.observation(in: x, at: 7)[0] - 6) < 1e-4)
  }

  @Test("a linear map with an offset of each step is recovered beside a copy")
  func linearMap() throws {
    let observe: ([Double], Int) -> [Double] = { x, t in
      [x[1]] + zip(G * x, [Double(t), -10]).map(+)
    }
    let model = try ObservationModel(about: rollouts(6, observe: observe))
    for t in [0, 3, 7] {
      let x = [4.0, -3, 6]
      let found = model.observation(in: x, at: t)
      #expect(relativeError(found, observe(x, t)) < 1e-5)
      #expect(found[0] == x[1])
    }
  }

  @Test("what never changes is expected everywhere")
  func constants() throws {
    let model = try ObservationModel(about: rollouts(5) { _, _ in [2.5, -40] })
    let found = model.observation(in: [100, -100, 3], at: 2)
    #expect(relativeError(found, [2.5, -40]) < 1e-12)
  }

  @Test("one rollout leaves nothing to regress on: what was observed is expected")
  func oneRollout() throws {
    let single = rollouts(1) { x, _ in G * x + [x[0]] }
    let model = try ObservationModel(about: single)
    let found = model.observation(in: [7, 8, 9], at: 4)
    #expect(
      relativeError(Array(found.prefix(2)), Array(single[0].observations.column(4).prefix(2)))
        < 1e-12)
    #expect(found[2] == 7)
  }

  @Test("states that never move do not spoil the fit")
  func constantState() throws {
    var batch = rollouts(5) { x, _ in [0] }
    for i in batch.indices {
      for t in 0..<8 {
        batch[i].states[2, t] = 4
        batch[i].observations[0, t] = 3 * batch[i].states[0, t] + 1
      }
    }
    let found = try ObservationModel(about: batch).observation(in: [2, 0, 4], at: 1)
    #expect(abs(found[0] - 7) < 1e-4)
  }
}
