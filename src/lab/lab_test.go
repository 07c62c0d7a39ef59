package lab_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"homeconf/src/lab"
)

// newWorld makes a world that goes away with the test.
func newWorld(t testing.TB, o lab.GatewayOptions) *lab.World {
	t.Helper()
	lab.NeedGateway(t)
	l, err := lab.New(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	w, err := lab.Gateway(l, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// traces finds what is left of a lab.
func traces(t *testing.T, id, dir string) []string {
	t.Helper()
	var out []string
	names, err := os.ReadDir("/run/netns")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.Contains(n.Name(), "hclab-"+id+"-") {
			out = append(out, "namespace "+n.Name())
		}
	}
	if _, err := os.Stat(dir); err == nil {
		out = append(out, "folder "+dir)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range lines {
		b, _ := os.ReadFile(name) // it may have ended
		if strings.Contains(string(b), dir) && !strings.Contains(string(b), "reaper") {
			out = append(out, "process "+name+" "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return out
}

func TestWorldComesAndGoes(t *testing.T) {
	lab.NeedGateway(t)
	l, err := lab.New("comes and goes")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	start := time.Now()
	w, err := lab.Gateway(l, lab.GatewayOptions{IGMPProxy: lab.RunningProxy})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("the world came up in %v", took)
	if took > 10*time.Second {
		t.Errorf("the world took %v to come up", took)
	}
	if left := traces(t, l.ID, l.Dir); len(left) < 4 {
		t.Fatalf("too little is found of a world that lives: %q", left)
	}
	p, err := w.GW.Start("sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("and went in %v", time.Since(start))
	if left := traces(t, l.ID, l.Dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if p.Wait() == nil {
		t.Error("a program outlived the lab")
	}
	if _, err := w.GW.Start("true"); err == nil {
		t.Error("a program started in a closed lab")
	}
	if err := l.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

// TestWorldDiesWithItsMaker kills a process that made a world: nothing of it
// stays.
func TestWorldDiesWithItsMaker(t *testing.T) {
	if os.Getenv("LAB_TEST_DIE") != "" {
		l, err := lab.New("to be killed")
		if err != nil {
			t.Fatal(err)
		}
		w, err := lab.Gateway(l, lab.GatewayOptions{IGMPProxy: lab.RunningProxy})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.ISP.Start("sleep", "1000"); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(os.Getenv("LAB_TEST_DIE"), []byte(l.ID+" "+l.Dir), 0o644)
		if os.Getenv("LAB_TEST_PANIC") != "" {
			go panic("in some goroutine")
		}
		select {}
	}
	lab.NeedGateway(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"SIGKILL", "SIGINT", "panic"} {
		t.Run(how, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "id")
			cmd := exec.Command(exe, "-test.run=^TestWorldDiesWithItsMaker$")
			cmd.Env = append(os.Environ(), "LAB_TEST_DIE="+file)
			if how == "panic" {
				cmd.Env = append(cmd.Env, "LAB_TEST_PANIC=1")
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var id, dir string
			eventually(t, 30*time.Second, "the world is made", func() bool {
				b, _ := os.ReadFile(file)
				id, dir, _ = strings.Cut(string(b), " ")
				return dir != ""
			})
			switch how {
			case "SIGKILL":
				cmd.Process.Kill()
			case "SIGINT":
				cmd.Process.Signal(syscall.SIGINT)
			}
			cmd.Wait()
			eventually(t, 10*time.Second, "nothing is left", func() bool { return len(traces(t, id, dir)) == 0 })
		})
	}
}

// TestSweep has a new lab remove what a dead one left whose reaper died, too.
func TestSweep(t *testing.T) {
	lab.Need(t)
	const id = "999999999-1"
	dir := filepath.Join("/tmp/homeconf-lab", id)
	first, err := lab.New("makes the folder of labs")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	host, err := first.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{
		{"mkdir", "-p", dir}, {"touch", dir + "/.lock"},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", c, err, out)
		}
	}
	// It lives until all is made: other tests sweep, too.
	lock, err := os.Open(dir + "/.lock")
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ip", "netns", "add", "hclab-"+id+"-gw").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sleep := exec.Command("ip", "netns", "exec", "hclab-"+id+"-gw", "sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Second, "sleep runs", func() bool {
		out, _ := exec.Command("ip", "netns", "pids", "hclab-"+id+"-gw").Output()
		return strings.TrimSpace(string(out)) == strconv.Itoa(sleep.Process.Pid)
	})
	lock.Close()
	second, err := lab.New("sweeps")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if left := traces(t, id, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	var exit *exec.ExitError
	if err := sleep.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("sleep ended by %v, want SIGKILL", err)
	}
	if _, err := host.Run(t.Context(), "true"); err != nil {
		t.Errorf("a lab that lives was swept: %v", err)
	}
}

func eventually(t testing.TB, d time.Duration, what string, true func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !true(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func TestHost(t *testing.T) {
	lab.Need(t, "ping")
	l, err := lab.New(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := l.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Host("b")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Connect(a, "x", b, "y"); err != nil {
		t.Fatal(err)
	}
	if err := a.Bridge("br0", "02:00:00:00:00:01", "x"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		h    *lab.Host
		args []string
	}{{a, []string{"addr", "add", "10.1.1.1/24", "dev", "br0"}}, {b, []string{"addr", "add", "10.1.1.2/24", "dev", "y"}}, {b, []string{"link", "set", "y", "up"}}} {
		if err := c.h.IP(c.args...); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := b.Run(within(t, 5*time.Second), "ping", "-c1", "-W2", "10.1.1.1"); err != nil {
		t.Error(err, out)
	}
	if _, err := b.Run(t.Context(), "false"); err == nil {
		t.Error("false succeeded")
	}
	// A thread comes back from where it was.
	ns := func() string { s, _ := os.Readlink("/proc/thread-self/ns/net"); return s }
	home := ns()
	for _, h := range []*lab.Host{a, b} {
		if err := h.Do(func() error {
			if ns() == home {
				t.Errorf("%s is no host of its own", h.Name)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	want := errors.New("own")
	if err := a.Do(func() error { return want }); err != want {
		t.Errorf("Do: %v, want %v", err, want)
	}
	if ns() != home {
		t.Error("the thread didn't come back")
	}
	p, err := a.StartEnv([]string{"WORD=heard"}, "sh", "-c", "trap 'echo $WORD; exit 3' TERM; echo ready; while :; do sleep 0.01; done")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the program is ready", func() bool { return p.Output() == "ready\n" })
	var exit *exec.ExitError
	if err := p.Stop(); !errors.As(err, &exit) || exit.ExitCode() != 3 || p.Output() != "ready\nheard\n" {
		t.Errorf("stop: %v, output %q", err, p.Output())
	}
	for _, name := range []string{"", "../x", "A", "a b", strings.Repeat("x", 25), "a"} {
		if _, err := l.Host(name); err == nil {
			t.Errorf("host %q was made", name)
		}
	}
}
