-- Enters a gateway, what it has applied and a new beat, and reads what came after that.
-- ARGV: identity, id, epoch, number, nonce, card, how many changes; number and nonce of what was heard
-- behind that, or 0 and 0.
local now = epoch()
local number, nonce = ARGV[4], ARGV[5]
local beat = moved()
redis.call('ZADD', BEATS, beat, ARGV[2])
-- Who is lost is waited for like everybody, and has confirmed nothing of this past.
if ARGV[3] ~= now or not stands(number, nonce) then
  redis.call('HSET', GATEWAYS, ARGV[2], table.concat({ '0', 0, '0', beat, ARGV[6] }, ' '))
  return { 'lost', now }
end
-- What was heard, whoever said it, counts where it stands: then all that it came after does.
local heard = ARGV[8] ~= '0' and stands(ARGV[8], ARGV[9])
if heard then number, nonce = ARGV[8], ARGV[9] end
local made = redis.call('HSET', GATEWAYS, ARGV[2], table.concat({ now, number, nonce, beat, ARGV[6] }, ' '))
local changes = redis.call('XRANGE', CHANGES, '(' .. number .. '-0', '+', 'COUNT', ARGV[7])
local opened = redis.call('HGET', META, 'opened') == now
return { 'followed', now, heard and 1 or 0, opened and 1 or 0, made, redis.call('TIME'), changes }
