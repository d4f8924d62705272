// Accounts of people: saving, one-time codes, sessions.
extension City {
    mutating func decide(_ command: PeopleCommand, at now: Millis) -> Decision {
        switch command {
        case .save(let change): return save(change, at: now)
        case .issueCode(let login, let hash): return issueCode(login, hash, at: now)
        case .useCode(let login, let hash, let userToken, let language):
            return useCode(login, hash, userToken: userToken, language: language, at: now)
        case .openSession(let personId, let session):
            guard var person = people[personId], person.state == .active else { return Decision(.refused(.notFound)) }
            person.sessions.removeAll { !$0.isOpen(at: now) || $0.hash == session.hash }
            person.sessions.append(
                Person.Session(
                    hash: session.hash, openedAt: now, idleMillis: session.idleMillis, endsAt: session.endsAt, device: session.device))
            // A browser more than the most ends the oldest session.
            if person.sessions.count > Person.sessionsMax { person.sessions.removeFirst(person.sessions.count - Person.sessionsMax) }
            return keep(person, at: now)
        case .touchSession(let hash):
            guard var person = person(withSession: hash, at: now),
                let index = person.sessions.firstIndex(where: { $0.hash == hash })
            else { return Decision(.refused(.ticketInvalid)) }
            person.sessions[index].seenAt = now
            return keep(person, at: now)
        case .endSession(let personId, let sessionId):
            guard var person = people[personId] else { return Decision(.refused(.notFound)) }
            person.sessions.removeAll { session in sessionId.map { session.hash.utf8.starts(with: $0.utf8) } ?? true }
            return keep(person, at: now)
        }
    }

    /// The person whose browser shows this session; nil when the session is over or the account is not in use.
    public func person(withSession hash: String, at now: Millis) -> Person? {
        guard let person = accounts.person(withSession: hash), person.state == .active,
            person.sessions.contains(where: { $0.hash == hash && $0.isOpen(at: now) })
        else { return nil }
        return person
    }

    public func person(withLogin login: String) -> Person? { accounts.person(withLogin: login) }

    private mutating func save(_ change: PersonChange, at now: Millis) -> Decision {
        var person: Person
        if let personId = change.personId {
            guard let known = people[personId], known.state != .deleted else { return Decision(.refused(.notFound)) }
            person = known
        } else {
            guard let login = change.login, let token = change.userToken else {
                return Decision(.illegalValue, RuleNote("login, userToken"))
            }
            person = newPerson(change.kind, login: login, userToken: token, at: now)
        }
        if let login = change.login {
            if let holder = accounts.person(withLogin: login), holder.personId != person.personId {
                return Decision(.keyReused, RuleNote("login"))
            }
            person.login = login
        }
        if let name = change.name { person.name = name }
        if let roles = change.roles { person.roles = roles }
        if let parkCodes = change.parkCodes { person.parkCodes = parkCodes }
        if let rights = change.rights { person.rights = rights }
        if let hash = change.passwordHash { person.passwordHash = hash }
        if let secret = change.totpSecret { (person.totpSecret, person.totpStep) = (secret, 0) }
        if let step = change.totpStep {
            // A code is good once: two sign-ins with the same code cannot both succeed.
            guard step > person.totpStep else { return Decision(.refused(.nonceRepeated)) }
            person.totpStep = step
        }
        if let language = change.language { person.language = language }
        if let state = change.state {
            person.state = state
            if state != .active { person.sessions = [] }
            if state == .deleted {
                // Everything that says who it was goes at once; the number stays, since reservations and money refer to it.
                (person.login, person.name, person.passwordHash, person.totpSecret) = ("", "", "", "")
                (person.roles, person.parkCodes, person.rights) = ([], [], [])
            }
        }
        person.changedAt = now
        return keep(person, at: now)
    }

    private mutating func newPerson(_ kind: Person.Kind, login: String, userToken: String, at now: Millis) -> Person {
        Person(personId: "P" + CivilTime.pad(numbers.person + 1, 10), kind: kind, login: login, userToken: userToken, createdAt: now)
    }

    private mutating func keep(_ person: Person, at now: Millis) -> Decision {
        var events: [Event] = []
        set(.person(person), &events)
        return Decision(.entity(.person(person)), events)
    }

    private mutating func issueCode(_ login: String, _ hash: String, at now: Millis) -> Decision {
        let recent = (accounts.codes[login]?.sentAt ?? []).filter { $0 > now - CivilTime.minute * 60 }
        if recent.count >= SignInCode.perHourMax {
            return Decision(
                .rateLimited,
                RuleNote("codesPerHour", used: recent.count, max: SignInCode.perHourMax, until: recent[0] + CivilTime.minute * 60))
        }
        let code = SignInCode(login: login, hash: hash, expiresAt: now + SignInCode.goodMillis, sentAt: recent + [now])
        var events: [Event] = []
        set(.signInCode(code), &events)
        return Decision(.entity(.signInCode(code)), events)
    }

    private mutating func useCode(_ login: String, _ hash: String, userToken: String, language: String, at now: Millis) -> Decision {
        guard var code = accounts.codes[login], !code.hash.isEmpty, now < code.expiresAt, code.tries < SignInCode.triesMax else {
            return Decision(.refused(.ticketInvalid))
        }
        var events: [Event] = []
        guard code.hash == hash else {
            code.tries += 1
            set(.signInCode(code), &events)
            var refused = Decision(.ticketInvalid, RuleNote("code", used: code.tries, max: SignInCode.triesMax, until: code.expiresAt))
            refused.events = events
            return refused
        }
        code.hash = ""
        set(.signInCode(code), &events)
        var person: Person
        if let known = self.person(withLogin: login) {
            guard known.state == .active, known.kind == .user else { return Decision(.refused(.ticketInvalid), events) }
            person = known
        } else {
            person = newPerson(.user, login: login, userToken: userToken, at: now)
            person.roles = ["driver"]
            person.language = language
        }
        set(.person(person), &events)
        return Decision(.entity(.person(person)), events)
    }
}
