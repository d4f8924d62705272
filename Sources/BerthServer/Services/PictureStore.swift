import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation
import Logging
import Synchronization

/// Pictures (U18): a ticket, an upload that may be cut off anywhere and go on, a check of size and digest, an address to look at for a
/// short time, and an end. The bytes are stored in files; the right to use one is in the address itself, signed.
final class PictureStore: Sendable {
    /// Why an upload or a look is not served; the HTTP status of tus 1.0 where it has one.
    enum Refused: Error {
        case noSuchPicture, badAddress, expired, offsetConflict(Int64), tooLong, checksumMismatch, busy, diskFull
    }

    private let directory: String
    private let store: any Store
    private let addresses: AddressSigner
    private let settings: ServerSettings
    private let clock: @Sendable () -> Millis
    private let busy = Mutex<Set<String>>([])

    init(
        directory: String, store: any Store, addresses: AddressSigner, settings: ServerSettings,
        clock: @escaping @Sendable () -> Millis
    ) throws {
        self.directory = directory
        self.store = store
        self.addresses = addresses
        self.settings = settings
        self.clock = clock
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    }

    var sizeMax: Int64 { settings.pictureBytesMax }
    var base: String { settings.publicURL }

    // MARK: Tickets

    /// The same request makes the same ticket, however often it comes.
    func ticket(_ request: VerifiedRequest, parkCode: String, now: Millis) throws(WireError) -> Reply {
        let fields = FieldReader(request.envelope.data)
        // As people write it: .JPG is jpg.
        let written = try fields.string("ext", max: 5).lowercased()
        let ext = written.hasPrefix(".") ? String(written.dropFirst()) : written
        guard ["jpg", "jpeg", "png"].contains(ext) else { throw WireError("illegalValue", "ext: jpg, jpeg or png") }
        let size = try fields.int("size", in: 1...WireLimits.intMax)
        guard size <= settings.pictureBytesMax else {
            throw WireError("imageTooLarge", "at most \(settings.pictureBytesMax) bytes", data: ["maxSize": .int(settings.pictureBytesMax)])
        }
        let envelope = request.envelope
        let imageId = addresses.digest("ticket|\(envelope.appId)|\(envelope.requestId)")
        let picture = Picture(
            imageId: imageId, appId: envelope.appId, parkCode: parkCode, type: Int(try fields.int("type", in: 1...9)), ext: ext,
            size: size, sha256: try fields.string("sha256", max: 64).lowercased(), createdAt: now, expireAt: now + Limits.ticketMillis)
        do throws(StoreError) { if try store.picture(imageId) == nil { try store.save(picture) } } catch {
            throw WireError("dependencyUnavailable", error.reason)
        }
        return Reply(data: [
            "imageId": .string(imageId),
            "uploadUrl": .string(settings.publicURL + addresses.path("/upload/\(imageId)", until: picture.expireAt)),
            "expireAt": .int(picture.expireAt), "chunkSize": .int(Limits.chunkBytes),
        ])
    }

    private func picture(_ request: VerifiedRequest) throws(WireError) -> Picture {
        let imageId = try FieldReader(request.envelope.data).string("imageId", max: 64)
        let credential = request.credential
        let found: Picture?
        do throws(StoreError) { found = try store.picture(imageId) } catch { throw WireError("dependencyUnavailable", error.reason) }
        guard let picture = found,
            isForOperator(picture, request) || picture.appId == credential.appId || credential.parkCodes.contains(picture.parkCode)
        else { throw WireError("notFound", "imageId") }
        return picture
    }

    /// An operator names the lot whose picture it is: a number that another lot gave shows nothing. A provider's proof is of no lot.
    private func isForOperator(_ picture: Picture, _ request: VerifiedRequest) -> Bool {
        request.credential.role == .operator && request.credential.mayActFor(picture.parkCode)
            && (picture.parkCode.isEmpty || picture.parkCode == request.envelope.parkCode)
    }

    /// How far an upload is; when it is whole, where it can be seen.
    func progress(_ request: VerifiedRequest, now: Millis) throws(WireError) -> Reply {
        let picture = try picture(request)
        var data = JSONObject([
            ("imageId", .string(picture.imageId)), ("offset", .int(picture.completedAt == nil ? offset(picture) : picture.size)),
            ("size", .int(picture.size)), ("complete", .bool(picture.completedAt != nil)),
        ])
        if picture.completedAt != nil {
            let until = now + Limits.downloadMillis
            data.append("downloadUrl", .string(settings.publicURL + addresses.path("/picture/\(picture.imageId)", until: until)))
            data.append("expireAt", .int(until))
        }
        return Reply(data: .object(data))
    }

    /// The lot says that it has sent all: true when size and digest are what the ticket said.
    func complete(_ request: VerifiedRequest, now: Millis) throws(WireError) -> (answer: Reply, picture: Picture) {
        var picture = try picture(request)
        let answer = Reply(data: ["imageId": .string(picture.imageId), "sha256": .string(picture.sha256)])
        if picture.completedAt != nil { return (answer, picture) }
        guard now <= picture.expireAt else { throw WireError("imageTicketExpired") }
        guard let bytes = FileManager.default.contents(atPath: partFile(picture.imageId)), Int64(bytes.count) == picture.size else {
            throw WireError("wrongState", "\(offset(picture)) of \(picture.size) bytes are here", data: ["offset": .int(offset(picture))])
        }
        guard Signature.hash(canonical: [UInt8](bytes)) == picture.sha256 else {
            // A wrong file is thrown away: the upload begins anew.
            try? FileManager.default.removeItem(atPath: partFile(picture.imageId))
            throw WireError("imageHashMismatch")
        }
        guard rename(partFile(picture.imageId), file(picture)) == 0 else { throw WireError("dependencyUnavailable") }
        picture.completedAt = now
        do throws(StoreError) { try store.save(picture) } catch { throw WireError("dependencyUnavailable", error.reason) }
        return (answer, picture)
    }

    // MARK: Files

    private func partFile(_ imageId: String) -> String { "\(directory)/\(imageId).part" }
    private func file(_ picture: Picture) -> String { "\(directory)/\(picture.imageId).\(picture.ext)" }

    private func offset(_ picture: Picture) -> Int64 {
        let attributes = try? FileManager.default.attributesOfItem(atPath: partFile(picture.imageId))
        return (attributes?[.size] as? NSNumber)?.int64Value ?? 0
    }

    /// Width and height of a complete picture.
    func dimensions(_ picture: Picture) -> (width: Int, height: Int)? {
        FileManager.default.contents(atPath: file(picture)).flatMap { ImageHead.dimensions([UInt8]($0)) }
    }

    // MARK: Access by address

    /// The ticket of an upload address.
    func upload(_ path: String, _ query: [(String, String)]) throws(Refused) -> (picture: Picture, offset: Int64) {
        let picture = try admit(path, query, prefix: "/upload/")
        if picture.completedAt != nil { return (picture, picture.size) }
        guard clock() <= picture.expireAt else { throw .expired }
        return (picture, offset(picture))
    }

    /// A complete picture's bytes and type.
    func download(_ path: String, _ query: [(String, String)]) throws(Refused) -> (Data, String) {
        let picture = try admit(path, query, prefix: "/picture/")
        guard picture.completedAt != nil, let data = FileManager.default.contents(atPath: file(picture)) else { throw .noSuchPicture }
        return (data, picture.ext == "png" ? "image/png" : "image/jpeg")
    }

    private func admit(_ path: String, _ query: [(String, String)], prefix: String) throws(Refused) -> Picture {
        switch addresses.check(path, query, now: clock()) {
        case .wrong: throw .badAddress
        case .over: throw .expired
        case .good: break
        }
        let picture: Picture?
        do throws(StoreError) { picture = try store.picture(String(path.dropFirst(prefix.utf8.count))) } catch { throw .diskFull }
        guard let picture else { throw .noSuchPicture }
        return picture
    }

    /// Only one request writes a picture at a time.
    func lock(_ imageId: String) -> Bool { busy.withLock { $0.insert(imageId).inserted } }
    func unlock(_ imageId: String) { busy.withLock { _ = $0.remove(imageId) } }

    /// Appends to what is there, and to the disk before it is answered.
    func append(_ bytes: [UInt8], to picture: Picture, at expected: Int64) throws(Refused) -> Int64 {
        let at = offset(picture)
        guard at == expected else { throw .offsetConflict(at) }
        guard at + Int64(bytes.count) <= picture.size else { throw .tooLong }
        let descriptor = Glibc.open(partFile(picture.imageId), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .diskFull }
        defer { close(descriptor) }
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { throw .diskFull }
            written += count
        }
        guard fdatasync(descriptor) == 0 else { throw .diskFull }
        return at + Int64(bytes.count)
    }

    /// Begins anew, for a PUT of the whole.
    func reset(_ picture: Picture) { try? FileManager.default.removeItem(atPath: partFile(picture.imageId)) }

    /// Deletes what is older than it is kept, and tickets that were never used up.
    func retire(now: Millis) {
        let gone =
            (try? store.removePictures(
                madeBefore: now - settings.retention.picturesMillis, ticketsBefore: now - Limits.deadTicketMillis)) ?? []
        for imageId in gone {
            for ext in ["part", "jpg", "jpeg", "png"] { try? FileManager.default.removeItem(atPath: "\(directory)/\(imageId).\(ext)") }
        }
    }
}

/// Addresses that are good for a while without a credential: signed with a key of the server, as `e` (until when, ms) and `s`.
struct AddressSigner: Sendable {
    enum Verdict { case good, over, wrong }

    private let vault: FieldCipher

    init(vault: FieldCipher) { self.vault = vault }

    func digest(_ text: String) -> String { vault.digest("address|" + text) }

    func path(_ path: String, until: Millis) -> String { "\(path)?e=\(until)&s=\(digest("\(path)|\(until)"))" }

    func check(_ path: String, _ query: [(String, String)], now: Millis) -> Verdict {
        guard let until = query.first(where: { $0.0 == "e" }).flatMap({ Int64($0.1) }),
            let shown = query.first(where: { $0.0 == "s" })?.1, Signature.equal(shown, digest("\(path)|\(until)"))
        else { return .wrong }
        return now <= until ? .good : .over
    }
}

/// Size of a JPEG or PNG from its first bytes.
enum ImageHead {
    static func dimensions(_ bytes: [UInt8]) -> (width: Int, height: Int)? {
        func number(_ at: Int, _ count: Int) -> Int { bytes[at..<at + count].reduce(0) { $0 << 8 | Int($1) } }
        if bytes.count >= 24, Array(bytes[0..<4]) == [0x89, 0x50, 0x4E, 0x47] { return (number(16, 4), number(20, 4)) }
        guard bytes.count >= 4, bytes[0] == 0xFF, bytes[1] == 0xD8 else { return nil }
        var at = 2
        while at + 9 < bytes.count, bytes[at] == 0xFF {
            let marker = bytes[at + 1]
            // A start of frame holds the size; DHT, JPG and DAC have numbers in the same range.
            if (0xC0...0xCF).contains(marker), marker != 0xC4, marker != 0xC8, marker != 0xCC {
                return (number(at + 7, 2), number(at + 5, 2))
            }
            at += 2 + number(at + 2, 2)
        }
        return nil
    }
}
