package gateway

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gwuci "homeconf/src/gateway/uci"
	"homeconf/src/model"
	"homeconf/src/uci"
)

// inNamespace runs the calling test once more in a network namespace of its own
// and returns true there.
func inNamespace(t testing.TB, programs ...string) bool {
	t.Helper()
	const mark = "HOMECONF_TEST_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	var lacks []string
	if os.Geteuid() != 0 {
		lacks = append(lacks, "root")
	}
	for _, p := range append(programs, "ip") {
		if _, err := exec.LookPath(p); err != nil {
			lacks = append(lacks, "the program "+p)
		}
	}
	if lacks != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs %s", strings.Join(lacks, ", "))
		}
		t.Skipf("needs %s", strings.Join(lacks, ", "))
	}
	ns := fmt.Sprintf("hcg%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer exec.Command("ip", "netns", "del", ns).Run()
	args := []string{"netns", "exec", ns, os.Args[0], "-test.run=^" + t.Name() + "$", "-test.v"}
	if _, bench := t.(*testing.B); bench {
		args = []string{"netns", "exec", ns, os.Args[0], "-test.run=^$", "-test.bench=^" + t.Name() + "$"}
	}
	cmd := exec.Command("ip", args...)
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

func sh(t testing.TB, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// dnsmasqs is what procd is on OpenWrt: it turns the dhcp package into what
// dnsmasq loads, and restarts it, some time after it was asked to.
type dnsmasqs struct {
	t      testing.TB
	config string
	lease  string
	mu     sync.Mutex
	cmd    *exec.Cmd
	starts int
	wg     sync.WaitGroup
}

func (d *dnsmasqs) Reload(_ context.Context, pkg string) error {
	if pkg == "dhcp" {
		d.wg.Go(func() {
			time.Sleep(15 * time.Millisecond)
			d.restart()
		})
	}
	return nil
}

func (d *dnsmasqs) restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop()
	f, err := uci.Dir{Path: d.config}.Load("dhcp")
	if err != nil {
		d.t.Error(err)
		return
	}
	args := []string{"-k", "--conf-file=/dev/null", "--port=0", "--user=root", "--group=root", "--pid-file=", "--interface=br-lan", "--bind-dynamic",
		"--dhcp-range=192.168.1.100,192.168.1.200,12h", "--dhcp-leasefile=" + d.lease, "--log-facility=" + d.lease + ".log", "--log-dhcp"}
	for _, h := range gwuci.Hosts(f) {
		if h.Enabled && h.Address.IsValid() {
			args = append(args, fmt.Sprintf("--dhcp-host=%s,%s", join(h.MACs), h.Address))
		}
	}
	d.cmd = exec.Command("dnsmasq", args...)
	d.cmd.Stderr = os.Stderr
	d.starts++
	if err := d.cmd.Start(); err != nil {
		d.t.Error(err)
	}
}

func (d *dnsmasqs) stop() {
	if d.cmd != nil {
		d.cmd.Process.Kill()
		d.cmd.Wait()
		d.cmd = nil
	}
}

// home makes bridge, WAN and a DHCP server in this namespace.
func home(t testing.TB, program string) (*Router, *dnsmasqs) {
	dir := t.TempDir()
	sh(t, `ip link set lo up
ip link add br-lan address 02:00:00:00:01:00 type bridge forward_delay 0
ip link add lan1 address 02:00:00:00:01:01 type veth peer name box1 address 02:00:00:00:00:01
ip link add eth1 type veth peer name isp
ip link set lan1 master br-lan up; ip link set box1 up; ip link set eth1 up; ip link set isp up
ip addr add 192.168.1.1/24 dev br-lan; ip link set br-lan up
ip addr add 10.0.2.1/24 dev eth1
ip route add default via 10.0.2.9 dev eth1
ip neigh add 192.168.1.77 lladdr 02:00:00:00:00:77 dev br-lan nud permanent
# Refused until the port forwards.
i=0
until bridge fdb add 02:00:00:00:00:77 dev lan1 master dynamic; do i=$((i+1)); [ $i -lt 300 ]; sleep 0.1; done`)
	lease := filepath.Join(dir, "dhcp.leases")
	write(t, filepath.Join(dir, "config/dhcp"), strings.Replace(foreignDHCP, "config dnsmasq\n", "config dnsmasq\n\toption leasefile '"+lease+"'\n", 1)+
		"\nconfig dhcp 'lan'\n\toption interface 'lan'\n\toption start '100'\n\toption limit '101'\n")
	write(t, filepath.Join(dir, "config/network"), networkFile)
	write(t, filepath.Join(dir, "config/sqm"), "config queue\n\toption enabled '1'\n\toption interface 'eth1'\n\toption download '50000'\n\toption upload '10000'\n")
	write(t, filepath.Join(dir, "config/firewall"), "config defaults\n\toption flow_offloading '1'\n")
	write(t, lease, "4000000000 02:00:00:00:00:05 192.168.1.120 phone *\n")
	d := &dnsmasqs{t: t, config: filepath.Join(dir, "config"), lease: lease}
	d.restart()
	t.Cleanup(func() {
		d.wg.Wait()
		d.stop()
	})
	r, err := New(Config{ConfigDir: d.config, RunPath: filepath.Join(dir, "hide"), StateDir: filepath.Join(dir, "state"), IPTables: program, Reloader: d})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if have, err := r.pending.sockets(); err == nil && len(have) > 0 {
			return r, d
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("dnsmasq does not start")
	return nil, nil
}

func TestRouterOnARealGateway(t *testing.T) {
	if !inNamespace(t, "dnsmasq", "iptables-nft", "iptables-legacy", "bridge") {
		return
	}
	r, d := home(t, "iptables-nft")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	n, err := r.Facts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	facts := fmt.Sprintf("%+v %+v %+v %+v %+v %v", n.LAN, n.WAN, n.Pool, n.Leases, n.Rates, n.Offloading)
	wantFacts := "{Network:lan Device:br-lan Prefix:192.168.1.1/24 MAC:02:00:00:00:01:00} {Network:wan Device:eth1 Up:true SpeedMbps:10000} " +
		"{First:192.168.1.100 Last:192.168.1.200} [{MAC:02:00:00:00:00:05 Address:192.168.1.120 HostName:phone Expiry:4000000000}] " +
		"{DownMbps:50 UpMbps:10 Source:sqm Shaper:true} true"
	if facts != wantFacts {
		t.Errorf("facts\n%s\nwant\n%s", facts, wantFacts)
	}
	if len(n.Ports) != 1 || n.Ports[0].Device != "lan1" || !slices.Contains(n.Ports[0].MACs, model.MAC{2, 0, 0, 0, 0, 0x77}) {
		t.Errorf("ports %+v", n.Ports)
	}
	if !slices.Contains(n.Neighbors, model.Neighbor{MAC: model.MAC{2, 0, 0, 0, 0, 0x77}, Address: addr("192.168.1.77"), Reachable: true}) {
		t.Errorf("neighbours %+v", n.Neighbors)
	}

	want := scene(t)
	want.Multicast = nil
	for range 5 { // Set and read back, again and again for other addresses
		a := want.Reservations[0].Address.Next()
		want.Reservations[0].Address, want.Marks[0].Address = a, a
		began := time.Now()
		c, err := r.Set(ctx, want)
		set := time.Since(began)
		if err != nil || !slices.Equal(c.Reloaded(), []string{"dhcp"}) {
			t.Fatalf("%v: %v", err, c)
		}
		checks, err := r.VerifyReservations(ctx, want)
		if err != nil || len(checks) != 1 || !checks[0].OK || !strings.Contains(checks[0].Seen, a.String()) {
			t.Fatalf("reservation: %+v, %v", checks, err)
		}
		checks, err = r.VerifyMarks(ctx, want)
		if err != nil || len(checks) != 2 || !checks[0].OK || !checks[1].OK {
			t.Fatalf("marks: %+v, %v", checks, err)
		}
		t.Logf("Set %s, read back after %s", set.Round(100*time.Microsecond), time.Since(began).Round(100*time.Microsecond))
	}
	starts := d.starts
	if c, err := r.Set(ctx, want); err != nil || !c.Empty() {
		t.Errorf("again: %v, %v", c, err)
	}
	d.wg.Wait()
	if d.starts != starts {
		t.Errorf("dnsmasq was restarted for nothing")
	}

	// While a change is unconfirmed both addresses are reserved.
	both := cloneState(want)
	both.Reservations = append(both.Reservations, both.Reservations[0])
	both.Reservations[1].Address = addr("192.168.1.99")
	if _, err := r.Set(ctx, both); err != nil {
		t.Fatal(err)
	}
	if checks, err := r.VerifyReservations(ctx, both, stb); err != nil || len(checks) != 2 || !checks[0].OK || !checks[1].OK {
		t.Errorf("both: %+v, %v", checks, err)
	}

	// A person switches ours off: it stays so, and is told; dnsmasq isn't asked.
	(uci.Dir{Path: d.config}).Edit(ctx, "dhcp", func(f *uci.File) error {
		for _, s := range f.Sections("host") {
			if strings.HasPrefix(s.Name(), "hc_") {
				s.Set("enable", "0")
			}
		}
		return nil
	})
	if checks, err := r.VerifyReservations(ctx, both); err != nil || checks[0].OK || !strings.Contains(checks[0].Seen, "switched") {
		t.Errorf("switched off: %+v, %v", checks, err)
	}
	if log, _ := os.ReadFile(d.lease + ".log"); strings.Contains(string(log), "no address") || strings.Contains(string(log), "DHCPDISCOVER(br-lan) 192.168.1.1") {
		t.Errorf("dnsmasq was asked for an unreserved address\n%s", log)
	}

	if _, err := r.Set(ctx, model.GatewayState{}); err != nil {
		t.Fatal(err)
	}
	if out := sh(t, "iptables-nft -t mangle -S 2>/dev/null"); strings.Contains(out, "HOMECONF") {
		t.Errorf("left in mangle\n%s", out)
	}
	if b, _ := os.ReadFile(filepath.Join(d.config, "dhcp")); strings.Contains(string(b), "hc_") {
		t.Errorf("left in dhcp\n%s", b)
	}
	// Nothing of ours is there to be asked for.
	checks, err := r.VerifyReservations(ctx, want)
	if err != nil || len(checks) != 1 || checks[0].OK {
		t.Errorf("after removal: %+v, %v", checks, err)
	}
}

func TestSixteenDevicesOneReload(t *testing.T) {
	if !inNamespace(t, "dnsmasq", "iptables-legacy") {
		return
	}
	r, d := home(t, "iptables-legacy")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var want model.GatewayState
	for i := range 16 {
		id := model.DeviceID(fmt.Sprintf("d%010x", i))
		a := addr(fmt.Sprintf("192.168.1.%d", 20+i))
		want.Reservations = append(want.Reservations, model.Reservation{Device: id, MACs: []model.MAC{{2, 0, 0, 0, 1, byte(i)}}, Address: a, Reason: "x"})
		want.Marks = append(want.Marks, model.Mark{Device: id, Address: a, Class: model.ClassBroadcastVideo, Reason: "x"})
	}
	starts := d.starts
	began := time.Now()
	if _, err := r.Set(ctx, want); err != nil {
		t.Fatal(err)
	}
	set := time.Since(began)
	checks, err := r.Verify(ctx, want)
	if err != nil || len(checks) != 32 {
		t.Fatalf("%d checks, %v", len(checks), err)
	}
	for _, c := range checks {
		if !c.OK {
			t.Errorf("%+v", c)
		}
	}
	d.wg.Wait()
	d.stop()
	if d.starts != starts+1 {
		t.Errorf("dnsmasq was started %d times, want once", d.starts-starts)
	}
	t.Logf("16 devices: Set %s, read back after %s", set.Round(100*time.Microsecond), time.Since(began).Round(100*time.Microsecond))
}

// A server that never takes the change up is told, not asked.
func TestVerifyWithoutARestart(t *testing.T) {
	if !inNamespace(t, "dnsmasq", "iptables-legacy") {
		return
	}
	r, d := home(t, "iptables-legacy")
	r.cfg.Reloader = Watched{} // nobody watches
	want := scene(t)
	want.Multicast = nil
	if _, err := r.Set(context.Background(), want); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	checks, err := r.VerifyReservations(ctx, want)
	if err != nil || len(checks) != 1 || checks[0].OK || !strings.Contains(checks[0].Seen, "not restarted") {
		t.Errorf("%+v, %v", checks, err)
	}
	if log, _ := os.ReadFile(d.lease + ".log"); strings.Contains(string(log), "DHCPDISCOVER") {
		t.Errorf("the old server was asked\n%s", log)
	}
}

func TestFactsWithoutLAN(t *testing.T) {
	r, err := New(Config{ConfigDir: t.TempDir(), StateDir: t.TempDir(), LANDevice: "no-such-dev"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Facts(context.Background()); err == nil || !strings.Contains(err.Error(), "no-such-dev does not exist") {
		t.Errorf("got %v", err)
	}
	for _, bad := range []Config{{LANDevice: "a b"}, {LANNetwork: "l;an"}, {WANNetwork: "$(x)"}, {IPTVNetwork: "-"}} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func BenchmarkSetOneDeviceLegacy(b *testing.B) { benchmarkSet(b, "iptables-legacy") }

func BenchmarkSetOneDeviceNFT(b *testing.B) { benchmarkSet(b, "iptables-nft") }

func benchmarkSet(b *testing.B, program string) {
	if !inNamespace(b, "dnsmasq", program) {
		return
	}
	r, _ := home(b, program)
	r.cfg.Reloader = Watched{}
	want := scene(b)
	for i := 0; b.Loop(); i++ {
		a := addr(fmt.Sprintf("192.168.1.%d", 10+i%80))
		want.Reservations[0].Address, want.Marks[0].Address = a, a
		if _, err := r.Set(context.Background(), want); err != nil {
			b.Fatal(err)
		}
	}
}
