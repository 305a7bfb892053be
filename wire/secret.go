package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const (
	// SecretSize is the size of a stream's secret in bytes.
	SecretSize = 32
	// Epochs is how many key epochs there are: 0 to 3.
	Epochs = 4
	// AudienceMax is the largest number of characters of an audience.
	AudienceMax = 63
)

// Secret is what the emitters and the collectors of a stream share, with its key
// epoch. However it is printed, it shows no more than the epoch: only Text gives
// it away.
type Secret struct {
	bytes [SecretSize]byte
	epoch uint8
}

// NewSecret returns the secret of these bytes, which are random. The epoch is 0
// to 3; of a larger one the lowest two bits count.
func NewSecret(epoch uint8, bytes [SecretSize]byte) *Secret { return &Secret{bytes, epoch % Epochs} }

var errSecret = errors.New(`not a key: it is one line "EPOCH:SECRET", an epoch of 0 to 3 and 64 hex digits`)

// ParseSecret reads the text of a key file: one line "EPOCH:SECRET", the epoch 0
// to 3 and the secret in 64 hex digits. The error does not quote it.
func ParseSecret(text string) (*Secret, error) {
	epoch, digits, _ := strings.Cut(strings.TrimSuffix(text, "\n"), ":")
	bytes, err := hex.DecodeString(digits)
	if err != nil || len(bytes) != SecretSize || len(epoch) != 1 || epoch[0] < '0' || epoch[0] >= '0'+Epochs {
		return nil, errSecret
	}
	return NewSecret(epoch[0]-'0', [SecretSize]byte(bytes)), nil
}

// Epoch is the secret's key epoch.
func (s *Secret) Epoch() uint8 { return s.epoch }

// Text is what a key file holds. It gives the secret away.
func (s *Secret) Text() string {
	return string('0'+rune(s.epoch)) + ":" + hex.EncodeToString(s.bytes[:]) + "\n"
}

// String does not give the secret away.
func (s Secret) String() string { return "a secret of epoch " + string('0'+rune(s.epoch)) }

// Format prints String, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue does not give the secret away.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// CheckAudience says what is wrong with the name of an audience, nil if nothing
// is.
func CheckAudience(audience string) error {
	if len(audience) < 1 || len(audience) > AudienceMax {
		return errAudience
	}
	for _, c := range []byte(audience) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return errAudience
		}
	}
	return nil
}

var errAudience = errors.New("an audience has 1 to 63 characters out of A-Z a-z 0-9 . _ -")
