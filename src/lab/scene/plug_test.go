package scene_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"homeconf/src/lab/scene"
)

// plugTime is what a new box may take from the plug until it is configured and
// verified, without the person's time, in the median. The test grants ten times
// that.
const plugTime = 100 * time.Millisecond

// TestPlug has a new box come three times.
func TestPlug(t *testing.T) {
	took := plugs(t, 3, func(steps []scene.Step) { t.Log(steps) })
	if took[1] > 10*plugTime {
		t.Errorf("from the plug until configured and verified: %v", took)
	}
}

// BenchmarkPlug says how long a new box takes from the plug until it is
// configured and verified, and what of it each step takes, in the median.
// The person's time, in which addresses are probed, and multicast are not in it.
func BenchmarkPlug(b *testing.B) {
	steps := map[string][]time.Duration{}
	var order []string
	took := plugs(b, b.N, func(l []scene.Step) {
		for _, s := range l {
			if !slices.Contains(order, s.What) {
				order = append(order, s.What)
			}
			steps[s.What] = append(steps[s.What], s.Took)
		}
	})
	b.ReportMetric(0, "ns/op") // of the whole, with the person's time
	b.ReportMetric(float64(took[len(took)/2])/1e6, "ms-median")
	b.ReportMetric(float64(took[len(took)-1])/1e6, "ms-worst")
	for _, what := range order {
		slices.Sort(steps[what])
		b.Logf("%6.1f ms  %s", float64(steps[what][len(steps[what])/2])/1e6, what)
	}
}

// plugs has a new box come n times to the same home, which is new each time, and
// says how long it took, sorted.
func plugs(t testing.TB, n int, tell func([]scene.Step)) []time.Duration {
	t.Helper()
	bin := binary(t, "")
	h, err := scene.New(newLab(t), bin, scene.World())
	if err != nil {
		t.Fatal(err)
	}
	clean, err := h.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.NewBox("stb", "IPTV box")
	if err != nil {
		t.Fatal(err)
	}
	var all []time.Duration
	for range n {
		ctx := within(t, 30*time.Second)
		if err := h.Restore(ctx, clean, b); err != nil {
			t.Fatal(err)
		}
		for _, f := range []func() error{
			func() error { return h.Start() },
			func() error { return h.Ready(ctx) },
			func() error { return b.Start() },
			func() error { return b.Ready(ctx) },
		} {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		took, steps, err := b.Come(ctx)
		if err != nil {
			t.Fatalf("%v\nthe configurator's log:\n%s", err, h.Configurator.Output())
		}
		if left, err := filepath.Glob(filepath.Join(b.StateDir, "*pending*")); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		if _, err := os.Stat(filepath.Join(b.StateDir, "agent.json")); err != nil {
			t.Error(err)
		}
		all = append(all, took)
		tell(steps)
	}
	slices.Sort(all)
	return all
}
