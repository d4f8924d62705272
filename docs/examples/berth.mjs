#!/usr/bin/env node
// 泊位接口示例 Node：签名与验签、下单、MQTT 接收下发、断点续传，只用标准库。
// The interface in JavaScript (Node 18+), with nothing but its standard library: sign and verify, order, receive over MQTT, resume.
//
//   node berth.mjs verify VECTORS.json
//   node berth.mjs order  https://host:port CA.pem KEY.json PARK
//   node berth.mjs listen host:port CA.pem KEY.json PARK STATE.json COUNT
//   node berth.mjs resume https://host:port CA.pem KEY.json PARK STATE.json COUNT [STOP_AFTER]
import { createHash, createHmac, randomBytes, randomInt, randomUUID, timingSafeEqual } from 'node:crypto'
import { existsSync, fsyncSync, openSync, closeSync, readFileSync, renameSync, writeSync } from 'node:fs'
import https from 'node:https'
import tls from 'node:tls'

// canon(data): names sorted by UTF-16 code unit (which is how JavaScript compares strings), no white space.
const canon = value =>
  Array.isArray(value) ? `[${value.map(canon).join(',')}]`
    : value !== null && typeof value === 'object'
      ? `{${Object.keys(value).sort().map(name => `${JSON.stringify(name)}:${canon(value[name])}`).join(',')}}`
      : JSON.stringify(value)

function sign (message, secret) {
  const members = { data: createHash('sha256').update(canon(message.data ?? {})).digest('hex') }
  for (const [name, value] of Object.entries(message)) {
    if (['sign', 'data', 'message', 'hint'].includes(name) || value === null || value === '') continue
    members[name] = String(value)
  }
  const text = Object.keys(members).sort().map(name => `${name}=${members[name]}`).join('&')
  return createHmac('sha256', secret).update(text).digest('hex')
}

function isAuthentic (message, secret) {
  const own = Buffer.from(sign(message, secret))
  const theirs = Buffer.from(message.sign ?? '')
  return own.length === theirs.length && timingSafeEqual(own, theirs)
}

function envelope (key, service, data, park, more = {}) {
  const message = {
    version: '1.0', requestId: randomUUID(), appId: key.appId, service, timestamp: Date.now(), nonce: randomBytes(8).toString('hex'), data, ...more
  }
  if (park) message.parkCode = park
  message.sign = sign(message, key.appSecret)
  return message
}

const call = (url, ca, key, service, data, park) => new Promise((resolve, reject) => {
  const request = https.request(`${url}/api/v1/${service.replaceAll('.', '/')}`, {
    method: 'POST', ca: readFileSync(ca), headers: { 'content-type': 'application/json' }, timeout: 20000
  }, answer => {
    let text = ''
    answer.setEncoding('utf8').on('data', part => { text += part }).on('end', () => {
      const reply = JSON.parse(text) // a refusal is an envelope too: `code` says why
      isAuthentic(reply, key.appSecret) ? resolve(reply) : reject(new Error(`not signed with our secret: ${reply.code} ${reply.message}`))
    })
  })
  request.on('error', reject)
  request.end(JSON.stringify(envelope(key, service, data, park)))
})

// Store, then acknowledge: on the disk, whole, before anybody is answered.
function save (file, state) {
  const out = openSync(file + '.new', 'w')
  writeSync(out, JSON.stringify(state))
  fsyncSync(out)
  closeSync(out)
  renameSync(file + '.new', file)
}
const load = (file, empty) => existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : empty

function verify (file) {
  const vectors = JSON.parse(readFileSync(file, 'utf8'))
  for (const good of vectors.good) {
    if (canon(good.message.data ?? {}) !== good.canonicalData || !isAuthentic(good.message, vectors.secret)) throw new Error(good.what)
  }
  for (const bad of vectors.bad) {
    if (bad.code < 200) continue // refused for its shape, before its signature is looked at
    if (isAuthentic(bad.message, vectors.secret) !== (bad.code !== 201)) throw new Error(bad.what)
  }
  console.log(`${vectors.good.length} good, ${vectors.bad.length} bad`)
}

async function order (url, ca, key, park) {
  const reply = await call(url, ca, key, 'order.create', {
    clientOrderNo: randomUUID(), userToken: 'example', plateNo: `粤B${randomInt(10000, 100000)}`, plateColor: 0, parkCode: park, bizType: 1,
    planTime: Date.now() + 2_700_000, mobile: '13800000000'
  })
  console.log(JSON.stringify({ code: reply.code, orderNo: reply.data.orderNo }))
}

// As much MQTT 3.1.1 as a lot needs. In production take the library of your choice.
class Mqtt {
  constructor (broker, ca, clientId, user, password, will, onReady, onMessage) {
    const [host, port] = broker.split(':')
    this.id = 0
    this.buffer = Buffer.alloc(0)
    this.onReady = onReady
    this.onMessage = onMessage
    this.socket = tls.connect({ host, port: Number(port), ca: readFileSync(ca) }, () => {
      // CONNECT: user, password, will of QoS 1 retained, clean session off, keepalive 60 s.
      this.send(0x10, Buffer.concat([this.text('MQTT'), Buffer.from([4, 0b11101100, 0, 60]), ...[clientId, ...will, user, password].map(this.text)]))
    })
    this.socket.setNoDelay(true)
    this.socket.on('data', data => { this.buffer = Buffer.concat([this.buffer, data]); this.parse() })
  }

  text (value) {
    const bytes = Buffer.from(value)
    return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
  }

  send (type, body) {
    const length = []
    let rest = body.length
    do { length.push((rest & 127) | (rest > 127 ? 128 : 0)); rest >>= 7 } while (rest > 0)
    this.socket.write(Buffer.concat([Buffer.from([type, ...length]), body]))
  }

  next () { this.id = this.id % 65535 + 1; return Buffer.from([this.id >> 8, this.id & 255]) }
  subscribe (filter) { this.send(0x82, Buffer.concat([this.next(), this.text(filter), Buffer.from([1])])) }
  publish (topic, payload, retain = false) {
    this.send(0x32 | (retain ? 1 : 0), Buffer.concat([this.text(topic), this.next(), Buffer.from(payload)]))
  }

  parse () {
    while (this.buffer.length >= 2) {
      let length = 0
      let at = 1
      for (let shift = 0; ; shift += 7) {
        if (at >= this.buffer.length) return
        const byte = this.buffer[at++]
        length |= (byte & 127) << shift
        if (byte < 128) break
      }
      if (this.buffer.length < at + length) return
      const type = this.buffer[0]
      const body = this.buffer.subarray(at, at + length)
      this.buffer = this.buffer.subarray(at + length)
      if (type >> 4 === 2) {
        if (body[1] !== 0) throw new Error(`the broker refused us: ${body[1]}`)
        this.onReady('connected')
      } else if (type >> 4 === 9) this.onReady('subscribed')
      else if (type >> 4 === 3) {
        const end = 2 + body.readUInt16BE(0)
        const qos = (type >> 1) & 3
        if (qos > 0) this.send(0x40, body.subarray(end, end + 2))
        this.onMessage(body.subarray(2, end).toString(), body.subarray(end + (qos > 0 ? 2 : 0)).toString())
      }
    }
  }

  close () { this.send(0xE0, Buffer.alloc(0)); this.socket.end() }
}

function listen (broker, ca, key, park, file, count) {
  const state = load(file, { epoch: '', ack: 0 })
  const clientId = `${key.appId}_${park}`
  const password = createHmac('sha256', key.appSecret).update(`mqtt\n${clientId}`).digest('hex')
  let done = 0
  const status = `rsp/v1/${park}/up/status`
  const mqtt = new Mqtt(broker, ca, clientId, key.appId, password, [status, '{"online":false}'], event => {
    if (event === 'connected') mqtt.subscribe(`rsp/v1/${park}/down/#`)
    else mqtt.publish(status, JSON.stringify({ online: true, since: Date.now() }), true)
  }, (topic, payload) => {
    const push = JSON.parse(payload)
    if (topic.endsWith('/reply') || !isAuthentic(push, key.appSecret)) return
    let code = 0
    let data = { accepted: true }
    if (push.epoch !== state.epoch && push.seq === 1) Object.assign(state, { epoch: push.epoch, ack: 0 })
    if (push.epoch !== state.epoch || push.seq > state.ack + 1) {
      code = 610
      data = { expectedSeq: push.epoch === state.epoch ? state.ack + 1 : 1 }
    } else if (push.seq === state.ack + 1) {
      // Here your system takes the order into its local list; then, and only then, it is acknowledged.
      state.ack = push.seq
      save(file, state)
      console.log(push.service, push.data.orderNo)
      done += 1
    }
    const reply = {
      version: '1.0', requestId: push.requestId, appId: key.appId, service: push.service, parkCode: park, timestamp: Date.now(),
      nonce: randomBytes(8).toString('hex'), code, message: '', epoch: state.epoch, ackSeq: state.ack, data
    }
    reply.sign = sign(reply, key.appSecret)
    mqtt.publish(`rsp/v1/${park}/up/reply`, JSON.stringify(reply))
    if (done >= count) setTimeout(() => { mqtt.close(); process.exit(0) }, 300)
  })
  setTimeout(() => process.exit(1), 30000)
}

async function resume (url, ca, key, park, file, count, stopAfter) {
  // Our up log stands on our disk; the server says where it stands, and we go on from there.
  let state = load(file, null)
  if (!state) {
    state = {
      epoch: randomBytes(4).toString('hex'),
      entries: Array.from({ length: count }, (_, n) => ({
        seq: n + 1, requestId: randomUUID(), service: 'event.report', timestamp: Date.now(),
        data: { eventId: `e${n + 1}`, eventType: 1010, occurTime: Date.now() }
      }))
    }
    save(file, state)
  }
  const cursor = (await call(url, ca, key, 'sync.cursor.query', { epoch: state.epoch }, park)).data.up
  const rest = state.entries.filter(entry => entry.seq > cursor.ackSeq).map(entry => ({ epoch: state.epoch, ...entry }))
  const reply = await call(url, ca, key, 'sync.batch.report', { entries: stopAfter ? rest.slice(0, stopAfter) : rest }, park)
  console.log(JSON.stringify({ code: reply.code, from: cursor.ackSeq, ackSeq: reply.data.ackSeq }))
}

const [what, ...args] = process.argv.slice(2)
const work = { verify, order, listen, resume }[what]
if (!work) { console.log(readFileSync(new URL(import.meta.url), 'utf8').split('\n').slice(1, 8).join('\n')); process.exit(2) }
if (what !== 'verify') args[2] = JSON.parse(readFileSync(args[2], 'utf8'))
await work(...args.slice(0, 5), ...args.slice(5).map(Number))
