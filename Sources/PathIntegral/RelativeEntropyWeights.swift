// Weights of N samples by their costs, within a bound on the relative entropy (Peters, Mülling and
// Altün 2010, REPS):
//
//   minimise  Σ_n w_n S_n   subject to  KL(w ‖ 1/N) = Σ_n w_n log(N w_n) ≤ ε,  Σ_n w_n = 1
//
//   w_n ∝ exp(−S_n/η),   η = argmin g(η),   g(η) = η ε + η log (1/N) Σ_n exp(−S_n/η)
//
// g is convex and g′(η) = ε − KL(w_η ‖ 1/N), so η is the root of KL(η) = ε; KL falls with η, from
// log(N / number of best samples) at 0 to 0 at infinity. In x_n = (S_n − min S) / s and τ = η / s, with a
// scale s that follows the costs, neither a constant nor a factor on the costs changes anything:
//
//   dKL/d log τ = −Var_w(x) / τ²,   KL ≤ (max x)² / (8 τ²)
//
// The second, Hoeffding's bound on the log of a mean of exponentials, brackets the root from above.

import Foundation
import LinearAlgebra

/// Weights of samples by their costs: exponential, with the temperature at which their divergence from
/// equal weights meets its bound.
///
/// ```swift
/// let weights = try RelativeEntropyWeights(costs: [3, 1, 4, 1.5], bound: 0.5)
/// ```
public struct RelativeEntropyWeights: Sendable, Equatable {
  /// How the temperature was found.
  public enum Status: String, Sendable, Codable {
    /// The divergence is at its bound.
    case atBound
    /// Even at the lowest temperature allowed the divergence is within its bound.
    case lowestTemperature
    /// There is one sample, or all cost the same: the weights are equal at every temperature.
    case indifferent
    /// The temperature was given.
    case given
  }

  /// w_n ≥ 0: N numbers of sum 1.
  public var weights: [Double]
  /// η [cost]; 0 where the samples are indifferent.
  public var temperature: Double
  /// KL(w ‖ 1/N) [nats].
  public var divergence: Double
  /// 1 / Σ w², from 1 to N.
  public var effectiveSampleSize: Double
  /// How the temperature was found.
  public var status: Status

  /// Weights at the temperature that meets the bound.
  ///
  /// The lowest temperature allowed is `temperatureFloor` times the distance of the median cost from
  /// the lowest one (of the highest from the lowest, if half of the samples share the lowest cost): one
  /// sample that went astray does not move it.
  ///
  /// - Parameters:
  ///   - costs: S_n, N > 0 numbers.
  ///   - bound: ε > 0 [nats]; infinite for the lowest temperature.
  ///   - temperatureFloor: relative to the costs' spread, more than 0.
  /// - Throws: `PathIntegralError.costNotFinite` naming the sample.
  public init(
    costs: [Double], bound: Double, temperatureFloor: Double = 1e-3
  ) throws(PathIntegralError) {
    self = try Self.computing(costs) { weigher, costs throws(PathIntegralError) in
      try weigher.weigh(costs, bound: bound, temperatureFloor: temperatureFloor, step: nil)
    }
  }

  /// Weights at a given temperature: w ∝ exp(−S/η).
  ///
  /// - Parameters:
  ///   - costs: S_n, N > 0 numbers.
  ///   - temperature: η ≥ 0 [cost]; at 0 the samples of the lowest cost share all weight.
  /// - Throws: `PathIntegralError.costNotFinite` naming the sample.
  public init(costs: [Double], temperature: Double) throws(PathIntegralError) {
    self = try Self.computing(costs) { weigher, costs throws(PathIntegralError) in
      try weigher.weigh(costs, temperature: temperature, step: nil)
    }
  }

  private static func computing(
    _ costs: [Double],
    _ weigh: (borrowing Weigher, UnsafePointer<Double>) throws(PathIntegralError) -> Weigher.Summary
  ) throws(PathIntegralError) -> RelativeEntropyWeights {
    precondition(!costs.isEmpty, "weights of no samples")
    let weigher = Weigher(count: costs.count)
    let copy = Scratch<Double>(costs.count)
    for (n, cost) in costs.enumerated() { copy.pointer[n] = cost }
    let summary = try weigh(weigher, copy.pointer)
    return RelativeEntropyWeights(weights: weigher, summary: summary)
  }

  private init(weights: borrowing Weigher, summary: Weigher.Summary) {
    self.weights = Array(
      UnsafeBufferPointer(start: weights.weights.pointer, count: weights.count))
    temperature = summary.temperature
    divergence = summary.divergence
    effectiveSampleSize = summary.effectiveSampleSize
    status = summary.status
  }
}

/// The computation behind `RelativeEntropyWeights`, for many sets of N costs in memory that is allocated
/// once.
struct Weigher: ~Copyable {
  /// What is known of the weights.
  struct Summary {
    var temperature: Double
    var divergence: Double
    var effectiveSampleSize: Double
    var status: RelativeEntropyWeights.Status
  }

  /// N.
  let count: Int
  /// w: the last result.
  let weights: Scratch<Double>
  /// x: costs less the lowest, divided by their scale. Not over `farthest`, beyond which every weight is
  /// 0 whatever the temperature, so that products stay finite.
  private let scaled: Scratch<Double>
  private let sorted: Scratch<Double>
  private static let farthest = 1e100

  init(count: Int) {
    self.count = count
    weights = Scratch(count)
    scaled = Scratch(count)
    sorted = Scratch(count)
  }

  /// Weights at the temperature that meets the bound.
  func weigh(
    _ costs: UnsafePointer<Double>, bound: Double, temperatureFloor: Double, step: Int?
  ) throws(PathIntegralError) -> Summary {
    precondition(
      bound > 0 && temperatureFloor > 0,
      "a bound of \(bound) and a temperature floor of \(temperatureFloor)")
    guard let (scale, range) = try rescale(costs, step: step) else {
      for n in 0..<count { weights.pointer[n] = 1 / Double(count) }
      return Summary(
        temperature: 0, divergence: 0, effectiveSampleSize: Double(count), status: .indifferent)
    }
    let floor = log(temperatureFloor)
    var point = evaluate(logTemperature: floor)
    if point.divergence <= bound {
      return summary(point, scale * exp(floor), .lowestTemperature)
    }
    // KL(low) > ε ≥ KL(high). A Newton step where it stays inside the bracket, bisection elsewhere.
    var low = floor
    var high = max(floor, log(range) - 0.5 * log(8 * bound))
    var logTemperature = high
    for _ in 0..<200 {
      point = evaluate(logTemperature: logTemperature)
      let excess = point.divergence - bound
      if abs(excess) <= 1e-13 * bound { break }
      if excess > 0 { low = logTemperature } else { high = logTemperature }
      if high - low <= 4e-16 * max(1, abs(high)) { break }
      let newton = logTemperature - excess / point.slope
      let next = newton > low && newton < high ? newton : 0.5 * (low + high)
      if next == logTemperature { break }
      logTemperature = next
    }
    return summary(point, scale * exp(logTemperature), .atBound)
  }

  /// Weights at a given temperature.
  func weigh(
    _ costs: UnsafePointer<Double>, temperature: Double, step: Int?
  ) throws(PathIntegralError) -> Summary {
    precondition(temperature >= 0, "a temperature of \(temperature)")
    guard let (scale, _) = try rescale(costs, step: step) else {
      for n in 0..<count { weights.pointer[n] = 1 / Double(count) }
      return Summary(
        temperature: temperature, divergence: 0, effectiveSampleSize: Double(count), status: .given)
    }
    let relative = min(max(temperature / scale, 1e-300), 1e300)
    return summary(evaluate(logTemperature: log(relative)), temperature, .given)
  }

  private func summary(
    _ point: Point, _ temperature: Double, _ status: RelativeEntropyWeights.Status
  ) -> Summary {
    var squares = 0.0
    for n in 0..<count { squares += weights.pointer[n] * weights.pointer[n] }
    return Summary(
      temperature: temperature, divergence: point.divergence, effectiveSampleSize: 1 / squares,
      status: status)
  }

  /// Fills `scaled`.
  ///
  /// - Returns: the scale and the largest of the scaled costs; nil if all costs are equal.
  private func rescale(
    _ costs: UnsafePointer<Double>, step: Int?
  ) throws(PathIntegralError) -> (scale: Double, range: Double)? {
    let x = scaled.pointer
    var lowest = Double.infinity
    for n in 0..<count {
      if !costs[n].isFinite { throw .costNotFinite(sample: n, step: step, value: costs[n]) }
      lowest = min(lowest, costs[n])
    }
    // Halves, because the distance of two finite numbers may be infinite.
    for n in 0..<count {
      x[n] = 0.5 * costs[n] - 0.5 * lowest
      sorted.pointer[n] = x[n]
    }
    var distances = UnsafeMutableBufferPointer(start: sorted.pointer, count: count)
    distances.sort()
    let middle = count / 2
    let median =
      count % 2 == 1
      ? sorted.pointer[middle]
      : 0.5 * sorted.pointer[middle - 1] + 0.5 * sorted.pointer[middle]
    let half = median > 0 ? median : sorted.pointer[count - 1]
    if half <= 0 { return nil }
    var range = 0.0
    for n in 0..<count {
      x[n] = min(x[n] / half, Self.farthest)
      range = max(range, x[n])
    }
    return (min(2 * half, .greatestFiniteMagnitude), range)
  }

  private struct Point {
    /// KL(w ‖ 1/N).
    var divergence: Double
    /// Its derivative by log τ.
    var slope: Double
  }

  /// Fills `weights` for a temperature. The largest exponent is 0, so that their sum is at least 1.
  private func evaluate(logTemperature: Double) -> Point {
    let (x, w) = (scaled.pointer, weights.pointer)
    let inverse = exp(-logTemperature)
    var sum = 0.0
    for n in 0..<count {
      w[n] = exp(-x[n] * inverse)
      sum += w[n]
    }
    // log(N w) = −x/τ − log(mean of exponentials)
    var mean = 0.0
    for n in 0..<count {
      w[n] /= sum
      if w[n] > 0 { mean += w[n] * (x[n] * inverse) }
    }
    var variance = 0.0
    for n in 0..<count where w[n] > 0 {
      let gap = x[n] * inverse - mean
      variance += w[n] * gap * gap
    }
    return Point(
      divergence: max(0, log(Double(count)) - log(sum) - mean), slope: -max(variance, 1e-300))
  }
}
