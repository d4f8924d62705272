#!/usr/bin/env bash
# 用 curl 和 openssl 签名并预约一个车位。 Signs a reservation with openssl and sends it with curl; nothing else is needed.
# usage: book.sh https://host:port ca.pem key.json parkCode
set -euo pipefail
url=$1 ca=$2 key=$3 park=$4
field() { sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/" "$key"; }
app=$(field appId) secret=$(field appSecret)
now=$(date +%s)
uuid() { cat /proc/sys/kernel/random/uuid; }

# 1  data, canonical: names sorted, no white space, integers only (docs/integrating.md, "Signing")
plate="粤B$(printf %05d $((RANDOM % 100000)))"
data="{\"bizType\":1,\"clientOrderNo\":\"$(uuid)\",\"mobile\":\"13800000000\",\"parkCode\":\"$park\",\"planTime\":$((now + 1800))000,\"plateColor\":0,\"plateNo\":\"$plate\",\"userToken\":\"me-$(uuid)\"}"
hash=$(printf %s "$data" | openssl dgst -sha256 -r | cut -d' ' -f1)

# 2  the string to sign: every member of the envelope as name=value, sorted by name, joined by &
request=$(uuid) nonce=$(openssl rand -hex 8) service=order.create time=${now}000
sign=$(printf %s "appId=$app&data=$hash&nonce=$nonce&requestId=$request&service=$service&timestamp=$time&version=1.0" |
  openssl dgst -sha256 -hmac "$secret" -r | cut -d' ' -f1)

# 3  the envelope
curl --silent --show-error --cacert "$ca" -H 'content-type: application/json' "$url/api/v1/order/create" \
  --data "{\"version\":\"1.0\",\"requestId\":\"$request\",\"appId\":\"$app\",\"service\":\"$service\",\"timestamp\":$time,\"nonce\":\"$nonce\",\"data\":$data,\"sign\":\"$sign\"}"
echo
