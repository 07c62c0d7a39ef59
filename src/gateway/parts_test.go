package gateway

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink/nl"

	"homeconf/src/model"
)

func TestCommandReloader(t *testing.T) {
	dir := t.TempDir()
	script := func(name, body string) CommandReloader {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
			t.Fatal(err)
		}
		return CommandReloader{Path: path}
	}
	ctx := context.Background()
	if err := script("good", `echo "$#:$1" >`+dir+"/args\n").Reload(ctx, "dhcp"); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(dir + "/args"); string(b) != "1:dhcp\n" {
		t.Errorf("arguments %q", b)
	}
	err := script("bad", "yes no way | head -c 100000; exit 3\n").Reload(ctx, "dhcp")
	if err == nil || !strings.Contains(err.Error(), "no way") || len(err.Error()) > 1000 {
		t.Errorf("got %v", err)
	}
	if err := (CommandReloader{Path: dir + "/none"}).Reload(ctx, "dhcp"); err == nil {
		t.Error("a missing command")
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := script("slow", "sleep 30\n").Reload(short, "dhcp"); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("a hanging command: %v after %s", err, time.Since(began))
	}
}

func TestShaping(t *testing.T) {
	attr := func(typ uint16, value []byte) syscall.NetlinkRouteAttr {
		return syscall.NetlinkRouteAttr{Attr: syscall.RtAttr{Type: typ}, Value: value}
	}
	cake := func(rate uint64) []byte {
		b := make([]byte, 12)
		binary.NativeEndian.PutUint16(b, 12)
		binary.NativeEndian.PutUint16(b[2:], tcaCakeBaseRate64)
		binary.NativeEndian.PutUint64(b[4:], rate)
		return b
	}
	tests := []struct {
		kind    string
		options []byte
		want    bool
	}{
		{"htb", nil, true}, {"hfsc", nil, true}, {"tbf", nil, true}, {"fq_codel", nil, false}, {"noqueue", nil, false},
		{"cake", cake(6_250_000), true}, {"cake", cake(0), false}, {"cake", nil, false}, {"cake", []byte{1, 2, 3}, false}, {"", nil, false},
	}
	for _, tt := range tests {
		got := shaping([]syscall.NetlinkRouteAttr{attr(nl.TCA_KIND, []byte(tt.kind+"\x00")), attr(nl.TCA_OPTIONS, tt.options)})
		if got != tt.want {
			t.Errorf("%s %v: %v, want %v", tt.kind, tt.options, got, tt.want)
		}
	}
}

func TestMbps(t *testing.T) {
	for in, want := range map[uint64]uint32{0: 0, 1: 1, 999: 1, 1000: 1, 1999: 1, 50000: 50, 1 << 60: 1 << 31} {
		if got := mbps(in); got != want {
			t.Errorf("%d kbit/s: %d, want %d", in, got, want)
		}
	}
}

// Only this gateway's own OFFER to this question counts: anybody on the LAN
// hears the question.
func TestReadOffer(t *testing.T) {
	r, err := New(Config{LANDevice: "lo", StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m := model.MAC{2, 0, 0, 0, 0, 1}
	q := &question{mac: m}
	build := func(change ...dhcpv4.Modifier) []byte {
		d, err := dhcpv4.NewDiscovery(net.HardwareAddr(m[:]))
		if err != nil {
			t.Fatal(err)
		}
		p, err := dhcpv4.NewReplyFromRequest(d, append([]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithYourIP(net.IPv4(192, 168, 1, 50)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(127, 0, 0, 1))), dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4})}, change...)...)
		if err != nil {
			t.Fatal(err)
		}
		return p.ToBytes()
	}
	byID := map[dhcpv4.TransactionID]*question{{1, 2, 3, 4}: q}
	if got, a := r.readOffer(build(), byID); got != q || a.String() != "192.168.1.50" {
		t.Errorf("a good offer: %v, %s", got, a)
	}
	bad := map[string][]byte{
		"empty":                nil,
		"torn":                 build()[:100],
		"another server":       build(dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 168, 1, 66)))),
		"another transaction":  build(dhcpv4.WithTransactionID(dhcpv4.TransactionID{9})),
		"another device":       build(dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 9})),
		"no offer":             build(dhcpv4.WithMessageType(dhcpv4.MessageTypeAck)),
		"a request, no answer": build(func(p *dhcpv4.DHCPv4) { p.OpCode = dhcpv4.OpcodeBootRequest }),
	}
	for name, b := range bad {
		if got, _ := r.readOffer(b, byID); got != nil {
			t.Errorf("%s: taken", name)
		}
	}
}
