public import GPSCore
import LinearAlgebra
import Statistics

extension DynamicsPrior: Storable {
  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    for (index, matrix) in states.enumerated() { writer.put("states.\(index)", matrix) }
    for (index, matrix) in controls.enumerated() { writer.put("controls.\(index)", matrix) }
    if let strength { writer.put("strength", strength) }
    if !jitter.isEmpty, let n = states.first?.rows {
      writer.put("jitter", (0..<n).map { jitter.contains($0) })
    }
    if let mixture { writer.within("mixture") { mixture.store(in: &$0) } }
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    let states = try reader.history("states")
    var controls: [Matrix] = []
    for (index, matrix) in states.enumerated() {
      controls.append(
        try reader.matrix("controls.\(index)", controls.first?.rows, matrix.columns - 1))
    }
    let mixture = try MixturePrior(ifStored: reader.within("mixture"))
    if let x = states.first, let u = controls.first, let mixture,
      mixture.dimension != 2 * x.rows + u.rows
    {
      throw StoredValueError(
        "a mixture in \(mixture.dimension) dimensions for \(2 * x.rows + u.rows)")
    }
    self.init(states: states, controls: controls, mixture: mixture)
    if reader.holds("jitter"), let n = states.first?.rows {
      let flags = try reader.flags("jitter", n)
      jitter = (0..<n).filter { flags[$0] }
    }
    if reader.holds("strength") { strength = try reader.number("strength", in: 0...1e9) }
  }
}
