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
	Bot        Mode // programs that read for nobody, by accesslog.ProgramOf
	Preview    Mode // fetched or rendered ahead, or to show a link, before anybody reads
	DataCenter Mode // senders in DataCenters
	Budget     Mode // networks that send too much
	// DataCenters are networks of machines, where nobody reads.
	DataCenters []netip.Prefix
}

// against says whether a rule refuses what it matches. A shadow only counts it.
func (d *door) against(mode Mode, why Reason, matches bool) bool {
	if mode == Off || !matches {
		return false
	}
	if mode == Shadow {
		d.shadows[why].Inc()
	}
	return mode == Refuse
}

// judge calls each rule that has something against a sender, until one refuses. What
// comes by another way than HTTP has no header.
func (e *Edge) judge(d *door, s *Stream, h http.Header, from *sender) Reason {
	rules := &e.options.Rules
	program := accesslog.ProgramOf([]byte(from.agent))
	switch {
	case d.against(rules.Origin, Origin, !s.allows(first(h, "Origin"))):
		return Origin
	case d.against(rules.Preview, Preview, program == accesslog.Expander || ahead(h)):
		return Preview
	case d.against(rules.Bot, Bot, program == accesslog.Bot):
		return Bot
	case d.against(rules.DataCenter, DataCenter, accesslog.Networks(rules.DataCenters).Contain(from.address)):
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
	for _, name := range [...]string{"Sec-Purpose", "Purpose", "X-Moz", "X-Purpose"} { // in canonical form
		for _, value := range h[name] {
			value = strings.ToLower(value)
			if strings.Contains(value, "prefetch") || strings.Contains(value, "prerender") || strings.Contains(value, "preview") {
				return true
			}
		}
	}
	return false
}
