public import GPSCore
import LinearAlgebra

/// The least noise that a controller keeps.
///
/// Minimising a cost within a KL bound shrinks the covariance step by step, and with it what the bound
/// allows the means to move: a controller that has stopped exploring stops learning. The floor is
/// F_t = share² C⁰_t, where C⁰ is the initial controller's covariance; in coordinates in which F_t is the
/// identity, eigenvalues of C_t below 1 are raised to 1.
public struct ExplorationFloor: Sendable {
  private let share: Double
  private let initial: LinearGaussianController

  /// A floor.
  ///
  /// - Parameters:
  ///   - share: of the initial deviation, from 0 for none.
  ///   - initial: the controller that exploration began with.
  public init(_ share: Double, of initial: LinearGaussianController) {
    self.share = share
    self.initial = initial
  }

  /// The controller with no less noise than the floor, at every step and in every direction.
  ///
  /// - Throws: `ControllerError` or `LinearAlgebraError` when a covariance cannot be factored.
  public func raised(_ controller: LinearGaussianController) throws -> LinearGaussianController {
    if share == 0 { return controller }
    var covariances = controller.covariances
    var isRaised = false
    for t in 0..<controller.horizon {
      // L⁻¹ C L⁻ᵀ, by solving twice.
      let factor = try CholeskyFactor(share * share * initial.covariances[t])
      let half = factor.solveLower(controller.covariances[t])
      let whitened = factor.solveLower(half.transposed).symmetrized
      let (values, vectors) = try whitened.symmetricEigen()
      if values.allSatisfy({ $0 >= 1 }) { continue }
      var columns = factor.lower * vectors
      for j in 0..<values.count {
        let root = max(values[j], 1).squareRoot()
        for i in 0..<values.count { columns[i, j] *= root }
      }
      covariances[t] = (columns * columns.transposed).symmetrized
      isRaised = true
    }
    return isRaised
      ? try LinearGaussianController(
        gains: controller.gains, offsets: controller.offsets, covariances: covariances)
      : controller
  }
}
