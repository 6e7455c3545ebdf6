import Differentiation

/// A formula of names and numbers, as a list of operations on a stack.
///
///     sum      product { (+ | −) product }
///     product  sign { (* | /) sign }
///     sign     { + | − } power
///     power    atom [ ^ sign ]
///     atom     number | pi | name | 'name' | function ( sum { , sum } ) | ( sum )
///
/// A name is letters, digits, "_" and "." and begins with no digit; any other stands in quotes.
struct Formula: Sendable, Equatable {
  enum Function: String, CaseIterable, Sendable {
    case sin, cos, tan, atan, tanh, exp, log, sqrt, abs, square, min, max, atan2, hypot

    var arguments: Int {
      switch self {
      case .min, .max, .atan2, .hypot: 2
      default: 1
      }
    }
  }

  enum Operation: Sendable, Equatable {
    case number(Double)
    case variable(Int)
    case negative, sum, difference, product, quotient, power
    /// To a constant exponent, which may be that of a negative number if it is whole.
    case constantPower(Double)
    case call(Function)
  }

  /// A name, and where in the text it first stands, from 0.
  struct Name: Sendable, Equatable {
    var text: String
    var place: Int
  }

  /// In the order of evaluation.
  private(set) var operations: [Operation] = []
  /// The names; operations refer to them by number.
  private(set) var names: [Name] = []
  /// The greatest number of values on the stack.
  private(set) var depth = 0

  /// What is wrong, and where in the text, from 0.
  struct Failure: Error, Equatable {
    var problem: String
    var place: Int
  }

  init(_ text: String) throws(Failure) {
    if text.count > 10_000 {
      throw Failure(problem: "it is longer than 10000 characters", place: 10_000)
    }
    var parser = Parser(text)
    try parser.sum()
    try parser.end()
    (operations, names) = (parser.operations, parser.names)
    var height = 0
    for operation in operations {
      switch operation {
      case .number, .variable: height += 1
      case .negative, .constantPower: break
      case .sum, .difference, .product, .quotient, .power: height -= 1
      case .call(let function): height -= function.arguments - 1
      }
      depth = Swift.max(depth, height)
    }
  }

  /// The value, where `stack` has room for `depth` numbers.
  func value<S: DifferentiableScalar>(
    of variables: UnsafeMutableBufferPointer<S>, stack: UnsafeMutableBufferPointer<S>
  ) -> S {
    var top = -1
    operations.withUnsafeBufferPointer { operations in
      for operation in operations {
        switch operation {
        case .number(let number):
          top += 1
          stack[top] = S(number)
        case .variable(let index):
          top += 1
          stack[top] = variables[index]
        case .negative: stack[top] = -stack[top]
        case .constantPower(let exponent): stack[top] = pow(stack[top], exponent)
        case .call(let function) where function.arguments == 1:
          stack[top] = Self.apply(function, stack[top])
        default:
          top -= 1
          stack[top] = Self.combine(operation, stack[top], stack[top + 1])
        }
      }
    }
    return stack[0]
  }

  private static func apply<S: DifferentiableScalar>(_ function: Function, _ x: S) -> S {
    switch function {
    case .sin: Differentiation.sin(x)
    case .cos: Differentiation.cos(x)
    case .tan: Differentiation.tan(x)
    case .atan: Differentiation.atan(x)
    case .tanh: Differentiation.tanh(x)
    case .exp: Differentiation.exp(x)
    case .log: Differentiation.log(x)
    case .sqrt: Differentiation.sqrt(x)
    case .abs: Differentiation.abs(x)
    default: x * x
    }
  }

  private static func combine<S: DifferentiableScalar>(_ operation: Operation, _ x: S, _ y: S) -> S
  {
    switch operation {
    case .sum: x + y
    case .difference: x - y
    case .product: x * y
    case .quotient: x / y
    case .call(.min): Swift.min(x, y)
    case .call(.max): Swift.max(x, y)
    case .call(.atan2): Differentiation.atan2(x, y)
    case .call(.hypot): Differentiation.hypot(x, y)
    default: Differentiation.pow(x, y)
    }
  }
}

/// Recursive descent; what is nested too deep is refused before the stack is full.
private struct Parser {
  private let text: [Character]
  private var next = 0
  private var nesting = 0
  var operations: [Formula.Operation] = []
  var names: [Formula.Name] = []

  init(_ text: String) { self.text = Array(text) }

  private var character: Character? {
    mutating get {
      while next < text.count, text[next].isWhitespace { next += 1 }
      return next < text.count ? text[next] : nil
    }
  }

  private mutating func take(_ wanted: Character) -> Bool {
    if character != wanted { return false }
    next += 1
    return true
  }

  private mutating func expect(_ wanted: Character) throws(Formula.Failure) {
    if !take(wanted) { throw unexpected("\"\(wanted)\"") }
  }

  private mutating func unexpected(_ wanted: String) -> Formula.Failure {
    let found = character.map { "\"\($0)\"" } ?? "the end"
    return Formula.Failure(problem: "\(wanted) is expected instead of \(found)", place: next)
  }

  mutating func end() throws(Formula.Failure) {
    if character != nil { throw unexpected("an operator or the end") }
  }

  mutating func sum() throws(Formula.Failure) {
    nesting += 1
    defer { nesting -= 1 }
    if nesting > 50 {
      throw Formula.Failure(problem: "parentheses are nested more than 50 deep", place: next)
    }
    try product()
    while let sign = character, sign == "+" || sign == "-" {
      next += 1
      try product()
      operations.append(sign == "+" ? .sum : .difference)
    }
  }

  private mutating func product() throws(Formula.Failure) {
    try sign()
    while let sign = character, sign == "*" || sign == "/" {
      next += 1
      try self.sign()
      operations.append(sign == "*" ? .product : .quotient)
    }
  }

  private mutating func sign() throws(Formula.Failure) {
    var isNegative = false
    while let sign = character, sign == "+" || sign == "-" {
      next += 1
      if sign == "-" { isNegative.toggle() }
    }
    try power()
    if isNegative { operations.append(.negative) }
  }

  private mutating func power() throws(Formula.Failure) {
    try atom()
    if !take("^") { return }
    nesting += 1
    defer { nesting -= 1 }
    if nesting > 50 {
      throw Formula.Failure(problem: "powers are nested more than 50 deep", place: next)
    }
    let start = operations.count
    try sign()
    // A constant exponent, possibly with its sign, is known as such.
    var exponent: Double?
    if case .number(let number) = operations[start] {
      if operations.count == start + 1 { exponent = number }
      if operations.count == start + 2, operations[start + 1] == .negative { exponent = -number }
    }
    guard let exponent else { return operations.append(.power) }
    operations.removeSubrange(start...)
    operations.append(.constantPower(exponent))
  }

  private mutating func atom() throws(Formula.Failure) {
    guard let first = character else { throw unexpected("a number, a name or \"(\"") }
    let start = next
    if take("(") {
      try sum()
      return try expect(")")
    }
    if take("'") {
      while next < text.count, text[next] != "'" { next += 1 }
      let name = String(text[start + 1..<next])
      if next == text.count {
        throw Formula.Failure(problem: "the quoted name has no end", place: start)
      }
      next += 1
      return variable(name, at: start)
    }
    if first.isASCII, first.isNumber || first == "." { return try number(from: start) }
    guard first.isLetter || first == "_" else { throw unexpected("a number, a name or \"(\"") }
    while next < text.count, text[next].isLetter || text[next].isNumber || "_.".contains(text[next])
    {
      next += 1
    }
    let name = String(text[start..<next])
    if take("(") { return try call(name, from: start) }
    if name == "pi" { return operations.append(.number(.pi)) }
    variable(name, at: start)
  }

  private mutating func number(from start: Int) throws(Formula.Failure) {
    func isDigit(_ c: Character) -> Bool { "0123456789.".contains(c) }
    while next < text.count, isDigit(text[next]) { next += 1 }
    if next < text.count, "eE".contains(text[next]) {
      var exponent = next + 1
      if exponent < text.count, "+-".contains(text[exponent]) { exponent += 1 }
      if exponent < text.count, isDigit(text[exponent]) {
        next = exponent
        while next < text.count, isDigit(text[next]) { next += 1 }
      }
    }
    let digits = String(text[start..<next])
    guard let number = Double(digits), number.isFinite else {
      throw Formula.Failure(problem: "\(digits) is no number", place: start)
    }
    operations.append(.number(number))
  }

  private mutating func call(_ name: String, from start: Int) throws(Formula.Failure) {
    guard let function = Formula.Function(rawValue: name) else {
      let all = Formula.Function.allCases.map(\.rawValue).joined(separator: ", ")
      throw Formula.Failure(
        problem: "there is no function \"\(name)\" (there are \(all))", place: start)
    }
    try sum()
    for _ in 1..<function.arguments {
      try expect(",")
      try sum()
    }
    try expect(")")
    operations.append(.call(function))
  }

  private mutating func variable(_ name: String, at place: Int) {
    let index = names.firstIndex { $0.text == name } ?? names.count
    if index == names.count { names.append(Formula.Name(text: name, place: place)) }
    operations.append(.variable(index))
  }
}
