-- A reader's visit, over UDP, to a daemon on 127.0.0.1:8420.
local lectern = require "lectern"

local emitter = assert(lectern.udp { host = "127.0.0.1", port = 8420, stream = 1 })
emitter:open("/articles/42", "reader-9")
emitter:read("/articles/42", "reader-9", 10000)
emitter:add { kind = "finish", content = "/articles/42", user = "reader-9", dwell = 18500, progress = 100 }
emitter:step() -- a program that goes on calls it when it says, or four times a second
local stats = lectern.close(emitter)
print(("added %d, sent %d"):format(stats.added, stats.sent))
