-- Opens the store, or makes it where there is none. ARGV: '', the identity of a new one, its format.
if not identity then
  if redis.call('HLEN', RECORDS) > 0 then return redis.error_reply('NOTOURS none') end
  redis.call('HSET', META, 'identity', ARGV[2], 'format', ARGV[3], 'opened', epoch())
end
local meta = redis.call('HMGET', META, 'identity', 'format', 'check')
return { meta[1], meta[2], meta[3], redis.call('HLEN', RECORDS), epoch(), last() }
