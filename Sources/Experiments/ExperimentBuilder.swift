import Configuration
import Dynamics
import Foundation
import GPSCore
import Sim

/// Makes a task of an experiment: resolves names, compares lengths, and leads every complaint of the
/// parts back to the place in the file that caused it.
struct ExperimentBuilder {
  let experiment: Experiment
  let tree: SettingsTree
  let folder: URL

  func build() throws(SettingsError) -> LoadedExperiment {
    switch experiment.system {
    case .mujoco(let settings): try buildMuJoCo(settings)
    case .native(let settings):
      switch settings.model {
      case .pointMass(let model): try buildNative(settings, model, path: "pointMass")
      case .cartPole(let model): try buildNative(settings, model, path: "cartPole")
      case .twoLinkArm(let model): try buildNative(settings, model, path: "twoLinkArm")
      }
    }
  }

  // MARK: - Errors

  private func refuse(_ path: String, _ value: String, _ allowed: String) -> SettingsError {
    SettingsError(
      origin: tree.origin(of: path), path: path, value: tree.word(at: path) ?? value,
      allowed: allowed)
  }

  private func refuse(_ path: String, problem: String) -> SettingsError {
    SettingsError(origin: tree.origin(of: path), path: path, problem: problem)
  }

  /// A complaint of the simulation module, whose keys follow the file's apart from brackets and the
  /// grouping of norms.
  private func refuse(_ error: SimError) -> SettingsError {
    func path(_ key: String) -> String {
      key.replacing("[", with: ".").replacing("]", with: "").replacing(".norm.", with: ".")
    }
    return switch error {
    case .option(let option): refuse(path(option.key), option.value, option.allowed)
    case .length(let key, let found, let expected):
      refuse(path(key), "a list of \(found)", "\(expected) numbers")
    case .index, .actuator, .controller: refuse("", problem: "\(error)")
    }
  }

  /// A complaint of the MuJoCo module: names are sought in the file, the rest belongs to the system.
  private func refuse(_ error: MuJoCoError, _ path: String) -> SettingsError {
    switch error {
    case .unknownName(let kind, let name, _, let available):
      let place = tree.path(ofName: name, below: path) ?? path
      return refuse(
        place,
        problem: "the model has no \(kind) \"\(abbreviated(name))\" "
          + (available.isEmpty
            ? "(it has none with a name)"
            : "(it has \(available.prefix(12).joined(separator: ", "))"
              + (available.count > 12 ? " and \(available.count - 12) more)" : ")")))
    case .noSuchFile(let path):
      return refuse(
        "system.mujoco.model", problem: "no such file: \(path) (relative to the experiment file)")
    case .unreadable, .invalidModel, .noActuators:
      return refuse("system.mujoco.model", problem: oneLine("\(error)"))
    default:
      return refuse(path, problem: oneLine("\(error)"))
    }
  }

  // MARK: - Systems

  private func buildMuJoCo(
    _ settings: MuJoCoSettings
  ) throws(SettingsError) -> LoadedExperiment {
    let url = URL(fileURLWithPath: settings.model, relativeTo: folder).absoluteURL
    let goal = try goalDimension()
    for (key, components) in [
      ("state", settings.state), ("observation", settings.observation ?? []),
    ] {
      if goal == 0, let index = components.firstIndex(of: .goal) {
        throw refuse(
          "system.mujoco.\(key).\(index)", problem: "the conditions have no goal to observe")
      }
    }
    let interface: MuJoCoInterface
    do {
      interface = try MuJoCoInterface(
        model: MuJoCoModel(contentsOf: url.path), timestep: settings.timestep,
        substeps: settings.substeps, state: settings.state, observation: settings.observation,
        points: settings.points, goalDimension: goal, stateLimit: settings.stateLimit)
    } catch {
      throw refuse(error, "system.mujoco")
    }
    let train = try muJoCoConditions(experiment.conditions.train, "train", interface)
    let test = try muJoCoConditions(experiment.conditions.test, "test", interface)
    let names = Names(
      states: interface.stateNames, points: interface.points,
      controls: interface.controlNames)
    let dimensions = Dimensions(
      state: names.states.count, control: names.controls.count,
      observation: interface.observationNames.count, horizon: experiment.horizon,
      points: names.points.count)
    do {
      let cost = try self.cost(names).validated(for: dimensions, conditions: train + test)
      let success = try success(experiment.success, "success", names)
        .validated(for: dimensions, conditions: train + test)
      let task = try MuJoCoTask(
        name: experiment.task, interface: interface, horizon: experiment.horizon,
        conditions: train, testConditions: test, cost: cost, success: success)
      return try finish(task, model: url)
    } catch let error as SettingsError {
      throw error
    } catch let error as SimError {
      throw refuse(error)
    } catch let error as MuJoCoError {
      throw refuse(error, "conditions")
    } catch {
      throw refuse("", problem: oneLine("\(error)"))
    }
  }

  private func buildNative<Model: DynamicSystem>(
    _ settings: NativeSettings, _ model: Model, path: String
  ) throws(SettingsError) -> LoadedExperiment {
    _ = try goalDimension()
    do {
      try model.validate()
    } catch {
      guard case .option(let option) = error else { throw refuse(error) }
      let key = option.key.split(separator: ".").last ?? ""
      throw refuse("system.native.model.\(path).\(key)", option.value, option.allowed)
    }
    let names = Names(
      states: model.stateNames, points: model.pointNames, controls: model.controlNames)
    var entries: [Int]?
    let base = "system.native.observation"
    if let list = settings.observation.state {
      entries = try names.entries(list, "\(base).state", self)
    }
    let observation = NativeObservation(
      stateEntries: entries,
      points: try names.points(settings.observation.points, "\(base).points", self),
      goal: settings.observation.goal)
    let train = try nativeConditions(experiment.conditions.train, "train", names)
    let test = try nativeConditions(experiment.conditions.test, "test", names)
    do {
      let task = try NativeTask(
        name: experiment.task, model: model, controlPeriod: settings.controlPeriod,
        substeps: settings.substeps, integrator: settings.integrator, horizon: experiment.horizon,
        conditions: train,
        testConditions: test, cost: try cost(names),
        success: try success(experiment.success, "success", names), observation: observation)
      return try finish(task, model: nil)
    } catch let error as SettingsError {
      throw error
    } catch let error as SimError {
      throw refuse(error)
    } catch {
      throw refuse("", problem: oneLine("\(error)"))
    }
  }

  private func finish<System: ControlTask>(
    _ task: System, model: URL?
  ) throws(SettingsError) -> LoadedExperiment {
    // Several matrices of this size are kept per step and condition.
    let size = Double(task.dimensions.state + task.dimensions.control)
    let entries = size * size * Double(experiment.horizon) * Double(task.conditions.count)
    if entries > 1e8 {
      throw refuse(
        "horizon",
        problem:
          "too much memory: \(experiment.horizon) steps of \(task.conditions.count) conditions "
          + "with \(task.dimensions.state) states and \(task.dimensions.control) controls")
    }
    var controllers: [LinearGaussianController] = []
    for condition in task.conditions {
      do {
        controllers.append(try experiment.initialController.controller(for: task, in: condition))
      } catch let error as SimError {
        switch error {
        case .option(let option):
          throw refuse("initialController.\(option.key)", option.value, option.allowed)
        case .length(let key, let found, let expected):
          throw refuse("initialController.\(key)", "a list of \(found)", "\(expected) numbers")
        default: throw refuse("initialController", problem: "\(error)")
        }
      } catch {
        throw refuse(
          "conditions.train", problem: "condition \"\(condition.name)\": \(oneLine("\(error)"))")
      }
    }
    do {
      _ = try experiment.optimization.controlLimits?.validated(controls: task.dimensions.control)
    } catch {
      // "limits.upper" is optimization.controlLimits.upper in a file.
      let key = error.key.split(separator: ".").dropFirst().joined(separator: ".")
      throw refuse("optimization.controlLimits.\(key)", error.value, error.allowed)
    }
    if case .known = experiment.dynamics {
      for condition in task.conditions {
        do {
          guard try task.knownDynamics(in: condition) == nil else { continue }
        } catch {
          throw refuse("dynamics", "known", "only where they are: \(oneLine("\(error)"))")
        }
        throw refuse("dynamics", "known", "a fit: the dynamics of this task are not known")
      }
    }
    return LoadedExperiment(
      experiment: experiment, task: task, initialControllers: controllers, model: model)
  }

  // MARK: - Conditions

  /// All conditions have a goal of the same length.
  private func goalDimension() throws(SettingsError) -> Int {
    let all =
      experiment.conditions.train.enumerated().map { ("conditions.train.\($0.offset)", $0.element) }
      + experiment.conditions.test.enumerated().map { ("conditions.test.\($0.offset)", $0.element) }
    let count = all.first?.1.goal.count ?? 0
    for (path, condition) in all where condition.goal.count != count {
      throw refuse(
        "\(path).goal", "a list of \(condition.goal.count)",
        "\(count) numbers, as in the first condition")
    }
    return count
  }

  /// The conditions' names; unique, because files tell conditions apart by them.
  private func names(
    _ conditions: [ConditionSettings], _ list: String
  ) throws(SettingsError) -> [String] {
    var names: [String] = []
    for (index, condition) in conditions.enumerated() {
      let name = condition.name.isEmpty ? "\(index)" : condition.name
      if names.contains(name) {
        throw refuse(
          "conditions.\(list).\(index).name", abbreviated(name),
          "a name that no other condition of the list has")
      }
      names.append(name)
    }
    return names
  }

  /// One number per entry, where one number may stand for all; empty if all are zero.
  private func deviation(
    _ numbers: [Double], _ count: Int, _ path: String
  ) throws(SettingsError) -> [Double] {
    if numbers.count != count && numbers.count != 1 {
      throw refuse(path, "a list of \(numbers.count)", "one number, or \(count)")
    }
    return numbers.count == count ? numbers : [Double](repeating: numbers[0], count: count)
  }

  private func muJoCoConditions(
    _ list: [ConditionSettings], _ key: String, _ interface: MuJoCoInterface
  ) throws(SettingsError) -> [Condition] {
    let model = interface.model
    let (nq, nv) = (model.jointPositionCount, model.jointVelocityCount)
    let names = try names(list, key)
    var conditions: [Condition] = []
    for (index, settings) in list.enumerated() {
      let path = "conditions.\(key).\(index)"
      if settings.state != nil {
        throw refuse(
          "\(path).state", problem: "a MuJoCo model starts from keyframe or jointPositions")
      }
      for (part, numbers, count) in [
        ("jointPositions", settings.jointPositions, nq),
        ("jointVelocities", settings.jointVelocities, nv),
      ] {
        if let numbers, numbers.count != count {
          throw refuse(
            "\(path).\(part)", "a list of \(numbers.count)",
            "\(count) numbers (the joints are \(model.jointNames.joined(separator: ", ")))")
        }
      }
      do {
        let start =
          if let keyframe = settings.keyframe {
            try model.plantState(keyframe: keyframe)
          } else {
            try model.plantState()
          }
        var condition = Condition(
          name: names[index],
          initialPlantState: (settings.jointPositions ?? Array(start[..<nq]))
            + (settings.jointVelocities ?? Array(start[nq...])),
          bodyOffsets: settings.bodyOffsets, goal: settings.goal)
        let noise =
          try deviation(settings.positionDeviation, nq, "\(path).positionDeviation")
          + deviation(settings.velocityDeviation, nv, "\(path).velocityDeviation")
        if noise.contains(where: { $0 != 0 }) { condition.initialPlantStateDeviation = noise }
        try interface.validate(condition)
        conditions.append(condition)
      } catch let error as SettingsError {
        throw error
      } catch let error as MuJoCoError {
        // What holds for all conditions stands in `common`.
        if case .unknownName(_, let name, _, _) = error,
          tree.path(ofName: name, below: path) == nil
        {
          throw refuse(error, "conditions.common")
        }
        throw refuse(error, path)
      } catch {
        throw refuse(path, problem: oneLine("\(error)"))
      }
    }
    return conditions
  }

  private func nativeConditions(
    _ list: [ConditionSettings], _ key: String, _ names: Names
  ) throws(SettingsError) -> [Condition] {
    let conditionNames = try self.names(list, key)
    let n = names.states.count
    var conditions: [Condition] = []
    for (index, settings) in list.enumerated() {
      let path = "conditions.\(key).\(index)"
      for (part, isGiven) in [
        ("keyframe", settings.keyframe != nil), ("jointPositions", settings.jointPositions != nil),
        ("jointVelocities", settings.jointVelocities != nil),
        ("bodyOffsets", !settings.bodyOffsets.isEmpty),
        ("velocityDeviation", settings.velocityDeviation != [0]),
      ] where isGiven {
        throw refuse(
          "\(path).\(part)",
          problem: "is for MuJoCo models; a native system has state and positionDeviation")
      }
      if let state = settings.state, state.count != n {
        throw refuse(
          "\(path).state", "a list of \(state.count)",
          "\(n) numbers (\(names.states.joined(separator: ", ")))")
      }
      var condition = Condition(
        name: conditionNames[index],
        initialPlantState: settings.state ?? [Double](repeating: 0, count: n), goal: settings.goal)
      let noise = try deviation(settings.positionDeviation, n, "\(path).positionDeviation")
      if noise.contains(where: { $0 != 0 }) { condition.initialPlantStateDeviation = noise }
      conditions.append(condition)
    }
    return conditions
  }

  // MARK: - Costs and success

  private func cost(_ names: Names) throws(SettingsError) -> SumCost {
    var entries: [SumCost.Entry] = []
    for (index, settings) in experiment.cost.enumerated() {
      let path = "cost.\(index)"
      switch settings {
      case .control(let term):
        let path = "\(path).control"
        let weights = try each(
          term.weights, names.controls.count, "\(path).weights",
          "one per control: \(names.controls.joined(separator: ", "))")
        entries.append(
          SumCost.Entry(
            weight: term.weight, .control(ControlCost(weights: weights, ramp: term.ramp))))
      case .state(let term):
        let path = "\(path).state"
        let indices =
          try term.entries.map { list throws(SettingsError) in
            try names.entries(list, "\(path).entries", self)
          } ?? Array(names.states.indices)
        let weights = try each(
          term.weights, indices.count, "\(path).weights", "one per entry")
        entries.append(
          SumCost.Entry(
            weight: term.weight,
            .state(
              StateCost(
                entries: indices,
                target: try stateTarget(term.target, indices.count, "\(path).target"),
                weights: weights, norm: term.norm, ramp: term.ramp))))
      case .point(let term):
        let path = "\(path).point"
        let indices = try names.points(term.points, "\(path).points", self)
        let weights = try each(
          term.weights, 3 * indices.count, "\(path).weights", "x, y, z of each point")
        entries.append(
          SumCost.Entry(
            weight: term.weight,
            .point(
              PointCost(
                points: indices,
                target: try pointTarget(term.target, indices.count, "\(path).target", names),
                weights: weights, norm: term.norm, ramp: term.ramp))))
      case .region(let term):
        let path = "\(path).region"
        entries.append(
          SumCost.Entry(
            weight: term.weight,
            .region(
              RegionCost(
                points: try names.points(term.points, "\(path).points", self),
                region: try region(term.region, "\(path).region", names), side: term.side,
                profile: term.profile, smoothing: term.smoothing, margin: term.margin,
                gaussNewton: term.gaussNewton, ramp: term.ramp))))
      }
    }
    return SumCost(entries)
  }

  private func success(
    _ settings: SuccessSettings, _ path: String, _ names: Names
  ) throws(SettingsError) -> SuccessCriterion {
    switch settings {
    case .pointDistance(let point, let target, let below, let moment):
      let path = "\(path).pointDistance"
      return .pointDistance(
        point: try names.point(point, "\(path).point", self),
        to: try pointTarget(target, 1, "\(path).target", names), below: below,
        at: try checked(moment, path))
    case .stateWithin(let entries, let target, let tolerance, let moment):
      let path = "\(path).stateWithin"
      let indices = try names.entries(entries, "\(path).entries", self)
      return .stateWithin(
        entries: indices, target: try stateTarget(target, indices.count, "\(path).target"),
        tolerance: try each(tolerance, indices.count, "\(path).tolerance", "one per entry"),
        at: try checked(moment, path))
    case .pointInside(let point, let region, let moment):
      let path = "\(path).pointInside"
      return .pointInside(
        point: try names.point(point, "\(path).point", self),
        region: try self.region(region, "\(path).region", names), at: try checked(moment, path))
    case .pointOutside(let point, let region, let moment):
      let path = "\(path).pointOutside"
      return .pointOutside(
        point: try names.point(point, "\(path).point", self),
        region: try self.region(region, "\(path).region", names), at: try checked(moment, path))
    case .all(let criteria):
      if criteria.isEmpty { throw refuse("\(path).all", "an empty list", "at least one criterion") }
      var list: [SuccessCriterion] = []
      for (index, criterion) in criteria.enumerated() {
        list.append(try success(criterion, "\(path).all.\(index)", names))
      }
      return .all(list)
    }
  }

  private func checked(
    _ moment: SuccessCriterion.Moment, _ path: String
  ) throws(SettingsError) -> SuccessCriterion.Moment {
    if case .last(let count) = moment, !(1...experiment.horizon + 1).contains(count) {
      throw refuse("\(path).at.last", "\(count)", "between 1 and \(experiment.horizon + 1)")
    }
    return moment
  }

  private func each(
    _ numbers: [Double], _ count: Int, _ path: String, _ meaning: String
  ) throws(SettingsError) -> [Double] {
    if numbers.count == count { return numbers }
    if numbers.count == 1 { return [Double](repeating: numbers[0], count: count) }
    throw refuse(path, "a list of \(numbers.count)", "one number, or \(count) (\(meaning))")
  }

  private func goal(_ first: Int, _ count: Int, _ path: String) throws(SettingsError) -> Int {
    // All goals have the same length.
    let length = experiment.conditions.train.first?.goal.count ?? 0
    if first > length - count {
      throw refuse(
        path,
        problem: "\(count) numbers of the goal from number \(first) on are needed, "
          + (length == 0 ? "but the conditions have none" : "but goals have \(length) numbers"))
    }
    return first
  }

  private func stateTarget(
    _ target: TargetSettings, _ count: Int, _ path: String
  ) throws(SettingsError) -> StateTarget {
    switch target {
    case .numbers(let numbers): .numbers(try each(numbers, count, path, "one per entry"))
    case .goal(let first): .goal(first: try goal(first, count, path))
    case .points: throw refuse(path, "points", "numbers or goal")
    }
  }

  private func pointTarget(
    _ target: TargetSettings, _ count: Int, _ path: String, _ names: Names
  ) throws(SettingsError) -> PointTarget {
    switch target {
    case .numbers(let numbers):
      if numbers.count != 3 * count {
        throw refuse(
          path, "a list of \(numbers.count)", "\(3 * count) numbers: x, y, z of each point")
      }
      return .position(numbers)
    case .goal(let first): return .goal(first: try goal(first, 3 * count, path))
    case .points(let list):
      if list.count != count {
        throw refuse("\(path).points", "a list of \(list.count)", "\(count), one for each point")
      }
      return .points(try names.points(list, "\(path).points", self))
    }
  }

  private func region(
    _ settings: RegionSettings, _ path: String, _ names: Names
  ) throws(SettingsError) -> Region {
    switch settings {
    case .ball(let center, let radius):
      .ball(center: try pointTarget(center, 1, "\(path).ball.center", names), radius: radius)
    case .box(let center, let halfExtents):
      .box(
        center: try pointTarget(center, 1, "\(path).box.center", names), halfExtents: halfExtents)
    }
  }

  /// What a file may refer to by name.
  private struct Names {
    var states: [String]
    var points: [String]
    var controls: [String]

    func point(
      _ name: String, _ path: String, _ builder: ExperimentBuilder
    ) throws(SettingsError) -> Int {
      guard let index = points.firstIndex(of: name) else {
        throw builder.refuse(
          path, abbreviated(name),
          points.isEmpty
            ? "left out: the system has no points" : "a point: \(listed(points, nearest: name))")
      }
      return index
    }

    func points(
      _ list: [String], _ path: String, _ builder: ExperimentBuilder
    ) throws(SettingsError) -> [Int] {
      var indices: [Int] = []
      for (index, name) in list.enumerated() {
        indices.append(try point(name, "\(path).\(index)", builder))
      }
      return indices
    }

    /// Entries of the state by their own names or by what their names begin with; components also by
    /// the word that experiment files have for them.
    func entries(
      _ list: [String], _ path: String, _ builder: ExperimentBuilder
    ) throws(SettingsError) -> [Int] {
      var indices: [Int] = []
      for (index, name) in list.enumerated() {
        let word = snakeCase(name)
        let found = states.indices.filter { i in
          [name, word].contains { prefix in
            states[i] == prefix || states[i].hasPrefix(prefix + ".")
              || states[i].hasPrefix(prefix + "_")
          }
        }
        if found.isEmpty {
          throw builder.refuse(
            "\(path).\(index)", abbreviated(name),
            "an entry of the state: \(listed(states, nearest: name))")
        }
        for entry in found {
          if indices.contains(entry) {
            throw builder.refuse(
              "\(path).\(index)", abbreviated(name),
              "an entry that is not in the list yet (\(states[entry]) is)")
          }
          indices.append(entry)
        }
      }
      return indices
    }
  }
}

/// At most twelve names, the nearest to one first.
private func listed(_ names: [String], nearest name: String) -> String {
  let sorted = names.enumerated()
    .map { ($0.element, editDistance(name, $0.element), $0.offset) }
    .sorted { ($0.1, $0.2) < ($1.1, $1.2) }
    .map(\.0)
  return sorted.prefix(12).joined(separator: ", ")
    + (sorted.count > 12 ? " and \(sorted.count - 12) more" : "")
}

/// "jointVelocities" as "joint_velocities".
private func snakeCase(_ word: String) -> String {
  word.reduce(into: "") { result, letter in
    if letter.isUppercase && !result.isEmpty { result += "_" }
    result += letter.lowercased()
  }
}

private func oneLine(_ text: String) -> String {
  text.split(whereSeparator: \.isNewline).joined(separator: " ")
}

extension SettingsTree {
  /// The path of the first word or key of that name at or below a path.
  func path(ofName name: String, below start: String) -> String? {
    var node = self
    for component in start.split(separator: ".") {
      guard let next = node.child(String(component)) else { return nil }
      node = next
    }
    return node.search(name, start)
  }

  private func search(_ name: String, _ path: String) -> String? {
    switch content {
    case .null: return nil
    case .plain(let text), .quoted(let text): return text == name ? path : nil
    case .list(let items):
      for (index, item) in items.enumerated() {
        if let found = item.search(name, join(path, "\(index)")) { return found }
      }
      return nil
    case .mapping(let entries):
      for entry in entries {
        if entry.key == name { return join(path, entry.key) }
        if let found = entry.value.search(name, join(path, entry.key)) { return found }
      }
      return nil
    }
  }
}
