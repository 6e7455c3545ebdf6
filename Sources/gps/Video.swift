import ArgumentParser
import Foundation
import GuidedPolicySearch

/// `gps video`.
struct Video: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Films a trained policy beside the controllers of iteration 0.",
    discussion: """
      Rollouts without noise, one condition after the other. MuJoCo models are drawn without a display, by EGL or \
      OSMesa (MUJOCO_GL says which), native systems as plain drawings. Films need ffmpeg; a name that ends in .png \
      gives a strip of pictures instead, which needs nothing.
      """)

  @Argument(
    help: ArgumentHelp(
      "A run directory, a policy file (policy.safetensors) or a checkpoint.", valueName: "run"),
    completion: .file())
  var path: String

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "A condition to show, by name; may be repeated. Default: all training conditions.",
      valueName: "name"))
  var condition: [String] = []

  @Option(
    help: ArgumentHelp(
      "Show the policy that this iteration trained, as long as the run keeps its checkpoint.",
      valueName: "n"))
  var iteration: Int?

  @Option(
    help: ArgumentHelp(
      "The film (.mp4, .webm, .gif) or strip (.png); default: film.mp4 in the run directory, film.png without ffmpeg.",
      valueName: "file"), completion: .file(extensions: ["mp4", "webm", "gif", "png"]))
  var output: String?

  @Option(
    help: ArgumentHelp(
      "A camera of the MuJoCo model; default: the free one that its viewer begins with.",
      valueName: "name"))
  var camera: String?

  @Option(
    help: ArgumentHelp(
      "Pixels of each picture; default: 640x480 in films, 320x240 in strips.", valueName: "w×h"))
  var size: String?

  @Flag(help: "Draw shadows and reflections, which takes many times as long.")
  var shadows = false

  @Option(help: ArgumentHelp("Concurrent workers; default: one per core.", valueName: "n"))
  var workers: Int?

  func validate() throws {
    try requirePath(path, "the run")
    if let output { try requirePath(output, "--output") }
    if let iteration, iteration < 0 {
      throw ValidationError("--iteration: \(iteration) is not allowed (must be at least 0)")
    }
    if let workers, !(1...4096).contains(workers) {
      throw ValidationError("--workers: \(workers) is not allowed (must be between 1 and 4096)")
    }
  }

  private func pixels(isStrip: Bool) -> [Int] {
    (size ?? (isStrip ? "320x240" : "640x480")).split(whereSeparator: { "x×".contains($0) })
      .compactMap { Int($0) }
  }

  private func ending(_ path: String) -> String { (path as NSString).pathExtension.lowercased() }

  func run() async throws {
    // A reader that goes away is an error of writing.
    signal(SIGPIPE, SIG_IGN)
    if let output, !(MovieFile.endings + ["png"]).contains(ending(output)) {
      let endings = (MovieFile.endings + ["png"]).map { ".\($0)" }.joined(separator: ", ")
      throw CommandFailure(
        "--output: \(output) is not allowed (must end in \(endings))", .badInput)
    }
    let sizes = pixels(isStrip: output.map { ending($0) == "png" } ?? (MovieFile.program == nil))
    guard sizes.count == 2, sizes.allSatisfy({ (16...4096).contains($0) && $0.isMultiple(of: 2) })
    else {
      throw CommandFailure(
        "--size: \(size ?? "") is not allowed (must be two even numbers from 16 to 4096, such as 640x480)",
        .badInput)
    }
    let source = try TrainedPolicy(at: path)
    let loaded = source.loaded
    let known = loaded.task.conditions + loaded.task.testConditions
    for name in condition where !known.contains(where: { $0.name == name }) {
      throw CommandFailure(
        "--condition: there is no \"\(name)\" (there are \(known.map(\.name).joined(separator: ", ")))",
        .badInput)
    }
    let chosen =
      condition.isEmpty
      ? Array(loaded.task.conditions) : known.filter { condition.contains($0.name) }
    let file = try iteration.map { try checkpoint(after: $0, beside: source.file) } ?? source.file
    let place =
      output
      ?? source.directory.appendingPathComponent(
        MovieFile.program == nil ? RunDirectory.FileName.filmStrip : RunDirectory.FileName.film
      ).path
    if ending(place) != "png" && MovieFile.program == nil {
      throw CommandFailure(
        "--output: films need ffmpeg, which is not on the path (Debian: apt-get install ffmpeg); a name that ends "
          + "in .png gives a strip of pictures", .badInput)
    }
    // Before the work: where it cannot be written, it need not be done.
    let target = try source.output(place, option: "--output")
    var asked = Film.Options()
    (asked.width, asked.height, asked.camera, asked.shadows) = (
      sizes[0], sizes[1], camera, shadows
    )
    let options = asked
    let learner: any Learner
    do { learner = try loaded.learner() } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
    let (caption, form, count) = (captionText(of: file, in: source), ending(place), workers ?? 1)
    let (outcome, signalNumber) = await interruptible {
      () -> Result<String, any Error> in
      do {
        let film = try await loaded.film(
          policyAt: file, of: learner, in: chosen, title: caption, options: options, workers: count)
        let clock = ContinuousClock()
        let start = clock.now
        if form == "png" {
          try target.write(film.strip())
          return .success("a strip of pictures")
        }
        let size = film.size
        var artist = ""
        let bytes = try MovieFile(
          ending: form, width: size.width, height: size.height, rate: film.rate
        ).made { show in artist = try film.shoot(show) }
        let seconds = start.duration(to: clock.now) / .seconds(1)
        try target.write(bytes)
        let panels = film.count * film.takes[0].panels.count
        return .success(
          "\(panels) pictures of \(options.width) × \(options.height) by \(artist), "
            + "\(Int(Double(panels) / seconds)) a second")
      } catch {
        return .failure(error)
      }
    }
    do {
      let said = try outcome.get()
      if output != "/dev/stdout" {
        printLine("film: \(displayPath(PathParts.url(of: place))) (\(said))")
      }
    } catch is CancellationError {
      throw ExitCode(128 + (signalNumber ?? SIGINT))
    } catch let error as PolicyFileError {
      throw CommandFailure(error, otherwise: .badInput)
    } catch let error as CheckpointError {
      throw CommandFailure(error, otherwise: .badInput)
    } catch FilmError.noCamera(let name, let known) {
      throw CommandFailure("--camera: \(FilmError.noCamera(name: name, known: known))", .badInput)
    } catch {
      throw CommandFailure(error, otherwise: .runFailed)
    }
  }

  /// What stands above the policy's pictures.
  private func captionText(of file: URL, in source: TrainedPolicy) -> String {
    if let iteration { return "policy of iteration \(iteration)" }
    let summary = source.directory.appendingPathComponent(RunDirectory.FileName.summary)
    if file.lastPathComponent == RunDirectory.FileName.policy,
      let data = try? Data(contentsOf: summary),
      let policy = try? JSONDecoder().decode(Summary.self, from: data).policy
    {
      return "policy of iteration \(policy.iteration)"
    }
    return "policy"
  }

  /// The checkpoint that an iteration ended with.
  private func checkpoint(after iteration: Int, beside policy: URL) throws -> URL {
    let folder = policy.deletingLastPathComponent().appendingPathComponent(
      RunDirectory.FileName.checkpoints)
    func file(_ iteration: Int) -> URL {
      folder.appendingPathComponent(RunDirectory.checkpointName(iterations: iteration + 1))
    }
    if try status(of: file(iteration).path) != nil { return file(iteration) }
    let kept = RunDirectory.checkpointedIterations(in: policy.deletingLastPathComponent())
    throw CommandFailure(
      "--iteration: the run keeps no checkpoint of iteration \(iteration) "
        + (kept.isEmpty
          ? "(nor of any other)"
          : "(there are \(kept.map(String.init).joined(separator: ", ")); gps run --keep keeps more)"),
      .badInput)
  }
}
