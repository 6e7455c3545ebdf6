import Foundation
import GPSTestSupport
import GuidedPolicySearch
import Testing

/// `gps video`: films and strips, where they go, and what is said where there is none.
@Suite struct VideoTests {
  private let here: URL

  init() throws {
    here = try testFolder("video")
    let run = try shell("\"$GPS\" \(tinyRun) --output run", in: here)
    #expect(run.status == 0, "\(run.errors)")
  }

  private func sh(_ script: String) throws -> Outcome { try shell(script, in: here) }

  /// Width and height of a PNG file, as its header has them.
  private func size(of name: String) throws -> [Int] {
    let bytes = try Data(contentsOf: here.appendingPathComponent(name))
    try #require(bytes.count > 24 && bytes.prefix(4) == Data([0x89, 0x50, 0x4E, 0x47]))
    return [16, 20].map { at in bytes[at..<at + 4].reduce(0) { $0 << 8 | Int($1) } }
  }

  @Test func stripsOfPictures() throws {
    let outcome = try sh(
      """
      PATH=/nowhere "$GPS" video run --size 64x48 && [ -s run/film.png ] || exit 1
      "$GPS" video run --size 64x48 --condition below --output one.png || exit 2
      "$GPS" video run/checkpoints/best.safetensors --size 64x48 --condition below --output same.png || exit 3
      "$GPS" video run --size 64x48 --condition above --iteration 0 --output other.png || exit 4
      cmp -s one.png other.png && exit 5
      "$GPS" resume run --iterations 2 --quiet >/dev/null
      "$GPS" video run --size 64x48 --condition below --iteration 0 --output early.png || exit 6
      "$GPS" video run --size 64x48 --condition below --iteration 1 --output late.png || exit 7
      cmp -s early.png late.png && exit 8
      exit 0
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.output.contains("film: run/film.png (a strip of pictures)"))
    // Six pictures in a row, two rows for each condition, each with its caption.
    #expect(try size(of: "run/film.png") == [384, 576])
    #expect(try size(of: "one.png") == [384, 144])
  }

  private static let hasFFmpeg = MovieFile.program != nil

  /// Another program of ffmpeg's counts what is in the film.
  @Test(.enabled(if: hasFFmpeg, "ffmpeg is not here")) func films() throws {
    let outcome = try sh(
      """
      "$GPS" video run --size 64x48 >said || exit 1
      "$GPS" video run --size 64x48 --condition below --output small.gif >/dev/null || exit 2
      for film in run/film.mp4 small.gif; do
        ffprobe -v error -count_frames -show_entries stream=width,height,avg_frame_rate,nb_read_frames -of csv=p=0 $film
      done
      grep -o '88 pictures of 64 × 48 by lines' said
      "$GPS" \(tinyRun) --output run --force >/dev/null; [ ! -e run/film.mp4 ] || exit 3
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let lines = outcome.output.split(separator: "\n")
    // Eleven steps of each of four conditions, two panels beside each other.
    #expect(lines == ["128,72,20/1,44", "128,72,20/1,11", "88 pictures of 64 × 48 by lines"])
  }

  @Test(arguments: [
    ("video missing", "no such run directory"), ("video run --output ''", "an empty path"),
    ("video run --output film.avi", "must end in .gif, .mp4, .webm, .png"),
    ("video run --size 3x3", "--size: 3x3 is not allowed"),
    ("video run --condition nobody", "there is no \"nobody\" (there are far-below, below"),
    ("video run --iteration 7", "keeps no checkpoint of iteration 7 (there are 0;"),
    ("video run --iteration=-1", "--iteration: -1 is not allowed"),
    ("video run --camera top --output x.png", "--camera: the model has no camera \"top\""),
    ("video run --workers 0", "--workers: 0 is not allowed"),
    ("video run --output missing/x.png", "No such file"),
  ])
  func refused(_ command: String, _ words: String) throws {
    let outcome = try sh(
      """
      cp -r run before; "$GPS" \(command); code=$?
      diff -r run before && [ "$(ls | tr '\\n' ' ')" = "before run " ] && exit $code
      exit 1
      """)
    #expect(outcome.status == 64, "\(outcome.errors)")
    #expect(outcome.errors.contains(words), "\(outcome.errors)")
  }

  private static let push =
    "run box-push --iterations 1 --samples 1 --set training.steps=3 --set horizon=4 "
    + "--set initialController=constant --quiet --output push"

  @Test func withoutOpenGL() throws {
    let outcome = try sh(
      "\"$GPS\" \(Self.push) >/dev/null 2>&1; MUJOCO_GL=disable \"$GPS\" video push --output x.png; code=$?; [ ! -e x.png ] && exit $code"
    )
    #expect(outcome.status == 70, "\(outcome.errors)")
    #expect(
      outcome.errors.contains("without OpenGL (EGL: MUJOCO_GL asks for disable"),
      "\(outcome.errors)")
  }

  private static let hasOpenGL =
    dlopen("libEGL.so.1", RTLD_LAZY) != nil || dlopen("libOSMesa.so.8", RTLD_LAZY) != nil

  /// MuJoCo draws, the same for the same and other for another.
  @Test(.slow, .enabled(if: hasOpenGL, "neither EGL nor OSMesa is here")) func modelsAreDrawn()
    throws
  {
    let outcome = try sh(
      """
      "$GPS" \(Self.push) >/dev/null 2>&1
      name=$(sed -n 's/^    - name: //p' push/experiment.yaml | head -n 1)
      draw() { "$GPS" video push --size 64x48 --condition "$name" --output "$@" >/dev/null || exit 1; }
      draw a.png; draw b.png; cmp a.png b.png || exit 2
      draw c.png --shadows; cmp -s a.png c.png && exit 3
      "$GPS" video push --size 64x48 --camera nobody --output d.png 2>err; [ $? = 64 ] || exit 4
      grep -q -- '--camera: the model has no camera "nobody"' err || exit 5
      [ $(stat -c %s a.png) -gt 8000 ] || exit 6
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(try size(of: "a.png") == [384, 144])
  }
}
