import Configuration
import GPSCore
import LinearAlgebra
import Sim

/// K by names: for each control the gains of entries of the state, as in
/// `{motor: {joint_positions.hinge_rad: -10}}`.
public typealias FeedbackGains = [String: [String: Double]]

extension Start {
  /// K as a matrix, m × n; `key` says where the gains stand, for errors.
  func matrix(of gains: FeedbackGains, _ key: String) throws(SimError) -> Matrix {
    var K = Matrix(rows: dimensions.control, columns: dimensions.state)
    func index(_ name: String, _ names: [String], _ key: String, _ noun: String) throws(SimError)
      -> Int
    {
      if let index = names.firstIndex(of: name) { return index }
      let near = nearest(to: name.lowercased(), among: names)
      throw .option(
        InvalidOption(
          key: key, value: abbreviated(name),
          allowed: "the name of \(noun): \(near.prefix(8).joined(separator: ", "))"
            + (near.count > 8 ? " and \(near.count - 8) more" : "")))
    }
    for (control, row) in gains.sorted(by: { $0.key < $1.key }) {
      let i = try index(control, controlNames, "\(key).\(control)", "a control")
      for (entry, gain) in row.sorted(by: { $0.key < $1.key }) {
        let j = try index(entry, stateNames, "\(key).\(control).\(entry)", "an entry of the state")
        K[i, j] = gain
      }
    }
    return K
  }
}

/// One control's row of K.
private struct GainRow: Setting {
  var gains: [String: Double]

  static var codec: Codec<GainRow> {
    Codec<[String: Double]>.table("a mapping from entries of the state to gains").map(
      { GainRow(gains: $0) }, { $0.gains })
  }
}

extension Codec where Value == FeedbackGains {
  /// A mapping from controls to mappings from entries of the state to gains.
  static var feedbackGains: Codec {
    Codec<[String: GainRow]>.table("a mapping from controls to {entry of the state: gain}").map(
      { $0.mapValues(\.gains) }, { $0.mapValues { GainRow(gains: $0) } })
  }
}
