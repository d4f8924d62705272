import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTPCompression
import NIOHTTPTypes
import NIOHTTPTypesHTTP1

/// One connection of a front, from the socket upwards: HTTP/1.1, one request at a time (``HTTPServerPipelineHandler``), the guard, the signed
/// interface where the front has one, and Hummingbird for everything else.
struct CityChannel: HTTPChannelHandler {
    typealias Value = NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>

    let connections: Connections
    /// The signed interface for a connection that is opened now; nil where there is none.
    let signed: @Sendable () -> SignedFront?
    /// The connections are other servers' (``Carrier``).
    let isLink: Bool
    /// Hummingbird's part: every request that the signed interface leaves.
    let responder: HTTPChannelHandler.Responder

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            var limits = NIOHTTPDecoderLimitConfiguration()
            limits.maxHeaderFieldSize = Limits.headBytesMax
            limits.maxHeaderListSize = Limits.headBytesMax
            limits.maxHeaderFieldCount = Limits.headFieldsMax
            try pipeline.configureHTTPServerPipeline(
                withPipeliningAssistance: true, withErrorHandling: false, withOutboundHeaderValidation: false,
                withEncoderConfiguration: .init(), withDecoderLimitConfiguration: limits)
            let signed = signed()
            try pipeline.addHandler(ConnectionGuard(connections: connections, noRoom: signed.map { $0.noRoom }))
            if let signed { try pipeline.addHandler(SignedHandler(front: signed, loop: channel.eventLoop, isLink: isLink)) }
            try pipeline.addHandler(CityChannel.compressor())
            try pipeline.addHandler(HTTP1ToHTTPServerCodec(secure: false))
            return try NIOAsyncChannel(wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
        }
    }

    /// A response that may be compressed carries this field; it goes no further.
    static let compressed = HTTPField.Name("X-Berth-Compress")!

    /// Compresses the responses that are marked: pages and documents, never streams, pictures or signed replies.
    private static func compressor() -> PageCompressor {
        PageCompressor(
            HTTPResponseCompressor(initialByteBufferCapacity: 1024) { head, isSupported in
                guard head.headers.contains(name: compressed.rawName) else { return .doNotCompress }
                head.headers.remove(name: compressed.rawName)
                // The length is that of the body before; the compressor gives the new one only where it has the whole body at once.
                if isSupported { head.headers.remove(name: "Content-Length") }
                head.headers.add(name: "Vary", value: "Accept-Encoding")
                return .compressIfPossible
            })
    }

    func handle(value: Value, logger: Logger) async { await handleHTTP(asyncChannel: value, logger: logger) }
}

extension HTTPServerBuilder {
    /// A front whose connections are counted and guarded.
    /// - Parameters:
    ///   - signed: the signed interface in front of Hummingbird, on the same port.
    ///   - isLink: the connections are other servers'.
    static func city(
        _ connections: Connections, signed: @escaping @Sendable () -> SignedFront? = { nil }, isLink: Bool = false
    ) -> HTTPServerBuilder {
        .init { responder in CityChannel(connections: connections, signed: signed, isLink: isLink, responder: responder) }
    }
}
