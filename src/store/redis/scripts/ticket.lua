-- The end of the changes, and who is in the register. It writes, so that WAIT speaks of all before it.
local place = last()
return { epoch(), place[1], place[2], moved(), redis.call('HGETALL', GATEWAYS) }
