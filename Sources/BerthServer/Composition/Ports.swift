import Foundation

/// The ports that the settings name, tried before anything is started.
enum Ports {
    /// One place to listen.
    struct Place {
        /// The setting, e.g. `https.port`; its flag is `--https-port`.
        let key: String
        let hosts: [String]
        let port: Int
    }

    struct Unusable: Error, CustomStringConvertible {
        let description: String
    }

    /// Tries to listen at all places at once, and gives them back.
    /// - Throws: ``Unusable`` with the setting whose port or address cannot be had.
    static func check(_ places: [Place]) throws(Unusable) {
        var held: [Int32] = []
        defer { for descriptor in held { close(descriptor) } }
        for place in places where place.port > 0 {
            for host in place.hosts {
                let (descriptor, reason) = listen(host, place.port)
                if let descriptor { held.append(descriptor) }
                if let reason { throw Unusable(description: sentence(place, host, reason)) }
            }
        }
    }

    /// - Returns: the descriptor that listens, or the number of the error.
    private static func listen(_ host: String, _ port: Int) -> (Int32?, Int32?) {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &found) == 0, let info = found?.pointee else { return (nil, EADDRNOTAVAIL) }
        defer { freeaddrinfo(found) }
        let descriptor = socket(info.ai_family, info.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return (nil, errno) }
        var yes: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        if info.ai_family == AF_INET6 {
            setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &yes, socklen_t(MemoryLayout<Int32>.size))
        }
        guard bind(descriptor, info.ai_addr, info.ai_addrlen) == 0, Glibc.listen(descriptor, 1) == 0 else {
            defer { close(descriptor) }
            return (nil, errno)
        }
        return (descriptor, nil)
    }

    private static func sentence(_ place: Place, _ host: String, _ reason: Int32) -> String {
        let flag = place.key.hasPrefix("cluster.") ? "--set \(place.key)=…" : "--" + place.key.replacingOccurrences(of: ".", with: "-")
        let named = "(setting \(place.key), flag \(flag))"
        switch reason {
        case EADDRINUSE: return "\(place.key) = \(place.port): already in use \(named)"
        case EACCES, EPERM: return "\(place.key) = \(place.port): this user may not listen there \(named)"
        case EADDRNOTAVAIL: return "bind = \(host): this machine has no such address (setting bind, flag --bind)"
        default: return "\(place.key) = \(place.port): \(String(cString: strerror(reason))) \(named)"
        }
    }

    /// The addresses at which the broker listens: the given one, and the loopback, over which the server itself reaches it.
    static func brokerHosts(_ bindAddress: String) -> [String] {
        switch bindAddress {
        case "127.0.0.1", "0.0.0.0": [bindAddress]
        case "localhost": ["127.0.0.1"]
        // mosquitto takes no IPv4 connection on an IPv6 address.
        case "::": ["::", "0.0.0.0"]
        default: [bindAddress, "127.0.0.1"]
        }
    }
}
