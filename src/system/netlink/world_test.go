package netlink_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homeconf/src/lab"
	"homeconf/src/model"
	"homeconf/src/system/netlink"
)

const (
	markBox = "HOMECONF_TEST_BOX" // holds the running test's name
	markGW  = "HOMECONF_TEST_GW"  // holds the gateway's namespace
)

// world is seen from a box: this process is in its namespace, with eth0, and a
// gateway is at the other end, 192.168.1.1 on lan0.
type world struct {
	t   testing.TB
	gw  string // namespace
	dir string
}

// inBox runs the calling test once more in a box, and calls f there.
func inBox(t testing.TB, programs []string, f func(w *world)) {
	t.Helper()
	if os.Getenv(markBox) == t.Name() {
		f(&world{t: t, gw: os.Getenv(markGW), dir: t.TempDir()})
		return
	}
	lab.Need(t, programs...)
	l, err := lab.New("netlink")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	gw, err := l.Host("gw")
	if err != nil {
		t.Fatal(err)
	}
	box, err := l.Host("box")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, gw: gw.Namespace}
	w.cable("-n", box.Namespace)
	args := []string{"netns", "exec", box.Namespace, os.Args[0], "-test.run=^" + t.Name() + "$", "-test.v", "-test.timeout=2m"}
	if _, bench := t.(*testing.B); bench {
		args = []string{"netns", "exec", box.Namespace, os.Args[0], "-test.run=^$", "-test.bench=^" + t.Name() + "$", "-test.benchtime=200x"}
	}
	cmd := exec.Command("ip", args...)
	cmd.Env = append(os.Environ(), markBox+"="+t.Name(), markGW+"="+gw.Namespace)
	cmd.Dir = box.Dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in the box: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "PASS") {
		t.Fatalf("nothing was run in the box:\n%s", out)
	}
	if _, bench := t.(*testing.B); bench {
		t.Logf("%s", out)
	}
}

// cable joins box and gateway; the box's end is where ip with the given
// arguments looks.
func (w *world) cable(box ...string) {
	w.t.Helper()
	ip := func(args ...string) { w.run("ip", append(box, args...)...) }
	ip("link", "add", "eth0", "address", "02:00:00:00:00:0a", "type", "veth", "peer", "name", "lan0", "address", "02:00:00:00:00:01", "netns", w.gw)
	w.gateway("addr add 192.168.1.1/24 dev lan0")
	w.gateway("link set lan0 up")
	ip("link", "set", "eth0", "up")
}

func (w *world) run(name string, args ...string) string {
	w.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ip runs ip in the box, gateway in the gateway.
func (w *world) ip(args string) string {
	w.t.Helper()
	return w.run("ip", strings.Fields(args)...)
}

func (w *world) gateway(args string) string {
	w.t.Helper()
	return w.run("ip", append([]string{"-n", w.gw}, strings.Fields(args)...)...)
}

// open opens the device as a start of the agent does.
func (w *world) open() *netlink.Device {
	w.t.Helper()
	d, err := netlink.Open(netlink.Config{Interface: "eth0", ResolvConf: w.resolv(), RunDir: filepath.Join(w.dir, "run")})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	return d
}

func (w *world) resolv() string { return filepath.Join(w.dir, "resolv.conf") }

func (w *world) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// state is what a person sees who looks at the box: addresses, routes, name
// servers.
func (w *world) state() string {
	w.t.Helper()
	var out strings.Builder
	for line := range strings.Lines(w.ip("-o -4 addr show dev eth0")) {
		f := strings.Fields(line)
		out.WriteString("address " + f[3])
		if strings.Contains(line, "valid_lft") && !strings.Contains(line, "valid_lft forever") {
			out.WriteString(" lent")
		}
		out.WriteByte('\n')
	}
	for line := range strings.Lines(w.ip("route show")) {
		out.WriteString("route " + strings.Join(strings.Fields(line), " ") + "\n")
	}
	b, err := os.ReadFile(w.resolv())
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	out.Write(b)
	return out.String()
}

func (w *world) want(what, want string) {
	w.t.Helper()
	if got := w.state(); got != want {
		w.t.Errorf("%s: there is\n%swant\n%s", what, got, want)
	}
}

// within is how long a step may take: ten times and more of what it does.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func (w *world) apply(d *netlink.Device, s model.Settings) {
	w.t.Helper()
	if err := d.Apply(within(w.t, 10*time.Second), s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) prove(d *netlink.Device, s model.Settings) {
	w.t.Helper()
	if err := d.Prove(within(w.t, 10*time.Second), s); err != nil {
		w.t.Error(err)
	}
}

// ledger is what the device says is its own.
func (w *world) ledger() (l struct{ Static []netip.Prefix }) {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "run", "netlink-eth0.json"))
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func static(a string) model.Settings {
	return model.Settings{Generation: 1, AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix(a),
		Gateway: netip.MustParseAddr("192.168.1.1"), DNS: []netip.Addr{netip.MustParseAddr("192.168.1.1")}}
}
