-- Vectors, packer properties, and what becomes of events that there is no room for.
local ffi = require "ffi"
local bit = require "bit"
local lectern = require "lectern"
local packer = require "lectern.packer"

local passed = 0

local function check(ok, ...)
	if not ok then error(("%s"):rep(select("#", ...), " "):format(...), 2) end
	passed = passed + 1
end

local function hex(s) return (s:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

local function unhex(s) return (s:gsub("%s", ""):gsub("%x%x", function(h) return string.char(tonumber(h, 16)) end)) end

local function uint64(s)
	local n = 0ULL
	for digit in s:gmatch "%d" do n = n * 10ULL + tonumber(digit) end
	return n
end

-- A number of n bytes of s at i, and what is behind it.
local function number(s, i, n)
	local v = 0ULL
	for j = n - 1, 0, -1 do v = v * 256ULL + s:byte(i + j) end
	return v, i + n
end

-- Reads all frames of s, byte by byte, sharing nothing with what writes them.
local function decode(s)
	local frames, i = {}, 1
	local v
	while i <= #s do
		local f = { events = {}, names = {}, start = i }
		local names = s:byte(i + 2) == 0x15
		check(names or s:sub(i, i + 3) == "LE\17\0", "no header of events or names")
		f.size = s:byte(i + 4) + 256 * s:byte(i + 5)
		f.count = s:byte(i + 6) + 256 * s:byte(i + 7)
		f.stream = s:byte(i + 8) + 256 * s:byte(i + 9)
		v = number(s, i + 10, 6)
		f.time = tonumber(v)
		f.source, f.sequence, f.position = number(s, i + 16, 8), tonumber((number(s, i + 24, 8))), tonumber((number(s, i + 32, 8)))
		i = i + 40
		local content, user
		for n = 1, f.count do
			local lengths, shape = s:byte(i, i + 1)
			i = i + 2
			local c, u = math.floor(lengths / 16), lengths % 16
			check(n > 1 or c > 0 and u > 0, "the first event inherits")
			if c > 0 then content, i = number(s, i, c) end
			if u > 0 then user, i = number(s, i, u) end
			local at, dwell, progress
			at, i = number(s, i, math.floor(shape / 8) % 4)
			dwell, i = number(s, i, math.floor(shape / 32) % 4)
			if shape >= 128 then progress, i = s:byte(i), i + 1 end
			f.events[n] = {
				kind = shape % 8, content = content, user = user,
				time = f.time + tonumber(at), dwell = tonumber(dwell), progress = progress,
			}
		end
		while names and i < f.start + f.size do
			local length, content = s:byte(i + 1) + 256 * s:byte(i + 2), number(s, i + 3, 8)
			local text = s:sub(i + 11, i + 10 + length)
			local attribute = s:byte(i)
			check(attribute > 0 or content == lectern.id(text), "no name of its content")
			if attribute > 0 then text = ("<%d %s %s>"):format(attribute, tostring(content):match "%d+", text) end
			f.names[#f.names + 1], i = text, i + 11 + length
		end
		check(i - f.start == f.size, "count or size are wrong")
		frames[#frames + 1] = f
	end
	return frames
end

-- The vectors that an emitter without sessions and seals writes.
local function vectors()
	local kinds = { open = 0, read = 1, finish = 2, save = 3, share = 4, impression = 5, click = 6 }
	local attributes = { name = 0, title = 1, section = 2, author = 3, published = 4, words = 5 }
	local done, said = 0, 0
	for path in io.popen("ls ../../wire/testdata/vectors/*.txt"):lines() do
		local f = assert(io.open(path))
		local head, dump = f:read("*a"):match "^(.-)\n\n(.*)$"
		f:close()
		local other = head:match "minimal: no" or head:match "seal:" or head:match "type=[har]"
		if head and head:match "expect: ok" and not other then
			local got, before = {}, nil
			for line in head:gmatch "[^\n]+" do
				local key, rest = line:match "^(%a+): (.*)$"
				local v = {}
				for name, value in rest:gmatch "(%a+)=(%S+)" do v[name] = value end
				if key == "frame" then
					local p = packer.new(tonumber(v.stream), 1400)
					p.source, p.sequence = uint64(v.source), uint64(v.sequence)
					p.position = uint64(v.position)
					p:header(tonumber(v.size), tonumber(v.count), tonumber(v.time), v.type == "names" and 0x15 or nil)
					got[#got + 1] = ffi.string(p.buffer, 40)
					before = nil
				elseif key == "name" then
					local text = rest:match " text=(.*)$"
					got[#got + 1] = packer.name(attributes[v.attribute], uint64(v.content), text)
					check(v.attribute ~= "name" or lectern.id(text) == uint64(v.content), path, "an id is the hash of the name")
					said = said + 1
				elseif key == "event" then
					local e = ffi.new("lectern_event", uint64(v.content), uint64(v.user), 0, tonumber(v.dwell), kinds[v.kind])
					e.progress = v.progress == "-" and -1 or tonumber(v.progress)
					local b = ffi.new("uint8_t[40]")
					local same = before and before.content == e.content
					local behind = packer.put(b, e, tonumber(v.at), same, before and before.user == e.user)
					got[#got + 1] = ffi.string(b, behind - b)
					before = e
				end
			end
			check(table.concat(got) == unhex(dump), path, hex(table.concat(got)))
			done = done + 1
		end
	end
	check(done >= 47 and said >= 12, "vectors:", done, "names:", said)
end

local function hashes()
	local text = ("The quick brown fox jumps over the lazy dog. "):rep(5)
	-- By another implementation (github.com/cespare/xxhash).
	for n, want in pairs {
		[0] = 0xef46db3751d8e999ULL, [1] = 0x5b4d6af247a3cf7bULL, [3] = 0x4108f90b5de14d15ULL, [4] = 0xcdf13a49d263200fULL,
		[5] = 0xf0d7a3adcfa8c683ULL, [7] = 0xc6fce9d72e310949ULL, [8] = 0xd07b38a78a153b0bULL, [9] = 0x9d1214db001dfc69ULL,
		[12] = 0xb2ed38017844f789ULL, [13] = 0xed6dc8c5841a51e4ULL, [16] = 0x0f7e67014943a311ULL, [31] = 0x3f8d95ab32c127d9ULL,
		[32] = 0xe2bbc9136629a4eeULL, [33] = 0x6d92fe2ebab7db31ULL, [36] = 0x9457ee2b0cace793ULL, [47] = 0x60d0416764fbd063ULL,
		[63] = 0xdfaec775b4e0369fULL, [64] = 0xf38b75aac47f6e3aULL, [100] = 0x748b482c10d9fb2aULL, [200] = 0xff798b7ab5da97cbULL,
	} do
		check(lectern.id(text:sub(1, n)) == want, n, "bytes")
	end
end

local function pick(list) return list[math.random(#list)] end

-- What goes in comes out, for so many random sequences.
local function properties(seeds)
	local names = { "open", "read", "finish", "save", "share" }
	for seed = 1, seeds do
		math.randomseed(seed)
		local max = pick { 65, 100, 1400, 32768, 65507 }
		local p = packer.new(seed, max)
		local sent, want, now = {}, {}, 1700000000000
		for i = 1, 2000 do
			now = now + math.random(0, 50)
			local jump = pick { 0, 1, 200, 300, 70000, 2 ^ 24 - 1, 2 ^ 24, 2 ^ 40 }
			local small = bit.rshift(0ULL - math.random(2 ^ 30), math.random(0, 63))
			local ids = { 0ULL, 1ULL, 255ULL, 256ULL, 2 ^ 40 + 0ULL, 0ULL - 1ULL, small }
			local kind = math.random(5)
			local e = {
				kind = kind - 1, content = pick(ids), user = pick(ids), time = now + math.random(0, jump) - pick { 0, 0, 300 },
				dwell = math.floor(math.random(0, 2 ^ 24 - 1) / 2 ^ math.random(0, 24)),
				progress = pick { false, math.random(0, 100) } or nil,
			}
			local function add() return p:add(names[kind], e.content, e.user, e.time, e.dwell, e.progress) end
			if not add() then
				sent[#sent + 1] = p:finish()
				check(add(), "seed", seed, "an empty frame takes any event")
			end
			want[i] = e
			if math.random(100) == 1 then sent[#sent + 1] = p:beat(now) end
		end
		sent[#sent + 1] = p:finish()
		local n, position = 0, 0
		for i, f in ipairs(decode(table.concat(sent))) do
			check(f.sequence == i - 1 and f.position == position and f.source == p.source, "seed", seed, "frame", i)
			check(f.size <= max and f.stream == seed, "seed", seed, "a frame of", f.size)
			local oldest = math.huge
			for _, e in ipairs(f.events) do
				n = n + 1
				for _, key in ipairs { "kind", "content", "user", "time", "dwell", "progress" } do
					check(e[key] == want[n][key], "seed", seed, "event", n, key, tostring(e[key]), tostring(want[n][key]))
				end
				oldest = math.min(oldest, e.time)
			end
			check(f.count == 0 or oldest == f.time, "seed", seed, "the time is not the oldest event's")
			position = position + f.count
		end
		check(n == #want, "seed", seed, n, "events")
	end
end

-- A ring that is full drops datagrams, numbered, and the first beats come first.
local function ring()
	local time, sent, down = 1767225600000, {}, true
	local emitter = assert(lectern.new {
		stream = 7, lazy = true, eager = false, ring = 8,
		now = function() return time end, wall = function() return time end,
		dial = function()
			if down then return nil, "no socket" end
			return { send = function(_, s) sent[#sent + 1] = s; return true end, close = function() end }
		end,
	})
	local function balanced()
		local s = emitter:stats()
		check(s.added == s.sent + s.buffered + s.queue + s.socket + s.closed, "the stats do not add up")
		return s
	end
	for i = 1, 5000 do
		assert(emitter:open(i * 1e9, i * 1e6))
		balanced()
	end
	emitter:step()
	check(emitter:trouble() == "no socket" and #sent == 0, "nothing is sent yet")
	local dropped = balanced().queue
	check(dropped > 3000, dropped, "were dropped")
	down, time = false, time + 2000
	emitter:step()
	emitter:close()
	while emitter:step() do
		time = time + 10
		balanced()
	end
	local frames = decode(table.concat(sent))
	local counted = 0
	for i, f in ipairs(frames) do
		check(i > 3 or f.sequence == i - 1 and f.count == 0, "the first beats")
		counted = counted + f.count
	end
	local last = frames[#frames]
	check(last.count == 0 and last.position == 5000, "the last beat says how many there were")
	check(counted == 5000 - dropped, counted, "events were sent")
	check(not emitter:open(1, 1), "a closed emitter takes nothing")
	check(balanced().closed == 1)
end

-- A name goes out once an hour, in a datagram of its own behind the events.
local function names()
	local time, sent = 1767225600000, {}
	local emitter = assert(lectern.new {
		stream = 7, ring = 4, age = 2 ^ 40,
		now = function() return time end, wall = function() return time end,
		dial = function() return { send = function(_, s) sent[#sent + 1] = s; return true end, close = function() end } end,
	})
	local function said()
		local all = {}
		for _, f in ipairs(decode(table.concat(sent))) do
			for _, text in ipairs(f.names) do all[#all + 1] = text end
		end
		return table.concat(all, " ")
	end
	local function pass(ms)
		for _ = 1, ms / 10 do
			time = time + 10
			emitter:step()
		end
	end
	for _ = 1, 3 do check(emitter:name "/a") end
	check(emitter:name "/\195\169")
	pass(240)
	check(said() == "", "names wait for others")
	pass(10)
	check(said() == "/a /\195\169", said())
	pass(59 * 60000)
	check(emitter:name "/a")
	emitter:flush()
	check(said() == "/a /\195\169", "within the hour:", said())
	pass(60000)
	emitter:open("/a", 1)
	check(emitter:name "/a")
	emitter:flush()
	check(said() == "/a /\195\169 /a", "an hour later:", said())
	local frames = decode(table.concat(sent))
	local last = frames[#frames]
	check(#last.names == 1 and last.position == 1 and last.sequence == #frames - 1, "behind the events")
	for _, wrong in ipairs { "", ("x"):rep(513), "\255", "\192\128", "\237\160\128", "\244\144\128\128", "\195", 5 } do
		local ok, why = emitter:name(wrong)
		check(ok == nil and why:match "^name not taken", tostring(why))
	end
	for _, right in ipairs { ("x"):rep(512), "\194\128", "\237\159\191", "\238\128\128", "\244\143\191\191", "\240\144\128\128", "a\0b" } do
		check(emitter:name(right), "good UTF-8")
	end
	-- What is remembered is bounded.
	for n = 1, 100000 do check(emitter:name("/" .. n)) end
	local remembered = 0
	for _, generation in ipairs { emitter.said, emitter.saidbefore } do
		for _ in pairs(generation) do remembered = remembered + 1 end
	end
	check(remembered >= 4096 and remembered <= 8192, remembered, "names are remembered")
	emitter:flush()
	local before = #sent
	check(emitter:name "/99999")
	emitter:flush()
	check(#sent == before, "the newest is remembered")
	for _, s in ipairs(sent) do check(#s <= 1400, "a datagram of", #s) end
	emitter:close()
	check(select(2, emitter:name "/late") == "closed")
end

-- An attribute goes out when it changes, once an hour, and the last one counts.
local function attributes()
	local time, sent = 1767225600000, {}
	local emitter = assert(lectern.new {
		stream = 7, age = 2 ^ 40,
		now = function() return time end, wall = function() return time end,
		dial = function() return { send = function(_, s) sent[#sent + 1] = s; return true end, close = function() end } end,
	})
	local function said()
		emitter:flush()
		local all = {}
		for _, f in ipairs(decode(table.concat(sent))) do
			for _, text in ipairs(f.names) do all[#all + 1] = text end
		end
		sent = {}
		return table.concat(all)
	end
	local a = tostring(lectern.id "/a"):match "%d+"
	for _ = 1, 3 do check(emitter:describe("/a", { title = "\195\137", published = 1767225600000, words = 1200 })) end
	local got = said()
	check(got == ("<1 %s \195\137><4 %s 1767225600000><5 %s 1200>"):format(a, a, a), got)
	check(emitter:describe(lectern.id "/a", { title = "B" }) and emitter:describe("/a", { title = "\195\137" }))
	check(emitter:describe(42, { words = 1200, section = "B", author = "" }) and emitter:describe("/a", { words = "" }))
	got = said()
	check(got == ("<1 %s B><1 %s \195\137><2 42 B><3 42 ><5 42 1200><5 %s >"):format(a, a, a), got)
	time = time + 3599999
	check(emitter:describe("/a", { title = "\195\137", words = "" }))
	check(said() == "", "within the hour")
	time = time + 1
	check(emitter:describe("/a", { title = "\195\137" }))
	got = said()
	check(got == ("<1 %s \195\137>"):format(a), got)
	for _, wrong in ipairs {
		{ title = ("x"):rep(513) }, { title = "\255" }, { section = 5 }, { words = -1 }, { words = 1.5 }, { words = "many" },
		{ published = 2 ^ 48 }, { published = 0 / 0 }, { name = "/a" }, { titel = "A" }, { title = "never", words = -1 },
	} do
		local ok, why = emitter:describe(42, wrong)
		check(ok == nil and why:match "not taken", tostring(why))
	end
	check(select(2, emitter:describe({}, { title = "A" })):match "not taken")
	check(said() == "", "what is wrong is not said")
	check(emitter:describe(42, { title = ("x"):rep(512), published = 2 ^ 48 - 1, words = 0 }))
	got = said()
	check(got == ("<1 42 %s><4 42 281474976710655><5 42 0>"):format(("x"):rep(512)), got)
	for n = 1, 100000 do check(emitter:describe(n, { title = "A" })) end
	local remembered = 0
	for _, generation in ipairs { emitter.said, emitter.saidbefore } do
		for _ in pairs(generation) do remembered = remembered + 1 end
	end
	check(remembered >= 4096 and remembered <= 8192, remembered, "attributes are remembered")
	emitter:close()
	check(select(2, emitter:describe(42, { title = "late" })) == "closed")
end

-- While the ring is full, names wait, and those for which there is no room are said with the next call.
local function namesinring()
	local time, sent, down = 1767225600000, {}, true
	local emitter = assert(lectern.new {
		stream = 7, lazy = true, eager = false, ring = 4,
		now = function() return time end, wall = function() return time end,
		dial = function()
			if down then return nil, "no socket" end
			return { send = function(_, s) sent[#sent + 1] = s; return true end, close = function() end }
		end,
	})
	local refused = 0
	for n = 1, 200 do
		local ok, why = emitter:name(("/" .. ("0"):rep(100) .. n))
		if not ok then
			check(why == "full", why)
			refused = refused + 1
		end
	end
	check(refused > 100, refused, "had no room")
	down, time = false, time + 2000
	emitter:step()
	for n = 1, 200 do
		check(emitter:name(("/" .. ("0"):rep(100) .. n)))
		emitter:step()
	end
	emitter:flush()
	emitter:step()
	local seen = {}
	for _, f in ipairs(decode(table.concat(sent))) do
		for _, text in ipairs(f.names) do
			check(not seen[text], text, "twice")
			seen[text] = true
		end
	end
	for n = 1, 200 do check(seen[("/" .. ("0"):rep(100) .. n)], n, "is not said") end
end

local function faults()
	local time = 1767225600000
	local function clock() return time end
	local socket = { send = function() return true end, close = function() end }
	local emitter = assert(lectern.new { stream = 1, now = clock, wall = clock, dial = function() return socket end })
	for _, wrong in ipairs {
		{ "look", 1, 1 }, { "open", -1, 1 }, { "open", 1.5, 1 }, { "open", 2 ^ 53, 1 }, { "open", 1, {} }, { "open", nil, 1 },
		{ "read", 1, 1, 2 ^ 48 }, { "read", 1, 1, 1700000000 }, { "read", 1, 1, time, -1 }, { "read", 1, 1, time, 1, 101 },
		{ "read", 1, 1, time, 1, 0.5 }, { "read", 1, 1, 0 / 0 },
	} do
		local ok, why = emitter:take(unpack(wrong, 1, 6))
		check(ok == nil and why:match "^event not taken", tostring(why))
	end
	check(emitter:stats().added == 0)
	for _, wrong in ipairs { { stream = 65535 }, { stream = 1, datagram = 64 }, { stream = 1, age = 10 }, {} } do
		wrong.now, wrong.wall, wrong.dial = clock, clock, function() return socket end
		check(not lectern.new(wrong), "these options are not good")
	end
end

vectors()
hashes()
properties(40)
ring()
names()
attributes()
namesinring()
faults()
print(passed .. " passed, 0 failed")
