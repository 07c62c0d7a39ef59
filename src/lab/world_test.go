package lab_test

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"homeconf/src/lab"
	"homeconf/src/uci"
)

// box plugs a box in and turns it on.
func box(t testing.TB, w *lab.World, name string) *lab.Box {
	t.Helper()
	b, err := w.Plug(name)
	if err == nil {
		err = b.PlugIn()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reserve writes a host section, as homeconf would.
func reserve(t testing.TB, w *lab.World, name, mac, ip string) {
	t.Helper()
	changed, err := uci.Dir{Path: w.ConfigDir, RunPath: w.RunDir, StagePath: w.RunDir}.Edit(t.Context(), "dhcp", func(f *uci.File) error {
		s, err := f.Add("host", "")
		if err == nil {
			err = s.AddList("mac", mac)
		}
		if err == nil {
			err = s.Set("ip", ip)
		}
		if err == nil {
			err = s.Set("name", name)
		}
		return err
	})
	if err != nil || !changed {
		t.Fatalf("reserve %s: changed %v, %v", ip, changed, err)
	}
}

func TestWorldLeases(t *testing.T) {
	w := newWorld(t, lab.GatewayOptions{NoPing: true})
	b := box(t, w, "tv")
	ctx := within(t, 30*time.Second)
	l, err := b.Lease(ctx, "living-room", "a box")
	if err != nil {
		t.Fatalf("%v\n%s", err, w.Log("dnsmasq"))
	}
	t.Logf("lease of %v in %v", l.Address, l.Took)
	pool := netip.MustParsePrefix("192.168.1.0/24")
	if n := l.Address.Addr().As4()[3]; !pool.Contains(l.Address.Addr()) || l.Address.Bits() != 24 || n < 100 || n > 249 {
		t.Errorf("lease of %v, want one of 192.168.1.100 to 249", l.Address)
	}
	if l.Gateway != lab.GatewayLAN.Addr() || !slices.Equal(l.DNS, []netip.Addr{lab.GatewayLAN.Addr()}) || l.Time != 12*time.Hour {
		t.Errorf("gateway %v, DNS %v, time %v", l.Gateway, l.DNS, l.Time)
	}
	if got, err := b.Addresses("eth0"); err != nil || !slices.Equal(got, []string{l.Address.String()}) {
		t.Errorf("addresses %q, %v", got, err)
	}
	leases, err := os.ReadFile(w.Leases)
	if err != nil || !strings.Contains(string(leases), " "+b.MAC.String()+" "+l.Address.Addr().String()+" living-room ") {
		t.Errorf("leases %q, %v", leases, err)
	}
	// The way out, through NAT.
	if out, err := b.Run(ctx, "ping", "-c1", "-W5", lab.Outside.Addr().String()); err != nil {
		t.Error(err, out)
	}
	if err := b.Release(l); err != nil {
		t.Error(err)
	}
	eventually(t, 5*time.Second, "the lease is given back", func() bool {
		leases, err := os.ReadFile(w.Leases)
		return err == nil && !strings.Contains(string(leases), b.MAC.String())
	})
}

// TestWorldPings sees OpenWrt's default: an address is pinged for 3 s.
func TestWorldPings(t *testing.T) {
	w := newWorld(t, lab.GatewayOptions{})
	b := box(t, w, "tv")
	l, err := b.Lease(within(t, 30*time.Second), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if l.Took < 2*time.Second {
		t.Errorf("lease in %v, want 3 s", l.Took)
	}
}

// TestWorldReserves edits UCI: the supervisor restarts dnsmasq once, and the
// reservation holds.
func TestWorldReserves(t *testing.T) {
	w := newWorld(t, lab.GatewayOptions{})
	if n := w.Starts("dnsmasq"); n != 1 {
		t.Fatalf("dnsmasq was started %d times", n)
	}
	b := box(t, w, "tv")
	ctx := within(t, 30*time.Second)
	start := time.Now()
	reserve(t, w, "tv", b.MAC.String(), "192.168.1.30")
	if err := w.WaitStarts(ctx, "dnsmasq", 2); err != nil {
		t.Fatal(err)
	}
	t.Logf("UCI written to dnsmasq listening: %v", time.Since(start))
	// A MAC address with a reservation isn't kept waiting.
	l, err := b.Lease(ctx, "", "")
	if err != nil || l.Address.String() != "192.168.1.30/24" || l.Took > 2*time.Second {
		t.Errorf("lease of %v in %v, %v", l.Address, l.Took, err)
	}
	start = time.Now()
	if got, err := w.Offer(ctx, b.MAC); err != nil || got.String() != "192.168.1.30" {
		t.Errorf("offer of %v, %v", got, err)
	}
	t.Logf("dnsmasq asked from the gateway: %v", time.Since(start))

	// What changes nothing for dnsmasq restarts nothing.
	for _, write := range []func() error{
		func() error { return appendTo(w, "dhcp", "\n# a comment\n") },
		func() error { return appendTo(w, "dhcp", "\nconfig other\n\toption x 'y'\n") },
		func() error { return appendTo(w, "firewall", "\nconfig rule\n") },
		func() error { return appendTo(w, "dhcp", "\nconfig host 'broken\n") },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 5*time.Second, "the broken file is mentioned", func() bool {
		return strings.Contains(w.Supervisor.Output(), "dnsmasq left as it is, dhcp changed")
	})
	if n := w.Starts("dnsmasq"); n != 2 {
		t.Errorf("dnsmasq was started %d times, want 2:\n%s", n, w.Supervisor.Output())
	}
	if l, err := b.Lease(ctx, "", ""); err != nil || l.Address.String() != "192.168.1.30/24" {
		t.Errorf("with a broken file: lease of %v, %v", l.Address, err)
	}
	// A reboot of the gateway with a file that is whole again.
	if err := os.WriteFile(filepath.Join(w.ConfigDir, "dhcp"), dropLast(t, w), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.RestartSupervisor(); err != nil {
		t.Fatal(err)
	}
	if l, err := b.Lease(ctx, "", ""); err != nil || l.Address.String() != "192.168.1.30/24" {
		t.Errorf("after a restart: lease of %v, %v", l.Address, err)
	}
}

func appendTo(w *lab.World, pkg, text string) error {
	name := filepath.Join(w.ConfigDir, pkg)
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name+".new", append(b, text...), 0o644)
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	return err
}

// dropLast is the dhcp file without its broken section.
func dropLast(t *testing.T, w *lab.World) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.ConfigDir, "dhcp"))
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(b), "\nconfig host 'broken")
	return []byte(text + "\n")
}

// TestWorldDuplicate writes two reservations of one address, which dnsmasq
// refuses: it is down until the file is mended, as on OpenWrt.
func TestWorldDuplicate(t *testing.T) {
	w := newWorld(t, lab.GatewayOptions{NoPing: true})
	b := box(t, w, "tv")
	before, err := os.ReadFile(filepath.Join(w.ConfigDir, "dhcp"))
	if err != nil {
		t.Fatal(err)
	}
	reserve(t, w, "tv", b.MAC.String(), "192.168.1.20") // the printer's
	eventually(t, 5*time.Second, "dnsmasq ends", func() bool {
		return strings.Contains(w.Supervisor.Output(), "dnsmasq ended: exit status")
	})
	if err := os.WriteFile(filepath.Join(w.ConfigDir, "dhcp"), before, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 30*time.Second)
	if err := w.WaitServed(ctx); err != nil {
		t.Fatal(err)
	}
	if l, err := b.Lease(ctx, "", ""); err != nil {
		t.Errorf("lease of %v, %v", l.Address, err)
	}
}

var stream = netip.MustParseAddrPort("239.1.2.3:5000")

// TestWorldStreams carries a stream from the provider to a box, with igmpproxy
// there from the start or configured meanwhile, and marked on its way.
func TestWorldStreams(t *testing.T) {
	for name, o := range map[string]lab.GatewayOptions{
		"proxy from the start":      {NoPing: true, IGMPProxy: lab.RunningProxy},
		"proxy configured later":    {NoPing: true},
		"empty file, with snooping": {NoPing: true, IGMPProxy: lab.EmptyProxy, Snooping: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			b := box(t, w, "stb")
			ctx := within(t, 60*time.Second)
			if _, err := b.Lease(ctx, "", ""); err != nil {
				t.Fatal(err)
			}
			s, err := w.ISP.Stream(lab.StreamOptions{Interface: "home", Group: stream})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Stop()
			if o.IGMPProxy != lab.RunningProxy {
				if n := w.Starts("igmpproxy"); n != 0 {
					t.Fatalf("igmpproxy was started %d times", n)
				}
				if err := os.WriteFile(filepath.Join(w.ConfigDir, "igmpproxy"), []byte(`
config phyint
	option network 'wan'
	option direction 'upstream'
	list altnet '0.0.0.0/0'

config phyint
	option network 'lan'
	option direction 'downstream'
`), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := w.WaitStarts(ctx, "igmpproxy", 1); err != nil {
					t.Fatal(err)
				}
			}
			other, err := b.Receive("eth0", netip.MustParseAddrPort("239.1.2.4:5000"))
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			r, err := b.Receive("eth0", stream)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Wait(ctx, 50, -1); err != nil {
				t.Fatalf("%v\n%s\n%s", err, w.Rendered("igmpproxy"), w.Log("igmpproxy"))
			}
			t.Logf("joined to the first packet: %v", r.First().Sub(start))
			if got := r.DSCP(); !slices.Equal(slices.Collect(maps.Keys(got)), []uint8{0}) {
				t.Errorf("DSCP %v before marks", got)
			}
			if _, err := w.GW.Run(ctx, "iptables", "-w", "5", "-t", "mangle", "-A", "FORWARD", "-d", stream.Addr().String(), "-j", "DSCP", "--set-dscp", "32"); err != nil {
				t.Fatal(err)
			}
			c, err := b.Capture("eth0", func(p lab.Packet) bool {
				_, dst, dscp, protocol, ok := p.IPv4()
				return ok && dst == stream.Addr() && dscp == 32 && protocol == 17
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Wait(ctx, 20, 32); err != nil {
				t.Error(err)
			}
			if err := c.Wait(ctx, 20); err != nil {
				t.Error(err)
			}
			c.Stop()
			if n := other.Received(); n != 0 {
				t.Errorf("%d packets came for a group that nobody sends to", n)
			}
			r.Leave()
			if p := c.Packets()[0]; p.Destination().String() != "01:00:5e:01:02:03" || p.Source().String() != lab.BridgeMAC {
				t.Errorf("captured a frame from %v to %v", p.Source(), p.Destination())
			}
		})
	}
}

// TestWorldMany plugs 16 boxes in at once.
func TestWorldMany(t *testing.T) {
	w := newWorld(t, lab.GatewayOptions{NoPing: true})
	ctx := within(t, 60*time.Second)
	seen := make(map[netip.Prefix]string)
	var boxes []*lab.Box
	for i := range 16 {
		boxes = append(boxes, box(t, w, fmt.Sprintf("box%d", i)))
	}
	type result struct {
		name  string
		lease lab.Lease
		err   error
	}
	results := make(chan result)
	for _, b := range boxes {
		go func() {
			l, err := b.Lease(ctx, b.Name, "")
			results <- result{b.Name, l, err}
		}()
	}
	for range boxes {
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		if other, ok := seen[r.lease.Address]; ok {
			t.Errorf("%s and %s have %v", r.name, other, r.lease.Address)
		}
		seen[r.lease.Address] = r.name
	}
}

func BenchmarkWorld(b *testing.B) {
	lab.NeedGateway(b)
	for b.Loop() {
		l, err := lab.New("bench")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := lab.Gateway(l, lab.GatewayOptions{IGMPProxy: lab.RunningProxy}); err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
