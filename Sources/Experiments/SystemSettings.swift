package import Configuration
import Foundation
import GPSCore

/// What is controlled: a system of any kind (see `kinds`).
public struct SystemSettings: Sendable, Equatable {
  let base: any SystemKind

  private init(_ base: any SystemKind) { self.base = base }

  /// A MuJoCo model.
  public static func mujoco(_ settings: MuJoCoSettings) -> SystemSettings {
    SystemSettings(settings)
  }
  /// A system that needs no simulator.
  public static func native(_ settings: NativeSettings) -> SystemSettings {
    SystemSettings(settings)
  }

  /// A Gymnasium environment.
  public static func gymnasium(_ settings: GymnasiumSettings) -> SystemSettings {
    SystemSettings(settings)
  }
  /// An environment in a program of its own.
  public static func process(_ settings: ProcessSettings) -> SystemSettings {
    SystemSettings(settings)
  }

  /// The settings, if the system is a MuJoCo model.
  public var mujoco: MuJoCoSettings? { base as? MuJoCoSettings }
  /// The settings, if the system needs no simulator.
  public var native: NativeSettings? { base as? NativeSettings }

  /// The settings, if the system is a Gymnasium environment.
  public var gymnasium: GymnasiumSettings? { base as? GymnasiumSettings }
  /// The settings, if the system is in a program of its own.
  public var process: ProcessSettings? { base as? ProcessSettings }

  /// Whether both are of one kind and equal.
  public static func == (a: SystemSettings, b: SystemSettings) -> Bool { areEqual(a.base, b.base) }
}

extension SystemSettings {
  /// The same with another working folder of its program, if it has one.
  func placed(in folder: String) -> SystemSettings {
    if var settings = gymnasium {
      settings.options.folder = folder
      return .gymnasium(settings)
    }
    if var settings = process {
      settings.options.folder = folder
      return .process(settings)
    }
    return self
  }
}

/// The registry of systems: a line each.
extension SystemSettings: OneOfKinds {
  package static let noun = "a system"
  package static let kinds = [
    kind(MuJoCoSettings.self), kind(NativeSettings.self), kind(GymnasiumSettings.self),
    kind(ProcessSettings.self),
  ]

  private static func kind<Value: SystemKind>(_ type: Value.Type) -> Kind<SystemSettings> {
    Kind(type) {
      SystemSettings($0)
    } payload: {
      $0.base as? Value
    }
  }
}

/// What every system implements; it becomes a kind by a line in `SystemSettings.kinds`.
protocol SystemKind: Configurable, Equatable {
  /// The task around this system.
  ///
  /// - Parameter loader: the rest of the experiment, and the file for complaints.
  /// - Returns: the task, and the model's file if there is one.
  /// - Throws: `SettingsError`, or a complaint of the task that `ExperimentLoader` leads back to the file.
  func task(_ loader: ExperimentLoader) throws -> (task: any ControlTask, model: URL?)
}
