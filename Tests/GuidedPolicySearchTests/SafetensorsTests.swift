import Foundation
@testable import GPSCore
@testable import GuidedPolicySearch
import Testing

@Suite struct SafetensorsTests {
  /// The file of a 1 × 2 array of ones and twos, byte by byte as the format's page describes it.
  private static let known: [UInt8] = {
    let header =
      #"{"__metadata__":{"a":"b"},"x":{"data_offsets":[0,8],"dtype":"F32","shape":[1,2]}}"#
    let padded = header + String(repeating: " ", count: (8 - header.utf8.count % 8) % 8)
    return [UInt8(padded.utf8.count), 0, 0, 0, 0, 0, 0, 0] + Array(padded.utf8)
      + [0, 0, 0x80, 0x3F, 0, 0, 0, 0x40]
  }()

  @Test func knownBytes() throws {
    let file = Safetensors(
      metadata: ["a": "b"], tensors: ["x": Safetensors.Tensor([1, 2] as [Float], shape: [1, 2])])
    #expect(file.encoded() == Self.known)
    let read = try Safetensors(bytes: Self.known)
    #expect(read == file)
    #expect(read.tensors["x"]?.floats == [1, 2])
    #expect(read.tensors["x"]?.doubles == nil)
  }

  @Test func allTypesComeBack() throws {
    let file = Safetensors(
      metadata: ["text": "\"quotes\" / \n ünïcode"],
      tensors: [
        "f32": .init([1.5, -0, .greatestFiniteMagnitude] as [Float], shape: [3]),
        "f64": .init([Double.pi, .leastNonzeroMagnitude], shape: [2, 1]),
        "i64": .init([Int64.min, .max], shape: [2]), "u64": .init([UInt64.max], shape: []),
        "none": .init([] as [Double], shape: [0, 3]),
      ])
    let read = try Safetensors(bytes: file.encoded())
    #expect(read == file)
    #expect(read.tensors["f64"]?.doubles == [Double.pi, .leastNonzeroMagnitude])
    #expect(read.tensors["i64"]?.signedIntegers == [.min, .max])
    #expect(read.tensors["u64"]?.unsignedIntegers == [.max])
    // The data begin at a multiple of eight bytes.
    #expect(file.encoded()[0] % 8 == 0)
  }

  /// The checksum runs on over pieces, whose bounds cut arrays anywhere.
  @Test func bigFilesComeInPieces() throws {
    let numbers = (0..<300_000).map { Double($0).squareRoot() }
    let file = Safetensors(
      tensors: ["a": .init(numbers, shape: [3, 100_000]), "b": .init(numbers, shape: [300_000])])
    var pieces: [[UInt8]] = []
    file.forEachPiece(isSealed: true) { pieces.append($0) }
    #expect(pieces.count == 3)
    let bytes = pieces.flatMap { $0 }
    #expect(try Safetensors(sealed: bytes) == file)
    let seal = bytes.suffix(8).reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
    #expect(seal == CRC64.checksum(of: bytes.dropLast(8)))
  }

  private static func file(_ header: String, data: Int) -> [UInt8] {
    withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) } + Array(header.utf8)
      + [UInt8](repeating: 0, count: data)
  }

  /// A header that cannot be, in front of so many bytes of data, and a word of the refusal.
  struct Contradiction: CustomTestStringConvertible {
    let header: String
    let data: Int
    let message: String

    init(_ header: String, data: Int = 4, _ message: String) {
      (self.header, self.data, self.message) = (header, data, message)
    }

    /// Short, whatever the header.
    var testDescription: String { "\(message): \(header.prefix(80))" }
  }

  @Test(arguments: [
    Contradiction(#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, "needs 8 bytes"),
    Contradiction(
      #"{"x":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#, "unknown element type"),
    Contradiction(#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,5]}}"#, "not within"),
    Contradiction(#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, "not within"),
    Contradiction(#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#, "not within"),
    Contradiction(#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, "not possible"),
    Contradiction(
      #"{"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#, data: 0,
      "not possible"),
    Contradiction(#"{"x":{"dtype":"F32","shape":[1e30],"data_offsets":[0,4]}}"#, "not JSON"),
    Contradiction(
      #"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#
        + #""y":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#, data: 6, "overlaps"),
    Contradiction(
      #"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, data: 8, "a gap before"),
    Contradiction(
      #"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, data: 5, "1 bytes at the end"),
    Contradiction(#"{"x":{"dtype":"F32","shape":[1]}}"#, data: 0, "not JSON"),
    Contradiction(#"{"x":1"#, data: 0, "not JSON"),
    Contradiction(#"[1]"#, data: 0, "not a JSON object"),
    Contradiction("", data: 0, "not a JSON object"),
    Contradiction(String(repeating: "{\"x\":", count: 20_000), data: 0, "not JSON"),
  ])
  func contradictionsAreRefused(_ contradiction: Contradiction) throws {
    let error = try #require(throws: SafetensorsError.self) {
      try Safetensors(bytes: Self.file(contradiction.header, data: contradiction.data))
    }
    #expect("\(error)".contains(contradiction.message))
  }

  @Test func lengthsAreCheckedBeforeTheyAreUsed() throws {
    for bytes in [
      [], [1, 2, 3], [255, 255, 255, 255, 255, 255, 255, 255], [16, 0, 0, 0, 0, 0, 0, 0],
    ]
      as [[UInt8]]
    {
      #expect(throws: SafetensorsError.self) { try Safetensors(bytes: bytes) }
    }
  }

  /// Random damage leads to a file or to an error; a policy from it is usable or refused.
  @Test func damagedPoliciesAreRefusedOrFinite() throws {
    var options = NetworkOptions()
    options.hiddenLayers = [5]
    let policy = NeuralPolicy.initial(
      observation: 3, control: 2, options: options, stream: RandomStream(seed: 1))
    let good = PolicyFile(policy: policy, task: "t", experiment: "e").safetensors.encoded()
    var random = RandomStream(seed: 3)
    for _ in 0..<3000 {
      var bytes = good
      for _ in 0..<(1 + random.index(below: 4)) {
        let at = random.index(below: bytes.count)
        switch random.index(below: 3) {
        case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes.remove(at: at)
        default: bytes = Array(bytes.prefix(at + 1))
        }
      }
      guard let file = try? Safetensors(bytes: bytes),
        let read = try? PolicyFile<NeuralPolicy>(file)
      else {
        continue
      }
      let mean = read.policy.mean(
        for: Matrix(rows: read.policy.observation, columns: 1))
      #expect(mean.rows == read.policy.control)
    }
  }

  @Test func policyComesBackExactly() throws {
    var options = NetworkOptions()
    options.hiddenLayers = [7, 5]
    options.activation = .silu
    let stream = RandomStream(seed: 5)
    var draws = stream.child(.custom, 1)
    var observations = Matrix(rows: 4, columns: 9)
    for i in 0..<4 { for j in 0..<9 { observations[i, j] = draws.normal() * Double(i + 1) } }
    let policy = try NeuralPolicy.initial(
      observation: 4, control: 2, options: options, stream: stream
    ).whitening(from: observations).withPrecision(
      Matrix(rows: 2, columns: 2, columnMajor: [2, 0.5, 0.5, 3]))
    let file = PolicyFile(policy: policy, task: "a task", experiment: "yaml: 1")
    let read = try PolicyFile<NeuralPolicy>(Safetensors(bytes: file.safetensors.encoded()))
    #expect(read.task == "a task" && read.experiment == "yaml: 1")
    #expect(read.policy.mean(for: observations) == policy.mean(for: observations))
    #expect(read.policy.covarianceFactor == policy.covarianceFactor)
    #expect(read.policy.precision == policy.precision)
    #expect(read.safetensors == file.safetensors)
  }
}
