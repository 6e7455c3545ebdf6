internal import Configuration
public import LinearAlgebra

/// A value that checkpoints and messages hold.
///
/// Reading checks everything that the initialisers of the parts take for granted, so that no file, damaged
/// or forged, can stop the process.
public protocol Storable: Sendable, Equatable {
  /// Writes the value's parts under names of their own.
  func store(in writer: inout ValueWriter)

  /// The value that was stored.
  ///
  /// - Throws: `StoredValueError` when a part is missing, of another shape or out of range.
  init(stored reader: ValueReader) throws(StoredValueError)
}

/// Nothing to remember.
public struct NoMemory: Storable {
  /// Nothing.
  public init() {}
  /// Writes nothing.
  public func store(in writer: inout ValueWriter) {}
  /// Reads nothing.
  public init(stored reader: ValueReader) {}
}

/// Why stored values cannot be used.
public struct StoredValueError: Error, Sendable, Equatable, CustomStringConvertible {
  /// A clause: "the array \"x\" is missing".
  public let reason: String

  /// An error with its reason, a clause.
  public init(_ reason: String) { self.reason = reason }

  /// The reason.
  public var description: String { reason }
}

/// Writes values into a safetensors file under dotted names; matrices become row-major arrays.
public struct ValueWriter: Sendable {
  /// What has been written.
  public private(set) var file = Safetensors()
  /// The first array that holds a number that is not finite although it must; nil if there is none.
  public private(set) var notFinite: String?
  private var scope = ""

  /// A writer that has written nothing.
  public init() {}

  /// Puts what `body` writes under a name of its own.
  public mutating func within(_ name: String, _ body: (inout ValueWriter) -> Void) {
    let outer = scope
    scope += name + "."
    body(&self)
    scope = outer
  }

  /// A value that may be missing, under a name of its own.
  public mutating func put(_ name: String, ifPresent value: (some Storable)?) {
    put("has_\(name)", text: value == nil ? "false" : "true")
    if let value { within(name) { value.store(in: &$0) } }
  }

  /// A text.
  public mutating func put(_ name: String, text: String) { file.metadata[scope + name] = text }

  /// A whole number, as text.
  public mutating func put(_ name: String, text number: Int) { put(name, text: String(number)) }

  /// Whole numbers, as one text.
  public mutating func put(_ name: String, texts numbers: [Int]) {
    put(name, text: numbers.map(String.init).joined(separator: ","))
  }

  private mutating func put(_ name: String, _ tensor: Safetensors.Tensor, isFinite: Bool) {
    file.tensors[scope + name] = tensor
    if !isFinite && notFinite == nil { notFinite = scope + name }
  }

  /// A number; one that must be finite and is not makes the file unusable (`notFinite`).
  public mutating func put(_ name: String, _ number: Double, mustBeFinite: Bool = true) {
    put(name, Safetensors.Tensor([number], shape: []), isFinite: !mustBeFinite || number.isFinite)
  }

  /// Numbers in double precision, all finite.
  public mutating func put(_ name: String, _ numbers: [Double]) {
    put(
      name, Safetensors.Tensor(numbers, shape: [numbers.count]),
      isFinite: numbers.allSatisfy(\.isFinite))
  }

  /// Numbers in single precision, all finite.
  public mutating func put(_ name: String, _ numbers: [Float]) {
    put(
      name, Safetensors.Tensor(numbers, shape: [numbers.count]),
      isFinite: numbers.allSatisfy(\.isFinite))
  }

  /// Truth values.
  public mutating func put(_ name: String, _ flags: [Bool]) {
    put(
      name, Safetensors.Tensor(flags.map { $0 ? 1 : 0 as Int64 }, shape: [flags.count]),
      isFinite: true)
  }

  /// A matrix, row-major: [rows, columns].
  public mutating func put(_ name: String, _ matrix: Matrix) {
    put(
      name,
      Safetensors.Tensor(columnMajor: matrix.storage, shape: [matrix.rows, matrix.columns]),
      isFinite: matrix.isFinite)
  }

  /// A matrix in single precision, row-major.
  public mutating func putSingle(_ name: String, _ matrix: Matrix) {
    put(
      name,
      Safetensors.Tensor(
        transposed(matrix.storage, matrix.rows, matrix.columns).map(Float.init),
        shape: [matrix.rows, matrix.columns]), isFinite: matrix.isFinite)
  }

  /// Matrices, row-major: [count, rows, columns].
  public mutating func put(_ name: String, _ sequence: MatrixSequence) {
    put(
      name,
      Safetensors.Tensor(
        columnMajor: sequence.storage, shape: [sequence.count, sequence.rows, sequence.columns]),
      isFinite: sequence.isFinite)
  }
}

/// Reads back what a `ValueWriter` wrote. Everything is checked; numbers must be finite unless asked
/// for otherwise.
public struct ValueReader: Sendable {
  /// What is read from.
  public let file: Safetensors
  private var scope = ""

  /// A reader of a whole file.
  public init(_ file: Safetensors) { self.file = file }

  /// What stands under a name of its own.
  public func within(_ name: String) -> ValueReader {
    var inner = self
    inner.scope += name + "."
    return inner
  }

  /// Whether there is an array of that name.
  public func holds(_ name: String) -> Bool { file.tensors[scope + name] != nil }

  /// Whether there is a text of that name.
  public func holdsText(_ name: String) -> Bool { file.metadata[scope + name] != nil }

  /// Whether there is a text of that name that says "false".
  public func isFalse(_ name: String) -> Bool { file.metadata[scope + name] == "false" }

  /// What `put(_:ifPresent:)` wrote; nil if there was nothing.
  public func ifPresent<Value: Storable>(_ name: String) throws(StoredValueError) -> Value? {
    switch try text("has_\(name)") {
    case "true": return try Value(stored: within(name))
    case "false": return nil
    default: throw StoredValueError("\"\(scope)has_\(name)\" is neither true nor false")
    }
  }

  /// A text.
  public func text(_ name: String) throws(StoredValueError) -> String {
    guard let text = file.metadata[scope + name] else {
      throw StoredValueError("its header lacks \"\(scope + name)\"")
    }
    return text
  }

  /// A whole number that is at least 0 and, so that sums cannot overflow, below 2⁵³.
  public func count(_ name: String) throws(StoredValueError) -> Int {
    let text = try text(name)
    guard let number = Int(text), (0..<1 << 53).contains(number) else {
      throw StoredValueError("\"\(scope + name)\" is \"\(abbreviated(text))\", not a count")
    }
    return number
  }

  /// How many parts follow, each of which has an array at least, so that a number from a damaged header ends here.
  ///
  /// - Parameters:
  ///   - name: of the number.
  ///   - parts: what they are called where there cannot be so many.
  /// - Returns: the number.
  /// - Throws: when it is not there, or is none, or is greater than the file's arrays are many.
  package func count(_ name: String, of parts: String) throws(StoredValueError) -> Int {
    let count = try count(name)
    if count > file.tensors.count {
      throw StoredValueError("it holds fewer arrays than \(count) \(parts) have")
    }
    return count
  }

  /// Sizes of layers.
  public func layerSizes(_ name: String) throws(StoredValueError) -> [Int] {
    let sizes = try text(name).split(separator: ",").map { Int($0) ?? 0 }
    guard sizes.count >= 2, sizes.count <= 100, sizes.allSatisfy({ (1...65536).contains($0) })
    else { throw StoredValueError("its layer sizes are not usable") }
    return sizes
  }

  /// The value of a text that names a case.
  public func choice<Choice: RawRepresentable<String>>(
    _ name: String, _: Choice.Type = Choice.self
  ) throws(StoredValueError) -> Choice {
    let text = try text(name)
    guard let choice = Choice(rawValue: text) else {
      throw StoredValueError("\"\(scope + name)\" is \"\(abbreviated(text))\", which is unknown")
    }
    return choice
  }

  /// nil stands for any extent.
  private func tensor(
    _ name: String, _ shape: [Int?]
  ) throws(StoredValueError) -> Safetensors.Tensor {
    guard let tensor = file.tensors[scope + name] else {
      throw StoredValueError("the array \"\(scope + name)\" is missing")
    }
    guard tensor.shape.count == shape.count,
      zip(tensor.shape, shape).allSatisfy({ $1 == nil || $0 == $1 })
    else {
      let wanted = shape.map { $0.map(String.init) ?? "any" }.joined(separator: ", ")
      throw StoredValueError(
        "\"\(scope + name)\" has shape \(abbreviated("\(tensor.shape)")), not [\(wanted)]")
    }
    return tensor
  }

  private func doubles(
    _ name: String, _ tensor: Safetensors.Tensor, mustBeFinite: Bool = true
  ) throws(StoredValueError) -> [Double] {
    guard let numbers = tensor.doubles ?? tensor.floats?.map(Double.init) else {
      throw StoredValueError("\"\(scope + name)\" does not hold floating-point numbers")
    }
    if mustBeFinite, let number = numbers.first(where: { !$0.isFinite }) {
      throw StoredValueError("\"\(scope + name)\" holds \(number)")
    }
    return numbers
  }

  /// A number.
  public func number(_ name: String, mustBeFinite: Bool = true) throws(StoredValueError) -> Double {
    try doubles(name, tensor(name, []), mustBeFinite: mustBeFinite)[0]
  }

  /// A number in a range.
  public func number(
    _ name: String, in range: ClosedRange<Double>
  ) throws(StoredValueError) -> Double {
    let number = try number(name)
    if !range.contains(number) {
      throw StoredValueError("\"\(scope + name)\" is \(number), which is out of range")
    }
    return number
  }

  /// Numbers, as many as asked for.
  public func numbers(_ name: String, _ count: Int? = nil) throws(StoredValueError) -> [Double] {
    try doubles(name, tensor(name, [count]))
  }

  /// Numbers in single precision.
  public func floats(_ name: String) throws(StoredValueError) -> [Float] {
    guard let numbers = try tensor(name, [nil]).floats else {
      throw StoredValueError("\"\(scope + name)\" does not hold single-precision numbers")
    }
    if let number = numbers.first(where: { !$0.isFinite }) {
      throw StoredValueError("\"\(scope + name)\" holds \(number)")
    }
    return numbers
  }

  /// Truth values, as many as asked for.
  public func flags(_ name: String, _ count: Int) throws(StoredValueError) -> [Bool] {
    let numbers = try tensor(name, [count]).signedIntegers ?? []
    guard numbers.count == count, numbers.allSatisfy({ $0 == 0 || $0 == 1 }) else {
      throw StoredValueError("\"\(scope + name)\" does not hold zeros and ones")
    }
    return numbers.map { $0 == 1 }
  }

  /// A matrix; nil stands for any extent.
  public func matrix(
    _ name: String, _ rows: Int? = nil, _ columns: Int? = nil
  ) throws(StoredValueError) -> Matrix {
    let tensor = try tensor(name, [rows, columns])
    let numbers = try doubles(name, tensor)
    return Matrix(
      rows: tensor.shape[0], columns: tensor.shape[1],
      columnMajor: transposed(numbers, tensor.shape[1], tensor.shape[0]))
  }

  /// Matrices; nil stands for any extent.
  public func sequence(
    _ name: String, rows: Int? = nil, columns: Int? = nil, count: Int? = nil
  ) throws(StoredValueError) -> MatrixSequence {
    let tensor = try tensor(name, [count, rows, columns])
    let numbers = try doubles(name, tensor)
    let (count, rows, columns) = (tensor.shape[0], tensor.shape[1], tensor.shape[2])
    return MatrixSequence(
      rows: rows, columns: columns, count: count,
      columnMajor: transposed(numbers, columns, rows))
  }
}
