import BerthCore
import BerthWire

/// Where money is moved. The sandbox moves none, and lets the whole flow run without a bank.
enum PaymentChannel {
    /// `sandbox` pays, `sandbox-fail` refuses.
    static func isKnown(_ channel: String) -> Bool { channel == "sandbox" || channel == "sandbox-fail" }

    /// Concludes what is pending, also what a server that was killed left behind: asking a channel twice never pays twice.
    static func tick(_ sequencer: Sequencer, now: Millis) {
        for payment in sequencer.peek({ $0.pendingPayments }) {
            let message = JSON.compact([
                ("billNo", .optional(payment.billNo)), ("channel", .string(payment.channel)),
                ("paid", .int(payment.amountFen)), ("payNo", .string(payment.payNo)), ("payTime", .int(now)),
                ("payable", .int(payment.amountFen)), ("recordNo", .string(payment.recordNo)),
            ])
            sequencer.perform(
                .conclude(payNo: payment.payNo, isPaid: payment.channel == "sandbox", message: message.string), now: now)
        }
    }
}
