import BerthCore
import BerthWire
import Foundation

/// The status of all lots, for a person at the lot.
enum StatusPage {
    /// The page for a browser without token or cookie.
    static let locked = """
        <!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>泊位 前置机 Berth gateway</title>
        <p>请以 <code>/?token=…</code> 打开（令牌在配置文件的 token）。 Open this page once as <code>/?token=…</code>; the token is the member
        <code>token</code> of the configuration file.</p></html>
        """

    static func html(_ status: JSON) -> String {
        let rows = (status.arrayValue ?? []).map(row).joined()
        // The refresh leaves the token behind.
        return """
            <!doctype html><html lang="zh-CN"><meta charset="utf-8"><meta http-equiv="refresh" content="2; url=/">
            <meta name="viewport" content="width=device-width, initial-scale=1"><title>泊位 前置机 Berth gateway</title>
            <style>body{font:15px system-ui,"Noto Sans CJK SC",sans-serif;margin:1rem}table{border-collapse:collapse}
            td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left}div{overflow-x:auto}.bad{background:#fdd;font-weight:bold}</style>
            <h1>车场前置机 <small>Berth gateway</small></h1><div><table><tr><th>链路 link<th>车场 lot<th>通道 carrier
            <th>待上报 backlog<th>死信 dead letters<th>坏行 bad rows<th>下行 down<th>预约 orders<th>在场 inside<th>核对 recon
            <th>时钟偏差 clock ms<th>最近错误 last error</tr>\(rows)</table></div></html>
            """
    }

    private static func row(_ lot: JSON) -> String {
        let link = lot["online"]?.boolValue == true ? "🟢 在线 online" : "🔴 离线 offline"
        let recon = lot["recon"].map { recon -> String in
            "\(recon["insideHere"]?.intValue ?? 0) / \(recon["insideThere"]?.intValue ?? 0)\(recon["ordersMatch"]?.boolValue == true ? "" : " ≠")"
        }
        let error = (lot["lostDisk"]?.boolValue == true ? "磁盘曾丢失 lost its disk. " : "") + (lot["lastError"]?.stringValue ?? "")
        return "<tr><td>" + link + "</td>" + cell(lot["parkCode"]) + cell(lot["carrier"]) + cell(lot["up"]?["backlog"])
            + counter(lot["up"]?["deadLetters"]) + counter(lot["badRows"]) + cell(lot["down"]?["ackSeq"]) + cell(lot["orders"])
            + cell(lot["inside"]) + cell(recon.map { .string($0) }) + cell(lot["clockOffsetMs"])
            + cell(error.isEmpty ? nil : .string(error)) + "</tr>"
    }

    private static func cell(_ value: JSON?, of kind: String = "") -> String {
        "<td\(kind)>" + HTML.escape(value?.stringValue ?? value?.string ?? "–") + "</td>"
    }

    /// A count that should be 0.
    private static func counter(_ value: JSON?) -> String { cell(value, of: (value?.intValue ?? 0) > 0 ? " class=bad" : "") }
}
