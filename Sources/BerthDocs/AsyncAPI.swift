public import BerthWire

/// The services over MQTT as AsyncAPI 3.0, as the server sees them: it receives on `up`, sends on `down`.
public enum AsyncAPI {
    public static func document(_ profile: Dialect = .current) -> JSON {
        var channels = JSONObject()
        var operations = JSONObject()
        var messages = JSONObject()
        let lot: JSON = ["parkCode": ["description": "车场编码 / the lot"]]
        func channel(_ id: String, _ address: String, _ message: String, _ text: String) {
            channels.append(
                id,
                [
                    "address": .string(address), "description": .string(text), "parameters": lot,
                    "messages": .object(JSONObject([(message, ["$ref": .string("#/components/messages/\(message)")])])),
                ])
        }
        channel("upReply", "rsp/v1/{parkCode}/up/reply", "reply", "车场对下行消息的答复 / the lot's replies to downlink messages")
        channel("downReply", "rsp/v1/{parkCode}/down/reply", "reply", "平台对上行消息的答复 / the server's replies to uplink messages")
        channel("status", "rsp/v1/{parkCode}/up/status", "presence", "在线状态与遗嘱，QoS 1 保留 / presence and will, QoS 1 retained")
        channels.append(
            "cloudStatus",
            [
                "address": "rsp/v1/_cloud/{appId}/status", "description": "停车管理平台的在线状态 / presence of a vendor cloud",
                "parameters": ["appId": ["description": "平台的 appId / the cloud's appId"]],
                "messages": ["presence": ["$ref": "#/components/messages/presence"]],
            ])
        messages.append("reply", ["name": "reply", "contentType": "application/json", "payload": ["$ref": "#/components/schemas/Reply"]])
        messages.append(
            "presence",
            [
                "name": "presence", "contentType": "application/json",
                "payload": [
                    "type": "object", "properties": ["online": ["type": "boolean"], "since": Schemas.time], "required": ["online"],
                ],
            ])
        for status in ["status", "cloudStatus"] {
            operations.append("receive.\(status)", ["action": "receive", "channel": ["$ref": .string("#/channels/\(status)")]])
        }
        for service in profile.catalogue where service.direction == "up" || service.direction == "down" {
            let isUp = service.direction == "up"
            guard service.roles.contains(where: \.speaksForLots) else { continue }
            let id = service.name.split(separator: ".").joined(separator: "_")
            channel(id, "rsp/v1/{parkCode}/\(service.direction)/\(service.name)", id, "\(service.id) \(service.zh) / \(service.en)")
            messages.append(
                id,
                [
                    "name": .string(service.name), "title": .string("\(service.zh) / \(service.en)"),
                    "contentType": "application/json",
                    "payload": Schemas.envelope(service, isLog: service.kind == .log),
                    "bindings": ["mqtt": ["bindingVersion": "0.2.0"]],
                ])
            var operation = JSONObject([
                ("action", isUp ? "receive" : "send"), ("channel", ["$ref": .string("#/channels/\(id)")]),
                ("summary", .string("\(service.id) \(service.zh) / \(service.en)")),
                ("bindings", ["mqtt": ["qos": .int(qos(service)), "retain": false, "bindingVersion": "0.2.0"]]),
            ])
            if service.name != "sys.heartbeat" {
                operation.append("reply", ["channel": ["$ref": .string("#/channels/\(isUp ? "downReply" : "upReply")")]])
            }
            operations.append((isUp ? "receive." : "send.") + id, .object(operation))
        }
        return [
            "asyncapi": "3.0.0",
            "info": [
                "title": "泊位 Berth", "version": .string(OpenAPI.version),
                "description": "MQTT 3.1.1 over TLS；信封、签名与代码表与 HTTPS 相同 / the envelope, the signature and the codes are those of HTTPS",
                "license": ["name": "Apache-2.0"],
            ],
            "defaultContentType": "application/json",
            "channels": .object(channels), "operations": .object(operations),
            "components": ["messages": .object(messages), "schemas": ["Reply": Schemas.replyEnvelope]],
        ]
    }

    /// Section 4: heartbeats and live questions are lost rather than late.
    static func qos(_ service: ServiceDefinition) -> Int {
        service.name == "sys.heartbeat" || service.name == "sys.time.get" || service.kind == .live ? 0 : 1
    }
}
