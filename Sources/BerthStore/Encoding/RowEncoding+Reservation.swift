import BerthCore
import BerthWire
import Foundation
import GRDB

// Reservations as rows.
extension RowEncoding {
    /// Written without a tree: this is what a rush of bookings writes.
    func text(_ reservation: Reservation) -> JSONWriter {
        var row = JSONWriter()
        write(reservation, to: &row)
        return row
    }

    func write(_ o: Reservation, to row: inout JSONWriter) {
        row.beginObject()
        row.add("n", o.serial)
        row.add("no", o.orderNo)
        row.add("v", o.orderVer)
        row.add("c", o.clientOrderNo)
        row.add("h", o.requestHash)
        row.add("app", o.appId)
        row.add("u", o.userToken)
        row.add("lot", o.parkCode)
        row.add("biz", Int64(o.purpose.rawValue))
        if vault != nil {
            row.add("e", seal(o.mobile.isEmpty ? o.plate.revealed : "\(o.plate.revealed)\n\(o.mobile)"))
        } else {
            row.add("p", o.plate.revealed)
            row.add("m", o.mobile.isEmpty ? nil : o.mobile)
        }
        row.add("pc", Int64(o.plateColor))
        row.add("x", o.extNo)
        row.add("t", o.planTime)
        row.add("es", o.enterStart)
        row.add("ee", o.enterEnd)
        row.add("ld", o.leaveDeadline)
        row.add("stay", Int64(o.stayMin))
        row.add("lim", Int64(o.entryLimit))
        row.add("st", Int64(o.status.rawValue))
        // "Sent" is a hint of the running server, not a fact to keep.
        row.add("d", Int64(o.deliver == .sent ? 0 : o.deliver.rawValue))
        row.add("ds", o.downSeq)
        row.add("hd", o.holdDeadline)
        row.add("ca", o.createdAt)
        row.add("at", o.changedAt)
        row.add("pch", o.plateChanges == 0 ? nil : Int64(o.plateChanges))
        row.add("eu", o.entriesUsed == 0 ? nil : Int64(o.entriesUsed))
        row.add("r", o.recordNo)
        row.add("et", o.enterTime)
        row.add("lt", o.leaveTime)
        row.add("os", isSet: o.overstay)
        row.add("pen", isSet: o.isPenalised)
        row.add("comp", isSet: o.isCompensated)
        row.add("del", isSet: o.isDelayed)
        row.add("pool", o.pool == o.purpose.pool ? nil : o.pool.rawValue)
        writeTerms(o.terms, to: &row)
        row.add("ps", o.otherPlates.isEmpty ? nil : seal(o.otherPlates.map(\.revealed).joined(separator: " ")))
        row.add("sp", o.spaceNo)
        row.add("of", o.offerId)
        row.add("rf", o.rehomedFrom)
        row.add("rt", o.rehomedTo)
        row.add("df", o.discountFen == 0 ? nil : o.discountFen)
        row.add("db", o.discountBy)
        row.add("bn", o.billNo)
        row.add("pn", o.prepayNo)
        row.add("wa", isSet: o.isWarned)
        row.add("la", isSet: o.isLate)
        row.add("qk", o.quotaKeys.isEmpty ? nil : o.quotaKeys.joined(separator: "\n"))
        row.add("dis", isSet: o.isDisputed)
        row.add("pv", o.pushedVer == 1 ? nil : o.pushedVer)
        row.add("sps", o.stayPayState == 0 ? nil : Int64(o.stayPayState))
        row.add("pa", o.promotedAt)
        row.add("ea", o.endedAt)
        row.add("er", o.endReason)
        row.endObject()
    }

    private func writeTerms(_ terms: Terms, to row: inout JSONWriter) {
        row.add("tv", terms.version)
        row.add("fc", terms.freeCancelUntil)
        let usual = Terms()
        func unusual(_ value: Int, _ usual: Int) -> Int64? { value == usual ? nil : Int64(value) }
        row.add("dm", unusual(terms.delayMin, usual.delayMin))
        row.add("pcm", unusual(terms.plateChangesMax, usual.plateChangesMax))
        row.add("gm", unusual(terms.graceMin, usual.graceMin))
        row.add("wm", unusual(terms.warnMin, usual.warnMin))
        row.add("op", unusual(terms.overtimePercent, usual.overtimePercent))
        row.add("fm", unusual(terms.freeMin, usual.freeMin))
        row.add("pp", terms.prepayFen == 0 ? nil : terms.prepayFen)
        row.add("gc", terms.gateCodes.isEmpty ? nil : terms.gateCodes.joined(separator: " "))
        row.add("pr", terms.price.map { "\($0.mode.rawValue) \($0.fen)" })
    }

    func reservation(_ j: JSON) throws -> Reservation {
        let r = CodedRow(j)
        var (plate, mobile) = (r.optionalText("p") ?? "", r.optionalText("m") ?? "")
        if let sealed = r.optionalText("e") {
            let parts = try open(sealed).split(separator: "\n", maxSplits: 1).map(String.init)
            plate = parts.first ?? ""
            mobile = parts.count > 1 ? parts[1] : ""
        }
        var o = Reservation(
            serial: try r.int("n"), orderNo: try r.text("no"), clientOrderNo: try r.text("c"),
            requestHash: try r.text("h"), appId: try r.text("app"), userToken: try r.text("u"),
            parkCode: try r.text("lot"), purpose: try r.raw("biz"), plate: try RowEncoding.plate(plate),
            plateColor: Int(try r.int("pc")), mobile: mobile, extNo: r.optionalText("x"),
            planTime: try r.int("t"), enterStart: try r.int("es"), enterEnd: try r.int("ee"),
            leaveDeadline: r.optionalInt("ld"), stayMin: Int(try r.int("stay")), entryLimit: Int(try r.int("lim")),
            status: try r.raw("st"), createdAt: try r.int("ca"))
        o.orderVer = try r.int("v")
        o.deliver = try r.raw("d")
        o.downSeq = try r.int("ds")
        o.holdDeadline = r.optionalInt("hd")
        o.changedAt = try r.int("at")
        o.plateChanges = Int(r.optionalInt("pch") ?? 0)
        o.entriesUsed = Int(r.optionalInt("eu") ?? 0)
        o.recordNo = r.optionalText("r")
        o.enterTime = r.optionalInt("et")
        o.leaveTime = r.optionalInt("lt")
        o.overstay = r.flag("os")
        o.isPenalised = r.flag("pen")
        o.isCompensated = r.flag("comp")
        o.isDelayed = r.flag("del")
        if let pool = r.optionalText("pool").flatMap(Pool.init(rawValue:)) { o.pool = pool }
        o.terms.version = r.optionalInt("tv") ?? 0
        o.terms.freeCancelUntil = r.optionalInt("fc") ?? o.enterStart
        func value(_ name: String, _ path: WritableKeyPath<Terms, Int>) {
            if let value = r.optionalInt(name) { o.terms[keyPath: path] = Int(value) }
        }
        value("dm", \.delayMin)
        value("pcm", \.plateChangesMax)
        value("gm", \.graceMin)
        value("wm", \.warnMin)
        value("op", \.overtimePercent)
        value("fm", \.freeMin)
        o.terms.prepayFen = r.optionalInt("pp") ?? 0
        o.terms.gateCodes = r.optionalText("gc").map { $0.split(separator: " ").map(String.init) } ?? []
        if let words = r.optionalText("pr")?.split(separator: " "), words.count == 2,
            let mode = Int(words[0]).flatMap(SharePrice.Mode.init(rawValue:)),
            let fen = Int64(words[1])
        {
            o.terms.price = SharePrice(mode: mode, fen: fen)
        }
        if let sealed = r.optionalText("ps") {
            o.otherPlates = try open(sealed).split(separator: " ").map { try RowEncoding.plate(String($0)) }
        }
        o.spaceNo = r.optionalText("sp")
        o.offerId = r.optionalText("of")
        o.rehomedFrom = r.optionalText("rf")
        o.rehomedTo = r.optionalText("rt")
        o.discountFen = r.optionalInt("df") ?? 0
        o.discountBy = r.optionalText("db")
        o.billNo = r.optionalText("bn")
        o.prepayNo = r.optionalText("pn")
        (o.isWarned, o.isLate) = (r.flag("wa"), r.flag("la"))
        o.quotaKeys = r.optionalText("qk").map { $0.split(separator: "\n").map(String.init) } ?? []
        o.isDisputed = r.flag("dis")
        // An older release told the lot of every version.
        o.pushedVer = r.optionalInt("pv") ?? 1
        o.stayPayState = Int(r.optionalInt("sps") ?? 0)
        (o.promotedAt, o.endedAt, o.endReason) = (r.optionalInt("pa"), r.optionalInt("ea"), r.optionalText("er"))
        return o
    }
}
