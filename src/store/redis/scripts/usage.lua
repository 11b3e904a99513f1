-- Reads what all gateways have counted of a key. KEYS: its days. A list of hours and their counts.
local all = {}
for _, day in ipairs(KEYS) do
  -- What is no hash somebody else has put there.
  for _, value in ipairs(redis.pcall('HGETALL', day)) do all[#all + 1] = value end
end
return all
