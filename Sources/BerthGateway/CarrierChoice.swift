import BerthCore

/// The choice of a carrier for each call (interface.md, section 4). A value that knows neither clock nor socket.
///
/// A broker may be up while the server behind it is not: after three calls in a row without an answer `auto` takes HTTPS, and goes back to
/// MQTT when a probe over it is answered.
package struct CarrierChoice: Sendable, Equatable {
    package enum Way: Sendable, Equatable { case mqtt, https, none }

    private let allowed: GatewayConfiguration.Carrier
    private(set) package var unanswered = 0
    private var lastProbe: Int64?

    /// Calls in a row without an answer after which MQTT is given up.
    package static let unansweredMax = 3
    /// Time between two probes over MQTT, ms.
    package static let probeMillis: Int64 = 30_000
    /// Patience with a carrier in doubt, ms.
    package static let doubtMillis: Int64 = 4_000

    package init(_ allowed: GatewayConfiguration.Carrier) { self.allowed = allowed }

    /// MQTT is connected and nobody answers behind it.
    package var isSilent: Bool { allowed == .auto && unanswered >= CarrierChoice.unansweredMax }

    package func way(isMQTTUp: Bool) -> Way {
        switch allowed {
        case .mqtt: isMQTTUp ? .mqtt : .none
        case .https: .https
        case .auto: isMQTTUp && !isSilent ? .mqtt : .https
        }
    }

    /// The time that a call over MQTT waits for its answer, ms.
    package func patience(_ wanted: Int64) -> Int64 {
        allowed == .auto && unanswered > 0 ? min(wanted, CarrierChoice.doubtMillis) : wanted
    }

    /// A reply came over MQTT. True when MQTT was given up before.
    package mutating func mqttAnswered() -> Bool {
        defer { unanswered = 0 }
        return isSilent
    }

    /// A call over MQTT had no answer in its time. True when MQTT is given up by it.
    package mutating func mqttUnanswered(at now: Int64) -> Bool {
        let wasSilent = isSilent
        unanswered = min(unanswered + 1, CarrierChoice.unansweredMax)
        guard isSilent, !wasSilent else { return false }
        lastProbe = now
        return true
    }

    /// A new connection begins with trust.
    package mutating func mqttCameUp() { unanswered = 0 }

    /// Whether MQTT is to be probed now, on the monotonic clock; the probe counts as begun.
    package mutating func takesProbe(at now: Int64) -> Bool {
        guard isSilent, lastProbe.map({ now &- $0 >= CarrierChoice.probeMillis }) ?? true else { return false }
        lastProbe = now
        return true
    }
}
