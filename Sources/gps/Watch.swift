import ArgumentParser
import Foundation
import GuidedPolicySearch

/// `gps watch`.
struct Watch: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows in a terminal how a run is going, or went.",
    discussion: """
      Costs and successes as curves, a verdict for each condition, warnings, and the time that is left; again every \
      second as long as the run goes on. It only reads: the run may be in another terminal, or on a shared disk.
      """)

  @Argument(help: ArgumentHelp("A run directory.", valueName: "run"), completion: .directory)
  var path: String

  @Option(help: ArgumentHelp("Seconds from one look to the next.", valueName: "s"))
  var every = 1.0

  @Flag(help: "Look once.")
  var once = false

  func validate() throws {
    try requirePath(path, "the run")
    if !(0.1...3600).contains(every) {
      throw ValidationError("--every: \(every) is not allowed (must be 0.1 to 3600)")
    }
  }

  func run() throws {
    let isTerminal = isatty(STDOUT_FILENO) == 1
    var shown = 0
    while true {
      let reading = try reading(path)
      let (width, height) = size()
      var lines = RunWatch.lines(of: reading, width: width)
      let goesOn = !once && reading.stage == .running
      if isTerminal && goesOn {
        // What has left the screen cannot be written over.
        if lines.count >= height { lines = Array(lines.prefix(max(1, height - 1))) }
        put((shown > 0 ? "\u{1B}[\(shown)A" : "") + "\r\u{1B}[J")
        shown = lines.count
      } else if shown > 0 {
        put("\u{1B}[\(shown)A\r\u{1B}[J")
      }
      // Into a pipe goes the end alone.
      if isTerminal || !goesOn { for line in lines { printLine(line) } }
      if !goesOn { return }
      usleep(UInt32(every * 1_000_000))
    }
  }

  /// Characters across and down.
  private func size() -> (width: Int, height: Int) {
    var window = winsize()
    if ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &window) == 0, window.ws_col > 0 {
      return (Int(window.ws_col), Int(window.ws_row))
    }
    return (ProcessInfo.processInfo.environment["COLUMNS"].flatMap { Int($0) } ?? 100, 24)
  }
}
