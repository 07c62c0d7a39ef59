package netlink

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseIGMP(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the file is a little-endian machine's")
	}
	b, err := os.ReadFile("testdata/igmp")
	if err != nil {
		t.Fatal(err)
	}
	addrs := func(s ...string) (out []netip.Addr) {
		for _, a := range s {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	for _, c := range []struct {
		name string
		want []netip.Addr
	}{
		{"eth0", addrs("224.0.0.251", "239.1.1.1", "239.255.255.250")},
		{"eth0.100", addrs("239.2.2.2")},
		{"lo", nil},
		{"eth", nil},
		{"", nil},
	} {
		got, err := parseIGMP(b, c.name)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
	many := "head\n2\teth0 : 100 V3\n"
	for i := range 200 {
		many += "\t\t\t\t" + strings.ToUpper(string("0123456789abcdef"[i>>4&15])+string("0123456789abcdef"[i&15])) + "0101EF     1 0:00000000\t\t0\n"
	}
	if got, err := parseIGMP([]byte(many), "eth0"); err != nil || len(got) != maxGroups {
		t.Errorf("%d groups, %v", len(got), err)
	}
	for _, bad := range []string{"head\n2\n", "head\n2\teth0 :\n\tXYZ\n", "head\n2\teth0 :\n\t0101EF\n", "head\n2\teth0 :\n\t010101EFEF\n"} {
		if got, err := parseIGMP([]byte(bad), "eth0"); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

func FuzzParseIGMP(f *testing.F) {
	b, err := os.ReadFile("testdata/igmp")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, "eth0")
	f.Add(b[:len(b)/2], "eth0.100")
	f.Add([]byte("head\n2\teth0 :\n\t\t\t\tFB0000E0\n\n x\n"), "eth0")
	f.Add([]byte("head\n2\n"), "")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		got, err := parseIGMP(b, name)
		if err != nil {
			return
		}
		if len(got) > maxGroups || !slices.IsSortedFunc(got, netip.Addr.Compare) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatalf("%v", got)
		}
		for _, a := range got {
			if !a.Is4() || !a.IsMulticast() {
				t.Fatalf("%v is no group", a)
			}
		}
	})
}

func TestResolvConf(t *testing.T) {
	one, two, six := netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("fd00::1")
	for _, c := range []struct {
		name, in, out string
		dns           []netip.Addr
		read          []netip.Addr // from in
	}{
		{name: "empty", out: "nameserver 192.168.1.1\n", dns: []netip.Addr{one}},
		{name: "replaced where it stood", in: "search home\nnameserver 1.1.1.1\noptions edns0\nnameserver 1.0.0.1\n",
			out: "search home\nnameserver 192.168.1.1\nnameserver 9.9.9.9\noptions edns0\n", dns: []netip.Addr{one, two},
			read: []netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("1.0.0.1")}},
		{name: "IPv6 stays", in: "nameserver fd00::1\nnameserver 1.1.1.1", out: "nameserver 9.9.9.9\nnameserver fd00::1\n", dns: []netip.Addr{two},
			read: []netip.Addr{six, netip.MustParseAddr("1.1.1.1")}},
		{name: "none", in: "# x\nnameserver 1.1.1.1\n", out: "# x\n", read: []netip.Addr{netip.MustParseAddr("1.1.1.1")}},
		{name: "comments and other words", in: "#nameserver 1.1.1.1\n nameserver 1.1.1.1\nnameservers 1.1.1.1\nnameserver\nnameserver x\n; y",
			out: "#nameserver 1.1.1.1\n nameserver 1.1.1.1\nnameservers 1.1.1.1\nnameserver\nnameserver x\n; y\nnameserver 192.168.1.1\n", dns: []netip.Addr{one}},
		{name: "words after it", in: "nameserver\t1.1.1.1 # mine\r\n", out: "nameserver 192.168.1.1\n", dns: []netip.Addr{one}, read: []netip.Addr{netip.MustParseAddr("1.1.1.1")}},
	} {
		if got := parseResolvConf([]byte(c.in)); !slices.Equal(got, c.read) {
			t.Errorf("%s: read %v, want %v", c.name, got, c.read)
		}
		got := string(editResolvConf([]byte(c.in), c.dns))
		if got != c.out {
			t.Errorf("%s: %q, want %q", c.name, got, c.out)
		}
		if again := string(editResolvConf([]byte(got), c.dns)); again != got {
			t.Errorf("%s: edited again %q, want %q", c.name, again, got)
		}
	}
	if got := parseResolvConf([]byte(strings.Repeat("nameserver 1.1.1.1\n", 50) + "nameserver 1.1.1.2\n")); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func FuzzEditResolvConf(f *testing.F) {
	f.Add([]byte("# by hand\nsearch home\nnameserver fd00::1\nnameserver 1.1.1.1\noptions edns0\n"), []byte{192, 168, 1, 1, 9, 9, 9, 9})
	f.Add([]byte("nameserver 1.1.1.1"), []byte{})
	f.Add([]byte("\nnameserver\x00\n\xff"), []byte{1, 1, 1, 1, 1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, in, octets []byte) {
		var dns []netip.Addr
		for ; len(octets) >= 4 && len(dns) < maxNameServer; octets = octets[4:] {
			if a := netip.AddrFrom4([4]byte(octets)); !slices.Contains(dns, a) {
				dns = append(dns, a)
			}
		}
		out := editResolvConf(in, dns)
		if again := editResolvConf(out, dns); !bytes.Equal(again, out) {
			t.Fatalf("%q became %q, and then %q", in, out, again)
		}
		// What others wrote is all there, in its order; the IPv4 name servers
		// are ours.
		other := func(b []byte) (out []string, ours []netip.Addr) {
			for line := range bytes.Lines(b) {
				if a, ok := nameServer(line); ok && a.Is4() {
					ours = append(ours, a)
				} else {
					out = append(out, strings.TrimSuffix(string(line), "\n"))
				}
			}
			return out, ours
		}
		was, _ := other(in)
		is, ours := other(out)
		if !slices.Equal(was, is) || !slices.Equal(ours, dns) {
			t.Fatalf("%q became %q with %v", in, out, dns)
		}
	})
}

// TestWriteResolvConf: through a symlink, over a file that can't be renamed
// over, and with its mode.
func TestWriteResolvConf(t *testing.T) {
	dir := t.TempDir()
	path, real := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "real", "resolv.conf")
	if err := os.Mkdir(filepath.Dir(real), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(real, []byte("before"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real/resolv.conf", path); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two, longer"} {
		if err := writeResolvConf(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(real)
		st, serr := os.Stat(real)
		if err != nil || serr != nil || string(b) != text || st.Mode().Perm() != 0o640 {
			t.Errorf("%q, %v, %v, %v", b, st.Mode(), err, serr)
		}
		if l, err := os.Readlink(path); err != nil || l != "real/resolv.conf" {
			t.Errorf("the link: %q, %v", l, err)
		}
	}
	// A folder where the temporary file should be: written in place.
	if err := os.MkdirAll(real+".homeconf/full", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeResolvConf(path, []byte("three")); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(real); err != nil || string(b) != "three" {
		t.Errorf("%q, %v", b, err)
	}
	if err := writeResolvConf(filepath.Join(dir, "no", "folder"), nil); err == nil {
		t.Error("written into a folder that isn't there")
	}
}

func TestEcho(t *testing.T) {
	id := [2]byte{7, 9}
	ask := echoRequest(id, 0x1234)
	var sum uint32
	for i := 0; i < len(ask); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ask[i:]))
	}
	if sum = sum>>16 + sum&0xffff; uint16(sum+sum>>16) != 0xffff {
		t.Errorf("checksum of %x is wrong", ask)
	}
	if isEchoReply(ask, id) {
		t.Error("a question is taken for an answer")
	}
	answer := bytes.Clone(ask)
	answer[0] = 0
	if !isEchoReply(answer, id) || isEchoReply(answer, [2]byte{7, 8}) || isEchoReply(answer[:7], id) || isEchoReply(nil, id) {
		t.Error("answers are not told apart")
	}
}

func FuzzReadLedger(f *testing.F) {
	f.Add([]byte(`{"Version":1,"Boot":"b","Static":["192.168.1.250/24"],"DNS":["192.168.1.1"],"DNSBefore":["1.1.1.1"]}`))
	f.Add([]byte(`{"Version":1,"Boot":"b","Lease":{"Address":"192.168.1.9/24","Server":"192.168.1.1","Taken":"2026-01-01T00:00:00Z","For":3600000000000,"Ack":"AAA="}}`))
	f.Add([]byte(`{"Version":1,"Boot":"other","DNS":["192.168.1.1"]}`))
	f.Add([]byte(`{"Version":2}`))
	f.Add([]byte("{"))
	f.Add([]byte(""))
	dir := f.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sys/kernel/random"), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sys/kernel/random/boot_id"), []byte("b\n"), 0o644); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Open(Config{Interface: "eth0", RunDir: t.TempDir(), Proc: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := os.WriteFile(d.ledgerPath(), b, 0o600); err != nil {
			t.Fatal(err)
		}
		l := d.readLedger()
		if l.Version != 1 || l.Boot != "b" {
			t.Fatalf("%q: %+v", b, l)
		}
		// It can be written and read again.
		if err := d.writeLedger(l); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if again := d.readLedger(); len(again.Static) != len(l.Static) || (again.Lease == nil) != (l.Lease == nil) {
			t.Fatalf("%q: %+v, again %+v", b, l, again)
		}
	})
}

func TestOpen(t *testing.T) {
	for _, name := range []string{"", "a/b", "a b", "sixteen-letters-"} {
		if _, err := Open(Config{Interface: name, RunDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "interface") {
			t.Errorf("%q: %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Interface: "eth0", RunDir: filepath.Join(file, "run")}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}
