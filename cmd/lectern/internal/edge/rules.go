package edge

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
)

// Mode says what becomes of what a rule speaks against.
type Mode uint8

// What a rule can do. A new one starts as a shadow: it is counted what it would
// refuse, and nothing is refused.
const (
	Refuse Mode = iota
	Shadow
	Off
)

// Rules are those that can be tried out before they refuse anything.
type Rules struct {
	Origin     Mode // pages of origins that the stream does not name
	Bot        Mode // programs that read for nobody, by accesslog.IsBot
	Preview    Mode // fetched or rendered ahead, before anybody reads
	DataCenter Mode // senders in DataCenters
	Budget     Mode // networks that send too much
	// DataCenters are networks of machines, where nobody reads.
	DataCenters []netip.Prefix
}

// against says whether a rule refuses what matches. A shadow only counts it.
func (d *door) against(mode Mode, why Reason, matches func() bool) bool {
	if mode == Off || !matches() {
		return false
	}
	if mode == Shadow {
		d.shadows[why].Inc()
	}
	return mode == Refuse
}

// judge calls each rule that has something against a request, until one refuses.
// What comes by another way than HTTP has none.
func (e *Edge) judge(d *door, s *Stream, r *http.Request, from *sender) Reason {
	rules := &e.options.Rules
	switch {
	case d.against(rules.Origin, Origin, func() bool { return r != nil && !s.allows(r.Header.Get("Origin")) }):
		return Origin
	case d.against(rules.Preview, Preview, func() bool { return r != nil && ahead(r.Header) }):
		return Preview
	case d.against(rules.Bot, Bot, func() bool { return accesslog.IsBot([]byte(from.agent)) }):
		return Bot
	case d.against(rules.DataCenter, DataCenter, func() bool { return accesslog.Networks(rules.DataCenters).Contain(from.address) }):
		return DataCenter
	}
	return Taken
}

// allows says whether a page of this origin may send for the stream. What is no
// page's has none.
func (s *Stream) allows(origin string) bool {
	if origin == "" || len(s.Origins) == 0 {
		return true
	}
	for _, one := range s.Origins {
		if strings.EqualFold(one, origin) {
			return true
		}
	}
	return false
}

// ahead says whether a browser fetches something before anybody wants it.
func ahead(h http.Header) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz", "X-Purpose"} {
		for _, value := range h[http.CanonicalHeaderKey(name)] {
			value = strings.ToLower(value)
			if strings.Contains(value, "prefetch") || strings.Contains(value, "prerender") || strings.Contains(value, "preview") {
				return true
			}
		}
	}
	return false
}
