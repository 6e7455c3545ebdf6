package import CMuJoCo

extension MuJoCoPlant {
  /// What somebody makes of the simulation as it stands, who changes nothing that a step reads; nil if it has ended
  /// with an error.
  ///
  /// - Parameter body: receives the model in use, with what is displaced and scaled in it, and the data.
  /// - Returns: what `body` returns.
  package func withSimulation<Result>(
    _ body: (UnsafePointer<mjModel>, UnsafeMutablePointer<mjData>) throws -> Result
  ) rethrows -> Result? {
    guard let data else { return nil }
    return try body(model, data)
  }
}

extension MuJoCoModel {
  /// What somebody makes of the model, who changes nothing.
  package func withModel<Result>(
    _ body: (UnsafePointer<mjModel>) throws -> Result
  ) rethrows -> Result {
    try body(UnsafePointer(pointer))
  }

  /// The names of its cameras.
  package var cameraNames: [String] {
    (0..<Int32(pointer.pointee.ncam)).compactMap { index in
      mj_id2name(pointer, Int32(mjOBJ_CAMERA.rawValue), index).map { String(cString: $0) }
    }
  }
}
