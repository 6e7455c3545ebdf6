import Foundation
import GPSTestSupport
import Statistics
import Testing

@testable import Configuration
@testable import Experiments
@testable import GPSCore
@testable import GuidedPolicySearch
@testable import Runs

/// How many tries a fuzz test makes: as the environment says, or a few.
private func tries(default count: Int) -> Int {
  ProcessInfo.processInfo.environment["GPS_FORGERIES"].flatMap { Int($0) } ?? count
}

private let tiny = """
  task: tiny
  system: {native: {model: {pointMass: {}}, controlPeriod: 0.1}}
  horizon: 3
  conditions: {train: [{name: left, state: [-1, 0, 0, 0], goal: [0, 0]}]}
  cost: [{control: {weights: 0.1}}, {state: {entries: [position_x_m, position_y_m], target: goal}}]
  success: {stateWithin: {entries: [position_x_m, position_y_m], target: goal, tolerance: 0.5}}
  initialController: {lqr: {gains: 1, stiffness: 0.5}}
  algorithm: {iterations: 1, samples: 2, modelSamples: 1}
  network: {hiddenLayers: [3]}
  training: {steps: 3, keepOptimizerState: true}
  """

/// A header as it is written, before it is judged.
struct ForgedHeader {
  var entries: [String: [String: Any]]
  var texts: [String: String]
  var data: [UInt8]

  init(_ bytes: [UInt8]) throws {
    let length = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    let json = try JSONSerialization.jsonObject(with: Data(bytes[8..<8 + length]))
    var all = try #require(json as? [String: Any])
    texts = try #require(all.removeValue(forKey: "__metadata__") as? [String: String])
    entries = all.compactMapValues { $0 as? [String: Any] }
    data = Array(bytes[(8 + length)...])
  }

  /// The file; the checksum of a sealed one is made to fit.
  func encoded(isSealed: Bool) throws -> [UInt8] {
    var all: [String: Any] = entries
    all["__metadata__"] = texts
    let json = try JSONSerialization.data(withJSONObject: all, options: [.sortedKeys])
    var bytes =
      withUnsafeBytes(of: UInt64(json.count).littleEndian) { Array($0) } + Array(json) + data
    if isSealed && data.count >= 8 {
      bytes.removeLast(8)
      let checksum = CRC64.checksum(of: bytes[...])
      withUnsafeBytes(of: checksum.littleEndian) { bytes.append(contentsOf: $0) }
    }
    return bytes
  }

  private static let extents = [
    0, 1, 2, 3, 7, -1, 1 << 16, 1 << 27, 1 << 31, 1 << 32, 1 << 40, 1 << 62, Int.max,
  ]

  mutating func forge(_ random: inout RandomStream) {
    let names = entries.keys.sorted()
    let name = names[random.index(below: names.count)]
    guard var entry = entries[name], let shape = entry["shape"] as? [Int],
      var offsets = entry["data_offsets"] as? [Int]
    else { return }
    func extent() -> Int { Self.extents[random.index(below: Self.extents.count)] }
    switch random.index(below: 9) {
    case 0: entry["shape"] = (0..<random.index(below: 5)).map { _ in extent() }
    case 1:
      // Nothing at all, of any shape: the data move up.
      // An earlier forgery may have left offsets that are none.
      guard 0 <= offsets[0], offsets[0] <= offsets[1], offsets[1] <= data.count else { return }
      let range = offsets[0]..<offsets[1]
      data.removeSubrange(range)
      for (other, var moved) in entries {
        guard let old = moved["data_offsets"] as? [Int] else { continue }
        moved["data_offsets"] = old.map { $0 >= range.upperBound ? $0 - range.count : $0 }
        entries[other] = moved
      }
      var empty = shape.map { _ in extent() }
      if !empty.isEmpty { empty[random.index(below: empty.count)] = 0 }
      entry["shape"] = empty
      entry["data_offsets"] = [range.lowerBound, range.lowerBound]
    case 2: entry["dtype"] = ["F32", "F64", "I64", "U64", "BF16", ""][random.index(below: 6)]
    case 3:
      offsets[random.index(below: 2)] = extent()
      entry["data_offsets"] = offsets
    case 4: entry["shape"] = Array(shape.reversed())
    case 5: entry["shape"] = [shape.reduce(1, &*)]
    case 6: entry["shape"] = shape + [1]
    case 7:
      // Bits of numbers: infinities, NaNs, the tiny and the huge.
      if 0 <= offsets[0], offsets[1] > offsets[0], offsets[0] < data.count {
        let words: [UInt8] = [0x00, 0x7F, 0x80, 0xF0, 0xFF]
        for at in offsets[0]..<min(offsets[1], offsets[0] + 8, data.count) {
          data[at] = words[random.index(below: words.count)]
        }
      }
    default:
      let keys = texts.keys.sorted()
      let values = [
        "", "0", "-1", "65536,65536,65536", "1,1", "9007199254740992", "true", "\u{0}", "1e999",
        String(repeating: "9", count: 400),
      ]
      texts[keys[random.index(below: keys.count)]] = values[random.index(below: values.count)]
    }
    entries[name] = entry
  }
}

/// Files of ours whose header says what its writer never would, with a checksum that fits.
@Suite struct ForgeryTests {
  @Test("forged checkpoints with checksums that fit are refused, or can be gone on from", .slow)
  func checkpoints() async throws {
    let loaded = try Experiment.load(yaml: tiny, folder: URL(fileURLWithPath: "/"))
    func check<L: Learner>(_ learner: L) async throws {
      let (state, _) = try await learner.advancing(learner.initialState)
      let good = try Checkpoint(state: state, task: "tiny", experiment: tiny).encoded()
      let header = try ForgedHeader(good)
      #expect(try Checkpoint<L.State>(bytes: header.encoded(isSealed: true)).state == state)
      var random = RandomStream(seed: 31)
      var (refused, used) = (0, 0)
      for number in 0..<tries(default: 1000) {
        var forged = header
        for _ in 0...random.index(below: 2) { forged.forge(&random) }
        do {
          let read = try Checkpoint<L.State>(bytes: forged.encoded(isSealed: true))
          if learner.mismatch(with: read.state) == nil {
            used += 1
            // What comes of it is a state or an error.
            _ = try? await learner.advancing(read.state)
          }
        } catch {
          refused += 1
          #expect(error is StoredValueError && "\(error)".count < 1000, "forgery \(number)")
        }
      }
      #expect(refused > used && used > 0, "\(refused) refused, \(used) used")
    }
    try await check(loaded.learner())
  }

  @Test("forged policies are refused, or act", .slow)
  func policies() throws {
    var options = NetworkOptions()
    options.hiddenLayers = [3]
    let policy = NeuralPolicy.initial(
      observation: 3, control: 2, options: options, stream: RandomStream(seed: 1))
    let good = PolicyFile(policy: policy, task: "t", experiment: "e").safetensors.encoded()
    let header = try ForgedHeader(good)
    var random = RandomStream(seed: 32)
    var (refused, used) = (0, 0)
    for number in 0..<tries(default: 1000) {
      var forged = header
      for _ in 0...random.index(below: 2) { forged.forge(&random) }
      do {
        let read = try PolicyFile<NeuralPolicy>(
          Safetensors(bytes: forged.encoded(isSealed: false)))
        used += 1
        let observations = Matrix(rows: read.policy.observation, columns: 2, repeating: 0.5)
        #expect(read.policy.mean(for: observations).rows == read.policy.control)
      } catch {
        refused += 1
        #expect(
          (error is StoredValueError || error is SafetensorsError) && "\(error)".count < 1000,
          "forgery \(number)")
      }
    }
    #expect(refused > used && used > 0, "\(refused) refused, \(used) used")
  }

  /// What YAML can hold comes back from our own file, scalar by scalar.
  @Test("any text comes back from an experiment's own file, or is refused")
  func texts() throws {
    var experiment = try Experiment(yaml: tiny)
    var random = RandomStream(seed: 33)
    let ranges: [ClosedRange<UInt32>] = [
      0...0x7F, 0x80...0x24F, 0x2000...0x206F, 0xD000...0xD7FF, 0xE000...0xFFFF, 0x1F300...0x1F6FF,
      0xE0000...0x10FFFF, 0...0x10FFFF,
    ]
    var refused = 0
    for _ in 0..<tries(default: 2000) {
      var text = ""
      for _ in 0..<random.index(below: 12) {
        let range = ranges[random.index(below: ranges.count)]
        let value = range.lowerBound + UInt32(random.index(below: range.count))
        if let scalar = Unicode.Scalar(value) { text.unicodeScalars.append(scalar) }
      }
      experiment.task = text
      experiment.conditions.train[0].name = text
      let yaml = experiment.yaml
      // No character of the file moves a cursor.
      #expect(yaml.unicodeScalars.allSatisfy { $0 == "\n" || isVisible($0) })
      do {
        let read = try Experiment(yaml: yaml)
        #expect(Array(read.task.unicodeScalars) == Array(text.unicodeScalars))
        #expect(Array(read.conditions.train[0].name.unicodeScalars) == Array(text.unicodeScalars))
      } catch {
        // The byte order mark, which the parser drops at the beginning of a word.
        #expect(
          text.isEmpty || text.unicodeScalars.contains("\u{FEFF}"), "\(Array(text.unicodeScalars))")
        refused += 1
      }
    }
    #expect(refused < tries(default: 2000) / 10)
  }
}
