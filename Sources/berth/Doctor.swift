import ArgumentParser
import BerthLink
import BerthServer
import BerthWire
import Foundation

struct Doctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check what a server needs: packages, folder, disk, certificates, ports, broker, clock.",
        discussion: "Each line is ok, FAILED or unknown. The exit code is 1 when anything failed; unknown is not failed.")
    @OptionGroup var folder: DataOption
    @Option(help: "The HTTPS port to look at; when left out that of the server that runs, or 8443.") var httpsPort: Int?
    @Option(help: "The MQTT port to look at; when left out that of the server that runs, or 8883.") var mqttPort: Int?
    @Option(help: "NTP servers to ask, host or host:port, separated by commas.") var ntp = ""

    func validate() throws {
        for (port, flag) in [(httpsPort, "--https-port"), (mqttPort, "--mqtt-port")] { try validatePort(port, flag) }
    }

    private enum Finding { case ok, failed, unknown }

    /// The findings so far; each is printed when it is made.
    private struct Report {
        private(set) var failures = 0

        mutating func callAsFunction(_ finding: Finding, _ what: String, _ detail: String) {
            let word = finding == .ok ? "ok     " : finding == .failed ? "FAILED " : "unknown"
            if finding == .failed { failures += 1 }
            put("\(word)  \(what): \(Speech.text(detail))")
        }
    }

    func run() async throws {
        var report = Report()
        let data = DataFolder(folder.data)
        let exists = FileManager.default.fileExists(atPath: data.path)
        checkPrograms(&report)
        checkFolder(data, exists: exists, &report)
        checkCertificates(data, exists: exists, &report)
        await checkServer(data, exists: exists, &report)
        checkClock(&report)
        if report.failures > 0 { throw ExitCode(1) }
    }

    private func checkPrograms(_ report: inout Report) {
        let files = FileManager.default
        for (program, package) in [("mosquitto", "mosquitto"), ("openssl", "openssl")] {
            let found = ChildProcess.find(program) != nil
            report(found ? .ok : .failed, program, found ? "installed" : "missing; apt-get install \(package)")
        }
        report(
            files.fileExists(atPath: "/usr/share/javascript/leaflet/leaflet.js") ? .ok : .failed, "map library",
            files.fileExists(atPath: "/usr/share/javascript/leaflet/leaflet.js")
                ? "libjs-leaflet is installed" : "missing; apt-get install libjs-leaflet")

        do {
            _ = try Resources.folder("Profile", of: "BerthWire")
            _ = try Resources.folder("Scenes", of: "BerthScene")
            report(.ok, "files of the program", try Resources.folder("Pages", of: "BerthServer"))
        } catch { report(.failed, "files of the program", "\(error)") }
    }

    private func checkFolder(_ data: DataFolder, exists: Bool, _ report: inout Report) {
        let files = FileManager.default
        if exists {
            report(files.isWritableFile(atPath: data.path) ? .ok : .failed, "data folder", data.path)
        } else {
            report(.unknown, "data folder", "\(data.path) does not exist yet; `berth serve` makes it")
        }
        let place = exists ? data.path : files.currentDirectoryPath
        if let free = (try? files.attributesOfFileSystem(forPath: place))?[.systemFreeSize] as? NSNumber {
            let megabytes = free.int64Value >> 20
            report(megabytes >= 1024 ? .ok : .failed, "disk", "\(megabytes) MiB free at \(place) (1024 wanted)")
        } else {
            report(.unknown, "disk", "free space at \(place) cannot be read")
        }
    }

    private func checkCertificates(_ data: DataFolder, exists: Bool, _ report: inout Report) {
        let files = FileManager.default
        for name in ["ca.pem", "server.pem"] where exists {
            let file = "\(data.tls)/\(name)"
            guard files.fileExists(atPath: file) else {
                report(.unknown, "certificate \(name)", "not made yet")
                continue
            }
            let asked = ["x509", "-in", file, "-noout", "-enddate", "-checkend", "2592000"]
            let (status, text) =
                (try? ChildProcess.run(ChildProcess.find("openssl") ?? "/usr/bin/openssl", asked, capturesOutput: true)) ?? (127, [])
            let date = String(decoding: text, as: UTF8.self).split(separator: "\n").first.map(String.init) ?? ""
            report(
                status == 0 ? .ok : .failed, "certificate \(name)",
                status == 0 ? date : "\(date); ends within 30 days, or cannot be read")
        }
    }

    private func checkServer(_ data: DataFolder, exists: Bool, _ report: inout Report) async {
        var isRunning = false
        var ports = (https: httpsPort ?? 8443, mqtt: mqttPort ?? 8883)
        if let socket = try? data.socketPath(), exists,
            let status = try? await SocketCall.post(["command": "status"], socketPath: socket)
        {
            isRunning = true
            if let addresses = try? await SocketCall.post(["command": "addresses"], socketPath: socket) {
                ports.https = httpsPort ?? addresses["httpsPort"]?.intValue.flatMap { Int(exactly: $0) } ?? ports.https
                ports.mqtt = mqttPort ?? addresses["mqttPort"]?.intValue.flatMap { Int(exactly: $0) } ?? ports.mqtt
            }
            report(.ok, "server", status.string)
            switch status["mqtt"]?.boolValue {
            case true?: report(.ok, "broker", "the server is connected to it")
            case false?:
                report(.failed, "broker", "the server itself is not connected to it; its log is \(data.broker)/mosquitto.log")
            case nil: report(.unknown, "broker", "the server does not say whether it is connected")
            }
        } else {
            report(.unknown, "server", "none is running on \(data.path)")
        }
        for (name, port) in [("HTTPS port", ports.https), ("MQTT port", ports.mqtt)] {
            let isTaken = Doctor.connects(port)
            if isRunning {
                report(isTaken ? .ok : .unknown, "\(name) \(port)", isTaken ? "listens" : "nobody listens; the server may use another")
            } else {
                report(isTaken ? .failed : .ok, "\(name) \(port)", isTaken ? "taken by another program" : "free")
            }
        }
    }

    private func checkClock(_ report: inout Report) {
        if ntp.isEmpty {
            report(.unknown, "clock", "no NTP server to ask; give --ntp HOST")
        } else {
            for server in ntp.split(separator: ",") {
                if let offset = SNTP.offset(server: String(server), timeoutSeconds: 3) {
                    report(abs(offset) <= 5000 ? .ok : .failed, "clock against \(server)", "\(offset) ms (limit 5000)")
                } else {
                    report(.unknown, "clock against \(server)", "no answer")
                }
            }
        }
    }

    private static func connects(_ port: Int) -> Bool {
        guard let number = UInt16(exactly: port) else { return false }
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(number).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}

/// One question to an NTP server (RFC 4330).
enum SNTP {
    /// ms to add to our clock, by the four-timestamp formula; nil without a usable answer.
    static func offset(server: String, timeoutSeconds: Int) -> Int64? {
        let parts = server.split(separator: ":")
        guard let host = parts.first else { return nil }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(String(host), parts.count > 1 ? String(parts[1]) : "123", &hints, &found) == 0, let info = found
        else { return nil }
        defer { freeaddrinfo(found) }
        let descriptor = socket(info.pointee.ai_family, info.pointee.ai_socktype, 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var timeout = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        guard connect(descriptor, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0 else { return nil }
        var packet = [UInt8](repeating: 0, count: 48)
        packet[0] = 0x23  // version 4, client
        let cookie = SystemRandom.bytes(8)
        packet.replaceSubrange(40..<48, with: cookie)
        let sent = SystemClock.now()
        guard send(descriptor, packet, 48, 0) == 48 else { return nil }
        var answer = [UInt8](repeating: 0, count: 48)
        guard recv(descriptor, &answer, 48, 0) == 48 else { return nil }
        let received = SystemClock.now()
        // A server's answer, in use, to this question.
        guard answer[0] & 7 == 4, answer[1] > 0, answer[1] < 16, Array(answer[24..<32]) == cookie else { return nil }
        func time(_ at: Int) -> Int64 {
            let seconds = answer[at..<at + 4].reduce(Int64(0)) { $0 << 8 | Int64($1) } - 2_208_988_800
            let fraction = answer[at + 4..<at + 8].reduce(Int64(0)) { $0 << 8 | Int64($1) }
            return seconds * 1000 + ((fraction * 1000) >> 32)
        }
        return ((time(32) - sent) + (time(40) - received)) / 2
    }
}
