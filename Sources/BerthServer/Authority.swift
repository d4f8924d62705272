import BerthWire
import Foundation

/// The local certificate authority: made once with `openssl`, so that TLS is real from the first start.
public struct Authority: Sendable {
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

    /// Makes what is missing. The authority's key stays in the folder, readable by the owner only.
    public func prepare(directory: String, hosts: [String]) throws {
        let files = FileManager.default
        try files.createDirectory(atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let caKey = directory + "/ca.key"
        if !files.fileExists(atPath: caFile) {
            try openssl([
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
                "-subj", "/CN=Berth local authority", "-addext", "basicConstraints=critical,CA:TRUE", "-addext",
                "keyUsage=critical,keyCertSign,cRLSign", "-keyout", caKey, "-out", caFile,
            ])
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
        try openssl([
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Berth server",
            "-keyout", keyFile, "-out", request,
        ])
        try openssl([
            "x509", "-req", "-in", request, "-CA", caFile, "-CAkey", caKey, "-CAcreateserial", "-days", "825",
            "-extfile", extensions, "-out", certificateFile + ".new",
        ])
        // The certificate comes last: when it is there, all is there.
        try files.moveItem(atPath: certificateFile + ".new", toPath: certificateFile)
        for file in [request, extensions] { try? files.removeItem(atPath: file) }
        for file in [caKey, keyFile] { try files.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file) }
    }

    /// A certificate for one party, signed by the local authority; good for a year. Its key is not kept here.
    func clientCertificate(appId: String) throws -> (certificate: String, key: String, fingerprint: String) {
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
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments
        let errors = Pipe()
        process.standardError = errors
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        let text = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failed(
                description: "openssl \(arguments.first ?? "") failed: \(String(decoding: text.suffix(400), as: UTF8.self))")
        }
    }
}
