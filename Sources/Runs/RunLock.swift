import Configuration
public import Foundation

/// The right to write to a run directory, which one process holds until it ends, however it ends.
final class RunLock {
  private let descriptor: Int32
  /// Whether the file system keeps locks at all.
  let isEffective: Bool

  /// Takes the lock, or throws `RunDirectoryError.inUse` at once if another holds it.
  init(in directory: URL) throws(RunDirectoryError) {
    let path = directory.appendingPathComponent(RunDirectory.FileName.lock).path
    // Nothing is stored before the lock is ours: an object that is whole closes its descriptor itself,
    // and a number that is closed twice may be another file's by then.
    let descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0o644)
    if descriptor < 0 { throw .cannotWrite(path: path, reason: writeProblem(errno)) }
    var status = stat()
    if fstat(descriptor, &status) == 0, let kind = RegularFile.kind(of: status) {
      close(descriptor)
      throw .cannotWrite(
        path: path, reason: "it is a \(kind), not a file (remove it, or choose another place)")
    }
    // The file is never removed: a process that had opened the old one would not see the new one's lock.
    var result: Int32 = -1
    // Who only looks whether a run goes on (`RunDirectory.isInUse`) holds the lock for a moment.
    for attempt in 0...5 {
      if attempt > 0 { usleep(2000) }
      repeat { result = flock(descriptor, LOCK_EX | LOCK_NB) } while result != 0 && errno == EINTR
      if result == 0 || errno != EWOULDBLOCK { break }
    }
    if result != 0 && errno == EWOULDBLOCK {
      close(descriptor)
      throw .inUse(path: directory.path)
    }
    self.descriptor = descriptor
    isEffective = result == 0
  }

  deinit {
    // A child that is just being started elsewhere in the process has a copy of the descriptor for a
    // moment; closing ours alone would leave the lock to it.
    flock(descriptor, LOCK_UN)
    close(descriptor)
  }
}

extension RunDirectory {
  /// Whether a process is writing to a run directory; false where the file system keeps no locks.
  public static func isInUse(_ url: URL) -> Bool {
    let path = url.appendingPathComponent(FileName.lock).path
    let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
    if descriptor < 0 { return false }
    defer { close(descriptor) }
    // A lock that is shared: several may look at once.
    var result: Int32
    repeat { result = flock(descriptor, LOCK_SH | LOCK_NB) } while result != 0 && errno == EINTR
    if result == 0 { flock(descriptor, LOCK_UN) }
    return result != 0 && errno == EWOULDBLOCK
  }
}
