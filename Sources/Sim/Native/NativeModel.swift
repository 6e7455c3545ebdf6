package import Configuration

/// A system that experiment files have a word for; it becomes one by a line in `NativeModel.kinds`.
package protocol ConfigurableSystem: DynamicSystem, Configurable, Equatable {}

/// One of the systems that need no simulator.
public struct NativeModel: Sendable, Equatable {
  /// Its equations and parameters.
  public var system: any DynamicSystem { base }
  package let base: any ConfigurableSystem

  package init(_ base: any ConfigurableSystem) { self.base = base }

  /// What files call it.
  package var name: String { base.kindName }

  /// Whether both are of one kind and equal.
  public static func == (a: NativeModel, b: NativeModel) -> Bool { areEqual(a.base, b.base) }
}

/// The registry of native systems: a line each.
extension NativeModel: OneOfKinds {
  package static let noun = "a model"
  package static let kinds = [
    kind(PointMass.self), kind(CartPole.self), kind(TwoLinkArm.self), kind(Pendulum.self),
    kind(MountainCar.self), kind(Acrobot.self),
  ]

  private static func kind<Value: ConfigurableSystem>(_ type: Value.Type) -> Kind<NativeModel> {
    Kind(type) {
      NativeModel($0)
    } payload: {
      $0.base as? Value
    }
  }
}
