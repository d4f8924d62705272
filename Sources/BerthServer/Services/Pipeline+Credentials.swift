import BerthCore
import BerthWire

// The credentials of lots, for those who run the lots: which there are, and a new secret for a box (O15).
extension Pipeline {
    /// `credential.list`: an operator that is limited to lots sees the credentials that speak for them; the city sees all but those of its
    /// own pages. Secrets are never shown, and the last call of a party only where all its lots are the caller's.
    func credentialList(
        _ request: VerifiedRequest, _ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let parkCode = try fields.optionalString("parkCode", max: 32)
        try Pipeline.checkLot(parkCode, request)
        let after = try fields.optionalString("after", max: 32) ?? ""
        let limit = Int(try fields.optionalInt("limit", in: 1...200) ?? 100)
        // The lots of the caller, and of the person for whom the pages ask.
        let shown = Pipeline.shownLots(request)
        let found = credentials.all.filter { credential in
            credential.role != .web && credential.appId > after && (parkCode.map(credential.parkCodes.contains) ?? true)
                && (shown.map { credential.role.speaksForLots && !credential.parkCodes.isDisjoint(with: $0) } ?? true)
        }
        let links = presence.snapshot
        let rows = found.prefix(limit).map { credential -> JSON in
            let isWhole = shown.map(credential.parkCodes.isSubset) ?? true
            // Every number is of the lots that are asked about.
            let lots = credential.parkCodes.filter { (shown?.contains($0) ?? true) && (parkCode == nil || $0 == parkCode) }
            let delivers = lots.filter { credentials.delivery(to: $0)?.appId == credential.appId }
            return .compact([
                ("appId", .string(credential.appId)), ("name", .string(credential.name.cut(to: 64))),
                ("role", .string(credential.role.rawValue)), ("lots", .int(lots.count)), ("others", .bool(!isWhole)),
                ("parkCodes", .array(lots.sorted().prefix(Limits.credentialLotsMax).map { .string($0) })),
                ("enabled", .bool(credential.isEnabled)), ("delivers", .int(delivers.count)),
                ("online", .int(delivers.count { links[$0]?.isOnline == true })), ("callback", .bool(credential.callback != nil)),
                ("certificate", .bool(credential.certificate != nil)), ("rotating", .bool(credential.nextSecret != nil)),
                (
                    "oldUntil",
                    credential.previousSecret != nil && credential.previousUntil > now ? .int(credential.previousUntil) : .null
                ), ("lastCallAt", .optional(isWhole ? calls.calls(of: credential.appId).first?.at : nil)),
            ])
        }
        completion(Reply(data: ["credentials": .array(Array(rows)), "hasMore": .bool(found.count > limit)]))
    }

    /// `credential.rotate`: a second secret for a lot or a management platform. It is good at once; the one before ends after its grace when
    /// the box has signed with the new one. The reply is kept nowhere, since it has the secret: the same request gets it again while the
    /// server runs.
    func rotateCredential(_ request: VerifiedRequest, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion) {
        Blocking.write { [self] in
            let made = Pipeline.attempt { () throws(WireError) -> Credential in
                try Dialect.current.services[request.envelope.service]?.request.check(request.envelope.data)
                let fields = FieldReader(request.envelope.data)
                let credential = credentials.find(try fields.string("appId", max: 32)).flatMap { $0.role == .web ? nil : $0 }
                // A caller that is limited to lots learns nothing of other parties.
                if let own = Pipeline.lots(of: request.credential) {
                    guard let credential, credential.role.speaksForLots, credential.parkCodes.isSubset(of: own) else {
                        throw WireError("lotNotAuthorised", "appId: not a party of the caller's lots alone")
                    }
                }
                guard let credential else { throw WireError("notFound", "appId") }
                guard credential.role.speaksForLots else { throw WireError("wrongState", "appId: not a lot's or a platform's") }
                guard credential.isEnabled else { throw WireError("wrongState", "appId: it has been revoked") }
                let replaces = try fields.optionalBool("replace") ?? false
                if credential.nextSecret != nil, !replaces, !keys.isWaiting(credential.appId, for: request.envelope.requestId) {
                    throw WireError("wrongState", "replace: a new secret waits to be used")
                }
                return credential
            }
            let credential: Credential
            switch made {
            case .success(let found): credential = found
            case .failure(let error): return keep(request, .failure(error), now: now, completion: completion)
            }
            sequencer.record(Audit.write(request, code: nil, now: now)) { [self] recorded in
                guard recorded.code == 0 else { return completion(recorded) }
                Blocking.write { [self] in
                    guard let (secret, isRepeated) = try? keys.rotate(credential.appId, for: request.envelope.requestId) else {
                        return completion(Reply(WireError("dependencyUnavailable", "the new secret could not be kept")))
                    }
                    var reply = Reply(data: [
                        "appId": .string(credential.appId), "appSecret": .string(secret),
                        "graceSec": .int(settings.secretGraceMillis / 1000),
                    ])
                    reply.duplicate = isRepeated
                    completion(reply)
                }
            }
        }
    }
}
