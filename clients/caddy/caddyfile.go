package caddylectern

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("lectern", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(Handler)
		return handler, handler.UnmarshalCaddyfile(h.Dispenser)
	})
	// Before all that answers, and behind what may answer in its place.
	httpcaddyfile.RegisterDirectiveOrder("lectern", httpcaddyfile.Before, "root")
}

// UnmarshalCaddyfile is part of caddyfile.Unmarshaler:
//
//	lectern [<matcher>] {
//		to         tcp://host:port
//		stream     <number>
//		queue      <directory>
//		queue_size <size>
//		user       <text with placeholders> | none
//		skip       <patterns...>
//		key_file   <path>
//		audience   <name>
//		tls_ca     <path>
//		tls_cert   <path>
//		tls_key    <path>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if d.NextArg() {
		return d.ArgErr()
	}
	texts := map[string]*string{
		"to": &h.To, "queue": &h.Queue, "user": &h.User, "key_file": &h.KeyFile, "audience": &h.Audience,
		"tls_ca": &h.TLSCA, "tls_cert": &h.TLSCert, "tls_key": &h.TLSKey,
	}
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		name := d.Val()
		args := d.RemainingArgs()
		if seen[name] {
			return d.Errf("%s is there twice", name)
		}
		seen[name] = true
		if name == "skip" && len(args) > 0 {
			h.Skip = args
			continue
		}
		if len(args) != 1 {
			return d.Errf("%s wants one value", name)
		}
		switch text := texts[name]; {
		case text != nil:
			*text = args[0]
		case name == "stream":
			n, err := strconv.ParseUint(args[0], 10, 16)
			if err != nil {
				return d.Errf("stream: %q is not a number from 0 to 65534", args[0])
			}
			h.Stream = uint16(n)
		case name == "queue_size":
			n, err := humanize.ParseBytes(args[0])
			if err != nil || n > 1<<40 {
				return d.Errf("queue_size: %q is not a size, such as 64MiB", args[0])
			}
			h.QueueSize = int(n)
		default:
			return d.Errf("there is no %s", name)
		}
	}
	if !seen["to"] || !seen["stream"] {
		return d.Err("to and stream are wanted")
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Handler)(nil)
