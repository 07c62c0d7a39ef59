package link_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"homeconf/src/link"

	"github.com/mdlayher/packet"
)

// forger sends frames of any content.
type forger struct{ conn *packet.Conn }

func newForger(t testing.TB, ns string) forger {
	t.Helper()
	var conn *packet.Conn
	var err error
	within(t, ns, func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("eth0"); err == nil {
			conn, err = packet.Listen(ifi, packet.Raw, 0, nil)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return forger{conn}
}

// send sends a frame, with an 802.1Q tag when vlan is not 0.
func (f forger) send(t testing.TB, src, dst link.MAC, vlan uint16, payload []byte) {
	t.Helper()
	b := append(append([]byte{}, dst[:]...), src[:]...)
	if vlan != 0 {
		b = binary.BigEndian.AppendUint16(b, 0x8100)
		b = binary.BigEndian.AppendUint16(b, vlan&0xfff|vlan>>15<<13)
	}
	b = binary.BigEndian.AppendUint16(b, etherType)
	if _, err := f.conn.WriteTo(append(b, payload...), &packet.Addr{HardwareAddr: dst[:]}); err != nil {
		t.Fatal(err)
	}
}

// TestSocketVLAN sends tagged frames, which reach a protocol-bound socket
// untagged. Only those of VLAN 0, which is a priority and no VLAN, are for us.
func TestSocketVLAN(t *testing.T) {
	p := newPair(t)
	b := open(t, p.b, link.Options{EtherType: etherType, Groups: []link.MAC{group}})
	f := newForger(t, p.a)
	for _, dst := range []link.MAC{macB, group, link.Broadcast} {
		f.send(t, macA, dst, 7, []byte("VLAN 7"))
		f.send(t, macA, dst, 4094, []byte("VLAN 4094"))
		f.send(t, macA, dst, 0x8000, []byte("priority 1"))
		if got := receive(t, b); !bytes.HasPrefix(got.Payload, []byte("priority 1")) {
			t.Errorf("to %x: heard %q", dst, got.Payload)
		}
	}
}

// TestSocketGroup sees the membership in the kernel, and its end.
func TestSocketGroup(t *testing.T) {
	p := newPair(t)
	joined := func() bool {
		out, err := exec.Command("ip", "-n", p.b, "maddress", "show", "dev", "eth0").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(out), "03:68:63:00:00:01")
	}
	b := open(t, p.b, link.Options{EtherType: etherType, Groups: []link.MAC{group}})
	if !joined() {
		t.Error("the group is not joined")
	}
	b.Close()
	if joined() {
		t.Error("the group is still joined")
	}
}

func TestSocketErrors(t *testing.T) {
	p := newPair(t)
	o := link.Options{EtherType: etherType}
	within(t, p.a, func() {
		if _, err := link.Open("eth1", o); !errors.Is(err, link.ErrDown) {
			t.Errorf("open an interface that isn't there: %v, want %v", err, link.ErrDown)
		}
		if _, err := link.Open("lo", o); !errors.Is(err, link.ErrNotEthernet) {
			t.Errorf("open lo: %v, want %v", err, link.ErrNotEthernet)
		}
	})
	for _, c := range []struct {
		name string
		cut  []string
	}{
		{"down", []string{"-n", p.b, "link", "set", "eth0", "down"}},
		{"deleted", []string{"-n", p.b, "link", "del", "eth0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ip(t, "-n", p.b, "link", "set", "eth0", "up")
			b := open(t, p.b, link.Options{EtherType: etherType, Groups: []link.MAC{group}})
			failed := make(chan error)
			go func() {
				_, err := b.Receive(make([]byte, link.BufferSize))
				failed <- err
			}()
			ip(t, c.cut...)
			select {
			case err := <-failed:
				if !errors.Is(err, link.ErrDown) {
					t.Errorf("receive: %v, want %v", err, link.ErrDown)
				}
			case <-time.After(time.Second):
				t.Error("receive still blocks")
			}
			if err := b.Send(macA, nil); !errors.Is(err, link.ErrDown) {
				t.Errorf("send: %v, want %v", err, link.ErrDown)
			}
			if err := b.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			within(t, p.b, func() {
				if _, err := link.Open("eth0", o); !errors.Is(err, link.ErrDown) {
					t.Errorf("open: %v, want %v", err, link.ErrDown)
				}
			})
		})
	}
}

// TestSocketFlood fills the receive buffer: what was lost is counted.
func TestSocketFlood(t *testing.T) {
	p := newPair(t)
	a, b := open(t, p.a, link.Options{EtherType: etherType}), open(t, p.b, link.Options{EtherType: etherType})
	const n = 1000
	for range n {
		if err := a.Send(macB, make([]byte, 1500)); err != nil {
			t.Fatal(err)
		}
	}
	got := b.Counters().Dropped
	if got < n/2 || got >= n {
		t.Errorf("%d of %d frames dropped", got, n)
	}
	if again := b.Counters().Dropped; again != got {
		t.Errorf("dropped %d, then %d", got, again)
	}
}

// TestSocketRights opens a port without rights, in a process of its own.
func TestSocketRights(t *testing.T) {
	if os.Getenv("LINK_TEST_RIGHTS") != "" {
		_, err := link.Open(os.Getenv("LINK_TEST_RIGHTS"), link.Options{EtherType: etherType})
		if !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("open without rights: %v, want %v", err, fs.ErrPermission)
		}
		err = link.Keep(t.Context(), link.Keeper{Interface: os.Getenv("LINK_TEST_RIGHTS"), Options: link.Options{EtherType: etherType}})
		if !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("keep without rights: %v, want %v", err, fs.ErrPermission)
		}
		return
	}
	p := newPair(t)
	needProgram(t, "setpriv")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", p.a, "setpriv", "--bounding-set=-all", "--inh-caps=-all",
		exe, "-test.run=^TestSocketRights$")
	cmd.Env = append(os.Environ(), "LINK_TEST_RIGHTS=eth0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func BenchmarkSocketRoundTrip(b *testing.B) {
	p := newPair(b)
	x := open(b, p.a, link.Options{EtherType: etherType})
	y := open(b, p.b, link.Options{EtherType: etherType})
	go func() {
		buf := make([]byte, link.BufferSize)
		for {
			f, err := y.Receive(buf)
			if err != nil {
				return
			}
			y.Send(f.Src, f.Payload)
		}
	}()
	payload, buf := make([]byte, 256), make([]byte, link.BufferSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := x.Send(macB, payload); err != nil {
			b.Fatal(err)
		}
		if _, err := x.Receive(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSocketSend(b *testing.B) {
	p := newPair(b)
	x := open(b, p.a, link.Options{EtherType: etherType})
	payload := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		if err := x.Send(macB, payload); err != nil {
			b.Fatal(err)
		}
	}
}
