-- Lectern in nginx or OpenResty: an emitter of each worker, one timer that sends.
--
--	init_worker_by_lua_block {
--		reads = require("lectern.nginx").start { host = "127.0.0.1", port = 8420, stream = 1 }
--	}
--	log_by_lua_block { reads:open(ngx.var.uri, ngx.var.remote_addr) }
--
-- The log phase has no sockets, and one that a handler made ends with it. So events
-- are packed where they happen, finished datagrams wait in a ring, and one handler,
-- that of a timer which never ends, has the socket.
local lectern = require "lectern"

local ngx = ngx
local GRACE = 1000 -- ms without an event, until an ending worker's last beats
local WAIT_MAX = 0.25 -- s

local function dial(o)
	return function()
		local udp = ngx.socket.udp()
		local ok, why = udp:setpeername(o.host, o.port)
		if not ok then return nil, "lectern: cannot reach " .. o.host .. ": " .. tostring(why) end
		return {
			send = function(_, datagram)
				local sent, e = udp:send(datagram)
				if sent then return true end
				return nil, e, e == "connection refused"
			end,
			close = function() udp:close() end,
		}
	end
end

local function wall()
	ngx.update_time()
	return math.floor(ngx.now() * 1000)
end

-- Calls the emitter's step when it is due, until the worker ends.
local function run(premature, emitter)
	if premature then return end
	local wait = emitter:step()
	local added, quiet = 0, wall()
	while wait do
		ngx.sleep(math.min(WAIT_MAX, math.max(wait / 1000, 0.001)))
		local stats, now = emitter.counts, wall()
		if stats.added ~= added then added, quiet = stats.added, now end
		if ngx.worker.exiting() and not emitter.closing and now - quiet >= GRACE then emitter:close() end
		wait = emitter:step()
	end
	local s = emitter:stats()
	if s.queue + s.socket + s.closed > 0 then
		ngx.log(ngx.WARN, "lectern: of ", s.added, " events were dropped: queue ", s.queue, ", socket ", s.socket, ", closed ", s.closed)
	end
end

local M = {}

-- Starts the worker's emitter; call it in init_worker_by_lua. Beside host, port and
-- stream, o may have flush, datagram, age and ring: see README.md.
function M.start(o)
	local settings = setmetatable({}, { __index = o })
	settings.now, settings.wall, settings.getpid = wall, wall, ngx.worker.pid
	settings.dial, settings.lazy, settings.eager = dial(o), true, false
	local emitter = assert(lectern.new(settings))
	assert(ngx.timer.at(0, run, emitter))
	return emitter
end

return M
