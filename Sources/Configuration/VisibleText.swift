/// A text on one line in which nothing moves a cursor, colours a terminal or turns the direction of
/// writing: control, format, private and unassigned characters are spelled out as in `\u{1B}`.
///
/// - Parameters:
///   - text: from a file or a command line, with whatever it may hold.
///   - limit: characters of the result; what is too long loses its middle.
/// - Returns: the text, spelled out.
package func visible(_ text: String, limit: Int = .max) -> String {
  var result = ""
  if text.unicodeScalars.allSatisfy(isVisible) {
    result = text
  } else {
    for scalar in text.unicodeScalars {
      if isVisible(scalar) {
        result.unicodeScalars.append(scalar)
      } else {
        result += "\\u{" + String(scalar.value, radix: 16, uppercase: true) + "}"
      }
    }
  }
  // Counting bytes first: it takes no time.
  if result.utf8.count <= limit || result.count <= limit { return result }
  let half = (limit - 5) / 2
  return result.prefix(half) + " ... " + result.suffix(half)
}

/// Whether a character is drawn where it stands and nothing else happens.
package func isVisible(_ scalar: Unicode.Scalar) -> Bool {
  if scalar.value < 0x7F { return scalar.value >= 0x20 }
  return switch scalar.properties.generalCategory {
  case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
    .paragraphSeparator:
    false
  default: true
  }
}
