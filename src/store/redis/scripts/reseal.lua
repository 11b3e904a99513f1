-- Replaces what is sealed in records that have not been changed since; announces nothing.
-- ARGV: identity, then of each record: id, state, revision, sealed.
local replaced = 0
for at = 2, #ARGV, 4 do
  local stored = redis.call('HGET', RECORDS, ARGV[at])
  if stored then
    local _, state, revision = string.match(stored, HEAD)
    if state == ARGV[at + 1] and revision == ARGV[at + 2] then
      local _, behind = string.find(stored, HEAD)
      redis.call('HSET', RECORDS, ARGV[at], string.sub(stored, 1, behind) .. ARGV[at + 3])
      replaced = replaced + 1
    end
  end
end
return { epoch(), replaced }
