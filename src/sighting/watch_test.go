package sighting

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"homeconf/src/model"
)

// inNamespace runs the calling test once more in a network namespace of its own
// and ends it here; it returns true there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "HOMECONF_TEST_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	var lacks string
	if os.Geteuid() != 0 {
		lacks = "root"
	} else if _, err := exec.LookPath("ip"); err != nil {
		lacks = "the program ip"
	}
	if lacks != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs %s", lacks)
		}
		t.Skipf("needs %s", lacks)
	}
	ns := fmt.Sprintf("hcs%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer exec.Command("ip", "netns", "del", ns).Run()
	cmd := exec.Command("ip", "netns", "exec", ns, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

func sh(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// lan makes a bridge with one box behind a port. The box is a veth end that is
// in a namespace of its own, held by a process.
func lan(t *testing.T) (box string) {
	box = fmt.Sprintf("hcs%d-box", os.Getpid())
	t.Cleanup(func() { exec.Command("ip", "netns", "del", box).Run() })
	sh(t, `ip link add br-lan address 02:00:00:00:01:00 type bridge forward_delay 0
ip addr add 192.168.1.1/24 dev br-lan
ip link set br-lan up
ip netns add `+box+`
ip link add lan1 address 02:00:00:00:01:01 type veth peer name eth0 address 02:00:00:00:00:01 netns `+box+`
ip link set lan1 master br-lan up
ip -n `+box+` addr add 192.168.1.50/24 dev eth0`)
	return box
}

func start(t *testing.T, c Config) <-chan []Evidence {
	ctx, cancel := context.WithCancel(context.Background())
	told := make(chan []Evidence, 64)
	done := make(chan error, 1)
	go func() { done <- Watch(ctx, c, func(e []Evidence) { told <- e }) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Watch: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Watch does not end")
		}
	})
	return told
}

// until waits for a sighting that f takes.
func until(t *testing.T, told <-chan []Evidence, what string, f func(map[model.MAC]model.Sighting) bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	var last map[model.MAC]model.Sighting
	for {
		select {
		case e := <-told:
			last = Merge(e)
			if f(last) {
				return
			}
		case <-limit:
			t.Fatalf("%s: not seen; last %v", what, last)
		}
	}
}

func TestWatchSeesABoxComeAndItsLease(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	box := lan(t)
	file := filepath.Join(t.TempDir(), "dhcp.leases")
	one := model.MAC{2, 0, 0, 0, 0, 1}
	told := start(t, Config{Device: "br-lan", LeaseFile: file})
	until(t, told, "the empty LAN", func(m map[model.MAC]model.Sighting) bool { return len(m) == 0 })

	sh(t, "ip -n "+box+" link set eth0 up; ip netns exec "+box+" ping -c1 -W5 192.168.1.1 >/dev/null")
	until(t, told, "the box at its port", func(m map[model.MAC]model.Sighting) bool {
		s := m[one]
		return len(m) == 1 && s.Port == "lan1" && s.Active && len(s.Addrs) > 0 && s.Addrs[0].String() == "192.168.1.50" &&
			slices.Contains(s.Sources, "bridge") && slices.Contains(s.Sources, "neighbor")
	})

	// The server makes the file, writes into it, and replaces it.
	write := func(name string) {
		os.WriteFile(file, []byte("1700000000 02:00:00:00:00:01 192.168.1.50 "+name+" *\n"), 0o644)
	}
	write("box-a")
	until(t, told, "the file made", func(m map[model.MAC]model.Sighting) bool { return m[one].HostName == "box-a" })
	write("box-b")
	until(t, told, "the file written", func(m map[model.MAC]model.Sighting) bool { return m[one].HostName == "box-b" })
	for _, name := range []string{"stb-c", "stb-d"} {
		os.WriteFile(file+".new", []byte("1700000000 02:00:00:00:00:01 192.168.1.50 "+name+" *\n"), 0o644)
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		until(t, told, "the file replaced", func(m map[model.MAC]model.Sighting) bool {
			return m[one].HostName == name && m[one].Guess == model.CategorySTB
		})
	}
	write("nas-e")
	until(t, told, "the new file written", func(m map[model.MAC]model.Sighting) bool { return m[one].Guess == model.CategoryNAS })

	// The port goes down: what was learned there is forgotten.
	sh(t, "ip link set lan1 down; ip neigh flush dev br-lan")
	until(t, told, "the box gone", func(m map[model.MAC]model.Sighting) bool { return !m[one].Active })
	// The whole bridge goes away and comes back.
	sh(t, "ip link del br-lan")
	sh(t, `ip link add br-lan address 02:00:00:00:01:00 type bridge forward_delay 0
ip addr add 192.168.1.1/24 dev br-lan; ip link set br-lan up; ip link set lan1 master br-lan up
ip netns exec `+box+` ping -c1 -W5 192.168.1.1 >/dev/null`)
	until(t, told, "the box after the bridge came back", func(m map[model.MAC]model.Sighting) bool { return m[one].Port == "lan1" && m[one].Active })
}

func TestWatchOutlivesAFlood(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	box := lan(t)
	sh(t, "ip -n "+box+" link set eth0 up; ip netns exec "+box+" ping -c1 -W5 192.168.1.1 >/dev/null")
	told := start(t, Config{Device: "br-lan"})
	until(t, told, "the box", func(m map[model.MAC]model.Sighting) bool { return len(m) == 1 })
	var b strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&b, "fdb add 02:ff:00:00:%02x:%02x dev lan1 master dynamic\n", i>>8, i&255)
	}
	cmd := exec.Command("bridge", "-batch", "-")
	cmd.Stdin = strings.NewReader(b.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sh(t, "ip neigh add 192.168.1.77 lladdr 02:00:00:00:00:77 dev br-lan nud reachable")
	until(t, told, "the bound, and the neighbour within it", func(m map[model.MAC]model.Sighting) bool {
		_, ok := m[model.MAC{2, 0, 0, 0, 0, 0x77}]
		return len(m) == maxDevices && ok
	})
}

func TestCollectWithoutDeviceOrFile(t *testing.T) {
	e, err := Collect(context.Background(), Config{Device: "no-such-dev", LeaseFile: filepath.Join(t.TempDir(), "none")})
	if err != nil || len(e) != 0 {
		t.Errorf("%v, %v", e, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Collect(ctx, Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
