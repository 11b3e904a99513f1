-- Records, newest first. ARGV: identity, the member after which it goes on ('+': the beginning), how many.
-- Answers its last member too: a page may have fewer records than members.
local members = redis.call('ZREVRANGEBYLEX', ORDER, ARGV[2], '-', 'LIMIT', 0, ARGV[3])
local ids = {}
for at, member in ipairs(members) do ids[at] = string.sub(member, 17) end
if #ids == 0 then return { epoch(), ids, {}, {} } end
return { epoch(), ids, redis.call('HMGET', RECORDS, unpack(ids)), redis.call('HMGET', USED, unpack(ids)),
  members[#members] }
