import CMuJoCo
import CMuJoCoGuard
import COffscreen
import GPSCore
import Pictures
import Sim

/// Rollouts of a MuJoCo model: their controls are applied once more, which gives the same motion bit for bit.
struct MuJoCoScene: Scene {
  struct Reel {
    var plant: MuJoCoPlant
    var trajectory: Trajectory
    var step: Int
  }

  let interface: MuJoCoInterface
  let screen: MuJoCoScreen

  func begin(_ trajectory: Trajectory, in condition: Condition) throws -> Reel {
    let plant = try interface.makePlant()
    let start = condition.initialPlantState
    try plant.reset(to: condition, plantState: start.span)
    return Reel(plant: plant, trajectory: trajectory, step: 0)
  }

  func picture(of reel: inout Reel, at step: Int) throws -> Raster {
    while reel.step < step {
      let control = reel.trajectory.controls.column(reel.step)
      try reel.plant.step(control: control.span)
      reel.step += 1
    }
    return try screen.picture(of: reel.plant)
  }
}

/// MuJoCo's renderer, drawing into memory; belongs to the thread that made it.
final class MuJoCoScreen {
  private let context: OpaquePointer
  private let log: OpaquePointer
  private var job = offscreen_job()
  /// What pictures are made of: the model with fewer samples a pixel, which take four times as long and hardly show.
  private var model: UnsafeMutablePointer<mjModel>?
  private var pixels: [UInt8]
  /// "EGL" or "OSMesa".
  let name: String

  /// A screen for one model.
  ///
  /// - Parameters:
  ///   - shown: the model.
  ///   - width: pixels across.
  ///   - height: pixels down.
  ///   - camera: one of the model's own; nil for the free one.
  ///   - shadows: whether there are shadows and reflections, which take most of the time.
  /// - Throws: `FilmError`.
  init(
    _ shown: MuJoCoModel, width: Int, height: Int, camera: String?, shadows: Bool
  ) throws(FilmError) {
    var number: Int32 = -1
    if let camera {
      number = shown.withModel { Int32(mj_name2id($0, Int32(mjOBJ_CAMERA.rawValue), camera)) }
      if number < 0 { throw .noCamera(name: camera, known: shown.cameraNames) }
    }
    var reason = [CChar](repeating: 0, count: 500)
    guard let log = mjguard_make_log() else { throw .renderer(reason: "memory is short") }
    guard let context = offscreen_make_context(&reason, reason.count) else {
      mjguard_free_log(log)
      throw .noRenderer(
        reason: String(
          decoding: reason.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))
    }
    self.log = log
    self.context = context
    name = String(cString: offscreen_context_name(context))
    pixels = [UInt8](repeating: 0, count: 3 * width * height)
    (job.width, job.height) = (Int32(width), Int32(height))
    (job.camera, job.shadows) = (number, shadows ? 1 : 0)
    let copied = shown.withModel { mjguard_copy_model(log, &model, $0) }
    guard copied == mjguard_ok, let model else { throw .renderer(reason: errorText) }
    model.pointee.vis.quality.offsamples = shadows ? 4 : 0
    job.model = UnsafePointer(model)
    try call(offscreen_make_view)
  }

  deinit {
    _ = withUnsafeMutablePointer(to: &job) { mjguard_call(log, offscreen_free_view, $0) }
    if let model { mj_deleteModel(model) }
    offscreen_free_context(context)
    mjguard_free_log(log)
  }

  private var errorText: String { String(cString: mjguard_error_text(log)) }

  private func call(_ function: @convention(c) (UnsafeMutableRawPointer?) -> Void) throws(FilmError)
  {
    let result = withUnsafeMutablePointer(to: &job) { mjguard_call(log, function, $0) }
    if result != mjguard_ok { throw .renderer(reason: errorText) }
    if let problem = job.problem { throw .renderer(reason: String(cString: problem)) }
  }

  /// What a plant looks like as it stands.
  ///
  /// - Throws: `FilmError.renderer`.
  func picture(of plant: MuJoCoPlant) throws(FilmError) -> Raster {
    var failure: FilmError?
    let drawn: Void? = pixels.withUnsafeMutableBufferPointer { buffer -> Void? in
      plant.withSimulation { (model, data) -> Void in
        (job.model, job.data, job.pixels) = (model, data, buffer.baseAddress)
        do throws(FilmError) { try call(offscreen_draw) } catch { failure = error }
      }
    }
    if let failure { throw failure }
    if drawn == nil { throw .renderer(reason: "the simulation has ended with an error") }
    return Raster(width: Int(job.width), height: Int(job.height), pixels: pixels)
  }
}
