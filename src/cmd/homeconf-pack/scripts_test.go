package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// need finds a program, or skips the test; in CI it fails.
func need(t *testing.T, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is needed (Debian package %s)", program, debian)
		}
		t.Skipf("%s is needed (Debian package %s)", program, debian)
	}
	return path
}

// shells are those that the scripts must run in: OpenWrt's own, and one that
// takes nothing but POSIX.
func shells(t *testing.T) map[string][]string {
	return map[string][]string{"busybox": {need(t, "busybox", "busybox-static"), "sh"}, "dash": {need(t, "dash", "dash")}}
}

// scripts are all there are.
func scripts(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"files/etc/init.d/*", "files/etc/rc.wps/*", "files/etc/uci-defaults/*", "files/usr/share/homeconf/*",
		"openwrt/homeconf/*.prerm", "openwrt/homeconf/test.sh", "src/cmd/homeconf-pack/testdata/rc.common", "src/cmd/homeconf-pack/testdata/bin/*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(found), err)
		}
		all = append(all, found...)
	}
	return all
}

func TestShellcheck(t *testing.T) {
	program := need(t, "shellcheck", "shellcheck")
	out, err := exec.Command(program, append([]string{"-s", "sh", "-e", "SC1091"}, scripts(t)...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// world is a router as a script sees it.
type world struct {
	t     *testing.T
	dir   string
	shell []string
	env   []string
}

func newWorld(t *testing.T, shell []string, uci string, programs ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), shell: shell}
	for _, d := range []string{"bin", "do", "config", "root/etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(w.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.write("uci", uci)
	w.write("calls", "")
	own, err := filepath.Abs("testdata/bin")
	if err != nil {
		t.Fatal(err)
	}
	w.link(filepath.Join(own, "uci"), "uci")
	for _, p := range append(programs, "logger") {
		w.link(filepath.Join(own, "record"), p)
	}
	// Nothing of this machine but the tools that OpenWrt has as well.
	for _, p := range []string{"sh", "cat", "sed", "grep", "mktemp", "rm", "mkdir", "mv", "sort", "head"} {
		w.link(need(t, p, "coreutils"), p)
	}
	w.env = []string{"PATH=" + w.path("bin"), "BIN=" + w.path("bin"), "CALLS=" + w.path("calls"), "DO=" + w.path("do"), "UCI=" + w.path("uci"), "CONFIG=" + w.path("config"),
		"IPKG_INSTROOT=" + w.path("root"), "TMPDIR=" + w.path("tmp")}
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.path(name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

func (w *world) link(target, name string) {
	w.t.Helper()
	if err := os.Symlink(target, w.path(filepath.Join("bin", name))); err != nil {
		w.t.Fatal(err)
	}
}

// prelude comes before each script: busybox's shell has its own programs of
// these names, and runs them whatever the PATH says.
const prelude = `for name in logger sleep; do eval "$name() { command -- \"\$BIN/$name\" \"\$@\"; }"; done
script=$1
shift
. "$script"`

// run runs a script and tells what it asked for and what it printed.
func (w *world) run(args ...string) (calls, output string, code int) {
	w.t.Helper()
	w.write("calls", "")
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	script, err := filepath.Abs(args[0])
	if err != nil {
		w.t.Fatal(err)
	}
	args = slices.Concat(w.shell[1:], []string{"-c", prelude, "sh", script}, args[1:])
	cmd := exec.CommandContext(ctx, w.shell[0], args...)
	cmd.Env, cmd.WaitDelay = w.env, time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil || err != nil && cmd.ProcessState == nil {
		w.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	clean := func(s string) string { return strings.ReplaceAll(s, w.dir, "ROUTER") }
	return clean(w.read("calls")), clean(string(out)), cmd.ProcessState.ExitCode()
}

func (w *world) init(script string, args ...string) (calls, output string, code int) {
	w.t.Helper()
	return w.run(append([]string{"testdata/rc.common", filepath.Join(root, "files/etc/init.d", script)}, args...)...)
}

// The init scripts ask procd for what the golden says, in each shell the same.
func TestInit(t *testing.T) {
	cases := []struct{ script, action, config string }{
		{"homeconf", "start", ""},
		{"homeconf", "start", "config configurator 'configurator'\n\toption enabled '0'\n"},
		{"homeconf", "start", "config configurator\n\toption enabled 'off'\nconfig agent\n\toption enabled '1'\n"},
		{"homeconf", "start", "config configurator 'configurator'\n\toption lan_network 'home'\n\toption wan_network 'wan6'\n\toption iptv_network 'iptv'\n"},
		{"homeconf", "check", ""},
		{"homeconf-agent", "start", ""},
		{"homeconf-agent", "start", "config configurator\n\toption enabled '1'\nconfig agent 'agent'\n\toption enabled '0'\n"},
	}
	for name, shell := range shells(t) {
		var all strings.Builder
		for _, c := range cases {
			w := newWorld(t, shell, "", "homeconf")
			if c.config != "" {
				w.write("config/homeconf", c.config)
			}
			calls, out, code := w.init(c.script, c.action)
			if code != 0 || out != "" {
				t.Errorf("%s: %s %s: exit code %d, prints %q", name, c.script, c.action, code, out)
			}
			all.WriteString("# " + c.script + " " + c.action + "\n" + c.config + "\n" + calls + "\n")
		}
		golden(t, "testdata/init.golden", all.String())
	}
}

const stopped = "network.lan.proto=static\nnetwork.lan.device=br-lan\nhomeconf.configurator=configurator\nhomeconf.agent=agent\n"

// What runs at the first start is done once, and done again changes nothing.
func TestDefaults(t *testing.T) {
	cases := []struct {
		what, script, uci string
		fw                string
	}{
		{"24.10", "80-homeconf", stopped, "fw4"},
		{"19.07", "80-homeconf", "network.lan.proto=static\nnetwork.lan.type=bridge\nnetwork.lan.ifname=eth0.1 eth1\nhomeconf.configurator=configurator\n", "fw3"},
		{"access point by DHCP", "80-homeconf", "network.lan.proto=dhcp\nnetwork.lan.device=br-lan\nhomeconf.configurator=configurator\n", "fw4"},
		{"access point with an address", "80-homeconf", stopped + "dhcp.lan.ignore=1\n", "fw4"},
		{"access point, and somebody wants it", "80-homeconf", stopped + "dhcp.lan.ignore=1\nhomeconf.configurator.enabled=1\n", "fw4"},
		{"somebody's own include", "80-homeconf", stopped + "firewall.homeconf=include\n", "fw3"},
		{"no section", "80-homeconf", "network.lan.proto=static\n", "fw4"},
		{"nothing at all", "80-homeconf", "", ""},
		{"agent", "80-homeconf-agent", stopped, ""},
		{"agent, VLAN filtering", "80-homeconf-agent", strings.Replace(stopped, "br-lan", "br-lan.1", 1), ""},
		{"agent, 19.07", "80-homeconf-agent", "network.lan.type=bridge\nnetwork.lan.ifname=eth0.1 eth1\nhomeconf.agent=agent\n", ""},
		{"agent, no bridge", "80-homeconf-agent", "network.lan.ifname=eth1\nhomeconf.agent=agent\n", ""},
		{"agent, no section", "80-homeconf-agent", "network.lan.device=br-lan.7\n", ""},
		{"agent, somebody chose", "80-homeconf-agent", stopped + "homeconf.agent.interface=wan\n", ""},
	}
	for name, shell := range shells(t) {
		var all strings.Builder
		for _, c := range cases {
			var programs []string
			if c.fw != "" {
				programs = append(programs, c.fw)
			}
			w := newWorld(t, shell, c.uci, programs...)
			script := filepath.Join(root, "files/etc/uci-defaults", c.script)
			calls, out, code := w.run(script)
			if code != 0 || out != "" {
				t.Errorf("%s: %s: exit code %d, prints %q", name, c.what, code, out)
			}
			after := w.read("uci")
			all.WriteString("# " + c.what + "\n" + calls + "packages: " + w.read("root/etc/homeconf/packages") + "\n")
			again, _, code := w.run(script)
			if code != 0 || strings.Contains(again, " set ") || w.read("uci") != after || strings.Count(w.read("root/etc/homeconf/packages"), "\n") != 1 {
				t.Errorf("%s: %s: done again it does\n%s", name, c.what, again)
			}
			if left, _ := filepath.Glob(w.path("tmp/*")); len(left) > 0 {
				t.Errorf("%s: %s: left %v", name, c.what, left)
			}
			if fi, err := os.Stat(w.path("root/etc/homeconf")); err != nil || fi.Mode().Perm() != 0o700 {
				t.Errorf("%s: %s: state folder %v, %v", name, c.what, fi, err)
			}
		}
		golden(t, "testdata/defaults.golden", all.String())
	}
	// A home that is there already is not turned off by an upgrade.
	w := newWorld(t, shells(t)["dash"], "network.lan.proto=dhcp\nhomeconf.configurator=configurator\n")
	w.write("root/etc/homeconf/home.json", "{}")
	if calls, _, _ := w.run(filepath.Join(root, "files/etc/uci-defaults/80-homeconf")); strings.Contains(calls, "enabled") {
		t.Errorf("with a home: %s", calls)
	}
}

// The WPS button's list goes on whatever becomes of it.
func TestWPS(t *testing.T) {
	for name, shell := range shells(t) {
		for _, tt := range []struct{ seen, answer, calls string }{
			{"0", "exit 0", "homeconf pair --wps\n"},
			{"1", "exit 1", "homeconf pair --wps\n"},
			{"3", "exit 0", ""},
			{"12", "exit 0", ""},
			{"", "echo noise; exit 0", "homeconf pair --wps\n"},
		} {
			w := newWorld(t, shell, "", "homeconf")
			w.write("do/homeconf", tt.answer)
			w.env = append(w.env, "SEEN="+tt.seen)
			calls, out, code := w.run(filepath.Join(root, "files/etc/rc.wps/30-homeconf"))
			if calls != tt.calls || out != "" || code == 0 {
				t.Errorf("%s: SEEN=%s: %q, prints %q, exit code %d", name, tt.seen, calls, out, code)
			}
		}
	}
}

func TestFirewallInclude(t *testing.T) {
	for name, shell := range shells(t) {
		for _, answer := range []string{"exit 0", "echo noise; exit 4"} {
			w := newWorld(t, shell, "", "ubus")
			w.write("do/ubus", answer)
			calls, out, code := w.run(filepath.Join(root, "files/usr/share/homeconf/firewall.include"))
			if calls != `ubus -t 2 call service signal {"name":"homeconf","signal":1}`+"\n" || out != "" || code != 0 {
				t.Errorf("%s: %q, prints %q, exit code %d", name, calls, out, code)
			}
		}
	}
}
