import NIOCore
import NIOHTTP1
import NIOHTTPCompression

/// The compression of marked responses. The library's handler expects one request for each head that is written and traps without it; a response to bytes that
/// are no request, and an interim response, therefore pass it by.
final class PageCompressor: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private let compressor: HTTPResponseCompressor
    /// Requests that have come and have no response yet.
    private var owed = 0
    /// Whether the response that is being written passes the compressor by.
    private var passesBy = false

    init(_ compressor: HTTPResponseCompressor) { self.compressor = compressor }

    func handlerAdded(context: ChannelHandlerContext) { compressor.handlerAdded(context: context) }
    func handlerRemoved(context: ChannelHandlerContext) { compressor.handlerRemoved(context: context) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head = unwrapInboundIn(data) { owed += 1 }
        compressor.channelRead(context: context, data: data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .head(let head) = unwrapOutboundIn(data) {
            passesBy = owed == 0 || (100..<200).contains(head.status.code)
            if !passesBy { owed -= 1 }
        }
        if passesBy { context.write(data, promise: promise) } else { compressor.write(context: context, data: data, promise: promise) }
    }

    func flush(context: ChannelHandlerContext) { compressor.flush(context: context) }
}
