/// Why there is no film.
public enum FilmError: Error, Sendable, Equatable, CustomStringConvertible {
  /// OpenGL is not to be had.
  case noRenderer(reason: String)
  /// The renderer, or the simulator in it, failed.
  case renderer(reason: String)
  /// A rollout could not be repeated to be looked at.
  case rollout(condition: String, reason: String)
  /// Nothing draws systems of this kind.
  case noDrawing(task: String)
  /// The model has no such camera.
  case noCamera(name: String, known: [String])
  /// ffmpeg is not there, or failed.
  case encoder(reason: String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .noRenderer(let reason):
      "no picture can be drawn without OpenGL (\(reason)); Debian's packages libegl1 and libgl1-mesa-dri, or libosmesa6, have it"
    case .renderer(let reason): "the picture could not be drawn: \(reason)"
    case .rollout(let condition, let reason): "the rollout in \(condition) failed: \(reason)"
    case .noDrawing(let task):
      "\(task): only MuJoCo models and the systems that files can name are drawn"
    case .noCamera(let name, let known):
      "the model has no camera \"\(name)\""
        + (known.isEmpty ? ", nor any other" : " (there are \(known.joined(separator: ", ")))")
    case .encoder(let reason): "ffmpeg: \(reason)"
    }
  }
}
