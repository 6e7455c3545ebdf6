/// The version of this toolkit.
public enum ProgramVersion {
  /// Semantic version.
  public static let current = "0.1.0"

  /// The Swift compiler's language version.
  public static var swift: String {
    #if compiler(>=6.5)
      "6.5 or later"
    #elseif compiler(>=6.4)
      "6.4"
    #elseif compiler(>=6.3)
      "6.3"
    #else
      "6.2"
    #endif
  }
}
