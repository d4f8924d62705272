/// The past that the rules may ask for beyond memory: ended reservations, visits and payments. It is only read, without waiting.
public protocol History {
    func reservation(_ orderNo: String) -> Reservation?
    func reservation(appId: String, clientOrderNo: String) -> Reservation?
    func visit(parkCode: String, recordNo: String) -> Visit?
    /// - Parameter key: ``Payment/key``.
    func payment(key: String) -> Payment?
}

/// A history that remembers nothing.
public struct NoHistory: History {
    public init() {}
    public func reservation(_ orderNo: String) -> Reservation? { nil }
    public func reservation(appId: String, clientOrderNo: String) -> Reservation? { nil }
    public func visit(parkCode: String, recordNo: String) -> Visit? { nil }
    public func payment(key: String) -> Payment? { nil }
}
