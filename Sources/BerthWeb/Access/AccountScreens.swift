import BerthCore
import BerthLink
import BerthWire
import Foundation

// Signing in and out, and the account itself.
extension Site {
    static var accountRoutes: [Route] {
        [
            .get("/signin", .anyone) { try await $0.signIn($1) },
            .post("/signin", .anyone) { try await $0.sendCode($1) },
            .post("/signin/code", .anyone) { try await $0.checkCode($1) },
            .get("/staff", .anyone) { try await $0.staffSignIn($1) },
            .post("/staff", .anyone) { try await $0.checkPassword($1) },
            .post("/signout", .signedIn) { try await $0.signOut($1) },
            .get("/account", .signedIn) { try await $0.account($1) },
            .post("/account/sessions/end", .signedIn) { try await $0.endSession($1) },
            .post("/account/name", .signedIn) { try await $0.saveName($1) },
            .post("/account/totp", .signedIn) { try await $0.enrolTOTP($1) },
            .post("/account/password", .signedIn) { try await $0.changePassword($1) },
            .get("/account/delete", .signedIn) { try await $0.deletion($1) },
            .post("/account/delete", .signedIn) { try await $0.deleteAccount($1) },
        ]
    }

    /// The address to go to after signing in: a path of this site and nothing else.
    private static func next(_ web: WebRequest, _ fallback: String) -> String {
        let next = web.text("next", max: 1_000)
        // Bytes, since a browser sees no characters: printable ASCII alone, one slash and then no other.
        let bytes = Array(next.utf8)
        guard bytes.first == 0x2F, bytes.count < 2 || (bytes[1] != 0x2F && bytes[1] != 0x5C),
            bytes.allSatisfy({ (0x21...0x7E).contains($0) })
        else { return fallback }
        return next
    }

    // MARK: Drivers and owners: a telephone number and a one-time code

    private func signIn(_ web: WebRequest, error: String? = nil, status: Int = 200) async throws -> WebResult {
        .page(
            Page(
                "account/signin",
                [
                    ("next", .string(Site.next(web, "/"))), ("mobile", .string(web.text("mobile", max: 20))), ("error", .optional(error)),
                    ("isOff", .bool(!canSendCodes)),
                ], status: status))
    }

    private var canSendCodes: Bool { if case .none = settings.codeSender { false } else { true } }

    /// A Chinese mobile number, or one with its country's code; nil for anything else.
    static func mobile(_ text: String) -> String? {
        var digits = text.filter { !" -()".contains($0) }
        if digits.hasPrefix("+86") { digits.removeFirst(3) }
        let bare = digits.hasPrefix("+") ? digits.dropFirst() : digits[...]
        guard bare.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        if digits.hasPrefix("+") { return (8...15).contains(bare.utf8.count) ? digits : nil }
        return bare.utf8.count == 11 && bare.hasPrefix("1") ? digits : nil
    }

    private func sendCode(_ web: WebRequest) async throws -> WebResult {
        guard let mobile = Site.mobile(web.text("mobile", max: 20)) else {
            return try await signIn(web, error: words.say(web.language, "signin.badMobile"), status: 422)
        }
        guard canSendCodes else { return try await signIn(web, status: 503) }
        // Many people share an address; each number has its own limit in the city.
        guard limiter.admit("code \(web.source)", burst: 100, minutes: 10, now: web.now) else { throw WebError.tooMany }
        let code = String(format: "%06d", SystemRandom.bytes(4).reduce(0) { $0 << 8 | Int($1) } % 1_000_000)
        do {
            try await city.call(
                "person.code.issue", [("login", .string(mobile)), ("codeHash", .string(keyed.hex("code", mobile, code)))], as: .accounts)
        } catch {
            guard error.code == 301 else { throw error }
            throw WebError(status: 429, word: "error.codes")
        }
        guard await settings.codeSender.send(code, to: mobile) else {
            return try await signIn(web, error: words.say(web.language, "signin.notSent"), status: 503)
        }
        return codePage(web, mobile, shown: isOnScreen ? code : nil)
    }

    private var isOnScreen: Bool { if case .screen = settings.codeSender { true } else { false } }

    private func codePage(_ web: WebRequest, _ mobile: String, shown: String? = nil, error: String? = nil, status: Int = 200) -> WebResult {
        .page(
            Page(
                "account/code",
                [
                    ("next", .string(Site.next(web, "/"))), ("nextEscaped", .string(WebRequest.escape(Site.next(web, "/")))),
                    ("mobile", .string(mobile)), ("masked", .string(Encode.mask(mobile: mobile))),
                    ("shown", .optional(shown)), ("error", .optional(error)),
                ], status: status))
    }

    private func checkCode(_ web: WebRequest) async throws -> WebResult {
        guard let mobile = Site.mobile(web.text("mobile", max: 20)) else { throw WebError.badRequest }
        guard limiter.admit("try \(web.source)", burst: 300, minutes: 10, now: web.now) else { throw WebError.tooMany }
        let code = web.text("code", max: 10).filter(\.isNumber)
        let found: JSON
        do {
            found = try await city.call(
                "person.code.check",
                [
                    ("login", .string(mobile)), ("codeHash", .string(keyed.hex("code", mobile, code))),
                    ("userToken", .string(SystemRandom.token(24))), ("language", .string(web.language.rawValue)),
                ], as: .accounts)
        } catch {
            guard error.code == 206 else { throw error }
            let tries = error.data["max"]?.intValue.flatMap { most in error.data["used"]?.intValue.map { most - $0 } }
            let text = tries.map { words.say(web.language, "signin.wrongCode", ["left": String(max(0, $0))]) }
            return codePage(web, mobile, error: text ?? words.say(web.language, "signin.deadCode"), status: 422)
        }
        guard let person = SignedIn(found) else { throw WebError(status: 500, word: "error.internal") }
        return try await open(person, web, next: Site.next(web, "/"), idleMinutes: 43_200, days: 180)
    }

    /// Opens a session and sends the browser on.
    private func open(_ person: SignedIn, _ web: WebRequest, next: String, idleMinutes: Int64, days: Int64) async throws -> WebResult {
        let cookie = Signature.hex(SystemRandom.bytes(32))
        try await city.call(
            "session.open",
            [
                ("personId", .string(person.personId)), ("sessionHash", .string(Signature.hash(canonical: Array(cookie.utf8)))),
                ("idleMin", .int(idleMinutes)), ("endsAt", .int(web.now + days * CivilTime.dayLength)),
                ("device", .string(Site.device(web.userAgent))),
            ], as: .accounts)
        var cookies = [Cookie(name: Site.sessionCookie(isPlain: web.isPlain), value: cookie, maxAge: days * 86_400)]
        if let language = Language(rawValue: person.language), web.cookies["berth_lang"] == nil {
            cookies.append(Cookie(name: "berth_lang", value: language.rawValue, maxAge: 31_536_000))
        }
        return .redirect(next, cookies: cookies)
    }

    /// A browser in two words, from what it says of itself.
    private static func device(_ userAgent: String) -> String {
        let browser = ["Edg": "Edge", "MicroMessenger": "WeChat", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"]
        let system = ["Android", "iPhone", "iPad", "Windows", "Mac OS X", "Linux"]
        let first = ["MicroMessenger", "Edg", "Firefox", "Chrome", "Safari"].first { userAgent.contains($0) }.flatMap { browser[$0] }
        let second = system.first { userAgent.contains($0) }
        return [first ?? "?", second].compactMap(\.self).joined(separator: " · ")
    }

    // MARK: Staff: a name, a password, a time-based password

    private func staffSignIn(_ web: WebRequest, error: String? = nil, status: Int = 200) async throws -> WebResult {
        .page(
            Page(
                "account/staff",
                [
                    ("next", .string(Site.next(web, ""))), ("login", .string(web.text("login", max: 64))), ("error", .optional(error)),
                ], status: status))
    }

    private func checkPassword(_ web: WebRequest) async throws -> WebResult {
        let login = web.text("login", max: 64)
        guard limiter.admit("staff \(web.source)", burst: 60, minutes: 10, now: web.now),
            limiter.admit("staff login \(login)", burst: 8, minutes: 10, now: web.now)
        else { throw WebError.tooMany }
        let found = try? await city.call("person.find", [("login", .string(login))], as: .accounts)
        let verifier = found?["passwordHash"]?.stringValue ?? ""
        let isRight = await Password.matches(web.form["password"] ?? "", verifier)
        // One answer for a wrong name, a wrong password and an account that is closed.
        guard isRight, let found, found["state"]?.stringValue == "active", let person = SignedIn(found), person.isStaff else {
            return try await staffSignIn(web, error: words.say(web.language, "signin.wrongPassword"), status: 422)
        }
        if let secret = found["totpSecret"]?.stringValue {
            guard let step = TOTP.step(of: web.text("totp", max: 10).filter(\.isNumber), secret: secret, now: web.now) else {
                return try await staffSignIn(web, error: words.say(web.language, "signin.wrongTotp"), status: 422)
            }
            do {
                try await city.call("person.save", [("personId", .string(person.personId)), ("totpStep", .int(step))], as: .accounts)
            } catch {
                guard error.code == 203 else { throw error }
                return try await staffSignIn(web, error: words.say(web.language, "signin.usedTotp"), status: 422)
            }
        }
        let home = Site.home(of: person)
        // Without a second factor the account page asks for it first.
        let next = person.hasTotp || settings.isTest ? Site.next(web, home) : "/account"
        return try await open(person, web, next: next.isEmpty ? home : next, idleMinutes: 120, days: 1)
    }

    static func home(of person: SignedIn) -> String {
        person.may("city") ? "/city" : person.may("operator") ? "/operator" : person.may("developer") ? "/developer" : "/"
    }

    // MARK: The account

    private func signOut(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        try await city.call(
            "session.end", [("personId", .string(person.personId)), ("sessionId", .string(person.sessionId))], as: .accounts)
        return .redirect(
            person.isStaff ? "/staff" : "/", cookies: [Cookie(name: Site.sessionCookie(isPlain: web.isPlain), value: "", maxAge: 0)])
    }

    private func account(_ web: WebRequest, error: String? = nil, secret: String? = nil, status: Int = 200) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let format = web.format
        let sessions = (person.sessions.arrayValue ?? []).reversed().map { session -> JSON in
            .compact([
                ("id", session["sessionId"] ?? .null), ("device", session["device"] ?? .null),
                ("seen", .string(format.time(session["seenTime"]?.intValue ?? 0))),
                ("opened", .string(format.time(session["openTime"]?.intValue ?? 0))),
                ("isThis", .bool(session["sessionId"]?.stringValue == person.sessionId)),
            ])
        }
        let fresh = secret ?? (person.isStaff && !person.hasTotp ? TOTP.newSecret() : nil)
        return .page(
            Page(
                "account/account",
                [
                    ("login", .string(person.isStaff ? person.login : Encode.mask(mobile: person.login))), ("name", .string(person.name)),
                    ("isStaff", .bool(person.isStaff)), ("sessions", .array(sessions)), ("hasTotp", .bool(person.hasTotp)),
                    ("totpSecret", .optional(fresh)), ("error", .optional(error)),
                    ("needsTotp", .bool(person.isStaff && !person.hasTotp && !settings.isTest)),
                    (
                        "totpQR",
                        .optional(fresh.flatMap { QRCode.svg(TOTP.address(secret: $0, login: person.login), label: "TOTP") })
                    ),
                ], status: status))
    }

    private func endSession(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let id = web.text("id", max: 16)
        try await city.call(
            "session.end",
            [("personId", .string(person.personId)), ("sessionId", id.isEmpty ? .null : .string(id))], as: .accounts)
        return .redirect("/account")
    }

    private func saveName(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let name = web.text("name", max: 40).replacingOccurrences(of: "\n", with: " ")
        try await city.call(
            "person.save",
            [
                ("personId", .string(person.personId)), ("name", name.isEmpty ? .null : .string(name)),
                ("clear", name.isEmpty ? .array(["name"]) : .null), ("language", .string(web.language.rawValue)),
            ], as: .accounts)
        return .redirect("/account")
    }

    private func enrolTOTP(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person, person.isStaff, !person.hasTotp else { throw WebError.forbidden }
        let secret = web.text("secret", max: 64)
        guard TOTP.decode(secret) != nil,
            let step = TOTP.step(of: web.text("totp", max: 10).filter(\.isNumber), secret: secret, now: web.now)
        else {
            return try await account(
                web, error: words.say(web.language, "signin.wrongTotp"), secret: TOTP.decode(secret) == nil ? nil : secret, status: 422)
        }
        try await city.call(
            "person.save", [("personId", .string(person.personId)), ("totpSecret", .string(secret)), ("totpStep", .int(step))],
            as: .accounts)
        return .redirect(Site.home(of: person))
    }

    private func changePassword(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person, person.isStaff else { throw WebError.forbidden }
        guard limiter.admit("staff login \(person.login)", burst: 8, minutes: 10, now: web.now) else { throw WebError.tooMany }
        let found = try await city.call("person.find", [("personId", .string(person.personId))], as: .accounts)
        guard await Password.matches(web.form["old"] ?? "", found["passwordHash"]?.stringValue ?? "") else {
            return try await account(web, error: words.say(web.language, "account.wrongOld"), status: 422)
        }
        let new = web.form["new"] ?? ""
        guard (12...200).contains(new.unicodeScalars.count) else {
            return try await account(web, error: words.say(web.language, "account.shortPassword"), status: 422)
        }
        try await city.call(
            "person.save", [("personId", .string(person.personId)), ("passwordHash", .string(try await Password.verifier(new)))],
            as: .accounts)
        // All other sessions end: somebody may have known the old password.
        for session in person.sessions.arrayValue ?? [] where session["sessionId"]?.stringValue != person.sessionId {
            try await city.call(
                "session.end", [("personId", .string(person.personId)), ("sessionId", session["sessionId"] ?? .null)], as: .accounts)
        }
        return .redirect("/account")
    }

    // MARK: Deleting

    /// The things that stand against the deletion of an account: none of them may be lost with it.
    private func obstacles(_ web: WebRequest, _ person: SignedIn) async throws -> [String] {
        var found: [String] = []
        var open = 0
        for status in [ReservationStatus.held, .booked, .inLot].map({ Int64($0.rawValue) }) {
            let orders = try await city.call(
                "order.list", [("userToken", .string(person.userToken)), ("status", .int(status)), ("limit", 100)], as: .provider)
            open += orders["orders"]?.arrayValue?.count ?? 0
        }
        let waiting = try await city.call("waitlist.list", [("userToken", .string(person.userToken))], as: .provider)
        open += waiting["orders"]?.arrayValue?.count ?? 0
        if open > 0 { found.append(words.say(web.language, "account.openOrders", ["count": String(open)])) }
        let shares = try await city.call("share.list", [("userToken", .string(person.userToken))], as: .provider)
        let running = (shares["subscriptions"]?.arrayValue ?? []).count { (0...3).contains($0["shareStatus"]?.intValue ?? -1) }
        if running > 0 { found.append(words.say(web.language, "account.openShares", ["count": String(running)])) }
        let income = try await city.call("share.income.query", [("providerToken", .string(person.userToken))], as: .provider)
        if let balance = income["balance"]?.intValue, balance > 0 {
            found.append(words.say(web.language, "account.openBalance", ["amount": web.format.money(balance)]))
        }
        let offers = (income["offers"]?.arrayValue ?? []).count { [1, 2, 4].contains($0["offerStatus"]?.intValue ?? 0) }
        if offers > 0 { found.append(words.say(web.language, "account.openOffers", ["count": String(offers)])) }
        return found
    }

    private func deletion(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person, !person.isStaff else { throw WebError.forbidden }
        let obstacles = try await obstacles(web, person)
        return .page(
            Page("account/delete", [("obstacles", .array(obstacles.map { .string($0) })), ("isFree", .bool(obstacles.isEmpty))]))
    }

    private func deleteAccount(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person, !person.isStaff else { throw WebError.forbidden }
        guard try await obstacles(web, person).isEmpty else { return .redirect("/account/delete") }
        let vehicles = try await city.call("vehicle.list", [("userToken", .string(person.userToken))], as: .provider)
        for vehicle in vehicles["vehicles"]?.arrayValue ?? [] {
            try await city.call(
                "vehicle.unbind",
                [
                    ("plateNo", vehicle["plateNo"] ?? .null), ("userToken", .string(person.userToken)),
                ], as: .provider)
        }
        try await city.call("person.save", [("personId", .string(person.personId)), ("state", "deleted")], as: .accounts)
        return .redirect("/", cookies: [Cookie(name: Site.sessionCookie(isPlain: web.isPlain), value: "", maxAge: 0)])
    }
}
