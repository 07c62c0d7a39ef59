package netlink_test

import (
	"sort"
	"testing"
	"time"

	"homeconf/src/link"
)

// BenchmarkChange is what a change of address takes on the device, without what
// is written to disk: applying, the first announcement, the proof.
func BenchmarkChange(b *testing.B) {
	inBox(b, nil, func(w *world) {
		d := w.open()
		var apply, announce, prove, all []time.Duration
		addresses := []string{"192.168.1.250/24", "192.168.1.251/24"}
		w.apply(d, static(addresses[1]))
		b.ResetTimer()
		for i := range b.N {
			s := static(addresses[i%2])
			began := time.Now()
			w.apply(d, s)
			applied := time.Now()
			rest, err := link.Announcing("eth0", s.Address.Addr())
			if err != nil {
				b.Fatal(err)
			}
			announced := time.Now()
			w.prove(d, s)
			proven := time.Now()
			apply, announce = append(apply, applied.Sub(began)), append(announce, announced.Sub(applied))
			prove, all = append(prove, proven.Sub(announced)), append(all, proven.Sub(began))
			b.StopTimer()
			if err := rest(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		for name, list := range map[string][]time.Duration{"apply": apply, "announce": announce, "prove": prove, "all": all} {
			sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
			b.ReportMetric(float64(list[len(list)/2].Microseconds()), name+"-µs")
			b.ReportMetric(float64(list[len(list)*95/100].Microseconds()), name+"-p95-µs")
		}
	})
}
