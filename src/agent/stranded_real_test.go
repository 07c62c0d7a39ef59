package agent

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homeconf/src/calls"
	"homeconf/src/link"
	"homeconf/src/model"
)

// TestStrandedReal is being stranded, and home coming back, with the kernel's
// interface and a real DHCP server; two seconds stand for ten minutes.
func TestStrandedReal(t *testing.T) {
	inBox(t, []string{"ip", "dnsmasq"}, func(gw string) {
		dir := t.TempDir()
		for _, d := range []string{"config", "state", "run"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(dir+"/config/homeconf", []byte("config agent 'agent'\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		gateway := func(words string) {
			t.Helper()
			args := append([]string{"netns", "exec", gw, "ip"}, strings.Fields(words)...)
			if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v: %s", words, err, out)
			}
		}
		lends := func(pool string) (stop func()) {
			t.Helper()
			c := exec.Command("ip", "netns", "exec", gw, "dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--user=root", "--group=root", "--pid-file=",
				"--interface=lan0", "--bind-dynamic", "--no-ping", "--dhcp-authoritative", "--dhcp-range="+pool, "--dhcp-leasefile="+filepath.Join(dir, "leases"))
			c.Stderr = os.Stderr
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			return func() { c.Process.Kill(); c.Wait() }
		}
		addresses := func() string {
			out, err := exec.Command("ip", "-4", "-o", "addr", "show", "dev", "eth0").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return string(out)
		}
		await := func(what, has, not string) {
			t.Helper()
			for end := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				have := addresses()
				if strings.Contains(have, has) && !strings.Contains(have, not) {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("waited in vain: %s\n%s", what, have)
				}
			}
		}
		want := static(1, "192.168.1.250/24")
		want.DNS = nil
		if err := store((files{dir + "/state"}).state(), kept{Version: stateVersion, Good: &want}); err != nil {
			t.Fatal(err)
		}
		start := func() (stop func()) {
			t.Helper()
			a, err := New(Config{ConfigDir: dir + "/config", StateDir: dir + "/state", RunDir: dir + "/run", Bus: calls.NoBus, Interface: "eth0", StrandAfter: 2 * time.Second,
				Link: func(ctx context.Context, use func(context.Context, link.Port) error) error {
					return use(ctx, link.NewSegment(link.SegmentOptions{}).Attach(boxMAC)) // nobody is at Layer 2
				}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			return func() {
				cancel()
				if err := <-done; err != nil {
					t.Errorf("agent: %v", err)
				}
			}
		}
		stop := start()
		await("the fixed settings", "192.168.1.250/24", "10.20.0.")
		// The gateway answers: nothing changes for twice the time.
		time.Sleep(4 * time.Second)
		await("no change", "192.168.1.250/24", "10.20.0.")
		// A firmware upgrade: another subnet, and nothing of homeconf.
		gateway("addr flush dev lan0")
		gateway("addr add 10.20.0.1/24 dev lan0")
		end := lends("10.20.0.150,10.20.0.159,1h")
		await("a lease in use, the fixed address gone", "10.20.0.15", "192.168.1.250")
		// Over a reboot of the agent, too.
		stop()
		stop = start()
		time.Sleep(time.Second)
		await("still on the lease", "10.20.0.15", "192.168.1.250")
		// The old subnet is back, and its lease with it.
		end()
		gateway("addr flush dev lan0")
		gateway("addr add 192.168.1.1/24 dev lan0")
		defer lends("192.168.1.150,192.168.1.160,1h")()
		stop()
		if out, err := exec.Command("ip", "link", "set", "eth0", "down").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if out, err := exec.Command("ip", "link", "set", "eth0", "up").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if out, err := exec.Command("ip", "addr", "flush", "dev", "eth0").CombinedOutput(); err != nil { // as a reboot does
			t.Fatalf("%v: %s", err, out)
		}
		os.RemoveAll(dir + "/run")
		os.Mkdir(dir+"/run", 0o700)
		stop = start()
		await("the fixed settings are back", "192.168.1.250/24", "10.20.0.")
		stop()
		if k, _, err := load((files{dir + "/state"}).state(), checkKept); err != nil || k.Stranded || k.Good.AddressingType != model.AddressingStatic {
			t.Errorf("kept: %+v, %v", k, err)
		}
	})
}
