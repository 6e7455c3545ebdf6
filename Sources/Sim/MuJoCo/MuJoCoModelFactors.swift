import CMuJoCo
import GPSCore

extension MuJoCoModel {
  /// Refuses a factor that no element of the model has, or that is not more than 0.
  func check(_ factor: Double, on parameter: ModelParameter) throws(MuJoCoError) {
    let place = "\(parameter.quantity.rawValue) of '\(parameter.element)'"
    guard factor > 0, factor.isFinite else {
      throw .invalidValue(of: "factor on the \(place)", value: "\(factor)", allowed: "more than 0")
    }
    let index = try self.index(parameter.quantity.kind, parameter.element)
    if parameter.quantity == .size {
      let type = mjtGeom(rawValue: UInt32(bitPattern: pointer.pointee.geom_type[index]))
      if ![mjGEOM_SPHERE, mjGEOM_CAPSULE, mjGEOM_ELLIPSOID, mjGEOM_CYLINDER, mjGEOM_BOX].contains(
        type)
      {
        throw .invalidValue(
          of: "factor on the \(place)", value: "\(factor)",
          allowed: "left out: only spheres, capsules, ellipsoids, cylinders and boxes have a size")
      }
    }
    if parameter.quantity == .mass && index == 0 {
      throw .invalidValue(
        of: "factor on the \(place)", value: "\(factor)", allowed: "left out: the world has no mass"
      )
    }
  }

  /// Scales parameters of a copy of this model, all of them checked.
  func scale(
    _ copy: UnsafeMutablePointer<mjModel>, by factors: [ModelParameter: Double]
  ) throws(MuJoCoError) {
    for (parameter, factor) in factors {
      try check(factor, on: parameter)
      let index = try self.index(parameter.quantity.kind, parameter.element)
      func scale(_ numbers: UnsafeMutablePointer<Double>, _ range: Range<Int>) {
        for i in range { numbers[i] *= factor }
      }
      let model = copy.pointee
      let dofs = parameter.quantity.kind == .joint ? joint(index).velocities : 0..<0
      switch parameter.quantity {
      case .mass:
        scale(model.body_mass, index..<index + 1)
        scale(model.body_inertia, 3 * index..<3 * index + 3)
      case .friction: scale(model.geom_friction, 3 * index..<3 * index + 3)
      case .size:
        scale(model.geom_size, 3 * index..<3 * index + 3)
        // What the compiler derives from it. The boxes around several geoms of a body are not made anew:
        // collisions do without them.
        scale(model.geom_rbound, index..<index + 1)
        scale(model.geom_aabb, 6 * index..<6 * index + 6)
        copy.pointee.opt.disableflags |= Int32(mjDSBL_MIDPHASE.rawValue)
      case .damping:
        scale(model.dof_damping, dofs)
        scale(model.dof_dampingpoly, dofs.scaled(Int(mjNPOLY)))
      case .armature: scale(model.dof_armature, dofs)
      case .frictionLoss: scale(model.dof_frictionloss, dofs)
      case .stiffness:
        scale(model.jnt_stiffness, index..<index + 1)
        scale(model.jnt_stiffnesspoly, (index..<index + 1).scaled(Int(mjNPOLY)))
      }
    }
  }
}

extension MuJoCoModel {
  /// Where among the joint positions those of a joint are that can be drawn number by number: the one of a
  /// hinge or slide, x, y, z of a free joint.
  package func drawablePositions(ofJoint name: String) throws(MuJoCoError) -> Range<Int> {
    let joint = joint(try index(.joint, name))
    switch joint.type {
    case mjJNT_BALL:
      throw .invalidValue(
        of: "draw of a joint", value: "given for '\(name)', a ball joint",
        allowed: "left out: an orientation is no list of independent numbers")
    case mjJNT_FREE: return joint.position..<joint.position + 3
    default: return joint.positions
    }
  }
}

extension Range<Int> {
  fileprivate func scaled(_ width: Int) -> Range<Int> { width * lowerBound..<width * upperBound }
}

extension ModelParameter.Quantity {
  /// What has it.
  var kind: MuJoCoModel.Kind {
    switch self {
    case .mass: .body
    case .friction, .size: .geom
    case .damping, .armature, .frictionLoss, .stiffness: .joint
    }
  }
}
