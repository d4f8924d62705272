/// The money that is owed and paid: the balances of the ledger, the bills in force and recent payments. Older payments are in the store.
struct Money: Sendable {
    /// The balance of each account, fen; an account without a balance is not kept.
    private(set) var balances: [Account: Int64] = [:]
    /// By giver and number (``Bill/key``).
    private(set) var bills: TextTable<Bill> = [:]
    /// By giver and number (``Payment/key``).
    private(set) var payments: TextTable<Payment> = [:]

    func balance(_ account: Account) -> Int64 { balances[account, default: 0] }

    /// Moves the amounts of a posting, whose legs sum to zero.
    mutating func add(_ posting: Posting) { for leg in posting.legs { add(leg.fen, to: leg.account) } }

    /// Moves an amount of one account, fen. The caller moves the rest.
    mutating func add(_ fen: Int64, to account: Account) { set(balance(account) + fen, of: account) }

    mutating func set(_ fen: Int64, of account: Account) { balances[account] = fen == 0 ? nil : fen }

    mutating func keep(_ bill: Bill) { bills[bill.key] = bill }
    mutating func keep(_ payment: Payment) { payments[payment.key] = payment }

    /// Puts back what is durable under a key; nil removes what was decided in vain.
    mutating func putBack(bill: Bill?, _ key: String) { bills[key] = bill }
    mutating func putBack(payment: Payment?, _ key: String) { payments[key] = payment }

    mutating func forgetBills(expiredBefore time: Millis) { bills = bills.filter { $0.value.expireAt >= time } }

    /// Drops final payments from before a time from memory.
    /// - Parameter isNeeded: whether a payment stays all the same.
    mutating func forgetPayments(madeBefore time: Millis, except isNeeded: (Payment) -> Bool) {
        payments = payments.filter { $0.value.state == .pending || ($0.value.payTime ?? 0) >= time || isNeeded($0.value) }
    }
}
