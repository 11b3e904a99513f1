# Makes what the fleet shares and nobody has to know: the pepper, and Redis' password with the user
# that it belongs to. What is there stays. Everything belongs to the user that all services run as.
set -eu
umask 077
owner=65532:65532

# Whole or not at all, also when this is interrupted: keep FILE < its content
keep() {
    cat >"$1.new"
    chmod 0400 "$1.new"
    chown "$owner" "$1.new"
    mv "$1.new" "$1"
}

pepper=/run/secrets/keyward.pepper
password=/run/secrets/redis.password
users=/data/users.acl

if [ ! -s "$pepper" ] && [ -e /data/appendonlydir ]; then
    echo "the pepper is gone, and what Redis holds was sealed with it: put it back into the volume" >&2
    exit 1
fi
[ -s "$pepper" ] || head -c 32 /dev/urandom | keep "$pepper"
[ -s "$password" ] || head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' | keep "$password"
hash=$(sha256sum "$password" | cut -d ' ' -f 1)
keep "$users" <<EOT
user default reset on nopass +ping
user keyward reset on #$hash ~{kw}:* ~{kw:* +eval +evalsha +script|load +info +config|get +select +wait +time +get +set +@hash +@set +@sortedset +@stream +del +pexpire +pexpireat +ping
EOT
chown "$owner" /run/secrets /data
