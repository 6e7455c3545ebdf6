import Configuration
import Foundation

/// Curves in a plane, as SVG that stands in a page of HTML.
///
/// Colours are Okabe and Ito's, which the colour-blind can tell apart; each colour comes with a dash and a mark of its
/// own, so that the curves can be told apart in black and white too.
package struct LineChart: Sendable {
  /// One curve.
  package struct Series: Sendable {
    /// For the legend.
    package var name: String
    /// In the order of x; a gap where there is no value.
    package var points: [(x: Double, y: Double?)]
    /// What lies between the least and the largest of several runs; empty for a single one.
    package var band: [(x: Double, low: Double, high: Double)] = []
    /// Which colour, dash and mark.
    package var look: Int

    package init(_ name: String, _ points: [(x: Double, y: Double?)], look: Int) {
      self.name = name
      self.points = points
      self.look = look
    }
  }

  package var title: String
  package var xTitle: String
  package var series: [Series]
  /// What y is sure to include, such as 0 to 1 for shares; nil for no more than the values.
  package var range: ClosedRange<Double>?
  /// Whether y is a share, and shown as a percentage.
  package var isShare = false

  package init(_ title: String, xTitle: String, _ series: [Series]) {
    self.title = title
    self.xTitle = xTitle
    self.series = series
  }

  private static let colours = [
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#222222",
  ]
  private static let dashes = ["", "6 3", "2 2.5", "8 2 2 2"]

  private static func colour(_ look: Int) -> String { colours[look % colours.count] }

  private static func stroke(_ look: Int) -> String {
    let dash = dashes[look % dashes.count]
    return "stroke=\"\(colour(look))\"" + (dash.isEmpty ? "" : " stroke-dasharray=\"\(dash)\"")
  }

  /// A mark about a point: disc, square, triangle or diamond.
  private static func mark(_ look: Int, _ x: Double, _ y: Double) -> String {
    let r = 2.6
    let path =
      switch look % 4 {
      case 0: "M\(at(x - r)) \(at(y))a\(r) \(r) 0 1 0 \(2 * r) 0a\(r) \(r) 0 1 0 \(-2 * r) 0z"
      case 1: "M\(at(x - r)) \(at(y - r))h\(2 * r)v\(2 * r)h\(-2 * r)z"
      case 2: "M\(at(x)) \(at(y - 1.3 * r))l\(1.2 * r) \(2.2 * r)h\(-2.4 * r)z"
      default:
        "M\(at(x)) \(at(y - 1.4 * r))l\(1.4 * r) \(1.4 * r)l\(-1.4 * r) \(1.4 * r)l\(-1.4 * r) \(-1.4 * r)z"
      }
    return "<path d=\"\(path)\" fill=\"\(colour(look))\"/>"
  }

  private static func at(_ value: Double) -> String { String(format: "%.1f", value) }

  /// What the chart shows, in words: where each curve begins and ends.
  var description: String {
    series.compactMap { series in
      let known = series.points.compactMap { point in point.y.map { (x: point.x, y: $0) } }
      guard let first = known.first, let last = known.last else { return nil }
      func text(_ y: Double) -> String { isShare ? percent(y) : number(y) }
      return
        "\(series.name): from \(text(first.y)) at \(number(first.x)) to \(text(last.y)) at \(number(last.x)) \(xTitle)"
    }.joined(separator: "; ")
  }

  /// The chart and its legend: a `figure`, with an alternative text. It is 360 units wide, so that its letters can
  /// be read on a telephone too.
  package var figure: String {
    let (width, height) = (360.0, 210.0)
    let (left, right, top, bottom) = (50.0, 14.0, 8.0, 36.0)
    let xs = series.flatMap { $0.points.filter { $0.y != nil }.map(\.x) }
    let ys =
      series.flatMap { $0.points.compactMap(\.y) + $0.band.flatMap { [$0.low, $0.high] } }
      + (range.map { [$0.lowerBound, $0.upperBound] } ?? [])
    guard let x0 = xs.min(), let x1 = xs.max(), let y0 = ys.min(), let y1 = ys.max() else {
      return ""
    }
    // Costs may shrink by orders of magnitude.
    let isLog = !isShare && y0 > 0 && y1 > 100 * y0
    let xTicks = Ticks(min(x0, 0), x1)
    let yTicks = isLog ? Ticks(decadesFrom: y0, to: y1) : Ticks(y0, y1)
    func px(_ x: Double) -> Double {
      left + (width - left - right) * (x - xTicks.low)
        / max(xTicks.high - xTicks.low, .leastNormalMagnitude)
    }
    func py(_ y: Double) -> Double {
      let share =
        isLog
        ? (log10(y) - log10(yTicks.low)) / (log10(yTicks.high) - log10(yTicks.low))
        : (y - yTicks.low) / (yTicks.high - yTicks.low)
      return top + (height - top - bottom) * (1 - share)
    }
    var svg = """
      <svg viewBox="0 0 \(Int(width)) \(Int(height))" role="img" aria-label="\(escaped(title)). \(escaped(description)).">
      """
    for tick in yTicks.marks {
      let y = Self.at(py(tick))
      svg += "<path d=\"M\(Self.at(left)) \(y)H\(Self.at(width - right))\" stroke=\"#DDD\"/>"
      svg += "<text x=\"\(Self.at(left - 5))\" y=\"\(y)\" dy=\"0.35em\" text-anchor=\"end\">"
      svg += "\(isShare ? percent(tick) : number(tick))</text>"
    }
    for tick in xTicks.marks {
      svg +=
        "<text x=\"\(Self.at(px(tick)))\" y=\"\(Self.at(height - bottom + 15))\" text-anchor=\"middle\">\(number(tick))</text>"
    }
    svg +=
      "<path d=\"M\(Self.at(left)) \(Self.at(height - bottom))H\(Self.at(width - right))\" stroke=\"#444\"/>"
    svg +=
      "<text x=\"\(Self.at((left + width - right) / 2))\" y=\"\(Self.at(height - 4))\" text-anchor=\"middle\">\(escaped(xTitle))</text>"
    for series in series {
      if series.band.count > 1 {
        let up = series.band.map { "\(Self.at(px($0.x))) \(Self.at(py($0.high)))" }
        let down = series.band.reversed().map { "\(Self.at(px($0.x))) \(Self.at(py($0.low)))" }
        svg +=
          "<path d=\"M\((up + down).joined(separator: "L"))z\" fill=\"\(Self.colour(series.look))\" fill-opacity=\"0.18\"/>"
      }
      var path = ""
      var isPenDown = false
      for point in series.points {
        guard let y = point.y else {
          isPenDown = false
          continue
        }
        path += "\(isPenDown ? "L" : "M")\(Self.at(px(point.x))) \(Self.at(py(y)))"
        isPenDown = true
      }
      svg +=
        "<path d=\"\(path)\" fill=\"none\" \(Self.stroke(series.look)) stroke-width=\"1.8\" stroke-linejoin=\"round\"/>"
      let known = series.points.compactMap { point in point.y.map { (x: point.x, y: $0) } }
      if known.count <= 40 {
        for point in known { svg += Self.mark(series.look, px(point.x), py(point.y)) }
      }
    }
    svg += "</svg>"
    var figure = "<figure><figcaption>\(escaped(title))</figcaption>\(svg)"
    if series.count > 1 {
      figure += "<ul class=\"legend\">"
      for series in series {
        figure += """
          <li><svg viewBox="0 0 26 10" aria-hidden="true"><path d="M0 5H26" \(Self.stroke(series.look)) stroke-width="2"/>\
          \(Self.mark(series.look, 13, 5))</svg>\(escaped(series.name))</li>
          """
      }
      figure += "</ul>"
    }
    return figure + "</figure>"
  }

  /// A curve in a line of text.
  ///
  /// - Parameters:
  ///   - values: in order.
  ///   - name: what it shows.
  /// - Returns: an `svg`; nothing for fewer than two numbers.
  package static func sparkline(_ values: [Double?], name: String) -> String {
    let known = values.compactMap { $0 }
    guard known.count > 1, let low = known.min(), let high = known.max(), let last = known.last
    else { return "" }
    let (width, height) = (84.0, 20.0)
    var path = ""
    var isPenDown = false
    for (index, value) in values.enumerated() {
      guard let value else {
        isPenDown = false
        continue
      }
      let x = 2 + (width - 4) * Double(index) / Double(max(1, values.count - 1))
      let share = high > low ? (value - low) / (high - low) : 0.5
      path += "\(isPenDown ? "L" : "M")\(at(x)) \(at(2 + (height - 4) * (1 - share)))"
      isPenDown = true
    }
    return """
      <svg class="spark" viewBox="0 0 \(Int(width)) \(Int(height))" role="img" aria-label="\(escaped(name)): from \
      \(number(known[0])) to \(number(last))"><path d="\(path)" fill="none" stroke="#0072B2" stroke-width="1.5"/></svg>
      """
  }
}

/// Round numbers along an axis.
struct Ticks: Equatable {
  /// Where the axis begins and ends.
  var low: Double
  var high: Double
  /// What is written beside it.
  var marks: [Double]

  /// About four marks, so far apart as 1, 2 or 5 times a power of ten.
  init(_ low: Double, _ high: Double) {
    var (low, high) = (low, high)
    if !(high - low > 1e-12 * max(abs(low), abs(high))) {
      let room = max(abs(high), 1e-300) * 0.5
      (low, high) = high == 0 && low == 0 ? (0, 1) : (low - room, high + room)
    }
    // What overflows has no round numbers.
    let span = min(high - low, 1e300)
    let power = pow(10, floor(log10(span / 4)))
    let step = power * ([1.0, 2, 5, 10].first { span / (power * $0) <= 5 } ?? 10)
    let (first, last) = (floor(low / step + 1e-9), ceil(high / step - 1e-9))
    self.low = first * step
    self.high = last * step
    marks = stride(from: first, through: last, by: 1).map { $0 * step }
  }

  /// Powers of ten, from the one below to the one above.
  init(decadesFrom low: Double, to high: Double) {
    let (first, last) = (Int(floor(log10(low))), Int(ceil(log10(high))))
    self.low = pow(10, Double(first))
    self.high = pow(10, Double(last))
    let step = max(1, (last - first) / 4)
    marks = stride(from: first, through: last, by: step).map { pow(10, Double($0)) }
  }
}

/// A text as it stands in HTML: nothing in it is markup, moves a cursor or turns the direction of writing.
func escaped(_ text: String) -> String {
  visible(text).replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(
    ">", with: "&gt;"
  )
  .replacing("\"", with: "&quot;")
}
