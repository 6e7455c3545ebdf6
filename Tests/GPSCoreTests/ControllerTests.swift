import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@Suite("Linear-Gaussian controller") struct ControllerTests {
  @Test("acts as u = K x + k + L noise")
  func action() throws {
    var stream = RandomStream(seed: 7)
    let controller = try RandomProblem.controller(state: 4, control: 3, horizon: 2, &stream)
    let x = stream.normals(4)
    let noise = stream.normals(3)
    var workspace = controller.makeWorkspace()
    var action = [Double](repeating: 0, count: 3)
    var span = action.mutableSpan
    controller.act(
      step: 1, state: x.span, observation: x.span, noise: noise.span, workspace: &workspace,
      action: &span)
    let factor = try CholeskyFactor(controller.covariances[1]).lower
    let expected = zip(
      zip(controller.gains[1] * x, controller.offsets.column(1)).map(+), factor * noise
    ).map(+)
    for i in 0..<3 { #expect(abs(action[i] - expected[i]) < 1e-12) }
  }

  @Test("precisions and factors belong to the covariances")
  func derived() throws {
    var stream = RandomStream(seed: 8)
    let controller = try RandomProblem.controller(state: 2, control: 3, horizon: 4, &stream)
    for t in 0..<4 {
      let C = controller.covariances[t]
      #expect((C * controller.precisions[t] - .identity(3)).largestMagnitude < 1e-10)
      let L = controller.covarianceFactors[t]
      #expect((L * L.transposed - C).largestMagnitude < 1e-12)
    }
  }

  @Test("what is not positive definite or not finite is refused with its step")
  func refused() {
    var covariances = MatrixSequence(repeating: .identity(1), count: 3)
    let gains = MatrixSequence(rows: 1, columns: 1, count: 3)
    covariances[2] = Matrix([[-1]])
    #expect(
      throws: ControllerError.covariance(step: 2, .notPositiveDefinite(leadingMinor: 1, size: 1))
    ) {
      try LinearGaussianController(
        gains: gains, offsets: Matrix(rows: 1, columns: 3), covariances: covariances)
    }
    #expect(throws: ControllerError.notFinite(field: "offset", step: 1)) {
      try LinearGaussianController(
        gains: gains, offsets: Matrix([[0, .nan, 0]]),
        covariances: MatrixSequence(repeating: .identity(1), count: 3))
    }
  }
}
