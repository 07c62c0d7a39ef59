package gateway

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"homeconf/src/gateway/openwrt"
)

// TestWatchOnARealGateway: what others do is told, what we do ourselves is not,
// and a flushed firewall is known of in time to be put right within two seconds.
func TestWatchOnARealGateway(t *testing.T) {
	if !inNamespace(t, "dnsmasq", "iptables-nft", "nft") {
		return
	}
	r, d := home(t, "iptables-nft")
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if _, err := r.Facts(ctx); err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 100)
	done := make(chan error, 1)
	watch, end := context.WithCancel(ctx)
	go func() { done <- r.Watch(watch, func(what string) { told <- what }) }()

	const long = 2 * time.Second
	quiet := func(why string) {
		t.Helper()
		select {
		case what := <-told:
			t.Errorf("%s: told of %s", why, what)
		case <-time.After(long / 2):
		}
	}
	hear := func(want string) {
		t.Helper()
		began := time.Now()
		select {
		case what := <-told:
			if what != want {
				t.Errorf("told of %q, want %q", what, want)
			}
			t.Logf("%s: after %v", want, time.Since(began))
		case <-time.After(10 * long):
			t.Errorf("not told of %s", want)
		}
		if _, err := r.Facts(ctx); err != nil { // as the pass does that follows
			t.Fatal(err)
		}
	}
	quiet("nothing happened")

	want := scene(t)
	want.Multicast = nil
	if _, err := r.Set(ctx, want); err != nil {
		t.Fatal(err)
	}
	quiet("our own writing")

	sh(t, "nft flush ruleset")
	hear("firewall")
	if c, err := r.Set(ctx, want); err != nil || c.Empty() {
		t.Errorf("%v: %v", err, c)
	}
	quiet("our own marks put back")

	path := filepath.Join(d.config, "firewall")
	if err := os.WriteFile(path+".new", []byte("config defaults\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	hear("settings")

	sh(t, "ip addr add 10.20.0.1/24 dev br-lan; ip addr del 192.168.1.1/24 dev br-lan")
	hear("network")
	sh(t, "ip link set box1 down; sleep 0.1; ip link set box1 up")
	quiet("a device went and came back")

	end()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * long):
		t.Error("Watch does not end")
	}
}

// silent is an OpenWrt whose daemons say nothing.
type silent struct{}

func (silent) Interfaces(context.Context) ([]openwrt.Interface, error) { return nil, nil }
func (silent) Watch(ctx context.Context, _ func(string)) error {
	<-ctx.Done()
	return nil
}

// TestOverridesAreWatched also where the folder for files that hide those of
// /etc/config is not there yet, as after OpenWrt's boot.
func TestOverridesAreWatched(t *testing.T) {
	d := newDesk(t)
	d.cfg.System = silent{}
	f, err := d.openFiles()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(t, filepath.Join(d.dir, "hide/dhcp"), "config x\n")
	if err := f.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Read(make([]byte, 4096)); err != nil || n == 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
}
