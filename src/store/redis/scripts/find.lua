-- ARGV: identity, id.
local now = epoch()
local opened = redis.call('HGET', META, 'opened') == now
return { now, opened and 1 or 0, redis.call('HGET', RECORDS, ARGV[2]), redis.call('HGET', USED, ARGV[2]) }
