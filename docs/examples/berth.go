// 泊位接口示例 Go：签名与验签、下单、MQTT 接收下发、断点续传，只用标准库。
// The interface in Go, with nothing but its standard library: sign and verify, order, receive over MQTT, resume.
//
//	go run berth.go verify VECTORS.json
//	go run berth.go order  https://host:port CA.pem KEY.json PARK
//	go run berth.go listen host:port CA.pem KEY.json PARK STATE.json COUNT
//	go run berth.go resume https://host:port CA.pem KEY.json PARK STATE.json COUNT [STOP_AFTER]
package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

type object = map[string]any

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Numbers stay as they were written: a float would lose what a seq or a time needs.
func parse(text []byte) object {
	var value object
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	check(decoder.Decode(&value))
	return value
}

// One JSON string, with nothing escaped that need not be.
func quote(text string) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	check(encoder.Encode(text))
	plain := strings.TrimSuffix(out.String(), "\n")
	return strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029", `\u0008`, `\b`, `\u000c`, `\f`).Replace(plain)
}

// canon(data): names sorted by UTF-16 code unit, no white space, integers only.
func canon(value any) string {
	switch value := value.(type) {
	case object:
		names := make([]string, 0, len(value))
		for name := range value {
			names = append(names, name)
		}
		sort.Slice(names, func(i, j int) bool {
			left, right := utf16.Encode([]rune(names[i])), utf16.Encode([]rune(names[j]))
			for k := 0; k < len(left) && k < len(right); k++ {
				if left[k] != right[k] {
					return left[k] < right[k]
				}
			}
			return len(left) < len(right)
		})
		parts := make([]string, len(names))
		for i, name := range names {
			parts[i] = quote(name) + ":" + canon(value[name])
		}
		return "{" + strings.Join(parts, ",") + "}"
	case []any:
		parts := make([]string, len(value))
		for i, one := range value {
			parts[i] = canon(one)
		}
		return "[" + strings.Join(parts, ",") + "]"
	case string:
		return quote(value)
	case nil:
		return "null"
	default:
		return fmt.Sprint(value)
	}
}

func sign(message object, secret string) string {
	data := message["data"]
	if data == nil {
		data = object{}
	}
	hash := sha256.Sum256([]byte(canon(data)))
	pairs := []string{"data=" + hex.EncodeToString(hash[:])}
	for name, value := range message {
		if name == "sign" || name == "data" || name == "message" || name == "hint" || value == nil || value == "" {
			continue
		}
		pairs = append(pairs, name+"="+fmt.Sprint(value))
	}
	sort.Slice(pairs, func(i, j int) bool {
		return strings.SplitN(pairs[i], "=", 2)[0] < strings.SplitN(pairs[j], "=", 2)[0]
	})
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strings.Join(pairs, "&")))
	return hex.EncodeToString(mac.Sum(nil))
}

func isAuthentic(message object, secret string) bool {
	shown, _ := message["sign"].(string)
	return hmac.Equal([]byte(sign(message, secret)), []byte(shown))
}

func token(count int) string {
	bytes := make([]byte, count)
	_, err := rand.Read(bytes)
	check(err)
	return hex.EncodeToString(bytes)
}

func uuid() string {
	text := token(16)
	return text[:8] + "-" + text[8:12] + "-4" + text[13:16] + "-8" + text[17:20] + "-" + text[20:]
}

func millis() int64 { return time.Now().UnixMilli() }

type party struct{ appId, secret string }

func (p party) envelope(service string, data object, park string) object {
	message := object{"version": "1.0", "requestId": uuid(), "appId": p.appId, "service": service, "timestamp": millis(),
		"nonce": token(8), "data": data}
	if park != "" {
		message["parkCode"] = park
	}
	message["sign"] = sign(message, p.secret)
	return message
}

func trust(ca string) *tls.Config {
	pem, err := os.ReadFile(ca)
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool}
}

func (p party) call(url, ca, service string, data object, park string) object {
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: trust(ca)}}
	body := canon(p.envelope(service, data, park))
	answer, err := client.Post(url+"/api/v1/"+strings.ReplaceAll(service, ".", "/"), "application/json", strings.NewReader(body))
	check(err)
	text, err := io.ReadAll(answer.Body)
	check(err)
	reply := parse(text) // a refusal is an envelope too: `code` says why
	if !isAuthentic(reply, p.secret) {
		check(fmt.Errorf("not signed with our secret: %v %v", reply["code"], reply["message"]))
	}
	return reply
}

// Store, then acknowledge: on the disk, whole, before anybody is answered.
func save(file string, state object) {
	out, err := os.Create(file + ".new")
	check(err)
	_, err = out.WriteString(canon(state))
	check(err)
	check(out.Sync())
	check(out.Close())
	check(os.Rename(file+".new", file))
}

func load(file string) object {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return parse(text)
}

func number(value any) int64 {
	result, _ := strconv.ParseInt(fmt.Sprint(value), 10, 64)
	return result
}

func verify(file string) {
	vectors := load(file)
	secret := vectors["secret"].(string)
	for _, one := range vectors["good"].([]any) {
		good := one.(object)
		message := good["message"].(object)
		data := message["data"]
		if data == nil {
			data = object{}
		}
		if canon(data) != good["canonicalData"] || !isAuthentic(message, secret) {
			check(fmt.Errorf("%v", good["what"]))
		}
	}
	for _, one := range vectors["bad"].([]any) {
		bad := one.(object)
		if number(bad["code"]) < 200 {
			continue // refused for its shape, before its signature is looked at
		}
		if isAuthentic(bad["message"].(object), secret) != (number(bad["code"]) != 201) {
			check(fmt.Errorf("%v", bad["what"]))
		}
	}
	fmt.Printf("%d good, %d bad\n", len(vectors["good"].([]any)), len(vectors["bad"].([]any)))
}

func order(url, ca string, key party, park string) {
	reply := key.call(url, ca, "order.create", object{"clientOrderNo": token(16), "userToken": "example",
		"plateNo": fmt.Sprintf("粤B%05d", 10000+millis()%90000), "plateColor": 0, "parkCode": park, "bizType": 1,
		"planTime": millis() + 2_700_000, "mobile": "13800000000"}, "")
	fmt.Println(canon(object{"code": reply["code"], "orderNo": reply["data"].(object)["orderNo"]}))
}

// As much MQTT 3.1.1 as a lot needs. In production take the library of your choice.
type mqtt struct {
	conn *tls.Conn
	in   *bufio.Reader
	id   uint16
}

func text(value string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(value))), value...)
}

func (m *mqtt) send(kind byte, parts ...[]byte) {
	body := bytes.Join(parts, nil)
	head := []byte{kind}
	for rest := len(body); ; {
		digit := byte(rest & 127)
		rest >>= 7
		if rest > 0 {
			digit |= 128
		}
		head = append(head, digit)
		if rest == 0 {
			break
		}
	}
	_, err := m.conn.Write(append(head, body...))
	check(err)
}

func (m *mqtt) next() []byte {
	m.id++
	return binary.BigEndian.AppendUint16(nil, m.id)
}

func (m *mqtt) publish(topic, payload string, retain byte) {
	m.send(0x32|retain, text(topic), m.next(), []byte(payload))
}

func (m *mqtt) read() (byte, []byte) {
	kind, err := m.in.ReadByte()
	check(err)
	length, shift := 0, 0
	for {
		digit, err := m.in.ReadByte()
		check(err)
		length |= int(digit&127) << shift
		shift += 7
		if digit < 128 {
			break
		}
	}
	body := make([]byte, length)
	_, err = io.ReadFull(m.in, body)
	check(err)
	return kind, body
}

func listen(broker, ca string, key party, park, file string, count int) {
	state := load(file)
	if state == nil {
		state = object{"epoch": "", "ack": 0}
	}
	conn, err := tls.Dial("tcp", broker, trust(ca))
	check(err)
	check(conn.SetDeadline(time.Now().Add(30 * time.Second)))
	m := &mqtt{conn: conn, in: bufio.NewReader(conn)}
	clientId, status := key.appId+"_"+park, "rsp/v1/"+park+"/up/status"
	mac := hmac.New(sha256.New, []byte(key.secret))
	mac.Write([]byte("mqtt\n" + clientId))
	// CONNECT: user, password, will of QoS 1 retained, clean session off, keepalive 60 s.
	m.send(0x10, text("MQTT"), []byte{4, 0b11101100, 0, 60}, text(clientId), text(status), text(`{"online":false}`), text(key.appId),
		text(hex.EncodeToString(mac.Sum(nil))))
	for done := 0; done < count; {
		kind, body := m.read()
		switch kind >> 4 {
		case 2:
			if body[1] != 0 {
				check(fmt.Errorf("the broker refused us: %d", body[1]))
			}
			m.send(0x82, m.next(), text("rsp/v1/"+park+"/down/#"), []byte{1})
		case 9:
			m.publish(status, fmt.Sprintf(`{"online":true,"since":%d}`, millis()), 1)
		case 3:
			end := 2 + int(binary.BigEndian.Uint16(body))
			topic, payload := string(body[2:end]), body[end:]
			if kind>>1&3 > 0 {
				m.send(0x40, payload[:2])
				payload = payload[2:]
			}
			push := parse(payload)
			if strings.HasSuffix(topic, "/reply") || !isAuthentic(push, key.secret) {
				continue
			}
			code, data := 0, object{"accepted": true}
			seq, ack := number(push["seq"]), number(state["ack"])
			if push["epoch"] != state["epoch"] && seq == 1 {
				state["epoch"], ack = push["epoch"], 0
			}
			if push["epoch"] != state["epoch"] {
				code, data = 610, object{"expectedSeq": 1}
			} else if seq > ack+1 {
				code, data = 610, object{"expectedSeq": ack + 1}
			} else if seq == ack+1 {
				// Here your system takes the order into its local list; then, and only then, it is acknowledged.
				ack = seq
				state["ack"] = ack
				save(file, state)
				fmt.Println(push["service"], push["data"].(object)["orderNo"])
				done++
			}
			reply := object{"version": "1.0", "requestId": push["requestId"], "appId": key.appId, "service": push["service"], "parkCode": park,
				"timestamp": millis(), "nonce": token(8), "code": code, "message": "", "epoch": state["epoch"], "ackSeq": ack, "data": data}
			reply["sign"] = sign(reply, key.secret)
			m.publish("rsp/v1/"+park+"/up/reply", canon(reply), 0)
		}
	}
	time.Sleep(300 * time.Millisecond)
	m.send(0xE0)
}

func resume(url, ca string, key party, park, file string, count, stopAfter int) {
	// Our up log stands on our disk; the server says where it stands, and we go on from there.
	state := load(file)
	if state == nil {
		entries := []any{}
		for n := 1; n <= count; n++ {
			entries = append(entries, object{"seq": n, "requestId": uuid(), "service": "event.report", "timestamp": millis(),
				"data": object{"eventId": fmt.Sprintf("e%d", n), "eventType": 1010, "occurTime": millis()}})
		}
		state = object{"epoch": token(4), "entries": entries}
		save(file, state)
	}
	cursor := key.call(url, ca, "sync.cursor.query", object{"epoch": state["epoch"]}, park)["data"].(object)["up"].(object)
	rest := []any{}
	for _, one := range state["entries"].([]any) {
		entry := one.(object)
		entry["epoch"] = state["epoch"]
		if number(entry["seq"]) > number(cursor["ackSeq"]) && (stopAfter == 0 || len(rest) < stopAfter) {
			rest = append(rest, entry)
		}
	}
	reply := key.call(url, ca, "sync.batch.report", object{"entries": rest}, park)
	fmt.Println(canon(object{"code": reply["code"], "from": cursor["ackSeq"], "ackSeq": reply["data"].(object)["ackSeq"]}))
}

func main() {
	args := append(os.Args[1:], make([]string, 8)...)
	if args[0] == "verify" {
		verify(args[1])
		return
	}
	if len(os.Args) < 6 {
		fmt.Println("verify VECTORS | order URL CA KEY PARK | listen HOST:PORT CA KEY PARK STATE COUNT | resume URL CA KEY PARK STATE COUNT [STOP_AFTER]")
		os.Exit(2)
	}
	file := load(args[3])
	key := party{file["appId"].(string), file["appSecret"].(string)}
	count, _ := strconv.Atoi(args[6])
	stopAfter, _ := strconv.Atoi(args[7])
	switch args[0] {
	case "order":
		order(args[1], args[2], key, args[4])
	case "listen":
		listen(args[1], args[2], key, args[4], args[5], count)
	case "resume":
		resume(args[1], args[2], key, args[4], args[5], count, stopAfter)
	}
}
