package import Configuration

/// The factor on a cost term over time. The terminal state, step T, counts as the last step.
///
/// It may be confined to a part of the horizon, from one step through another; the course is that of the
/// whole horizon all the same.
public struct Ramp: Sendable, Equatable {
  /// A step of the horizon.
  public enum Instant: Sendable, Equatable {
    /// By its number, from 0 to T.
    case step(Int)
    /// By the share of the horizon before it, from 0 to 1: the nearest step to share · T.
    case share(Double)

    func step(of horizon: Int) -> Int {
      switch self {
      case .step(let step): step
      case .share(let share): Int((share * Double(horizon)).rounded())
      }
    }
  }

  /// The course from step 0 to step T.
  public enum Shape: String, Sendable, CaseIterable {
    /// 1 at every step.
    case constant
    /// (t + 1) / (T + 1).
    case linear
    /// ((t + 1) / (T + 1))².
    case quadratic
    /// 1 at step T, 0 before it.
    case finalOnly
  }

  /// The course over time.
  public var shape: Shape
  /// A further factor at step T alone.
  public var finalMultiplier: Double
  /// The first step that counts; nil for step 0.
  public var from: Instant?
  /// The last step that counts; nil for step T.
  public var until: Instant?

  /// A ramp.
  public init(
    _ shape: Shape = .constant, finalMultiplier: Double = 1, from: Instant? = nil,
    until: Instant? = nil
  ) {
    self.shape = shape
    self.finalMultiplier = finalMultiplier
    self.from = from
    self.until = until
  }

  /// 1 at every step.
  public static let constant = Ramp(.constant)
  /// (t + 1) / (T + 1).
  public static let linear = Ramp(.linear)
  /// ((t + 1) / (T + 1))².
  public static let quadratic = Ramp(.quadratic)
  /// 1 at step T, 0 before it.
  public static let finalOnly = Ramp(.finalOnly)
  /// 1 before step T, `factor` at it.
  public static func finalMultiplier(_ factor: Double) -> Ramp {
    Ramp(.constant, finalMultiplier: factor)
  }

  /// The factor at step t of 0 … `horizon`.
  public func factor(at step: Int, horizon: Int) -> Double {
    if let from, step < from.step(of: horizon) { return 0 }
    if let until, step > until.step(of: horizon) { return 0 }
    let share = Double(step + 1) / Double(horizon + 1)
    let last = step == horizon
    let course =
      switch shape {
      case .constant: 1.0
      case .linear: share
      case .quadratic: share * share
      case .finalOnly: last ? 1.0 : 0.0
      }
    return last ? course * finalMultiplier : course
  }

  /// Refuses a part that the horizon does not have.
  func check(horizon: Int, key: String) throws(SimError) {
    for (name, instant) in [("from", from), ("until", until)] {
      if case .step(let step)? = instant {
        try SimError.check(
          0 <= step && step <= horizon, key: "\(key).\(name)", value: step,
          allowed: "a step from 0 to \(horizon), or a share such as 50%")
      }
    }
    if let from, let until {
      let (first, last) = (from.step(of: horizon), until.step(of: horizon))
      try SimError.check(
        first <= last, key: "\(key).until", value: "step \(last)",
        allowed: "no earlier than from, step \(first)")
    }
  }
}

extension Ramp.Shape: Setting {}

/// A step's number, or a share of the horizon such as "50%".
extension Ramp.Instant: Setting {
  package static var codec: Codec<Ramp.Instant> {
    let expects = "a step, or a share of the horizon such as 50%"
    return Codec(
      expects: expects,
      read: { (tree, path) throws(SettingsError) in
        let text: String
        switch tree.content {
        case .plain(let word), .quoted(let word): text = word
        default: throw wrongType(tree, path, expects)
        }
        if let step = Int(text), step >= 0 { return .step(step) }
        guard text.hasSuffix("%"), let share = Double(text.dropLast().trimmedOfSpaces),
          (0...100).contains(share)
        else { throw wrongType(tree, path, expects) }
        return .share(share / 100)
      },
      write: {
        switch $0 {
        case .step(let step): .plain("\(step)")
        // The number of per cent that reads back as the same share; times 100 may miss it by a bit.
        case .share(let share):
          .quoted(
            shortest(
              [share * 100, (share * 100).nextUp, (share * 100).nextDown]
                .filter { $0 / 100 == share }
                .min { shortest($0).count < shortest($1).count } ?? share * 100) + "%")
        }
      })
  }
}

/// A word, or a mapping if there is more to say.
extension Ramp: Setting {
  package static var codec: Codec<Ramp> {
    let (word, schema) = (Shape.codec, schema)
    return Codec(
      expects: word.expects + ", or a mapping", entries: schema.codec.entries,
      read: { (tree, path) throws(SettingsError) in
        if case .mapping = tree.content { return try schema.read(tree, path) }
        return Ramp(try word.read(tree, path))
      },
      write: { $0 == Ramp($0.shape) ? word.write($0.shape) : schema.codec.write($0) })
  }

  private static let schema = Schema<Ramp>(Ramp()) {
    Field("shape", \.shape, "The course from step 0 to step T.")
    Field(
      "finalMultiplier", \.finalMultiplier, .notNegative, "A further factor at step T alone.")
    Field("from", \.from, "The first step that counts; null for step 0.")
    Field("until", \.until, "The last step that counts; null for step T.")
  }
}

extension Substring {
  /// Without spaces at either end.
  fileprivate var trimmedOfSpaces: Substring {
    var text = self
    while text.first == " " { text.removeFirst() }
    while text.last == " " { text.removeLast() }
    return text
  }
}
