-- Reads what all gateways have counted of a key. KEYS: its days. A list of hours and their counts.
local all = {}
for _, day in ipairs(KEYS) do
  for _, value in ipairs(redis.call('HGETALL', day)) do all[#all + 1] = value end
end
return all
