import Foundation

/// A rotation in three dimensions, as a unit quaternion.
///
/// Its coordinates are rotation vectors r = angle · axis [rad] with q = exp(r). Every rotation has one
/// for each full turn more or less about its axis: a body that turns on keeps its rotation vector
/// continuous if each is the nearest to the one before (`vector(near:)`).
struct Rotation: Equatable {
  var w: Double
  var v: SIMD3<Double>

  static let identity = Rotation(w: 1, v: .zero)

  /// A rotation by its quaternion, which is normalised; the identity for zeros.
  init(w: Double, v: SIMD3<Double>) {
    let norm = (w * w + (v * v).sum()).squareRoot()
    if norm > 0 {
      (self.w, self.v) = (w / norm, v / norm)
    } else {
      (self.w, self.v) = (1, .zero)
    }
  }

  /// From w, x, y, z.
  init(_ numbers: UnsafePointer<Double>) {
    self.init(w: numbers[0], v: SIMD3(numbers[1], numbers[2], numbers[3]))
  }

  /// exp(r).
  init(vector r: SIMD3<Double>) {
    let half = 0.5 * length(r)
    // sin(θ/2)/θ
    let factor = half < 1e-4 ? 0.5 - half * half / 12 : 0.5 * sin(half) / half
    self.init(w: cos(half), v: factor * r)
  }

  /// From a rotation matrix, row by row (Shepperd's method).
  init(matrix m: UnsafePointer<Double>) {
    let (a, b, c) = (m[0], m[4], m[8])
    if a + b + c > 0 {
      self.init(w: 1 + a + b + c, v: SIMD3(m[7] - m[5], m[2] - m[6], m[3] - m[1]))
    } else if a >= b && a >= c {
      self.init(w: m[7] - m[5], v: SIMD3(1 + a - b - c, m[1] + m[3], m[2] + m[6]))
    } else if b >= c {
      self.init(w: m[2] - m[6], v: SIMD3(m[1] + m[3], 1 - a + b - c, m[5] + m[7]))
    } else {
      self.init(w: m[3] - m[1], v: SIMD3(m[2] + m[6], m[5] + m[7], 1 - a - b + c))
    }
  }

  /// The rotation back.
  var inverse: Rotation { Rotation(w: w, v: -v) }

  /// First `b`, seen from the frame that `a` turns.
  static func * (a: Rotation, b: Rotation) -> Rotation {
    Rotation(w: a.w * b.w - (a.v * b.v).sum(), v: a.w * b.v + b.w * a.v + cross(a.v, b.v))
  }

  /// The axes of the turned frame: columns of the rotation matrix.
  var axes: (x: SIMD3<Double>, y: SIMD3<Double>, z: SIMD3<Double>) {
    func turned(_ e: SIMD3<Double>) -> SIMD3<Double> {
      e + 2 * cross(v, cross(v, e) + w * e)
    }
    return (turned([1, 0, 0]), turned([0, 1, 0]), turned([0, 0, 1]))
  }

  /// The rotation vector of at most half a turn.
  var vector: SIMD3<Double> {
    let sine = length(v)
    // q and −q are one rotation.
    let sign = w < 0 ? -1.0 : 1
    // θ / sin(θ/2)
    let factor = sine < 1e-9 ? 2 : 2 * atan2(sine, sign * w) / sine
    return sign * factor * v
  }

  /// The rotation vector nearest to another one, that of a moment ago: so a body may turn by more than
  /// half a turn without a jump.
  func vector(near last: SIMD3<Double>) -> SIMD3<Double> {
    let r = vector
    var (angle, axis) = (length(r), SIMD3<Double>.zero)
    if angle > 1e-7 {
      axis = r / angle
    } else {
      // Next to the identity the axis is lost: it is taken from the vector before.
      let before = length(last)
      if before < .pi { return r }
      axis = last / before
      angle = (r * axis).sum()
    }
    let turns = (((axis * last).sum() - angle) / (2 * .pi)).rounded()
    return turns == 0 ? r : (angle + 2 * .pi * turns) * axis
  }

  /// J of exp(r + dr) = exp(r) exp(J dr): from rates of the rotation vector to angular velocities in
  /// the turned frame.
  static func rightJacobian(_ r: SIMD3<Double>) -> RotationMatrix {
    let square = (r * r).sum()
    let angle = square.squareRoot()
    let (a, b) =
      angle < 1e-3
      ? (0.5 - square / 24, 1.0 / 6 - square / 120)
      : ((1 - cos(angle)) / square, (angle - sin(angle)) / (square * angle))
    return RotationMatrix(identityPlus: -a, b, r)
  }

  /// The inverse of `rightJacobian`; it does not exist after whole turns, where the rotation vector is
  /// no coordinate.
  static func inverseRightJacobian(_ r: SIMD3<Double>) -> RotationMatrix {
    let square = (r * r).sum()
    let angle = square.squareRoot()
    let b =
      angle < 1e-2
      ? 1.0 / 12 + square / 720 : (1 - 0.5 * angle / tan(0.5 * angle)) / square
    return RotationMatrix(identityPlus: 0.5, b, r)
  }
}

/// Three columns of three numbers.
struct RotationMatrix {
  var columns: (SIMD3<Double>, SIMD3<Double>, SIMD3<Double>)

  /// I + a [r]× + b [r]×².
  init(identityPlus a: Double, _ b: Double, _ r: SIMD3<Double>) {
    func column(_ e: SIMD3<Double>) -> SIMD3<Double> {
      let turned = cross(r, e)
      return e + a * turned + b * cross(r, turned)
    }
    columns = (column([1, 0, 0]), column([0, 1, 0]), column([0, 0, 1]))
  }

  static func * (m: RotationMatrix, v: SIMD3<Double>) -> SIMD3<Double> {
    m.columns.0 * v.x + m.columns.1 * v.y + m.columns.2 * v.z
  }

  /// mᵀ v: each column's product with v.
  func transposed(times v: SIMD3<Double>) -> SIMD3<Double> {
    SIMD3((columns.0 * v).sum(), (columns.1 * v).sum(), (columns.2 * v).sum())
  }
}

func cross(_ a: SIMD3<Double>, _ b: SIMD3<Double>) -> SIMD3<Double> {
  SIMD3(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x)
}

func length(_ a: SIMD3<Double>) -> Double { (a * a).sum().squareRoot() }
