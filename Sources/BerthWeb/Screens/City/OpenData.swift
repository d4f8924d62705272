import BerthCore
import BerthWire
import Foundation

// Open data without plates: JSON, and DATEX II 2.3 (ParkingTable, ParkingStatus).
extension Site {
    static var openDataRoutes: [Route] {
        [
            .get("/open", .anyone) { site, web in .page(Page("city/open", [("base", .string(site.settings.documentsURL))])) },
            .get("/map", .anyone) { site, web in try site.map(web) },
            .get("/open/lots.json", .anyone) { site, web in
                try await site.openDocument("lots", web, type: "application/json; charset=utf-8", make: Site.openLots)
            },
            .get("/open/datex2/table.xml", .anyone) { site, web in
                try await site.openDocument("table", web, type: "application/xml; charset=utf-8", make: Site.parkingTable)
            },
            .get("/open/datex2/status.xml", .anyone) { site, web in
                try await site.openDocument("status", web, type: "application/xml; charset=utf-8", make: Site.parkingStatus)
            },
        ]
    }

    /// The wall map. Its data are the server's own live feed, which a site elsewhere does not have.
    func map(_ web: WebRequest) throws -> WebResult {
        guard settings.documentsURL.isEmpty else { return .redirect(settings.documentsURL + "/map") }
        let districts = Site.districts.sorted { $0.key < $1.key }.map { code, _ in (code, JSON.string(district(code, web.language))) }
        let kinds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99].map { (String($0), JSON.string(words.say(web.language, "kind.\($0)"))) }
        let states = (0...10).map { (String($0), JSON.string(words.say(web.language, "status.\($0)"))) }
        let levels = (0...3).map { (String($0), JSON.string(words.say(web.language, "level.\($0)"))) }
        return .page(
            Page(
                "city/map",
                [
                    (
                        "names",
                        .string(
                            JSON.object(
                                JSONObject([
                                    ("district", .object(JSONObject(districts))), ("kind", .object(JSONObject(kinds))),
                                    ("status", .object(JSONObject(states))), ("level", .object(JSONObject(levels))),
                                ])
                            ).string)
                    )
                ]))
    }

    /// An open document: made once for all, and bounded for each source.
    private func openDocument(
        _ name: String, _ web: WebRequest, type: String, make: @Sendable ([JSON], Int64) -> [UInt8]
    ) async throws -> WebResult {
        guard limiter.admit("open|\(web.source)", burst: 120, minutes: 1, now: web.now) else { return .later(60) }
        return .file(try await cache.document(name, city, make: make), type: type, cache: "public, max-age=2")
    }

    private static func openLots(_ rows: [JSON], _ asOf: Int64) -> [UInt8] {
        let lots = rows.filter { $0["lng"]?.stringValue?.isEmpty == false }.map { row -> JSON in
            .compact([
                ("id", row["parkCode"] ?? .null), ("name", row["parkName"] ?? .null), ("address", row["address"] ?? .null),
                ("region", row["regionCode"] ?? .null),
                ("type", row["lotType"] ?? .null), ("lng", row["lng"] ?? .null), ("lat", row["lat"] ?? .null),
                ("capacity", row["totalSpace"] ?? 0),
                ("occupied", row["occupied"] ?? 0), ("free", row["publicFree"] ?? 0), ("reservableFree", row["reserveFree"] ?? 0),
                ("saturationPct", row["saturationPct"] ?? 0), ("online", row["online"] ?? false), ("asOf", row["asOf"] ?? .null),
            ])
        }
        let body: JSON = ["asOf": .int(asOf), "licence": "CC-BY-4.0", "lots": .array(lots)]
        return body.text()
    }

    /// ISO 8601 in the city's zone.
    private static func iso(_ time: Int64) -> String {
        let minute = CivilTime.minuteOfDay(time)
        let second = (time - CivilTime.start(ofDay: CivilTime.day(of: time))) / 1000 % 60
        return CivilTime.text(ofDay: CivilTime.day(of: time)) + String(format: "T%02d:%02d:%02d+08:00", minute / 60, minute % 60, second)
    }

    /// DATEX II 2.3 with its parking extension, the form that aggregators read.
    private static func envelope(_ name: String, _ asOf: Int64, _ body: String) -> [UInt8] {
        Array(
            """
            <?xml version="1.0" encoding="UTF-8"?>
            <d2LogicalModel xmlns="http://datex2.eu/schema/2/2_0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" modelBaseVersion="2">
            <exchange><supplierIdentification><country>other</country><nationalIdentifier>berth</nationalIdentifier></supplierIdentification></exchange>
            <payloadPublication xsi:type="GenericPublication" lang="zh"><publicationTime>\(iso(asOf))</publicationTime>
            <publicationCreator><country>other</country><nationalIdentifier>berth</nationalIdentifier></publicationCreator>
            <genericPublicationName>\(name)</genericPublicationName><genericPublicationExtension>
            \(body)</genericPublicationExtension></payloadPublication></d2LogicalModel>

            """.utf8)
    }

    private static let layouts: [Int64: String] = [1: "openSpace", 2: "underground", 3: "multiStorey", 4: "automatedParkingGarage"]

    private static func parkingTable(_ rows: [JSON], _ asOf: Int64) -> [UInt8] {
        var records = ""
        for row in rows {
            guard let code = row["parkCode"]?.stringValue, let lat = row["lat"]?.stringValue, let lng = row["lng"]?.stringValue,
                !lat.isEmpty
            else { continue }
            records += """
                <parkingRecord xsi:type="UrbanParkingSite" id="\(HTML.escape(code))" version="1">\
                <parkingName><values><value lang="zh">\(HTML.escape(row["parkName"]?.stringValue ?? code))</value></values></parkingName>\
                <parkingRecordVersionTime>\(Site.iso(asOf))</parkingRecordVersionTime>\
                <parkingNumberOfSpaces>\(row["totalSpace"]?.intValue ?? 0)</parkingNumberOfSpaces>\
                <parkingLocation xsi:type="Point"><pointByCoordinates><pointCoordinates><latitude>\(HTML.escape(lat))</latitude>\
                <longitude>\(HTML.escape(lng))</longitude></pointCoordinates></pointByCoordinates></parkingLocation>\
                <parkingLayout>\(Site.layouts[row["lotClass"]?.intValue ?? 0] ?? "unknown")</parkingLayout>\
                <urbanParkingSiteType>offStreetParking</urbanParkingSiteType></parkingRecord>

                """
        }
        let body = """
            <parkingTablePublication><parkingTable id="berth" version="1"><parkingTableVersionTime>\(Site.iso(asOf))</parkingTableVersionTime>
            \(records)</parkingTable></parkingTablePublication>
            """
        return Site.envelope("ParkingTable", asOf, body)
    }

    private static func parkingStatus(_ rows: [JSON], _ asOf: Int64) -> [UInt8] {
        var records = ""
        for row in rows {
            guard let code = row["parkCode"]?.stringValue, row["lat"]?.stringValue?.isEmpty == false else { continue }
            let isClosed = row["flowMode"]?.intValue == 3 || row["stage"]?.stringValue == "suspended"
            let free = row["publicFree"]?.intValue ?? 0
            records += """
                <parkingRecordStatus xsi:type="ParkingSiteStatus"><parkingRecordReference targetClass="ParkingRecord" \
                id="\(HTML.escape(code))" version="1"/><parkingStatusOriginTime>\(Site.iso(row["asOf"]?.intValue ?? asOf))</parkingStatusOriginTime>\
                <parkingOccupancy><parkingNumberOfSpacesOverride>\(row["totalSpace"]?.intValue ?? 0)</parkingNumberOfSpacesOverride>\
                <parkingNumberOfVacantSpaces>\(free)</parkingNumberOfVacantSpaces>\
                <parkingNumberOfOccupiedSpaces>\(row["occupied"]?.intValue ?? 0)</parkingNumberOfOccupiedSpaces></parkingOccupancy>\
                <parkingSiteOpeningStatus>\(isClosed ? "closed" : "open")</parkingSiteOpeningStatus>\
                <parkingSiteStatus>\(free == 0 ? "full" : "spacesAvailable")</parkingSiteStatus></parkingRecordStatus>

                """
        }
        let body =
            "<parkingStatusPublication><parkingTableReference targetClass=\"ParkingTable\" id=\"berth\" version=\"1\"/>\n\(records)</parkingStatusPublication>"
        return Site.envelope("ParkingStatus", asOf, body)
    }
}
