package import GPSCore

/// Where whoever leads a run and whoever works for it meet. All calls block, for some seconds at most, and may come from any
/// thread.
///
/// A work item is leased: a worker that neither keeps the lease nor answers loses it, and the next one that asks gets the
/// item. Answers are by key, so that a late or second one is known as such. Bytes are a matter of those who meet: no channel
/// reads them.
package protocol Channel: Sendable {
  // MARK: For whoever leads

  /// Takes the lead. What an earlier run has left is gone then.
  ///
  /// - Throws: `ChannelError.led` while another run is led.
  func lead(_ notice: [UInt8], run: String) throws(ChannelError)
  /// Says that the run is still led; to be called every few seconds.
  ///
  /// - Throws: `ChannelError.led` when another run is led meanwhile.
  func stayInLead() throws(ChannelError)
  /// Gives up the lead, and all that belongs to the run.
  func endLead()
  /// Puts bytes where all workers find them, under a name that nothing else has.
  func share(_ bytes: [UInt8], as name: String) throws(ChannelError)
  /// Takes them away.
  func unshare(_ name: String) throws(ChannelError)
  /// Puts an item where a worker finds it.
  func offer(_ item: [UInt8], as key: String) throws(ChannelError)
  /// The next answer, whatever it is an answer to; nil if none comes in time.
  ///
  /// - Throws: also `ChannelError.abandoned`, for an item that workers take again and again without an answer.
  func nextAnswer(within seconds: Double) throws(ChannelError) -> Answer?
  /// Nobody is to work at an item any more.
  func settle(_ key: String) throws(ChannelError)

  // MARK: For whoever works

  /// What the run that is led says of itself; nil while none is.
  func notice() throws(ChannelError) -> [UInt8]?
  /// An item that nobody else has; nil if there is none in time.
  func take(as worker: String, within seconds: Double) throws(ChannelError) -> Lease?
  /// Keeps a lease from ending; false if it has ended.
  func keep(_ lease: Lease) throws(ChannelError) -> Bool
  /// Gives an item back at once.
  func giveBack(_ lease: Lease) throws(ChannelError)
  /// Takes an item away that cannot be one.
  func drop(_ lease: Lease) throws(ChannelError)
  /// Sends what an item came to. The lease lasts until whoever leads has settled the item.
  func answer(_ lease: Lease, with bytes: [UInt8]) throws(ChannelError)
  /// Bytes that are shared; nil if there are none of that name.
  func shared(_ name: String) throws(ChannelError) -> [UInt8]?
}

/// A work item in the hands of a worker.
package struct Lease: Sendable, Equatable {
  /// Which entry of the channel it is.
  package var entry: String
  /// Which item.
  package var key: String
  /// Who has it.
  package var worker: String
  /// The item's bytes.
  package var item: [UInt8]
}

/// What a worker has sent.
package struct Answer: Sendable, Equatable {
  /// Which item it is for, as the worker says.
  package var key: String
  /// Who sent it, as the worker says.
  package var worker: String
  /// The result's bytes.
  package var bytes: [UInt8]
}

/// Why a channel cannot be used.
package enum ChannelError: Error, Sendable, Equatable, CustomStringConvertible {
  /// Nobody answers; it may pass.
  case unreachable(place: String, reason: String)
  /// It is refused, and will be.
  case refused(place: String, reason: String)
  /// Another run is led there.
  case led(place: String, by: String)
  /// Workers take an item and never answer.
  case abandoned(key: String, times: Int)

  /// One sentence for people.
  package var description: String {
    switch self {
    case .unreachable(let place, let reason): "\(place) cannot be reached: \(reason)"
    case .refused(let place, let reason): "\(place): \(reason)"
    case .led(let place, let run):
      "\(place): another run (\(run)) is led there; wait until it has ended, or use another database "
        + "(redis://host:port/1)"
    case .abandoned(let key, let times):
      "work item \(key) was taken \(times) times, and no answer came: see what the workers say"
    }
  }
}

/// How long things last [s].
package struct ChannelTimes: Sendable, Equatable {
  /// A lease that nobody keeps.
  package var lease = 15.0
  /// A lead that nobody keeps.
  package var lead = 15.0
  /// The wait for a reply that has been asked for, or for the next part of it.
  package var reply = 5.0
  /// How often an item may be taken before it is thought to be what ends its workers.
  package var takes = 10

  /// The defaults.
  package init() {}
}

/// A sealed message: texts that say what it is, and the parts of a value.
package enum Message {
  /// What it is.
  package enum Kind: String, Sendable {
    /// What a run says of itself.
    case notice = "gps-run"
    /// A work item.
    case item = "gps-work"
    /// What it came to.
    case result = "gps-result"
    /// Why it came to nothing.
    case failure = "gps-failure"
  }

  /// The version of all of them.
  package static let version = "1"

  /// The bytes of a message.
  package static func sealed(
    _ kind: Kind, run: String, key: String, policy: String? = nil, _ file: Safetensors
  ) -> [UInt8] {
    var file = file
    file.metadata["format"] = kind.rawValue
    file.metadata["version"] = version
    file.metadata["run"] = run
    file.metadata["key"] = key
    file.metadata["policy"] = policy
    return file.sealed()
  }

  /// Reads a message.
  ///
  /// - Throws: `StoredValueError` for damaged bytes, and for a message of another kind, version, run or key.
  package static func read(
    _ bytes: [UInt8], _ kinds: Kind..., run: String? = nil, key: String? = nil
  ) throws(StoredValueError) -> (kind: Kind, reader: ValueReader) {
    let file: Safetensors
    do { file = try Safetensors(sealed: bytes) } catch { throw StoredValueError("\(error)") }
    let reader = ValueReader(file)
    let kind: Kind = try reader.choice("format")
    let (stated, own) = (try reader.text("version"), try reader.text("run"))
    if !kinds.contains(kind) { throw StoredValueError("it is a message of another kind") }
    if stated != version {
      throw StoredValueError("it is of another format version than \(version)")
    }
    if let run, own != run { throw StoredValueError("it belongs to another run") }
    if let key, try reader.text("key") != key {
      throw StoredValueError("it belongs to another work item")
    }
    return (kind, reader)
  }
}
