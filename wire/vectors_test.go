//go:build go1.26

package wire_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lectern/lectern/wire"
)

var update = flag.Bool("update", false, "write the vectors' files from the builders")

const vectorsDir = "testdata/vectors"

// file returns the vector as its file's text.
func (v *vector) file() string {
	var b strings.Builder
	fmt.Fprintf(&b, "comment: %s\nexpect: %s\n", v.comment, v.expect)
	if v.foreign {
		b.WriteString("minimal: no\n")
	}
	for _, line := range v.lines {
		b.WriteString(line + "\n")
	}
	b.WriteString("\n")
	for line := range slices.Chunk(v.bytes, 16) {
		fmt.Fprintf(&b, "% x\n", line)
	}
	return b.String()
}

// parseVector reads a vector's file.
func parseVector(name, text string) (vector, error) {
	v := vector{name: name}
	header, dump, found := strings.Cut(text, "\n\n")
	if !found {
		return v, fmt.Errorf("%s: no blank line between the lines and the bytes", name)
	}
	for line := range strings.SplitSeq(header, "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "comment":
			v.comment = value
		case "expect":
			v.expect = value
		case "minimal":
			v.foreign = value == "no"
		case "frame", "sampled", "event", "name", "hello", "ack", "refusal", "rest", "seal":
			v.lines = append(v.lines, line)
		default:
			return v, fmt.Errorf("%s: a line of no known kind: %q", name, line)
		}
	}
	var err error
	v.bytes, err = hex.DecodeString(strings.Join(strings.Fields(dump), ""))
	return v, err
}

// readVectors returns the vectors as their files have them.
func readVectors(t testing.TB) []vector {
	t.Helper()
	names, err := filepath.Glob(vectorsDir + "/*.txt")
	if err != nil || len(names) < 60 {
		t.Fatalf("%d vectors in %s (%v); write them with -update", len(names), vectorsDir, err)
	}
	var list []vector
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := parseVector(strings.TrimSuffix(filepath.Base(name), ".txt"), string(text))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// The files are the contract, the builders are where they come from.
func TestVectorFiles(t *testing.T) {
	built := make(map[string]bool)
	for _, v := range cases() {
		if built[v.name] {
			t.Errorf("two vectors have the name %s", v.name)
		}
		built[v.name] = true
		path := filepath.Join(vectorsDir, v.name+".txt")
		if *update {
			if err := os.WriteFile(path, []byte(v.file()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v; write it with -update", err)
		} else if string(text) != v.file() {
			t.Errorf("%s differs from what its builder makes; if the builder is right, write it with -update", path)
		}
	}
	for _, v := range readVectors(t) {
		if !built[v.name] {
			t.Errorf("nothing builds the vector %s: remove its file, or add a builder", v.name)
		}
	}
}

// taken is one frame as the package reads it.
type taken struct {
	header  wire.Header
	skipped uint16 // of a sampled frame
	events  []wire.Event
	names   []wire.Name
	random  [wire.RandomSize]byte // of a sealed hello
	ack     wire.Ack
	reason  wire.Refusal // of a refusal frame
	text    []byte
}

// takeFrame reads the frame at the start of b. bodyRead says that its header
// and size were good, so that the next frame begins behind it.
func takeFrame(b []byte) (f taken, bodyRead bool, why wire.Refusal) {
	f.header, why = wire.ParseHeader(b)
	if why == wire.Accepted && f.header.Size > len(b) {
		why = wire.RefusedSize
	}
	if why != wire.Accepted {
		return f, false, why
	}
	body := f.header.Body(b)
	switch f.header.Type {
	case wire.TypeEvents:
		f.skipped = f.header.Skipped(b)
		f.events, why = wire.DecodeEvents(make([]wire.Event, f.header.Count), body, f.header.Count)
	case wire.TypeNames:
		why = wire.CheckNames(body)
		for rest := body; why == wire.Accepted && len(rest) > 0; {
			var n wire.Name
			n, rest, why = wire.ReadName(rest)
			f.names = append(f.names, n)
		}
	case wire.TypeHello:
		f.random, why = wire.ParseHello(&f.header, body)
	case wire.TypeAck:
		f.ack, why = wire.ParseAck(&f.header, body)
	case wire.TypeRefusal:
		f.reason, f.text, why = wire.ParseRefusalBody(body)
	}
	return f, true, why
}

// take reads a datagram as a receiver does: up to the first refusal, behind
// which rest bytes are not looked at.
func take(b []byte) (frames []taken, why wire.Refusal, rest int) {
	for first := true; first || len(b) > 0; first = false {
		f, bodyRead, why := takeFrame(b)
		switch {
		case why != wire.Accepted && bodyRead:
			return frames, why, len(b) - f.header.Size
		case why != wire.Accepted:
			return frames, why, 0
		}
		frames = append(frames, f)
		b = b[f.header.Size:]
	}
	return frames, wire.Accepted, 0
}

var typeNames = map[wire.Type]string{
	wire.TypeEvents: "events", wire.TypeHello: "hello", wire.TypeAck: "ack", wire.TypeRefusal: "refusal", wire.TypeNames: "names",
}

// lines says what the frame holds, in the words of the vectors.
func (f *taken) lines() []string {
	h := &f.header
	list := []string{fmt.Sprintf("frame: type=%s flags=%d size=%d count=%d stream=%d time=%d source=%d sequence=%d position=%d",
		typeNames[h.Type], h.Flags, h.Size, h.Count, h.Stream, h.Time, h.Source, h.Sequence, h.Position)}
	switch h.Type {
	case wire.TypeHello:
		if h.Sealed() {
			list = append(list, fmt.Sprintf("hello: random=%x", f.random))
		}
	case wire.TypeAck:
		line := fmt.Sprintf("ack: durable=%d credit=%d", f.ack.Durable, f.ack.Credit)
		if h.Sealed() {
			line += fmt.Sprintf(" random=%x", f.ack.Random)
		}
		list = append(list, line)
	case wire.TypeRefusal:
		line := "refusal: word=" + f.reason.String()
		if len(f.text) > 0 {
			line += " text=" + string(f.text)
		}
		list = append(list, line)
	}
	if h.Sampled() {
		list = append(list, fmt.Sprintf("sampled: skipped=%d", f.skipped))
	}
	for _, n := range f.names {
		list = append(list, fmt.Sprintf("name: content=%d attribute=%s text=%s", n.Content, n.Attribute, n.Text))
	}
	for _, e := range f.events {
		progress := "-"
		if e.HasProgress {
			progress = fmt.Sprint(e.Progress)
		}
		list = append(list, fmt.Sprintf("event: content=%d user=%d at=%d dwell=%d kind=%s progress=%s",
			e.Content, e.User, e.At, e.Dwell, e.Kind, progress))
	}
	return list
}

// encode writes the frame again. A tag is copied from the original.
func (f *taken) encode(original []byte) []byte {
	h := f.header
	switch {
	case !h.Type.Numbered() && h.Sealed():
		b := f.sealControl(wire.NewSecret(h.Epoch(), [wire.SecretSize]byte{}).DownKey(&wire.Session{}, "a"))
		return append(b[:len(b)-wire.TagSize], original[h.Size-wire.TagSize:h.Size]...)
	case h.Type == wire.TypeHello:
		return wire.AppendHello(nil, h.Stream, h.Source, h.Time)
	case h.Type == wire.TypeAck:
		return wire.AppendAck(nil, h.Stream, h.Source, h.Time, f.ack)
	case h.Type == wire.TypeRefusal:
		return wire.AppendRefusal(nil, h, h.Time, f.reason, string(f.text))
	}
	b := wire.AppendHeader(nil, h)
	if h.Sampled() {
		b = append(b, le(uint64(f.skipped), wire.SkippedSize)...)
	}
	for i := range f.names {
		b = wire.AppendName(b, &f.names[i])
	}
	var prev *wire.Event
	for i := range f.events {
		b = wire.AppendEvent(b, &f.events[i], prev)
		prev = &f.events[i]
	}
	if h.Flags&wire.FlagSealed != 0 {
		b = append(b, original[h.Size-wire.TagSize:h.Size]...)
	}
	return b
}

// sealControl writes the sealed hello, ack or refusal again, with a tag of this key.
func (f *taken) sealControl(key *wire.ControlKey) []byte {
	h := f.header
	switch h.Type {
	case wire.TypeHello:
		return wire.AppendSealedHello(nil, h.Stream, h.Source, h.Time, &f.random, key)
	case wire.TypeAck:
		return wire.AppendSealedAck(nil, h.Stream, h.Source, h.Time, f.ack, key)
	}
	return wire.AppendSealedRefusal(nil, h, h.Time, f.reason, string(f.text), key)
}

func TestVectorsDecode(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.name, func(t *testing.T) {
			frames, why, rest := take(v.bytes)
			word := "ok"
			if why != wire.Accepted {
				word = why.String()
			}
			if word != v.expect {
				t.Errorf("the outcome is %q, want %q", word, v.expect)
			}
			var got []string
			for i := range frames {
				got = append(got, frames[i].lines()...)
			}
			if rest > 0 {
				got = append(got, fmt.Sprintf("rest: %d", rest))
			}
			want := slices.DeleteFunc(slices.Clone(v.lines), func(line string) bool { return strings.HasPrefix(line, "seal: ") })
			if !slices.Equal(got, want) {
				t.Errorf("decoded\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func TestVectorsEncode(t *testing.T) {
	for _, v := range readVectors(t) {
		if v.expect != "ok" {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			frames, _, _ := take(v.bytes)
			var got []byte
			for i := range frames {
				got = append(got, frames[i].encode(v.bytes[len(got):])...)
			}
			if !v.foreign || frames[0].header.Sampled() {
				if !bytes.Equal(got, v.bytes) {
					t.Errorf("encoded\n%x\nwant\n%x", got, v.bytes)
				}
				return
			}
			if len(got) >= len(v.bytes) {
				t.Fatalf("the encoder wrote %d bytes, not fewer than the %d of the vector", len(got), len(v.bytes))
			}
			copy(got[4:6], le(uint64(len(got)), 2))
			again, why, _ := take(got)
			if why != wire.Accepted || len(again) != 1 || !slices.Equal(again[0].events, frames[0].events) {
				t.Errorf("written shorter and read again: %v, %+v", why, again)
			}
		})
	}
}

// No frame is taken before its last byte is there.
func TestVectorsCutShort(t *testing.T) {
	for _, v := range readVectors(t) {
		frames, _, _ := take(v.bytes)
		boundaries := make(map[int]bool)
		for i, end := 0, 0; i < len(frames); i++ {
			end += frames[i].header.Size
			boundaries[end] = true
		}
		for n := range len(v.bytes) {
			_, why, _ := take(v.bytes[:n])
			if (why == wire.Accepted) != boundaries[n] {
				t.Errorf("%s: the first %d bytes of %d: %v", v.name, n, len(v.bytes), why)
			}
		}
	}
}
