import BerthCore
import BerthWire

// An operator that is limited to some lots can neither see nor change another lot, an area, a group or the city (interface.md, section 3: 205).
extension Pipeline {
    /// The reach of a service, for an operator that is limited to lots. A service that is not named here touches the city.
    private enum Reach {
        /// Nothing that belongs to a lot, or only what the answer itself is limited to.
        case none
        /// The lot that `parkCode` in the data names.
        case lot
        /// As `lot`; `scope` must not be wider than that lot.
        case list
        /// The scope of a policy.
        case policy
        /// An account of a lot.
        case account
    }

    private static let reaches: [String: Reach] = [
        "sys.time.get": .none, "lot.search": .none, "order.detail": .none, "payment.result.query": .none, "pay.query": .none,
        "credit.appeal.list": .none, "credit.appeal.answer": .none, "sync.dead.list": .none, "fee.query": .none,
        "url.redirect.build": .lot, "lot.detail": .lot, "slot.query": .lot, "order.list": .lot, "waitlist.list": .lot,
        "share.product.list": .lot, "stat.daily.query": .lot, "policy.query": .lot, "flow.policy.set": .lot, "flow.policy.preview": .lot,
        "flow.policy.list": .lot, "saturation.query": .lot, "share.review": .none, "share.review.list": .none, "gate.case.list": .none,
        "share.list": .none, "share.offer.list": .none, "lot.board.query": .none, "lot.compliance.query": .none, "sys.call.list": .none,
        "credential.list": .none, "credential.rotate": .none,
        "gate.case.decide": .lot, "ledger.recon.query": .lot, "event.list": .lot, "list.black.push": .list, "list.white.push": .list,
        "policy.set": .policy, "policy.preview": .policy, "ledger.statement.query": .account,
    ]

    /// Which lots a caller may see; nil for all.
    static func lots(of credential: Credential) -> Set<String>? {
        credential.role == .operator && !credential.parkCodes.isEmpty ? credential.parkCodes : nil
    }

    /// A lot that the caller names has to be one that the caller may see.
    static func checkLot(_ parkCode: String?, _ request: VerifiedRequest) throws(WireError) {
        guard let parkCode, let own = lots(of: request.credential), !own.contains(parkCode) else { return }
        throw WireError("lotNotAuthorised", "parkCode: not one of the caller's lots")
    }

    /// The lots that a caller may see and, with `parkCodes`, wants to see; nil for all.
    static func shownLots(_ request: VerifiedRequest) -> Set<String>? {
        let own = lots(of: request.credential)
        guard let wanted = (request.envelope.data["parkCodes"]?.arrayValue).map({ Set($0.compactMap(\.stringValue)) }) else { return own }
        return own.map { wanted.intersection($0) } ?? wanted
    }

    func checkScope(_ request: VerifiedRequest) throws(WireError) {
        let credential = request.credential
        guard credential.role == .operator, let own = Pipeline.lots(of: credential) else { return }
        let envelope = request.envelope
        let data = envelope.data
        func refuse(_ why: String) -> WireError { WireError("lotNotAuthorised", why) }
        func text(_ name: String) -> String { data[name]?.stringValue ?? "" }
        func checkLot() throws(WireError) {
            guard !text("parkCode").isEmpty else { throw refuse("parkCode: the caller is limited to lots and has to name one") }
            guard own.contains(text("parkCode")) else { throw refuse("parkCode: not one of the caller's lots") }
            guard text("areaId").isEmpty else { throw refuse("areaId: the caller is limited to lots") }
        }
        // The envelope's lot has been checked; the lots and scopes in the data beside it are checked here.
        let isAboutLot = Dialect.current.services[envelope.service]?.isAboutLot(.operator) == true
        switch Pipeline.reaches[envelope.service] {
        case .some(.none): return
        case .lot: try checkLot()
        case .list:
            guard ["", "lot"].contains(text("scope")) else { throw refuse("scope: the caller is limited to lots") }
        case .policy:
            switch PolicyScope(text("scope")) {
            case .lot(let parkCode), .lotProduct(let parkCode, _):
                guard own.contains(parkCode) else { throw refuse("scope: not one of the caller's lots") }
            default: throw refuse("scope: the caller is limited to lots")
            }
        case .account:
            guard ["lot", "till"].contains(text("account")) else { throw refuse("account: the caller is limited to lots") }
            try checkLot()
        case nil:
            guard isAboutLot else { throw refuse("the caller is limited to lots, and this concerns the city") }
        }
    }

    /// An object that an operator limited to lots names by its own number has to be in one of these lots.
    func checkObject(_ envelope: Envelope, _ own: Set<String>) throws(WireError) {
        if envelope.service == "share.review" {
            let number = (envelope.data["offerId"] ?? envelope.data["authNo"])?.stringValue ?? ""
            let parkCode = sequencer.readUndurable { city in city.offer(number)?.parkCode ?? city.subscription(number)?.parkCode }
            if let parkCode, !own.contains(parkCode) { throw WireError("lotNotAuthorised", "not of one of the caller's lots") }
        }
        guard envelope.service == "credit.appeal.answer", let appealId = envelope.data["appealId"]?.stringValue else { return }
        let parkCode = sequencer.readUndurable { city in city.appeals[appealId].flatMap { city.penalties[$0.penaltyId]?.parkCode } }
        if let parkCode, !own.contains(parkCode) { throw WireError("lotNotAuthorised", "appealId: not of one of the caller's lots") }
    }
}
