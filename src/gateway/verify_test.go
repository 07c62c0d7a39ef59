package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestVerifyMulticast(t *testing.T) {
	d := newDesk(t)
	const vifs = "Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote\n"
	const cache = "Group    Origin   Iif     Pkts    Bytes    Wrong Oifs\n"
	const igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n3\teth1      :     1      V3\n"
	set := func(v, c, g string) {
		write(t, filepath.Join(d.dir, "proc/self/net/ip_mr_vif"), vifs+v)
		write(t, filepath.Join(d.dir, "proc/self/net/ip_mr_cache"), cache+c)
		write(t, filepath.Join(d.dir, "proc/self/net/igmp"), igmp+g)
	}
	const both = " 0 eth1 0 0 0 0 00000 0102000A 00000000\n 1 br-lan 0 0 0 0 00000 0101A8C0 00000000\n"
	const joined = "\t\t\t\t010101EF     1 0:00000000\t\t0\n"
	tests := []struct{ name, vif, cache, igmp, ok, seen string }{
		{"nothing", "", "", "", "false false false", "no virtual interfaces"},
		{"one interface", " 0 eth1 0 0 0 0 00000 0102000A 00000000\n", "", "", "false false false", "want eth1 and br-lan"},
		{"running", both, "", "", "true false false", "not joined"},
		{"joined", both, "", joined, "true true false", "no packet"},
		{"no route yet", both, "010101EF 0902000A -1 0 0 0\n", joined, "true true false", "from nowhere to nothing"},
		{"the wrong way", both, "010101EF 0902000A 1 5 5 0 0:1\n", joined, "true true false", "from br-lan to eth1"},
		{"flowing", both, "010101EF 0902000A 0 12 1234 0 1:1\n", joined, "true true true", "(10.0.2.9, 239.1.1.1) from eth1 to br-lan, 12 packets"},
	}
	for _, tt := range tests {
		set(tt.vif, tt.cache, tt.igmp)
		checks, err := d.VerifyMulticast(context.Background(), scene(t))
		var ok []string
		var seen strings.Builder
		for _, c := range checks {
			ok = append(ok, fmt.Sprint(c.OK))
			seen.WriteString(c.Seen + "\n")
		}
		if err != nil || strings.Join(ok, " ") != tt.ok || !strings.Contains(seen.String(), tt.seen) {
			t.Errorf("%s: %v, %v\n%s", tt.name, ok, err, &seen)
		}
	}
}

func TestPendingWaitsForAnotherServer(t *testing.T) {
	proc := t.TempDir()
	udp := func(inodes ...int) {
		s := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"
		for i, n := range inodes {
			s += fmt.Sprintf(" %d: 00000000:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 %d 2 0000 0\n", i, n)
		}
		write(t, filepath.Join(proc, "self/net/udp"), s+" 9: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 999 2 0000 0\n")
	}
	write(t, filepath.Join(proc, "sys/kernel/random/boot_id"), "one\n")
	fresh := func() *pending { return &pending{path: filepath.Join(proc, "pending"), proc: proc} }
	settles := func(p *pending) bool {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		return p.settled(ctx) == nil
	}
	udp(100)
	p := fresh()
	if !settles(p) {
		t.Error("nothing was written, and yet it waits")
	}
	if err := p.begin("dhcp"); err != nil {
		t.Fatal(err)
	}
	if p = fresh(); settles(p) { // over a crash, too
		t.Error("the old server will do")
	}
	udp()
	if settles(p) {
		t.Error("no server will do")
	}
	udp(101)
	p.begin("dhcp") // written again, while the first restart went on
	if settles(p) {
		t.Error("the server of before the second write will do")
	}
	udp(102)
	if !settles(p) {
		t.Error("the new server will not do")
	}
	if err := p.reloaded("dhcp"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(p.path); !os.IsNotExist(err) {
		t.Errorf("a note is left: %v", err)
	}
	p.begin("dhcp")
	write(t, filepath.Join(proc, "sys/kernel/random/boot_id"), "two\n")
	if !settles(fresh()) {
		t.Error("a note of before the reboot still counts")
	}
	write(t, p.path, "{torn")
	if !settles(fresh()) {
		t.Error("a torn note counts")
	}
}
