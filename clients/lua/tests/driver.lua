-- The driver for lectern conform: wire/SPEC.md, section 14.
local ffi = require "ffi"
local lectern = require "lectern"
local udp = require "lectern.socket"

ffi.cdef [[
int fork(void);
int waitpid(int pid, int *status, int options);
long read(int fd, void *b, size_t n);
void _exit(int status);
]]

local time, jam, names = 1767225600000, 0, {}
local emitter, child

local function clock() return time end

local function uint64(s)
	local n = 0ULL
	for digit in s:gmatch "%d" do n = n * 10ULL + tonumber(digit) end
	return n
end

local function decimal(n) return (tostring(n):gsub("ULL$", "")) end

local function dial(address)
	local host, port = address:match "^(.*):(%d+)$"
	return function()
		local to = names[host] or host
		if to:match "%.test$" then return nil, "no such name" end
		local socket, why = udp(to, tonumber(port))
		if not socket then return nil, why end
		return {
			send = function(_, datagram)
				if jam > 0 then
					jam = jam - 1
					return nil, "timeout"
				end
				return socket:send(datagram)
			end,
			close = function() socket:close() end,
		}
	end
end

-- Lets the emitter do all that needs no time.
local function quiet()
	if not emitter then return end
	for _ = 1, 100000 do
		local wait = emitter:step()
		if not wait or wait > 0 then return end
	end
end

local function options(words, from)
	local o = {}
	for i = from, #words do
		local key, value = words[i]:match "^(%w+)=(.*)$"
		o[key] = tonumber(value) or value
	end
	return o
end

local commands = {}

function commands.hello() return "ok client=lua/0.1.0 has=udp,resolve,jam,fork,names,attributes" end

function commands.resolve(w)
	names[w[2]] = w[3]
	return "ok"
end

function commands.dial(w)
	local o = options(w, 4)
	o.dial, o.now, o.wall, o.full = dial(w[3]), clock, clock, { timeout = true }
	local new = lectern.new(o)
	if not new then return "no invalid" end
	emitter = new
	return "ok"
end

function commands.add(w)
	local o = options(w, 5)
	local content, user = uint64(w[3]), uint64(w[4])
	for i = 0, (o.n or 1) - 1 do
		if not emitter then return "no closed" end
		local ok, why = emitter:take(w[2], content, user + i, o.at, o.dwell, o.progress)
		if not ok then return why == "closed" and "no closed" or "no invalid" end
	end
	return "ok"
end

local function unhex(s) return (s:gsub("%x%x", function(h) return string.char(tonumber(h, 16)) end)) end

function commands.name(w)
	if not emitter then return "no closed" end
	local ok, why = emitter:name(unhex(w[2] or ""))
	return ok and "ok" or why == "closed" and "no closed" or "no invalid"
end

function commands.describe(w)
	if not emitter then return "no closed" end
	local value = unhex(w[4] or "")
	if w[3] == "published" or w[3] == "words" then value = tonumber(value) or value end
	local ok, why = emitter:describe(uint64(w[2]), { [w[3]] = value })
	return ok and "ok" or why == "closed" and "no closed" or "no invalid"
end

local function closed() return not emitter or emitter:closed() end

function commands.flush()
	if closed() then return "no closed" end
	emitter:flush()
	return "ok"
end

function commands.poll() return "ok" end

function commands.clock(w)
	time = time + tonumber(w[2])
	quiet()
	return emitter and emitter:closed() and "ok closed" or "ok"
end

function commands.stats()
	local s = emitter and emitter:stats() or {}
	local words = { "ok" }
	for _, key in ipairs { "added", "sent", "buffered", "queue", "socket", "closed" } do
		words[#words + 1] = key .. "=" .. (s[key] or 0)
	end
	return table.concat(words, " ")
end

function commands.close(w)
	if closed() then return "no closed" end
	emitter:close(tonumber(w[2]))
	quiet()
	return emitter:closed() and "ok closed" or "ok closing"
end

function commands.jam(w)
	jam = tonumber(w[2])
	return "ok"
end

function commands.hash(w)
	return "ok id=" .. decimal(lectern.id(unhex(w[2] or "")))
end

function commands.fork()
	io.stdout:flush()
	local pid = ffi.C.fork()
	if pid == 0 then
		child = true
		return "ok"
	end
	ffi.C.waitpid(pid, nil, 0)
	return "ok"
end

function commands.exit()
	if child then ffi.C._exit(0) end
	return "ok"
end

-- A line, and not a byte more: after a fork another process reads on.
local byte = ffi.new "char[1]"
local function line()
	local out = {}
	while ffi.C.read(0, byte, 1) == 1 do
		if byte[0] == 10 then return table.concat(out) end
		out[#out + 1] = string.char(byte[0])
	end
end

io.stdout:setvbuf "no"
for text in line do
	if not text:match "^#" then
		local w = {}
		for word in text:gmatch "%S+" do w[#w + 1] = word end
		-- What came before the command is read before it, and what it makes due is done.
		quiet()
		local ok, answer = pcall(commands[w[1]] or function() error "unknown command" end, w)
		answer = ok and answer or "error " .. tostring(answer)
		quiet()
		io.stdout:write(answer, "\n")
	end
end
