// Every stage has options; `InvalidOption` comes with whatever says what may be set.
@_exported public import struct Configuration.InvalidOption
