package import Configuration
public import GPSCore
public import Statistics

/// Stage 2 of one condition: where a search gets its time-varying linear-Gaussian dynamics from.
public enum DynamicsSource: Sendable, Equatable {
  /// They are fitted to the rollouts.
  case fitted(LinearGaussianFitter.Options)
  /// They are known and are linearised about the mean of the rollouts; nothing is fitted.
  case known(DynamicsLinearizer.Options)

  /// These options, checked.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public func validated() throws(InvalidOption) -> DynamicsSource {
    switch self {
    case .fitted(let options): _ = try options.validated()
    case .known(let options):
      do { _ = try options.validated() } catch { throw error.within("known") }
    }
    return self
  }

  /// The dynamics about a batch of rollouts.
  ///
  /// - Parameters:
  ///   - samples: N > 0 rollouts of one condition.
  ///   - task: where they come from.
  ///   - condition: its index among the task's.
  ///   - prior: what earlier rollouts say; takes in these.
  ///   - stream: where a mixture's seeds are drawn from.
  ///   - notes: what was out of the ordinary is added, one sentence each.
  /// - Returns: the model.
  /// - Throws: `DynamicsError` (`prior` is then as it was), `UnknownDynamics`, or what the task throws when
  ///   its dynamics cannot be made ready.
  public func dynamics(
    about samples: [Trajectory], of task: some ControlTask, condition: Int,
    updating prior: inout DynamicsPrior, stream: RandomStream, notes: inout [String]
  ) throws -> LinearGaussianDynamics {
    switch self {
    case .known(let options):
      guard let known = try task.knownDynamics(in: task.conditions[condition]) else {
        throw UnknownDynamics(task: task.name)
      }
      return try DynamicsLinearizer(options: options).linearize(
        known, about: samples, condition: condition)
    case .fitted(let options):
      let fit = try LinearGaussianFitter(options: options).fit(
        samples, updating: prior, condition: condition, stream: stream,
        vectors: task.stateVectors)
      prior = fit.prior
      notes += fit.notes
      return fit.dynamics
    }
  }

  /// Checks that a task can give what is asked of it.
  ///
  /// - Throws: `UnknownDynamics`, or what the task throws when its dynamics cannot be made ready.
  public func validate(for task: some ControlTask) throws {
    if case .known = self, let condition = task.conditions.first,
      try task.knownDynamics(in: condition) == nil
    {
      throw UnknownDynamics(task: task.name)
    }
  }
}

/// The options of the fit; or "known", or those of known dynamics under that key.
extension DynamicsSource: Setting {
  package static var codec: Codec<DynamicsSource> {
    let (fit, known) = (LinearGaussianFitter.Options.codec, DynamicsLinearizer.Options.codec)
    return Codec(
      expects: "the options of a fit, or known",
      entries: fit.entries + [
        ReferenceEntry(
          key: "known", expects: known.expects,
          text: "Instead of all others: linearise the task's own dynamics; fit nothing.",
          entries: known.entries)
      ],
      read: { (tree, path) throws(SettingsError) in
        switch tree.content {
        case .plain("known"), .quoted("known"): return .known(DynamicsLinearizer.Options())
        case .mapping(let entries) where entries.count == 1 && entries[0].key == "known":
          return .known(try known.read(entries[0].value, join(path, "known")))
        case .mapping: return .fitted(try fit.read(tree, path))
        default: throw wrongType(tree, path, "a mapping of settings, or known")
        }
      },
      write: {
        switch $0 {
        case .fitted(let options): fit.write(options)
        case .known(let options):
          .mapping([SettingsTree.Entry(key: "known", content: known.write(options))])
        }
      })
  }
}
