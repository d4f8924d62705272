import BerthWire
public import Logging

/// Writes each message of a log as one line of JSON on standard error: time, level, message, and the metadata by their names.
public struct JSONLogHandler: LogHandler {
    public var logLevel: Logger.Level = .info
    public var metadata: Logger.Metadata = [:]
    public var metadataProvider: Logger.MetadataProvider?
    private let label: String

    public init(label: String) { self.label = label }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var line = JSONObject([
            ("time", .string(SystemClock.utc(SystemClock.now()))), ("level", .string(event.level.rawValue)), ("logger", .string(label)),
            ("message", .string(event.message.description)),
        ])
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { _, new in new } }
        if let own = event.metadata { all.merge(own) { _, new in new } }
        for (name, value) in all.sorted(by: { $0.key < $1.key }) where line[name] == nil { line.append(name, .string("\(value)")) }
        Output.error(JSON.object(line).string)
    }
}
