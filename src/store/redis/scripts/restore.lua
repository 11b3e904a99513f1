-- Gives an empty store the identity of one that was lost, so that its gateways write back what they
-- know. ARGV: '', identity, format, check value or ''.
if identity then return redis.error_reply('NOTOURS ' .. identity) end
if redis.call('HLEN', RECORDS) > 0 then return redis.error_reply('NOTOURS none') end
redis.call('HSET', META, 'identity', ARGV[2], 'format', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', META, 'check', ARGV[4]) end
return 1
