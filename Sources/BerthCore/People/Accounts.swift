/// Accounts of people, and the ways to them: login, session, one-time code.
struct Accounts: Sendable {
    /// By number.
    private(set) var people: TextTable<Person> = [:]
    private var personOfLogin: TextTable<String> = [:]
    private var personOfSession: TextTable<String> = [:]
    private(set) var codes: TextTable<SignInCode> = [:]

    func person(withLogin login: String) -> Person? { personOfLogin[login].flatMap { people[$0] } }
    func person(withSession hash: String) -> Person? { personOfSession[hash].flatMap { people[$0] } }

    mutating func keep(_ code: SignInCode) { codes[code.login] = code }
    mutating func remove(_ code: SignInCode) { codes[code.login] = nil }

    /// Puts a person and the ways to them, in place of what they were.
    mutating func keep(_ person: Person) {
        if let old = people[person.personId] { unindex(old) }
        people[person.personId] = person
        if person.state != .deleted { personOfLogin[person.login] = person.personId }
        for session in person.sessions { personOfSession[session.hash] = person.personId }
    }

    /// Removes a person who was decided in vain.
    mutating func remove(_ person: Person) {
        guard let known = people.removeValue(forKey: person.personId) else { return }
        unindex(known)
    }

    private mutating func unindex(_ person: Person) {
        if let holder = personOfLogin[person.login], holder == person.personId { personOfLogin.removeValue(forKey: person.login) }
        for session in person.sessions { personOfSession.removeValue(forKey: session.hash) }
    }

    /// Drops codes that nobody can use, and accounts that were deleted.
    mutating func forget(endedBefore time: Millis) {
        codes = codes.filter { ($0.value.sentAt.last ?? 0) > time - CivilTime.dayLength }
        for person in people.values where person.state == .deleted && person.changedAt < time { remove(person) }
    }
}
