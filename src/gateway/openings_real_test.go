package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homeconf/src/model"
)

// outsideHome is a home with a NAS behind it and a host on the provider's side,
// each in a namespace of its own, as this process's children.
func outsideHome(t *testing.T, program string) *Router {
	t.Helper()
	dir := t.TempDir()
	me := fmt.Sprint(os.Getpid())
	nas, isp := "hcn"+me, "hci"+me
	sh(t, fmt.Sprintf(`ip netns add %[1]s; ip netns add %[2]s
ip link set lo up; ip link add br-lan type bridge forward_delay 0; ip link set br-lan up; ip addr add 192.168.1.1/24 dev br-lan
ip link add lan1 type veth peer name eth0 netns %[1]s; ip link set lan1 master br-lan up
ip link add eth1 type veth peer name eth0 netns %[2]s; ip link set eth1 up; ip addr add 203.0.113.2/24 dev eth1; ip route add default via 203.0.113.1
ip -n %[1]s link set lo up; ip -n %[1]s link set eth0 up; ip -n %[1]s addr add 192.168.1.50/24 dev eth0; ip -n %[1]s route add default via 192.168.1.1
ip -n %[2]s link set lo up; ip -n %[2]s link set eth0 up; ip -n %[2]s addr add 203.0.113.1/24 dev eth0
echo 1 > /proc/sys/net/ipv4/ip_forward
%[3]s -P FORWARD DROP; %[3]s -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; %[3]s -A FORWARD -i br-lan -j ACCEPT
%[3]s -t nat -A POSTROUTING -o eth1 -j MASQUERADE`, nas, isp, program))
	t.Cleanup(func() {
		exec.Command("ip", "netns", "del", nas).Run()
		exec.Command("ip", "netns", "del", isp).Run()
	})
	server := exec.Command("ip", "netns", "exec", nas, "python3", "-c", `
import socket, threading, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", 443)); s.listen(16)
def serve(c):
    try:
        while True: c.sendall(b"nas\n"); time.sleep(0.02)
    except OSError: pass
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()`)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	write(t, filepath.Join(dir, "config/network"), "config interface 'lan'\n\toption device 'br-lan'\n\toption ipaddr '192.168.1.1'\n\toption netmask '255.255.255.0'\n\nconfig interface 'wan'\n\toption device 'eth1'\n")
	root := filepath.Join(dir, "root")
	r, err := New(Config{ConfigDir: filepath.Join(dir, "config"), RunPath: filepath.Join(dir, "hide"), StateDir: filepath.Join(dir, "state"), Root: root, IPTables: program})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// caller is a connection from the provider's side.
type caller struct {
	cmd  *exec.Cmd
	said chan string
}

// call connects to a port of the gateway from outside.
func callOutside(t *testing.T, port int) *caller {
	t.Helper()
	cmd := exec.Command("ip", "netns", "exec", fmt.Sprint("hci", os.Getpid()), "python3", "-u", "-c", fmt.Sprintf(`
import socket, sys
s = socket.socket(); s.settimeout(1.5)
try:
    s.connect(("203.0.113.2", %d))
    while True:
        b = s.recv(100)
        if not b: break
        print("heard", flush=True)
except Exception as e: print("error", e, flush=True)
print("end", flush=True)`, port))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &caller{cmd, make(chan string, 10000)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := out.Read(buf)
			if n > 0 {
				c.said <- string(buf[:n])
			}
			if err != nil {
				close(c.said)
				return
			}
		}
	}()
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return c
}

// until waits for a word; false when the caller ended without it.
func (c *caller) until(word string) bool {
	limit := time.After(20 * time.Second)
	for {
		select {
		case s, ok := <-c.said:
			if strings.Contains(s, word) {
				return true
			}
			if !ok {
				return false
			}
		case <-limit:
			return false
		}
	}
}

func reaches(t *testing.T, port int) bool {
	t.Helper()
	return callOutside(t, port).until("heard")
}

func TestOpeningsLegacy(t *testing.T) { testOpenings(t, "iptables-legacy") }

func TestOpeningsNFT(t *testing.T) { testOpenings(t, "iptables-nft") }

// A host outside reaches the device's port while it is open. From its end on the
// rule itself takes no new connection, with nobody there to remove it; who is
// there ends what is established.
func testOpenings(t *testing.T, program string) {
	if !inNamespace(t, program, "python3") {
		return
	}
	r := outsideHome(t, program)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	open := func(last time.Duration) model.GatewayState {
		now := time.Now().Truncate(time.Second)
		return model.GatewayState{Redirects: []model.Redirect{{Device: "d0123456789", Protocol: model.TCP, External: 8443, Address: netip.MustParseAddr("192.168.1.50"), Port: 443,
			Start: now.Add(-time.Second), Stop: now.Add(last), Reason: "web, for $(friends)"}}}
	}
	if reaches(t, 8443) {
		t.Fatal("reached with nothing open")
	}

	want := open(time.Hour)
	change, err := r.Set(ctx, want)
	if err != nil || len(change.Findings) > 0 {
		t.Fatalf("%v, %+v", err, change)
	}
	if checks, err := r.VerifyOpenings(ctx, want); err != nil || len(checks) != 1 || !checks[0].OK {
		t.Fatalf("%+v, %v\n%s", checks, err, sh(t, program+"-save"))
	}
	if again, err := r.Set(ctx, want); err != nil || !again.Empty() {
		t.Errorf("again: %v, %v", again, err)
	}
	if !reaches(t, 8443) {
		t.Fatalf("not reached\n%s", sh(t, program+"-save"))
	}
	if reaches(t, 443) {
		t.Error("reached at a port that is not open")
	}

	// Somebody flushes the table: that is seen, and mended.
	sh(t, program+" -t nat -F PREROUTING")
	if !r.openingsChanged(ctx) {
		t.Error("a lost jump was not noticed")
	}
	if checks, _ := r.VerifyOpenings(ctx, want); len(checks) != 1 || checks[0].OK {
		t.Errorf("a lost jump was not read back: %+v", checks)
	}
	if _, err := r.Set(ctx, want); err != nil || !reaches(t, 8443) {
		t.Errorf("not mended: %v", err)
	}

	// The lock alone: nothing of ours runs from here to the refused one.
	want = open(3 * time.Second)
	if _, err := r.Set(ctx, want); err != nil {
		t.Fatal(err)
	}
	long := callOutside(t, 8443)
	if !long.until("heard") {
		t.Fatalf("not reached\n%s", sh(t, program+"-save"))
	}
	time.Sleep(time.Until(want.Redirects[0].Stop.Add(1100 * time.Millisecond)))
	if reaches(t, 8443) {
		t.Error("the lock let a new connection in")
	}
	for len(long.said) > 0 {
		<-long.said
	}
	if !long.until("heard") {
		t.Error("the lock alone ended what was established: the cut below proves nothing")
	}
	change, err = r.Set(ctx, model.GatewayState{})
	if err != nil || !strings.Contains(change.String(), "connections through what is closed") {
		t.Errorf("%v, %s", err, change)
	}
	if !long.until("end") {
		t.Error("what was established goes on")
	}
	if out := sh(t, program+"-save"); strings.Contains(out, "HOMECONF") {
		t.Errorf("left\n%s", out)
	}

	// A clock that stands before the opening's start opens nothing.
	want = open(2 * time.Hour)
	want.Redirects[0].Start = time.Now().Add(time.Hour)
	if _, err := r.Set(ctx, want); err != nil {
		t.Fatal(err)
	}
	if reaches(t, 8443) {
		t.Error("open before its start")
	}

	// Others' ports are left alone: a rule, a range, a service of the gateway's.
	sh(t, program+" -t nat -A PREROUTING -i eth1 -p tcp --dport 8000:9000 -j DNAT --to-destination 192.168.1.60")
	change, err = r.Set(ctx, open(time.Hour))
	if err != nil || len(change.Findings) != 1 || change.Findings[0].Kind != FindingOpeningConflict {
		t.Errorf("%v, %+v", err, change)
	}
	taken, err := r.Occupied(ctx)
	if err != nil || Collision(model.Port{Protocol: model.TCP, Number: 8443}, taken) == "" || Collision(model.Port{Protocol: model.UDP, Number: 8443}, taken) != "" {
		t.Errorf("%+v, %v", taken, err)
	}
}
