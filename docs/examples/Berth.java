// 泊位接口示例 Java：签名与验签、下单、MQTT 接收下发、断点续传，只用 JDK 17。
// The interface in Java 17, with nothing but the JDK: sign and verify, order, receive over MQTT, resume.
//
//   java Berth.java verify VECTORS.json
//   java Berth.java order  https://host:port CA.pem KEY.json PARK
//   java Berth.java listen host:port CA.pem KEY.json PARK STATE.json COUNT
//   java Berth.java resume https://host:port CA.pem KEY.json PARK STATE.json COUNT [STOP_AFTER]
import java.io.*;
import java.net.URI;
import java.net.http.*;
import java.nio.channels.FileChannel;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.*;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.*;
import java.util.stream.*;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.net.ssl.*;

public class Berth {
    static final SecureRandom RANDOM = new SecureRandom();

    // ---- JSON: objects are TreeMaps (Java compares strings by UTF-16 code unit, which is the order that canon needs), integers are Longs.

    static String canon(Object value) {
        if (value instanceof Map<?, ?> map)
            return map.entrySet().stream().map(e -> quote((String) e.getKey()) + ":" + canon(e.getValue())).collect(Collectors.joining(",", "{", "}"));
        if (value instanceof List<?> list) return list.stream().map(Berth::canon).collect(Collectors.joining(",", "[", "]"));
        return value instanceof String text ? quote(text) : String.valueOf(value);
    }

    static String quote(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            int known = "\b\t\n\f\r\"\\".indexOf(c);
            if (known >= 0) out.append('\\').append("btnfr\"\\".charAt(known));
            else if (c < 0x20) out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"').toString();
    }

    static final class Parser {
        final String text;
        int at = 0;

        Parser(String text) { this.text = text; }

        char peek() {
            while (Character.isWhitespace(text.charAt(at))) at++;
            return text.charAt(at);
        }

        boolean take(char wanted) {
            if (peek() != wanted) return false;
            at++;
            return true;
        }

        Object value() {
            switch (peek()) {
                case '{': {
                    at++;
                    Map<String, Object> map = new TreeMap<>();
                    while (!take('}')) {
                        take(',');
                        peek();
                        String name = string();
                        take(':');
                        map.put(name, value());
                    }
                    return map;
                }
                case '[': {
                    at++;
                    List<Object> list = new ArrayList<>();
                    while (!take(']')) {
                        take(',');
                        list.add(value());
                    }
                    return list;
                }
                case '"': return string();
                default: {
                    int start = at;
                    while (at < text.length() && "-0123456789truefalsn".indexOf(text.charAt(at)) >= 0) at++;
                    String word = text.substring(start, at);
                    return switch (word) {
                        case "true" -> Boolean.TRUE;
                        case "false" -> Boolean.FALSE;
                        case "null" -> null;
                        default -> (Object) Long.valueOf(word);
                    };
                }
            }
        }

        String string() {
            StringBuilder out = new StringBuilder();
            at++;
            while (text.charAt(at) != '"') {
                char c = text.charAt(at++);
                if (c != '\\') { out.append(c); continue; }
                c = text.charAt(at++);
                int known = "btnfr".indexOf(c);
                if (c == 'u') { out.append((char) Integer.parseInt(text.substring(at, at + 4), 16)); at += 4; }
                else out.append(known >= 0 ? "\b\t\n\f\r".charAt(known) : c);
            }
            at++;
            return out.toString();
        }
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> object(Object value) { return (Map<String, Object>) value; }
    static Map<String, Object> parse(String text) { return object(new Parser(text).value()); }
    static Map<String, Object> map(Object... pairs) {
        Map<String, Object> map = new TreeMap<>();
        for (int i = 0; i < pairs.length; i += 2) map.put((String) pairs[i], pairs[i + 1]);
        return map;
    }

    // ---- Signature

    static String hex(byte[] bytes) { return HexFormat.of().formatHex(bytes); }
    static byte[] utf8(String text) { return text.getBytes(StandardCharsets.UTF_8); }

    static String hmac(String secret, String text) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(utf8(secret), "HmacSHA256"));
        return hex(mac.doFinal(utf8(text)));
    }

    static String sign(Map<String, Object> message, String secret) throws Exception {
        Object data = message.get("data") == null ? map() : message.get("data");
        Map<String, Object> members = map("data", hex(MessageDigest.getInstance("SHA-256").digest(utf8(canon(data)))));
        for (var e : message.entrySet())
            if (!Set.of("sign", "data", "message", "hint").contains(e.getKey()) && e.getValue() != null && !"".equals(e.getValue()))
                members.put(e.getKey(), e.getValue());
        return hmac(secret, members.entrySet().stream().map(e -> e.getKey() + "=" + e.getValue()).collect(Collectors.joining("&")));
    }

    static boolean isAuthentic(Map<String, Object> message, String secret) throws Exception {
        return MessageDigest.isEqual(utf8(sign(message, secret)), utf8(String.valueOf(message.get("sign"))));
    }

    static String token(int count) {
        byte[] bytes = new byte[count];
        RANDOM.nextBytes(bytes);
        return hex(bytes);
    }

    record Party(String appId, String secret) {
        Map<String, Object> envelope(String service, Object data, String park) throws Exception {
            Map<String, Object> message = map("version", "1.0", "requestId", UUID.randomUUID().toString(), "appId", appId, "service", service,
                "timestamp", System.currentTimeMillis(), "nonce", token(8), "data", data);
            if (park != null) message.put("parkCode", park);
            message.put("sign", sign(message, secret));
            return message;
        }

        Map<String, Object> call(String url, String ca, String service, Object data, String park) throws Exception {
            HttpClient client = HttpClient.newBuilder().sslContext(trust(ca)).version(HttpClient.Version.HTTP_1_1).build();
            HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/api/v1/" + service.replace('.', '/'))).timeout(Duration.ofSeconds(20))
                .header("content-type", "application/json").POST(HttpRequest.BodyPublishers.ofString(canon(envelope(service, data, park)))).build();
            // A refusal is an envelope too: `code` says why.
            Map<String, Object> reply = parse(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
            if (!isAuthentic(reply, secret)) throw new IOException("not signed with our secret: " + reply.get("code") + " " + reply.get("message"));
            return reply;
        }
    }

    static SSLContext trust(String ca) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream in = Files.newInputStream(Path.of(ca))) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), RANDOM);
        return context;
    }

    /** Store, then acknowledge: on the disk, whole, before anybody is answered. */
    static void save(String file, Object state) throws IOException {
        Path fresh = Path.of(file + ".new");
        try (FileChannel out = FileChannel.open(fresh, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
            out.write(ByteBuffer.wrap(utf8(canon(state))));
            out.force(true);
        }
        Files.move(fresh, Path.of(file), StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
    }

    static Map<String, Object> load(String file) throws IOException {
        return Files.exists(Path.of(file)) ? parse(Files.readString(Path.of(file))) : null;
    }

    // ---- The four things to do

    static void verify(String file) throws Exception {
        Map<String, Object> vectors = load(file);
        String secret = (String) vectors.get("secret");
        List<?> good = (List<?>) vectors.get("good"), bad = (List<?>) vectors.get("bad");
        for (Object one : good) {
            Map<String, Object> message = object(object(one).get("message"));
            Object data = message.get("data") == null ? map() : message.get("data");
            if (!canon(data).equals(object(one).get("canonicalData")) || !isAuthentic(message, secret))
                throw new IllegalStateException(String.valueOf(object(one).get("what")));
        }
        for (Object one : bad) // what is refused for its shape (below 200) is so before its signature is looked at
            if ((Long) object(one).get("code") >= 200 && isAuthentic(object(object(one).get("message")), secret) == object(one).get("code").equals(201L))
                throw new IllegalStateException(String.valueOf(object(one).get("what")));
        System.out.println(good.size() + " good, " + bad.size() + " bad");
    }

    static void order(String url, String ca, Party key, String park) throws Exception {
        Map<String, Object> reply = key.call(url, ca, "order.create", map("clientOrderNo", token(16), "userToken", "example",
            "plateNo", "粤B" + (10_000 + RANDOM.nextInt(90_000)), "plateColor", 0, "parkCode", park, "bizType", 1,
            "planTime", System.currentTimeMillis() + 2_700_000, "mobile", "13800000000"), null);
        System.out.println(canon(map("code", reply.get("code"), "orderNo", object(reply.get("data")).get("orderNo"))));
    }

    /** As much MQTT 3.1.1 as a lot needs. In production take the library of your choice. */
    static final class Mqtt {
        final SSLSocket socket;
        final DataInputStream in;
        int id = 0;

        Mqtt(String broker, String ca) throws Exception {
            String[] parts = broker.split(":");
            socket = (SSLSocket) trust(ca).getSocketFactory().createSocket(parts[0], Integer.parseInt(parts[1]));
            socket.setTcpNoDelay(true);
            socket.setSoTimeout(30_000);
            in = new DataInputStream(socket.getInputStream());
        }

        static byte[] text(String value) {
            byte[] bytes = utf8(value);
            return join(new byte[] {(byte) (bytes.length >> 8), (byte) bytes.length}, bytes);
        }

        static byte[] join(byte[]... parts) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            for (byte[] part : parts) out.writeBytes(part);
            return out.toByteArray();
        }

        byte[] next() { id++; return new byte[] {(byte) (id >> 8), (byte) id}; }

        void send(int kind, byte[]... parts) throws IOException {
            byte[] body = join(parts);
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            out.write(kind);
            int rest = body.length;
            do { out.write((rest & 127) | (rest > 127 ? 128 : 0)); rest >>= 7; } while (rest > 0);
            out.writeBytes(body);
            socket.getOutputStream().write(out.toByteArray());
        }

        void publish(String topic, String payload, boolean retain) throws IOException {
            send(0x32 | (retain ? 1 : 0), text(topic), next(), utf8(payload));
        }
    }

    static void listen(String broker, String ca, Party key, String park, String file, int count) throws Exception {
        Map<String, Object> state = load(file) == null ? map("epoch", "", "ack", 0L) : load(file);
        Mqtt mqtt = new Mqtt(broker, ca);
        String clientId = key.appId + "_" + park, status = "rsp/v1/" + park + "/up/status";
        // CONNECT: user, password, will of QoS 1 retained, clean session off, keepalive 60 s.
        mqtt.send(0x10, Mqtt.text("MQTT"), new byte[] {4, (byte) 0b11101100, 0, 60}, Mqtt.text(clientId), Mqtt.text(status),
            Mqtt.text("{\"online\":false}"), Mqtt.text(key.appId), Mqtt.text(hmac(key.secret, "mqtt\n" + clientId)));
        for (int done = 0; done < count; ) {
            int kind = mqtt.in.readUnsignedByte(), length = 0;
            for (int shift = 0, digit = 128; digit > 127; shift += 7) {
                digit = mqtt.in.readUnsignedByte();
                length |= (digit & 127) << shift;
            }
            byte[] body = mqtt.in.readNBytes(length);
            if (kind >> 4 == 2) {
                if (body[1] != 0) throw new IOException("the broker refused us: " + body[1]);
                mqtt.send(0x82, mqtt.next(), Mqtt.text("rsp/v1/" + park + "/down/#"), new byte[] {1});
            } else if (kind >> 4 == 9) {
                mqtt.publish(status, canon(map("online", true, "since", System.currentTimeMillis())), true);
            } else if (kind >> 4 == 3) {
                int end = 2 + ((body[0] & 255) << 8 | body[1] & 255), qos = kind >> 1 & 3;
                if (qos > 0) mqtt.send(0x40, Arrays.copyOfRange(body, end, end + 2));
                String topic = new String(body, 2, end - 2, StandardCharsets.UTF_8);
                int start = end + (qos > 0 ? 2 : 0);
                Map<String, Object> push = parse(new String(body, start, body.length - start, StandardCharsets.UTF_8));
                if (topic.endsWith("/reply") || !isAuthentic(push, key.secret)) continue;
                long code = 0, seq = (Long) push.get("seq");
                Map<String, Object> data = map("accepted", true);
                if (!push.get("epoch").equals(state.get("epoch")) && seq == 1) state.putAll(map("epoch", push.get("epoch"), "ack", 0L));
                long ack = (Long) state.get("ack");
                if (!push.get("epoch").equals(state.get("epoch")) || seq > ack + 1) {
                    code = 610;
                    data = map("expectedSeq", push.get("epoch").equals(state.get("epoch")) ? ack + 1 : 1);
                } else if (seq == ack + 1) {
                    // Here your system takes the order into its local list; then, and only then, it is acknowledged.
                    state.put("ack", ack = seq);
                    save(file, state);
                    System.out.println(push.get("service") + " " + object(push.get("data")).get("orderNo"));
                    done++;
                }
                Map<String, Object> reply = map("version", "1.0", "requestId", push.get("requestId"), "appId", key.appId, "service", push.get("service"),
                    "parkCode", park, "timestamp", System.currentTimeMillis(), "nonce", token(8), "code", code, "message", "",
                    "epoch", state.get("epoch"), "ackSeq", ack, "data", data);
                reply.put("sign", sign(reply, key.secret));
                mqtt.publish("rsp/v1/" + park + "/up/reply", canon(reply), false);
            }
        }
        Thread.sleep(300);
        mqtt.send(0xE0);
    }

    static void resume(String url, String ca, Party key, String park, String file, int count, int stopAfter) throws Exception {
        // Our up log stands on our disk; the server says where it stands, and we go on from there.
        Map<String, Object> state = load(file);
        if (state == null) {
            List<Object> entries = new ArrayList<>();
            for (long n = 1; n <= count; n++)
                entries.add(map("seq", n, "requestId", UUID.randomUUID().toString(), "service", "event.report", "timestamp", System.currentTimeMillis(),
                    "data", map("eventId", "e" + n, "eventType", 1010L, "occurTime", System.currentTimeMillis())));
            save(file, state = map("epoch", token(4), "entries", entries));
        }
        String epoch = (String) state.get("epoch");
        Map<String, Object> cursor = object(object(key.call(url, ca, "sync.cursor.query", map("epoch", epoch), park).get("data")).get("up"));
        long ack = (Long) cursor.get("ackSeq");
        List<Object> rest = ((List<?>) state.get("entries")).stream().map(Berth::object).filter(e -> (Long) e.get("seq") > ack)
            .peek(e -> e.put("epoch", epoch)).limit(stopAfter == 0 ? Long.MAX_VALUE : stopAfter).collect(Collectors.toList());
        Map<String, Object> reply = key.call(url, ca, "sync.batch.report", map("entries", rest), park);
        System.out.println(canon(map("code", reply.get("code"), "from", ack, "ackSeq", object(reply.get("data")).get("ackSeq"))));
    }

    public static void main(String[] args) throws Exception {
        System.setOut(new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8));
        if (args.length == 2 && args[0].equals("verify")) { verify(args[1]); return; }
        if (args.length < 5) {
            System.out.println("verify VECTORS | order URL CA KEY PARK | listen HOST:PORT CA KEY PARK STATE COUNT | resume URL CA KEY PARK STATE COUNT [STOP_AFTER]");
            System.exit(2);
        }
        Map<String, Object> file = load(args[3]);
        Party key = new Party((String) file.get("appId"), (String) file.get("appSecret"));
        int count = args.length > 6 ? Integer.parseInt(args[6]) : 0, stopAfter = args.length > 7 ? Integer.parseInt(args[7]) : 0;
        switch (args[0]) {
            case "order" -> order(args[1], args[2], key, args[4]);
            case "listen" -> listen(args[1], args[2], key, args[4], args[5], count);
            case "resume" -> resume(args[1], args[2], key, args[4], args[5], count, stopAfter);
        }
    }
}
