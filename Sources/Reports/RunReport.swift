import Configuration
import Foundation
import GPSCore
import Runs

/// One or several runs as a page: what was asked for, how it went, per condition, where the time went, what was warned
/// of, and how to repeat it.
///
/// One file that needs no network, no script and no other file; it can be read on a telephone and printed.
public struct RunReport: Sendable {
  private let groups: [Group]
  private let refresh: Int?

  /// Runs that differ in their seed alone.
  private struct Group: Sendable {
    /// What tells it from the other groups; empty if there is one.
    var name: String
    var runs: [RunReading]
  }

  /// A report.
  ///
  /// - Parameters:
  ///   - runs: at least one; those that differ in their seed alone are drawn as one curve with its range.
  ///   - refresh: seconds after which a browser reads the page anew; nil for never.
  public init(of runs: [RunReading], refresh: Int? = nil) {
    precondition(!runs.isEmpty, "a report of no runs")
    self.refresh = refresh
    var groups: [(lines: [String], group: Group)] = []
    for run in runs {
      let lines = Self.lines(of: run)
      if let index = groups.firstIndex(where: { $0.lines == lines }) {
        groups[index].group.runs.append(run)
      } else {
        groups.append((lines, Group(name: "", runs: [run])))
      }
    }
    if groups.count > 1 {
      for index in groups.indices {
        let other = index == 0 ? 1 : 0
        groups[index].group.name = Self.difference(groups[index].lines, from: groups[other].lines)
      }
      // Where names do not tell them apart, folders do.
      for index in groups.indices {
        let name = groups[index].group.name
        if name.isEmpty || groups.count(where: { $0.group.name == name }) > 1 {
          groups[index].group.name = groups[index].group.runs[0].name
        }
      }
    }
    self.groups = groups.map(\.group)
  }

  private var runs: [RunReading] { groups.flatMap(\.runs) }

  /// An experiment without its seed.
  private static func lines(of run: RunReading) -> [String] {
    run.experiment.split(separator: "\n").map(String.init).filter { !$0.hasPrefix("seed:") }
  }

  /// What tells one experiment from another, in few words: the task, or the first settings that differ.
  private static func difference(_ lines: [String], from others: [String]) -> String {
    if let task = lines.first, task != others.first { return task.replacing("task: ", with: "") }
    let known = Set(others)
    let new = lines.filter { !known.contains($0) }.map { $0.trimmingCharacters(in: .whitespaces) }
    return new.prefix(3).joined(separator: ", ") + (new.count > 3 ? ", …" : "")
  }

  /// The page, in UTF-8.
  public var html: [UInt8] {
    var page = ""
    let tasks = runs.map(\.task).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
    let title = tasks.joined(separator: ", ") + (runs.count > 1 ? ": \(runs.count) runs" : "")
    page += """
      <!DOCTYPE html>
      \(Self.mark)
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta name="generator" content="gps \(ProgramVersion.current)">

      """
    if let refresh { page += "<meta http-equiv=\"refresh\" content=\"\(refresh)\">\n" }
    page +=
      "<title>\(escaped(title))</title>\n<style>\n\(Self.style)\n</style>\n</head>\n<body>\n<main>\n"
    page += "<h1>\(escaped(title))</h1>\n"
    if runs.count > 1 {
      page += overview
      page += charts
      for run in runs {
        page +=
          "<section class=\"run\"><h2 id=\"\(anchor(run))\">\(escaped(run.name))</h2>\n\(body(of: run, level: 3))</section>\n"
      }
    } else {
      let run = runs[0]
      if !run.summaryLine.isEmpty { page += "<p class=\"lead\">\(escaped(run.summaryLine))</p>\n" }
      page += body(of: run, level: 2)
    }
    page +=
      "<footer>Written by gps \(ProgramVersion.current) on \(Date.now.formatted(.iso8601)).</footer>\n</main>\n</body>\n</html>\n"
    return Array(page.utf8)
  }

  /// The beginning of every report, by which it is known again.
  public static let beginning = Array("<!DOCTYPE html>\n\(mark)\n".utf8)
  private static let mark = "<!-- gps report -->"

  private func anchor(_ run: RunReading) -> String {
    "run-\(runs.firstIndex { $0.url == run.url } ?? 0)"
  }

  // MARK: - Several runs

  private var overview: String {
    var rows: [[String]] = []
    for group in groups {
      for run in group.runs {
        let policy = run.summary?.policy
        rows.append(
          ["<a href=\"#\(anchor(run))\">\(escaped(run.name))</a>"]
            + (groups.count > 1 ? [escaped(group.name)] : [])
            + [
              "\(run.seed)", Self.badge(run.stage),
              percent(policy?.successRate ?? run.summary?.successRate),
              number(policy?.meanCost ?? run.summary?.meanCost),
              percent(run.summary?.test?.successRate), number(run.rollouts.last),
              duration(run.secondsDone),
            ])
      }
    }
    let columns =
      ["run"] + (groups.count > 1 ? ["experiment"] : [])
      + ["seed", "state", "success", "mean cost", "test success", "rollouts", "time"]
    var text = "<section><h2>What it came to</h2>\n"
    for group in groups where group.runs.count > 1 {
      let rates = group.runs.compactMap { $0.summary?.policy?.successRate }
      let costs = group.runs.compactMap { $0.summary?.policy?.meanCost }
      guard let least = costs.min(), let most = costs.max() else { continue }
      let mean = costs.reduce(0, +) / Double(costs.count)
      text += "<p>" + (group.name.isEmpty ? "" : "\(escaped(group.name)): ")
      text += "\(counted(group.runs.count, "seed"))"
      if !rates.isEmpty {
        text += ", \(rates.count { $0 == 1 }) of \(rates.count) succeed in all conditions"
      }
      text += ", mean cost \(number(mean)) (from \(number(least)) to \(number(most))).</p>\n"
    }
    return text + Self.table(columns, rows, numbersFrom: groups.count > 1 ? 4 : 3) + "</section>\n"
  }

  private var charts: String {
    func chart(_ title: String, isShare: Bool, _ curves: (RunReading) -> [RunReading.Curve])
      -> String
    {
      let series = groups.enumerated().compactMap { look, group in
        Self.spread(
          of: group.runs, named: group.name.isEmpty ? "mean of all runs" : group.name, look: look,
          curves)
      }
      var chart = LineChart(title, xTitle: runs[0].axis.title, series)
      (chart.isShare, chart.range) = (isShare, isShare ? 0...1 : nil)
      return chart.figure
    }
    let isSpread = groups.contains { $0.runs.count > 1 }
    return """
      <section><h2>How it went</h2>
      <p>Curves are means over the runs of an experiment\(isSpread ? ", shades reach from the worst to the best" : "").</p>
      <div class="charts">\(chart("Success", isShare: true, \.successes))\(chart("Cost", isShare: false, \.costs))</div>
      </section>

      """
  }

  /// The mean and the range over runs, iteration by iteration, of what stands first among a run's curves.
  private static func spread(
    of runs: [RunReading], named name: String, look: Int,
    _ curves: (RunReading) -> [RunReading.Curve]
  ) -> LineChart.Series? {
    let all = runs.compactMap { run in curves(run).first.map { (run.axis.values, $0.values) } }
    guard let longest = all.map(\.1.count).max() else { return nil }
    var series = LineChart.Series(name, [], look: look)
    for iteration in 0..<longest {
      let there = all.filter { iteration < $0.1.count && iteration < $0.0.count }
      let x = there.map { $0.0[iteration] }.reduce(0, +) / Double(max(1, there.count))
      let values = there.compactMap { $0.1[iteration] }
      if values.isEmpty {
        series.points.append((x, nil))
        continue
      }
      series.points.append((x, values.reduce(0, +) / Double(values.count)))
      if runs.count > 1, let low = values.min(), let high = values.max() {
        series.band.append((x, low, high))
      }
    }
    return series
  }

  // MARK: - One run

  private func body(of run: RunReading, level: Int) -> String {
    func section(_ title: String, _ content: String) -> String {
      content.isEmpty ? "" : "<section><h\(level)>\(title)</h\(level)>\n\(content)\n</section>\n"
    }
    var text = "<p class=\"verdict\">\(Self.badge(run.stage)) \(escaped(run.verdict))."
    if let left = run.secondsLeft { text += " About \(duration(left)) left." }
    if let failure = run.summary?.failure {
      text += " <strong>It failed: \(escaped(failure)).</strong>"
    }
    text += "</p>\n"
    text += section("How it went", Self.progress(of: run))
    text += section("Film", Self.film(of: run))
    text += section("Conditions", Self.conditions(of: run))
    text += section("Warnings", Self.warnings(of: run))
    text += section("Where the time went", Self.time(of: run))
    text += section("What was asked for", Self.asked(of: run))
    text += section("How to repeat it", Self.repetition(of: run))
    return text
  }

  private static func badge(_ stage: RunReading.Stage) -> String {
    let sign =
      switch stage {
      case .running: "▶"
      case .completed: "✓"
      case .interrupted: "‖"
      case .failed: "✕"
      }
    return "<span class=\"badge \(stage.rawValue)\">\(sign)&nbsp;\(stage.rawValue)</span>"
  }

  private static func progress(of run: RunReading) -> String {
    func chart(_ title: String, _ curves: [RunReading.Curve]) -> LineChart {
      LineChart(
        title, xTitle: run.axis.title,
        curves.enumerated().map { look, curve in
          LineChart.Series(curve.name, Array(zip(run.axis.values, curve.values)), look: look)
        })
    }
    var success = chart("Success", run.successes)
    (success.isShare, success.range) = (true, 0...1)
    let figures = (run.successes.isEmpty ? "" : success.figure) + chart("Cost", run.costs).figure
    if figures.isEmpty { return "<p>No iteration is done yet.</p>" }
    let iterations =
      run.iterations > run.iterationsDone
      ? "\(run.iterationsDone) of \(run.iterations)" : "\(run.iterationsDone)"
    return
      "<p>\(iterations) iterations, \(number(run.rollouts.last)) rollouts.</p>\n<div class=\"charts\">\(figures)</div>"
  }

  private static func film(of run: RunReading) -> String {
    guard let film = run.film else { return "" }
    let source = "src=\"data:\(film.type);base64,\(Data(film.bytes).base64EncodedString())\""
    let text = "Rollouts of \(run.name): controllers of iteration 0 beside the policy"
    return film.type.hasPrefix("video")
      ? "<video controls muted \(source) aria-label=\"\(escaped(text))\"></video>"
      : "<img \(source) alt=\"\(escaped(text))\">"
  }

  private static func conditions(of run: RunReading) -> String {
    let curves = run.conditionCurves
    if curves.isEmpty { return "" }
    let hasMargins = curves.contains { $0.margin != nil }
    let isJudged = curves.contains { $0.success != nil }
    let rows = curves.map { curve in
      [escaped(curve.name)]
        + (isJudged ? [percent(curve.success)] : []) + [number(curve.cost.compactMap { $0 }.last)]
        + (hasMargins ? [number(curve.margin)] : [])
        + [LineChart.sparkline(curve.cost, name: "cost in \(curve.name)"), escaped(curve.status)]
    }
    return
      "<p>After the last iteration that is done\(run.summary?.policy == nil ? "" : ", of its network without noise").</p>\n"
      + table(
        ["condition"] + (isJudged ? ["success"] : []) + ["cost"] + (hasMargins ? ["margin"] : [])
          + ["cost so far", "last step"], rows, numbersFrom: 1)
  }

  private static func warnings(of run: RunReading) -> String {
    if run.messages.isEmpty { return "" }
    // What several iterations say is said once.
    var order: [String] = []
    var found: [String: (first: String, count: Int)] = [:]
    for message in run.messages {
      let parts = message.text.split(separator: ": ", maxSplits: 1)
      let isIteration = message.text.hasPrefix("iteration ") && parts.count == 2
      let (place, sentence) =
        isIteration ? (String(parts[0]), String(parts[1])) : ("", message.text)
      if let known = found[sentence] {
        found[sentence] = (known.first, known.count + 1)
      } else {
        order.append(sentence)
        found[sentence] = (place, 1)
      }
    }
    let shown = order.prefix(40)
    var text = "<ul class=\"warnings\">\n"
    for sentence in shown {
      guard let (first, count) = found[sentence] else { continue }
      let place = first.isEmpty ? "" : "<b>\(escaped(first)):</b> "
      text += "<li>\(place)\(escaped(sentence))\(count > 1 ? " (\(count) times)" : "")</li>\n"
    }
    text += "</ul>\n"
    if order.count > shown.count {
      text += "<p>\(order.count - shown.count) more stand in log.txt.</p>\n"
    }
    return text
      + "<p>Each says what was measured and what to change; Documentation/DoesNotLearn.md has more.</p>"
  }

  private static func time(of run: RunReading) -> String {
    let stages = run.progress.columns.filter { $0.hasPrefix("seconds_") && $0 != "seconds_total" }
    let times = stages.map { stage in
      (
        name: stage.dropFirst("seconds_".count).replacing("_", with: " "),
        seconds: run.progress.numbers(stage).compactMap { $0 }.reduce(0, +)
      )
    }
    let sum = times.map(\.seconds).reduce(0, +)
    if !(sum > 0) { return "" }
    let rows = times.sorted { $0.seconds > $1.seconds }.map { time in
      let share = time.seconds / sum
      let bar = """
        <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">\
        <path d="M0 0H\(String(format: "%.1f", 100 * share))V10H0z" fill="#0072B2"/></svg>
        """
      return [
        escaped(String(time.name)),
        time.seconds < 10 ? String(format: "%.2f s", time.seconds) : duration(time.seconds),
        percent(share),
        bar,
      ]
    }
    return """
      <p>\(duration(run.secondsDone)) by the clock\(run.summary.map { ", with \(counted($0.workers, "worker")) at once" } ?? ""). Stages are \
      summed over workers and overlap.</p>
      \(table(["stage", "time", "share", ""], rows, numbersFrom: 1))
      """
  }

  private static func asked(of run: RunReading) -> String {
    let settings = run.settings
    var facts = [("algorithm", run.algorithm), ("seed", "\(run.seed)")]
    if run.progress.has("policy_mean_cost") || run.progress.columns.isEmpty {
      facts.append(("iterations", "\(settings.search.iterations)"))
      facts.append(("rollouts per condition and iteration", "\(settings.search.samples)"))
    }
    facts.append(("conditions", "\(run.conditionNames.count)"))
    facts.append(("control steps of a rollout", "\(settings.horizon)"))
    if let versions = run.summary?.versions { facts.append(("versions", "\(versions)")) }
    let rows = facts.map { [$0.0, escaped($0.1)] }
    return table([], rows, numbersFrom: 9)
      + "<details><summary>The effective experiment, every default spelled out</summary>\n<pre>\(lines(run.experiment))</pre></details>"
  }

  /// A text of several lines.
  private static func lines(_ text: String) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false).map { escaped(String($0)) }
      .joined(separator: "\n")
  }

  private static func repetition(of run: RunReading) -> String {
    let file = shellWord(run.url.appendingPathComponent(RunDirectory.FileName.experiment).path)
    let folder = shellWord(run.url.path)
    let isOptimized = !run.progress.columns.isEmpty && !run.progress.has("policy_mean_cost")
    var text = "<pre>gps \(isOptimized ? "optimize" : "run") \(escaped(file))</pre>\n"
    if run.summary?.policy != nil {
      text +=
        "<p>The policy again, from other starts where conditions draw them:</p>\n<pre>gps evaluate \(escaped(folder)) --rollouts 10 --seed 1</pre>\n"
    }
    if run.stage == .interrupted || run.stage == .failed {
      text += "<p>To go on from where it ended:</p>\n<pre>gps resume \(escaped(folder))</pre>\n"
    }
    return text
      + "<p>The same version on a processor with the same vector units gives the same numbers, bit for bit.</p>"
  }

  /// A path as a shell takes it.
  private static func shellWord(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
      (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
        || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) || "/-_.,+".utf8.contains(byte)
    }
    return isPlain && !text.isEmpty ? text : "'" + text.replacing("'", with: "'\\''") + "'"
  }

  /// A table that scrolls where it is too wide.
  ///
  /// - Parameters:
  ///   - columns: headings; none for a table of facts.
  ///   - rows: cells, which are HTML.
  ///   - start: the first column of numbers.
  /// - Returns: HTML.
  private static func table(_ columns: [String], _ rows: [[String]], numbersFrom start: Int)
    -> String
  {
    func cell(_ tag: String, _ index: Int, _ content: String) -> String {
      let kind = index >= start ? " class=\"number\"" : ""
      let scope =
        tag == "th"
        ? " scope=\"\(columns.isEmpty || index == 0 && content != columns.first ? "row" : "col")\""
        : ""
      return "<\(tag)\(scope)\(kind)>\(content)</\(tag)>"
    }
    var text = "<div class=\"wide\"><table>"
    if !columns.isEmpty {
      text +=
        "<thead><tr>" + columns.enumerated().map { cell("th", $0, $1) }.joined() + "</tr></thead>"
    }
    text += "<tbody>"
    for row in rows {
      text +=
        "<tr>" + row.enumerated().map { cell($0 == 0 ? "th" : "td", $0, $1) }.joined() + "</tr>"
    }
    return text + "</tbody></table></div>"
  }

  private static let style = """
    :root { color-scheme: light; }
    body { margin: 0; background: #fff; color: #1a1a1a; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
    main { max-width: 62rem; margin: 0 auto; padding: 1.2rem 1rem 3rem; }
    h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .6rem; overflow-wrap: anywhere; }
    h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid #ddd; overflow-wrap: anywhere; }
    h3 { font-size: 1.02rem; margin: 1.4rem 0 .4rem; }
    p { margin: .4rem 0 .8rem; max-width: 46rem; }
    .lead { font-size: 1.1rem; color: #444; }
    .verdict { font-size: 1.05rem; }
    .badge { border: 1px solid currentColor; border-radius: .3rem; padding: 0 .4em; white-space: nowrap; font-size: .9em; }
    .completed { color: #00664a; } .running { color: #00507d; } .interrupted { color: #595959; } .failed { color: #a33f00; }
    .charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem 2rem; }
    figure { margin: 0; break-inside: avoid; }
    figcaption { font-weight: 600; }
    figure > svg { width: 100%; height: auto; display: block; }
    svg text { font-size: 11px; fill: #333; }
    .legend { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0 1.2rem; font-size: .88rem; }
    .legend svg { width: 26px; height: 10px; margin-right: .4em; vertical-align: middle; }
    video, img { max-width: 100%; height: auto; }
    .wide { overflow-x: auto; }
    table { border-collapse: collapse; font-size: .92rem; break-inside: avoid; }
    th, td { text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #eee; vertical-align: top; }
    th { font-weight: 600; } tbody th { font-weight: 400; }
    .number { font-variant-numeric: tabular-nums; }
    .spark { width: 84px; height: 20px; } .bar { width: 8rem; height: .7rem; background: #eee; }
    pre { background: #f5f5f5; padding: .6rem .8rem; overflow-x: auto; font: .84rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
    summary { cursor: pointer; margin: .8rem 0 .4rem; }
    .warnings li { margin: .3rem 0; max-width: 46rem; overflow-wrap: anywhere; }
    footer { margin-top: 3rem; color: #595959; font-size: .85rem; }
    @media (max-width: 32rem) {
      th, td { padding-right: .6rem; } .bar { width: 4rem; } .spark { width: 56px; }
      pre { white-space: pre-wrap; overflow-wrap: anywhere; }
    }
    @media print {
      body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
      details { display: none; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
      h2, h3 { break-after: avoid; } .run { break-before: page; }
    }
    """
}
