#!/bin/sh
# Makes what a broker with deploy/nats/nats-server.conf needs: an authority and a certificate, and a
# key pair for each role; and the key that encrypts the secrets in the registry.
#
#   credentials.sh FOLDER HOST...
#
# FOLDER gets ca.crt, server.crt, server.key, and ROLE.nk with the seed of each role; broker.env has the
# variables of nats-server.conf; secrets.key is for secrets.key_file of the routers. HOST are the names by which routers reach the broker. What exists is
# kept. Needs `openssl` and `switchyard` (or SWITCHYARD=path).
set -eu

if [ $# -lt 2 ]; then
    echo "usage: credentials.sh FOLDER HOST..." >&2
    exit 2
fi
folder=$1
shift
command -v openssl > /dev/null || { echo "credentials.sh: openssl is missing" >&2; exit 1; }
# Only the folder keeps other users out: programs in containers run as other users and read the files.
mkdir -p "$folder"
chmod 700 "$folder"

if [ ! -e "$folder/ca.crt" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
        -subj "/CN=switchyard broker authority" -keyout "$folder/ca.key" -out "$folder/ca.crt" 2> /dev/null
fi
if [ ! -e "$folder/server.crt" ]; then
    names=$(printf ',DNS:%s' "$@")
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
        -keyout "$folder/server.key" -out "$folder/server.csr" 2> /dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' "${names#,}" \
        > "$folder/server.ext"
    openssl x509 -req -in "$folder/server.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial \
        -days 825 -extfile "$folder/server.ext" -out "$folder/server.crt" 2> /dev/null
    rm "$folder/server.csr" "$folder/server.ext"
fi

env=$folder/broker.env
if [ ! -e "$env" ]; then
    printf 'NATS_CERT_FILE=%s\nNATS_KEY_FILE=%s\n' "${NATS_CERT_FILE:-/etc/nats/server.crt}" \
        "${NATS_KEY_FILE:-/etc/nats/server.key}" > "$env"
fi
for role in ROUTER PUBLISHER HANDLER OPERATOR; do
    file=$folder/$(echo "$role" | tr '[:upper:]' '[:lower:]').nk
    [ ! -e "$file" ] || continue
    public=$("${SWITCHYARD:-switchyard}" nkey "$file")
    printf 'NATS_%s=%s\n' "$role" "$public" >> "$env"
done
[ -e "$folder/secrets.key" ] || openssl rand -base64 32 > "$folder/secrets.key"
chmod 644 "$folder"/*.nk "$folder/server.key" "$folder/secrets.key"
