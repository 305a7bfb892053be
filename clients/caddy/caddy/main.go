// Command caddy is Caddy with all of its own modules, and this one.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/lectern/lectern/clients/caddy"
)

func main() { caddycmd.Main() }
