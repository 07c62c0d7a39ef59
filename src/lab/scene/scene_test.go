package scene_test

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"homeconf/src/lab"
	"homeconf/src/lab/scene"
)

// binaries are built once for all tests of this package.
var binaries struct {
	mu   sync.Mutex
	dir  string
	made map[string]string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}

// binary is homeconf as it is shipped, or with a build tag.
func binary(t testing.TB, tag string) string {
	t.Helper()
	lab.NeedGateway(t)
	binaries.mu.Lock()
	defer binaries.mu.Unlock()
	if path := binaries.made[tag]; path != "" {
		return path
	}
	if binaries.dir == "" {
		dir, err := os.MkdirTemp("", "homeconf-binary-")
		if err != nil {
			t.Fatal(err)
		}
		binaries.dir, binaries.made = dir, map[string]string{}
	}
	dir := binaries.dir + "/" + tag
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path, err := scene.Build(t.Context(), dir, tag)
	if err != nil {
		t.Fatal(err)
	}
	binaries.made[tag] = path
	return path
}

// newLab makes a lab that goes away with the test.
func newLab(t testing.TB) *lab.Lab {
	t.Helper()
	l, err := lab.New(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// sixteenTime is what sixteen boxes may take from being let in until the last
// one is configured. The test grants ten times that.
const sixteenTime = 300 * time.Millisecond

// TestSixteen lets sixteen boxes in at once: seventeen processes. They get
// sixteen addresses, and the DHCP server is restarted for the batch and not for
// each box.
func TestSixteen(t *testing.T) {
	r := many(t, 16)
	t.Logf("the last box after %v, the median after %v; %d restarts of dnsmasq", r.Last, r.Median, r.Restarts)
	if n := len(slices.CompactFunc(r.Addresses, func(a, b netip.Addr) bool { return a == b })); n != 16 {
		t.Errorf("%d different addresses, want 16: %v", n, r.Addresses)
	}
	if r.Restarts != 1 || r.Reloads != 1 {
		t.Errorf("dnsmasq was restarted %d times, and %d reloads were asked for, want 1 each", r.Restarts, r.Reloads)
	}
	if r.Last > 10*sixteenTime {
		t.Errorf("the last box was configured after %v", r.Last)
	}
}

// BenchmarkSixteen says how long sixteen boxes take from being let in until the
// last one is configured, and until half of them are.
func BenchmarkSixteen(b *testing.B) {
	binary(b, "")
	var last, median []time.Duration
	for range b.N {
		r := many(b, 16)
		last, median = append(last, r.Last), append(median, r.Median)
	}
	slices.Sort(last)
	slices.Sort(median)
	b.ReportMetric(0, "ns/op") // of the whole, with plugging in and the person's time
	b.ReportMetric(float64(last[len(last)/2])/1e6, "ms-last")
	b.ReportMetric(float64(median[len(median)/2])/1e6, "ms-median")
}

func many(t testing.TB, n int) *scene.Result {
	t.Helper()
	bin := binary(t, "")
	l := newLab(t)
	r, err := scene.Many(within(t, 60*time.Second), l, bin, n)
	if err != nil {
		if r != nil {
			t.Logf("the configurator's log:\n%s", r.Home.Configurator.Output())
		}
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	return r
}
