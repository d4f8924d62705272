public import BerthWire

/// The services over HTTPS as OpenAPI 3.1, from the catalogue.
public enum OpenAPI {
    public static let version = "1.0.0"

    public static func document(_ profile: Dialect = .current) -> JSON {
        var paths = JSONObject()
        for service in profile.catalogue where !service.callers.isEmpty {
            paths.append("/api/v1/" + service.name.split(separator: ".").joined(separator: "/"), ["post": operation(service, profile)])
        }
        for (path, zh, en) in [
            ("/livez", "进程是否在运行", "does the process live"), ("/healthz", "同 /livez", "the same as /livez"),
            ("/readyz", "能否处理业务：数据库、消息代理", "can it do its work: store, broker"),
        ] { paths.append(path, ["get": probe(path, zh, en)]) }
        var webhooks = JSONObject()
        for service in profile.catalogue where service.direction == "callback" || (service.direction == "down" && service.kind == .log) {
            webhooks.append(
                service.name,
                [
                    "post": [
                        "operationId": .string("push." + service.name), "summary": .string("\(service.id) \(service.zh) / \(service.en)"),
                        "requestBody": body(Schemas.envelope(service, isLog: service.kind == .log)),
                        "responses": [
                            "200": [
                                "description": "已处理 / processed",
                                "content": ["application/json": ["schema": Schemas.reply(service)]],
                            ]
                        ],
                    ]
                ])
        }
        return [
            "openapi": "3.1.0",
            "info": [
                "title": "泊位 Berth", "version": .string(version), "summary": "预约共享停车接口 / reservation and shared parking",
                "description":
                    "每个请求都是一个签名信封，HTTP 状态只说明答复的类别，准确含义在 code 中。签名、日志与断点续传见 /docs。 / Every request is one signed envelope; the HTTP status says what kind of answer it is, `code` says exactly. Signature, logs and resume: /docs.",
                "license": ["name": "Apache-2.0", "identifier": "Apache-2.0"],
            ],
            "servers": [["url": "/"]],
            "tags": .array(tags(profile).map { ["name": .string($0)] }),
            "security": [["envelope": []]],
            "paths": .object(paths),
            "webhooks": .object(webhooks),
            "components": [
                "schemas": ["Reply": Schemas.replyEnvelope],
                "responses": [
                    "Refused": [
                        "description": "拒绝，原因见 code / refused, the reason is in code",
                        "content": ["application/json": ["schema": ["$ref": "#/components/schemas/Reply"]]],
                    ]
                ],
                "securitySchemes": [
                    "envelope": [
                        "type": "apiKey", "in": "header", "name": "x-berth-signature-is-in-the-body",
                        "description": "appId, timestamp, nonce 与 sign 在信封内，没有请求头 / they stand in the envelope, there is no header",
                    ]
                ],
            ],
        ]
    }

    private static func tags(_ profile: Dialect) -> [String] {
        var tags: [String] = []
        for service in profile.catalogue where !service.callers.isEmpty {
            let tag = tag(service)
            if !tags.contains(tag) { tags.append(tag) }
        }
        return tags
    }

    private static func tag(_ service: ServiceDefinition) -> String {
        String(service.name.split(separator: ".")[0])
    }

    private static func body(_ schema: JSON) -> JSON {
        ["required": true, "content": ["application/json": ["schema": schema]]]
    }

    private static func probe(_ path: String, _ zh: String, _ en: String) -> JSON {
        let content: JSON = ["application/json": ["schema": ["type": "object", "required": ["status", "version"]]]]
        var responses: JSON = ["200": ["description": "是 / yes", "content": content]]
        if path == "/readyz" {
            responses = [
                "200": ["description": "是 / yes", "content": content],
                "503": ["description": "否，`checks` 说明原因 / no, `checks` says why", "content": content],
            ]
        }
        return [
            "operationId": .string(String(path.dropFirst())), "summary": .string("\(zh) / \(en)"), "tags": ["sys"], "security": [],
            "responses": responses,
        ]
    }

    private static func operation(_ service: ServiceDefinition, _ profile: Dialect) -> JSON {
        var responses = JSONObject([
            (
                "200",
                [
                    "description": "code 0；批量部分失败为 611 / code 0, or 611 for a batch that failed in part",
                    "content": ["application/json": ["schema": Schemas.reply(service)]],
                ]
            )
        ])
        for status in ["400", "401", "403", "404", "409", "413", "415", "422", "429", "500", "503"] {
            responses.append(status, ["$ref": "#/components/responses/Refused"])
        }
        let kinds: [ServiceDefinition.Kind: String] = [
            .log: service.direction == "up"
                ? "日志条目：epoch 与 seq 必填 / an entry of the up log: epoch and seq"
                : "写入下行日志，accepted 表示已在其中，位置为 downEpoch、downSeq / goes into the down log; accepted says that it stands there, at downEpoch and downSeq",
            .kept: "按 requestId 幂等 / idempotent by requestId", .read: "只读 / changes nothing", .sync: "续传 / part of the resume",
            .live: "立即转发车场，不排队 / asked of the lot now, never queued",
        ]
        return [
            "operationId": .string(service.name), "tags": [.string(tag(service))],
            "summary": .string("\(service.id) \(service.zh) / \(service.en)"),
            "description": .string(
                "\(kinds[service.kind] ?? "")。调用者 / callers: \(service.callers.map(\.rawValue).sorted().joined(separator: ", "))。来源 / source: \(service.mark)"
            ),
            "requestBody": body(Schemas.envelope(service, isLog: service.kind == .log && service.direction == "up")),
            "responses": .object(responses),
        ]
    }
}
