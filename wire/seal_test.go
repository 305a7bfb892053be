//go:build go1.26

package wire_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lectern/lectern/wire"
)

// sealLine is a seal line of a vector, and its frame.
type sealLine struct {
	vector string
	frame  []byte
	header wire.Header
	words  map[string]string
}

func (l *sealLine) bytes(t testing.TB, word string) []byte {
	t.Helper()
	b, err := hex.DecodeString(l.words[word])
	if err != nil {
		t.Fatalf("%s: %s: %v", l.vector, word, err)
	}
	return b
}

// secret returns the secret of the line, as its key file has it.
func (l *sealLine) secret(t testing.TB) *wire.Secret {
	t.Helper()
	s, err := wire.ParseSecret(l.words["epoch"] + ":" + l.words["secret"] + "\n")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// session returns what the keys of the line's session are derived from.
func (l *sealLine) session(t testing.TB) *wire.Session {
	return &wire.Session{
		Stream: l.header.Stream, Source: l.header.Source,
		Emitter: [16]byte(l.bytes(t, "emitter")), Collector: [16]byte(l.bytes(t, "collector")),
	}
}

// sealLines returns the seal lines of all vectors.
func sealLines(t testing.TB) (list []*sealLine) {
	t.Helper()
	for _, v := range readVectors(t) {
		var frames []*sealLine
		for at := 0; at+wire.HeaderSize <= len(v.bytes) && v.expect == "ok"; {
			h, _ := wire.ParseHeader(v.bytes[at:])
			frames = append(frames, &sealLine{vector: v.name, frame: v.bytes[at : at+h.Size], header: h})
			at += h.Size
		}
		frame := -1
		for _, line := range v.lines {
			kind, rest, _ := strings.Cut(line, ": ")
			switch kind {
			case "frame":
				frame++
			case "seal":
				l := frames[frame]
				l.words = make(map[string]string)
				for _, word := range strings.Fields(rest) {
					name, value, _ := strings.Cut(word, "=")
					l.words[name] = value
				}
				list = append(list, l)
			}
		}
	}
	if len(list) < 15 {
		t.Fatalf("%d seal lines in the vectors", len(list))
	}
	return list
}

// Every tag of the vectors is what the package makes, and what it opens.
func TestSeal(t *testing.T) {
	for _, l := range sealLines(t) {
		s, audience, h := l.secret(t), l.words["audience"], &l.header
		if h.Epoch() != s.Epoch() {
			t.Errorf("%s: the flags say epoch %d", l.vector, h.Epoch())
		}
		var made []byte
		var opens bool
		if h.Type.Numbered() {
			key, err := s.FrameKey(h.Stream, audience)
			if l.words["emitter"] != "" {
				key, err = s.UpKey(l.session(t), audience)
			}
			if err != nil {
				t.Fatal(err)
			}
			bare := bytes.Clone(l.frame[:h.Size-wire.TagSize])
			bare[3] &= wire.FlagSampled
			copy(bare[4:], le(uint64(len(bare)), 2))
			made, opens = key.Seal(append([]byte("in front"), bare...), 8)[8:], key.Opens(l.frame)
		} else {
			key := s.HelloKey(h.Stream, audience)
			if h.Type != wire.TypeHello {
				key = s.DownKey(l.session(t), audience)
			}
			f, _, why := takeFrame(l.frame)
			if why != wire.Accepted {
				t.Fatal(why)
			}
			made, opens = f.sealControl(key), key.Opens(l.frame)
		}
		if !bytes.Equal(made, l.frame) || !opens {
			t.Errorf("%s: sealed\n%x\nwant\n%x\nopens: %v", l.vector, made, l.frame, opens)
		}
	}
}

// A second implementation, OpenSSL's, derives the same keys and makes the same
// tags: nothing of Go's is asked.
func TestSealAgainstOpenSSL(t *testing.T) {
	if out, err := exec.Command("openssl", "version").Output(); err != nil {
		t.Skip("openssl is not there: the known answers were not checked by a second implementation")
	} else if !strings.HasPrefix(string(out), "OpenSSL 3") {
		t.Skipf("openssl mac wants OpenSSL 3: the known answers were not checked by a second implementation; this is %s", out)
	}
	mac := func(in []byte, args ...string) string {
		t.Helper()
		c := exec.Command("openssl", append([]string{"mac"}, args...)...)
		c.Stdin = bytes.NewReader(in)
		out, err := c.Output()
		if err != nil {
			t.Fatalf("openssl mac %v: %v", args, err)
		}
		return strings.ToLower(strings.TrimSpace(string(out)))
	}
	labels := map[string]byte{"events": 1, "names": 1, "hello": 2, "events of a session": 3, "ack": 4, "refusal": 4}
	for _, l := range sealLines(t) {
		kind := typeNames[l.header.Type]
		if l.header.Type.Numbered() && l.words["emitter"] != "" {
			kind = "events of a session"
		}
		epoch, err := strconv.Atoi(l.words["epoch"])
		if err != nil {
			t.Fatal(err)
		}
		message := slices.Concat([]byte{labels[kind], byte(epoch)}, l.frame[8:10]) // the stream, as the header has it
		if l.words["emitter"] != "" {
			message = slices.Concat(message, l.frame[16:24], l.bytes(t, "emitter"), l.bytes(t, "collector"))
		}
		message = append(message, l.words["audience"]...)
		key := mac(message, "-digest", "SHA256", "-macopt", "hexkey:"+l.words["secret"], "HMAC")
		bare := l.frame[:len(l.frame)-wire.TagSize]
		var tag string
		if l.header.Type.Numbered() {
			key = key[:32]
			nonce := fmt.Sprintf("%x", l.frame[8:32])
			if nonce != l.words["nonce"] {
				t.Errorf("%s: the nonce is %s, its line says %s", l.vector, nonce, l.words["nonce"])
			}
			tag = mac(bare, "-cipher", "AES-128-GCM", "-macopt", "hexkey:"+key, "-macopt", "hexiv:"+nonce, "GMAC")
		} else {
			tag = mac(bare, "-digest", "SHA256", "-macopt", "hexkey:"+key, "HMAC")[:32]
		}
		if key != l.words["key"] || tag != l.words["tag"] || tag != fmt.Sprintf("%x", l.frame[len(bare):]) {
			t.Errorf("%s: OpenSSL derives the key %s and makes the tag %s; its line says %s and %s", l.vector, key, tag, l.words["key"], l.words["tag"])
		}
	}
}

// Every bit of a sealed frame is under its tag, and a key opens nothing that
// another made: of another epoch, stream, audience, direction, connection.
func TestSealHoldsEveryBit(t *testing.T) {
	for _, l := range sealLines(t) {
		s, audience, h := l.secret(t), l.words["audience"], l.header
		opens := func(s *wire.Secret, of wire.Session, audience string) func([]byte) bool {
			frame, err := s.FrameKey(of.Stream, audience)
			if err != nil {
				t.Fatal(err)
			}
			up, err := s.UpKey(&of, audience)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case h.Type == wire.TypeHello:
				return s.HelloKey(of.Stream, audience).Opens
			case !h.Type.Numbered():
				return s.DownKey(&of, audience).Opens
			case l.words["emitter"] != "":
				return up.Opens
			}
			return frame.Opens
		}
		of := wire.Session{Stream: h.Stream, Source: h.Source}
		if l.words["emitter"] != "" {
			of = *l.session(t)
		}
		open := opens(s, of, audience)
		for bit := range 8 * len(l.frame) {
			b := bytes.Clone(l.frame)
			b[bit/8] ^= 1 << (bit % 8)
			if open(b) {
				t.Errorf("%s: bit %d is not under the tag", l.vector, bit)
			}
		}
		for bit := range 8 * wire.SecretSize {
			secret := [wire.SecretSize]byte(l.bytes(t, "secret"))
			secret[bit/8] ^= 1 << (bit % 8)
			if opens(wire.NewSecret(s.Epoch(), secret), of, audience)(l.frame) {
				t.Errorf("%s: bit %d of the secret does not matter", l.vector, bit)
			}
		}
		stream := of
		stream.Stream ^= 1
		others := map[string]func([]byte) bool{
			"epoch":    opens(wire.NewSecret(s.Epoch()^1, [wire.SecretSize]byte(l.bytes(t, "secret"))), of, audience),
			"audience": opens(s, of, audience+"x"),
			"stream":   opens(s, stream, audience),
		}
		if l.words["emitter"] != "" {
			a, b, c := of, of, of
			a.Emitter[15] ^= 1
			b.Collector[15] ^= 1
			c.Source ^= 1
			others["emitter's random"], others["collector's random"], others["source"] = opens(s, a, audience), opens(s, b, audience), opens(s, c, audience)
		}
		for what, open := range others {
			if open(l.frame) {
				t.Errorf("%s: a key of another %s opens it", l.vector, what)
			}
		}
	}
}

func TestSealAllocatesNothing(t *testing.T) {
	key, err := wire.NewSecret(1, [32]byte{1}).FrameKey(7, "collector-1")
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 0, 1400)
	b = append(b, usual.events(crowd(1344)...).bytes...)
	bare := len(b)
	if n := testing.AllocsPerRun(100, func() {
		b = key.Seal(b[:bare], 0)
		if !key.Opens(b) {
			t.Fatal("it does not open what it sealed")
		}
		b[50]++
		if key.Opens(b) {
			t.Fatal("it opens what was changed")
		}
		b[50]--
	}); n != 0 {
		t.Errorf("sealing and opening allocates %v times", n)
	}
}

func TestSecretText(t *testing.T) {
	const digits = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	for _, text := range []string{"0:" + digits, "3:" + digits + "\n", "1:" + strings.ToUpper(digits)} {
		s, err := wire.ParseSecret(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, want := s.Text(), strings.ToLower(strings.TrimSuffix(text, "\n"))+"\n"; got != want {
			t.Errorf("the text of %q is %q", text, got)
		}
	}
	for _, text := range []string{"", digits, "4:" + digits, "-1:" + digits, "01:" + digits, ":" + digits, "1:" + digits[2:], "1:" + digits + "00",
		"1:" + digits + "\n\n", " 1:" + digits, "1:" + digits[:62] + "xx", "1:" + digits + "\r\n", "1;" + digits} {
		s, err := wire.ParseSecret(text)
		if err == nil {
			t.Errorf("%q is a secret: %v", text, s)
		} else if strings.Contains(err.Error(), "0102") {
			t.Errorf("the error quotes the text: %v", err)
		}
	}
}

// A secret that is printed by accident does not get out.
func TestSecretIsNotPrinted(t *testing.T) {
	s := wire.NewSecret(2, [32]byte{0xAB, 0xCD, 171, 205})
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{s, *s, []wire.Secret{*s}, struct{ S *wire.Secret }{s}, s.LogValue()} {
			text := strings.ToLower(fmt.Sprintf(format, value))
			if strings.Contains(text, "abcd") || strings.Contains(text, "171") || strings.Contains(text, "0xab") {
				t.Errorf("%s of a %T prints %s", format, value, text)
			}
		}
	}
}

func TestAudience(t *testing.T) {
	for _, good := range []string{"a", "collector-1", "eu.west_2", strings.Repeat("Z", 63)} {
		if err := wire.CheckAudience(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("a", 64), "a b", "a/b", "é", "a\n"} {
		if wire.CheckAudience(bad) == nil {
			t.Errorf("%q is an audience", bad)
		}
	}
}

// What was recorded is in no other: each sealed frame of the vectors opens with
// its own key alone.
func TestSealKeysDiffer(t *testing.T) {
	keys := make(map[string]string)
	for _, l := range sealLines(t) {
		of := fmt.Sprintln(l.header.Type.Numbered(), typeNames[l.header.Type] == "hello", l.words["epoch"], l.words["audience"], l.header.Stream, l.words["emitter"])
		if other, ok := keys[l.words["key"]]; ok && other != of {
			t.Errorf("%s: its key serves something else, too", l.vector)
		}
		keys[l.words["key"]] = of
	}
}
