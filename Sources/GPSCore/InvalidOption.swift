// `InvalidOption` lives in Statistics, whose options need it; every stage meets it here.
@_exported public import struct Statistics.InvalidOption
