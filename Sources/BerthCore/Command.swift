/// A request to the rules. The caller gives the time; the rules read no clock.
public enum Command: Sendable {
    case register(parkCode: String)
    /// Sets values of one scope; those that are not named stay.
    case setPolicy(PolicyScope, [String: String])
    /// `info`: the whole report; the profile is the part of it that the rules need.
    case openLot(LotProfile, info: KeptRecord? = nil)
    /// `kept`: the gates as they were reported.
    case reportGates(parkCode: String, upsert: [Gate], delete: [String], kept: [KeptRecord] = [])
    case reportRemaining(parkCode: String, Remaining)
    case create(Booking)
    case modify(appId: String, orderNo: String, planTime: Millis?, plate: Plate?, plateColor: Int?)
    case cancel(appId: String, orderNo: String, confirmBreach: Bool)
    case enter(parkCode: String, Passage)
    case exit(parkCode: String, Passage)
    case state(parkCode: String, orderNo: String, orderVer: Int64, LotStatement, at: Millis, recordNo: String?)
    /// An event of a lot's own log: its time is evidence.
    case notice(LotEvent)
    /// An event that the server itself found: evidence of nothing. `parkCode` "" where it belongs to no lot.
    case raise(LotEvent)
    /// A lot's down log begins anew in an epoch that it has never had, with everything in force (section 5.6). The reason is that the lot
    /// knows more of the old one than this city does, or that the store was restored.
    case renewDown(parkCode: String, epoch: String)
    /// As `correct`, of a record whose first report was refused in part: the car may still be inside.
    case mend(parkCode: String, recordNo: String, Correction)
    /// A record that was refused shows that a car was there: its reservation gets no penalty.
    case dispute(parkCode: String, plate: Plate?, orderNo: String?, time: Millis, recordNo: String)
    /// Records that are reported and kept by name. `knownBy`: the kind under which each key must be known.
    /// `tariff`, `entries`: the content of a kept report in the form that the rules use; entries of a list by plate.
    case file(
        parkCode: String, [KeptRecord], replaces: String?, knownBy: String?, notice: LotEvent?, tariff: LotTariff? = nil,
        entries: [String: ListEntry] = [:])
    /// A message of an operator for a lot's down log, and the record that it sets there.
    case post(parkCode: String, service: String, body: String, sets: KeptRecord?)
    case correct(parkCode: String, recordNo: String, Correction)
    case bind(appId: String, userToken: String, plate: Plate, body: String)
    case delay(appId: String, orderNo: String)
    case leaveWaitlist(appId: String, orderNo: String)
    case appeal(appId: String, penaltyId: String, text: String, images: [String])
    case answerAppeal(appealId: String, isGranted: Bool, answer: String)
    case setCalendarDay(CalendarDay)
    // Sharing.
    case publishOffer(SharedOffer)
    case reviewOffer(parkCode: String, offerId: String, isPassed: Bool, remark: String)
    case updateOffer(appId: String, offerId: String, segments: [RecurringWindow]?, price: SharePrice?, isConfirmed: Bool = false)
    case closeOffer(appId: String, offerId: String, isConfirmed: Bool, isPreview: Bool = false)
    /// A lot's report of its own offers (U16).
    case reportOffers(parkCode: String, [SharedOffer], gone: [String])
    case subscribeShare(SharedSubscription, months: Int)
    case endShare(appId: String, authNo: String)
    case renewShare(appId: String, authNo: String, validTo: Millis)
    case reviewShare(parkCode: String, authNo: String, isPassed: Bool, remark: String)
    case withdrawIncome(appId: String, providerToken: String, fen: Int64, reference: String)
    // Public service.
    case setPlace(PublicPlace)
    case makeAppointment(Appointment)
    case moveAppointment(appId: String, extNo: String, to: Millis)
    case cancelAppointment(appId: String, extNo: String)
    // Flow control.
    case setArea(FlowArea)
    case setFlow(FlowPolicy)
    /// The same for one lot, as a message of its down log (D18 by an operator); and an operator's authorisation (D05, D06).
    case pushFlow(FlowPolicy)
    case pushShare(SharedSubscription)
    case revokeShare(parkCode: String, authNo: String, authVer: Int64, reason: String)
    case setOccupancy([OccupancyProfile])
    /// A list entry for every lot of a group, or of the city.
    case list(ListScope, service: String, body: String, kind: String, plate: Plate, ListEntry?, kept: String, isExempt: Bool)
    // At the gate.
    case check(parkCode: String, GateQuestion)
    case decideCase(parkCode: String, caseNo: String, orderNo: String?, by: String)
    /// A18: remaining spaces of these lots, each told at most once in so many seconds; replaces what the provider had.
    case subscribe(appId: String, parkCodes: [String], minSeconds: Int)
    /// The stage of a lot's onboarding, and the purposes for which it may be booked.
    case setStage(parkCode: String, LotStage, opened: Set<Purpose>)
    /// A key that is good once: a redirect's nonce.
    case useOnce(key: String)
    /// The result of a notification to a provider (A17).
    case settleNotification(ProviderNotification, isDelivered: Bool)
    case reviveNotification(appId: String, key: String)
    /// Accounts of people.
    case people(PeopleCommand)
    /// Changes nothing; the caller knows the answer.
    case nothing
    case takeIn(Payment)
    case bill(Bill)
    /// `parkCode`: of the lot, where the caller names one; "" otherwise.
    case pay(appId: String, parkCode: String, billNo: String, payNo: String, amountFen: Int64, channel: String, requestHash: String)
    /// The channel's result of a payment; `message` is the body that its lot gets (D11).
    case conclude(appId: String, payNo: String, isPaid: Bool, message: String)
    /// `message` is the body that the lot gets (D12).
    case refund(appId: String, payNo: String, refundNo: String, amountFen: Int64, message: String)
    /// The lot's answers to entries of its down log. `assumesRest`: entries up to `ackSeq` without a result were accepted.
    case settle(parkCode: String, epoch: String, ackSeq: Int64, [DownResult], assumesRest: Bool)
    /// Everything of a lot that has fallen due.
    case expire(parkCode: String)
}

/// For which lots a list entry holds (D07 `scope`).
public enum ListScope: Sendable, Equatable {
    case lot(String)
    /// Every lot of the group of this one.
    case group(of: String)
    case city
}
