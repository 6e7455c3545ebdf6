/// What is wrong with a MuJoCo model, or with what is asked of it; each says how to mend it.
public enum MuJoCoError: Error, Sendable, Equatable, CustomStringConvertible {
  /// There is no such file.
  case noSuchFile(path: String)
  /// The path leads to a folder, or to a file that may not be read.
  case unreadable(path: String)
  /// MuJoCo's reader or compiler refused the model, for this reason.
  case invalidModel(source: String, reason: String)
  /// Nothing in the model can be controlled.
  case noActuators(source: String)
  /// The model has no element of that kind and name; the nearest names first.
  case unknownName(kind: String, name: String, source: String, available: [String])
  /// A list has the wrong length.
  case wrongCount(of: String, expected: Int, actual: Int, reason: String)
  /// A value is out of range.
  case invalidValue(of: String, value: String, allowed: String)
  /// The same number appears twice in a state or an observation.
  case repeatedComponent(list: String, name: String)
  /// The cost or the success criterion does not fit the model.
  case task(SimError)
  /// MuJoCo could not make a model or its data ready.
  case simulator(source: String, reason: String)

  /// One sentence without a final stop.
  public var description: String {
    switch self {
    case .noSuchFile(let path):
      "\(path): no such model file; check the path, which is taken relative to the working folder"
    case .unreadable(let path):
      "\(path): cannot be read as a model; name an MJCF file that you may read"
    case .invalidModel(let source, let reason):
      "\(source): MuJoCo does not accept this model: \(reason)"
    case .noActuators(let source):
      "\(source): the model has no actuators, so there is nothing to control; add an <actuator>, or "
        + "name mocap bodies in mocapControls"
    case .unknownName(let kind, let name, let source, let available):
      "\(source): no \(kind) is named '\(name)'; "
        + (available.isEmpty
          ? "the model has none with a name"
          : "there is " + available.prefix(8).joined(separator: ", ")
            + (available.count > 8 ? " and \(available.count - 8) more" : ""))
    case .wrongCount(let what, let expected, let actual, let reason):
      "\(what): \(actual) numbers where \(expected) are needed (\(reason))"
    case .invalidValue(let what, let value, let allowed):
      "\(what) is \(value); allowed is \(allowed)"
    case .repeatedComponent(let list, let name):
      "the \(list) holds \(name) twice; name every component once"
    case .task(let error): "\(error)"
    case .simulator(let source, let reason):
      "\(source): MuJoCo failed: \(reason)"
    }
  }
}

/// Names in the order of their edit distance to `name`, ties in their own order.
func nearestNames(to name: String, among names: [String]) -> [String] {
  names.enumerated()
    .map { (distance: editDistance(name, $0.element), index: $0.offset, name: $0.element) }
    .sorted { ($0.distance, $0.index) < ($1.distance, $1.index) }
    .map(\.name)
}

private func editDistance(_ a: String, _ b: String) -> Int {
  let (a, b) = (Array(a.utf8), Array(b.utf8))
  var row = Array(0...b.count)
  for i in 0..<a.count {
    var diagonal = row[0]
    row[0] = i + 1
    for j in 0..<b.count {
      let next = min(row[j + 1] + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1))
      diagonal = row[j + 1]
      row[j + 1] = next
    }
  }
  return row[b.count]
}
