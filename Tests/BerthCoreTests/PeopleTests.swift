import BerthCore
import Testing

/// Accounts of people: codes, sessions, deletion; rows on both sides of each bound.
@Suite struct PeopleTests {
    private func user(_ world: inout World, _ login: String = "13800000000") -> Person {
        _ = world.decide(.people(.issueCode(login: login, hash: "h")))
        guard
            case .entity(.person(let person)) = world.decide(
                .people(.useCode(login: login, hash: "h", userToken: "t-\(login)", language: "zh"))
            ).outcome
        else { preconditionFailure("no account") }
        return person
    }

    private func code(_ world: inout World, _ hash: String) -> Outcome {
        world.decide(.people(.useCode(login: "13800000000", hash: hash, userToken: "t", language: ""))).outcome
    }

    @Test func aCodeIsGoodOnceAndForFiveMinutes() {
        var world = World(quota: 1)
        _ = world.decide(.people(.issueCode(login: "13800000000", hash: "a")))
        world.now += SignInCode.goodMillis - 1
        guard case .entity(.person(let person)) = code(&world, "a") else { return #expect(Bool(false), "good until its last moment") }
        #expect(person.roles == ["driver"] && person.state == .active)
        #expect(code(&world, "a") == .refused(.ticketInvalid), "used")
        _ = world.decide(.people(.issueCode(login: "13800000000", hash: "b")))
        world.now += SignInCode.goodMillis
        #expect(code(&world, "b") == .refused(.ticketInvalid), "over")
        #expect(code(&world, "") == .refused(.ticketInvalid))
    }

    @Test func fiveWrongTriesEndACode() {
        for wrong in [4, 5] {
            var world = World(quota: 1)
            _ = world.decide(.people(.issueCode(login: "13800000000", hash: "a")))
            for _ in 0..<wrong { #expect(code(&world, "x") == .refused(.ticketInvalid)) }
            let isDead = code(&world, "a") == .refused(.ticketInvalid)
            #expect(isDead == (wrong == 5))
        }
    }

    @Test func fiveCodesAnHour() {
        var world = World(quota: 1)
        for _ in 0..<5 { #expect(world.decide(.people(.issueCode(login: "1", hash: "a"))).outcome.refusal == nil) }
        let sixth = world.decide(.people(.issueCode(login: "1", hash: "a")))
        #expect(sixth.outcome == .refused(.rateLimited) && sixth.note?.until == world.now + 3_600_000)
        world.now += 3_600_000 - 1
        #expect(world.decide(.people(.issueCode(login: "1", hash: "a"))).outcome == .refused(.rateLimited))
        world.now += 1
        #expect(world.decide(.people(.issueCode(login: "1", hash: "a"))).outcome.refusal == nil)
    }

    @Test func aSessionEndsByIdlenessAndInAnyCase() {
        var world = World(quota: 1)
        let person = user(&world)
        func open(_ hash: String, idle: Millis, endsAt: Millis) {
            _ = world.decide(
                .people(
                    .openSession(
                        personId: person.personId, Person.Session(hash: hash, openedAt: 0, idleMillis: idle, endsAt: endsAt, device: ""))))
        }
        open("idle", idle: 1000, endsAt: world.now + 1_000_000)
        #expect(world.city.person(withSession: "idle", at: world.now + 999)?.personId == person.personId)
        #expect(world.city.person(withSession: "idle", at: world.now + 1000) == nil)
        open("late", idle: 1_000_000, endsAt: world.now + 500)
        #expect(world.city.person(withSession: "late", at: world.now + 499) != nil)
        #expect(world.city.person(withSession: "late", at: world.now + 500) == nil)
        _ = world.decide(.people(.endSession(personId: person.personId, sessionId: "idle")))
        #expect(world.city.person(withSession: "idle", at: world.now) == nil)
        #expect(world.city.person(withSession: "late", at: world.now) != nil)
    }

    @Test func theEleventhBrowserEndsTheOldestSession() {
        var world = World(quota: 1)
        let person = user(&world)
        for number in 0..<Person.sessionsMax + 1 {
            _ = world.decide(
                .people(
                    .openSession(
                        personId: person.personId,
                        Person.Session(hash: "s\(number)", openedAt: 0, idleMillis: 1000, endsAt: world.now + 1000, device: ""))))
        }
        #expect(world.city.person(withSession: "s0", at: world.now) == nil)
        #expect(world.city.person(withSession: "s1", at: world.now) != nil && world.city.person(withSession: "s10", at: world.now) != nil)
    }

    @Test func aLoginHasOneHolderAndATimeStepIsUsedOnce() {
        var world = World(quota: 1)
        func save(_ body: (inout PersonChange) -> Void) -> Outcome {
            var change = PersonChange()
            change.kind = .staff
            body(&change)
            return world.decide(.people(.save(change))).outcome
        }
        guard case .entity(.person(let one)) = save({ ($0.login, $0.userToken) = ("anna", "t1") }) else { return #expect(Bool(false)) }
        #expect(save { ($0.login, $0.userToken) = ("anna", "t2") } == .refused(.keyReused))
        #expect(save { ($0.login, $0.userToken) = ("ånna", "t2") }.refusal == nil, "another spelling is another name")
        #expect(save { ($0.personId, $0.totpStep) = (one.personId, 7) }.refusal == nil)
        #expect(save { ($0.personId, $0.totpStep) = (one.personId, 7) } == .refused(.nonceRepeated))
        #expect(save { ($0.personId, $0.totpStep) = (one.personId, 8) }.refusal == nil)
        #expect(save { $0.login = "x" } == .refused(.illegalValue), "a new account needs a pseudonym")
    }

    @Test func aDeletedAccountNamesNobodyAndItsNumberIsFreeAgain() {
        var world = World(quota: 1)
        let person = user(&world)
        var change = PersonChange()
        change.personId = person.personId
        change.state = .deleted
        guard case .entity(.person(let gone)) = world.decide(.people(.save(change))).outcome else { return #expect(Bool(false)) }
        #expect(
            gone.login.isEmpty && gone.name.isEmpty && gone.roles.isEmpty && gone.sessions.isEmpty && gone.userToken == person.userToken)
        #expect(world.city.person(withLogin: "13800000000") == nil)
        #expect(world.decide(.people(.save(change))).outcome == .refused(.notFound))
        let next = user(&world)
        #expect(next.personId != person.personId)
        world.city.forget(endedBefore: world.now + 1)
        #expect(world.city.people[person.personId] == nil && world.city.people[next.personId] != nil)
    }

    @Test func aFollowerOfTheJournalKnowsTheSamePeople() {
        var world = World(quota: 1)
        var other = World(quota: 1).city
        var events: [Event] = []
        func take(_ command: PeopleCommand) { events += world.decide(.people(command)).events }
        take(.issueCode(login: "1", hash: "a"))
        take(.useCode(login: "1", hash: "wrong", userToken: "t", language: ""))
        take(.useCode(login: "1", hash: "a", userToken: "t", language: "en"))
        let id = world.city.person(withLogin: "1")!.personId
        take(.openSession(personId: id, Person.Session(hash: "s", openedAt: 0, idleMillis: 9, endsAt: world.now + 9, device: "x")))
        take(.touchSession(hash: "s"))
        for event in events { other.follow(event, at: world.now) { _ in .none } }
        #expect(other.summary(at: world.now) == world.city.summary(at: world.now))
        #expect(other.person(withSession: "s", at: world.now)?.personId == id)
    }
}
