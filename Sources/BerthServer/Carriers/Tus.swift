import BerthCore
import BerthStore
import BerthWire
import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// tus 1.0 (core, creation, checksum, expiration) at the upload address of a ticket, a plain PUT of the whole, and the look at a picture.
struct Tus: Sendable {
    let pictures: PictureStore

    private static let extensions = "creation,checksum,expiration"
    private static let algorithms = "sha256,sha1"

    static func isMine(_ path: String) -> Bool { path.hasPrefix("/upload/") || path.hasPrefix("/picture/") }

    func respond(to request: Request) async throws -> Response {
        let path = request.uri.path
        let query = request.uri.queryParameters.map { (String($0.key), String($0.value)) }
        do throws(PictureStore.Refused) {
            if path.hasPrefix("/picture/") {
                guard request.method == .get || request.method == .head else { return Response(status: .methodNotAllowed) }
                let (data, type) = try await blocking { () throws(PictureStore.Refused) in try pictures.download(path, query) }
                return Response(
                    status: .ok,
                    headers: [.contentType: type, .cacheControl: "private, no-store", .xContentTypeOptions: "nosniff"],
                    body: .init(byteBuffer: ByteBuffer(bytes: data)))
            }
            switch request.method {
            case .options: return Response(status: .noContent, headers: offer)
            case .put: return try await put(request, path, query)
            case .head, .patch, .post:
                guard request.headers[.tusResumable] == "1.0.0" else {
                    return Response(status: .preconditionFailed, headers: [.tusVersion: "1.0.0", .tusResumable: "1.0.0"])
                }
                let (picture, offset) = try await blocking { () throws(PictureStore.Refused) in try pictures.upload(path, query) }
                switch request.method {
                case .head: return Response(status: .ok, headers: standing(picture, offset, isHead: true))
                case .post: return try create(request, picture, offset)
                default: return try await patch(request, picture)
                }
            default: return Response(status: .methodNotAllowed)
            }
        } catch { return refuse(error) }
    }

    /// The bytes of a picture at an address that is still good; nil for every other address.
    func picture(_ address: String) async -> [UInt8]? {
        let parts = address.split(separator: "?", maxSplits: 1)
        guard let path = parts.first.map(String.init) else { return nil }
        let query = (parts.count > 1 ? parts[1] : "").split(separator: "&").map { pair -> (String, String) in
            let names = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(names[0]).removingPercentEncoding ?? "", names.count > 1 ? String(names[1]).removingPercentEncoding ?? "" : "")
        }
        do throws(PictureStore.Refused) {
            let (data, _) = try await blocking { () throws(PictureStore.Refused) in try pictures.download(path, query) }
            return [UInt8](data)
        } catch { return nil }
    }

    /// Files and syncs: on a thread that may wait.
    private func blocking<Value: Sendable>(
        _ work: @escaping @Sendable () throws(PictureStore.Refused) -> Value
    ) async throws(PictureStore.Refused) -> Value {
        let result: Result<Value, PictureStore.Refused> = await withCheckedContinuation { continuation in
            Blocking.write {
                do throws(PictureStore.Refused) { continuation.resume(returning: .success(try work())) } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
        return try result.get()
    }

    private var offer: HTTPFields {
        [
            .tusResumable: "1.0.0", .tusVersion: "1.0.0", .tusExtension: Tus.extensions, .tusChecksumAlgorithm: Tus.algorithms,
            .tusMaxSize: String(pictures.sizeMax),
        ]
    }

    private func standing(_ picture: Picture, _ offset: Int64, isHead: Bool = false) -> HTTPFields {
        var fields: HTTPFields = [
            .tusResumable: "1.0.0", .uploadOffset: String(offset), .cacheControl: "no-store", .uploadExpires: Tus.date(picture.expireAt),
        ]
        if isHead { fields[.uploadLength] = String(picture.size) }
        return fields
    }

    /// The creation extension: the ticket is the upload, so its own address is the answer.
    private func create(_ request: Request, _ picture: Picture, _ offset: Int64) throws(PictureStore.Refused) -> Response {
        guard let length = request.headers[.uploadLength].flatMap({ Int64($0) }), length >= 0 else {
            return Response(status: .badRequest, headers: [.tusResumable: "1.0.0"])
        }
        guard length == picture.size else { throw .tooLong }
        var fields = standing(picture, offset)
        fields[.location] = pictures.base + request.uri.string
        return Response(status: .created, headers: fields)
    }

    private func patch(_ request: Request, _ picture: Picture) async throws(PictureStore.Refused) -> Response {
        guard request.headers[.contentType] == "application/offset+octet-stream" else {
            return Response(status: .unsupportedMediaType, headers: [.tusResumable: "1.0.0"])
        }
        guard let start = request.headers[.uploadOffset].flatMap({ Int64($0) }), start >= 0 else {
            return Response(status: .badRequest, headers: [.tusResumable: "1.0.0"])
        }
        guard picture.completedAt == nil else { throw .offsetConflict(picture.size) }
        guard pictures.lock(picture.imageId) else { throw .busy }
        defer { pictures.unlock(picture.imageId) }
        let offset: Int64
        if let checksum = request.headers[.uploadChecksum] {
            // A body that does not match its checksum is not kept, not even in part.
            guard let body = try? await request.body.collect(upTo: Int(picture.size) + 1) else { throw .tooLong }
            let bytes = Array(buffer: body)
            switch Tus.matches(bytes, checksum) {
            case nil: return Response(status: .badRequest, headers: [.tusResumable: "1.0.0", .tusChecksumAlgorithm: Tus.algorithms])
            case false?: throw .checksumMismatch
            case true?:
                offset = try await blocking { () throws(PictureStore.Refused) in try pictures.append(bytes, to: picture, at: start) }
            }
        } else {
            offset = try await append(request, picture, at: start)
        }
        return Response(status: .noContent, headers: standing(picture, offset))
    }

    /// Piece by piece as it arrives: a sender that is cut off finds all of it that came.
    private func append(_ request: Request, _ picture: Picture, at start: Int64) async throws(PictureStore.Refused) -> Int64 {
        var offset = try await blocking { () throws(PictureStore.Refused) in try pictures.append([], to: picture, at: start) }
        var refusal: PictureStore.Refused?
        do {
            for try await buffer in request.body {
                let (bytes, at) = (Array(buffer: buffer), offset)
                do throws(PictureStore.Refused) {
                    offset = try await blocking { () throws(PictureStore.Refused) in try pictures.append(bytes, to: picture, at: at) }
                } catch {
                    refusal = error
                    break
                }
            }
        } catch {
            // The sender is gone; the bytes that it sent stay.
        }
        if let refusal { throw refusal }
        return offset
    }

    /// The pre-signed PUT: the whole picture at once.
    private func put(_ request: Request, _ path: String, _ query: [(String, String)]) async throws(PictureStore.Refused) -> Response {
        let (picture, _) = try await blocking { () throws(PictureStore.Refused) in try pictures.upload(path, query) }
        guard picture.completedAt == nil else { throw .offsetConflict(picture.size) }
        guard pictures.lock(picture.imageId) else { throw .busy }
        defer { pictures.unlock(picture.imageId) }
        guard let body = try? await request.body.collect(upTo: Int(picture.size)) else { throw .tooLong }
        let bytes = Array(buffer: body)
        _ = try await blocking { () throws(PictureStore.Refused) in
            pictures.reset(picture)
            return try pictures.append(bytes, to: picture, at: 0)
        }
        return Response(status: .noContent, headers: standing(picture, Int64(body.readableBytes)))
    }

    /// nil when the header names no algorithm of ours.
    private static func matches(_ bytes: [UInt8], _ checksum: String) -> Bool? {
        let parts = checksum.split(separator: " ")
        guard parts.count == 2, let wanted = Data(base64Encoded: String(parts[1])) else { return nil }
        switch parts[0] {
        case "sha256": return Data(SHA256.hash(data: bytes)) == wanted
        case "sha1": return Data(Insecure.SHA1.hash(data: bytes)) == wanted
        default: return nil
        }
    }

    private func refuse(_ refusal: PictureStore.Refused) -> Response {
        func response(_ status: Int, _ why: String, _ more: HTTPFields = [:]) -> Response {
            var fields: HTTPFields = [.tusResumable: "1.0.0", .contentType: "text/plain; charset=utf-8"]
            for field in more { fields.append(field) }
            return Response(status: .init(code: status), headers: fields, body: .init(byteBuffer: ByteBuffer(string: why + "\n")))
        }
        return switch refusal {
        case .noSuchPicture: response(404, "没有该图片 no such picture")
        case .badAddress: response(403, "地址无效 not an address of ours")
        case .expired: response(410, "地址已过期 the address is over")
        case .offsetConflict(let at): response(409, "偏移不符 not where we stand", [.uploadOffset: String(at)])
        case .tooLong: response(413, "长度与凭证不符 not the length of the ticket")
        case .checksumMismatch: response(460, "校验和不符 checksum mismatch")
        case .busy: response(423, "正在上传 somebody else is writing")
        case .diskFull: response(507, "磁盘已满 no room on the disk")
        }
    }

    private static func date(_ time: Int64) -> String {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(identifier: "GMT")
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        return formatter.string(from: Date(timeIntervalSince1970: Double(time) / 1000))
    }
}

extension HTTPField.Name {
    static let tusResumable = Self("Tus-Resumable")!
    static let tusVersion = Self("Tus-Version")!
    static let tusExtension = Self("Tus-Extension")!
    static let tusMaxSize = Self("Tus-Max-Size")!
    static let tusChecksumAlgorithm = Self("Tus-Checksum-Algorithm")!
    static let uploadOffset = Self("Upload-Offset")!
    static let uploadLength = Self("Upload-Length")!
    static let uploadChecksum = Self("Upload-Checksum")!
    static let uploadExpires = Self("Upload-Expires")!
}
