-- The first of these positions that stands in the stream. ARGV: identity, then number and nonce by turns.
for at = 2, #ARGV, 2 do
  if stands(ARGV[at], ARGV[at + 1]) then return { epoch(), (at - 2) / 2 } end
end
return { epoch(), -1 }
