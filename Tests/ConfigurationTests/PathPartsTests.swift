import Testing

@testable import Configuration

/// Paths as the system takes them apart: by bytes.
@Suite struct PathPartsTests {
  @Test(arguments: [
    ("x", "."), ("é", "."), ("", "."), ("x/", "."), ("a/b", "a"), ("a//b", "a"), ("a/b//", "a"),
    ("/", "/"), ("//", "/"), ("/x", "/"), ("//x", "/"), ("/a/b", "/a"), ("a/\u{301}b", "a"),
  ])
  func folder(_ path: String, _ folder: String) { #expect(PathParts.folder(of: path) == folder) }

  @Test func components() {
    #expect(PathParts.components(of: "/a//b/") == ["a", "b"])
    #expect(
      PathParts.components(of: "/a//b", omittingEmptySubsequences: false) == ["", "a", "", "b"])
    // A mark joins the slash before it to one character.
    #expect(PathParts.components(of: "a/../\u{301}b").contains(".."))
  }
}
