import BerthLink
import BerthWire
import Foundation

/// The way of a one-time code to a telephone.
public enum CodeSender: Sendable {
    /// The telephone is no way to sign in.
    case none
    /// The code is on the page itself: for a demo and for tests alone.
    case screen
    /// A program that gets the number and the code as arguments and ends with 0 when it is sent.
    case command(String)
    /// An address that takes `{"mobile","code","validSeconds"}` as JSON and answers 2xx.
    case hook(CallbackClient, String)

    /// - Returns: whether the code is on its way.
    func send(_ code: String, to mobile: String) async -> Bool {
        switch self {
        case .none: false
        case .screen: true
        case .command(let program):
            await withCheckedContinuation { continuation in
                DispatchQueue.global().async {
                    guard let child = try? ChildProcess.start(program, [mobile, code]) else { return continuation.resume(returning: false) }
                    // The program is given its time; a code that comes later is of no use.
                    guard child.wait(millis: 20_000) else {
                        child.stop(graceMillis: 1_000)
                        return continuation.resume(returning: false)
                    }
                    continuation.resume(returning: child.status == 0)
                }
            }
        case .hook(let client, let url):
            switch await client.post(
                url, body: JSON.compact([("mobile", .string(mobile)), ("code", .string(code)), ("validSeconds", 300)]).text())
            {
            case .answered(let status, _): (200..<300).contains(status)
            case .unreachable, .forbidden: false
            }
        }
    }
}
