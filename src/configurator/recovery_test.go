package configurator

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func sampleRecovery(t testing.TB) recovery {
	h, err := foundHome()
	if err != nil {
		t.Fatal(err)
	}
	h.former = &formerKey{key: newKey(t), until: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	f := h.file()
	return recovery{Key: f.Key, Discovery: f.Discovery, Term: 3, Former: f.Former,
		Roster: rosterText{Generation: 9, Term: 3, Devices: []string{keyHash{1}.String() + ":7"}}}
}

func TestRecoveryFile(t *testing.T) {
	want := sampleRecovery(t)
	b, err := encryptRecovery(want, []byte("secret words"), 10)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decryptRecovery(b, []byte("secret words"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%v", err)
	}
	if bytes.Contains(b, []byte("hcprivkey")) || bytes.Contains(b, []byte(want.Discovery)) {
		t.Error("a secret can be read")
	}
	if _, err := decryptRecovery(b, []byte("secret wordS")); !errors.Is(err, errPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	for i := 0; i < len(b); i += 7 {
		if i == len(recoveryMagic) {
			continue // the work, below
		}
		c := bytes.Clone(b)
		c[i] ^= 1
		if _, err := decryptRecovery(c, []byte("secret words")); !errors.Is(err, errPassphrase) && !errors.Is(err, errNotRecovery) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := decryptRecovery(b[:i], []byte("secret words")); !errors.Is(err, errNotRecovery) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
	// A file that asks for all of a router's memory is refused at once.
	for _, work := range []byte{0, 9, recoveryMost + 1, 30, 255} {
		c := bytes.Clone(b)
		c[len(recoveryMagic)] = work
		began := time.Now()
		if _, err := decryptRecovery(c, []byte("secret words")); err == nil || !strings.Contains(err.Error(), "work") || time.Since(began) > time.Second {
			t.Errorf("work %d: %v after %v", work, err, time.Since(began))
		}
	}
}

// TestPassphrase: 80 bits, and never the same.
func TestPassphrase(t *testing.T) {
	seen := map[string]bool{}
	letters := map[rune]bool{}
	for range 1000 {
		p := newPassphrase()
		plain := strings.ReplaceAll(p, "-", "")
		if len(p) != 19 || len(plain) != 16 || seen[p] {
			t.Fatalf("%d letters, or twice", len(plain))
		}
		seen[p] = true
		for _, r := range plain {
			letters[r] = true
		}
	}
	if len(letters) != 32 || len(passphraseLetters) != 32 {
		t.Errorf("%d letters", len(letters))
	}
}

// TestRecoveryFileOnDisk: its mode, and what it never overwrites.
func TestRecoveryFileOnDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "home.recovery")
	old := unix.Umask(0)
	defer unix.Umask(old)
	b := []byte(recoveryMagic + "one")
	for range 2 { // over an earlier one, too
		if err := writeRecovery(path, b); err != nil {
			t.Fatal(err)
		}
		b = []byte(recoveryMagic + "two")
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if have, err := readRecovery(path); err != nil || !bytes.Equal(have, b) {
		t.Errorf("%q, %v", have, err)
	}
	other := filepath.Join(dir, "passwd")
	if err := os.WriteFile(other, []byte("root:x:0:0"), 0o644); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{other, fifo, dir} {
		if err := writeRecovery(path, b); err == nil {
			t.Errorf("%s was overwritten", path)
		}
		if _, err := readRecovery(path); err == nil && path != other {
			t.Errorf("%s was read", path)
		}
	}
	if have, err := os.ReadFile(other); err != nil || string(have) != "root:x:0:0" {
		t.Errorf("%q, %v", have, err)
	}
	if l, err := filepath.Glob(filepath.Join(dir, ".homeconf-*")); err != nil || len(l) > 0 {
		t.Errorf("left behind: %v", l)
	}
	if err := writeRecovery(filepath.Join(dir, "no", "such"), b); err == nil {
		t.Error("written to nowhere")
	}
}

func FuzzDecryptRecovery(f *testing.F) {
	b, err := encryptRecovery(sampleRecovery(f), []byte("p"), 10)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:recoveryHead])
	f.Add([]byte(recoveryMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if i := len(recoveryMagic); len(b) > i && b[i] > 10 {
			b[i] = 10 // more work finds nothing more
		}
		r, err := decryptRecovery(b, []byte("p"))
		if err == nil {
			_, err = r.home()
		}
		if err != nil && len(err.Error()) > 300 {
			t.Fatalf("error of %d bytes", len(err.Error()))
		}
	})
}
