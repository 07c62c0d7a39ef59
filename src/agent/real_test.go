package agent

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"homeconf/src/lab"
	"homeconf/src/model"
)

const (
	markBox = "HOMECONF_TEST_BOX" // holds the running test's name
	markGW  = "HOMECONF_TEST_GW"  // holds the gateway's namespace
)

// inBox runs the calling test once more in a box, whose eth0 leads to a gateway
// at 192.168.1.1, and calls f there.
func inBox(t testing.TB, programs []string, f func(gw string)) {
	t.Helper()
	if os.Getenv(markBox) == t.Name() {
		f(os.Getenv(markGW))
		return
	}
	lab.Need(t, programs...)
	l, err := lab.New("agent")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	gw, err := l.Host("gw")
	if err != nil {
		t.Fatal(err)
	}
	box, err := l.Host("box")
	if err == nil {
		err = l.Connect(box, "eth0", gw, "lan0")
	}
	for h, lines := range map[*lab.Host][]string{gw: {"addr add 192.168.1.1/24 dev lan0", "link set lan0 up"}, box: {"link set eth0 up"}} {
		for _, line := range lines {
			if err == nil {
				err = h.IP(strings.Fields(line)...)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
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

// BenchmarkCarryOut is the device's half of a change of address, from Configure
// to Outcome, fsyncs included: on disk, applied, announced, proven.
func BenchmarkCarryOut(b *testing.B) {
	inBox(b, nil, func(string) {
		// TMPDIR says what disk it is.
		dir := b.TempDir()
		for _, d := range []string{"config", "state", "run"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(dir+"/config/homeconf", []byte("config agent 'agent'\n"), 0o644); err != nil {
			b.Fatal(err)
		}
		took := map[string][]time.Duration{}
		var last time.Time
		cfg := Config{ConfigDir: dir + "/config", StateDir: dir + "/state", RunDir: dir + "/run", Interface: "eth0", Step: func(name string) {
			now := time.Now()
			took[name] = append(took[name], now.Sub(last))
			last = now
		}}
		a, err := New(cfg)
		if err != nil {
			b.Fatal(err)
		}
		a.ctx = b.Context()
		addresses := []string{"192.168.1.250/24", "192.168.1.251/24"}
		b.ResetTimer()
		for i := range b.N {
			s := model.Settings{Generation: uint64(i + 1), AddressingType: model.AddressingStatic,
				Address: netip.MustParsePrefix(addresses[i%2]), Gateway: netip.MustParseAddr("192.168.1.1")}
			began := time.Now()
			last = began
			if _, err := a.carryOut(b.Context(), s, nil, 5*time.Second); err != nil {
				b.Fatal(err)
			}
			took["all"] = append(took["all"], time.Since(began))
			b.StopTimer()
			a.wg.Wait() // the second announcement
			b.StartTimer()
		}
		for name, list := range took {
			sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
			b.ReportMetric(float64(list[len(list)/2].Microseconds()), name+"-µs")
			b.ReportMetric(float64(list[len(list)*95/100].Microseconds()), name+"-p95-µs")
		}
	})
}
