-- Takes and announces what is missing here, or is here in an older state.
-- ARGV: identity, kept, then of each record: id, state, revision, head, sealed, nonce, member.
local taken = 0
for at = 3, #ARGV, 7 do
  local id, stored = ARGV[at], redis.call('HGET', RECORDS, ARGV[at])
  if not stored or yields(stored, ARGV[at + 1], ARGV[at + 2]) then
    announce(id, ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[2])
    taken = taken + 1
  end
end
return { epoch(), taken }
