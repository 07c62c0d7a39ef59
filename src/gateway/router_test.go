package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"homeconf/src/gateway/iptables"
	"homeconf/src/model"
	"homeconf/src/uci"
)

// memoryMarks is a mangle table in memory.
type memoryMarks struct {
	mu    sync.Mutex
	state iptables.State
	err   error // of the next Put
	puts  int
}

func (m *memoryMarks) Read(context.Context) (iptables.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, nil
}

func (m *memoryMarks) Put(_ context.Context, from, to iptables.State) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.err; err != nil {
		m.err = nil
		return err
	}
	m.puts++
	m.state = to
	return nil
}

// reloads counts, and fails when told to.
type reloads struct {
	mu  sync.Mutex
	n   map[string]int
	err error
}

func (r *reloads) Reload(_ context.Context, pkg string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.err; err != nil {
		r.err = nil
		return err
	}
	if r.n == nil {
		r.n = map[string]int{}
	}
	r.n[pkg]++
	return nil
}

const foreignDHCP = `# The owner's own words
config dnsmasq
	option domainneeded '1'   # keep

config host
	option name 'Bob'\''s TV'
	option mac '02:00:00:00:00:AA'
	option ip   "192.168.1.9"
`

const networkFile = `config interface 'lan'
	option device 'br-lan'
	option ipaddr '192.168.1.1'
	option netmask '255.255.255.0'

config interface 'wan'
	option device 'eth1'
	option proto 'static'
	list ipaddr '10.0.2.1/24'
`

// desk is a Router on files, with the kernel's side in memory.
type desk struct {
	*Router
	marks  *memoryMarks
	reload *reloads
	dir    string
}

func write(t testing.TB, path, s string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
}

func newDesk(t testing.TB) *desk {
	d := &desk{marks: &memoryMarks{}, reload: &reloads{}, dir: t.TempDir()}
	write(t, filepath.Join(d.dir, "config/dhcp"), foreignDHCP)
	write(t, filepath.Join(d.dir, "config/network"), networkFile)
	write(t, filepath.Join(d.dir, "proc/self/net/udp"), "")
	d.restart(t)
	return d
}

// restart makes the Router anew, as after a crash.
func (d *desk) restart(t testing.TB) {
	r, err := New(Config{ConfigDir: filepath.Join(d.dir, "config"), RunPath: filepath.Join(d.dir, "hide"), StateDir: filepath.Join(d.dir, "state"),
		Proc: filepath.Join(d.dir, "proc"), IGMPProxy: "/bin/sh", Reloader: d.reload})
	if err != nil {
		t.Fatal(err)
	}
	r.marks = d.marks
	d.Router = r
}

// whole is all that the gateway holds: what a dump of UCI shows, and our chain.
func (d *desk) whole(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for _, pkg := range []string{"dhcp", "igmpproxy"} {
		f, err := uci.Dir{Path: d.cfg.ConfigDir}.Load(pkg)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		b.Write(f.Show(false))
	}
	fmt.Fprintf(&b, "%d %v\n%s\n", d.marks.state.Jumps, d.marks.state.Chain, strings.Join(d.marks.state.Rules, "\n"))
	return b.String()
}

func TestSetStory(t *testing.T) {
	ctx := context.Background()
	d := newDesk(t)
	empty := d.whole(t)
	want := scene(t)
	c, err := d.Set(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	golden := `added reservation of d0123456789: 192.168.1.50 for 02:00:00:00:00:01
added igmp-proxy: wan to lan 10.0.0.0/8
added mark of d0123456789: 192.168.1.50/32 DSCP 24
added mark of d0123456789: 239.1.1.1/32 DSCP 24
added mark: the jump from FORWARD to HOMECONF_MARK`
	got, rest, _ := strings.Cut(c.String(), "\nreloaded")
	if got != golden || len(c.Reloaded()) != 2 {
		t.Errorf("first Set did\n%s\nreloaded%s\nwant\n%s", got, rest, golden)
	}
	done := d.whole(t)
	for range 3 {
		d.restart(t)
		if c, err := d.Set(ctx, want); err != nil || !c.Empty() {
			t.Errorf("again: %v, %v", c, err)
		}
	}
	if d.reload.n["dhcp"] != 1 || d.reload.n["igmpproxy"] != 1 || d.marks.puts != 1 || d.whole(t) != done {
		t.Errorf("doing it again did something: %v, %d puts", d.reload.n, d.marks.puts)
	}
	objects, err := d.ledger.read()
	if err != nil || len(objects) != 4 || objects[3].Reason != "set-top box" {
		t.Errorf("ledger %+v, %v", objects, err)
	}
	if b, _ := os.ReadFile(filepath.Join(d.dir, "config/dhcp")); !strings.HasPrefix(string(b), foreignDHCP) {
		t.Errorf("what is not ours became\n%s", b)
	}
	if c, err := d.Set(ctx, model.GatewayState{}); err != nil || c.Empty() {
		t.Errorf("zero state: %v, %v", c, err)
	}
	if now := d.whole(t); now != empty {
		t.Errorf("the zero state left\n%s\nwant\n%s", now, empty)
	}
	// src/uci leaves the empty line that it put before a section of ours.
	if b, _ := os.ReadFile(filepath.Join(d.dir, "config/dhcp")); strings.TrimRight(string(b), "\n") != strings.TrimRight(foreignDHCP, "\n") {
		t.Errorf("what is not ours became\n%q", b)
	}
}

// Whatever writer fails, the others' work is undone; and the next Set does it all.
func TestSetUndoes(t *testing.T) {
	ctx := context.Background()
	boom := errors.New("boom")
	faults := map[string]func(*desk) (mend func()){
		"marks": func(d *desk) func() { d.marks.err = boom; return func() {} },
		"dhcp": func(d *desk) func() { // another holds the lock all the time
			return hold(t, filepath.Join(d.dir, "config/dhcp"))
		},
		"igmpproxy": func(d *desk) func() {
			path := filepath.Join(d.dir, "config/igmpproxy")
			os.Rename(path, path+".aside")
			os.Mkdir(path, 0o755)
			return func() { os.Remove(path); os.Rename(path+".aside", path) }
		},
		"ledger": func(d *desk) func() {
			state := filepath.Join(d.dir, "state/gateway.json")
			os.Rename(state, state+".aside")
			os.MkdirAll(state+"/x", 0o755)
			return func() { os.RemoveAll(state); os.Rename(state+".aside", state) }
		},
		"reload": func(d *desk) func() { d.reload.err = boom; return func() {} },
	}
	full := scene(t)
	other := cloneState(full)
	other.Reservations[0].Address, other.Marks[0].Address = addr("192.168.1.51"), addr("192.168.1.51")
	other.Multicast.AltNets = nil
	for name, fault := range faults {
		for _, from := range []model.GatewayState{{}, full} {
			for i, to := range []model.GatewayState{other, {}} {
				if len(from.Marks) == 0 && i == 1 {
					continue // nothing to do
				}
				t.Run(fmt.Sprintf("%s from %d to %d", name, len(from.Marks), len(to.Marks)), func(t *testing.T) {
					d := newDesk(t)
					if _, err := d.Set(ctx, from); err != nil {
						t.Fatal(err)
					}
					before := d.whole(t)
					mend := fault(d)
					short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
					_, err := d.Set(short, to)
					cancel()
					mend()
					if err == nil {
						t.Fatal("no error")
					}
					if now := d.whole(t); now != before {
						t.Errorf("after %v it is\n%s\nwant\n%s", err, now, before)
					}
					d.restart(t)
					if _, err := d.Set(ctx, to); err != nil {
						t.Fatalf("next Set: %v", err)
					}
					clean := newDesk(t)
					if _, err := clean.Set(ctx, to); err != nil {
						t.Fatal(err)
					}
					if now, want := d.whole(t), clean.whole(t); to.Marks != nil && now != want {
						t.Errorf("the next Set left\n%s\nwant\n%s", now, want)
					}
				})
			}
		}
	}
}

// A crash after any of the writes, in any order, ends the same way once Set is
// called again: nothing twice, and a reload that was cut off is asked for.
func TestSetAfterACrash(t *testing.T) {
	ctx := context.Background()
	want := scene(t)
	clean := newDesk(t)
	if _, err := clean.Set(ctx, want); err != nil {
		t.Fatal(err)
	}
	end := clean.whole(t)
	for mask := range 8 {
		d := newDesk(t)
		var c Change
		for i, w := range []writer{d.hostWriter(want), d.proxyWriter(want, "igmpproxy"), d.markWriter(want, &c)} {
			if mask&(1<<i) == 0 {
				continue
			}
			if _, err := w.write(ctx); err != nil {
				t.Fatal(err)
			}
		}
		d.restart(t)
		if _, err := d.Set(ctx, want); err != nil {
			t.Fatal(err)
		}
		if now := d.whole(t); now != end {
			t.Errorf("after crash %03b it is\n%s\nwant\n%s", mask, now, end)
		}
		if d.reload.n["dhcp"] != 1 || d.reload.n["igmpproxy"] != 1 {
			t.Errorf("after crash %03b: reloads %v", mask, d.reload.n)
		}
	}
}

func TestLedgerTornIsMadeAgain(t *testing.T) {
	ctx := context.Background()
	d := newDesk(t)
	if _, err := d.Set(ctx, scene(t)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.dir, "state/gateway.json")
	good, _ := os.ReadFile(path)
	for _, bad := range []string{"", "{", string(good[:len(good)/2]), `{"Version":9}`, "\x00\x00"} {
		write(t, path, bad)
		if _, err := d.ledger.read(); err == nil {
			t.Errorf("%q was read", bad)
		}
		d.restart(t)
		if c, err := d.Set(ctx, scene(t)); err != nil || !c.Empty() {
			t.Errorf("with %q: %v, %v", bad, c, err)
		}
		if now, _ := os.ReadFile(path); string(now) != string(good) {
			t.Errorf("%q became\n%s", bad, now)
		}
	}
}

func TestFindings(t *testing.T) {
	ctx := context.Background()
	kinds := func(c Change) (out []string) {
		for _, f := range c.Findings {
			out = append(out, f.Kind)
			if f.Text == "" || f.Step == "" {
				t.Errorf("%+v says nothing", f)
			}
		}
		return out
	}
	t.Run("another's reservation", func(t *testing.T) {
		d := newDesk(t)
		want := scene(t)
		want.Reservations[0].Address, want.Marks[0].Address = addr("192.168.1.9"), addr("192.168.1.9")
		c, err := d.Set(ctx, want)
		if err != nil || fmt.Sprint(kinds(c)) != "[reservation-conflict]" || d.reload.n["dhcp"] != 0 || len(d.marks.state.Rules) != 0 {
			t.Errorf("%v, %v, %v", c, err, d.marks.state)
		}
	})
	t.Run("no iptables", func(t *testing.T) {
		d := newDesk(t)
		d.Router.marks, d.cfg.IPTables = nil, "/no/such/iptables"
		c, err := d.Set(ctx, scene(t))
		if err != nil || fmt.Sprint(kinds(c)) != "[marks-unsupported]" || d.reload.n["dhcp"] != 1 {
			t.Errorf("%v, %v", c, err)
		}
		checks, err := d.VerifyMarks(ctx, scene(t))
		if err != nil || len(checks) != 2 || checks[0].OK {
			t.Errorf("%v, %v", checks, err)
		}
	})
	t.Run("another's proxy", func(t *testing.T) {
		d := newDesk(t)
		theirs := "config phyint\n\toption network wan\n\toption direction upstream\n\tlist altnet 192.168.1.0/24\n"
		write(t, filepath.Join(d.dir, "config/igmpproxy"), theirs)
		c, err := d.Set(ctx, scene(t))
		if err != nil || fmt.Sprint(kinds(c)) != "[igmpproxy-foreign]" || d.reload.n["igmpproxy"] != 0 {
			t.Errorf("%v, %v", c, err)
		}
		if b, _ := os.ReadFile(filepath.Join(d.dir, "config/igmpproxy")); string(b) != theirs {
			t.Errorf("it became %q", b)
		}
	})
	t.Run("no proxy", func(t *testing.T) {
		d := newDesk(t)
		d.cfg.IGMPProxy = "/no/such/igmpproxy"
		c, err := d.Set(ctx, scene(t))
		if err != nil || fmt.Sprint(kinds(c)) != "[igmpproxy-missing]" {
			t.Errorf("%v, %v", c, err)
		}
	})
	t.Run("a file that hides ours", func(t *testing.T) {
		d := newDesk(t)
		write(t, filepath.Join(d.dir, "hide/dhcp"), "config x\n")
		c, err := d.Set(ctx, scene(t))
		if err != nil || fmt.Sprint(kinds(c)) != "[uci-override]" {
			t.Errorf("%v, %v", c, err)
		}
	})
	t.Run("IPTV elsewhere than on the WAN", func(t *testing.T) {
		d := newDesk(t)
		d.cfg.IPTVNetwork = "iptv"
		if _, err := d.Set(ctx, scene(t)); err != nil || !strings.Contains(d.whole(t), "network='iptv'") {
			t.Errorf("%v\n%s", err, d.whole(t))
		}
	})
}
