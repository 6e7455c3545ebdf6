import Foundation
import GuidedPolicySearch

/// What a caller in C holds of an object of Swift's: it is given out once and taken back once.
func given(_ object: AnyObject) -> UnsafeMutableRawPointer {
  Unmanaged.passRetained(object).toOpaque()
}

/// The object behind a handle. The caller promises that it is one of this type that was not taken back.
func object<Object: AnyObject>(
  _ handle: UnsafeMutableRawPointer, _ type: Object.Type = Object.self
) -> Object {
  Unmanaged<Object>.fromOpaque(handle).takeUnretainedValue()
}

/// Takes a handle back.
@c(gps_release) public func gpsRelease(_ handle: UnsafeMutableRawPointer?) {
  if let handle { Unmanaged<AnyObject>.fromOpaque(handle).release() }
}

/// A text for a caller in C, who gives it back by `gps_free`.
func text(_ string: String) -> UnsafeMutablePointer<CChar>? { strdup(string) }

/// Gives a text back.
@c(gps_free) public func gpsFree(_ text: UnsafeMutablePointer<CChar>?) { free(text) }

/// A value as JSON.
func json(_ value: some Encodable) -> UnsafeMutablePointer<CChar>? {
  let encoder = JSONEncoder()
  encoder.nonConformingFloatEncodingStrategy = .convertToString(
    positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
  guard let data = try? encoder.encode(value) else { return nil }
  return text(String(decoding: data, as: UTF8.self))
}

/// Where a function that may fail says why: a text that the caller gives back by `gps_free`.
typealias Problem = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>

/// The result of `body`; nil with the reason in `problem` where it throws.
func attempt<Result>(_ problem: Problem, _ body: () throws -> Result) -> Result? {
  do { return try body() } catch {
    problem.pointee = text("\(error)")
    return nil
  }
}

/// A text of the caller's.
func string(_ text: UnsafePointer<CChar>) -> String { String(cString: text) }

/// The version of the library.
@c(gps_version) public func gpsVersion() -> UnsafeMutablePointer<CChar>? {
  text(ProgramVersion.current)
}
