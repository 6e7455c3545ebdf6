import Foundation
import GPSTestSupport
import GuidedPolicySearch
import Testing

/// `gps export`: what other programs get, and where it goes.
@Suite struct ExportTests {
  private let here: URL

  init() throws {
    here = try testFolder("export")
    let run = try shell("\"$GPS\" \(tinyRun) --output run", in: here)
    #expect(run.status == 0, "\(run.errors)")
  }

  private func sh(_ script: String) throws -> Outcome { try shell(script, in: here) }

  /// The header does with the observations of rollouts what was done with them.
  @Test func headerActsAsThePolicyDid() throws {
    try """
    #include "policy.h"
    #include <stdio.h>
    int main(void) {
      double observation[GPS_OBSERVATIONS], action[GPS_ACTIONS];
      int i = 0;
      while (scanf("%lf", &observation[i]) == 1) {
        if (++i < GPS_OBSERVATIONS) continue;
        i = 0;
        act(observation, action);
        printf("%.17g %.17g\\n", action[0], action[1]);
      }
      return 0;
    }
    """.write(to: here.appendingPathComponent("main.c"), atomically: true, encoding: .utf8)
    let outcome = try sh(
      """
      set -e
      "$GPS" export run --c policy.h --onnx policy.onnx; "$GPS" export run/policy.safetensors --c alone.h
      "$GPS" export run/checkpoints/best.safetensors --onnx best.onnx
      cmp policy.h alone.h; cmp policy.onnx best.onnx
      "$GPS" evaluate run --rollouts 2 --actions actions.csv >/dev/null
      cc -std=c99 -Wall -Wextra -pedantic -Werror main.c -o main
      columns=$(head -n 1 actions.csv | tr , '\\n' | grep -n '^observation' | cut -d : -f 1 | paste -sd,)
      controls=$(head -n 1 actions.csv | tr , '\\n' | grep -n '^control' | cut -d : -f 1 | paste -sd,)
      tail -n +2 actions.csv | cut -d , -f "$columns" | tr , ' ' | ./main >ours
      tail -n +2 actions.csv | cut -d , -f "$controls" | tr , ' ' | paste -d ' ' - ours
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let rows = outcome.output.split(separator: "\n").map {
      $0.split(separator: " ").compactMap { Double($0) }
    }
    #expect(rows.count == 80)
    for row in rows {
      try #require(row.count == 4)
      for i in 0..<2 { #expect(abs(row[i] - row[2 + i]) <= 1e-6 * max(1, abs(row[i]))) }
    }
  }

  @Test(arguments: [
    ("export run", "name a file with --onnx or --c"),
    ("export run --c x --single", "--single is for --onnx"),
    ("export run --onnx ''", "--onnx: an empty path"),
    ("export run --onnx same --c ./same", "name the same file"),
    ("export missing --c x", "missing: no such run directory or policy file"),
    ("export run --c run/policy.safetensors", "it is an input"),
    (
      "export run --onnx run/experiment.yaml",
      "--onnx: cannot write run/experiment.yaml: it is an input"
    ),
    ("export run --c .", "it is a folder"), ("export run --c a --c b", "contradict each other"),
    ("export run/experiment.yaml --c x", "run/experiment.yaml: "),
    ("export optimized --c x", "optimized holds no policy"),
  ])
  func refused(_ command: String, _ words: String) throws {
    let outcome = try sh(
      """
      mkdir optimized; cp run/experiment.yaml optimized; cp -r run before
      "$GPS" \(command); code=$?
      diff -r run before && [ "$(ls | tr '\\n' ' ')" = "before optimized run " ] && exit $code
      exit 1
      """)
    #expect(outcome.status == 64, "\(outcome.errors)")
    #expect(outcome.errors.contains(words), "\(outcome.errors)")
    #expect(outcome.output.isEmpty)
  }

  @Test func pipesAndFullDisks() throws {
    let outcome = try sh(
      """
      "$GPS" export run --c file.h && "$GPS" export run --c /dev/stdout | cmp - file.h || exit 1
      "$GPS" export run --c >(cat >got) && sleep 0.2 && cmp got file.h || exit 2
      "$GPS" export run --onnx /dev/full 2>err; [ $? = 70 ] && grep -q 'No space left' err || exit 3
      """)
    #expect(outcome.status == 0, "\(outcome.errors)")
  }
}
