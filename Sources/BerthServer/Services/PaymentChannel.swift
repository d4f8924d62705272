import BerthCore
import BerthWire

/// Where money is moved. The sandbox moves none, and lets the whole flow run without a bank.
enum PaymentChannel {
    /// `sandbox` pays and gives back, `sandbox-fail` refuses, `sandbox-norefund` pays and gives nothing back.
    static func isKnown(_ channel: String) -> Bool { ["sandbox", "sandbox-fail", "sandbox-norefund"].contains(channel) }

    static func givesBack(_ channel: String) -> Bool { channel != "sandbox-norefund" }

    /// Concludes what is pending, also what a server that was killed left behind: asking a channel twice never pays twice.
    static func tick(_ sequencer: Sequencer, now: Millis) {
        for payment in sequencer.readUndurable({ $0.pendingPayments }) {
            let message = JSON.compact([
                ("billNo", .optional(payment.billNo)), ("channel", .string(payment.channel)),
                ("paid", .int(payment.amountFen)), ("payNo", .string(payment.payNo)), ("payTime", .int(now)),
                ("payable", .int(payment.amountFen)), ("recordNo", .string(payment.recordNo)),
            ])
            sequencer.perform(
                .conclude(
                    appId: payment.appId, payNo: payment.payNo, isPaid: payment.channel != "sandbox-fail", message: message.string),
                now: now)
        }
    }
}
