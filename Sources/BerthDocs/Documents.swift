import BerthWire

/// The documents that are kept beside the code, and served by it.
public enum Documents {
    public static var all: [(name: String, text: String)] {
        [
            ("openapi.json", OpenAPI.document().pretty), ("asyncapi.json", AsyncAPI.document().pretty),
            ("reference.md", Reference(.en).markdown), ("reference.zh-CN.md", Reference(.zh).markdown),
            ("vectors.json", Vectors.document().pretty),
        ]
    }
}
