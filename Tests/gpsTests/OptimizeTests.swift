import Foundation
import Testing

@Suite("gps optimize") struct OptimizeTests {
  @Test func writesARunDirectory() throws {
    let run = folder.appendingPathComponent("optimize-run").path
    let result = try gps(["optimize", "two-link-arm", "--output", run])
    #expect(result.status == 0, "\(result.output)")
    #expect(result.output.contains("near-left: cost "))
    #expect(result.output.contains("local controllers: success rate 100 %"))
    let data = try Data(contentsOf: URL(fileURLWithPath: run + "/summary.json"))
    let summary = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    #expect(summary["algorithm"] as? String == "ilqr")
    #expect(summary["outcome"] as? String == "completed")
    let progress = try String(contentsOfFile: run + "/progress.csv", encoding: .utf8)
    let costs = progress.split(separator: "\n").dropFirst().compactMap {
      Double($0.split(separator: ",", omittingEmptySubsequences: false)[2])
    }
    #expect(costs.count >= 3)
    // From the initial controllers' cost down, and never up.
    for (before, after) in zip(costs, costs.dropFirst()) { #expect(after <= before + 1e-9) }
    #expect(try #require(costs.last) < #require(costs.first) - 1)
  }

  @Test func theSameForAnyNumberOfWorkers() throws {
    var all: [String] = []
    for workers in ["1", "3", "9"] {
      let run = folder.appendingPathComponent("optimize-\(workers)").path
      let result = try gps([
        "optimize", "cart-pole", "--workers", workers, "--iterations", "20", "--output", run,
      ])
      #expect(result.status == 0, "\(result.output)")
      all.append(try String(contentsOfFile: run + "/trajectories.csv", encoding: .utf8))
    }
    #expect(all[0] == all[1] && all[1] == all[2])
  }
}
