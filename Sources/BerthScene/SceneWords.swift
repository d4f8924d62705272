import BerthCore
import BerthWire

/// The words of scenes, Chinese and English, and what they stand for in the interface. Services and fields have their names from the catalogue
/// too, so a scene can use either.
enum SceneWords {
    /// Short verbs for services.
    static let services: [String: String] = [
        "预约": "order.create", "book": "order.create", "取消": "order.cancel", "cancel": "order.cancel", "改约": "order.modify",
        "change": "order.modify", "延时": "order.delay", "delay": "order.delay", "候补": "waitlist.join", "wait for": "waitlist.join",
        "挂号": "biz.appointment.push", "appointment": "biz.appointment.push", "改期": "biz.appointment.change",
        "move appointment": "biz.appointment.change", "退号": "biz.appointment.cancel", "cancel appointment": "biz.appointment.cancel",
        "发布车位": "share.offer.publish", "publish": "share.offer.publish", "审核": "share.review", "review": "share.review",
        "订阅车位": "share.apply", "subscribe": "share.apply", "收回车位": "share.offer.close", "take back": "share.offer.close",
        "申诉": "credit.appeal", "appeal": "credit.appeal", "答复申诉": "credit.appeal.answer", "answer appeal": "credit.appeal.answer",
        "管控": "flow.policy.set", "control": "flow.policy.set", "划区": "flow.area.set", "area": "flow.area.set", "设规则": "policy.set",
        "set policy": "policy.set", "支付": "pay.create", "pay": "pay.create", "提现": "share.withdraw.apply",
        "withdraw": "share.withdraw.apply",
        "报费率": "lot.tariff.report", "tariff": "lot.tariff.report", "报余位": "space.remain.report", "count": "space.remain.report",
    ]

    /// The actions that are not messages of the interface.
    enum Deed { case arrive, enter, leave, lineDown, lineUp, pass, fee, check }
    static let deeds: [String: Deed] = [
        "到达": .arrive, "arrive": .arrive, "入场": .enter, "enter": .enter, "离场": .leave, "leave": .leave, "断线": .lineDown,
        "line down": .lineDown, "恢复": .lineUp, "line up": .lineUp, "等待": .pass, "wait": .pass, "缴费": .fee, "pay fee": .fee,
        "查看": .check, "look": .check,
    ]

    /// Short names of fields; `time` is the service's own time.
    static let fields: [String: String] = [
        "车场": "parkCode", "lot": "parkCode", "车牌": "plateNo", "plate": "plateNo", "车牌组": "plateNos", "plates": "plateNos", "业务": "bizType",
        "business": "bizType", "单": "orderNo", "order": "orderNo", "号": "extNo", "number": "extNo", "场所": "placeCode", "place": "placeCode",
        "类别": "bizCode", "车位": "spaceNo", "space": "spaceNo", "时段": "segments", "times": "segments", "价格": "price", "price": "price",
        "停放": "stayMin", "stay": "stayMin", "确认": "confirm", "确认违约": "confirmBreach", "breach": "confirmBreach", "通过": "pass",
        "共享": "offerId", "offer": "offerId", "授权": "authNo", "subscription": "authNo", "违约": "penaltyId", "penalty": "penaltyId",
        "申诉": "appealId", "appeal": "appealId", "成立": "grant", "答复": "answer", "说明": "text", "账单": "billNo", "bill": "billNo",
        "金额": "amount", "策略": "policyId", "policy": "policyId", "方式": "mode", "开始": "validFrom", "from": "validFrom", "结束": "validTo",
        "to": "validTo", "起": "periodFrom", "止": "periodTo", "状态": "status", "返回": "code", "可入场": "enterStart",
        "entry from": "enterStart", "入场截止": "enterEnd", "entry until": "enterEnd", "离场截止": "leaveDeadline", "leave by": "leaveDeadline",
        "名次": "waitPosition", "position": "waitPosition", "已获资格": "granted", "通道": "gateCode", "gate": "gateCode", "原因": "reasonCode",
        "reason": "reasonCode", "放行": "decision", "用户": "userToken", "user": "userToken", "车位主": "providerToken", "owner": "providerToken",
        "范围": "scope", "取值": "values", "values": "values", "区域": "areaId", "撤销": "revokeOrders", "改派至": "rehomedTo",
        "补贴": "discount", "总数": "total", "占用": "occupied", "剩余": "remain", "费用": "fee", "共享状态": "shareStatus", "发布状态": "offerStatus",
        "类型": "kind", "依据": "evidence", "候选": "candidates", "启用": "enabled", "置信度": "confidence", "配额池": "poolType",
    ]

    static let businesses = ["预约": 1, "reservation": 1, "共享": 2, "sharing": 2, "公共业务": 3, "public service": 3]
    static let modes = ["关闭管控": 0, "off": 0, "仅预约": 1, "booking only": 1, "限流": 2, "throttle": 2, "封闭": 3, "closed": 3]
    static let flags = ["是": true, "yes": true, "true": true, "否": false, "no": false, "false": false]
    static let verdicts = ["放行": 1, "allow": 1, "自定": 0, "local": 0, "拒绝": -1, "refuse": -1]

    /// A service by its short verb, its name in the catalogue, or its Chinese name there.
    static func service(_ word: String) -> ServiceDefinition? {
        if let name = services[word] { return Dialect.current.services[name] }
        return Dialect.current.services[word] ?? Dialect.current.catalogue.first { $0.zh == word }
    }

    /// A state of an order, an offer or a subscription by its name.
    static func state(_ word: String, machine index: Int) -> Int? {
        if let number = Int(word) { return number }
        let machines = Dialect.current.machines
        guard machines.indices.contains(index) else { return nil }
        return machines[index].states.first { $0.zh == word || $0.en == word || $0.name == word }?.code
    }
}
