package session

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// The values are of another implementation of BLAKE2s, after ../wire/SPEC.md,
// section 4.
func TestDerivedValues(t *testing.T) {
	c, err := ParseSetupCode("7k3m-q9tx 4w2b-hd8r")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(c.PSK()); got != "05bad81fe0eef977e30f11923f0df13e6ec48122396329fd4ebf668f888b9150" {
		t.Errorf("PSK %s", got)
	}
	if got := c.Discriminator(); got != 3332 {
		t.Errorf("discriminator %d", got)
	}
	var h [32]byte
	var na, nb [16]byte
	for i := range h {
		h[i] = byte(i)
	}
	for i := range na {
		na[i], nb[i] = byte(i), byte(16+i)
	}
	if got := digits(h, na, nb); got != "230579" {
		t.Errorf("digits %s", got)
	}
	if got := commitment(h, na); hex.EncodeToString(got[:]) != "13252ecc19aba02e26f8742da80b8e58e7fef8a2bdbc04f9e5b449c05a2c834a" {
		t.Errorf("commitment %x", got)
	}
}

func TestParseSetupCode(t *testing.T) {
	for _, same := range []string{"7K3MQ9TX4W2BHD80", "7k3m-q9tx-4w2b-hd8o", " 7K3M Q9TX\n4W2B HD8O "} {
		if c, err := ParseSetupCode(same); err != nil || c.SecretText() != "7K3M-Q9TX-4W2B-HD80" {
			t.Errorf("%q: %v", same, err)
		}
	}
	for _, bad := range []string{"", "7K3M-Q9TX-4W2B-HD8", "7K3M-Q9TX-4W2B-HD8U", "7K3M-Q9TX-4W2B-HD8é", "1234567890123456", "123456789012345678901234",
		"AAAA-AAAA-AAAA-AAAA", "ABAB-ABAB-ABAB-ABAB", strings.Repeat("7K3M", 17), strings.Repeat("-", 200)} {
		if _, err := ParseSetupCode(bad); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := ParseSetupCode("1234567890123456789012345"); err != nil {
		t.Errorf("25 digits: %v", err)
	}
}

func TestSetupCodeIsNotShown(t *testing.T) {
	c := testCode(t)
	held := struct {
		Code SetupCode
		At   *SetupCode
	}{c, &c}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "code", c, "held", held)
	j, err := json.Marshal(held)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %x %d %v %+v %s", c, c, c, c, c, c, c, held, held, held) + log.String() + string(j)
	for _, secret := range []string{c.text, c.SecretText(), hex.EncodeToString([]byte(c.text))} {
		if strings.Contains(all, secret) {
			t.Errorf("shown in %s", all)
		}
	}
}

func FuzzParseSetupCode(f *testing.F) {
	for _, s := range []string{"7K3M-Q9TX-4W2B-HD8R", "7k3mq9tx4w2bhd8o", "1234567890123456789012345", "UUUU", "IL1O0 abcdefghjkmnpqrs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseSetupCode(text)
		if err != nil {
			if !c.IsZero() {
				t.Fatal("a code with an error")
			}
			return
		}
		again, err := ParseSetupCode(c.SecretText())
		if err != nil || again != c || len(c.PSK()) != 32 || c.Discriminator() >= 1<<12 {
			t.Fatalf("read again: %v", err)
		}
	})
}
