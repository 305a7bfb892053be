package clickhouse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// However a secret is printed, it does not show.
func TestSecretIsHidden(t *testing.T) {
	const word = "hunter2"
	o := Options{User: "reader", Password: word}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "o", o, "p", o.Password)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "p", o.Password)
	fmt.Fprintf(&out, "%v %+v %#v %s %q %v", o, o, o, o.Password, o.Password, fmt.Errorf("x: %v", o.Password))
	text, err := json.Marshal(o.Password)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	if strings.Contains(out.String(), word) {
		t.Errorf("it shows: %s", out.String())
	}
	if o.Password.Reveal() != word || Secret("").String() != "" {
		t.Error("it is not what it was")
	}
}
