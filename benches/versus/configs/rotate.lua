-- Sends the same request with one key after the other, spelled out beforehand.
local keys = { @KEYS@ }
local count = #keys
local requests = {}
local last = 0

function init()
    for i, key in ipairs(keys) do
        requests[i] = wrk.format("GET", "/v1/orders/42", {
            ["User-Agent"] = "orders-client/2.4",
            ["Accept"] = "application/json",
            ["api-key"] = key,
        })
    end
end

function request()
    last = last % count + 1
    return requests[last]
end

-- The last line of the output is for the benchmark, not for people.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"refused":%d,"broken":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
