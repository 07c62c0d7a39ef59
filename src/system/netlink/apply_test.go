package netlink_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homeconf/src/model"
	"homeconf/src/system/netlink"
)

const routed = `address 192.168.1.250/24
route default via 192.168.1.1 dev eth0 proto 72 src 192.168.1.250
route 192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.250
nameserver 192.168.1.1
`

// TestApplyTwice: applied again, nothing is touched; applied otherwise, only
// that is there; taken away, nothing of it is left.
func TestApplyTwice(t *testing.T) {
	inBox(t, nil, func(w *world) {
		// Whether an address that goes takes the others of its network along.
		for _, promote := range []string{"0", "1"} {
			w.write("/proc/sys/net/ipv4/conf/all/promote_secondaries", promote)
			w.write("/proc/sys/net/ipv4/conf/eth0/promote_secondaries", promote)
			w.twice()
		}
	})
}

func (w *world) twice() {
	t := w.t
	d := w.open()
	empty := w.state()
	s := static("192.168.1.250/24")
	w.apply(d, s)
	w.want("applied", routed)
	w.prove(d, s)
	changes, stop := w.watch(d)
	for range 3 {
		w.apply(d, s)
	}
	w.apply(w.open(), s) // by the next run of the agent, too
	w.want("applied again", routed)
	time.Sleep(100 * time.Millisecond)
	if n := len(changes); n != 0 {
		t.Errorf("%d changes, applied again", n)
	}
	// The new address is in the old one's network, which would be taken
	// along with it.
	next := static("192.168.1.251/24")
	w.apply(d, next)
	w.want("applied otherwise", strings.ReplaceAll(routed, "192.168.1.250", "192.168.1.251"))
	w.prove(d, next)
	select {
	case <-changes:
	case <-time.After(5 * time.Second):
		t.Error("nobody was told of a change")
	}
	wide := static("192.168.1.251/16") // another prefix length
	wide.DNS = append(wide.DNS, netip.MustParseAddr("9.9.9.9"))
	w.apply(d, wide)
	w.want("another length", "address 192.168.1.251/16\nroute default via 192.168.1.1 dev eth0 proto 72 src 192.168.1.251\n"+
		"route 192.168.0.0/16 dev eth0 proto kernel scope link src 192.168.1.251\nnameserver 192.168.1.1\nnameserver 9.9.9.9\n")
	bare := model.Settings{AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("10.1.2.3/8")}
	w.apply(d, bare)
	w.want("no gateway, no name server", "address 10.1.2.3/8\nroute 10.0.0.0/8 dev eth0 proto kernel scope link src 10.1.2.3\n")
	w.prove(d, bare)
	for range 2 {
		w.apply(d, model.Settings{})
		w.want("nothing", empty)
	}
	stop()
}

// watch watches the device, and returns once changes are told of.
func (w *world) watch(d *netlink.Device) (changes chan struct{}, stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	changes = make(chan struct{}, 256)
	go func() { ended <- d.Watch(ctx, func() { changes <- struct{}{} }) }()
	w.until("changes are told of", func() bool {
		w.ip("addr add 127.0.0.9/32 dev lo")
		w.ip("addr del 127.0.0.9/32 dev lo")
		time.Sleep(50 * time.Millisecond)
		return len(changes) > 0
	})
	w.quiet(changes)
	return changes, func() {
		w.t.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Error(err)
			}
		case <-time.After(5 * time.Second):
			w.t.Error("watching does not end")
		}
	}
}

// quiet waits until what has happened was told.
func (w *world) quiet(changes chan struct{}) {
	for {
		select {
		case <-changes:
		case <-time.After(300 * time.Millisecond):
			return
		}
	}
}

// TestForeignStays: what isn't ours is there before, during and after.
func TestForeignStays(t *testing.T) {
	inBox(t, nil, func(w *world) {
		for _, c := range []string{
			"link add eth1 type veth peer name eth2", "link set eth1 up", "link set eth2 up", "addr add 172.20.0.1/16 dev eth1", "route add default via 172.20.0.9 dev eth1 metric 700",
			"addr add 10.9.0.9/24 dev eth0", "addr add 10.7.0.8/24 dev eth0", "addr add 169.254.3.4/16 dev eth0 scope link", "addr add fd00::7/64 dev eth0 nodad",
			"route add 10.8.0.0/16 via 10.7.0.1 dev eth0", "route add default via 10.7.0.1 dev eth0 metric 900 proto static", "route add default via 10.7.0.2 dev eth0 table 99",
		} {
			w.ip(c)
		}
		resolv := "# by hand\nsearch home\nnameserver fd00::1\noptions edns0\n"
		w.write(w.resolv(), resolv)
		d := w.open()
		// The address in force is the one that settings take the place of:
		// the first of those by hand. The others are let be.
		before, err := d.Current(t.Context())
		if err != nil || before.Address != netip.MustParsePrefix("10.9.0.9/24") || before.AddressingType != model.AddressingStatic || before.Gateway != netip.MustParseAddr("10.7.0.1") {
			t.Fatalf("current: %+v, %v", before, err)
		}
		foreign := func() string {
			var out []string
			for line := range strings.Lines(w.state()) {
				if !strings.Contains(line, "192.168.1.") {
					out = append(out, line)
				}
			}
			for _, c := range []string{"-o -6 addr show dev eth0 scope global", "-o addr show dev eth1", "route show table 99"} {
				out = append(out, w.ip(c))
			}
			return strings.Join(out, "")
		}
		w.apply(d, static("192.168.1.250/24"))
		first := foreign()
		for _, line := range []string{"address 10.7.0.8/24\n", "route 10.8.0.0/16 via 10.7.0.1 dev eth0\n",
			"route default via 10.7.0.1 dev eth0 proto static metric 900\n", "default via 10.7.0.2 dev eth0", "address 169.254.3.4/16\n", "# by hand\nsearch home\nnameserver fd00::1\noptions edns0\n",
			"route default via 172.20.0.9 dev eth1 metric 700\n", "fd00::7/64", "172.20.0.1/16"} {
			if !strings.Contains(first, line) {
				t.Errorf("gone: %q, left is\n%s", line, first)
			}
		}
		if strings.Contains(first, "10.9.0.9") {
			t.Errorf("the address in force was not taken over:\n%s", first)
		}
		w.prove(d, static("192.168.1.250/24"))
		w.apply(d, static("192.168.1.251/24"))
		if got := foreign(); got != first {
			t.Errorf("changed: there is\n%swant\n%s", got, first)
		}
		w.apply(d, model.Settings{})
		if got := foreign(); got != first {
			t.Errorf("taken away: there is\n%swant\n%s", got, first)
		}
		if got := w.state(); strings.Contains(got, "192.168.1.") {
			t.Errorf("left over:\n%s", got)
		}
	})
}

// TestProve: nothing is proven that does not work, and what works is, also
// where a gateway drops echoes.
func TestProve(t *testing.T) {
	inBox(t, nil, func(w *world) {
		d := w.open()
		s := static("192.168.1.250/24")
		fails := func(what string, s model.Settings, d interface {
			Prove(context.Context, model.Settings) error
		}, want string) {
			t.Helper()
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
			defer cancel()
			if err := d.Prove(ctx, s); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", what, err, want)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%s: took %v", what, took)
			}
		}
		fails("nothing applied", s, d, "address 192.168.1.250/24 is not there")
		w.apply(d, s)
		w.prove(d, s)
		fails("another address", static("192.168.1.9/24"), d, "is not there")
		other := s
		other.Gateway = netip.MustParseAddr("192.168.1.2")
		fails("another gateway", other, d, "default gateway is 192.168.1.1")
		w.ip("route del default")
		fails("no route", s, d, "default gateway")
		w.apply(d, s) // puts it back

		// What was resolved before proves nothing.
		w.gateway("addr del 192.168.1.1/24 dev lan0")
		fails("silent gateway", s, d, "gateway 192.168.1.1 does not answer")
		w.gateway("addr add 192.168.1.1/24 dev lan0")
		w.prove(d, s)
		w.gateway("link set lan0 down")
		fails("no carrier", s, d, "192.168.1.1")
		w.gateway("link set lan0 up")
		time.Sleep(50 * time.Millisecond)
		w.apply(d, s)
		w.prove(d, s)

		w.run("ip", "netns", "exec", w.gw, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all")
		w.prove(d, s)
		w.gateway("addr del 192.168.1.1/24 dev lan0")
		fails("silent gateway, no echoes", s, d, "does not answer")

		// Somebody takes longer to be there than the first questions.
		late := make(chan string, 1)
		go func() {
			time.Sleep(300 * time.Millisecond)
			late <- w.gateway("addr add 192.168.1.1/24 dev lan0")
		}()
		w.prove(d, s)
		<-late
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.Prove(ended, s); err == nil {
			t.Error("proven although nobody waits")
		}
	})
}

// TestInterfaceReturns: an interface that isn't there is said so, and one that
// returns is set up as if nothing had been.
func TestInterfaceReturns(t *testing.T) {
	inBox(t, nil, func(w *world) {
		d := w.open()
		s := static("192.168.1.250/24")
		w.apply(d, s)
		told, stop := w.watch(d)
		defer stop()
		for range 2 {
			w.ip("link del eth0")
			select {
			case <-told:
			case <-time.After(5 * time.Second):
				t.Fatal("nobody was told that it went")
			}
			for what, err := range map[string]error{"apply": d.Apply(t.Context(), s), "apply nothing": d.Apply(t.Context(), model.Settings{}),
				"prove": d.Prove(within(t, time.Second), s)} {
				if err == nil || !strings.Contains(err.Error(), "interface eth0") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := d.Current(t.Context()); err == nil {
				t.Error("there are settings on an interface that isn't there")
			}
			if r, err := d.Report(t.Context()); err != nil || r.Managed != "eth0" || len(r.Interfaces) != 0 {
				t.Errorf("report: %+v, %v", r, err)
			}
			w.cable()
			w.quiet(told)
			w.apply(d, s)
			w.want("back again", routed)
			w.prove(d, s)
		}
		// A link that goes down and comes back loses its routes.
		w.ip("link set eth0 down")
		w.ip("link set eth0 up")
		w.apply(d, s)
		w.want("up again", routed)
		w.prove(d, s)
	})
}

// TestCrashInApply: a run that ended anywhere leaves nothing that the next one
// would take for somebody else's.
func TestCrashInApply(t *testing.T) {
	inBox(t, nil, func(w *world) {
		d := w.open()
		empty := w.state()
		w.apply(d, static("192.168.1.250/24"))
		path := filepath.Join(w.dir, "run", "netlink-eth0.json")
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// As if killed after the new address was noted and set, with the old one there.
		both := strings.Replace(string(old), `"192.168.1.250/24"`, `"192.168.1.250/24","192.168.1.251/24"`, 1)
		if both == string(old) {
			t.Fatalf("ledger: %s", old)
		}
		w.write(path, both)
		w.ip("addr add 192.168.1.251/24 dev eth0")
		d = w.open()
		w.apply(d, static("192.168.1.251/24"))
		w.want("new", strings.ReplaceAll(routed, "192.168.1.250", "192.168.1.251"))
		if l := w.ledger(); len(l.Static) != 1 || l.Static[0] != netip.MustParsePrefix("192.168.1.251/24") {
			t.Errorf("ledger: %+v", l)
		}
		w.write(path, both)
		w.ip("addr add 192.168.1.250/24 dev eth0")
		w.apply(w.open(), model.Settings{})
		w.want("nothing", empty)

		// A ledger that can't be read is set aside; the address in force is
		// taken over all the same.
		w.apply(w.open(), static("192.168.1.250/24"))
		w.write(path, "{")
		d = w.open()
		if _, err := os.Stat(path + ".bad"); err != nil {
			t.Error(err)
		}
		w.apply(d, static("192.168.1.251/24"))
		if got := w.state(); strings.Contains(got, "192.168.1.250") {
			t.Errorf("left over:\n%s", got)
		}
	})
}
