package scene_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homeconf/src/calls"
	"homeconf/src/lab"
	"homeconf/src/lab/scene"
)

// badHome is a home whose configurator runs, with a box that is configured.
type badHome struct {
	*scene.Home
	t   *testing.T
	ctx context.Context
	box *scene.Box
	n   int
}

// small puts a small disk in a folder's place, with what the folder holds.
func small(t *testing.T, dir string) {
	t.Helper()
	held := map[string][]byte{}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if held[n.Name()], err = os.ReadFile(filepath.Join(dir, n.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for name, b := range held {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// inMounts runs the calling test once more in a mount namespace of its own, so
// that no mount outlives it, and returns true there.
func inMounts(t *testing.T) bool {
	t.Helper()
	const mark = "HOMECONF_TEST_MOUNTS"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	lab.NeedGateway(t)
	cmd := exec.CommandContext(t.Context(), "unshare", "-m", "--propagation", "slave", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // whose end would be the child's
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	return false
}

// fill leaves no byte free on a folder's disk.
func (h *badHome) fill(dir string) (free func()) {
	h.t.Helper()
	path := filepath.Join(dir, ".fill")
	f, err := os.Create(path)
	if err != nil {
		h.t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		h.t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			h.t.Error(err)
		}
	}
}

// replace puts something in a file's place, and the file back. While it is
// there, nobody but the row may change it.
func (h *badHome) replace(path string, with func(path string) error) (back func()) {
	h.t.Helper()
	held, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		h.t.Fatal(err)
	}
	os.Remove(path)
	if err := with(path); err != nil {
		h.t.Fatal(err)
	}
	var thrown []byte
	if fi, err := os.Lstat(path); err == nil && fi.Mode().IsRegular() {
		thrown, _ = os.ReadFile(path)
	}
	return func() {
		if fi, err := os.Lstat(path); err == nil && fi.Mode().IsRegular() && thrown != nil {
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, thrown) {
				h.t.Errorf("what was thrown in was changed (%v)", err)
			}
		}
		if err := os.RemoveAll(path); err != nil {
			h.t.Error(err)
		}
		if missing {
			return
		}
		if err := os.WriteFile(path+".new", held, 0o644); err != nil {
			h.t.Error(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			h.t.Error(err)
		}
	}
}

func text(s string) func(string) error {
	return func(path string) error { return os.WriteFile(path, []byte(s), 0o644) }
}

func folder(path string) error { return os.Mkdir(path, 0o755) }
func circle(path string) error { return os.Symlink(path, path) }
func pipe(path string) error   { return syscall.Mkfifo(path, 0o644) }

// within the daemon's own mount namespace.
func (h *badHome) nsenter(args ...string) {
	h.t.Helper()
	args = append([]string{"-t", fmt.Sprint(h.Configurator.Pid()), "-m"}, args...)
	if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
		h.t.Fatalf("nsenter %v: %v: %s", args, err, out)
	}
}

// finding waits until something is wrong that says so.
func (h *badHome) finding(kind, words string) {
	h.t.Helper()
	var last []string
	err := scene.Until(h.ctx, "a finding "+kind, func() (bool, error) {
		var f calls.FindingsResult
		err := h.Call(h.ctx, "finding_list", nil, &f)
		last = nil
		for _, f := range f.Findings {
			last = append(last, f.Kind+": "+f.Text)
			if f.Kind == kind && strings.Contains(f.Text, words) {
				return true, nil
			}
		}
		return false, err
	})
	if err != nil {
		h.t.Fatalf("%v; there are %q", err, last)
	}
}

// fresh lets a new box in and waits until it is configured.
func (h *badHome) fresh() {
	h.t.Helper()
	b := h.plug()
	if err := h.letIn(b); err != nil {
		h.t.Fatal(err)
	}
	b.Agent.Kill()
	if err := b.Unplug(); err != nil {
		h.t.Error(err)
	}
}

func (h *badHome) plug() *scene.Box {
	h.t.Helper()
	h.n++
	b, err := h.NewBox(fmt.Sprintf("box%d", h.n), fmt.Sprintf("Box %d", h.n))
	if err == nil {
		err = b.Start()
	}
	if err == nil {
		err = b.Ready(h.ctx)
	}
	if err == nil {
		err = b.PlugIn()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

func (h *badHome) letIn(b *scene.Box) error {
	st, err := b.Digits(h.ctx)
	if err != nil {
		return err
	}
	var d calls.DeviceSummary
	if err := h.Call(h.ctx, "device_adopt", calls.Args{"id": string(st.Device), "code": st.Digits}, &d); err != nil {
		return err
	}
	_, err = h.Configured(h.ctx, st.Device)
	return err
}

// uci is a row that puts something in a UCI file's place; words are of the
// finding, none where the home works without the file.
func uci(pkg string, with func(string) error, words string) func(h *badHome) {
	return func(h *badHome) {
		back := h.replace(filepath.Join(h.ConfigDir, pkg), with)
		defer back()
		if words != "" {
			h.finding("gateway.unreadable", words)
			return
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// asked sends bytes to the socket and answers with what came back.
func (h *badHome) asked(b string) string {
	h.t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: calls.SocketPath(h.RunDir, calls.Configurator), Net: "unix"})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	go io.WriteString(c, b) // it may hang up before all is read
	got := make([]byte, 4096)
	n, err := c.Read(got)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		h.t.Error(err)
	}
	return string(got[:n])
}

const unterminated = "config interface 'lan'\n\toption device 'br-lan\n"

var badRows = []struct {
	name  string
	throw func(h *badHome)
}{
	{"dhcp with a quote that does not end", uci("dhcp", text(unterminated), "dhcp")},
	{"dhcp of one line of a megabyte", uci("dhcp", text("config dhcp '"+strings.Repeat("x", 1<<20)+"'\n"), "dhcp")},
	{"dhcp of binary", uci("dhcp", text("\x7fELF\x02\x01\x01\x00\xff"), "dhcp")},
	{"dhcp is a folder", uci("dhcp", folder, "regular file")},
	{"dhcp is a link to itself", uci("dhcp", circle, "symbolic links")},
	{"network with a quote that does not end", uci("network", text(unterminated), "network")},
	{"network is a folder", uci("network", folder, "regular file")},
	{"firewall of binary", uci("firewall", text("\x7fELF\x00\xff"), "")},
	{"igmpproxy is a link to itself", uci("igmpproxy", circle, "")},
	{"sqm of one line of a megabyte", uci("sqm", text("config queue '"+strings.Repeat("x", 1<<20)), "")},
	{"sqm is a pipe", uci("sqm", pipe, "")},
	{"leases of binary", func(h *badHome) {
		defer h.replace(h.Leases, text("\x00\xff"+strings.Repeat("1 2 3\n", 1000)))()
		time.Sleep(300 * time.Millisecond)
	}},
	{"leases is a folder", func(h *badHome) { defer h.replace(h.Leases, folder)(); h.touch("gateway.unreadable", "regular file") }},
	{"leases is a pipe", func(h *badHome) { defer h.replace(h.Leases, pipe)(); h.touch("gateway.unreadable", "regular file") }},
	{"leases is a link to itself", func(h *badHome) {
		defer h.replace(h.Leases, circle)()
		h.touch("gateway.unreadable", "symbolic links")
	}},
	{"options with ten errors, read again", func(h *badHome) {
		defer h.Configurator.Signal(syscall.SIGHUP) //nolint:errcheck // the fresh box shows whether it lives
		defer h.replace(filepath.Join(h.ConfigDir, "homeconf"), text(tenErrors))()
		if err := h.Configurator.Signal(syscall.SIGHUP); err != nil {
			h.t.Fatal(err)
		}
		for _, o := range tenOptions {
			h.finding("options.invalid", o)
		}
	}},
	{"a config-dir that can't be written", func(h *badHome) {
		h.nsenter("mount", "--bind", h.ConfigDir, h.ConfigDir)
		h.nsenter("mount", "-o", "remount,bind,ro", h.ConfigDir)
		h.while("gateway.write", "read-only file system", func() { h.nsenter("umount", h.ConfigDir) })
	}},
	{"a full disk under config-dir", func(h *badHome) {
		h.while("gateway.write", "no space left on device", h.fill(h.ConfigDir))
	}},
	{"a full disk under state-dir", func(h *badHome) {
		free := h.fill(h.StateDir)
		b := h.plug()
		err := h.letIn(b)
		if err == nil || !strings.Contains(err.Error(), "no space left on device") {
			h.t.Errorf("let in: %v", err)
		}
		h.finding("store.full", "no space left on device")
		free()
		if err := h.letIn(b); err != nil {
			h.t.Error(err)
		}
		b.Agent.Kill()
	}},
	{"a LAN that goes down and comes back", func(h *badHome) {
		for range 3 {
			h.ip("link", "set", "br-lan", "down")
			time.Sleep(50 * time.Millisecond)
			h.ip("link", "set", "br-lan", "up")
			time.Sleep(50 * time.Millisecond)
		}
	}},
	{"a LAN that goes away and comes back as another", func(h *badHome) {
		h.ip("link", "set", "br-lan", "name", "br-gone")
		h.finding("gateway.unreadable", "br-lan does not exist")
		h.ip("link", "set", "br-gone", "name", "br-lan")
	}},
	{"requests that are none", func(h *badHome) {
		for b, want := range map[string]string{
			"\n": "error", "null\n": "error", "[]\n": "error", "\x00\xff\n": "error", "{\"call\":7}\n": "error",
			`{"call":"status","args":[]}` + "\n": "error", `{"call":"no_such"}` + "\n": "unknown", `{"call":"device_show","args":{"id":"../../etc"}}` + "\n": "no device",
			`{"call":"pair","args":{"for":99999999999}}` + "\n": "error", strings.Repeat("x", 1<<20) + "\n": "65536",
			strings.Repeat(`{"a":`, 10000) + "\n": "error",
		} {
			if got := h.asked(b); !strings.Contains(got, `"error"`) || !strings.Contains(got, want) {
				h.t.Errorf("%.40q was answered by %.200q", b, got)
			}
		}
	}},
	{"a hundred connections that say nothing", func(h *badHome) {
		for range 100 {
			c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: calls.SocketPath(h.RunDir, calls.Configurator), Net: "unix"})
			if err != nil {
				h.t.Fatal(err)
			}
			defer c.Close()
		}
		if got := h.asked(`{"call":"status"}` + "\n"); !strings.Contains(got, "connections are open already") {
			h.t.Errorf("answered by %.200q", got)
		}
	}},
	{"20,000 frames of junk", func(h *badHome) {
		err := h.box.Do(func() error {
			ifi, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 9, 9, 9, 9, 9, 0x88, 0xb5}, bytes.Repeat([]byte{0xfe}, 200)...)
			for range 20000 {
				err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index})
				if err != nil && !errors.Is(err, unix.ENOBUFS) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
		var st calls.StatusResult
		if err := h.Call(h.ctx, "status", nil, &st); err != nil || st.Counters["frame"] == 0 {
			h.t.Errorf("%v, counted %v", err, st.Counters)
		}
	}},
}

var tenOptions = []string{"enabled", "pairing", "manage_igmpproxy", "download", "upload", "lan_network", "no_such", "dry_run", "interface", "log_level"}

const tenErrors = `config configurator 'configurator'
	option enabled 'maybe'
	option pairing 'shout'
	option manage_igmpproxy 'often'
	option download 'much'
	option upload '-1'
	option lan_network 'l a n'
	option no_such '1'
	option dry_run '2'
	option interface 'a/b'
	option log_level 'loud'
`

// touch has the gateway looked at, and waits for what is found.
func (h *badHome) touch(kind, words string) {
	h.t.Helper()
	err := h.Call(h.ctx, "plan", nil, new(calls.PlanResult))
	if err == nil || !strings.Contains(err.Error(), words) {
		h.t.Errorf("plan: %v", err)
	}
	h.finding(kind, words)
}

// while lets a box in that can't be configured, waits for the finding that says
// why, mends it, and waits until the box is configured.
func (h *badHome) while(kind, words string, mend func()) {
	h.t.Helper()
	b := h.plug()
	st, err := b.Digits(h.ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.Call(h.ctx, "device_adopt", calls.Args{"id": string(st.Device), "code": st.Digits}, new(calls.DeviceSummary)); err != nil {
		h.t.Fatal(err)
	}
	h.finding(kind, words)
	mend()
	if _, err := h.Configured(h.ctx, st.Device); err != nil {
		h.t.Error(err)
	}
	b.Agent.Kill()
}

func (h *badHome) ip(args ...string) {
	h.t.Helper()
	if err := h.GW.IP(args...); err != nil {
		h.t.Fatal(err)
	}
}

// TestBadInput throws things at the real daemon: after each it is the same
// process, it says what is wrong, the reservations are what they were, its memory
// is bounded, and it configures a fresh box.
func TestBadInput(t *testing.T) {
	if !inMounts(t) {
		return
	}
	bin := binary(t, "")
	o := scene.World()
	o.NoPing = true
	sh, err := scene.New(newLab(t), bin, o)
	if err != nil {
		t.Fatal(err)
	}
	small(t, sh.ConfigDir)
	small(t, sh.StateDir)
	if err := sh.RestartSupervisor(); err != nil {
		t.Fatal(err)
	}
	h := &badHome{Home: sh, t: t, ctx: within(t, 5*time.Minute)}
	if err = h.Start(); err == nil {
		err = h.Ready(h.ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out := h.Configurator.Output()
			t.Logf("the configurator's log:\n%s", out[max(0, len(out)-8000):])
		}
	})
	h.box = h.plug()
	if err := h.letIn(h.box); err != nil {
		t.Fatal(err)
	}
	st, err := h.box.Status(h.ctx)
	if err != nil {
		t.Fatal(err)
	}
	mine := h.reservation(string(st.Device))
	for i, r := range badRows {
		if testing.Short() && i%5 > 0 {
			continue
		}
		t.Run(strings.ReplaceAll(r.name, " ", "_"), func(t *testing.T) {
			h := &badHome{Home: h.Home, t: t, ctx: within(t, 60*time.Second), box: h.box, n: h.n}
			r.throw(h)
			h.fresh()
			select {
			case <-h.Configurator.Done():
				t.Fatalf("the daemon ended: %v", h.Configurator.Wait())
			default:
			}
			if now := h.reservation(string(st.Device)); now != mine {
				t.Errorf("the reservation was\n%s\nand is\n%s", mine, now)
			}
			if kb := resident(t, h.Configurator.Pid()); kb > 64<<10 {
				t.Errorf("%d KB resident", kb)
			}
		})
		h.n++ // the boxes' names
		h.n += 2
		if t.Failed() {
			break // what follows would only follow from it
		}
	}
}

// reservation is the section of a device in UCI's dhcp.
func (h *badHome) reservation(id string) string {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.ConfigDir, "dhcp"))
	if err != nil {
		h.t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "config host 'hc_"+id)
	if !ok {
		h.t.Errorf("no reservation in\n%s", b)
	}
	section, _, _ := strings.Cut(rest, "\nconfig")
	return strings.TrimSpace(section)
}

// resident is a process's memory.
func resident(t *testing.T, pid int) (kb int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	return kb
}

// TestBadStart: what is wrong before the daemon begins is told, and it ends.
func TestBadStart(t *testing.T) {
	bin := binary(t, "")
	for _, c := range []struct {
		name, conf string
		run        string // run-dir, "" for one of its own
		state      string
		code       int
		lines      []string
	}{
		{"ten errors", tenErrors, "", "", 1, tenOptions},
		{"quote that does not end", unterminated, "", "", 1, []string{"homeconf"}},
		{"turned off", "config configurator 'configurator'\n\toption enabled '0'\n", "", "", 0, []string{"turned off by option enabled"}},
		{"run-dir that can't be", "", "/proc/homeconf", "", 1, []string{"run-dir"}},
		{"state-dir that can't be", "", "", "/proc/homeconf", 1, []string{"state directory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "homeconf"), []byte(c.conf), 0o644); err != nil {
				t.Fatal(err)
			}
			run, state := filepath.Join(dir, "run"), filepath.Join(dir, "state")
			if c.run != "" {
				run = c.run
			}
			if c.state != "" {
				state = c.state
			}
			cmd := exec.CommandContext(within(t, 30*time.Second), bin, "configurator", "--config-dir", dir, "--run-dir", run, "--state-dir", state, "--interface", "hc-none0")
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("ended with %d (%v)", code, err)
			}
			for _, want := range c.lines {
				if n := strings.Count(string(out), want); n == 0 {
					t.Errorf("no word of %q in\n%s", want, out)
				}
			}
			if lines := strings.Count(string(out), "\n"); lines < len(c.lines) {
				t.Errorf("%d lines:\n%s", lines, out)
			}
		})
	}
}
