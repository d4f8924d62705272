import BerthCore
import BerthLink
import BerthWire
import Foundation

/// The certificate of the fronts and of the broker: the operator's own, or one of a local authority, which is made once with `openssl`, so that
/// TLS is real from the first start. The local authority signs client certificates in either case.
public struct LocalCA: Sendable {
    /// The local authority.
    public let caFile: String
    public let certificateFile: String
    public let keyFile: String
    /// The authority of the fronts' certificate, for those who connect.
    public let trustFile: String
    let isOwn: Bool
    private let directory: String
    private let hosts: [String]

    public struct Failed: Error, CustomStringConvertible {
        public let description: String
    }

    /// The certificate of the local authority is made anew when it ends within so many days.
    private static let renewalDays: Int64 = 30
    private static let serverDays: Int64 = 825
    /// The authorities that Debian trusts.
    private static let systemTrust = "/etc/ssl/certs/ca-certificates.crt"

    /// - Parameter settings: name the own certificate, or the hosts of the local one.
    public init(directory: String, settings: ServerSettings) {
        self.directory = directory
        caFile = directory + "/ca.pem"
        isOwn = settings.ownCertificate != nil
        certificateFile = settings.ownCertificate?.certificate ?? directory + "/server.pem"
        keyFile = settings.ownCertificate?.key ?? directory + "/server.key"
        trustFile = settings.ownCertificate.map { $0.authority ?? LocalCA.systemTrust } ?? caFile
        let bind = settings.bindAddress
        let extra = (["127.0.0.1", "0.0.0.0", "::"].contains(bind) ? [] : [bind]) + settings.tlsNames
        hosts = ["127.0.0.1", "localhost", "::1"] + extra
    }

    /// The authorities with which the server itself reaches its broker: the local one and, with an own certificate, that one's.
    var brokerTrustFile: String { isOwn ? directory + "/broker-trust.pem" : caFile }

    /// Makes what is missing, each file whole before it has its name; the local certificate also anew when its names have changed or its end is
    /// near. The authority's key stays in the folder, readable by the owner only. Blocks the calling thread for some 100 ms.
    /// - Returns: whether there is another certificate now.
    @discardableResult public func prepare(now: Int64) throws -> Bool {
        let files = FileManager.default
        try files.createDirectory(atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let caKey = directory + "/ca.key"
        if !files.fileExists(atPath: caFile) {
            try openssl([
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
                "-subj", "/CN=Berth local authority", "-addext", "basicConstraints=critical,CA:TRUE", "-addext",
                "keyUsage=critical,keyCertSign,cRLSign", "-keyout", caKey + ".new", "-out", caFile + ".new",
            ])
            // The certificate comes last: when it is there, all is there.
            for file in [caKey, caFile] { try keep(file) }
        }
        if isOwn {
            let bundle = try [caFile, trustFile].map { try String(contentsOfFile: $0, encoding: .utf8) }.joined(separator: "\n")
            try bundle.write(toFile: brokerTrustFile + ".new", atomically: false, encoding: .utf8)
            try keep(brokerTrustFile)
            return false
        }
        guard try isDue(now: now) else { return false }
        try makeServerCertificate(caKey: caKey, now: now)
        return true
    }

    /// The record of the certificate that was made last: another one in its place is the operator's, and stays.
    private var madeFile: String { directory + "/server.made" }

    private func isDue(now: Int64) throws -> Bool {
        guard let certificate = FileManager.default.contents(atPath: certificateFile) else { return true }
        // The record of one that was cut off while its files got their names.
        guard !FileManager.default.fileExists(atPath: madeFile + ".new") else { return true }
        guard let data = FileManager.default.contents(atPath: madeFile), let made = try? JSON.parse([UInt8](data)) else {
            // An earlier version kept no record: a certificate of the local authority is made anew with one.
            return try ChildProcess.run(
                ChildProcess.find("openssl") ?? "openssl", ["verify", "-no_check_time", "-CAfile", caFile, certificateFile]
            ).status == 0
        }
        guard made["sha256"]?.stringValue == Signature.hash(canonical: [UInt8](certificate)) else { return false }
        let names = (made["names"]?.arrayValue ?? []).compactMap(\.stringValue)
        return !names.elementsEqual(hosts, by: { $0 == $1 }) || (made["until"]?.intValue ?? 0) - now < LocalCA.renewalDays * 86_400_000
    }

    private func makeServerCertificate(caKey: String, now: Int64) throws {
        let names = hosts.map { ServerSettings.isAddress($0) ? "IP:\($0)" : "DNS:\($0)" }
        let extensions = directory + "/server.ext"
        try """
        basicConstraints=CA:FALSE
        keyUsage=critical,digitalSignature
        extendedKeyUsage=serverAuth
        subjectAltName=\(names.joined(separator: ","))
        """.write(toFile: extensions, atomically: true, encoding: .utf8)
        let request = directory + "/server.csr"
        defer { for file in [request, extensions] { unlink(file) } }
        try openssl([
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Berth server",
            "-keyout", keyFile + ".new", "-out", request,
        ])
        try openssl([
            "x509", "-req", "-in", request, "-CA", caFile, "-CAkey", caKey, "-CAcreateserial", "-days", "\(LocalCA.serverDays)",
            "-extfile", extensions, "-out", certificateFile + ".new",
        ])
        guard let certificate = FileManager.default.contents(atPath: certificateFile + ".new") else {
            throw Failed(description: "openssl made no certificate")
        }
        let made: JSON = [
            "sha256": .string(Signature.hash(canonical: [UInt8](certificate))), "names": .array(hosts.map { .string($0) }),
            "until": .int(now + LocalCA.serverDays * 86_400_000),
        ]
        try made.string.write(toFile: madeFile + ".new", atomically: false, encoding: .utf8)
        for file in [keyFile, certificateFile, madeFile] { try keep(file) }
    }

    /// Brings a new file to the disk and gives it its name.
    private func keep(_ file: String) throws {
        let draft = file + ".new"
        if file.hasSuffix(".key") { chmod(draft, 0o600) }
        let descriptor = open(draft, O_RDONLY | O_CLOEXEC)
        defer { if descriptor >= 0 { close(descriptor) } }
        guard descriptor >= 0, fsync(descriptor) == 0, rename(draft, file) == 0 else {
            throw Failed(description: "\(file) cannot be written: \(String(cString: strerror(errno)))")
        }
    }

    typealias ClientCertificate = (certificate: String, key: String, fingerprint: String)

    /// A certificate for one party, signed by the local authority; good for a year. Its key is not kept here. The programs run on a thread of
    /// their own, so that no network thread waits for them.
    func clientCertificate(appId: String) async throws -> ClientCertificate {
        try await withCheckedThrowingContinuation { continuation in
            Thread { continuation.resume(with: Result { try makeClientCertificate(appId: appId) }) }.start()
        }
    }

    private func makeClientCertificate(appId: String) throws -> ClientCertificate {
        let folder = (caFile as NSString).deletingLastPathComponent
        let base = "\(folder)/client-\(appId)"
        defer { for ext in ["key", "csr", "pem", "ext", "der"] { try? FileManager.default.removeItem(atPath: "\(base).\(ext)") } }
        try "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n"
            .write(toFile: base + ".ext", atomically: true, encoding: .utf8)
        try openssl([
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=\(appId)", "-keyout", base + ".key",
            "-out", base + ".csr",
        ])
        try openssl([
            "x509", "-req", "-in", base + ".csr", "-CA", caFile, "-CAkey", folder + "/ca.key", "-CAcreateserial", "-days", "365",
            "-extfile", base + ".ext", "-out", base + ".pem",
        ])
        try openssl(["x509", "-in", base + ".pem", "-outform", "DER", "-out", base + ".der"])
        guard let der = FileManager.default.contents(atPath: base + ".der") else {
            throw Failed(description: "openssl made no certificate")
        }
        return (
            try String(contentsOfFile: base + ".pem", encoding: .utf8), try String(contentsOfFile: base + ".key", encoding: .utf8),
            Signature.hash(canonical: [UInt8](der))
        )
    }

    private func openssl(_ arguments: [String]) throws {
        guard let program = ChildProcess.find("openssl") else { throw Failed(description: "openssl is missing; apt-get install openssl") }
        let (status, text) = try ChildProcess.run(program, arguments)
        guard status == 0 else {
            throw Failed(description: "openssl \(arguments.first ?? "") failed: \(String(decoding: text.suffix(400), as: UTF8.self))")
        }
    }
}
