import Foundation
import GPSCore
import SearchParts

/// What an iteration measured: what a diagnosis is made from.
struct IterationFacts: Sendable {
  /// One condition's part.
  struct Entry: Sendable {
    var name: String
    var facts = ConditionFacts()
    /// Costs and successes of the training rollouts, in the same order; no successes where none are judged.
    var costs: [Double] = []
    var successes: [Bool] = []
    /// Whether the task is solved here: by the best policy without noise, or by all rollouts where there is
    /// no policy; nil where no success is judged.
    var isSolved: Bool?
    /// Of the step before; nil if there was none.
    var predicted: Double?
    var actual: Double?
    /// The deviation of the costs.
    var deviation = 0.0
    var multiplier = 1.0
    /// Trajectories drawn from the model that the policy learned from.
    var imagined = 0
  }

  var entries: [Entry]
  /// Whose rollouts these are.
  var isPolicys = false
  /// The loss of the policy as a share of its labels' variance; nil without a distillation.
  var unexplainedShare: Double?
  var isTakenBack = false
  /// Iterations since a policy was the best so far; nil without a policy.
  var age: Int?
  var controlNames: [String] = []
  /// T.
  var horizon = 1
  var settings = SearchSettings()

  /// A share of controls at their limits that is worth a word. A smooth movement touches its limits now and
  /// then; what is fitted to one control in twenty is already the slope of a wall.
  static let saturation = 0.05
  /// How far from the middle of a range, in halves of it, a mean control is more than a label met loosely.
  /// Labels keep to the limits, so that a network is seldom beyond 2; once in two shipped runs it was at 3.6 for one
  /// iteration, and learned all the same.
  static let command = 5.0
  /// A share of the initial deviation below which exploration is over: the bound on the KL divergence is in
  /// deviations, so that a step then moves the means by a fifth of what the first one could. Shipped tasks that are
  /// learned are solved well above it.
  static let exploration = 0.2
  /// The same as a share of half of what a control can do: what is quieter is not seen in most plants.
  static let explorationOfRange = 0.005
  /// Iterations without a better policy after which a task that judges no success counts as stuck.
  static let staleness = 5
  /// A share of the variance of costs between two groups that is no chance: five numbers from one Gaussian
  /// reach 0.9 in one of eight batches, and then seldom with all successes in one group.
  static let judgedSplit = 0.9
  /// The same where no success says which rollout is of which kind: one batch in forty by chance.
  static let unjudgedSplit = 0.97
  /// A share of the labels' variance left unexplained that no task here was learned with: fits of the shipped
  /// tasks leave 0.1 to 15 % from the third iteration on, those of a fallen pendulum 60 %.
  static let unexplained = 0.25
  /// A share of the promised improvement that is as good as none.
  static let kept = 0.1
  /// A share of it that is as good as all.
  static let borneOut = 0.85
  /// Growth of a small deviation over the whole horizon that is instability: what only drifts, as a mass that
  /// nothing brakes, grows with time and stays well below.
  static let instability = 100.0
  /// A share of the trajectories drawn from a model below which they are no help.
  static let keptSamples = 0.1

  /// The names of what iterations report.
  static let columns = ["saturated_share", "largest_command", "exploration", "taken_back"]

  /// What iterations report: means over conditions, the largest command of all.
  var metrics: [Metric] {
    let commands = entries.compactMap(\.facts.largestCommand)
    return [
      Metric("saturated_share", saturatedShare), Metric("largest_command", commands.max()),
      Metric("exploration", mean(of: entries.compactMap(\.facts.exploration))),
      Metric("taken_back", isTakenBack ? 1 : 0),
    ]
  }

  /// Whether it is solved in all conditions; nil where no success is judged.
  var isSolved: Bool? {
    let known = entries.compactMap(\.isSolved)
    return known.isEmpty ? nil : known.allSatisfy { $0 }
  }

  /// Whether a symptom shows, in each condition or at all; nil where the iteration does not tell.
  func shows(_ symptom: Symptom) -> [Bool?] {
    func ofAll(_ shows: Bool?) -> [Bool?] { [isSolved == true ? false : shows] }
    func ofEach(_ shows: (Entry) -> Bool?) -> [Bool?] {
      entries.map { $0.isSolved == true ? false : shows($0) }
    }
    switch symptom {
    case .saturation: return ofAll(saturatedShare.map { $0 > Self.saturation })
    case .excessiveCommands: return ofEach { $0.facts.largestCommand.map { $0 > Self.command } }
    case .deadExploration:
      return ofEach { entry in
        if entry.isSolved == nil, age ?? 0 < Self.staleness { return false }
        return entry.facts.exploration.map {
          $0 < Self.exploration
            || entry.facts.explorationOfRange ?? 1 < Self.explorationOfRange
        }
      }
    case .twoKinds: return entries.map { $0.kinds != nil }
    case .looseFit: return ofAll(unexplainedShare.map { $0 > Self.unexplained })
    case .brokenPromises:
      return ofAll(promise.map { $0.actual < Self.kept * abs($0.predicted) && $0.isClear })
    case .smallestSteps:
      let floor = settings.minStepMultiplier
      return ofEach { floor < 1 && $0.multiplier <= floor * (1 + 1e-9) }
    case .longestSteps:
      return ofEach { entry in
        guard let predicted = entry.predicted, let actual = entry.actual, predicted > 0 else {
          return false
        }
        return entry.multiplier >= settings.maxStepMultiplier * (1 - 1e-9)
          && actual >= Self.borneOut * predicted
      }
    case .takenBack: return ofAll(isTakenBack)
    case .unreachableBound: return entries.map { $0.facts.growth != nil }
    case .lostModelSamples:
      return ofEach {
        $0.facts.drawn == 0
          ? nil : Double($0.imagined) < Self.keptSamples * Double($0.facts.drawn)
      }
    case .unseenGoals: return ofEach { $0.facts.hidesGoals }
    }
  }

  /// The share of all controls at their limits; nil without limits.
  var saturatedShare: Double? { mean(of: entries.compactMap(\.facts.saturatedShare)) }

  /// The same of the control that has most of it.
  private var mostSaturated: (share: Double, control: Int)? {
    let m = entries.map(\.facts.saturatedShares.count).max() ?? 0
    return (0..<m).compactMap { i -> (share: Double, control: Int)? in
      let shares = entries.compactMap {
        i < $0.facts.saturatedShares.count ? $0.facts.saturatedShares[i] : nil
      }
      return mean(of: shares).map { ($0, i) }
    }.max { $0.share < $1.share }
  }

  /// What the last steps promised and brought, as means over the conditions that can tell, and whether the
  /// difference is more than two standard errors of the costs' means.
  private var promise: (predicted: Double, actual: Double, isClear: Bool)? {
    let judged = entries.filter { $0.predicted != nil && $0.actual != nil && !$0.costs.isEmpty }
    guard let predicted = mean(of: judged.compactMap(\.predicted)),
      let actual = mean(of: judged.compactMap(\.actual)), actual.isFinite
    else { return nil }
    let variance = judged.reduce(0) {
      $0 + 2 * $1.deviation * $1.deviation / Double($1.costs.count)
    }
    let error = variance.squareRoot() / Double(judged.count)
    return (predicted, actual, !(abs(predicted - actual) <= 2 * error))
  }
}

extension IterationFacts.Entry {
  /// The rollouts of two kinds, cheap and dear: how many and their mean costs. Nil if they are of one kind.
  var kinds: (cheap: (count: Int, cost: Double), dear: (count: Int, cost: Double))? {
    let sorted = costs.indices.sorted { costs[$0] < costs[$1] }
    func kind(_ part: ArraySlice<Int>) -> (count: Int, cost: Double) {
      (part.count, part.reduce(0) { $0 + costs[$1] } / Double(part.count))
    }
    if successes.isEmpty {
      guard let split = split(of: costs), split.share >= IterationFacts.unjudgedSplit else {
        return nil
      }
      return (kind(sorted[..<split.cheaper]), kind(sorted[split.cheaper...]))
    }
    // All that succeed cost less than all that fail, and costs differ by little but that.
    let count = successes.count { $0 }
    guard costs.count >= 4, successes.count == costs.count, (1..<costs.count).contains(count),
      sorted[..<count].allSatisfy({ successes[$0] }),
      let share = share(between: count), share >= IterationFacts.judgedSplit
    else { return nil }
    return (kind(sorted[..<count]), kind(sorted[count...]))
  }

  /// The share of the costs' variance between the cheapest `count` and the others.
  private func share(between count: Int) -> Double? {
    let sorted = costs.sorted()
    let mean = sorted.reduce(0, +) / Double(sorted.count)
    let total = sorted.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    let between = [sorted[..<count], sorted[count...]].reduce(0) { sum, part in
      let own = part.reduce(0, +) / Double(part.count)
      return sum + Double(part.count) * (own - mean) * (own - mean)
    }
    return total > 0 && total.isFinite ? between / total : nil
  }
}

// MARK: - Sentences

extension IterationFacts {
  /// One sentence: what was measured, and which setting to change.
  ///
  /// - Parameters:
  ///   - symptom: that shows.
  ///   - places: the conditions in which it does; one for what belongs to no condition.
  /// - Returns: the sentence, without the full stop.
  func sentence(on symptom: Symptom, in places: [Int]) -> String {
    let own = entries.indices.contains(places[0]) ? places.map { entries[$0] } : entries
    let names = list(own.map(\.name))
    let first = own[0]
    switch symptom {
    case .saturation:
      let most = mostSaturated.map { " (\(percent($0.share)) of \(name(ofControl: $0.control)))" }
      return
        "\(percent(saturatedShare)) of the rollouts' controls are at their limits\(most ?? ""), where more has "
        + "no effect: raise the weight of the control in `cost`, or lower the noise of `initialController`"
    case .excessiveCommands:
      let worst =
        own.max { $0.facts.largestCommand ?? 0 < $1.facts.largestCommand ?? 0 } ?? first
      return
        "in \(worst.name) \(isPolicys ? "the network" : "the controller") asks for a mean control of "
        + "\(name(ofControl: worst.facts.largestCommandOf ?? 0)) \(short(worst.facts.largestCommand)) times as far out "
        + "as its limit, which is clipped: "
        + (isPolicys
          ? "lower `algorithm.klStep` or raise `training.steps`, so that the network stays near its labels"
          : "lower the gains or the noise of `initialController`, or raise the weight of the control in `cost`")
    case .deadExploration:
      return
        "the controllers of \(names) explore with \(percent(mean(of: own.compactMap(\.facts.exploration)))) of the "
        + "deviation that they began with"
        + (mean(of: own.compactMap(\.facts.explorationOfRange)).map {
          " (\(percent($0)) of half of the controls' range)"
        } ?? "")
        + ", and the task is not solved there: raise `algorithm.explorationFloor`, which is "
        + "\(short(settings.explorationFloor ?? 0)), or the noise of `initialController`"
    case .twoKinds:
      let kinds = own.compactMap(\.kinds)[0]
      return
        "the rollouts of \(names) fall into two kinds (\(kinds.cheap.count) at a cost of about "
        + "\(short(kinds.cheap.cost)) and \(kinds.dear.count) of about \(short(kinds.dear.cost))"
        + "\(own.count > 1 ? " in \(first.name)" : "")), which one linear model averages: make late steps "
        + "short (`algorithm.klStepDecay: 0.9` with `algorithm.minStepMultiplier: 0.1`), and see in rollouts.csv and trajectories.csv what sets them apart"
    case .looseFit:
      return
        "the network leaves \(percent(unexplainedShare)) of its labels' variance unexplained: raise "
        + "`training.steps` or `network.hiddenLayers`, and let it observe what the controllers act on (sine and cosine "
        + "of an angle that turns, the goal, a clock)"
    case .brokenPromises:
      let promise = promise ?? (.nan, .nan, true)
      return
        "what the models predict does not come (an improvement of \(short(promise.predicted)) predicted, of "
        + "\(short(promise.actual)) measured): lower `algorithm.klStep`, raise `algorithm.samples`, or see with "
        + "`dynamics: known` whether it is the fit"
    case .smallestSteps:
      return
        "the step multiplier of \(names) stays at its smallest, \(short(settings.minStepMultiplier)), because steps "
        + "bring less than the models promise: raise `algorithm.samples`; lower `algorithm.minStepMultiplier` where the "
        + "cost jumps about, raise it where it stands still"
    case .longestSteps:
      return
        "the steps of \(names) are as long as they may be and bring what the models promise (an improvement of "
        + "\(short(first.predicted)) predicted, of \(short(first.actual)) measured\(own.count > 1 ? " in \(first.name)" : "")): "
        + "raise `algorithm.klStep`, which is \(short(settings.klStep)), or `algorithm.maxStepMultiplier`, which is "
        + "\(short(settings.maxStepMultiplier)), and `algorithm.explorationFloor`"
    case .takenBack:
      return
        "\(symptom.patience) iterations in a row were taken back, so that the network is that of "
        + "\(age ?? symptom.patience) iterations ago: lower `algorithm.klStep`, set `algorithm.retries` to 1, or raise "
        + "`algorithm.takeBack`, which is \(settings.takeBack), to let it go down before it goes up"
    case .unreachableBound:
      let growth = own.compactMap(\.facts.growth).max() ?? 1
      return "no controller within the KL bound was found for \(names), "
        + (pow(growth, Double(horizon)) > Self.instability
          ? "because under the fitted dynamics and the controller in force a deviation grows \(short(growth)) times "
            + "per step: begin with a controller that holds the plant (`initialController: linearized`), or raise "
            + "`algorithm.samples`"
          : "which is too small for what can be computed: raise `algorithm.klStep`, which is "
            + "\(short(settings.klStep)), or `localOptimization.maxDual`")
    case .lostModelSamples:
      let (kept, drawn) = own.reduce((0, 0)) { ($0.0 + $1.imagined, $0.1 + $1.facts.drawn) }
      return
        "\(kept) of \(drawn) trajectories drawn from the models of \(names) stay where the rollouts have been, and the "
        + "network learns from no others: lower `algorithm.klStep` or raise `algorithm.samples`, or do without them "
        + "(`algorithm.modelSamples: 0`)"
    case .unseenGoals:
      return
        "each rollout of \(names) has a goal of its own, which nothing in the state tells, so that a local controller "
        + "cannot aim: draw many goals once, each a condition of its own (`conditions.train.0.draw.every: once` with a "
        + "count), or measure in the state how far the goal is"
    }
  }

  private func name(ofControl i: Int) -> String {
    controlNames.indices.contains(i) ? controlNames[i] : "control \(i)"
  }
}

private func mean(of numbers: [Double]) -> Double? {
  numbers.isEmpty ? nil : numbers.reduce(0, +) / Double(numbers.count)
}

/// At most three names; of more, how many others.
private func list(_ names: [String]) -> String {
  if names.count > 4 {
    return names.prefix(3).joined(separator: ", ") + " and \(names.count - 3) more"
  }
  let last = names.last ?? ""
  return names.count < 2 ? last : names.dropLast().joined(separator: ", ") + " and " + last
}

/// Three significant digits.
func short(_ number: Double?) -> String {
  guard let number, number.isFinite else { return "no finite number" }
  return String(format: "%.3g", number)
}

/// Whole percents, or few digits of what is below one or beyond any plausible share.
func percent(_ share: Double?) -> String {
  guard let share, (100 * share).isFinite else { return "an unknown share" }
  return String(format: (0.01..<1e4).contains(share) ? "%.0f %%" : "%.2g %%", 100 * share)
}

// MARK: - From an iteration

extension GuidedSearch {
  /// What is worth saying of an iteration, and has not been said.
  ///
  /// - Parameters:
  ///   - next: the state after it, which takes it in.
  ///   - steps: as they ended.
  ///   - trial: what was learned.
  /// - Returns: a sentence for each symptom.
  package func diagnose(_ next: inout State, _ steps: [Step], _ trial: Trial) -> [String] {
    next.diagnosis.remarks(on: facts(of: steps, trial, on: next))
  }

  /// What an iteration measured.
  ///
  /// - Parameters:
  ///   - steps: as they ended.
  ///   - trial: what was learned.
  ///   - next: the state after it.
  /// - Returns: the facts.
  func facts(of steps: [Step], _ trial: Trial, on next: State) -> IterationFacts {
    let best = next.bestEvidence
    var facts = IterationFacts(
      entries: steps.enumerated().map { i, step in
        let own = step.report
        var entry = IterationFacts.Entry(
          name: own.name, facts: step.facts, costs: own.costs, successes: own.successes)
        if task.judgesSuccess {
          entry.isSolved = best.map { $0.successRates[i] == 1 } ?? (own.successRate == 1)
        }
        entry.predicted = step.judgement.predictedImprovement
        entry.actual = step.judgement.actualImprovement
        entry.deviation = own.costStandardDeviation
        entry.multiplier = step.next.stepMultiplier
        entry.imagined = step.imagined.count
        entry.facts.compare(
          step.next.controller, with: initialControllers[i], limits: task.controlLimits)
        return entry
      })
    facts.isPolicys = next.iteration > 1 && sampling == .onPolicy && next.policy != nil
    facts.unexplainedShare = trial.unexplainedShare
    facts.isTakenBack = next.lastPolicy != nil
    facts.age = best.map { next.iteration - 1 - $0.iteration }
    facts.controlNames = task.controlNames
    facts.horizon = task.dimensions.horizon
    facts.settings = settings
    facts.settings.explorationFloor = explorationFloor
    return facts
  }
}
