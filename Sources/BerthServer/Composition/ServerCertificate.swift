import BerthCore
import BerthLink
import Foundation
import Logging
import NIOCore
import NIOSSL
import ServiceLifecycle
import Synchronization
import UnixSignals

/// The certificate that the fronts show. SIGHUP reads it anew, and the local one is made anew before it ends: connections that are open stay,
/// new ones see the new certificate.
final class ServerCertificate: Service {
    private typealias Pair = (chain: [NIOSSLCertificateSource], key: NIOSSLPrivateKeySource, ends: Millis)

    private let authority: LocalCA
    private let broker: EmbeddedBroker
    private let clock: @Sendable () -> Millis
    private let logger: Logger
    private let present: Mutex<Pair>
    /// How often the end of the certificate is looked at.
    private static let lookSeconds = 21_600

    /// - Throws: ``LocalCA/Failed`` where the files are no certificate with its key.
    init(authority: LocalCA, broker: EmbeddedBroker, clock: @escaping @Sendable () -> Millis, logger: Logger) throws {
        self.authority = authority
        self.broker = broker
        self.clock = clock
        self.logger = logger
        present = Mutex(try ServerCertificate.read(authority))
    }

    /// Whether the files are a certificate with its key.
    static func check(_ authority: LocalCA) throws { _ = try read(authority) }

    private static func read(_ authority: LocalCA) throws -> Pair {
        do {
            let certificates = try NIOSSLCertificate.fromPEMFile(authority.certificateFile)
            let chain = certificates.map { NIOSSLCertificateSource.certificate($0) }
            let key = NIOSSLPrivateKeySource.privateKey(try NIOSSLPrivateKey(file: authority.keyFile, format: .pem))
            // Whether the key is the certificate's.
            _ = try NIOSSLContext(configuration: .makeServerConfiguration(certificateChain: chain, privateKey: key))
            return (chain, key, Millis(certificates.first?.notValidAfter ?? 0) * 1000)
        } catch {
            throw LocalCA.Failed(
                description: "\(authority.certificateFile) and \(authority.keyFile) are no certificate with its key: \(error)")
        }
    }

    /// The moment at which the certificate that is shown ends, ms.
    var ends: Millis { present.withLock { $0.ends } }

    /// The configuration of a front; each handshake takes the certificate that is in force then.
    func configuration() -> TLSConfiguration {
        let (chain, key, _) = present.withLock { $0 }
        var tls = TLSConfiguration.makeServerConfiguration(certificateChain: chain, privateKey: key)
        tls.minimumTLSVersion = .tlsv12
        // A client that has a certificate of our authority may show it; the credential decides whether it must.
        tls.certificateVerification = .optionalVerification
        tls.trustRoots = .file(authority.caFile)
        tls.sslContextCallback = { [self] _, promise in
            let (chain, key, _) = present.withLock { $0 }
            var override = NIOSSLContextConfigurationOverride()
            override.certificateChain = chain
            override.privateKey = key
            promise.succeed(override)
        }
        return tls
    }

    /// Reads the files anew, for the fronts and the broker. Files that are no certificate with its key change nothing.
    private func reload() {
        do {
            let fresh = try ServerCertificate.read(authority)
            present.withLock { $0 = fresh }
            broker.reload()
            logger.notice("the certificate was read anew", metadata: ["file": "\(authority.certificateFile)"])
        } catch { logger.error("the certificate stays as it was", metadata: ["why": "\(error)"]) }
    }

    func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            await withTaskGroup(of: Void.self) { group in
                group.addTask { [self] in
                    for await _ in await UnixSignalsSequence(trapping: .sighup) {
                        try? await Blocking.value { [self] in
                            renew()
                            reload()
                        }
                    }
                }
                group.addTask { [self] in
                    while !Task.isCancelled {
                        try? await Task.sleep(for: .seconds(ServerCertificate.lookSeconds))
                        guard !Task.isCancelled else { return }
                        try? await Blocking.value { [self] in if renew() { reload() } }
                    }
                }
            }
        }
    }

    /// Makes the local certificate anew when it is due.
    @discardableResult private func renew() -> Bool {
        do { return try authority.prepare(now: clock()) } catch {
            logger.error("the certificate could not be made anew", metadata: ["why": "\(error)"])
            return false
        }
    }
}
