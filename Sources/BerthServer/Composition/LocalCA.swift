import BerthCore
import BerthLink
import BerthWire
import Foundation

/// The local certificate authority: made once with `openssl`, so that TLS is real from the first start.
public struct LocalCA: Sendable {
    public let caFile: String
    public let certificateFile: String
    public let keyFile: String

    public struct Failed: Error, CustomStringConvertible {
        public let description: String
    }

    public init(directory: String) {
        caFile = directory + "/ca.pem"
        certificateFile = directory + "/server.pem"
        keyFile = directory + "/server.key"
    }

    /// Makes what is missing, each file whole before it has its name. The authority's key stays in the folder, readable by the owner only.
    /// Blocks the calling thread for some 100 ms.
    public func prepare(directory: String, hosts: [String]) throws {
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
        guard !files.fileExists(atPath: certificateFile) else { return }
        let names = hosts.map { host in
            host.allSatisfy({ $0.isNumber || $0 == "." || $0 == ":" }) ? "IP:\(host)" : "DNS:\(host)"
        }
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
            "x509", "-req", "-in", request, "-CA", caFile, "-CAkey", caKey, "-CAcreateserial", "-days", "825",
            "-extfile", extensions, "-out", certificateFile + ".new",
        ])
        for file in [keyFile, certificateFile] { try keep(file) }
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
