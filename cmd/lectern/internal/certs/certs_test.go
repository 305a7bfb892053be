package certs

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/internal/testca"
)

func filesIn(dir string) Files {
	return Files{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")}
}

func TestFilesAreReplaced(t *testing.T) {
	ca, dir := testca.New(t), t.TempDir()
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	ca.Write(t, dir, until, "127.0.0.1")
	s, err := Open(filesIn(dir))
	if err != nil {
		t.Fatal(err)
	}
	first := s.Config()
	if !s.NotAfter().Equal(until) || first.MinVersion != tls.VersionTLS13 || first.ClientAuth != tls.RequireAndVerifyClientCert || !first.SessionTicketsDisabled {
		t.Errorf("until %v, %+v", s.NotAfter(), first)
	}
	if changed, err := s.Load(filesIn(dir)); changed || err != nil || s.Config() != first {
		t.Errorf("the same files: %t, %v", changed, err)
	}
	ca.Write(t, dir, until.Add(time.Hour), "127.0.0.1")
	if changed, err := s.Load(filesIn(dir)); !changed || err != nil || s.Config() == first || !s.NotAfter().Equal(until.Add(time.Hour)) {
		t.Errorf("other files: %t, %v, until %v", changed, err, s.NotAfter())
	}
	// The authorities alone are enough of a change.
	before := s.Config()
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), testca.New(t).PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Load(filesIn(dir)); !changed || err != nil || s.Config().ClientCAs.Equal(before.ClientCAs) {
		t.Errorf("another authority: %t, %v", changed, err)
	}
	if changed, err := s.Load(Files{Certificate: filesIn(dir).Certificate, Key: filesIn(dir).Key}); !changed || err != nil || s.Config().ClientAuth != tls.NoClientCert {
		t.Errorf("without an authority: %t, %v", changed, err)
	}
}

// Whatever is wrong with new files, the last good ones go on.
func TestLastGoodFilesGoOn(t *testing.T) {
	ca, dir := testca.New(t), t.TempDir()
	ca.Write(t, dir, time.Now().Add(time.Hour), "127.0.0.1")
	s, err := Open(filesIn(dir))
	if err != nil {
		t.Fatal(err)
	}
	good := s.Config()
	whole, _ := os.ReadFile(filepath.Join(dir, "tls.crt"))
	for name, test := range map[string]struct{ file, text, want string }{
		"cut":                 {"tls.crt", string(whole[:len(whole)/2]), "tls.certificate"},
		"another's key":       {"tls.key", func() string { _, key := ca.Issue(t, time.Now().Add(time.Hour)); return string(key) }(), "does not match"},
		"over":                {"tls.crt", "", "is over since"},
		"gone":                {"tls.key", "-", "no such file"},
		"no authority at all": {"ca.crt", "nothing", "no certificate in PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			ca.Write(t, dir, time.Now().Add(time.Hour), "127.0.0.1")
			path := filepath.Join(dir, test.file)
			switch {
			case name == "over":
				ca.Write(t, dir, time.Now().Add(-time.Minute), "127.0.0.1")
			case test.text == "-":
				err = os.Remove(path)
			default:
				err = os.WriteFile(path, []byte(test.text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			if changed, err := s.Load(filesIn(dir)); changed || err == nil || !strings.Contains(err.Error(), test.want) || s.Config() != good || !s.Bad() {
				t.Errorf("%t, %v, want %q", changed, err, test.want)
			}
			if _, err := Open(filesIn(dir)); err == nil {
				t.Error("a daemon would start with them")
			}
		})
	}
	ca.Write(t, dir, time.Now().Add(time.Hour), "127.0.0.1")
	if _, err := s.Load(filesIn(dir)); err != nil || s.Bad() {
		t.Errorf("good again: %v", err)
	}
}
