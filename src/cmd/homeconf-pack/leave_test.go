package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// daemon answers as homeconf does: calls need a daemon, which a file stands for.
const daemon = `
case $1 in
configurator)
	trap 'rm -f "$DO/runs"; echo "homeconf ended" >>"$CALLS"; exit 0' TERM
	if [ -e "$DO/broken" ]; then exit 1; fi
	: >"$DO/runs"
	while :; do /bin/sleep 0.05; done
	;;
status) [ -e "$DO/runs" ] ;;
home) cat "$DO/said"; [ ! -e "$DO/fails" ] ;;
esac
`

// Before the package goes, the agents are asked, and what was said is printed.
func TestLeave(t *testing.T) {
	const said = "homeconf has left the gateway.\n  Box (d0) did not answer, so its reservation of 192.168.1.250 stays.\n"
	cases := []struct {
		what, uci string
		files     []string
	}{
		{"running", stopped, []string{"do/runs", "root/etc/homeconf/home.json"}},
		{"running, dry run", stopped, []string{"do/runs", "do/fails", "root/etc/homeconf/home.json"}},
		{"stopped", stopped, []string{"root/etc/homeconf/home.json"}},
		{"turned off", stopped + "homeconf.configurator.enabled=0\n", []string{"root/etc/homeconf/home.json"}},
		{"does not start", stopped + "homeconf.configurator.enabled=off\n", []string{"do/broken", "root/etc/homeconf/home.json"}},
		{"never had a home", stopped, nil},
		{"fw3", stopped + "firewall.homeconf=include\nfirewall.homeconf.path=/usr/share/homeconf/firewall.include\n", []string{"do/runs", "root/etc/homeconf/home.json"}},
		{"somebody's own include", stopped + "firewall.homeconf=include\nfirewall.homeconf.path=/etc/mine\n", []string{"do/runs", "root/etc/homeconf/home.json"}},
	}
	for name, shell := range shells(t) {
		var all strings.Builder
		for _, c := range cases {
			w := newWorld(t, shell, c.uci, "homeconf", "sleep")
			w.write("do/homeconf", daemon)
			w.write("do/sleep", "/bin/sleep 0.1")
			w.write("do/said", said)
			w.write("root/etc/homeconf/packages", "homeconf\n")
			for _, f := range c.files {
				w.write(f, "")
			}
			calls, out, code := w.run(filepath.Join(root, "files/usr/share/homeconf/leave"))
			if code != 0 {
				t.Errorf("%s: %s: exit code %d, so the package could not be removed", name, c.what, code)
			}
			// How often it looked whether the daemon answers is chance.
			var lines []string
			for _, l := range strings.Split(calls, "\n") {
				if l != "homeconf status" && l != "sleep 1" {
					lines = append(lines, l)
				}
			}
			all.WriteString("# " + c.what + "\n" + strings.Join(lines, "\n") + out + "\n")
			_, err := os.Stat(w.path("do/runs"))
			if own := c.files == nil || c.files[0] != "do/runs"; own && err == nil {
				t.Errorf("%s: %s: the daemon that it started runs on", name, c.what)
			}
			after := w.read("uci")
			if c.what != "fw3" && sorted(after) != sorted(c.uci) || strings.Contains(after, "firewall.homeconf") != (c.what == "somebody's own include") {
				t.Errorf("%s: %s: UCI has\n%s", name, c.what, after)
			}
			if _, err := os.Stat(w.path("root/etc/homeconf/packages")); err == nil {
				t.Errorf("%s: %s: the list of packages stays", name, c.what)
			}
		}
		golden(t, "testdata/leave.golden", all.String())
	}
}

// prerm asks the agents at a removal, never at an upgrade or in an image.
func TestPrerm(t *testing.T) {
	leave := "/usr/share/homeconf/leave"
	if _, err := os.Stat(leave); err == nil {
		t.Skip("homeconf is installed on this machine")
	}
	for name, shell := range shells(t) {
		for _, tt := range []struct {
			upgrade, instroot string
			asks              bool
		}{{"0", "", true}, {"", "", true}, {"1", "", false}, {"0", "/image", false}} {
			w := newWorld(t, shell, "")
			w.env = append(w.env, "PKG_UPGRADE="+tt.upgrade, "IPKG_INSTROOT="+tt.instroot)
			_, out, code := w.run(filepath.Join(root, "openwrt/homeconf/homeconf.prerm"))
			if asked := strings.Contains(out, leave); asked != tt.asks || code != 0 {
				t.Errorf("%s: PKG_UPGRADE=%s in %q: prints %q, exit code %d", name, tt.upgrade, tt.instroot, out, code)
			}
		}
		w := newWorld(t, shell, "")
		w.write("root/etc/homeconf/packages", "homeconf\nhomeconf-agent\n")
		if _, out, code := w.run(filepath.Join(root, "openwrt/homeconf/homeconf-agent.prerm")); code != 0 || out != "" || w.read("root/etc/homeconf/packages") != "homeconf\n" {
			t.Errorf("%s: agent: exit code %d, %q, %q", name, code, out, w.read("root/etc/homeconf/packages"))
		}
	}
}

// After a sysupgrade: homeconf is installed again where the option says so, and
// else the script takes itself away.
func TestReinstall(t *testing.T) {
	const on = "config configurator\n\toption reinstall '1'\n"
	for name, shell := range shells(t) {
		var all strings.Builder
		for _, c := range []struct {
			what, action, config, list string
			programs                   []string
			do                         map[string]string
			busy                       bool
		}{
			{what: "homeconf is there", action: "start", config: on, programs: []string{"homeconf"}},
			{what: "homeconf is there, and more is being installed", action: "start", config: on, programs: []string{"homeconf"}, busy: true},
			{what: "wanted", action: "start", config: on},
			{what: "not wanted", action: "start", config: "config configurator\n"},
			{what: "install by opkg", action: "install", list: "homeconf\nhomeconf-agent\nluci-app-homeconf\n$(reboot)\nbash\n",
				programs: []string{"opkg", "sleep"}, do: map[string]string{"opkg": `[ "$1" = update ] || /bin/cp "$0" "${CALLS%/*}/bin/homeconf"`}},
			{what: "install by apk", action: "install", programs: []string{"apk", "sleep"},
				do: map[string]string{"apk": `[ "$1" = update ] || /bin/cp "$0" "${CALLS%/*}/bin/homeconf"`}},
			{what: "offline at first", action: "install", list: "homeconf\n", programs: []string{"opkg", "sleep"},
				do: map[string]string{"opkg": `[ "$(grep -c "opkg install" "$CALLS")" -ge 3 ] && /bin/cp "$0" "${CALLS%/*}/bin/homeconf"`}},
		} {
			w := newWorld(t, shell, "", c.programs...)
			w.write("config/homeconf", c.config)
			for f, text := range c.do {
				w.write("do/"+f, text)
			}
			if c.list != "" {
				w.write("root/etc/homeconf/packages", c.list)
				w.write("root/etc/homeconf/homeconf-agent_0.1.0-r1_all.ipk", "")
			}
			// The script may take itself away: it is a copy.
			b, err := os.ReadFile(filepath.Join(root, "files/etc/init.d/homeconf-reinstall"))
			if err != nil {
				t.Fatal(err)
			}
			const script = "root/etc/init.d/homeconf-reinstall"
			w.write(script, string(b))
			w.write("root/etc/init.d/other", "")
			w.write("root/var/run/other", "")
			if c.busy {
				w.write("root/var/run/homeconf-reinstall", "")
			}
			w.write("root/etc/rc.d/S99other", "")
			link := w.path("root/etc/rc.d/S99homeconf-reinstall") // boot runs it by this name
			if err := os.Symlink("../init.d/homeconf-reinstall", link); err != nil {
				t.Fatal(err)
			}
			calls, out, code := w.run("testdata/rc.common", link, c.action)
			if _, err := os.Stat(w.path("root/var/run/homeconf-reinstall")); (err == nil) != c.busy {
				t.Errorf("%s: %s: busy: %v", name, c.what, err)
			}
			if code != 0 || out != "" {
				t.Errorf("%s: %s: exit code %d, prints %q", name, c.what, code, out)
			}
			_, err = os.Stat(w.path(script))
			_, linkErr := os.Lstat(link)
			if gone := err != nil; gone != (c.what == "not wanted") || gone != (linkErr != nil) {
				t.Errorf("%s: %s: script: %v, its link: %v", name, c.what, err, linkErr)
			}
			w.read("root/etc/rc.d/S99other")
			all.WriteString("# " + c.what + "\n" + calls + "\n")
		}
		// Never online: it gives up and says what to do.
		w := newWorld(t, shell, "", "opkg", "sleep")
		w.write("do/opkg", "exit 1")
		w.write("root/var/run/other", "")
		calls, out, code := w.init("homeconf-reinstall", "install")
		if code == 0 || strings.Count(calls, "sleep 60\n") != 120 || !strings.Contains(out, "when the router is online") {
			t.Errorf("%s: never online: %d tries, exit code %d, prints %q", name, strings.Count(calls, "sleep 60\n"), code, out)
		}
		golden(t, "testdata/reinstall.golden", all.String())
	}
}

func sorted(text string) string {
	l := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(l)
	return strings.Join(l, "\n")
}
