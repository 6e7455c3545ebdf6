import Foundation
import Runs
import Statistics
import Testing

@testable import Reports

@Suite struct RunTableTests {
  /// What is written down is read again, whatever stands in it.
  @Test func readsWhatRunsWrite() {
    let texts = ["plain", "a,b", "\"quoted\"", "two\nlines", "", "é ☂", "\"\"", ",\"\n\","]
    var rows = CSVRows(header: ["text", "number, or none"])
    for (index, text) in texts.enumerated() {
      rows.append(text)
      rows.append(index.isMultiple(of: 2) ? 0.1 * Double(index) : nil)
      rows.endRow()
    }
    let table = RunTable(csv: rows.bytes)
    #expect(table.columns == ["text", "number, or none"])
    #expect(table.texts("text") == texts)
    #expect(
      table.numbers("number, or none")
        == texts.indices.map { $0.isMultiple(of: 2) ? 0.1 * Double($0) : nil })
    #expect(table.rows(where: "text", is: "a,b").rows == [["a,b", ""]])
    #expect(table.texts("missing") == texts.map { _ in "" })
  }

  /// A run that goes on may be in the middle of a row: every beginning of a file holds whole rows alone.
  @Test func leavesHalfARowOut() {
    let whole = Array("a,b\n1,2\n3,\"x\ny\"\n5,6\n".utf8)
    let ends = [(4, 0), (8, 1), (16, 2), (20, 3)]
    for length in 0...whole.count {
      let rows = RunTable(csv: Array(whole[..<length])).rows.count
      #expect(rows == ends.last { $0.0 <= length }?.1 ?? 0, "\(length)")
    }
  }
}

@Suite struct LineChartTests {
  /// An axis reaches about its values, with few marks that are round.
  @Test func ticks() {
    var draws = RandomStream(seed: 1)
    for _ in 0..<2000 {
      let size = pow(10, 6 * draws.normal())
      let (a, b) = (size * draws.normal(), size * draws.normal())
      let (low, high) = (min(a, b), max(a, b))
      let ticks = Ticks(low, high)
      let slack = 1e-6 * (high - low)
      #expect(ticks.low <= low + slack)
      #expect(ticks.high >= high - slack)
      #expect((2...7).contains(ticks.marks.count), "\(low) \(high): \(ticks)")
      let step = ticks.marks[1] - ticks.marks[0]
      let exponent: Double = floor(log10(step) + 1e-9)
      let mantissa: Double = step / pow(10, exponent)
      let isRound = [1.0, 2.0, 5.0, 10.0].contains { (round: Double) -> Bool in
        abs(mantissa - round) < 1e-6
      }
      #expect(isRound, "\(step)")
    }
    for value in [0.0, 1, -3, 1e-300, 1e300] {
      let ticks = Ticks(value, value)
      #expect(ticks.low < ticks.high && ticks.low <= value && ticks.high >= value)
    }
    #expect(Ticks(decadesFrom: 0.02, to: 300).marks == [0.01, 0.1, 1, 10, 100, 1000])
  }

  /// All of a curve lies within the picture, and is told in words.
  @Test func curvesLieWithin() throws {
    var points: [(x: Double, y: Double?)] = []
    for index in 0..<9 {
      let y: Double = 5 - pow(2, Double(index))
      points.append((24 * Double(index), index == 4 ? nil : y))
    }
    var chart = LineChart(
      "Cost <of> all", xTitle: "rollouts", [LineChart.Series("a & b", points, look: 1)])
    let figure = chart.figure
    #expect(
      figure.contains(
        "aria-label=\"Cost &lt;of&gt; all. a &amp; b: from 4 at 0 to -251 at 192 rollouts.\""))
    let path = try #require(figure.firstMatch(of: #/<path d="(M[0-9. ML-]+)" fill="none"/#)).1
    let pieces = path.split(whereSeparator: { $0 == "M" || $0 == "L" })
    let pairs: [[Double]] = pieces.map { piece in
      piece.split(separator: " ").compactMap { Double($0) }
    }
    // The gap begins the pen anew.
    #expect(pairs.count == 8)
    #expect(path.filter { $0 == "M" }.count == 2)
    let isWithin = pairs.allSatisfy { (pair: [Double]) -> Bool in
      pair.count == 2 && (50.0...346.0).contains(pair[0]) && (8.0...174.0).contains(pair[1])
    }
    try #require(isWithin)
    // What falls is drawn downwards.
    for (before, after) in zip(pairs, pairs.dropFirst()) {
      #expect(before[0] < after[0])
      #expect(before[1] < after[1])
    }
    chart.series = []
    #expect(chart.figure.isEmpty)
  }
}

@Suite struct RunWatchTests {
  @Test func sparklines() {
    #expect(RunWatch.sparkline([0, 1, 2, 3, 4, 5, 6, 7], width: 8) == "▁▂▃▄▅▆▇█")
    #expect(RunWatch.sparkline([3, nil, 3], width: 8) == "▁ ▁")
    #expect(RunWatch.sparkline([0, 0, 7, 7], width: 2) == "▁█")
    #expect(
      RunWatch.sparkline([nil, nil], width: 8).isEmpty && RunWatch.sparkline([], width: 8).isEmpty)
    #expect(
      RunWatch.sparkline([-.greatestFiniteMagnitude, .greatestFiniteMagnitude], width: 8) == "▁█")
    for count in 1...40 {
      #expect(RunWatch.sparkline((0..<count).map { Double($0) }, width: 12).count == min(count, 12))
    }
  }

  @Test func sentencesAreBrokenBetweenWords() {
    let text = "one two three four five"
    #expect(
      RunWatch.wrapped(text, width: 12) == ["  one two", "    three", "    four", "    five"])
    #expect(RunWatch.wrapped(text, width: 80) == ["  " + text])
    #expect(RunWatch.wrapped("incomprehensibilities", width: 10) == ["  incomprehensibilities"])
  }
}
