package link_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is a veth in two network namespaces of the test's own.
type pair struct {
	a, b string // namespaces; the interface is eth0 in both
}

var pairs atomic.Int32

// newPair makes a pair with its MACs macA and macB, both ends up.
func newPair(t testing.TB) pair {
	t.Helper()
	needRoot(t)
	n := pairs.Add(1)
	p := pair{
		a: fmt.Sprintf("hclink-%d-%da", os.Getpid(), n),
		b: fmt.Sprintf("hclink-%d-%db", os.Getpid(), n),
	}
	for _, ns := range []string{p.a, p.b} {
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
		ip(t, "netns", "add", ns)
		// Nothing of the kernel's own disturbs the counts.
		run(t, "ip", "netns", "exec", ns, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
	}
	p.veth(t)
	return p
}

// veth makes the interfaces, again when one was deleted.
func (p pair) veth(t testing.TB) {
	t.Helper()
	ip(t, "link", "add", "eth0", "netns", p.a, "address", "02:00:00:00:00:0a", "type", "veth",
		"peer", "name", "eth0", "netns", p.b, "address", "02:00:00:00:00:0b")
	ip(t, "-n", p.a, "link", "set", "eth0", "up")
	ip(t, "-n", p.b, "link", "set", "eth0", "up")
	// The kernel lets frames pass a little later, and drops those before.
	for _, ns := range []string{p.a, p.b} {
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			out, err := exec.Command("ip", "-n", ns, "link", "show", "eth0").CombinedOutput()
			if err == nil && strings.Contains(string(out), "state UP") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("eth0 in %s does not come up: %v\n%s", ns, err, out)
			}
		}
	}
}

// within calls f on a thread that is in the namespace. The thread ends with it.
func within(t testing.TB, ns string, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is thrown away
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Errorf("enter namespace %s: %v", ns, err)
	}
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	run(t, "ip", args...)
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// needRoot skips a test that can't run here. Where CI=true nothing is skipped.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		lacks(t, "needs root for network namespaces")
	}
	needProgram(t, "ip")
}

func needProgram(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		lacks(t, "needs the program "+name)
	}
}

func lacks(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}
