import Foundation
public import GPSCore
import Pictures
import Sim

/// Rollouts side by side, one group after the other, picture by picture.
public struct Film: Sendable {
  /// What is shown at once.
  public struct Take: Sendable {
    /// What a panel shows.
    public struct Panel: Sendable {
      /// What stands above it.
      public var title: String
      /// A rollout from the condition's own start, without noise.
      public var trajectory: Trajectory

      /// A panel.
      public init(title: String, trajectory: Trajectory) {
        self.title = title
        self.trajectory = trajectory
      }
    }

    /// Where all of its rollouts start.
    public var condition: Condition
    /// From the left to the right.
    public var panels: [Panel]

    /// Panels.
    public init(condition: Condition, panels: [Panel]) {
      self.condition = condition
      self.panels = panels
    }
  }

  /// How pictures are taken.
  public struct Options: Sendable {
    /// Pixels of a panel across, even.
    public var width = 640
    /// Pixels of a panel down, even.
    public var height = 480
    /// A camera of the MuJoCo model; nil for the free one that its viewer begins with.
    public var camera: String?
    /// Whether MuJoCo draws shadows and reflections, which take most of the time.
    public var shadows = false

    /// 640 × 480 pixels without shadows.
    public init() {}
  }

  /// What is shown, in this order; all have as many panels.
  public let takes: [Take]
  private let task: any ControlTask
  private let options: Options
  /// Steps from one picture to the next: no more than 60 pictures a second.
  private let stride: Int

  /// A film of some rollouts.
  ///
  /// - Parameters:
  ///   - task: of which they are.
  ///   - takes: at least one, each with as many panels.
  ///   - options: size and camera.
  public init(of task: any ControlTask, _ takes: [Take], options: Options = Options()) {
    let counts = Set(takes.map(\.panels.count))
    precondition(
      counts.count == 1 && !counts.contains(0), "takes of \(takes.map(\.panels.count)) panels")
    self.task = task
    self.takes = takes
    self.options = options
    stride = max(1, Int((1.0 / 60 / task.controlPeriod).rounded(.up)))
  }

  /// Pictures a second, at the pace of the task.
  public var rate: Double { 1 / (task.controlPeriod * Double(stride)) }

  /// Pixels of a whole picture.
  public var size: (width: Int, height: Int) {
    (options.width * takes[0].panels.count, options.height + Self.captionHeight)
  }

  private static let captionHeight = 24

  /// The steps of a take that are shown.
  private func steps(of take: Take) -> [Int] {
    let last = take.panels.map(\.trajectory.stepsToEnd).max() ?? 0
    return Swift.stride(from: 0, through: last, by: stride).map { $0 }
  }

  /// How many pictures there are.
  public var count: Int { takes.reduce(0) { $0 + steps(of: $1).count } }

  /// Takes all pictures.
  ///
  /// - Parameter show: receives red, green and blue of each, row by row from the top.
  /// - Returns: what drew them.
  /// - Throws: `FilmError`, what `show` throws, or `CancellationError`.
  @discardableResult
  public func shoot(_ show: (_ pixels: [UInt8]) throws -> Void) throws -> String {
    try withScene { scene, name in
      for take in takes { try shoot(take, at: steps(of: take), by: scene) { try show($0.pixels) } }
      return name
    }
  }

  /// All takes in one picture: a row of pictures for each panel of a take.
  ///
  /// - Parameter columns: pictures in a row.
  /// - Returns: a PNG file.
  /// - Throws: as `shoot`.
  public func strip(columns: Int = 6) throws -> [UInt8] {
    let (width, height) = (options.width, size.height)
    let panels = takes[0].panels.count
    // Of whole pictures, each is cut into its panels.
    var strip = Raster(width: width * columns, height: height * panels * takes.count)
    try withScene { scene, _ in
      for (row, take) in takes.enumerated() {
        let last = take.panels.map(\.trajectory.stepsToEnd).max() ?? 0
        var column = 0
        let steps = (0..<columns).map { $0 * last / max(1, columns - 1) }
        try shoot(take, at: steps, by: scene) { picture in
          for panel in 0..<panels {
            strip.put(
              picture.part(x: panel * width, y: 0, width: width, height: height), x: column * width,
              y: (row * panels + panel) * height)
          }
          column += 1
        }
      }
    }
    return strip.png
  }

  private func withScene<Result>(_ body: (any Scene, String) throws -> Result) throws -> Result {
    if let mujoco = task.underlying(MuJoCoTask.self) {
      let screen = try MuJoCoScreen(
        mujoco.interface.model, width: options.width, height: options.height,
        camera: options.camera, shadows: options.shadows)
      return try body(MuJoCoScene(interface: mujoco.interface, screen: screen), screen.name)
    }
    guard let kind = NativeScene.Kind(task) else { throw FilmError.noDrawing(task: task.name) }
    if let camera = options.camera { throw FilmError.noCamera(name: camera, known: []) }
    let all = takes.flatMap { take in take.panels.map { ($0.trajectory, take.condition) } }
    let scene = NativeScene(
      kind, cost: task.cost, all, width: options.width, height: options.height)
    return try body(scene, "lines")
  }

  private func shoot<S: Scene>(
    _ take: Take, at steps: [Int], by scene: S, _ show: (Raster) throws -> Void
  ) throws {
    func failed(_ error: any Error) -> any Error {
      error is FilmError
        ? error : FilmError.rollout(condition: take.condition.name, reason: "\(error)")
    }
    var reels: [S.Reel] = []
    do {
      reels = try take.panels.map { try scene.begin($0.trajectory, in: take.condition) }
    } catch { throw failed(error) }
    for step in steps {
      try Task.checkCancellation()
      var picture = Raster(width: size.width, height: size.height, Raster.Colour(245, 245, 245))
      for (index, panel) in take.panels.enumerated() {
        let image: Raster
        // What has ended stays as it was.
        do {
          image = try scene.picture(of: &reels[index], at: min(step, panel.trajectory.stepsToEnd))
        } catch { throw failed(error) }
        picture.put(image, x: index * options.width, y: Self.captionHeight)
        let text = "\(take.condition.name): \(panel.title)"
        let scale = Raster.width(of: text, scale: 2) <= options.width - 16 ? 2 : 1
        picture.write(
          text, x: index * options.width + 8, y: (Self.captionHeight - 7 * scale) / 2, scale: scale,
          Raster.Colour(40, 40, 40))
      }
      try show(picture)
    }
  }
}
