import Configuration
import GPSCore
import GlobalPolicy

extension ExportedPolicy {
  /// The policy as a header of C99 (and C++) with all of its weights and one function, `act`, that needs no other
  /// library, allocates nothing and keeps no state.
  ///
  /// It computes with numbers of type `GPS_REAL`: double, or float where `GPS_SINGLE` is defined.
  public var c: [UInt8] {
    let sizes = policy.network.layerSizes
    let (o, m) = (policy.observation, policy.control)
    let widest = sizes.max() ?? 1
    var text = ""
    func line(_ content: String = "") { text += content + "\n" }
    line(
      """
      /* The policy of \(quoted(task)), written by gps \(ProgramVersion.current).

         act(observation, action) computes \(m) control\(m == 1 ? "" : "s") from \(o) number\(o == 1 ? "" : "s") of an observation,
         in the task's own units and order, every \(shortest(controlPeriod)) s. It is C99, and C++; everything is static:
         include this file where act is called, and nowhere else. With GPS_SINGLE defined
         nothing is in double precision, at the price of some digits.
      """)
    for (title, names) in [("Observation", observationNames), ("Action", controlNames)]
    where !names.isEmpty {
      line("\n   \(title):")
      for (index, name) in names.enumerated() { line("     [\(index)] \(commented(name))") }
    }
    line(
      """
      */

      #ifndef GPS_POLICY_H
      #define GPS_POLICY_H

      """)
    let needsMath = policy.options.activation != .relu && layerCount > 1
    if needsMath { line("#include <math.h>\n") }
    line(
      """
      #ifdef GPS_SINGLE
      #define GPS_REAL float
      #else
      #define GPS_REAL double
      #endif

      \(needsMath ? mathematics : "")enum { GPS_OBSERVATIONS = \(o), GPS_ACTIONS = \(m) };

      """)
    line(array("GPS_REAL", "gps_observation_mean", policy.observationWhitening.mean.map(real)))
    line(
      array(
        "GPS_REAL", "gps_observation_deviation", policy.observationWhitening.deviation.map(real)))
    line(array("GPS_REAL", "gps_control_mean", policy.controlScaling.mean.map(real)))
    line(array("GPS_REAL", "gps_control_deviation", policy.controlScaling.deviation.map(real)))
    for layer in 0..<layerCount {
      line(
        "\n/* Layer \(layer): \(sizes[layer + 1]) units, each a row of \(sizes[layer]) weights. */")
      line(array("float", "gps_weights_\(layer)", weights(ofLayer: layer).map(single)))
      line(array("float", "gps_biases_\(layer)", biases(ofLayer: layer).map(single)))
    }
    line(
      """

      static void gps_layer(int inputs, int outputs, const float *weights, const float *biases,
                            const GPS_REAL *x, GPS_REAL *y) {
        int i, j;
        for (i = 0; i < outputs; i++) {
          GPS_REAL sum = biases[i];
          for (j = 0; j < inputs; j++) sum += weights[i * inputs + j] * x[j];
          y[i] = sum;
        }
      }
      """)
    if layerCount > 1 {
      line(
        """

        static void gps_activate(int count, GPS_REAL *z) {
          int i;
          for (i = 0; i < count; i++) \(activation)
        }
        """)
    }
    line(
      """

      static void act(const GPS_REAL *observation, GPS_REAL *action) {
        GPS_REAL x[\(widest)], y[\(widest)];
        int i;
        for (i = 0; i < \(o); i++)
          x[i] = (observation[i] - gps_observation_mean[i]) / gps_observation_deviation[i];
      """)
    for layer in 0..<layerCount {
      let (input, output) = layer.isMultiple(of: 2) ? ("x", "y") : ("y", "x")
      line(
        "  gps_layer(\(sizes[layer]), \(sizes[layer + 1]), gps_weights_\(layer), gps_biases_\(layer), \(input), \(output));"
      )
      if layer < layerCount - 1 { line("  gps_activate(\(sizes[layer + 1]), \(output));") }
    }
    let last = layerCount.isMultiple(of: 2) ? "x" : "y"
    line(
      "  for (i = 0; i < \(m); i++) action[i] = gps_control_mean[i] + gps_control_deviation[i] * \(last)[i];"
    )
    if let limits {
      for i in 0..<m {
        for (bound, relation) in [(limits.lower[i], "<"), (limits.upper[i], ">")]
        where bound.isFinite {
          line("  if (action[\(i)] \(relation) \(real(bound))) action[\(i)] = \(real(bound));")
        }
      }
    }
    line(
      """
      }

      #endif
      """)
    return Array(text.utf8)
  }

  /// Functions of the type's own precision.
  private var mathematics: String {
    """
    #ifdef GPS_SINGLE
    #define GPS_MATH(name) name##f
    #else
    #define GPS_MATH(name) name
    #endif


    """
  }

  /// What an activation does to z[i].
  private var activation: String {
    switch policy.options.activation {
    case .relu: "z[i] = z[i] > 0 ? z[i] : 0;"
    case .tanh: "z[i] = GPS_MATH(tanh)(z[i]);"
    case .softplus:
      "z[i] = (z[i] > 0 ? z[i] : 0) + GPS_MATH(log1p)(GPS_MATH(exp)(-GPS_MATH(fabs)(z[i])));"
    case .silu: "z[i] = z[i] / (1 + GPS_MATH(exp)(-z[i]));"
    }
  }

  private func array(_ type: String, _ name: String, _ values: [String]) -> String {
    var text = "static const \(type) \(name)[\(values.count)] = {"
    var width = 100
    for (index, value) in values.enumerated() {
      if width + value.count > 96 {
        text += "\n "
        width = 1
      }
      text += " " + value + (index < values.count - 1 ? "," : "")
      width += value.count + 2
    }
    return text + "};"
  }

  /// The shortest text that is the same number in C.
  private func real(_ value: Double) -> String { "(GPS_REAL)\(value.description)" }
  private func single(_ value: Float) -> String { "\(value.description)f" }

  /// A text that ends no comment and begins none.
  private func commented(_ text: String) -> String {
    visible(text).replacing("*/", with: "* /").replacing("/*", with: "/ *")
  }

  private func quoted(_ text: String) -> String { "\"\(commented(text))\"" }
}
