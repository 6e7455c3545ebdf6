public import GPSCore

/// What may keep a search from learning although nothing fails.
public enum Symptom: String, Sendable, CaseIterable {
  /// Controls at their limits, where more has no effect.
  case saturation
  /// Mean controls far beyond what the actuators can do.
  case excessiveCommands
  /// Controllers that have stopped exploring before the task is solved.
  case deadExploration
  /// Rollouts of one condition that split in two, which one linear-Gaussian model averages.
  case twoKinds
  /// A policy that does not do what its labels say.
  case looseFit
  /// Improvements that the models promise and that do not come.
  case brokenPromises
  /// Steps that cannot become any shorter.
  case smallestSteps
  /// Steps that bring what they promise, and cannot become any longer.
  case longestSteps
  /// Iterations that are taken back, one after the other.
  case takenBack
  /// No controller within the KL bound, because what grows under the fitted dynamics is not held.
  case unreachableBound
  /// Trajectories drawn from the models that leave where the rollouts have been.
  case lostModelSamples
  /// A goal of each rollout's own that its state does not hold.
  case unseenGoals

  /// In how many iterations in a row it must show before anything is said. What one or two iterations show,
  /// early ones above all, is mostly noise: on shipped tasks a fit may be loose twice, promises broken twice.
  var patience: Int {
    switch self {
    case .excessiveCommands, .unseenGoals: 1
    case .saturation, .unreachableBound: 2
    case .deadExploration, .twoKinds, .looseFit, .brokenPromises, .lostModelSamples: 3
    case .smallestSteps, .longestSteps, .takenBack: 4
    }
  }
}

/// What has been said of a search, and what is not yet worth saying: it travels with the state, so that a run that
/// is resumed repeats nothing.
public struct Diagnosis: Storable {
  /// What has been said.
  public private(set) var said: Set<Symptom> = []
  /// In how many iterations in a row each symptom has shown, by condition; one number for what belongs to no
  /// condition.
  private(set) var streaks: [Symptom: [Int]] = [:]

  /// Nothing has been seen.
  public init() {}

  /// Takes in an iteration.
  ///
  /// - Returns: one sentence for each symptom that has shown for long enough and has not been named before.
  mutating func remarks(on facts: IterationFacts) -> [String] {
    Symptom.allCases.compactMap { symptom in
      if said.contains(symptom) { return nil }
      let before = streaks[symptom] ?? []
      let streak = facts.shows(symptom).enumerated().map { i, shows in
        let count = i < before.count ? before[i] : 0
        return shows.map { $0 ? count + 1 : 0 } ?? count
      }
      let places = streak.indices.filter { streak[$0] >= symptom.patience }
      if places.isEmpty {
        streaks[symptom] = streak.allSatisfy { $0 == 0 } ? nil : streak
        return nil
      }
      streaks[symptom] = nil
      said.insert(symptom)
      return facts.sentence(on: symptom, in: places)
    }
  }

  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    // In the order of the cases, so that the same diagnosis is the same bytes.
    for symptom in Symptom.allCases {
      if said.contains(symptom) { writer.put(symptom.rawValue, text: "said") }
      if let streak = streaks[symptom] { writer.put(symptom.rawValue, texts: streak) }
    }
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    for symptom in Symptom.allCases where reader.holdsText(symptom.rawValue) {
      let text = try reader.text(symptom.rawValue)
      if text == "said" {
        said.insert(symptom)
        continue
      }
      let streak = text.split(separator: ",", omittingEmptySubsequences: false).map {
        Int($0) ?? -1
      }
      guard streak.allSatisfy({ (0..<symptom.patience).contains($0) }),
        streak.contains(where: { $0 > 0 })
      else {
        throw StoredValueError("what is known of \"\(symptom.rawValue)\" is not usable")
      }
      streaks[symptom] = streak
    }
  }
}
