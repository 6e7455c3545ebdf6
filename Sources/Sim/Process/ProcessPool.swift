import GPSCore
import LinearAlgebra

/// The processes of one system: a plant takes one that is idle, or starts one, and gives it back when it is gone.
/// Starting an interpreter takes as long as many rollouts.
final class ProcessPool: Sendable {
  let program: ProcessProgram
  private let greeting: Safetensors
  private let idle = Locked<[WorkerProcess]>([])

  init(_ program: ProcessProgram, greeting: Safetensors) {
    (self.program, self.greeting) = (program, greeting)
  }

  deinit {
    for process in idle.withLock({ $0 }) { process.end() }
  }

  /// A process of one's own that has been greeted.
  func take() throws -> WorkerProcess {
    if let process = idle.withLock({ $0.popLast() }) { return process }
    return try start().process
  }

  /// A new process, and what it says of its environment.
  func start() throws -> (process: WorkerProcess, said: ValueReader) {
    var process = try WorkerProcess(program)
    do {
      let said = try process.answer(to: greeting, deadline: program.deadline)
      return (process, said)
    } catch {
      process.end(atOnce: true)
      throw error
    }
  }

  /// For the next one who takes.
  func giveBack(_ process: WorkerProcess) { idle.withLock { $0.append(process) } }
}

/// A process that somebody has: given back, if it is of any use still, when nobody has it any more.
final class ProcessLease {
  private let pool: ProcessPool
  private var process: WorkerProcess?

  init(_ pool: ProcessPool) throws {
    self.pool = pool
    process = try pool.take()
  }

  deinit {
    if let process { pool.giveBack(process) }
  }

  /// Sends a message and waits for the answer. After an error the process is ended: what it keeps of one is not to
  /// reach the next rollout.
  ///
  /// - Parameters:
  ///   - message: what is asked for.
  ///   - timeLimit: seconds; nil for as many as the program has in any case.
  /// - Returns: the answer.
  /// - Throws: as `WorkerProcess.answer`.
  func answer(to message: Safetensors, timeLimit: Double? = nil) throws -> ValueReader {
    guard var process = process.take() else { throw PlantFailure("the process has ended") }
    do {
      let answer = try process.answer(
        to: message, deadline: min(timeLimit ?? .infinity, pool.program.deadline))
      self.process = process
      return answer
    } catch {
      process.end(atOnce: true)
      throw error
    }
  }
}
