/// What a value must be: the one place where a setting's range stands, for files and code alike.
package struct Check<Value: Sendable>: Sendable {
  /// Throws for a value that is not allowed; `key` names the setting.
  package let require: @Sendable (_ value: Value, _ key: String) throws(InvalidOption) -> Void

  /// - Parameters:
  ///   - allowed: what is allowed, as in "must be …".
  ///   - shown: how errors show the value.
  ///   - holds: whether a value is allowed.
  package init(
    _ allowed: String, shown: @escaping @Sendable (Value) -> String = { "\($0)" },
    _ holds: @escaping @Sendable (Value) -> Bool
  ) {
    require = { (value, key) throws(InvalidOption) in
      if !holds(value) { throw InvalidOption(key: key, value: shown(value), allowed: allowed) }
    }
  }

  private init(
    require: @escaping @Sendable (_ value: Value, _ key: String) throws(InvalidOption) -> Void
  ) { self.require = require }

  /// Every value is allowed.
  package static var any: Check { Check(require: { (_, _) throws(InvalidOption) in }) }

  /// Both must hold; the first that does not is reported.
  package func and(_ other: Check) -> Check {
    Check(
      require: { (value, key) throws(InvalidOption) in
        try self.require(value, key)
        try other.require(value, key)
      })
  }

  /// The same of a value that may be missing.
  var orNull: Check<Value?> {
    Check<Value?>(
      require: { (value, key) throws(InvalidOption) in
        guard let value else { return }
        do throws(InvalidOption) { try self.require(value, key) } catch {
          throw InvalidOption(
            key: error.key, value: error.value, allowed: error.allowed + ", or null")
        }
      })
  }
}

extension Check where Value == Double {
  /// More than 0 and finite.
  package static let positive = Check("positive") { $0 > 0 && $0.isFinite }
  /// At least 0 and finite.
  package static let notNegative = Check("at least 0") { $0 >= 0 && $0.isFinite }

  /// From 0 to 1.
  package static let share = Check("in [0, 1]") { 0 <= $0 && $0 <= 1 }

  /// From 0 to 1, without 0.
  package static let positiveShare = Check("in (0, 1]") { 0 < $0 && $0 <= 1 }
  /// From 0 to 1, without 1.
  package static let belowOne = Check("in [0, 1)") { 0 <= $0 && $0 < 1 }
  /// From 0 to 1, without either.
  package static let fraction = Check("in (0, 1)") { 0 < $0 && $0 < 1 }
  /// At least 1 and finite.
  package static let atLeastOne = Check("at least 1") { $0 >= 1 && $0.isFinite }

  /// More than a number, and finite.
  package static func above(_ bound: Double) -> Check {
    Check("more than \(shortest(bound))") { $0 > bound && $0.isFinite }
  }
}

extension Check where Value == Int {
  /// No less than a number.
  package static func atLeast(_ bound: Int) -> Check { Check("at least \(bound)") { $0 >= bound } }

  /// No less than one number and no more than another.
  package static func between(_ lower: Int, _ upper: Int) -> Check {
    Check("between \(lower) and \(upper)") { lower <= $0 && $0 <= upper }
  }
}

extension Check {
  /// The same of every number of a list.
  package static func each(_ check: Check<Double>) -> Check where Value == [Double] {
    Check(
      require: { (numbers, key) throws(InvalidOption) in
        for number in numbers {
          do throws(InvalidOption) { try check.require(number, key) } catch {
            throw InvalidOption(key: key, value: shortest(number), allowed: error.allowed)
          }
        }
      })
  }

  /// The same of every number of a list, if there is one.
  package static func eachOrNull(_ check: Check<Double>) -> Check where Value == [Double]? {
    Check<[Double]>.each(check).orNull
  }

  /// A list that is not empty.
  package static func some<Element>(_ what: String) -> Check where Value == [Element] {
    Check("at least one \(what)", shown: { _ in "an empty list" }) { !$0.isEmpty }
  }

  /// A list of so many.
  package static func count<Element>(_ count: Int, _ what: String) -> Check
  where Value == [Element] {
    Check("\(count) \(what)", shown: { "a list of \($0.count)" }) { $0.count == count }
  }
}

extension Check where Value: Configurable {
  /// Every setting of a struct is in range.
  package static var settings: Check {
    Check(
      require: { (value, key) throws(InvalidOption) in
        do throws(InvalidOption) { try Value.schema.check(value) } catch { throw error.within(key) }
      })
  }
}
