-- Takes a gateway out, if its beat is the one that was judged. ARGV: identity, id, beat or ''.
local entry = redis.call('HGET', GATEWAYS, ARGV[2])
if not entry then return 0 end
local beat = string.match(entry, '^%x+ %d+ %x+ (%d+) ') or '0'
if ARGV[3] ~= '' and ARGV[3] ~= beat then return 0 end
redis.call('HDEL', GATEWAYS, ARGV[2])
redis.call('ZREM', BEATS, ARGV[2])
moved()
return 1
