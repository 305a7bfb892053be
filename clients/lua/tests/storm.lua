-- Forks processes that go on with the emitter that they inherit, as a pre-fork server.
local ffi = require "ffi"
local lectern = require "lectern"

ffi.cdef "int fork(void); int waitpid(int pid, int *status, int options); void _exit(int status);"

local way, address, stream, processes, events = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4]), tonumber(arg[5])
if way ~= "udp" then
	print "NOT RUN: this client has no TCP"
	os.exit(77)
end
local host, port = address:match "^(.*):(%d+)$"
local emitter = assert(lectern.udp { host = host, port = tonumber(port), stream = stream })
assert(emitter:open(1, 1))
local children = {}
for p = 1, processes do
	local pid = ffi.C.fork()
	if pid == 0 then
		for i = 1, events do assert(emitter:open(p, i)) end
		local s = lectern.close(emitter)
		ffi.C._exit(s.added == events and 0 or 1)
	end
	children[p] = pid
end
local added = 0
local status = ffi.new "int[1]"
for _, pid in ipairs(children) do
	ffi.C.waitpid(pid, status, 0)
	if status[0] == 0 then added = added + events end
end
assert(emitter:open(1, 2))
print("added=" .. added + lectern.close(emitter).added)
