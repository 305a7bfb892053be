-- XXH64 with seed 0.
local ffi = require "ffi"
local bit = require "bit"

local P1, P2 = 0x9E3779B185EBCA87ULL, 0xC2B2AE3D27D4EB4FULL
local P3, P4, P5 = 0x165667B19E3779F9ULL, 0x85EBCA77C2B2AE63ULL, 0x27D4EB2F165667C5ULL
local rol, bxor, rshift = bit.rol, bit.bxor, bit.rshift
local words, halves = ffi.typeof "const uint64_t *", ffi.typeof "const uint32_t *"
local bytes = ffi.typeof "const uint8_t *"

local function round(lane, input) return rol(lane + input * P2, 31) * P1 end

local function merge(h, lane) return bxor(h, round(0ULL, lane)) * P1 + P4 end

-- The id of content or of a reader that has a text and no number, as a uint64_t.
return function(text)
	local p, left = ffi.cast(bytes, text), #text
	local h = P5
	if left >= 32 then
		local v1, v2, v3, v4 = P1 + P2, P2, 0ULL, 0ULL - P1
		while left >= 32 do
			local w = ffi.cast(words, p)
			v1, v2 = round(v1, w[0]), round(v2, w[1])
			v3, v4 = round(v3, w[2]), round(v4, w[3])
			p, left = p + 32, left - 32
		end
		h = rol(v1, 1) + rol(v2, 7) + rol(v3, 12) + rol(v4, 18)
		h = merge(merge(merge(merge(h, v1), v2), v3), v4)
	end
	h = h + #text
	while left >= 8 do
		h = rol(bxor(h, round(0ULL, ffi.cast(words, p)[0])), 27) * P1 + P4
		p, left = p + 8, left - 8
	end
	if left >= 4 then
		h = rol(bxor(h, ffi.cast(halves, p)[0] * P1), 23) * P2 + P3
		p, left = p + 4, left - 4
	end
	for i = 0, left - 1 do h = rol(bxor(h, p[i] * P5), 11) * P1 end
	h = bxor(h, rshift(h, 33)) * P2
	h = bxor(h, rshift(h, 29)) * P3
	return bxor(h, rshift(h, 32))
end
