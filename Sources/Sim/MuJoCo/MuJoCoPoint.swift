package import Configuration

/// What has a place and an orientation in a MuJoCo model.
public enum MuJoCoFrame: String, Sendable, CaseIterable {
  /// A site.
  case site
  /// A body: its own frame, not its centre of mass.
  case body
  /// A geom.
  case geom

  var plural: String { self == .body ? "bodies" : rawValue + "s" }

  var kind: MuJoCoModel.Kind {
    switch self {
    case .site: .site
    case .body: .body
    case .geom: .geom
    }
  }
}

/// A point in space that costs and success criteria refer to: a site, or any place fixed to a site, a
/// body or a geom.
///
/// In files the name of a site, or a mapping: `{body: box, axes: true}`,
/// `{name: corner, body: box, offset: [0.1, 0.1, 0]}`.
public struct MuJoCoPoint: Sendable, Equatable, ExpressibleByStringLiteral {
  /// What the point is fixed to.
  public var frame: MuJoCoFrame
  /// The name of that site, body or geom.
  public var element: String
  /// Where it is in that frame [m].
  public var offset: [Double]
  /// What it is called; nil for the element's name.
  public var name: String?
  /// Whether it has axes: three more points follow it, `name.x`, `name.y`, `name.z`, at the tips of unit
  /// vectors along the frame's axes. Orientation costs and criteria need them.
  public var axes: Bool

  /// A point.
  public init(
    _ frame: MuJoCoFrame, _ element: String, offset: [Double] = [0, 0, 0], name: String? = nil,
    axes: Bool = false
  ) {
    self.frame = frame
    self.element = element
    self.offset = offset
    self.name = name
    self.axes = axes
  }

  /// A site.
  public init(stringLiteral site: String) { self.init(.site, site) }

  /// Itself, and the tips of its axes.
  var all: [(name: String, offset: SIMD3<Double>)] {
    let (name, origin) = (name ?? element, SIMD3(offset))
    let unit: [(String, SIMD3<Double>)] = [("x", [1, 0, 0]), ("y", [0, 1, 0]), ("z", [0, 0, 1])]
    return [(name, origin)] + (axes ? unit.map { ("\(name).\($0)", origin + $1) } : [])
  }
}

// MARK: - In files

extension MuJoCoPoint: Setting {
  package static var plural: String { "points" }
  package static var codec: Codec<MuJoCoPoint> {
    let name = String.codec
    let settings = Settings.schema.codec
    return Codec(
      expects: "the name of a site, or settings", entries: settings.entries,
      read: { (tree, path) throws(SettingsError) in
        guard case .mapping = tree.content else {
          return MuJoCoPoint(.site, try name.read(tree, path))
        }
        let point = try settings.read(tree, path)
        let named = [(MuJoCoFrame.site, point.site), (.body, point.body), (.geom, point.geom)]
          .filter { $0.1 != nil }
        guard named.count == 1, let (frame, element) = named.first, let element else {
          throw SettingsError(
            origin: tree.origin, path: path,
            value: named.isEmpty ? "fixed to nothing" : "fixed to more than one thing",
            allowed: "a point of exactly one site, body or geom")
        }
        return MuJoCoPoint(
          frame, element, offset: point.offset, name: point.name, axes: point.axes)
      },
      write: { point in
        if point == MuJoCoPoint(.site, point.element) { return name.write(point.element) }
        return settings.write(
          Settings(
            name: point.name, site: point.frame == .site ? point.element : nil,
            body: point.frame == .body ? point.element : nil,
            geom: point.frame == .geom ? point.element : nil, offset: point.offset,
            axes: point.axes))
      })
  }

  private struct Settings: Configurable {
    var name: String?
    var site: String?
    var body: String?
    var geom: String?
    var offset = [0.0, 0, 0]
    var axes = false

    static let schema = Schema<Settings>(Settings()) {
      Field("name", \.name, "What the point is called; null for the name of what it is fixed to.")
      Field("site", \.site, "The site that it is fixed to.")
      Field("body", \.body, "The body that it is fixed to.")
      Field("geom", \.geom, "The geom that it is fixed to.")
      Field("offset", \.offset, "Where it is in that frame: x, y, z [m].")
      Field(
        "axes", \.axes,
        "Whether it has axes, for orientation costs: points name.x, name.y, name.z at their tips.")
    } rule: { point throws(InvalidOption) in
      try Check.count(3, "numbers: x, y, z").require(point.offset, "offset")
    }
  }
}
