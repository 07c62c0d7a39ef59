package netlink_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homeconf/src/model"
	"homeconf/src/system"
	"homeconf/src/system/netlink"
)

// server is a dnsmasq at the gateway that lends the given addresses.
func (w *world) server(pool string, more ...string) (log func() string, stop func()) {
	w.t.Helper()
	path := filepath.Join(w.dir, "dnsmasq.log")
	w.write(path, "")
	w.write(filepath.Join(w.dir, "leases"), "")
	args := append([]string{"netns", "exec", w.gw, "dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--user=root", "--group=root", "--pid-file=",
		"--interface=lan0", "--bind-dynamic", "--no-ping", "--dhcp-authoritative", "--dhcp-range=" + pool, "--dhcp-leasefile=" + filepath.Join(w.dir, "leases"),
		"--log-dhcp", "--log-facility=" + path, "--dhcp-option=option:dns-server,192.168.1.1,9.9.9.9"}, more...)
	c := exec.Command("ip", args...)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	log = func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			w.t.Fatal(err)
		}
		return string(b)
	}
	stop = func() {
		c.Process.Kill()
		c.Wait()
	}
	w.t.Cleanup(stop)
	w.until("the DHCP server is there", func() bool { return strings.Contains(log(), "DHCP, IP range") })
	return log, stop
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (w *world) lease(d *netlink.Device) system.Lease {
	w.t.Helper()
	l, err := d.Lease(within(w.t, 20*time.Second))
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) released(log func() string, a netip.Addr) {
	w.t.Helper()
	w.until("the server hears of the release", func() bool { return strings.Contains(log(), "DHCPRELEASE(lan0) "+a.String()) })
	w.until("the server forgets the lease", func() bool {
		b, err := os.ReadFile(filepath.Join(w.dir, "leases"))
		return err == nil && !strings.Contains(string(b), a.String())
	})
}

const lent = `address 192.168.1.150/24 lent
route default via 192.168.1.1 dev eth0 proto dhcp src 192.168.1.150
route 192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.150
nameserver 192.168.1.1
nameserver 9.9.9.9
`

// TestLease takes an address from a real server and gives it back.
func TestLease(t *testing.T) {
	inBox(t, []string{"dnsmasq"}, func(w *world) {
		log, _ := w.server("192.168.1.150,192.168.1.150,1h")
		d := w.open()
		empty := w.state()
		if _, ok := d.Held(); ok {
			t.Error("a lease is held that nobody took")
		}
		l := w.lease(d)
		if l.Address != netip.MustParsePrefix("192.168.1.150/24") || l.Gateway != netip.MustParseAddr("192.168.1.1") || l.Server != l.Gateway ||
			len(l.DNS) != 2 || l.For != time.Hour || time.Since(l.Taken) > time.Minute {
			t.Errorf("lease: %+v", l)
		}
		w.want("not used yet", empty)
		for range 2 {
			if err := d.Use(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			w.want("used", lent)
		}
		dhcp := model.Settings{AddressingType: model.AddressingDHCP}
		w.apply(d, dhcp)
		w.want("applied", lent)
		w.prove(d, dhcp)
		if s, err := d.Current(t.Context()); err != nil || !s.Same(l.Settings()) {
			t.Errorf("current: %+v, %v", s, err)
		}
		if r, err := d.Report(t.Context()); err != nil || len(r.Interfaces) != 1 || len(r.Interfaces[0].Addresses) != 1 || r.Interfaces[0].Addresses[0].Type != model.AddressingDHCP {
			t.Errorf("report: %+v, %v", r, err)
		}
		// The next run knows of it, and can ask for more time, and give it back.
		d = w.open()
		held, ok := d.Held()
		if !ok || held.Address != l.Address {
			t.Fatalf("held: %+v, %v", held, ok)
		}
		more, err := d.Renew(within(t, 10*time.Second), held)
		if err != nil || more.Address != l.Address || !more.Taken.After(l.Taken) {
			t.Fatalf("renewed: %+v, %v", more, err)
		}
		if err := d.Use(t.Context(), more); err != nil {
			t.Fatal(err)
		}
		w.want("renewed", lent)
		if err := d.Release(within(t, 10*time.Second), more); err != nil {
			t.Fatal(err)
		}
		w.released(log, l.Address.Addr())
		w.want("given back", empty)
		if _, ok := d.Held(); ok {
			t.Error("still held")
		}
	})
}

// TestLeaseThenStatic: the temporary address goes when another has come, and
// the new one stays whole.
func TestLeaseThenStatic(t *testing.T) {
	inBox(t, []string{"dnsmasq"}, func(w *world) {
		log, _ := w.server("192.168.1.150,192.168.1.150,1h")
		for _, own := range []string{"192.168.1.250/24", "192.168.1.150/24"} { // or the same becomes fixed
			d := w.open()
			l := w.lease(d)
			if err := d.Use(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			s := static(own)
			w.apply(d, s)
			if err := d.Release(within(t, 10*time.Second), l); err != nil {
				t.Fatal(err)
			}
			w.want(own, strings.ReplaceAll(routed, "192.168.1.250", s.Address.Addr().String()))
			w.prove(d, s)
			w.released(log, l.Address.Addr())
			w.apply(d, model.Settings{})
			w.write(filepath.Join(w.dir, "dnsmasq.log"), "")
		}
	})
}

// TestLeaseNeverUsed: one that came too late is given back, beside a fixed
// address and without one.
func TestLeaseNeverUsed(t *testing.T) {
	inBox(t, []string{"dnsmasq"}, func(w *world) {
		log, _ := w.server("192.168.1.150,192.168.1.150,1h")
		for _, s := range []model.Settings{{}, static("192.168.1.250/24")} {
			d := w.open()
			l := w.lease(d)
			w.apply(d, s)
			before := w.state()
			if err := d.Release(within(t, 10*time.Second), l); err != nil {
				t.Fatal(err)
			}
			w.released(log, l.Address.Addr())
			w.want("after", before)
			w.write(filepath.Join(w.dir, "dnsmasq.log"), "")
		}
	})
}

// TestServerSaysNo: another network is behind the cable now.
func TestServerSaysNo(t *testing.T) {
	inBox(t, []string{"dnsmasq"}, func(w *world) {
		_, stop := w.server("192.168.1.150,192.168.1.150,1h")
		d := w.open()
		l := w.lease(d)
		if err := d.Use(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		stop()
		w.gateway("addr flush dev lan0")
		w.gateway("addr add 10.5.0.1/24 dev lan0")
		w.server("10.5.0.50,10.5.0.60,1h")
		if _, err := d.Renew(within(t, 10*time.Second), l); !errors.Is(err, system.ErrLeaseEnded) {
			t.Errorf("%v, want %v", err, system.ErrLeaseEnded)
		}
		// Nobody hears of the release, and the address goes all the same.
		if err := d.Release(within(t, 10*time.Second), l); err == nil || !strings.Contains(err.Error(), "192.168.1.1") {
			t.Errorf("released: %v", err)
		}
		w.want("given back", "")
	})
}

// TestNoServer: asking ends when it is told to.
func TestNoServer(t *testing.T) {
	inBox(t, nil, func(w *world) {
		d := w.open()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if l, err := d.Lease(ctx); err == nil {
			t.Errorf("%+v", l)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		if err := d.Apply(t.Context(), model.Settings{AddressingType: model.AddressingDHCP}); err == nil || !strings.Contains(err.Error(), "no leased address") {
			t.Errorf("%v", err)
		}
		w.want("nothing", "")
	})
}

// TestForeignLease: what another DHCP client put there is told as it is, gives
// way to a fixed address, and is kept where DHCP is asked for.
func TestForeignLease(t *testing.T) {
	inBox(t, nil, func(w *world) {
		d := w.open()
		put := func() {
			w.ip("addr add 192.168.1.120/24 dev eth0 valid_lft 3600 preferred_lft 3600")
			w.ip("route add default via 192.168.1.1 dev eth0 proto dhcp metric 100")
		}
		put()
		theirs := w.state()
		s, err := d.Current(t.Context())
		if err != nil || s.AddressingType != model.AddressingDHCP || s.Address != netip.MustParsePrefix("192.168.1.120/24") {
			t.Fatalf("current: %+v, %v", s, err)
		}
		w.apply(d, model.Settings{AddressingType: model.AddressingDHCP})
		w.want("kept", theirs)
		w.apply(d, model.Settings{})
		w.want("nothing of ours", theirs)
		own := static("192.168.1.250/24")
		w.apply(d, own)
		w.prove(d, own)
		w.want("gave way", routed)
		w.ip("addr add 192.168.1.120/24 dev eth0 valid_lft 3600 preferred_lft 3600") // it comes again
		w.apply(d, own)
		w.want("gave way again", routed)
	})
}
