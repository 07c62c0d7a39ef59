package gateway

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gwuci "homeconf/src/gateway/uci"
	"homeconf/src/model"
	"homeconf/src/uci"
)

const roleVariable = "HOMECONF_TEST_ROLE"

// TestRole is no test by itself: it is the provider's sender or the box, run in
// their namespaces by the test below.
func TestRole(t *testing.T) {
	group := &net.UDPAddr{IP: net.IPv4(239, 1, 1, 1), Port: 5000}
	switch os.Getenv(roleVariable) {
	case "send":
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 2, 9)}, group)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := c.SyscallConn()
		raw.Control(func(fd uintptr) { setTTL(int(fd)) })
		for {
			c.Write([]byte("picture"))
			time.Sleep(20 * time.Millisecond)
		}
	case "join":
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.ListenMulticastUDP("udp4", i, group)
		if err != nil {
			t.Fatal(err)
		}
		for b := make([]byte, 100); ; {
			c.ReadFrom(b)
		}
	}
}

// child starts a program that ends with the test.
func child(t *testing.T, env string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

func TestMulticastOnARealGateway(t *testing.T) {
	if !inNamespace(t, "igmpproxy", "iptables-legacy") {
		return
	}
	dir := t.TempDir()
	box, isp := fmt.Sprintf("hcg%d-b", os.Getpid()), fmt.Sprintf("hcg%d-i", os.Getpid())
	t.Cleanup(func() {
		exec.Command("ip", "netns", "del", box).Run()
		exec.Command("ip", "netns", "del", isp).Run()
	})
	sh(t, `ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
ip netns add `+box+`; ip netns add `+isp+`
ip link add br-lan address 02:00:00:00:01:00 type bridge forward_delay 0
ip link add lan1 type veth peer name eth0 netns `+box+`
ip link add eth1 type veth peer name eth0 netns `+isp+`
ip link set lan1 master br-lan up; ip link set br-lan up; ip link set eth1 up
ip addr add 192.168.1.1/24 dev br-lan; ip addr add 10.0.2.1/24 dev eth1
ip -n `+box+` addr add 192.168.1.50/24 dev eth0; ip -n `+box+` link set eth0 up; ip -n `+box+` route add default via 192.168.1.1
ip -n `+isp+` addr add 10.0.2.9/24 dev eth0; ip -n `+isp+` link set eth0 up; ip -n `+isp+` route add 224.0.0.0/4 dev eth0`)
	config := filepath.Join(dir, "config")
	write(t, filepath.Join(config, "network"), networkFile)
	r, err := New(Config{ConfigDir: config, RunPath: filepath.Join(dir, "hide"), StateDir: filepath.Join(dir, "state"), IPTables: "iptables-legacy"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	want := scene(t)
	want.Reservations = nil
	oks := func() string {
		checks, err := r.VerifyMulticast(ctx, want)
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, c := range checks {
			s = append(s, fmt.Sprintf("%s:%v", c.What, c.OK))
		}
		return strings.Join(s, " ")
	}
	until := func(state string) {
		t.Helper()
		began := time.Now()
		for oks() != state {
			if time.Since(began) > 15*time.Second {
				checks, _ := r.VerifyMulticast(ctx, want)
				t.Fatalf("want %s, have %+v", state, checks)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if _, err := r.Set(ctx, want); err != nil {
		t.Fatal(err)
	}
	until("igmp-proxy:false group:false stream:false")

	// What the init script makes of the package.
	f, err := uci.Dir{Path: config}.Load("igmpproxy")
	if err != nil {
		t.Fatal(err)
	}
	ours, _ := gwuci.Proxies(f)
	conf := "quickleave\nphyint eth1 upstream ratelimit 0 threshold 1\n"
	for _, n := range ours.AltNets {
		conf += "\taltnet " + n.String() + "\n"
	}
	write(t, filepath.Join(dir, "igmpproxy.conf"), conf+"phyint br-lan downstream ratelimit 0 threshold 1\nphyint lo disabled\nphyint lan1 disabled\n")
	child(t, "", "igmpproxy", "-n", filepath.Join(dir, "igmpproxy.conf"))
	until("igmp-proxy:true group:false stream:false")
	n, err := r.Facts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if m := n.Multicast; !m.Installed || !m.Running || !m.Configured || !m.Ours || m.Upstream != "wan" || len(m.Interfaces) != 2 {
		t.Errorf("facts %+v", m)
	}
	child(t, roleVariable+"=join", "ip", "netns", "exec", box, os.Args[0], "-test.run=^TestRole$")
	until("igmp-proxy:true group:true stream:false")
	child(t, roleVariable+"=send", "ip", "netns", "exec", isp, os.Args[0], "-test.run=^TestRole$")
	until("igmp-proxy:true group:true stream:true")
	if rules := sh(t, "iptables-legacy -t mangle -vnxL HOMECONF_MARK"); !marked(rules) {
		t.Errorf("no packet of the stream was marked\n%s", rules)
	}
	checks, _ := r.VerifyMulticast(ctx, want, stb)
	for _, c := range checks {
		t.Logf("%s: %s", c.What, c.Seen)
	}
	if _, err := r.Set(ctx, model.GatewayState{}); err != nil {
		t.Fatal(err)
	}
}

// marked looks for a count at the group's rule.
func marked(list string) bool {
	for l := range strings.Lines(list) {
		if f := strings.Fields(l); strings.Contains(l, "239.1.1.1") && len(f) > 0 && f[0] != "0" {
			return true
		}
	}
	return false
}
