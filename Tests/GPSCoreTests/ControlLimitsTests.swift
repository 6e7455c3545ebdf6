import GPSCore
import LinearAlgebra
import Testing

@Suite("Bounds on controls") struct ControlLimitsTests {
  @Test("Open sides and a fixed control are allowed")
  func allowed() throws {
    let limits = ControlLimits(lower: [-.infinity, 0, 2], upper: [1, .infinity, 2])
    #expect(try limits.validated(controls: 3) == limits)
  }

  @Test(
    "Bounds that leave a control nothing are refused, and the control named",
    arguments: [(3.0, 2.0), (.nan, 1), (0, .nan), (.infinity, .infinity), (-.infinity, -.infinity)])
  func refused(lower: Double, upper: Double) throws {
    #expect {
      try ControlLimits(lower: [0, lower], upper: [1, upper]).validated(controls: 2)
    } throws: {
      "\($0)".contains("limits.lower[1]") || "\($0)".contains("limits.upper[1]")
    }
  }

  @Test("Clamping brings each control to its nearer bound")
  func clamp() {
    var controls = [5.0, -5, 0.5, 9]
    var span = controls.mutableSpan
    ControlLimits(lower: [-1, -1, -1, 2], upper: [1, .infinity, 1, 2]).clamp(&span)
    #expect(controls == [1, -1, 0.5, 2])
  }

  @Test("The saturated share counts controls at a bound, those that are fixed left out")
  func saturation() {
    func rollout(_ controls: [Double]) -> Trajectory {
      Trajectory(
        states: Matrix(rows: 1, columns: 3),
        controls: Matrix(rows: 3, columns: 2, columnMajor: controls),
        observations: Matrix(rows: 1, columns: 3))
    }
    let batch = RolloutBatch(
      condition: 0, trajectories: [rollout([1, 0, 2, 0, -4, 2]), rollout([-1, 7, 2, 0.5, 8, 2])])
    let limits = ControlLimits(lower: [-1, -4, 2], upper: [1, .infinity, 2])
    #expect(batch.saturatedShare(limits) == 3.0 / 8)
    #expect(batch.saturatedShare(ControlLimits(magnitudes: [100, 100, 100])) == 0)
    #expect(RolloutBatch(condition: 0, trajectories: []).saturatedShare(limits) == 0)
    #expect(batch.saturatedShare(ControlLimits(lower: [1, 1, 1], upper: [1, 1, 1])) == 0)
  }
}
