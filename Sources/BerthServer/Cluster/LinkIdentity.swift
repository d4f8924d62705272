import Crypto
import Foundation
import NIOSSL
import SwiftASN1
import X509

/// The identity of a server on the link between the servers of one city: mutual TLS under an authority whose key each server makes from the master
/// key that they share (distributed.md, section 5.1). A server with another master key can neither ask nor answer.
struct LinkIdentity: Sendable {
    private let authority: NIOSSLCertificate
    private let certificate: NIOSSLCertificate
    private let key: NIOSSLPrivateKey

    /// The certificates hold for as long as the master key does: a link is trusted by its key, and not by a date that somebody has to renew.
    private static let from = Date(timeIntervalSince1970: 1_577_836_800)
    private static let until = Date(timeIntervalSince1970: 4_070_908_800)

    init(masterKey: [UInt8]) throws {
        let authorityKey = try LinkIdentity.authorityKey(masterKey)
        let ownKey = P256.Signing.PrivateKey()
        let authorityName = try DistinguishedName { CommonName("Berth link authority") }
        authority = try LinkIdentity.made(
            Certificate(
                version: .v3, serialNumber: .init(bytes: [1]), publicKey: .init(authorityKey.publicKey), notValidBefore: LinkIdentity.from,
                notValidAfter: LinkIdentity.until, issuer: authorityName, subject: authorityName, signatureAlgorithm: .ecdsaWithSHA256,
                extensions: try Certificate.Extensions {
                    Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                    Critical(KeyUsage(keyCertSign: true))
                }, issuerPrivateKey: .init(authorityKey)))
        certificate = try LinkIdentity.made(
            Certificate(
                version: .v3, serialNumber: .init(), publicKey: .init(ownKey.publicKey), notValidBefore: LinkIdentity.from,
                notValidAfter: LinkIdentity.until, issuer: authorityName, subject: try DistinguishedName { CommonName("Berth server") },
                signatureAlgorithm: .ecdsaWithSHA256,
                extensions: try Certificate.Extensions {
                    Critical(BasicConstraints.notCertificateAuthority)
                    Critical(KeyUsage(digitalSignature: true))
                }, issuerPrivateKey: .init(authorityKey)))
        key = try NIOSSLPrivateKey(bytes: [UInt8](ownKey.derRepresentation), format: .der)
    }

    /// The same key on every server that has the master key.
    private static func authorityKey(_ masterKey: [UInt8]) throws -> P256.Signing.PrivateKey {
        var attempt: UInt8 = 0
        while true {
            let bytes = HKDF<SHA256>.deriveKey(
                inputKeyMaterial: SymmetricKey(data: masterKey), info: Data("berth link".utf8) + [attempt], outputByteCount: 32)
            // Of 2^32 derived numbers, less than one is no key of the curve.
            do { return try bytes.withUnsafeBytes { try P256.Signing.PrivateKey(rawRepresentation: $0) } } catch {
                guard attempt < 9 else { throw error }
                attempt += 1
            }
        }
    }

    private static func made(_ certificate: Certificate) throws -> NIOSSLCertificate {
        var serializer = DER.Serializer()
        try serializer.serialize(certificate)
        return try NIOSSLCertificate(bytes: serializer.serializedBytes, format: .der)
    }

    /// The side that answers: it takes connections of this city's servers alone.
    var server: TLSConfiguration {
        var tls = TLSConfiguration.makeServerConfiguration(certificateChain: [.certificate(certificate)], privateKey: .privateKey(key))
        restrict(&tls)
        return tls
    }

    /// The side that asks.
    var client: TLSConfiguration {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.certificateChain = [.certificate(certificate)]
        tls.privateKey = .privateKey(key)
        restrict(&tls)
        return tls
    }

    private func restrict(_ tls: inout TLSConfiguration) {
        tls.minimumTLSVersion = .tlsv13
        // The key says who it is; servers move between addresses.
        tls.certificateVerification = .noHostnameVerification
        tls.trustRoots = .certificates([authority])
    }
}
