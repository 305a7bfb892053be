package accesslog

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/lectern/lectern/wire"
)

// field is what a member of a JSON line means.
type field int

const (
	fieldTime field = iota
	fieldClient
	fieldForwarded
	fieldRequest
	fieldMethod
	fieldTarget
	fieldStatus
	fieldAgent
	fieldSampled
	fieldCount
)

// FieldNames are the meanings that a field of JSON lines can have.
var FieldNames = []string{"time", "client", "forwarded", "request", "method", "target", "status", "agent", "sampled"}

// fields are, by meaning, the members to look for, the first that is there.
type fields [fieldCount][]member

// member is the name of a member of an object, whole and by the points in it.
type member struct {
	name string
	path []string
}

// knownFields are the names that nginx (by the variables that its documentation
// uses), Caddy, Traefik, Envoy (also as Istio sets it up) and Cloudflare give.
var knownFields = [fieldCount]string{
	fieldTime:      "time time_iso8601 time_local msec timestamp @timestamp ts StartUTC start_time StartLocal EdgeStartTimestamp",
	fieldClient:    "remote_addr request.client_ip request.remote_ip ClientHost ClientAddr downstream_remote_address downstream_direct_remote_address client_ip remote_ip client ClientIP",
	fieldForwarded: "http_x_forwarded_for x_forwarded_for x-forwarded-for request.headers.X-Forwarded-For request_X-Forwarded-For",
	fieldRequest:   "request request_line",
	fieldMethod:    "request_method request.method RequestMethod method ClientRequestMethod",
	fieldTarget:    "request_uri request.uri RequestPath x-envoy-original-path x_envoy_original_path path uri url ClientRequestURI",
	fieldStatus:    "status DownstreamStatus OriginStatus response_code status_code EdgeResponseStatus",
	fieldAgent:     "http_user_agent request.headers.User-Agent request_User-Agent user_agent user-agent agent ClientRequestUserAgent",
	fieldSampled:   "sample_interval SampleInterval sample_rate SampleRate",
}

var known = func() (f fields) {
	for i, names := range knownFields {
		for name := range strings.FieldsSeq(names) {
			f[i] = append(f[i], memberOf(name))
		}
	}
	return f
}()

func memberOf(name string) member { return member{name, strings.Split(name, ".")} }

// name sets the fields to the known ones but for those that are named.
func (f *fields) name(named map[string]string) error {
	*f = known
	for meaning, name := range named {
		i := slices.Index(FieldNames, meaning)
		if i < 0 {
			return fmt.Errorf("%q is not one of %s", meaning, strings.Join(FieldNames, ", "))
		}
		if name == "" {
			return fmt.Errorf("the field for %s has no name", meaning)
		}
		f[i] = []member{memberOf(name)}
	}
	return nil
}

// parseJSON reads one object.
func (p *Parser) parseJSON(l *Line, line []byte) Reason {
	v, err := p.json.ParseBytes(line)
	if err != nil {
		return BadJSON
	}
	o, err := v.Object()
	if err != nil {
		return BadJSON
	}
	if inner := o.Get("log"); inner != nil && o.Get("stream") != nil { // Docker's own files
		if text, err := inner.StringBytes(); err == nil {
			return p.parseInner(l, text)
		}
	}
	var ok bool
	if l.Time, ok = parseAnyTime(p.fields.get(o, fieldTime, &p.text[0])); !ok {
		return NoTime
	}
	l.Client = p.fields.get(o, fieldClient, &p.text[0])
	if !isAddress(l.Client) && !isName(l.Client) && string(l.Client) != "unix:" {
		return NoClient
	}
	if l.Status, ok = parseStatus(p.fields.get(o, fieldStatus, &p.text[1])); !ok {
		return NoStatus
	}
	if request := p.fields.get(o, fieldRequest, &p.text[2]); request != nil {
		l.parseRequest(request)
	} else {
		l.Method, l.Target = p.fields.get(o, fieldMethod, &p.text[2]), p.fields.get(o, fieldTarget, &p.text[2])
		if l.Method == nil || l.Target == nil {
			return NoRequest
		}
	}
	l.Agent = p.fields.get(o, fieldAgent, &p.text[2])
	if forwarded := p.fields.get(o, fieldForwarded, &p.text[2]); len(forwarded) > 0 && string(forwarded) != "-" {
		l.Forwarded = forwarded
	}
	if l.OneOf, ok = ParseSampled(p.fields.get(o, fieldSampled, &p.text[2])); !ok {
		return BadSampled
	}
	return Read
}

// ParseSampled reads how a log is sampled: one line of oneOf ("10"), or the part of
// all lines that it has ("0.1"). No text is all of them.
func ParseSampled(text []byte) (oneOf float64, ok bool) {
	if text == nil {
		return 1, true
	}
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(n > 0) {
		return 0, false
	}
	if n < 1 {
		n = 1 / n
	}
	return n, n <= sampledMax
}

// sampledMax is what an event can stand for.
const sampledMax = 1 + wire.SkippedMax

// parseInner reads a line that a container runtime has put into JSON.
func (p *Parser) parseInner(l *Line, text []byte) Reason {
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) == 0 {
		return Empty
	}
	if text[0] == '{' {
		return BadJSON // JSON in JSON, which no runtime writes by itself
	}
	return l.parseText(text, p.format)
}

// get is the text of the field, nil where there is none. Numbers go to scratch.
func (f *fields) get(o *fastjson.Object, what field, scratch *[]byte) []byte {
	for i := range f[what] {
		m := &f[what][i]
		v := o.Get(m.name)
		if v == nil && len(m.path) > 1 {
			v = o.Get(m.path[0])
			if v != nil {
				v = v.Get(m.path[1:]...)
			}
		}
		if v == nil {
			continue
		}
		if v.Type() == fastjson.TypeArray { // of the values of a header
			if v = v.Get("0"); v == nil {
				continue
			}
		}
		switch v.Type() {
		case fastjson.TypeString:
			if text, _ := v.StringBytes(); string(text) != "-" {
				return text
			}
		case fastjson.TypeNumber:
			*scratch = v.MarshalTo((*scratch)[:0])
			return *scratch
		}
	}
	return nil
}

// parseAnyTime reads any of the forms that logs have their times in.
func parseAnyTime(b []byte) (ms int64, ok bool) {
	if ms, ok = parseISO(b); ok {
		return ms, true
	}
	if ms, ok = parseEpoch(b); ok {
		return ms, true
	}
	return parseTime(bytes.Trim(b, "[]"))
}
