import BerthCore
import BerthLink
import BerthWire

extension LotBox {
    /// Records a payment that the lot took (U22) in the up log. Returns when it is on the disk.
    /// - Parameter data: the body of `payment.record.report`; `payNo` is made and `payTime` is now where they are left out.
    /// - Returns: the payNo.
    /// - Throws: ``LotBox/Refused``: 400 for a body that the server would refuse by its form, with the field.
    @discardableResult
    public func pay(_ data: JSONObject) async throws -> String {
        var data = data
        if !FieldReader(data).has("payNo") { data["payNo"] = .string(SystemRandom.uuid()) }
        if !FieldReader(data).has("payTime") { data["payTime"] = .int(now()) }
        let payment = data
        _ = try command("payment.record.report", payment)
        _ = try await recorded { [self] state, done in
            append(&state, service: "payment.record.report", data: .object(payment), at: now()) { _ in
            } completion: {
                done($0 ? true : nil)
            }
        }
        return payment["payNo"]?.stringValue ?? ""
    }
}
