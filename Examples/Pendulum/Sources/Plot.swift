import Foundation

/// A column per step, a row per 30 degrees, from hanging on one side to hanging on the other.
func plot(_ degrees: [Double], secondsPerStep: Double) -> String {
  let rows = stride(from: 270, through: -90, by: -30).map { level -> String in
    let label = String(repeating: " ", count: max(0, 4 - "\(level)".count)) + "\(level)°"
    let background: Character = level == 0 ? "-" : " "
    let columns = degrees.map { Int(($0 / 30).rounded()) * 30 == level ? "●" : background }
    return label + " |" + String(columns)
  }
  let duration = secondsPerStep * Double(degrees.count - 1)
  let axis =
    String(
      repeating: " ", count: max(0, degrees.count - 1)) + String(format: "%.1f s", duration)
  return (rows + ["       0 s" + axis.dropFirst(3)]).joined(separator: "\n")
}
