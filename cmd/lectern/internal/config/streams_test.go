package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// The example of a stream in config.toml, without its comment signs, has every key
// at its default.
func TestShippedFileDocumentsAStream(t *testing.T) {
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	var example strings.Builder
	var keys []string
	before := ""
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(rest, " ") {
			example.WriteString(rest)
			if key, _, ok := strings.Cut(rest, " = "); ok && !strings.HasPrefix(rest, "#") {
				keys = append(keys, "stream.news."+key)
				if !strings.HasPrefix(before, "## ") {
					t.Errorf("%s has no comment above it", key)
				}
			}
		}
		before = line
	}
	got, problems := Load(write(t, example.String()), true, nil)
	want := streamDefaults("news")
	want.Number = 7
	if len(problems) > 0 || !reflect.DeepEqual(got.Named, []Stream{want}) {
		t.Errorf("%v\n%s\ngave %+v, want %+v", problems, example.String(), got.Named, want)
	}
	var all []string
	for _, s := range want.settings() {
		all = append(all, s.key)
	}
	if fmt.Sprint(keys) != fmt.Sprint(all) {
		t.Errorf("config.toml has\n%v, the keys are\n%v", keys, all)
	}
}

func TestStreamProblems(t *testing.T) {
	const name = `is no name of a stream: small letters, digits and dashes, 63 at the most`
	for _, test := range []struct{ text, want string }{
		{"[stream.a]\nnumber = 1\n[stream.b]\nnumber = 2\n", ""},
		{"[stream]\n", ""},
		{"stream = 7\n", `:1: stream: wants a table: [stream]`},
		{"[stream]\nnumber = 7\n", `:2: stream.number: wants a table: [stream.NAME] with a number`},
		{"[[stream.a]]\nnumber = 7\n", `:1: stream.a: wants a table: [stream.NAME] with a number`},
		{"\n[stream.a]\n", `:2: stream.a: has no number: which frames are its own is not known`},
		{"\n[stream.a]\nshare = 3\n", `:2: stream.a: has no number: which frames are its own is not known`},
		{"[stream.a]\nnumber = 65535\n", `:2: stream.a.number: 65535 is out of range: 0 to 65534`},
		{"[stream.a]\nnumber = \"7\"\n", `:2: stream.a.number: wants an integer, without quotes; got "7"`},
		{"[stream.b]\nnumber = 7\n[stream.a]\nnumber = 7\n", `:2: stream.b.number: [stream.a] has the number 7 already`},
		{"[stream.a]\nnumber = 7\nrate = 1\n", `:3: stream.a.rate: unknown key; did you mean stream.a.share?`},
		{"[stream.a]\nnumber = 7\nkey_max = 1\n", `:3: stream.a.key_max: unknown key; did you mean stream.a.keys_max?`},
		{"[streams.a]\nnumber = 7\n", `:1: streams.a: unknown key`},
		{"[stream.a]\nnumber = 7\n[stream.a.b]\nnumber = 7\n", `:3: stream.a.b: unknown key`},
		{"[stream.A]\nnumber = 7\n", `:1: stream.A: "A" ` + name},
		{"[stream.a_b]\nnumber = 7\n", `:1: stream.a_b: "a_b" ` + name},
		{"[stream.-]\nnumber = 7\n", `:1: stream.-: "-" ` + name},
		{"[stream.\"\"]\nnumber = 7\n", `:1: stream."": "" ` + name},
		{"[stream." + strings.Repeat("a", 63) + "]\nnumber = 7\n", ""},
		{"[stream." + strings.Repeat("a", 64) + "]\nnumber = 7\n", `:1: stream.` + strings.Repeat("a", 64) + `: "` + strings.Repeat("a", 64) + `" ` + name},
		{"[stream.a]\nnumber = 7\nshare = 0\n", `:3: stream.a.share: 0 is out of range: 1 to 10000`},
		{"[stream.a]\nnumber = 7\nkeys_max = -1\n", `:3: stream.a.keys_max: -1 is out of range: 0 to 268435456`},
		{"[stream.a]\nnumber = 7\nrate_max = 1000000001\n", `:3: stream.a.rate_max: 1000000001 is out of range: 0 to 1000000000`},
		{"[stream.a]\nnumber = 7\nusers = \"hashed\"\n", `:3: stream.a.users: "hashed" is not one of "stored", "daily", "none"`},
		{"[stream.a]\nnumber = 7\nclients = \"a b\"\n", `:3: stream.a.clients: "a b" is not a name, such as "edge.example.org" or "spiffe://example.org/edge"`},
		{"[stream.a]\nnumber = 7\nclients = \"a\"\n", `:3: stream.a.clients: clients names certificates, and without tls.client_ca no client shows one: nobody could send this stream`},
		{"[stream.a]\nnumber = 7\nseal = \"on\"\n", `:3: stream.a.seal: "on" is not one of "off", "allow", "require"`},
		{"[stream.a]\nnumber = 7\nseal = \"allow\"\n", `:3: stream.a.seal: seal "allow" needs the stream's secret, a directory of keys`},
		{"[stream.a]\nnumber = 7\nsecret = \"keys\"\nseal = \"allow\"\n", `:3: stream.a.secret: there is a secret, and listen.audience is empty: emitters seal for an audience by its name`},
		{"[listen]\naudience = \"a b\"\n", `:2: listen.audience: "a b" is no audience: an audience has 1 to 63 characters out of A-Z a-z 0-9 . _ -`},
		{"[listen]\naudience = \"a\"\n[stream.a]\nnumber = 7\nsecret = \"keys\"\n",
			`:5: stream.a.secret: there is a secret, and seal is "off", so that frames sealed with it are refused; set seal to "allow" or "require"`},
		{"[streams]\nunknown = \"drop\"\n", `:2: streams.unknown: "drop" is not one of "take", "refuse"`},
		{"[streams]\nunknown_share = 0\n", `:2: streams.unknown_share: 0 is out of range: 1 to 10000`},
	} {
		wantProblem(t, test.text, test.want)
	}
}

func TestStreamEnvironment(t *testing.T) {
	path := write(t, "[stream.news-eu]\nnumber = 7\n[stream.news]\nnumber = 8\n")
	c, problems := Load(path, true, []string{"LECTERN_STREAM_NEWS_EU_SHARE=3", "LECTERN_STREAM_NEWS_NUMBER=9", "LECTERN_STREAMS_UNKNOWN=refuse"})
	if len(problems) > 0 || c.Named[0].Number != 9 || c.Named[1].Share != 3 || c.Streams.Unknown != "refuse" {
		t.Errorf("%v, %+v, %+v", problems, c.Named, c.Streams)
	}
	for entry, want := range map[string]string{
		"LECTERN_STREAM_OTHER_NUMBER=9":  "[LECTERN_STREAM_OTHER_NUMBER: unknown variable: a variable overrides a key of a [stream.NAME] that the file has]",
		"LECTERN_STREAM_NEWS_NUMBER=7":   "[" + path + ":2: stream.news-eu.number: [stream.news] has the number 7 already]",
		"LECTERN_STREAM_NEWS_EU_SEAL=on": `[LECTERN_STREAM_NEWS_EU_SEAL: "on" is not one of "off", "allow", "require"]`,
	} {
		if _, problems := Load(path, true, []string{entry}); fmt.Sprint(problems) != want {
			t.Errorf("%s: %v, want %s", entry, problems, want)
		}
	}
}

func TestGuarantee(t *testing.T) {
	c := Defaults()
	if got := c.Guarantee(1); got != 1 {
		t.Errorf("unknown streams alone: %v", got)
	}
	c.Named = []Stream{{Share: 4}, {Share: 5}}
	if got := c.Guarantee(4); got != 0.4 {
		t.Errorf("4 of 10: %v", got)
	}
	if c.Streams.Unknown = "refuse"; c.Guarantee(4) != 4./9 {
		t.Errorf("4 of 9: %v", c.Guarantee(4))
	}
}
