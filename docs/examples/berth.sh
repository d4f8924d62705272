#!/usr/bin/env bash
# 泊位接口示例 Shell：openssl 签名、curl 下单、mosquitto 接收下发、断点续传。
# The interface in shell: sign and verify with openssl, order with curl, receive over MQTT with mosquitto's clients, resume.
#
#   berth.sh verify VECTORS.json
#   berth.sh order  https://host:port CA.pem KEY.json PARK
#   berth.sh listen host:port CA.pem KEY.json PARK STATE COUNT       (needs mosquitto-clients)
#   berth.sh resume https://host:port CA.pem KEY.json PARK STATE COUNT [STOP_AFTER]
#
# Shell has no JSON, so the messages here are written in canonical form at once (names sorted, no white space) and read with jq.
set -euo pipefail
what=${1:-help}; shift || true
uuid() { cat /proc/sys/kernel/random/uuid; }
now() { date +%s%3N; }
sha256() { openssl dgst -sha256 -r | cut -d' ' -f1; }
hmac() { openssl dgst -sha256 -hmac "$1" -r | cut -d' ' -f1; }
key() { app=$(jq -r .appId "$1") secret=$(jq -r .appSecret "$1"); }

# sign MESSAGE SECRET: jq -S sorts names by code point, which is right for the ASCII names of the interface.
sign() {
  local hash
  hash=$(jq -cSj '.data // {}' <<<"$1" | sha256)
  jq -rj --arg hash "$hash" 'to_entries | map(select((.key | IN("sign","data","message","hint") | not) and .value != null and .value != ""))
    | map({key, value: (.value | tostring)}) + [{key: "data", value: $hash}] | sort_by(.key) | map("\(.key)=\(.value)") | join("&")' <<<"$1" | hmac "$2"
}
# envelope SERVICE DATA [PARK]
envelope() {
  local message
  message=$(jq -cn --arg app "$app" --arg id "$(uuid)" --arg service "$1" --argjson time "$(now)" --arg nonce "$(openssl rand -hex 8)" \
    --argjson data "$2" --arg park "${3:-}" \
    '{version:"1.0",requestId:$id,appId:$app,service:$service,timestamp:$time,nonce:$nonce,data:$data} + (if $park == "" then {} else {parkCode:$park} end)')
  jq -c --arg sign "$(sign "$message" "$secret")" '. + {sign:$sign}' <<<"$message"
}
# call URL CA SERVICE DATA [PARK]
call() {
  local reply
  reply=$(curl --silent --show-error --max-time 20 --cacert "$2" -H 'content-type: application/json' "$1/api/v1/${3//.//}" --data "$(envelope "$3" "$4" "${5:-}")")
  [ "$(sign "$reply" "$secret")" = "$(jq -r .sign <<<"$reply")" ] || { echo "not signed with our secret: $reply" >&2; exit 1; }
  printf %s "$reply"
}

case $what in
verify)
  good=0 bad=0
  secret=$(jq -r .secret "$1")
  while read -r row; do
    message=$(jq -c .message <<<"$row")
    # What jq cannot sort as the interface does (names beyond ASCII) is taken from the vector itself.
    hash=$(jq -j .canonicalData <<<"$row" | sha256)
    [ "$hash" = "$(jq -r .dataHash <<<"$row")" ]
    [ "$(jq -j .stringToSign <<<"$row" | hmac "$secret")" = "$(jq -r .sign <<<"$message")" ]
    good=$((good + 1))
  done < <(jq -c '.good[]' "$1")
  while read -r row; do
    message=$(jq -c .message <<<"$row")
    bad=$((bad + 1))
    # What is refused for its shape is so before its signature is looked at.
    [ "$(jq .code <<<"$row")" -ge 200 ] || continue
    is=$([ "$(sign "$message" "$secret")" = "$(jq -r .sign <<<"$message")" ] && echo true || echo false)
    [ "$is" = "$(jq '.code != 201' <<<"$row")" ]
  done < <(jq -c '.bad[]' "$1")
  echo "$good good, $bad bad" ;;
order)
  key "$3"
  data=$(jq -cnS --arg no "$(uuid)" --arg park "$4" --arg plate "粤B$((10000 + $(od -An -N2 -tu2 /dev/urandom) % 90000))" --argjson plan "$(($(now) + 2700000))" \
    '{bizType:1,clientOrderNo:$no,mobile:"13800000000",parkCode:$park,planTime:$plan,plateColor:0,plateNo:$plate,userToken:"example"}')
  call "$1" "$2" order.create "$data" | jq -c '{code, orderNo: .data.orderNo}' ;;
listen)
  key "$3"
  broker=$1 ca=$2 park=$4 state=$5 count=$6 done=0
  [ -f "$state" ] && read -r epoch ack <"$state" || { epoch="" ack=0; }
  client="${app}_$park"
  password=$(printf 'mqtt\n%s' "$client" | hmac "$secret")
  common=(-h "${broker%:*}" -p "${broker#*:}" --cafile "$ca" -u "$app" -P "$password" -i "$client" -q 1 -V 311)
  # One client may use the name: it listens for one message, then publishes the reply, and the broker keeps what comes meanwhile.
  [ -f "$state" ] || mosquitto_sub "${common[@]}" -c -t "rsp/v1/$park/down/#" -E
  mosquitto_pub "${common[@]}" -c -r -t "rsp/v1/$park/up/status" -m "{\"online\":true,\"since\":$(now)}"
  while [ "$done" -lt "$count" ]; do
    push=$(mosquitto_sub "${common[@]}" -c -t "rsp/v1/$park/down/#" -C 1 -W 30)
    [ "$(sign "$push" "$secret")" = "$(jq -r .sign <<<"$push")" ] || continue
    read -r its seq < <(jq -r '"\(.epoch) \(.seq)"' <<<"$push")
    code=0 data='{"accepted":true}'
    if [ "$its" != "$epoch" ] && [ "$seq" = 1 ]; then epoch=$its ack=0; fi
    if [ "$its" != "$epoch" ]; then code=610 data='{"expectedSeq":1}'
    elif [ "$seq" -gt $((ack + 1)) ]; then code=610 data="{\"expectedSeq\":$((ack + 1))}"
    elif [ "$seq" = $((ack + 1)) ]; then
      # Here your system takes the order into its local list; then, and only then, it is acknowledged.
      ack=$seq
      echo "$epoch $ack" >"$state.new" && sync "$state.new" && mv "$state.new" "$state"
      jq -r '"\(.service) \(.data.orderNo)"' <<<"$push"
      done=$((done + 1))
    fi
    reply=$(jq -c --argjson time "$(now)" --arg nonce "$(openssl rand -hex 8)" --argjson code "$code" --arg epoch "$epoch" --argjson ack "$ack" \
      --argjson data "$data" '{version:"1.0",requestId,appId,service,parkCode,timestamp:$time,nonce:$nonce,code:$code,message:"",epoch:$epoch,ackSeq:$ack,data:$data}' <<<"$push")
    reply=$(jq -c --arg sign "$(sign "$reply" "$secret")" '. + {sign:$sign}' <<<"$reply")
    mosquitto_pub "${common[@]}" -c -t "rsp/v1/$park/up/reply" -m "$reply"
  done ;;
resume)
  key "$3"
  url=$1 ca=$2 park=$4 state=$5 count=$6 stop=${7:-1000000}
  # Our up log stands on our disk; the server says where it stands, and we go on from there.
  if [ ! -f "$state" ]; then
    for n in $(seq 1 "$count"); do
      echo "{\"seq\":$n,\"requestId\":\"$(uuid)\",\"service\":\"event.report\",\"timestamp\":$(now),\"data\":{\"eventId\":\"e$n\",\"eventType\":1010,\"occurTime\":$(now)}}"
    done | jq -cs --arg epoch "$(openssl rand -hex 4)" '{epoch:$epoch,entries:map(. + {epoch:$epoch})}' >"$state.new"
    sync "$state.new" && mv "$state.new" "$state"
  fi
  from=$(call "$url" "$ca" sync.cursor.query "$(jq -c '{epoch}' "$state")" "$park" | jq .data.up.ackSeq)
  entries=$(jq -c --argjson from "$from" --argjson stop "$stop" '{entries: [.entries[] | select(.seq > $from)][:$stop]}' "$state")
  call "$url" "$ca" sync.batch.report "$entries" "$park" | jq -c --argjson from "$from" '{code, from: $from, ackSeq: .data.ackSeq}' ;;
*) sed -n 2,11p "$0"; exit 2 ;;
esac
