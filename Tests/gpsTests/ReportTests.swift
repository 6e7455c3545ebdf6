import Foundation
import GPSTestSupport
import GuidedPolicySearch
import Testing

/// `gps report` and `gps watch`.
@Suite struct ReportTests {
  private let here: URL

  init() throws {
    here = try testFolder("report")
    for seed in 0..<2 {
      let run = try shell(
        "\"$GPS\" \(Self.run(2)) --seed \(seed) --output run-\(seed)", in: here)
      #expect(run.status == 0, "\(run.errors)")
    }
  }

  private static func run(_ iterations: Int) -> String {
    tinyRun.replacing("--iterations 1", with: "--iterations \(iterations)")
  }

  private func sh(_ script: String) throws -> Outcome { try shell(script, in: here) }

  /// Python's own parser reads the pages: every tag is closed, every picture has a text, nothing is fetched.
  private static let parser = """
    import sys, html.parser
    VOID = {"meta", "br", "link", "img"}
    class Page(html.parser.HTMLParser):
        def __init__(self):
            super().__init__()
            self.open, self.text, self.pictures = [], [], 0
        def handle_starttag(self, tag, attributes):
            names = dict(attributes)
            assert len(names) == len(attributes), self.get_starttag_text()
            assert tag not in {"script", "link", "iframe"}, tag
            assert tag not in {"img", "video"} or names["src"].startswith("data:") and names.get("alt", names.get("aria-label"))
            assert tag in {"img", "video"} or "src" not in names, names
            assert not names.keys() & {"onload", "onclick", "style"}, names
            assert names.get("href", "#").startswith("#"), names
            if tag == "svg":
                self.pictures += names.get("role") == "img"
                assert len(names.get("aria-label", "")) > 10 or names.get("aria-hidden") == "true", names
            if tag not in VOID:
                self.open.append(tag)
        def handle_startendtag(self, tag, attributes):
            self.handle_starttag(tag, attributes)
            self.handle_endtag(tag)
        def handle_endtag(self, tag):
            assert self.open and self.open.pop() == tag, (tag, self.getpos())
        def handle_data(self, data):
            self.text.append(data)
    for path in sys.argv[1:]:
        page = Page()
        source = open(path, encoding="utf-8").read()
        page.feed(source)
        assert not page.open, page.open
        assert "url(" not in source and "@import" not in source
        assert source.startswith("<!DOCTYPE html>") and 'name="viewport"' in source
        print(page.pictures, " ".join("".join(page.text).split()))
    """

  @Test func pages() throws {
    try Self.parser.write(
      to: here.appendingPathComponent("parse.py"), atomically: true, encoding: .utf8)
    let outcome = try sh(
      """
      set -e
      "$GPS" report run-0 && "$GPS" report run-0 run-1 && "$GPS" report run-0 --output again && cmp -n 2000 run-0/report.html again
      sed -i 's/^task: .*/task: "<i>\\&\\\\e[2J"/; s/^description: .*/description: "a <script>"/' run-1/experiment.yaml
      echo '2026-01-01T00:00:00Z warning: iteration 0: <b> \u{1B}[2J & more' >>run-1/log.txt
      "$GPS" report run-0 run-1 --output odd.html
      "$GPS" video run-0 --size 32x32 --output run-0/film.png >/dev/null; "$GPS" report run-0 --output film.html
      grep -q '<img src="data:image/png;base64,iVBORw0KGgo' film.html
      python3 parse.py run-0/report.html report.html odd.html film.html
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let lines = outcome.output.split(separator: "\n").map(String.init)
    try #require(lines.count == 6, "\(outcome.output)")
    #expect(lines[0] == "report: run-0/report.html" && lines[1] == "report: report.html")
    // Two charts and a curve for each of four conditions.
    #expect(lines[2].hasPrefix("6 "), "\(lines[2].prefix(3))")
    for word in [
      "point-mass", "✓ completed", "2 iterations", "far-below",
      "rollouts per condition and iteration1",
      "the dynamics rest on the prior", "gps run ", "gps evaluate ", "minStepMultiplier",
      "MuJoCo",
    ] { #expect(lines[2].contains(word), "\(word)") }
    #expect(
      lines[3].hasPrefix("14 ") && lines[3].contains("2 seeds, 0 of 2 succeed"),
      "\(lines[3].prefix(400))")
    #expect(
      lines[4].contains("<i>&\\u{1B}[2J") && lines[4].contains("a <script>")
        && lines[4].contains("<b> \\u{1B}[2J & more"))
    let bytes = try Data(contentsOf: here.appendingPathComponent("odd.html"))
    #expect(!bytes.contains(0x1B))
  }

  /// Iterations of trajectory optimisation cost no rollouts: they are counted themselves.
  @Test func optimizedRuns() throws {
    let outcome = try sh(
      """
      "$GPS" optimize point-mass --iterations 3 --set horizon=20 --output optimized --quiet >/dev/null || exit 1
      "$GPS" report optimized --output page.html && "$GPS" watch optimized || exit 2
      rows=$(($(wc -l <optimized/progress.csv) - 2))
      grep -o 'aria-label="Cost. rollouts: from [0-9.]* at 0 to [0-9.]* at [0-9]* iterations' page.html | grep " $rows iterations" || exit 3
      grep -c 'gps optimize ' page.html; [ $(grep -o 'class="spark"' page.html | wc -l) = 4 ] || exit 4
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.output.contains("ilqr, seed 0, completed"), "\(outcome.output)")
  }

  @Test(arguments: [
    ("report missing", "missing: no such run directory"),
    ("report run-0/summary.json", "is a file"),
    ("report .", "it holds no run"), ("report run-0 --output run-0/progress.csv", "it is an input"),
    ("report run-0 run-1 --output run-1/log.txt", "it is an input"),
    ("report run-0 --output ''", "an empty path"),
    ("report run-0 --output missing/page", "No such file"),
    ("report run-0 --refresh 0", "--refresh: 0 is not allowed"),
    ("report notes", "notes/report.html: what stands there was not made by this program"),
    ("report", "Missing expected argument"), ("watch missing", "missing: no such run directory"),
    ("watch .", "it holds no run"), ("watch run-0 --every 0", "--every: 0.0 is not allowed"),
    ("watch broken", "broken/experiment.yaml"),
  ])
  func refused(_ command: String, _ words: String) throws {
    let outcome = try sh(
      """
      cp -r run-0 notes; echo mine >notes/report.html; cp -r run-0 broken; echo 'task: [' >broken/experiment.yaml
      cp -r . ../before-$$; "$GPS" \(command); code=$?
      diff -r . ../before-$$ && exit $code
      exit 1
      """)
    #expect(outcome.status == 64, "\(outcome.errors)")
    #expect(outcome.errors.contains(words), "\(outcome.errors)")
    #expect(outcome.output.isEmpty)
  }

  @Test func watchesWhatIsOver() throws {
    let outcome = try sh(
      "COLUMNS=60 \"$GPS\" watch run-0; head -n 1 run-0/progress.csv >p; cp p run-0/progress.csv; \"$GPS\" watch run-0 >/dev/null"
    )
    #expect(outcome.status == 0, "\(outcome.errors)")
    let lines = outcome.output.split(separator: "\n")
    try #require(!lines.isEmpty)
    #expect(lines[0].hasPrefix("point-mass: mirrorDescent, seed 0, completed, 2 iterations"))
    #expect(lines.allSatisfy { $0.count <= 60 })
    #expect(
      lines.contains { $0.hasPrefix("cost, network") }
        && lines.contains { $0.hasPrefix("  ✗ far-below") })
    #expect(outcome.output.contains("iteration 0: far-below: one rollout alone"))
  }

  /// A run in another process is watched until it ends, and its page is written again until then.
  @Test(.slow) func watchesWhatGoesOn() throws {
    let outcome = try sh(
      """
      "$GPS" \(Self.run(100_000)) --output long >/dev/null & run=$!
      for i in $(seq 400); do [ -s long/progress.csv ] && [ $(wc -l <long/progress.csv) -gt 3 ] && break; sleep 0.05; done
      "$GPS" watch long --once | head -n 1
      "$GPS" report long --output page.html --refresh 1 & report=$!
      "$GPS" watch long >watched & watch=$!
      for i in $(seq 400); do [ -s page.html ] && break; sleep 0.05; done; sleep 0.5; grep -c '<meta http-equiv="refresh" content="1">' page.html
      kill -INT $run; wait $run; echo $?; wait $report $watch || exit 1
      head -n 1 watched; grep -c 'http-equiv' page.html; grep -o 'class="badge interrupted"' page.html
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let lines = outcome.output.split(separator: "\n")
    try #require(lines.count == 6, "\(outcome.output)")
    #expect(
      lines[0].contains(", running, ") && lines[0].contains(" of 100000 iterations")
        && lines[0].hasSuffix(" left"))
    #expect(lines[1] == "1" && lines[2] == "130")
    #expect(
      lines[3].contains(", interrupted, ") && lines[4] == "0"
        && lines[5] == "class=\"badge interrupted\"")
  }
}
