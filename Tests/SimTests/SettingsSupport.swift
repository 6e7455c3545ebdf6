import Configuration

/// A value as a file has it, read back.
func writtenAndRead<Value: Setting>(_ value: Value) throws -> Value {
  let tree = SettingsTree(Value.codec.write(value))
  return try Value.codec.read(SettingsTree(yaml: tree.yaml, name: "f"), "")
}
