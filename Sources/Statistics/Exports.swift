// Options are checked here too.
@_exported public import struct Configuration.InvalidOption
