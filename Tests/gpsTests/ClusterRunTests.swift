import Foundation
import GPSTestSupport
import GuidedPolicySearch
import Testing

/// Runs whose work is done by other processes.
@Suite(
  "Runs across machines",
  .enabled(if: RedisServer.isInstalled, Comment(rawValue: RedisServer.note)))
struct ClusterRunTests {
  private let short = [
    "--samples", "2", "--seed", "103", "--set", "training.steps=20", "--quiet", "--output", "run",
  ]

  private func address(_ server: RedisServer, password: String = "") -> [String] {
    ["--cluster", "redis://:\(password)@127.0.0.1:\(server.port)/", "--lease", "2"]
  }

  @Test(
    "A run with workers that come and go leaves the bytes of one machine", .slow,
    arguments: [("point-mass", 20), ("peg-insertion", 50)])
  func sameBytes(_ task: String, horizon: Int) throws {
    let horizon = task == "point-mass" ? ["--set", "horizon=\(horizon)"] : []
    let (here, there) = (try testFolder("alone"), try testFolder("cluster"))
    let arguments = ["run", task] + short + horizon
    // Resumed too: the best checkpoint holds the number of iterations that were asked for when it was written.
    for words in [
      arguments + ["--iterations", "1"], ["resume", "run", "--iterations", "2", "--quiet"],
    ] {
      let alone = try gps(words, in: here)
      #expect(alone.status == 0, "\(alone.errors)")
    }
    let server = try RedisServer(password: "secret")
    let meeting = address(server, password: "secret").map { "'\($0)'" }.joined(separator: " ")
    let outcome = try shell(
      """
      work() { exec $GPS work --workers 1 --idle 30 --real-time 20 \(meeting); }
      work & first=$!
      $GPS \(arguments.joined(separator: " ")) --iterations 1 \(meeting) &
      leader=$!
      sleep 1; kill -KILL $first; work & second=$!
      wait $leader || exit 1
      $GPS resume run --iterations 2 --quiet \(meeting) || exit 2
      kill $second; wait $second; [ $? = 143 ] || exit 3
      """, in: there)
    #expect(outcome.status == 0, "\(outcome.errors)")
    try Results(of: there.appendingPathComponent("run"))
      .expectEqual(to: Results(of: here.appendingPathComponent("run")))
    // Nothing is left on the server.
    let address = try RedisAddress("redis://:secret@127.0.0.1:\(server.port)/")
    let left = RedisChannel(address)
    #expect(try left.notice() == nil && left.take(as: "a", within: 0.1) == nil)
  }

  @Test(
    "Workers end when there is nothing to do, and a run ends when Redis does not come back", .slow)
  func ends() throws {
    let server = try RedisServer()
    let idle = try gps(["work", "--workers", "2", "--idle", "1"] + address(server))
    #expect(idle.status == 0 && idle.errors.isEmpty, "\(idle.errors)")
    let wrong = try RedisServer(password: "secret")
    let refused = try gps(["work", "--idle", "1"] + address(wrong, password: "guess"))
    #expect(refused.status == 64 && refused.errors.contains("WRONGPASS"), "\(refused.errors)")
    let here = try testFolder("dead")
    server.stop()
    let dead = try gps(
      ["run", "point-mass"] + short + ["--iterations", "1", "--patience", "1"] + address(server),
      in: here)
    #expect(dead.status == 64 && dead.errors.contains("cannot be reached"), "\(dead.errors)")
    try server.start()
    // In the middle of a run: everything is saved, and the run goes on elsewhere.
    let process = try shell(
      """
      $GPS work --workers 2 --real-time 10 \(address(server).joined(separator: " ")) &
      worker=$!
      $GPS run point-mass \(short.joined(separator: " ")) --iterations 9 --patience 1 \
      \(address(server).joined(separator: " ")) &
      leader=$!
      for i in $(seq 200); do [ -e run/checkpoints/iteration-000002.safetensors ] && break; sleep 0.05; done
      kill -STOP \(try server.identifier())
      wait $leader; status=$?
      kill -CONT \(try server.identifier()); kill -KILL $worker
      exit $status
      """, in: here)
    #expect(process.status == 70, "\(process.errors)")
    #expect(process.errors.contains("nothing has changed for"), "\(process.errors)")
    let resumed = try gps(["resume", "run", "--iterations", "4", "--quiet"], in: here)
    #expect(resumed.status == 0, "\(resumed.errors)")
    let alone = try testFolder("alone")
    let reference = try gps(["run", "point-mass"] + short + ["--iterations", "4"], in: alone)
    #expect(reference.status == 0)
    try Results(of: here.appendingPathComponent("run"))
      .expectEqual(to: Results(of: alone.appendingPathComponent("run")))
  }
}
