extension MuJoCoInterface {
  /// Joints whose positions, and joints whose velocities, are not in the state.
  package var missingFromState: [(what: String, names: [String])] {
    var (positions, velocities) = (Set<String>(), Set<String>())
    let all = model.jointNames
    for component in state {
      switch component {
      case .jointPositions(let joints), .sinCos(let joints): positions.formUnion(joints ?? all)
      case .jointVelocities(let joints): velocities.formUnion(joints ?? all)
      default: break
      }
    }
    return [
      ("positions", all.filter { !positions.contains($0) }),
      ("velocities", all.filter { !velocities.contains($0) }),
    ]
  }
}
