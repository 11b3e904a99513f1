-- What has moved in the register. ARGV: identity, the moves that were seen already.
local moves = redis.call('HGET', META, 'moves') or '0'
if moves == ARGV[2] then return { epoch(), moves, 0, {} } end
local ids = redis.call('ZRANGEBYSCORE', BEATS, '(' .. ARGV[2], '+inf')
local entries = {}
for at, id in ipairs(ids) do
  entries[2 * at - 1] = id
  entries[2 * at] = redis.call('HGET', GATEWAYS, id)
end
return { epoch(), moves, redis.call('ZCARD', BEATS), entries }
